//! Tables of names that pass and names that do not, and what holds for every single character.

mod attacks;
mod characters;
mod impersonation;
mod scripts;
mod skeleton;

use std::net::SocketAddr;

use super::{CharacterFault, NameError, Username};

const OWN: &str = "127.0.0.1:57354";

fn parse_as(own: &str, requested: &str) -> Result<Username, NameError> {
    let own: SocketAddr = own.parse().expect("a test writes valid addresses");
    Username::parse(requested, own)
}

fn parse(requested: &str) -> Result<Username, NameError> {
    parse_as(OWN, requested)
}

fn name(requested: &str) -> Username {
    parse(requested).unwrap_or_else(|error| panic!("{requested:?} was refused: {error}"))
}

#[track_caller]
fn check(requested: &str, prepared: &str) {
    let name = parse(requested);
    assert_eq!(
        name.as_ref().map(Username::as_str),
        Ok(prepared),
        "{requested:?}"
    );
    assert_eq!(parse(prepared), name, "{requested:?} prepared again");
}

#[track_caller]
fn check_refused(requested: &str, expected: &NameError) {
    assert_eq!(parse(requested).as_ref(), Err(expected), "{requested:?}");
}

#[track_caller]
fn check_fault(requested: &str, character: char, fault: CharacterFault) {
    check_refused(
        requested,
        &NameError::ForbiddenCharacter { character, fault },
    );
}

fn address_name(address: &str) -> String {
    let address = address.parse().expect("a test writes valid addresses");
    Username::from_address(address).to_string()
}

/// Every character but the large blocks in which all are alike.
fn known_characters() -> impl Iterator<Item = char> {
    ('\u{0}'..='\u{2FA1F}')
        .chain('\u{E0000}'..='\u{E01FF}')
        .filter(|character| {
            !matches!(
                character,
                '\u{3400}'..='\u{9FFF}'
                    | '\u{A000}'..='\u{A48F}'
                    | '\u{AC00}'..='\u{D7A3}'
                    | '\u{E000}'..='\u{F8FF}'
                    | '\u{12000}'..='\u{1342F}'
                    | '\u{13460}'..='\u{1467F}'
                    | '\u{17000}'..='\u{18CFF}'
                    | '\u{20000}'..='\u{2F7FF}'
            )
        })
}

#[test]
fn ordinary_names_stay_as_they_are() {
    for requested in [
        "alice",
        "O'Brien",
        "José",
        "Ольга",
        "山田太郎",
        "محمد",
        "Zoë-Anne",
        "Dr. Who",
        "a/b",
        "Ж",
        "user_42",
        "łódź",
        "C++",
        "<3",
        "12:30",
        "a",
        "Nguyễn Thị Hiền",
        "김철수",
        "さくら",
        "สมชาย",
        "ใจดี",
        "שָׁלוֹם",
        "רָחֵל",
        "नरेन्द्र",
        "रामः",
        "ප්‍රියන්ත",
        "தமிழ்",
        "လျှော့",
        "ខ្ញុំ",
        "བསྟན་འཛིན",
        "Ελένη",
        "Νίκος",
        "Gül",
        "İpek",
        "Straße",
        "ᏣᎳᎩ",
        "ᐃᓄᒃᐳ",
        "Server",
        "[bot]",
        "@alice",
        "#1",
        "a:b",
        "x::y",
        "a>b",
        "alice (away)",
        "private",
        "left the chat",
        "renamed",
        "127.0.0.1",
        "10.0.0:80",
        "localhost:80",
        "a.b.c.d:80",
        "127.0.0.1:http",
        "1.2.3.4.5:6",
        "256.0.0.1:80",
        "::1",
        "🦀",
        "Ωmega",
        "naïve café",
        "~",
        "^_^",
    ] {
        check(requested, requested);
    }
}

