//! Slow readers: cases that need seconds or megabytes.

use crate::support::{
    Chat, LineClient, PATIENCE, Said,
    backlog::{Backlog, NEVER},
    eventually, skip, unpaced,
};
use smolchat::server::limits::Limits;
use std::thread;
use std::time::{Duration, Instant};

#[test]
#[ignore = "slow"]
fn reader_above_the_soft_lag_limit_is_closed_after_its_timeout() {
    let chat = Chat::with(Limits {
        max_message_bytes: 1024 * 1024,
        max_line_bytes: 7 * 1024 * 1024,
        max_lag_bytes: 64 * 1024 * 1024,
        soft_lag_timeout: Duration::from_secs(5),
        // Not for this reason.
        write_stall_timeout: 100 * PATIENCE,
        ..unpaced()
    });
    let mut stuck = chat.connect_narrow("stuck");
    stuck.rename("stuck");
    let mut talker = chat.join("talker");
    // The sockets hold some megabytes: 44 are more than half of the limit behind, and 44 are
    // not all of it.
    let text = "x".repeat(1024 * 1024);
    let start = Instant::now();
    let mut seen = Vec::new();
    for _ in 0..44 {
        seen.extend(talker.say_and_skip_to(&text));
    }
    talker.request("users", "");
    // On a machine that stands still the time may have passed already.
    if start.elapsed() < Duration::from_secs(4) {
        assert!(seen.is_empty());
        talker.expect_notice("Connected users (2): stuck, talker");
    }
    wait_for_departure(&mut talker, "stuck", &seen);
}

#[test]
#[ignore = "slow"]
fn soft_lag_timeout_restarts_when_the_reader_catches_up() {
    const MAX_LAG: u64 = 2 * 1024 * 1024;
    const SOFT: Duration = Duration::from_secs(6);
    const LINE: u64 = 4096;
    let mut backlog = Backlog::start(MAX_LAG as usize, SOFT, NEVER);
    let mut above = Duration::ZERO;
    // From there it swings by half of the bound, and is behind all the time.
    backlog.fill_to(MAX_LAG * 3 / 8);
    while above < SOFT {
        let start = Instant::now();
        for _ in 0..MAX_LAG / 2 / LINE {
            backlog.say(LINE);
        }
        eventually(PATIENCE, "the server sees more than half", || {
            backlog.seen_lag() > MAX_LAG / 2
        });
        let is_above = Instant::now();
        backlog.stays_for(SOFT / 4);
        above += is_above.elapsed();
        for _ in 0..MAX_LAG / 2 / LINE {
            backlog.slow.must_get();
        }
        let took = start.elapsed();
        if took >= SOFT {
            return skip(&format!("the machine stood still: a round took {took:?}"));
        }
        eventually(PATIENCE, "the server sees less than half", || {
            backlog.seen_lag() < MAX_LAG / 2
        });
        assert_eq!(backlog.behind(), 1, "not behind all the time");
    }
    backlog.is_here();
}

#[test]
#[ignore = "slow"]
fn slow_but_steady_reader_is_never_closed() {
    const MAX_LAG: u64 = 1024 * 1024;
    const TIME: Duration = Duration::from_secs(3);
    let mut backlog = Backlog::start(MAX_LAG as usize, TIME, TIME);
    backlog.slow.expect_notice(&format!(
        "{} has entered the chat",
        backlog.talker.address()
    ));
    backlog
        .slow
        .expect_notice(&format!("{} renamed to talker", backlog.talker.address()));
    let (mut said, mut heard) = (0, 0);
    // The lines of the beginning, which are all alike.
    backlog.talker.say_and_hear("now");
    let beginning = backlog.slow.skip_to("talker", "now");
    assert!(beginning.iter().all(|line| line.0 == "talker"));
    let text = "x".repeat(4000);
    // Ahead of it from here on by more than the sockets hold, and never by half of the bound.
    let ahead = MAX_LAG * 3 / 8 / 4096;
    let start = Instant::now();
    while start.elapsed() < TIME * 3 {
        backlog.talker.say_and_hear(&format!("{said} {text}"));
        said += 1;
        if said - heard > ahead {
            backlog.slow.expect("talker", &format!("{heard} {text}"));
            heard += 1;
            // This slow: a hundred lines a second, or fewer.
            thread::sleep(Duration::from_millis(10));
        }
        if said % 50 == 0 && said > ahead {
            assert_eq!(backlog.behind(), 1, "not behind all the time");
            let lag = backlog.seen_lag();
            assert!(lag <= MAX_LAG / 2, "{lag} bytes behind");
        }
    }
    backlog.is_here();
    // It gets the rest of it, without a gap.
    while heard < said {
        backlog.slow.expect("talker", &format!("{heard} {text}"));
        heard += 1;
    }
    backlog.slow.say("all of it");
    backlog.slow.expect("slow", "all of it");
}

/// Waits until this user is gone, unless that was already seen.
#[track_caller]
fn wait_for_departure(client: &mut LineClient, name: &str, seen: &[Said]) {
    let departure = format!("{name} has left the chat");
    if !seen.iter().any(|line| line.1 == departure) {
        client.skip_to("[Server]", &departure);
    }
}
