//! Timeouts of TCP connections: half lines and dead peers.

use crate::support::{Chat, PATIENCE, eventually, request, skip};
use smolchat::server::limits::Limits;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

#[test]
fn half_line_without_a_byte_is_rejected_and_silence_is_not() {
    let chat = Chat::with(Limits {
        half_line_timeout: Duration::from_secs(2),
        ..Limits::default()
    });
    let [mut stuck, mut silent] = chat.room(["stuck", "silent"]);
    stuck.send_raw(b"{\"type\":\"message\",");
    let told = stuck.notice();
    assert!(told.contains("2 seconds"), "{told}");
    // The rest up to the newline is skipped and rejected only once.
    stuck.send_raw(b"\"data\":\"late\"}\n");
    stuck.say_and_hear("goes on");
    silent.expect("stuck", "goes on");
    silent.say_and_hear("here all the time");
}

#[test]
fn half_line_with_a_byte_now_and_then_is_accepted() {
    let chat = Chat::with(Limits {
        half_line_timeout: Duration::from_secs(2),
        ..Limits::default()
    });
    let mut slow = chat.join("slow");
    // Each pause is shorter than the timeout, all of them together are longer.
    for byte in b"        " {
        slow.send_raw(&[*byte]);
        thread::sleep(Duration::from_millis(300));
    }
    slow.say_and_hear("goes on");
}

#[test]
fn half_line_timeout_does_not_run_while_the_rate_limit_holds_the_client() {
    let chat = Chat::with(Limits {
        half_line_timeout: Duration::from_secs(2),
        rate_per_second: 2,
        burst_lines: 3,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let lines = request("message", "held back").repeat(10);
    let last = request("message", "whole at last");
    alice.send_raw(&[&lines, &last[..10]].concat());
    for _ in 0..10 {
        alice.expect("alice", "held back");
    }
    alice.send_raw(&last[10..]);
    alice.expect("alice", "whole at last");
}

#[test]
fn keepalive_probes_a_silent_connection_within_two_minutes() {
    let chat = Chat::start();
    let alice = chat.connect("alice");
    let (server, client) = (chat.address, alice.stream.local_addr().expect("an address"));
    let key = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(v4.ip().octets()),
            v4.port()
        ),
        SocketAddr::V6(_) => unreachable!("the server listens on IPv4"),
    };
    if std::fs::read_to_string("/proc/net/tcp").is_err() {
        return skip("this system does not tell the timers of its connections");
    }
    // Columns: number, local, remote, state, queues, timer:when in hundredths of a second.
    let keepalive_timer = || {
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let row = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = row
            .filter(|row| row.len() > 5)
            .find(|row| row[1] == key(server) && row[2] == key(client))?;
        let (timer, when) = row[5].split_once(':')?;
        (timer == "02")
            .then(|| u64::from_str_radix(when, 16).ok())
            .flatten()
    };
    // The timer of an unacknowledged line comes first.
    eventually(PATIENCE, "a keepalive timer on the server's side", || {
        keepalive_timer().is_some_and(|when| when <= 120 * 100)
    });
}
