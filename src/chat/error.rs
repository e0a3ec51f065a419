//! Reasons for rejecting a request: a stable code and a sentence.

use crate::chat::query::QueryError;
use crate::chat::request::VERSION;
use crate::chat::sanitize::quoted;
use crate::chat::username::NameError;
use crate::limits::{
    MAX_NONCE_BYTES, MAX_PAGE_MESSAGES, MAX_PING_BYTES, MAX_QUERIES_OF_ADDRESS,
    QUERY_RETRY_INTERVAL, STORE_RETRY_INTERVAL,
};
use std::fmt;

/// The reason why a request is rejected. `Display` is the sentence for the client.
// The sentences describe the variants.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    NotUtf8,
    NotJson,
    NotAnObject,
    RepeatedKey(&'static str),
    MissingType,
    TypeNotAString,
    /// The dialect does not have this type.
    UnknownType(Box<str>),
    /// A line of type `kind` needs `data`, such as `shape`.
    MissingData {
        kind: &'static str,
        shape: &'static str,
    },
    /// A line of this type needs a string as `data`.
    DataNotAString(&'static str),
    /// A line of type `kind` needs an object such as `shape` as `data`.
    BadObject {
        kind: &'static str,
        shape: &'static str,
    },
    /// The string under this key has an unpaired surrogate.
    BadEscape(&'static str),
    LineTooLong {
        limit: usize,
    },
    MessageTooLong {
        length: usize,
        limit: usize,
    },
    BlankMessage,
    LineStalled {
        seconds: u64,
    },
    /// The stream ended within a line.
    LineUnfinished,
    Name(NameError),
    NameTaken(Box<str>),
    BadNonce,
    PingTooLong,
    BadLimit,
    UnknownVersion(u64),
    HelloTwice,
    NoSuchUser(Box<str>),
    MailboxFull(Box<str>),
    NotDelivered(Box<str>),
    Query(QueryError),
    SearchTooLong,
    TooManyQueries,
    NotReadable,
    NotStored,
}

/// A rejected request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRequest {
    /// The reason.
    pub error: RequestError,
    /// Type of the line, where it is known.
    pub kind: Option<Box<str>>,
}

impl From<RequestError> for RejectedRequest {
    fn from(error: RequestError) -> Self {
        RejectedRequest { error, kind: None }
    }
}

impl RequestError {
    /// Returns the code of the error, which never changes.
    pub fn code(&self) -> &'static str {
        use RequestError::*;
        match self {
            NotUtf8 => "not-utf8",
            NotJson => "not-json",
            NotAnObject => "not-an-object",
            RepeatedKey(_) => "repeated-key",
            MissingType => "missing-type",
            TypeNotAString => "bad-type",
            UnknownType(_) => "unknown-type",
            MissingData { .. } => "missing-data",
            DataNotAString(_) | BadObject { .. } => "bad-data",
            BadEscape(_) => "bad-escape",
            LineTooLong { .. } => "line-too-long",
            MessageTooLong { .. } => "message-too-long",
            BlankMessage => "blank-message",
            LineStalled { .. } => "line-stalled",
            LineUnfinished => "line-unfinished",
            Name(_) => "bad-name",
            NameTaken(_) => "name-taken",
            BadNonce => "bad-nonce",
            PingTooLong => "ping-too-long",
            BadLimit => "bad-limit",
            UnknownVersion(_) => "unknown-version",
            HelloTwice => "hello-twice",
            NoSuchUser(_) => "no-such-user",
            MailboxFull(_) => "mailbox-full",
            NotDelivered(_) => "not-delivered",
            Query(_) => "bad-query",
            NotStored => "not-stored",
            NotReadable => "not-readable",
            SearchTooLong => "search-too-long",
            TooManyQueries => "too-many-queries",
        }
    }

    /// Returns the exceeded limit, if there is one.
    pub fn limit(&self) -> Option<usize> {
        match self {
            RequestError::LineTooLong { limit } | RequestError::MessageTooLong { limit, .. } => {
                Some(*limit)
            }
            RequestError::BadNonce => Some(MAX_NONCE_BYTES),
            RequestError::PingTooLong => Some(MAX_PING_BYTES),
            RequestError::BadLimit => Some(MAX_PAGE_MESSAGES),
            RequestError::TooManyQueries => Some(MAX_QUERIES_OF_ADDRESS),
            RequestError::Query(error) => error.limit(),
            _ => None,
        }
    }

    /// Returns the milliseconds after which the same request may succeed, if it may.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let after = match self {
            RequestError::NotStored | RequestError::NotReadable => STORE_RETRY_INTERVAL,
            RequestError::TooManyQueries => QUERY_RETRY_INTERVAL,
            _ => return None,
        };
        u64::try_from(after.as_millis()).ok()
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RequestError::*;
        let sentence = match self {
            NotUtf8 => "The line is not valid UTF-8; send UTF-8 text".into(),
            NotJson => format!("The line is not valid JSON; {EXAMPLE}"),
            NotAnObject => format!("The line is not a JSON object; {EXAMPLE}"),
            RepeatedKey(key) => format!("The key \"{key}\" occurs twice; send it once"),
            MissingType => format!("The key \"type\" is missing; {TYPES}"),
            TypeNotAString => format!("\"type\" is not a string; {TYPES}"),
            UnknownType(name) => format!("The type {} is unknown; {TYPES}", quoted(name)),
            MissingData { kind, shape } => {
                format!("The key \"data\" is missing; a \"{kind}\" line needs {shape} there")
            }
            DataNotAString(kind) => {
                format!("\"data\" is not a string; a \"{kind}\" line needs one there")
            }
            BadObject { kind, shape } => {
                format!("\"data\" is not valid; a \"{kind}\" line needs an object such as {shape}")
            }
            BadEscape(key) => format!(
                "The string in \"{key}\" has an unpaired surrogate; send whole surrogate pairs"
            ),
            LineTooLong { limit } => {
                format!("The line is longer than {limit} bytes and was skipped; send shorter lines")
            }
            MessageTooLong { length, limit } => format!(
                "The message has {length} bytes, more than the {limit} allowed; send it in parts"
            ),
            BlankMessage => "The message is empty; write something other than white space".into(),
            LineStalled { seconds } => {
                format!("The line was not ended within {seconds} seconds {END_LINES}")
            }
            LineUnfinished => format!("The last line was not ended {END_LINES}"),
            Name(error) => error.to_string(),
            NameTaken(name) => format!(
                "The name {} is taken, or looks like one that is; choose another",
                quoted(name)
            ),
            BadNonce => format!("A nonce has 1 to {MAX_NONCE_BYTES} bytes; choose another"),
            PingTooLong => {
                format!("The data of the ping is longer than {MAX_PING_BYTES} bytes; send less")
            }
            BadLimit => {
                format!("A page has 1 to {MAX_PAGE_MESSAGES} messages; request at least one")
            }
            UnknownVersion(version) => {
                format!(
                    "Version {version} of the extended dialect is unknown; use version {VERSION}"
                )
            }
            HelloTwice => {
                "This connection has already sent \"hello\"; open another to be another user".into()
            }
            NoSuchUser(name) => format!(
                "No user is named {}; check the name in the list of users",
                quoted(name)
            ),
            MailboxFull(name) => format!(
                "{} is disconnected and has a full mailbox; try again later",
                quoted(name)
            ),
            NotDelivered(name) => format!(
                "{} is gone; your private message may not have been delivered",
                quoted(name)
            ),
            Query(error) => error.to_string(),
            SearchTooLong => {
                "The search took too long; search for rarer words or fewer days".into()
            }
            TooManyQueries => {
                "Too many searches are waiting, and each address has one answered at a \
                               time; try again later"
                    .into()
            }
            NotReadable => {
                "The server cannot read its stored messages at the moment; try again later".into()
            }
            NotStored => "The server cannot store anything at the moment, so the request had no \
                          effect; try again later"
                .into(),
        };
        out.write_str(&sentence)
    }
}

const EXAMPLE: &str = r#"send one JSON object a line, such as {"type":"message","data":"hello"}"#;
const END_LINES: &str = "and was skipped; end each line with a newline";
const TYPES: &str = "the types are \"message\", \"set-name\", \"history\", \"users\", \
                     \"private\", \"ping\", \"quit\" and, in the extended dialect, \"search\"";
