//! Everything that is refused, over real sockets: one test for each row of the protocol's
//! table.
//!
//! Each refusal is one sentence of the server to the culprit alone, the connection stays open
//! and the next line is read as if nothing had happened: [`Bench::refused`] checks all of it.

use crate::support::{Chat, LineClient, PATIENCE, eventually, request};
use serde_json::json;
use smolchat::limits::Limits;
use std::time::{Duration, Instant};

/// The culprit and a witness.
struct Bench {
    culprit: LineClient,
    witness: LineClient,
    markers: u32,
    // Dropped last: the clients are closed before the server stops.
    _chat: Chat,
}

impl Bench {
    fn new() -> Self {
        Bench::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let chat = Chat::with(limits);
        let [culprit, witness] = chat.room(["culprit", "witness"]);
        Bench {
            culprit,
            witness,
            markers: 0,
            _chat: chat,
        }
    }

    /// The line is refused in a sentence that contains this; nobody else learns of it.
    #[track_caller]
    fn refused(&mut self, line: &[u8], sentence: &str) -> String {
        self.culprit.send_raw(line);
        self.culprit.send_raw(b"\n");
        self.told(sentence)
    }

    /// The culprit is told a sentence that contains this; nobody else learns of it.
    #[track_caller]
    fn told(&mut self, sentence: &str) -> String {
        let told = self.culprit.notice();
        if !told.contains(sentence) {
            self.culprit.fail(&format!(
                "was told {told:?}, which does not contain {sentence:?}"
            ));
        }
        assert!(
            !told.ends_with('.') && !told.contains(['\n', '\r']),
            "no sentence in one line: {told:?}"
        );
        self.goes_on();
        told
    }

    /// The connection is as usable as before, and the witness has learned nothing.
    #[track_caller]
    fn goes_on(&mut self) {
        self.markers += 1;
        let marker = format!("marker {}", self.markers);
        self.culprit.say_and_hear(&marker);
        self.witness.expect("culprit", &marker);
    }

    /// The text is said in this form.
    #[track_caller]
    fn said(&mut self, text: &str, heard: &str) {
        self.culprit.say(text);
        self.culprit.expect("culprit", heard);
        self.witness.expect("culprit", heard);
    }

    /// The name is refused in a sentence that contains this; the culprit keeps its own.
    #[track_caller]
    fn name_refused(&mut self, name: &str, sentence: &str) {
        self.refused(request("set-name", name).trim_ascii_end(), sentence);
    }

    /// The name is taken, announced in this form, and given back.
    #[track_caller]
    fn name_accepted(&mut self, name: &str, announced: &str) {
        self.culprit.request("set-name", name);
        for client in [&mut self.culprit, &mut self.witness] {
            client.expect_notice(&format!("culprit renamed to {announced}"));
        }
        self.culprit.request("set-name", "culprit");
        for client in [&mut self.culprit, &mut self.witness] {
            client.expect_notice(&format!("{announced} renamed to culprit"));
        }
    }
}

// The form of a line

#[test]
fn not_json() {
    let mut bench = Bench::new();
    for line in [
        "hello",
        "{",
        "}",
        "{\"type\":\"message\",\"data\":\"x\"",
        "{\"type\":\"message\",\"data\":\"x\"}}",
        "{\"type\":\"message\",\"data\":\"x\"} {}",
        "{'type':'message','data':'x'}",
        "{\"type\":\"message\",\"data\":\"x\",}",
        "{\"type\":\"message\" \"data\":\"x\"}",
        "{\"type\":\"message\",\"data\":\"a\tb\"}",
        "\u{feff}{\"type\":\"message\",\"data\":\"x\"}",
        "GET / HTTP/1.1",
        " ",
        "\0",
    ] {
        bench.refused(line.as_bytes(), "JSON");
    }
}

#[test]
fn not_an_object() {
    let mut bench = Bench::new();
    for line in [
        "[]",
        "[{\"type\":\"users\"}]",
        "1",
        "-1.5e3",
        "null",
        "true",
        "\"message\"",
    ] {
        bench.refused(line.as_bytes(), "object");
    }
}

#[test]
fn no_type() {
    let mut bench = Bench::new();
    for line in [
        "{}",
        "{\"data\":\"x\"}",
        "{\"Type\":\"message\",\"data\":\"x\"}",
        "{\"kind\":\"message\"}",
    ] {
        bench.refused(line.as_bytes(), "type");
    }
}

