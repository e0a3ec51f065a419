//! The live stream of the page.

use crate::support::http::{Events, Http, get, is_time};
use crate::support::{Chat, LineClient, PATIENCE, eventually, unpaced};
use serde_json::json;
use smolchat::server::limits;
use smolchat::server::limits::Limits;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn stream_has_a_snapshot_then_every_event() {
    let (chat, web) = Chat::with_page(Limits::default());
    let [mut alice] = chat.room(["alice"]);
    let mut events = Events::open(web);
    let snapshot = events.expect("snapshot").data;
    assert_eq!(snapshot["users"][0]["name"], "alice");
    assert_eq!(snapshot["messages"][0]["message"], "everyone is here");
    assert!(
        snapshot["epoch"]
            .as_str()
            .is_some_and(|epoch| !epoch.is_empty())
    );
    let last = snapshot["last"].as_u64().expect("a number");
    assert_eq!(snapshot["messages"][0]["id"].as_u64(), Some(last));

    let mut bob = chat.connect("bob");
    let address = bob.address();
    let joined = events.expect("joined");
    assert_eq!(
        (joined.id, &joined.data["name"]),
        (Some(last + 1), &json!(address))
    );
    bob.rename("bob");
    let renamed = events.expect("renamed");
    assert_eq!(renamed.data["name"], address);
    assert_eq!(renamed.data["new_name"], "bob");
    alice.say("two\nlines <b>");
    let message = events.expect("message");
    assert_eq!(message.data["source"], "alice");
    assert_eq!(message.data["message"], "two\nlines <b>");
    drop(bob);
    let left = events.expect("left");
    assert_eq!(left.data["name"], "bob");
    for (frame, id) in [(joined, 1), (renamed, 2), (message, 3), (left, 4)] {
        assert_eq!(frame.id, Some(last + id));
        assert_eq!(frame.data["id"].as_u64(), frame.id);
        assert!(is_time(&frame.data["time"]), "{frame:?}");
    }
    // A stream that begins now has all of it.
    let snapshot = Events::open(web).expect("snapshot").data;
    assert_eq!(snapshot["last"].as_u64(), Some(last + 4));
    assert_eq!(snapshot["messages"][1]["message"], "two\nlines <b>");
}

#[test]
fn streams_that_begin_while_others_talk_have_neither_gap_nor_repetition() {
    let (chat, web) = Chat::with_page(Limits {
        history_messages: 10,
        ..unpaced()
    });
    let mut talker = chat.join("talker");
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !enough.load(Ordering::Relaxed) {
                talker.say_and_hear(&number.to_string());
                number += 1;
            }
        });
        // Whatever happens in here, the talker ends.
        let _end = SetAtEnd(&enough);
        for _ in 0..20 {
            let mut events = Events::open(web);
            let snapshot = events.expect("snapshot");
            let last = snapshot.data["last"].as_u64().expect("a number");
            for next in last + 1..last + 21 {
                assert_eq!(events.expect("message").id, Some(next));
            }
        }
    });
}

/// Says that it is over when it is dropped, also by a panic.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_crowd_is_summarised_in_the_chat_but_not_on_the_page() {
    let (chat, web) = Chat::with_page(Limits {
        announce_limit: 0,
        ..Limits::default()
    });
    let mut events = Events::open(web);
    events.expect("snapshot");
    let guests: Vec<LineClient> = (0..5)
        .map(|number| chat.connect(&number.to_string()))
        .collect();
    for guest in &guests {
        assert_eq!(events.expect("joined").data["name"], guest.address());
    }
}

#[test]
fn the_stream_says_bye_when_the_server_stops() {
    let (mut chat, web) = Chat::with_page(Limits::default());
    let mut events = Events::open(web);
    events.expect("snapshot");
    let mut alice = chat.join("alice");
    events.expect("joined");
    events.expect("renamed");
    chat.begin_stop();
    alice.expect_notice("The server is shutting down");
    assert_eq!(events.expect("bye").data["reason"], "shutdown");
    assert_eq!(events.next(), None);
    chat.wait_for_end();
}

#[test]
fn surplus_stream_is_rejected_until_another_ends() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut streams: Vec<Events> = (0..limits::WEB_MAX_STREAMS)
        .map(|_| Events::open(web))
        .collect();
    let answer = get(web, "/api/events");
    assert_eq!(answer.status, 503);
    assert!(
        answer.header("retry-after").parse::<u32>().is_ok(),
        "{answer:?}"
    );
    // The page itself is still there.
    assert_eq!(get(web, "/").status, 200);
    drop(streams.pop());
    // That it is gone is noticed by what cannot be written to it.
    let mut number = 0;
    eventually(PATIENCE, "room for another stream", || {
        number += 1;
        alice.say_and_hear(&number.to_string());
        let mut http = Http::connect(web);
        http.send(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        http.head().status == 200
    });
}
