//! The dialect of the page: server-sent events and JSON documents.
//!
//! What lives here: pure functions from events and snapshots to text. The broker encodes live
//! events with it, once for all streams; the page its documents. It must never write HTML.
//!
//! Each frame has `event:`, `data:` (one line of JSON) and, for a public event, `id:`.

use crate::event::{Event, EventKind};
use crate::history::Message;
use crate::server::snapshot::{PresentUser, Snapshot};
use jiff::Timestamp;
use serde::Serialize;

/// A comment line, which keeps a silent stream alive.
pub const HEARTBEAT: &str = ": beat\n\n";
/// The last frame of a stream that the server ends.
pub const BYE: &str = "event: bye\ndata: {\"reason\":\"shutdown\"}\n\n";

#[derive(Serialize)]
struct MessageDocument<'a> {
    id: u64,
    time: String,
    source: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    action: bool,
}

#[derive(Serialize)]
struct UserDocument<'a> {
    name: &'a str,
    since: String,
}

#[derive(Serialize)]
struct ChangeDocument<'a> {
    id: u64,
    time: String,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_name: Option<&'a str>,
}

#[derive(Serialize)]
struct UsersDocument<'a> {
    users: Vec<UserDocument<'a>>,
}

#[derive(Serialize)]
struct MessagesDocument<'a> {
    messages: Vec<MessageDocument<'a>>,
}

#[derive(Serialize)]
struct SnapshotDocument<'a> {
    epoch: &'a str,
    last: u64,
    users: Vec<UserDocument<'a>>,
    messages: Vec<MessageDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'a str>,
}

#[derive(Serialize)]
struct NoticeDocument<'a> {
    message: Option<&'a str>,
}

/// A time as the protocol writes it: RFC 3339, UTC, milliseconds.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Appends the frame of a public event.
pub fn encode_event(frames: &mut Vec<u8>, event: &Event) {
    let (kind, data) = match &event.kind {
        EventKind::Said(message) => ("message", json(&message_document(message))),
        EventKind::Joined { name, .. } => ("joined", change(event, name.as_str(), None)),
        EventKind::Left { name, .. } => ("left", change(event, name.as_str(), None)),
        EventKind::Renamed { old, new } => {
            ("renamed", change(event, old.as_str(), Some(new.as_str())))
        }
    };
    let frame = format!("id: {}\nevent: {kind}\ndata: {data}\n\n", event.id);
    frames.extend_from_slice(frame.as_bytes());
}

/// Appends the frame of what everyone should know from now on; none if there is nothing any more.
pub fn encode_notice(frames: &mut Vec<u8>, message: Option<&str>) {
    let data = json(&NoticeDocument { message });
    frames.extend_from_slice(format!("event: notice\ndata: {data}\n\n").as_bytes());
}

/// The first frame of a stream: everything up to where it begins.
pub fn snapshot_frame(snapshot: &Snapshot) -> String {
    let document = SnapshotDocument {
        epoch: &snapshot.epoch,
        last: snapshot.last,
        users: user_documents(snapshot),
        messages: message_documents(snapshot),
        notice: snapshot.notice.as_deref(),
    };
    format!("event: snapshot\ndata: {}\n\n", json(&document))
}

/// Who is here, as a JSON document.
pub fn users_document(snapshot: &Snapshot) -> String {
    json(&UsersDocument {
        users: user_documents(snapshot),
    })
}

/// What was said, as a JSON document.
pub fn messages_document(snapshot: &Snapshot) -> String {
    json(&MessagesDocument {
        messages: message_documents(snapshot),
    })
}

fn user_documents<'a>(snapshot: &'a Snapshot) -> Vec<UserDocument<'a>> {
    let document = |user: &'a PresentUser| UserDocument {
        name: user.name.as_str(),
        since: rfc3339(user.since),
    };
    snapshot.users.iter().map(document).collect()
}

fn message_documents(snapshot: &Snapshot) -> Vec<MessageDocument<'_>> {
    snapshot
        .messages
        .iter()
        .map(|message| message_document(message))
        .collect()
}

fn message_document(message: &Message) -> MessageDocument<'_> {
    MessageDocument {
        id: message.id,
        time: rfc3339(message.time),
        source: message.source.as_str(),
        message: &message.text,
        action: message.action,
    }
}

fn change(event: &Event, name: &str, new_name: Option<&str>) -> String {
    json(&ChangeDocument {
        id: event.id,
        time: rfc3339(event.time),
        name,
        new_name,
    })
}

fn json(document: &impl Serialize) -> String {
    // Texts, numbers and lists of them, with keys that are texts: nothing that JSON lacks.
    serde_json::to_string(document).expect("plain documents are always writable")
}
