//! Preparation, characters, lengths and error sentences; the submodules hold the larger tables.

mod attacks;
mod scripts;

use std::net::SocketAddr;

use unicode_normalization::UnicodeNormalization;

use super::{CharacterFault, NameError, Username, skeleton};

const OWN: &str = "127.0.0.1:57354";

fn parse_as(own: &str, requested: &str) -> Result<Username, NameError> {
    let own: SocketAddr = own.parse().expect("a valid address");
    Username::parse(requested, own)
}

fn parse(requested: &str) -> Result<Username, NameError> {
    parse_as(OWN, requested)
}

#[track_caller]
fn name(requested: &str) -> Username {
    parse(requested).unwrap_or_else(|error| panic!("{requested:?} was refused: {error}"))
}

#[track_caller]
fn collide(a: &str, b: &str) -> bool {
    name(a).key().collides_with(&name(b).key())
}

#[track_caller]
fn check(requested: &str, prepared: &str) {
    let name = parse(requested);
    let text = name.as_ref().map(Username::as_str);
    assert_eq!(text, Ok(prepared), "{requested:?}");
    assert_eq!(parse(prepared), name, "{requested:?} prepared again");
}

#[track_caller]
fn check_refused(requested: &str, expected: &NameError) {
    assert_eq!(parse(requested).as_ref(), Err(expected), "{requested:?}");
}

#[track_caller]
fn check_fault(requested: &str, character: char, fault: CharacterFault) {
    let expected = NameError::ForbiddenCharacter { character, fault };
    check_refused(requested, &expected);
}

/// Characters that no name may contain at any position.
const FORBIDDEN: [(CharacterFault, &str); 4] = [
    (
        CharacterFault::Control,
        "\0\t\n\r\u{7}\u{8}\u{1B}\u{7F}\u{80}\u{85}\u{9B}\u{2028}\u{2029}",
    ),
    (
        CharacterFault::Direction,
        "\u{61C}\u{200E}\u{200F}\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}\u{2066}\u{2067}\u{2068}\
         \u{2069}",
    ),
    (
        CharacterFault::Invisible,
        "\u{AD}\u{34F}\u{600}\u{115F}\u{1160}\u{17B4}\u{17B5}\u{180B}\u{180E}\u{180F}\u{200B}\
         \u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\u{2065}\u{206A}\u{206F}\u{2800}\u{3164}\u{FE00}\
         \u{FE0D}\u{FEFF}\u{FFA0}\u{FFF0}\u{FFF9}\u{FFFB}\u{110BD}\u{13430}\u{13441}\u{1BCA0}\
         \u{1D159}\u{1D173}\u{E0000}\u{E0001}\u{E0100}\u{E01EF}",
    ),
    (
        CharacterFault::Meaningless,
        "\u{378}\u{E000}\u{F8FF}\u{FDD0}\u{FFFC}\u{FFFD}\u{FFFE}\u{FFFF}\u{50000}\u{F0000}\
         \u{10FFFF}",
    ),
];

#[test]
fn ordinary_names_are_unchanged() {
    let names = "alice|O'Brien|Dr. Who|a/b|user_42|C++|<3|12:30|a|Server|[bot]|@alice|#1|a:b|x::y|\
                 a>b|alice (away)|alice (private) 2|private|left the chat|renamed|127.0.0.1|::1|~|\
                 ^_^|🦀";
    for requested in names.split('|') {
        check(requested, requested);
    }
}

#[test]
fn preparation_follows_rfc_8266() {
    check("  alice  ", "alice");
    check("a   b", "a b");
    check("\u{A0}a\u{A0}\u{3000}\u{2003} b\u{202F}", "a b");
    check("Ｆｕｌｌ　Ｗｉｄｔｈ", "Full Width");
    check("ﬁne", "fine");
    check("Jose\u{301}", "Jos\u{E9}");
    check("x²", "x2");
    check("ｶﾞ", "ガ");
    check("a¨b", "a \u{308}b");
    check("Ǆ", "DŽ");
    // NFKC decomposes sara am.
    check("น้ำใจ", "น้ํ\u{E32}ใจ");
}

#[test]
fn empty_names_are_refused() {
    for requested in ["", " ", "   ", "\u{A0}\u{3000}\u{2009}", "\u{1680}"] {
        check_refused(requested, &NameError::Empty);
    }
}

#[test]
fn names_are_limited_in_graphemes_and_bytes() {
    check(&"x".repeat(32), &"x".repeat(32));
    check_refused(&"x".repeat(33), &NameError::TooLong { graphemes: 33 });
    check(&format!("  {}  ", "x".repeat(32)), &"x".repeat(32));
    let families = "👨‍👩‍👧".repeat(28);
    check(&families, &families);
    check_refused(&"👨‍👩‍👧".repeat(29), &NameError::TooManyBytes { bytes: 522 });
    // One grapheme cluster of any length.
    check(&"ᄀ".repeat(170), &"ᄀ".repeat(170));
    check_refused(&"ᄀ".repeat(171), &NameError::TooManyBytes { bytes: 513 });
    // NFKC expands U+FDFA to eighteen characters.
    check_refused("ﷺﷺ", &NameError::TooLong { graphemes: 36 });
}

