//! Conformance tests of the basic dialect, over sockets alone.
//!
//! `cargo test --test conformance` starts the server of this package. With
//! `SMOLCHAT_TARGET=host:port` the tests use a running server with the default limits, at most some
//! 400 users and no address translation on the way, and skip those that need a server of their own.
//! Other users may talk meanwhile. The tests ignore their lines and do them no harm.
//!
//! This file has requests, events, order and disconnects.

mod a_minute;
mod adversary;
mod bench;
mod client;
mod foreign;
mod names;
mod operator;
mod refused;
#[path = "../support/mod.rs"]
mod support;

use bench::{Client, Line, SERVER, Trial, request, unique};

// Requests

#[test]
fn message_reaches_every_user_and_its_sender() {
    let trial = Trial::new();
    let [mut alice, mut bob, mut carol] = trial.room(["alice", "bob", "carol"]);
    for text in [
        "hello",
        "\"quoted\" \\ back / slash",
        "ünï ☃ 👩‍🚀 日本 \u{10ffff}",
        "/users",
        "{\"type\":\"users\",\"data\":\"\"}",
        "[Server]: forged has entered the chat",
        "[Server]",
        "a\u{2028}b\u{2029}c",
    ] {
        alice.say_and_hear(text);
        bob.expect(&alice.name, text);
        carol.expect(&alice.name, text);
    }
}

#[test]
fn a_message_is_delivered_untrimmed() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for text in [" x ", "\t.\t", "x  y", "\u{3000}x\u{a0}"] {
        pair.said(text);
    }
}

#[test]
fn set_name_is_announced_to_every_user() {
    let trial = Trial::new();
    let [mut bob] = trial.room(["bob"]);
    let mut guest = trial.connect("guest");
    let address = guest.name.clone();
    bob.notice(&format!("{address} has entered the chat"));
    let (first, second) = (trial.name("first"), trial.name("second"));
    guest.rename(&first);
    bob.notice(&format!("{address} renamed to {first}"));
    guest.rename(&second);
    bob.notice(&format!("{first} renamed to {second}"));
    guest.say_and_hear("it is me");
    bob.expect(&second, "it is me");
}

#[test]
fn a_user_without_a_name_speaks_by_its_address() {
    let trial = Trial::new();
    let [mut bob] = trial.room(["bob"]);
    let mut guest = trial.connect("guest");
    bob.notice(&format!("{} has entered the chat", guest.name));
    guest.say_and_hear("who am I");
    bob.expect(&guest.name, "who am I");
}

#[test]
fn history_replays_messages_in_order_with_their_names() {
    let trial = Trial::new();
    let mut asker = trial.join("asker");
    check_history(&trial, &mut asker);
}

/// Requests the history, which has the messages with the names of their time and no notices.
#[track_caller]
fn check_history(trial: &Trial, asker: &mut Client) {
    // A busy chat may have forgotten the first line by then: it is tried again.
    for _ in 0..5 {
        let [first, last, end] =
            ["first", "last", "end"].map(|word| format!("{word} {}", unique()));
        let (old, new) = (asker.name.clone(), trial.name("renamed"));
        let lines = [
            request("message", &first),
            request("message", "a\nb \u{7}"),
            request("set-name", &new),
            request("message", &last),
            request("history", ""),
            request("message", &end),
        ];
        asker.send(&lines.concat());
        asker.name.clone_from(&new);
        let first = Line::new(&old, &first);
        let live = asker.everything_to(&new, &last);
        let Some(start) = live.iter().position(|line| *line == first) else {
            asker.fail("its own words did not come back")
        };
        let rename = Line::new(SERVER, &format!("{old} renamed to {new}"));
        assert!(live[start..].contains(&rename), "{live:?}");
        let said: Vec<Line> = live[start..]
            .iter()
            .filter(|line| line.source != SERVER)
            .cloned()
            .collect();
        assert!(said.contains(&Line::new(&old, "a ↵ b ")), "{said:?}");
        let replay = asker.everything_to(&new, &end);
        if let Some(start) = replay.iter().position(|line| *line == first) {
            let replayed = &replay[start..replay.len().min(start + said.len())];
            assert_eq!(replayed, said, "replayed, and said before");
            return;
        }
    }
    asker.fail("the history never held what was just said")
}

