//! Tables of names that pass and names that do not, and what holds for every single character.

use std::net::SocketAddr;

use super::{CharacterFault, Name, NameError};

const OWN: &str = "127.0.0.1:57354";

fn parse_as(own: &str, requested: &str) -> Result<Name, NameError> {
    let own: SocketAddr = own.parse().expect("a test writes valid addresses");
    Name::parse(requested, own)
}

fn parse(requested: &str) -> Result<Name, NameError> {
    parse_as(OWN, requested)
}

fn name(requested: &str) -> Name {
    parse(requested).unwrap_or_else(|error| panic!("{requested:?} was refused: {error}"))
}

#[track_caller]
fn check(requested: &str, prepared: &str) {
    let name = parse(requested);
    assert_eq!(
        name.as_ref().map(Name::as_str),
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

fn are_one(a: &str, b: &str) -> bool {
    let (a, b) = (name(a).keys(), name(b).keys());
    a.folded_first == b.folded_first || a.folded_last == b.folded_last
}

fn address_name(address: &str) -> String {
    let address = address.parse().expect("a test writes valid addresses");
    Name::from_address(address).to_string()
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

#[test]
fn an_unnamed_client_is_its_address() {
    let check = |address, expected: &str| assert_eq!(address_name(address), expected);
    check("127.0.0.1:57354", "127.0.0.1:57354");
    check("[::1]:80", "[::1]:80");
    check("[2001:DB8:0:0::1]:5555", "[2001:db8::1]:5555");
    check("[::ffff:127.0.0.1]:57354", "127.0.0.1:57354");
    check("[fe80::1%3]:1", "[fe80::1]:1");
}

#[test]
fn ones_own_address_may_be_chosen() {
    for requested in [
        OWN,
        "  127.0.0.1:57354 ",
        "１２７．０．０．１：５７３５４",
        "[::ffff:127.0.0.1]:57354",
        "127.0.0.1:057354",
    ] {
        check(requested, OWN);
        let mapped = parse_as("[::ffff:127.0.0.1]:57354", requested);
        assert_eq!(mapped.as_ref().map(Name::as_str), Ok(OWN));
    }
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:57354";
    assert!(long.len() > 32);
    let own = parse_as(long, long);
    assert_eq!(own.as_ref().map(Name::as_str), Ok(long));
    assert_eq!(
        parse_as(OWN, long),
        Err(NameError::TooLong { graphemes: 46 })
    );
}

#[test]
fn addresses_of_others_are_refused() {
    for requested in [
        "127.0.0.1:57355",
        "127.0.0.2:57354",
        " 10.0.0.1:80 ",
        "10.0.0.1 :80",
        "1O.0.0.1:5555",
        "1o.o.O.I:5555",
        "l27.0.0.1:80",
        "127.O.O.l:57354",
        "[::1]:80",
        "[::l]:80",
        "[::I]:8O",
        "[::1%eth0]:80",
        "::1:80",
        "[10.0.0.1]:80",
        "[::ffff:10.0.0.1]:80",
        "010.000.000.001:80",
        "10.0.0.1:00080",
        "10.0.0.1:99999",
        "10.0.0.1:9999999999999999999999",
        "１０.0.0.1：80",
        "10․0․0․1:80",
        "⒈⒈⒈1:80",
        "①⓪.0.0.1:80",
        "10.0.0.1∶80",
        "1О.0.0.1:80",
        "|0.0.0.1:80",
        "1\u{332}0.0.0.1:80",
    ] {
        check_refused(requested, &NameError::LooksLikeAddress);
    }
}

#[test]
fn the_server_is_one() {
    for requested in [
        "[Server]",
        "[server]",
        "[SERVER]",
        " [Server] ",
        "[Ѕеrvеr]",
        "［Ｓｅｒｖｅｒ］",
        "[ЅЕRVЕR]",
        "[ſerver]",
        "[ Server ]",
        "[S e r v e r]",
        "[𝓢𝓮𝓻𝓿𝓮𝓻]",
        "[S\u{332}e\u{332}rver]",
    ] {
        check_refused(requested, &NameError::Reserved);
    }
}

#[test]
fn separators_end_no_name() {
    for requested in [
        "a: b",
        "[Server]: x",
        "a： b",
        "a∶ b",
        "aː b",
        "a:\u{3000}b",
        "a:\u{307} b",
    ] {
        check_refused(requested, &NameError::Separator);
    }
    for requested in [
        "alice:",
        "alice :",
        ":",
        "alice：",
        "alice∶",
        "aliceː",
        "alice꞉",
        "alice>",
        ">",
        "a＞",
        "->",
        "alice❯",
        "alice›",
        "alice: ",
        "alice:\u{307}",
        "alice:̂ ",
    ] {
        check_refused(requested, &NameError::EndsLikeSource);
    }
}

#[test]
fn a_private_source_ends_no_name() {
    for requested in [
        "alice (private)",
        "alice (Private)",
        "alice  (PRIVATE)",
        "alice（private）",
        "alice (рrivаte)",
        "alice (pr1vate) (private) ",
        "alice (p\u{332}rivate)",
    ] {
        check_refused(requested, &NameError::LooksPrivate);
    }
    check("alice (private) 2", "alice (private) 2");
}

#[test]
fn notices_are_no_names() {
    let cases = [
        ("bob has entered the chat", 0),
        ("bob HAS ENTERED THE CHAT", 0),
        ("bob has  left\u{A0}the chat", 1),
        ("bob hаs lеft thе chаt", 1),
        ("bob has 1eft the chat", 1),
        ("has left the chat!", 1),
        ("bob renamed to eve", 2),
        ("bob rena\u{336}med to", 2),
        ("bob renarned to eve", 2),
        ("ｒｅｎａｍｅｄ ｔｏ", 2),
        ("37 have entered the chat", 3),
        ("12 have left the chat", 4),
    ];
    for (requested, phrase) in cases {
        let phrase = super::forgery::NOTICES[phrase];
        check_refused(requested, &NameError::ReadsLikeNotice { phrase });
    }
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
    let keys = |address: &str| super::keys::of(address);
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
        assert_eq!(super::keys::of(&hidden), super::keys::of("ab"));
    }
}

/// Every character but the large blocks in which all are alike.
fn known_characters() -> impl Iterator<Item = char> {
    ('\u{0}'..='\u{2FA1F}')
        .chain('\u{E0000}'..='\u{E01FF}')
        .filter(|character| {
            !matches!(
                character,
                '\u{3400}'..='\u{9FFF}'
                    | '\u{AC00}'..='\u{D7A3}'
                    | '\u{E000}'..='\u{F8FF}'
                    | '\u{17000}'..='\u{18CFF}'
                    | '\u{20000}'..='\u{2F7FF}'
            )
        })
}

#[test]
fn keys_of_every_character_are_stable() {
    for character in known_characters() {
        let text = character.encode_utf8(&mut [0; 4]).to_owned();
        let keys = super::keys::of(&text);
        assert_eq!(
            *super::keys::stable_skeleton(&keys.folded_first),
            *keys.folded_first,
            "{text:?}"
        );
        assert_eq!(
            *super::keys::stable_case(&keys.folded_last),
            *keys.folded_last,
            "{text:?}"
        );
    }
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
    assert!(accepted > 35_000, "only {accepted} characters are accepted");
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
