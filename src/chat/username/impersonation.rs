//! Names that imitate an address, the server, a notice, a private message, or the beginning of a
//! line. Each check runs on the prepared name and on its skeletons.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory as Category, Script};
use unicode_security::confusable_detection::skeleton as confusable_skeleton;
use unicode_security::mixed_script::AugmentedScriptSet;

use super::characters::{ascii_digit, category, is_nonspacing_mark};
use super::{NameError, skeleton};

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

/// Words that read as the server or as its staff; also one after another, as in "system admin".
const ROLES: [&str; 10] = [
    "server",
    "system",
    "operator",
    "sysop",
    "moderator",
    "mod",
    "admin",
    "administrator",
    "sysadmin",
    "root",
];

static ROLE_LETTERS: LazyLock<[String; ROLES.len()]> = LazyLock::new(|| {
    ROLES.map(|role| Skeletons::of(role).0[0].chars().map(letter_shown).collect())
});
static PRIVATE_SOURCE: LazyLock<Skeletons> = LazyLock::new(|| Skeletons::of(PRIVATE));
static NOTICE_PHRASES: LazyLock<[(&str, Skeletons); NOTICES.len()]> =
    LazyLock::new(|| NOTICES.map(|phrase| (phrase, Skeletons::of(phrase))));

