//! The client at a terminal: keys, and the screen as a virtual terminal shows it.
#![cfg(target_os = "linux")]

use crate::support::scripted::{Listening, Scripted};
use crate::support::terminal::{AtTerminal, Start, new_home};
use crate::support::{RealServer, limit_file_sizes, skip};
use std::os::unix::fs::PermissionsExt;

pub(crate) const ENTER: &str = "\r";

pub(crate) const TAB: &str = "\t";

pub(crate) const BACKSPACE: &str = "\u{7f}";

pub(crate) const UP: &str = "\u{1b}[A";

pub(crate) const CONTROL_A: &str = "\u{1}";

pub(crate) const CONTROL_C: &str = "\u{3}";

pub(crate) const CONTROL_D: &str = "\u{4}";

pub(crate) const CONTROL_K: &str = "\u{b}";

pub(crate) const CONTROL_Q: &str = "\u{11}";

pub(crate) const CONTROL_R: &str = "\u{12}";

pub(crate) const UNDO: &str = "\u{1f}";

pub(crate) const ALT_ENTER: &str = "\u{1b}\r";

pub(crate) const ALT_B: &str = "\u{1b}b";

pub(crate) fn pasted(text: &str) -> String {
    format!("\u{1b}[200~{text}\u{1b}[201~")
}

/// A client called `me` at the terminal of this server, which has seen itself come.
pub(crate) fn joined(server: &RealServer, arguments: &[&str], size: (u16, u16)) -> AtTerminal {
    let mut all = vec!["--name", "me"];
    all.extend(arguments);
    let terminal = AtTerminal::start(
        server.address.port(),
        Start {
            arguments: &all,
            size,
            ..Start::default()
        },
    );
    terminal.sees("the name in the status", |terminal| {
        terminal.status().starts_with("me · ") && terminal.status().ends_with(" ms")
    });
    terminal
}

/// Starts a client at a terminal and a server without the extended dialect.
#[track_caller]
pub(crate) fn scripted(start: Start<'_>) -> (Scripted, AtTerminal) {
    let listening = Listening::start();
    let terminal = AtTerminal::start(listening.port(), start);
    (listening.accept(), terminal)
}

#[test]
fn a_half_typed_line_survives_whatever_arrives() {
    let server = RealServer::start(&[]);
    let mut terminal = joined(&server, &[], (40, 10));
    let mut bob = server.join("bob");
    terminal.sees_row("[Server]: me and bob entered");
    terminal.types("half a li");
    terminal.sees_prompt("> half a li");
    for number in 0..20 {
        bob.say(&format!("message {number}"));
        terminal.types(&format!("{}", number % 10));
    }
    terminal.sees_row("bob: message 19");
    terminal.sees_prompt("> half a li01234567890123456789");
    terminal.types(ENTER);
    bob.skip_to("me", "half a li01234567890123456789");
    // The echo took its place.
    terminal.sees_chat(&[
        "bob: message 13",
        "bob: message 14",
        "bob: message 15",
        "bob: message 16",
        "bob: message 17",
        "bob: message 18",
        "bob: message 19",
        "me: half a li01234567890123456789",
    ]);
    terminal.sees_prompt(">");
    terminal.types(CONTROL_D);
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn keys_edit_the_line() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let mut terminal = joined(&server, &[], (60, 10));
    terminal.types("one two three");
    terminal.types(ALT_B);
    terminal.types(CONTROL_K);
    terminal.sees_prompt("> one two");
    terminal.types(UNDO);
    terminal.sees_prompt("> one two three");
    terminal.types(CONTROL_A);
    terminal.types("zero ");
    terminal.sees_prompt("> zero one two three");
    terminal.types(ENTER);
    bob.skip_to("me", "zero one two three");
    terminal.types("dropped");
    terminal.types(CONTROL_C);
    terminal.sees_prompt(">");
    terminal.types("other");
    terminal.types(ENTER);
    bob.skip_to("me", "other");
    terminal.types("one");
    terminal.types(CONTROL_R);
    terminal.sees_prompt("> zero one two three");
    terminal.types(ENTER);
    bob.skip_to("me", "zero one two three");
    terminal.sees_prompt(">");
    terminal.types(CONTROL_C);
    assert_eq!(terminal.ends(), Some(130));
}

