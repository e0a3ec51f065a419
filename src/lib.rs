//! smolchat: a small, fast network chat.
//!
//! The two programs in `src/bin` only call this library. The layers, each of which uses only those
//! before it:
//!
//! * `limits`: protocol-wide bounds.
//! * `chat`: users, names, messages and the room, as plain synchronous state machines.
//! * `protocol`: bytes to requests, events to bytes.
//! * `storage` and `cli`: the SQLite store; arguments, signals and styles of both programs.
//! * `server` and `client`: the two programs, which never use each other.
#![forbid(unsafe_code)]

pub mod chat;
pub mod cli;
pub mod client;
pub mod limits;
pub mod protocol;
pub mod server;
pub mod storage;
