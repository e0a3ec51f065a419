//! Lines that a client reads, in either dialect. A line that the client does not know is skipped.

// docs/protocol.md documents the fields.
#![allow(missing_docs)]

use crate::chat::SERVER_SOURCE;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A line of a server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "kebab-case")]
pub enum ServerLine {
    /// The extended dialect begins.
    Welcome(Welcome),
    /// A public message; the only line of the basic dialect.
    Message(Said),
    /// A request with a nonce was accepted.
    Ack(Ack),
    /// A user joined.
    Joined(Presence),
    /// A user left.
    Left(Presence),
    /// A user changed name.
    Renamed(Renamed),
    /// A private message.
    Private(PrivateLine),
    /// The connected users.
    Users(Vec<Present>),
    /// A page of messages, oldest first.
    History(Messages),
    /// A page of found messages, newest first.
    Search(Messages),
    /// A server notice to this client.
    Notice(Notice),
    /// The server rejected a line.
    Error(ErrorLine),
    /// The answer to a ping.
    Pong(u64),
    /// The server is about to close the connection.
    Bye(Bye),
}

impl ServerLine {
    /// Returns the number of a public event.
    pub(crate) fn id(&self) -> Option<u64> {
        match self {
            ServerLine::Message(message) => message.id,
            ServerLine::Joined(presence) | ServerLine::Left(presence) => Some(presence.id),
            ServerLine::Renamed(renamed) => Some(renamed.id),
            _ => None,
        }
    }

    /// Returns the sentence of a server message in the basic dialect.
    pub(crate) fn basic_sentence(&self) -> Option<&str> {
        match self {
            ServerLine::Message(Said {
                id: None,
                source,
                message,
                ..
            }) if source == SERVER_SOURCE => Some(message),
            _ => None,
        }
    }

    /// Returns the name in the notice of an arrival, in the basic dialect.
    pub(crate) fn entered_name(&self) -> Option<&str> {
        self.basic_sentence()?.strip_suffix(" has entered the chat")
    }

    /// Returns the old and the new name if the line announces a renaming, in either dialect.
    pub(crate) fn renaming(&self) -> Option<(&str, &str)> {
        match self {
            ServerLine::Renamed(renamed) => Some((&renamed.name, &renamed.new_name)),
            _ => self.basic_sentence()?.split_once(" renamed to "),
        }
    }
}

/// The data of `welcome`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Welcome {
    pub name: String,
    pub token: String,
    pub epoch: String,
    /// Number of the newest event before the live ones.
    pub last: u64,
    /// False if the server did not know the token of the hello.
    pub known: Option<bool>,
    pub resumed: Option<ResumeReport>,
    #[serde(default)]
    pub limits: ServerLimits,
}

/// Limits that a server announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerLimits {
    /// Longest message in bytes.
    pub message: Option<usize>,
}

/// What the client gets of the missed events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResumeReport {
    pub complete: bool,
    /// Number of missed events, if all follow.
    pub missed: u64,
    /// Number of the first event that follows, if some are lost.
    pub oldest: u64,
}

/// The data of `message`. Basic lines have no `id` and `time`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Said {
    pub id: Option<u64>,
    pub time: Option<Timestamp>,
    pub source: String,
    pub message: String,
    #[serde(default)]
    pub action: bool,
}

/// The data of `ack`. Private messages have no `id`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ack {
    pub nonce: String,
    pub id: Option<u64>,
}

/// The data of `joined` and `left`; only `left` has a reason.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Presence {
    pub id: u64,
    pub time: Timestamp,
    pub name: String,
    pub reason: Option<String>,
}

/// The data of `renamed`, where `name` is the old name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Renamed {
    pub id: u64,
    pub time: Timestamp,
    pub name: String,
    pub new_name: String,
}

/// The data of `private`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct PrivateLine {
    pub time: Timestamp,
    pub source: String,
    pub target: String,
    pub message: String,
}

/// An element of the data of `users`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Present {
    pub name: String,
}

/// The data of `history` and `search`; `more` tells whether older messages exist.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Messages {
    pub messages: Vec<Said>,
    pub more: bool,
}

/// The data of `notice`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Notice {
    pub message: String,
}

/// The data of `error`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ErrorLine {
    pub code: String,
    pub message: String,
    /// Type of the rejected line, where the server knows it.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub retry_after_ms: Option<u64>,
}

/// The data of `bye`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Bye {
    pub reason: String,
    /// Whether the client should reconnect by itself.
    pub reconnect: bool,
    #[serde(default)]
    pub retry_after_ms: u64,
}