#[test]
fn preparation_is_that_of_rfc_8266() {
    check("  alice  ", "alice");
    check("a   b", "a b");
    check("\u{A0}a\u{A0}\u{3000}\u{2003} b\u{202F}", "a b");
    check("Ｆｕｌｌ　Ｗｉｄｔｈ", "Full Width");
    check("ﬁne", "fine");
    check("Jose\u{301}", "José");
    check("x²", "x2");
    check("ｶﾞ", "ガ");
    check("a¨b", "a \u{308}b");
    check("Ǆ", "DŽ");
    // Sara am is taken apart.
    check("น้ำใจ", "น้ํ\u{E32}ใจ");
}

#[test]
fn nothing_is_no_name() {
    for requested in ["", " ", "   ", "\u{A0}\u{3000}\u{2009}", "\u{1680}"] {
        check_refused(requested, &NameError::Empty);
    }
}

#[test]
fn length_has_two_limits() {
    check(&"x".repeat(32), &"x".repeat(32));
    check_refused(&"x".repeat(33), &NameError::TooLong { graphemes: 33 });
    check(&format!("  {}  ", "x".repeat(32)), &"x".repeat(32));
    let families = "👨‍👩‍👧".repeat(28);
    check(&families, &families);
    check_refused(&"👨‍👩‍👧".repeat(29), &NameError::TooManyBytes { bytes: 522 });
    // One grapheme cluster of any length.
    check_refused(&"ᄀ".repeat(171), &NameError::TooManyBytes { bytes: 513 });
    check(&"ᄀ".repeat(170), &"ᄀ".repeat(170));
    // U+FDFA is eighteen characters when prepared.
    check_refused("ﷺﷺ", &NameError::TooLong { graphemes: 36 });
}

#[test]
fn far_too_long_input_is_refused_before_it_is_read() {
    check_refused(
        &"\u{1B}".repeat(2049),
        &NameError::TooManyBytes { bytes: 2049 },
    );
    check_fault(&"\u{1B}".repeat(2048), '\u{1B}', CharacterFault::Control);
    check(&format!("x{}", " ".repeat(2047)), "x");
}

#[test]
fn an_unnamed_client_is_its_address() {
    let check = |address, expected: &str| assert_eq!(address_name(address), expected);
    check("127.0.0.1:57354", "127.0.0.1:57354");
    check("[::1]:80", "[::1]:80");
    check("[2001:DB8:0:0::1]:5555", "[2001:db8::1]:5555");
    check("[::ffff:127.0.0.1]:57354", "127.0.0.1:57354");
    check("[fe80::1%3]:1", "[fe80::1]:1");
}

/// Whatever is allowed is visible, one line, and stays as it is when prepared again.
#[test]
fn every_character_is_refused_or_stable() {
    let mut accepted = 0;
    for character in known_characters() {
        let text = character.to_string();
        let Ok(name) = parse(&text) else { continue };
        accepted += 1;
        assert_eq!(parse(name.as_str()).as_ref(), Ok(&name), "{text:?}");
        assert!(!name.as_str().contains(char::is_control), "{text:?}");
        assert!(!name.keys().folded_first.is_empty(), "{text:?}");
    }
    assert!(accepted > 29_000, "only {accepted} characters are accepted");
}

#[test]
fn sentences_say_what_was_wrong_and_what_would_be_right() {
    let check = |requested: &str, sentence: &str| {
        assert_eq!(
            parse(requested).map_err(|error| error.to_string()),
            Err(sentence.to_owned())
        );
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
        "a\u{1B}[2J",
        "The name contains U+001B, which is a control character; leave it out",
    );
    check(
        "bob renamed to eve",
        "The name reads like the server's notice \"renamed to\"; choose another",
    );
}

#[test]
fn sentences_repeat_nothing_of_the_name() {
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
        "\u{2065}",
    ] {
        let sentence = match parse(requested) {
            Ok(name) => panic!("{name} was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(sentence.is_ascii(), "{sentence}");
        assert!(!sentence.contains(char::is_control), "{sentence}");
        assert!(!sentence.ends_with('.'), "{sentence}");
        assert!(sentence.starts_with("The name "), "{sentence}");
    }
}
