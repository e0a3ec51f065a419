//! The basic dialect: reading a client's line, writing a server's line, and the same seen
//! from the client.
//!
//! What lives here: the only code that knows how a basic line looks. The server's connections
//! and room, and the client's session use it. It must never send anything but `message` lines
//! to a basic client: programs in the field know no other.
//!
//! Protocol: "Basic dialect".

use crate::protocol::{Refusal, Request, SERVER_SOURCE};
use crate::text::{clean_message, is_blank, one_line};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Reads one line of a client.
///
/// # Errors
/// The reason why the line is refused.
pub fn decode_request(line: &[u8], max_message_bytes: usize) -> Result<Request, Refusal> {
    let text = std::str::from_utf8(line).map_err(|_| Refusal::NotUtf8)?;
    let envelope = read_envelope(text)?;
    let kind = envelope.kind.ok_or(Refusal::MissingType)?;
    let kind = read_string(kind, "type", Refusal::TypeNotAString)?;
    match &*kind {
        "message" => decode_message(required_data(envelope.data, "message")?, max_message_bytes),
        "set-name" => {
            let name = required_data(envelope.data, "set-name")?;
            Ok(Request::SetName(name.into()))
        }
        "history" => Ok(Request::History),
        "users" => Ok(Request::Users),
        _ => Err(Refusal::UnknownType(kind.into())),
    }
}

fn decode_message(text: Cow<'_, str>, limit: usize) -> Result<Request, Refusal> {
    let length = text.len();
    if length > limit {
        return Err(Refusal::MessageTooLong { length, limit });
    }
    let cleaned = clean_message(&text);
    if is_blank(&cleaned) {
        return Err(Refusal::BlankMessage);
    }
    Ok(Request::Say(cleaned.into()))
}

fn required_data<'a>(
    data: Option<&'a RawValue>,
    kind: &'static str,
) -> Result<Cow<'a, str>, Refusal> {
    let data = data.ok_or(Refusal::MissingData(kind))?;
    read_string(data, "data", Refusal::DataNotAString(kind))
}

/// The JSON string under a key, borrowed where it holds no escape; `other` refuses another
/// JSON value.
fn read_string<'a>(
    raw: &'a RawValue,
    key: &'static str,
    other: Refusal,
) -> Result<Cow<'a, str>, Refusal> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    if !raw.get().starts_with('"') {
        return Err(other);
    }
    let borrowed: Borrowed<'_> =
        serde_json::from_str(raw.get()).map_err(|_| Refusal::BadEscape(key))?;
    Ok(borrowed.0)
}

/// The two keys of a line, not yet looked into: what stands beside them is skipped without
/// recursion, however deep it is.
#[derive(Default)]
struct Envelope<'a> {
    kind: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    repeated: Option<&'static str>,
}

fn read_envelope(text: &str) -> Result<Envelope<'_>, Refusal> {
    if !text.trim_start_matches(JSON_SPACE).starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Refusal::NotAnObject,
            Err(_) => Refusal::NotJson,
        });
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Refusal::NotJson)?;
    match envelope.repeated {
        Some(key) => Err(Refusal::RepeatedKey(key)),
        None => Ok(envelope),
    }
}

