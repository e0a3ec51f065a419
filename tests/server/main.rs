//! The real server, in this process or as its own program, over sockets.

mod admission;
mod broken_streams;
mod extended;
mod floods;
mod operators;
mod option_tables;
mod order;
mod page_api;
mod programs;
mod regressions;
mod signals;
mod slow_readers;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod timeouts;
mod web;
mod web_walls;
