//! Bugs of the past. Each test is named for its symptom and has a line on the cause.

use crate::support::http::Http;
use crate::support::link::TimedStream;
use crate::support::scripted::{Listening, said};
use crate::support::{Chat, Deadline, PATIENCE, Program, RealServer, client_of};
use smolchat::server::limits::Limits;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Sends requests to the page without waiting for responses, until the server ends.
fn flood_with_requests(web: SocketAddr) -> JoinHandle<()> {
    let mut link = Http::connect(web).link;
    let mut sender = link.sender();
    link.begin(Deadline::of_test());
    let reading = thread::spawn(move || while link.some().is_ok_and(|bytes| !bytes.is_empty()) {});
    thread::spawn(move || {
        let requests = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
        while sender.write_all(requests.as_bytes()).is_ok() {}
        reading.join().expect("the reading ends");
    })
}

/// The loop over the requests of a connection never yielded to other tasks.
#[test]
fn fast_page_reader_delays_neither_chat_nor_stop() {
    let mut server = RealServer::start(&["--threads", "1"]);
    let flood = flood_with_requests(server.web.expect("a page"));
    let mut alice = server.join("alice");
    for round in 0..20 {
        alice.say_and_hear(&format!("round {round}"));
    }
    server.signal("TERM");
    alice.expect_notice("The server is shutting down");
    // Twice the promised five seconds, because the machine may be busy.
    let status = server.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    flood.join().expect("the flood ends");
}

/// After a failed write, the task of the connection dropped its unread input.
#[test]
fn messages_before_a_close_with_unread_echoes_are_delivered() {
    const CLIENTS: usize = 120;
    const LINES: usize = 8;
    let chat = Chat::with(Limits {
        max_lag_bytes: 1 << 30,
        ..Limits::default()
    });
    let mut witness = chat.join("witness");
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let site = &*chat;
            scope.spawn(move || {
                let mut talker = site.connect_raw("talker");
                for line in 0..LINES {
                    talker.say(&format!("{number} {line}"));
                }
            });
        }
    });
    let (mut heard, mut left) = (0, 0);
    while left < CLIENTS {
        let (source, message) = witness.must_get();
        match source.as_str() {
            "[Server]" => left += usize::from(message.ends_with(" has left the chat")),
            _ => heard += 1,
        }
    }
    assert_eq!(heard, CLIENTS * LINES);
}

/// The server printed its start-up lines before it handled signals.
#[test]
fn a_signal_right_after_the_start_up_lines_ends_in_order() {
    for _ in 0..10 {
        let mut server = RealServer::start(&["--no-web"]);
        server.signal("TERM");
        assert_eq!(server.wait(PATIENCE).code(), Some(0));
    }
}

/// The client sent nothing while it had input from the server.
#[test]
fn a_typed_line_is_sent_while_the_server_talks_without_pause() {
    const ROUNDS: u32 = 3000;
    let listening = Listening::start();
    let mut command = client_of(listening.port(), &[]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut client = Program::spawn_with_stdout(command);
    let mut server = listening.accept();
    let stream = server.stream().try_clone().expect("a second handle");
    let mut sender = TimedStream::new(stream, Deadline::new());
    let is_heard = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let lines = said("a", "on and on").repeat(1000);
            // Bounded, to detect a client that sends only after the flood.
            let rounds = (0..ROUNDS).take_while(|_| !is_heard.load(Ordering::Relaxed));
            rounds
                .map(|_| {
                    sender
                        .write_all(lines.as_bytes())
                        .expect("the client reads")
                })
                .count()
        });
        client.type_line("hello");
        server.expect("message", "hello");
        is_heard.store(true, Ordering::Relaxed);
        let rounds = flood.join().expect("the flood ends");
        assert!(rounds < ROUNDS as usize, "the line came after the flood");
    });
}
