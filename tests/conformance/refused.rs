//! Rejected requests other than names.
//!
//! A rejected request has one sentence for its sender and no other effect. [`Pair::refused`] checks
//! both. The protocol leaves the words to the server.

use crate::bench::{Line, Pair, SERVER, Trial, request};

/// The longest line that the protocol allows, in bytes.
const LINE: usize = 64 * 1024;
/// The longest message that it allows, in bytes.
const MESSAGE: usize = 4096;

fn all_are_refused<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for line in lines {
        pair.refused(line.as_ref());
    }
}

fn message(data: &str) -> Vec<u8> {
    request("message", data).trim_ascii_end().to_vec()
}

#[test]
fn invalid_json() {
    all_are_refused([
        "hello",
        "{",
        "}",
        "{\"type\":\"message\",\"data\":\"x\"",
        "{\"type\":\"message\",\"data\":\"x\"}}",
        "{\"type\":\"message\",\"data\":\"x\"} {\"type\":\"message\",\"data\":\"y\"}",
        "{'type':'message','data':'x'}",
        "{\"type\":\"message\",\"data\":\"x\",}",
        "{\"type\":\"message\" \"data\":\"x\"}",
        "{type:\"message\",data:\"x\"}",
        "{\"type\":\"message\",\"data\":\"a\tb\"}",
        "{\"type\":\"message\",\"data\":\"\\x41\"}",
        "{\"type\":\"message\",\"data\":\"x\"}//",
        "{\"type\":\"message\",\"data\":\"x\",\"y\":NaN}",
        "nul",
    ]);
}

#[test]
fn json_that_is_no_object() {
    all_are_refused([
        "[]",
        "[{\"type\":\"message\",\"data\":\"x\"}]",
        "1",
        "-1.5e3",
        "null",
        "true",
        "\"message\"",
    ]);
}

#[test]
fn an_object_without_a_type() {
    all_are_refused([
        "{}",
        "{\"data\":\"x\"}",
        "{\"Type\":\"message\",\"data\":\"x\"}",
        "{\"x\":{\"type\":\"message\"},\"data\":\"x\"}",
    ]);
}

#[test]
fn a_type_of_the_wrong_json_type() {
    let values = [
        "1",
        "null",
        "true",
        "[]",
        "[\"message\"]",
        "{\"type\":\"message\"}",
    ];
    all_are_refused(values.map(|value| format!("{{\"type\":{value},\"data\":\"x\"}}")));
}

#[test]
fn data_missing_or_of_wrong_type() {
    let values = ["1", "null", "true", "[]", "[\"x\"]", "{\"x\":\"x\"}"];
    all_are_refused(["message", "set-name"].iter().flat_map(|kind| {
        values
            .iter()
            .map(move |value| format!("{{\"type\":\"{kind}\",\"data\":{value}}}"))
            .chain([format!("{{\"type\":\"{kind}\"}}")])
    }));
}

#[test]
fn unknown_type() {
    let long = "k".repeat(5000);
    let types = [
        "", "kick", "Message", "MESSAGE", " message", "message ", "setname", &long,
    ];
    all_are_refused(types.map(|kind| request(kind, "x").trim_ascii_end().to_vec()));
    // What the sentence may repeat of it forges no line; the client checks that of each line.
    all_are_refused([request("a\u{1b}[2J\n\r[Server]: b", "x").trim_ascii_end()]);
}

#[test]
fn a_repeated_type_or_data_key() {
    all_are_refused([
        r#"{"type":"users","type":"users"}"#,
        r#"{"type":"message","data":"x","type":"users"}"#,
        r#"{"type":"message","data":"x","data":"x"}"#,
        r#"{"data":"x","type":"message","data":"y"}"#,
        r#"{"type":"users","data":1,"data":1}"#,
        r#"{"type":"message","data":"x","d\u0061ta":"y"}"#,
        r#"{"type":"message","t\u0079pe":"message","data":"x"}"#,
    ]);
    // Only these two: unknown keys are ignored, however often they stand there.
    let trial = Trial::new();
    let mut pair = trial.pair();
    pair.culprit
        .send(b"{\"x\":1,\"x\":2,\"type\":\"message\",\"data\":\"fine\",\"x\":3}\n");
    pair.heard("fine");
}

