//! The chat domain: plain data and state machines, without I/O, clock, JSON or runtime.
//!
//! Reading order: [`message`], [`event`], [`request`], [`room`].

pub mod address;
pub mod error;
pub mod event;
pub mod message;
pub mod query;
pub mod record;
pub mod request;
pub mod room;
pub mod sanitize;
pub mod token;
pub mod username;

/// Source of server notices.
pub const SERVER_SOURCE: &str = "[Server]";
