//! What a user wants of the server.
//!
//! What lives here: [`UserRequest`], with what each dialect can do of it and how it is written there.
//! Commands make them, the session sends them. It must never read what a server says.

use crate::chat::request::Nonce;
use crate::client::session::history_replay::Since;
use crate::protocol::basic::encode_request;
use crate::protocol::server_line;

/// What a user wants of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRequest {
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

impl UserRequest {
    /// Whether only the extended dialect knows it.
    pub fn needs_extended(&self) -> bool {
        match self {
            UserRequest::Say { action, .. } => *action,
            UserRequest::SetName(_) | UserRequest::History(None) | UserRequest::Users => false,
            UserRequest::Private { .. }
            | UserRequest::History(Some(_))
            | UserRequest::Since(_)
            | UserRequest::Search(_)
            | UserRequest::Line(_) => true,
        }
    }

    /// What its line is called, where it gets an acknowledgement.
    pub fn acknowledged_kind(&self) -> Option<&'static str> {
        match self {
            UserRequest::Say { .. } => Some("message"),
            UserRequest::Private { .. } => Some("private"),
            _ => None,
        }
    }

    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        match self {
            UserRequest::Say { text, .. }
            | UserRequest::SetName(text)
            | UserRequest::Search(text)
            | UserRequest::Line(text) => text.len(),
            UserRequest::Private { target, text } => target.len() + text.len(),
            UserRequest::History(_) | UserRequest::Since(_) | UserRequest::Users => 0,
        }
    }

    /// What a user calls it.
    pub fn description(&self) -> &'static str {
        match self {
            UserRequest::Say { .. } => "/me",
            UserRequest::Private { .. } => "/msg",
            UserRequest::Search(_) => "/search",
            UserRequest::SetName(_) => "a name",
            UserRequest::History(_) => "/history with a number",
            UserRequest::Since(_) => "--since",
            UserRequest::Users => "the list of users",
            UserRequest::Line(_) => "this line",
        }
    }
}

/// Writes the line that asks for it in the basic dialect; nothing where that does not know it.
pub fn encode_basic(line: &mut Vec<u8>, asked: &UserRequest) {
    match asked {
        UserRequest::Say { text, .. } => encode_request(line, "message", text),
        UserRequest::SetName(name) => encode_request(line, "set-name", name),
        UserRequest::History(_) => encode_request(line, "history", ""),
        UserRequest::Users => encode_request(line, "users", ""),
        // The basic dialect does not know them.
        UserRequest::Private { .. }
        | UserRequest::Since(_)
        | UserRequest::Search(_)
        | UserRequest::Line(_) => {}
    }
}

/// Writes the line that asks for it in the extended dialect, a replay excepted.
pub fn encode_extended(line: &mut Vec<u8>, asked: &UserRequest, nonce: Option<&Nonce>) {
    match (asked, nonce) {
        (UserRequest::Say { text, action }, Some(nonce)) => {
            server_line::encode_say(line, text, *action, nonce);
        }
        (UserRequest::Private { target, text }, Some(nonce)) => {
            server_line::encode_private(line, target, text, nonce);
        }
        (UserRequest::Search(query), _) => server_line::encode_search(line, query),
        (UserRequest::Line(text), _) => {
            line.extend_from_slice(text.as_bytes());
            line.push(b'\n');
        }
        (other, _) => encode_basic(line, other),
    }
}
