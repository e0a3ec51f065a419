//! Lines that a client reads, in either dialect. A line that the client does not know is skipped.

// docs/protocol.md documents the fields.
#![allow(missing_docs)]

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
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

/// The data of `welcome`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Welcome {
    /// Name of the user.
    pub name: String,
    /// Secret session token.
    pub token: String,
    /// Log epoch in which event numbers count.
    pub epoch: String,
    /// Number of the newest event before the live ones.
    pub last: u64,
    /// Result of a request to resume.
    pub resumed: Option<ResumeReport>,
    /// Limits of the server.
    #[serde(default)]
    pub limits: ServerLimits,
}

/// Limits that a server announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerLimits {
    /// Longest message in bytes, if announced.
    pub message: Option<usize>,
}

/// What the client gets of the missed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ResumeReport {
    /// Whether all missed events follow.
    pub complete: bool,
    /// Number of missed events, if all follow.
    #[serde(default)]
    pub missed: u64,
    /// Number of the first event that follows, if some are lost.
    #[serde(default)]
    pub oldest: u64,
}

/// The data of `message`. Basic lines have no `id` and `time`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Said {
    pub id: Option<u64>,
    #[serde(default, deserialize_with = "optional_time")]
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
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
    pub name: String,
    pub reason: Option<String>,
}

/// The data of `renamed`, where `name` is the old name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Renamed {
    pub id: u64,
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
    pub name: String,
    pub new_name: String,
}

/// The data of `private`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PrivateLine {
    #[serde(deserialize_with = "time")]
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
    /// Stable code.
    pub code: String,
    /// Sentence for the user.
    pub message: String,
    /// Type of the rejected line, where the server knows it.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Time after which the same request may succeed.
    pub retry_after_ms: Option<u64>,
}

/// The data of `bye`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Bye {
    /// Reason, a stable word.
    pub reason: String,
    /// Whether the client should reconnect by itself.
    pub reconnect: bool,
    /// Time to wait before reconnecting.
    #[serde(default)]
    pub retry_after_ms: u64,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

fn optional_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    time(deserializer).map(Some)
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
    use crate::protocol::extended::{self, ByeReason};
    use std::sync::Arc;

    fn heard(line: &[u8]) -> ServerLine {
        let text = String::from_utf8_lossy(line);
        decode(line).unwrap_or_else(|| panic!("not understood: {text}"))
    }

    #[test]
    fn client_decodes_what_the_server_encodes() {
        let at: Timestamp = "2026-01-31T12:00:00.123Z".parse().unwrap();
        let name = Username::from_stored;
        let event = |kind| {
            let mut line = Vec::new();
            let event = Event {
                id: 5,
                time: at,
                kind,
            };
            extended::encode_event(&mut line, &event);
            heard(&line)
        };
        let message = Arc::new(Message::new(5, at, name("al"), "a\nb".into()));
        let said = Said {
            id: Some(5),
            time: Some(at),
            source: "al".into(),
            message: "a\nb".into(),
            action: false,
        };
        assert_eq!(
            event(EventKind::Said(message.clone())),
            ServerLine::Message(said.clone())
        );
        let presence = |reason: Option<&str>| Presence {
            id: 5,
            time: at,
            name: "al".into(),
            reason: reason.map(str::to_owned),
        };
        let joined = EventKind::Joined {
            name: name("al"),
            is_summarised: true,
        };
        assert_eq!(event(joined), ServerLine::Joined(presence(None)));
        let left = EventKind::Left {
            name: name("al"),
            reason: LeaveReason::Quit,
            is_summarised: false,
        };
        assert_eq!(event(left), ServerLine::Left(presence(Some("quit"))));
        let renamed = EventKind::Renamed {
            old: name("al"),
            new: name("bo"),
        };
        let ServerLine::Renamed(renamed) = event(renamed) else {
            panic!("not renamed")
        };
        assert_eq!((&*renamed.name, &*renamed.new_name), ("al", "bo"));

        let mut line = Vec::new();
        extended::encode_messages(&mut line, "history", &[message], true);
        let page = Messages {
            messages: vec![said],
            more: true,
        };
        assert_eq!(heard(&line), ServerLine::History(page));
        line.clear();
        extended::encode_bye(&mut line, ByeReason::TooSlow, true, 250);
        let bye = Bye {
            reason: "too-slow".into(),
            reconnect: true,
            retry_after_ms: 250,
        };
        assert_eq!(heard(&line), ServerLine::Bye(bye));
        line.clear();
        extended::encode_private(&mut line, at, "a", "b", "c");
        assert!(matches!(heard(&line), ServerLine::Private(_)));
        line.clear();
        extended::encode_pong(&mut line, "17");
        assert_eq!(heard(&line), ServerLine::Pong(17));
        line.clear();
        extended::encode_error(
            &mut line,
            &RejectedRequest {
                error: RequestError::BlankMessage,
                kind: Some("message".into()),
            },
        );
        let ServerLine::Error(refused) = heard(&line) else {
            panic!("no error")
        };
        assert_eq!(
            (&*refused.code, refused.kind.as_deref()),
            ("blank-message", Some("message"))
        );
        line.clear();
        extended::open_users(&mut line);
        extended::continue_users(&mut line, true, "al", at);
        extended::close_users(&mut line);
        assert_eq!(
            heard(&line),
            ServerLine::Users(vec![Present { name: "al".into() }])
        );
    }

    #[test]
    fn welcome_is_decoded_with_and_without_optional_keys() {
        let line = br#"{"type":"welcome","data":{"version":2,"server":"s","name":"al","token":"t","epoch":"e","last":41,"users":3,"limits":{"message":4096},"resumed":{"complete":false,"oldest":9}}}"#;
        let ServerLine::Welcome(welcome) = heard(line) else {
            panic!("no welcome")
        };
        assert_eq!((&*welcome.name, welcome.last), ("al", 41));
        assert_eq!(welcome.limits.message, Some(4096));
        let resumed = ResumeReport {
            complete: false,
            missed: 0,
            oldest: 9,
        };
        assert_eq!(welcome.resumed, Some(resumed));
        let short =
            br#"{"type":"welcome","data":{"name":"al","token":"t","epoch":"e","last":1,"x":[]}}"#;
        assert!(matches!(heard(short), ServerLine::Welcome(_)));
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
