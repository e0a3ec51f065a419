//! Readers that stop reading: when they are closed, and what they receive.

use crate::support::{
    Chat, LineClient, RealServer, Said,
    backlog::{Backlog, NEVER},
    request, unpaced, unpaced_with,
};
use smolchat::server::limits::{LAG_CHECK_INTERVAL, Limits};
use std::thread;
use std::time::{Duration, Instant};

/// What those are told who are too far behind.
const TOO_FAR_BEHIND: &str = "You read too slowly and are too far behind; the connection is closed";

/// Talks until this user is gone, in step with the echo: the server serves the talker all the
/// while. Everything that the talker was told.
#[track_caller]
fn talk_until_gone(talker: &mut LineClient, gone: &str, text: &str) -> Vec<Said> {
    let departure = format!("{gone} has left the chat");
    let mut heard = Vec::new();
    for number in 0..50_000 {
        let line = format!("{number} {text}");
        talker.say(&line);
        heard.extend(talker.skip_to(&talker.name.clone(), &line));
        heard.push((talker.name.clone(), line));
        if heard.iter().rev().take(2).any(|line| line.1 == departure) {
            return heard;
        }
    }
    talker.fail(&format!("{gone} was never closed"));
}

#[test]
fn stuck_reader_is_closed_and_its_stream_has_no_gap() {
    let limits = Limits {
        max_lag_bytes: 64 * 1024,
        ..unpaced()
    };
    let chat = Chat::with(limits);
    let mut stuck = chat.connect_narrow("stuck");
    stuck.rename("stuck");
    let mut talker = chat.join("talker");
    let heard = talk_until_gone(&mut talker, "stuck", &"x".repeat(4000));
    // Its name is free at once.
    talker.rename("stuck");
    // What it was sent is the beginning of what was said; perhaps a farewell, then the end.
    let (mut got, rest) = stuck.read_until_broken();
    let arrival = format!("{} has entered the chat", talker.address());
    assert_eq!(got.remove(0).1, arrival);
    assert_eq!(
        got.remove(0).1,
        format!("{} renamed to talker", talker.address())
    );
    if got.last().is_some_and(|line| line.0 == "[Server]") {
        got.pop();
    }
    assert!(!got.is_empty() && got.len() < heard.len());
    assert_eq!(got, heard[..got.len()], "the stream has a gap");
    if !rest.is_empty() {
        let partial = String::from_utf8_lossy(&rest).into_owned();
        assert!(partial.starts_with("{\"type\":\"message\""), "{partial}");
    }
}

#[test]
fn slow_reader_gets_the_reason_as_last_line() {
    let server = RealServer::start(&unpaced_with(&["--max-lag", "1048576"]));
    let mut stuck = server.join("stuck");
    let mut talker = server.join("talker");
    let text = "x".repeat(4000);
    talk_until_gone(&mut talker, "stuck", &text);
    // More than the log keeps, in less than the time for a farewell.
    for number in 0..400 {
        talker.say_and_skip_to(&format!("on {number} {text}"));
    }
    let (got, rest) = stuck.read_until_broken();
    assert!(
        rest.is_empty(),
        "the last line is cut: {} bytes",
        rest.len()
    );
    let told = "You read too slowly and are too far behind; the connection is closed";
    let last = got.last().expect("a last line");
    assert_eq!((last.0.as_str(), last.1.as_str()), ("[Server]", told));
}

#[test]
fn write_timeout_closes_stuck_reader_and_not_silent_one() {
    let chat = Chat::with(Limits {
        max_lag_bytes: 1024 * 1024 * 1024,
        write_stall_timeout: Duration::from_secs(1),
        ..unpaced()
    });
    let mut stuck = chat.connect_narrow("stuck");
    stuck.rename("stuck");
    let [mut talker, mut silent] = chat.room(["talker", "silent"]);
    let text = "x".repeat(4000);
    let mut seen = Vec::new();
    for _ in 0..15 {
        seen.extend(talker.say_many(100, &text));
        silent.skip_to("talker", &format!("99 {text}"));
    }
    // It is far less behind than is allowed.
    wait_for_departure(&mut talker, "stuck", &seen);
    // The silent client outlives the timeout as well.
    thread::sleep(Duration::from_millis(1500));
    silent.say("it was not me");
    talker.expect("silent", "it was not me");
}

#[test]
fn one_byte_over_the_lag_limit_closes_the_reader() {
    const MAX_LAG: u64 = 1024 * 1024;
    let mut backlog = Backlog::start(MAX_LAG as usize, NEVER, NEVER);
    backlog.fill_to(MAX_LAG - 1000);
    backlog.stays_for(2 * LAG_CHECK_INTERVAL);
    backlog.fill_to(MAX_LAG);
    backlog.stays_for(2 * LAG_CHECK_INTERVAL);
    // The shortest line there is.
    let shortest = backlog.frame + 1;
    backlog.say(shortest);
    backlog.is_closed("lag", TOO_FAR_BEHIND);
}

