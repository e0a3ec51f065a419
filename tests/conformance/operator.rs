//! Effects of options. Each test starts its own server; `SMOLCHAT_TARGET` skips all of them.

use crate::bench::{Line, SERVER, Trial, request, unique};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

#[test]
fn empty_history_says_so() {
    let Some(trial) = Trial::own(&[]) else { return };
    let mut alice = trial.join("alice");
    alice.request("history", "");
    alice.notice("No messages yet");
    alice.say_and_hear("now there is one");
    alice.request("history", "");
    alice.echo("now there is one");
    alice.say_and_hear("and no more");
}

#[test]
fn history_keeps_as_many_messages_as_the_operator_says() {
    let Some(trial) = Trial::own(&["--history", "5"]) else {
        return;
    };
    let mut alice = trial.join("alice");
    for index in 0..20 {
        alice.say_and_hear(&format!("line {index}"));
    }
    alice.request("history", "");
    for index in 15..20 {
        alice.echo(&format!("line {index}"));
    }
    alice.say_and_hear("and no more");
}

#[test]
fn users_reply_has_exact_words() {
    let Some(trial) = Trial::own(&[]) else { return };
    let mut guest = trial.connect("guest");
    guest.request("users", "");
    guest.notice(&format!("Connected users (1): {}", guest.name));
    let alice = trial.connect("alice");
    let bob = trial.connect("bob");
    for client in [&alice, &bob] {
        guest.notice(&format!("{} has entered the chat", client.name));
    }
    guest.request("users", "");
    let names = [&*guest.name, &alice.name, &bob.name].join(", ");
    guest.notice(&format!("Connected users (3): {names}"));
    let left = format!("{} has left the chat", alice.name);
    drop(alice);
    guest.notice(&left);
    guest.request("users", "");
    guest.notice(&format!(
        "Connected users (2): {}, {}",
        guest.name, bob.name
    ));
}

#[test]
fn full_room_rejects_newcomer_unannounced() {
    let Some(trial) = Trial::own(&["--max-clients", "2"]) else {
        return;
    };
    let [mut alice, bob] = trial.room(["alice", "bob"]);
    for _ in 0..3 {
        let mut guest = trial.connect_raw("guest");
        guest.notice("The chat is full (2 users); try again later");
        guest.end();
    }
    // What it says is not heard.
    let mut guest = trial.connect_raw("guest");
    trial.claim(&guest.address().to_string());
    // The server may have closed the connection.
    let _ = guest.try_send(&request("message", "let me in"));
    guest.notice("The chat is full (2 users); try again later");
    guest.end();
    alice.say_and_hear("nobody came");
    let left = format!("{} has left the chat", bob.name);
    drop(bob);
    alice.notice(&left);
    let guest = trial.connect("guest");
    alice.notice(&format!("{} has entered the chat", guest.name));
}

#[test]
fn surplus_connection_from_an_address_is_rejected_unannounced() {
    let Some(trial) = Trial::own(&["--max-clients-per-address", "2"]) else {
        return;
    };
    let [mut alice, bob] = trial.room(["alice", "bob"]);
    let mut guest = trial.connect_raw("guest");
    guest.notice("Too many connections from your address; try again later");
    guest.end();
    alice.say_and_hear("nobody came");
    let left = format!("{} has left the chat", bob.name);
    drop(bob);
    alice.notice(&left);
    let _second = trial.connect("guest");
    if TcpListener::bind("127.0.0.2:0").is_ok() {
        // Another address has places of its own.
        let mut other = trial.connect_from((Ipv4Addr::new(127, 0, 0, 2), 0).into(), "other");
        other.arrive();
    }
}

#[test]
fn messages_before_the_stop_precede_the_farewell() {
    let Some(trial) = Trial::own(&["--rate", "100000", "--burst", "100000"]) else {
        return;
    };
    let [mut alice, mut bob] = trial.room(["alice", "bob"]);
    for number in 0..200 {
        alice.say(&number.to_string());
    }
    bob.expect(&alice.name, "0");
    trial.server.as_ref().expect("its own").signal("TERM");
    // What had arrived by then is sent without a gap.
    let mut expected = 1;
    loop {
        let line = bob.hear();
        if line == Line::new(SERVER, "The server is shutting down") {
            break;
        }
        assert_eq!(line, Line::new(&alice.name, &expected.to_string()));
        expected += 1;
    }
    bob.end();
    for number in 0..expected {
        alice.echo(&number.to_string());
    }
    alice.notice("The server is shutting down");
    alice.end();
}

