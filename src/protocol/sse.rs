//! The encoding for browsers: server-sent events and JSON documents.
//!
//! The `id` of a public event is the log epoch, a colon and the event number. A browser sends the
//! id back as `Last-Event-ID`, so an id of another run of the server is recognised.

use crate::chat::event::{Event, EventKind};
use crate::chat::message::Message;
use crate::chat::request::EventCursor;
use crate::chat::room::PrivateCopy;
use crate::chat::room::snapshot::{PresentUser, Snapshot};
use crate::protocol::extended::ResumeOutcome;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Write;
use std::sync::Arc;

/// A comment line, which keeps a silent stream alive.
pub(crate) const HEARTBEAT: &str = ": beat\n\n";

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
    more: bool,
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
struct SessionDocument<'a> {
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct PrivateDocument<'a> {
    id: Option<u64>,
    own: bool,
    time: String,
    source: &'a str,
    target: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct ToldDocument<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct ResumedDocument {
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
}

#[derive(Serialize)]
struct ByeDocument<'a> {
    reason: &'a str,
}

#[derive(Serialize)]
struct NoticeDocument<'a> {
    message: Option<&'a str>,
}

/// Formats a time as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Appends a public event.
pub(crate) fn encode_event(out: &mut Vec<u8>, epoch: &str, event: &Event) {
    let (kind, data) = match &event.kind {
        EventKind::Said(message) => ("message", json(&message_document(message))),
        EventKind::Joined { name, .. } => ("joined", change(event, name.as_str(), None)),
        EventKind::Left { name, .. } => ("left", change(event, name.as_str(), None)),
        EventKind::Renamed { old, new } => {
            ("renamed", change(event, old.as_str(), Some(new.as_str())))
        }
    };
    let encoded = format!("id: {epoch}:{}\nevent: {kind}\ndata: {data}\n\n", event.id);
    out.extend_from_slice(encoded.as_bytes());
}

/// Parses the `id` of an event, which a browser sends back as `Last-Event-ID`.
pub(crate) fn parse_event_id(id: &str) -> Option<EventCursor> {
    let (epoch, number) = id.rsplit_once(':')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    Some(EventCursor {
        epoch: epoch.into(),
        id: is_number.then(|| number.parse().ok()).flatten()?,
    })
}

/// Encodes messages as events.
pub(crate) fn message_events(epoch: &str, messages: &[Arc<Message>]) -> String {
    let mut out = String::new();
    for message in messages {
        let data = json(&message_document(message));
        let id = message.id;
        // Writing to a string cannot fail.
        let _ = write!(out, "id: {epoch}:{id}\nevent: message\ndata: {data}\n\n");
    }
    out
}

/// Encodes the name of the user of a stream; `None` means that the browser has not joined.
pub(crate) fn session_event(name: Option<&str>) -> Arc<[u8]> {
    let data = json(&SessionDocument { name });
    Arc::from(format!("event: session\ndata: {data}\n\n").as_bytes())
}

/// Encodes a private message for its target or its sender.
pub(crate) fn private_event(copy: &PrivateCopy) -> Arc<[u8]> {
    let message = &copy.message;
    let data = json(&PrivateDocument {
        id: copy.number,
        own: copy.is_own,
        time: rfc3339(message.time),
        source: message.source.as_str(),
        target: message.target.as_str(),
        message: &message.text,
    });
    Arc::from(format!("event: private\ndata: {data}\n\n").as_bytes())
}

/// Encodes a sentence for one user.
pub(crate) fn error_event(code: &str, sentence: &str) -> Arc<[u8]> {
    let data = json(&ToldDocument {
        code,
        message: sentence,
    });
    Arc::from(format!("event: error\ndata: {data}\n\n").as_bytes())
}

/// Encodes whether a resumed stream has all missed events.
pub(crate) fn resumed_event(resumed: ResumeOutcome) -> String {
    let document = match resumed {
        ResumeOutcome::Complete { missed } => ResumedDocument {
            complete: true,
            missed: Some(missed),
            oldest: None,
        },
        ResumeOutcome::Incomplete { oldest } => ResumedDocument {
            complete: false,
            missed: None,
            oldest: Some(oldest),
        },
    };
    format!("event: resumed\ndata: {}\n\n", json(&document))
}

/// Encodes the last event of a stream that the server ends.
pub(crate) fn bye_event(reason: &str) -> Arc<[u8]> {
    let data = json(&ByeDocument { reason });
    Arc::from(format!("event: bye\ndata: {data}\n\n").as_bytes())
}

/// Appends a warning for all users; `None` removes the last one.
pub(crate) fn encode_notice(out: &mut Vec<u8>, message: Option<&str>) {
    let data = json(&NoticeDocument { message });
    out.extend_from_slice(format!("event: notice\ndata: {data}\n\n").as_bytes());
}

/// Encodes the first event of a new stream: users and messages.
pub(crate) fn snapshot_event(snapshot: &Snapshot) -> String {
    room_event(snapshot, message_documents(snapshot))
}

/// Encodes the first event of a resumed stream: users without messages.
pub(crate) fn presence_event(snapshot: &Snapshot) -> String {
    room_event(snapshot, Vec::new())
}

fn room_event(snapshot: &Snapshot, messages: Vec<MessageDocument<'_>>) -> String {
    let (epoch, last) = (&*snapshot.epoch, snapshot.last);
    let document = SnapshotDocument {
        epoch,
        last,
        users: user_documents(snapshot),
        messages,
        notice: snapshot.notice.as_deref(),
    };
    format!(
        "id: {epoch}:{last}\nevent: snapshot\ndata: {}\n\n",
        json(&document)
    )
}

/// Encodes the users as a JSON document.
pub(crate) fn users_document(snapshot: &Snapshot) -> String {
    json(&UsersDocument {
        users: user_documents(snapshot),
    })
}

/// Encodes messages as a JSON document, and whether there are more.
pub(crate) fn messages_document(messages: &[Arc<Message>], more: bool) -> String {
    let messages = messages.iter().map(|message| message_document(message));
    json(&MessagesDocument {
        messages: messages.collect(),
        more,
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
    // Strings, numbers and lists of them always have a JSON form.
    serde_json::to_string(document).expect("plain documents are always writable")
}
