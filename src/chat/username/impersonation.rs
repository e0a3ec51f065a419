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
use super::{NameError, skeleton};

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
    check_server(&look, prepared)?;
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

fn check_server(look: &Look, prepared: &str) -> Result<(), NameError> {
    let is_server = |look: &Look| {
        look.without_spaces()
            .agrees(&SERVER_LOOK, |name, server| name == server)
    };
    let in_square_brackets = with_square_brackets(prepared);
    if is_server(look)
        || (in_square_brackets != prepared && is_server(&Look::of(&in_square_brackets)))
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

/// The text with each bracket that is not ASCII as a square one: 【 and ⟦ read as `[`, and UTS 39
/// takes 〔 for `(`.
fn with_square_brackets(text: &str) -> String {
    text.chars()
        .map(|character| match category(character) {
            _ if character.is_ascii() => character,
            Category::OpenPunctuation => '[',
            Category::ClosePunctuation => ']',
            _ => character,
        })
        .collect()
}

/// Capitals in small, by their letters; UTS 39 folds a few of them only. There is none for x.
const SMALL_CAPITALS: [(char, char); 25] = [
    ('ᴀ', 'a'),
    ('ʙ', 'b'),
    ('ᴄ', 'c'),
    ('ᴅ', 'd'),
    ('ᴇ', 'e'),
    ('ꜰ', 'f'),
    ('ɢ', 'g'),
    ('ʜ', 'h'),
    ('ɪ', 'i'),
    ('ᴊ', 'j'),
    ('ᴋ', 'k'),
    ('ʟ', 'l'),
    ('ᴍ', 'm'),
    ('ɴ', 'n'),
    ('ᴏ', 'o'),
    ('ᴘ', 'p'),
    ('ꞯ', 'q'),
    ('ʀ', 'r'),
    ('ꜱ', 's'),
    ('ᴛ', 't'),
    ('ᴜ', 'u'),
    ('ᴠ', 'v'),
    ('ᴡ', 'w'),
    ('ʏ', 'y'),
    ('ᴢ', 'z'),
];

/// The letter that a character shows in another shape, where neither normalization nor UTS 39
/// says so: small capitals, and white letters on black circles and squares.
fn plain_letter(character: char) -> char {
    let shown = match character {
        '\u{1F150}'..='\u{1F169}' => u32::from(character) - 0x1F150,
        '\u{1F170}'..='\u{1F189}' => u32::from(character) - 0x1F170,
        _ => {
            let small = SMALL_CAPITALS.iter().find(|(small, _)| *small == character);
            return small.map_or(character, |(_, letter)| *letter);
        }
    };
    char::from_u32(u32::from('a') + shown).unwrap_or(character)
}

/// Both keys of a text, without the marks that would only decorate it, and with letters of
/// other shapes as what they are.
struct Look([String; 2]);

impl Look {
    fn of(text: &str) -> Look {
        let plain: String = text.chars().map(plain_letter).collect();
        let keys = skeleton::of(&plain);
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
            let shown = if COLONS.contains(&character) {
                ':'
            } else {
                character
            };
            let prototype = skeleton(shown.encode_utf8(&mut [0; 4])).collect::<Vec<_>>();
            look.extend(prototype.iter().filter(|part| !is_nonspacing_mark(**part)));
        }
        if script != Script::Inherited {
            script_before = (script != Script::Common).then_some(script);
        }
    }
    look
}

/// What shows two dots, one above the other, and is no colon to UTS 39: that of the Z notation,
/// the Khmer and the Mongolian one, and the visargas that it leaves out.
const COLONS: [char; 13] = [
    '\u{2982}', '\u{17D6}', '\u{1804}', '\u{983}', '\u{B03}', '\u{C03}', '\u{C83}', '\u{D03}',
    '\u{D83}', '\u{F7F}', '\u{1038}', '\u{17C7}', '\u{205A}',
];

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

/// What a reader takes for `IP:PORT`: also in the digits of any script, with spaces in it, leading
/// zeros, a zone, square brackets missing or too many. A port too large for a number is none.
fn endpoint(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let text: String = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(digit_or_stop)
        .collect();
    let (host, port) = without_brackets(&text).rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((ip(host)?, port.parse().ok()))
}

/// A decimal digit of any script as the ASCII one, and the full stops of other scripts as `.`.
///
/// The digits of a script stand in a row from zero to nine, and rows of digits begin with a zero
/// (The Unicode Standard, section 4.6).
fn digit_or_stop(character: char) -> char {
    match character {
        '。' | '۔' => return '.',
        _ if character.is_ascii() || !is_decimal_digit(character) => return character,
        _ => {}
    }
    let code = u32::from(character);
    let digits_before = (0..code)
        .rev()
        .map_while(char::from_u32)
        .take_while(|before| is_decimal_digit(*before))
        .fold(0, |count, _| (count + 1) % 10);
    char::from_digit(digits_before, 10).unwrap_or(character)
}

fn is_decimal_digit(character: char) -> bool {
    category(character) == Category::DecimalNumber
}

fn without_brackets(text: &str) -> &str {
    text.trim_matches(['[', ']'])
}

fn ip(host: &str) -> Option<IpAddr> {
    let bare = without_brackets(host);
    let address = bare
        .split_once('%')
        .map_or(bare, |(address, _zone)| address);
    ipv4(address)
        .map(IpAddr::V4)
        .or_else(|| Some(IpAddr::V6(ipv6(address)?).to_canonical()))
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

/// As the standard library reads it, also with leading zeros in each group.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let groups = text.split(':').map(|group| match ipv4(group) {
        Some(ip) => ip.to_string(),
        None if group.is_empty() => String::new(),
        None => match group.trim_start_matches('0') {
            "" => "0".to_owned(),
            short => short.to_owned(),
        },
    });
    groups.collect::<Vec<_>>().join(":").parse().ok()
}
