//! Properties of framing and of the basic dialect: what holds for any bytes in any chunks.

use crate::line_model::Input;
use proptest::collection::vec;
use proptest::prelude::*;
use smolchat::chat::error::RequestError;
use smolchat::chat::request::{Request, SendMessage};
use smolchat::chat::sanitize;
use smolchat::client::session::Session;
use smolchat::protocol::server_line;
use smolchat::protocol::server_line::{Said, ServerLine};
use smolchat::protocol::{Dialect, basic, decode};
use std::time::Instant;

fn decode_basic(line: &[u8], max_message_bytes: usize) -> Result<Request, RequestError> {
    decode::request(line, Dialect::Basic, max_message_bytes).map_err(|rejected| rejected.error)
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let chunk = vec(stream_byte(), 0..20);
    vec(
        prop_oneof![6 => chunk.prop_map(Input::Bytes), 1 => Just(Input::SkipLine)],
        0..12,
    )
}

/// A byte, a line end more often than by chance. (One number per byte: choosing among strategies
/// costs more than what is tested.)
fn stream_byte() -> impl Strategy<Value = u8> {
    any::<u16>().prop_map(|number| match number % 18 {
        0..10 => b'x',
        10..13 => b'\n',
        13..16 => b'\r',
        _ => number.to_be_bytes()[0],
    })
}

/// A character: a letter, a control character, one that JSON escapes, or any.
fn any_character() -> impl Strategy<Value = char> {
    any::<u32>().prop_map(|number| {
        let rest = number / 10;
        let character = match number % 10 {
            0..3 => char::from_u32(u32::from('a') + rest % 26),
            3..5 => char::from_u32(rest % 0xA0),
            5 => ['"', '\\', '\n', '\u{2028}', '🚀']
                .get(rest as usize % 5)
                .copied(),
            _ => char::from_u32(rest % 0x11_0000),
        };
        // A surrogate is no character.
        character.unwrap_or('\u{FFFF}')
    })
}

/// Texts as strangers write them.
fn any_text() -> impl Strategy<Value = String> {
    vec(any_character(), 0..30).prop_map(String::from_iter)
}

/// Whether this could do something to a terminal; a tab does not.
fn is_harmful(character: char) -> bool {
    character.is_control() && character != '\t'
}

/// White space as JSON has it.
fn json_space() -> impl Strategy<Value = String> {
    "[ \t\r]{0,3}"
}

/// A text as a JSON string: each character as itself, where it may be, or as an escape.
fn spelled(text: &str, escaped: &[bool]) -> String {
    let mut json = String::from("\"");
    let mut units = [0; 2];
    for (character, escaped) in text.chars().zip(escaped.iter().cycle()) {
        if *escaped || character.is_control() || matches!(character, '"' | '\\') {
            for unit in character.encode_utf16(&mut units) {
                json.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            json.push(character);
        }
    }
    json.push('"');
    json
}

/// Any JSON value, not too large.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-1.5e-300".to_owned()),
        Just("1e999".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any_text().prop_map(|text| serde_json::Value::from(text).to_string()),
        (1usize..300).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(inner, 0..4).prop_map(|items| {
                let pairs: Vec<String> = items
                    .iter()
                    .map(|item| format!("\"type\":{item}"))
                    .collect();
                format!("{{{}}}", pairs.join(","))
            }),
        ]
    })
}

/// One change to a line of bytes.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Put(prop::sample::Index, u8),
    Change(prop::sample::Index, u8),
    Double(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    let byte = || {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(&b"{}[]\",:\\u0d8\0\r"[..])
        ]
    };
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), byte()).prop_map(|(place, byte)| Damage::Put(place, byte)),
        (any::<Index>(), byte()).prop_map(|(place, byte)| Damage::Change(place, byte)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Double(from, to)),
    ]
}

impl Damage {
    fn of(&self, line: &mut Vec<u8>) {
        if line.is_empty() {
            return;
        }
        let length = line.len();
        match self {
            Damage::Cut(place) => line.truncate(place.index(length)),
            Damage::Put(place, byte) => line.insert(place.index(length), *byte),
            Damage::Change(place, byte) => line[place.index(length)] = *byte,
            Damage::Double(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let part = line[from.min(to)..from.max(to)].to_vec();
                line.extend(part);
            }
        }
    }
}