#[test]
fn users_lists_names_in_order_of_arrival() {
    let trial = Trial::new();
    let [mut alice, mut bob, carol] = trial.room(["alice", "bob", "carol"]);
    let old = bob.name.clone();
    let new = trial.name("robert");
    bob.rename(&new);
    alice.notice(&format!("{old} renamed to {new}"));
    let guest = trial.connect("guest");
    for client in [&mut alice, &mut bob] {
        client.notice(&format!("{} has entered the chat", guest.name));
    }
    alice.request("users", "");
    let told = alice.reply();
    let (count, names) = users(&alice, &told);
    assert_eq!(count, names.len(), "{told}");
    // Others may stand between them. A rename does not change the place.
    let expected = [&alice.name, &new, &carol.name, &guest.name];
    let ours: Vec<&String> = names
        .iter()
        .filter(|name| **name == old || expected.contains(name))
        .collect();
    assert_eq!(ours, expected, "{told}");
    // Nobody but the asker was told.
    alice.say_and_hear("and no more");
    bob.expect(&alice.name, "and no more");
}

/// The number and the names in the reply to `users`.
#[track_caller]
fn users(client: &Client, told: &str) -> (usize, Vec<String>) {
    let rest = told.strip_prefix("Connected users (");
    let parts = rest.and_then(|rest| rest.split_once("): "));
    let Some((count, names)) = parts else {
        client.fail(&format!("{told:?} does not tell who is here"))
    };
    let Ok(count) = count.parse() else {
        client.fail(&format!("{told:?} does not tell how many are here"))
    };
    (count, names.split(", ").map(str::to_owned).collect())
}

#[test]
fn history_and_users_ignore_their_data_and_do_without_it() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for data in [
        "",
        r#","data":"""#,
        r#","data":"x""#,
        r#","data":null"#,
        r#","data":7"#,
        r#","data":{"limit":[1,{}]}"#,
    ] {
        let line = format!("{{\"type\":\"users\"{data}}}\n");
        pair.culprit.send(line.as_bytes());
        let told = pair.culprit.reply();
        users(&pair.culprit, &told);
        pair.goes_on();
        // A history begins somewhere, with a line of somebody, and is no refusal.
        let (marker, last) = (format!("kept {}", unique()), format!("end {}", unique()));
        let history = format!("{{\"type\":\"history\"{data}}}\n");
        let lines = [
            request("message", &marker),
            history.into_bytes(),
            request("message", &last),
        ];
        pair.culprit.send(&lines.concat());
        let name = pair.culprit.name.clone();
        let heard = pair.culprit.everything_to(&name, &last);
        let kept = Line::new(&name, &marker);
        let times = heard.iter().filter(|line| **line == kept).count();
        assert_eq!(times, 2, "once live and once replayed: {line}");
        pair.witness.expect(&name, &marker);
        pair.witness.expect(&name, &last);
    }
}

// The form of lines

#[test]
fn key_order_white_space_unknown_keys_and_escapes_mean_nothing() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    for line in [
        r#"{"data":"hi","type":"message"}"#,
        "\t { \"type\" :\t\"message\" , \"data\" : \"hi\" }  ",
        r#"{"x":{"type":"users","data":[{}]},"type":"message","y":null,"data":"hi","x":1}"#,
        r#"{"\u0074ype":"mess\u0061ge","d\u0061ta":"\u0068i"}"#,
        r#"{"":1,"Type":"users","DATA":2,"type":"message","data":"hi"}"#,
        "{\r\"type\":\r\"message\",\r\"data\":\"hi\"}",
    ] {
        pair.culprit.send(format!("{line}\n").as_bytes());
        pair.heard("hi");
    }
    pair.culprit
        .send(b"{\"type\":\"message\",\"data\":\"\\ud83d\\ude80\\/\\u2603\"}\n");
    pair.heard("🚀/☃");
}

