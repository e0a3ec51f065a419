//! The basic dialect over real sockets: each row of its tables of requests, events and ends,
//! named by it, and the dialogue that everything is measured by.
//!
//! What is refused has its own file, and so have hostile clients and signals.

use crate::support::{
    Captured, Chat, LineClient, PATIENCE, RealServer, Said, UNPACED, decode, eventually, request,
    skip,
};
use smolchat::limits::Limits;
use smolchat::server::ServerConfig;
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

/// Limits that hold nobody back.
fn unpaced() -> Limits {
    Limits {
        rate_per_second: UNPACED,
        burst_lines: UNPACED,
        ..Limits::default()
    }
}

fn said(source: &str, message: &str) -> Said {
    (source.to_owned(), message.to_owned())
}

// Client to server

#[test]
fn message_says_the_text_to_everyone() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    for text in [
        "hello",
        " untrimmed \t",
        "\"quoted\" \\ back",
        "ünï ☃ 👩‍🚀 日本",
        "/users",
        "{\"type\":\"users\"}",
    ] {
        alice.say(text);
        alice.expect("alice", text);
        bob.expect("alice", text);
    }
}

#[test]
fn set_name_changes_the_user_name() {
    let chat = Chat::start();
    let [mut bob] = chat.room(["bob"]);
    let mut guest = chat.connect("guest");
    let address = guest.address();
    guest.rename("Kobzol");
    guest.say_and_hear("it is me");
    bob.expect_notice(&format!("{address} has entered the chat"));
    bob.expect_notice(&format!("{address} renamed to Kobzol"));
    bob.expect("Kobzol", "it is me");
}

#[test]
fn history_replays_the_messages_to_the_asker() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    alice.say_and_hear("one");
    bob.expect("alice", "one");
    alice.request("history", "");
    alice.expect("bob", "everyone is here");
    alice.expect("alice", "one");
    alice.say_and_hear("and no more");
    bob.expect("alice", "and no more");
}

#[test]
fn users_tells_the_asker_who_is_connected() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    alice.request("users", "");
    alice.expect_notice("Connected users (2): alice, bob");
    alice.say_and_hear("and no more");
    bob.expect("alice", "and no more");
}

#[test]
fn history_and_users_ignore_their_data() {
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    alice.say_and_hear("kept");
    for data in [
        "",
        r#","data":"""#,
        r#","data":"x""#,
        r#","data":null"#,
        r#","data":{"limit":[1,{}]}"#,
        r#","data":7"#,
    ] {
        alice.send_raw(format!("{{\"type\":\"users\"{data}}}\n").as_bytes());
        alice.expect_notice("Connected users (1): alice");
        alice.send_raw(format!("{{\"type\":\"history\"{data}}}\n").as_bytes());
        alice.expect("alice", "kept");
    }
}

// The form of lines

#[test]
fn key_order_white_space_unknown_keys_and_escapes_mean_nothing() {
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    for line in [
        r#"{"data":"hi","type":"message"}"#,
        "\t { \"type\" :\t\"message\" , \"data\" : \"hi\" }  ",
        r#"{"x":{"type":"users","data":[{}]},"type":"message","y":null,"data":"hi","x":1}"#,
        r#"{"\u0074ype":"mess\u0061ge","data":"\u0068\u0069"}"#,
    ] {
        alice.send_raw(line.as_bytes());
        alice.send_raw(b"\n");
        alice.expect("alice", "hi");
    }
}

#[test]
fn a_line_may_end_with_carriage_return_and_newline() {
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    alice.send_raw(
        b"{\"type\":\"message\",\"data\":\"one\"}\r\n{\"type\":\"message\",\"data\":\"two\"}\r",
    );
    alice.expect("alice", "one");
    alice.send_raw(b"\n");
    alice.expect("alice", "two");
}

#[test]
fn empty_lines_are_ignored() {
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    alice.send_raw(b"\n\r\n\n");
    alice.send_raw(b"\r");
    alice.send_raw(b"\n");
    alice.say_and_hear("next");
    // Far more of them than refusals in a row are allowed.
    alice.send_raw(&b"\n".repeat(100));
    alice.say_and_hear("last");
}

#[test]
fn a_server_line_has_exactly_two_keys_twice_and_ends_with_one_newline() {
    let chat = Chat::start();
    let mut alice = chat.connect_raw("alice");
    let line = alice.next_line().expect("the arrival");
    let text = String::from_utf8(line).expect("UTF-8");
    assert_eq!(text.trim_end().matches('\n').count(), 0);
    assert!(text.ends_with('\n') && !text.contains('\r'), "{text:?}");
    assert_eq!(
        decode(text.as_bytes()),
        Some(said(
            "[Server]",
            &format!("{} has entered the chat", alice.address())
        ))
    );
}

// Events

