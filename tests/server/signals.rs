//! The real server program: its start, its options, its signals and its end.

use crate::support::{Finished, LineClient, PATIENCE, RealServer, eventually, run_to_end, skip};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long the end may take, from the signal.
const END: Duration = Duration::from_secs(5);
/// What a busy machine may add to it: the promise is of the server, not of the machine.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the program, which is not to start, with these arguments.
#[track_caller]
fn refused(arguments: &[&str]) -> Finished {
    run_to_end(RealServer::bare_command(arguments))
}

/// Sends a signal and waits for a good end.
#[track_caller]
fn stop(server: &mut RealServer, signal: &str) {
    let start = Instant::now();
    server.signal(signal);
    let status = server.wait(END + GRACE);
    let took = start.elapsed();
    assert_eq!(
        status.code(),
        Some(0),
        "after {took:?}: {}",
        server.stderr.text()
    );
}

#[track_caller]
fn everyone_is_told(signal: &str) {
    let mut server = RealServer::start(&[]);
    let mut clients = server.room(["alice", "bob", "carol"]);
    server.signal(signal);
    for client in &mut clients {
        client.expect_notice("The server is shutting down");
        client.expect_end();
    }
    drop(clients);
    let status = server.wait(END + GRACE);
    assert_eq!(status.code(), Some(0), "{}", server.stderr.text());
    let lines = server.stdout.lines();
    assert_eq!(
        lines.last().map(String::as_str),
        Some("[Server]: The server is shutting down")
    );
}

// The end

#[test]
fn sigint_tells_everyone_and_ends_with_status_0() {
    everyone_is_told("INT");
}

#[test]
fn sigterm_tells_everyone_and_ends_with_status_0() {
    everyone_is_told("TERM");
}

#[test]
fn an_idle_server_ends_at_once() {
    let mut server = RealServer::start(&[]);
    stop(&mut server, "TERM");
    assert_eq!(
        server.stdout.text(),
        "[Server]: The server is shutting down\n"
    );
}

#[test]
fn clients_who_stay_do_not_hold_up_the_end() {
    let mut server = RealServer::start(&[]);
    let mut clients = server.room(["alice", "bob"]);
    let start = Instant::now();
    stop(&mut server, "TERM");
    // Both keep their connection open, and got everything.
    assert!(start.elapsed() < END + GRACE);
    for client in &mut clients {
        client.expect_notice("The server is shutting down");
        client.expect_end();
    }
}

#[test]
fn readers_who_stand_still_do_not_hold_up_the_end() {
    let mut server = RealServer::start(&[
        "--rate",
        "10000000",
        "--burst",
        "10000000",
        "--max-lag",
        "1073741824",
    ]);
    let mut talker = server.join("talker");
    let mut stuck: Vec<LineClient> = (0..5)
        .map(|number| server.connect_narrow(&format!("stuck{number}")))
        .collect();
    let text = "x".repeat(4000);
    talker.say_many(3000, &text);
    stuck[0].request("history", "");
    talker.say_and_skip_to("now");
    let start = Instant::now();
    server.signal("TERM");
    talker.expect_notice("The server is shutting down");
    talker.expect_end();
    let status = server.wait(END + GRACE);
    assert_eq!(
        status.code(),
        Some(0),
        "after {:?}: {}",
        start.elapsed(),
        server.stderr.text()
    );
}

#[test]
fn senders_who_are_held_back_do_not_hold_up_the_end() {
    let mut server = RealServer::start(&["--rate", "1", "--burst", "1"]);
    let mut flooder = server.connect("flooder");
    let lines = crate::support::request("message", "again").repeat(5000);
    flooder.send_raw(&lines);
    let name = flooder.name.clone();
    flooder.expect(&name, "again");
    server.signal("TERM");
    flooder.skip_to("[Server]", "The server is shutting down");
    flooder.expect_end();
    assert_eq!(server.wait(END + GRACE).code(), Some(0));
}