/// White space as RFC 8259, section 2 has it.
const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Envelope<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(key) = map.next_key::<Key>()? {
                    let (slot, name) = match key {
                        Key::Type => (&mut envelope.kind, "type"),
                        Key::Data => (&mut envelope.data, "data"),
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.is_some() {
                        envelope.repeated = Some(name);
                    }
                    *slot = Some(map.next_value()?);
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Type,
    Data,
    #[serde(other)]
    Other,
}

/// Appends the line in which `source` says `text`, its newline included.
///
/// A newline in the text becomes ` ↵ `, since simple clients print the text as it is.
pub fn encode_message(line: &mut Vec<u8>, source: &str, text: &str) {
    line.extend_from_slice(br#"{"type":"message","data":{"source":"#);
    encode_string(line, source);
    line.extend_from_slice(br#","message":"#);
    encode_string(line, &one_line(text));
    line.extend_from_slice(b"}}\n");
}

/// Appends the beginning of a line in which `source` says something, up to its text.
pub fn open_message(line: &mut Vec<u8>, source: &str) {
    line.extend_from_slice(br#"{"type":"message","data":{"source":"#);
    encode_string(line, source);
    line.extend_from_slice(br#","message":""#);
}

/// Appends a part of the text of an open line.
pub fn continue_text(line: &mut Vec<u8>, part: &str) {
    let opening_quote = line.len();
    encode_string(line, part);
    line.pop();
    line.remove(opening_quote);
}

/// Appends what ends an open line.
pub fn close_message(line: &mut Vec<u8>) {
    line.extend_from_slice(b"\"}}\n");
}

/// Appends a line of the server itself.
pub fn encode_notice(line: &mut Vec<u8>, sentence: &str) {
    encode_message(line, SERVER_SOURCE, sentence);
}

/// Appends a JSON string with its quotes; only what RFC 8259 demands is escaped.
pub fn encode_string(line: &mut Vec<u8>, text: &str) {
    // Writing a `str` as JSON into memory has no way to fail: neither the text nor the
    // `Vec` can refuse anything.
    serde_json::to_writer(&mut *line, text).expect("a string is always writable to memory");
}

/// `NAME has entered the chat`.
pub fn entered(name: &str) -> String {
    format!("{name} has entered the chat")
}

/// `NAME has left the chat`.
pub fn left(name: &str) -> String {
    format!("{name} has left the chat")
}

/// `OLD renamed to NEW`.
pub fn renamed(old: &str, new: &str) -> String {
    format!("{old} renamed to {new}")
}

/// What a client understood of a server's line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerMessage {
    /// Who speaks.
    pub source: String,
    /// What is said.
    pub message: String,
}

/// Reads one line of a server; none if it is not a `message` line, which a client passes over.
pub fn decode_server_line(line: &[u8]) -> Option<ServerMessage> {
    #[derive(Deserialize)]
    struct ServerLine<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let line: ServerLine<'_> = serde_json::from_slice(line).ok()?;
    if line.kind != "message" {
        return None;
    }
    serde_json::from_str(line.data.get()).ok()
}

/// Appends a client's line of this `kind` with this `data`, its newline included.
pub fn encode_request(line: &mut Vec<u8>, kind: &str, data: &str) {
    line.extend_from_slice(br#"{"type":"#);
    encode_string(line, kind);
    line.extend_from_slice(br#","data":"#);
    encode_string(line, data);
    line.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Request, Refusal>) {
        assert_eq!(decode_request(line.as_bytes(), 16), expected, "{line}");
    }

    #[test]
    fn the_four_requests() {
        check(
            r#"{"type":"message","data":"hi"}"#,
            Ok(Request::Say("hi".into())),
        );
        check(
            r#"{"type":"set-name","data":"Al"}"#,
            Ok(Request::SetName("Al".into())),
        );
        check(r#"{"type":"history","data":""}"#, Ok(Request::History));
        check(r#"{"type":"users","data":""}"#, Ok(Request::Users));
    }

    #[test]
    fn key_order_white_space_and_unknown_keys_mean_nothing() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for line in [
            r#" { "data" : "hi" , "x":[{}], "type" : "message" , "x":1 } "#.to_owned(),
            r#"{"\u0074ype":"mess\u0061ge","data":"\u0068i"}"#.to_owned(),
            format!(r#"{{"deep":{deep},"type":"message","data":"hi"}}"#),
        ] {
            check(&line, Ok(Request::Say("hi".into())));
        }
    }

    #[test]
    fn history_and_users_ignore_their_data() {
        check(r#"{"type":"history"}"#, Ok(Request::History));
        check(r#"{"type":"users","data":{"a":[1]}}"#, Ok(Request::Users));
        check(r#"{"data":null,"type":"users"}"#, Ok(Request::Users));
    }

    #[test]
    fn every_refusal_of_form() {
        let deep = "[".repeat(100_000);
        for line in [
            "hello",
            "{",
            "",
            "{}x",
            "\u{feff}{}",
            "nul",
            r#"{"type":"message","data":"\ud800"}x"#,
            &deep,
        ] {
            check(line, Err(Refusal::NotJson));
        }
        for line in ["[]", "1", "null", "\"type\"", " true "] {
            check(line, Err(Refusal::NotAnObject));
        }
        check("{}", Err(Refusal::MissingType));
        check(r#"{"data":"x"}"#, Err(Refusal::MissingType));
        check(r#"{"type":1,"data":"x"}"#, Err(Refusal::TypeNotAString));
        check(r#"{"type":null,"data":"x"}"#, Err(Refusal::TypeNotAString));
        check(
            r#"{"type":"kick","data":"x"}"#,
            Err(Refusal::UnknownType("kick".into())),
        );
        check(
            r#"{"type":"hello","data":{}}"#,
            Err(Refusal::UnknownType("hello".into())),
        );
        check(
            r#"{"type":"message"}"#,
            Err(Refusal::MissingData("message")),
        );
        check(
            r#"{"type":"set-name","data":["a"]}"#,
            Err(Refusal::DataNotAString("set-name")),
        );
        check(
            r#"{"type":"message","data":{"a":1}}"#,
            Err(Refusal::DataNotAString("message")),
        );
        check(
            r#"{"type":"message","data":"\ud800"}"#,
            Err(Refusal::BadEscape("data")),
        );
        check(
            r#"{"type":"users","type":"users"}"#,
            Err(Refusal::RepeatedKey("type")),
        );
        check(
            r#"{"data":1,"type":"users","data":2}"#,
            Err(Refusal::RepeatedKey("data")),
        );
        assert_eq!(
            decode_request(b"{\"type\":\"\xff\"}", 16),
            Err(Refusal::NotUtf8)
        );
    }

    #[test]
    fn a_message_has_a_size_and_is_not_blank() {
        let full = "x".repeat(16);
        check(
            &format!(r#"{{"type":"message","data":"{full}"}}"#),
            Ok(Request::Say(full.as_str().into())),
        );
        check(
            &format!(r#"{{"type":"message","data":"{full}x"}}"#),
            Err(Refusal::MessageTooLong {
                length: 17,
                limit: 16,
            }),
        );
        // What will be removed counts: the text as received is measured.
        let controls = format!(r#"{{"type":"message","data":"x{}"}}"#, "\\u0007".repeat(16));
        check(
            &controls,
            Err(Refusal::MessageTooLong {
                length: 17,
                limit: 16,
            }),
        );
        for blank in ["", " \\t ", "\\n\\n", "\\u0000 \\u001b", "\\u00a0"] {
            check(
                &format!(r#"{{"type":"message","data":"{blank}"}}"#),
                Err(Refusal::BlankMessage),
            );
        }
        check(
            r#"{"type":"message","data":" a\u001b\tb\nc "}"#,
            Ok(Request::Say(" a\tb\nc ".into())),
        );
    }

    #[test]
    fn a_server_line_has_exactly_these_bytes() {
        let mut line = Vec::new();
        encode_message(&mut line, "Zoë \"Z\"", "a\\b\tc\nd é");
        assert_eq!(
            String::from_utf8(line).as_deref(),
            Ok(
                "{\"type\":\"message\",\"data\":{\"source\":\"Zoë \\\"Z\\\"\",\"message\":\"a\\\\b\\tc ↵ d é\"}}\n"
            )
        );
    }

    #[test]
    fn the_client_reads_what_the_server_writes_and_passes_over_the_rest() {
        let mut line = Vec::new();
        encode_notice(&mut line, "hi \"there\"");
        let read = decode_server_line(&line);
        let expected = ServerMessage {
            source: SERVER_SOURCE.into(),
            message: "hi \"there\"".into(),
        };
        assert_eq!(read, Some(expected));
        for other in [
            r#"{"type":"pong","data":1}"#,
            r#"{"type":"message","data":"x"}"#,
            r#"{"type":"message","data":{"source":1,"message":"x"}}"#,
            r#"{"type":"message"}"#,
            "garbage",
            "",
        ] {
            assert_eq!(decode_server_line(other.as_bytes()), None, "{other}");
        }
        let marked = br#" {"data":{"message":"m","source":"s","id":1},"type":"message","x":[]} "#;
        assert!(decode_server_line(marked).is_some());
    }

    #[test]
    fn the_server_reads_what_the_client_writes() {
        let mut line = Vec::new();
        encode_request(&mut line, "message", "a\"\\\n☃");
        assert_eq!(
            decode_request(&line, 64),
            Ok(Request::Say("a\"\\\n☃".into()))
        );
    }
}
