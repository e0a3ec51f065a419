//! What holds for every name, whatever is asked for: the invariants of `smolchat::chat::username`.

use std::net::SocketAddr;

use proptest::prelude::*;
use smolchat::chat::username::{NameError, Username};
use smolchat::limits::{MAX_COMBINING_MARKS, MAX_NAME_BYTES, MAX_NAME_GRAPHEMES};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

/// Pieces from which hostile names are made; chance alone rarely meets them.
const PIECES: &str = "\
    a|B|ß|İ|ſ|rn|l|1|I|0|O|о|é|e\u{301}|\u{301}|\u{336}| |  |\u{A0}|\u{3000}|¨|´|：|:|: |∶|ː|\
    >|＞|›|(private)| (private)|has left the chat|renamed to|renamed |to|[Server]|[|Ѕеrvеr|]|\
    127.0.0.1|１０.0.0.1|:80|.|[::1]|\u{200B}|\u{200C}|\u{200D}|\u{FE0F}|\u{FE0E}|\u{20E3}|\
    \u{202E}|\u{2066}|\u{FEFF}|\u{AD}|\u{3164}|\u{E0067}|\u{E007F}|\u{7}|\n|\u{85}|\u{2028}|\
    👨|👩|👍|🏽|❤|❤️|👨‍👩‍👧|🏴|🇨|🇿|™️|™|㊗️|1️⃣|क|्|ष|ा|م|ی|خ|ا|ِ|ᄀ|ᅡ|가|ﷺ|山|ำ|น|ｶ|ﾞ|١|०|๐|。|【|】|ᴇ|\
    🆂|ः|ঃ|\u{E000}|\u{378}|\u{FFFD}|\u{2800}";

fn hostile() -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = PIECES.split('|').collect();
    let piece = prop_oneof![
        8 => prop::sample::select(pieces).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

/// Names that no user may have.
const IMPOSTORS: &str = "[server]|10.0.0.1:80|[::1]:5555|[2001:db8::a]:80|bob has left the chat|\
    bob has entered the chat|bob renamed to eve|bob (private)|bob: hello|bob:|bob>";

/// One character of an impostor in another dress: 0 to 6 say which, if there is such a one.
fn disguised(character: char, dress: u8) -> String {
    let shifted = |first: u32, base: char| {
        let code = first + u32::from(character) - u32::from(base);
        char::from_u32(code).map(String::from)
    };
    let small_latin = character.is_ascii_lowercase();
    let other = match dress {
        // Fullwidth.
        1 if character.is_ascii_graphic() => shifted(0xFF01, '!'),
        // Mathematical bold.
        2 if small_latin => shifted(0x1D41A, 'a'),
        2 if character.is_ascii_digit() => shifted(0x1D7CE, '0'),
        // Capitals; in an address they are no digits.
        3 if small_latin => Some(character.to_ascii_uppercase().to_string()),
        // Cyrillic.
        4 => {
            let mut pairs = "aeopcxsi".chars().zip("аеорсхѕі".chars());
            let found = pairs.find(|(latin, _)| *latin == character);
            found.map(|(_, cyrillic)| cyrillic.to_string())
        }
        // Circled.
        5 if small_latin => shifted(0x24D0, 'a'),
        // A mark on it.
        6 if character != ' ' => Some(format!("{character}\u{332}")),
        _ => None,
    };
    other.unwrap_or_else(|| character.to_string())
}

fn anything() -> impl Strategy<Value = String> {
    prop_oneof![4 => hostile(), 1 => any::<String>(), 1 => "[ -~]{0,40}"]
}

fn own() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 57354))
}

/// What a reader who ignores spaces takes for an address.
fn reads_as_address(text: &str) -> bool {
    let digits: String = text
        .chars()
        .filter(|character| *character != ' ')
        .map(|character| match character {
            'O' | 'o' => '0',
            'I' | 'l' => '1',
            other => other,
        })
        .collect();
    digits.parse::<SocketAddr>().is_ok()
}