#[test]
fn oversized_requests_are_refused_unread() {
    let escapes = |count| "\u{1B}".repeat(count);
    check_refused(&escapes(2049), &NameError::TooManyBytes { bytes: 2049 });
    check_fault(&escapes(2048), '\u{1B}', CharacterFault::Control);
    check(&format!("x{}", " ".repeat(2047)), "x");
}

#[test]
fn unnamed_client_is_its_address() {
    let check = |address: &str, expected: &str| {
        let name = Username::from_address(address.parse().expect("a valid address"));
        assert_eq!(name.as_str(), expected);
    };
    check("127.0.0.1:57354", "127.0.0.1:57354");
    check("[::1]:80", "[::1]:80");
    check("[2001:DB8:0:0::1]:5555", "[2001:db8::1]:5555");
    check("[::ffff:127.0.0.1]:57354", "127.0.0.1:57354");
    check("[fe80::1%3]:1", "[fe80::1]:1");
}

#[test]
fn forbidden_characters_are_refused_at_every_position() {
    for (fault, characters) in FORBIDDEN {
        for character in characters.chars() {
            for requested in [
                format!("ali{character}ce"),
                format!("{character}alice"),
                format!("alice{character}"),
                format!("{character}{OWN}"),
                character.to_string(),
            ] {
                check_fault(&requested, character, fault);
            }
        }
    }
}

#[test]
fn every_emoji_is_a_name() {
    for emoji in emojis::iter() {
        let prepared = name(emoji.as_str());
        assert_eq!(parse(prepared.as_str()).as_ref(), Ok(&prepared), "{emoji}");
        assert!(parse(&format!("{emoji}x{emoji}")).is_ok(), "{emoji}");
    }
    for requested in ["❤", "👍\u{FE0F}", "a❤️b", "1️⃣2️⃣", "☺️ me ☺️", "👁‍🗨", "x🐻‍❄️y"]
    {
        check(requested, requested);
    }
}

#[test]
fn emoji_that_normalize_to_letters_lose_their_selector() {
    check("™️", "TM");
    check("ℹ️ ‼️", "i !!");
    check("㊗️㊙️🈂️", "祝秘サ");
    check("Ⓜ️Ⓜ️❤️", "MM❤️");
}

#[test]
fn parts_of_emoji_are_refused() {
    for (requested, character) in [
        ("👨\u{200D}", '\u{200D}'),
        ("\u{200D}👧", '\u{200D}'),
        ("👨\u{200D}\u{200D}👩", '\u{200D}'),
        ("👨\u{200D}x", '\u{200D}'),
        ("👨\u{200D}🚗", '\u{200D}'),
        ("a\u{FE0F}", '\u{FE0F}'),
        ("1\u{FE0F}", '\u{FE0F}'),
        ("❤️\u{FE0F}", '\u{FE0F}'),
        ("❤️\u{301}", '\u{FE0F}'),
        ("❤\u{FE0E}", '\u{FE0E}'),
        ("🇨🇿🇸", '🇸'),
        ("🇽🇽", '🇽'),
        ("🇨\u{FE0F}", '🇨'),
        ("a\u{E0067}\u{E007F}", '\u{E0067}'),
        ("🏴\u{E0067}\u{E0062}", '\u{E0067}'),
        ("🏴\u{E0061}\u{E0061}\u{E007F}", '\u{E0061}'),
        ("👍\u{E0067}\u{E0062}\u{E007F}", '\u{E0067}'),
    ] {
        check_fault(requested, character, CharacterFault::Misplaced);
    }
}

#[test]
fn joiners_are_allowed_where_rfc_5892_permits_them() {
    for requested in [
        "می\u{200C}خواهم",
        "مِ\u{200C}خ",
        "क्\u{200D}ष",
        "क्\u{200C}ष",
        "ශ්\u{200D}රී",
    ] {
        check(requested, requested);
    }
    for requested in [
        "a\u{200C}b",
        "\u{200C}می",
        "می\u{200C}",
        "می\u{200C} خ",
        "ا\u{200C}ب",
        "می\u{200C}\u{200C}خ",
        "क\u{200C}ष",
        "क्\u{200C}\u{200C}ष",
        "می\u{200C}x",
    ] {
        check_fault(requested, '\u{200C}', CharacterFault::Misplaced);
    }
    for requested in [
        "a\u{200D}b",
        "م\u{200D}",
        "क\u{200D}ष",
        "क्\u{200D}\u{200D}ष",
        "\u{200D}क्ष",
        // Normalization moves the accent between virama and joiner.
        "क\u{301}\u{94D}\u{200D}ष",
    ] {
        check_fault(requested, '\u{200D}', CharacterFault::Misplaced);
    }
    // The decomposed form has the accent between virama and joiner, and still equals the composed.
    let composed = "\u{E9}\u{94D}\u{200D}ष";
    check(composed, composed);
    check("e\u{94D}\u{301}\u{200D}ष", composed);
}