#[test]
fn a_client_connects_and_everyone_is_told_its_address_the_newcomer_included() {
    let chat = Chat::start();
    let mut first = chat.connect_raw("first");
    first.expect_notice(&format!("{} has entered the chat", first.address()));
    assert!(first.address().starts_with("127.0.0.1:"));
    let mut second = chat.connect_raw("second");
    let arrival = format!("{} has entered the chat", second.address());
    second.expect_notice(&arrival);
    first.expect_notice(&arrival);
    second.say("x");
    second.expect(&second.address(), "x");
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("this machine has no IPv6 loopback address");
    }
    let chat = Chat::with_config(ServerConfig {
        chat_host: "::1".into(),
        ..Chat::config()
    });
    let mut guest = chat.connect_raw("guest");
    let name = format!(
        "[::1]:{}",
        guest.stream.local_addr().expect("an address").port()
    );
    guest.expect_notice(&format!("{name} has entered the chat"));
    guest.request("users", "");
    guest.expect_notice(&format!("Connected users (1): {name}"));
}

#[test]
fn an_ipv4_mapped_address_is_written_as_ipv4() {
    if std::net::TcpListener::bind("[::]:0").is_err() {
        return skip("this machine has no IPv6");
    }
    let chat = Chat::with_config(ServerConfig {
        chat_host: "::".into(),
        ..Chat::config()
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, chat.address.port()));
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("IPv4 on the IPv6 listener");
    let mut guest = LineClient::new(stream, "guest", &chat.transcript);
    assert!(guest.name.starts_with("127.0.0.1:"), "{}", guest.name);
    guest.expect_own_arrival();
}

#[test]
fn a_client_says_text_and_everyone_hears_it_the_sender_included() {
    let chat = Chat::start();
    let mut clients = chat.room(["alice", "bob", "carol", "dave"]);
    for index in 0..clients.len() {
        let name = clients[index].name.clone();
        clients[index].say("it is my turn");
        for client in &mut clients {
            client.expect(&name, "it is my turn");
        }
    }
}

#[test]
fn a_name_changes_and_everyone_is_told_the_renamed_one_included() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    alice.rename("Alice B.");
    bob.expect_notice("alice renamed to Alice B.");
    // Announced in the form in which it was prepared.
    alice.request("set-name", "  Alice   C.  ");
    alice.expect_notice("Alice B. renamed to Alice C.");
    bob.expect_notice("Alice B. renamed to Alice C.");
}

#[test]
fn a_rename_in_case_only_is_a_rename() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    alice.rename("ALICE");
    bob.expect_notice("alice renamed to ALICE");
    alice.rename("Alice");
    bob.expect_notice("ALICE renamed to Alice");
}

#[test]
fn the_own_address_is_a_name_that_one_may_take_back() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    let address = alice.address();
    alice.rename(&address);
    bob.expect_notice(&format!("alice renamed to {address}"));
    // The name is free again.
    bob.rename("alice");
    alice.expect_notice("bob renamed to alice");
}

#[test]
fn the_name_one_already_has_is_told_to_the_asker_alone() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    for asked in ["alice", " alice "] {
        alice.request("set-name", asked);
        alice.expect_notice("Your name is already alice");
    }
    let mut guest = chat.connect("guest");
    let address = guest.address();
    guest.request("set-name", &address);
    guest.expect_notice(&format!("Your name is already {address}"));
    bob.expect_notice(&format!("{address} has entered the chat"));
    bob.say_and_hear("nobody told me anything");
}

#[test]
fn a_client_that_closes_is_gone_and_everyone_who_is_left_is_told() {
    let chat = Chat::start();
    let [alice, mut bob, mut carol] = chat.room(["alice", "bob", "carol"]);
    drop(alice);
    bob.expect_notice("alice has left the chat");
    carol.expect_notice("alice has left the chat");
    bob.request("users", "");
    bob.expect_notice("Connected users (2): bob, carol");
}

#[test]
fn a_client_that_resets_its_connection_is_gone() {
    let chat = Chat::start();
    let [alice, mut bob] = chat.room(["alice", "bob"]);
    alice.reset();
    bob.expect_notice("alice has left the chat");
    bob.say_and_hear("still here");
}

#[test]
fn a_client_that_ends_its_sending_side_is_gone_and_does_not_see_its_own_departure() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    alice.finish_sending();
    alice.expect_end();
    bob.expect_notice("alice has left the chat");
}

#[test]
fn a_name_is_free_after_its_user_has_left() {
    let chat = Chat::start();
    let [alice, mut bob] = chat.room(["alice", "bob"]);
    bob.request("set-name", "Alice");
    let refusal = bob.notice();
    assert!(refusal.contains("taken"), "{refusal}");
    drop(alice);
    bob.expect_notice("alice has left the chat");
    bob.rename("Alice");
}

#[test]
fn a_name_is_free_after_its_user_was_renamed() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    alice.rename("eve");
    bob.expect_notice("alice renamed to eve");
    bob.rename("alice");
    alice.expect_notice("bob renamed to alice");
}

#[test]
fn history_without_any_message_says_so() {
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    alice.request("history", "");
    alice.expect_notice("No messages yet");
    // Asking is no message, and joins and renames are none either.
    alice.request("history", "");
    alice.expect_notice("No messages yet");
    alice.say_and_hear("now there is one");
    alice.request("history", "");
    alice.expect("alice", "now there is one");
}

