//! Public events, which form the ordered log of the chat.

use crate::chat::message::Message;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::sync::Arc;

/// A public event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Number, growing by one with each event.
    pub id: u64,
    /// Time of the event.
    pub time: Timestamp,
    /// Content of the event.
    pub kind: EventKind,
}

/// The content of a public event. Basic clients get a summary of summarised events, not a notice.
#[allow(missing_docs)]
#[derive(Clone, Debug)]
pub enum EventKind {
    Joined {
        name: Username,
        is_summarised: bool,
    },
    Left {
        name: Username,
        is_summarised: bool,
        reason: LeaveReason,
    },
    Renamed {
        old: Username,
        new: Username,
    },
    Message(Arc<Message>),
}

impl EventKind {
    /// Returns whether basic clients get a summary instead of a notice.
    pub(crate) fn is_summarised(&self) -> bool {
        match self {
            EventKind::Joined { is_summarised, .. } | EventKind::Left { is_summarised, .. } => {
                *is_summarised
            }
            EventKind::Renamed { .. } | EventKind::Message(_) => false,
        }
    }
}

/// The public reason of a departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// The client sent `quit`.
    Quit,
    /// The client closed its sending side.
    Closed,
    /// The connection broke.
    Lost,
    /// The connection of this temporary user resumed an earlier session.
    Resumed,
    /// The server stopped.
    Shutdown,
    /// The client read too slowly.
    TooSlow,
    /// Too many lines were rejected in a row.
    Refused,
    /// Another connection took over the session; its user stays.
    Replaced,
}

impl LeaveReason {
    /// Every reason.
    pub const ALL: [LeaveReason; 8] = [
        LeaveReason::Quit,
        LeaveReason::Closed,
        LeaveReason::Lost,
        LeaveReason::Resumed,
        LeaveReason::Shutdown,
        LeaveReason::TooSlow,
        LeaveReason::Refused,
        LeaveReason::Replaced,
    ];

    /// Returns the word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            LeaveReason::Quit => "quit",
            LeaveReason::Closed => "closed",
            LeaveReason::Lost => "lost",
            LeaveReason::Resumed => "resumed",
            LeaveReason::Shutdown => "shutdown",
            LeaveReason::TooSlow => "too-slow",
            LeaveReason::Refused => "refused",
            LeaveReason::Replaced => "replaced",
        }
    }
}
