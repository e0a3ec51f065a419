//! Plain values that a pipe prints as lines and a terminal draws.

use crate::client::output::presence::PresenceChange;
use jiff::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Public,
    Action,
    PrivateFrom,
    /// Sent by the user of this client to the named user.
    PrivateTo(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputMessage {
    pub(crate) source: String,
    pub(crate) text: String,
    /// None in the basic dialect.
    pub(crate) time: Option<Timestamp>,
    pub(crate) kind: MessageKind,
    /// Whether the message comes from the history or from a search.
    pub(crate) is_replay: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputItem {
    Message(OutputMessage),
    Presence(PresenceChange, Option<Timestamp>),
    /// A sentence of the server.
    Server(String),
    /// A sentence of the client.
    Notice(String),
    /// The heading or the end of a reply with messages.
    ReplyBorder(String),
    /// A line to print as it is, such as a line of JSON.
    Line(String),
    OwnName(String),
    /// Names of the connected users, for completion; not drawn.
    PresentUsers(Vec<String>),
    /// The state of the connection, for the status above the prompt.
    Status(String),
    ListMentions,
    Clear,
    /// The user entered a line, so everything on the screen counts as seen.
    InputEntered,
}