#[test]
fn history_has_each_message_as_it_was_said_with_the_name_its_author_had_then() {
    let chat = Chat::start();
    let mut guest = chat.connect("guest");
    let address = guest.address();
    guest.say_and_hear("nameless");
    guest.rename("alice");
    guest.say_and_hear("first");
    guest.rename("alicia");
    guest.say_and_hear(" second\t");
    let mut bob = chat.join("bob");
    guest.expect_notice(&format!("{} has entered the chat", bob.address()));
    guest.expect_notice(&format!("{} renamed to bob", bob.address()));
    bob.say_and_hear("third");
    guest.expect("bob", "third");
    guest.rename("bob2");
    drop(guest);
    bob.expect_notice("alicia renamed to bob2");
    bob.expect_notice("bob2 has left the chat");
    bob.request("history", "");
    bob.expect(&address, "nameless");
    bob.expect("alice", "first");
    bob.expect("alicia", " second\t");
    bob.expect("bob", "third");
    bob.say_and_hear("and no more");
}

#[test]
fn history_keeps_the_newest_messages() {
    let chat = Chat::with(Limits {
        history_messages: 3,
        ..unpaced()
    });
    let mut alice = chat.join("alice");
    for number in 1..=10 {
        alice.say_and_hear(&number.to_string());
    }
    alice.request("history", "");
    for number in 8..=10 {
        alice.expect("alice", &number.to_string());
    }
    alice.say_and_hear("and no more");
}

#[test]
fn users_are_told_in_order_of_arrival() {
    let chat = Chat::start();
    let mut first = chat.connect("first");
    let second = chat.connect("second");
    let third = chat.connect("third");
    first.expect_notice(&format!("{} has entered the chat", second.address()));
    first.expect_notice(&format!("{} has entered the chat", third.address()));
    first.rename("zoe");
    first.request("users", "");
    first.expect_notice(&format!(
        "Connected users (3): zoe, {}, {}",
        second.address(),
        third.address()
    ));
    let gone = second.address();
    drop(second);
    first.expect_notice(&format!("{gone} has left the chat"));
    let mut fourth = chat.join("alan");
    first.skip_to("[Server]", &format!("{} renamed to alan", fourth.address()));
    for client in [&mut first, &mut fourth] {
        client.request("users", "");
        client.expect_notice(&format!(
            "Connected users (3): zoe, {}, alan",
            third.address()
        ));
    }
}

#[test]
fn replies_come_in_the_order_of_the_requests_and_after_what_was_said_before() {
    let chat = Chat::start();
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    let lines = [
        request("message", "1"),
        request("users", ""),
        request("message", "2"),
        request("history", ""),
        b"garbage\n".to_vec(),
        request("set-name", "alicia"),
        request("users", ""),
        request("set-name", "alicia"),
        request("message", "3"),
        request("history", ""),
        request("message", "4"),
    ];
    alice.send_raw(&lines.concat());
    alice.expect("alice", "1");
    alice.expect_notice("Connected users (2): alice, bob");
    alice.expect("alice", "2");
    for (source, text) in [("bob", "everyone is here"), ("alice", "1"), ("alice", "2")] {
        alice.expect(source, text);
    }
    let refusal = alice.notice();
    assert!(refusal.contains("JSON"), "{refusal}");
    alice.expect_notice("alice renamed to alicia");
    alice.expect_notice("Connected users (2): alicia, bob");
    alice.expect_notice("Your name is already alicia");
    alice.expect("alicia", "3");
    for (source, text) in [
        ("bob", "everyone is here"),
        ("alice", "1"),
        ("alice", "2"),
        ("alicia", "3"),
    ] {
        alice.expect(source, text);
    }
    alice.expect("alicia", "4");
    bob.expect("alice", "1");
    bob.expect("alice", "2");
    bob.expect_notice("alice renamed to alicia");
    bob.expect("alicia", "3");
    bob.expect("alicia", "4");
}

#[test]
fn no_room_for_one_more_client_is_told_to_the_newcomer_who_is_closed_and_never_announced() {
    let chat = Chat::with(Limits {
        max_clients: 2,
        ..Limits::default()
    });
    let [alice, mut bob] = chat.room(["alice", "bob"]);
    for _ in 0..3 {
        let mut third = chat.connect_raw("third");
        third.expect_notice("The chat is full (2 users); try again later");
        third.expect_end();
    }
    bob.say_and_hear("nobody came");
    // A place that is free is given away again.
    drop(alice);
    bob.expect_notice("alice has left the chat");
    let mut carol = chat.join("carol");
    bob.expect_notice(&format!("{} has entered the chat", carol.address()));
    carol.request("users", "");
    carol.expect_notice("Connected users (2): bob, carol");
}

