//! Decoding of a client's line, in either dialect.
//!
//! Neither recursion nor the number of passes depends on the nesting of a line.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::query::{Query, QueryError};
use crate::chat::request::{
    EventCursor, Hello, HistoryPage, Nonce, Request, SearchRequest, SendMessage, SendPrivate,
    VERSION,
};
use crate::chat::sanitize::{clean_message, is_blank};
use crate::chat::token::Token;
use crate::limits::{
    DEFAULT_PAGE_MESSAGES, MAX_CLIENT_NAME_CHARS, MAX_NONCE_BYTES, MAX_PAGE_MESSAGES,
    MAX_PING_BYTES, MAX_QUERY_BYTES,
};
use crate::protocol::Dialect;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Decodes a line of a client.
///
/// # Errors
/// The reason for the rejection, with the type of the line where it is known.
pub fn request(
    line: &[u8],
    dialect: Dialect,
    max_message_bytes: usize,
) -> Result<Request, RejectedRequest> {
    let text = std::str::from_utf8(line).map_err(|_| RequestError::NotUtf8)?;
    let envelope = read_envelope(text)?;
    let kind = envelope.kind.ok_or(RequestError::MissingType)?;
    let kind = read_string(kind, "type", RequestError::TypeNotAString)?;
    typed_request(&kind, envelope.data, dialect, max_message_bytes).map_err(|error| {
        RejectedRequest {
            error,
            kind: Some((*kind).into()),
        }
    })
}

fn typed_request(
    kind: &str,
    data: Option<&RawValue>,
    dialect: Dialect,
    max_message_bytes: usize,
) -> Result<Request, RequestError> {
    let is_extended = dialect == Dialect::Extended;
    match kind {
        "message" if is_extended && is_object(data) => message(data, max_message_bytes),
        "message" => {
            let text = required_string(data, "message")?;
            Ok(Request::Say(message_text(&text, max_message_bytes)?.into()))
        }
        "set-name" => Ok(Request::SetName(required_string(data, "set-name")?.into())),
        "history" if is_extended => history(data),
        "history" => Ok(Request::History),
        "users" => Ok(Request::Users),
        "hello" => hello(data),
        "private" => private(data, max_message_bytes),
        "search" if is_extended => search(data),
        "ping" => ping(data),
        "quit" => Ok(Request::Quit),
        _ => Err(RequestError::UnknownType(kind.into())),
    }
}

fn is_object(data: Option<&RawValue>) -> bool {
    data.is_some_and(|data| data.get().starts_with('{'))
}

/// Checks and sanitizes the text of a message.
///
/// # Errors
/// The text is too long or blank.
pub fn message_text(text: &str, limit: usize) -> Result<Box<str>, RequestError> {
    let length = text.len();
    if length > limit {
        return Err(RequestError::MessageTooLong { length, limit });
    }
    let cleaned = clean_message(text);
    if is_blank(&cleaned) {
        return Err(RequestError::BlankMessage);
    }
    Ok(cleaned.into())
}

/// Deserializes the object under `data`.
fn object<'a, T: Deserialize<'a>>(
    data: Option<&'a RawValue>,
    (kind, shape): (&'static str, &'static str),
) -> Result<T, RequestError> {
    let data = data.ok_or(RequestError::MissingObject { kind, shape })?;
    serde_json::from_str(data.get()).map_err(|_| RequestError::BadObject { kind, shape })
}

/// Checks the nonce of a request that has one.
///
/// # Errors
/// The nonce is empty or too long.
pub fn nonce(text: Option<&str>) -> Result<Option<Nonce>, RequestError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let nonce = Nonce::new(text).ok_or(RequestError::BadNonce {
        limit: MAX_NONCE_BYTES,
    })?;
    Ok(Some(nonce))
}

