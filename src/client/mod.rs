//! The terminal client, which is also a tool for pipes.
//!
//! What lives here: [`run::run`], the only door. The program calls it. It must never import
//! anything of the server: it works with any server of the protocol.

pub mod config_file;
pub mod connect;
pub mod input;
pub mod limits;
pub mod link_status;
pub mod options;
pub mod output;
pub mod run;
pub mod session;
pub mod setup;
pub mod shutdown;
pub mod terminal;