#[test]
fn what_a_client_says_who_found_no_room_is_not_heard() {
    let chat = Chat::with(Limits {
        max_clients: 1,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let mut second = chat.connect_raw("second");
    // It may be closed already: an error is as good as success.
    let _ = second.stream.write_all(&request("message", "let me in"));
    let told = second.notice();
    assert!(told.starts_with("The chat is full (1 user"), "{told}");
    second.expect_end();
    alice.say_and_hear("nobody said anything");
    alice.request("history", "");
    alice.expect("alice", "nobody said anything");
}

#[test]
fn too_many_connections_from_one_address_are_told_and_never_announced() {
    let limits = Limits {
        max_clients_per_address: Some(2),
        ..Limits::default()
    };
    let chat = Chat::with_config(ServerConfig {
        chat_host: "0.0.0.0".into(),
        limits,
        ..Chat::config()
    });
    let port = chat.address.port();
    if std::net::TcpListener::bind("127.0.0.2:0").is_err() {
        return skip("this machine has one loopback address only");
    }
    let connect = |from: [u8; 4], label: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((from, 0)).into())
            .expect("a loopback address");
        socket
            .connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())
            .expect("it connects");
        LineClient::new(socket.into(), label, &chat.transcript)
    };
    let mut alice = connect([127, 0, 0, 1], "alice");
    alice.expect_own_arrival();
    let mut bob = connect([127, 0, 0, 1], "bob");
    bob.expect_own_arrival();
    alice.expect_notice(&format!("{} has entered the chat", bob.address()));
    let mut third = connect([127, 0, 0, 1], "third");
    third.expect_notice("Too many connections from your address; try again later");
    third.expect_end();
    // Another address has places of its own.
    let mut other = connect([127, 0, 0, 2], "other");
    other.expect_own_arrival();
    alice.expect_notice(&format!("{} has entered the chat", other.address()));
    let gone = bob.address();
    drop(bob);
    alice.expect_notice(&format!("{gone} has left the chat"));
    let mut fourth = connect([127, 0, 0, 1], "fourth");
    fourth.expect_own_arrival();
}

#[test]
fn the_server_stops_and_everyone_is_told_and_closed() {
    let mut chat = Chat::start();
    let mut clients = chat.room(["alice", "bob", "carol"]);
    chat.begin_stop();
    for client in &mut clients {
        client.expect_notice("The server is shutting down");
        client.expect_end();
    }
    chat.wait_for_end();
}

#[test]
fn what_was_said_before_the_stop_comes_before_the_farewell() {
    let mut chat = Chat::with(unpaced());
    let [mut alice, mut bob] = chat.room(["alice", "bob"]);
    for number in 0..200 {
        alice.say(&number.to_string());
    }
    bob.expect("alice", "0");
    chat.begin_stop();
    // What had arrived by then is heard, without a gap, and the farewell is last.
    let lines = bob.read_to_end();
    let (farewell, heard) = lines.split_last().expect("a farewell");
    assert_eq!(*farewell, said("[Server]", "The server is shutting down"));
    for (index, line) in heard.iter().enumerate() {
        assert_eq!(*line, said("alice", &(index + 1).to_string()));
    }
    let mut expected = vec![said("alice", "0")];
    expected.extend_from_slice(&lines);
    assert_eq!(alice.read_to_end(), expected);
}

// Arrivals and departures of a crowd

/// Arrivals and departures that a line tells, by itself or in summary; none for another line.
fn counted(line: &Said) -> Option<(usize, usize)> {
    if line.0 != "[Server]" {
        return None;
    }
    // A summary of many is exactly this; of one and of none it is another sentence.
    let many = |text: &str, verb: &str| -> Option<usize> {
        let number = text.strip_suffix(&format!(" users have {verb} the chat"))?;
        number.parse().ok().filter(|&count| count > 1)
    };
    let one = |text: &str, verb: &str| (text == format!("1 user has {verb} the chat")).then_some(1);
    let alone = |text: &str, verb: &str| one(text, verb).or_else(|| many(text, verb));
    let appended = |text: &str| match text.strip_suffix(" have left").and_then(|n| n.parse().ok()) {
        Some(count) => Some(count).filter(|&count: &usize| count > 1),
        None => (text == "1 has left").then_some(1),
    };
    if let Some((entered, left)) = line.1.split_once(", ") {
        return Some((alone(entered, "entered")?, appended(left)?));
    }
    if let Some(entered) = alone(&line.1, "entered") {
        return Some((entered, 0));
    }
    if let Some(left) = alone(&line.1, "left") {
        return Some((0, left));
    }
    let is_address = |text: &str| text.parse::<SocketAddr>().is_ok();
    let own = |verb: &str| {
        line.1
            .strip_suffix(&format!(" has {verb} the chat"))
            .is_some_and(is_address)
    };
    (own("entered") || own("left")).then(|| (usize::from(own("entered")), usize::from(own("left"))))
}

