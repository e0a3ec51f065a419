//! Slow, simple model of a room: it predicts the effects of each step and compares all state.
//!
//! The property test of the room and its fuzz target include this folder by its path.

mod arrivals;
mod mail;
mod requests;
mod sessions;

use self::mail::Mail;
use jiff::{SignedDuration, Timestamp};
use smolchat::chat::error::RequestError;
use smolchat::chat::event::{Event, EventKind, LeaveReason};
use smolchat::chat::request::Request;
use smolchat::chat::room::limits::RoomLimits;
use smolchat::chat::room::{Effect, Room, RoomTime, UserId};
use smolchat::chat::token::Token;
use smolchat::chat::username::{NameError, Username, UsernameKey};
use smolchat::limits::MAX_HISTORY_BYTES;
use smolchat::protocol::basic::event_notice;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Action on a room. An index means the user at this place of the roster.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A client connects from this address.
    Enter(SocketAddr),
    /// The connection of the user closes.
    Leave(usize),
    Ask(usize, Request),
    /// The server rejects a line of the user.
    Refuse(usize, RequestError),
    /// A former user sends a request.
    AskFromOutside(usize, Request),
    /// The user says hello, with the token of this number if it exists.
    Hello(usize, Option<usize>),
    /// A browser joins under this name, with the token of this number if it exists.
    Join(SocketAddr, Option<usize>, String),
    /// A browser opens a stream from this address.
    AttachStream(usize, SocketAddr),
    /// A browser prepares a request from this address.
    Touch(usize, SocketAddr),
    /// The last stream of a browser ends.
    DetachStream(usize),
    Quit(usize),
    /// Seconds pass.
    Wait(u32),
    /// The time of day jumps by these seconds.
    Jump(i64),
}

#[derive(Debug)]
struct Person {
    id: UserId,
    address: SocketAddr,
    name: Username,
    keys: UsernameKey,
    since: Timestamp,
    /// Steady time of the arrival.
    arrived: SignedDuration,
    refusals: u32,
    /// Whether the user has said or named something.
    has_acted: bool,
    /// Number of the token.
    token: Option<usize>,
    /// Steady time of the end of the grace time after a lost connection.
    away: Option<SignedDuration>,
    /// Whether the user is a browser.
    is_browser: bool,
    /// Whether the user counts as connected while away.
    has_reserved_slot: bool,
    /// Mail that may have to be sent again, and mail that waits.
    sent: Vec<Mail>,
    waiting: Vec<Mail>,
}

impl Person {
    fn new(
        id: UserId,
        address: SocketAddr,
        (name, keys): (Username, UsernameKey),
        now: RoomTime,
    ) -> Self {
        Person {
            id,
            address,
            name,
            keys,
            since: now.wall,
            arrived: now.steady,
            refusals: 0,
            has_acted: false,
            token: None,
            away: None,
            is_browser: false,
            has_reserved_slot: false,
            sent: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn has_chosen(&self) -> bool {
        self.is_browser || self.name != Username::from_address(self.address)
    }

    fn has_place(&self) -> bool {
        self.away.is_none() || self.has_reserved_slot
    }

    /// Returns the address that the user may take as its name.
    fn own_name(&self) -> Option<SocketAddr> {
        (!self.is_browser).then_some(self.address)
    }
}

/// State of a token.
#[derive(Debug)]
struct Known {
    name: Username,
    has_chosen: bool,
    is_browser: bool,
    used: SignedDuration,
    /// Network of the last user.
    owner: Vec<u8>,
    /// Whether a user of the session has said or named something.
    is_kept: bool,
    is_forgotten: bool,
    /// Errors about private messages that wait for the next user of the session.
    errors: usize,
    /// Number of the event, if any, under each nonce.
    said: HashMap<String, Option<u64>>,
}

fn collide(a: &UsernameKey, b: &UsernameKey) -> bool {
    a.folded_first == b.folded_first || a.folded_last == b.folded_last
}

type Parsed = Result<(Username, UsernameKey), NameError>;

thread_local! {
    /// The names are few and parsing one takes long.
    static PARSED: RefCell<HashMap<(String, Option<SocketAddr>), Parsed>> = RefCell::default();
}

const MOST_PARSED: usize = 10_000;

/// Parses a requested name for a user with this address, or for a browser.
fn parsed(requested: &str, own: Option<SocketAddr>) -> Parsed {
    let judge = || {
        let name = Username::parse(requested, own)?;
        let key = name.key();
        Ok((name, key))
    };
    PARSED.with_borrow_mut(|parsed| {
        if parsed.len() > MOST_PARSED {
            parsed.clear();
        }
        let known = parsed.entry((requested.to_owned(), own));
        known.or_insert_with(judge).clone()
    })
}

pub(crate) struct Model {
    limits: RoomLimits,
    here: Vec<Person>,
    gone: Vec<UserId>,
    /// Event number, author and text of each message.
    said: Vec<(u64, String, String)>,
    events: u64,
    tokens: Vec<Known>,
    now: RoomTime,
    /// Steady time of the next look at what connected users have received.
    next_receipt: Option<SignedDuration>,
}

fn seconds(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).expect("a short time")
}

fn token(number: usize) -> Token {
    Token::new((number as u128).to_be_bytes())
}

impl Model {
    pub(crate) fn new(limits: RoomLimits) -> Self {
        Model {
            limits,
            here: Vec::new(),
            gone: Vec::new(),
            said: Vec::new(),
            events: 0,
            tokens: Vec::new(),
            next_receipt: None,
            now: RoomTime {
                wall: Timestamp::from_second(1_000_000_000).expect("a time"),
                steady: SignedDuration::ZERO,
            },
        }
    }

