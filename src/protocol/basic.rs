//! The basic dialect: reading a client's line, writing a server's line, and the same seen
//! from the client.
//!
//! What lives here: the only code that knows how a basic line looks, but for the client's reading
//! of a server's, which is the same for both dialects. The server's connections and room, and the
//! client's session use it. It must never send anything but `message` lines
//! to a basic client: programs in the field know no other.
//!
//! Protocol: "Basic dialect".

use crate::chat::SERVER_SOURCE;
use crate::chat::error::RequestError;
use crate::chat::event::EventKind;
use crate::chat::message::Message;
use crate::chat::request::Request;
use crate::chat::sanitize::{clean_message, one_line};
use crate::protocol::{Dialect, decode};
use std::sync::Arc;

/// Reads one line of a client of the basic dialect.
///
/// # Errors
/// The reason why the line is refused.
pub fn decode_request(line: &[u8], max_message_bytes: usize) -> Result<Request, RequestError> {
    decode::request(line, Dialect::Basic, max_message_bytes).map_err(|refused| refused.refusal)
}

/// Appends the line in which `source` says `text`, its newline included.
///
/// A newline in the text becomes ` ↵ `, since simple clients print the text as it is.
pub fn encode_message(line: &mut Vec<u8>, source: &str, text: &str) {
    line.extend_from_slice(br#"{"type":"message","data":{"source":"#);
    encode_string(line, source);
    line.extend_from_slice(br#","message":"#);
    encode_string(line, &one_line(text));
    line.extend_from_slice(b"}}\n");
}

/// Appends the beginning of a line in which `source` says something, up to its text.
pub fn open_message(line: &mut Vec<u8>, source: &str) {
    line.extend_from_slice(br#"{"type":"message","data":{"source":"#);
    encode_string(line, source);
    line.extend_from_slice(br#","message":""#);
}

/// Appends a part of the text of an open line.
pub fn continue_text(line: &mut Vec<u8>, part: &str) {
    let opening_quote = line.len();
    encode_string(line, part);
    line.pop();
    line.remove(opening_quote);
}

/// Appends what ends an open line.
pub fn close_message(line: &mut Vec<u8>) {
    line.extend_from_slice(b"\"}}\n");
}

/// Appends a line of the server itself.
pub fn encode_notice(line: &mut Vec<u8>, sentence: &str) {
    encode_message(line, SERVER_SOURCE, sentence);
}

/// Appends a JSON string with its quotes; only what RFC 8259 demands is escaped.
pub fn encode_string(line: &mut Vec<u8>, text: &str) {
    // Writing a `str` as JSON into memory has no way to fail: neither the text nor the
    // `Vec` can refuse anything.
    serde_json::to_writer(&mut *line, text).expect("a string is always writable to memory");
}

/// Appends the line of a public message, its newline included.
pub fn encode_chat_message(line: &mut Vec<u8>, message: &Message) {
    encode_message(line, message.source.as_str(), &message.plain_text());
}

/// Appends the line that tells of an arrival: with a space before its newline, which is the mark
/// of a server that speaks the extended dialect. JSON parsers pass over it.
pub fn encode_entered(line: &mut Vec<u8>, name: &str) {
    encode_notice(line, &entered(name));
    line.pop();
    line.extend_from_slice(b" \n");
}

/// Appends the line in which `source` says `text` to one user alone.
pub fn encode_private(line: &mut Vec<u8>, source: &str, text: &str) {
    encode_message(line, &format!("{source} (private)"), text);
}

/// The answer to a ping with this JSON value.
pub fn pong(data: &str) -> String {
    format!("pong {}", clean_message(data))
}

/// `NAME has entered the chat`.
pub fn entered(name: &str) -> String {
    format!("{name} has entered the chat")
}

/// `NAME has left the chat`.
pub fn left(name: &str) -> String {
    format!("{name} has left the chat")
}

/// `OLD renamed to NEW`.
pub fn renamed(old: &str, new: &str) -> String {
    format!("{old} renamed to {new}")
}

/// Returns the notice of an event, or `None` for a message, which has its own line.
pub fn event_notice(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Joined { name, .. } => Some(entered(name.as_str())),
        EventKind::Left { name, .. } => Some(left(name.as_str())),
        EventKind::Renamed { old, new } => Some(renamed(old.as_str(), new.as_str())),
        EventKind::Said(_) => None,
    }
}

/// Appends a client's line of this `kind` with this `data`, its newline included.
pub fn encode_request(line: &mut Vec<u8>, kind: &str, data: &str) {
    line.extend_from_slice(br#"{"type":"#);
    encode_string(line, kind);
    line.extend_from_slice(br#","data":"#);
    encode_string(line, data);
    line.extend_from_slice(b"}\n");
}

/// Returns a line that the server says, shared by all its readers.
pub fn notice_line(sentence: &str) -> Arc<[u8]> {
    let mut line = Vec::new();
    encode_notice(&mut line, sentence);
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Request, RequestError>) {
        assert_eq!(decode_request(line.as_bytes(), 16), expected, "{line}");
    }

    #[test]
    fn the_four_requests() {
        check(
            r#"{"type":"message","data":"hi"}"#,
            Ok(Request::Say("hi".into())),
        );
        check(
            r#"{"type":"set-name","data":"Al"}"#,
            Ok(Request::SetName("Al".into())),
        );
        check(r#"{"type":"history","data":""}"#, Ok(Request::History));
        check(r#"{"type":"users","data":""}"#, Ok(Request::Users));
    }

    #[test]
    fn key_order_white_space_and_unknown_keys_mean_nothing() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for line in [
            r#" { "data" : "hi" , "x":[{}], "type" : "message" , "x":1 } "#.to_owned(),
            r#"{"\u0074ype":"mess\u0061ge","data":"\u0068i"}"#.to_owned(),
            format!(r#"{{"deep":{deep},"type":"message","data":"hi"}}"#),
        ] {
            check(&line, Ok(Request::Say("hi".into())));
        }
    }

    #[test]
    fn history_and_users_ignore_their_data() {
        check(r#"{"type":"history"}"#, Ok(Request::History));
        check(r#"{"type":"users","data":{"a":[1]}}"#, Ok(Request::Users));
        check(r#"{"data":null,"type":"users"}"#, Ok(Request::Users));
    }

    #[test]
    fn every_refusal_of_form() {
        let deep = "[".repeat(100_000);
        for line in [
            "hello",
            "{",
            "",
            "{}x",
            "\u{feff}{}",
            "nul",
            r#"{"type":"message","data":"\ud800"}x"#,
            &deep,
        ] {
            check(line, Err(RequestError::NotJson));
        }
        for line in ["[]", "1", "null", "\"type\"", " true "] {
            check(line, Err(RequestError::NotAnObject));
        }
        check("{}", Err(RequestError::MissingType));
        check(r#"{"data":"x"}"#, Err(RequestError::MissingType));
        check(
            r#"{"type":1,"data":"x"}"#,
            Err(RequestError::TypeNotAString),
        );
        check(
            r#"{"type":null,"data":"x"}"#,
            Err(RequestError::TypeNotAString),
        );
        check(
            r#"{"type":"kick","data":"x"}"#,
            Err(RequestError::UnknownType("kick".into())),
        );
        check(
            r#"{"type":"search","data":{}}"#,
            Err(RequestError::UnknownType("search".into())),
        );
        check(
            r#"{"type":"message"}"#,
            Err(RequestError::MissingData("message")),
        );
        check(
            r#"{"type":"set-name","data":["a"]}"#,
            Err(RequestError::DataNotAString("set-name")),
        );
        check(
            r#"{"type":"message","data":{"a":1}}"#,
            Err(RequestError::DataNotAString("message")),
        );
        check(
            r#"{"type":"message","data":"\ud800"}"#,
            Err(RequestError::BadEscape("data")),
        );
        check(
            r#"{"type":"users","type":"users"}"#,
            Err(RequestError::RepeatedKey("type")),
        );
        check(
            r#"{"data":1,"type":"users","data":2}"#,
            Err(RequestError::RepeatedKey("data")),
        );
        assert_eq!(
            decode_request(b"{\"type\":\"\xff\"}", 16),
            Err(RequestError::NotUtf8)
        );
    }

    #[test]
    fn a_message_has_a_size_and_is_not_blank() {
        let full = "x".repeat(16);
        check(
            &format!(r#"{{"type":"message","data":"{full}"}}"#),
            Ok(Request::Say(full.as_str().into())),
        );
        check(
            &format!(r#"{{"type":"message","data":"{full}x"}}"#),
            Err(RequestError::MessageTooLong {
                length: 17,
                limit: 16,
            }),
        );
        // What will be removed counts: the text as received is measured.
        let controls = format!(r#"{{"type":"message","data":"x{}"}}"#, "\\u0007".repeat(16));
        check(
            &controls,
            Err(RequestError::MessageTooLong {
                length: 17,
                limit: 16,
            }),
        );
        for blank in ["", " \\t ", "\\n\\n", "\\u0000 \\u001b", "\\u00a0"] {
            check(
                &format!(r#"{{"type":"message","data":"{blank}"}}"#),
                Err(RequestError::BlankMessage),
            );
        }
        check(
            r#"{"type":"message","data":" a\u001b\tb\nc "}"#,
            Ok(Request::Say(" a\tb\nc ".into())),
        );
    }

    #[test]
    fn a_server_line_has_exactly_these_bytes() {
        let mut line = Vec::new();
        encode_message(&mut line, "Zoë \"Z\"", "a\\b\tc\nd é");
        assert_eq!(
            String::from_utf8(line).as_deref(),
            Ok(
                "{\"type\":\"message\",\"data\":{\"source\":\"Zoë \\\"Z\\\"\",\"message\":\"a\\\\b\\tc ↵ d é\"}}\n"
            )
        );
    }

    #[test]
    fn the_server_reads_what_the_client_writes() {
        let mut line = Vec::new();
        encode_request(&mut line, "message", "a\"\\\n☃");
        assert_eq!(
            decode_request(&line, 64),
            Ok(Request::Say("a\"\\\n☃".into()))
        );
    }
}