fn message(data: Option<&RawValue>, max_message_bytes: usize) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        message: Cow<'a, str>,
        #[serde(borrow)]
        nonce: Option<Cow<'a, str>>,
        action: Option<bool>,
    }
    let shape = r#"{"message":"TEXT","nonce":"N"}"#;
    let data: Data<'_> = object(data, ("message", shape))?;
    Ok(Request::Say(SendMessage {
        text: message_text(&data.message, max_message_bytes)?,
        action: data.action.unwrap_or(false),
        nonce: nonce(data.nonce.as_deref())?,
    }))
}

fn private(data: Option<&RawValue>, max_message_bytes: usize) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        target: Cow<'a, str>,
        #[serde(borrow)]
        message: Cow<'a, str>,
        #[serde(borrow)]
        nonce: Option<Cow<'a, str>>,
    }
    let shape = r#"{"target":"NAME","message":"TEXT"}"#;
    let data: Data<'_> = object(data, ("private", shape))?;
    Ok(Request::Private(SendPrivate {
        target: data.target.into(),
        text: message_text(&data.message, max_message_bytes)?,
        nonce: nonce(data.nonce.as_deref())?,
    }))
}

fn hello(data: Option<&RawValue>) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct After<'a> {
        #[serde(borrow)]
        epoch: Cow<'a, str>,
        id: u64,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        version: u64,
        #[serde(borrow)]
        client: Option<Cow<'a, str>>,
        #[serde(borrow)]
        token: Option<Cow<'a, str>>,
        #[serde(borrow)]
        after: Option<After<'a>>,
    }
    let shape = r#"{"version":2,"client":"NAME/VERSION"}"#;
    let data: Data<'_> = object(data, ("hello", shape))?;
    if data.version != VERSION {
        return Err(RequestError::UnknownVersion(data.version));
    }
    let client = data.client.unwrap_or_default();
    let client: String = client.chars().take(MAX_CLIENT_NAME_CHARS).collect();
    Ok(Request::Hello(Hello {
        client: client.into(),
        // An invalid token is treated as an unknown one.
        token: data.token.and_then(|token| Token::parse(&token)),
        after: data.after.map(|after| EventCursor {
            epoch: after.epoch.into(),
            id: after.id,
        }),
    }))
}

fn history(data: Option<&RawValue>) -> Result<Request, RequestError> {
    #[derive(Default, Deserialize)]
    struct Data {
        before: Option<u64>,
        limit: Option<u64>,
    }
    // Data of the basic dialect stays valid, and requests the newest page.
    let data: Data = match is_object(data) {
        true => object(data, ("history", r#"{"before":ID,"limit":N}"#))?,
        false => Data::default(),
    };
    Ok(Request::Page(history_page(data.before, data.limit)?))
}

/// Checks the parameters of a page and reduces its size to the largest allowed.
///
/// # Errors
/// The limit is 0.
pub fn history_page(before: Option<u64>, limit: Option<u64>) -> Result<HistoryPage, RequestError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE_MESSAGES as u64);
    if limit == 0 {
        return Err(RequestError::BadLimit {
            limit: MAX_PAGE_MESSAGES,
        });
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(HistoryPage {
        before,
        limit: limit.min(MAX_PAGE_MESSAGES),
    })
}

fn search(data: Option<&RawValue>) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        query: Cow<'a, str>,
        before: Option<u64>,
        limit: Option<u64>,
    }
    let data: Data<'_> = object(data, ("search", r#"{"query":"WORDS"}"#))?;
    if data.query.len() > MAX_QUERY_BYTES {
        let limit = MAX_QUERY_BYTES;
        return Err(RequestError::Query(QueryError::TooLong { limit }));
    }
    Ok(Request::Search(SearchRequest {
        query: Query::parse(&data.query).map_err(RequestError::Query)?,
        page: history_page(data.before, data.limit)?,
    }))
}