/// Reads until so many arrivals and departures were told; the lines that told them.
#[track_caller]
fn count_to(client: &mut LineClient, entered: usize, left: usize) -> Vec<String> {
    let (mut so_far, mut lines) = ((0, 0), Vec::new());
    while so_far != (entered, left) {
        let line = client.must_get();
        let Some(count) = counted(&line) else {
            client.fail(&format!("did not expect {line:?}"))
        };
        so_far = (so_far.0 + count.0, so_far.1 + count.1);
        if so_far.0 > entered || so_far.1 > left {
            client.fail(&format!(
                "was told {so_far:?} arrivals and departures, not {:?}",
                (entered, left)
            ));
        }
        lines.push(line.1);
    }
    lines
}

/// A chat of four users where two are announced, and none has anything left to read.
fn crowd() -> (Chat, Vec<LineClient>) {
    let chat = Chat::with(Limits {
        announce_limit: 2,
        ..unpaced()
    });
    let mut clients = vec![chat.connect("0")];
    clients.extend((1..4).map(|number| chat.connect(&number.to_string())));
    count_to(&mut clients[0], 3, 0);
    clients[0].say_and_hear("all are told");
    let name = clients[0].name.clone();
    for client in &mut clients[1..] {
        client.skip_to(&name, "all are told");
    }
    (chat, clients)
}

#[test]
fn one_arrival_in_a_crowd_is_told_in_the_singular_and_to_the_newcomer_at_once() {
    let (chat, mut clients) = crowd();
    let mut fifth = chat.connect_raw("fifth");
    fifth.expect_own_arrival();
    for client in &mut clients {
        client.expect_notice("1 user has entered the chat");
    }
    // It is not counted to itself.
    fifth.say_and_hear("hello");
    clients[0].expect(&fifth.name, "hello");
}

#[test]
fn one_departure_in_a_crowd_is_told_in_the_singular() {
    let (_chat, mut clients) = crowd();
    drop(clients.pop());
    for client in &mut clients {
        client.expect_notice("1 user has left the chat");
    }
}

#[test]
fn a_summary_tells_both_and_leaves_out_what_is_zero() {
    let (chat, mut clients) = crowd();
    // Both happen within a second, but for a machine that stands still: then the counts come
    // one by one, and it is tried again.
    let found = (0..20).any(|_| {
        let guest = chat.connect("guest");
        drop(guest);
        let lines = count_to(&mut clients[0], 1, 1);
        lines == ["1 user has entered the chat, 1 has left"]
    });
    assert!(
        found,
        "arrival and departure were never told in one summary"
    );
}

#[test]
fn summaries_add_up_for_everyone_and_users_is_exact() {
    let (chat, mut clients) = crowd();
    let start = Instant::now();
    let mut guests: Vec<LineClient> = (0..37)
        .map(|number| chat.connect(&format!("guest{number}")))
        .collect();
    for _ in 0..12 {
        drop(guests.remove(0));
    }
    for client in &mut clients {
        let lines = count_to(client, 37, 12);
        let own = lines
            .iter()
            .filter(|line| line.contains("127.0.0.1"))
            .count();
        assert_eq!(own, 0, "single arrivals among {lines:?}");
        // At most one a second: the clock here started earlier and is read later.
        assert!(
            lines.len() as u64 <= start.elapsed().as_secs() + 1,
            "too many: {lines:?}"
        );
    }
    let names: Vec<&str> = clients
        .iter()
        .chain(&guests)
        .map(|client| client.name.as_str())
        .collect();
    let expected = format!("Connected users (29): {}", names.join(", "));
    clients[0].request("users", "");
    clients[0].expect_notice(&expected);
    // Names and messages are told one by one, whatever the crowd.
    clients[0].rename("alice");
    clients[0].say_and_hear("hello");
    let address = clients[0].address();
    clients[1].expect_notice(&format!("{address} renamed to alice"));
    clients[1].expect("alice", "hello");
}

#[test]
fn below_the_limit_each_arrival_and_departure_has_its_own_line() {
    let chat = Chat::with(Limits {
        announce_limit: 3,
        ..Limits::default()
    });
    let mut first = chat.connect("first");
    let second = chat.connect("second");
    first.expect_notice(&format!("{} has entered the chat", second.address()));
    let third = chat.connect("third");
    first.expect_notice(&format!("{} has entered the chat", third.address()));
    let gone = second.address();
    drop(second);
    first.expect_notice(&format!("{gone} has left the chat"));
}

// Ends

#[test]
fn a_half_closed_client_gets_every_reply() {
    let chat = Chat::start();
    let [mut bob] = chat.room(["bob"]);
    let mut guest = chat.connect("guest");
    let name = guest.name.clone();
    bob.expect_notice(&format!("{name} has entered the chat"));
    let lines = [
        request("message", "one"),
        request("history", ""),
        request("users", ""),
        b"x\n".to_vec(),
    ];
    guest.send_raw(&lines.concat());
    guest.finish_sending();
    guest.expect(&name, "one");
    guest.expect("bob", "everyone is here");
    guest.expect(&name, "one");
    guest.expect_notice(&format!("Connected users (2): bob, {name}"));
    assert!(guest.notice().contains("JSON"));
    guest.expect_end();
    bob.expect(&name, "one");
    bob.expect_notice(&format!("{name} has left the chat"));
}

