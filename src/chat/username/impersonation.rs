//! Names that imitate an address, the server, a notice, a private message, or the beginning of a
//! line of another user. Each check runs on the prepared name and on its skeletons.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory as Category, Script};
use unicode_security::confusable_detection::skeleton as confusable_skeleton;

use super::characters::{category, is_nonspacing_mark};
use super::{NameError, skeleton};
use crate::chat::SERVER_SOURCE;

/// End of the source of a private message.
const PRIVATE: &str = "(private)";
/// Phrases of the server's notices about one user and about many.
pub(super) const NOTICES: [&str; 5] = [
    "has entered the chat",
    "has left the chat",
    "renamed to",
    "have entered the chat",
    "have left the chat",
];

static SERVER: LazyLock<Skeletons> = LazyLock::new(|| Skeletons::of(SERVER_SOURCE));
static PRIVATE_SOURCE: LazyLock<Skeletons> = LazyLock::new(|| Skeletons::of(PRIVATE));
static NOTICE_PHRASES: LazyLock<[(&str, Skeletons); NOTICES.len()]> =
    LazyLock::new(|| NOTICES.map(|phrase| (phrase, Skeletons::of(phrase))));

/// Refuses a name that reads as an address, a server line, or the end of a source.
///
/// The caller has already accepted the client's own address with [`is_own_address`].
pub(super) fn check(requested: &str, prepared: &str) -> Result<(), NameError> {
    let skeletons = Skeletons::of(prepared);
    check_address(requested, prepared, &skeletons)?;
    check_server(&skeletons, prepared)?;
    check_separators(&punctuation_skeleton(prepared))
}

/// Checks the name as given, as prepared and by its skeletons, each also with letters as digits.
fn check_address(requested: &str, prepared: &str, own: &Skeletons) -> Result<(), NameError> {
    let readings = [requested, prepared, &own.0[0], &own.0[1]];
    if readings
        .iter()
        .any(|text| endpoint(text).is_some() || endpoint(&letters_as_digits(text)).is_some())
    {
        return Err(NameError::LooksLikeAddress);
    }
    Ok(())
}

/// Returns whether a prepared name is a spelling of `own`.
pub(super) fn is_own_address(prepared: &str, own: SocketAddr) -> bool {
    endpoint(prepared) == Some((own.ip().to_canonical(), Some(own.port())))
}

fn check_server(name: &Skeletons, prepared: &str) -> Result<(), NameError> {
    let is_server = |name: &Skeletons| {
        name.without_spaces()
            .any_pair(&SERVER, |name, server| name == server)
    };
    let in_square_brackets = with_square_brackets(prepared);
    if is_server(name)
        || (in_square_brackets != prepared && is_server(&Skeletons::of(&in_square_brackets)))
    {
        return Err(NameError::Reserved);
    }
    let notice = NOTICE_PHRASES
        .iter()
        .find(|(_, phrase)| name.any_pair(phrase, |name, phrase| name.contains(phrase)));
    if let Some((phrase, _)) = notice {
        return Err(NameError::ReadsLikeNotice(phrase));
    }
    if name.any_pair(&PRIVATE_SOURCE, |name, private| name.ends_with(private)) {
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

/// Replaces each non-ASCII bracket by a square one: 【 and ⟦ read as `[`, and UTS 39 maps 〔 to `(`.
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

/// The small capitals of a to z; there is none for x. UTS 39 folds only a few of them.
const SMALL_CAPITALS: &str = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡʏᴢ";

/// Returns the letter behind a shape that neither normalization nor UTS 39 folds: small capitals,
/// and white letters on black circles and squares.
fn plain_letter(character: char) -> char {
    let shown = match character {
        '\u{1F150}'..='\u{1F169}' => u32::from(character) - 0x1F150,
        '\u{1F170}'..='\u{1F189}' => u32::from(character) - 0x1F170,
        _ => {
            let mut capitals = SMALL_CAPITALS
                .chars()
                .zip("abcdefghijklmnopqrstuvwyz".chars());
            let found = capitals.find(|(capital, _)| *capital == character);
            return found.map_or(character, |(_, letter)| letter);
        }
    };
    char::from_u32(u32::from('a') + shown).unwrap_or(character)
}

/// Both skeletons of a text, without decorating marks and with plain letters.
struct Skeletons([String; 2]);

impl Skeletons {
    fn of(text: &str) -> Skeletons {
        let plain: String = text.chars().map(plain_letter).collect();
        let key = skeleton::key(&plain);
        let unmarked = |key: Box<str>| key.chars().filter(|c| !is_nonspacing_mark(*c)).collect();
        Skeletons([key.folded_first, key.folded_last].map(unmarked))
    }

    fn without_spaces(&self) -> Skeletons {
        Skeletons(self.0.each_ref().map(|text| text.replace(' ', "")))
    }

    /// Returns whether `relation` holds between either skeleton and its counterpart.
    fn any_pair(&self, other: &Skeletons, relation: impl Fn(&str, &str) -> bool) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| relation(a, b))
    }
}

/// Replaces look-alikes of a colon or `>` by these characters, and drops marks.
///
/// Names may end in the Devanagari visarga, which looks like a colon, or the Canadian ᐳ. Such a
/// letter stays a letter after a letter of its own script.
fn punctuation_skeleton(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut script_before = None;
    for character in text.chars().filter(|c| !is_nonspacing_mark(*c)) {
        let script = CodePointMapData::<Script>::new().get(character);
        if is_letter(character) && script_before == Some(script) {
            folded.push(character);
        } else {
            let is_colon = COLONS.contains(character);
            let shown = if is_colon { ':' } else { character };
            let prototype: Vec<char> =
                confusable_skeleton(shown.encode_utf8(&mut [0; 4])).collect();
            folded.extend(prototype.iter().filter(|part| !is_nonspacing_mark(**part)));
        }
        if script != Script::Inherited {
            script_before = (script != Script::Common).then_some(script);
        }
    }
    folded
}

/// Characters that show a colon and are none to UTS 39: the Z notation, Khmer and Mongolian
/// colons, two dot punctuation, and the visargas that UTS 39 leaves out.
const COLONS: &str = "\u{2982}\u{17D6}\u{1804}\u{205A}\u{983}\u{B03}\u{C03}\u{C83}\u{D03}\
                      \u{D83}\u{F7F}\u{1038}\u{17C7}";

/// Returns whether a character is a letter or a vowel sign.
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

/// Parses what a reader takes for `IP:PORT`, with digits of any script, spaces, leading zeros, a
/// zone, and square brackets missing or repeated. A port over 65535 becomes `None`.
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

/// Maps a decimal digit of any script to ASCII, and full stops of other scripts to `.`.
///
/// The digits of each script are contiguous, and each run begins with a zero (The Unicode
/// Standard, section 4.6).
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

/// Parses IPv4 like the standard library, but with leading zeros.
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

/// Parses IPv6 like the standard library, but with any number of leading zeros in a group.
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
