//! Problem documents (RFC 9457): why the API refuses a request.
//!
//! `code` and `detail` are the code and sentence of the protocol's `error`.

use crate::chat::error::RequestError;
use crate::chat::room::JoinError;
use crate::server::command::BrowserError;
use serde::Serialize;
use std::time::Duration;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The reason phrase of the status.
    title: &'static str,
    /// The status of the response.
    pub(crate) status: u16,
    /// What is wrong and what to do.
    pub(crate) detail: String,
    /// Stable word for programs.
    pub(crate) code: &'static str,
    /// The exceeded limit, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    /// Milliseconds after which the same request can succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
}

/// Returns the reason phrase of an error status (RFC 9110, section 15).
pub(crate) fn title_of(status: u16) -> &'static str {
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
    /// Creates a problem with this status.
    pub(crate) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
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

    /// Creates the problem of a server that stops.
    pub(crate) fn stopping() -> Self {
        Problem::new(503, "shutdown", STOPPING).after(RETRY_AFTER)
    }

    /// Creates the problem of a server whose documents use too much memory.
    pub(crate) fn overloaded() -> Self {
        let detail = "The server is overloaded; try again later";
        Problem::new(503, "overloaded", detail).after(RETRY_AFTER)
    }

    /// Adds the time to wait.
    #[must_use]
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        // A problem that waiting solves needs at least 1 ms.
        let milliseconds = wait.as_nanos().div_ceil(1_000_000).max(1);
        self.retry_after_ms = u64::try_from(milliseconds).ok();
        self
    }

    /// Returns the wait in whole seconds, for `Retry-After`.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_ms.map(|wait| wait.div_ceil(1000))
    }

    /// Encodes the problem as JSON.
    pub(crate) fn json(&self) -> String {
        // Strings and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let mut problem = Problem::new(status_of(&error), error.code(), error.to_string());
        problem.limit = error.limit();
        problem.retry_after_ms = error.retry_after_ms();
        problem
    }
}

fn status_of(error: &RequestError) -> u16 {
    match error {
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

/// Sentence for requests that arrive while the server stops.
pub(crate) const STOPPING: &str = "The server is stopping";

/// Time after which a rejected client can try again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        let code = match error {
            JoinError::Full(_) => "full",
            JoinError::AddressFull => "address-full",
            JoinError::AddressInUse(_) => "address-in-use",
        };
        Problem::new(503, code, error.to_string()).after(RETRY_AFTER)
    }
}

impl From<BrowserError> for Problem {
    fn from(error: BrowserError) -> Self {
        match error {
            BrowserError::Rejected(error) => error.into(),
            BrowserError::Join(error) => error.into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_has_the_code_and_sentence_of_the_protocol() {
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
    fn every_status_has_a_title() {
        for status in [400, 403, 404, 405, 409, 411, 413, 415, 422, 429, 503] {
            assert_ne!(title_of(status), title_of(500), "{status}");
        }
    }
}
