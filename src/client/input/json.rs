//! Lines of the protocol as input, as programs write them.
//!
//! What lives here: [`interpret`]. The client's loop uses it in place of the commands. It must
//! never pass on what a server would refuse.

use crate::chat::request::Request;
use crate::chat::sanitize::is_blank;
use crate::client::input::commands::Command;
use crate::client::session::request::UserRequest;
use crate::protocol::{Dialect, decode};

/// What a line of the protocol wants; a message may have this many bytes.
pub fn interpret(text: &str, max_message_bytes: usize) -> Command {
    if is_blank(text) {
        return Command::Nothing;
    }
    let request = match decode::request(text.as_bytes(), Dialect::Extended, max_message_bytes) {
        Ok(request) => request,
        Err(refused) => return Command::Refused(refused.refusal.to_string()),
    };
    let (asked, nonce) = match request {
        Request::Say(say) => {
            let (text, action) = (say.text.into(), say.action);
            (UserRequest::Say { text, action }, say.nonce)
        }
        Request::Private(private) => {
            let (target, text) = (private.target.into(), private.text.into());
            (UserRequest::Private { target, text }, private.nonce)
        }
        Request::SetName(name) => (UserRequest::SetName(name.into()), None),
        Request::Users => (UserRequest::Users, None),
        Request::History | Request::Page(_) | Request::Search(_) => {
            (UserRequest::Line(text.to_owned()), None)
        }
        Request::Quit => return Command::Quit,
        Request::Hello(_) | Request::Ping(_) => {
            return Command::Refused("The client says hello and pings by itself".to_owned());
        }
    };
    match nonce {
        Some(nonce) => Command::AskWith(asked, nonce),
        None => Command::Ask(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_protocol_are_understood() {
        let say = UserRequest::Say {
            text: "hi".to_owned(),
            action: true,
        };
        let line = r#"{"type":"message","data":{"message":"hi","action":true}}"#;
        assert_eq!(interpret(line, 10), Command::Ask(say.clone()));
        let line = r#"{"type":"message","data":{"message":"hi","action":true,"nonce":"n"}}"#;
        assert!(
            matches!(interpret(line, 10), Command::AskWith(asked, nonce) if asked == say && nonce.as_str() == "n")
        );
        assert_eq!(
            interpret(r#"{"type":"set-name","data":"al"}"#, 10),
            Command::Ask(UserRequest::SetName("al".to_owned()))
        );
        let search = r#"{"type":"search","data":{"query":"x"}}"#;
        assert_eq!(
            interpret(search, 10),
            Command::Ask(UserRequest::Line(search.to_owned()))
        );
        assert_eq!(interpret(r#"{"type":"quit"}"#, 10), Command::Quit);
        assert_eq!(interpret(" ", 10), Command::Nothing);
    }

    #[test]
    fn what_a_server_would_refuse_is_told() {
        for line in [
            "hello",
            r#"{"type":"message","data":"0123456789x"}"#,
            r#"{"type":"weather"}"#,
            r#"{"type":"hello","data":{}}"#,
            r#"{"type":"ping","data":{"id":1}}"#,
        ] {
            assert!(matches!(interpret(line, 10), Command::Refused(_)), "{line}");
        }
    }
}