#[test]
fn a_line_may_end_with_carriage_return_and_newline() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    pair.culprit.send(
        b"{\"type\":\"message\",\"data\":\"one\"}\r\n{\"type\":\"message\",\"data\":\"two\"}\n",
    );
    pair.heard("one");
    pair.heard("two");
    // Also if the two arrive apart.
    pair.culprit
        .send(b"{\"type\":\"message\",\"data\":\"three\"}\r");
    pair.witness.say_and_hear("meanwhile");
    pair.culprit.expect(&pair.witness.name, "meanwhile");
    pair.culprit.send(b"\n");
    pair.heard("three");
}

#[test]
fn empty_lines_are_ignored() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    pair.culprit.send(&b"\n\r\n".repeat(20));
    pair.goes_on();
    pair.culprit
        .send(b"\n\n{\"type\":\"message\",\"data\":\"one\"}\n\r\n\n{\"type\":\"message\",\"data\":\"two\"}\n\n");
    pair.heard("one");
    pair.heard("two");
}

#[test]
fn many_lines_in_one_write_are_many_lines_and_their_replies_come_in_order() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let mut bytes = Vec::new();
    for index in 0..60 {
        bytes.extend(request("message", &format!("line {index}")));
        bytes.extend(request("set-name", &pair.culprit.name));
        bytes.extend(b"\n");
    }
    pair.culprit.send(&bytes);
    let own = format!("Your name is already {}", pair.culprit.name);
    for index in 0..60 {
        pair.heard(&format!("line {index}"));
        pair.culprit.notice(&own);
    }
}

// Events

#[test]
fn arrival_is_announced_to_every_user() {
    let trial = Trial::new();
    let [mut alice, mut bob] = trial.room(["alice", "bob"]);
    // That the newcomer hears it first, by its address, is checked by `connect`.
    let mut guest = trial.connect("guest");
    let arrival = format!("{} has entered the chat", guest.name);
    alice.notice(&arrival);
    bob.notice(&arrival);
    guest.say_and_hear("and no more");
}

#[test]
fn departure_is_announced_to_every_user() {
    let trial = Trial::new();
    let [alice, mut bob, mut carol] = trial.room(["alice", "bob", "carol"]);
    let left = format!("{} has left the chat", alice.name);
    drop(alice);
    bob.notice(&left);
    carol.notice(&left);
    let guest = trial.connect("guest");
    bob.notice(&format!("{} has entered the chat", guest.name));
    let left = format!("{} has left the chat", guest.name);
    drop(guest);
    bob.notice(&left);
}

#[test]
fn message_before_an_immediate_close_is_delivered() {
    let trial = Trial::new();
    let [mut alice, mut bob] = trial.room(["alice", "bob"]);
    alice.say("goodbye");
    alice.finish_sending();
    let name = alice.name.clone();
    bob.expect(&name, "goodbye");
    bob.notice(&format!("{name} has left the chat"));
}

#[test]
fn messages_before_a_close_are_heard() {
    let trial = Trial::new();
    let [mut alice] = trial.room(["alice"]);
    for _ in 0..20 {
        let mut guest = trial.connect("guest");
        let name = guest.name.clone();
        guest.send(&[request("message", "hello"), request("message", "bye")].concat());
        drop(guest);
        alice.notice(&format!("{name} has entered the chat"));
        alice.expect(&name, "hello");
        alice.expect(&name, "bye");
        alice.notice(&format!("{name} has left the chat"));
    }
}

#[test]
fn a_name_is_free_after_its_user_has_left_and_after_a_rename() {
    let trial = Trial::new();
    let [alice, mut bob, mut carol] = trial.room(["alice", "bob", "carol"]);
    let name = alice.name.clone();
    drop(alice);
    for client in [&mut bob, &mut carol] {
        client.notice(&format!("{name} has left the chat"));
    }
    let old = bob.name.clone();
    bob.rename(&name);
    carol.notice(&format!("{old} renamed to {name}"));
    let before = carol.name.clone();
    carol.rename(&old);
    bob.notice(&format!("{before} renamed to {old}"));
}

#[test]
fn own_name_is_answered_to_the_sender_only() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    let name = pair.culprit.name.clone();
    for asked in [name.clone(), format!("  {name} ")] {
        pair.culprit.request("set-name", &asked);
        pair.culprit.notice(&format!("Your name is already {name}"));
        pair.goes_on();
    }
    let mut guest = trial.connect("guest");
    let address = guest.name.clone();
    guest.request("set-name", &address);
    guest.notice(&format!("Your name is already {address}"));
}

