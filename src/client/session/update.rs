//! What a session has to tell its user.

use crate::chat::request::Nonce;
use crate::client::session::request::UserRequest;
use crate::protocol::server_line::{Messages, ServerLine};

#[derive(Clone, Debug, PartialEq)]
pub enum SessionUpdate {
    /// A line of the server that is not internal to the session, and its bytes. A replay that the
    /// session assembled has no bytes.
    Line(ServerLine, Vec<u8>),
    /// The answer to a search: the messages, the query if it is known, and the bytes of the line.
    Found(Messages, Option<String>, Vec<u8>),
    /// The extended dialect begins, for the first time or as a new user.
    Welcome { name: String },
    /// The client has reconnected, and all missed events follow.
    Recovered(MissedCount),
    /// The client has reconnected, but some events are lost.
    Gap {
        /// Newest event before the gap; none if the server has a new log.
        after: Option<u64>,
        /// First event after the gap.
        oldest: u64,
    },
    /// The requested history is longer than one replay; the newest messages follow.
    Truncated { messages: usize },
    /// A request without an acknowledgement, which a server that forgot the session may have
    /// executed.
    Unconfirmed {
        request: UserRequest,
        nonce: Option<Nonce>,
    },
    /// Why the client waits, and for what.
    Waiting(String),
    /// The server does not support a request.
    Unsupported(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissedCount {
    Messages(usize),
    /// Used when there are too many events to look for messages first.
    Events(u64),
}