#[test]
fn invalid_utf8() {
    let mut lines = Vec::new();
    for bytes in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xe2\x98",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80abc",
        b"caf\xe9",
    ] {
        lines.push([b"{\"type\":\"message\",\"data\":\"", bytes, b"\"}"].concat());
        lines.push([b"{\"type\":\"set-name\",\"data\":\"x", bytes, b"\"}"].concat());
        lines.push(bytes.to_vec());
    }
    // Also where nobody would look at it.
    lines.push(b"{\"x\":\"\xff\",\"type\":\"message\",\"data\":\"x\"}".to_vec());
    all_are_refused(lines);
}

#[test]
fn unpaired_surrogate_is_rejected() {
    let escapes = ["\\ud800", "\\udc00", "\\ud83d\\ud83d", "\\ud800x"];
    all_are_refused(
        escapes.map(|escape| format!("{{\"type\":\"message\",\"data\":\"x{escape}\"}}")),
    );
}

#[test]
fn a_line_over_the_limit_is_refused_once_and_the_rest_is_skipped() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    // One byte more, so that it does not matter whether the newline counts.
    pair.refused(&vec![b'x'; LINE + 1]);
    pair.refused(&vec![b'x'; 10 * LINE]);
    let said = message("hidden");
    let padded = |length: usize| [vec![b' '; length - said.len()], said.clone()].concat();
    pair.refused(&padded(LINE + 1));
    // What stands in the rest is no line of its own, whatever it looks like.
    pair.refused(&padded(3 * LINE));
    // The refusal comes before the end of the line does, and only once.
    pair.culprit.send(&vec![b'x'; 2 * LINE]);
    pair.culprit.refusal();
    pair.culprit.send(&vec![b'x'; 2 * LINE]);
    pair.culprit.send(b"\n");
    pair.goes_on();
}

#[test]
fn a_line_of_the_limit_is_read() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let said = message("at the limit");
    for end in ["\n", "\r\n"] {
        let padding = LINE - said.len() - end.len();
        let line = [&vec![b' '; padding], &said, end.as_bytes()].concat();
        assert_eq!(line.len(), LINE);
        pair.culprit.send(&line);
        pair.heard("at the limit");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_and_never_cut_short() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for letter in ["x", "é", "🚀"] {
        let text = letter.repeat(MESSAGE / letter.len());
        pair.said(&text);
        for more in ["x", "é", "\n"] {
            pair.refused(&message(&format!("{text}{more}")));
        }
    }
}

#[test]
fn metrics_count_decoded_text() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let escaped = "\\u0041".repeat(MESSAGE);
    pair.culprit
        .send(format!("{{\"type\":\"message\",\"data\":\"{escaped}\"}}\n").as_bytes());
    pair.heard(&"A".repeat(MESSAGE));
    // What would be removed counts, and a newline counts as the one byte that it is.
    pair.refused(&message(&format!("x{}", "\u{7}".repeat(MESSAGE))));
    let text = format!("{}x", "\n".repeat(MESSAGE - 1));
    pair.said_as(&text, &text.replace('\n', " ↵ "));
}

#[test]
fn control_characters_are_removed_a_tab_stays_and_a_newline_becomes_a_sign() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for (text, heard) in [
        ("a\tb", "a\tb"),
        ("a\nb", "a ↵ b"),
        ("\na\n\nb\n", " ↵ a ↵  ↵ b ↵ "),
        ("a\r\nb\rc", "a ↵ bc"),
        ("a\u{1b}[31mred\u{7}\u{0}\u{8}", "a[31mred"),
        ("x\n[Server]: forged", "x ↵ [Server]: forged"),
        // None of these is a control character.
        ("a\u{a0}b\u{200d}c\u{ad}", "a\u{a0}b\u{200d}c\u{ad}"),
    ] {
        pair.said_as(text, heard);
    }
    let controls = (0..0xa0_u32).filter_map(char::from_u32);
    for control in controls.filter(|c| c.is_control() && !"\t\n".contains(*c)) {
        pair.said_as(&format!("<{control}>"), "<>");
    }
    for change in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
        pair.said_as(&format!("<{change}>"), "<>");
    }
}

#[test]
fn a_message_without_a_visible_character() {
    let texts = [
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
        "\u{200b}",
        "\u{3164}",
        " \u{2800}\n",
        "\u{2060}\u{ad}\u{feff}",
        "\u{e0041}\u{e007f}",
        "\u{202e}\u{2066}\u{200f}",
    ];
    all_are_refused(texts.map(message));
}

