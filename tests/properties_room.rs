//! Properties of the room: what holds after any sequence of events.
//!
//! A model that knows no index, cache or counter says beforehand what comes of each step; the
//! room must say the same, and be the same.

#[path = "common/cases.rs"]
mod cases;

use jiff::Timestamp;
use proptest::prelude::*;
use smolchat::history::{History, Message};
use smolchat::limits::{Limits, MAX_HISTORY_BYTES, MAX_REFUSALS_IN_A_ROW};
use smolchat::name::{Name, NameError, NameKeys};
use smolchat::protocol::{Refusal, Request};
use smolchat::room::{Event, EventKind, NoEntry, Outcome, Reply, Room, UserId, sentence};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Step {
    /// Somebody comes, from this address.
    Enter(SocketAddr),
    /// The user at this place of the roster goes.
    Leave(usize),
    /// The user at this place of the roster asks for something.
    Ask(usize, Request),
    /// A line of the user at this place of the roster is refused.
    Refuse(usize),
    /// Somebody who went asks for something.
    AskFromOutside(usize, Request),
}

/// Few addresses, so that they come back: IPv4, the same in IPv6 clothes, and two of one network.
fn address() -> impl Strategy<Value = SocketAddr> {
    const HOSTS: [&str; 5] = [
        "127.0.0.1",
        "127.0.0.2",
        "::ffff:127.0.0.1",
        "2001:db8::1",
        "2001:db8::2",
    ];
    (prop::sample::select(&HOSTS[..]), 1u16..4).prop_map(|(host, port)| {
        let host: IpAddr = host.parse().expect("an address");
        SocketAddr::new(host, port)
    })
}

/// Few names, so that they meet: equal ones, look-alikes, addresses, and some that are none.
fn requested_name() -> impl Strategy<Value = String> {
    const TEXTS: &[&str] = &[
        "a",
        "A",
        "а",
        " a ",
        "ａ",
        "ab",
        "AB",
        "аЬ",
        "rn",
        "m",
        "é",
        "e\u{301}",
        "É",
        "ß",
        "SS",
        "l",
        "I",
        "1",
        "O",
        "0",
        "[Server]",
        "b:",
        "a: b",
        "",
        "   ",
        "a\u{202E}b",
        "x renamed to y",
        "山",
        "👍🏽",
        "👍",
    ];
    prop_oneof![
        6 => prop::sample::select(TEXTS).prop_map(str::to_owned),
        2 => "[ab]{1,2}",
        2 => address().prop_map(|address| Name::from_address(address).to_string()),
        1 => Just("x".repeat(33)),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        3 => "[a-z\n]{1,5}".prop_map(|text| Request::Say(text.into())),
        4 => requested_name().prop_map(|name| Request::SetName(name.into())),
        1 => Just(Request::History),
        1 => Just(Request::Users),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let place = 0usize..6;
    prop_oneof![
        5 => address().prop_map(Step::Enter),
        2 => place.clone().prop_map(Step::Leave),
        12 => (place.clone(), request()).prop_map(|(place, request)| Step::Ask(place, request)),
        1 => place.clone().prop_map(Step::Refuse),
        1 => (place, request()).prop_map(|(place, request)| Step::AskFromOutside(place, request)),
    ]
}

/// Steps, among them somebody who is refused again and again.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stubborn =
        (0usize..3, 14usize..19).prop_map(|(place, times)| vec![Step::Refuse(place); times]);
    let piece = prop_oneof![40 => step().prop_map(|step| vec![step]), 1 => stubborn];
    prop::collection::vec(piece, 1..60).prop_map(|pieces| pieces.concat())
}

