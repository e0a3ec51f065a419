//! Problems: why a request of the API is not done, for people and for programs.
//!
//! What lives here: [`Problem`], a document of RFC 9457 whose `code` is that of the protocol's
//! `error`, and whose `detail` is the same sentence that a client of the chat would get. The routes
//! answer with it, and so does what refuses a head. It must never hold text that a stranger sent,
//! but what the protocol's own sentences quote.

use crate::chat::error::RequestError;
use crate::chat::room::JoinError;
use crate::server::command::BrowserError;
use serde::Serialize;
use std::time::Duration;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What kind of problem it is; the codes tell more than an address could.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What was wrong, and what would be right.
    pub detail: String,
    /// The stable word for programs.
    pub code: &'static str,
    /// The limit that was hit, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    /// After how many milliseconds the same may be done, where time helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The words of the statuses that problems have (RFC 9110, section 15).
fn title_of(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Problem {
            kind: "about:blank",
            title: title_of(status),
            status,
            detail: detail.into(),
            code,
            limit: None,
            retry_after_ms: None,
        }
    }

    /// The same, and how long to wait.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        // At least one, since a wait that is over needs none.
        let milliseconds = wait.as_nanos().div_ceil(1_000_000).max(1);
        self.retry_after_ms = u64::try_from(milliseconds).ok();
        self
    }

    /// The wait in whole seconds, as `Retry-After` has it.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_ms.map(|wait| wait.div_ceil(1000))
    }

    /// As JSON.
    pub fn json(&self) -> String {
        // Texts and numbers: nothing that JSON lacks.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<RequestError> for Problem {
    fn from(refusal: RequestError) -> Self {
        let mut problem = Problem::new(status_of(&refusal), refusal.code(), refusal.to_string());
        problem.limit = refusal.limit();
        problem.retry_after_ms = refusal.retry_after_ms();
        problem
    }
}

fn status_of(refusal: &RequestError) -> u16 {
    match refusal {
        RequestError::MessageTooLong { .. } | RequestError::LineTooLong { .. } => 413,
        RequestError::BlankMessage
        | RequestError::Name(_)
        | RequestError::BadNonce { .. }
        | RequestError::Query(_) => 422,
        RequestError::NameTaken(_) => 409,
        RequestError::NoSuchUser(_) => 404,
        RequestError::MailboxFull(_)
        | RequestError::NotDelivered(_)
        | RequestError::NotStored
        | RequestError::NotReadable
        | RequestError::SearchTooLong => 503,
        _ => 400,
    }
}

/// When one who finds no place may come again.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

impl From<JoinError> for Problem {
    fn from(no_entry: JoinError) -> Self {
        let code = match no_entry {
            JoinError::Full(_) => "full",
            JoinError::AddressFull => "address-full",
            JoinError::AddressInUse(_) => "address-in-use",
        };
        Problem::new(503, code, no_entry.to_string()).after(RETRY_AFTER)
    }
}

impl From<BrowserError> for Problem {
    fn from(refusal: BrowserError) -> Self {
        match refusal {
            BrowserError::Refused(refusal) => refusal.into(),
            BrowserError::NoEntry(no_entry) => no_entry.into(),
            BrowserError::NoSession => Problem::new(
                403,
                "no-session",
                "You have not joined, or were away for too long; join under a name first",
            ),
            BrowserError::TooFast(wait) => Problem::new(
                429,
                "too-fast",
                "Too much came from you in too short a time; wait a moment and send it again",
            )
            .after(wait),
            BrowserError::Ended(sentence) => Problem::new(403, "refused", sentence),
            BrowserError::Stopping => Problem::stopping(),
        }
    }
}

impl Problem {
    /// There is no chat to ask.
    pub fn stopping() -> Self {
        Problem::new(503, "shutdown", "The server is stopping").after(RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_codes_and_sentences_of_the_protocol() {
        let problem = Problem::from(RequestError::MessageTooLong {
            length: 5000,
            limit: 4096,
        });
        assert_eq!(
            problem.json(),
            r#"{"type":"about:blank","title":"Content Too Large","status":413,"detail":"The message has 5000 bytes, more than the 4096 allowed; send it in parts","code":"message-too-long","limit":4096}"#
        );
        let problem = Problem::from(BrowserError::TooFast(Duration::from_micros(1_200_100)));
        assert_eq!((problem.status, problem.retry_after_ms), (429, Some(1201)));
        assert_eq!(problem.retry_after_seconds(), Some(2));
        let problem = Problem::from(JoinError::Full(1));
        assert_eq!((problem.status, problem.code), (503, "full"));
        let problem = Problem::from(RequestError::NotStored);
        assert_eq!((problem.status, problem.code), (503, "not-stored"));
        assert!(problem.retry_after_ms.is_some());
    }

    #[test]
    fn every_status_has_its_words() {
        for status in [400, 403, 404, 405, 409, 411, 413, 415, 422, 429, 503] {
            assert_ne!(title_of(status), title_of(500), "{status}");
        }
    }
}
