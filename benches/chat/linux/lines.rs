//! Lines of the basic dialect that the load sends and recognises.
//!
//! A message has a fixed length and its number at a fixed place, so that the load need not
//! parse JSON.

use std::io::Write;

/// Length of a message's text.
const TEXT_BYTES: usize = 100;

/// A message has two digits for its talker.
pub(crate) const MAX_TALKERS: usize = 99;

const HEAD: &[u8] = br#"{"type":"message","data":{"source":""#;
const TALKER: &[u8] = b"talker-";
const SERVER: &[u8] = br#"[Server]","message":"127.0.0.1:"#;
const BETWEEN: &[u8] = br#"","message":""#;
const TAIL: &[u8] = br#""}}"#;
const ENTERED: &[u8] = br#" has entered the chat"}}"#;

const TALKER_AT: usize = HEAD.len() + TALKER.len();
const KEY_AT: usize = TALKER_AT + 2 + BETWEEN.len();
const KEY_BYTES: usize = 16;
const MESSAGE_BYTES: usize = KEY_AT + TEXT_BYTES + TAIL.len();

/// A received line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReceivedLine {
    /// Message of the load.
    Message(Key),
    /// Join notice of the client with this port.
    Entered(u16),
    Other,
}

/// Start of a message's text: talker (2 digits), number (13 digits), and `E` for its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u8; KEY_BYTES]);

impl Key {
    pub(crate) fn new(talker: usize, number: u64, is_last: bool) -> Self {
        let mut bytes = [0; KEY_BYTES];
        let mark = if is_last { 'E' } else { '.' };
        // Fails only for a number of more than 13 digits.
        let _ = write!(&mut bytes[..], "{talker:02}{number:013}{mark}");
        Key(bytes)
    }

    pub(crate) fn talker(self) -> usize {
        read_digits(&self.0[..2]) as usize
    }

    /// Returns how many messages the talker sent before this one.
    pub(crate) fn number(self) -> u64 {
        read_digits(&self.0[2..15])
    }

    pub(crate) fn is_last(self) -> bool {
        self.0[15] == b'E'
    }

    /// Returns an identifier for the verification.
    pub(crate) fn id(self) -> u64 {
        let whole = u128::from_le_bytes(self.0);
        (whole as u64) ^ ((whole >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Returns the request that sets a talker's name.
pub(crate) fn set_name_line(talker: usize) -> Vec<u8> {
    format!("{{\"type\":\"set-name\",\"data\":\"talker-{talker:02}\"}}\n").into_bytes()
}

/// Appends a message: a request for the server; for the floor, the line that the server would
/// send to all clients.
pub(crate) fn push_message(out: &mut Vec<u8>, to_floor: bool, key: Key) {
    if to_floor {
        out.extend_from_slice(HEAD);
        out.extend_from_slice(TALKER);
        out.extend_from_slice(&key.0[..2]);
        out.extend_from_slice(BETWEEN);
    } else {
        out.extend_from_slice(br#"{"type":"message","data":""#);
    }
    out.extend_from_slice(&key.0);
    out.resize(out.len() + TEXT_BYTES - KEY_BYTES, b'x');
    out.extend_from_slice(if to_floor { b"\"}}\n" } else { b"\"}\n" });
}

/// Returns a join notice as the server writes it.
pub(crate) fn entered_line(port: u16) -> Vec<u8> {
    let port = port.to_string();
    [HEAD, SERVER, port.as_bytes(), ENTERED, b" \n"].concat()
}

/// Recognises a line without its newline.
pub(crate) fn recognise(line: &[u8]) -> ReceivedLine {
    if line.len() == MESSAGE_BYTES && line[HEAD.len()] == b't' {
        return message_key(line).map_or(ReceivedLine::Other, ReceivedLine::Message);
    }
    entered_port(line).map_or(ReceivedLine::Other, ReceivedLine::Entered)
}

fn message_key(line: &[u8]) -> Option<Key> {
    let key: [u8; KEY_BYTES] = line[KEY_AT..KEY_AT + KEY_BYTES].try_into().ok()?;
    (line[TALKER_AT..TALKER_AT + 2] == key[..2]).then_some(Key(key))
}

fn entered_port(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(HEAD)?.strip_prefix(SERVER)?;
    // A space at the end says that the server supports the extended dialect.
    let rest = rest.strip_suffix(b" ").unwrap_or(rest);
    let port = rest.strip_suffix(ENTERED)?;
    str::from_utf8(port).ok()?.parse().ok()
}

fn read_digits(digits: &[u8]) -> u64 {
    let value = |digit: &u8| u64::from(digit.wrapping_sub(b'0'));
    digits.iter().fold(0, |sum, digit| sum * 10 + value(digit))
}
