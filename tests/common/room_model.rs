//! What a room should be, kept in the simplest way.
//!
//! What lives here: [`Step`], and [`Model`], which knows no index, cache or counter and says
//! beforehand what comes of each step; the room must say the same, and be the same. The property
//! test of the room and its fuzz target include this file by its path. It must never need
//! anything of the harness beside it: neither opens a socket.

use jiff::Timestamp;
use smolchat::limits::{Limits, MAX_HISTORY_BYTES, MAX_REFUSALS_IN_A_ROW};
use smolchat::name::{Name, NameError, NameKeys};
use smolchat::protocol::{Refusal, Request};
use smolchat::room::{Event, EventKind, NoEntry, Outcome, Reply, Room, UserId, sentence};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Something that happens to a room.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Somebody comes, from this address.
    Enter(SocketAddr),
    /// The user at this place of the roster goes.
    Leave(usize),
    /// The user at this place of the roster asks for something.
    Ask(usize, Request),
    /// A line of the user at this place of the roster is refused, for this reason.
    Refuse(usize, Refusal),
    /// Somebody who went asks for something.
    AskFromOutside(usize, Request),
}

#[derive(Debug)]
struct Person {
    id: UserId,
    address: SocketAddr,
    name: Name,
    keys: NameKeys,
    since: Timestamp,
    refusals: u32,
}

fn are_one(a: &NameKeys, b: &NameKeys) -> bool {
    a.folded_first == b.folded_first || a.folded_last == b.folded_last
}

type Parsed = Result<(Name, NameKeys), NameError>;

thread_local! {
    /// The names are few and judging one takes long.
    static PARSED: RefCell<HashMap<(String, SocketAddr), Parsed>> = RefCell::default();
}

/// Names that are remembered.
const MOST_PARSED: usize = 10_000;

/// What becomes of a requested name, and its keys.
fn parsed(requested: &str, own: SocketAddr) -> Parsed {
    let judge = || Name::parse(requested, own).map(|name| (name.clone(), name.keys()));
    PARSED.with_borrow_mut(|parsed| {
        if parsed.len() > MOST_PARSED {
            parsed.clear();
        }
        let known = parsed.entry((requested.to_owned(), own));
        known.or_insert_with(judge).clone()
    })
}

/// What the room should be, kept in the simplest way.
pub(crate) struct Model {
    limits: Limits,
    here: Vec<Person>,
    gone: Vec<UserId>,
    /// Everything that was ever said: event, author's name then, text.
    said: Vec<(u64, String, String)>,
    events: u64,
    now: Timestamp,
}