/// What must hold for whatever a line is decoded to.
fn check_decoded(
    decoded: &Result<Request, RequestError>,
    most: usize,
) -> Result<(), TestCaseError> {
    match decoded {
        Ok(Request::SendMessage(SendMessage { text, .. })) => {
            prop_assert!(text.len() <= most && !text.trim().is_empty());
            prop_assert!(
                !text
                    .chars()
                    .any(|c| c.is_control() && c != '\t' && c != '\n'),
                "{:?}",
                text
            );
        }
        Ok(_) => {}
        Err(refusal) => {
            let sentence = refusal.to_string();
            prop_assert!(
                !sentence.is_empty() && sentence.len() < 1000,
                "{:?}",
                sentence
            );
            prop_assert!(!sentence.chars().any(is_harmful), "{:?}", sentence);
            prop_assert!(!sentence.ends_with('.'), "{:?}", sentence);
        }
    }
    Ok(())
}

/// Something that is nearly a request.
fn nearly_a_request() -> impl Strategy<Value = String> {
    let values = r#""message" "set-name" "users" null [[{"type":1}]] "\ud800" 1e999"#;
    let values: Vec<&str> = values.split(' ').collect();
    let value = prop_oneof![
        7 => prop::sample::select(values).prop_map(str::to_owned),
        1 => any_text().prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    let key = prop::sample::select(&["type", "data", "x", "\\u0064ata"][..]);
    let pairs = vec((key, value), 0..4);
    pairs.prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", pairs.join(","))
    })
}

/// What a client reads of this line.
fn message_of(line: &[u8]) -> Said {
    match server_line::decode(line) {
        Some(ServerLine::Message(said)) => said,
        other => panic!("no message: {other:?}"),
    }
}

/// Lines that a server says, in any order, and what is none.
fn nearly_of_a_server() -> impl Strategy<Value = Vec<u8>> {
    let lines = [
        r#"{"type":"message","data":{"source":"[Server]","message":"1.2.3.4:5 has entered the chat"}} "#,
        r#"{"type":"message","data":{"source":"[Server]","message":"1.2.3.4:5 renamed to al"}}"#,
        r#"{"type":"welcome","data":{"name":"al","token":"t","epoch":"e","last":3}}"#,
        r#"{"type":"message","data":{"id":4,"time":"2026-01-31T12:00:00.000Z","source":"é","message":"x"}}"#,
        r#"{"type":"joined","data":{"id":5,"time":"2026-01-31T12:00:00.000Z","name":"bo"}}"#,
        r#"{"type":"renamed","data":{"id":6,"time":"2026-01-31T12:00:00.000Z","name":"al","new_name":"cy"}}"#,
        r#"{"type":"history","data":{"messages":[],"more":true}}"#,
        r#"{"type":"error","data":{"code":"x","message":"y","type":"message"}}"#,
        r#"{"type":"ack","data":{"nonce":"0000000000000007-1","id":4}}"#,
        r#"{"type":"pong","data":1}"#,
        r#"{"type":"bye","data":{"reason":"shutdown","reconnect":true,"retry_after_ms":5}}"#,
        "",
        "[[[[",
    ];
    let line = proptest::sample::select(lines.to_vec());
    let line = line.prop_map(|line| format!("{line}\n").into_bytes());
    prop_oneof![9 => line, 1 => vec(any::<u8>(), 0..30)]
}

