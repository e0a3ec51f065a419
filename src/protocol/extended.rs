//! The extended dialect: writing a server's line.
//!
//! What lives here: the only code that knows how an extended line looks. The server's publisher
//! and connections use it, each with plain values. It must never write what a basic client would
//! be sent: the two dialects are never mixed on one connection.
//!
//! Protocol: "Extended dialect", the table "server to client".

use crate::chat::error::RejectedRequest;
use crate::chat::event::{Event, EventKind};
use crate::chat::message::Message;
use crate::chat::request::Nonce;
use crate::chat::request::VERSION;
use crate::chat::token::Token;
use crate::limits::{MAX_NAME_GRAPHEMES, MAX_PAGE_MESSAGES};
use crate::protocol::basic::encode_string;
use jiff::Timestamp;
use std::io::Write;
use std::sync::Arc;

/// The bounds that a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, in bytes.
    pub message: usize,
    /// Longest line, in bytes.
    pub line: usize,
}

/// What one who says hello is told.
#[derive(Clone, Copy, Debug)]
pub struct WelcomeLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// By which it is the same user again.
    pub token: &'a Token,
    /// In which the numbers count.
    pub epoch: &'a str,
    /// Number of the newest event.
    pub last: u64,
    /// Users who are here.
    pub users: usize,
    /// The bounds.
    pub limits: Limits,
    /// What it gets of what it missed, if it asked for that.
    pub resumed: Option<Resumed>,
}

/// What a client that comes back gets of what it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// All of it.
    Complete {
        /// How many events.
        missed: u64,
    },
    /// Not all of it.
    Incomplete {
        /// Number of the first event that it gets.
        oldest: u64,
    },
}

/// Why the server ends a connection, as its client is told.
///
/// Protocol: `reason` of `bye`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByeReason {
    /// The server stops.
    Shutdown,
    /// The client reads too slowly.
    TooSlow,
    /// Too many lines were refused.
    Refused,
}

impl ByeReason {
    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            ByeReason::Shutdown => "shutdown",
            ByeReason::TooSlow => "too-slow",
            ByeReason::Refused => "refused",
        }
    }
}