#[test]
fn newcomers_during_the_end_do_not_hold_it_up() {
    let mut server = RealServer::start(&[]);
    let clients = server.room(["alice", "bob"]);
    server.signal("TERM");
    let address = server.address;
    // Until there is nobody to connect to any more.
    let knocking = std::thread::spawn(move || {
        let mut doors = Vec::new();
        while let Ok(door) = std::net::TcpStream::connect_timeout(&address, PATIENCE) {
            doors.push(door);
            if doors.len() > 200 {
                break;
            }
        }
        doors.len()
    });
    assert_eq!(server.wait(END + GRACE).code(), Some(0));
    knocking.join().expect("the knocking ends");
    drop(clients);
}

#[test]
fn readers_of_the_page_do_not_hold_up_the_end() {
    let mut server = RealServer::start(&[]);
    let web = server.web.expect("a page");
    let readers: Vec<std::net::TcpStream> = (0..5)
        .map(|_| {
            let mut reader = std::net::TcpStream::connect(web).expect("the page is there");
            reader
                .write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .expect("sent");
            reader
        })
        .collect();
    let idle = std::net::TcpStream::connect(web).expect("the page is there");
    stop(&mut server, "TERM");
    drop((readers, idle));
}

#[test]
fn a_talking_crowd_does_not_hold_up_the_end() {
    let mut server = RealServer::start(&["--rate", "10000000", "--burst", "10000000"]);
    let clients: Vec<LineClient> = (0..10)
        .map(|number| server.join(&format!("talker{number}")))
        .collect();
    let talkers: Vec<std::thread::JoinHandle<()>> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                // Until the server does not answer any more.
                loop {
                    let line = crate::support::request("message", "on and on");
                    if client.stream.write_all(&line).is_err() || client.read_some().is_none() {
                        return;
                    }
                }
            })
        })
        .collect();
    eventually(PATIENCE, "talk", || server.stdout.lines().len() > 1000);
    stop(&mut server, "INT");
    for talker in talkers {
        talker.join().expect("a talker ends when the server does");
    }
}

/// What a client got until the end of its stream: the last two lines, without summaries of
/// arrivals, which count each one's own arrival or not.
fn last_two_lines(client: &LineClient) -> Vec<String> {
    let mut bytes = Vec::new();
    (&client.stream)
        .read_to_end(&mut bytes)
        .expect("an end without a reset");
    assert_eq!(bytes.last(), Some(&b'\n'), "the last line is whole");
    let text = String::from_utf8(bytes).expect("text");
    let is_summary = |line: &&str| {
        line.contains(" users have entered the chat") || line.contains(" user has entered the chat")
    };
    let lines: Vec<&str> = text.lines().filter(|line| !is_summary(line)).collect();
    lines[lines.len() - 2..]
        .iter()
        .map(|line| line.to_string())
        .collect()
}

#[test]
fn at_the_end_a_thousand_talkers_have_one_and_the_same_last_message() {
    const CLIENTS: usize = 1000;
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let mut server = RealServer::start(&["--announce-limit", "0", "--max-clients", "1001"]);
    let stuck = server.connect_narrow("stuck");
    let mut clients: Vec<LineClient> = (0..CLIENTS)
        .map(|number| server.connect(&format!("talker{number}")))
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let lines: Vec<u8> = (0..3)
            .flat_map(|line| crate::support::request("message", &format!("{number}.{line}")))
            .collect();
        client.send_raw(&lines);
        if number == CLIENTS / 2 {
            server.signal("TERM");
        }
    }
    let mut groups = Vec::new();
    while !clients.is_empty() {
        let group = clients.split_off(clients.len().saturating_sub(CLIENTS / 10));
        groups.push(std::thread::spawn(move || {
            group.iter().map(last_two_lines).collect::<Vec<_>>()
        }));
    }
    let status = server.wait(END + GRACE);
    assert_eq!(status.code(), Some(0), "{}", server.stderr.text());
    let mut ends: Vec<Vec<String>> = Vec::new();
    for group in groups {
        ends.extend(group.join().expect("every client reads to the end"));
    }
    assert_eq!(ends.len(), CLIENTS);
    assert!(
        ends[0][1].contains("The server is shutting down"),
        "{:?}",
        ends[0]
    );
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 1, "all have the same end: {ends:?}");
    drop(stuck);
}

