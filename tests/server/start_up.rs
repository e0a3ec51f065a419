//! Start-up, options and output of the server program.

use crate::signals::{END, GRACE, stop};
use crate::support::{Finished, RealServer, run_to_end, skip};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

/// Runs the program, which is not to start, with these arguments.
#[track_caller]
fn refused(arguments: &[&str]) -> Finished {
    run_to_end(RealServer::bare_command(arguments))
}

#[test]
fn closed_standard_output_skips_lines_and_keeps_the_chat() {
    let mut command = RealServer::command(&[]);
    // A pipe whose reading end is gone before the first line.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.stdout(Stdio::from(writer));
    drop(reader);
    let mut server = RealServer::from_command(command);
    let [mut alice, mut bob] = server.room(["alice", "bob"]);
    for number in 0..100 {
        alice.say_and_hear(&number.to_string());
        bob.expect("alice", &number.to_string());
    }
    stop(&mut server, "TERM");
    let told = skipped_lines(&server.stderr.text());
    // Two arrivals, two renames, a greeting, a hundred messages, and the farewell.
    assert_eq!(told, Some(106), "{}", server.stderr.text());
}

#[test]
fn full_standard_output_skips_lines_and_keeps_the_chat() {
    let mut command = RealServer::command(&["--rate", "10000000", "--burst", "10000000"]);
    // A pipe that nobody reads.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command.stdout(Stdio::from(writer));
    let mut server = RealServer::from_command(command);
    let mut alice = server.join("alice");
    let text = "x".repeat(4000);
    // More than the pipe and the server's own queue hold.
    alice.say_many(4000, &text);
    server.stderr.wait_for("skipped");
    server.signal("TERM");
    alice.expect_notice("The server is shutting down");
    let status = server.wait(END + GRACE);
    assert_eq!(status.code(), Some(0), "{}", server.stderr.text());
    let told = skipped_lines(&server.stderr.text()).unwrap_or(0);
    assert!(
        (1..=4003).contains(&told),
        "{told} lines: {}",
        server.stderr.text()
    );
    drop(reader);
}

/// The last number of skipped lines that was told.
fn skipped_lines(stderr: &str) -> Option<u64> {
    let line = stderr.lines().rfind(|line| line.contains("skipped"))?;
    line.split_whitespace()
        .rev()
        .find_map(|word| word.parse().ok())
}

#[test]
fn transcript_in_a_pipe_is_plain() {
    let mut server = RealServer::start(&["--log", "trace"]);
    let mut alice = server.join("alice");
    alice.say("a\u{1b}[31m\nb");
    alice.expect("alice", "a[31m ↵ b");
    alice.send_raw(b"garbage\n");
    alice.notice();
    let address = alice.address();
    drop(alice);
    server.stdout.wait_for("alice has left the chat\n");
    stop(&mut server, "TERM");
    let expected = format!(
        "[Server]: {address} has entered the chat\n\
         [Server]: {address} renamed to alice\n\
         alice: a[31m ↵ b\n\
         [Server]: alice has left the chat\n\
         [Server]: The server is shutting down\n"
    );
    assert_eq!(server.stdout.text(), expected);
}

#[test]
fn the_start_up_lines_come_whatever_the_log_level() {
    for level in ["off", "error", "trace"] {
        // The start itself waits for both lines, with the real ports.
        let server = RealServer::start(&["--log", level]);
        assert_ne!(server.address.port(), 0);
        assert_ne!(server.web.expect("a page").port(), 0);
        server.connect("alice");
    }
    let server = RealServer::start(&["--no-web", "--log", "off"]);
    server.connect("alice");
    assert!(
        !server.stderr.text().contains("http://"),
        "{}",
        server.stderr.text()
    );
}

#[test]
fn the_start_up_lines_say_how_to_open_the_chat_to_the_network() {
    let server = RealServer::start(&[]);
    server.stderr.wait_for("--host 0.0.0.0");
}

#[test]
fn port_in_use_is_explained_with_status_1() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let port = taken.local_addr().expect("an address").port().to_string();
    for (arguments, remedy) in [
        (["--port", &port, "--web-port", "0"], "--port"),
        (["--port", "0", "--web-port", &port], "--web-port"),
    ] {
        let ended = refused(&arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&address) && ended.stderr.contains("in use"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(remedy), "{}", ended.stderr);
    }
}