#[test]
fn type_of_the_wrong_json_type() {
    let mut bench = Bench::new();
    for value in [
        "1",
        "null",
        "true",
        "[]",
        "[\"message\"]",
        "{\"type\":\"message\"}",
    ] {
        bench.refused(
            format!("{{\"type\":{value},\"data\":\"x\"}}").as_bytes(),
            "type",
        );
    }
}

#[test]
fn data_of_the_wrong_json_type() {
    let mut bench = Bench::new();
    for kind in ["message", "set-name"] {
        for value in ["1", "null", "true", "[]", "[\"x\"]", "{\"message\":\"x\"}"] {
            bench.refused(
                format!("{{\"type\":\"{kind}\",\"data\":{value}}}").as_bytes(),
                "data",
            );
        }
        bench.refused(format!("{{\"type\":\"{kind}\"}}").as_bytes(), "data");
    }
}

#[test]
fn unknown_type() {
    let mut bench = Bench::new();
    // Upper case is another word, and searching is of the other dialect alone.
    for kind in [
        "", "kick", "Message", "MESSAGE", " message", "setname", "search", "bye",
    ] {
        bench.refused(request(kind, "x").trim_ascii_end(), "type");
    }
    let told = bench.refused(request("kick", "x").trim_ascii_end(), "\"kick\"");
    assert!(
        told.contains("set-name"),
        "what would be right is missing: {told}"
    );
}

#[test]
fn an_unknown_type_is_repeated_cut_short_and_harmless() {
    let mut bench = Bench::new();
    let told = bench.refused(request(&"k".repeat(5000), "x").trim_ascii_end(), "kkk");
    assert!(told.len() < 500, "{told}");
    let told = bench.refused(
        request("a\u{1b}[2J\u{202e}\nb", "x").trim_ascii_end(),
        "type",
    );
    assert!(
        !told.chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{told:?}"
    );
}

#[test]
fn nested_json_of_any_depth() {
    let mut bench = Bench::with(Limits {
        max_line_bytes: 1_000_000,
        ..Limits::default()
    });
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let objects = "{\"a\":".repeat(100_000);
    bench.refused(open.as_bytes(), "JSON");
    bench.refused(objects.as_bytes(), "JSON");
    bench.refused(
        format!("{{\"type\":{open}{close},\"data\":\"x\"}}").as_bytes(),
        "",
    );
    bench.refused(
        format!("{{\"type\":\"message\",\"data\":{open}{close}}}").as_bytes(),
        "",
    );
    bench.refused(
        format!("{{\"type\":\"message\",\"data\":{open}").as_bytes(),
        "JSON",
    );
    // A key that nobody knows is ignored, whatever it holds.
    let line = format!("{{\"type\":\"users\",\"x\":{open}{close},\"data\":\"\"}}\n");
    bench.culprit.send_raw(line.as_bytes());
    bench
        .culprit
        .expect_notice("Connected users (2): culprit, witness");
    bench.goes_on();
}

#[test]
fn a_repeated_type_or_data_key() {
    let mut bench = Bench::new();
    for line in [
        r#"{"type":"users","type":"users"}"#,
        r#"{"type":"message","data":"x","type":"users"}"#,
        r#"{"type":"message","data":"x","data":"x"}"#,
        r#"{"data":"x","type":"message","data":"y"}"#,
        r#"{"type":"users","data":1,"data":1}"#,
        r#"{"type":"message","data":"x","d\u0061ta":"y"}"#,
    ] {
        bench.refused(line.as_bytes(), "once");
    }
    // Only these two: other keys may be repeated.
    bench
        .culprit
        .send_raw(b"{\"x\":1,\"x\":2,\"type\":\"message\",\"data\":\"fine\"}\n");
    bench.culprit.expect("culprit", "fine");
    bench.witness.expect("culprit", "fine");
}

#[test]
fn invalid_utf8() {
    let mut bench = Bench::new();
    for bytes in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xe2\x98",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80abc",
        b"caf\xe9",
    ] {
        bench.refused(
            &[b"{\"type\":\"message\",\"data\":\"", bytes, b"\"}"].concat(),
            "UTF-8",
        );
        bench.refused(bytes, "UTF-8");
    }
    // Also where nobody would look at it.
    bench.refused(
        b"{\"x\":\"\xff\",\"type\":\"message\",\"data\":\"x\"}",
        "UTF-8",
    );
}