#[test]
fn stop_is_the_last_line_of_every_client() {
    let Some(trial) = Trial::own(&[]) else { return };
    let mut clients = trial.room(["alice", "bob", "carol"]);
    let speaker = clients[0].name.clone();
    clients[0].say_and_hear("last words");
    trial.server.as_ref().expect("its own").signal("TERM");
    for (index, client) in clients.iter_mut().enumerate() {
        if index > 0 {
            client.expect(&speaker, "last words");
        }
        client.notice("The server is shutting down");
        client.end();
    }
}

/// How many came and how many left, as one notice tells it, in the exact words of the protocol.
#[track_caller]
fn counted(line: &Line) -> (usize, usize) {
    assert_eq!(line.source, SERVER);
    let verb = |count: usize| if count == 1 { "has" } else { "have" };
    let noun = |count: usize| if count == 1 { "user" } else { "users" };
    for came in 0..100 {
        for left in 0..100 {
            let sentence = match (came, left) {
                (0, 0) => continue,
                (came, 0) => {
                    format!("{came} {} {} entered the chat", noun(came), verb(came))
                }
                (0, left) => format!("{left} {} {} left the chat", noun(left), verb(left)),
                (came, left) => format!(
                    "{came} {} {} entered the chat, {left} {} left",
                    noun(came),
                    verb(came),
                    verb(left)
                ),
            };
            if sentence == line.message {
                return (came, left);
            }
        }
    }
    panic!("{:?} is no summary", line.message)
}

#[test]
fn arrivals_and_departures_in_a_crowd_are_summarised() {
    let Some(trial) = Trial::own(&["--announce-limit", "2"]) else {
        return;
    };
    let [mut alice, mut bob] = trial.room(["alice", "bob"]);
    // The newcomer's own line comes at once; `connect` waits for it.
    let mut guests: Vec<_> = (0..8).map(|_| trial.connect("guest")).collect();
    let mut came = 0;
    // Some are told by name, while so few are here that this is so.
    while came < 8 {
        let line = alice.hear_anybody();
        let named = guests
            .iter()
            .any(|guest| line.message == format!("{} has entered the chat", guest.name));
        came += if named { 1 } else { counted(&line).0 };
    }
    guests.drain(..5);
    let mut left = 0;
    while left < 5 {
        let (more, fewer) = counted(&alice.hear_anybody());
        assert_eq!(more, 0);
        left += fewer;
    }
    assert_eq!((came, left), (8, 5));
    // A rename and a word are told as ever, and the list is exact.
    alice.rename(&trial.name("other"));
    bob.request("users", "");
    let list = loop {
        let line = bob.hear_anybody();
        if line.message.starts_with("Connected users (") {
            break line.message;
        }
    };
    assert!(list.starts_with("Connected users (5): "), "{list}");
}

#[test]
fn crowd_summaries_count_one_user_in_the_singular_and_join_both_directions() {
    let Some(trial) = Trial::own(&["--announce-limit", "2"]) else {
        return;
    };
    let [mut alice, _bob] = trial.room(["alice", "bob"]);
    let guest = trial.connect("guest");
    assert_eq!(alice.hear_anybody().message, "1 user has entered the chat");
    drop(guest);
    assert_eq!(alice.hear_anybody().message, "1 user has left the chat");
    // Both happen within a second unless the machine stands still; then it is tried again.
    let is_joint = (0..20).any(|_| {
        drop(trial.connect("guest"));
        let (mut came, mut left, mut lines) = (0, 0, 0);
        while (came, left) != (1, 1) {
            let (more, fewer) = counted(&alice.hear_anybody());
            (came, left, lines) = (came + more, left + fewer, lines + 1);
        }
        lines == 1
    });
    assert!(is_joint, "no summary counts both directions");
}

