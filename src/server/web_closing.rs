//! Why a connection of the page ends.
//!
//! What lives here: [`WebCloseReason`], for the page what [`CloseReason`] is for the chat: the
//! one value that every end of a connection is. It decides the last answer and the word in the
//! log and in the metrics. The page's connections use it. It must never hold text of a stranger.
//!
//! [`CloseReason`]: crate::server::closing::CloseReason

use std::fmt;

/// Why a connection of the page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WebCloseReason {
    /// The client has ended its sending side, or did after this answer what it had asked for.
    Closed,
    /// The client or the network broke the connection.
    Reset,
    /// No further request came in time.
    Idle,
    /// The answer was not taken for too long.
    Stalled,
    /// The answer as a whole took too long.
    Deadline,
    /// What came is no HTTP request.
    Malformed,
    /// The request took too long to arrive.
    HeadTimeout,
    /// The request's head is too large.
    HeadTooLarge,
    /// The request has a body where there is none, or one that is too large.
    HasBody,
    /// The length of the request's body is not told beforehand.
    LengthRequired,
    /// The request does something else than reading.
    MethodNotAllowed,
    /// The request expects something before it goes on.
    Expectation,
    /// The request is of another version of HTTP.
    OtherVersion,
    /// The request is for another host than this one.
    Misdirected,
    /// There is room for no further connection.
    Full,
    /// There is room for no further connection from this address.
    AddressFull,
    /// The server has no file descriptor left for it.
    NoDescriptor,
    /// The connection's task failed: a fault of the server.
    Fault,
}

impl WebCloseReason {
    /// Every reason.
    pub const ALL: [WebCloseReason; 18] = [
        WebCloseReason::Closed,
        WebCloseReason::Reset,
        WebCloseReason::Idle,
        WebCloseReason::Stalled,
        WebCloseReason::Deadline,
        WebCloseReason::Malformed,
        WebCloseReason::HeadTimeout,
        WebCloseReason::HeadTooLarge,
        WebCloseReason::HasBody,
        WebCloseReason::LengthRequired,
        WebCloseReason::MethodNotAllowed,
        WebCloseReason::Expectation,
        WebCloseReason::OtherVersion,
        WebCloseReason::Misdirected,
        WebCloseReason::Full,
        WebCloseReason::AddressFull,
        WebCloseReason::NoDescriptor,
        WebCloseReason::Fault,
    ];

    /// Its word in the log and in the metrics.
    pub fn word(self) -> &'static str {
        match self {
            WebCloseReason::Closed => "closed",
            WebCloseReason::Reset => "reset",
            WebCloseReason::Idle => "idle",
            WebCloseReason::Stalled => "stalled",
            WebCloseReason::Deadline => "deadline",
            WebCloseReason::Malformed => "malformed",
            WebCloseReason::HeadTimeout => "head-timeout",
            WebCloseReason::HeadTooLarge => "head-too-large",
            WebCloseReason::HasBody => "body",
            WebCloseReason::LengthRequired => "length-required",
            WebCloseReason::MethodNotAllowed => "method",
            WebCloseReason::Expectation => "expectation",
            WebCloseReason::OtherVersion => "version",
            WebCloseReason::Misdirected => "misdirected",
            WebCloseReason::Full => "full",
            WebCloseReason::AddressFull => "address-full",
            WebCloseReason::NoDescriptor => "no-descriptor",
            WebCloseReason::Fault => "fault",
        }
    }
}

impl fmt::Display for WebCloseReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_the_list_once_and_has_a_word_of_its_own() {
        let mut words: Vec<_> = WebCloseReason::ALL.iter().map(|each| each.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), WebCloseReason::ALL.len());
        for (index, reason) in WebCloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason}");
        }
    }
}
