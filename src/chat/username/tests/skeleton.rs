//! Which names are one.

use super::super::skeleton;
use super::{known_characters, name};

fn are_one(a: &str, b: &str) -> bool {
    let (a, b) = (name(a).keys(), name(b).keys());
    a.folded_first == b.folded_first || a.folded_last == b.folded_last
}

#[test]
fn look_alikes_and_case_are_one() {
    for (a, b) in [
        ("alice", "ALICE"),
        ("alice", "аlice"),
        ("alice", "АLICE"),
        ("Ivan", "lvan"),
        ("user0", "userO"),
        ("user1", "userl"),
        ("rn", "m"),
        ("Straße", "STRASSE"),
        ("Straße", "STRAẞE"),
        ("ΝΙΚΟΣ", "νικος"),
        ("ᏣᎳᎩ", "ꮳꮃꭹ"),
        ("İpek", "i\u{307}pek"),
        ("ırmak", "IRMAK"),
        ("K", "\u{212A}"),
        ("❤", "❤️"),
        ("क्ष", "क्‍ष"),
        ("میخواهم", "می‌خواهم"),
        ("ᾳ", "ΑΙ"),
        ("José", "JOSE\u{301}"),
        ("12:30", "12∶30"),
    ] {
        assert!(are_one(a, b), "{a:?} and {b:?} should be one");
    }
}

#[test]
fn distinct_names_stay_distinct() {
    let names = [
        "alice",
        "bob",
        "carol",
        "José",
        "Jose",
        "user_42",
        "user_43",
        "Ольга",
        "Олег",
        "山田",
        "山本",
        "محمد",
        "محمود",
        "Zoë",
        "Zoe",
        "łódź",
        "lodz",
        "C",
        "C++",
        "a b",
        "ab",
        "a.b",
        "a-b",
        "🇨🇿",
        "🇸🇰",
        "👍",
        "👍🏽",
        "❤",
        "김",
        "이",
        "strase",
        "strasse",
    ];
    for (index, a) in names.iter().enumerate() {
        for b in &names[..index] {
            assert!(!are_one(a, b), "{a:?} and {b:?} should be two");
        }
    }
}

#[test]
fn addresses_collide_with_their_look_alikes_only() {
    let keys = |address: &str| skeleton::of(address);
    assert_eq!(keys("10.0.0.1:80"), keys("10.0.0.1:80"));
    assert_ne!(
        keys("10.0.0.1:80").folded_last,
        keys("10.0.0.1:81").folded_last
    );
    assert_eq!(
        keys("10.0.0.1:80").folded_last,
        keys("lO.o.0.I:80").folded_last
    );
}

#[test]
fn keys_ignore_what_is_invisible() {
    for character in [
        '\u{200B}',
        '\u{34F}',
        '\u{FE0F}',
        '\u{2060}',
        '\u{E0100}',
        '\u{AD}',
        '\u{3164}',
    ] {
        let hidden = format!("{character}a{character}b{character}");
        assert_eq!(skeleton::of(&hidden), skeleton::of("ab"));
    }
}

#[test]
fn keys_of_every_character_are_stable() {
    for character in known_characters() {
        let text = character.encode_utf8(&mut [0; 4]).to_owned();
        let keys = skeleton::of(&text);
        assert_eq!(
            *skeleton::stable_skeleton(&keys.folded_first),
            *keys.folded_first,
            "{text:?}"
        );
        assert_eq!(
            *skeleton::stable_case(&keys.folded_last),
            *keys.folded_last,
            "{text:?}"
        );
    }
}
