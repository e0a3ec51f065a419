//! The client in pipes against a scripted server: what it sends, what it prints, and how it ends.

use crate::support::scripted::{Listening, Scripted, asked, said};
use crate::support::{Deadline, Program, client_command, client_of, run_to_end, send_signal, skip};
use smolchat::client::limits::DRAIN_TIMEOUT;
use std::io::Write;
use std::net::{Ipv6Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

/// A client and the server's side of its connection.
pub(crate) struct Scene {
    pub(crate) client: Program,
    pub(crate) server: Scripted,
    /// Lines of the output that were compared.
    shown: usize,
}

impl Scene {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Scene::with(&[])
    }

    #[track_caller]
    fn with(arguments: &[&str]) -> Self {
        let listening = Listening::start();
        Scene {
            client: Program::client(listening.port(), arguments),
            server: listening.accept(),
            shown: 0,
        }
    }

    /// Expects these lines of the client next.
    #[track_caller]
    fn server_gets(&mut self, requests: &[(&str, &str)]) {
        for (kind, data) in requests {
            self.server.expect(kind, data);
        }
    }

    /// Expects this line of output next.
    #[track_caller]
    fn shows(&mut self, expected: &str) {
        self.shown += 1;
        let lines = self.client.stdout.wait_for_lines(self.shown);
        assert_eq!(lines[self.shown - 1], expected);
    }

    /// Waits for the end and returns status, the rest of the output, and the errors.
    #[track_caller]
    fn end(&mut self) -> (Option<i32>, String, String) {
        let code = self.client.wait();
        let text = self.client.stdout.text();
        let rest = text.split_inclusive('\n').skip(self.shown).collect();
        (code, rest, self.client.stderr.text())
    }

    /// Waits for the end with status 0, this rest of the output and no errors.
    #[track_caller]
    pub(crate) fn ends_with(&mut self, rest: &str) {
        let expected = (Some(0), rest.to_owned(), String::new());
        assert_eq!(self.end(), expected);
    }
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = client_command();
    command.args(arguments);
    let finished = run_to_end(command);
    (finished.code, finished.stdout, finished.stderr)
}

#[test]
fn basic_dialogue() {
    let mut scene = Scene::start();
    let address = "127.0.0.1:57354";
    scene
        .server
        .say("[Server]", &format!("{address} has entered the chat"));
    scene.shows(&format!("[Server]: {address} has entered the chat"));
    scene.client.type_line("hello");
    scene.server_gets(&[("message", "hello")]);
    scene.server.say(address, "hello");
    scene.shows(&format!("{address}: hello"));
    scene.client.type_line("/setname Kobzol");
    scene.server_gets(&[("set-name", "Kobzol")]);
    scene
        .server
        .say("[Server]", &format!("{address} renamed to Kobzol"));
    scene.shows(&format!("[Server]: {address} renamed to Kobzol"));
    scene.client.type_bytes(b"hello\n/history\n/users\n");
    scene.server_gets(&[("message", "hello"), ("history", ""), ("users", "")]);
}

#[test]
fn lines_are_printed_at_any_chunking() {
    let hostile = "\u{1b}]52;c;eA==\u{7}\u{1b}[2J\r\nx\u{9b}1m\u{202e}y\u{2066}";
    let text = [
        said("[Server]", "é has entered the chat"),
        "\r\n\nnonsense\n{\"type\":\"pong\",\"data\":1}\n[1]\n{\"type\":\"message\"}\n".to_owned(),
        said("Zoë 👩‍🔬", "tab\there, ↵ there"),
        said("a\rb\u{1b}[1m", hostile),
        "{\"data\":{\"message\":\"m\",\"x\":[],\"source\":\"s\"},\"type\":\"message\"} \r\n"
            .to_owned(),
    ]
    .concat();
    let expected = "[Server]: é has entered the chat\n\
                    Zoë 👩‍🔬: tab\there, ↵ there\n\
                    a\u{fffd}b\u{fffd}[1m: \u{fffd}]52;c;eA==\u{fffd}\u{fffd}[2J\u{fffd} ↵ x\u{fffd}1my\n\
                    s: m\n\
                    Server disconnected\n";
    for size in [1, 2, 7, 256, 512, text.len()] {
        let mut scene = Scene::start();
        for chunk in text.as_bytes().chunks(size) {
            scene.server.send(chunk);
        }
        scene.server.close();
        scene.ends_with(expected);
    }
}

