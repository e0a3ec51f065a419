//! One order of all events for all clients, on one thread and on several.

use crate::support::line_client::SERVER;
use crate::support::{Chat, LineClient, Said, request, unpaced};
use smolchat::server::ServerConfig;
use smolchat::server::limits::Limits;
use std::collections::HashMap;
use std::io::Write;
use std::thread;

fn check_same_order(threads: usize) {
    const CLIENTS: usize = 50;
    const MESSAGES: usize = 40;
    let chat = Chat::with_config(ServerConfig {
        limits: unpaced(),
        threads,
        ..Chat::config()
    });
    let mut clients: Vec<LineClient> = (0..CLIENTS)
        .map(|number| chat.join(&format!("u{number}")))
        .collect();
    let last = clients.len() - 1;
    clients[last].say("start");
    for client in &mut clients {
        client.skip_to(&format!("u{last}"), "start");
    }
    let sequences: Vec<Vec<Said>> = thread::scope(|scope| {
        let talking: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(number, client)| {
                let mut writer = client.stream.sender();
                scope.spawn(move || {
                    for index in 0..MESSAGES {
                        writer
                            .write_all(&request("message", &format!("{number}-{index}")))
                            .expect("sent");
                    }
                    // A public event of another kind has its place in the order too.
                    writer
                        .write_all(&request("set-name", &format!("done{number}")))
                        .expect("sent");
                });
                scope.spawn(move || {
                    let total = CLIENTS * (MESSAGES + 1);
                    (0..total).map(|_| client.must_get()).collect::<Vec<Said>>()
                })
            })
            .collect();
        talking
            .into_iter()
            .map(|reader| reader.join().expect("a reader ends well"))
            .collect()
    });
    let first = &sequences[0];
    for (number, sequence) in sequences.iter().enumerate() {
        if let Some(index) = (0..first.len()).find(|&index| first[index] != sequence[index]) {
            panic!(
                "u{number} has {:?} at {index} where u0 has {:?}",
                sequence[index], first[index]
            );
        }
    }
    let mut next: HashMap<String, usize> = HashMap::new();
    for (source, message) in first {
        if source == "[Server]" {
            let number = message.rsplit("done").next().expect("a number").to_owned();
            assert_eq!(
                next.get(&format!("u{number}")),
                Some(&MESSAGES),
                "{message}"
            );
            continue;
        }
        let expected = next.entry(source.clone()).or_insert(0);
        assert_eq!(
            *message,
            format!("{}-{expected}", &source[1..]),
            "the order of one sender"
        );
        *expected += 1;
    }
    assert!(next.values().all(|&count| count == MESSAGES) && next.len() == CLIENTS);
}

#[test]
fn fifty_talkers_see_one_order() {
    check_same_order(1);
}

#[test]
fn fifty_talkers_see_one_order_on_several_threads() {
    check_same_order(3);
}

#[test]
fn arrivals_and_departures_are_part_of_the_one_order() {
    let chat = Chat::with(unpaced());
    let [mut alice, mut bob, mut talker] = chat.room(["alice", "bob", "talker"]);
    thread::scope(|scope| {
        let site = &*chat;
        scope.spawn(move || {
            for number in 0..60 {
                let mut guest = site.connect("guest");
                guest.say(&format!("guest {number}"));
                guest.finish_sending();
                guest.read_to_end();
            }
        });
        for number in 0..300 {
            talker.say_and_skip_to(&format!("talk {number}"));
        }
    });
    talker.say("the end");
    let by_alice = alice.skip_to("talker", "the end");
    assert_eq!(by_alice, bob.skip_to("talker", "the end"));
    // Three lines of each guest, in order, whatever stands between them.
    let of_guests: Vec<&Said> = by_alice.iter().filter(|line| line.0 != "talker").collect();
    assert_eq!(of_guests.len(), 180);
    for (number, lines) in of_guests.chunks(3).enumerate() {
        let name = &lines[1].0;
        assert_eq!(lines[0].1, format!("{name} has entered the chat"));
        assert_eq!(lines[1].1, format!("guest {number}"));
        assert_eq!(lines[2].1, format!("{name} has left the chat"));
    }
}

/// Reads messages with the numbers from `kept` to `end`, and this many replies to `history`.
///
/// Each reply has the newest `kept` messages of its place, with nothing between them.
#[track_caller]
pub(crate) fn read_replies(client: &mut LineClient, kept: u64, end: u64, count: usize) {
    let next = |client: &mut LineClient| -> u64 {
        let (_, (_, text)) = client.skip_until("a message", |said| said.0 != SERVER);
        let number = text.split(' ').next().map(str::parse);
        number.expect("a word").expect("a number")
    };
    let (mut newest, mut replies) = (kept - 1, 0);
    while newest < end - 1 || replies < count {
        let number = next(client);
        if number == newest + 1 {
            newest = number;
            continue;
        }
        assert_eq!(
            number,
            newest + 1 - kept,
            "after {newest}: neither a message nor a reply"
        );
        for expected in number + 1..=newest {
            assert_eq!(next(client), expected, "inside of a reply after {newest}");
        }
        replies += 1;
    }
    assert_eq!(replies, count);
}

#[test]
fn history_reply_is_contiguous_while_others_talk() {
    const KEPT: u64 = 100;
    const TALK: u64 = 4000;
    let limits = Limits {
        history_messages: KEPT as usize,
        ..unpaced()
    };
    let chat = Chat::with_config(ServerConfig {
        limits,
        threads: 2,
        ..Chat::config()
    });
    let mut asker = chat.connect_narrow("asker");
    let mut talker = chat.connect("talker");
    let mut other = chat.connect("other");
    for number in 0..KEPT {
        talker.say(&number.to_string());
    }
    asker.skip_to(&talker.name, &(KEPT - 1).to_string());
    thread::scope(|scope| {
        let mut question = asker.stream.sender();
        scope.spawn(move || {
            for number in KEPT..TALK {
                talker.say(&number.to_string());
                if number % 16 == 0 {
                    // A talker that never reads would be evicted.
                    talker.skip_until("its message", |said| said.1 == number.to_string());
                }
            }
            talker.finish_sending();
            talker.read_to_end();
        });
        scope.spawn(move || {
            for number in 0..200 {
                other.request("set-name", &format!("other{number}"));
                let renamed = format!("renamed to other{number}");
                other.skip_until(&renamed, |said| said.1.ends_with(&renamed));
            }
            other.finish_sending();
            other.read_to_end();
        });
        scope.spawn(move || {
            for _ in 0..200 {
                question.write_all(&request("history", "")).expect("sent");
            }
        });
        read_replies(&mut asker, KEPT, TALK, 200);
    });
}

#[test]
fn batch_larger_than_the_allowed_lag_reaches_active_readers() {
    let chat = Chat::with(Limits {
        max_lag_bytes: 4096,
        ..unpaced()
    });
    let mut alice = chat.join("alice");
    let text = "x".repeat(300);
    // Many lines in one write, with replies between them; they are less than the sockets hold.
    let lines = [
        request("message", &text),
        b"{\"type\":\"users\"}\n".to_vec(),
    ]
    .concat();
    for _ in 0..20 {
        alice.send_raw(&lines.repeat(50));
        for _ in 0..50 {
            alice.expect("alice", &text);
            alice.expect_notice("Connected users (1): alice");
        }
    }
}