/// Talks until the connection ends, and reads all the while: the last two lines that it got.
fn talk_to_the_end(client: LineClient) -> Vec<String> {
    // Small, so that what is on its way at the end is little: what is sent unread is discarded
    // only up to a bound.
    SockRef::from(&client.stream)
        .set_send_buffer_size(4096)
        .expect("a small buffer");
    let mut sending = client.stream.try_clone().expect("a second handle");
    let talking = std::thread::spawn(move || {
        let mut number = 0;
        while sending
            .write_all(&crate::support::request("message", &number.to_string()))
            .is_ok()
        {
            number += 1;
        }
    });
    let last = last_two_lines(&client);
    // Nothing more can be sent either: the talking ends.
    let _ = client.stream.shutdown(std::net::Shutdown::Both);
    talking.join().expect("the talking ends");
    last
}

#[test]
fn at_the_end_all_who_read_have_one_last_message_while_others_stand_still_and_talk_on() {
    const STUCK: usize = 10;
    const LISTENERS: usize = 20;
    const TALKERS: usize = 40;
    const MAX_LAG: u64 = 32 * 1024 * 1024;
    let mut server = RealServer::start(&[
        "--announce-limit",
        "0",
        "--max-lag",
        &MAX_LAG.to_string(),
        "--max-message",
        "16384",
        "--max-line",
        "131072",
        "--rate",
        "20",
        "--burst",
        "300",
    ]);
    let stuck: Vec<LineClient> = (0..STUCK)
        .map(|number| server.connect_narrow_raw(&format!("stuck{number}")))
        .collect();
    eventually(PATIENCE, "all who will stand still are here", || {
        server.metric("smolchat_users") == STUCK as u64
    });
    // Nearly half of what a reader may be behind: for more than that it has ten seconds only, which
    // are over soon on a machine that is busy with other things. Each says no more than it may at
    // once.
    let text = "x".repeat(12_000);
    let most = MAX_LAG * 45 / 100 / 12_000 / 6;
    for number in 0..6 {
        let mut filler = server.connect(&format!("filler{number}"));
        let message = |number: u64| format!("{number} {text}");
        let lines: Vec<u8> = (0..most)
            .flat_map(|number| crate::support::request("message", &message(number)))
            .collect();
        // All at once: on a machine that is busy with other things, each echo takes its time.
        filler.send_raw(&lines);
        filler.skip_to(&filler.name.clone(), &message(most - 1));
    }
    let mut readers = Vec::new();
    for number in 0..LISTENERS {
        let listener = server.connect(&format!("listener{number}"));
        readers.push(std::thread::spawn(move || last_two_lines(&listener)));
    }
    for number in 0..TALKERS {
        let talker = server.connect(&format!("talker{number}"));
        readers.push(std::thread::spawn(move || talk_to_the_end(talker)));
    }
    let lines_before = server.metric("smolchat_lines_in_total");
    eventually(PATIENCE, "talk, and a long backlog of everyone", || {
        server.metric("smolchat_lines_in_total") > lines_before + TALKERS as u64
            && server.metric("smolchat_lag_most_bytes") > MAX_LAG * 2 / 5
            && server.metric("smolchat_connections{state=\"behind\"}") >= STUCK as u64
            && server.metric("smolchat_users") == (STUCK + LISTENERS + TALKERS) as u64
    });
    server.signal("TERM");
    let status = server.wait(END + GRACE);
    assert_eq!(status.code(), Some(0), "{}", server.stderr.text());
    let mut ends: Vec<Vec<String>> = Vec::new();
    for reader in readers {
        ends.push(reader.join().expect("everyone who reads reads to the end"));
    }
    let farewell = "\"message\":\"The server is shutting down\"";
    assert!(ends[0][1].contains(farewell), "{:?}", ends[0]);
    let message =
        crate::support::decode(format!("{}\n", ends[0][0]).as_bytes()).expect("a message");
    assert_ne!(
        message.0, "[Server]",
        "the last before it was said by a talker"
    );
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 1, "all have the same end: {ends:?}");
    drop(stuck);
}

