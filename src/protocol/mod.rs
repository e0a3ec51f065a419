//! The wire protocol: what a line may say, and the sentences of refusal.
//!
//! What lives here: the types of requests and refusals; `decode` reads the lines of clients,
//! [`basic`] and [`extended`] write those of the server. Server and client both use it. It must never know the room, a socket
//! or a clock: bytes and values go in, values and bytes come out.

pub mod basic;
pub mod decode;
pub mod extended;
pub mod framing;
pub mod long_reply;
pub mod server_line;
pub mod sse;

/// How a connection is spoken with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Only `message` lines go to the client.
    #[default]
    Basic,
    /// Every line has a type of its own; begins with `hello`.
    Extended,
    /// Server-sent events for the live streams of the page. Nothing is read in it.
    Page,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 3] = [Dialect::Basic, Dialect::Extended, Dialect::Page];
}