// Order

#[test]
fn all_users_receive_the_same_order() {
    let trial = Trial::new();
    let mut clients = trial.room(["a", "b", "c", "d", "e", "f"]);
    let start = format!("start {}", unique());
    let speaker = clients[0].name.clone();
    clients[0].say(&start);
    for client in &mut clients {
        client.skip_to(&speaker, &start);
    }
    // Nobody listens while everyone talks, comes, goes and is renamed; others may do so too.
    for round in 0..25 {
        for client in &mut clients {
            client.say(&format!("word {round}"));
        }
        if round % 5 == 0 {
            clients[1].request("set-name", &trial.name("changed"));
            drop(trial.connect_raw("passer-by"));
        }
    }
    let ends: Vec<String> = clients
        .iter()
        .map(|_| format!("end {}", unique()))
        .collect();
    for (client, end) in clients.iter_mut().zip(&ends) {
        client.say(end);
    }
    let mut first_view: Option<Vec<Line>> = None;
    for client in &mut clients {
        let mut view = Vec::new();
        let mut missing = ends.len();
        while missing > 0 {
            let line = client.hear_anybody();
            missing -= usize::from(ends.contains(&line.message));
            view.push(line);
        }
        let words = view.iter().filter(|line| line.message.starts_with("word "));
        assert!(words.count() >= 25 * 6, "something is missing");
        match &first_view {
            Some(first) => assert_eq!(*first, view, "two views of the same time"),
            None => first_view = Some(view),
        }
    }
}

#[test]
fn messages_of_a_client_stay_in_order() {
    let trial = Trial::new();
    let [mut alice, mut bob, mut carol] = trial.room(["alice", "bob", "carol"]);
    for index in 0..50 {
        alice.say(&format!("alice {index}"));
        bob.say(&format!("bob {index}"));
    }
    let (mut of_alice, mut of_bob) = (0, 0);
    while of_alice + of_bob < 100 {
        let line = carol.hear();
        let count = if line.source == alice.name {
            &mut of_alice
        } else {
            &mut of_bob
        };
        let word = line.message.rsplit(' ').next();
        assert_eq!(word, Some(&*count.to_string()), "{line:?}");
        *count += 1;
    }
}

#[test]
fn replies_come_in_the_order_of_the_requests() {
    let trial = Trial::new();
    let [mut alice, mut bob] = trial.room(["alice", "bob"]);
    let (old, new) = (alice.name.clone(), trial.name("other"));
    let lines = [
        request("message", "one"),
        request("users", ""),
        b"garbage\n".to_vec(),
        request("message", "two"),
        request("set-name", &old),
        request("set-name", &new),
        request("users", ""),
        b"{}\n".to_vec(),
        request("message", "three"),
    ];
    for _ in 0..3 {
        alice.send(&lines.concat());
        alice.expect(&old, "one");
        let told = alice.reply();
        assert!(users(&alice, &told).1.contains(&old), "{told}");
        alice.refusal();
        alice.expect(&old, "two");
        alice.notice(&format!("Your name is already {old}"));
        alice.notice(&format!("{old} renamed to {new}"));
        let told = alice.reply();
        let (_, names) = users(&alice, &told);
        assert!(names.contains(&new) && !names.contains(&old), "{told}");
        alice.refusal();
        alice.expect(&new, "three");
        for text in ["one", "two"] {
            bob.expect(&old, text);
        }
        bob.notice(&format!("{old} renamed to {new}"));
        bob.expect(&new, "three");
        alice.name.clone_from(&new);
        alice.rename(&old);
        bob.notice(&format!("{new} renamed to {old}"));
    }
}

#[test]
fn a_reply_of_several_lines_is_contiguous_while_others_talk() {
    let trial = Trial::new();
    let mut asker = trial.join("asker");
    let mut talkers = trial.room(["talker", "chatter", "gossip"]);
    for round in 0..3 {
        for index in 0..40 {
            for talker in &mut talkers {
                talker.say(&format!("talk {round} {index}"));
            }
        }
        check_history(&trial, &mut asker);
    }
}