#[test]
fn vi_keys_edit_the_line() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let home = new_home();
    std::fs::create_dir_all(home.join("config/smolchat")).expect("a folder");
    let file = home.join("config/smolchat/client.toml");
    std::fs::write(file, "keys = \"vi\"\nname = \"me\"\n").expect("a file");
    let start = Start {
        home: Some(home),
        ..Start::default()
    };
    let mut terminal = AtTerminal::start(server.address.port(), start);
    terminal.sees("the name", |terminal| {
        terminal.status().starts_with("me · ")
    });
    terminal.types("one two");
    terminal.sees_prompt("> one two");
    terminal.types("\u{1b}");
    terminal.sees("the cursor on the last letter", |terminal| {
        terminal.with_screen(|screen| screen.cursor_position().1) == 8
    });
    terminal.types("0dwix");
    terminal.sees_prompt("> xtwo");
    terminal.types(ENTER);
    bob.skip_to("me", "xtwo");
}

#[test]
fn input_history_survives_a_restart() {
    let server = RealServer::start(&[]);
    let home = new_home();
    let start = || Start {
        home: Some(home.clone()),
        ..Start::default()
    };
    let mut first = AtTerminal::start(server.address.port(), start());
    first.types("to be remembered");
    first.sees_prompt("> to be remembered");
    first.types(ENTER);
    first.sees("its echo", |terminal| {
        terminal
            .chat()
            .iter()
            .any(|row| row.ends_with(": to be remembered"))
    });
    first.types("/msg nobody a secret");
    first.types(ENTER);
    first.types(UP);
    first.sees_prompt("> /msg nobody a secret");
    first.types(CONTROL_C);
    first.types("/quit");
    first.types(ENTER);
    assert_eq!(first.ends(), Some(0));
    let file = std::fs::metadata(home.join("state/smolchat/history")).expect("a history");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let mut second = AtTerminal::start(server.address.port(), start());
    second.types(UP);
    second.sees_prompt("> /quit");
    second.types(UP);
    second.sees_prompt("> to be remembered");
    drop(first);
}

#[test]
fn input_history_beyond_the_limit_of_file_sizes_is_reported_and_goes_on() {
    let server = RealServer::start(&[]);
    let mut terminal = joined(&server, &[], (100, 20));
    if !limit_file_sizes(terminal.id(), "3") {
        return skip("there is no prlimit");
    }
    terminal.types("early");
    terminal.types(ENTER);
    terminal.sees("a report", |terminal| {
        let rows = terminal.rows().join(" ");
        rows.contains("Cannot write the input history") && rows.contains("me: early")
    });
    assert!(limit_file_sizes(terminal.id(), "unlimited"));
    terminal.types("late");
    terminal.types(ENTER);
    terminal.sees_row("me: late");
    terminal.types(CONTROL_C);
    assert_eq!(terminal.ends(), Some(130));
    let file = terminal.home().join("state/smolchat/history");
    let written = std::fs::read_to_string(file).expect("a history");
    assert_eq!(written, "#V2\nearly\nlate\n");
}

