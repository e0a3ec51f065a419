//! The wire protocol: what a line may say, and the sentences of refusal.
//!
//! What lives here: the types of requests and refusals; `decode` reads the lines of clients,
//! [`basic`] and [`extended`] write those of the server. Server and client both use it. It must never know the room, a socket
//! or a clock: bytes and values go in, values and bytes come out.

pub mod basic;
pub mod client;
pub mod decode;
pub mod extended;
pub mod request;

pub use request::{Dialect, Hello, Nonce, Page, Place, Private, Request, Say, Search};

use crate::limits::STORE_RETRY_INTERVAL;
use crate::name::NameError;
use crate::search::QueryError;
use crate::text::quoted;
use std::fmt;

/// Source of everything that the server itself says.
pub const SERVER_SOURCE: &str = "[Server]";

/// Why a line is refused. Its `Display` is the sentence that the client gets.
///
/// Protocol: "What is refused".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
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
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The type of the line, as far as it is known.
    pub kind: Option<Box<str>>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused {
            refusal,
            kind: None,
        }
    }
}

impl Refusal {
    /// Its word for programs; they never change.
    ///
    /// Protocol: `code` of `error`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NotUtf8 => "not-utf8",
            Refusal::NotJson => "not-json",
            Refusal::NotAnObject => "not-an-object",
            Refusal::RepeatedKey(_) => "repeated-key",
            Refusal::MissingType => "missing-type",
            Refusal::TypeNotAString => "bad-type",
            Refusal::UnknownType(_) => "unknown-type",
            Refusal::MissingData(_) | Refusal::MissingObject { .. } => "missing-data",
            Refusal::DataNotAString(_) | Refusal::BadObject { .. } => "bad-data",
            Refusal::BadEscape(_) => "bad-escape",
            Refusal::LineTooLong { .. } => "line-too-long",
            Refusal::MessageTooLong { .. } => "message-too-long",
            Refusal::BlankMessage => "blank-message",
            Refusal::LineStalled { .. } => "line-stalled",
            Refusal::LineUnfinished => "line-unfinished",
            Refusal::Name(_) => "bad-name",
            Refusal::NameTaken(_) => "name-taken",
            Refusal::BadNonce { .. } => "bad-nonce",
            Refusal::PingTooLong { .. } => "ping-too-long",
            Refusal::EmptyPage { .. } => "bad-limit",
            Refusal::OtherVersion(_) => "unknown-version",
            Refusal::HelloTwice => "hello-twice",
            Refusal::NoSuchUser(_) => "no-such-user",
            Refusal::AwayTooLong(_) => "mailbox-full",
            Refusal::PrivateLost(_) => "not-delivered",
            Refusal::Query(_) => "bad-query",
            Refusal::NotStored => "not-stored",
            Refusal::NotReadable => "not-readable",
            Refusal::SearchTooLong => "search-too-long",
        }
    }

    /// The limit that was hit, if one was.
    pub fn limit(&self) -> Option<usize> {
        match self {
            Refusal::LineTooLong { limit }
            | Refusal::MessageTooLong { limit, .. }
            | Refusal::BadNonce { limit }
            | Refusal::PingTooLong { limit }
            | Refusal::EmptyPage { limit } => Some(*limit),
            Refusal::Query(error) => error.limit(),
            _ => None,
        }
    }

    /// After how many milliseconds the same may be accepted, where time helps.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let is_the_stores = matches!(self, Refusal::NotStored | Refusal::NotReadable);
        let after = is_the_stores.then_some(STORE_RETRY_INTERVAL)?;
        u64::try_from(after.as_millis()).ok()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotUtf8 => write!(out, "The line is not valid UTF-8; send UTF-8 text"),
            Refusal::NotJson => write!(
                out,
                "The line is not valid JSON; send one JSON object a line, such as {EXAMPLE}"
            ),
            Refusal::NotAnObject => write!(
                out,
                "The line is not a JSON object; send one JSON object a line, such as {EXAMPLE}"
            ),
            Refusal::RepeatedKey(key) => {
                write!(out, "The key \"{key}\" stands more than once; send it once")
            }
            Refusal::MissingType => write!(out, "The key \"type\" is missing; {KNOWN_TYPES}"),
            Refusal::TypeNotAString => write!(out, "\"type\" is not a string; {KNOWN_TYPES}"),
            Refusal::UnknownType(name) => {
                write!(out, "The type {} is unknown; {KNOWN_TYPES}", quoted(name))
            }
            Refusal::MissingData(kind) => {
                write!(
                    out,
                    "The key \"data\" is missing; a \"{kind}\" line needs a string there"
                )
            }
            Refusal::DataNotAString(kind) => {
                write!(
                    out,
                    "\"data\" is not a string; a \"{kind}\" line needs one there"
                )
            }
            Refusal::BadEscape(key) => write!(
                out,
                "The string in \"{key}\" has an escape that stands for no character; send whole surrogate pairs"
            ),
            Refusal::LineTooLong { limit } => write!(
                out,
                "The line is longer than {limit} bytes and was skipped; send shorter lines"
            ),
            Refusal::MessageTooLong { length, limit } => write!(
                out,
                "The message has {length} bytes, more than the {limit} allowed; send it in parts"
            ),
            Refusal::BlankMessage => {
                write!(
                    out,
                    "The message is empty; write something other than white space"
                )
            }
            Refusal::LineStalled { seconds } => write!(
                out,
                "The line was not ended within {seconds} seconds and was skipped; end each line with a newline"
            ),
            Refusal::LineUnfinished => write!(
                out,
                "The last line was not ended and was skipped; end each line with a newline"
            ),
            Refusal::Name(error) => write!(out, "{error}"),
            Refusal::NameTaken(name) => write!(
                out,
                "The name {} is taken, or looks like one that is; choose another",
                quoted(name)
            ),
            Refusal::MissingObject { kind, shape } => write!(
                out,
                "The key \"data\" is missing; a \"{kind}\" line needs {shape} there"
            ),
            Refusal::BadObject { kind, shape } => write!(
                out,
                "\"data\" is not what a \"{kind}\" line needs, such as {shape}"
            ),
            Refusal::BadNonce { limit } => {
                write!(
                    out,
                    "The nonce is not of 1 to {limit} bytes; choose another"
                )
            }
            Refusal::PingTooLong { limit } => write!(
                out,
                "The data of the ping is longer than the {limit} bytes allowed; send less"
            ),
            Refusal::EmptyPage { limit } => {
                write!(
                    out,
                    "A page has 1 to {limit} messages; ask for at least one"
                )
            }
            Refusal::OtherVersion(version) => write!(
                out,
                "Version {version} of the extended dialect is unknown; the version here is {}",
                decode::VERSION
            ),
            Refusal::HelloTwice => write!(
                out,
                "You have said \"hello\" before; connect again to be another user"
            ),
            Refusal::NoSuchUser(name) => write!(
                out,
                "Nobody here is called {}; \"users\" tells who is here",
                quoted(name)
            ),
            Refusal::AwayTooLong(name) => write!(
                out,
                "The connection of {} is lost, and no more is kept for it; try again later",
                quoted(name)
            ),
            Refusal::PrivateLost(name) => write!(
                out,
                "{} did not come back for what you said to it alone; it is lost",
                quoted(name)
            ),
            Refusal::Query(error) => write!(out, "{error}"),
            Refusal::SearchTooLong => write!(
                out,
                "The search took too long and was given up; look for rarer words, or in fewer days"
            ),
            Refusal::NotReadable => write!(
                out,
                "The server cannot read what it has stored; try again in a while"
            ),
            Refusal::NotStored => write!(
                out,
                "The server cannot store anything at the moment, so nothing was done; try again in a while"
            ),
        }
    }
}

const EXAMPLE: &str = r#"{"type":"message","data":"hello"}"#;
const KNOWN_TYPES: &str = "the types are \"message\", \"set-name\", \"history\", \"users\", \"private\", \"ping\", \"quit\" and, in the extended dialect, \"search\"";