#[test]
fn a_lone_surrogate_is_no_text() {
    let mut bench = Bench::new();
    for escape in ["\\ud800", "\\udc00", "\\ud83d\\ud83d", "\\ud800x"] {
        bench.refused(
            format!("{{\"type\":\"message\",\"data\":\"{escape}\"}}").as_bytes(),
            "",
        );
        bench.refused(
            format!("{{\"type\":\"set-name\",\"data\":\"{escape}\"}}").as_bytes(),
            "",
        );
    }
    bench
        .culprit
        .send_raw(b"{\"type\":\"message\",\"data\":\"\\ud83d\\ude80\"}\n");
    bench.culprit.expect("culprit", "🚀");
    bench.witness.expect("culprit", "🚀");
}

#[test]
fn a_line_longer_than_the_limit_is_refused_once_and_the_rest_is_skipped() {
    let mut bench = Bench::new();
    let limit = 64 * 1024;
    bench.refused(&vec![b'x'; limit + 1], "65536");
    bench.refused(&vec![b'\n' + 1; 10 * limit], "65536");
    // What stands in the rest is no line of its own, whatever it looks like.
    let mut line = vec![b' '; limit + 1];
    line.extend_from_slice(request("message", "hidden").trim_ascii_end());
    bench.refused(&line, "65536");
    // The refusal comes at once, not at the end of the line, and only once.
    bench.culprit.send_raw(&vec![b'x'; 2 * limit]);
    assert!(bench.culprit.notice().contains("65536"));
    bench.culprit.send_raw(&vec![b'x'; 2 * limit]);
    bench.culprit.send_raw(b"\n");
    bench.goes_on();
}

#[test]
fn a_line_of_exactly_the_limit_is_read() {
    let mut bench = Bench::new();
    let line = |length: usize| {
        let rest = r#"{"type":"message","data":"full"}"#;
        format!("{}{rest}", " ".repeat(length - rest.len()))
    };
    for end in ["\n", "\r\n"] {
        bench
            .culprit
            .send_raw(format!("{}{end}", line(64 * 1024)).as_bytes());
        bench.culprit.expect("culprit", "full");
        bench.witness.expect("culprit", "full");
    }
    bench.refused(line(64 * 1024 + 1).as_bytes(), "65536");
    bench.refused(format!("{}\r", line(64 * 1024 + 1)).as_bytes(), "65536");
}

#[test]
fn the_limit_of_lines_is_the_operators() {
    let mut bench = Bench::with(Limits {
        max_line_bytes: 700,
        max_message_bytes: 100,
        ..Limits::default()
    });
    let message = request("message", &"x".repeat(100));
    let padding = 700 - (message.len() - 1);
    let line = [b" ".repeat(padding), message].concat();
    bench.culprit.send_raw(&line);
    bench.culprit.expect("culprit", &"x".repeat(100));
    bench.witness.expect("culprit", &"x".repeat(100));
    bench.refused(&[b" ", line.trim_ascii_end()].concat(), "700");
}

// Messages

#[test]
fn a_message_over_the_limit_is_refused_and_never_cut_short() {
    let mut bench = Bench::new();
    for text in ["x".repeat(4096), "é".repeat(2048), "\u{1f680}".repeat(1024)] {
        assert_eq!(text.len(), 4096);
        bench.said(&text, &text);
        for more in ["x", "é", "\n"] {
            let line = request("message", &format!("{text}{more}"));
            bench.refused(line.trim_ascii_end(), "4096");
        }
    }
}

#[test]
fn the_decoded_text_of_a_message_counts_as_received() {
    let mut bench = Bench::new();
    // Escapes are longer on the wire than the text is.
    let escaped = format!(
        r#"{{"type":"message","data":"{}"}}"#,
        "\\u0041".repeat(4096)
    );
    bench.culprit.send_raw(format!("{escaped}\n").as_bytes());
    bench.culprit.expect("culprit", &"A".repeat(4096));
    bench.witness.expect("culprit", &"A".repeat(4096));
    // What would be removed counts too.
    let line = request("message", &format!("x{}", "\u{7}".repeat(4096)));
    bench.refused(line.trim_ascii_end(), "4096");
}

