//! The room: who is here, what they are called, what was said.
//!
//! What lives here: a plain synchronous state machine. The broker owns the one [`Room`] and
//! is the only one to call it; tests drive it without any socket. A request goes in, one
//! [`Outcome`] comes out. It must never know a socket, a clock or a runtime: time comes in as
//! an argument. It must never fail or panic, whatever it is asked.
//!
//! Protocol: the tables of events and of refusals.

use crate::connect_rate::counted_as;
use crate::history::{History, Message};
use crate::limits::{Limits, MAX_HISTORY_BYTES, MAX_REFUSALS_IN_A_ROW};
use crate::name::{Name, NameKeys};
use crate::protocol::{Refusal, Request, basic};
use hashbrown::HashTable;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A user, numbered in the order of arrival; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(u64);

/// Something that everyone learns.
#[derive(Clone, Debug)]
pub struct Event {
    /// Grows by one with each event.
    pub id: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// A user is here.
    Joined {
        /// The user's name.
        name: Name,
        /// Whether so many are here that basic clients are told in summary.
        summarised: bool,
    },
    /// A user is gone.
    Left {
        /// The user's last name.
        name: Name,
        /// Whether so many were here that basic clients are told in summary.
        summarised: bool,
    },
    /// A user has another name.
    Renamed {
        /// The name until now.
        old: Name,
        /// The name from now on.
        new: Name,
    },
    /// A user said something.
    Said(Arc<Message>),
}

/// An answer to one user alone.
#[derive(Clone, Debug)]
pub enum Reply {
    /// One sentence of the server.
    Notice(String),
    /// These messages, oldest first.
    History(Vec<Arc<Message>>),
    /// These users, in the order of their arrival.
    Users(Arc<[Name]>),
}

/// What comes of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Everyone learns this.
    Public(Event),
    /// The asker alone gets this.
    Reply(Reply),
    /// The asker alone gets this sentence, as its last: it was refused too often in a row.
    Close(String),
}

/// Why a newcomer cannot come in. Its `Display` is the sentence that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEntry {
    /// So many users are here, and no more may be.
    Full(usize),
    /// Its address has as many connections as one address may have.
    AddressFull,
    /// This user has the same address and port, and so the name that it would have. A machine can
    /// use one port for two connections if they lead to two addresses of the server; mostly the
    /// user's connection was reset and nobody has noticed yet.
    AddressInUse(UserId),
}

impl std::fmt::Display for NoEntry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoEntry::Full(1) => write!(out, "The chat is full (1 user); try again later"),
            NoEntry::Full(users) => {
                write!(out, "The chat is full ({users} users); try again later")
            }
            NoEntry::AddressInUse(_) => {
                write!(
                    out,
                    "Somebody with your address and port is here; connect again from another port"
                )
            }
            NoEntry::AddressFull => {
                write!(
                    out,
                    "Too many connections from your address; try again later"
                )
            }
        }
    }
}

#[derive(Debug)]
struct User {
    name: Name,
    address: SocketAddr,
    since: Timestamp,
    refusals_in_a_row: u32,
    /// Whether the name was chosen: an address needs no place in `taken`, since no one else
    /// may choose what reads as an address.
    has_chosen: bool,
}

/// Who is here and what was said.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    /// Boxed, since the nodes of the tree are half empty when keys only ever grow.
    users: BTreeMap<UserId, Box<User>>,
    taken: TakenNames,
    per_address: HashMap<IpAddr, usize>,
    /// Users by the address that each has as its first name; the keys stand in `users` alone.
    addresses: HashTable<UserId>,
    hasher: RandomState,
    history: History,
    last_user: u64,
    last_event: u64,
    roster: Option<Arc<[Name]>>,
}

impl Room {
    /// An empty room with these bounds.
    pub fn new(limits: Limits) -> Self {
        let history = History::new(limits.history_messages, MAX_HISTORY_BYTES);
        Room {
            limits,
            users: BTreeMap::new(),
            taken: TakenNames::default(),
            per_address: HashMap::new(),
            addresses: HashTable::new(),
            hasher: RandomState::new(),
            history,
            last_user: 0,
            last_event: 0,
            roster: None,
        }
    }

