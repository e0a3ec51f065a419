//! Why a connection of the page ends.
//!
//! What lives here: [`HttpCloseReason`], for the page what [`CloseReason`] is for the chat: the
//! one value that every end of a connection is. It decides the last answer and the word in the
//! log and in the metrics. The page's connections use it. It must never hold text of a stranger.
//!
//! [`CloseReason`]: crate::server::close_reason::CloseReason

use std::fmt;

/// Why a connection of the page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpCloseReason {
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

impl HttpCloseReason {
    /// Every reason.
    pub const ALL: [HttpCloseReason; 18] = [
        HttpCloseReason::Closed,
        HttpCloseReason::Reset,
        HttpCloseReason::Idle,
        HttpCloseReason::Stalled,
        HttpCloseReason::Deadline,
        HttpCloseReason::Malformed,
        HttpCloseReason::HeadTimeout,
        HttpCloseReason::HeadTooLarge,
        HttpCloseReason::HasBody,
        HttpCloseReason::LengthRequired,
        HttpCloseReason::MethodNotAllowed,
        HttpCloseReason::Expectation,
        HttpCloseReason::OtherVersion,
        HttpCloseReason::Misdirected,
        HttpCloseReason::Full,
        HttpCloseReason::AddressFull,
        HttpCloseReason::NoDescriptor,
        HttpCloseReason::Fault,
    ];

    /// Its word in the log and in the metrics.
    pub fn word(self) -> &'static str {
        match self {
            HttpCloseReason::Closed => "closed",
            HttpCloseReason::Reset => "reset",
            HttpCloseReason::Idle => "idle",
            HttpCloseReason::Stalled => "stalled",
            HttpCloseReason::Deadline => "deadline",
            HttpCloseReason::Malformed => "malformed",
            HttpCloseReason::HeadTimeout => "head-timeout",
            HttpCloseReason::HeadTooLarge => "head-too-large",
            HttpCloseReason::HasBody => "body",
            HttpCloseReason::LengthRequired => "length-required",
            HttpCloseReason::MethodNotAllowed => "method",
            HttpCloseReason::Expectation => "expectation",
            HttpCloseReason::OtherVersion => "version",
            HttpCloseReason::Misdirected => "misdirected",
            HttpCloseReason::Full => "full",
            HttpCloseReason::AddressFull => "address-full",
            HttpCloseReason::NoDescriptor => "no-descriptor",
            HttpCloseReason::Fault => "fault",
        }
    }
}

impl fmt::Display for HttpCloseReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_the_list_once_and_has_a_word_of_its_own() {
        let mut words: Vec<_> = HttpCloseReason::ALL
            .iter()
            .map(|each| each.word())
            .collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), HttpCloseReason::ALL.len());
        for (index, reason) in HttpCloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason}");
        }
    }
}