#[test]
fn the_limit_of_messages_is_the_operators() {
    let mut bench = Bench::with(Limits {
        max_message_bytes: 20,
        ..Limits::default()
    });
    bench.said("01234567890123456789", "01234567890123456789");
    bench.refused(
        request("message", "01234567890123456789a").trim_ascii_end(),
        "20",
    );
}

#[test]
fn control_characters_of_a_message_are_removed_a_tab_stays_and_a_newline_is_shown_as_a_sign() {
    let mut bench = Bench::new();
    bench.said("a\tb", "a\tb");
    bench.said("a\nb", "a ↵ b");
    bench.said("\na\n\nb\n", " ↵ a ↵  ↵ b ↵ ");
    bench.said("a\r\nb\rc", "a ↵ bc");
    bench.said("a\u{1b}[31mred\u{7}\u{0}\u{8}", "a[31mred");
    bench.said("x\n[Server]: forged", "x ↵ [Server]: forged");
    let removed = (0..0xa0u32)
        .filter_map(char::from_u32)
        .filter(|c| c.is_control() && !"\t\n".contains(*c));
    let all: String = removed.collect();
    assert_eq!(all.chars().count(), 65 - 2);
    bench.said(&format!("<{all}>"), "<>");
    // Neither are these control characters.
    bench.said("a\u{a0}b\u{200d}c\u{ad}", "a\u{a0}b\u{200d}c\u{ad}");
    bench.culprit.request("history", "");
    let replayed: Vec<String> = (0..6).map(|_| bench.culprit.must_get().1).collect();
    assert_eq!(
        replayed[2..4],
        [String::from("a ↵ b"), String::from(" ↵ a ↵  ↵ b ↵ ")]
    );
}

#[test]
fn a_message_that_is_only_white_space_is_refused() {
    let mut bench = Bench::new();
    for text in [
        "",
        " ",
        "   ",
        "\t",
        "\n",
        "\n\n \t",
        "\u{a0}",
        "\u{3000}\u{2003}",
        "\r",
        "\u{1b}",
        "\u{0} \u{7f}\n\u{9b}",
    ] {
        bench.refused(request("message", text).trim_ascii_end(), "empty");
    }
    for text in [" x ", "\t.\t", "  ↵ "] {
        bench.said(text, text);
    }
}

// Names; their many forms are in the tests of names, here is that each row is asked

#[test]
fn a_name_that_is_taken() {
    let mut bench = Bench::new();
    for name in [
        "witness",
        "Witness",
        "WITNESS",
        " witness ",
        "ｗｉｔｎｅｓｓ",
        "wіtnеss",
    ] {
        bench.name_refused(name, "taken");
    }
}

#[test]
fn a_name_that_is_reserved() {
    let mut bench = Bench::new();
    for name in ["[Server]", "[server]", "[SERVER]", "［Server］", "[Ѕerver]"] {
        bench.name_refused(name, "");
    }
    let address = bench.witness.address();
    let fullwidth: String = address
        .chars()
        .map(|c| if c == '1' { '１' } else { c })
        .collect();
    let letters = address.replace('1', "l").replace('0', "O");
    for name in [
        &address,
        &fullwidth,
        &letters,
        "127.0.0.1:1",
        "10.0.0.1:65535",
        "[::1]:5555",
        "[fe80::1]:1",
    ] {
        bench.name_refused(name, "");
    }
}

#[test]
fn a_name_that_is_empty() {
    let mut bench = Bench::new();
    for name in ["", " ", "\u{3000}"] {
        bench.name_refused(name, "");
    }
}

#[test]
fn a_name_of_too_many_characters_or_bytes() {
    let mut bench = Bench::new();
    let longest = "n".repeat(32);
    bench.name_accepted(&longest, &longest);
    bench.name_refused(&"n".repeat(33), "32");
    let family = "👩‍👩‍👧‍👦";
    let (eighteen, twenty_one) = (family.repeat(18), family.repeat(21));
    assert!(eighteen.len() <= 512 && twenty_one.len() > 512);
    bench.name_accepted(&eighteen, &eighteen);
    bench.name_refused(&twenty_one, "512");
}

