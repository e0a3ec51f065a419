//! Plain values that a pipe prints as lines and a terminal draws.

use crate::client::output::presence::PresenceChange;
use crate::client::terminal::recognition::mentions;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

/// Stands before a mention where there are no colours.
pub(crate) const MENTION_MARK: &str = "! ";

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

impl MessageKind {
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, MessageKind::PrivateFrom | MessageKind::PrivateTo(_))
    }
}

impl OutputMessage {
    /// Returns whether the message wants the attention of the user with this name.
    pub(crate) fn is_mention_of(&self, own_name: &str) -> bool {
        let is_private = self.kind == MessageKind::PrivateFrom;
        self.source != own_name && (is_private || mentions(&self.text, own_name))
    }

    /// Returns the sender, or for a private message of one's own the receiver. No name begins with a
    /// bracket, so nobody can take the second form as a name.
    pub(crate) fn label(&self) -> String {
        match &self.kind {
            MessageKind::Public | MessageKind::Action => self.source.clone(),
            MessageKind::PrivateFrom => format!("{} (private)", self.source),
            MessageKind::PrivateTo(target) => format!("(private to {target})"),
        }
    }
}

/// Returns the line around messages of a reply.
pub(crate) fn border(text: &str) -> String {
    format!("── {text} ──")
}

/// Returns the margin of a message of the past.
pub(crate) fn date_and_time(time: DateTime, today: Date) -> String {
    let format = match time.year() == today.year() {
        true => "%e %b %H:%M ",
        false => "%e %b %Y %H:%M ",
    };
    time.strftime(format).to_string()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputItem {
    Message(OutputMessage),
    Presence(PresenceChange, Option<Timestamp>),
    /// A sentence of the server.
    Server(String),
    /// A sentence of the client.
    Notice(String),
    /// Explanations of commands, one per line.
    Help(String),
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
