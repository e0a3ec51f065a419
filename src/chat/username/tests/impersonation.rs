//! Names that read as something else.

use super::super::{NameError, Username, impersonation};
use super::{OWN, check, check_refused, parse_as};

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
        assert_eq!(mapped.as_ref().map(Username::as_str), Ok(OWN));
    }
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:57354";
    assert!(long.len() > 32);
    let own = parse_as(long, long);
    assert_eq!(own.as_ref().map(Username::as_str), Ok(long));
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
        "aः b",
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
        "alice≯",
        "aliceः",
        "aliceᐳ",
        "aliceꓽ",
        "ः",
        "राम։",
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
        let phrase = impersonation::NOTICES[phrase];
        check_refused(requested, &NameError::ReadsLikeNotice { phrase });
    }
}

#[test]
fn letters_that_look_like_a_colon_end_words_of_their_script() {
    for requested in ["रामः", "रामः सीता", "નમઃ", "ᐃᓄᒃᐳ", "ꓐꓬꓽ", "क्\u{200D}ः"]
    {
        check(requested, requested);
    }
}