/// A server with a reader who stands still is told twice to stop; its status.
fn stop_twice() -> Option<i32> {
    let mut server = RealServer::start(&[
        "--rate",
        "10000000",
        "--burst",
        "10000000",
        "--max-lag",
        "1073741824",
    ]);
    let mut talker = server.join("talker");
    let stuck = server.connect_narrow("stuck");
    let text = "x".repeat(4000);
    talker.say_many(4000, &text);
    server.signal("TERM");
    talker.skip_to("[Server]", "The server is shutting down");
    server.signal("TERM");
    let status = server.wait(PATIENCE);
    drop(stuck);
    status.code()
}

#[test]
fn a_second_signal_ends_at_once() {
    // The reader keeps the server waiting for some seconds; where the machine stands still for
    // so long, the second signal comes too late, and it is tried again.
    let status = (0..3)
        .map(|_| stop_twice())
        .find(|status| *status != Some(0));
    assert_eq!(status, Some(Some(130)));
}

#[test]
fn the_port_is_free_again_after_the_end() {
    let mut server = RealServer::start(&[]);
    let port = server.address.port().to_string();
    let web_port = server.web.expect("a page").port().to_string();
    // Connections that the server closed first would keep the port busy without its option.
    let mut clients = server.room(["alice", "bob"]);
    server.signal("TERM");
    for client in &mut clients {
        client.expect_notice("The server is shutting down");
        client.expect_end();
    }
    assert_eq!(server.wait(END + GRACE).code(), Some(0));
    let mut command = RealServer::bare_command(&["--port", &port, "--web-port", &web_port]);
    command.env_remove("RUST_LOG");
    let again = RealServer::from_command(command);
    assert_eq!(again.address.port().to_string(), port);
    again.connect("alice");
}

// Its terminal