#[test]
fn a_half_line_at_the_end_of_the_stream_is_refused_after_the_replies_owed() {
    let trial = Trial::new();
    let Pair {
        mut culprit,
        mut witness,
    } = trial.pair();
    let lines = [
        request("message", "whole"),
        request("set-name", &culprit.name),
        message("half"),
    ];
    culprit.send(&lines.concat());
    culprit.finish_sending();
    culprit.echo("whole");
    culprit.notice(&format!("Your name is already {}", culprit.name));
    culprit.refusal();
    culprit.end();
    witness.expect(&culprit.name, "whole");
    witness.notice(&format!("{} has left the chat", culprit.name));
}

#[test]
fn end_after_a_complete_line_is_no_refusal() {
    let trial = Trial::new();
    for end in ["\n", "\n\n", "\r\n", "\r\n\r\n"] {
        let mut alice = trial.join("alice");
        alice.send(&[&message("whole"), end.as_bytes()].concat());
        alice.finish_sending();
        alice.echo("whole");
        alice.end();
    }
}

#[test]
fn the_seventeenth_refusal_in_a_row_closes() {
    let trial = Trial::new();
    let Pair {
        mut culprit,
        mut witness,
    } = trial.pair();
    for _ in 0..16 {
        culprit.send(b"garbage\n");
        culprit.refusal();
    }
    culprit.send(b"garbage\n");
    culprit.refusal();
    culprit.end();
    let left = format!("{} has left the chat", culprit.name);
    witness.notice(&left);
    // The name is free though the culprit has not closed its side.
    let name = culprit.name.clone();
    witness.rename(&name);
}

#[test]
fn no_line_is_read_after_the_closing_sentence() {
    let trial = Trial::new();
    let Pair {
        mut culprit,
        mut witness,
    } = trial.pair();
    let lines = [
        b"garbage\n".repeat(17),
        request("message", "too late"),
        b"garbage\n".repeat(10),
    ];
    culprit.send(&lines.concat());
    for _ in 0..17 {
        culprit.refusal();
    }
    culprit.end();
    witness.notice(&format!("{} has left the chat", culprit.name));
    witness.say_and_hear("nothing more was said");
}

#[test]
fn any_accepted_line_starts_the_count_of_refusals_again() {
    let trial = Trial::new();
    let Pair {
        mut culprit,
        mut witness,
    } = trial.pair();
    let long = message(&"x".repeat(MESSAGE + 1));
    let taken = request("set-name", &witness.name);
    let refused: [&[u8]; 4] = [b"garbage", &long, b"{}", taken.trim_ascii_end()];
    let mut told = 0;
    for round in 0..6 {
        for index in told..16 {
            culprit.send(refused[index % 4]);
            // Empty lines are none: they neither count nor start the count again.
            culprit.send(b"\n\r\n\n");
            culprit.refusal();
        }
        told = 0;
        match round {
            0 => culprit.say_and_hear("fine"),
            1 => {
                culprit.request("users", "");
                assert!(culprit.reply().starts_with("Connected users ("));
            }
            2 => {
                let name = trial.name("other");
                culprit.rename(&name);
            }
            3 => {
                let name = culprit.name.clone();
                culprit.request("set-name", &name);
                culprit.notice(&format!("Your name is already {name}"));
            }
            4 => {
                // What shows its end must not be accepted: it is the first of the next refusals.
                culprit.request("history", "");
                culprit.send(b"garbage\n");
                let is_reply = |line: &Line| line.source == SERVER && line.subject().is_none();
                while !is_reply(&culprit.hear_anybody()) {}
                told = 1;
            }
            _ => {
                culprit.send(b"\n\ngarbage\n");
                culprit.refusal();
                culprit.end();
            }
        }
    }
    witness.skip_to(SERVER, &format!("{} has left the chat", culprit.name));
}

#[test]
fn own_name_is_no_refusal() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let told = format!("Your name is already {}", pair.culprit.name);
    for _ in 0..40 {
        let name = pair.culprit.name.clone();
        pair.culprit.request("set-name", &name);
        pair.culprit.notice(&told);
    }
    pair.goes_on();
}
