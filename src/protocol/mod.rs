//! The wire protocol: what a line may say, and the sentences of refusal.
//!
//! What lives here: the types of requests and refusals; [`basic`] reads and writes the lines
//! of the basic dialect. Server and client both use it. It must never know the room, a socket
//! or a clock: bytes and values go in, values and bytes come out.

pub mod basic;

use crate::name::NameError;
use crate::text::quoted;
use std::fmt;

/// Source of everything that the server itself says.
pub const SERVER_SOURCE: &str = "[Server]";

/// Something that a client asks for, already checked for size and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Say this text to everyone; control characters are removed, it is not blank.
    Say(Box<str>),
    /// Be called this from now on; not yet checked.
    SetName(Box<str>),
    /// Replay the messages that are kept.
    History,
    /// Tell who is here.
    Users,
}

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
        }
    }
}

const EXAMPLE: &str = r#"{"type":"message","data":"hello"}"#;
const KNOWN_TYPES: &str = "the types are \"message\", \"set-name\", \"history\" and \"users\"";
