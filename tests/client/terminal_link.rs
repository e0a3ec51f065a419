//! The client at a terminal: lost links, signals, floods, and terminals without a line editor.
#![cfg(target_os = "linux")]

use crate::support::RealServer;
use crate::support::scripted::{Listening, Scripted};
use crate::support::terminal::{AtTerminal, Start};
use crate::terminal::{CONTROL_C, CONTROL_D, CONTROL_Q, ENTER, scripted};
use std::io::Write;
use std::thread;
use std::time::Duration;

#[test]
fn a_server_without_the_mark_never_sees_a_hello() {
    let (mut server, mut terminal) = scripted(Start {
        arguments: &["--reconnect", "--name", "me"],
        ..Start::default()
    });
    server.say("[Server]", "1.2.3.4:5 has entered the chat");
    terminal.sees_row("[Server]: 1.2.3.4:5 has entered the chat");
    for line in ["hello", "/msg bob x", "/search x", "/me waves", "/reply x"] {
        terminal.types(line);
        terminal.types(ENTER);
    }
    terminal.sees("why not", |terminal| {
        let text = terminal.chat().join(" ");
        ["/msg", "/search", "/me"]
            .iter()
            .all(|command| text.contains(&format!("does not know {command}; nothing was sent")))
            && text.contains("Nobody has written to you alone yet")
    });
    terminal.types(CONTROL_D);
    server.expect("set-name", "me");
    server.expect("message", "hello");
    server.expect_end();
    drop(server);
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn broken_link_is_reported_and_loses_no_input() {
    let listening = Listening::start();
    let port = listening.port();
    let mut terminal = AtTerminal::start(
        port,
        Start {
            arguments: &["--reconnect"],
            ..Start::default()
        },
    );
    let mut server = listening.accept();
    server.say("[Server]", "1.2.3.4:5 has entered the chat");
    terminal.sees_row("[Server]: 1.2.3.4:5 has entered the chat");
    drop((server, listening));
    terminal.sees_row("Server disconnected; connecting again");
    terminal.sees("when it tries again, and why", |terminal| {
        let status = terminal.status();
        status.contains("reconnecting in ") && status.contains("Cannot connect")
    });
    terminal.types("said meanwhile");
    terminal.types(ENTER);
    terminal.sees("that it waits", |terminal| {
        terminal.status().contains("1 line waits")
    });
    let listening = Listening::on_port(port);
    terminal.types("/reconnect");
    terminal.types(ENTER);
    let mut server = listening.accept();
    server.say("[Server]", "1.2.3.4:6 has entered the chat");
    server.expect("message", "said meanwhile");
}

#[test]
fn name_of_another_user_is_taken_when_that_user_leaves() {
    let server = RealServer::start(&[]);
    let other = server.join("bob");
    let terminal = AtTerminal::start(
        server.address.port(),
        Start {
            arguments: &["--name", "Bob"],
            ..Start::default()
        },
    );
    terminal.sees("that it waits for the name", |terminal| {
        let text = terminal.chat().join(" ");
        text.contains("is taken") && text.contains("You get the name \"Bob\" when it is free")
    });
    drop(other);
    terminal.sees("its name", |terminal| terminal.status().starts_with("Bob"));
}

#[test]
fn server_stop_restores_the_terminal() {
    let (mut server, mut terminal) = scripted(Start::default());
    server.say("bob", "hi");
    terminal.types("half a line");
    terminal.sees_prompt("> half a line");
    server.say("bob", "the last");
    drop(server);
    assert_eq!(terminal.ends(), Some(0));
    terminal.sees("everything", |terminal| {
        let rows = terminal.rows();
        let last = ["bob: the last", "Server disconnected", "> half a line"];
        rows.ends_with(&last.map(str::to_owned))
    });
}

#[test]
fn signals_restore_the_terminal() {
    let ending = ["INT", "TERM", "HUP", "QUIT", "USR1", "ALRM", "XCPU"];
    let ending = ending.map(|signal| (signal, Some(130)));
    // These leave a core dump, and no status.
    let dumping = ["ABRT", "SYS", "TRAP"].map(|signal| (signal, None));
    for (signal, status) in ending.into_iter().chain(dumping) {
        let (mut server, mut terminal) = scripted(Start::default());
        server.say("bob", "hi");
        terminal.sees_row("bob: hi");
        terminal.types("half");
        terminal.sees_prompt("> half");
        terminal.signal(signal);
        assert_eq!(terminal.ends(), status, "{signal}");
    }
}

#[test]
fn unfinished_key_does_not_delay_the_end() {
    let (mut server, mut terminal) = scripted(Start::default());
    server.say("bob", "hi");
    terminal.sees_row("bob: hi");
    terminal.types("x");
    terminal.sees_prompt("> x");
    terminal.types(CONTROL_Q);
    server.say("bob", "the last");
    drop(server);
    assert_eq!(terminal.ends(), Some(0));
    terminal.sees_row("bob: the last");
    terminal.sees_row("Server disconnected");
}

#[test]
fn refused_connection_is_explained_with_status_1() {
    let port = Listening::start().port();
    let mut terminal = AtTerminal::start(port, Start::default());
    assert_eq!(terminal.ends(), Some(1));
    terminal.sees("why", |terminal| {
        let text = terminal.rows().join(" ");
        text.contains("Cannot connect") && text.contains("nobody listens there")
    });
}

#[test]
fn flood_delays_no_typing_and_loses_nothing() {
    const LINES: usize = 100_000;
    let (mut server, mut terminal) = scripted(Start {
        arguments: &["--name", "me"],
        ..Start::default()
    });
    let mut stream = server.stream().try_clone().expect("a handle");
    let flood = std::thread::spawn(move || {
        for number in 0..LINES {
            let line = format!(
                "{{\"type\":\"message\",\"data\":{{\"source\":\"bob\",\"message\":\"number {number}\"}}}}\n"
            );
            stream.write_all(line.as_bytes()).expect("the client reads");
        }
    });
    terminal.sees("the flood", |terminal| {
        terminal
            .chat()
            .iter()
            .any(|row| row.starts_with("bob: number "))
    });
    for key in "typed while it comes".chars() {
        terminal.types(&key.to_string());
    }
    terminal.sees("what is typed", |terminal| {
        terminal
            .rows()
            .last()
            .is_some_and(|row| row == "> typed while it comes")
    });
    flood.join().expect("all is taken");
    server.say("bob", "the end");
    terminal.sees_row("bob: the end");
    let written = terminal.written.text();
    assert_eq!(written.matches("number ").count(), LINES);
    if let Some(bytes) = terminal.peak_bytes() {
        assert!(bytes < 30 * 1024 * 1024, "{bytes} bytes");
    }
    terminal.types(ENTER);
    while !server.line().contains("typed while it comes") {}
}

/// A client at a terminal that can only print.
fn at_a_dumb_terminal() -> (Scripted, AtTerminal) {
    scripted(Start {
        environment: &[("TERM", "dumb")],
        ..Start::default()
    })
}

#[test]
fn a_terminal_that_can_only_print_sends_leaves_and_interrupts() {
    for (key, status) in [(CONTROL_D, 0), (CONTROL_C, 130)] {
        let (mut server, mut terminal) = at_a_dumb_terminal();
        server.say("[Server]", "al has entered the chat");
        server.say("bob", "hi");
        terminal.sees_row("bob: hi");
        server.say("bob", "hi, Al");
        terminal.sees_row("! bob: hi, Al");
        terminal.types("hello\n");
        server.expect("message", "hello");
        terminal.types(key);
        assert_eq!(terminal.ends(), Some(status));
    }
}

#[test]
fn print_only_terminal_does_not_delay_the_end() {
    let (server, mut terminal) = at_a_dumb_terminal();
    terminal.types("half a line");
    terminal.sees("what is typed", |terminal| {
        terminal
            .rows()
            .iter()
            .any(|row| row.starts_with("half a line"))
    });
    drop(server);
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn control_d_on_a_begun_line_says_it_and_leaves_though_the_server_stays() {
    let (mut server, mut terminal) = at_a_dumb_terminal();
    // The first one only ends what is typed so far, the second the input.
    terminal.types("unfinished\u{4}");
    terminal.sees_row("unfinished");
    terminal.types(CONTROL_D);
    server.expect("message", "unfinished");
    server.expect_end();
    assert_eq!(terminal.ends(), Some(0));
    assert!(!terminal.written.text().contains("Server disconnected"));
}

#[test]
fn control_d_leaves_a_busy_chat_though_the_server_stays() {
    let (mut server, mut terminal) = at_a_dumb_terminal();
    let mut chatter = server.stream().try_clone().expect("a handle");
    let chatting = thread::spawn(move || {
        let line =
            b"{\"type\":\"message\",\"data\":{\"source\":\"a\",\"message\":\"and so on\"}}\n";
        while chatter.write_all(line).is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    terminal.sees_row("a: and so on");
    terminal.types(CONTROL_D);
    server.expect_end();
    assert_eq!(terminal.ends(), Some(0));
    drop(server);
    chatting.join().expect("the chatter ends with the client");
}