    /// Lets a client in, under its address.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn enter(
        &mut self,
        address: SocketAddr,
        now: Timestamp,
    ) -> Result<(UserId, Event), NoEntry> {
        if let Some(holder) = self.user_at(address) {
            return Err(NoEntry::AddressInUse(holder));
        }
        if self.users.len() >= self.limits.max_clients {
            return Err(NoEntry::Full(self.limits.max_clients));
        }
        self.count_address(address.ip())?;
        self.last_user += 1;
        let id = UserId(self.last_user);
        let name = Name::from_address(address);
        let user = User {
            name: name.clone(),
            address,
            since: now,
            refusals_in_a_row: 0,
            has_chosen: false,
        };
        self.users.insert(id, Box::new(user));
        self.index_address(id, address);
        self.roster = None;
        let summarised = self.users.len() > self.limits.announce_limit;
        Ok((id, self.event(now, EventKind::Joined { name, summarised })))
    }

    /// Takes a user out; none if it is not here.
    pub fn leave(&mut self, user: UserId, now: Timestamp) -> Option<Event> {
        let summarised = self.users.len() > self.limits.announce_limit;
        self.unindex_address(user);
        let gone = self.users.remove(&user)?;
        self.roster = None;
        self.uncount_address(gone.address.ip());
        if gone.has_chosen {
            self.taken.free(&gone.name.keys(), user);
        }
        Some(self.event(
            now,
            EventKind::Left {
                name: gone.name,
                summarised,
            },
        ))
    }

    /// Does what a user asks; none if the user is not here.
    pub fn request(&mut self, user: UserId, request: Request, now: Timestamp) -> Option<Outcome> {
        match request {
            Request::Say(text) => self.say(user, text, now),
            Request::SetName(name) => self.rename(user, &name, now),
            Request::History => self
                .accepted(user)
                .then(|| Outcome::Reply(self.history_reply())),
            Request::Users => self
                .accepted(user)
                .then(|| Outcome::Reply(Reply::Users(self.roster()))),
        }
    }

    /// Counts a line that was refused, and says what its sender is told.
    pub fn refuse(&mut self, user: UserId, refusal: &Refusal) -> Option<Outcome> {
        let user = self.users.get_mut(&user)?;
        user.refusals_in_a_row += 1;
        if user.refusals_in_a_row <= MAX_REFUSALS_IN_A_ROW {
            return Some(Outcome::Reply(Reply::Notice(refusal.to_string())));
        }
        Some(Outcome::Close(format!(
            "{} lines in a row were refused, more than the {MAX_REFUSALS_IN_A_ROW} allowed; \
             the connection is closed",
            user.refusals_in_a_row
        )))
    }

    /// Users who are here.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Names and times of arrival, in order of arrival.
    pub fn users(&self) -> impl ExactSizeIterator<Item = (&Name, Timestamp)> {
        self.users.values().map(|user| (&user.name, user.since))
    }

    /// The name of a user who is here.
    pub fn name(&self, user: UserId) -> Option<&Name> {
        self.users.get(&user).map(|user| &user.name)
    }

    /// The kept messages.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Number of the newest event; 0 before the first.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }

    fn say(&mut self, user: UserId, text: Box<str>, now: Timestamp) -> Option<Outcome> {
        let speaker = self.users.get_mut(&user)?;
        speaker.refusals_in_a_row = 0;
        let source = speaker.name.clone();
        self.last_event += 1;
        let message = Arc::new(Message::new(self.last_event, now, source, text));
        self.history.push(message.clone());
        let kind = EventKind::Said(message);
        Some(Outcome::Public(Event {
            id: self.last_event,
            time: now,
            kind,
        }))
    }

    fn rename(&mut self, user: UserId, requested: &str, now: Timestamp) -> Option<Outcome> {
        let renamed = self.users.get(&user)?;
        let new = match Name::parse(requested, renamed.address) {
            Ok(new) => new,
            Err(error) => return self.refuse(user, &Refusal::Name(error)),
        };
        if new == renamed.name {
            self.accepted(user);
            return Some(Outcome::Reply(Reply::Notice(format!(
                "Your name is already {new}"
            ))));
        }
        let chosen = new != Name::from_address(renamed.address);
        let keys = chosen.then(|| new.keys());
        if keys
            .as_ref()
            .is_some_and(|keys| self.taken.is_taken_by_another(keys, user))
        {
            return self.refuse(user, &Refusal::NameTaken(new.as_str().into()));
        }
        let old = self.replace_name(user, &new, keys)?;
        self.accepted(user);
        self.roster = None;
        Some(Outcome::Public(
            self.event(now, EventKind::Renamed { old, new }),
        ))
    }

    /// Gives a user a name with these keys (none: its address) and returns the old name.
    fn replace_name(&mut self, id: UserId, new: &Name, keys: Option<NameKeys>) -> Option<Name> {
        let user = self.users.get_mut(&id)?;
        let old = std::mem::replace(&mut user.name, new.clone());
        let had_chosen = std::mem::replace(&mut user.has_chosen, keys.is_some());
        if had_chosen {
            self.taken.free(&old.keys(), id);
        }
        if let Some(keys) = keys {
            self.taken.take(keys, id);
        }
        Some(old)
    }

    fn history_reply(&self) -> Reply {
        if self.history.is_empty() {
            return Reply::Notice("No messages yet".to_owned());
        }
        Reply::History(self.history.messages().cloned().collect())
    }

    /// The names in order of arrival, shared by all who ask while nothing changes.
    fn roster(&mut self) -> Arc<[Name]> {
        let users = &self.users;
        self.roster
            .get_or_insert_with(|| users.values().map(|user| user.name.clone()).collect())
            .clone()
    }

    /// Starts the count of refusals again; false if the user is not here.
    fn accepted(&mut self, user: UserId) -> bool {
        let Some(user) = self.users.get_mut(&user) else {
            return false;
        };
        user.refusals_in_a_row = 0;
        true
    }

    fn event(&mut self, time: Timestamp, kind: EventKind) -> Event {
        self.last_event += 1;
        Event {
            id: self.last_event,
            time,
            kind,
        }
    }

    /// The user who has this address and port, however it is written.
    fn user_at(&self, address: SocketAddr) -> Option<UserId> {
        let is_it = |id: &UserId| self.canonical_address(*id) == Some(canonical(address));
        let hash = self.hasher.hash_one(Some(canonical(address)));
        self.addresses.find(hash, is_it).copied()
    }

    fn canonical_address(&self, user: UserId) -> Option<(IpAddr, u16)> {
        self.users.get(&user).map(|user| canonical(user.address))
    }

    fn index_address(&mut self, user: UserId, address: SocketAddr) {
        let (users, hasher) = (&self.users, &self.hasher);
        let hash_of = |id: &UserId| hasher.hash_one(users.get(id).map(|u| canonical(u.address)));
        let hash = hasher.hash_one(Some(canonical(address)));
        self.addresses.insert_unique(hash, user, hash_of);
    }

    fn unindex_address(&mut self, user: UserId) {
        let hash = self.hasher.hash_one(self.canonical_address(user));
        if let Ok(entry) = self.addresses.find_entry(hash, |id| *id == user) {
            entry.remove();
        }
    }

    fn count_address(&mut self, address: IpAddr) -> Result<(), NoEntry> {
        let Some(limit) = self.limits.max_clients_per_address else {
            return Ok(());
        };
        let count = self.per_address.entry(counted_as(address)).or_insert(0);
        if *count >= limit {
            return Err(NoEntry::AddressFull);
        }
        *count += 1;
        Ok(())
    }

    fn uncount_address(&mut self, address: IpAddr) {
        let address = counted_as(address);
        let Some(count) = self.per_address.get_mut(&address) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.per_address.remove(&address);
        }
    }
}

