//! Silence and slow lines, at the real timeouts of the protocol.
//!
//! The name of this file sorts first, so that the other tests run meanwhile.

use crate::bench::{Nothing, SERVER, Trial, request};
use std::time::{Duration, Instant};

#[test]
#[ignore = "waits for the real times of the protocol; the slow group runs it"]
fn a_half_line_without_a_byte_for_a_minute_is_refused_and_silence_is_not() {
    let trial = Trial::new();
    let [mut stuck, mut slow, mut silent] = trial.room(["stuck", "slow", "silent"]);
    // Nothing that the three say is about to come, so that each hears only what it is told.
    let start = Instant::now();
    stuck.send(b"{\"type\":\"message\",");
    let mut line = request("message", "slow but whole").into_iter();
    let refused_at = loop {
        slow.send(&[line.next().expect("a line longer than the minutes")]);
        match stuck.hear_within(Duration::from_secs(8)) {
            Ok(line) => {
                assert!(
                    line.source == SERVER && line.subject().is_none(),
                    "{line:?}"
                );
                break start.elapsed();
            }
            Err(Nothing::Silence) => {
                assert!(
                    start.elapsed() < Duration::from_secs(90),
                    "it is not refused"
                );
            }
            Err(nothing) => panic!("a half line ended the connection: {nothing:?}"),
        }
    };
    assert!(refused_at > Duration::from_secs(55), "{refused_at:?}");
    // The rest is skipped, up to the newline, and told only once.
    stuck.send(b"\"data\":\"late\"}\n");
    stuck.say_and_hear("stuck goes on");
    // A byte now and then is enough.
    slow.send(&line.collect::<Vec<u8>>());
    slow.expect(&stuck.name, "stuck goes on");
    slow.echo("slow but whole");
    silent.expect(&stuck.name, "stuck goes on");
    silent.expect(&slow.name, "slow but whole");
    silent.say_and_hear("here all the time");
}

#[test]
#[ignore = "waits for the real times of the protocol; the slow group runs it"]
fn stuck_reader_is_closed_in_time_and_delays_no_client() {
    let trial = Trial::new();
    let [mut alice, mut bob] = trial.room(["alice", "bob"]);
    let text = "t".repeat(4000);
    for _ in 0..30 {
        alice.say_and_hear(&text);
        bob.expect(&alice.name, &text);
    }
    let mut stuck = trial.connect_narrow("stuck");
    let arrival = format!("{} has entered the chat", stuck.name);
    let left = format!("{} has left the chat", stuck.name);
    alice.notice(&arrival);
    bob.notice(&arrival);
    // Far more than all buffers on the way hold: several MB even if others talk little.
    stuck.send(&request("history", "").repeat(190));
    let start = Instant::now();
    loop {
        let sent = Instant::now();
        alice.say(&format!("ping {}", start.elapsed().as_secs()));
        match bob.hear().message {
            told if told == left => break,
            _ => assert!(sent.elapsed() < Duration::from_secs(5), "bob had to wait"),
        }
        // The next one in a second, or when there is something to hear.
        match bob.hear_within(Duration::from_secs(1)) {
            Err(Nothing::Silence) => {}
            Ok(line) if line.message == left => break,
            other => bob.fail(&format!("heard {other:?}")),
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it is not closed"
        );
    }
}