/// Refuses a name that reads as an address, the server, or a part of a line.
///
/// The caller has already accepted the client's own address with [`is_own_address`].
pub(super) fn check(requested: &str, prepared: &str) -> Result<(), NameError> {
    let skeletons = Skeletons::of(prepared);
    check_address(requested, prepared, &skeletons)?;
    check_server(&skeletons, prepared)?;
    let punctuated = punctuation_skeleton(prepared);
    check_separators(&punctuated)?;
    if begins_with_bracket(prepared, &punctuated) || begins_with_time(prepared, &skeletons) {
        return Err(NameError::BeginsLikeLine);
    }
    if has_check_mark_at_end(prepared) {
        return Err(NameError::CheckMark);
    }
    if prepared.split(' ').any(mixes_scripts) {
        return Err(NameError::MixedScripts);
    }
    Ok(())
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
    if has_role(prepared) {
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

/// Returns whether a name consists of [`ROLES`], or has one as a word.
fn has_role(prepared: &str) -> bool {
    let reads = |text: &str, test: fn(&str) -> bool| {
        Skeletons::of(text).0.iter().any(|skeleton| test(skeleton))
    };
    // Signs read as letters (a bar, a dollar), or stand between them.
    let letters = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
    let is_role = |word: &str| {
        let unnumbered = word.trim_end_matches(char::is_numeric);
        reads(word, is_role_word) || reads(unnumbered, is_role_word)
    };
    // "Server 7" is one of many, and "Server Notice" is the server.
    let is_numbered = |word: &str| word.contains(char::is_numeric);
    let has_role_word = |words: &[&str]| {
        (0..words.len()).any(|place| {
            let (before, rest) = words.split_at(place);
            let is_role = is_role(rest[0]) || is_role(&letters(rest[0]));
            is_role
                && !before
                    .iter()
                    .chain(&rest[1..])
                    .any(|word| is_numbered(word))
        })
    };
    let ends_part = |character: char| !character.is_alphanumeric();
    reads(prepared, reads_as_roles)
        || reads(&letters(prepared), reads_as_roles)
        || has_role_word(&prepared.split(' ').collect::<Vec<_>>())
        || has_role_word(&prepared.split(ends_part).collect::<Vec<_>>())
}

/// Returns whether a word is one of [`ROLES`], also in the plural.
fn is_role_word(skeleton: &str) -> bool {
    let singular = skeleton.strip_suffix(['s', '5', '$']).unwrap_or(skeleton);
    // Root is a surname, too.
    [skeleton, singular]
        .iter()
        .any(|word| !word.eq_ignore_ascii_case("root") && reads_as_roles(word))
}

/// Returns whether a skeleton consists of [`ROLES`], with digits and signs for letters, and any
/// signs between them.
fn reads_as_roles(skeleton: &str) -> bool {
    let roles = || ROLE_LETTERS.iter().map(String::as_str);
    // What is left to read of each role that may have begun.
    let mut rests: Vec<&str> = roles().collect();
    for character in skeleton.chars() {
        let begun = rests.iter().filter(|rest| !rest.is_empty()).copied();
        let ended = rests.iter().any(|rest| rest.is_empty());
        let next = begun.chain(roles().filter(|_| ended));
        let letter = letter_shown(character);
        let mut following: Vec<&str> = next.filter_map(|rest| rest.strip_prefix(letter)).collect();
        if !character.is_alphanumeric() {
            following.extend(&rests);
        }
        following.sort_unstable();
        following.dedup();
        rests = following;
    }
    rests.contains(&"")
}

/// Returns the letter that a character of a skeleton shows, with `l` and `i` as one.
fn letter_shown(character: char) -> char {
    match character.to_ascii_lowercase() {
        '0' => 'o',
        '1' | 'l' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        other => other,
    }
}

fn check_separators(text: &str) -> Result<(), NameError> {
    if text.contains(": ") {
        Err(NameError::Separator)
    } else if text.contains(", ") {
        Err(NameError::ListSeparator)
    } else if text.ends_with([':', '>']) {
        Err(NameError::EndsLikeSource)
    } else {
        Ok(())
    }
}

/// Brackets and asterisks that Unicode does not put among punctuation: corners, pieces, and
/// dingbats.
const BRACKETS: &str = "⌜⌝⌞⌟˹˺˻˼⎛⎜⎝⎞⎟⎠⎡⎢⎣⎤⎥⎦⎧⎨⎩⎫⎬⎭⎰⎱⎴⎵⎶⏜⏝⏞⏟⏠⏡";
const ASTERISKS: &str = "∗⁎⁑⁂⊛⋆✢✣✤✥✱✲✳✺✻✼✽❃❉❊❋⧆⩮꙳🞯🞰🞱🞲🞳🞴🞵🞶🞷🞸🞹🞺🞻🞼🞽🞾🞿";

/// Returns whether a name begins with a bracket or an asterisk, as notices and actions do.
fn begins_with_bracket(prepared: &str, punctuated: &str) -> bool {
    punctuated.starts_with(['(', '[', '{', ')', ']', '}', '*'])
        || prepared.starts_with(|first: char| {
            matches!(
                category(first),
                Category::OpenPunctuation | Category::ClosePunctuation
            ) || BRACKETS.contains(first)
                || ASTERISKS.contains(first)
        })
}

/// Returns whether a name begins with one or two digits, a colon and two digits.
fn begins_with_time(prepared: &str, skeletons: &Skeletons) -> bool {
    let digits: String = prepared.chars().map(digit_or_stop).collect();
    let readings = [
        &punctuation_skeleton(&digits),
        &skeletons.0[0],
        &skeletons.0[1],
    ];
    readings.into_iter().any(|text| {
        let text = letters_as_digits(text).replace(' ', "");
        let Some((hour, rest)) = text.split_once(':') else {
            return false;
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        matches!(hour.len(), 1 | 2) && is_number(hour) && rest.get(..2).is_some_and(is_number)
    })
}

/// Characters that show a check mark.
pub(super) const CHECK_MARKS: &str = "✓✔✅☑🗸🗹√⍻\u{10102}\u{1FBB1}";

/// Returns whether a check mark stands before the first or after the last letter or digit.
fn has_check_mark_at_end(prepared: &str) -> bool {
    let letter = |character: char| character.is_alphanumeric();
    let first = prepared.split(letter).next();
    let last = prepared.rsplit(letter).next();
    [first, last]
        .into_iter()
        .flatten()
        .any(|signs| signs.contains(|sign| CHECK_MARKS.contains(sign)))
}

/// Returns whether a word mixes scripts beyond "highly restrictive" of UTS 39, section 5.2: one
/// script, or Latin with Chinese, Japanese or Korean.
fn mixes_scripts(word: &str) -> bool {
    let latin = AugmentedScriptSet::for_char('a');
    let (mut all, mut beside_latin) =
        (AugmentedScriptSet::default(), AugmentedScriptSet::default());
    for scripts in word.chars().map(AugmentedScriptSet::for_char) {
        all.intersect_with(scripts);
        let mut shared = scripts;
        shared.intersect_with(latin);
        if shared.is_empty() {
            beside_latin.intersect_with(scripts);
        }
    }
    let goes_with_latin = beside_latin.hanb || beside_latin.jpan || beside_latin.kore;
    all.is_empty() && !goes_with_latin
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

    /// Returns whether `relation` holds between either skeleton and its counterpart.
    fn any_pair(&self, other: &Skeletons, relation: impl Fn(&str, &str) -> bool) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| relation(a, b))
    }
}

/// Replaces look-alikes of punctuation by these characters, and drops marks.
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
            if character == IDEOGRAPHIC_COMMA {
                folded.push_str(", ");
                continue;
            }
            let shown = match character {
                _ if COLONS.contains(character) => ':',
                _ if COMMAS.contains(character) => ',',
                _ => character,
            };
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

/// Commas of other scripts, and dots and raised commas that show one.
const COMMAS: &str = "،٫؍՝߸፣᠂᠈⸲⸴⸒⹁⹌⹎⹐꓾꘍꛵𑑍𖺗𝪇";
/// A comma with its own space after it.
const IDEOGRAPHIC_COMMA: char = '、';

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
fn digit_or_stop(character: char) -> char {
    match character {
        '。' | '۔' => '.',
        _ => ascii_digit(character),
    }
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
