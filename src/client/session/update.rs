//! Changes that a session reports to its owner.

use crate::protocol::server_line::ServerLine;

/// Something to show to the user.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionUpdate {
    /// A line of the server that is not internal to the session.
    Line(ServerLine),
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
    /// The server does not support a request.
    Unsupported(String),
}

/// Amount of missed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissedCount {
    Messages(usize),
    /// Used when there are too many events to look for messages first.
    Events(u64),
}

/// Callback for updates; it also gets the line of the server, or an empty slice.
pub(crate) type OnUpdate<'a> = &'a mut dyn FnMut(SessionUpdate, &[u8]);
