//! Lines of the basic dialect. The server sends only `message` lines in it.

use crate::chat::SERVER_SOURCE;
use crate::chat::event::EventKind;
use crate::chat::message::Message;
use crate::chat::sanitize::{clean_message, one_line};
use crate::protocol::json::{raw, string};
use std::sync::Arc;

/// Appends a whole `message` line.
///
/// A newline in the text becomes ` ↵ `, since simple clients print the text as it is.
pub fn encode_message(line: &mut Vec<u8>, source: &str, text: &str) {
    raw(line, r#"{"type":"message","data":{"source":"#);
    string(line, source);
    raw(line, r#","message":"#);
    string(line, &one_line(text));
    raw(line, "}}\n");
}

/// Appends the beginning of a `message` line, up to its text.
pub fn open_message(line: &mut Vec<u8>, source: &str) {
    raw(line, r#"{"type":"message","data":{"source":"#);
    string(line, source);
    raw(line, r#","message":""#);
}

/// Appends a part of the text of an open line.
pub fn continue_text(line: &mut Vec<u8>, part: &str) {
    let opening_quote = line.len();
    string(line, part);
    line.pop();
    line.remove(opening_quote);
}

/// Appends the end of an open line.
pub fn close_message(line: &mut Vec<u8>) {
    raw(line, "\"}}\n");
}

/// Appends a server notice.
pub fn encode_notice(line: &mut Vec<u8>, sentence: &str) {
    encode_message(line, SERVER_SOURCE, sentence);
}

/// Appends the line of a public message.
pub(crate) fn encode_chat_message(line: &mut Vec<u8>, message: &Message) {
    encode_message(line, message.source.as_str(), &message.plain_text());
}

/// Appends the notice of a join. A space before its newline, which JSON parsers ignore, announces
/// the extended dialect.
pub(crate) fn encode_entered(line: &mut Vec<u8>, name: &str) {
    encode_notice(line, &entered(name));
    line.pop();
    line.extend_from_slice(b" \n");
}

/// Appends the line of a private message.
pub(crate) fn encode_private(line: &mut Vec<u8>, source: &str, text: &str) {
    encode_message(line, &format!("{source} (private)"), text);
}

/// Returns the answer to a ping with a JSON value.
pub fn pong(data: &str) -> String {
    format!("pong {}", clean_message(data))
}

pub(crate) fn entered(name: &str) -> String {
    format!("{name} has entered the chat")
}

pub(crate) fn left(name: &str) -> String {
    format!("{name} has left the chat")
}

pub(crate) fn renamed(old: &str, new: &str) -> String {
    format!("{old} renamed to {new}")
}

/// Returns the notice of an event, or `None` for a message, which has its own line.
pub fn event_notice(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Joined { name, .. } => Some(entered(name.as_str())),
        EventKind::Left { name, .. } => Some(left(name.as_str())),
        EventKind::Renamed { old, new } => Some(renamed(old.as_str(), new.as_str())),
        EventKind::Message(_) => None,
    }
}

/// Appends a client's line of type `kind` with a string as its data.
pub fn encode_request(line: &mut Vec<u8>, kind: &str, data: &str) {
    raw(line, r#"{"type":"#);
    string(line, kind);
    raw(line, r#","data":"#);
    string(line, data);
    raw(line, "}\n");
}

/// Returns a line that the server says, shared by all its readers.
pub(crate) fn notice_line(sentence: &str) -> Arc<[u8]> {
    let mut line = Vec::new();
    encode_notice(&mut line, sentence);
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_line_has_exactly_these_bytes() {
        let mut line = Vec::new();
        encode_message(&mut line, "Zoë \"Z\"", "a\\b\tc\nd é");
        let expected =
            r#"{"type":"message","data":{"source":"Zoë \"Z\"","message":"a\\b\tc ↵ d é"}}"#;
        assert_eq!(String::from_utf8(line), Ok(format!("{expected}\n")));
    }
}