fn ping(data: Option<&RawValue>) -> Result<Request, RequestError> {
    let data = data.map_or("null", RawValue::get);
    if data.len() > MAX_PING_BYTES {
        let limit = MAX_PING_BYTES;
        return Err(RequestError::PingTooLong { limit });
    }
    Ok(Request::Ping(data.into()))
}

fn required_string<'a>(
    data: Option<&'a RawValue>,
    kind: &'static str,
) -> Result<Cow<'a, str>, RequestError> {
    let data = data.ok_or(RequestError::MissingData(kind))?;
    read_string(data, "data", RequestError::DataNotAString(kind))
}

/// Reads the JSON string under a key, borrowed if it has no escape. Another JSON value is refused
/// with `other`.
fn read_string<'a>(
    raw: &'a RawValue,
    key: &'static str,
    other: RequestError,
) -> Result<Cow<'a, str>, RequestError> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    if !raw.get().starts_with('"') {
        return Err(other);
    }
    let borrowed: Borrowed<'_> =
        serde_json::from_str(raw.get()).map_err(|_| RequestError::BadEscape(key))?;
    Ok(borrowed.0)
}

/// The two keys of a line, not yet parsed. serde_json skips other keys without recursion.
#[derive(Default)]
struct Envelope<'a> {
    kind: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    repeated: Option<&'static str>,
}

fn read_envelope(text: &str) -> Result<Envelope<'_>, RequestError> {
    if !text.trim_start_matches(JSON_SPACE).starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => RequestError::NotAnObject,
            Err(_) => RequestError::NotJson,
        });
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| RequestError::NotJson)?;
    match envelope.repeated {
        Some(key) => Err(RequestError::RepeatedKey(key)),
        None => Ok(envelope),
    }
}

