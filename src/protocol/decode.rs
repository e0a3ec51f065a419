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
    DEFAULT_PAGE_MESSAGES, MAX_CLIENT_NAME_CHARS, MAX_PAGE_MESSAGES, MAX_PING_BYTES,
    MAX_QUERY_BYTES,
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
            Ok(Request::SendMessage(
                message_text(&text, max_message_bytes)?.into(),
            ))
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
    kind: &'static str,
    shape: &'static str,
) -> Result<T, RequestError> {
    let data = data.ok_or(RequestError::MissingData { kind, shape })?;
    serde_json::from_str(data.get()).map_err(|_| RequestError::BadObject { kind, shape })
}

/// Checks the nonce of a request that has one.
///
/// # Errors
/// The nonce is empty or too long.
pub fn nonce(text: Option<&str>) -> Result<Option<Nonce>, RequestError> {
    text.map(|text| Nonce::new(text).ok_or(RequestError::BadNonce))
        .transpose()
}

fn message(data: Option<&RawValue>, max_message_bytes: usize) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct Data {
        message: String,
        nonce: Option<String>,
        action: Option<bool>,
    }
    let data: Data = object(data, "message", r#"{"message":"TEXT","nonce":"N"}"#)?;
    Ok(Request::SendMessage(SendMessage {
        text: message_text(&data.message, max_message_bytes)?,
        action: data.action.unwrap_or(false),
        nonce: nonce(data.nonce.as_deref())?,
    }))
}

fn private(data: Option<&RawValue>, max_message_bytes: usize) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct Data {
        target: Box<str>,
        message: String,
        nonce: Option<String>,
    }
    let data: Data = object(data, "private", r#"{"target":"NAME","message":"TEXT"}"#)?;
    Ok(Request::Private(SendPrivate {
        target: data.target,
        text: message_text(&data.message, max_message_bytes)?,
        nonce: nonce(data.nonce.as_deref())?,
    }))
}