#[test]
fn a_client_that_sends_everything_and_half_closes_before_it_reads_anything_gets_every_reply() {
    let chat = Chat::start();
    for _ in 0..20 {
        let mut guest = chat.connect_raw("guest");
        guest.send_raw(&[request("set-name", "printf"), request("message", "via nc")].concat());
        guest.finish_sending();
        guest.expect_own_arrival();
        guest.expect_notice(&format!("{} renamed to printf", guest.address()));
        guest.expect("printf", "via nc");
        guest.expect_end();
    }
}

#[test]
fn a_half_closed_client_gets_a_large_reply_however_late_it_reads() {
    let chat = Chat::with(unpaced());
    let mut alice = chat.join("alice");
    let text = "x".repeat(4000);
    for _ in 0..200 {
        alice.say_and_hear(&text);
    }
    let mut late = chat.connect_narrow("late");
    alice.expect_notice(&format!("{} has entered the chat", late.address()));
    late.send_raw(&request("history", "").repeat(3));
    late.finish_sending();
    // The server has had many turns before anything is read.
    for _ in 0..100 {
        alice.request("users", "");
        alice.skip_to(
            "[Server]",
            &format!("Connected users (2): alice, {}", late.address()),
        );
    }
    let lines = late.read_to_end();
    assert_eq!(lines.len(), 600);
    assert!(lines.iter().all(|line| *line == said("alice", &text)));
}

#[test]
fn what_a_client_said_before_it_closed_is_heard() {
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    for _ in 0..20 {
        let mut guest = chat.connect("guest");
        let name = guest.address();
        guest.send_raw(&[request("message", "hello"), request("message", "bye")].concat());
        drop(guest);
        alice.expect_notice(&format!("{name} has entered the chat"));
        alice.expect(&name, "hello");
        alice.expect(&name, "bye");
        alice.expect_notice(&format!("{name} has left the chat"));
    }
}

#[test]
fn a_list_of_many_users_is_one_line_also_to_a_narrow_reader() {
    let chat = Chat::with(Limits {
        announce_limit: 1,
        ..unpaced()
    });
    let mut narrow = chat.connect_narrow("narrow");
    narrow.chunk = 100;
    let mut names = vec![narrow.name.clone()];
    let clients: Vec<LineClient> = (0..250)
        .map(|number| {
            let mut client = chat.connect("crowd");
            let name = format!("{}{number}", "日".repeat(28));
            client.request("set-name", &name);
            client.skip_to("[Server]", &format!("{} renamed to {name}", client.name));
            names.push(name);
            client
        })
        .collect();
    let expected = format!("Connected users (251): {}", names.join(", "));
    // More than one piece of whatever size the server makes them in.
    assert!(expected.len() > 20_000);
    narrow.request("users", "");
    narrow.request("message", "and no more");
    narrow.skip_to("[Server]", &expected);
    narrow.skip_to(&names[0], "and no more");
    drop(clients);
}

#[test]
fn a_batch_larger_than_the_lag_allowed_reaches_those_who_read() {
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

#[test]
fn a_silent_connection_is_asked_by_keepalive_within_two_minutes() {
    let chat = Chat::start();
    let alice = chat.connect("alice");
    let (server, client) = (chat.address, alice.stream.local_addr().expect("an address"));
    let key = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => format!(
            "{:08X}:{:04X}",
            u32::from_ne_bytes(v4.ip().octets()),
            v4.port()
        ),
        SocketAddr::V6(_) => unreachable!("the server listens on IPv4"),
    };
    if std::fs::read_to_string("/proc/net/tcp").is_err() {
        return skip("this system does not tell the timers of its connections");
    }
    // Columns: number, local, remote, state, queues, timer:when in hundredths of a second.
    let keepalive_timer = || {
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let row = table
            .lines()
            .map(|row| row.split_whitespace().collect::<Vec<_>>());
        let row = row
            .filter(|row| row.len() > 5)
            .find(|row| row[1] == key(server) && row[2] == key(client))?;
        let (timer, when) = row[5].split_once(':')?;
        (timer == "02")
            .then(|| u64::from_str_radix(when, 16).ok())
            .flatten()
    };
    // The timer of an unacknowledged line comes first.
    eventually(PATIENCE, "a keepalive timer on the server's side", || {
        keepalive_timer().is_some_and(|when| when <= 120 * 100)
    });
}

// One order for all

/// Reads lines up to the marker.
fn read_up_to(client: &mut LineClient, marker: &str) -> Vec<Said> {
    let mut lines = Vec::new();
    loop {
        let line = client.must_get();
        if line.1 == marker {
            return lines;
        }
        lines.push(line);
    }
}

