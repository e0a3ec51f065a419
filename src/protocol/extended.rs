//! Lines of the extended dialect that the server writes.

use crate::chat::error::RejectedRequest;
use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::message::Message;
use crate::chat::request::{Nonce, VERSION};
use crate::chat::token::Token;
use crate::limits::{MAX_NAME_GRAPHEMES, MAX_PAGE_MESSAGES, MAX_QUOTED_CHARS};
use crate::protocol::json::{number, number_field, raw, string, text_field, time};
use jiff::Timestamp;
use std::sync::Arc;

/// Limits that the server announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnnouncedLimits {
    /// Longest message in bytes.
    pub(crate) message: usize,
    /// Longest line in bytes.
    pub(crate) line: usize,
}

/// The content of a `welcome`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WelcomeLine<'a> {
    pub(crate) name: &'a str,
    pub(crate) token: &'a Token,
    /// Log epoch in which event numbers count.
    pub(crate) epoch: &'a str,
    /// Number of the newest event.
    pub(crate) last: u64,
    /// Number of connected users.
    pub(crate) users: usize,
    /// False for the answer to an unknown token.
    pub(crate) is_known: bool,
    pub(crate) limits: AnnouncedLimits,
    pub(crate) resumed: Option<ResumeOutcome>,
}

/// Whether a returning client gets all events that it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResumeOutcome {
    /// `missed` events follow.
    Complete { missed: u64 },
    /// The events from number `oldest` on follow.
    Incomplete { oldest: u64 },
}

