//! The real client program, in pipes and at a terminal.

mod extended;
mod job_control;
mod overload;
mod pipes;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod terminal_link;
mod terminal_output;