fn one_order_for_all(threads: usize) {
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
                let mut writer = client.stream.try_clone().expect("a second handle");
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
fn fifty_clients_who_talk_at_once_see_one_order() {
    one_order_for_all(1);
}

#[test]
fn fifty_clients_who_talk_at_once_see_one_order_on_several_threads() {
    one_order_for_all(3);
}

#[test]
fn arrivals_and_departures_have_their_place_in_the_one_order() {
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
    let by_alice = read_up_to(&mut alice, "the end");
    assert_eq!(by_alice, read_up_to(&mut bob, "the end"));
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

#[test]
fn a_reply_of_several_lines_is_contiguous_and_in_place_while_others_talk() {
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
    let replies = thread::scope(|scope| {
        let mut question = asker.stream.try_clone().expect("a second handle");
        scope.spawn(move || {
            for number in KEPT..TALK {
                talker.say(&number.to_string());
                if number % 16 == 0 {
                    // What it would get must be read, or it is closed one day.
                    while talker.must_get().1 != number.to_string() {}
                }
            }
            talker.finish_sending();
            talker.read_to_end();
        });
        scope.spawn(move || {
            for number in 0..200 {
                other.request("set-name", &format!("other{number}"));
                while !other
                    .must_get()
                    .1
                    .ends_with(&format!("renamed to other{number}"))
                {}
            }
            other.finish_sending();
            other.read_to_end();
        });
        let asked = scope.spawn(move || {
            for _ in 0..200 {
                question.write_all(&request("history", "")).expect("sent");
            }
        });
        let (mut newest, mut replies) = (KEPT - 1, 0);
        while newest < TALK - 1 || replies < 200 {
            let (source, text) = asker.must_get();
            if source == "[Server]" {
                continue;
            }
            let number: u64 = text.parse().expect("a number");
            if number == newest + 1 {
                newest = number;
                continue;
            }
            // A reply: the newest hundred there are at this place, and nothing in between.
            assert_eq!(
                number,
                newest + 1 - KEPT,
                "after {newest}: neither the next message nor a reply"
            );
            for expected in number + 1..=newest {
                let (_, text) = asker.must_get();
                assert_eq!(
                    text,
                    expected.to_string(),
                    "inside of a reply after {newest}"
                );
            }
            replies += 1;
        }
        asked.join().expect("all was asked");
        replies
    });
    assert_eq!(replies, 200);
}

// Any chunks

/// Every kind of line there is, good and bad.
fn dialogue() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(request("message", "hello"));
    bytes.extend(b"\r\n\n{\"data\":\"Kobzol\",\"type\":\"set-name\"}\r\n");
    bytes.extend(request(
        "message",
        "ünï ☃ \"x\" \\ 👩‍🚀\ttab\nline \u{1b}[31m",
    ));
    bytes.extend(request("users", ""));
    bytes.extend(b"garbage\n[1]\n{}\n{\"type\":1}\n{\"type\":\"\xff\"}\n");
    bytes.extend(b"x".repeat(9000));
    bytes.extend(b"\n");
    bytes.extend(request("message", &"m".repeat(1001)));
    bytes.extend(request("set-name", "[Server]"));
    bytes.extend(request("set-name", "Kobzol"));
    bytes.extend(request("message", &"m".repeat(1000)));
    bytes.extend(request("history", ""));
    bytes.extend(b"{\"type\":\"mess");
    bytes
}

/// Holds the dialogue in chunks of this size in both directions; all bytes of the server, with
/// the client's address replaced.
fn hold_dialogue(send: usize, receive: usize) -> String {
    let limits = Limits {
        max_line_bytes: 8192,
        max_message_bytes: 1000,
        ..Limits::default()
    };
    let chat = Chat::with(limits);
    let mut client = if receive < 64 {
        chat.connect_narrow("narrow")
    } else {
        chat.connect("wide")
    };
    let mut writer = client.stream.try_clone().expect("a second handle");
    let bytes = thread::scope(|scope| {
        scope.spawn(move || {
            for chunk in dialogue().chunks(send) {
                writer.write_all(chunk).expect("sent");
            }
            writer
                .shutdown(std::net::Shutdown::Write)
                .expect("the end of sending");
        });
        let mut bytes = Vec::new();
        let mut chunk = vec![0; receive];
        loop {
            match client.stream.read(&mut chunk).expect("bytes or the end") {
                0 => return bytes,
                count => bytes.extend_from_slice(&chunk[..count]),
            }
        }
    });
    String::from_utf8(bytes)
        .expect("UTF-8")
        .replace(&client.address(), "ADDRESS")
}

#[test]
fn any_chunks_in_both_directions_give_the_same_bytes() {
    const ALL: usize = 1 << 20;
    let whole = hold_dialogue(ALL, ALL);
    let lines: Vec<Said> = whole
        .split_inclusive('\n')
        .map(|line| decode(line.as_bytes()).expect("a message line"))
        .collect();
    let long = "m".repeat(1000);
    let marked = "ünï ☃ \"x\" \\ 👩‍🚀\ttab ↵ line [31m";
    // Refusals are left to their own tests; here they only have their place.
    let expected: [(&str, &str); 18] = [
        ("ADDRESS", "hello"),
        ("[Server]", "ADDRESS renamed to Kobzol"),
        ("Kobzol", marked),
        ("[Server]", "Connected users (1): Kobzol"),
        ("[Server]", ""),
        ("[Server]", ""),
        ("[Server]", ""),
        ("[Server]", ""),
        ("[Server]", ""),
        ("[Server]", ""),
        ("[Server]", ""),
        ("[Server]", ""),
        ("[Server]", "Your name is already Kobzol"),
        ("Kobzol", &long),
        ("ADDRESS", "hello"),
        ("Kobzol", marked),
        ("Kobzol", &long),
        ("[Server]", ""),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (source, message)) in lines.iter().zip(expected) {
        assert_eq!(line.0, source, "{line:?}");
        assert!(
            message.is_empty() || line.1 == message,
            "{line:?} is not {message:?}"
        );
    }
    for size in [1, 2, 7, 256, 512] {
        assert_eq!(hold_dialogue(size, ALL), whole, "sent in chunks of {size}");
        assert_eq!(
            hold_dialogue(ALL, size),
            whole,
            "received in chunks of {size}"
        );
        assert_eq!(
            hold_dialogue(size, size),
            whole,
            "sent and received in chunks of {size}"
        );
    }
}

#[test]
fn a_thousand_lines_in_one_write_are_a_thousand_lines() {
    let chat = Chat::with(unpaced());
    let mut alice = chat.join("alice");
    let lines: Vec<u8> = (0..1000)
        .flat_map(|number| request("message", &number.to_string()))
        .collect();
    alice.send_raw(&lines);
    for number in 0..1000 {
        alice.expect("alice", &number.to_string());
    }
}

// The two programs

#[test]
fn the_transcript_word_for_word_through_pipes() {
    let mut server = RealServer::start(&[]);
    let mut client = crate::support::client_command();
    client.args(["127.0.0.1", &server.address.port().to_string()]);
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().expect("the client starts");
    let mut typed = client.stdin.take().expect("its input");
    let stdout = Captured::read_all(client.stdout.take().expect("its output"));
    let stderr = Captured::read_all(client.stderr.take().expect("its errors"));
    let arrival = stdout.wait_for_lines(1).remove(0);
    let name = arrival
        .strip_prefix("[Server]: ")
        .and_then(|rest| rest.strip_suffix(" has entered the chat"));
    let name = name
        .unwrap_or_else(|| panic!("{arrival:?} is no arrival"))
        .to_owned();
    assert!(
        name.starts_with("127.0.0.1:") && name.parse::<SocketAddr>().is_ok(),
        "{name}"
    );
    for (index, line) in ["hello", "/setname Kobzol", "hello"].iter().enumerate() {
        writeln!(typed, "{line}").expect("the client takes its input");
        stdout.wait_for_lines(index + 2);
    }
    let expected = format!(
        "[Server]: {name} has entered the chat\n\
         {name}: hello\n\
         [Server]: {name} renamed to Kobzol\n\
         Kobzol: hello\n"
    );
    assert_eq!(stdout.text(), expected);
    eventually(PATIENCE, "the same on the server's terminal", || {
        server.stdout.lines().len() >= 4
    });
    assert_eq!(server.stdout.text(), expected);
    drop(typed);
    let mut status = None;
    eventually(PATIENCE, "the client's end", || {
        status = client.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}: {}",
        stderr.text()
    );
    assert_eq!(stderr.text(), "");
    server
        .stdout
        .wait_for("[Server]: Kobzol has left the chat\n");
    server.signal("TERM");
    assert!(server.wait(PATIENCE).success());
    assert_eq!(
        server.stdout.text(),
        format!(
            "{expected}[Server]: Kobzol has left the chat\n[Server]: The server is shutting down\n"
        )
    );
}

#[test]
fn the_python_of_the_readme_joins_the_chat() {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("a README");
    let program = readme
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let program = program.expect("a program in Python");
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    let mut python = Command::new("python3");
    python.args(["-c", program, "127.0.0.1", &chat.address.port().to_string()]);
    python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut python) = python.spawn() else {
        return skip("no python3 is installed");
    };
    let mut typed = python.stdin.take().expect("its input");
    let stdout = Captured::read_all(python.stdout.take().expect("its output"));
    let stderr = Captured::read_all(python.stderr.take().expect("its errors"));
    let arrival = alice.notice();
    let name = arrival
        .strip_suffix(" has entered the chat")
        .expect("an arrival");
    writeln!(typed, "hello from Python").expect("it takes its input");
    alice.expect(name, "hello from Python");
    alice.say_and_hear("hello from Rust");
    let expected =
        format!("[Server]: {arrival}\n{name}: hello from Python\nalice: hello from Rust\n");
    stdout.wait_for("hello from Rust\n");
    assert_eq!(stdout.text(), expected, "{}", stderr.text());
    drop(typed);
    alice.expect_notice(&format!("{name} has left the chat"));
    let mut status = None;
    eventually(PATIENCE, "the end of the program", || {
        status = python.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    assert!(
        status.is_some_and(|status| status.success()),
        "{}",
        stderr.text()
    );
}