fn open_event(line: &mut Vec<u8>, kind: &str, id: u64, at: Timestamp) {
    raw(line, r#"{"type":""#);
    raw(line, kind);
    raw(line, r#"","data":"#);
    open_numbered(line, id, at);
}

pub(super) fn open_numbered(line: &mut Vec<u8>, id: u64, at: Timestamp) {
    raw(line, r#"{"id":"#);
    number(line, id);
    raw(line, r#","time":"#);
    time(line, at);
}

/// Appends the line of a public event.
pub(crate) fn encode_event(line: &mut Vec<u8>, event: &Event) {
    let (id, at) = (event.id, event.time);
    match &event.kind {
        EventKind::Message(message) => {
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

pub(super) fn message_object(line: &mut Vec<u8>, message: &Message) {
    open_numbered(line, message.id, message.time);
    text_field(line, "source", message.source.as_str());
    text_field(line, "message", &message.text);
    if message.action {
        raw(line, r#","action":true"#);
    }
    raw(line, "}");
}

/// Appends a `welcome`, which begins the dialect.
pub(crate) fn encode_welcome(line: &mut Vec<u8>, welcome: &WelcomeLine<'_>) {
    raw(line, r#"{"type":"welcome","data":{"version":"#);
    number(line, VERSION);
    text_field(
        line,
        "server",
        concat!("smolchat/", env!("CARGO_PKG_VERSION")),
    );
    text_field(line, "name", welcome.name);
    text_field(line, "token", &welcome.token.secret());
    if !welcome.is_known {
        raw(line, r#","known":false"#);
    }
    text_field(line, "epoch", welcome.epoch);
    number_field(line, "last", welcome.last);
    number_field(line, "users", welcome.users as u64);
    raw(line, r#","limits":{"message":"#);
    number(line, welcome.limits.message as u64);
    number_field(line, "line", welcome.limits.line as u64);
    number_field(line, "name", MAX_NAME_GRAPHEMES as u64);
    number_field(line, "page", MAX_PAGE_MESSAGES as u64);
    raw(line, "}");
    match welcome.resumed {
        Some(ResumeOutcome::Complete { missed }) => {
            raw(line, r#","resumed":{"complete":true,"missed":"#);
            number(line, missed);
            raw(line, "}");
        }
        Some(ResumeOutcome::Incomplete { oldest }) => {
            raw(line, r#","resumed":{"complete":false,"oldest":"#);
            number(line, oldest);
            raw(line, "}");
        }
        None => {}
    }
    raw(line, "}}\n");
}

/// Appends an `ack`; `id` is `None` for a private message.
pub(crate) fn encode_ack(line: &mut Vec<u8>, nonce: &Nonce, id: Option<u64>) {
    raw(line, r#"{"type":"ack","data":{"nonce":"#);
    string(line, nonce.as_str());
    if let Some(id) = id {
        number_field(line, "id", id);
    }
    raw(line, "}}\n");
}

pub(crate) fn encode_private(
    line: &mut Vec<u8>,
    at: Timestamp,
    source: &str,
    target: &str,
    text: &str,
) {
    raw(line, r#"{"type":"private","data":{"time":"#);
    time(line, at);
    text_field(line, "source", source);
    text_field(line, "target", target);
    text_field(line, "message", text);
    raw(line, "}}\n");
}

pub(crate) fn encode_notice(line: &mut Vec<u8>, sentence: &str) {
    raw(line, r#"{"type":"notice","data":{"message":"#);
    string(line, sentence);
    raw(line, "}}\n");
}

/// Appends an `error`.
pub fn encode_error(line: &mut Vec<u8>, rejected: &RejectedRequest) {
    let error = &rejected.error;
    raw(line, r#"{"type":"error","data":{"code":"#);
    string(line, error.code());
    text_field(line, "message", &error.to_string());
    if let Some(kind) = &rejected.kind {
        // The client chose this text, which may be as long as a line.
        let shown: String = kind.chars().take(MAX_QUOTED_CHARS).collect();
        text_field(line, "type", &shown);
    }
    if let Some(limit) = error.limit() {
        number_field(line, "limit", limit as u64);
    }
    if let Some(retry) = error.retry_after_ms() {
        number_field(line, "retry_after_ms", retry);
    }
    raw(line, "}}\n");
}

/// Appends a `pong` with the JSON value of the ping.
pub fn encode_pong(line: &mut Vec<u8>, data: &str) {
    raw(line, r#"{"type":"pong","data":"#);
    raw(line, data);
    raw(line, "}\n");
}

pub(crate) fn encode_bye(
    line: &mut Vec<u8>,
    reason: LeaveReason,
    reconnect: bool,
    retry_after_ms: u64,
) {
    raw(line, r#"{"type":"bye","data":{"reason":"#);
    string(line, reason.word());
    raw(line, r#","reconnect":"#);
    raw(line, if reconnect { "true" } else { "false" });
    number_field(line, "retry_after_ms", retry_after_ms);
    raw(line, "}}\n");
}

/// Appends the beginning of a `users` line.
pub(crate) fn open_users(line: &mut Vec<u8>) {
    raw(line, r#"{"type":"users","data":["#);
}

/// Appends a user to an open `users` line.
pub(crate) fn continue_users(line: &mut Vec<u8>, is_first: bool, name: &str, since: Timestamp) {
    if !is_first {
        raw(line, ",");
    }
    raw(line, r#"{"name":"#);
    string(line, name);
    raw(line, r#","since":"#);
    time(line, since);
    raw(line, "}");
}

/// Appends the end of a `users` line.
pub(crate) fn close_users(line: &mut Vec<u8>) {
    raw(line, "]}\n");
}

/// Appends a page of messages as a line of type `kind`.
pub(crate) fn encode_messages(
    line: &mut Vec<u8>,
    kind: &str,
    messages: &[Arc<Message>],
    more: bool,
) {
    raw(line, r#"{"type":"#);
    string(line, kind);
    raw(line, r#","data":"#);
    messages_object(line, messages, more);
    raw(line, "}\n");
}

pub(super) fn messages_object(line: &mut Vec<u8>, messages: &[Arc<Message>], more: bool) {
    raw(line, r#"{"messages":"#);
    message_list(line, messages);
    raw(line, &format!(",\"more\":{more}}}"));
}

pub(super) fn message_list(line: &mut Vec<u8>, messages: &[Arc<Message>]) {
    raw(line, "[");
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            raw(line, ",");
        }
        message_object(line, message);
    }
    raw(line, "]");
}
