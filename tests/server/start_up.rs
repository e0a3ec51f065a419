//! Start-up, options and output of the server program.

use crate::signals::{stop, wait_for_end};
use crate::support::{RealServer, run_to_end, skip, unpaced_with};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;

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
    let mut command = RealServer::command(&unpaced_with(&[]));
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
    wait_for_end(&mut server);
    let text = server.stderr.text();
    let told = skipped_lines(&text);
    assert!(
        told.is_some_and(|lines| (1..=4003).contains(&lines)),
        "{text}"
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

/// Runs the server with arguments with which it does not start.
///
/// Expects this exit status, nothing on standard output, and one sentence with these parts.
#[track_caller]
fn check_refused(arguments: &[&str], code: i32, parts: &[&str]) {
    let ended = run_to_end(RealServer::bare_command(arguments));
    assert_eq!((ended.code, &*ended.stdout), (Some(code), ""), "{ended:?}");
    assert_eq!(ended.stderr.trim().lines().count(), 1, "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part} is missing: {ended:?}");
    }
}

#[test]
fn failed_start_is_explained_with_status_1() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let port = address.rsplit(':').next().expect("a port");
    // No machine has 192.0.2.1, an address for documentation.
    for (arguments, parts) in [
        (["--web-port", "0", "--port", port], [&*address, "in use"]),
        (["--port", "0", "--web-port", port], [&*address, "in use"]),
        (["--port", "0", "--host", "192.0.2.1"], ["192.0.2.1", ""]),
        (
            ["--port", "0", "--web-host", "192.0.2.1"],
            ["192.0.2.1", ""],
        ),
        (
            ["--port", "0", "--host", "no such host"],
            ["no such host", ""],
        ),
    ] {
        check_refused(&arguments, 1, &[parts[0], parts[1], arguments[2]]);
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 1)) {
        Ok(_) => skip("this user may listen on privileged ports"),
        Err(_) => check_refused(&["--port", "1", "--no-web"], 1, &["127.0.0.1:1", "--port"]),
    }
}

#[test]
fn two_servers_start_on_one_machine_with_the_default_web_port() {
    // The servers start whether this test has the port or another program.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080));
    let start = || RealServer::from_command(RealServer::bare_command(&["--port", "0"]));
    let (first, second) = (start(), start());
    let (one, two) = (first.web.expect("a page"), second.web.expect("a page"));
    assert_ne!(one, two);
    for web in [one, two] {
        assert!((8081..8180).contains(&web.port()), "{web}");
        TcpStream::connect(web).expect("the page is where the line says");
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
    for (arguments, parts) in [
        ("--no-such-option", ""),
        ("--no-such-option 1", ""),
        ("5555", ""),
        ("--port", ""),
        ("--port ", ""),
        ("--port abc", ""),
        ("--port -1", ""),
        ("--port 65536", ""),
        ("--web-port 65536", ""),
        ("--web-port x", ""),
        ("--max-clients many", ""),
        ("--threads -1", ""),
        ("--rate 1.5", ""),
        ("--no-web yes", ""),
        ("--log smolchat=loud", "--log"),
        ("--max-clients 0", "--max-clients 0 1 1000000"),
        ("--max-clients 1000001", "--max-clients 1000001 1 1000000"),
        ("--history 1000001", "--history 1000001 0 1000000"),
        ("--max-line 16777217", "--max-line 16777217 16777216"),
        ("--threads 257", "--threads 257 1 256"),
        ("--db-sync full", "--db-sync add --db FILE"),
        ("--keep-messages 5", "--keep-messages add --db FILE"),
        ("--keep-days 5", "--keep-days add --db FILE"),
    ] {
        let [arguments, parts] =
            [arguments, parts].map(|text| text.split(' ').collect::<Vec<&str>>());
        check_refused(&arguments, 2, &parts);
    }
}

#[test]
fn the_ends_of_the_ranges_are_allowed() {
    for arguments in [
        "--max-clients 1000000 --rate 10000000 --burst 10000000",
        "--max-clients 1 --rate 1 --burst 1 --history 0 --announce-limit 0",
        "--max-message 1048576 --max-line 16777216 --max-lag 1073741824",
        "--threads 4 --max-clients-per-address 1",
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        RealServer::start(&arguments).connect("alice");
    }
}

#[test]
fn help_lists_the_exit_statuses() {
    let help = run_to_end(RealServer::bare_command(&["--help"])).stdout;
    for status in ["0", "1", "2", "70", "130"] {
        let mut first_words = help.lines().map(|line| line.split_whitespace().next());
        let is_listed = first_words.any(|word| word == Some(status));
        assert!(is_listed, "status {status} is missing:\n{help}");
    }
}

#[test]
fn version_is_the_packages() {
    let ended = run_to_end(RealServer::bare_command(&["--version"]));
    let version = format!("smolchat-server {}", env!("CARGO_PKG_VERSION"));
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), &*version));
}
