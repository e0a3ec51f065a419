//! Faults that were found once, each by a test of its own, named for what was seen.

use crate::support::{Chat, PATIENCE, RealServer, request};
use smolchat::server::limits::Limits;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A reader of the page who asks again and again, without ever waiting for an answer.
fn flood_with_requests(web: std::net::SocketAddr, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let mut stream = TcpStream::connect(web).expect("the page is there");
    let mut answers = stream.try_clone().expect("a second handle");
    let reading = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while answers.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    thread::spawn(move || {
        let requests = "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(500);
        while !stop.load(Ordering::Relaxed) && stream.write_all(requests.as_bytes()).is_ok() {}
        let _ = stream.shutdown(std::net::Shutdown::Both);
        let _ = reading.join();
    })
}

/// The loop over the requests of a connection never let anything else run.
#[test]
fn fast_page_reader_delays_neither_chat_nor_stop() {
    let mut server = RealServer::start(&["--threads", "1"]);
    let stop = Arc::new(AtomicBool::new(false));
    let flood = flood_with_requests(server.web.expect("a page"), stop.clone());
    let mut alice = server.join("alice");
    for round in 0..20 {
        alice.say_and_hear(&format!("round {round}"));
    }
    server.signal("TERM");
    alice.expect_notice("The server is shutting down");
    // Twice the promised five seconds: the machine may be busy.
    let status = server.wait(Duration::from_secs(10));
    stop.store(true, Ordering::Relaxed);
    flood.join().expect("the flood ends");
    assert_eq!(status.code(), Some(0));
}

/// A failed write made the connection's task forget what it had not read yet.
#[test]
fn messages_before_a_close_with_unread_echoes_are_delivered() {
    const CLIENTS: usize = 120;
    const LINES: usize = 8;
    let chat = Chat::with(Limits {
        max_lag_bytes: 1 << 30,
        ..Limits::default()
    });
    let mut witness = chat.join("witness");
    let talkers: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = chat.address;
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("a connection");
                // What waits in the client's own system when it closes is not the server's.
                stream.set_nodelay(true).expect("the option is there");
                for line in 0..LINES {
                    stream
                        .write_all(&request("message", &format!("{client} {line}")))
                        .expect("the server reads");
                }
            })
        })
        .collect();
    for talker in talkers {
        talker.join().expect("the talker ends");
    }
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

/// The start-up lines were printed before the signals were looked at.
#[test]
fn a_signal_right_after_the_start_up_lines_ends_in_order() {
    for _ in 0..10 {
        let mut server = RealServer::start(&["--no-web"]);
        server.signal("TERM");
        assert_eq!(server.wait(PATIENCE).code(), Some(0));
    }
}

/// The client read as long as there was something to read, and sent nothing meanwhile.
#[test]
fn a_typed_line_is_sent_while_the_server_talks_without_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener
        .local_addr()
        .expect("its address")
        .port()
        .to_string();
    let mut client = crate::support::client_command()
        .args(["127.0.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the client starts");
    let (mut stream, _) = listener.accept().expect("the client connects");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a deadline");
    let mut heard = stream.try_clone().expect("a second handle");
    heard.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let has_heard = Arc::new(AtomicBool::new(false));
    let flooding = thread::spawn({
        let has_heard = has_heard.clone();
        move || {
            let line = r#"{"type":"message","data":{"source":"a","message":"on and on"}}"#;
            let lines = format!("{line}\n").repeat(1000);
            let mut rounds = 0_u32;
            // Bounded: a client that sends only after the flood is found out.
            while !has_heard.load(Ordering::Relaxed) && rounds < 3000 {
                stream
                    .write_all(lines.as_bytes())
                    .expect("the client reads");
                rounds += 1;
            }
            rounds
        }
    });
    let mut typed = client.stdin.take().expect("its input");
    typed.write_all(b"hello\n").expect("it takes its input");
    let mut buffer = [0; 64];
    let count = heard.read(&mut buffer).expect("the line comes");
    has_heard.store(true, Ordering::Relaxed);
    assert_eq!(
        &buffer[..count],
        b"{\"type\":\"message\",\"data\":\"hello\"}\n"
    );
    let rounds = flooding.join().expect("the flood ends");
    assert!(rounds < 3000, "the line came only after the flood");
    drop(typed);
    client.kill().expect("the client ends");
    client.wait().expect("the client has ended");
}