#[test]
fn pasted_lines_are_confirmed_and_sent_as_one_message() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let mut terminal = joined(&server, &[], (60, 12));
    terminal.types(&pasted("one\ntwo\nthree"));
    terminal.sees_prompt("three");
    terminal.types(ENTER);
    terminal.sees("a question", |terminal| {
        let rows = terminal.rows();
        rows.iter()
            .any(|row| row.starts_with("Enter again sends these 3 lines"))
    });
    terminal.types(CONTROL_C);
    terminal.sees_prompt(">");
    terminal.types(&pasted("one\ntwo"));
    terminal.types(ENTER);
    terminal.types(ENTER);
    bob.skip_to("me", "one ↵ two");
    terminal.sees("both rows", |terminal| {
        terminal
            .chat()
            .ends_with(&["me: one".to_owned(), "    two".to_owned()])
    });
    // What is typed on purpose is not asked about.
    terminal.types("three");
    terminal.types(ALT_ENTER);
    terminal.types("four");
    terminal.types(ENTER);
    bob.skip_to("me", "three ↵ four");
    // One pasted line is a line.
    terminal.types(&pasted("five"));
    terminal.types(ENTER);
    bob.skip_to("me", "five");
}

#[test]
fn a_high_draft_is_folded_and_its_question_is_visible() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let lines: Vec<_> = (1..=50).map(|number| format!("line {number}")).collect();
    let text = lines.join("\n");
    for (columns, question) in [
        (80, "Enter again sends these 50 lines, Ctrl-C drops them"),
        (50, "Enter again sends 50 lines, Ctrl-C drops them"),
    ] {
        let mut terminal = joined(&server, &[], (columns, 24));
        terminal.types("so: ");
        terminal.types(&pasted(&text));
        terminal.sees_prompt("line 12 … 38 more lines");
        let rows = terminal.rows();
        let prompt = rows.iter().position(|row| row == "> so: line 1");
        assert_eq!(prompt, Some(rows.len() - 12), "{rows:#?}");
        terminal.types(ENTER);
        terminal.sees("the question", |terminal| terminal.status() == question);
        // Another key takes the question back.
        terminal.types("!");
        terminal.sees_prompt("line 12 … 38 more lines!");
        terminal.sees("the name", |terminal| {
            terminal.status().starts_with("me · ")
        });
        terminal.types(ENTER);
        terminal.sees("the question", |terminal| terminal.status() == question);
        terminal.types(ENTER);
        bob.skip_to("me", &format!("so: {}!", lines.join(" ↵ ")));
        terminal.sees_prompt(">");
        // No key inside the mark loses a hidden line.
        terminal.types(&pasted(&text));
        terminal.sees_prompt("line 12 … 38 more lines");
        terminal.types("\u{1b}[D\u{1b}[D");
        terminal.types("\u{1b}[3~");
        terminal.sees_prompt("line 12 … 38 more lins");
        terminal.types("x");
        terminal.sees_prompt("line 12 … 38 more linsx");
        terminal.types(ENTER);
        terminal.sees("the question", |terminal| terminal.status() == question);
        terminal.types(ENTER);
        bob.skip_to("me", &format!("{}x", lines.join(" ↵ ")));
        terminal.sees_prompt(">");
        // The whole hidden part is erased at once, and folded again when it is found again.
        terminal.types(&pasted(&text));
        terminal.sees_prompt("line 12 … 38 more lines");
        terminal.types(BACKSPACE);
        terminal.sees_prompt("line 12");
        terminal.types(CONTROL_C);
        terminal.types("so:");
        terminal.types(CONTROL_R);
        terminal.sees_prompt("line 12 … 38 more lines");
        terminal.types(CONTROL_C);
        terminal.types("draft");
        terminal.types("\u{10}\u{10}");
        terminal.sees_prompt("line 12 … 38 more lines");
        terminal.types("\u{e}\u{e}");
        terminal.sees_prompt("> draft");
        terminal.types("\u{1b}[A");
        terminal.sees_prompt("line 12 … 38 more lines");
        terminal.types("\u{1b}[B");
        terminal.sees_prompt("> draft");
        // The end of this paste does not come.
        terminal.types("\u{1b}[200~lost\r");
        terminal.types(CONTROL_C);
        terminal.types("!");
        terminal.sees_prompt("> draft!");
        terminal.types(CONTROL_C);
        terminal.types("/quit");
        terminal.types(ENTER);
        assert_eq!(terminal.ends(), Some(0));
        bob.skip_to("[Server]", "me has left the chat");
    }
}

