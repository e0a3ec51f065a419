//! The terminal client, which is also a tool for pipes.
//!
//! What lives here: [`run::run`], the only door. The program calls it. It must never import
//! anything of the server: it works with any server of the protocol.

pub mod asked;
pub mod block;
pub mod commands;
pub mod completion;
pub mod connect;
pub mod desk;
pub mod edges;
pub mod editor;
pub mod gate;
pub mod input;
pub mod interrupts;
pub mod json_input;
pub mod keys;
pub mod layout;
pub mod link;
pub mod names;
pub mod news;
pub mod options;
pub mod presence;
pub mod presenter;
pub mod replay;
pub mod run;
pub mod screen;
pub mod session;
pub mod settings;
pub mod view;