fn limits() -> impl Strategy<Value = Limits> {
    let per_address = prop_oneof![2 => Just(None), 1 => (1usize..3).prop_map(Some)];
    (1usize..6, per_address, 0usize..4, 0usize..6).prop_map(
        |(max_clients, max_clients_per_address, history_messages, announce_limit)| Limits {
            max_clients,
            max_clients_per_address,
            history_messages,
            announce_limit,
            ..Limits::default()
        },
    )
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

/// What becomes of a requested name, and its keys.
fn parsed(requested: &str, own: SocketAddr) -> Parsed {
    let judge = || Name::parse(requested, own).map(|name| (name.clone(), name.keys()));
    PARSED.with_borrow_mut(|parsed| {
        let known = parsed.entry((requested.to_owned(), own));
        known.or_insert_with(judge).clone()
    })
}

/// What the room should be, kept in the simplest way.
struct Model {
    limits: Limits,
    here: Vec<Person>,
    gone: Vec<UserId>,
    /// Everything that was ever said: event, author's name then, text.
    said: Vec<(u64, String, String)>,
    events: u64,
    now: Timestamp,
}

impl Model {
    fn new(limits: Limits) -> Self {
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

    fn enter(&mut self, room: &mut Room, address: SocketAddr) {
        // Two connections of one address and port do not exist at a time.
        let name = Name::from_address(address);
        if self
            .here
            .iter()
            .any(|person| Name::from_address(person.address) == name)
        {
            return;
        }
        let neighbours = self
            .here
            .iter()
            .filter(|person| network(person.address) == network(address))
            .count();
        let refused = if self.here.len() >= self.limits.max_clients {
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

    fn refuse(&mut self, room: &mut Room, place: usize) {
        let outcome = room
            .refuse(self.here[place].id, &Refusal::NotJson)
            .expect("the user is here");
        self.take_refusal(room, place, outcome, &Refusal::NotJson.to_string());
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases::cases(2000)) })]

    #[test]
    fn the_room_is_what_the_model_says(limits in limits(), steps in steps()) {
        let mut room = Room::new(limits.clone());
        let mut model = Model::new(limits);
        for (second, step) in (1..).zip(steps) {
            model.now = Timestamp::from_second(second).expect("a time");
            match step {
                Step::Enter(address) => model.enter(&mut room, address),
                Step::Leave(place) if place < model.here.len() => model.leave(&mut room, place),
                Step::Ask(place, request) if place < model.here.len() => {
                    model.ask(&mut room, place, request);
                }
                Step::Refuse(place) if place < model.here.len() => model.refuse(&mut room, place),
                Step::AskFromOutside(place, request) => {
                    model.ask_from_outside(&mut room, place, request);
                }
                Step::Leave(_) | Step::Ask(..) | Step::Refuse(_) => {}
            }
            model.check(&room);
        }
    }

    #[test]
    fn the_history_keeps_the_newest_that_fit(
        max_messages in 0usize..6, max_bytes in 0usize..2000, lengths in prop::collection::vec(0usize..400, 0..30),
    ) {
        let mut history = History::new(max_messages, max_bytes);
        let mut all: Vec<Arc<Message>> = Vec::new();
        let name = Name::from_address(([127, 0, 0, 1], 1).into());
        for (id, length) in (1..).zip(lengths) {
            let text = "x".repeat(length).into();
            let message = Arc::new(Message::new(id, Timestamp::UNIX_EPOCH, name.clone(), text));
            all.push(message.clone());
            history.push(message);
            // The longest tail within both bounds.
            let fits = |from: usize| {
                let tail = &all[from..];
                let bytes: usize = tail.iter().map(|message| message.bytes()).sum();
                tail.len() <= max_messages && bytes <= max_bytes
            };
            let from = (0..=all.len()).find(|&from| fits(from)).expect("nothing fits always");
            let kept: Vec<u64> = history.messages().map(|message| message.id).collect();
            let expected: Vec<u64> = all[from..].iter().map(|message| message.id).collect();
            prop_assert_eq!(kept, expected);
            prop_assert!(history.bytes() <= max_bytes);
        }
    }
}
