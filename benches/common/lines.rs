//! The lines of the load: how one is written, and how it is recognised when it arrives.
//!
//! The load ([`super::load`], [`super::joins`]) and the floor's greeting use it. A talker's
//! line has one fixed length and its number at one fixed place, so that recognising it costs
//! almost nothing. It must never parse JSON: it knows the bytes that PROTOCOL's basic dialect
//! makes of these lines, and everything else is [`Line::Other`].

use super::Target;

/// Bytes of a message's text.
pub(crate) const TEXT_BYTES: usize = 100;

/// Talkers that a number of two digits can tell apart.
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
const SAID_BYTES: usize = KEY_AT + TEXT_BYTES + TAIL.len();

/// What a received line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A message of the load.
    Said(Key),
    /// The client with this port has entered.
    Entered(u16),
    /// Anything else, such as a summary of arrivals.
    Other,
}

/// The first bytes of a message's text: who says it (two digits), its number (thirteen
/// digits), and `E` if it is the talker's last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u8; KEY_BYTES]);

impl Key {
    /// The key of message `number` of `talker`.
    pub(crate) fn new(talker: usize, number: u64, last: bool) -> Self {
        let mut bytes = [b'0'; KEY_BYTES];
        write_digits(&mut bytes[..2], talker as u64);
        write_digits(&mut bytes[2..15], number);
        bytes[15] = if last { b'E' } else { b'.' };
        Key(bytes)
    }

    /// Who said it.
    pub(crate) fn talker(self) -> usize {
        read_digits(&self.0[..2]) as usize
    }

    /// The how many-th message of its talker it is, from 0.
    pub(crate) fn number(self) -> u64 {
        read_digits(&self.0[2..15])
    }

    /// Whether its talker says nothing after it.
    pub(crate) fn is_last(self) -> bool {
        self.0[15] == b'E'
    }

    /// A number for the ledger that no other message shares.
    pub(crate) fn id(self) -> u64 {
        let whole = u128::from_le_bytes(self.0);
        (whole as u64) ^ ((whole >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// A number for the ledger for the arrival of the client with this port.
pub(crate) fn arrival_id(port: u16) -> u64 {
    u64::from(port)
}

/// The name of a talker.
pub(crate) fn talker_name(talker: usize) -> String {
    format!("talker-{talker:02}")
}

/// The line by which a client takes a talker's name.
pub(crate) fn naming_line(talker: usize) -> Vec<u8> {
    format!(
        "{{\"type\":\"set-name\",\"data\":\"{}\"}}\n",
        talker_name(talker)
    )
    .into_bytes()
}

/// Appends the line that a talker sends: to the server what a client says, to the floor, which
/// only relays, what the server would have made of it.
pub(crate) fn push_message(out: &mut Vec<u8>, target: Target, talker: usize, key: Key) {
    match target {
        Target::Server => out.extend_from_slice(br#"{"type":"message","data":""#),
        Target::Floor => {
            out.extend_from_slice(HEAD);
            out.extend_from_slice(TALKER);
            out.extend_from_slice(&key.0[..2]);
            out.extend_from_slice(BETWEEN);
        }
    }
    debug_assert_eq!(key.talker(), talker);
    out.extend_from_slice(&key.0);
    out.resize(out.len() + TEXT_BYTES - KEY_BYTES, b'x');
    out.extend_from_slice(if target == Target::Floor {
        b"\"}}\n"
    } else {
        b"\"}\n"
    });
}

/// Appends the line that announces the client with this port, as the server writes it.
pub(crate) fn push_entered(out: &mut Vec<u8>, port: u16) {
    out.extend_from_slice(HEAD);
    out.extend_from_slice(SERVER);
    out.extend_from_slice(port.to_string().as_bytes());
    out.extend_from_slice(ENTERED);
    out.extend_from_slice(b" \n");
}

/// Recognises a line, which is given without its newline.
pub(crate) fn recognise(line: &[u8]) -> Line {
    if line.len() == SAID_BYTES && line[HEAD.len()] == b't' {
        return recognise_said(line).map_or(Line::Other, Line::Said);
    }
    recognise_entered(line).map_or(Line::Other, Line::Entered)
}

fn recognise_said(line: &[u8]) -> Option<Key> {
    let key: [u8; KEY_BYTES] = line[KEY_AT..KEY_AT + KEY_BYTES].try_into().ok()?;
    let honest = line[TALKER_AT..TALKER_AT + 2] == key[..2];
    honest.then_some(Key(key))
}

fn recognise_entered(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(HEAD)?.strip_prefix(SERVER)?;
    // A space after the brace is the mark of a server that speaks more than basic.
    let port = rest
        .strip_suffix(b" ")
        .unwrap_or(rest)
        .strip_suffix(ENTERED)?;
    let known = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    known.then(|| u16::try_from(read_digits(port)).ok())?
}

fn read_digits(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| {
        number * 10 + u64::from(digit.wrapping_sub(b'0'))
    })
}

fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
