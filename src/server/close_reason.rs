//! Why a connection ends.
//!
//! What lives here: [`CloseReason`], the one value that every end of a connection is: it decides
//! the last line, whether what is owed is written first, and the word in the log and in the
//! metrics. Connections, the door and the broker use it. It must never hold text of a stranger.

use crate::chat::event::LeaveReason;
use crate::chat::room::JoinError;
use crate::protocol::extended::ByeReason;
use std::fmt;
use std::io;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client ended its sending side.
    Closed,
    /// The client said that it leaves.
    Quit,
    /// The client's user goes on with another connection of the same client.
    Resumed,
    /// The client reset the connection.
    Reset,
    /// The client did not answer any more: its machine or the way to it is gone.
    DeadPeer,
    /// The connection broke in another way.
    Lost,
    /// The client is more than the allowed bytes behind.
    Lag,
    /// The client was more than half of the allowed bytes behind for too long.
    LagTime,
    /// The client took no byte for too long.
    WriteTimeout,
    /// Too many lines in a row were refused.
    Refused,
    /// There is room for no further user.
    Full,
    /// There is room for no further user from this address.
    AddressFull,
    /// Somebody who is here has the same address and port.
    AddressInUse,
    /// Too many new connections came from this address.
    ConnectRate,
    /// The server stops.
    Shutdown,
    /// The store takes nothing at the moment, so nobody can come in.
    NotStored,
    /// The server has no file descriptor left for it.
    NoDescriptor,
    /// The connection's task failed: a fault of the server.
    Fault,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [CloseReason; 18] = [
        CloseReason::Closed,
        CloseReason::Quit,
        CloseReason::Resumed,
        CloseReason::Reset,
        CloseReason::DeadPeer,
        CloseReason::Lost,
        CloseReason::Lag,
        CloseReason::LagTime,
        CloseReason::WriteTimeout,
        CloseReason::Refused,
        CloseReason::Full,
        CloseReason::AddressFull,
        CloseReason::AddressInUse,
        CloseReason::ConnectRate,
        CloseReason::Shutdown,
        CloseReason::NotStored,
        CloseReason::NoDescriptor,
        CloseReason::Fault,
    ];

    /// Its word in the log and in the metrics.
    pub fn word(self) -> &'static str {
        match self {
            CloseReason::Closed => "closed",
            CloseReason::Quit => "quit",
            CloseReason::Resumed => "resumed",
            CloseReason::Reset => "reset",
            CloseReason::DeadPeer => "dead-peer",
            CloseReason::Lost => "lost",
            CloseReason::Lag => "lag",
            CloseReason::LagTime => "lag-time",
            CloseReason::WriteTimeout => "write-timeout",
            CloseReason::Refused => "refused",
            CloseReason::Full => "full",
            CloseReason::AddressFull => "address-full",
            CloseReason::AddressInUse => "address-in-use",
            CloseReason::ConnectRate => "connect-rate",
            CloseReason::Shutdown => "shutdown",
            CloseReason::NotStored => "not-stored",
            CloseReason::NoDescriptor => "no-descriptor",
            CloseReason::Fault => "fault",
        }
    }

    /// The reason that an error of the socket is.
    pub fn from_io_error(error: &io::Error) -> CloseReason {
        use io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                CloseReason::Reset
            }
            ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown => CloseReason::DeadPeer,
            _ => CloseReason::Lost,
        }
    }

    /// The last sentence that the client gets; none where nothing can be told, or the sentence
    /// is made elsewhere because it tells a number.
    pub fn farewell(self) -> Option<&'static str> {
        match self {
            CloseReason::Lag | CloseReason::LagTime => {
                Some("You read too slowly and are too far behind; the connection is closed")
            }
            CloseReason::WriteTimeout => {
                Some("You took nothing of what was sent for too long; the connection is closed")
            }
            CloseReason::Shutdown => Some("The server is shutting down"),
            CloseReason::NotStored => {
                Some("The server cannot store anything at the moment; try again in a while")
            }
            CloseReason::NoDescriptor => {
                Some("The server has no room for a further connection; try again later")
            }
            _ => None,
        }
    }

    /// Whether everything that is owed is written before the last line. Otherwise only the line
    /// that has begun is: what is owed is just what the client does not take.
    pub fn flushes_first(self) -> bool {
        !matches!(
            self,
            CloseReason::Lag | CloseReason::LagTime | CloseReason::WriteTimeout
        )
    }

    /// Whether it is for one who was never let in.
    pub fn is_at_the_door(self) -> bool {
        matches!(
            self,
            CloseReason::Full
                | CloseReason::AddressFull
                | CloseReason::AddressInUse
                | CloseReason::ConnectRate
                | CloseReason::NotStored
                | CloseReason::NoDescriptor
        )
    }

    /// Whether the server, not the client or the network, ends the connection.
    pub fn is_decided_here(self) -> bool {
        !matches!(
            self,
            CloseReason::Closed
                | CloseReason::Quit
                | CloseReason::Reset
                | CloseReason::DeadPeer
                | CloseReason::Lost
        )
    }

    /// Whether a client that comes back at once can expect to be let in and stay.
    pub fn may_return(self) -> bool {
        matches!(
            self,
            CloseReason::Closed
                | CloseReason::Reset
                | CloseReason::DeadPeer
                | CloseReason::Lost
                | CloseReason::Lag
                | CloseReason::LagTime
                | CloseReason::WriteTimeout
                | CloseReason::Fault
        )
    }
}

