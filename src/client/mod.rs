//! The terminal client, which is also a tool for pipes.
//!
//! What lives here: [`run::run`], the only door. The program calls it. It must never import
//! anything of the server: it works with any server of the protocol.

pub mod block;
pub mod commands;
pub mod connect;
pub mod input;
pub mod layout;
pub mod names;
pub mod options;
pub mod presence;
pub mod presenter;
pub mod run;
pub mod screen;
pub mod session;
pub mod view;