impl Model {
    pub(crate) fn new(limits: Limits) -> Self {
        Model {
            limits,
            here: Vec::new(),
            gone: Vec::new(),
            said: Vec::new(),
            events: 0,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn names(&self) -> Vec<String> {
        self.here
            .iter()
            .map(|person| person.name.to_string())
            .collect()
    }

    fn kept(&self) -> &[(u64, String, String)] {
        &self.said[self.said.len().saturating_sub(self.limits.history_messages)..]
    }

    /// Compares everything that can be seen of the room.
    fn check(&self, room: &Room) {
        let roster = room.users();
        let expected = self.here.iter().map(|person| (&person.name, person.since));
        assert!(
            roster.eq(expected),
            "not in order of arrival: {:?}",
            self.here
        );
        assert_eq!(room.user_count(), self.here.len());
        assert!(room.user_count() <= self.limits.max_clients);
        for (index, person) in self.here.iter().enumerate() {
            assert_eq!(room.name(person.id), Some(&person.name));
            for other in &self.here[..index] {
                assert!(other.id < person.id, "numbered in order of arrival");
                assert!(
                    !are_one(&person.keys, &other.keys),
                    "{} and {} have one name",
                    person.name,
                    other.name
                );
            }
        }
        for gone in &self.gone {
            assert_eq!(room.name(*gone), None);
        }
        assert_eq!(
            room.last_event(),
            self.events,
            "each public event has the next number"
        );
        let history = room.history();
        let kept = history
            .messages()
            .map(|message| (message.id, message.source.as_str(), &*message.text));
        let expected = self
            .kept()
            .iter()
            .map(|(id, source, text)| (*id, source.as_str(), text.as_str()));
        assert!(
            kept.eq(expected),
            "not the newest, as they were said: {history:?}"
        );
        assert_eq!(history.is_empty(), self.kept().is_empty());
        let bytes: usize = history.messages().map(|message| message.bytes()).sum();
        assert_eq!(history.bytes(), bytes);
        assert!(bytes <= MAX_HISTORY_BYTES);
    }

    /// A public event: the next number, now.
    fn take_event(&mut self, event: &Event) {
        self.events += 1;
        assert_eq!((event.id, event.time), (self.events, self.now));
    }

    /// Lets a step happen to the room, a second after the one before, and compares what comes of
    /// it. A step of a user at a place where nobody is does nothing.
    pub(crate) fn step(&mut self, room: &mut Room, step: Step) {
        self.now += Duration::from_secs(1);
        match step {
            Step::Enter(address) => self.enter(room, address),
            Step::Leave(place) if place < self.here.len() => self.leave(room, place),
            Step::Ask(place, request) if place < self.here.len() => self.ask(room, place, request),
            Step::Refuse(place, refusal) if place < self.here.len() => {
                self.refuse(room, place, &refusal);
            }
            Step::AskFromOutside(place, request) => self.ask_from_outside(room, place, request),
            Step::Leave(_) | Step::Ask(..) | Step::Refuse(..) => {}
        }
        self.check(room);
    }

    fn enter(&mut self, room: &mut Room, address: SocketAddr) {
        let name = Name::from_address(address);
        let mut here = self.here.iter();
        let holder = here.find(|person| Name::from_address(person.address) == name);
        let neighbours = self
            .here
            .iter()
            .filter(|person| network(person.address) == network(address))
            .count();
        let refused = if let Some(holder) = holder {
            Some(NoEntry::AddressInUse(holder.id))
        } else if self.here.len() >= self.limits.max_clients {
            Some(NoEntry::Full(self.limits.max_clients))
        } else if self
            .limits
            .max_clients_per_address
            .is_some_and(|most| neighbours >= most)
        {
            Some(NoEntry::AddressFull)
        } else {
            None
        };
        match (room.enter(address, self.now), refused) {
            (Err(told), Some(expected)) => assert_eq!(told, expected),
            (Ok((id, event)), None) => {
                self.take_event(&event);
                assert!(!self.gone.contains(&id), "a number was used twice");
                let many = self.here.len() + 1 > self.limits.announce_limit;
                assert!(
                    matches!(&event.kind, EventKind::Joined { name: told, summarised }
                        if *told == name && *summarised == many)
                );
                let (_, keys) = parsed(name.as_str(), address).expect("one's own address");
                self.here.push(Person {
                    id,
                    address,
                    name,
                    keys,
                    since: self.now,
                    refusals: 0,
                });
            }
            (told, expected) => panic!("{address}: {told:?}, but {expected:?} was expected"),
        }
    }

    fn leave(&mut self, room: &mut Room, place: usize) {
        let many = self.here.len() > self.limits.announce_limit;
        let person = self.here.remove(place);
        let event = room.leave(person.id, self.now).expect("the user was here");
        self.take_event(&event);
        assert!(matches!(&event.kind, EventKind::Left { name, summarised }
                if *name == person.name && *summarised == many));
        assert_eq!(
            sentence(&event.kind),
            Some(format!("{} has left the chat", person.name))
        );
        self.gone.push(person.id);
    }

    /// One more refusal of this person, in this sentence, or the last.
    fn take_refusal(&mut self, room: &mut Room, place: usize, outcome: Outcome, told: &str) {
        let person = &mut self.here[place];
        person.refusals += 1;
        match outcome {
            Outcome::Reply(Reply::Notice(sentence)) => {
                assert_eq!(sentence, told);
                assert!(person.refusals <= MAX_REFUSALS_IN_A_ROW);
            }
            Outcome::Close(_) => {
                assert_eq!(person.refusals, MAX_REFUSALS_IN_A_ROW + 1);
                self.leave(room, place);
            }
            other => panic!("{other:?}, but a refusal was expected: {told}"),
        }
    }

    fn refuse(&mut self, room: &mut Room, place: usize, refusal: &Refusal) {
        let outcome = room
            .refuse(self.here[place].id, refusal)
            .expect("the user is here");
        self.take_refusal(room, place, outcome, &refusal.to_string());
    }

    fn ask(&mut self, room: &mut Room, place: usize, request: Request) {
        let id = self.here[place].id;
        let outcome = room
            .request(id, request.clone(), self.now)
            .expect("the user is here");
        match request {
            Request::Say(text) => {
                let Outcome::Public(event) = outcome else {
                    panic!("{outcome:?}")
                };
                self.take_event(&event);
                let person = &mut self.here[place];
                person.refusals = 0;
                let EventKind::Said(message) = &event.kind else {
                    panic!("{event:?}")
                };
                assert_eq!((message.id, message.time), (event.id, event.time));
                assert_eq!(message.source, person.name);
                assert_eq!(message.text, text);
                assert_eq!(sentence(&event.kind), None);
                self.said
                    .push((event.id, person.name.to_string(), text.into()));
            }
            Request::SetName(requested) => self.take_rename(room, place, &requested, outcome),
            Request::History => {
                self.here[place].refusals = 0;
                let kept = self.kept();
                match outcome {
                    Outcome::Reply(Reply::History(messages)) => {
                        assert!(!kept.is_empty());
                        let ids: Vec<u64> = messages.iter().map(|message| message.id).collect();
                        let expected: Vec<u64> = kept.iter().map(|(id, ..)| *id).collect();
                        assert_eq!(ids, expected, "oldest first");
                    }
                    Outcome::Reply(Reply::Notice(told)) => {
                        assert_eq!((told.as_str(), kept.len()), ("No messages yet", 0));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Request::Users => {
                self.here[place].refusals = 0;
                let Outcome::Reply(Reply::Users(names)) = outcome else {
                    panic!("{outcome:?}")
                };
                let names: Vec<String> = names.iter().map(Name::to_string).collect();
                assert_eq!(names, self.names());
            }
        }
    }

    fn take_rename(&mut self, room: &mut Room, place: usize, requested: &str, outcome: Outcome) {
        let person = &self.here[place];
        let (new, keys) = match parsed(requested, person.address) {
            Ok(new) => new,
            Err(error) => {
                let told = Refusal::Name(error).to_string();
                return self.take_refusal(room, place, outcome, &told);
            }
        };
        if new == person.name {
            self.here[place].refusals = 0;
            let Outcome::Reply(Reply::Notice(told)) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(told, format!("Your name is already {new}"));
            return;
        }
        let mut others = self.here.iter().filter(|other| other.id != person.id);
        if others.any(|other| are_one(&other.keys, &keys)) {
            let told = Refusal::NameTaken(new.as_str().into()).to_string();
            return self.take_refusal(room, place, outcome, &told);
        }
        let Outcome::Public(event) = outcome else {
            panic!("{outcome:?}")
        };
        self.take_event(&event);
        let person = &mut self.here[place];
        person.refusals = 0;
        assert!(matches!(&event.kind, EventKind::Renamed { old, new: told }
                if *old == person.name && *told == new));
        assert_eq!(
            sentence(&event.kind),
            Some(format!("{} renamed to {new}", person.name))
        );
        (person.name, person.keys) = (new, keys);
    }

    /// Nothing comes of what is asked by one who is not here.
    fn ask_from_outside(&self, room: &mut Room, place: usize, request: Request) {
        if let Some(&id) = self.gone.get(place) {
            assert!(room.request(id, request, self.now).is_none());
            assert!(room.refuse(id, &Refusal::NotJson).is_none());
            assert!(room.leave(id, self.now).is_none());
        }
    }
}

/// What the limit for one address counts as one: an IPv4 address, or the /64 of an IPv6 one.
fn network(address: SocketAddr) -> Vec<u8> {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
    }
}
