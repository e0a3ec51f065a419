//! What the client at a terminal writes: colours, links, and text that must not control it.
#![cfg(target_os = "linux")]

use crate::support::scripted::Listening;
use crate::support::terminal::{AtTerminal, Start, new_home};
use crate::terminal::scripted;

#[test]
fn colours_follow_the_options() {
    let (mut server, terminal) = scripted(Start::default());
    server.say("bob", "hi");
    terminal.sees_row("bob: hi");
    assert!(terminal.written.text().contains("\u{1b}[1;38;5;"));
    for (arguments, environment) in [
        (&[][..], &[("NO_COLOR", "1")][..]),
        (&["--color", "never"][..], &[][..]),
    ] {
        let (mut server, terminal) = scripted(Start {
            arguments,
            environment,
            ..Start::default()
        });
        server.say("bob", "hi");
        terminal.sees_row("bob: hi");
        let text = terminal.written.text();
        assert!(
            !text.contains("\u{1b}[1") && !text.contains("\u{1b}[3"),
            "{text:?}"
        );
    }
    let (mut server, terminal) = scripted(Start {
        arguments: &["--color", "truecolor"],
        ..Start::default()
    });
    server.say("bob", "hi");
    terminal.sees_row("bob: hi");
    assert!(terminal.written.text().contains("\u{1b}[1;38;2;"));
}

#[test]
fn colours_follow_the_background_and_its_answer_is_no_input() {
    for (keys, answer, colour) in [
        ("emacs", "rgb:ffff/ffff/ffff\u{7}", "38;5;241m"),
        ("emacs", "rgb:1e1e/1e1e/1e1e\u{1b}\\", "38;5;248m"),
        ("vi", "rgb:ffff/ffff/ffff\u{1b}\\", "38;5;241m"),
    ] {
        let home = new_home();
        std::fs::create_dir_all(home.join("config/smolchat")).expect("a folder");
        let file = home.join("config/smolchat/client.toml");
        std::fs::write(file, format!("keys = \"{keys}\"\n")).expect("a file");
        let (mut server, mut terminal) = scripted(Start {
            environment: &[("COLORFGBG", "")],
            home: Some(home),
            ..Start::default()
        });
        terminal.sees("a question", |terminal| {
            terminal.written.text().contains("\u{1b}]11;?\u{7}")
        });
        terminal.types(&format!("before\u{1b}]11;{answer} after"));
        terminal.sees_prompt("> before after");
        server.say("[Server]", "in the colour for the background");
        terminal.sees_row("[Server]: in the colour for the background");
        let written = terminal.written.text();
        let line = format!("{colour}in the colour");
        assert!(written.contains(&line), "{written:?}");
    }
    // An answer that comes while the client ends is not left to the next program.
    let port = Listening::start().port();
    let mut terminal = AtTerminal::start(
        port,
        Start {
            environment: &[("COLORFGBG", "")],
            ..Start::default()
        },
    );
    terminal.sees("a question", |terminal| {
        terminal.written.text().contains("\u{1b}]11;?\u{7}")
    });
    terminal.types("\u{1b}]11;rgb:0/0/0\u{7}");
    assert_eq!(terminal.ends(), Some(1));
    assert_eq!(terminal.unread_input(), 0);
}

#[test]
fn addresses_are_links_in_capable_terminals() {
    for (forced, links) in [("1", 1), ("0", 0)] {
        let (mut server, terminal) = scripted(Start {
            environment: &[("FORCE_HYPERLINK", forced)],
            ..Start::default()
        });
        server.say("bob", "see https://example.org/x now");
        terminal.sees_row("bob: see https://example.org/x now");
        let text = terminal.written.text();
        let address = "https://example.org/x\u{1b}\\https://example.org/x\u{1b}]8;;\u{1b}\\";
        assert_eq!(text.matches(address).count(), links, "{text:?}");
    }
}

#[test]
fn terminal_wraps_a_long_address_that_is_no_link() {
    let (mut server, terminal) = scripted(Start {
        size: (40, 12),
        environment: &[("FORCE_HYPERLINK", "0")],
        ..Start::default()
    });
    let long = format!("https://example.org/{}", "x".repeat(40));
    server.say("bob", &format!("{long} and more"));
    server.say("bob", "see https://example.org/yyyyyyyyyyyyy");
    // The virtual screen joins the rows that it has wrapped itself, as copying does.
    terminal.sees_chat(&[
        &format!("bob: {long} and more"),
        "bob: see",
        "     https://example.org/yyyyyyyyyyyyy",
    ]);
    terminal.sees("the prompt below", |terminal| {
        terminal.with_screen(|screen| screen.cursor_position()) == (7, 2)
    });
}

#[test]
fn received_text_cannot_control_the_terminal() {
    let (mut server, terminal) = scripted(Start::default());
    let attacks = [
        (
            "\u{1b}]52;c;ZXZpbA==\u{7}",
            "\u{fffd}]52;c;ZXZpbA==\u{fffd}",
        ),
        ("\u{1b}]0;title\u{1b}\\", "\u{fffd}]0;title\u{fffd}\\"),
        (
            "\u{1b}]8;;http://x.org\u{7}y",
            "\u{fffd}]8;;http://x.org\u{fffd}y",
        ),
        ("\u{1b}[2J\u{1b}[H", "\u{fffd}[2J\u{fffd}[H"),
        ("\u{9b}31mred", "\u{fffd}31mred"),
        ("a\rb\u{8}c", "a\u{fffd}b\u{fffd}c"),
        ("\u{202e}abc\u{2066}", "abc"),
    ];
    for (text, _) in attacks {
        server.say("evil", text);
        server.say(text, "as a name");
    }
    server.say("bob", "the end");
    terminal.sees_row("bob: the end");
    let rows = terminal.chat();
    let written = terminal.written.text();
    for (_, shown) in attacks {
        // The virtual terminal has no place for the sign of a character that is none.
        let seen = shown.replace('\u{fffd}', "");
        assert!(rows.contains(&format!("evil: {seen}")), "{rows:#?}");
        assert!(rows.contains(&format!("{seen}: as a name")), "{rows:#?}");
        assert!(written.contains(shown), "{written:?}");
    }
    assert!(!written.contains("\u{1b}]") && !written.contains('\u{7}'));
    assert!(!written.contains(['\u{9b}', '\u{202e}']));
}

#[test]
fn text_from_right_to_left_is_isolated() {
    let (mut server, terminal) = scripted(Start::default());
    server.say("שם", "שלום (x)");
    server.say("bob", "hi");
    terminal.sees_row("bob: hi");
    let written = terminal.written.text();
    assert!(written.contains("\u{2068}שלום (x)\u{2069}"), "{written:?}");
}
