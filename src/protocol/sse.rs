//! The dialect of the page: server-sent events and JSON documents.
//!
//! What lives here: pure functions from events and snapshots to text. The broker encodes live
//! events with it, once for all streams; the page its documents. It must never write HTML.
//!
//! Each frame has `event:`, `data:` (one line of JSON) and, for a public event, `id:`: the epoch,
//! a colon and the event's number, so that what a browser sends back as `Last-Event-ID` is never
//! mistaken for an event of another life of the server.

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

/// A time as the protocol writes it: RFC 3339, UTC, milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Appends the frame of a public event.
pub(crate) fn encode_event(frames: &mut Vec<u8>, epoch: &str, event: &Event) {
    let (kind, data) = match &event.kind {
        EventKind::Said(message) => ("message", json(&message_document(message))),
        EventKind::Joined { name, .. } => ("joined", change(event, name.as_str(), None)),
        EventKind::Left { name, .. } => ("left", change(event, name.as_str(), None)),
        EventKind::Renamed { old, new } => {
            ("renamed", change(event, old.as_str(), Some(new.as_str())))
        }
    };
    let frame = format!("id: {epoch}:{}\nevent: {kind}\ndata: {data}\n\n", event.id);
    frames.extend_from_slice(frame.as_bytes());
}

/// Reads what a browser has got last, as the `id` of a frame tells it; none if it is none.
pub(crate) fn parse_event_id(id: &str) -> Option<EventCursor> {
    let (epoch, number) = id.rsplit_once(':')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    Some(EventCursor {
        epoch: epoch.into(),
        id: is_number.then(|| number.parse().ok()).flatten()?,
    })
}

/// The frames of these messages.
pub(crate) fn message_events(epoch: &str, messages: &[Arc<Message>]) -> String {
    let mut frames = String::new();
    for message in messages {
        let data = json(&message_document(message));
        let id = message.id;
        // Writing to a string does not fail.
        let _ = write!(frames, "id: {epoch}:{id}\nevent: message\ndata: {data}\n\n");
    }
    frames
}

/// The frame that tells whose stream it is: who listens is this user, or nobody.
pub(crate) fn session_event(name: Option<&str>) -> Arc<[u8]> {
    let data = json(&SessionDocument { name });
    Arc::from(format!("event: session\ndata: {data}\n\n").as_bytes())
}

/// The frame of what was said to one user alone, or of its sender's copy.
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

/// The frame of one sentence of the server for one user.
pub(crate) fn error_event(code: &str, sentence: &str) -> Arc<[u8]> {
    let data = json(&ToldDocument {
        code,
        message: sentence,
    });
    Arc::from(format!("event: error\ndata: {data}\n\n").as_bytes())
}

/// The frame that tells one who comes back what it gets of what it missed.
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

/// The last frame of a stream that is ended for this reason.
pub(crate) fn bye_event(reason: &str) -> Arc<[u8]> {
    let data = json(&ByeDocument { reason });
    Arc::from(format!("event: bye\ndata: {data}\n\n").as_bytes())
}

/// Appends the frame of what everyone should know from now on; none if there is nothing any more.
pub(crate) fn encode_notice(frames: &mut Vec<u8>, message: Option<&str>) {
    let data = json(&NoticeDocument { message });
    frames.extend_from_slice(format!("event: notice\ndata: {data}\n\n").as_bytes());
}

/// The first frame of a stream: everything up to where it begins.
pub(crate) fn snapshot_event(snapshot: &Snapshot) -> String {
    frame_with(snapshot, message_documents(snapshot))
}

/// The same without what was said, for one who has that.
pub(crate) fn presence_event(snapshot: &Snapshot) -> String {
    frame_with(snapshot, Vec::new())
}

fn frame_with(snapshot: &Snapshot, messages: Vec<MessageDocument<'_>>) -> String {
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

/// Who is here, as a JSON document.
pub(crate) fn users_document(snapshot: &Snapshot) -> String {
    json(&UsersDocument {
        users: user_documents(snapshot),
    })
}

/// These messages, oldest first, as a JSON document, and whether there are more of them.
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
    // Texts, numbers and lists of them, with keys that are texts: nothing that JSON lacks.
    serde_json::to_string(document).expect("plain documents are always writable")
}
