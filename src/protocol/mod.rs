//! The wire protocol: bytes to requests and events, and back. docs/protocol.md describes it.

pub mod basic;
pub(crate) mod client_line;
pub mod decode;
pub mod extended;
pub(crate) mod foreign;
pub mod framing;
pub(crate) mod json;
pub(crate) mod long_reply;
pub mod server_line;
pub mod sse;

/// The encoding of the lines that a client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Only `message` lines go to the client.
    #[default]
    Basic,
    /// Each kind of line has its own type. A `hello` begins it.
    Extended,
    /// Server-sent events for browsers, which send nothing in it.
    Browser,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 3] = [Dialect::Basic, Dialect::Extended, Dialect::Browser];
}
