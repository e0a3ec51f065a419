//! What a client can ask for, in either dialect, already checked for size and shape.
//!
//! What lives here: [`Request`], a closed list, and its parts, plain data. The dialects read
//! them, the room does them. It must never know how a line looks.

use crate::chat::query::Query;
use crate::chat::token::Token;
use crate::limits::MAX_NONCE_BYTES;

/// The version of the extended dialect.
pub const VERSION: u64 = 2;

/// Something that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Say something to everyone.
    Say(SendMessage),
    /// Be called this from now on; not yet checked.
    SetName(Box<str>),
    /// Replay the messages that are kept.
    History,
    /// Tell who is here.
    Users,
    /// Speak the extended dialect from now on.
    Hello(Hello),
    /// Say something to one user.
    Private(SendPrivate),
    /// A page of the messages that are kept.
    Page(HistoryPage),
    /// Messages that match.
    Search(SearchRequest),
    /// Answer with this JSON value.
    Ping(Box<str>),
    /// Leave.
    Quit,
}

/// Something to say to everyone: control characters are removed, it is not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessage {
    /// The text; newlines are newlines here.
    pub text: Box<str>,
    /// Whether it is done, not said.
    pub action: bool,
    /// What its acknowledgement is asked for with.
    pub nonce: Option<Nonce>,
}

impl<T: Into<Box<str>>> From<T> for SendMessage {
    fn from(text: T) -> Self {
        SendMessage {
            text: text.into(),
            action: false,
            nonce: None,
        }
    }
}

/// Something to say to one user: control characters are removed, it is not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendPrivate {
    /// Whom it is for, as the sender wrote the name.
    pub target: Box<str>,
    /// The text; newlines are newlines here.
    pub text: Box<str>,
    /// What its acknowledgement is asked for with.
    pub nonce: Option<Nonce>,
}

/// How a client introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The program and its version, for the operator's log.
    pub client: Box<str>,
    /// Who it was before.
    pub token: Option<Token>,
    /// What it has already.
    pub after: Option<EventCursor>,
}

/// A place in the order of public events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// The life of the past in which the number counts.
    pub epoch: Box<str>,
    /// Number of the newest event that is known.
    pub id: u64,
}

/// A part of a long list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Only what is older than the event with this number; none: the newest.
    pub before: Option<u64>,
    /// Messages on the page, at least one.
    pub limit: usize,
}

/// What is looked for among the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// The words and conditions.
    pub query: Query,
    /// Which part of what was found.
    pub page: HistoryPage,
}

/// What a client knows one of its lines by: 1 to [`MAX_NONCE_BYTES`] bytes of its own choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(Box<str>);

impl Nonce {
    /// A nonce; none if it is empty or too long.
    pub fn new(text: &str) -> Option<Nonce> {
        (1..=MAX_NONCE_BYTES)
            .contains(&text.len())
            .then(|| Nonce(text.into()))
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