/// The text without its emoji sequences, seen as clusters.
fn outside_emoji(name: &str) -> String {
    name.graphemes(true)
        .filter(|cluster| emojis::get(cluster.trim_end_matches('\u{FE0F}')).is_none())
        .filter(|cluster| emojis::get(cluster).is_none())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(crate::cases::cases(1024)) })]

    #[test]
    fn keys_depend_on_the_prepared_form_alone(requested in anything()) {
        if let Ok(name) = Username::parse(&requested, own()) {
            let keys = name.key();
            prop_assert!(!keys.folded_first.is_empty() && !keys.folded_last.is_empty());
            prop_assert_eq!(&keys, &name.clone().key());
            let spaced = format!("\u{3000}{}  ", name);
            prop_assert_eq!(Username::parse(&spaced, own()).map(|name| name.key()), Ok(keys));
        }
    }

    #[test]
    fn case_never_makes_another_name(requested in anything()) {
        let Ok(name) = Username::parse(&requested, own()) else { return Ok(()) };
        // Greek iota subscript becomes a letter in capitals, and further marks then stand on
        // that one: no folding sees this.
        prop_assume!(!name.as_str().nfd().any(|character| character == '\u{345}'));
        for other in [name.as_str().to_uppercase(), name.as_str().to_lowercase()] {
            if let Ok(other) = Username::parse(&other, own()) {
                prop_assert!(name.key().collides_with(&other.key()), "{:?} and {:?}", name, other);
            }
        }
    }

    #[test]
    fn name_is_a_visible_line(requested in anything()) {
        if let Ok(name) = Username::parse(&requested, own()) {
            let line_ends = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
            prop_assert!(!name.as_str().contains(line_ends));
            prop_assert!(!name.as_str().contains(char::is_control));
            prop_assert_eq!(name.as_str(), name.as_str().trim());
            prop_assert!(!name.as_str().contains("  "));
            let hidden = [
                '\u{AD}', '\u{200B}', '\u{200E}', '\u{200F}', '\u{202A}', '\u{202E}', '\u{2060}',
                '\u{2066}', '\u{2069}', '\u{FEFF}', '\u{FE0F}', '\u{FE0E}', '\u{E0067}', '\u{E007F}',
                '\u{3164}', '\u{1160}', '\u{2800}',
            ];
            prop_assert!(!outside_emoji(name.as_str()).contains(hidden), "{:?}", name);
        }
    }

    #[test]
    fn a_joiner_outside_emoji_has_letters_before_it(requested in anything()) {
        if let Ok(name) = Username::parse(&requested, own()) {
            let rest = outside_emoji(name.as_str());
            for (at, _) in rest.match_indices(['\u{200C}', '\u{200D}']) {
                let before = rest[..at].chars().next_back();
                prop_assert!(before.is_some_and(|c| !c.is_ascii()), "{:?}", name);
            }
        }
    }

    #[test]
    fn a_name_is_within_the_limits(requested in anything(), times in 1..20_usize) {
        let requested = requested.repeat(times);
        if let Ok(name) = Username::parse(&requested, own()) {
            prop_assert!(!name.as_str().is_empty());
            prop_assert!(name.as_str().len() <= MAX_NAME_BYTES);
            prop_assert!(name.as_str().graphemes(true).count() <= MAX_NAME_GRAPHEMES);
        }
    }

    #[test]
    fn sources_are_unambiguous(requested in anything()) {
        if let Ok(name) = Username::parse(&requested, own()) {
            let name = name.as_str();
            prop_assert!(!name.contains(": "));
            prop_assert!(!name.ends_with([':', '>']));
            let lower = name.to_lowercase();
            prop_assert!(!lower.ends_with("(private)"));
            prop_assert!(!lower.contains("has left the chat") && !lower.contains("renamed to"));
            prop_assert_ne!(lower, "[server]");
        }
    }

    #[test]
    fn address_belongs_to_its_user(requested in anything()) {
        if let Ok(name) = Username::parse(&requested, own())
            && name != Username::from_address(own())
        {
            prop_assert!(!reads_as_address(name.as_str()), "{:?}", name);
        }
    }

    #[test]
    fn imitations_of_a_name_collide_with_it(
        impostor in prop::sample::select(IMPOSTORS.split('|').collect::<Vec<_>>()), dresses in prop::collection::vec(0..7_u8, 40),
        front in "[ \u{3000}\u{A0}]{0,2}",
    ) {
        let dressed: String = impostor
            .chars()
            .zip(dresses)
            .map(|(character, dress)| disguised(character, dress))
            .collect();
        let asked = format!("{front}{dressed}{front}");
        prop_assert!(Username::parse(&asked, own()).is_err(), "{:?} passes for {:?}", asked, impostor);
    }

    /// An address that nobody chose has no place among the taken names: it needs none.
    #[test]
    fn no_name_has_the_keys_of_an_address(requested in anything(), other: SocketAddr) {
        let keys = Username::from_address(other).key();
        for folded in [&keys.folded_first, &keys.folded_last] {
            prop_assert!(Username::parse(folded, own()).is_err(), "{:?}", folded);
        }
        if let Ok(name) = Username::parse(&requested, own())
            && name != Username::from_address(own())
        {
            let keys = name.key();
            prop_assert!(!reads_as_address(&keys.folded_first), "{:?}", name);
            prop_assert!(!reads_as_address(&keys.folded_last), "{:?}", name);
        }
    }

    #[test]
    fn no_normal_form_makes_another_name(requested in anything()) {
        let Ok(name) = Username::parse(&requested, own()) else { return Ok(()) };
        let text = name.as_str();
        let forms: [String; 5] = [
            text.to_owned(), text.nfc().collect(), text.nfd().collect(), text.nfkc().collect(),
            text.nfkd().collect(),
        ];
        for form in forms {
            prop_assert_eq!(Username::parse(&form, own()), Ok(name.clone()), "{:?}", form);
        }
    }

    #[test]
    fn names_have_no_hidden_characters(
        requested in anything(), place: prop::sample::Index,
        hidden in prop::sample::select(&[
            '\0', '\n', '\u{1B}', '\u{7F}', '\u{9B}', '\u{AD}', '\u{34F}', '\u{61C}', '\u{180E}',
            '\u{200B}', '\u{200E}', '\u{200F}', '\u{2028}', '\u{202A}', '\u{202E}', '\u{2060}',
            '\u{2066}', '\u{2069}', '\u{FEFF}', '\u{3164}', '\u{2800}', '\u{FE00}', '\u{E0100}',
            '\u{E000}', '\u{FFFD}',
        ][..]),
    ) {
        let Ok(name) = Username::parse(&requested, own()) else { return Ok(()) };
        let places: Vec<usize> = name.as_str().char_indices().map(|(place, _)| place).collect();
        let (before, after) = name.as_str().split_at(*place.get(&places));
        let spoiled = format!("{before}{hidden}{after}");
        let refused = Username::parse(&spoiled, own());
        prop_assert!(
            matches!(refused, Err(NameError::ForbiddenCharacter(..))),
            "{:?} as {:?}", spoiled, refused
        );
    }

    #[test]
    fn no_base_carries_a_flood_of_marks(requested in anything(), mark in "[\u{300}-\u{34E}\u{489}\u{20DD}]", times in 1..9_usize) {
        let flooded = format!("{requested}{}", mark.repeat(times));
        if let Ok(name) = Username::parse(&flooded, own()) {
            let mut marks = 0;
            for character in name.as_str().nfd() {
                let is_mark = matches!(character, '\u{300}'..='\u{36F}' | '\u{489}' | '\u{20DD}');
                marks = if is_mark { marks + 1 } else { 0 };
                prop_assert!(marks <= MAX_COMBINING_MARKS, "{:?}", name);
            }
        }
    }

    #[test]
    fn only_the_owner_gets_an_address(
        owner: SocketAddr, other: SocketAddr, letters in any::<bool>(), pad in " {0,3}",
    ) {
        let name = Username::from_address(owner);
        let padded = format!("{pad}{name}{pad}");
        prop_assert_eq!(Username::parse(&padded, owner), Ok(name.clone()));
        let asked = if letters { padded.replace('0', "O").replace('1', "l") } else { padded };
        if name != Username::from_address(other) {
            let refused = Username::parse(&asked, other);
            prop_assert!(
                matches!(refused, Err(NameError::LooksLikeAddress | NameError::TooLong(_))),
                "{:?} as {:?}", asked, refused
            );
        }
    }

    #[test]
    fn addresses_have_unique_keys(a: SocketAddr, b: SocketAddr) {
        let (a, b) = (Username::from_address(a), Username::from_address(b));
        let (keys_a, keys_b) = (a.key(), b.key());
        prop_assert_eq!(a == b, keys_a == keys_b);
        prop_assert_eq!(a == b, keys_a.folded_last == keys_b.folded_last);
    }

    #[test]
    fn a_refusal_is_one_plain_sentence(requested in anything()) {
        if let Err(error) = Username::parse(&requested, own()) {
            let sentence = error.to_string();
            prop_assert!(sentence.is_ascii() && !sentence.contains(char::is_control));
            prop_assert!(sentence.starts_with("The name ") && !sentence.ends_with('.'));
        }
    }
}
