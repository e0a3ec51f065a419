//! The client under load: single bytes, endless lines, floods, and an output that nobody reads.

use crate::pipes::Scene;
use crate::support::program::peak_bytes;
use crate::support::scripted::{Listening, said};
use crate::support::{Deadline, PATIENCE, Program, client_of, eventually, send_signal};
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn single_bytes_are_assembled_to_a_line() {
    let mut scene = Scene::start();
    // The client takes each byte before the next is sent.
    for byte in said("a", "b ☃").bytes() {
        scene.server.send(&[byte]);
        eventually(PATIENCE, "the byte is acknowledged", || {
            unsent_bytes(scene.server.stream()) == 0
        });
    }
    scene.client.stdout.wait_for("a: b ☃\n");
    scene.server.close();
    scene.ends_with("a: b ☃\nServer disconnected\n");
}

/// Returns the bytes in the sending queue of a socket; 0 where the system does not tell.
fn unsent_bytes(stream: &TcpStream) -> u64 {
    let port =
        |address: io::Result<SocketAddr>| format!(":{:04X}", address.expect("an address").port());
    let (own, peer) = (port(stream.local_addr()), port(stream.peer_addr()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let queue = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let queues = fields.get(4)?;
        (fields[1].ends_with(&own) && fields[2].ends_with(&peer)).then(|| queues[..8].to_owned())
    });
    queue.map_or(0, |queue| u64::from_str_radix(&queue, 16).unwrap_or(0))
}

#[test]
fn endless_line_is_skipped_in_bounded_memory() {
    let mut scene = Scene::start();
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..64 {
        scene.server.send(&piece);
    }
    scene.server.send(b"\n");
    scene.server.say("a", "b");
    scene.client.stdout.wait_for("a: b\n");
    let peak = peak_bytes(scene.client.id());
    assert!(peak.is_none_or(|peak| peak < 48 << 20), "{peak:?} bytes");
    scene.server.close();
    scene.ends_with("a: b\nServer disconnected\n");
}

#[test]
fn huge_input_lines_wait_in_bounded_memory() {
    let mut scene = Scene::start();
    let mut stdin = scene.client.stdin.take().expect("an open input");
    let fed = Arc::new(AtomicUsize::new(0));
    let count = fed.clone();
    let feeding = thread::spawn(move || {
        let huge = [b"x".repeat(1_000_000), b"y".repeat(4000)].join(&b'\n');
        // The server does not read: the short lines fill the way, the huge ones wait behind.
        while stdin
            .write_all(&huge)
            .and_then(|()| stdin.write_all(b"\n"))
            .is_ok()
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (mut last, mut since) = (0, Instant::now());
    eventually(2 * PATIENCE, "all buffers are full", || {
        let now = fed.load(Ordering::Relaxed);
        if std::mem::replace(&mut last, now) != now || now == 0 {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_millis(500)
    });
    let peak = peak_bytes(scene.client.id());
    assert!(peak.is_none_or(|peak| peak < 40 << 20), "{peak:?} bytes");
    scene.server.close();
    assert_eq!(scene.client.wait(), Some(0));
    assert!(Deadline::new().poll(|| feeding.is_finished()));
    assert!(scene.client.stderr.text().starts_with("line 1: "));
}

#[test]
fn flood_does_not_delay_typed_lines() {
    // Lines that are printed, and lines that are skipped.
    for line in [said("a", "x"), "{\"type\":\"pong\"}\n".to_owned()] {
        let mut scene = Scene::start();
        let mut flood = scene.server.stream().try_clone().expect("a clone");
        let (under_way, began) = mpsc::channel();
        let flooding = thread::spawn(move || {
            let lines = line.repeat(1000);
            while flood.write_all(lines.as_bytes()).is_ok() {
                // The receiver reads only the first of them.
                let _ = under_way.send(());
            }
        });
        for _ in 0..100 {
            began.recv_timeout(PATIENCE).expect("the flood goes on");
        }
        scene.client.type_line("may I?");
        scene.server.expect("message", "may I?");
        // Ends the flood too.
        let stream = scene.server.stream();
        stream.shutdown(Shutdown::Both).expect("a close");
        assert!(Deadline::new().poll(|| flooding.is_finished()));
        assert_eq!(scene.client.wait(), Some(0));
    }
}

#[test]
fn unread_output_does_not_delay_typed_lines() {
    let listening = Listening::start();
    let mut command = client_of(listening.port(), &[]);
    // The pipe is full and stays so.
    let (_unread, writer) = io::pipe().expect("a pipe");
    command.stdin(Stdio::piped()).stdout(writer);
    let mut client = Program::spawn_with_stdout(command);
    let mut server = listening.accept();
    let lines = said("a", &"x".repeat(1000)).repeat(100);
    let full = Deadline::after(Duration::from_millis(500));
    while full.write(server.stream(), lines.as_bytes()).is_ok() {}
    client.type_line("hello?");
    server.expect("message", "hello?");
    send_signal(client.id(), "INT");
    assert_eq!(client.wait(), Some(130));
}

#[test]
fn reset_during_sending_ends_client() {
    let Scene {
        mut client,
        mut server,
        ..
    } = Scene::start();
    let mut stdin = client.stdin.take().expect("an open input");
    let feeding = thread::spawn(move || while stdin.write_all(b"and on and on\n").is_ok() {});
    server.expect("message", "and on and on");
    server.say("a", "goodbye");
    client.stdout.wait_for("a: goodbye\n");
    server.reset();
    assert_eq!(client.wait(), Some(0));
    assert_eq!(client.stdout.text(), "a: goodbye\nServer disconnected\n");
    assert!(Deadline::new().poll(|| feeding.is_finished()));
}