#[test]
fn half_of_the_lag_limit_is_allowed_without_timeout() {
    const MAX_LAG: u64 = 1024 * 1024;
    const SOFT: Duration = Duration::from_secs(1);
    let mut backlog = Backlog::start(MAX_LAG as usize, SOFT, NEVER);
    backlog.fill_to(MAX_LAG / 2);
    backlog.stays_for(SOFT + SOFT / 2);
    let start = Instant::now();
    let shortest = backlog.frame + 1;
    backlog.say(shortest);
    if start.elapsed() < SOFT / 2 {
        backlog.is_here();
    }
    backlog.is_closed("lag-time", TOO_FAR_BEHIND);
    let took = start.elapsed();
    assert!(took >= SOFT, "it was closed after {took:?}");
}

#[test]
fn write_timeout_is_the_last_line() {
    const STALL: Duration = Duration::from_secs(2);
    let mut backlog = Backlog::start(64 * 1024 * 1024, NEVER, STALL);
    if backlog.start.elapsed() < STALL / 2 {
        backlog.is_here();
    }
    // It is hardly behind.
    assert!(backlog.lag < 1024 * 1024, "{} bytes behind", backlog.lag);
    let told = "You took nothing of what was sent for too long; the connection is closed";
    backlog.is_closed("write-timeout", told);
    let took = backlog.start.elapsed();
    assert!(took >= STALL, "it was closed after {took:?}");
}

#[test]
fn stuck_reader_that_disconnects_leaves_at_once() {
    let chat = Chat::with(Limits {
        max_lag_bytes: 64 * 1024 * 1024,
        ..unpaced()
    });
    let mut talker = chat.join("talker");
    let mut stuck: Vec<LineClient> = Vec::new();
    for number in 0..4 {
        let mut client = chat.connect_narrow("stuck");
        talker.expect_notice(&format!("{} has entered the chat", client.address()));
        if number % 2 == 1 {
            client.request("history", "");
        }
        stuck.push(client);
    }
    let text = "x".repeat(4000);
    talker.say_many(3000, &text);
    for (number, client) in stuck.into_iter().enumerate() {
        let gone = format!("{} has left the chat", client.address());
        if number < 2 {
            client.reset();
        } else {
            drop(client);
        }
        talker.expect_notice(&gone);
    }
    talker.request("users", "");
    talker.expect_notice("Connected users (1): talker");
}

#[test]
fn stuck_reader_with_pending_replies_receives_everything_in_order() {
    let limits = Limits {
        history_messages: 100,
        max_lag_bytes: 64 * 1024 * 1024,
        ..unpaced()
    };
    let chat = Chat::with(limits);
    let mut talker = chat.join("talker");
    let text = "x".repeat(4000);
    talker.say_many(100, &text);
    let mut stuck = chat.connect_narrow("stuck");
    let arrival = format!("{} has entered the chat", stuck.address());
    talker.expect_notice(&arrival);
    // Together they are more than the sockets hold: some wait while the talk goes on.
    let requests = [
        request("history", "").repeat(20),
        request("message", "now I read"),
    ];
    stuck.send_raw(&requests.concat());
    for number in 100..400 {
        let line = format!("{number} {text}");
        talker.say(&line);
        talker.skip_to("talker", &line);
    }
    let (mut newest, mut replies) = (99, 0);
    let stuck_name = stuck.name.clone();
    loop {
        let (source, line) = stuck.must_get();
        if source == stuck_name {
            assert_eq!(line, "now I read");
            break;
        }
        let number: u64 = line
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .expect("a number");
        if number == newest + 1 {
            newest = number;
            continue;
        }
        assert_eq!(
            number,
            newest - 99,
            "after {newest}: neither the next message nor a reply"
        );
        for expected in number + 1..=newest {
            let (_, line) = stuck.must_get();
            assert!(
                line.starts_with(&format!("{expected} ")),
                "inside of a reply after {newest}"
            );
        }
        replies += 1;
    }
    assert_eq!(replies, 20);
    talker.skip_to(&stuck_name, "now I read");
    stuck.say("still here");
    stuck.skip_to(&stuck_name, "still here");
}

/// Waits until this user is gone, unless that was already seen.
#[track_caller]
fn wait_for_departure(client: &mut LineClient, name: &str, seen: &[Said]) {
    let departure = format!("{name} has left the chat");
    if !seen.iter().any(|line| line.1 == departure) {
        client.skip_to("[Server]", &departure);
    }
}
