//! Reasons for rejecting a request: a stable code and a sentence.

use crate::chat::query::QueryError;
use crate::chat::request::VERSION;
use crate::chat::sanitize::quoted;
use crate::chat::username::NameError;
use crate::limits::STORE_RETRY_INTERVAL;
use std::fmt;

/// The reason why a request is rejected. `Display` is the sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The line is not UTF-8.
    NotUtf8,
    /// The line is not JSON.
    NotJson,
    /// The line is JSON, but not an object.
    NotAnObject,
    /// `type` or `data` occurs twice.
    RepeatedKey(&'static str),
    /// The line has no `type`.
    MissingType,
    /// `type` is not a string.
    TypeNotAString,
    /// The dialect does not have this type.
    UnknownType(Box<str>),
    /// A line of this type needs `data`.
    MissingData(&'static str),
    /// A line of this type needs a string as `data`.
    DataNotAString(&'static str),
    /// The string under this key has an unpaired surrogate.
    BadEscape(&'static str),
    /// The line exceeds the limit in bytes.
    LineTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// The text exceeds the limit in bytes.
    MessageTooLong {
        /// Bytes of the text.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The message has only white space.
    BlankMessage,
    /// The client did not finish a line in time.
    LineStalled {
        /// Time limit in seconds.
        seconds: u64,
    },
    /// The stream ended within a line.
    LineUnfinished,
    /// The name is not valid.
    Name(NameError),
    /// Another user has this name or a look-alike.
    NameTaken(Box<str>),
    /// A line of this type needs an object as `data`.
    MissingObject {
        /// Type of the line.
        kind: &'static str,
        /// Example of the object.
        shape: &'static str,
    },
    /// `data` is not the object that this type needs.
    BadObject {
        /// Type of the line.
        kind: &'static str,
        /// Example of the object.
        shape: &'static str,
    },
    /// The nonce is empty or too long.
    BadNonce {
        /// Bytes allowed.
        limit: usize,
    },
    /// The data of the ping is too long.
    PingTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// The requested page has no messages.
    BadLimit {
        /// Messages allowed on a page.
        limit: usize,
    },
    /// The client requests an unknown version of the extended dialect.
    UnknownVersion(u64),
    /// The client has already sent `hello`.
    HelloTwice,
    /// No connected user has this name.
    NoSuchUser(Box<str>),
    /// The disconnected user of this name has a full mailbox.
    MailboxFull(Box<str>),
    /// The user of this name did not reconnect in time to get a private message.
    NotDelivered(Box<str>),
    /// The search is not valid.
    Query(QueryError),
    /// The store cannot be written.
    NotStored,
    /// The store cannot be read.
    NotReadable,
    /// The search exceeded its time limit.
    SearchTooLong,
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
            MissingData(_) | MissingObject { .. } => "missing-data",
            DataNotAString(_) | BadObject { .. } => "bad-data",
            BadEscape(_) => "bad-escape",
            LineTooLong { .. } => "line-too-long",
            MessageTooLong { .. } => "message-too-long",
            BlankMessage => "blank-message",
            LineStalled { .. } => "line-stalled",
            LineUnfinished => "line-unfinished",
            Name(_) => "bad-name",
            NameTaken(_) => "name-taken",
            BadNonce { .. } => "bad-nonce",
            PingTooLong { .. } => "ping-too-long",
            BadLimit { .. } => "bad-limit",
            UnknownVersion(_) => "unknown-version",
            HelloTwice => "hello-twice",
            NoSuchUser(_) => "no-such-user",
            MailboxFull(_) => "mailbox-full",
            NotDelivered(_) => "not-delivered",
            Query(_) => "bad-query",
            NotStored => "not-stored",
            NotReadable => "not-readable",
            SearchTooLong => "search-too-long",
        }
    }

    /// Returns the exceeded limit, if there is one.
    pub fn limit(&self) -> Option<usize> {
        match self {
            RequestError::LineTooLong { limit }
            | RequestError::MessageTooLong { limit, .. }
            | RequestError::BadNonce { limit }
            | RequestError::PingTooLong { limit }
            | RequestError::BadLimit { limit } => Some(*limit),
            RequestError::Query(error) => error.limit(),
            _ => None,
        }
    }

    /// Returns the milliseconds after which the same request may succeed, if it may.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let is_temporary = matches!(self, RequestError::NotStored | RequestError::NotReadable);
        let after = is_temporary.then_some(STORE_RETRY_INTERVAL)?;
        u64::try_from(after.as_millis()).ok()
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RequestError::*;
        match self {
            NotUtf8 => write!(out, "The line is not valid UTF-8; send UTF-8 text"),
            NotJson => write!(
                out,
                "The line is not valid JSON; send one JSON object a line, such as {EXAMPLE}"
            ),
            NotAnObject => write!(
                out,
                "The line is not a JSON object; send one JSON object a line, such as {EXAMPLE}"
            ),
            RepeatedKey(key) => write!(out, "The key \"{key}\" occurs twice; send it once"),
            MissingType => write!(out, "The key \"type\" is missing; {KNOWN_TYPES}"),
            TypeNotAString => write!(out, "\"type\" is not a string; {KNOWN_TYPES}"),
            UnknownType(name) => write!(out, "The type {} is unknown; {KNOWN_TYPES}", quoted(name)),
            MissingData(kind) => write!(
                out,
                "The key \"data\" is missing; a \"{kind}\" line needs a string there"
            ),
            DataNotAString(kind) => write!(
                out,
                "\"data\" is not a string; a \"{kind}\" line needs one there"
            ),
            BadEscape(key) => write!(
                out,
                "The string in \"{key}\" has an unpaired surrogate; send whole surrogate pairs"
            ),
            LineTooLong { limit } => write!(
                out,
                "The line is longer than {limit} bytes and was skipped; send shorter lines"
            ),
            MessageTooLong { length, limit } => write!(
                out,
                "The message has {length} bytes, more than the {limit} allowed; send it in parts"
            ),
            BlankMessage => write!(
                out,
                "The message is empty; write something other than white space"
            ),
            LineStalled { seconds } => write!(
                out,
                "The line was not ended within {seconds} seconds and was skipped; end each line \
                 with a newline"
            ),
            LineUnfinished => write!(
                out,
                "The last line was not ended and was skipped; end each line with a newline"
            ),
            Name(error) => error.fmt(out),
            NameTaken(name) => write!(
                out,
                "The name {} is taken, or looks like one that is; choose another",
                quoted(name)
            ),
            MissingObject { kind, shape } => write!(
                out,
                "The key \"data\" is missing; a \"{kind}\" line needs {shape} there"
            ),
            BadObject { kind, shape } => write!(
                out,
                "\"data\" is not valid; a \"{kind}\" line needs an object such as {shape}"
            ),
            BadNonce { limit } => write!(out, "A nonce has 1 to {limit} bytes; choose another"),
            PingTooLong { limit } => write!(
                out,
                "The data of the ping is longer than {limit} bytes; send less"
            ),
            BadLimit { limit } => write!(
                out,
                "A page has 1 to {limit} messages; request at least one"
            ),
            UnknownVersion(version) => write!(
                out,
                "Version {version} of the extended dialect is unknown; use version {VERSION}"
            ),
            HelloTwice => write!(
                out,
                "This connection has already sent \"hello\"; open another to be another user"
            ),
            NoSuchUser(name) => write!(
                out,
                "No user is named {}; \"users\" lists the connected users",
                quoted(name)
            ),
            MailboxFull(name) => write!(
                out,
                "{} is disconnected and has a full mailbox; try again later",
                quoted(name)
            ),
            NotDelivered(name) => write!(
                out,
                "{} did not reconnect in time; your private message was not delivered",
                quoted(name)
            ),
            Query(error) => error.fmt(out),
            SearchTooLong => write!(
                out,
                "The search took too long; search for rarer words or fewer days"
            ),
            NotReadable => write!(
                out,
                "The server cannot read its stored messages at the moment; try again later"
            ),
            NotStored => write!(
                out,
                "The server cannot store anything at the moment, so the request had no effect; \
                 try again later"
            ),
        }
    }
}

const EXAMPLE: &str = r#"{"type":"message","data":"hello"}"#;
const KNOWN_TYPES: &str = "the types are \"message\", \"set-name\", \"history\", \"users\", \"private\", \"ping\", \"quit\" and, in the extended dialect, \"search\"";
