//! The real server, in this process or as its own program, over sockets.

mod admission;
mod broken_streams;
mod extended;
mod floods;
mod http_limits;
mod http_requests;
mod operators;
mod option_tables;
mod order;
mod page;
mod page_api;
mod page_history;
mod page_streams;
mod page_user;
mod panics;
mod private_messages;
mod programs;
mod regressions;
mod sessions;
mod signals;
mod slow_readers;
mod start_up;
mod store;
mod store_files;
#[path = "../support/mod.rs"]
mod support;
mod timeouts;