/// What a session that has something to say tells of these bytes, and what it sends.
fn told<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Vec<u8>) {
    let now = Instant::now();
    let mut session = Session::new(true, true, Some("al".to_owned()), 7);
    let mut told = Vec::new();
    session.connected(now);
    let request = smolchat::client::session::request::UserRequest::History(Some(3));
    session.request(request, None, now);
    for chunk in chunks {
        session.receive(chunk, now);
        let updates = session.take_updates().into_iter();
        told.extend(updates.map(|update| format!("{update:?}")));
    }
    (told, session.take_output())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(crate::cases::cases(500)) })]

    #[test]
    fn splitter_matches_the_model_at_any_chunking(
        inputs in inputs(), most in 0usize..20,
    ) {
        crate::line_model::check(&inputs, most);
    }

    #[test]
    fn any_bytes_are_a_request_or_a_refusal_in_one_line(bytes in vec(any::<u8>(), 0..100)) {
        check_decoded(&decode_basic(&bytes, 32), 32)?;
    }

    #[test]
    fn any_near_request_is_a_request_or_a_refusal_in_one_line(line in nearly_a_request()) {
        check_decoded(&decode_basic(line.as_bytes(), 32), 32)?;
    }

    #[test]
    fn any_damaged_request_is_a_request_or_a_refusal_in_one_line(
        kind in prop::sample::select(&["message", "set-name", "history", "users"][..]),
        text in any_text(), damages in vec(damage(), 1..4),
    ) {
        let mut line = Vec::new();
        basic::encode_request(&mut line, kind, &text);
        line.pop();
        let whole = line.len();
        damages.iter().for_each(|damage| damage.of(&mut line));
        let decoded = decode_basic(&line, 32);
        check_decoded(&decoded, 32)?;
        if matches!(damages.as_slice(), [Damage::Cut(_)]) {
            prop_assert!(line.len() < whole);
            prop_assert!(matches!(decoded, Err(RequestError::NotJson | RequestError::NotUtf8)), "{:?}", decoded);
        }
    }

    /// Order of keys, white space, unknown keys and escapes mean nothing.
    #[test]
    fn spelling_of_a_request_does_not_matter(
        kind in prop::sample::select(&["message", "set-name", "history", "users", "message ", "Users"][..]),
        text in any_text(),
        others in vec(("[a-z]{5,8}", any_json()), 0..4),
        order in any::<prop::sample::Index>(),
        is_swapped: bool,
        spaces in vec(json_space(), 7),
        escaped in vec(any::<bool>(), 1..9),
    ) {
        let mut plain = Vec::new();
        basic::encode_request(&mut plain, kind, &text);
        let expected = decode_basic(plain.trim_ascii_end(), 48);
        let mut pairs: Vec<(String, String)> = others
            .into_iter()
            .map(|(key, value)| (spelled(&key, &escaped), value))
            .collect();
        pairs.push((spelled("type", &escaped), spelled(kind, &escaped)));
        pairs.push((spelled("data", &escaped), spelled(&text, &escaped)));
        let by = order.index(pairs.len());
        pairs.rotate_left(by);
        if is_swapped {
            pairs.reverse();
        }
        let [a, b, c, d, e, f, g] = <[String; 7]>::try_from(spaces).expect("seven");
        let pairs: Vec<String> =
            pairs.iter().map(|(key, value)| format!("{a}{key}{b}:{c}{value}{d}")).collect();
        let line = format!("{e}{{{}}}{f}{g}", pairs.join(","));
        prop_assert_eq!(decode_basic(line.as_bytes(), 48), expected, "{}", line);
    }

    #[test]
    fn duplicate_key_is_rejected(
        key in prop::sample::select(&["type", "data"][..]), values in vec(any_json(), 2..4),
    ) {
        let mut pairs: Vec<String> = values.iter().map(|value| format!("\"{key}\":{value}")).collect();
        pairs.insert(1, r#""type":"users""#.to_owned());
        let decoded = decode_basic(format!("{{{}}}", pairs.join(",")).as_bytes(), 48);
        prop_assert!(
            matches!(decoded, Err(RequestError::RepeatedKey(_) | RequestError::NotJson)), "{:?}", decoded
        );
    }

    /// A message counts as received: before anything is removed from it, whatever its escapes.
    #[test]
    fn a_message_counts_as_received(text in any_text(), most in 0usize..60, escaped in vec(any::<bool>(), 1..9)) {
        let line = format!(r#"{{"type":"message","data":{}}}"#, spelled(&text, &escaped));
        let cleaned = sanitize::clean_message(&text);
        let expected = if text.len() > most {
            Err(RequestError::MessageTooLong { length: text.len(), limit: most })
        } else if sanitize::is_blank(&cleaned) {
            Err(RequestError::BlankMessage)
        } else {
            Ok(Request::SendMessage(cleaned.as_ref().into()))
        };
        prop_assert_eq!(decode_basic(line.as_bytes(), most), expected);
    }

    #[test]
    fn a_refusal_is_one_line_for_every_client(bytes in vec(any::<u8>(), 0..60), near in nearly_a_request()) {
        for line in [bytes.as_slice(), near.as_bytes()] {
            let Err(refusal) = decode_basic(line, 8) else { continue };
            let mut wire = Vec::new();
            basic::encode_notice(&mut wire, &refusal.to_string());
            prop_assert_eq!(wire.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let read = message_of(&wire);
            prop_assert_eq!((read.source.as_str(), read.message), ("[Server]", refusal.to_string()));
        }
    }

    #[test]
    fn server_decodes_lines_of_the_client(text in any_text()) {
        let mut line = Vec::new();
        basic::encode_request(&mut line, "set-name", &text);
        prop_assert_eq!(line.pop(), Some(b'\n'));
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(decode_basic(&line, 4096), Ok(Request::SetName(text.as_str().into())));
        let mut line = Vec::new();
        basic::encode_request(&mut line, "message", &text);
        let cleaned = sanitize::clean_message(&text);
        match decode_basic(line.trim_ascii_end(), 4096) {
            Ok(request) => prop_assert_eq!(request, Request::SendMessage(cleaned.as_ref().into())),
            Err(_) => prop_assert!(sanitize::is_blank(&cleaned), "{:?} was refused", text),
        }
    }

    #[test]
    fn client_decodes_lines_of_the_server(source in any_text(), message in any_text()) {
        let mut line = Vec::new();
        basic::encode_message(&mut line, &source, &message);
        prop_assert_eq!(line.last(), Some(&b'\n'));
        prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let shown = message.replace('\n', " ↵ ");
        let exact = serde_json::json!({ "type": "message", "data": { "source": source, "message": shown } });
        prop_assert_eq!(&value, &exact);
        let read = message_of(&line);
        prop_assert_eq!((read.source, read.message), (source, shown));
    }

    #[test]
    fn a_line_in_parts_is_the_line_at_once(source in any_text(), parts in vec(any_text(), 0..5)) {
        let mut line = Vec::new();
        basic::open_message(&mut line, &source);
        for part in &parts {
            basic::continue_text(&mut line, part);
        }
        basic::close_message(&mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        prop_assert_eq!(&value["data"]["message"], &serde_json::json!(parts.concat()));
        prop_assert_eq!(&value["data"]["source"], &serde_json::json!(source));
        prop_assert_eq!(line.last(), Some(&b'\n'));
    }

    #[test]
    fn client_reads_any_bytes(bytes in vec(any::<u8>(), 0..100)) {
        // Garbage is passed over; what counts is that this returns.
        let _ = server_line::decode(&bytes);
    }

    #[test]
    fn a_session_tells_the_same_at_any_chunking(lines in vec(nearly_of_a_server(), 0..12), cuts in vec(1..40usize, 1..8)) {
        let bytes = lines.concat();
        let whole = told(bytes.chunks(bytes.len().max(1)));
        let mut rest = bytes.as_slice();
        let mut cuts = cuts.into_iter().cycle();
        let chunks = std::iter::from_fn(|| {
            let (chunk, later) = rest.split_at(cuts.next()?.min(rest.len()));
            rest = later;
            (!chunk.is_empty()).then_some(chunk)
        });
        prop_assert_eq!(told(chunks), whole);
    }

    #[test]
    fn nothing_reaches_a_terminal_as_a_control_character(text in any_text()) {
        let safe = sanitize::for_terminal(&text);
        prop_assert!(!safe.chars().any(|c| c.is_control() && c != '\t'), "{:?}", safe);
        prop_assert!(!safe.contains(['\u{2028}', '\u{2029}', '\u{202e}']), "{:?}", safe);
        // Safe text is left alone.
        let again = sanitize::for_terminal(&safe);
        prop_assert_eq!(&again, &safe);
    }
}