/// An address and port, an IPv4 one always as such.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// The chosen names by both of their keys.
#[derive(Debug, Default)]
struct TakenNames {
    folded_first: HashMap<Box<str>, UserId>,
    folded_last: HashMap<Box<str>, UserId>,
}

impl TakenNames {
    fn is_taken_by_another(&self, keys: &NameKeys, user: UserId) -> bool {
        let owners = [
            self.folded_first.get(&keys.folded_first),
            self.folded_last.get(&keys.folded_last),
        ];
        owners.into_iter().flatten().any(|&owner| owner != user)
    }

    fn take(&mut self, keys: NameKeys, user: UserId) {
        self.folded_first.insert(keys.folded_first, user);
        self.folded_last.insert(keys.folded_last, user);
    }

    fn free(&mut self, keys: &NameKeys, user: UserId) {
        for (names, key) in [
            (&mut self.folded_first, &keys.folded_first),
            (&mut self.folded_last, &keys.folded_last),
        ] {
            if names.get(key) == Some(&user) {
                names.remove(key);
            }
        }
    }
}

/// The sentence of an event for basic clients; none for a message, which has its own line.
pub fn sentence(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Joined { name, .. } => Some(basic::entered(name.as_str())),
        EventKind::Left { name, .. } => Some(basic::left(name.as_str())),
        EventKind::Renamed { old, new } => Some(basic::renamed(old.as_str(), new.as_str())),
        EventKind::Said(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::basic::decode_request;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn room(limits: Limits) -> Room {
        Room::new(limits)
    }

    fn enter(room: &mut Room, port: u16) -> UserId {
        room.enter(address(port), now()).unwrap().0
    }

    /// What comes of a line, as a reader would see it.
    fn ask(room: &mut Room, user: UserId, kind: &str, data: &str) -> String {
        let line = format!(r#"{{"type":"{kind}","data":"{data}"}}"#);
        let outcome = match decode_request(line.as_bytes(), 4096) {
            Ok(request) => room.request(user, request, now()),
            Err(refusal) => room.refuse(user, &refusal),
        };
        describe(outcome)
    }

    fn describe(outcome: Option<Outcome>) -> String {
        match outcome {
            None => "nothing".to_owned(),
            Some(Outcome::Public(event)) => match &event.kind {
                EventKind::Said(message) => format!("{}: {}", message.source, message.text),
                kind => format!("all: {}", sentence(kind).unwrap()),
            },
            Some(Outcome::Reply(Reply::Notice(sentence))) => format!("alone: {sentence}"),
            Some(Outcome::Reply(Reply::History(messages))) => {
                let said = messages.iter().map(|m| format!("{}: {}", m.source, m.text));
                said.collect::<Vec<_>>().join("|")
            }
            Some(Outcome::Reply(Reply::Users(names))) => names
                .iter()
                .map(Name::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            Some(Outcome::Close(sentence)) => format!("close: {sentence}"),
        }
    }

    #[test]
    fn the_dialogue_of_the_readme() {
        let mut room = room(Limits::default());
        let user = enter(&mut room, 57354);
        assert_eq!(
            ask(&mut room, user, "message", "hello"),
            "127.0.0.1:57354: hello"
        );
        assert_eq!(
            ask(&mut room, user, "set-name", "Kobzol"),
            "all: 127.0.0.1:57354 renamed to Kobzol"
        );
        assert_eq!(ask(&mut room, user, "message", "hello"), "Kobzol: hello");
        assert_eq!(
            ask(&mut room, user, "history", ""),
            "127.0.0.1:57354: hello|Kobzol: hello"
        );
        assert_eq!(ask(&mut room, user, "users", ""), "Kobzol");
        let left = room.leave(user, now()).map(Outcome::Public);
        assert_eq!(describe(left), "all: Kobzol has left the chat");
        assert!(room.leave(user, now()).is_none(), "nobody leaves twice");
        assert_eq!(ask(&mut room, user, "message", "ghost"), "nothing");
    }

    #[test]
    fn history_begins_empty() {
        let mut room = room(Limits::default());
        let user = enter(&mut room, 1);
        assert_eq!(
            ask(&mut room, user, "history", ""),
            "alone: No messages yet"
        );
    }

    #[test]
    fn users_are_told_in_order_of_arrival() {
        let mut room = room(Limits::default());
        let users = [1, 2, 3].map(|port| enter(&mut room, port));
        ask(&mut room, users[2], "set-name", "Aaron");
        assert_eq!(
            ask(&mut room, users[0], "users", ""),
            "127.0.0.1:1, 127.0.0.1:2, Aaron"
        );
        room.leave(users[0], now());
        assert_eq!(ask(&mut room, users[1], "users", ""), "127.0.0.1:2, Aaron");
    }

    #[test]
    fn a_name_belongs_to_one_until_it_is_given_up() {
        let mut room = room(Limits::default());
        let (one, two) = (enter(&mut room, 1), enter(&mut room, 2));
        ask(&mut room, one, "set-name", "Alice");
        for taken in ["Alice", "ALICE", "\u{410}lice"] {
            let told = ask(&mut room, two, "set-name", taken);
            assert!(
                told.starts_with("alone: The name ") && told.contains("is taken"),
                "{told}"
            );
        }
        assert_eq!(
            ask(&mut room, one, "set-name", "alice"),
            "all: Alice renamed to alice"
        );
        assert_eq!(
            ask(&mut room, one, "set-name", "alice"),
            "alone: Your name is already alice"
        );
        assert_eq!(
            ask(&mut room, one, "set-name", "Bob"),
            "all: alice renamed to Bob"
        );
        assert_eq!(
            ask(&mut room, two, "set-name", "Alice"),
            "all: 127.0.0.1:2 renamed to Alice"
        );
        room.leave(one, now());
        assert_eq!(
            ask(&mut room, two, "set-name", "bob"),
            "all: Alice renamed to bob"
        );
        assert_eq!(
            ask(&mut room, two, "set-name", "127.0.0.1:2"),
            "all: bob renamed to 127.0.0.1:2"
        );
    }

    #[test]
    fn the_seventeenth_refusal_in_a_row_closes() {
        let mut room = room(Limits::default());
        let user = enter(&mut room, 1);
        for _ in 0..16 {
            assert!(ask(&mut room, user, "message", " ").starts_with("alone: "));
        }
        assert!(ask(&mut room, user, "set-name", "").starts_with("close: 17 lines in a row"));
    }

    #[test]
    fn any_accepted_line_starts_the_count_of_refusals_again() {
        for (kind, data) in [
            ("message", "x"),
            ("history", ""),
            ("users", ""),
            ("set-name", "127.0.0.1:1"),
        ] {
            let mut room = room(Limits::default());
            let user = enter(&mut room, 1);
            for _ in 0..3 {
                for _ in 0..16 {
                    assert!(
                        ask(&mut room, user, "message", " ").starts_with("alone: "),
                        "{kind}"
                    );
                }
                ask(&mut room, user, kind, data);
            }
        }
    }

    #[test]
    fn a_full_room_says_so_and_has_a_place_when_one_leaves() {
        let mut room = room(Limits {
            max_clients: 2,
            ..Limits::default()
        });
        let one = enter(&mut room, 1);
        enter(&mut room, 2);
        let full = room.enter(address(3), now()).unwrap_err();
        assert_eq!(
            full.to_string(),
            "The chat is full (2 users); try again later"
        );
        room.leave(one, now());
        assert!(room.enter(address(3), now()).is_ok());
    }

    #[test]
    fn connections_of_one_address_can_be_limited() {
        let mut room = room(Limits {
            max_clients_per_address: Some(1),
            ..Limits::default()
        });
        let one = enter(&mut room, 1);
        for same in ["127.0.0.1:2", "[::ffff:127.0.0.1]:3"] {
            let told = room
                .enter(same.parse().unwrap(), now())
                .unwrap_err()
                .to_string();
            assert_eq!(
                told,
                "Too many connections from your address; try again later"
            );
        }
        assert!(
            room.enter("[2001:db8::1]:1".parse().unwrap(), now())
                .is_ok()
        );
        assert!(
            room.enter("[2001:db8::2:1]:1".parse().unwrap(), now())
                .is_err(),
            "the same /64"
        );
        assert!(
            room.enter("[2001:db8:0:1::1]:1".parse().unwrap(), now())
                .is_ok()
        );
        room.leave(one, now());
        assert!(room.enter(address(2), now()).is_ok());
    }

    #[test]
    fn crowds_are_summarised_above_the_limit() {
        let mut room = room(Limits {
            announce_limit: 1,
            ..Limits::default()
        });
        let summarised = |event: &Event| match event.kind {
            EventKind::Joined { summarised, .. } | EventKind::Left { summarised, .. } => summarised,
            _ => unreachable!("only arrivals and departures are asked"),
        };
        let (one, first) = room.enter(address(1), now()).unwrap();
        let (two, second) = room.enter(address(2), now()).unwrap();
        assert!(!summarised(&first) && summarised(&second));
        assert!(summarised(&room.leave(two, now()).unwrap()));
        assert!(!summarised(&room.leave(one, now()).unwrap()));
    }
}