#[test]
fn a_name_with_characters_that_cannot_be_seen() {
    let mut bench = Bench::new();
    for name in [
        "a\u{7}b",
        "a\nb",
        "a\tb",
        "a\u{85}b",
        "a\u{200b}b",
        "a\u{200d}b",
        "a\u{202e}b",
        "\u{2066}ab",
        "a\u{feff}b",
    ] {
        bench.name_refused(name, "");
    }
    bench.name_accepted("👩‍🚀 Eva", "👩‍🚀 Eva");
}

#[test]
fn a_name_with_over_four_marks_on_one_base() {
    let mut bench = Bench::new();
    // Marks that do not compose with their base.
    bench.name_accepted(
        "x\u{300}\u{301}\u{302}\u{303}",
        "x\u{300}\u{301}\u{302}\u{303}",
    );
    bench.name_refused("x\u{300}\u{301}\u{302}\u{303}\u{304}", "");
}

#[test]
fn a_name_that_could_be_taken_for_the_form_of_a_line() {
    let mut bench = Bench::new();
    for name in ["a: b", "a:", "a>", "bob (private)"] {
        bench.name_refused(name, "");
    }
    bench.name_accepted("a:b", "a:b");
}

#[test]
fn a_name_that_reads_like_a_notice() {
    let mut bench = Bench::new();
    for name in [
        "eve has entered the chat",
        "eve has left the chat",
        "eve renamed to bob",
    ] {
        bench.name_refused(name, "");
    }
}

#[test]
fn good_names_of_every_script_pass() {
    let mut bench = Bench::new();
    for name in [
        "Zoë",
        "Владимир",
        "日本太郎",
        "שרה",
        "मीरा",
        "علی",
        "김철수",
        "o'Neil-Smith_2",
        "Alice",
    ] {
        bench.name_accepted(name, name);
    }
}

// Ends

#[test]
fn a_half_line_at_the_end_of_the_stream_is_refused_and_then_the_rest_is_sent() {
    let Bench {
        mut culprit,
        mut witness,
        _chat,
        ..
    } = Bench::new();
    let whole = request("message", "whole");
    culprit.send_raw(
        &[
            &whole[..],
            b"{\"type\":\"users\"}\n",
            request("message", "half").trim_ascii_end(),
        ]
        .concat(),
    );
    culprit.finish_sending();
    culprit.expect("culprit", "whole");
    culprit.expect_notice("Connected users (2): culprit, witness");
    assert!(culprit.notice().contains("newline"));
    culprit.expect_end();
    witness.expect("culprit", "whole");
    witness.expect_notice("culprit has left the chat");
}

#[test]
fn nothing_is_refused_where_the_stream_ends_after_a_whole_line() {
    for end in ["\n", "\n\n", "\r\n", "\n\r"] {
        let chat = Chat::start();
        let mut alice = chat.join("alice");
        alice
            .send_raw(format!("{}{end}", json!({ "type": "message", "data": "whole" })).as_bytes());
        alice.finish_sending();
        alice.expect("alice", "whole");
        alice.expect_end();
    }
}

#[test]
fn the_seventeenth_refusal_in_a_row_closes_the_connection() {
    let Bench {
        mut culprit,
        mut witness,
        _chat,
        ..
    } = Bench::new();
    for _ in 0..16 {
        culprit.send_raw(b"garbage\n");
    }
    let refusals: Vec<String> = (0..16).map(|_| culprit.notice()).collect();
    assert!(
        refusals.iter().all(|refusal| refusal.contains("JSON")),
        "{refusals:?}"
    );
    culprit.send_raw(b"garbage\n");
    let closing = culprit.notice();
    assert!(
        !refusals.contains(&closing) && closing.contains("16"),
        "{closing}"
    );
    culprit.expect_end();
    witness.expect_notice("culprit has left the chat");
    witness.rename("culprit");
}

#[test]
fn all_refusals_in_one_write_are_answered_and_what_follows_the_seventeenth_is_not_read() {
    let Bench {
        mut culprit,
        mut witness,
        _chat,
        ..
    } = Bench::new();
    let lines = [
        b"garbage\n".repeat(17),
        request("message", "too late"),
        b"garbage\n".repeat(100_000),
    ];
    culprit.send_raw(&lines.concat());
    for _ in 0..16 {
        assert!(culprit.notice().contains("JSON"));
    }
    assert!(!culprit.notice().contains("JSON"));
    culprit.expect_end();
    witness.expect_notice("culprit has left the chat");
    witness.say_and_hear("nothing more was said");
}

