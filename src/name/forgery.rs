//! Names that read as something else: an address, the server, a notice, a private message, or
//! the beginning of a line that another name says.
//!
//! What lives here: these checks, each made on the prepared name and on what it looks like.
//! Called by `name` alone.
//! It must never refuse a letter for looking like a colon or `>` among letters of its script.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory as Category, Script};
use unicode_security::confusable_detection::skeleton;

use super::characters::{category, is_nonspacing_mark};
use super::{NameError, keys};

/// What the server says has this source.
const SERVER: &str = "[Server]";
/// How the source of a private message ends.
const PRIVATE: &str = "(private)";
/// What the server's notices say, of one user and of many.
pub(super) const NOTICES: [&str; 5] = [
    "has entered the chat",
    "has left the chat",
    "renamed to",
    "have entered the chat",
    "have left the chat",
];

static SERVER_LOOK: LazyLock<Look> = LazyLock::new(|| Look::of(SERVER));
static PRIVATE_LOOK: LazyLock<Look> = LazyLock::new(|| Look::of(PRIVATE));
static NOTICE_LOOKS: LazyLock<[(&str, Look); NOTICES.len()]> =
    LazyLock::new(|| NOTICES.map(|phrase| (phrase, Look::of(phrase))));

/// Refuses what reads as an address, as something the server writes, or as the end of a source.
///
/// The asker's own address has been taken out before, by [`is_own_address`].
pub(super) fn check(requested: &str, prepared: &str) -> Result<(), NameError> {
    let look = Look::of(prepared);
    check_address(requested, prepared, &look)?;
    check_server(&look)?;
    check_separators(&punctuation_look(prepared))
}

/// As given, as prepared and by its look, each also with its letters taken for digits.
fn check_address(requested: &str, prepared: &str, look: &Look) -> Result<(), NameError> {
    let readings = [requested, prepared, &look.0[0], &look.0[1]];
    if readings
        .iter()
        .any(|text| endpoint(text).is_some() || endpoint(&letters_as_digits(text)).is_some())
    {
        return Err(NameError::LooksLikeAddress);
    }
    Ok(())
}

/// Whether a prepared name is the address itself, however it is spelled.
pub(super) fn is_own_address(prepared: &str, own: SocketAddr) -> bool {
    endpoint(prepared) == Some((own.ip().to_canonical(), Some(own.port())))
}

fn check_server(look: &Look) -> Result<(), NameError> {
    if look
        .without_spaces()
        .agrees(&SERVER_LOOK, |name, server| name == server)
    {
        return Err(NameError::Reserved);
    }
    let notice = NOTICE_LOOKS
        .iter()
        .find(|(_, notice)| look.agrees(notice, |name, notice| name.contains(notice)));
    if let Some((phrase, _)) = notice {
        return Err(NameError::ReadsLikeNotice { phrase });
    }
    if look.agrees(&PRIVATE_LOOK, |name, private| name.ends_with(private)) {
        return Err(NameError::LooksPrivate);
    }
    Ok(())
}

fn check_separators(text: &str) -> Result<(), NameError> {
    if text.contains(": ") {
        Err(NameError::Separator)
    } else if text.ends_with([':', '>']) {
        Err(NameError::EndsLikeSource)
    } else {
        Ok(())
    }
}

/// Both keys of a text, without the marks that would only decorate it.
struct Look([String; 2]);

impl Look {
    fn of(text: &str) -> Look {
        let keys = keys::of(text);
        Look([keys.folded_first, keys.folded_last].map(|key| {
            key.chars()
                .filter(|character| !is_nonspacing_mark(*character))
                .collect()
        }))
    }

    fn without_spaces(&self) -> Look {
        Look(self.0.each_ref().map(|text| text.replace(' ', "")))
    }

    /// Whether either key stands in a relation to the same key of another text.
    fn agrees(&self, other: &Look, relation: impl Fn(&str, &str) -> bool) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| relation(a, b))
    }
}

/// The text with what looks like a colon or `>` as such, and without marks.
///
/// A letter stays one among letters of its script: the Devanagari visarga looks like a colon and
/// the Canadian ᐳ like `>`, and names end in them. After a Latin letter they are what they seem.
fn punctuation_look(text: &str) -> String {
    let mut look = String::with_capacity(text.len());
    let mut script_before = None;
    for character in text
        .chars()
        .filter(|character| !is_nonspacing_mark(*character))
    {
        let script = CodePointMapData::<Script>::new().get(character);
        if is_letter(character) && script_before == Some(script) {
            look.push(character);
        } else {
            let prototype = skeleton(character.encode_utf8(&mut [0; 4])).collect::<Vec<_>>();
            look.extend(prototype.iter().filter(|part| !is_nonspacing_mark(**part)));
        }
        if script != Script::Inherited {
            script_before = (script != Script::Common).then_some(script);
        }
    }
    look
}

/// A letter or a vowel sign.
fn is_letter(character: char) -> bool {
    character.is_alphabetic() || category(character) == Category::SpacingMark
}

fn letters_as_digits(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            'O' | 'o' => '0',
            'I' | 'l' => '1',
            other => other,
        })
        .collect()
}

/// What a reader takes for `IP:PORT`: also with spaces in it, leading zeros, a zone, brackets
/// missing or too many. A port too large for a number is none.
fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let text: String = text.split_whitespace().collect();
    let (host, port) = text.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((ip(host)?, port.parse().ok()))
}

fn ip(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let address = bare
        .split_once('%')
        .map_or(bare, |(address, _zone)| address);
    if let Some(ip) = ipv4(address) {
        return Some(IpAddr::V4(ip));
    }
    let ip: Ipv6Addr = address.parse().ok()?;
    Some(IpAddr::V6(ip).to_canonical())
}

/// Four decimal numbers; unlike the standard library's, they may have leading zeros.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}
