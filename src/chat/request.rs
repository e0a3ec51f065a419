//! Requests of a client in either dialect, already checked for size and shape.

use crate::chat::query::Query;
use crate::chat::token::Token;
use crate::limits::MAX_NONCE_BYTES;

/// The version of the extended dialect.
pub const VERSION: u64 = 2;

/// A request of a client.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    SendMessage(SendMessage),
    /// Change the name to this text, which is not yet checked.
    SetName(Box<str>),
    /// Send the whole history, in the basic dialect.
    History,
    Users,
    Hello(Hello),
    Private(SendPrivate),
    /// Send a page of the history, in the extended dialect.
    Page(HistoryPage),
    Search(SearchRequest),
    /// Answer with this JSON value.
    Ping(Box<str>),
    Quit,
}

/// A public message to send: sanitized and not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessage {
    /// Text, in which a newline stays a newline.
    pub text: Box<str>,
    /// Whether the message describes an action.
    pub action: bool,
    /// Requests an acknowledgement.
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

/// A private message to send: sanitized and not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendPrivate {
    /// Name of the receiver as the sender wrote it.
    pub target: Box<str>,
    /// Text, in which a newline stays a newline.
    pub text: Box<str>,
    /// Requests an acknowledgement.
    pub nonce: Option<Nonce>,
}

/// How a client introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Program and version, for the operator's log.
    pub client: Box<str>,
    /// Session token of an earlier connection.
    pub token: Option<Token>,
    /// Newest event that the client has.
    pub after: Option<EventCursor>,
}

/// A position in the log of public events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// Log epoch in which the number counts.
    pub epoch: Box<str>,
    /// Number of the newest known event.
    pub id: u64,
}

/// A page of a long list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Number of the event before which the page ends, or `None` for the newest page.
    pub before: Option<u64>,
    /// Maximum number of messages, at least 1.
    pub limit: usize,
}

/// A page of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// Words and filters.
    pub query: Query,
    /// Page of the result.
    pub page: HistoryPage,
}

/// A client's identifier of one of its lines: 1 to [`MAX_NONCE_BYTES`] bytes of its choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(Box<str>);

impl Nonce {
    /// Returns `None` if the text is empty or too long.
    pub fn new(text: &str) -> Option<Nonce> {
        (1..=MAX_NONCE_BYTES)
            .contains(&text.len())
            .then(|| Nonce(text.into()))
    }

    /// Returns the text of the client.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
