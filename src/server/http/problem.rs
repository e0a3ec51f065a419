//! Problem documents (RFC 9457): why a request fails.
//!
//! `code` and `detail` are the code and sentence of the protocol's `error`.

use crate::chat::error::RequestError;
use crate::chat::room::JoinError;
use crate::server::command::BrowserError;
use serde::Serialize;
use std::time::Duration;
use tide::StatusCode;

/// Time after which a rejected client can try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a request fails. API clients get the whole document, browsers only `detail`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    pub(super) status: StatusCode,
    /// What is wrong and what to do.
    pub(super) detail: String,
    /// Stable word for programs.
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// Returns the reason phrase of a status (RFC 9110, section 15).
pub(super) fn title_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PayloadTooLarge => "Content Too Large",
        StatusCode::UnprocessableEntity => "Unprocessable Content",
        _ => status.canonical_reason(),
    }
}

impl Problem {
    pub(super) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        let status = StatusCode::try_from(status).unwrap_or(StatusCode::InternalServerError);
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

    /// Creates a problem that a later request may not have.
    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(503, code, detail).after(RETRY_AFTER)
    }

    pub(super) fn stopping() -> Self {
        Problem::unavailable("shutdown", "The server is stopping")
    }

    fn after(mut self, wait: Duration) -> Self {
        // A problem that waiting solves needs at least 1 ms.
        let milliseconds = wait.as_nanos().div_ceil(1_000_000).max(1);
        self.retry_after_ms = u64::try_from(milliseconds).ok();
        self
    }

    /// Returns the wait in whole seconds, for `Retry-After`.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_ms.map(|wait| wait.div_ceil(1000))
    }

    pub(super) fn json(&self) -> String {
        // Strings and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let status = match error {
            RequestError::MessageTooLong { .. } | RequestError::LineTooLong { .. } => 413,
            RequestError::BlankMessage
            | RequestError::Name(_)
            | RequestError::BadNonce
            | RequestError::Query(_) => 422,
            RequestError::NameTaken(_) => 409,
            RequestError::NoSuchUser(_) => 404,
            RequestError::TooManyQueries => 429,
            RequestError::MailboxFull(_)
            | RequestError::NotDelivered(_)
            | RequestError::NotStored
            | RequestError::NotReadable
            | RequestError::SearchTooLong => 503,
            _ => 400,
        };
        Problem {
            limit: error.limit(),
            retry_after_ms: error.retry_after_ms(),
            ..Problem::new(status, error.code(), error.to_string())
        }
    }
}

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        let code = match error {
            JoinError::Full(_) => "full",
            JoinError::AddressFull => "address-full",
            JoinError::AddressInUse(_) => "address-in-use",
        };
        Problem::unavailable(code, error.to_string())
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
