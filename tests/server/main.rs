//! The real server, in this process or as its own program, over sockets.

mod chat;
mod extended;
mod operators;
mod option_tables;
mod page_api;
mod refusals;
mod regressions;
mod signals;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod web;
mod web_walls;