#[test]
fn a_paste_over_the_limit_is_refused_before_it_is_drawn() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let mut terminal = joined(&server, &[], (100, 24));
    terminal.types("typed before");
    terminal.sees_prompt("> typed before");
    let before = terminal.written.text().len();
    terminal.types(&pasted(&"some text\n".repeat(30_000)));
    terminal
        .sees_row("The paste of 300000 bytes was not inserted: a message has at most 4096 bytes");
    terminal.sees_prompt("> typed before");
    let drawn = terminal.written.text().len() - before;
    assert!(drawn < 4096, "{drawn} bytes were drawn");
    // The limit is that of the message, not of the command before it.
    let longest = "x".repeat(4096);
    terminal.types(CONTROL_C);
    terminal.types("/me ");
    terminal.types(&pasted(&longest));
    terminal.types(ENTER);
    bob.skip_to("me", &format!("* {longest}"));
}

#[test]
fn a_hint_lasts_until_the_next_key() {
    let server = RealServer::start(&[]);
    let mut terminal = joined(&server, &[], (80, 10));
    terminal.types("x");
    terminal.types(CONTROL_R);
    terminal.sees("a hint", |terminal| {
        terminal.status() == "No earlier line with \"x\""
    });
    terminal.types("\u{1b}[D");
    terminal.sees("the name", |terminal| {
        terminal.status().starts_with("me · ")
    });
}

#[test]
fn tab_key_completes() {
    let server = RealServer::start(&[]);
    let mut ann = server.join("Ann Lee");
    let _anna = server.join("anna");
    let mut terminal = joined(&server, &[], (60, 12));
    terminal.types("/se");
    terminal.types(TAB);
    terminal.sees_prompt("> /setname");
    terminal.sees("the candidates", |terminal| {
        terminal.status() == "/setname · /search"
    });
    terminal.types(TAB);
    terminal.sees_prompt("> /search");
    terminal.types(CONTROL_C);
    ann.say("hello");
    terminal.sees_row("Ann Lee: hello");
    terminal.types("an");
    terminal.types(TAB);
    terminal.sees_prompt("> Ann Lee:");
    terminal.types(TAB);
    terminal.sees_prompt("> anna:");
    terminal.types(CONTROL_C);
    terminal.types("/msg an");
    terminal.types(TAB);
    terminal.types("psst");
    terminal.sees_prompt("> /msg \"Ann Lee\" psst");
    terminal.types(ENTER);
    terminal.sees_row("(private to Ann Lee): psst");
}

#[test]
fn rows_end_between_words_and_hang_under_the_text() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let terminal = joined(&server, &[], (24, 12));
    bob.say("the quick brown fox jumps");
    bob.say("日本語のテキストは長いです");
    bob.say("e\u{301}e\u{301} 🇨🇿 x");
    bob.say("ab\tc");
    terminal.sees_chat(&[
        "[Server]: me entered",
        "bob: the quick brown",
        "     fox jumps",
        "bob: 日本語のテキストは",
        "     長いです",
        "bob: e\u{301}e\u{301} 🇨🇿 x",
        "bob: ab    c",
    ]);
}

#[test]
fn another_size_leaves_the_screen_whole() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let mut terminal = joined(&server, &[], (60, 10));
    bob.say("the quick brown fox jumps over the lazy dog");
    terminal.sees_row("bob: the quick brown fox jumps over the lazy dog");
    terminal.types("half a line");
    terminal.sees_prompt("> half a line");
    terminal.resize(30, 10);
    terminal.sees_chat(&[
        "[Server]: me entered",
        "bob: the quick brown fox",
        "     jumps over the lazy dog",
    ]);
    terminal.sees_prompt("> half a line");
    terminal.resize(70, 8);
    terminal.sees_chat(&[
        "[Server]: me entered",
        "bob: the quick brown fox jumps over the lazy dog",
    ]);
    terminal.types("!");
    terminal.sees_prompt("> half a line!");
    terminal.types(ENTER);
    terminal.sees_row("me: half a line!");
}

