//! The extended dialect, one test for each row of the protocol, over memory and over a store.

use crate::support::extended::{Extended, Folder};
use crate::support::http::is_time;
use crate::support::{Chat, PATIENCE, Program, RealServer, Site, skip};
use serde_json::{Value, json};
use smolchat::server::ServerConfig;
use smolchat::server::limits::Limits;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs a test over memory and over a store.
pub(crate) fn over_both(limits: Limits, test: impl Fn(&Site)) {
    let memory = Chat::with_config(ServerConfig {
        limits: limits.clone(),
        ..Chat::config_with_web()
    });
    test(&memory);
    let folder = Folder::new();
    test(&folder.chat(limits));
}

pub(crate) fn short_grace() -> Limits {
    Limits {
        grace: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[test]
fn welcome_answers_hello_with_all_keys() {
    over_both(Limits::default(), |site| {
        let client = Extended::connect(site, "client");
        let welcome = &client.welcome;
        assert_eq!(welcome["version"], 2);
        assert!(
            welcome["server"]
                .as_str()
                .is_some_and(|text| text.starts_with("smolchat/"))
        );
        assert_eq!(welcome["name"], client.line.address());
        assert_eq!(client.token.len(), 32);
        assert!(client.token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(
            (&welcome["last"], &welcome["users"]),
            (&json!(1), &json!(1))
        );
        let limits = json!({"message": 4096, "line": 65536, "name": 32, "page": 200});
        assert_eq!(welcome["limits"], limits);
        assert!(welcome["resumed"].is_null());
        let other = Extended::connect(site, "other");
        assert_eq!(other.epoch, client.epoch);
        assert_ne!(other.token, client.token);
    });
}

#[test]
fn both_dialects_have_the_same_order() {
    over_both(Limits::default(), |site| {
        let mut basic = site.connect("basic");
        let mut one = Extended::connect(site, "one");
        let mut other = Extended::connect(site, "other");
        one.send("message", json!("first"));
        one.send("set-name", json!("alice"));
        one.send("message", json!({"message": "waves", "action": true}));
        let of_other: Vec<_> = ["message", "renamed", "message"]
            .map(|kind| other.skip_to(kind))
            .into();
        other.send("quit", json!(""));
        let of_one: Vec<_> = ["joined", "message", "renamed", "message", "left"]
            .map(|kind| one.skip_to(kind))
            .into();
        assert_eq!(of_one[1..4], of_other);
        assert_eq!(of_one[3]["action"], true);
        assert!(of_one[1]["action"].is_null());
        assert_eq!(of_one[4]["reason"], "quit");
        assert!(of_one.iter().all(|event| is_time(&event["time"])));
        basic.skip_to("alice", "* waves");
        let name = other.name.clone();
        basic.skip_to("[Server]", &format!("{name} has left the chat"));
        assert!(other.next().is_none(), "quit ends the connection");
    });
}

#[test]
fn extended_dialect_keeps_newlines() {
    over_both(Limits::default(), |site| {
        let mut basic = site.connect("basic");
        let mut client = Extended::join(site, "alice");
        client.say("a\nb");
        basic.skip_to("alice", "a ↵ b");
    });
}

#[test]
fn a_nonce_is_acknowledged_and_said_once() {
    over_both(Limits::default(), |site| {
        let mut client = Extended::connect(site, "client");
        let id = client.say_with("n1", "once");
        assert_eq!(id, client.last, "the echo comes before the acknowledgement");
        assert_eq!(client.say_with("n1", "once"), id);
        assert_eq!(client.say_with("n1", "another text"), id);
        assert_eq!(client.say_with("n2", "twice"), id + 1);
        client.send("history", json!({}));
        let page = client.skip_to("history");
        assert_eq!(page["messages"].as_array().map(Vec::len), Some(2), "{page}");
        let longest = "n".repeat(64);
        client.say_with(&longest, "x");
        for nonce in [String::new(), "n".repeat(65)] {
            let said = json!({"message": "x", "nonce": nonce});
            assert_eq!(client.refused("message", said, "bad-nonce")["limit"], 64);
        }
        // A nonce belongs to one session.
        let mut other = Extended::connect(site, "other");
        assert!(other.say_with("n1", "mine") > id + 1);
        // The session keeps its nonces when it resumes.
        let mut back = client.lose(site).resume(site);
        assert_eq!(back.say_with("n1", "once"), id);
    });
}

#[test]
fn private_message_reaches_sender_and_receiver_only() {
    over_both(Limits::default(), |site| {
        let mut alice = Extended::join(site, "alice");
        let mut bob = site.join("bob");
        let mut carol = Extended::join(site, "carol");
        alice.skip_to("renamed");
        alice.skip_to("renamed");
        alice.send(
            "private",
            json!({"target": "BOB", "message": "psst", "nonce": "p"}),
        );
        let copy = alice.expect("private");
        let expected = ["alice", "bob", "psst"].map(Value::from);
        assert_eq!(
            ["source", "target", "message"].map(|key| copy[key].clone()),
            expected
        );
        let ack = alice.expect("ack");
        assert_eq!(ack, json!({"nonce": "p"}), "there is no number");
        bob.skip_to("alice (private)", "psst");
        // Once, however often it comes.
        alice.send(
            "private",
            json!({"target": "bob", "message": "psst", "nonce": "p"}),
        );
        assert_eq!(alice.expect("ack"), json!({"nonce": "p"}));
        // A basic client can do it too.
        bob.send_raw(
            b"{\"type\":\"private\",\"data\":{\"target\":\"alice\",\"message\":\"what?\"}}\n",
        );
        bob.expect("bob (private)", "what?");
        assert_eq!(alice.expect("private")["source"], "bob");
        let to_nobody = json!({"target": "nobody", "message": "x"});
        alice.refused("private", to_nobody, "no-such-user");
        // By address, as long as that is the name.
        let mut dave = Extended::connect(site, "dave");
        alice.send("private", json!({"target": dave.name, "message": "hello"}));
        assert_eq!(dave.skip_to("private")["message"], "hello");
        carol.say("nothing of it is public");
        bob.skip_to("carol", "nothing of it is public");
    });
}

#[test]
fn pages_go_back_to_the_beginning() {
    over_both(Limits::default(), |site| {
        let mut client = Extended::connect(site, "client");
        let ids: Vec<u64> = (0..7)
            .map(|number| client.say(&format!("m{number}")))
            .collect();
        let mut page = |data: Value| {
            client.send("history", data);
            self::ids(&client.skip_to("history"))
        };
        assert_eq!(page(json!("")), (ids.clone(), false), "as it was in basic");
        assert_eq!(page(json!({"limit": 3})), (ids[4..].to_vec(), true));
        assert_eq!(
            page(json!({"limit": 3, "before": ids[4]})),
            (ids[1..4].to_vec(), true)
        );
        assert_eq!(
            page(json!({"limit": 3, "before": ids[1]})),
            (ids[..1].to_vec(), false)
        );
        assert_eq!(page(json!({"limit": 1_000_000})), (ids.clone(), false));
        assert_eq!(page(json!({"before": 0})), (Vec::new(), false));
        client.refused("history", json!({"limit": 0}), "bad-limit");
        client.refused("history", json!({"limit": "many"}), "bad-data");
    });
}

/// Returns the ids of a page of messages, and whether there are more.
fn ids(page: &Value) -> (Vec<u64>, bool) {
    let messages = page["messages"].as_array().expect("messages");
    let ids = messages.iter().filter_map(|each| each["id"].as_u64());
    (ids.collect(), page["more"] == true)
}

#[test]
fn search_finds_newest_first() {
    over_both(Limits::default(), |site| {
        let mut alice = Extended::join(site, "Älice");
        let mut bob = Extended::join(site, "bob");
        alice.skip_to("renamed");
        let first = alice.say("Kde hledat příliš žluťoučkého koně?");
        let second = alice.say("nehledat, e-mail stačí 学生です");
        bob.skip_to("message");
        bob.skip_to("message");
        let third = bob.say("HLEDAT!");
        alice.skip_to("message");
        for (query, expected) in [
            ("hledat", vec![third, first]),
            ("Hledat kde", vec![first]),
            ("zlutouckeho", vec![first]),
            ("\"příliš žluťoučkého\"", vec![first]),
            ("\"žluťoučkého příliš\"", vec![]),
            ("e-mail", vec![second]),
            ("学生", vec![second]),
            ("from:alice", vec![second, first]),
            ("from:bob hledat", vec![third]),
            ("from:bob kde", vec![]),
            ("before:2020-01-01 hledat", vec![]),
            ("after:2020-01-01 hledat", vec![third, first]),
            ("after:2020-01-01", vec![third, second, first]),
            ("hled*", vec![]),
            ("kde OR hledat", vec![]),
            ("hle", vec![third, first]),
        ] {
            alice.send("search", json!({"query": query}));
            assert_eq!(ids(&alice.skip_to("search")), (expected, false), "{query}");
        }
        alice.send("search", json!({"query": "hledat", "limit": 1}));
        assert_eq!(ids(&alice.skip_to("search")), (vec![third], true));
        alice.send("search", json!({"query": "hledat", "before": third}));
        assert_eq!(ids(&alice.skip_to("search")), (vec![first], false));
        let long = "x".repeat(600);
        for query in [
            "",
            "\"open",
            "before:soon",
            "from:",
            "( AND",
            "hledat 🎉",
            &long,
        ] {
            let error = alice.refused("search", json!({"query": query}), "bad-query");
            assert!(!error.to_string().contains("SQL"), "{error}");
        }
    });
}

#[test]
fn pings_and_errors_have_their_forms() {
    over_both(Limits::default(), |site| {
        let mut client = Extended::connect(site, "client");
        for data in [
            json!(null),
            json!("x"),
            json!({"a": [1, 2.5, "é"]}),
            json!(true),
        ] {
            client.send("ping", data.clone());
            assert_eq!(client.expect("pong"), data);
        }
        let error = client.refused("ping", json!("x".repeat(255)), "ping-too-long");
        assert_eq!(error["limit"], 256);
        client.send("ping", json!("x".repeat(254)));
        client.expect("pong");
        for (kind, data, code) in [
            ("message", json!(" "), "blank-message"),
            ("message", json!({"message": 5}), "bad-data"),
            ("message", json!("x".repeat(4097)), "message-too-long"),
            ("set-name", json!("[Server]"), "bad-name"),
            ("hello", json!({"version": 2}), "hello-twice"),
            ("hello", json!({"version": 3}), "unknown-version"),
            ("kick", json!("x"), "unknown-type"),
            ("private", json!("x"), "bad-data"),
            ("search", json!({}), "bad-data"),
        ] {
            client.refused(kind, data, code);
            client.say("this restarts the count of rejected lines");
        }
        let mut other = Extended::join(site, "taken");
        client.refused("set-name", json!("TAKEN"), "name-taken");
        other.line.send_raw(b"nonsense\n");
        let error = other.skip_to("error");
        assert_eq!(
            (&error["code"], &error["type"]),
            (&json!("not-json"), &Value::Null)
        );
        // The seventeenth in a row is the last.
        for _ in 0..16 {
            other.line.send_raw(b"nonsense\n");
        }
        let bye = other.skip_to("bye");
        assert_eq!(
            (&bye["reason"], &bye["reconnect"]),
            (&json!("refused"), &json!(false))
        );
        assert!(other.next().is_none());
        assert_eq!(client.skip_to("left")["reason"], "refused");
    });
}

#[test]
fn users_reply_has_arrival_times() {
    over_both(Limits::default(), |site| {
        let mut client = Extended::join(site, "alice");
        let bob = site.join("bob");
        client.skip_to("renamed");
        client.send("users", json!(""));
        let users = client.skip_to("users");
        assert_eq!(users.as_array().map(Vec::len), Some(2));
        assert_eq!([&users[0]["name"], &users[1]["name"]], ["alice", "bob"]);
        assert!(is_time(&users[0]["since"]), "{users}");
        drop(bob);
    });
}

#[test]
fn stop_names_the_time_to_reconnect() {
    let mut chat = Chat::start();
    let mut clients: Vec<_> = (0..50)
        .map(|number| Extended::connect(&chat, &format!("client {number}")))
        .collect();
    chat.begin_stop();
    let mut waits = Vec::new();
    for client in &mut clients {
        let bye = client.skip_to("bye");
        assert_eq!(
            (&bye["reason"], &bye["reconnect"]),
            (&json!("shutdown"), &json!(true))
        );
        waits.push(bye["retry_after_ms"].as_u64().expect("a number"));
        assert!(client.next().is_none());
    }
    waits.sort_unstable();
    let (first, last) = (waits[0], waits[waits.len() - 1]);
    assert!(first >= 250 && last <= 300, "{waits:?}");
    waits.dedup();
    assert!(waits.len() > 10, "not spread: {waits:?}");
    chat.wait_for_end();
}

/// A new epoch makes the event numbers of another run invalid.
#[test]
fn server_without_store_has_a_new_epoch() {
    let first = Chat::with_config(Chat::config_with_web());
    let mut alice = Extended::join(&first, "alice");
    alice.say("before");
    let lost = alice.lose(&first);
    drop(first);
    let second = Chat::with_config(Chat::config_with_web());
    let _other = Extended::join(&second, "other");
    let mut back = Extended::hello(
        &second,
        "back",
        json!({"version": 2, "token": lost.token, "after": {"epoch": lost.epoch, "id": lost.last}}),
    );
    assert_ne!(back.epoch, lost.epoch);
    assert_ne!(back.token, lost.token, "nobody knows the token any more");
    assert_eq!(
        back.welcome["resumed"],
        json!({"complete": false, "oldest": 1})
    );
    assert_eq!(back.expect("joined")["id"], 1);
}

#[test]
fn a_basic_client_pings_and_quits() {
    over_both(Limits::default(), |site| {
        let mut witness = site.connect("witness");
        let mut client = site.connect("client");
        witness.must_get();
        client.send_raw(b"{\"type\":\"ping\",\"data\":{\"a\":1}}\n");
        client.expect_notice("pong {\"a\":1}");
        client.send_raw(b"{\"type\":\"quit\",\"data\":\"\"}\n");
        witness.expect_notice(&format!("{} has left the chat", client.name));
        client.read_to_end();
    });
}

#[cfg(unix)]
#[test]
fn documented_client_sends_once_across_a_restart() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/extended.py");
    let source = std::fs::read_to_string(path).expect("the client");
    assert!(source.lines().count() < 85, "{}", source.lines().count());
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("there is no python3");
    }
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let file = file.to_str().expect("a plain path");
    let mut server = RealServer::start(&["--no-web", "--db", file]);
    let port = server.address.port().to_string();
    let mut command = Command::new("python3");
    command.args([path, "127.0.0.1", &port, "snake"]);
    command.stdin(Stdio::piped());
    let mut client = Program::spawn(command);
    client.type_bytes(b"one\ntwo\n");
    client.stdout.wait_for("snake: two\n");
    server.signal("KILL");
    server.wait(PATIENCE);
    client.type_line("three");
    let arguments = ["--no-web", "--db", file, "--port", &port];
    let _server = RealServer::from_command(RealServer::bare_command(&arguments));
    client.stdout.wait_for("snake: three\n");
    client.type_line("čtyři");
    client.end_input();
    assert_eq!(client.wait(), Some(0));
    let expected = "snake: one\nsnake: two\nsnake: three\nsnake: čtyři\n";
    assert_eq!(client.stdout.text(), expected);
}