#[test]
fn client_sends_before_any_greeting() {
    let mut scene = Scene::start();
    scene.client.type_bytes(b"first");
    scene.client.type_bytes(b"\nsec");
    scene.server_gets(&[("message", "first")]);
    scene.client.type_line("ond");
    scene.server_gets(&[("message", "second")]);
}

#[test]
fn server_close_ends_client_inside_a_typed_line() {
    let mut scene = Scene::start();
    scene.client.type_bytes(b"half a li");
    scene.server.say("a", "b");
    scene.server.close();
    scene.ends_with("a: b\nServer disconnected\n");
}

#[test]
fn server_reset_ends_client_after_earlier_lines() {
    let Scene {
        mut client,
        mut server,
        ..
    } = Scene::start();
    server.say("a", "before");
    client.stdout.wait_for("a: before\n");
    server.reset();
    assert_eq!(client.wait(), Some(0));
    assert_eq!(client.stdout.text(), "a: before\nServer disconnected\n");
    assert_eq!(client.stderr.text(), "");
}

#[test]
fn end_of_input_closes_sending_side_and_later_lines_are_printed() {
    let mut scene = Scene::start();
    scene.client.type_bytes(b"one\ntwo, unended");
    scene.client.end_input();
    scene.server_gets(&[("message", "one"), ("message", "two, unended")]);
    scene.server.expect_end();
    scene.server.say("a", "late");
    scene.shows("a: late");
    scene.server.close();
    // No "Server disconnected": the client has left already.
    scene.ends_with("");
}

#[test]
fn after_end_of_input_silence_ends_client_and_lines_keep_it() {
    let mut scene = Scene::start();
    scene.client.end_input();
    scene.server.expect_end();
    let start = Instant::now();
    let rounds = 2;
    for _ in 0..rounds {
        // Each pause is shorter than the timeout, all of them together are longer.
        thread::sleep(DRAIN_TIMEOUT * 2 / 3);
        scene.server.say("a", "still here");
        scene.shows("a: still here");
    }
    scene.ends_with("");
    let least = DRAIN_TIMEOUT * 2 / 3 * rounds + DRAIN_TIMEOUT * 9 / 10;
    assert!(start.elapsed() > least);
}

#[test]
fn invalid_input_lines_are_explained_with_their_number_and_not_sent() {
    let mut scene = Scene::start();
    let long = "x".repeat(4097);
    scene
        .client
        .type_bytes(b"/serch\n\n  \n/setname\n//slash\r\n\xff\xfe\n");
    scene.client.type_line(&long);
    scene.client.type_bytes(&vec![b'y'; 3 << 20]);
    scene.client.type_bytes(b"\n/users 5\nlast\n");
    scene.client.end_input();
    scene.server_gets(&[("message", "/slash"), ("message", "last")]);
    scene.server.expect_end();
    scene.server.close();
    let (status, shown, told) = scene.end();
    assert_eq!((status, shown.as_str()), (Some(0), ""));
    let told: Vec<&str> = told.lines().collect();
    let beginnings = [
        "line 1: The command \"/serch\" is unknown",
        "line 4: /setname needs an argument",
        "line 6: The line is not valid UTF-8",
        "line 7: The line is longer than 4096 bytes",
        "line 8: The line is longer than 4096 bytes",
        "line 9: /users takes no argument",
    ];
    assert_eq!(told.len(), beginnings.len(), "{told:?}");
    for (told, beginning) in told.iter().zip(beginnings) {
        assert!(told.starts_with(beginning), "{told}");
    }
}

