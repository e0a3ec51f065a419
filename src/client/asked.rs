//! What a user wants of the server.
//!
//! What lives here: [`Asked`], with what each dialect can do of it and how it is written there.
//! Commands make them, the session sends them. It must never read what a server says.

use crate::client::replay::Since;
use crate::protocol::Nonce;
use crate::protocol::basic::encode_request;
use crate::protocol::client;

/// What a user wants of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Say this to everyone, or do it.
    Say {
        /// The text.
        text: String,
        /// Whether it is done, not said.
        action: bool,
    },
    /// Say something to one user.
    Private {
        /// To whom.
        target: String,
        /// The text.
        text: String,
    },
    /// Be called this.
    SetName(String),
    /// Tell the newest messages, all that are kept or this many.
    History(Option<usize>),
    /// Tell the messages since then.
    Since(Since),
    /// Tell who is here.
    Users,
    /// Tell the messages that match.
    Search(String),
    /// A line of the extended dialect, as a program wrote it, that gets no acknowledgement.
    Line(String),
}

impl Asked {
    /// Whether only the extended dialect knows it.
    pub fn needs_extended(&self) -> bool {
        match self {
            Asked::Say { action, .. } => *action,
            Asked::SetName(_) | Asked::History(None) | Asked::Users => false,
            Asked::Private { .. }
            | Asked::History(Some(_))
            | Asked::Since(_)
            | Asked::Search(_)
            | Asked::Line(_) => true,
        }
    }

    /// What its line is called, where it gets an acknowledgement.
    pub fn acknowledged_kind(&self) -> Option<&'static str> {
        match self {
            Asked::Say { .. } => Some("message"),
            Asked::Private { .. } => Some("private"),
            _ => None,
        }
    }

    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        match self {
            Asked::Say { text, .. }
            | Asked::SetName(text)
            | Asked::Search(text)
            | Asked::Line(text) => text.len(),
            Asked::Private { target, text } => target.len() + text.len(),
            Asked::History(_) | Asked::Since(_) | Asked::Users => 0,
        }
    }

    /// What a user calls it.
    pub fn description(&self) -> &'static str {
        match self {
            Asked::Say { .. } => "/me",
            Asked::Private { .. } => "/msg",
            Asked::Search(_) => "/search",
            Asked::SetName(_) => "a name",
            Asked::History(_) => "/history with a number",
            Asked::Since(_) => "--since",
            Asked::Users => "the list of users",
            Asked::Line(_) => "this line",
        }
    }
}

/// Writes the line that asks for it in the basic dialect; nothing where that does not know it.
pub fn encode_basic(line: &mut Vec<u8>, asked: &Asked) {
    match asked {
        Asked::Say { text, .. } => encode_request(line, "message", text),
        Asked::SetName(name) => encode_request(line, "set-name", name),
        Asked::History(_) => encode_request(line, "history", ""),
        Asked::Users => encode_request(line, "users", ""),
        // The basic dialect does not know them.
        Asked::Private { .. } | Asked::Since(_) | Asked::Search(_) | Asked::Line(_) => {}
    }
}

/// Writes the line that asks for it in the extended dialect, a replay excepted.
pub fn encode_extended(line: &mut Vec<u8>, asked: &Asked, nonce: Option<&Nonce>) {
    match (asked, nonce) {
        (Asked::Say { text, action }, Some(nonce)) => {
            client::encode_say(line, text, *action, nonce);
        }
        (Asked::Private { target, text }, Some(nonce)) => {
            client::encode_private(line, target, text, nonce);
        }
        (Asked::Search(query), _) => client::encode_search(line, query),
        (Asked::Line(text), _) => {
            line.extend_from_slice(text.as_bytes());
            line.push(b'\n');
        }
        (other, _) => encode_basic(line, other),
    }
}
