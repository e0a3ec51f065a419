//! Why a connection ends.
//!
//! What lives here: [`CloseReason`], the one value that every end of a connection is, with its
//! words for the log. Connections and the broker use it. It must never hold text of a
//! stranger.

use std::fmt;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client ended its sending side.
    Closed,
    /// The connection broke: reset, timed out, unreachable.
    Lost,
    /// The client is more than the allowed bytes behind.
    TooFarBehind,
    /// The client was more than half of the allowed bytes behind for too long.
    BehindTooLong,
    /// The client took no byte for too long.
    Stalled,
    /// Too many lines in a row were refused.
    Refused,
    /// The connection's task failed: a fault of the server.
    Fault,
}

impl CloseReason {
    /// The last sentence that the client gets; none where nothing can be told or was told before.
    pub fn farewell(self) -> Option<&'static str> {
        match self {
            CloseReason::TooFarBehind | CloseReason::BehindTooLong => {
                Some("You read too slowly and are too far behind; the connection is closed")
            }
            CloseReason::Stalled => {
                Some("You took nothing of what was sent for too long; the connection is closed")
            }
            CloseReason::Closed | CloseReason::Lost | CloseReason::Refused | CloseReason::Fault => {
                None
            }
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            CloseReason::Closed => "closed by the client",
            CloseReason::Lost => "connection lost",
            CloseReason::TooFarBehind => "too far behind",
            CloseReason::BehindTooLong => "behind for too long",
            CloseReason::Stalled => "took nothing for too long",
            CloseReason::Refused => "too many refused lines",
            CloseReason::Fault => "internal fault",
        })
    }
}