#[test]
fn base_character_has_at_most_four_marks() {
    let marks = |n| "\u{336}".repeat(n);
    for allowed in [format!("z{}z", marks(4)), format!("\u{1EBF}{}", marks(2))] {
        check(&allowed, &allowed);
    }
    for requested in [
        format!("z{}", marks(5)),
        format!("alice{} ", marks(5)),
        // U+1EBF is a letter with two marks.
        format!("\u{1EBF}{}", marks(3)),
        "e\u{302}\u{301}\u{307}\u{308}\u{309}".to_owned(),
        format!("a{}", "\u{20DD}".repeat(5)),
        // A joiner is no new base.
        format!("क{}", "्\u{200D}".repeat(5)),
        // Marks with a width.
        format!("क{}", "\u{93E}".repeat(5)),
    ] {
        check_refused(&requested, &NameError::TooManyMarks);
    }
}

#[test]
fn name_does_not_begin_with_a_mark() {
    check_fault("  \u{301}a", '\u{301}', CharacterFault::Loose);
    check_fault("¯\\_(ツ)_/¯", '\u{304}', CharacterFault::Loose);
    check_fault("´", '\u{301}', CharacterFault::Loose);
    check("a \u{20DD}", "a \u{20DD}");
}

#[test]
fn key_ignores_invisible_characters() {
    for hidden in "\u{200B}\u{34F}\u{FE0F}\u{2060}\u{E0100}\u{AD}\u{3164}".chars() {
        let text = format!("{hidden}a{hidden}b{hidden}");
        assert_eq!(skeleton::key(&text), skeleton::key("ab"));
    }
}

#[test]
fn addresses_collide_with_their_look_alikes_only() {
    let [own, other, look_alike] = ["10.0.0.1:80", "10.0.0.1:81", "lO.o.0.I:80"].map(skeleton::key);
    assert!(!own.collides_with(&other));
    assert!(own.collides_with(&look_alike));
}

/// A name is visible, one line, and stable under another preparation; its key is stable too.
fn check_characters(characters: impl Iterator<Item = char>) -> usize {
    let mut accepted = 0;
    for character in characters {
        let text = character.to_string();
        let key = skeleton::key(&text);
        let again = skeleton::fold_lookalikes(&key.folded_first);
        assert_eq!(again, *key.folded_first, "{text:?}");
        let again = skeleton::fold_case(&key.folded_last);
        assert_eq!(again, *key.folded_last, "{text:?}");
        let Ok(name) = parse(&text) else { continue };
        accepted += 1;
        assert_eq!(parse(name.as_str()).as_ref(), Ok(&name), "{text:?}");
        assert!(!name.as_str().contains(char::is_control), "{text:?}");
        assert!(!name.key().folded_first.is_empty(), "{text:?}");
    }
    accepted
}

/// Characters that case folding, normalization or look-alike folding changes.
fn is_folded(character: char) -> bool {
    let alone = std::iter::once(character);
    !alone.clone().nfkc().eq(alone.clone()) || !character.to_lowercase().eq(alone)
}

#[test]
fn sampled_characters_are_refused_or_stable() {
    let sample = ('\0'..='\u{5FF}').chain(('\u{600}'..='\u{E01FF}').step_by(61));
    let folded = ('\u{600}'..='\u{1FFFF}').filter(|c| is_folded(*c));
    assert!(check_characters(sample.chain(folded.step_by(5))) > 2_000);
}

#[test]
#[ignore = "checks every character of Unicode, which takes a minute"]
fn all_of_unicode_is_refused_or_stable() {
    assert!(check_characters('\0'..=char::MAX) > 29_000);
}

#[test]
fn sentences_name_the_fault_and_the_remedy() {
    let check = |requested: &str, sentence: &str| {
        let told = parse(requested).map_err(|error| error.to_string());
        assert_eq!(told, Err(sentence.to_owned()));
    };
    check("", "The name is empty; choose one of 1 to 32 characters");
    check(
        &"x".repeat(33),
        "The name has 33 characters; choose one of at most 32",
    );
    check(
        &"x".repeat(5000),
        "The name has 5000 bytes; choose one of at most 512",
    );
    check(
        "a\u{202E}b",
        "The name contains U+202E, which changes the writing direction; leave it out",
    );
    check(
        "bob renamed to eve",
        "The name reads like the server's notice \"renamed to\"; choose another",
    );
}

#[test]
fn sentences_never_quote_the_name() {
    for requested in [
        "\u{1B}]0;x\u{7}",
        "\u{202E}",
        "\u{200B}",
        "\u{E000}",
        "👨\u{200D}",
        "\u{301}",
        "[Ѕеrvеr]",
        "bоb hаs lеft thе chаt",
        "€:",
        "€ (privаte)",
        "€: x",
        "10.0.0.1∶80",
        "",
    ] {
        let sentence = parse(requested).expect_err(requested).to_string();
        assert!(sentence.is_ascii(), "{sentence}");
        assert!(!sentence.contains(char::is_control), "{sentence}");
        assert!(!sentence.ends_with('.'), "{sentence}");
        assert!(sentence.starts_with("The name "), "{sentence}");
    }
}
