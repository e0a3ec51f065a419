//! Clients that send too much.

use crate::support::random::Random;
use crate::support::{Chat, PATIENCE, RealServer, eventually, request, unpaced_with};
use smolchat::server::limits::{Limits, MAX_LINES_PER_TURN};
use std::time::{Duration, Instant};

#[test]
fn random_bytes_affect_only_their_sender() {
    let chat = Chat::start();
    let [mut witness] = chat.room(["witness"]);
    let mut random = Random::new(1);
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..4096).map(|_| random.next() as u8).collect();
        let mut culprit = chat.connect("culprit");
        let name = culprit.address();
        witness.expect_notice(&format!("{name} has entered the chat"));
        // The server may have closed it after too many rejections.
        let _ = culprit.try_send(&bytes);
        let _ = culprit.stream.shutdown(std::net::Shutdown::Write);
        let (lines, rest) = culprit.read_until_broken();
        assert!(
            rest.is_empty() && lines.iter().all(|line| line.0 == "[Server]"),
            "{lines:?}"
        );
        witness.expect_notice(&format!("{name} has left the chat"));
    }
    witness.say_and_hear("nothing was said");
}

#[test]
fn rate_limit_counts_rejected_lines() {
    let limits = Limits {
        rate_per_second: 10,
        burst_lines: 5,
        ..Limits::default()
    };
    let chat = Chat::with(limits);
    let mut flooder = chat.connect("flooder");
    let start = Instant::now();
    flooder.send_raw(&b"garbage\n".repeat(17));
    for _ in 0..17 {
        flooder.notice();
    }
    flooder.expect_end();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(600),
        "17 refusals came within {took:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn quiet_client_waits_a_few_batches_during_a_flood() {
    const FLOOD: usize = 1000;
    let server = RealServer::start(&unpaced_with(&[]));
    let [mut quiet, mut flooder, mut witness] = server.room(["quiet", "flooder", "witness"]);
    // While the server is halted, both wait in the kernel, the flood first: from then on the
    // order is the server's choice alone.
    halt(&server);
    let flood: Vec<u8> = (0..FLOOD)
        .flat_map(|number| request("message", &number.to_string()))
        .collect();
    flooder.send_raw(&flood);
    quiet.say("excuse me");
    server.signal("CONT");
    let before = witness.skip_to("quiet", "excuse me").len();
    assert!(
        before <= 4 * MAX_LINES_PER_TURN,
        "{before} lines of the flood came before the quiet client's"
    );
    let rest = witness.skip_to("flooder", &(FLOOD - 1).to_string()).len();
    assert_eq!(before + rest + 1, FLOOD, "and none of the flood is lost");
}

/// Halts the program, and waits until it is.
#[cfg(target_os = "linux")]
fn halt(server: &RealServer) {
    server.signal("STOP");
    eventually(PATIENCE, "the server is halted", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id()));
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T')))
    });
}
