//! What a room should be, kept in the simplest way.
//!
//! What lives here: [`Step`], and [`Model`], which knows no index, cache or counter and says
//! beforehand what comes of each step; the room must say the same, and be the same. The property
//! test of the room and its fuzz target include this file by its path. It must never need
//! anything of the harness beside it: neither opens a socket.

use jiff::Timestamp;
use smolchat::chat::error::RequestError;
use smolchat::chat::event::{Event, EventKind, LeaveReason};
use smolchat::chat::request::{Hello, Nonce, Request, SendMessage, SendPrivate};
use smolchat::chat::room::limits::RoomLimits;
use smolchat::chat::room::{BrowserJoinError, Effect, JoinError, Reply, Room, UserId, WelcomeData};
use smolchat::chat::token::Token;
use smolchat::chat::username::{NameError, Username, UsernameKey};
use smolchat::limits::{MAX_HISTORY_BYTES, MAX_REFUSALS_IN_A_ROW};
use smolchat::protocol::basic::event_notice;
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
    Refuse(usize, RequestError),
    /// Somebody who went asks for something.
    AskFromOutside(usize, Request),
    /// The user at this place of the roster says hello, with the token of this number if there
    /// are so many.
    Hello(usize, Option<usize>),
    /// A browser at this address joins under this name, with the token of this number if there are
    /// so many.
    Join(SocketAddr, Option<usize>, String),
    /// A stream of the browser at this place of the roster is open, from this address.
    Attend(usize, SocketAddr),
    /// The browser at this place of the roster is about to ask for something, from this address.
    Stay(usize, SocketAddr),
    /// The last stream of the browser at this place of the roster has ended.
    Withdraw(usize),
    /// The user at this place of the roster says goodbye.
    Quit(usize),
    /// So many seconds pass.
    Wait(u32),
}

#[derive(Debug)]
struct Person {
    id: UserId,
    address: SocketAddr,
    name: Username,
    keys: UsernameKey,
    since: Timestamp,
    refusals: u32,
    /// Number of its token.
    token: Option<usize>,
    /// When its grace time ends, if its connection is lost.
    away: Option<Timestamp>,
    /// Whether it came by the page.
    is_of_page: bool,
    /// Whether it counts as connected while it is away.
    has_reserved_slot: bool,
    /// What is kept for it: who said it, and what.
    kept: Vec<(UserId, String)>,
    /// The private messages that each stream of the page begins with, and whether it sent them.
    mailbox: Vec<(String, bool)>,
}

impl Person {
    fn has_chosen(&self) -> bool {
        self.is_of_page || self.name != Username::from_address(self.address)
    }

    fn has_place(&self) -> bool {
        self.away.is_none() || self.has_reserved_slot
    }

    /// Whose address it may be called by.
    fn own_name(&self) -> Option<SocketAddr> {
        (!self.is_of_page).then_some(self.address)
    }
}

/// What is known under a token.
#[derive(Debug)]
struct Known {
    name: Username,
    has_chosen: bool,
    is_of_page: bool,
    used: Timestamp,
    is_forgotten: bool,
    /// What was said under a nonce, and the number of the event if it has one.
    said: HashMap<String, Option<u64>>,
}

fn are_one(a: &UsernameKey, b: &UsernameKey) -> bool {
    a.folded_first == b.folded_first || a.folded_last == b.folded_last
}

type Parsed = Result<(Username, UsernameKey), NameError>;

thread_local! {
    /// The names are few and judging one takes long.
    static PARSED: RefCell<HashMap<(String, Option<SocketAddr>), Parsed>> = RefCell::default();
}

/// Names that are remembered.
const MOST_PARSED: usize = 10_000;

/// What becomes of a requested name, and its keys, for one who has this address, or of whom nobody
/// may see the address.
fn parsed(requested: &str, own: Option<SocketAddr>) -> Parsed {
    let judge = || {
        let name = match own {
            Some(own) => Username::parse(requested, own),
            None => Username::parse_without_address(requested),
        };
        name.map(|name| (name.clone(), name.key()))
    };
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
    limits: RoomLimits,
    here: Vec<Person>,
    gone: Vec<UserId>,
    /// Everything that was ever said: event, author's name then, text.
    said: Vec<(u64, String, String)>,
    events: u64,
    tokens: Vec<Known>,
    now: Timestamp,
}