/// Appends plain text to a line.
fn raw(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

/// Appends a number.
fn number(line: &mut Vec<u8>, number: u64) {
    // Writing to memory does not fail.
    let _ = write!(line, "{number}");
}

/// Appends a time as RFC 3339 has it: UTC, milliseconds.
fn time(line: &mut Vec<u8>, time: Timestamp) {
    let _ = write!(line, "\"{time:.3}\"");
}

fn text_field(line: &mut Vec<u8>, key: &str, text: &str) {
    raw(line, ",\"");
    raw(line, key);
    raw(line, "\":");
    encode_string(line, text);
}

fn open_event(line: &mut Vec<u8>, kind: &str, id: u64, at: Timestamp) {
    raw(line, r#"{"type":""#);
    raw(line, kind);
    raw(line, r#"","data":"#);
    open_numbered(line, id, at);
}

fn open_numbered(line: &mut Vec<u8>, id: u64, at: Timestamp) {
    raw(line, r#"{"id":"#);
    number(line, id);
    raw(line, r#","time":"#);
    time(line, at);
}

/// Appends the line of a public event.
pub fn encode_event(line: &mut Vec<u8>, event: &Event) {
    let (id, at) = (event.id, event.time);
    match &event.kind {
        EventKind::Said(message) => {
            raw(line, r#"{"type":"message","data":"#);
            message_object(line, message);
            return raw(line, "}\n");
        }
        EventKind::Joined { name, .. } => {
            open_event(line, "joined", id, at);
            text_field(line, "name", name.as_str());
        }
        EventKind::Left { name, reason, .. } => {
            open_event(line, "left", id, at);
            text_field(line, "name", name.as_str());
            text_field(line, "reason", reason.word());
        }
        EventKind::Renamed { old, new } => {
            open_event(line, "renamed", id, at);
            text_field(line, "name", old.as_str());
            text_field(line, "new_name", new.as_str());
        }
    }
    raw(line, "}}\n");
}

fn message_object(line: &mut Vec<u8>, message: &Message) {
    open_numbered(line, message.id, message.time);
    text_field(line, "source", message.source.as_str());
    text_field(line, "message", &message.text);
    if message.action {
        raw(line, r#","action":true"#);
    }
    raw(line, "}");
}

/// Appends the line that begins the dialect.
pub fn encode_welcome(line: &mut Vec<u8>, welcome: &WelcomeLine<'_>) {
    raw(line, r#"{"type":"welcome","data":{"version":"#);
    number(line, VERSION);
    text_field(
        line,
        "server",
        concat!("smolchat/", env!("CARGO_PKG_VERSION")),
    );
    text_field(line, "name", welcome.name);
    text_field(line, "token", &welcome.token.secret());
    text_field(line, "epoch", welcome.epoch);
    raw(line, r#","last":"#);
    number(line, welcome.last);
    raw(line, r#","users":"#);
    number(line, welcome.users as u64);
    raw(line, r#","limits":{"message":"#);
    number(line, welcome.limits.message as u64);
    raw(line, r#","line":"#);
    number(line, welcome.limits.line as u64);
    raw(line, r#","name":"#);
    number(line, MAX_NAME_GRAPHEMES as u64);
    raw(line, r#","page":"#);
    number(line, MAX_PAGE_MESSAGES as u64);
    raw(line, "}");
    match welcome.resumed {
        Some(Resumed::Complete { missed }) => {
            raw(line, r#","resumed":{"complete":true,"missed":"#);
            number(line, missed);
            raw(line, "}");
        }
        Some(Resumed::Incomplete { oldest }) => {
            raw(line, r#","resumed":{"complete":false,"oldest":"#);
            number(line, oldest);
            raw(line, "}");
        }
        None => {}
    }
    raw(line, "}}\n");
}

/// Appends an acknowledgement; a private message has no number.
pub fn encode_ack(line: &mut Vec<u8>, nonce: &Nonce, id: Option<u64>) {
    raw(line, r#"{"type":"ack","data":{"nonce":"#);
    encode_string(line, nonce.as_str());
    if let Some(id) = id {
        raw(line, r#","id":"#);
        number(line, id);
    }
    raw(line, "}}\n");
}

/// Appends what one user said to another alone.
pub fn encode_private(line: &mut Vec<u8>, at: Timestamp, source: &str, target: &str, text: &str) {
    raw(line, r#"{"type":"private","data":{"time":"#);
    time(line, at);
    text_field(line, "source", source);
    text_field(line, "target", target);
    text_field(line, "message", text);
    raw(line, "}}\n");
}

/// Appends a line of the server itself.
pub fn encode_notice(line: &mut Vec<u8>, sentence: &str) {
    raw(line, r#"{"type":"notice","data":{"message":"#);
    encode_string(line, sentence);
    raw(line, "}}\n");
}

/// Appends why a line was refused.
pub fn encode_error(line: &mut Vec<u8>, refused: &RejectedRequest) {
    let refusal = &refused.refusal;
    raw(line, r#"{"type":"error","data":{"code":"#);
    encode_string(line, refusal.code());
    text_field(line, "message", &refusal.to_string());
    if let Some(kind) = &refused.kind {
        // It is a stranger's word, which may be as long as a line.
        let shown: String = kind.chars().take(crate::limits::MAX_QUOTED_CHARS).collect();
        text_field(line, "type", &shown);
    }
    if let Some(limit) = refusal.limit() {
        raw(line, r#","limit":"#);
        number(line, limit as u64);
    }
    if let Some(retry) = refusal.retry_after_ms() {
        raw(line, r#","retry_after_ms":"#);
        number(line, retry);
    }
    raw(line, "}}\n");
}

/// Appends the answer to a ping with this JSON value.
pub fn encode_pong(line: &mut Vec<u8>, data: &str) {
    raw(line, r#"{"type":"pong","data":"#);
    raw(line, data);
    raw(line, "}\n");
}

/// Appends the last line of a connection.
pub fn encode_bye(line: &mut Vec<u8>, reason: ByeReason, reconnect: bool, retry_after_ms: u64) {
    raw(line, r#"{"type":"bye","data":{"reason":"#);
    encode_string(line, reason.word());
    raw(line, r#","reconnect":"#);
    raw(line, if reconnect { "true" } else { "false" });
    raw(line, r#","retry_after_ms":"#);
    number(line, retry_after_ms);
    raw(line, "}}\n");
}

/// Appends the beginning of the line that tells who is here.
pub fn open_users(line: &mut Vec<u8>) {
    raw(line, r#"{"type":"users","data":["#);
}

/// Appends a user to it.
pub fn continue_users(line: &mut Vec<u8>, is_first: bool, name: &str, since: Timestamp) {
    raw(
        line,
        if is_first {
            r#"{"name":"#
        } else {
            r#",{"name":"#
        },
    );
    encode_string(line, name);
    raw(line, r#","since":"#);
    time(line, since);
    raw(line, "}");
}

/// Appends what ends it.
pub fn close_users(line: &mut Vec<u8>) {
    raw(line, "]}\n");
}

/// Appends a page of messages, oldest first, as an answer of this type.
pub fn encode_messages(line: &mut Vec<u8>, kind: &str, messages: &[Arc<Message>], more: bool) {
    raw(line, r#"{"type":"#);
    encode_string(line, kind);
    raw(line, r#","data":{"messages":["#);
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            raw(line, ",");
        }
        message_object(line, message);
    }
    raw(line, r#"],"more":"#);
    raw(line, if more { "true" } else { "false" });
    raw(line, "}}\n");
}