#[test]
fn long_user_list_is_one_line_for_a_narrow_reader() {
    let options = [
        "--announce-limit",
        "1",
        "--rate",
        "100000",
        "--burst",
        "100000",
    ];
    let Some(trial) = Trial::own(&options) else {
        return;
    };
    let mut narrow = trial.connect_narrow("narrow");
    let mut names = vec![narrow.name.clone()];
    let _crowd: Vec<_> = (0..250)
        .map(|number| {
            let mut client = trial.connect("crowd");
            let (old, new) = (client.name.clone(), format!("{}{number}", "日".repeat(28)));
            client.request("set-name", &new);
            client.skip_to(SERVER, &format!("{old} renamed to {new}"));
            names.push(new);
            client
        })
        .collect();
    let expected = format!("Connected users (251): {}", names.join(", "));
    assert!(expected.len() > 20_000);
    narrow.request("users", "");
    narrow.say("and no more");
    narrow.skip_to(SERVER, &expected);
    narrow.skip_to(&names[0], "and no more");
}

#[test]
fn the_limits_of_lines_and_messages_are_the_operators() {
    let Some(trial) = Trial::own(&["--max-message", "40", "--max-line", "700"]) else {
        return;
    };
    let mut pair = trial.pair();
    let text = "é".repeat(20);
    pair.said(&text);
    pair.refused(&request("message", &format!("{text}x")));
    let line = request("message", &text);
    let padded = |length: usize| [vec![b' '; length - line.len()], line.clone()].concat();
    pair.culprit.send(&padded(700));
    pair.heard(&text);
    pair.refused(&padded(750));
}

#[test]
fn a_rate_that_the_operator_chose_holds_back() {
    let Some(trial) = Trial::own(&["--rate", "20", "--burst", "5"]) else {
        return;
    };
    let mut fast = trial.connect("fast");
    let start = std::time::Instant::now();
    for index in 0..45 {
        fast.say(&format!("line {index}"));
    }
    for index in 0..45 {
        fast.echo(&format!("line {index}"));
    }
    let took = start.elapsed();
    assert!(took.as_millis() > 1900, "45 lines in {took:?}");
}

#[test]
fn a_reader_too_far_behind_is_closed_and_the_others_hear_everything() {
    let options = [
        "--max-lag",
        "300000",
        "--rate",
        "100000",
        "--burst",
        "100000",
    ];
    let Some(trial) = Trial::own(&options) else {
        return;
    };
    let [mut alice, mut bob] = trial.room(["alice", "bob"]);
    let stuck = trial.connect_narrow("stuck");
    let left = format!("{} has left the chat", stuck.name);
    for client in [&mut alice, &mut bob] {
        client.notice(&format!("{} has entered the chat", stuck.name));
    }
    let text = "x".repeat(4000);
    let mut is_gone = false;
    // Far more than the buffers of the system hold beside the lag that is allowed.
    for index in 0..8000 {
        let text = format!("{index} {text}");
        alice.say(&text);
        for client in [&mut alice, &mut bob] {
            let mut line = client.hear();
            if line.message == left {
                is_gone = true;
                line = client.hear();
            }
            assert_eq!(line.message, text);
        }
        if is_gone {
            break;
        }
    }
    assert!(is_gone, "it is not closed");
    drop(stuck);
    let guest = trial.connect("guest");
    bob.skip_to(SERVER, &format!("{} has entered the chat", guest.name));
}

#[test]
fn ipv6_address_has_brackets() {
    if TcpListener::bind("[::1]:0").is_err() {
        return println!("SKIPPED: this machine has no IPv6 loopback address");
    }
    let Some(trial) = Trial::own(&["--host", "::1"]) else {
        return;
    };
    let mut guest = trial.connect("guest");
    let port = guest.address().port();
    assert_eq!(guest.name, format!("[::1]:{port}"));
    guest.request("users", "");
    guest.notice(&format!("Connected users (1): [::1]:{port}"));
    let old = guest.name.clone();
    guest.rename(&format!("guest {}", unique()));
    guest.rename(&old);
}

#[test]
fn an_ipv4_mapped_address_is_written_as_ipv4() {
    if TcpListener::bind("[::]:0").is_err() {
        return println!("SKIPPED: this machine has no IPv6");
    }
    let Some(trial) = Trial::own(&["--host", "::"]) else {
        return;
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, trial.address().port()));
    let mut guest = trial.connect_to(address, "guest");
    guest.arrive();
    assert!(guest.name.starts_with("127.0.0.1:"), "{}", guest.name);
}