/// The token with this number.
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
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn connected(&self) -> impl Iterator<Item = &Person> {
        self.here.iter().filter(|person| person.away.is_none())
    }

    /// Those who count for the limits.
    fn placed(&self) -> impl Iterator<Item = &Person> {
        self.here.iter().filter(|person| person.has_place())
    }

    /// Whether somebody is connected at this place of the roster.
    fn is_at(&self, place: usize) -> bool {
        let person = self.here.get(place);
        person.is_some_and(|person| person.away.is_none())
    }

    /// Whether somebody is at this place of the roster who may ask for something.
    fn may_ask(&self, place: usize) -> bool {
        self.here.get(place).is_some_and(Person::has_place)
    }

    /// Whether a browser is at this place of the roster, connected or not.
    fn is_browser_at(&self, place: usize) -> bool {
        let person = self.here.get(place);
        person.is_some_and(|person| person.is_of_page)
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
        assert_eq!(room.connected_count(), self.placed().count());
        assert!(room.connected_count() <= self.limits.max_clients);
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
        let mut effects = Vec::new();
        room.expire(self.now, &mut effects);
        self.expire(&mut effects);
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
            Step::Attend(place, address) if self.is_browser_at(place) => {
                self.attach_stream(room, place, without_port(address));
            }
            Step::Stay(place, address) if self.is_browser_at(place) => {
                self.touch(room, place, without_port(address));
            }
            Step::Withdraw(place) if self.is_browser_at(place) => self.detach_stream(room, place),
            Step::Quit(place) if self.is_at(place) || self.is_browser_at(place) => {
                self.quit(room, place);
            }
            Step::Wait(seconds) => self.now += Duration::from_secs(seconds.into()),
            Step::Leave(_) | Step::Ask(..) | Step::Refuse(..) | Step::Hello(..) => {}
            Step::Attend(..) | Step::Stay(..) | Step::Withdraw(_) | Step::Quit(_) => {}
        }
        self.check(room);
    }

    /// The next of the effects is a public event of this kind.
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

    /// What there is, is all.
    #[track_caller]
    fn only(mut effects: Vec<Effect>) -> Effect {
        assert_eq!(effects.len(), 1, "{effects:?}");
        effects.remove(0)
    }

    // Departures

    fn lose(&mut self, room: &mut Room, place: usize) {
        let mut effects = Vec::new();
        let id = self.here[place].id;
        room.disconnect(id, LeaveReason::Closed, self.now, &mut effects);
        match self.here[place].token {
            Some(token) => {
                assert!(
                    effects.is_empty(),
                    "a departure in grace is told: {effects:?}"
                );
                self.tokens[token].used = self.now;
                let until = self.now + self.limits.grace;
                self.here[place].away = Some(until);
            }
            None => self.gone(place, LeaveReason::Closed, &mut effects),
        }
        assert!(effects.is_empty(), "{effects:?}");
    }

    /// A person is gone, which the effects tell first.
    fn gone(&mut self, place: usize, expected: LeaveReason, effects: &mut Vec<Effect>) {
        let many = self.here.len() > self.limits.announce_limit;
        let person = self.here.remove(place);
        let kind = self.next_event(effects);
        assert!(
            matches!(&kind, EventKind::Left { name, is_summarised, reason }
                if *name == person.name && *is_summarised == many && *reason == expected),
            "{kind:?}"
        );
        let told = format!("{} has left the chat", person.name);
        assert_eq!(event_notice(&kind), Some(told));
        for (sender, _) in person.kept {
            match effects.remove(0) {
                Effect::Tell(user, Reply::Rejected(rejected)) => {
                    assert_eq!(user, sender);
                    assert_eq!(rejected.error.code(), "not-delivered");
                }
                other => panic!("{other:?}, but the sender was to be told"),
            }
        }
        if let Some(token) = person.token {
            let known = &mut self.tokens[token];
            if person.away.is_none() {
                known.used = self.now;
            }
        }
        self.gone.push(person.id);
    }

    /// What is over by now.
    fn expire(&mut self, effects: &mut Vec<Effect>) {
        loop {
            let over = self.here.iter().enumerate().filter_map(|(place, person)| {
                let until = person.away.filter(|until| *until <= self.now)?;
                Some((until, person.id, place))
            });
            let Some((.., place)) = over.min() else {
                break;
            };
            self.gone(place, LeaveReason::Closed, effects);
        }
        for number in 0..self.tokens.len() {
            let is_used = self.here.iter().any(|person| person.token == Some(number));
            let known = &mut self.tokens[number];
            known.is_forgotten |= !is_used && known.used + self.limits.token_lifetime <= self.now;
        }
        assert!(effects.is_empty(), "{effects:?}");
    }

    // Arrivals

    fn enter(&mut self, room: &mut Room, address: SocketAddr) {
        let name = Username::from_address(address);
        let is_from_there = |person: &Person| Username::from_address(person.address) == name;
        let holder = self.connected().find(|person| is_from_there(person));
        let refused = match holder {
            Some(holder) => Some(JoinError::AddressInUse(holder.id)),
            None => self.no_place(address),
        };
        let mut effects = Vec::new();
        match (room.enter(address, self.now, &mut effects), refused) {
            (Err(told), Some(expected)) => {
                assert_eq!(told, expected);
                assert!(effects.is_empty(), "{effects:?}");
            }
            (Ok(id), None) => self.entered(id, address, name, effects),
            (told, expected) => panic!("{address}: {told:?}, but {expected:?} was expected"),
        }
    }

    /// Why there is no place for one more from this address.
    fn no_place(&self, address: SocketAddr) -> Option<JoinError> {
        let is_neighbour = |person: &&Person| network(person.address) == network(address);
        let neighbours = self.placed().filter(is_neighbour).count();
        let most_neighbours = self.limits.max_clients_per_address.unwrap_or(usize::MAX);
        if self.placed().count() >= self.limits.max_clients {
            Some(JoinError::Full(self.limits.max_clients))
        } else {
            (neighbours >= most_neighbours).then_some(JoinError::AddressFull)
        }
    }

    fn entered(
        &mut self,
        id: UserId,
        address: SocketAddr,
        name: Username,
        mut effects: Vec<Effect>,
    ) {
        let away = |person: &Person| person.away.is_some() && person.name == name;
        if let Some(place) = self.here.iter().position(away) {
            self.gone(place, LeaveReason::Closed, &mut effects);
        }
        let kind = self.next_event(&mut effects);
        assert!(effects.is_empty(), "{effects:?}");
        assert!(!self.gone.contains(&id), "a number was used twice");
        let many = self.here.len() + 1 > self.limits.announce_limit;
        assert!(
            matches!(&kind, EventKind::Joined { name: told, is_summarised }
                if *told == name && *is_summarised == many)
        );
        let (_, keys) = parsed(name.as_str(), Some(address)).expect("one's own address");
        self.here.push(Person {
            id,
            address,
            name,
            keys,
            since: self.now,
            refusals: 0,
            token: None,
            away: None,
            is_of_page: false,
            has_reserved_slot: false,
            kept: Vec::new(),
            mailbox: Vec::new(),
        });
    }

    // Browsers

    fn join(&mut self, room: &mut Room, address: SocketAddr, asked: Option<usize>, name: &str) {
        let is_of_a_browser = |number: &usize| {
            let known = self.tokens.get(*number);
            known.is_some_and(|known| known.is_of_page && !known.is_forgotten)
        };
        let known = asked.filter(is_of_a_browser);
        // One who is here is renamed instead.
        if known.is_some() && self.here.iter().any(|person| person.token == known) {
            return;
        }
        let number = known.unwrap_or(self.tokens.len());
        let mut effects = Vec::new();
        let mut draw = || {
            assert!(known.is_none(), "a token that is known is given back");
            token(number)
        };
        let ip = address.ip();
        let asked = asked.map(token);
        let joined = room.join((asked, ip), name, &mut draw, self.now, &mut effects);
        let (name, keys) = match parsed(name, None) {
            Ok(parsed) => parsed,
            Err(error) => {
                let refused = BrowserJoinError::Rejected(RequestError::Name(error));
                assert_eq!(joined.expect_err("no name"), refused);
                return assert!(effects.is_empty(), "{effects:?}");
            }
        };
        if self.here.iter().any(|person| are_one(&person.keys, &keys)) {
            let refused = joined.expect_err("somebody has the name");
            assert!(matches!(
                refused,
                BrowserJoinError::Rejected(RequestError::NameTaken(_))
            ));
            return assert!(effects.is_empty(), "{effects:?}");
        }
        if let Some(no_entry) = self.no_place(address) {
            let refused = joined.expect_err("there is no place");
            assert_eq!(refused, BrowserJoinError::NoSlot(no_entry));
            return assert!(effects.is_empty(), "{effects:?}");
        }
        let joined = joined.expect("there is a place");
        assert_eq!((&joined.name, &joined.token), (&name, &token(number)));
        assert!(!self.gone.contains(&joined.user), "a number was used twice");
        self.joined(joined.user, address, (name, keys), number, effects);
    }

    fn joined(
        &mut self,
        id: UserId,
        address: SocketAddr,
        (name, keys): (Username, UsernameKey),
        number: usize,
        mut effects: Vec<Effect>,
    ) {
        self.here.push(Person {
            id,
            address,
            name: name.clone(),
            keys,
            since: self.now,
            refusals: 0,
            token: Some(number),
            away: Some(self.now + self.limits.grace),
            is_of_page: true,
            has_reserved_slot: true,
            kept: Vec::new(),
            mailbox: Vec::new(),
        });
        if number == self.tokens.len() {
            self.know_token(name.clone(), true, true);
            self.forget_one_too_many(&mut effects);
        } else {
            let known = &mut self.tokens[number];
            (known.name, known.used) = (name.clone(), self.now);
        }
        let many = self.here.len() > self.limits.announce_limit;
        let kind = self.next_event(&mut effects);
        assert!(
            matches!(&kind, EventKind::Joined { name: told, is_summarised }
                if *told == name && *is_summarised == many)
        );
        assert!(effects.is_empty(), "{effects:?}");
    }

    /// Gives a browser its place from this address, if it has none; the room's answer has to say
    /// the same.
    fn ensure_slot(&mut self, place: usize, address: SocketAddr, told: Option<JoinError>) -> bool {
        let has_place = self.here[place].has_place();
        let expected = self.no_place(address).filter(|_| !has_place);
        assert_eq!(told, expected);
        if !has_place && expected.is_none() {
            let person = &mut self.here[place];
            (person.has_reserved_slot, person.address) = (true, address);
        }
        expected.is_none()
    }

    fn attach_stream(&mut self, room: &mut Room, place: usize, address: SocketAddr) {
        let id = self.here[place].id;
        let attended = room.attach_stream(id, address.ip(), self.now);
        if !self.ensure_slot(place, address, attended.as_ref().err().cloned()) {
            return;
        }
        let person = &mut self.here[place];
        let was_away = person.away.take().is_some();
        person.has_reserved_slot = false;
        let kept = std::mem::take(&mut person.kept);
        let kept = kept.into_iter().map(|(_, text)| (text, false));
        person.mailbox.extend(kept);
        let copies = attended.expect("it has a place");
        let told = copies.iter();
        let told: Vec<_> = told
            .map(|copy| (copy.message.text.to_string(), copy.is_own))
            .collect();
        assert_eq!(told, person.mailbox);
        let first = copies.first().and_then(|copy| copy.number);
        for (copy, number) in copies.iter().zip(first.unwrap_or(0)..) {
            assert_eq!(copy.number, Some(number));
        }
        if let Some(number) = person.token.filter(|_| was_away) {
            self.tokens[number].used = self.now;
        }
    }

    fn touch(&mut self, room: &mut Room, place: usize, address: SocketAddr) {
        let id = self.here[place].id;
        let told = room.touch(id, address.ip(), self.now).err();
        let has_place = self.ensure_slot(place, address, told);
        let until = self.now + self.limits.grace;
        if let Some(away) = self.here[place].away.as_mut().filter(|_| has_place) {
            *away = until;
        }
    }

    fn detach_stream(&mut self, room: &mut Room, place: usize) {
        let id = self.here[place].id;
        let mut effects = Vec::new();
        room.disconnect(id, LeaveReason::Closed, self.now, &mut effects);
        assert!(effects.is_empty(), "it has its grace time: {effects:?}");
        if self.is_at(place) {
            let person = &mut self.here[place];
            person.away = Some(self.now + self.limits.grace);
            if let Some(number) = person.token {
                self.tokens[number].used = self.now;
            }
        }
    }

    fn quit(&mut self, room: &mut Room, place: usize) {
        let id = self.here[place].id;
        let mut effects = Vec::new();
        room.disconnect(id, LeaveReason::Quit, self.now, &mut effects);
        self.gone(place, LeaveReason::Quit, &mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }

    // The extended dialect

    fn hello(&mut self, room: &mut Room, place: usize, asked: Option<usize>) {
        let id = self.here[place].id;
        let hello = Hello {
            client: "model".into(),
            token: asked.map(token),
            after: None,
        };
        let mut effects = Vec::new();
        let fresh = self.tokens.len();
        let mut drawn = false;
        let mut draw = || {
            drawn = true;
            token(fresh)
        };
        let request = Request::Hello(hello);
        assert!(room.request(id, request, &mut draw, self.now, &mut effects));
        if self.here[place].token.is_some() {
            self.here[place].refusals = 0;
            return self.take_refusal(room, place, Self::only(effects), "hello-twice");
        }
        self.here[place].refusals = 0;
        let known = asked.filter(|number| {
            let known = self.tokens.get(*number);
            known.is_some_and(|known| !known.is_forgotten && !known.is_of_page)
        });
        let Some(number) = known else {
            assert!(drawn, "a token that is not known is not given back");
            return self.begin(place, effects);
        };
        assert!(!drawn, "a token that is known is given back");
        let earlier = self
            .here
            .iter()
            .position(|person| person.token == Some(number));
        match earlier {
            Some(earlier) => self.resume(place, earlier, number, effects),
            None => self.renew(place, number, effects),
        }
    }

    fn begin(&mut self, place: usize, mut effects: Vec<Effect>) {
        let number = self.tokens.len();
        let person = &mut self.here[place];
        person.token = Some(number);
        let (name, has_chosen) = (person.name.clone(), person.has_chosen());
        self.know_token(name, has_chosen, false);
        self.take_welcome(&mut effects, place, number);
        self.forget_one_too_many(&mut effects);
        assert!(effects.is_empty(), "{effects:?}");
    }

    fn know_token(&mut self, name: Username, has_chosen: bool, is_of_page: bool) {
        self.tokens.push(Known {
            name,
            has_chosen,
            is_of_page,
            used: self.now,
            is_forgotten: false,
            said: HashMap::new(),
        });
    }

    fn forget_one_too_many(&mut self, effects: &mut Vec<Effect>) {
        // The least recently used of too many is forgotten.
        let most = 10 * self.limits.max_clients;
        let alive = self
            .tokens
            .iter()
            .filter(|known| !known.is_forgotten)
            .count();
        if alive > most {
            let idle = self.tokens.iter().enumerate().filter(|(number, known)| {
                let mut connected = self.connected();
                !known.is_forgotten && !connected.any(|person| person.token == Some(*number))
            });
            let (oldest, _) = idle
                .min_by_key(|(_, known)| known.used)
                .expect("an idle one");
            self.tokens[oldest].is_forgotten = true;
            let away = self
                .here
                .iter()
                .position(|person| person.token == Some(oldest));
            if let Some(place) = away {
                self.gone(place, LeaveReason::Closed, effects);
            }
        }
    }

    /// The next of the effects welcomes the person at this place.
    fn take_welcome(&self, effects: &mut Vec<Effect>, place: usize, number: usize) {
        let Effect::Reply(Reply::Welcome(welcome)) = effects.remove(0) else {
            panic!("a welcome was expected")
        };
        let WelcomeData {
            name,
            token: told,
            last,
            users,
        } = welcome;
        assert_eq!(name, self.here[place].name);
        assert_eq!(told, token(number));
        assert_eq!((last, users), (self.events, self.here.len()));
    }

    fn resume(&mut self, place: usize, earlier: usize, number: usize, mut effects: Vec<Effect>) {
        let many = self.here.len() > self.limits.announce_limit;
        let user = self.here[earlier].id;
        assert!(matches!(effects.remove(0), Effect::Resumed(told) if told == user));
        let temporary = self.here.remove(place);
        let earlier = if place < earlier {
            earlier - 1
        } else {
            earlier
        };
        let person = &mut self.here[earlier];
        let has_chosen = person.has_chosen();
        let before = person.name.clone();
        person.address = temporary.address;
        person.away = None;
        person.refusals = 0;
        let kept = std::mem::take(&mut person.kept);
        if !has_chosen {
            person.name = Username::from_address(person.address);
            person.keys = person.name.key();
        }
        let name = person.name.clone();
        self.tokens[number].used = self.now;
        self.tokens[number].name = name.clone();
        self.take_welcome(&mut effects, earlier, number);
        let left = self.next_event(&mut effects);
        assert!(
            matches!(&left, EventKind::Left { name, reason: LeaveReason::Resumed, is_summarised }
                if *name == temporary.name && *is_summarised == many)
        );
        self.gone.push(temporary.id);
        if name != before {
            let renamed = self.next_event(&mut effects);
            assert!(matches!(&renamed, EventKind::Renamed { old, new }
                    if *old == before && *new == name));
        }
        for (_, text) in kept {
            let Effect::Private(target, copy) = effects.remove(0) else {
                panic!("what was kept was expected")
            };
            assert_eq!((target, &*copy.message.text), (user, text.as_str()));
        }
        assert!(effects.is_empty(), "{effects:?}");
    }

    fn renew(&mut self, place: usize, number: usize, mut effects: Vec<Effect>) {
        let known = &self.tokens[number];
        let person = &self.here[place];
        let wanted = (known.has_chosen && !person.has_chosen()).then(|| known.name.clone());
        let keys = wanted.as_ref().map(Username::key);
        let is_taken = keys.as_ref().is_some_and(|keys| {
            let mut others = self.here.iter().filter(|other| other.id != person.id);
            others.any(|other| are_one(&other.keys, keys))
        });
        let before = person.name.clone();
        if let (Some(wanted), Some(keys), false) = (&wanted, keys, is_taken) {
            (self.here[place].name, self.here[place].keys) = (wanted.clone(), keys);
        }
        self.here[place].token = Some(number);
        let name = self.here[place].name.clone();
        let has_chosen = self.here[place].has_chosen();
        let known = &mut self.tokens[number];
        (known.name, known.has_chosen, known.used) = (name.clone(), has_chosen, self.now);
        self.take_welcome(&mut effects, place, number);
        if name != before {
            let renamed = self.next_event(&mut effects);
            assert!(matches!(&renamed, EventKind::Renamed { old, new }
                    if *old == before && *new == name));
        } else if is_taken {
            assert!(matches!(effects.remove(0), Effect::Reply(Reply::Notice(_))));
        }
        assert!(effects.is_empty(), "{effects:?}");
    }

    // Lines

    /// One more refusal of this person, with this code, or the last.
    fn take_refusal(&mut self, room: &mut Room, place: usize, effect: Effect, code: &str) {
        let person = &mut self.here[place];
        person.refusals += 1;
        match effect {
            Effect::Reply(Reply::Rejected(rejected)) => {
                assert_eq!(rejected.error.code(), code, "{}", rejected.error);
                assert!(person.refusals <= MAX_REFUSALS_IN_A_ROW);
            }
            Effect::Close(_) => {
                assert_eq!(person.refusals, MAX_REFUSALS_IN_A_ROW + 1);
                let mut effects = Vec::new();
                room.disconnect(person.id, LeaveReason::Refused, self.now, &mut effects);
                self.gone(place, LeaveReason::Refused, &mut effects);
                assert!(effects.is_empty(), "{effects:?}");
            }
            other => panic!("{other:?}, but a refusal was expected: {code}"),
        }
    }

    fn refuse(&mut self, room: &mut Room, place: usize, refusal: &RequestError) {
        let mut effects = Vec::new();
        assert!(room.reject(self.here[place].id, refusal.clone().into(), &mut effects));
        self.take_refusal(room, place, Self::only(effects), refusal.code());
    }

    fn ask(&mut self, room: &mut Room, place: usize, request: Request) {
        let id = self.here[place].id;
        let mut effects = Vec::new();
        let mut draw = || unreachable!("nobody says hello here");
        let asked = request.clone();
        assert!(room.request(id, asked, &mut draw, self.now, &mut effects));
        match request {
            Request::Say(say) => self.take_said(place, say, effects),
            Request::Private(private) => self.take_private(room, place, private, effects),
            Request::SetName(requested) => {
                self.take_rename(room, place, &requested, Self::only(effects));
            }
            Request::History => {
                self.here[place].refusals = 0;
                let kept = self.kept();
                match Self::only(effects) {
                    Effect::Reply(Reply::History(messages)) => {
                        assert!(!kept.is_empty());
                        let ids: Vec<u64> = messages.iter().map(|message| message.id).collect();
                        let expected: Vec<u64> = kept.iter().map(|(id, ..)| *id).collect();
                        assert_eq!(ids, expected, "oldest first");
                    }
                    Effect::Reply(Reply::Notice(told)) => {
                        assert_eq!((told.as_str(), kept.len()), ("No messages yet", 0));
                    }
                    other => panic!("{other:?}"),
                }
            }
            Request::Users => {
                self.here[place].refusals = 0;
                let Effect::Reply(Reply::Users(users)) = Self::only(effects) else {
                    panic!("the users were expected")
                };
                let names: Vec<String> = users.iter().map(|(name, _)| name.to_string()).collect();
                assert_eq!(names, self.names());
            }
            other => panic!("{other:?} is no step"),
        }
    }

    /// The acknowledgement that is due for this nonce, if one is.
    fn take_ack(
        &mut self,
        place: usize,
        nonce: Option<&Nonce>,
        id: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(token), Some(nonce)) = (self.here[place].token, nonce) else {
            return assert!(effects.is_empty(), "{effects:?}");
        };
        let said = &mut self.tokens[token].said;
        let id = *said.entry(nonce.as_str().to_owned()).or_insert(id);
        match Self::only(std::mem::take(effects)) {
            Effect::Reply(Reply::Ack {
                nonce: told,
                id: number,
            }) => {
                assert_eq!((told, number), (nonce.clone(), id));
            }
            other => panic!("{other:?}, but an acknowledgement was expected"),
        }
    }

    fn was_said(&self, place: usize, nonce: Option<&Nonce>) -> bool {
        let known = self.here[place].token.zip(nonce);
        known.is_some_and(|(token, nonce)| self.tokens[token].said.contains_key(nonce.as_str()))
    }

    fn take_said(&mut self, place: usize, say: SendMessage, mut effects: Vec<Effect>) {
        self.here[place].refusals = 0;
        if self.was_said(place, say.nonce.as_ref()) {
            return self.take_ack(place, say.nonce.as_ref(), None, &mut effects);
        }
        let EventKind::Said(message) = self.next_event(&mut effects) else {
            panic!("a message was expected")
        };
        let person = &self.here[place];
        assert_eq!((message.id, message.time), (self.events, self.now));
        assert_eq!(message.source, person.name);
        assert_eq!((&message.text, message.action), (&say.text, say.action));
        let said = (self.events, person.name.to_string(), say.text.into());
        self.said.push(said);
        self.take_ack(place, say.nonce.as_ref(), Some(self.events), &mut effects);
    }

    fn take_private(
        &mut self,
        room: &mut Room,
        place: usize,
        private: SendPrivate,
        mut effects: Vec<Effect>,
    ) {
        let nonce = private.nonce.as_ref();
        if self.was_said(place, nonce) {
            self.here[place].refusals = 0;
            return self.take_ack(place, nonce, None, &mut effects);
        }
        let meant = UsernameKey::of_typed(&private.target);
        let is_meant = |person: &&mut Person| match private.target.parse() {
            Ok(address) => person.name == Username::from_address(address),
            Err(_) => meant
                .as_ref()
                .is_some_and(|keys| are_one(keys, &person.keys)),
        };
        let sender = self.here[place].id;
        let Some(target) = self.here.iter_mut().find(is_meant) else {
            return self.take_refusal(room, place, Self::only(effects), "no-such-user");
        };
        let (id, is_away) = (target.id, target.away.is_some() && target.id != sender);
        if is_away && target.kept.len() >= 100 {
            return self.take_refusal(room, place, Self::only(effects), "mailbox-full");
        }
        if is_away {
            target.kept.push((sender, private.text.to_string()));
        }
        self.here[place].refusals = 0;
        let mut receivers = vec![sender];
        if !is_away && id != sender {
            receivers.push(id);
        }
        for receiver in receivers {
            let Effect::Private(user, copy) = effects.remove(0) else {
                panic!("a private message was expected")
            };
            assert_eq!((user, &copy.message.text), (receiver, &private.text));
            let mut here = self.here.iter_mut();
            let person = here.find(|person| person.id == user).expect("it is here");
            assert_eq!(copy.number.is_some(), person.is_of_page);
            if person.is_of_page {
                let (text, is_own) = (private.text.to_string(), user == sender);
                assert_eq!(copy.is_own, is_own);
                person.mailbox.push((text, is_own));
                // Each text is short.
                let surplus = person.mailbox.len().saturating_sub(100);
                person.mailbox.drain(..surplus);
            }
        }
        self.take_ack(place, nonce, None, &mut effects);
    }

    fn take_rename(&mut self, room: &mut Room, place: usize, requested: &str, effect: Effect) {
        let person = &self.here[place];
        let (new, keys) = match parsed(requested, person.own_name()) {
            Ok(new) => new,
            Err(_) => return self.take_refusal(room, place, effect, "bad-name"),
        };
        if new == person.name {
            self.here[place].refusals = 0;
            let Effect::Reply(Reply::Notice(told)) = effect else {
                panic!("{effect:?}")
            };
            assert_eq!(told, format!("Your name is already {new}"));
            return;
        }
        let mut others = self.here.iter().filter(|other| other.id != person.id);
        if others.any(|other| are_one(&other.keys, &keys)) {
            return self.take_refusal(room, place, effect, "name-taken");
        }
        let kind = self.next_event(&mut vec![effect]);
        let person = &mut self.here[place];
        person.refusals = 0;
        assert!(matches!(&kind, EventKind::Renamed { old, new: told }
                if *old == person.name && *told == new));
        assert_eq!(
            event_notice(&kind),
            Some(format!("{} renamed to {new}", person.name))
        );
        (person.name, person.keys) = (new, keys);
        if let Some(token) = person.token {
            let (name, has_chosen) = (person.name.clone(), person.has_chosen());
            let known = &mut self.tokens[token];
            (known.name, known.has_chosen) = (name, has_chosen);
        }
    }

    /// Nothing comes of what is asked by one who is not here.
    fn ask_from_outside(&self, room: &mut Room, place: usize, request: Request) {
        if let Some(&id) = self.gone.get(place) {
            let mut effects = Vec::new();
            let mut draw = || unreachable!("nobody is here");
            assert!(!room.request(id, request, &mut draw, self.now, &mut effects));
            assert!(!room.reject(id, RequestError::NotJson.into(), &mut effects));
            room.disconnect(id, LeaveReason::Closed, self.now, &mut effects);
            assert!(effects.is_empty(), "{effects:?}");
        }
    }
}

/// The connections of a browser come and go: their ports tell nothing.
fn without_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 0)
}

/// What the limit for one address counts as one: an IPv4 address, or the /64 of an IPv6 one.
fn network(address: SocketAddr) -> Vec<u8> {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
    }
}
