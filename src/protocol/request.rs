//! What a client can ask for, in either dialect, already checked for size and shape.
//!
//! What lives here: [`Request`], a closed list, and its parts, plain data. The dialects read
//! them, the room does them. It must never know how a line looks.

use crate::limits::MAX_NONCE_BYTES;
use crate::search::Query;
use crate::token::Token;

/// How a connection is spoken with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Only `message` lines go to the client.
    #[default]
    Basic,
    /// Every line has a type of its own; begins with `hello`.
    Extended,
    /// Server-sent events for the live streams of the page. Nothing is read in it.
    Page,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 3] = [Dialect::Basic, Dialect::Extended, Dialect::Page];
}

/// Something that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Say something to everyone.
    Say(Say),
    /// Be called this from now on; not yet checked.
    SetName(Box<str>),
    /// Replay the messages that are kept.
    History,
    /// Tell who is here.
    Users,
    /// Speak the extended dialect from now on.
    Hello(Hello),
    /// Say something to one user.
    Private(Private),
    /// A page of the messages that are kept.
    Page(Page),
    /// Messages that match.
    Search(Search),
    /// Answer with this JSON value.
    Ping(Box<str>),
    /// Leave.
    Quit,
}

/// Something to say to everyone: control characters are removed, it is not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// The text; newlines are newlines here.
    pub text: Box<str>,
    /// Whether it is done, not said.
    pub action: bool,
    /// What its acknowledgement is asked for with.
    pub nonce: Option<Nonce>,
}

impl<T: Into<Box<str>>> From<T> for Say {
    fn from(text: T) -> Self {
        Say {
            text: text.into(),
            action: false,
            nonce: None,
        }
    }
}

/// Something to say to one user: control characters are removed, it is not blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
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
    pub after: Option<Place>,
}

/// A place in the order of public events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The life of the past in which the number counts.
    pub epoch: Box<str>,
    /// Number of the newest event that is known.
    pub id: u64,
}

/// A part of a long list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only what is older than the event with this number; none: the newest.
    pub before: Option<u64>,
    /// Messages on the page, at least one.
    pub limit: usize,
}

/// What is looked for among the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The words and conditions.
    pub query: Query,
    /// Which part of what was found.
    pub page: Page,
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