#[test]
fn max_message_option_raises_the_bound() {
    let mut scene = Scene::with(&["--max-message", "5000"]);
    let long = "x".repeat(5000);
    scene.client.type_line(&format!("{long}\n{long}x\nend"));
    scene.server_gets(&[("message", &long), ("message", "end")]);
}

#[test]
fn quit_leaves_after_earlier_lines() {
    let mut scene = Scene::start();
    scene.client.type_bytes(b"/help\nbye\n/quit\nnever said\n");
    scene.server_gets(&[("message", "bye")]);
    scene.server.expect_end();
    scene.server.close();
    let (status, shown, told) = scene.end();
    assert_eq!((status, shown.as_str()), (Some(0), ""));
    for command in ["/setname NAME", "/history", "/users", "/help", "/quit"] {
        assert!(told.contains(command), "{told}");
    }
}

#[test]
fn closed_output_ends_client_quietly() {
    let listening = Listening::start();
    let mut command = client_of(listening.port(), &[]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.stdin(Stdio::piped()).stdout(writer);
    let mut client = Program::spawn_with_stdout(command);
    let mut server = listening.accept();
    drop(reader);
    // The client notices at the next line that it prints.
    server.say("a", "c");
    assert_eq!(client.wait(), Some(0));
    assert_eq!(client.stderr.text(), "");
}

#[test]
fn full_output_is_an_error() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return skip("there is no /dev/full here");
    };
    let listening = Listening::start();
    let mut command = client_of(listening.port(), &[]);
    command.stdin(Stdio::piped()).stdout(full);
    let mut client = Program::spawn_with_stdout(command);
    listening.accept().say("a", "1");
    assert_eq!(client.wait(), Some(1));
    let told = client.stderr.text();
    assert!(told.contains("standard output"), "{told}");
}

#[test]
fn client_without_input_prints_messages() {
    for input in ["</dev/null", "<&-"] {
        let listening = Listening::start();
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_smolchat-client");
        let script = format!("exec {program} 127.0.0.1 {} {input}", listening.port());
        shell.args(["-c", &script]);
        let mut client = Program::spawn(shell);
        let mut server = listening.accept();
        server.expect_end();
        server.say("a", "b");
        drop(server);
        assert_eq!(client.wait(), Some(0));
        assert_eq!(client.stdout.text(), "a: b\n");
    }
}

#[test]
fn other_protocol_is_named() {
    let mut scene = Scene::start();
    let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    scene.server.send(answer);
    scene.server.close();
    let (status, shown, told) = scene.end();
    assert_eq!((status, shown.as_str()), (Some(0), "Server disconnected\n"));
    assert!(
        told.contains("check that smolchat-server is at this address"),
        "{told}"
    );
}

// Connecting

