//! Characters, emoji, joiners and marks.

use super::super::{CharacterFault, NameError};
use super::{OWN, check, check_fault, check_refused, name, parse};

#[test]
fn control_characters_are_refused_at_the_ends_too() {
    for character in [
        '\0', '\t', '\n', '\r', '\u{7}', '\u{1B}', '\u{7F}', '\u{80}', '\u{85}', '\u{9B}',
        '\u{2028}', '\u{2029}',
    ] {
        for requested in [
            format!("ali{character}ce"),
            format!("{character}alice"),
            format!("alice{character}"),
            format!("{character}{OWN}"),
            character.to_string(),
        ] {
            check_fault(&requested, character, CharacterFault::Control);
        }
    }
}

#[test]
fn direction_changes_are_refused() {
    for character in "\u{61C}\u{200E}\u{200F}\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}\
                      \u{2066}\u{2067}\u{2068}\u{2069}"
        .chars()
    {
        check_fault(
            &format!("a{character}b"),
            character,
            CharacterFault::Direction,
        );
    }
}

#[test]
fn invisible_characters_are_refused() {
    for character in "\u{AD}\u{34F}\u{600}\u{115F}\u{1160}\u{17B4}\u{17B5}\u{180B}\u{180E}\u{180F}\
                      \u{200B}\u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\u{2065}\u{206A}\u{206F}\
                      \u{2800}\u{3164}\u{FE00}\u{FE0D}\u{FEFF}\u{FFA0}\u{FFF0}\u{FFF9}\u{FFFB}\
                      \u{110BD}\u{13430}\u{13441}\u{1BCA0}\u{1D159}\u{1D173}\u{E0000}\u{E0001}\
                      \u{E0100}\u{E01EF}"
        .chars()
    {
        for requested in [format!("a{character}"), format!("{character}b")] {
            check_fault(&requested, character, CharacterFault::Invisible);
        }
    }
}

#[test]
fn characters_without_meaning_are_refused() {
    for character in "\u{378}\u{E000}\u{F8FF}\u{FDD0}\u{FFFC}\u{FFFD}\u{FFFE}\u{FFFF}\u{50000}\
                      \u{F0000}\u{10FFFF}"
        .chars()
    {
        check_fault(
            &format!("a{character}"),
            character,
            CharacterFault::Meaningless,
        );
    }
}

#[test]
fn whole_emoji_are_allowed() {
    for requested in [
        "👨‍👩‍👧",
        "🏳️‍🌈",
        "❤️",
        "❤",
        "1️⃣",
        "#️⃣",
        "👍🏽",
        "🇨🇿",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "👩🏻‍❤️‍💋‍👩🏼",
        "👍\u{FE0F}",
        "🏳️‍⚧️",
        "a❤️b",
        "🇨🇿🇸🇰",
        "1️⃣2️⃣",
        "☺️ me ☺️",
        "👁️‍🗨️",
        "👁‍🗨",
        "x🐻‍❄️y",
    ] {
        check(requested, requested);
    }
}

#[test]
fn every_emoji_is_a_name() {
    for emoji in emojis::iter() {
        let prepared = name(emoji.as_str());
        assert_eq!(parse(prepared.as_str()).as_ref(), Ok(&prepared), "{emoji}");
        let twice = format!("{emoji}x{emoji}");
        assert!(parse(&twice).is_ok(), "{emoji}");
    }
}

#[test]
fn an_emoji_that_normalization_spells_out_leaves_no_selector() {
    check("™️", "TM");
    check("ℹ️ ‼️", "i !!");
    check("㊗️㊙️🈂️", "祝秘サ");
    check("Ⓜ️Ⓜ️❤️", "MM❤️");
}