#[test]
fn a_closed_standard_output_does_not_stop_the_chat_and_the_skipped_lines_are_told() {
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
fn a_full_standard_output_does_not_stop_the_chat_and_the_skipped_lines_are_told() {
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
fn the_transcript_is_plain_in_a_pipe_and_nothing_else_stands_there() {
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

// Addresses

#[test]
fn a_taken_port_is_one_sentence_with_the_address_and_a_remedy_and_status_1() {
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
fn an_address_that_cannot_be_bound_is_one_sentence_and_status_1() {
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
fn a_privileged_port_is_one_sentence_with_the_address_and_a_remedy_and_status_1() {
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
fn port_0_takes_a_free_one_for_both() {
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

// Options

#[test]
fn wrong_use_is_status_2_and_says_what_is_wrong() {
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
fn a_value_out_of_range_is_status_2_and_one_sentence_with_option_value_and_range() {
    for (option, value, least, most) in [
        ("--max-clients", "0", "1", "1000000"),
        ("--max-clients", "1000001", "1", "1000000"),
        ("--max-clients-per-address", "0", "1", "1000000"),
        ("--max-clients-per-address", "1000001", "1", "1000000"),
        ("--history", "1000001", "0", "1000000"),
        ("--max-message", "0", "1", "1048576"),
        ("--max-message", "1048577", "1", "1048576"),
        ("--max-line", "16777217", "", "16777216"),
        ("--rate", "0", "1", "10000000"),
        ("--rate", "10000001", "1", "10000000"),
        ("--burst", "0", "1", "10000000"),
        ("--burst", "10000001", "1", "10000000"),
        ("--max-lag", "0", "", "1073741824"),
        ("--max-lag", "1073741825", "", "1073741824"),
        ("--announce-limit", "1000001", "0", "1000000"),
        ("--threads", "0", "1", "256"),
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
fn a_line_must_be_able_to_hold_the_largest_message_escaped() {
    let needed = |message: usize| 6 * message + r#"{"type":"message","data":""}"#.len();
    for (message, line) in [(4096, 4096), (4096, needed(4096) - 1), (100_000, 65_536)] {
        let ended = refused(&[
            "--port",
            "0",
            "--no-web",
            "--max-message",
            &message.to_string(),
            "--max-line",
            &line.to_string(),
        ]);
        assert_eq!(ended.code, Some(2), "{message} in {line}: {ended:?}");
        assert!(ended.stderr.contains("--max-line"), "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&needed(message).to_string()),
            "{}",
            ended.stderr
        );
    }
    let (message, line) = ("1000", needed(1000).to_string());
    let server = RealServer::start(&["--max-message", message, "--max-line", &line]);
    let mut alice = server.join("alice");
    // The largest message in its longest form fits.
    let escaped = format!(
        "{{\"type\":\"message\",\"data\":\"{}\"}}\n",
        "\\u0041".repeat(1000)
    );
    alice.send_raw(escaped.as_bytes());
    alice.expect("alice", &"A".repeat(1000));
}

#[test]
fn a_bad_log_filter_is_status_2() {
    let ended = refused(&["--port", "0", "--no-web", "--log", "smolchat=loud"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--log"), "{}", ended.stderr);
}

/// Each option with its default as `--help` has it.
const OPTIONS: [(&str, &str); 18] = [
    ("--port", "5555"),
    ("--host", "127.0.0.1"),
    ("--web-port", "8080"),
    ("--web-host", "127.0.0.1"),
    ("--no-web", ""),
    ("--max-clients", "1000"),
    ("--max-clients-per-address", "no limit"),
    ("--history", "200"),
    ("--max-message", "4096"),
    ("--max-line", "65536"),
    ("--rate", "100"),
    ("--burst", "200"),
    ("--max-lag", "4194304"),
    ("--announce-limit", "500"),
    ("--threads", "1"),
    ("--log", "info"),
    ("--version", ""),
    ("--help", ""),
];

/// The text of one option in `--help`, on one line.
fn option_text(help: &str, option: &str) -> Option<String> {
    let names = |line: &str| {
        line.split_whitespace()
            .next()
            .map(|word| word.trim_end_matches(',').to_owned())
    };
    let mut lines = help
        .lines()
        .skip_while(|line| names(line).as_deref() != Some(option));
    let first = lines.next()?.trim().to_owned();
    let rest =
        lines.take_while(|line| !line.trim_start().starts_with("--") && !line.trim().is_empty());
    Some(rest.fold(first, |text, line| text + " " + line.trim()))
}

#[test]
fn help_lists_each_option_with_its_default_and_unit() {
    let ended = refused(&["--help"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    for (option, default) in OPTIONS {
        let text = option_text(&ended.stdout, option);
        let text = text.unwrap_or_else(|| panic!("{option} is missing:\n{}", ended.stdout));
        if !default.is_empty() {
            assert!(
                text.contains("default") && text.contains(default),
                "no default: {text}"
            );
        }
    }
    for (option, unit) in [
        ("--max-clients", "users"),
        ("--max-clients-per-address", "users"),
        ("--history", "messages"),
        ("--max-message", "bytes"),
        ("--max-line", "bytes"),
        ("--rate", "lines a second"),
        ("--burst", "lines"),
        ("--max-lag", "bytes"),
        ("--announce-limit", "users"),
        ("--threads", "threads"),
    ] {
        let text = option_text(&ended.stdout, option).expect("it was there");
        assert!(text.contains(unit), "no unit: {text}");
    }
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