    fn connected(&self) -> impl Iterator<Item = &Person> {
        self.here.iter().filter(|person| person.away.is_none())
    }

    /// Returns the users that count for the limits.
    fn placed(&self) -> impl Iterator<Item = &Person> {
        self.here.iter().filter(|person| person.has_place())
    }

    fn is_at(&self, place: usize) -> bool {
        let person = self.here.get(place);
        person.is_some_and(|person| person.away.is_none())
    }

    fn may_ask(&self, place: usize) -> bool {
        self.here.get(place).is_some_and(Person::has_place)
    }

    /// Returns whether a browser, connected or not, is at this place of the roster.
    fn is_browser_at(&self, place: usize) -> bool {
        let person = self.here.get(place);
        person.is_some_and(|person| person.is_browser)
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

    /// Compares the public state of the room.
    fn check(&self, room: &Room) {
        let roster = room.users();
        let roster_len = roster.len();
        let expected = self.here.iter().map(|person| (&person.name, person.since));
        assert!(
            roster.eq(expected),
            "not in order of arrival: {:?}",
            self.here
        );
        assert_eq!(room.connected_count(), self.placed().count());
        assert!(room.connected_count() <= self.limits.max_clients);
        assert!(roster_len <= 2 * self.limits.max_clients);
        for (index, person) in self.here.iter().enumerate() {
            assert_eq!(room.name(person.id), Some(&person.name));
            for other in &self.here[..index] {
                assert!(other.id < person.id, "numbered in order of arrival");
                assert!(
                    !collide(&person.keys, &other.keys),
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

    fn take_event(&mut self, event: &Event) {
        self.events += 1;
        assert_eq!((event.id, event.time), (self.events, self.now.wall));
    }

    /// Applies a step, a second after the one before, and compares its effects. A step of an absent
    /// user does nothing.
    pub(crate) fn step(&mut self, room: &mut Room, step: Step) {
        self.pass(1);
        room.set_time(self.now);
        self.expire(room.expire());
        match step {
            Step::Enter(address) => self.enter(room, address),
            Step::Leave(place) if self.is_at(place) => self.lose(room, place),
            Step::Ask(place, request) if self.may_ask(place) => self.ask(room, place, request),
            Step::Refuse(place, refusal) if self.may_ask(place) => {
                self.refuse(room, place, &refusal);
            }
            Step::Hello(place, token) if self.is_at(place) => self.hello(room, place, token),
            Step::AskFromOutside(place, request) => self.ask_from_outside(room, place, request),
            Step::Join(address, token, name) => {
                self.join(room, without_port(address), token, &name);
            }
            Step::AttachStream(place, address) if self.is_browser_at(place) => {
                self.attach_stream(room, place, without_port(address));
            }
            Step::Touch(place, address) if self.is_browser_at(place) => {
                self.touch(room, place, without_port(address));
            }
            Step::DetachStream(place) if self.is_browser_at(place) => {
                self.detach_stream(room, place)
            }
            Step::Quit(place) if self.is_at(place) || self.is_browser_at(place) => {
                self.quit(room, place);
            }
            Step::Wait(seconds) => self.pass(seconds.into()),
            Step::Jump(seconds) => self.now.wall += SignedDuration::from_secs(seconds),
            Step::Leave(_) | Step::Ask(..) | Step::Refuse(..) | Step::Hello(..) => {}
            Step::AttachStream(..) | Step::Touch(..) | Step::DetachStream(_) | Step::Quit(_) => {}
        }
        self.check(room);
    }

    fn pass(&mut self, seconds: i64) {
        let time = SignedDuration::from_secs(seconds);
        self.now.wall += time;
        self.now.steady += time;
    }

    /// Takes the next effect, which is a public event.
    #[track_caller]
    fn next_event(&mut self, effects: &mut Vec<Effect>) -> EventKind {
        assert!(!effects.is_empty(), "an event is missing");
        match effects.remove(0) {
            Effect::Public(event) => {
                self.take_event(&event);
                event.kind
            }
            other => panic!("{other:?}, but an event was expected"),
        }
    }

    #[track_caller]
    fn only(mut effects: Vec<Effect>) -> Effect {
        assert_eq!(effects.len(), 1, "{effects:?}");
        effects.remove(0)
    }

    fn lose(&mut self, room: &mut Room, place: usize) {
        if self.is_browser_at(place) {
            return self.detach_stream(room, place);
        }
        let id = self.here[place].id;
        let mut effects = room.disconnect(id, LeaveReason::Closed);
        let token = self.here[place].token.filter(|_| self.has_stayed(place));
        match token.filter(|token| self.tokens[*token].is_kept) {
            Some(token) => {
                self.use_token(token, place);
                let until = self.now.steady + seconds(self.limits.grace);
                self.note_receipts(place, LeaveReason::Closed);
                self.here[place].away = Some(until);
                self.check_absent(&mut effects);
            }
            None => self.gone(place, LeaveReason::Closed, &mut effects),
        }
        assert!(effects.is_empty(), "{effects:?}");
    }

    fn has_stayed(&self, place: usize) -> bool {
        let arrived = self.here[place].arrived;
        self.now.steady - arrived >= seconds(self.limits.min_stay)
    }

    /// Ends the grace time of the user absent longest, of the network with most, above the limit.
    fn check_absent(&mut self, effects: &mut Vec<Effect>) {
        let absent = self.here.iter().enumerate();
        let absent: Vec<_> = absent.filter(|(_, person)| !person.has_place()).collect();
        if absent.len() <= self.limits.max_clients {
            return;
        }
        let share = |owner: &[u8]| {
            let of_owner = absent
                .iter()
                .filter(|(_, other)| network(other.address) == owner);
            of_owner.count()
        };
        let first = absent.iter().max_by_key(|(_, person)| {
            (
                share(&network(person.address)),
                Reverse((person.away, person.id)),
            )
        });
        let (place, _) = *first.expect("an absent user");
        self.gone(place, LeaveReason::Closed, effects);
    }

    /// Removes a user, which the first effects announce.
    fn gone(&mut self, place: usize, expected: LeaveReason, effects: &mut Vec<Effect>) {
        let many = self.here.len() > self.limits.announce_limit;
        if self.here[place].away.is_none() {
            self.note_receipts(place, expected);
        }
        let person = self.here.remove(place);
        let kind = self.next_event(effects);
        assert!(
            matches!(&kind, EventKind::Left { name, is_summarised, reason }
                if *name == person.name && *is_summarised == many && *reason == expected),
            "{kind:?}"
        );
        let told = format!("{} has left the chat", person.name);
        assert_eq!(event_notice(&kind), Some(told));
        if let Some(token) = person.token {
            let known = &mut self.tokens[token];
            if person.away.is_none() {
                (known.used, known.owner) = (self.now.steady, network(person.address));
            }
            known.is_forgotten |= !known.is_kept;
        }
        self.gone.push(person.id);
        for mail in person.sent.into_iter().chain(person.waiting) {
            if mail.message.is_none() {
                self.keep_error(person.token);
            }
            self.report(mail, effects);
        }
    }

    fn use_token(&mut self, token: usize, place: usize) {
        let known = &mut self.tokens[token];
        (known.used, known.owner) = (self.now.steady, network(self.here[place].address));
    }

    /// Keeps the session of a user who has said or named something, and forgets another if there
    /// are too many.
    fn note_action(&mut self, id: UserId, effects: &mut Vec<Effect>) {
        let mut here = self.here.iter_mut();
        let person = here.find(|person| person.id == id).expect("it is here");
        person.has_acted = true;
        if let Some(token) = person.token {
            self.tokens[token].is_kept = true;
            self.forget_idle_token(effects);
        }
    }

    /// Removes users and tokens whose time has passed.
    fn expire(&mut self, mut effects: Vec<Effect>) {
        self.expire_mail();
        loop {
            let over = self.here.iter().enumerate().filter_map(|(place, person)| {
                let until = person.away.filter(|until| *until <= self.now.steady)?;
                Some((until, person.id, place))
            });
            let Some((.., place)) = over.min() else {
                break;
            };
            self.gone(place, LeaveReason::Closed, &mut effects);
        }
        for number in 0..self.tokens.len() {
            let is_used = self.here.iter().any(|person| person.token == Some(number));
            let known = &mut self.tokens[number];
            known.is_forgotten |=
                !is_used && known.used + seconds(self.limits.token_lifetime) <= self.now.steady;
        }
        assert!(effects.is_empty(), "{effects:?}");
    }
}

/// Removes the port, which differs between the connections of a browser.
fn without_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 0)
}

/// Returns the limit key: an IPv4 address or an IPv6 /64 network.
fn network(address: SocketAddr) -> Vec<u8> {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
    }
}
