//! JSON fragments appended to a line.

use jiff::Timestamp;
use std::io::Write;

pub(crate) fn raw(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

pub(crate) fn number(line: &mut Vec<u8>, number: u64) {
    // Writing to memory does not fail.
    let _ = write!(line, "{number}");
}

/// Appends a string with its quotes; only what RFC 8259 demands is escaped.
pub(crate) fn string(line: &mut Vec<u8>, text: &str) {
    // Neither a `str` nor a `Vec` can make serde_json fail.
    serde_json::to_writer(&mut *line, text).expect("a string is always writable to memory");
}

/// Appends a time in RFC 3339: UTC, milliseconds.
pub(crate) fn time(line: &mut Vec<u8>, time: Timestamp) {
    let _ = write!(line, "\"{time:.3}\"");
}

/// Appends a further field with a number.
pub(crate) fn number_field(line: &mut Vec<u8>, key: &str, value: u64) {
    further_key(line, key);
    number(line, value);
}

/// Appends a further field with a string.
pub(crate) fn text_field(line: &mut Vec<u8>, key: &str, text: &str) {
    further_key(line, key);
    string(line, text);
}

fn further_key(line: &mut Vec<u8>, key: &str) {
    raw(line, ",\"");
    raw(line, key);
    raw(line, "\":");
}
