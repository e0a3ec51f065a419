//! The extended dialect from the client's side: reading a server's line, writing a client's.
//!
//! What lives here: [`ServerLine`], everything that a server says in either dialect, [`decode`], and
//! the lines that a client sends. The client's session uses it. It must never fail because of
//! what a server sends: a line that is not understood is passed over, as the protocol wants.
//!
//! Protocol: "Extended dialect".

use crate::chat::request::VERSION;
use crate::chat::request::{EventCursor, Nonce};
use crate::protocol::basic::encode_string;
use jiff::Timestamp;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A line of a server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "kebab-case")]
pub enum ServerLine {
    /// The extended dialect begins.
    Welcome(Welcome),
    /// Somebody says something; in the basic dialect everything is this.
    Message(Said),
    /// A line of ours is done.
    Ack(Ack),
    /// Somebody is here.
    Joined(Presence),
    /// Somebody is not here any more.
    Left(Presence),
    /// Somebody is called otherwise.
    Renamed(Renamed),
    /// Something for one user alone.
    Private(Private),
    /// Who is here.
    Users(Vec<Present>),
    /// A page of what was said, oldest first.
    History(Messages),
    /// What was found, newest first.
    Search(Messages),
    /// The server speaks to this client.
    Notice(Notice),
    /// A line of ours is refused.
    Error(Refused),
    /// The answer to a ping of ours.
    Pong(u64),
    /// The server is about to close.
    Bye(Bye),
}

/// What one who said hello is told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Welcome {
    /// Our name.
    pub name: String,
    /// By which we are the same user again; secret.
    pub token: String,
    /// In which the numbers count.
    pub epoch: String,
    /// Number of the newest event that does not follow.
    pub last: u64,
    /// What we get of what we missed, if we asked for that.
    pub resumed: Option<Resumed>,
    /// The server's bounds.
    #[serde(default)]
    pub limits: Limits,
}

/// The bounds that a server tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Longest message in bytes; none if it is not told.
    pub message: Option<usize>,
}

/// What follows a welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Resumed {
    /// Whether it is all that was missed.
    pub complete: bool,
    /// How many events, if it is.
    #[serde(default)]
    pub missed: u64,
    /// Number of the first event that follows, if it is not.
    #[serde(default)]
    pub oldest: u64,
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Said {
    /// Number of the event; none in the basic dialect.
    pub id: Option<u64>,
    /// When; none in the basic dialect.
    #[serde(default, deserialize_with = "optional_time")]
    pub time: Option<Timestamp>,
    /// Who.
    pub source: String,
    /// What.
    pub message: String,
    /// Whether it is done, not said.
    #[serde(default)]
    pub action: bool,
}

/// A line of ours is done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ack {
    /// Which.
    pub nonce: String,
    /// Number of the event; none for a private message.
    pub id: Option<u64>,
}

/// Somebody came or went.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Presence {
    /// Number of the event.
    pub id: u64,
    /// When.
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
    /// Who.
    pub name: String,
    /// Why one went.
    pub reason: Option<String>,
}

/// Somebody is called otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Renamed {
    /// Number of the event.
    pub id: u64,
    /// When.
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
    /// The name until now.
    pub name: String,
    /// The name from now on.
    pub new_name: String,
}

/// Something for one user alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Private {
    /// When.
    #[serde(deserialize_with = "time")]
    pub time: Timestamp,
    /// Who said it.
    pub source: String,
    /// For whom it is.
    pub target: String,
    /// What.
    pub message: String,
}

/// Somebody who is here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Present {
    /// The name.
    pub name: String,
}

/// A page of messages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Messages {
    /// The messages.
    pub messages: Vec<Said>,
    /// Whether there are older ones.
    pub more: bool,
}

/// The server speaks to this client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Notice {
    /// A sentence.
    pub message: String,
}

/// A line of ours is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refused {
    /// Why, a stable word.
    pub code: String,
    /// Why, a sentence.
    pub message: String,
    /// What kind of line it was, where the server knows.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// When it is worth another try.
    pub retry_after_ms: Option<u64>,
}

/// The server is about to close.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Bye {
    /// Why.
    pub reason: String,
    /// Whether a client should come back by itself.
    pub reconnect: bool,
    /// When.
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

/// Reads one line of a server of either dialect; none if it is not understood.
pub fn decode(line: &[u8]) -> Option<ServerLine> {
    if let Ok(heard) = serde_json::from_slice(line) {
        return Some(heard);
    }
    // With the keys in another order the above has to guess, and cannot with everything.
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

/// How a client introduces itself.
#[derive(Clone, Copy, Debug)]
pub struct Introduction<'a> {
    /// The program and its version.
    pub client: &'a str,
    /// By which it is the same user again.
    pub token: Option<&'a str>,
    /// What it has already.
    pub after: Option<&'a EventCursor>,
}

/// Appends a hello, its newline included; so below.
pub fn encode_hello(line: &mut Vec<u8>, introduction: Introduction<'_>) {
    #[derive(Serialize)]
    struct After<'a> {
        epoch: &'a str,
        id: u64,
    }
    #[derive(Serialize)]
    struct Hello<'a> {
        version: u64,
        client: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<After<'a>>,
    }
    let hello = Hello {
        version: VERSION,
        client: introduction.client,
        token: introduction.token,
        after: introduction.after.map(|place| After {
            epoch: &place.epoch,
            id: place.id,
        }),
    };
    encode(line, "hello", &hello);
}

