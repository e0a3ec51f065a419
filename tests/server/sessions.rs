//! Sessions of the extended dialect: resume, grace period, and lost connections.

use crate::extended::{over_both, short_grace};
use crate::support::extended::Extended;
use crate::support::{LineClient, PATIENCE, Site, eventually};
use serde_json::{Value, json};
use smolchat::server::limits::Limits;

#[test]
fn resumption_in_the_grace_time_is_unannounced() {
    over_both(Limits::default(), |site| {
        let mut witness = Extended::join(site, "witness");
        let alice = Extended::join(site, "alice");
        witness.skip_to("renamed");
        let lost = alice.lose(site);
        witness.say("meanwhile");
        witness.send("users", json!(""));
        assert_eq!(witness.skip_to("users").as_array().map(Vec::len), Some(2));
        witness.send("private", json!({"target": "alice", "message": "kept"}));
        witness.skip_to("private");
        // The name is kept for it.
        witness.refused("set-name", json!("alice"), "name-taken");
        let mut back = lost.resume(site);
        assert_eq!((back.name.as_str(), &back.token), ("alice", &lost.token));
        assert_eq!(back.welcome["users"], 2);
        assert_eq!(
            back.welcome["resumed"],
            json!({"complete": true, "missed": 2})
        );
        assert_eq!(back.expect("message")["message"], "meanwhile");
        back.expect("joined");
        assert_eq!(back.expect("left")["reason"], "resumed");
        assert_eq!(back.expect("private")["message"], "kept");
        // The witness sees the temporary user only.
        assert_eq!(witness.expect("joined")["name"], back.line.address());
        assert_eq!(witness.expect("left")["reason"], "resumed");
        back.say("here again");
        assert_eq!(witness.expect("message")["source"], "alice");
    });
}

#[test]
fn resumed_user_without_name_takes_the_new_address() {
    over_both(Limits::default(), |site| {
        let mut witness = Extended::join(site, "witness");
        let mut client = Extended::connect(site, "client");
        client.say("something");
        witness.skip_to("message");
        let before = client.name.clone();
        let mut back = client.lose(site).resume(site);
        assert_eq!(back.name, back.line.address());
        witness.skip_to("left");
        let renamed = witness.expect("renamed");
        assert_eq!(
            (&renamed["name"], &renamed["new_name"]),
            (&json!(before), &json!(back.name))
        );
        assert_eq!(back.skip_to("renamed"), renamed);
    });
}

