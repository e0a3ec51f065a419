//! Properties of framing and of the basic dialect: what holds for any bytes in any chunks.

use proptest::collection::vec;
use proptest::prelude::*;
use smolchat::framing::{Line, LineSplitter};
use smolchat::protocol::{Request, basic};
use smolchat::text;

/// Longest line in these tests, in bytes: short, so that chance reaches it.
const MAX_LINE: usize = 12;

/// A line, or that one was too long.
type Found = Option<Vec<u8>>;

/// What a splitter gives for these bytes in chunks of these sizes, taken in turn; and whether
/// the stream then ends in the middle of a line.
fn split(bytes: &[u8], sizes: &[usize]) -> (Vec<Found>, bool) {
    let mut splitter = LineSplitter::new(MAX_LINE);
    let mut found = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |&size| size).clamp(1, rest.len());
        let (mut chunk, tail) = rest.split_at(size);
        rest = tail;
        while let Some(line) = splitter.next_line(&mut chunk) {
            found.push(match line {
                Line::Complete(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
        assert!(chunk.is_empty(), "a chunk was not read to its end");
        assert!(
            splitter.stored_bytes() <= MAX_LINE + 1,
            "{} bytes are stored",
            splitter.stored_bytes()
        );
    }
    (found, splitter.finish())
}

/// The same by the shortest means: all bytes at once, cut at each newline.
fn model(bytes: &[u8]) -> (Vec<Found>, bool) {
    let mut pieces: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    let last = without_carriage_return(pieces.pop().unwrap_or_default());
    let mut found: Vec<Found> = pieces
        .into_iter()
        .map(without_carriage_return)
        .filter(|line| !line.is_empty())
        .map(|line| (line.len() <= MAX_LINE).then(|| line.to_vec()))
        .collect();
    let is_told = last.len() > MAX_LINE;
    if is_told {
        found.push(None);
    }
    (found, !last.is_empty() && !is_told)
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Bytes among which line ends are common.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => Just(b'\n'),
        3 => Just(b'\r'),
        10 => Just(b'x'),
        2 => any::<u8>(),
    ];
    vec(byte, 0..200)
}

/// Chunk sizes, one byte among them more often than by chance.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(
        prop_oneof![2 => Just(1usize), 3 => 1..8usize, 1 => 1..200usize],
        1..20,
    )
}

/// Texts as strangers write them.
fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        4 => any::<char>(),
        2 => proptest::char::range('\u{0}', '\u{9f}'),
        1 => prop_oneof![Just('"'), Just('\\'), Just('\n'), Just('\u{2028}'), Just('🚀')],
        3 => proptest::char::range('a', 'z'),
    ];
    vec(character, 0..40).prop_map(String::from_iter)
}

/// Whether this could do something to a terminal; a tab does not.
fn is_harmful(character: char) -> bool {
    character.is_control() && character != '\t'
}

/// Something that is nearly a request.
fn nearly_a_request() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("\"message\"".to_owned()),
        Just("\"set-name\"".to_owned()),
        Just("\"users\"".to_owned()),
        Just("null".to_owned()),
        Just("[[{\"type\":1}]]".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("1e999".to_owned()),
        any_text().prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    let key = prop_oneof![Just("type"), Just("data"), Just("x"), Just("\\u0064ata")];
    let pairs = vec((key, value), 0..4);
    pairs.prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}", pairs.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_chunks_give_the_same_lines(bytes in stream(), sizes in sizes()) {
        prop_assert_eq!(split(&bytes, &sizes), model(&bytes));
    }

    #[test]
    fn a_line_that_was_given_up_leaves_nothing_behind(half in vec(any::<u8>(), 0..MAX_LINE), rest in stream()) {
        let half: Vec<u8> = half.into_iter().filter(|&byte| byte != b'\n').collect();
        let mut splitter = LineSplitter::new(MAX_LINE);
        prop_assert_eq!(splitter.next_line(&mut half.as_slice()), None);
        splitter.skip_line();
        prop_assert_eq!(splitter.stored_bytes(), 0);
        let mut found = Vec::new();
        let mut input = rest.as_slice();
        while let Some(line) = splitter.next_line(&mut input) {
            found.push(match line {
                Line::Complete(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
        // As if the stream began after the first newline.
        let begin = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |index| index + 1);
        prop_assert_eq!((found, splitter.finish()), model(&rest[begin..]));
    }

    #[test]
    fn any_bytes_are_a_request_or_a_refusal_in_one_line(bytes in vec(any::<u8>(), 0..100)) {
        if let Err(refusal) = basic::decode_request(&bytes, 32) {
            let sentence = refusal.to_string();
            prop_assert!(!sentence.is_empty() && !sentence.chars().any(is_harmful), "{:?}", sentence);
        }
    }

    #[test]
    fn any_near_request_is_a_request_or_a_refusal_in_one_line(line in nearly_a_request()) {
        match basic::decode_request(line.as_bytes(), 32) {
            Ok(Request::Say(text)) => {
                prop_assert!(text.len() <= 32 && !text.trim().is_empty());
                prop_assert!(!text.chars().any(|c| c.is_control() && c != '\t' && c != '\n'), "{:?}", text);
            }
            Ok(_) => {}
            Err(refusal) => {
                let sentence = refusal.to_string();
                prop_assert!(!sentence.chars().any(is_harmful), "{:?}", sentence);
                prop_assert!(sentence.len() < 1000, "{:?}", sentence);
            }
        }
    }

    #[test]
    fn the_server_reads_what_the_client_writes(text in any_text()) {
        let mut line = Vec::new();
        basic::encode_request(&mut line, "set-name", &text);
        prop_assert_eq!(line.pop(), Some(b'\n'));
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(basic::decode_request(&line, 4096), Ok(Request::SetName(text.as_str().into())));
        let mut line = Vec::new();
        basic::encode_request(&mut line, "message", &text);
        let cleaned = text::clean_message(&text);
        match basic::decode_request(line.trim_ascii_end(), 4096) {
            Ok(request) => prop_assert_eq!(request, Request::Say(cleaned.as_ref().into())),
            Err(_) => prop_assert!(text::is_blank(&cleaned), "{:?} was refused", text),
        }
    }

    #[test]
    fn the_client_reads_what_the_server_writes(source in any_text(), message in any_text()) {
        let mut line = Vec::new();
        basic::encode_message(&mut line, &source, &message);
        prop_assert_eq!(line.last(), Some(&b'\n'));
        prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let shown = message.replace('\n', " ↵ ");
        let exact = serde_json::json!({ "type": "message", "data": { "source": source, "message": shown } });
        prop_assert_eq!(&value, &exact);
        let read = basic::decode_server_line(&line).expect("a message");
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
    fn any_bytes_of_a_server_are_read_without_harm(bytes in vec(any::<u8>(), 0..100)) {
        // Garbage is passed over; what counts is that this returns.
        let _ = basic::decode_server_line(&bytes);
    }

    #[test]
    fn nothing_reaches_a_terminal_as_a_control_character(text in any_text()) {
        let safe = text::for_terminal(&text);
        prop_assert!(!safe.chars().any(|c| c.is_control() && c != '\t'), "{:?}", safe);
        prop_assert!(!safe.contains(['\u{2028}', '\u{2029}', '\u{202e}']), "{:?}", safe);
        // Safe text is left alone.
        let again = text::for_terminal(&safe);
        prop_assert_eq!(&again, &safe);
    }
}