#[test]
fn invalid_address_is_explained_with_status_1() {
    // An address for documentation: no machine has it.
    for (arguments, remedy) in [
        (&["--host", "192.0.2.1", "--port", "0"][..], "--host"),
        (
            &["--port", "0", "--web-host", "192.0.2.1", "--web-port", "0"],
            "--web-host",
        ),
        (&["--port", "0", "--web-host", "192.0.2.1"], "--web-host"),
        (&["--host", "no such host", "--port", "0"], "--host"),
    ] {
        let ended = refused(arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        let culprit = if arguments.contains(&"192.0.2.1") {
            "192.0.2.1"
        } else {
            "no such host"
        };
        assert!(
            ended.stderr.contains(culprit) && ended.stderr.contains(remedy),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn privileged_port_is_explained_with_status_1() {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, 1)).is_ok() {
        return skip("this user may listen on privileged ports");
    }
    let ended = refused(&["--port", "1", "--no-web"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("127.0.0.1:1") && ended.stderr.contains("--port"),
        "{}",
        ended.stderr
    );
}

#[test]
fn two_servers_start_on_one_machine_with_the_default_web_port() {
    // Taken by this test, or by whoever else has it: the servers must start either way.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080));
    let start = || RealServer::from_command(RealServer::bare_command(&["--port", "0"]));
    let (first, second) = (start(), start());
    let (one, two) = (first.web.expect("a page"), second.web.expect("a page"));
    assert_ne!(one, two);
    for web in [one, two] {
        assert!((8081..8180).contains(&web.port()), "{web}");
        std::net::TcpStream::connect(web).expect("the page is where the line says");
    }
}

#[test]
fn port_0_takes_free_ports() {
    let (first, second) = (RealServer::start(&[]), RealServer::start(&[]));
    assert_ne!(first.address, second.address);
    assert_ne!(first.web, second.web);
    first.connect("alice");
    second.connect("alice");
}

#[test]
fn the_page_has_a_host_of_its_own() {
    if TcpListener::bind("127.0.0.2:0").is_err() {
        return skip("this machine has one loopback address only");
    }
    let server = RealServer::start(&["--web-host", "127.0.0.2"]);
    assert_eq!(server.web.expect("a page").ip().to_string(), "127.0.0.2");
    assert_eq!(server.address.ip().to_string(), "127.0.0.1");
}

#[test]
fn wrong_usage_is_explained_with_status_2() {
    for arguments in [
        &["--no-such-option"][..],
        &["--no-such-option", "1"],
        &["5555"],
        &["--port"],
        &["--port", ""],
        &["--port", "abc"],
        &["--port", "-1"],
        &["--port", "65536"],
        &["--web-port", "65536"],
        &["--web-port", "x"],
        &["--max-clients", "many"],
        &["--threads", "-1"],
        &["--rate", "1.5"],
        &["--no-web", "yes"],
    ] {
        let ended = refused(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.trim().is_empty(), "{arguments:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn value_out_of_range_is_explained_with_status_2() {
    for (option, value, least, most) in [
        ("--max-clients", "0", "1", "1000000"),
        ("--max-clients", "1000001", "1", "1000000"),
        ("--history", "1000001", "0", "1000000"),
        ("--max-line", "16777217", "", "16777216"),
        ("--threads", "257", "1", "256"),
    ] {
        let ended = refused(&["--port", "0", "--no-web", option, value]);
        assert_eq!(ended.code, Some(2), "{option} {value}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        for part in [option, value, least, most] {
            assert!(
                ended.stderr.contains(part),
                "{part} is missing: {}",
                ended.stderr
            );
        }
    }
}

#[test]
fn the_ends_of_the_ranges_are_allowed() {
    for arguments in [
        &[
            "--max-clients",
            "1000000",
            "--rate",
            "10000000",
            "--burst",
            "10000000",
        ][..],
        &[
            "--max-clients",
            "1",
            "--rate",
            "1",
            "--burst",
            "1",
            "--history",
            "0",
            "--announce-limit",
            "0",
        ],
        &[
            "--max-message",
            "1048576",
            "--max-line",
            "16777216",
            "--max-lag",
            "1073741824",
        ],
        &["--threads", "4", "--max-clients-per-address", "1"],
    ] {
        let server = RealServer::start(arguments);
        server.connect("alice");
    }
}

#[test]
fn a_bad_log_filter_is_status_2() {
    let ended = refused(&["--port", "0", "--no-web", "--log", "smolchat=loud"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--log"), "{}", ended.stderr);
}

#[test]
fn help_lists_the_exit_statuses() {
    let help = refused(&["--help"]).stdout;
    for status in ["0", "1", "2", "70", "130"] {
        let listed = help
            .lines()
            .any(|line| line.split_whitespace().next() == Some(status));
        assert!(listed, "status {status} is missing:\n{help}");
    }
}

#[test]
fn version_is_the_packages() {
    let ended = refused(&["--version"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout.trim(),
        format!("smolchat-server {}", env!("CARGO_PKG_VERSION"))
    );
}