fn hello(data: Option<&RawValue>) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct After {
        epoch: Box<str>,
        id: u64,
    }
    #[derive(Deserialize)]
    struct Data {
        version: u64,
        client: Option<String>,
        token: Option<String>,
        after: Option<After>,
    }
    let data: Data = object(data, "hello", r#"{"version":2,"client":"NAME/VERSION"}"#)?;
    if data.version != VERSION {
        return Err(RequestError::UnknownVersion(data.version));
    }
    let client = data.client.unwrap_or_default();
    let client: String = client.chars().take(MAX_CLIENT_NAME_CHARS).collect();
    Ok(Request::Hello(Hello {
        client: client.into(),
        token: data.token.map(|token| Token::parse_or_unknown(&token)),
        after: data
            .after
            .map(|After { epoch, id }| EventCursor { epoch, id }),
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
        true => object(data, "history", r#"{"before":ID,"limit":N}"#)?,
        false => Data::default(),
    };
    Ok(Request::Page(history_page(data.before, data.limit)?))
}

/// Checks the parameters of a page and reduces its size to the largest allowed.
///
/// # Errors
/// The limit is 0.
pub fn history_page(before: Option<u64>, limit: Option<u64>) -> Result<HistoryPage, RequestError> {
    match limit.unwrap_or(DEFAULT_PAGE_MESSAGES as u64) {
        0 => Err(RequestError::BadLimit),
        limit => Ok(HistoryPage {
            before,
            limit: limit.min(MAX_PAGE_MESSAGES as u64) as usize,
        }),
    }
}

fn search(data: Option<&RawValue>) -> Result<Request, RequestError> {
    #[derive(Deserialize)]
    struct Data {
        query: String,
        before: Option<u64>,
        limit: Option<u64>,
    }
    let data: Data = object(data, "search", r#"{"query":"WORDS"}"#)?;
    if data.query.len() > MAX_QUERY_BYTES {
        return Err(RequestError::Query(QueryError::TooLong));
    }
    Ok(Request::Search(SearchRequest {
        query: Query::parse(&data.query).map_err(RequestError::Query)?,
        page: history_page(data.before, data.limit)?,
    }))
}

fn ping(data: Option<&RawValue>) -> Result<Request, RequestError> {
    match data.map_or("null", RawValue::get) {
        data if data.len() > MAX_PING_BYTES => Err(RequestError::PingTooLong),
        data => Ok(Request::Ping(data.into())),
    }
}

fn required_string<'a>(
    data: Option<&'a RawValue>,
    kind: &'static str,
) -> Result<Cow<'a, str>, RequestError> {
    let shape = "a string";
    let data = data.ok_or(RequestError::MissingData { kind, shape })?;
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

    #[test]
    fn requests_are_decoded() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for line in [
            r#" { "data" : "hi" , "x":[{}], "type" : "message" , "x":1 } "#,
            r#"{"\u0074ype":"mess\u0061ge","data":"\u0068i"}"#,
            r#"{"type":"message","data":"\u001bhi"}"#,
            &format!(r#"{{"deep":{deep},"type":"message","data":"hi"}}"#),
        ] {
            assert_eq!(
                decode(Basic, line),
                Ok(Request::SendMessage("hi".into())),
                "{line}"
            );
        }
        for data in [
            "",
            r#","data":"""#,
            r#","data":{"a":[1]}"#,
            r#","data":null"#,
        ] {
            let line = |kind| format!(r#"{{"type":"{kind}"{data}}}"#);
            assert_eq!(decode(Basic, &line("history")), Ok(Request::History));
            assert_eq!(decode(Basic, &line("users")), Ok(Request::Users));
        }
        let page = decode(Extended, r#"{"type":"history","data":{"limit":99999}}"#);
        assert!(matches!(page, Ok(Request::Page(page)) if page.limit == MAX_PAGE_MESSAGES));
    }

    /// Refused lines, each after the code of its refusal.
    const REFUSED: &str = r#"
        not-json hello
        not-json {}x
        not-json {"type":"\ud800"}x
        not-an-object []
        not-an-object true
        missing-type {}
        bad-type {"type":null,"data":"x"}
        unknown-type {"type":"kick","data":"x"}
        repeated-key {"type":"users","type":"users"}
        repeated-key {"data":1,"type":"users","data":2}
        missing-data {"type":"message"}
        missing-data {"type":"hello"}
        bad-data {"type":"set-name","data":["a"]}
        bad-data {"type":"private","data":{"target":"al"}}
        bad-escape {"type":"message","data":"\ud800"}
        blank-message {"type":"message","data":" \t\n\u0000 \u001b\u00a0"}
        message-too-long {"type":"message","data":"12345678901234\u0007\u0007\u0007"}
        bad-limit {"type":"history","data":{"limit":0}}
        bad-nonce {"type":"message","data":{"message":"x","nonce":""}}
        unknown-version {"type":"hello","data":{"version":3}}"#;

    #[test]
    fn refusals_have_their_code() {
        let long = "x".repeat(MAX_QUERY_BYTES + 1);
        let ping = format!(r#"{{"type":"ping","data":"{long}"}}"#);
        let search = format!(r#"{{"type":"search","data":{{"query":"{long}"}}}}"#);
        let deep = "[".repeat(100_000);
        let rows = REFUSED.trim_start().lines();
        let rows = rows.filter_map(|row| row.trim_start().split_once(' '));
        let long_rows = [
            ("ping-too-long", &*ping),
            ("bad-query", &search),
            ("not-json", &deep),
        ];
        for (code, line) in rows
            .chain(long_rows)
            .chain([("not-json", ""), ("not-json", "\u{feff}{}")])
        {
            assert_eq!(decode(Extended, line).unwrap_err().code(), code, "{line}");
        }
        let message = decode(Basic, r#"{"type":"message","data":{"message":"x"}}"#);
        assert_eq!(message, Err(RequestError::DataNotAString("message")));
        let search = decode(Basic, r#"{"type":"search","data":{}}"#);
        assert_eq!(search, Err(RequestError::UnknownType("search".into())));
        let rejected = request(b"{\"type\":\"\xff\"}", Basic, 16);
        assert_eq!(rejected, Err(RequestError::NotUtf8.into()));
    }
}
