//! What a session tells of itself and of what the server says.
//!
//! What lives here: [`SessionUpdate`], plain values. The session and its parts make them, the presenter
//! shows them. It must never know how they are shown.

use crate::protocol::server_line::ServerLine;

/// Something to be shown.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionUpdate {
    /// The server said this; only what is for eyes.
    Heard(ServerLine),
    /// The extended dialect has begun, for the first time or as somebody new.
    Welcome {
        /// Our name.
        name: String,
    },
    /// The link is back, and all that was missed follows.
    Recovered(Missed),
    /// The link is back, but something was lost.
    Gap {
        /// The number of the newest event before it, if it is of the same past.
        after: Option<u64>,
        /// The number of the first event after it.
        oldest: u64,
    },
    /// What was asked for reaches further back than this client goes: it shows the newest ones.
    Cut {
        /// How many.
        messages: usize,
    },
    /// What the user wanted cannot be had of this server.
    Impossible(String),
}

/// What was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// So many messages, among other events.
    Messages(usize),
    /// So many events; too many to look for messages first.
    Events(u64),
}

/// Takes what is to be shown, with the server's line where there is one.
pub type OnUpdate<'a> = &'a mut dyn FnMut(SessionUpdate, &[u8]);
