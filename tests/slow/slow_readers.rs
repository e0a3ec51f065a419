//! Slow readers: cases that need seconds or megabytes.

use crate::support::backlog::{Backlog, NEVER};
use crate::support::{PATIENCE, eventually, skip};
use std::thread;
use std::time::{Duration, Instant};

#[test]
#[ignore = "slow"]
fn soft_lag_timeout_restarts_when_the_reader_catches_up() {
    const MAX_LAG: u64 = 2 * 1024 * 1024;
    const SOFT: Duration = Duration::from_secs(6);
    const LINE: u64 = 4096;
    let mut backlog = Backlog::start(MAX_LAG as usize, SOFT, NEVER);
    let mut above = Duration::ZERO;
    // From here the lag swings by half of the limit, and is never 0.
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
    // The lines that filled the socket are all alike.
    backlog.talker.say_and_hear("now");
    let beginning = backlog.slow.skip_to("talker", "now");
    assert!(beginning.iter().all(|line| line.0 == "talker"));
    let text = "x".repeat(4000);
    // From here the talker is ahead by more than the sockets hold and less than half of the limit.
    let ahead = MAX_LAG * 3 / 8 / 4096;
    let start = Instant::now();
    while start.elapsed() < TIME * 3 {
        backlog.talker.say_and_hear(&format!("{said} {text}"));
        said += 1;
        if said - heard > ahead {
            backlog.slow.expect("talker", &format!("{heard} {text}"));
            heard += 1;
            // At most a hundred lines a second.
            thread::sleep(Duration::from_millis(10));
        }
        if said % 50 == 0 && said > ahead {
            assert_eq!(backlog.behind(), 1, "not behind all the time");
            let lag = backlog.seen_lag();
            assert!(lag <= MAX_LAG / 2, "{lag} bytes behind");
        }
    }
    backlog.is_here();
    // The reader gets the rest without a gap.
    while heard < said {
        backlog.slow.expect("talker", &format!("{heard} {text}"));
        heard += 1;
    }
    backlog.slow.say("all of it");
    backlog.slow.expect("slow", "all of it");
}
