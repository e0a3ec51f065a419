//! Signals and the end of the server program.

use crate::support::{LineClient, PATIENCE, RealServer, eventually};
use socket2::SockRef;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// How long the end may take, from the signal.
pub(crate) const END: Duration = Duration::from_secs(5);

/// What a busy machine may add to it: the promise is of the server, not of the machine.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Sends a signal and waits for a good end.
#[track_caller]
pub(crate) fn stop(server: &mut RealServer, signal: &str) {
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
fn check_stop_is_announced(signal: &str) {
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

#[test]
fn sigint_is_announced_and_ends_with_status_0() {
    check_stop_is_announced("INT");
}

#[test]
fn sigterm_is_announced_and_ends_with_status_0() {
    check_stop_is_announced("TERM");
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
fn idle_clients_do_not_delay_the_stop() {
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
fn stuck_readers_do_not_delay_the_stop() {
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
fn throttled_senders_do_not_delay_the_stop() {
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
fn newcomers_do_not_delay_the_stop() {
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
fn page_readers_do_not_delay_the_stop() {
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
fn flood_does_not_delay_the_stop() {
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
fn thousand_talkers_receive_the_same_last_message() {
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
fn active_readers_receive_the_same_last_message_beside_stuck_ones() {
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
fn port_is_free_after_the_stop() {
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
