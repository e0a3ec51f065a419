//! Reading a client's line, in either dialect.
//!
//! What lives here: [`request`], from a line to a [`Request`] or the reason why it is refused. The
//! server's connections use it. It must never recurse with the depth of a line, nor look at a
//! line in more than a few passes.
//!
//! Protocol: "What is refused", and the table "client to server".

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

/// Reads one line of a client that is spoken with in this dialect.
///
/// # Errors
/// Why the line is refused.
pub fn request(
    line: &[u8],
    dialect: Dialect,
    max_message_bytes: usize,
) -> Result<Request, RejectedRequest> {
    let refused = |refusal| RejectedRequest {
        refusal,
        kind: None,
    };
    let text = std::str::from_utf8(line).map_err(|_| refused(RequestError::NotUtf8))?;
    let envelope = read_envelope(text).map_err(refused)?;
    let kind = envelope.kind.ok_or(refused(RequestError::MissingType))?;
    let kind = read_string(kind, "type", RequestError::TypeNotAString).map_err(refused)?;
    typed_request(&kind, envelope.data, dialect, max_message_bytes).map_err(|refusal| {
        RejectedRequest {
            refusal,
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
        "message" if is_extended && is_object(data) => said(data, max_message_bytes),
        "message" => {
            let text = required_data(data, "message")?;
            Ok(Request::Say(message_text(&text, max_message_bytes)?.into()))
        }
        "set-name" => Ok(Request::SetName(required_data(data, "set-name")?.into())),
        "history" if is_extended => page(data),
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

/// A text that may be said, without what is removed.
///
/// # Errors
/// It is too long, or nothing but white space.
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

/// The object under `data`.
fn object<'a, T: Deserialize<'a>>(
    data: Option<&'a RawValue>,
    (kind, shape): (&'static str, &'static str),
) -> Result<T, RequestError> {
    let data = data.ok_or(RequestError::MissingObject { kind, shape })?;
    serde_json::from_str(data.get()).map_err(|_| RequestError::BadObject { kind, shape })
}

/// What a client sent as its nonce, if it did.
///
/// # Errors
/// It is empty or too long.
pub fn nonce(text: Option<&str>) -> Result<Option<Nonce>, RequestError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let nonce = Nonce::new(text).ok_or(RequestError::BadNonce {
        limit: MAX_NONCE_BYTES,
    })?;
    Ok(Some(nonce))
}

fn said(data: Option<&RawValue>, max_message_bytes: usize) -> Result<Request, RequestError> {
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
        return Err(RequestError::OtherVersion(data.version));
    }
    let client = data.client.unwrap_or_default();
    let client: String = client.chars().take(MAX_CLIENT_NAME_CHARS).collect();
    Ok(Request::Hello(Hello {
        client: client.into(),
        // One that cannot be a token is one that nobody knows.
        token: data.token.and_then(|token| Token::parse(&token)),
        after: data.after.map(|after| EventCursor {
            epoch: after.epoch.into(),
            id: after.id,
        }),
    }))
}

fn page(data: Option<&RawValue>) -> Result<Request, RequestError> {
    #[derive(Default, Deserialize)]
    struct Data {
        before: Option<u64>,
        limit: Option<u64>,
    }
    // What is valid in the basic dialect stays valid, and asks for the newest page.
    let data: Data = match is_object(data) {
        true => object(data, ("history", r#"{"before":ID,"limit":N}"#))?,
        false => Data::default(),
    };
    Ok(Request::Page(part(data.before, data.limit)?))
}

/// A page that is larger than the largest is that: its answer says that there is more.
///
/// # Errors
/// It would have no message.
pub fn part(before: Option<u64>, limit: Option<u64>) -> Result<HistoryPage, RequestError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE_MESSAGES as u64);
    if limit == 0 {
        return Err(RequestError::EmptyPage {
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
        page: part(data.before, data.limit)?,
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

fn required_data<'a>(
    data: Option<&'a RawValue>,
    kind: &'static str,
) -> Result<Cow<'a, str>, RequestError> {
    let data = data.ok_or(RequestError::MissingData(kind))?;
    read_string(data, "data", RequestError::DataNotAString(kind))
}

/// The JSON string under a key, borrowed where it holds no escape; `other` refuses another
/// JSON value.
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

/// The two keys of a line, not yet looked into: what stands beside them is skipped without
/// recursion, however deep it is.
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