#[test]
fn failed_connection_is_one_sentence() {
    let port = Listening::start().port().to_string();
    for (arguments, part) in [
        (["127.0.0.1", port.as_str()], "nobody listens there"),
        (
            ["no.such.host.invalid", "5555"],
            "no address is known for that name",
        ),
    ] {
        let (status, shown, told) = run(&arguments);
        assert_eq!((status, shown.as_str()), (Some(1), ""));
        assert!(told.contains(part) && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn all_addresses_of_a_host_name_are_tried() {
    // `localhost` may be ::1 first, where nobody listens.
    let listening = Listening::start();
    let mut command = client_command();
    command.args(["localhost", &listening.port().to_string()]);
    command.stdin(Stdio::piped());
    let mut client = Program::spawn(command);
    drop(listening.accept());
    assert_eq!(client.wait(), Some(0));
}

#[test]
fn ipv6_address_may_stand_in_brackets() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return skip("there is no IPv6 here");
    };
    let listening = Listening(listener);
    for host in ["::1", "[::1]"] {
        let mut command = client_command();
        command.args([host, &listening.port().to_string()]);
        command.stdin(Stdio::piped());
        let mut client = Program::spawn(command);
        listening.accept().say("a", "b");
        assert_eq!(client.wait(), Some(0));
        assert_eq!(client.stdout.text(), "a: b\nServer disconnected\n");
    }
}

// Options and signals

#[test]
fn unreadable_input_is_status_1() {
    let listening = Listening::start();
    let mut command = client_command();
    command.args(["127.0.0.1", &listening.port().to_string()]);
    command.stdin(std::fs::File::open("/").expect("a folder"));
    let mut client = Program::spawn(command);
    let _server = listening.accept();
    assert_eq!(client.wait(), Some(1));
    let told = client.stderr.text();
    assert!(
        told.contains("Cannot read standard input: ") && told.lines().count() == 1,
        "{told}"
    );
}

#[test]
fn unknown_time_zone_is_told() {
    for (zone, lines) in [
        ("Nowhere/City", 1),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 0),
        ("UTC", 0),
        ("", 0),
    ] {
        let listening = Listening::start();
        let mut command = client_command();
        command.args(["127.0.0.1", &listening.port().to_string()]);
        command.env("TZ", zone).stdin(Stdio::null());
        let mut client = Program::spawn(command);
        drop(listening.accept());
        assert_eq!(client.wait(), Some(0));
        let told = client.stderr.text();
        assert_eq!(told.lines().count(), lines, "{told}");
        assert!(
            lines == 0 || told.contains("\"Nowhere/City\" of TZ is unknown"),
            "{told}"
        );
    }
}

#[test]
fn invalid_options_are_one_sentence() {
    for arguments in [
        &["127.0.0.1", "0"][..],
        &["127.0.0.1", "65536"],
        &["127.0.0.1", "x"],
        &["127.0.0.1", "1", "2"],
        &["127.0.0.1", "1", "--nonsense"],
        &["127.0.0.1", "1", "--max-message", "0"],
    ] {
        let (status, shown, told) = run(arguments);
        assert_eq!((status, shown.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn help_and_version_succeed() {
    for option in ["--help", "-h"] {
        let (status, shown, _) = run(&[option]);
        assert_eq!(status, Some(0));
        for part in ["host", "port", "--max-message", "/setname"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    let version = format!("smolchat-client {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]), (Some(0), version, String::new()));
}

#[cfg(unix)]
#[test]
fn interrupt_is_status_130() {
    let mut scene = Scene::start();
    scene.server.say("a", "b");
    scene.shows("a: b");
    send_signal(scene.client.id(), "INT");
    assert_eq!(scene.end().0, Some(130));
}

// The pace of the server

#[test]
fn long_input_is_sent_at_the_pace_of_the_server() {
    const LINES: usize = 200_000;
    let mut scene = Scene::start();
    let mut stdin = scene.client.stdin.take().expect("an open input");
    let typing = thread::spawn(move || {
        let lines: String = (0..LINES).map(|number| format!("{number}\n")).collect();
        let written = stdin.write_all(lines.as_bytes());
        written.expect("the client reads");
    });
    for number in 0..LINES {
        let line = scene.server.line();
        assert_eq!(line, asked("message", &number.to_string()));
        if number == LINES / 2 {
            // Half of the lines are in pipes, sockets and the client, which are bounded.
            let memory = crate::support::program::peak_bytes(scene.client.id());
            assert!(memory.is_none_or(|bytes| bytes < 64 << 20), "{memory:?}");
        }
    }
    typing.join().expect("the input ends");
    scene.server.expect_end();
}

#[test]
fn messages_are_printed_while_the_server_does_not_read() {
    let mut scene = Scene::start();
    let mut stdin = scene.client.stdin.take().expect("an open input");
    let typing = thread::spawn(move || {
        let line = format!("{}\n", "x".repeat(4000));
        // The buffers fill; the end of the client ends the write.
        while stdin.write_all(line.as_bytes()).is_ok() {}
    });
    for number in 0..100 {
        scene.server.say("a", &number.to_string());
        scene.shows(&format!("a: {number}"));
    }
    scene.client.kill();
    assert!(Deadline::new().poll(|| typing.is_finished()));
}
