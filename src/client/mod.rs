//! The chat client for terminals and pipes.
//!
//! `run` drives a `session` over a series of connections. `input`, `output`, `session` and
//! `terminal` do not know `run`, and nothing here knows the server's code.

mod actions;
pub mod config_file;
pub(crate) mod connect;
mod connection;
pub(crate) mod input;
pub mod limits;
pub mod options;
pub(crate) mod output;
pub mod run;
pub mod session;
pub mod setup;
pub mod shutdown;
mod state;
pub(crate) mod terminal;
