//! Protocol lines as input, for programs (`--json`).

use crate::chat::request::Request;
use crate::chat::sanitize::is_blank;
use crate::client::input::commands::Command;
use crate::client::session::request::UserRequest;
use crate::protocol::{Dialect, decode};

/// Parses a line of the extended dialect; what a server would reject is invalid.
pub(crate) fn parse(text: &str, max_message_bytes: usize) -> Command {
    if is_blank(text) {
        return Command::Nothing;
    }
    let request = match decode::request(text.as_bytes(), Dialect::Extended, max_message_bytes) {
        Ok(request) => request,
        Err(rejected) => return Command::Invalid(rejected.error.to_string()),
    };
    match request {
        Request::SendMessage(say) => {
            let (text, action) = (say.text.into(), say.action);
            Command::Request(UserRequest::Say { text, action }, say.nonce)
        }
        Request::Private(private) => {
            let (target, text) = (private.target.into(), private.text.into());
            Command::Request(UserRequest::Private { target, text }, private.nonce)
        }
        Request::SetName(name) => Command::Request(UserRequest::SetName(name.into()), None),
        Request::Users => Command::Request(UserRequest::Users, None),
        Request::History | Request::Page(_) | Request::Search(_) => {
            Command::Request(UserRequest::Line(text.to_owned()), None)
        }
        Request::Quit => Command::Quit,
        Request::Hello(_) | Request::Ping(_) => {
            Command::Invalid("The client sends hello and ping by itself".to_owned())
        }
    }
}