/// Decodes a line of a server, or returns `None` if the client does not know it.
pub fn decode(line: &[u8]) -> Option<ServerLine> {
    if let Ok(heard) = serde_json::from_slice(line) {
        return Some(heard);
    }
    // Where `data` precedes `type`, serde buffers the data, which fails for some values.
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
    let kind = serde_json::to_string(&envelope.kind).ok()?;
    let data = envelope.data.get();
    serde_json::from_str(&format!(r#"{{"type":{kind},"data":{data}}}"#)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::error::{RejectedRequest, RequestError};
    use crate::chat::event::{Event, EventKind, LeaveReason};
    use crate::chat::message::Message;
    use crate::chat::username::Username;
    use crate::protocol::extended;
    use std::sync::Arc;

    fn heard(line: &[u8]) -> ServerLine {
        let text = String::from_utf8_lossy(line);
        decode(line).unwrap_or_else(|| panic!("not understood: {text}"))
    }

    #[test]
    fn client_decodes_what_the_server_encodes() {
        let time: Timestamp = "2026-01-31T12:00:00.123Z".parse().unwrap();
        let name = Username::from_stored("al");
        let message = Arc::new(Message::new(5, time, name.clone(), "a\nb".into()));
        let mut lines = Vec::new();
        for kind in [
            EventKind::Message(message.clone()),
            EventKind::Joined {
                name: name.clone(),
                is_summarised: true,
            },
            EventKind::Left {
                name: name.clone(),
                reason: LeaveReason::Quit,
                is_summarised: false,
            },
            EventKind::Renamed {
                old: name.clone(),
                new: name,
            },
        ] {
            extended::encode_event(&mut lines, &Event { id: 5, time, kind });
        }
        extended::encode_messages(&mut lines, "history", &[message], true);
        extended::encode_private(&mut lines, time, "a", "b", "c");
        let (error, kind) = (RequestError::BlankMessage, Some("message".into()));
        extended::encode_error(&mut lines, &RejectedRequest { error, kind });
        extended::open_users(&mut lines);
        extended::continue_users(&mut lines, true, "al", time);
        extended::close_users(&mut lines);
        extended::encode_bye(&mut lines, LeaveReason::TooSlow, true, 250);
        let lines = String::from_utf8(lines).unwrap();
        let beginnings = [
            "Message(Said { id: Some(5), time: Some(2026-01-31T12:00:00.123Z), source: \"al\"",
            "Joined(Presence { id: 5, time: 2026-01-31T12:00:00.123Z, name: \"al\", reason: None",
            "Left(Presence { id: 5, time: 2026-01-31T12:00:00.123Z, name: \"al\", reason: Some(\"q",
            "Renamed(Renamed { id: 5",
            "History(Messages { messages: [Said { id: Some(5)",
            "Private(PrivateLine { time: 2026-01-31T12:00:00.123Z, source: \"a\", target: \"b\"",
            "Error(ErrorLine { code: \"blank-message\"",
            "Users([Present { name: \"al\" }])",
            "Bye(Bye { reason: \"too-slow\", reconnect: true, retry_after_ms: 250 })",
        ];
        assert_eq!(lines.lines().count(), beginnings.len());
        for (line, beginning) in lines.lines().zip(beginnings) {
            let shown = format!("{:?}", heard(line.as_bytes()));
            assert!(shown.starts_with(beginning), "{shown}");
        }
    }

    #[test]
    fn welcome_is_decoded_with_and_without_optional_keys() {
        let full = br#"{"type":"welcome","data":{"version":2,"server":"s","name":"al","token":"t",
            "known":false,"epoch":"e","last":41,"users":3,"limits":{"message":4096},
            "resumed":{"complete":false,"oldest":9}}}"#;
        let short =
            br#"{"type":"welcome","data":{"name":"al","token":"t","epoch":"e","last":41,"x":[]}}"#;
        let mut expected = Welcome {
            name: "al".into(),
            token: "t".into(),
            epoch: "e".into(),
            last: 41,
            known: None,
            resumed: None,
            limits: ServerLimits { message: None },
        };
        assert_eq!(heard(short), ServerLine::Welcome(expected.clone()));
        expected.known = Some(false);
        expected.limits.message = Some(4096);
        expected.resumed = Some(ResumeReport {
            oldest: 9,
            ..ResumeReport::default()
        });
        assert_eq!(heard(full), ServerLine::Welcome(expected));
    }

    #[test]
    fn key_order_is_free_and_unknown_lines_are_skipped() {
        let turned = br#" {"x":{},"data":{"message":"m","source":"s"},"type":"message"} "#;
        assert!(matches!(heard(turned), ServerLine::Message(_)));
        assert_eq!(heard(br#"{"data":3,"type":"pong"}"#), ServerLine::Pong(3));
        for strange in [
            "",
            "[]",
            "garbage",
            r#"{"type":"weather","data":{}}"#,
            r#"{"type":"message","data":"x"}"#,
            r#"{"type":"message","data":{"source":1,"message":"x"}}"#,
            r#"{"type":"joined","data":{"id":-1,"time":"x","name":"y"}}"#,
            r#"{"type":"pong","data":"x"}"#,
            r#"{"type":"message"}"#,
        ] {
            assert_eq!(decode(strange.as_bytes()), None, "{strange}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(decode(deep.as_bytes()), None);
    }
}
