//! Requests of a user to the server, and their encoding in both dialects.

use crate::chat::request::Nonce;
use crate::client::session::history_replay::Since;
use crate::protocol::basic::encode_request;
use crate::protocol::client_line;

/// A request of the user to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRequest {
    /// Send a public message, or an action such as `/me waves`.
    Say {
        /// The text as typed.
        text: String,
        /// Whether it is an action.
        action: bool,
    },
    /// Send a private message.
    Private {
        /// Name of the receiver.
        target: String,
        /// The text as typed.
        text: String,
    },
    /// Change the name.
    SetName(String),
    /// Replay the newest messages: this many, or the server's default.
    History(Option<usize>),
    /// Replay all messages from a point on.
    Since(Since),
    /// List the connected users.
    Users,
    /// Search the history.
    Search(String),
    /// Send a line of the extended dialect unchanged.
    Line(String),
}

impl UserRequest {
    pub(crate) fn needs_extended(&self) -> bool {
        match self {
            UserRequest::Say { action, .. } => *action,
            UserRequest::SetName(_) | UserRequest::History(None) | UserRequest::Users => false,
            _ => true,
        }
    }

    /// Returns the type of the request's line if the server acknowledges it.
    pub(crate) fn acknowledged_kind(&self) -> Option<&'static str> {
        match self {
            UserRequest::Say { .. } => Some("message"),
            UserRequest::Private { .. } => Some("private"),
            _ => None,
        }
    }

    /// Returns the message as a user types it.
    pub(crate) fn as_typed(&self) -> String {
        match self {
            UserRequest::Say { text, action: true } => format!("/me {text}"),
            UserRequest::Say { text, .. } if text.starts_with('/') => format!("/{text}"),
            UserRequest::Say { text, .. } => text.clone(),
            UserRequest::Private { target, text } => format!("/msg \"{target}\" {text}"),
            _ => String::new(),
        }
    }

    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            UserRequest::Say { text, .. }
            | UserRequest::SetName(text)
            | UserRequest::Search(text)
            | UserRequest::Line(text) => text.len(),
            UserRequest::Private { target, text } => target.len() + text.len(),
            UserRequest::History(_) | UserRequest::Since(_) | UserRequest::Users => 0,
        }
    }

    /// Returns the name of a request that needs the extended dialect, for sentences.
    pub(crate) fn description(&self) -> &'static str {
        match self {
            UserRequest::Say { .. } => "/me",
            UserRequest::Private { .. } => "/msg",
            UserRequest::Search(_) => "/search",
            UserRequest::History(_) => "/history with a number",
            UserRequest::Since(_) => "--since",
            _ => "this line",
        }
    }
}

/// Appends the request. Without a nonce, a message is one of the basic dialect. History replays
/// encode their own pages in the extended dialect.
pub(crate) fn encode(output: &mut Vec<u8>, request: &UserRequest, nonce: Option<&Nonce>) {
    match (request, nonce) {
        (UserRequest::Say { text, action }, Some(nonce)) => {
            client_line::encode_message(output, text, *action, nonce);
        }
        (UserRequest::Say { text, .. }, None) => encode_request(output, "message", text),
        (UserRequest::Private { target, text }, Some(nonce)) => {
            client_line::encode_private(output, target, text, nonce);
        }
        (UserRequest::SetName(name), _) => encode_request(output, "set-name", name),
        (UserRequest::History(_), _) => encode_request(output, "history", ""),
        (UserRequest::Users, _) => encode_request(output, "users", ""),
        (UserRequest::Search(query), _) => client_line::encode_search(output, query),
        (UserRequest::Line(text), _) => {
            output.extend_from_slice(text.as_bytes());
            output.push(b'\n');
        }
        (UserRequest::Private { .. }, None) | (UserRequest::Since(_), _) => {}
    }
}
