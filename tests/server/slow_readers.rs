//! Readers that stop reading: when they are closed, and what they receive.

use crate::order::read_replies;
use crate::support::backlog::{Backlog, NEVER};
use crate::support::line_client::SERVER;
use crate::support::{Chat, LineClient, Said, request, unpaced};
use smolchat::server::limits::{LAG_CHECK_INTERVAL, Limits};
use std::time::{Duration, Instant};

/// The farewell of a reader that is too far behind.
const TOO_FAR_BEHIND: &str = "You read too slowly and are too far behind; the connection is closed";

/// Talks until this user is gone, one line after the echo of the last, and returns all lines that
/// the talker receives.
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
fn stuck_reader_gets_a_stream_without_gap_and_the_reason_last() {
    let chat = Chat::with(Limits {
        max_lag_bytes: 64 * 1024,
        ..unpaced()
    });
    let mut stuck = chat.connect_narrow("stuck");
    stuck.rename("stuck");
    let mut talker = chat.join("talker");
    let text = "x".repeat(4000);
    let heard = talk_until_gone(&mut talker, "stuck", &text);
    // Its name is free at once.
    talker.rename("stuck");
    // More lines than the log keeps, in less than the time of a farewell.
    for number in 0..100 {
        talker.say_and_skip_to(&format!("on {number} {text}"));
    }
    let (mut got, rest) = stuck.read_until_broken();
    assert!(
        rest.is_empty(),
        "the last line is cut: {} bytes",
        rest.len()
    );
    let farewell = (SERVER.to_owned(), TOO_FAR_BEHIND.to_owned());
    assert_eq!(got.pop(), Some(farewell));
    // The stream starts with the arrival and the rename of the talker.
    got.drain(..2);
    assert!(!got.is_empty() && got.len() < heard.len());
    assert_eq!(got, heard[..got.len()], "the stream has a gap");
}

#[test]
fn one_byte_over_the_lag_limit_closes_the_reader() {
    const MAX_LAG: u64 = 1024 * 1024;
    let mut backlog = Backlog::start(MAX_LAG as usize, NEVER, NEVER);
    backlog.fill_to(MAX_LAG - 1000);
    backlog.stays_for(2 * LAG_CHECK_INTERVAL);
    backlog.fill_to(MAX_LAG);
    backlog.stays_for(2 * LAG_CHECK_INTERVAL);
    // The shortest line.
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
    // The talker is silent for as long, and stays.
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
    // The replies exceed the sockets, so some of them wait while the talker goes on.
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
    read_replies(&mut stuck, 100, 400, 20);
    let stuck_name = stuck.name.clone();
    stuck.expect(&stuck_name, "now I read");
    talker.skip_to(&stuck_name, "now I read");
    stuck.say("still here");
    stuck.skip_to(&stuck_name, "still here");
}
