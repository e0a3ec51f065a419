//! The encoding for browsers: server-sent events and JSON documents.
//!
//! The `id` of a public event is the log epoch, a colon and the event number. A browser sends the
//! id back as `Last-Event-ID`, so an id of another run of the server is recognised.

use crate::chat::event::{Event, EventKind};
use crate::chat::message::Message;
use crate::chat::request::EventCursor;
use crate::chat::room::PrivateCopy;
use crate::chat::room::snapshot::{PresentUser, Snapshot};
use crate::protocol::extended::{self, ResumeOutcome};
use crate::protocol::json::{number, number_field, raw, string, text_field, time};
use serde_json::{Value, json};
use std::sync::Arc;

/// A comment line, which keeps a silent stream alive.
pub(crate) const HEARTBEAT: &str = ": beat\n\n";

/// Appends a public event.
pub(crate) fn encode_event(out: &mut Vec<u8>, epoch: &str, event: &Event) {
    let (kind, name, new_name) = match &event.kind {
        EventKind::Message(message) => return encode_message(out, epoch, message),
        EventKind::Joined { name, .. } => ("joined", name, None),
        EventKind::Left { name, .. } => ("left", name, None),
        EventKind::Renamed { old, new } => ("renamed", old, Some(new)),
    };
    open_event(out, epoch, event.id, kind);
    extended::open_numbered(out, event.id, event.time);
    text_field(out, "name", name.as_str());
    if let Some(new_name) = new_name {
        text_field(out, "new_name", new_name.as_str());
    }
    raw(out, "}\n\n");
}

/// Appends a message as an event.
pub(crate) fn encode_message(out: &mut Vec<u8>, epoch: &str, message: &Message) {
    open_event(out, epoch, message.id, "message");
    extended::message_object(out, message);
    raw(out, "\n\n");
}

/// Appends everything before the data of an event that has an `id`.
fn open_event(out: &mut Vec<u8>, epoch: &str, id: u64, kind: &str) {
    raw(out, &format!("id: {epoch}:{id}\nevent: {kind}\ndata: "));
}

/// Parses the `id` of an event, which a browser sends back as `Last-Event-ID`.
pub(crate) fn parse_event_id(id: &str) -> Option<EventCursor> {
    let (epoch, number) = id.rsplit_once(':')?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    Some(EventCursor {
        epoch: epoch.into(),
        id: number.parse().ok().filter(|_| is_number)?,
    })
}

/// Encodes an event that has no `id`, because it concerns one browser or the state of the server.
fn event(kind: &str, data: &Value) -> Arc<[u8]> {
    let text = format!("event: {kind}\ndata: {data}\n\n");
    text.into_bytes().into()
}

/// Encodes the name of the user of a stream; `None` means that the browser has not joined.
pub(crate) fn session_event(name: Option<&str>) -> Arc<[u8]> {
    event("session", &json!({ "name": name }))
}

/// Encodes a private message for its target or its sender.
pub(crate) fn private_event(copy: &PrivateCopy) -> Arc<[u8]> {
    let message = &copy.message;
    let mut out = Vec::new();
    raw(&mut out, "event: private\ndata: {\"id\":");
    match copy.number {
        Some(id) => number(&mut out, id),
        None => raw(&mut out, "null"),
    }
    raw(&mut out, &format!(",\"own\":{},\"time\":", copy.is_own));
    time(&mut out, message.time);
    text_field(&mut out, "source", message.source.as_str());
    text_field(&mut out, "target", message.target.as_str());
    text_field(&mut out, "message", &message.text);
    raw(&mut out, "}\n\n");
    out.into()
}

/// Encodes a sentence for one user.
pub(crate) fn error_event(code: &str, sentence: &str) -> Arc<[u8]> {
    event("error", &json!({ "code": code, "message": sentence }))
}

/// Encodes whether a resumed stream has all missed events.
pub(crate) fn resumed_event(resumed: ResumeOutcome) -> Arc<[u8]> {
    let data = match resumed {
        ResumeOutcome::Complete { missed } => json!({ "complete": true, "missed": missed }),
        ResumeOutcome::Incomplete { oldest } => json!({ "complete": false, "oldest": oldest }),
    };
    event("resumed", &data)
}

/// Encodes the last event of a stream that the server ends.
pub(crate) fn bye_event(reason: &str) -> Arc<[u8]> {
    event("bye", &json!({ "reason": reason }))
}

/// Appends a warning for all users; `None` removes the last one.
pub(crate) fn encode_notice(out: &mut Vec<u8>, message: Option<&str>) {
    out.extend_from_slice(&event("notice", &json!({ "message": message })));
}

/// Encodes the first event of a stream: the users and, for a new stream, `messages`.
pub(crate) fn snapshot_event(snapshot: &Snapshot, messages: &[Arc<Message>]) -> Vec<u8> {
    let mut out = Vec::new();
    open_event(&mut out, &snapshot.epoch, snapshot.last, "snapshot");
    raw(&mut out, "{\"epoch\":");
    string(&mut out, &snapshot.epoch);
    number_field(&mut out, "last", snapshot.last);
    raw(&mut out, ",\"users\":");
    user_list(&mut out, &snapshot.users);
    raw(&mut out, ",\"messages\":");
    extended::message_list(&mut out, messages);
    if let Some(notice) = &snapshot.notice {
        text_field(&mut out, "notice", notice);
    }
    raw(&mut out, "}\n\n");
    out
}

/// Encodes the users as a JSON document.
pub(crate) fn users_document(users: &[PresentUser]) -> Vec<u8> {
    let mut out = b"{\"users\":".to_vec();
    user_list(&mut out, users);
    raw(&mut out, "}");
    out
}

/// Encodes messages as a JSON document, and whether there are more.
pub(crate) fn messages_document(messages: &[Arc<Message>], more: bool) -> Vec<u8> {
    let mut out = Vec::new();
    extended::messages_object(&mut out, messages, more);
    out
}

fn user_list(out: &mut Vec<u8>, users: &[PresentUser]) {
    raw(out, "[");
    for (index, user) in users.iter().enumerate() {
        extended::continue_users(out, index == 0, user.name.as_str(), user.since);
    }
    raw(out, "]");
}
