//! The real client program, in pipes and at a terminal.

mod edges;
mod extended;
mod scripted;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