#[test]
fn connected_user_moves_to_the_new_connection() {
    over_both(Limits::default(), |site| {
        let mut witness = Extended::join(site, "witness");
        let mut first = Extended::join(site, "alice");
        witness.skip_to("renamed");
        let second = first.state().resume(site);
        assert_eq!(second.name, "alice");
        let bye = first.skip_to("bye");
        assert_eq!(
            [&bye["reason"], &bye["reconnect"]],
            [&json!("replaced"), &json!(false)]
        );
        assert!(first.next().is_none());
        assert_eq!(witness.skip_to("left")["reason"], "resumed");
        witness.send("users", json!(""));
        assert_eq!(witness.skip_to("users").as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn after_the_grace_time_the_name_is_free_and_given_back_if_it_still_is() {
    over_both(short_grace(), |site| {
        let mut witness = Extended::join(site, "witness");
        let alice = Extended::join(site, "alice");
        witness.skip_to("renamed");
        let lost = alice.lose(site);
        witness.send("private", json!({"target": "alice", "message": "in vain"}));
        witness.skip_to("private");
        assert_eq!(witness.expect("left")["reason"], "lost");
        let error = witness.expect("error");
        assert_eq!(
            [&error["code"], &error["type"]],
            ["not-delivered", "private"]
        );
        let mut back = lost.resume(site);
        assert_eq!(back.name, "alice");
        assert_eq!(back.skip_to("renamed")["new_name"], "alice");
        witness.skip_to("renamed");
        let lost = back.lose(site);
        witness.skip_to("left");
        witness.send("set-name", json!("alice"));
        witness.skip_to("renamed");
        let mut back = lost.resume(site);
        assert_eq!(back.name, back.line.address());
        let told = back.skip_to("notice")["message"].to_string();
        assert!(told.contains("alice"), "{told}");
    });
}

#[test]
fn silent_session_ends_with_its_connection() {
    over_both(Limits::default(), |site| {
        let mut witness = Extended::join(site, "witness");
        assert!(witness.welcome["known"].is_null());
        let silent = Extended::connect(site, "silent");
        let lost = silent.lose(site);
        assert_eq!(witness.skip_to("left")["reason"], "lost");
        let back = lost.resume(site);
        assert_eq!(back.welcome["known"], false);
        assert_ne!(back.token, lost.token);
    });
}

#[test]
fn user_of_a_moment_has_no_grace_time_but_gets_its_name_back() {
    let limits = Limits {
        min_stay: PATIENCE,
        ..Limits::default()
    };
    over_both(limits, |site| {
        let mut witness = Extended::join(site, "witness");
        let lost = Extended::join(site, "alice").lose(site);
        assert_eq!(witness.skip_to("left")["name"], "alice");
        let back = lost.resume(site);
        assert_eq!((back.name.as_str(), &back.token), ("alice", &lost.token));
    });
}

#[test]
fn quit_and_eviction_have_no_grace_time() {
    over_both(Limits::default(), |site| {
        let mut witness = Extended::join(site, "witness");
        let mut alice = Extended::join(site, "alice");
        witness.skip_to("renamed");
        alice.send("quit", json!(""));
        assert_eq!(witness.expect("left")["reason"], "quit");
        assert!(alice.next().is_none_or(|(kind, _)| kind == "left") || alice.next().is_none());
        witness.send("set-name", json!("alice"));
        witness.expect("renamed");
    });
}

#[test]
fn user_in_the_grace_time_uses_no_slot() {
    let limits = Limits {
        max_clients: 2,
        ..Limits::default()
    };
    over_both(limits, |site| {
        let _witness = Extended::join(site, "witness");
        let lost = Extended::join(site, "alice").lose(site);
        let other = site.connect("other");
        let mut refused = site.connect_raw("refused");
        refused.expect_notice("The chat is full (2 users); try again later");
        drop(other);
        eventually(PATIENCE, "there is room again", || {
            site.metric("smolchat_users") == 1
        });
        assert_eq!(lost.resume(site).name, "alice");
    });
}

#[test]
fn unknown_history_is_reported_and_replayed_as_far_as_kept() {
    over_both(Limits::default(), |site| {
        let mut alice = Extended::join(site, "alice");
        alice.say("one");
        for after in [
            json!({"epoch": "another", "id": 1}),
            json!({"epoch": alice.epoch, "id": 1_000_000}),
        ] {
            let mut client = Extended::hello(site, "x", json!({"version": 2, "after": after}));
            let resumed = client.welcome["resumed"].clone();
            assert_eq!(resumed["complete"], false);
            let oldest = resumed["oldest"].as_u64().expect("a number");
            assert_eq!(oldest, 1);
            client.last = oldest - 1;
            assert_eq!(client.expect("joined")["id"], 1);
            client.skip_to("message");
        }
        // A token that nobody knows is that of a new user.
        for token in ["", "x", &"0".repeat(32)] {
            let hello = json!({"version": 2, "token": token});
            let client = Extended::hello(site, "stranger", hello);
            assert_ne!(client.token, token);
            assert_eq!(client.welcome["known"], false);
            assert_eq!(client.name, client.line.address());
        }
    });
}

/// For a cut at any byte, the events before it and those after the resume are together those of a
/// client without a cut.
#[test]
fn a_cut_at_every_byte_then_a_resume_gives_the_uncut_dialogue() {
    over_both(Limits::default(), |site| {
        let mut whole = Extended::join(site, "whole");
        let mut talker = Extended::join(site, "talker");
        let start = whole.skip_to("renamed")["id"].as_u64().expect("a number");
        for number in 0..6 {
            talker.say(&format!("m{number} č\n🦀"));
        }
        let last = talker.last;
        let mut expected = Vec::new();
        while whole.last < last {
            expected.push(whole.next().expect("an event").1);
        }
        // The bytes of the missed events, which follow the welcome.
        let length = {
            let mut probe = resumer(site, &talker.epoch, start);
            let events = (0..expected.len()).map(|_| event_line(&mut probe).len());
            let length: usize = events.sum();
            probe.request("quit", "");
            length
        };
        for cut in 0..=length {
            let mut first = resumer(site, &talker.epoch, start);
            let mut taken = Vec::new();
            let mut bytes = 0;
            // A client keeps the whole lines before the cut and drops a torn one.
            while taken.len() < expected.len() {
                let line = event_line(&mut first);
                bytes += line.len();
                if bytes > cut {
                    break;
                }
                taken.push(data_of(&line));
            }
            first.reset();
            let place = taken
                .last()
                .map_or(start, |event| event["id"].as_u64().expect("a number"));
            let mut second = resumer(site, &talker.epoch, place);
            while taken.len() < expected.len() {
                taken.push(data_of(&event_line(&mut second)));
            }
            second.reset();
            assert_eq!(taken, expected, "cut at {cut}");
        }
    });
}

/// Connects a client that has received its welcome and is after the event with this id.
fn resumer(site: &Site, epoch: &str, id: u64) -> LineClient {
    let mut line = site.connect_raw("resumer");
    line.next_line().expect("its own arrival");
    let after = json!({"epoch": epoch, "id": id});
    let hello = json!({"type": "hello", "data": {"version": 2, "after": after}});
    line.send_raw(format!("{hello}\n").as_bytes());
    loop {
        let welcome = line.next_line().expect("a welcome");
        let welcome: Value = serde_json::from_slice(&welcome).expect("JSON");
        if welcome["type"] == "welcome" {
            assert_eq!(welcome["data"]["resumed"]["complete"], true);
            return line;
        }
    }
}

fn event_line(line: &mut LineClient) -> Vec<u8> {
    line.next_line().expect("an event")
}

fn data_of(line: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(line).expect("JSON");
    value["data"].take()
}
