//! Why a request is refused: a stable code, and the sentence that the client gets.

use crate::chat::query::QueryError;
use crate::chat::request::VERSION;
use crate::chat::sanitize::quoted;
use crate::chat::username::NameError;
use crate::limits::STORE_RETRY_INTERVAL;
use std::fmt;

/// Why a line is refused. Its `Display` is the sentence that the client gets.
///
/// Protocol: "What is refused".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The bytes of the line are not UTF-8.
    NotUtf8,
    /// The line is not JSON.
    NotJson,
    /// The line is JSON, but no object.
    NotAnObject,
    /// `type` or `data` stands twice.
    RepeatedKey(&'static str),
    /// There is no `type`.
    MissingType,
    /// `type` is not a string.
    TypeNotAString,
    /// `type` is none that the dialect knows.
    UnknownType(Box<str>),
    /// The type needs `data` and there is none.
    MissingData(&'static str),
    /// `data` is not a string, and the type needs one.
    DataNotAString(&'static str),
    /// A string has an escape that stands for no character.
    BadEscape(&'static str),
    /// The line is longer than this many bytes.
    LineTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// The text has more bytes than a message may have.
    MessageTooLong {
        /// Bytes of the text.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The message is nothing but white space.
    BlankMessage,
    /// The beginning of a line got no byte for too long.
    LineStalled {
        /// Seconds that were waited.
        seconds: u64,
    },
    /// The stream ended in the middle of a line.
    LineUnfinished,
    /// The name cannot be a name.
    Name(NameError),
    /// Somebody else has this name, or one that looks like it.
    NameTaken(Box<str>),
    /// The type needs an object under `data` and there is none.
    MissingObject {
        /// The type.
        kind: &'static str,
        /// What the object looks like.
        shape: &'static str,
    },
    /// What is under `data` is not the object that the type needs.
    BadObject {
        /// The type.
        kind: &'static str,
        /// What the object looks like.
        shape: &'static str,
    },
    /// The nonce is empty or longer than so many bytes.
    BadNonce {
        /// Bytes allowed.
        limit: usize,
    },
    /// The JSON value to be sent back is longer than so many bytes.
    PingTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// A page of no messages was asked for.
    EmptyPage {
        /// Most messages on a page.
        limit: usize,
    },
    /// The client speaks another version of the extended dialect.
    OtherVersion(u64),
    /// The client has said hello before.
    HelloTwice,
    /// Nobody here is called so.
    NoSuchUser(Box<str>),
    /// The user's connection is lost, and no more is kept for it.
    AwayTooLong(Box<str>),
    /// The user did not come back for what was kept.
    PrivateLost(Box<str>),
    /// The search makes no sense.
    Query(QueryError),
    /// The store takes nothing at the moment.
    NotStored,
    /// The store cannot be read.
    NotReadable,
    /// The search took too long.
    SearchTooLong,
}

/// A line that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRequest {
    /// Why.
    pub refusal: RequestError,
    /// The type of the line, as far as it is known.
    pub kind: Option<Box<str>>,
}

impl From<RequestError> for RejectedRequest {
    fn from(refusal: RequestError) -> Self {
        RejectedRequest {
            refusal,
            kind: None,
        }
    }
}

impl RequestError {
    /// Its word for programs; they never change.
    ///
    /// Protocol: `code` of `error`.
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::NotUtf8 => "not-utf8",
            RequestError::NotJson => "not-json",
            RequestError::NotAnObject => "not-an-object",
            RequestError::RepeatedKey(_) => "repeated-key",
            RequestError::MissingType => "missing-type",
            RequestError::TypeNotAString => "bad-type",
            RequestError::UnknownType(_) => "unknown-type",
            RequestError::MissingData(_) | RequestError::MissingObject { .. } => "missing-data",
            RequestError::DataNotAString(_) | RequestError::BadObject { .. } => "bad-data",
            RequestError::BadEscape(_) => "bad-escape",
            RequestError::LineTooLong { .. } => "line-too-long",
            RequestError::MessageTooLong { .. } => "message-too-long",
            RequestError::BlankMessage => "blank-message",
            RequestError::LineStalled { .. } => "line-stalled",
            RequestError::LineUnfinished => "line-unfinished",
            RequestError::Name(_) => "bad-name",
            RequestError::NameTaken(_) => "name-taken",
            RequestError::BadNonce { .. } => "bad-nonce",
            RequestError::PingTooLong { .. } => "ping-too-long",
            RequestError::EmptyPage { .. } => "bad-limit",
            RequestError::OtherVersion(_) => "unknown-version",
            RequestError::HelloTwice => "hello-twice",
            RequestError::NoSuchUser(_) => "no-such-user",
            RequestError::AwayTooLong(_) => "mailbox-full",
            RequestError::PrivateLost(_) => "not-delivered",
            RequestError::Query(_) => "bad-query",
            RequestError::NotStored => "not-stored",
            RequestError::NotReadable => "not-readable",
            RequestError::SearchTooLong => "search-too-long",
        }
    }

    /// The limit that was hit, if one was.
    pub fn limit(&self) -> Option<usize> {
        match self {
            RequestError::LineTooLong { limit }
            | RequestError::MessageTooLong { limit, .. }
            | RequestError::BadNonce { limit }
            | RequestError::PingTooLong { limit }
            | RequestError::EmptyPage { limit } => Some(*limit),
            RequestError::Query(error) => error.limit(),
            _ => None,
        }
    }

    /// After how many milliseconds the same may be accepted, where time helps.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let is_the_stores = matches!(self, RequestError::NotStored | RequestError::NotReadable);
        let after = is_the_stores.then_some(STORE_RETRY_INTERVAL)?;
        u64::try_from(after.as_millis()).ok()
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::NotUtf8 => write!(out, "The line is not valid UTF-8; send UTF-8 text"),
            RequestError::NotJson => write!(
                out,
                "The line is not valid JSON; send one JSON object a line, such as {EXAMPLE}"
            ),
            RequestError::NotAnObject => write!(
                out,
                "The line is not a JSON object; send one JSON object a line, such as {EXAMPLE}"
            ),
            RequestError::RepeatedKey(key) => {
                write!(out, "The key \"{key}\" stands more than once; send it once")
            }
            RequestError::MissingType => write!(out, "The key \"type\" is missing; {KNOWN_TYPES}"),
            RequestError::TypeNotAString => write!(out, "\"type\" is not a string; {KNOWN_TYPES}"),
            RequestError::UnknownType(name) => {
                write!(out, "The type {} is unknown; {KNOWN_TYPES}", quoted(name))
            }
            RequestError::MissingData(kind) => {
                write!(
                    out,
                    "The key \"data\" is missing; a \"{kind}\" line needs a string there"
                )
            }
            RequestError::DataNotAString(kind) => {
                write!(
                    out,
                    "\"data\" is not a string; a \"{kind}\" line needs one there"
                )
            }
            RequestError::BadEscape(key) => write!(
                out,
                "The string in \"{key}\" has an escape that stands for no character; send whole surrogate pairs"
            ),
            RequestError::LineTooLong { limit } => write!(
                out,
                "The line is longer than {limit} bytes and was skipped; send shorter lines"
            ),
            RequestError::MessageTooLong { length, limit } => write!(
                out,
                "The message has {length} bytes, more than the {limit} allowed; send it in parts"
            ),
            RequestError::BlankMessage => {
                write!(
                    out,
                    "The message is empty; write something other than white space"
                )
            }
            RequestError::LineStalled { seconds } => write!(
                out,
                "The line was not ended within {seconds} seconds and was skipped; end each line with a newline"
            ),
            RequestError::LineUnfinished => write!(
                out,
                "The last line was not ended and was skipped; end each line with a newline"
            ),
            RequestError::Name(error) => write!(out, "{error}"),
            RequestError::NameTaken(name) => write!(
                out,
                "The name {} is taken, or looks like one that is; choose another",
                quoted(name)
            ),
            RequestError::MissingObject { kind, shape } => write!(
                out,
                "The key \"data\" is missing; a \"{kind}\" line needs {shape} there"
            ),
            RequestError::BadObject { kind, shape } => write!(
                out,
                "\"data\" is not what a \"{kind}\" line needs, such as {shape}"
            ),
            RequestError::BadNonce { limit } => {
                write!(
                    out,
                    "The nonce is not of 1 to {limit} bytes; choose another"
                )
            }
            RequestError::PingTooLong { limit } => write!(
                out,
                "The data of the ping is longer than the {limit} bytes allowed; send less"
            ),
            RequestError::EmptyPage { limit } => {
                write!(
                    out,
                    "A page has 1 to {limit} messages; ask for at least one"
                )
            }
            RequestError::OtherVersion(version) => write!(
                out,
                "Version {version} of the extended dialect is unknown; the version here is {}",
                VERSION
            ),
            RequestError::HelloTwice => write!(
                out,
                "You have said \"hello\" before; connect again to be another user"
            ),
            RequestError::NoSuchUser(name) => write!(
                out,
                "Nobody here is called {}; \"users\" tells who is here",
                quoted(name)
            ),
            RequestError::AwayTooLong(name) => write!(
                out,
                "The connection of {} is lost, and no more is kept for it; try again later",
                quoted(name)
            ),
            RequestError::PrivateLost(name) => write!(
                out,
                "{} did not come back for what you said to it alone; it is lost",
                quoted(name)
            ),
            RequestError::Query(error) => write!(out, "{error}"),
            RequestError::SearchTooLong => write!(
                out,
                "The search took too long and was given up; look for rarer words, or in fewer days"
            ),
            RequestError::NotReadable => write!(
                out,
                "The server cannot read what it has stored; try again in a while"
            ),
            RequestError::NotStored => write!(
                out,
                "The server cannot store anything at the moment, so nothing was done; try again in a while"
            ),
        }
    }
}

const EXAMPLE: &str = r#"{"type":"message","data":"hello"}"#;
const KNOWN_TYPES: &str = "the types are \"message\", \"set-name\", \"history\", \"users\", \"private\", \"ping\", \"quit\" and, in the extended dialect, \"search\"";
