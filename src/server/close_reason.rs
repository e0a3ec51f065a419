//! Why a connection ends, for chat connections and HTTP connections alike.
//!
//! A reason never contains text from a client.

use crate::chat::event::LeaveReason;
use crate::chat::room::JoinError;
use std::fmt;
use std::io;

/// Why a connection ends: first the reasons of chat connections alone, then those of both kinds,
/// then those of HTTP connections alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CloseReason {
    Quit,
    /// The user continues on another connection, which gave the token of its session.
    Resumed,
    /// The peer stopped responding: its machine or the network is gone.
    DeadPeer,
    /// The connection broke in another way.
    Lost,
    /// The client is more than the allowed bytes behind.
    Lag,
    /// The client was more than half of the allowed bytes behind for too long.
    LagTime,
    /// The client read nothing for too long.
    WriteTimeout,
    /// Too many consecutive lines were rejected.
    Refused,
    /// The first bytes belong to another protocol, such as HTTP.
    OtherProtocol,
    /// A present user has the same address and port.
    AddressInUse,
    ConnectRate,
    Shutdown,
    /// The store accepts no writes, so no user can join.
    NotStored,

    /// The peer closed its sending side, or an HTTP response was the last of its connection.
    Closed,
    /// The peer or the network reset the connection.
    Reset,
    Full,
    AddressFull,
    NoDescriptor,
    /// The task of the connection panicked.
    Fault,

    /// No further request arrived in time.
    Idle,
    /// The client read nothing of a response for too long.
    Stalled,
    /// The whole response took too long.
    Deadline,
    /// The bytes are not an HTTP request.
    Malformed,
    HeadTimeout,
    HeadTooLarge,
    /// The request has an unexpected or too large body.
    HasBody,
    /// The request body has no announced length.
    LengthRequired,
    MethodNotAllowed,
    /// The request has an `Expect` header.
    Expectation,
    /// The request has an unsupported HTTP version.
    OtherVersion,
    /// The request names a host that this server does not serve.
    Misdirected,
}

impl CloseReason {
    /// All reasons in declaration order, with their words in logs and metrics.
    const WORDS: [(CloseReason, &'static str); 31] = [
        (CloseReason::Quit, "quit"),
        (CloseReason::Resumed, "resumed"),
        (CloseReason::DeadPeer, "dead-peer"),
        (CloseReason::Lost, "lost"),
        (CloseReason::Lag, "lag"),
        (CloseReason::LagTime, "lag-time"),
        (CloseReason::WriteTimeout, "write-timeout"),
        (CloseReason::Refused, "refused"),
        (CloseReason::OtherProtocol, "other-protocol"),
        (CloseReason::AddressInUse, "address-in-use"),
        (CloseReason::ConnectRate, "connect-rate"),
        (CloseReason::Shutdown, "shutdown"),
        (CloseReason::NotStored, "not-stored"),
        (CloseReason::Closed, "closed"),
        (CloseReason::Reset, "reset"),
        (CloseReason::Full, "full"),
        (CloseReason::AddressFull, "address-full"),
        (CloseReason::NoDescriptor, "no-descriptor"),
        (CloseReason::Fault, "fault"),
        (CloseReason::Idle, "idle"),
        (CloseReason::Stalled, "stalled"),
        (CloseReason::Deadline, "deadline"),
        (CloseReason::Malformed, "malformed"),
        (CloseReason::HeadTimeout, "head-timeout"),
        (CloseReason::HeadTooLarge, "head-too-large"),
        (CloseReason::HasBody, "body"),
        (CloseReason::LengthRequired, "length-required"),
        (CloseReason::MethodNotAllowed, "method"),
        (CloseReason::Expectation, "expectation"),
        (CloseReason::OtherVersion, "version"),
        (CloseReason::Misdirected, "misdirected"),
    ];

    pub(crate) fn of_chat() -> impl Iterator<Item = CloseReason> + Clone {
        let end = CloseReason::Fault as usize + 1;
        Self::WORDS[..end].iter().map(|(reason, _)| *reason)
    }

    pub(crate) fn of_http() -> impl Iterator<Item = CloseReason> + Clone {
        let start = CloseReason::Closed as usize;
        Self::WORDS[start..].iter().map(|(reason, _)| *reason)
    }

    /// Returns the word for logs and metrics.
    pub(crate) fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }

    pub(crate) fn from_io_error(error: &io::Error) -> CloseReason {
        use io::ErrorKind::*;
        match error.kind() {
            ConnectionReset | BrokenPipe | ConnectionAborted => CloseReason::Reset,
            TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown => CloseReason::DeadPeer,
            _ => CloseReason::Lost,
        }
    }

    /// Returns the last sentence for a chat client. Sentences with numbers are made elsewhere.
    pub(crate) fn farewell(self) -> Option<&'static str> {
        Some(match self {
            CloseReason::Lag | CloseReason::LagTime => {
                "You read too slowly and are too far behind; the connection is closed"
            }
            CloseReason::WriteTimeout => {
                "You took nothing of what was sent for too long; the connection is closed"
            }
            CloseReason::Shutdown => "The server is shutting down",
            CloseReason::NotStored => {
                "The server cannot store anything at the moment; try again in a while"
            }
            CloseReason::NoDescriptor => {
                "The server has no room for a further connection; try again later"
            }
            _ => return None,
        })
    }

    /// Returns whether the chat connection was never admitted.
    pub(crate) fn is_rejection(self) -> bool {
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

    /// Returns the public reason for which the user leaves.
    pub(crate) fn leave_reason(self) -> LeaveReason {
        match self {
            CloseReason::Closed => LeaveReason::Closed,
            CloseReason::Quit => LeaveReason::Quit,
            CloseReason::Resumed => LeaveReason::Replaced,
            CloseReason::Lag | CloseReason::LagTime | CloseReason::WriteTimeout => {
                LeaveReason::TooSlow
            }
            CloseReason::Refused | CloseReason::OtherProtocol => LeaveReason::Refused,
            CloseReason::Shutdown => LeaveReason::Shutdown,
            _ => LeaveReason::Lost,
        }
    }

    /// Returns the protocol's word for a connection that the server closes, if it has one.
    pub(crate) fn bye_reason(self) -> Option<LeaveReason> {
        let reason = self.leave_reason();
        let is_of_server = matches!(
            reason,
            LeaveReason::TooSlow
                | LeaveReason::Refused
                | LeaveReason::Shutdown
                | LeaveReason::Replaced
        );
        is_of_server.then_some(reason)
    }
}

impl From<JoinError> for CloseReason {
    fn from(error: JoinError) -> Self {
        match error {
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
    use std::collections::HashSet;

    #[test]
    fn words_are_unique_and_in_declaration_order() {
        for (index, (reason, _)) in CloseReason::WORDS.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason}");
        }
        let words: HashSet<_> = CloseReason::WORDS.iter().map(|(_, word)| word).collect();
        assert_eq!(words.len(), CloseReason::WORDS.len());
    }
}