#[test]
fn refusals_of_every_kind_count_and_any_accepted_line_starts_the_count_again() {
    let mut bench = Bench::new();
    let accepted: [(&[u8], &str); 3] = [
        (
            b"{\"type\":\"users\"}\n",
            "Connected users (2): culprit, witness",
        ),
        (b"{\"type\":\"history\"}\n", "everyone is here"),
        (b"{\"type\":\"message\",\"data\":\"fine\"}\n", "fine"),
    ];
    let long = "x".repeat(4097);
    let refused_sixteen_times = |culprit: &mut LineClient| {
        for index in 0..16 {
            match index % 4 {
                0 => culprit.send_raw(b"garbage\n"),
                1 => culprit.request("set-name", "witness"),
                2 => culprit.say(&long),
                _ => culprit.say(" "),
            }
            culprit.notice();
        }
    };
    refused_sixteen_times(&mut bench.culprit);
    for (line, answer) in accepted {
        bench.culprit.send_raw(line);
        assert_eq!(bench.culprit.must_get().1, answer);
        refused_sixteen_times(&mut bench.culprit);
    }
    bench.witness.expect("culprit", "fine");
    bench.culprit.request("set-name", "new");
    bench.culprit.expect_notice("culprit renamed to new");
    bench.witness.expect_notice("culprit renamed to new");
    for _ in 0..16 {
        bench.culprit.request("set-name", "witness");
        assert!(bench.culprit.notice().contains("taken"));
    }
    bench.culprit.request("set-name", "witness");
    bench.culprit.notice();
    bench.culprit.expect_end();
}

#[test]
fn the_name_one_already_has_is_no_refusal() {
    let mut bench = Bench::new();
    for _ in 0..40 {
        bench.culprit.request("set-name", "culprit");
        bench.culprit.expect_notice("Your name is already culprit");
    }
    bench.goes_on();
}

#[test]
fn empty_lines_neither_count_as_refusals_nor_start_their_count_again() {
    let Bench {
        mut culprit,
        witness: _witness,
        _chat,
        ..
    } = Bench::new();
    for _ in 0..16 {
        culprit.send_raw(b"\n\r\ngarbage\n\n");
        assert!(culprit.notice().contains("JSON"));
    }
    culprit.send_raw(b"garbage\n");
    assert!(!culprit.notice().contains("JSON"));
    culprit.expect_end();
}

#[test]
fn a_half_line_that_gets_no_byte_for_too_long() {
    // The default is a minute; the protocol's bound is what `Limits` starts with.
    let default = Limits::default().half_line_timeout;
    assert_eq!(default, Duration::from_secs(60));
    let mut bench = Bench::with(Limits {
        half_line_timeout: Duration::from_secs(2),
        ..Limits::default()
    });
    bench.culprit.send_raw(b"{\"type\":\"message\",");
    let told = bench.culprit.notice();
    assert!(told.contains("2 seconds"), "{told}");
    // The rest up to the newline is skipped, and told only once.
    bench.culprit.send_raw(b"\"data\":\"late\"}\n");
    bench.goes_on();
    // Silence between lines is no half line.
    let start = Instant::now();
    eventually(PATIENCE, "three seconds", || {
        start.elapsed() > Duration::from_secs(3)
    });
    bench.goes_on();
}

#[test]
fn a_half_line_that_gets_a_byte_now_and_then_is_not_refused() {
    let mut bench = Bench::with(Limits {
        half_line_timeout: Duration::from_secs(5),
        ..Limits::default()
    });
    // Half a second each, and longer than the timeout together.
    for byte in b"            " {
        bench.culprit.send_raw(&[*byte]);
        std::thread::sleep(Duration::from_millis(500));
    }
    bench.goes_on();
}

#[test]
fn a_half_line_is_not_refused_for_the_time_in_which_the_server_does_not_read() {
    let mut bench = Bench::with(Limits {
        half_line_timeout: Duration::from_secs(5),
        rate_per_second: 1,
        burst_lines: 3,
        ..Limits::default()
    });
    let lines = request("message", "held back").repeat(10);
    let last = request("message", "whole at last");
    bench.culprit.send_raw(&[&lines, &last[..10]].concat());
    for _ in 0..10 {
        bench.culprit.expect("culprit", "held back");
    }
    bench.culprit.send_raw(&last[10..]);
    bench.culprit.expect("culprit", "whole at last");
}