/// Appends something to say to everyone, or to do.
pub fn encode_say(line: &mut Vec<u8>, text: &str, action: bool, nonce: &Nonce) {
    #[derive(Serialize)]
    struct Say<'a> {
        message: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        action: bool,
        nonce: &'a str,
    }
    let say = Say {
        message: text,
        action,
        nonce: nonce.as_str(),
    };
    encode(line, "message", &say);
}

/// Appends something to say to one user alone.
pub fn encode_private(line: &mut Vec<u8>, target: &str, text: &str, nonce: &Nonce) {
    #[derive(Serialize)]
    struct Private<'a> {
        target: &'a str,
        message: &'a str,
        nonce: &'a str,
    }
    let private = Private {
        target,
        message: text,
        nonce: nonce.as_str(),
    };
    encode(line, "private", &private);
}

/// Appends a request for the newest messages, as many as the server thinks right or this many.
pub fn encode_history(line: &mut Vec<u8>, before: Option<u64>, limit: Option<usize>) {
    #[derive(Serialize)]
    struct Page {
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    }
    encode(line, "history", &Page { before, limit });
}

/// Appends a search.
pub fn encode_search(line: &mut Vec<u8>, query: &str) {
    #[derive(Serialize)]
    struct Search<'a> {
        query: &'a str,
    }
    encode(line, "search", &Search { query });
}

/// Appends a ping with this number.
pub fn encode_ping(line: &mut Vec<u8>, number: u64) {
    encode(line, "ping", &number);
}

/// Appends a clean departure.
pub fn encode_quit(line: &mut Vec<u8>) {
    encode(line, "quit", "");
}

fn encode(line: &mut Vec<u8>, kind: &str, data: &(impl Serialize + ?Sized)) {
    line.extend_from_slice(br#"{"type":"#);
    encode_string(line, kind);
    line.extend_from_slice(br#","data":"#);
    // Plain structures of text and numbers are always writable to memory.
    serde_json::to_writer(&mut *line, data).expect("plain data is writable to memory");
    line.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::event::{Event, EventKind, LeaveReason};
    use crate::chat::message::Message;
    use crate::chat::request::{Request, SendMessage};
    use crate::chat::username::Username;
    use crate::protocol::Dialect;
    use crate::protocol::decode::request;
    use crate::protocol::extended;
    use crate::protocol::extended::ByeReason;
    use std::sync::Arc;

    fn heard(line: &[u8]) -> ServerLine {
        let text = String::from_utf8_lossy(line);
        decode(line).unwrap_or_else(|| panic!("not understood: {text}"))
    }

    fn asked(encode: impl FnOnce(&mut Vec<u8>)) -> Request {
        let mut line = Vec::new();
        encode(&mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        request(&line, Dialect::Extended, 100).unwrap()
    }

    #[test]
    fn the_server_reads_what_the_client_writes() {
        let nonce = Nonce::new("n-1").unwrap();
        let say = |line: &mut Vec<u8>| encode_say(line, "a\n\"é", true, &nonce);
        let expected = SendMessage {
            text: "a\n\"é".into(),
            action: true,
            nonce: Some(nonce.clone()),
        };
        assert_eq!(asked(say), Request::Say(expected));
        let Request::Private(private) = asked(|line| encode_private(line, "bob", "x", &nonce))
        else {
            panic!("not private")
        };
        assert_eq!((&*private.target, &*private.text), ("bob", "x"));
        assert_eq!(private.nonce, Some(nonce));
        let Request::Page(page) = asked(|line| encode_history(line, Some(9), Some(3))) else {
            panic!("no page")
        };
        assert_eq!((page.before, page.limit), (Some(9), 3));
        assert!(matches!(
            asked(|line| encode_history(line, None, None)),
            Request::Page(_)
        ));
        assert!(matches!(
            asked(|line| encode_search(line, "from:bob x")),
            Request::Search(_)
        ));
        assert_eq!(
            asked(|line| encode_ping(line, 7)),
            Request::Ping("7".into())
        );
        assert_eq!(asked(encode_quit), Request::Quit);
        let after = EventCursor {
            epoch: "e".into(),
            id: 7,
        };
        let token = "0123456789abcdef0123456789abcdef";
        let introduction = Introduction {
            client: "c/1",
            token: Some(token),
            after: Some(&after),
        };
        let Request::Hello(hello) = asked(|line| encode_hello(line, introduction)) else {
            panic!("no hello")
        };
        assert_eq!((&*hello.client, hello.after), ("c/1", Some(after)));
        assert!(hello.token.is_some());
    }

    #[test]
    fn the_client_reads_what_the_server_writes() {
        let at: Timestamp = "2026-01-31T12:00:00.123Z".parse().unwrap();
        let name = |text| Username::from_stored(text);
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
            &crate::chat::error::RejectedRequest {
                refusal: crate::chat::error::RequestError::BlankMessage,
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
    fn a_welcome_is_read_whole_and_without_what_newer_servers_may_leave_out() {
        let line = br#"{"type":"welcome","data":{"version":2,"server":"s","name":"al","token":"t","epoch":"e","last":41,"users":3,"limits":{"message":4096},"resumed":{"complete":false,"oldest":9}}}"#;
        let ServerLine::Welcome(welcome) = heard(line) else {
            panic!("no welcome")
        };
        assert_eq!((&*welcome.name, welcome.last), ("al", 41));
        assert_eq!(welcome.limits.message, Some(4096));
        let resumed = Resumed {
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
    fn keys_may_stand_in_any_order_and_what_is_strange_is_passed_over() {
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