#[test]
fn every_line_stands_once_in_the_scrollback_after_many_sizes() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let mut terminal = joined(&server, &[], (80, 12));
    for number in 0..30 {
        bob.say(&format!(
            "message {number} of the lazy dog and the quick fox"
        ));
    }
    terminal.sees_row("bob: message 29 of the lazy dog and the quick fox");
    for columns in [40, 80, 30, 70, 35, 80] {
        terminal.resize(columns, 12);
        let end = match columns {
            70.. => "bob: message 29 of the lazy dog and the quick fox",
            _ => "fox",
        };
        terminal.sees(&format!("{columns} columns"), |terminal| {
            let chat = terminal.chat();
            let is_last = chat
                .last()
                .is_some_and(|row| row.trim_start().ends_with(end));
            is_last && terminal.status().starts_with("me · ")
        });
    }
    let rows = terminal.all_rows();
    for number in 0..30 {
        let start = format!("bob: message {number} ");
        let count = rows.iter().filter(|row| row.starts_with(&start)).count();
        assert_eq!(count, 1, "{start:?} in {rows:#?}");
    }
}

#[test]
fn arrivals_and_departures_share_a_line_between_messages() {
    let server = RealServer::start(&[]);
    let terminal = joined(&server, &[], (60, 10));
    let mut bob = server.join("bob");
    let carol = server.join("carol");
    terminal.sees_chat(&["[Server]: me, bob and carol entered"]);
    bob.say("hello");
    bob.skip_to("bob", "hello");
    drop(carol);
    terminal.sees_chat(&[
        "[Server]: me, bob and carol entered",
        "bob: hello",
        "[Server]: carol has left the chat",
    ]);
}

#[test]
fn a_mention_is_shown_rung_counted_and_listed() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let mut terminal = joined(&server, &["--bell"], (60, 12));
    bob.say("some text");
    bob.say("Me, are you there?");
    terminal.sees_row("bob: Me, are you there?");
    terminal.sees("the count", |terminal| {
        terminal.status().ends_with(" · 1 mention")
    });
    assert_eq!(terminal.written.text().matches('\u{7}').count(), 1);
    for column in [0, "bob: Me, are you there".len()] {
        let is_inverse = |row| {
            terminal.with_screen(|screen| {
                let cell = screen.cell(row, u16::try_from(column).expect("a column"));
                cell.expect("a cell").inverse()
            })
        };
        // The greeting, the arrival, some text, the mention.
        let inverse: Vec<bool> = (0..5).map(is_inverse).collect();
        assert_eq!(inverse, [false, false, false, true, false], "{column}");
    }
    terminal.types("/mentions");
    terminal.types(ENTER);
    terminal.sees_row("You were mentioned once");
    terminal.sees("no count", |terminal| {
        !terminal.status().contains("mention")
    });
    terminal.types("/clear");
    terminal.types(ENTER);
    terminal.sees("an empty screen", |terminal| terminal.rows().len() == 3);
}

#[test]
fn times_are_shown_at_the_side() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let terminal = joined(&server, &["--time"], (60, 12));
    bob.say("one");
    terminal.sees("a time", |terminal| {
        let rows = terminal.chat();
        rows.first().is_some_and(|row| {
            let is_clock = |at| matches!(at, (0 | 1 | 3 | 4, b'0'..=b'9') | (2, b':') | (5, b' '));
            row.bytes().take(6).enumerate().all(is_clock)
        }) && rows.last().is_some_and(|row| row.ends_with("bob: one"))
    });
}