impl CloseReason {
    /// What everyone is told of it.
    pub fn told(self) -> LeaveReason {
        match self {
            CloseReason::Closed => LeaveReason::Closed,
            CloseReason::Quit => LeaveReason::Quit,
            CloseReason::Resumed => LeaveReason::Resumed,
            CloseReason::Lag | CloseReason::LagTime | CloseReason::WriteTimeout => {
                LeaveReason::TooSlow
            }
            CloseReason::Refused => LeaveReason::Refused,
            CloseReason::Shutdown => LeaveReason::Shutdown,
            _ => LeaveReason::Lost,
        }
    }

    /// How a client of the extended dialect is told that the server ends its connection; none
    /// where the protocol has no word for it.
    pub fn bye(self) -> Option<ByeReason> {
        match self.told() {
            LeaveReason::TooSlow => Some(ByeReason::TooSlow),
            LeaveReason::Refused => Some(ByeReason::Refused),
            LeaveReason::Shutdown => Some(ByeReason::Shutdown),
            _ => None,
        }
    }
}

impl From<JoinError> for CloseReason {
    fn from(no_entry: JoinError) -> Self {
        match no_entry {
            JoinError::Full(_) => CloseReason::Full,
            JoinError::AddressFull => CloseReason::AddressFull,
            JoinError::AddressInUse(_) => CloseReason::AddressInUse,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let mut words: Vec<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.word())
            .collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), CloseReason::ALL.len());
    }

    #[test]
    fn the_place_of_a_reason_in_the_list_is_its_number() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason}");
        }
    }

    #[test]
    fn errors_of_a_socket_have_their_reasons() {
        use io::ErrorKind;
        for (kind, reason) in [
            (ErrorKind::ConnectionReset, CloseReason::Reset),
            (ErrorKind::BrokenPipe, CloseReason::Reset),
            (ErrorKind::TimedOut, CloseReason::DeadPeer),
            (ErrorKind::HostUnreachable, CloseReason::DeadPeer),
            (ErrorKind::Other, CloseReason::Lost),
        ] {
            assert_eq!(CloseReason::from_io_error(&kind.into()), reason, "{kind}");
        }
    }

    #[test]
    fn who_is_too_slow_is_told_without_a_flush_and_may_return() {
        for reason in [
            CloseReason::Lag,
            CloseReason::LagTime,
            CloseReason::WriteTimeout,
        ] {
            assert!(reason.farewell().is_some() && reason.is_decided_here());
            assert!(!reason.flushes_first() && reason.may_return(), "{reason}");
        }
        for reason in [
            CloseReason::Refused,
            CloseReason::Full,
            CloseReason::ConnectRate,
        ] {
            assert!(reason.flushes_first() && !reason.may_return(), "{reason}");
        }
    }
}
