//! Acknowledged private messages: each is received, or its sender is told, whatever ends.

use crate::extended::{over_both, short_grace};
use crate::page_user::Browser;
use crate::store::start;
use crate::store_files::contain;
use crate::support::extended::{Extended, Folder, Lost};
use crate::support::{Deadline, PATIENCE, eventually};
use serde_json::{Value, json};
use smolchat::server::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};

/// A client that skips private messages which come again.
#[derive(Default)]
struct Inbox {
    /// How often each text was received.
    received: BTreeMap<String, usize>,
    /// Received since the newest public event.
    recent: Vec<Value>,
    /// Received before the connection, and may come again.
    expected: Vec<Value>,
    acknowledged: BTreeSet<String>,
}

impl Inbox {
    fn resume(&mut self) {
        self.expected = std::mem::take(&mut self.recent);
    }

    fn note(&mut self, kind: &str, data: Value) {
        if !data["id"].is_null() {
            self.recent.clear();
        }
        let text = |key: &str| data[key].as_str().expect("a text").to_owned();
        if kind == "ack" {
            self.acknowledged.insert(text("nonce"));
        }
        if kind != "private" {
            return;
        }
        let repeat = self.expected.iter().position(|each| *each == data);
        if let Some(place) = repeat {
            self.expected.remove(place);
        } else {
            *self.received.entry(text("message")).or_default() += 1;
        }
        self.recent.push(data);
    }

    /// Reads what is left of a connection to a server that was killed. Returns its state.
    fn drain(&mut self, mut client: Extended) -> Lost {
        while let Ok(Some(line)) = client.line.try_next_line(Deadline::of_test())
            && let Ok(mut value) = serde_json::from_slice::<Value>(&line)
        {
            let kind = value["type"].as_str().expect("a type").to_owned();
            let data = value["data"].take();
            client.last = data["id"].as_u64().unwrap_or(client.last);
            self.note(&kind, data);
        }
        client.state()
    }

    /// Reads everything that was sent before.
    fn catch_up(&mut self, client: &mut Extended) {
        client.send("ping", json!("barrier"));
        loop {
            let (kind, data) = client.next().expect("the connection stays");
            if kind == "pong" {
                return;
            }
            self.note(&kind, data);
        }
    }
}

fn whisper(client: &mut Extended, text: &str) {
    let data = json!({"target": "bob", "message": text, "nonce": text});
    client.send("private", data);
}

#[test]
fn acknowledged_private_messages_survive_the_end_of_the_server() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut server = start(&file);
    let mut ada = Extended::join(&server, "ada");
    let mut bob = Extended::join(&server, "bob");
    let (mut of_ada, mut of_bob) = (Inbox::default(), Inbox::default());
    let mut all = BTreeSet::new();
    for (round, signal) in ["KILL", "KILL", "TERM", "KILL"].into_iter().enumerate() {
        for number in 0..60 {
            let text = format!("{round} {number}");
            whisper(&mut ada, &text);
            if number % 20 == 7 {
                ada.send("message", json!({"message": text}));
            }
            all.insert(text);
        }
        // The end comes while some messages are on their way.
        let mut acknowledged = 0;
        while acknowledged <= round * 19 {
            let (kind, data) = ada.next().expect("the connection stays");
            acknowledged += usize::from(kind == "ack");
            of_ada.note(&kind, data);
        }
        server.signal(signal);
        server.wait(PATIENCE);
        let (lost_ada, lost_bob) = (of_ada.drain(ada), of_bob.drain(bob));
        server = start(&file);
        (ada, bob) = (lost_ada.resume(&server), lost_bob.resume(&server));
        for text in all.difference(&of_ada.acknowledged) {
            whisper(&mut ada, text);
        }
        of_ada.catch_up(&mut ada);
        assert_eq!(of_ada.acknowledged, all, "round {round}");
        of_bob.resume();
        of_bob.catch_up(&mut bob);
        let received: BTreeSet<_> = of_bob.received.keys().cloned().collect();
        assert_eq!(received, all, "round {round}");
        let mut counts = of_bob.received.values();
        assert!(counts.all(|count| *count == 1), "{:?}", of_bob.received);
    }
}

#[test]
fn private_messages_on_a_lost_connection_come_again() {
    over_both(Limits::default(), |site| {
        let mut ada = Extended::join(site, "ada");
        let mut bob = Extended::join(site, "bob");
        ada.skip_to("renamed");
        whisper(&mut ada, "received");
        assert_eq!(bob.skip_to("private")["message"], "received");
        ada.say("a later event");
        bob.skip_to("message");
        whisper(&mut ada, "in doubt");
        let doubtful = bob.skip_to("private");
        ada.skip_to("ack");
        for text in ["lost", "too"] {
            whisper(&mut ada, text);
            assert_eq!(ada.skip_to("ack")["nonce"], text);
        }
        let mut bob = bob.lose(site).resume(site);
        assert_eq!(bob.skip_to("private"), doubtful, "recognisable");
        for text in ["lost", "too"] {
            assert_eq!(bob.expect("private")["message"], text);
        }
        // The connection that resumed has them, as its later events show.
        ada.say("another event");
        bob.skip_to("message");
        let mut bob = bob.lose(site).resume(site);
        bob.send("ping", json!(1));
        while let Some((kind, data)) = bob.next()
            && kind != "pong"
        {
            assert_ne!(kind, "private", "{data}");
        }
    });
}

#[test]
fn sender_is_told_of_what_a_lost_connection_may_not_have_received() {
    over_both(short_grace(), |site| {
        let mut ada = Extended::join(site, "ada");
        let bob = Extended::join(site, "bob");
        ada.skip_to("renamed");
        whisper(&mut ada, "on its way");
        ada.skip_to("ack");
        bob.lose(site);
        let error = ada.skip_to("error");
        let told = [&error["code"], &error["type"]];
        assert_eq!(told, ["not-delivered", "private"]);
    });
}

#[test]
fn mailbox_of_a_browser_survives_a_kill_under_growing_numbers() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut server = start(&file);
    let mut ada = Extended::join(&server, "ada");
    let mut bob = Browser::join(server.web.expect("a page"), "bob");
    let mut seen = Vec::new();
    for text in ["one", "two"] {
        whisper(&mut ada, text);
        ada.skip_to("ack");
        server.signal("KILL");
        server.wait(PATIENCE);
        let lost = ada.state();
        server = start(&file);
        ada = lost.resume(&server);
        bob.web = server.web.expect("a page");
        let mut events = bob.listen();
        let count = seen.len() + 1;
        seen = (0..count).map(|_| events.skip_to("private").data).collect();
    }
    let texts: Vec<_> = seen.iter().map(|each| each["message"].as_str()).collect();
    assert_eq!(texts, [Some("one"), Some("two")]);
    assert!(seen[0]["id"].as_u64() < seen[1]["id"].as_u64(), "{seen:?}");
}

/// A message leaves the store with its receipt.
#[test]
fn received_private_message_leaves_the_files() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    let mut ada = Extended::join(&server, "ada");
    let mut bob = Extended::join(&server, "bob");
    whisper(&mut ada, "zanzibar quagmire");
    bob.skip_to("private");
    assert!(contain(&file, "zanzibar"));
    ada.say("a later event");
    bob.skip_to("message");
    let _bob = bob.state().resume(&server);
    eventually(PATIENCE, "the message leaves the files", || {
        !contain(&file, "zanzibar")
    });
}
