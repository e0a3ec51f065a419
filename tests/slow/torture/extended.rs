//! Clients of the extended dialect, which resume.

use super::private::{PrivateBook, name_of};
use super::{Item, LISTEN, MOST_UNACKNOWLEDGED, RETRY, Seen, World};
use crate::support::random::Random;
use crate::support::{Deadline, LineClient, Transcript};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;

/// A client, and everything that it received.
pub(super) struct ExtendedClient {
    pub(super) number: usize,
    token: Option<String>,
    epoch: String,
    /// Every event; small, because there are millions in an hour.
    pub(super) events: Vec<Seen>,
    pub(super) last: u64,
    /// Messages without an acknowledgement, in order.
    unacknowledged: VecDeque<Item>,
    /// Sent on this connection, without an answer.
    unanswered: VecDeque<Item>,
    next: u64,
    /// Event id of each public message.
    pub(super) acknowledged: HashMap<u64, u64>,
    pub(super) private: PrivateBook,
    is_idle: bool,
    /// Whether this connection has received all that was accepted.
    has_all: bool,
    random: Random,
}

/// Returns the next line; none if no line comes for a moment.
fn next_line(line: &mut LineClient) -> io::Result<Option<Value>> {
    match line.try_next_line(Deadline::after(LISTEN)) {
        Ok(Some(line)) => Ok(Some(serde_json::from_slice(&line).expect("JSON"))),
        Ok(None) => Err(ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
        Err(error) => Err(error),
    }
}

fn send_line(line: &mut LineClient, kind: &str, data: &Value) -> io::Result<()> {
    let text = format!("{}\n", json!({"type": kind, "data": data}));
    line.try_send(text.as_bytes())
}

impl ExtendedClient {
    pub(super) fn new(number: usize, random: Random) -> Self {
        ExtendedClient {
            number,
            token: None,
            epoch: String::new(),
            events: Vec::new(),
            last: 0,
            unacknowledged: VecDeque::new(),
            unanswered: VecDeque::new(),
            next: 0,
            acknowledged: HashMap::new(),
            private: PrivateBook::default(),
            is_idle: false,
            has_all: false,
            random,
        }
    }

    pub(super) fn run(mut self, world: &World) -> Self {
        // Every error is a reason to connect again.
        while self.connect_and_talk(world).is_err() {
            thread::sleep(RETRY);
        }
        self
    }

    fn connect_and_talk(&mut self, world: &World) -> io::Result<()> {
        let label = format!("client {}", self.number);
        let stream = TcpStream::connect(world.proxy)?;
        let mut line = LineClient::new(stream, &label, &Transcript::current());
        while next_line(&mut line)?.is_none() {}
        let mut hello = json!({"version": 2, "client": "torture/1"});
        if let Some(token) = &self.token {
            hello["token"] = json!(token);
        }
        if !self.epoch.is_empty() {
            hello["after"] = json!({"epoch": self.epoch, "id": self.last});
        }
        send_line(&mut line, "hello", &hello)?;
        // Lines of the basic dialect can come first.
        let welcome = loop {
            let received = next_line(&mut line)?;
            if let Some(welcome) = received.filter(|line| line["type"] == "welcome") {
                break welcome;
            }
        };
        self.take_welcome(world, &welcome["data"]);
        self.unanswered.clear();
        self.has_all = false;
        let name = name_of(self.number, 0);
        if welcome["data"]["name"] != name.as_str() {
            send_line(&mut line, "set-name", &json!(name))?;
        }
        for item in self.unacknowledged.clone() {
            self.say(&mut line, item)?;
        }
        let mut has_asked = false;
        while !self.has_all {
            world.report_if_idle(&mut self.is_idle, self.unacknowledged.is_empty());
            if world.is_over(self.last) && !has_asked {
                // The answer comes after every private message.
                has_asked = true;
                send_line(&mut line, "ping", &json!(1))?;
            }
            if let Some(event) = next_line(&mut line)? {
                self.take(&event);
                continue;
            }
            let is_calm = world.is_calm.load(Ordering::Acquire);
            if !is_calm && self.unacknowledged.len() < MOST_UNACKNOWLEDGED {
                let item = Item::new(self.next, self.number, world, &mut self.random);
                self.next += 1;
                self.unacknowledged.push_back(item.clone());
                self.say(&mut line, item)?;
            }
        }
        Ok(())
    }

    /// Sends a message, a public one sometimes twice.
    fn say(&mut self, line: &mut LineClient, item: Item) -> io::Result<()> {
        let (kind, data) = item.data(self.number);
        if item.target.is_none() && self.random.happens(5) {
            self.unanswered.push_back(item.clone());
            send_line(line, kind, &data)?;
        }
        self.unanswered.push_back(item);
        send_line(line, kind, &data)
    }

    fn take_welcome(&mut self, world: &World, welcome: &Value) {
        let token = welcome["token"].as_str().expect("a token").to_owned();
        let epoch = welcome["epoch"].as_str().expect("an epoch");
        match &self.token {
            None => {
                self.token = Some(token);
                self.last = welcome["last"].as_u64().expect("a number");
            }
            Some(before) => {
                world.resumes.fetch_add(1, Ordering::Relaxed);
                // A session that has said nothing is forgotten with its connection.
                let has_said = !self.acknowledged.is_empty() || self.private.has_accepted();
                let is_forgotten = welcome["known"] == false && !has_said;
                assert!(token == *before || is_forgotten, "{welcome}");
                assert_eq!(epoch, self.epoch, "the epoch changed");
                let resumed = &welcome["resumed"];
                assert_eq!(resumed["complete"], true, "events are missing: {welcome}");
                self.token = Some(token);
            }
        }
        self.epoch = epoch.to_owned();
    }

    fn take(&mut self, line: &Value) {
        let data = &line["data"];
        match line["type"].as_str().expect("a type") {
            "ack" => {
                let nonce = data["nonce"].as_str().and_then(|nonce| nonce.parse().ok());
                let nonce: u64 = nonce.expect("a nonce of its own");
                let item = self.unanswered.pop_front().expect("something was sent");
                assert_eq!(item.number, nonce, "not in order");
                match &item.target {
                    Some(target) => self.private.promise(nonce, target),
                    None => {
                        let id = data["id"].as_u64().expect("a number");
                        let before = self.acknowledged.insert(nonce, id);
                        assert!(before.is_none_or(|before| before == id), "two ids");
                    }
                }
                self.unacknowledged.retain(|each| each.number != nonce);
            }
            "error" if data["code"] == "not-delivered" => self.private.report_undelivered(),
            "error" if data["type"] == "private" => {
                let refused = ["no-such-user", "mailbox-full"];
                assert!(refused.iter().any(|code| data["code"] == *code), "{line}");
                let item = self.unanswered.pop_front().expect("something was sent");
                assert!(item.target.is_some(), "{item:?}: {line}");
                self.private.refuse(item.number);
                self.unacknowledged
                    .retain(|each| each.number != item.number);
            }
            // Its own name may still be taken by its last connection.
            "error" if data["type"] == "set-name" => {}
            "private" => {
                let text = |key: &str| data[key].as_str().expect("a text");
                if text("source") != name_of(self.number, 0) {
                    self.private.receive(text("source"), text("message"));
                }
            }
            "pong" => self.has_all = true,
            "message" | "joined" | "left" | "renamed" => {
                let id = data["id"].as_u64().expect("a number");
                assert_eq!(id, self.last + 1, "a gap or a repeat: {line}");
                self.last = id;
                self.events.push(Seen::of(line));
            }
            "bye" | "notice" => {}
            other => panic!("client {} got {other}: {line}", self.number),
        }
    }
}
