//! The chat itself: plain data and state machines, without I/O, clock or runtime.

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

/// Source of everything that the server itself says.
pub const SERVER_SOURCE: &str = "[Server]";