#[test]
fn parts_of_emoji_are_refused() {
    let cases = [
        ("👨\u{200D}", '\u{200D}'),
        ("\u{200D}👧", '\u{200D}'),
        ("👨\u{200D}\u{200D}👩", '\u{200D}'),
        ("👨\u{200D}x", '\u{200D}'),
        ("👨\u{200D}🚗", '\u{200D}'),
        ("👨‍👩‍👧\u{200D}", '\u{200D}'),
        ("\u{FE0F}", '\u{FE0F}'),
        ("a\u{FE0F}", '\u{FE0F}'),
        ("1\u{FE0F}", '\u{FE0F}'),
        ("❤️\u{FE0F}", '\u{FE0F}'),
        ("❤️\u{301}", '\u{FE0F}'),
        ("❤\u{FE0E}", '\u{FE0E}'),
        ("TM\u{FE0F}", '\u{FE0F}'),
        ("🇨", '🇨'),
        ("🇨🇿🇸", '🇸'),
        ("🇽🇽", '🇽'),
        ("🇨\u{FE0F}", '🇨'),
        ("\u{E0067}", '\u{E0067}'),
        ("a\u{E0067}\u{E007F}", '\u{E0067}'),
        ("🏴\u{E0067}\u{E0062}", '\u{E0067}'),
        ("🏴\u{E0061}\u{E0061}\u{E007F}", '\u{E0061}'),
        (
            "👍\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}",
            '\u{E0067}',
        ),
    ];
    for (requested, character) in cases {
        check_fault(requested, character, CharacterFault::Misplaced);
    }
}

#[test]
fn joiners_stand_where_rfc_5892_permits_them() {
    let (non_joiner, joiner) = ('\u{200C}', '\u{200D}');
    // A.1, by joining types: a Persian verb; with a vowel sign in between.
    check("می‌خواهم", "می‌خواهم");
    check("مِ\u{200C}خ", "مِ\u{200C}خ");
    // A.1 and A.2, after a virama.
    check("क्‍ष", "क्‍ष");
    check("क्‌ष", "क्‌ष");
    check("ශ්‍රී", "ශ්‍රී");
    for requested in [
        "a\u{200C}b",
        "\u{200C}",
        "\u{200C}می",
        "می\u{200C}",
        "می\u{200C} خ",
        "ا\u{200C}ب",
        "می\u{200C}\u{200C}خ",
        "क\u{200C}ष",
        "क्\u{200C}\u{200C}ष",
        "می\u{200C}x",
    ] {
        check_fault(requested, non_joiner, CharacterFault::Misplaced);
    }
    for requested in [
        "a\u{200D}b",
        "\u{200D}",
        "م\u{200D}",
        "क\u{200D}ष",
        "क्\u{200D}\u{200D}ष",
        "\u{200D}क्ष",
    ] {
        check_fault(requested, joiner, CharacterFault::Misplaced);
    }
}

#[test]
fn characters_are_judged_as_prepared_too() {
    // Normalization moves the accent between virama and joiner.
    check_fault(
        "क\u{301}\u{94D}\u{200D}ष",
        '\u{200D}',
        CharacterFault::Misplaced,
    );
}

/// In the decomposed form the virama stands before the accent, away from the joiner.
#[test]
fn a_joiner_is_judged_alike_in_every_canonical_form() {
    let composed = "é\u{94D}\u{200D}ष";
    let decomposed = "e\u{94D}\u{301}\u{200D}ष";
    check(composed, composed);
    check(decomposed, composed);
}

#[test]
fn a_base_carries_four_marks() {
    let marks = |n| "\u{336}".repeat(n);
    check(&format!("z{}z", marks(4)), &format!("z{}z", marks(4)));
    for requested in [
        format!("z{}", marks(5)),
        format!("alice{} ", marks(5)),
        // ế is a letter and two marks.
        format!("ế{}", marks(3)),
        "e\u{302}\u{301}\u{307}\u{308}\u{309}".to_owned(),
        // Enclosing marks.
        format!("a{}", "\u{20DD}".repeat(5)),
        // Joiners are no new base.
        "क्\u{200D}्\u{200D}्\u{200D}्\u{200D}्".to_owned(),
        // Wide marks.
        format!("क{}", "\u{93E}".repeat(5)),
    ] {
        check_refused(&requested, &NameError::TooManyMarks);
    }
    check(&format!("ế{}", marks(2)), &format!("ế{}", marks(2)));
}

#[test]
fn a_mark_does_not_begin_a_name() {
    check_fault("\u{301}", '\u{301}', CharacterFault::Loose);
    check_fault("  \u{301}a", '\u{301}', CharacterFault::Loose);
    check_fault("¯\\_(ツ)_/¯", '\u{304}', CharacterFault::Loose);
    check("a \u{20DD}", "a \u{20DD}");
    check_fault("´", '\u{301}', CharacterFault::Loose);
}
