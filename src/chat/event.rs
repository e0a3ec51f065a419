//! What everyone learns: the public events, of which the chat is one ordered log.
//!
//! What lives here: [`Event`] and its kinds, plain data. The room makes them; dialects encode
//! them, the store keeps them. It must never hold what only some may know.
//!
//! Protocol: the table of events.

use crate::chat::message::Message;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;

/// Something that everyone learns.
#[derive(Clone, Debug)]
pub struct Event {
    /// Grows by one with each event.
    pub id: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// A user is here.
    Joined {
        /// The user's name.
        name: Username,
        /// Whether so many are here that basic clients are told in summary.
        is_summarised: bool,
    },
    /// A user is gone.
    Left {
        /// The user's last name.
        name: Username,
        /// Whether so many were here that basic clients are told in summary.
        is_summarised: bool,
        /// Why.
        reason: LeaveReason,
    },
    /// A user has another name.
    Renamed {
        /// The name until now.
        old: Username,
        /// The name from now on.
        new: Username,
    },
    /// A user said something.
    Said(Arc<Message>),
}

/// Why a user is gone, as everyone is told. Its `Display` is the word on the wire.
///
/// Protocol: `reason` of `left`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// The client said `quit`.
    Quit,
    /// The client ended its sending side.
    Closed,
    /// The connection broke.
    Lost,
    /// It was the temporary user of a connection that is an earlier user's from now on.
    Resumed,
    /// The server stopped.
    Shutdown,
    /// The client read too slowly.
    TooSlow,
    /// Too many of its lines were refused.
    Refused,
}

impl LeaveReason {
    /// Every reason.
    pub const ALL: [LeaveReason; 7] = [
        LeaveReason::Quit,
        LeaveReason::Closed,
        LeaveReason::Lost,
        LeaveReason::Resumed,
        LeaveReason::Shutdown,
        LeaveReason::TooSlow,
        LeaveReason::Refused,
    ];

    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            LeaveReason::Quit => "quit",
            LeaveReason::Closed => "closed",
            LeaveReason::Lost => "lost",
            LeaveReason::Resumed => "resumed",
            LeaveReason::Shutdown => "shutdown",
            LeaveReason::TooSlow => "too-slow",
            LeaveReason::Refused => "refused",
        }
    }
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}