/// White space of RFC 8259, section 2.
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
                while let Some(key) = map.next_key::<EnvelopeKey>()? {
                    let (slot, name) = match key {
                        EnvelopeKey::Type => (&mut envelope.kind, "type"),
                        EnvelopeKey::Data => (&mut envelope.data, "data"),
                        EnvelopeKey::Other => {
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
enum EnvelopeKey {
    Type,
    Data,
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{Basic, Extended};

    fn decode(dialect: Dialect, line: &str) -> Result<Request, RequestError> {
        request(line.as_bytes(), dialect, 16).map_err(|rejected| rejected.error)
    }

    #[track_caller]
    fn check(line: &str, expected: Result<Request, RequestError>) {
        assert_eq!(decode(Basic, line), expected, "{line}");
    }

    fn say(text: &str) -> Result<Request, RequestError> {
        Ok(Request::Say(text.into()))
    }

    #[test]
    fn requests_of_the_basic_dialect_are_decoded() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        check(r#"{"type":"message","data":"hi"}"#, say("hi"));
        check(
            r#" { "data" : "hi" , "x":[{}], "type" : "message" , "x":1 } "#,
            say("hi"),
        );
        check(
            r#"{"\u0074ype":"mess\u0061ge","data":"\u0068i"}"#,
            say("hi"),
        );
        check(
            &format!(r#"{{"deep":{deep},"type":"message","data":"hi"}}"#),
            say("hi"),
        );
        check(
            r#"{"type":"set-name","data":"Al"}"#,
            Ok(Request::SetName("Al".into())),
        );
        for data in [
            "",
            r#","data":"""#,
            r#","data":{"a":[1]}"#,
            r#","data":null"#,
        ] {
            check(
                &format!(r#"{{"type":"history"{data}}}"#),
                Ok(Request::History),
            );
            check(&format!(r#"{{"type":"users"{data}}}"#), Ok(Request::Users));
        }
    }

    #[test]
    fn malformed_lines_are_rejected() {
        use RequestError::*;
        let deep = "[".repeat(100_000);
        for line in [
            "hello",
            "{",
            "",
            "{}x",
            "\u{feff}{}",
            "nul",
            r#"{"type":"\ud800"}x"#,
            &deep,
        ] {
            check(line, Err(NotJson));
        }
        for line in ["[]", "1", "null", "\"type\"", " true "] {
            check(line, Err(NotAnObject));
        }
        for (line, expected) in [
            ("{}", MissingType),
            (r#"{"data":"x"}"#, MissingType),
            (r#"{"type":1,"data":"x"}"#, TypeNotAString),
            (r#"{"type":null,"data":"x"}"#, TypeNotAString),
            (r#"{"type":"kick","data":"x"}"#, UnknownType("kick".into())),
            (
                r#"{"type":"search","data":{}}"#,
                UnknownType("search".into()),
            ),
            (r#"{"type":"message"}"#, MissingData("message")),
            (
                r#"{"type":"set-name","data":["a"]}"#,
                DataNotAString("set-name"),
            ),
            (
                r#"{"type":"message","data":{"a":1}}"#,
                DataNotAString("message"),
            ),
            (r#"{"type":"message","data":"\ud800"}"#, BadEscape("data")),
            (r#"{"type":"users","type":"users"}"#, RepeatedKey("type")),
            (r#"{"data":1,"type":"users","data":2}"#, RepeatedKey("data")),
        ] {
            check(line, Err(expected));
        }
        let rejected = request(b"{\"type\":\"\xff\"}", Basic, 16);
        assert_eq!(rejected, Err(NotUtf8.into()));
    }

    #[test]
    fn messages_are_limited_in_size_and_not_blank() {
        let message = |text: &str| format!(r#"{{"type":"message","data":"{text}"}}"#);
        let full = "x".repeat(16);
        let too_long = RequestError::MessageTooLong {
            length: 17,
            limit: 16,
        };
        check(&message(&full), say(&full));
        check(&message(&format!("{full}x")), Err(too_long.clone()));
        // The limit counts the text as received, with the characters that will be removed.
        check(
            &message(&format!("x{}", "\\u0007".repeat(16))),
            Err(too_long),
        );
        for blank in ["", " \\t ", "\\n\\n", "\\u0000 \\u001b", "\\u00a0"] {
            check(&message(blank), Err(RequestError::BlankMessage));
        }
        check(&message(" a\\u001b\\tb\\nc "), say(" a\tb\nc "));
    }

    #[test]
    fn values_out_of_range_are_rejected_with_their_limit() {
        let ping = format!(
            r#"{{"type":"ping","data":"{}"}}"#,
            "x".repeat(MAX_PING_BYTES)
        );
        let query = "x".repeat(MAX_QUERY_BYTES + 1);
        let search = format!(r#"{{"type":"search","data":{{"query":"{query}"}}}}"#);
        for (line, code, limit) in [
            (
                r#"{"type":"history","data":{"limit":0}}"#,
                "bad-limit",
                Some(MAX_PAGE_MESSAGES),
            ),
            (
                r#"{"type":"message","data":{"message":"x","nonce":""}}"#,
                "bad-nonce",
                Some(MAX_NONCE_BYTES),
            ),
            (&ping, "ping-too-long", Some(MAX_PING_BYTES)),
            (&search, "bad-query", Some(MAX_QUERY_BYTES)),
            (
                r#"{"type":"hello","data":{"version":3}}"#,
                "unknown-version",
                None,
            ),
            (r#"{"type":"hello"}"#, "missing-data", None),
            (
                r#"{"type":"private","data":{"target":"al"}}"#,
                "bad-data",
                None,
            ),
        ] {
            let error = decode(Extended, line).unwrap_err();
            assert_eq!((error.code(), error.limit()), (code, limit), "{line}");
        }
        let large = decode(Extended, r#"{"type":"history","data":{"limit":99999}}"#);
        let page = HistoryPage {
            before: None,
            limit: MAX_PAGE_MESSAGES,
        };
        assert_eq!(large, Ok(Request::Page(page)));
    }
}
