//! The room: who is here, what they are called, what was said.
//!
//! What lives here: a plain synchronous state machine. The broker owns the one [`Room`] and
//! is the only one to call it; tests drive it without any socket. A request goes in, its
//! [`Effect`]s come out, in order. It must never know a socket, a clock, randomness or a runtime:
//! time and fresh tokens come in as arguments. It must never fail or panic, whatever it is asked.
//!
//! In reading order: this file, `user` (one user), `mailbox` (private messages of a browser),
//! `names` (which are taken), `sessions` (users as their tokens know them), [`page`] (users who come by the page), [`effect`] (what comes of it).
//!
//! Protocol: the tables of events and of refusals; the paragraphs on grace time, nonces and
//! tokens.

pub mod browser;
pub mod effect;
pub mod history;
pub mod limits;
pub mod mailbox;
pub mod sessions;
pub mod snapshot;
pub mod taken_names;
pub mod user;

pub use crate::chat::room::effect::{Effect, Ending, JoinError, Reply, WelcomeData};
pub use crate::chat::room::mailbox::PrivateCopy;
pub use crate::chat::room::user::{PrivateMessage, UserId};

use crate::chat::address::limit_key;
use crate::chat::error::RequestError;
use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::message::Message;
use crate::chat::record::{Record, RestoredState};
use crate::chat::request::{Hello, Nonce, Request, SendMessage, SendPrivate};
use crate::chat::room::history::History;
use crate::chat::room::limits::RoomLimits;
use crate::chat::room::sessions::{Sessions, nonce_hash};
use crate::chat::room::taken_names::TakenNames;
use crate::chat::room::user::{Detached, User};
use crate::chat::token::Token;
use crate::chat::username::{Username, UsernameKey};
use crate::limits::{MAX_HISTORY_BYTES, MAX_REFUSALS_IN_A_ROW, SESSIONS_PER_CLIENT};
use hashbrown::HashTable;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Who is here and what was said.
#[derive(Debug)]
pub struct Room {
    limits: RoomLimits,
    /// Boxed, since the nodes of the tree are half empty when keys only ever grow.
    users: BTreeMap<UserId, Box<User>>,
    taken: TakenNames,
    per_address: HashMap<IpAddr, usize>,
    /// Users by the address that each has as its first name; the keys stand in `users` alone.
    addresses: HashTable<UserId>,
    hasher: RandomState,
    sessions: Sessions,
    /// The users whose connection is lost, by the end of their grace time.
    away: BTreeSet<(Timestamp, UserId)>,
    /// How many of those count as connected all the same.
    reserved_slots: usize,
    history: History,
    last_user: u64,
    last_event: u64,
    user_list: Option<Arc<[(Username, Timestamp)]>>,
    /// What is to be kept of sessions and nonces; nothing if nothing is kept.
    records: Option<Vec<Record>>,
}

/// Draws a token that nobody has.
pub type FreshToken<'a> = &'a mut dyn FnMut() -> Token;

impl Room {
    /// An empty room with these bounds, of which nothing is kept.
    pub fn new(limits: RoomLimits) -> Self {
        let history = History::new(limits.history_messages, MAX_HISTORY_BYTES);
        let most_sessions = SESSIONS_PER_CLIENT.saturating_mul(limits.max_clients);
        Room {
            sessions: Sessions::new(most_sessions, limits.token_lifetime),
            limits,
            users: BTreeMap::new(),
            taken: TakenNames::default(),
            per_address: HashMap::new(),
            addresses: HashTable::new(),
            hasher: RandomState::new(),
            away: BTreeSet::new(),
            reserved_slots: 0,
            history,
            last_user: 0,
            last_event: 0,
            user_list: None,
            records: None,
        }
    }

    /// A room that goes on from what was kept, and is kept itself. Users of the basic dialect
    /// are gone, which is among the effects; those of the extended one have their grace time.
    pub fn restore(
        limits: RoomLimits,
        kept: RestoredState,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut room = Room::new(limits);
        room.records = Some(Vec::new());
        room.last_event = kept.last_event;
        for message in kept.messages {
            room.history.push(message);
        }
        let mut present: Vec<_> = kept.present.into_iter().map(Some).collect();
        for session in kept.sessions {
            let place = present.iter_mut().find(|place| {
                session.is_present
                    && place
                        .as_ref()
                        .is_some_and(|(name, _)| *name == session.name)
            });
            let here = place.and_then(Option::take);
            let number = session.token.prefix();
            let user = here.and_then(|(name, since)| {
                room.restore_user(name, since, session.has_chosen, number, now)
            });
            room.sessions.restore(session, user);
        }
        for nonce in &kept.nonces {
            room.sessions.restore_nonce(nonce);
        }
        for (name, _) in present.into_iter().flatten() {
            let kind = EventKind::Left {
                name,
                is_summarised: false,
                reason: LeaveReason::Shutdown,
            };
            effects.push(Effect::Public(room.event(now, kind)));
        }
        room
    }

    fn restore_user(
        &mut self,
        name: Username,
        since: Timestamp,
        has_chosen: bool,
        session: u64,
        now: Timestamp,
    ) -> Option<UserId> {
        // One who has chosen a name needs no address until it is back.
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let address = match has_chosen {
            true => nowhere,
            false => name.as_str().parse().ok()?,
        };
        self.last_user += 1;
        let id = UserId(self.last_user);
        let until = self.grace_end(now);
        if has_chosen {
            self.taken.take(name.key(), id);
        }
        let user = User {
            name,
            address,
            since,
            refusals_in_a_row: 0,
            has_chosen,
            session: Some(session),
            mailbox: None,
            away: Some(Box::new(Detached::new(until, LeaveReason::Shutdown))),
        };
        self.users.insert(id, Box::new(user));
        if !has_chosen {
            self.index_address(id, address);
        }
        self.away.insert((until, id));
        Some(id)
    }

    /// Lets a client in, under its address.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn enter(
        &mut self,
        address: SocketAddr,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<UserId, JoinError> {
        if let Some(holder) = self.user_at(address) {
            let is_detached = self
                .users
                .get(&holder)
                .is_some_and(|user| user.away.is_some());
            if !is_detached {
                return Err(JoinError::AddressInUse(holder));
            }
        }
        self.reserve_slot(address.ip())?;
        if let Some(holder) = self.user_at(address) {
            // The name is the newcomer's, so one who is away under it cannot come back to it.
            self.end_grace(holder, now, effects);
        }
        self.last_user += 1;
        let id = UserId(self.last_user);
        let name = Username::from_address(address);
        let user = User {
            name: name.clone(),
            address,
            since: now,
            refusals_in_a_row: 0,
            has_chosen: false,
            session: None,
            mailbox: None,
            away: None,
        };
        self.users.insert(id, Box::new(user));
        self.index_address(id, address);
        self.user_list = None;
        let is_summarised = self.users.len() > self.limits.announce_limit;
        let kind = EventKind::Joined {
            name,
            is_summarised,
        };
        effects.push(Effect::Public(self.event(now, kind)));
        Ok(id)
    }

    /// The connection of a user ended: it leaves, or has its grace time.
    pub fn leave(
        &mut self,
        id: UserId,
        reason: LeaveReason,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let until = self.grace_end(now);
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        let has_grace = matches!(reason, LeaveReason::Closed | LeaveReason::Lost);
        match user.session {
            Some(session) if has_grace && user.away.is_none() => {
                user.away = Some(Box::new(Detached::new(until, reason)));
                let (address, has_chosen) = (user.address, user.has_chosen);
                self.away.insert((until, id));
                self.uncount_address(address.ip());
                if has_chosen {
                    self.unindex_address(id);
                }
                self.sessions.disconnect(session, now);
                self.record_session(session);
            }
            _ => self.depart(id, reason, now, effects),
        }
    }

    fn grace_end(&self, now: Timestamp) -> Timestamp {
        let grace = SignedDuration::try_from(self.limits.grace).unwrap_or(SignedDuration::MAX);
        now.saturating_add(grace).unwrap_or(Timestamp::MAX)
    }

    /// Takes a user out, and tells those who wrote to it in vain.
    fn depart(
        &mut self,
        id: UserId,
        reason: LeaveReason,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let is_summarised = self.users.len() > self.limits.announce_limit;
        let Some(gone) = self.remove_user(id) else {
            return;
        };
        if let Some(session) = gone.session {
            if gone.away.is_none() {
                self.sessions.disconnect(session, now);
            }
            if let Some(entry) = self.sessions.get_mut(session) {
                entry.user = None;
            }
            self.record_session(session);
        }
        let target = gone.name.clone();
        let kind = EventKind::Left {
            name: gone.name,
            is_summarised,
            reason,
        };
        effects.push(Effect::Public(self.event(now, kind)));
        for (sender, _) in gone.away.into_iter().flat_map(|away| away.kept) {
            let reply = Reply::Refused {
                refusal: RequestError::NotDelivered(target.as_str().into()),
                kind: Some("private".into()),
            };
            effects.push(Effect::Tell(sender, reply));
        }
    }

    /// Removes a user from everything but its session.
    fn remove_user(&mut self, id: UserId) -> Option<User> {
        self.unindex_address(id);
        let gone = *self.users.remove(&id)?;
        self.user_list = None;
        match &gone.away {
            Some(away) => {
                self.away.remove(&(away.until, id));
                if away.has_reserved_slot {
                    self.reserved_slots -= 1;
                    self.uncount_address(gone.address.ip());
                }
            }
            None => self.uncount_address(gone.address.ip()),
        }
        if gone.has_chosen {
            self.taken.free(&gone.name.key(), id);
        }
        Some(gone)
    }

    // The passing of time

    /// When [`Room::expire`] has something to do, if that is known.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let grace = self.away.first().map(|(until, _)| *until);
        [grace, self.sessions.next_end()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends what is over by now.
    pub fn expire(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some((until, user)) = self.away.first().copied()
            && until <= now
        {
            self.end_grace(user, now, effects);
        }
        while let Some(session) = self.sessions.expired(now) {
            self.forget_session(session, now, effects);
        }
    }

    fn end_grace(&mut self, user: UserId, now: Timestamp, effects: &mut Vec<Effect>) {
        let away = self.users.get(&user).and_then(|user| user.away.as_ref());
        let reason = away.map_or(LeaveReason::Lost, |away| away.reason);
        self.depart(user, reason, now, effects);
    }

    fn forget_session(&mut self, session: u64, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(user) = self.sessions.get(session).and_then(|entry| entry.user) {
            // It is away: those who are connected are never forgotten.
            self.end_grace(user, now, effects);
        }
        if let Some(forgotten) = self.sessions.forget(session)
            && let Some(records) = &mut self.records
        {
            records.push(Record::SessionForgotten(forgotten.token));
        }
    }

    // Requests

    /// Does what a user asks; false if the user is not here.
    pub fn request(
        &mut self,
        user: UserId,
        request: Request,
        fresh: FreshToken<'_>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if !self.users.contains_key(&user) {
            return false;
        }
        match request {
            Request::Say(say) => self.say(user, say, now, effects),
            Request::SetName(name) => self.set_name(user, &name, now, effects),
            Request::History => {
                let reply = self.history_reply();
                self.accept(user, Effect::Reply(reply), effects);
            }
            Request::Users => {
                let reply = Reply::Users(self.user_list());
                self.accept(user, Effect::Reply(reply), effects);
            }
            Request::Hello(hello) => self.hello(user, hello, fresh, now, effects),
            Request::Private(private) => self.send_private(user, private, now, effects),
            Request::Ping(data) => self.accept(user, Effect::Reply(Reply::Pong(data)), effects),
            Request::Quit => self.accept(user, Effect::Close(Ending::Quit), effects),
            // They are answered where messages are kept, which may not be here.
            Request::Page(_) | Request::Search(_) => {}
        }
        true
    }

    /// Notes that a line was accepted whose answer is made elsewhere; false if the user is not
    /// here.
    pub fn answer_elsewhere(&mut self, user: UserId) -> bool {
        self.users
            .get_mut(&user)
            .map(|user| user.refusals_in_a_row = 0)
            .is_some()
    }

    /// Counts a line that was refused, and says what its sender is told; false if the user is
    /// not here.
    pub fn refuse(
        &mut self,
        user: UserId,
        refusal: RequestError,
        kind: Option<Box<str>>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(user) = self.users.get_mut(&user) else {
            return false;
        };
        user.refusals_in_a_row += 1;
        let refusals = user.refusals_in_a_row;
        effects.push(if refusals <= MAX_REFUSALS_IN_A_ROW {
            Effect::Reply(Reply::Refused { refusal, kind })
        } else {
            Effect::Close(Ending::Refused(format!(
                "{refusals} lines in a row were refused, more than the {MAX_REFUSALS_IN_A_ROW} \
                 allowed; the connection is closed"
            )))
        });
        true
    }

    /// Starts the count of refusals again.
    fn accept(&mut self, user: UserId, effect: Effect, effects: &mut Vec<Effect>) {
        if self.answer_elsewhere(user) {
            effects.push(effect);
        }
    }

    fn say(&mut self, user: UserId, say: SendMessage, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(speaker) = self.users.get_mut(&user) else {
            return;
        };
        speaker.refusals_in_a_row = 0;
        let (source, session) = (speaker.name.clone(), speaker.session);
        if let Some(ack) = self.said_before(session, say.nonce.as_ref()) {
            effects.push(ack);
            return;
        }
        self.last_event += 1;
        let id = self.last_event;
        let message = Arc::new(Message {
            action: say.action,
            ..Message::new(id, now, source, say.text)
        });
        self.history.push(message.clone());
        let kind = EventKind::Said(message);
        effects.push(Effect::Public(Event {
            id,
            time: now,
            kind,
        }));
        self.acknowledge(session, say.nonce, Some(id), now, effects);
    }

    /// The acknowledgement of what was said under this nonce before.
    fn said_before(&self, session: Option<u64>, nonce: Option<&Nonce>) -> Option<Effect> {
        let nonce = nonce?;
        let id = self.sessions.said(session?, nonce_hash(nonce))?;
        let nonce = nonce.clone();
        Some(Effect::Reply(Reply::Ack { nonce, id }))
    }

    fn acknowledge(
        &mut self,
        session: Option<u64>,
        nonce: Option<Nonce>,
        id: Option<u64>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(session), Some(nonce)) = (session, nonce) else {
            return;
        };
        let (hash, records) = (nonce_hash(&nonce), &mut self.records);
        self.sessions.remember(session, hash, id, now, records);
        effects.push(Effect::Reply(Reply::Ack { nonce, id }));
    }

    fn send_private(
        &mut self,
        user: UserId,
        private: SendPrivate,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(speaker) = self.users.get(&user) else {
            return;
        };
        let (source, session) = (speaker.name.clone(), speaker.session);
        if let Some(ack) = self.said_before(session, private.nonce.as_ref()) {
            return self.accept(user, ack, effects);
        }
        let refused = Some("private".into());
        let Some(target) = self.user_named(&private.target) else {
            let refusal = RequestError::NoSuchUser(private.target);
            self.refuse(user, refusal, refused, effects);
            return;
        };
        let Some(receiver) = self.users.get_mut(&target) else {
            return;
        };
        let message = Arc::new(PrivateMessage {
            time: now,
            source,
            target: receiver.name.clone(),
            text: private.text,
        });
        if target != user
            && let Some(away) = &mut receiver.away
            && !away.keep(user, &message)
        {
            let refusal = RequestError::MailboxFull(receiver.name.as_str().into());
            self.refuse(user, refusal, refused, effects);
            return;
        }
        let is_here = receiver.away.is_none();
        self.answer_elsewhere(user);
        self.deliver(user, message.clone(), true, effects);
        if is_here && target != user {
            self.deliver(target, message, false, effects);
        }
        self.acknowledge(session, private.nonce, None, now, effects);
    }

    /// Sends a user its copy of a private message. A user of the page gets it again with each
    /// later stream: that a stream was open does not prove that the browser has the message.
    fn deliver(
        &mut self,
        id: UserId,
        message: Arc<PrivateMessage>,
        is_own: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        let copy = match &mut user.mailbox {
            Some(mailbox) => mailbox.add(message, is_own),
            None => PrivateCopy::unnumbered(message),
        };
        effects.push(Effect::Private(id, copy));
    }

    /// The user who is called this, or something that counts as the same.
    fn user_named(&self, name: &str) -> Option<UserId> {
        if let Ok(address) = name.parse() {
            return self.user_at(address).filter(|id| {
                let user = self.users.get(id);
                user.is_some_and(|user| !user.has_chosen)
            });
        }
        self.taken.owner(&UsernameKey::of_typed(name)?)
    }

    fn set_name(
        &mut self,
        user: UserId,
        requested: &str,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(renamed) = self.users.get(&user) else {
            return;
        };
        let kind = || Some("set-name".into());
        let parsed = match renamed.mailbox {
            Some(_) => Username::parse_without_address(requested),
            None => Username::parse(requested, renamed.address),
        };
        let new = match parsed {
            Ok(new) => new,
            Err(error) => {
                self.refuse(user, RequestError::Name(error), kind(), effects);
                return;
            }
        };
        if new == renamed.name {
            let notice = Reply::Notice(format!("Your name is already {new}"));
            return self.accept(user, Effect::Reply(notice), effects);
        }
        let chosen = renamed.mailbox.is_some() || new != Username::from_address(renamed.address);
        let keys = chosen.then(|| new.key());
        if keys
            .as_ref()
            .is_some_and(|keys| self.taken.is_taken_by_another(keys, Some(user)))
        {
            let refusal = RequestError::NameTaken(new.as_str().into());
            self.refuse(user, refusal, kind(), effects);
            return;
        }
        self.answer_elsewhere(user);
        self.rename(user, &new, keys, now, effects);
    }

    /// Gives a user a name with these keys (none: its address), and tells everyone.
    fn rename(
        &mut self,
        id: UserId,
        new: &Username,
        keys: Option<UsernameKey>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        let old = std::mem::replace(&mut user.name, new.clone());
        let had_chosen = std::mem::replace(&mut user.has_chosen, keys.is_some());
        let (session, has_chosen) = (user.session, user.has_chosen);
        if had_chosen {
            self.taken.free(&old.key(), id);
        }
        if let Some(keys) = keys {
            self.taken.take(keys, id);
        }
        self.user_list = None;
        if let Some(session) = session {
            if let Some(entry) = self.sessions.get_mut(session) {
                entry.name = new.clone();
                entry.has_chosen = has_chosen;
            }
            self.record_session(session);
        }
        let new = new.clone();
        effects.push(Effect::Public(
            self.event(now, EventKind::Renamed { old, new }),
        ));
    }

    fn history_reply(&self) -> Reply {
        if self.history.is_empty() {
            return Reply::Notice("No messages yet".to_owned());
        }
        Reply::History(self.history.messages().cloned().collect())
    }

    // The extended dialect

    fn hello(
        &mut self,
        user: UserId,
        hello: Hello,
        fresh: FreshToken<'_>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(asker) = self.users.get_mut(&user) else {
            return;
        };
        asker.refusals_in_a_row = 0;
        if asker.session.is_some() {
            self.refuse(
                user,
                RequestError::HelloTwice,
                Some("hello".into()),
                effects,
            );
            return;
        }
        let known = hello.token.and_then(|token| {
            let session = self.sessions.find(&token.hash(), now)?;
            Some((session, token))
        });
        let Some((session, token)) = known else {
            return self.begin_session(user, fresh, now, effects);
        };
        match self.sessions.get(session).and_then(|entry| entry.user) {
            Some(earlier) => self.resume(user, earlier, session, token, now, effects),
            None => self.renew(user, session, token, now, effects),
        }
    }

    fn begin_session(
        &mut self,
        user: UserId,
        fresh: FreshToken<'_>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(asker) = self.users.get(&user) else {
            return;
        };
        let name = (asker.name.clone(), asker.has_chosen);
        let (session, token) = loop {
            let token = fresh();
            let added = self.sessions.add(token.hash(), user, name.clone(), now);
            if let Some(session) = added {
                break (session, token);
            }
        };
        self.welcome(user, session, (name.0, token), effects);
        self.record_session(session);
        while let Some(session) = self.sessions.least_recent_over_capacity() {
            self.forget_session(session, now, effects);
        }
    }

    fn welcome(
        &mut self,
        user: UserId,
        session: u64,
        (name, token): (Username, Token),
        effects: &mut Vec<Effect>,
    ) {
        if let Some(user) = self.users.get_mut(&user) {
            user.session = Some(session);
        }
        effects.push(Effect::Reply(Reply::Welcome(WelcomeData {
            name,
            token,
            last: self.last_event,
            users: self.users.len(),
        })));
    }

    /// The asker is the same user again as before, which is here or in its grace time. What it is
    /// told first is how it is when everything that follows has happened.
    fn resume(
        &mut self,
        asker: UserId,
        earlier: UserId,
        session: u64,
        token: Token,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let is_summarised = self.users.len() > self.limits.announce_limit;
        // Its place among those of its address becomes that of the earlier one.
        let Some(temporary) = self.take_over(asker, earlier) else {
            return;
        };
        let Some(user) = self.users.get_mut(&earlier) else {
            return;
        };
        let away = user.away.take();
        user.refusals_in_a_row = 0;
        let address = Username::from_address(user.address);
        let name = match user.has_chosen {
            true => user.name.clone(),
            false => address.clone(),
        };
        let is_renamed = name != user.name;
        if let Some(away) = &away {
            self.away.remove(&(away.until, earlier));
        }
        self.sessions.connect(session, earlier, now);
        self.record_session(session);
        let replaced = away.is_none();
        effects.push(Effect::Became {
            user: earlier,
            replaced,
        });
        self.welcome(earlier, session, (name, token), effects);
        let kind = EventKind::Left {
            name: temporary.name,
            is_summarised,
            reason: LeaveReason::Resumed,
        };
        effects.push(Effect::Public(self.event(now, kind)));
        if is_renamed {
            self.rename(earlier, &address, None, now, effects);
        }
        for (_, message) in away.into_iter().flat_map(|away| away.kept) {
            let copy = PrivateCopy::unnumbered(message);
            effects.push(Effect::Private(earlier, copy));
        }
    }

    /// Gives the address of one user, who is no more, to an earlier one; gives who it was.
    fn take_over(&mut self, asker: UserId, earlier: UserId) -> Option<User> {
        self.unindex_address(asker);
        self.unindex_address(earlier);
        let temporary = *self.users.remove(&asker)?;
        self.user_list = None;
        if temporary.has_chosen {
            self.taken.free(&temporary.name.key(), asker);
        }
        let user = self.users.get_mut(&earlier)?;
        let before = std::mem::replace(&mut user.address, temporary.address);
        let was_connected = user.away.is_none();
        if was_connected {
            self.uncount_address(before.ip());
        }
        self.index_address(earlier, temporary.address);
        Some(temporary)
    }

    /// The asker has a token whose user is gone: it gets the name back, if that is free.
    fn renew(
        &mut self,
        user: UserId,
        session: u64,
        token: Token,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(asker) = self.users.get(&user) else {
            return;
        };
        let own = (asker.name.clone(), asker.has_chosen);
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        // What it has chosen since it is here counts more than what it had.
        let wanted = (entry.has_chosen && !own.1).then(|| entry.name.clone());
        (entry.name, entry.has_chosen) = own.clone();
        self.sessions.connect(session, user, now);
        let keys = wanted.as_ref().map(Username::key);
        let is_free = |keys: &UsernameKey| !self.taken.is_taken_by_another(keys, Some(user));
        let free = keys.filter(is_free);
        let name = match (&wanted, &free) {
            (Some(wanted), Some(_)) => wanted.clone(),
            _ => own.0,
        };
        self.welcome(user, session, (name, token), effects);
        self.record_session(session);
        match (wanted, free) {
            (Some(wanted), Some(keys)) => self.rename(user, &wanted, Some(keys), now, effects),
            (Some(wanted), None) => {
                let sentence = format!(
                    "Your name {wanted} is taken by now; choose another, or keep your address"
                );
                effects.push(Effect::Reply(Reply::Notice(sentence)));
            }
            (None, _) => {}
        }
    }

    // What is kept

    /// What is to be kept of sessions and nonces since this was last asked.
    pub fn take_records(&mut self) -> Vec<Record> {
        self.records
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn record_session(&mut self, session: u64) {
        let Some(entry) = self.sessions.get(session) else {
            return;
        };
        if let Some(records) = &mut self.records {
            records.push(Record::Session(entry.record()));
        }
    }

    // What can be seen

    /// Users who are here, those in their grace time included.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Users who are connected, or whose place is held for them.
    pub fn connected_count(&self) -> usize {
        self.users.len() - self.away.len() + self.reserved_slots
    }

    /// Names and times of arrival, in order of arrival.
    pub fn users(&self) -> impl ExactSizeIterator<Item = (&Username, Timestamp)> {
        self.users.values().map(|user| (&user.name, user.since))
    }

    /// The name of a user who is here.
    pub fn name(&self, user: UserId) -> Option<&Username> {
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

    /// The names in order of arrival, shared by all who ask while nothing changes.
    fn user_list(&mut self) -> Arc<[(Username, Timestamp)]> {
        let users = &self.users;
        self.user_list
            .get_or_insert_with(|| {
                let users = users.values();
                users.map(|user| (user.name.clone(), user.since)).collect()
            })
            .clone()
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

    /// Counts one more who is connected, from this address.
    fn reserve_slot(&mut self, address: IpAddr) -> Result<(), JoinError> {
        if self.connected_count() >= self.limits.max_clients {
            return Err(JoinError::Full(self.limits.max_clients));
        }
        self.count_address(address)
    }

    fn count_address(&mut self, address: IpAddr) -> Result<(), JoinError> {
        let Some(limit) = self.limits.max_clients_per_address else {
            return Ok(());
        };
        let count = self.per_address.entry(limit_key(address)).or_insert(0);
        if *count >= limit {
            return Err(JoinError::AddressFull);
        }
        *count += 1;
        Ok(())
    }

    fn uncount_address(&mut self, address: IpAddr) {
        let address = limit_key(address);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Dialect;
    use crate::protocol::basic::event_notice;
    use crate::protocol::decode;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn room(limits: RoomLimits) -> Room {
        Room::new(limits)
    }

    fn enter(room: &mut Room, port: u16) -> UserId {
        room.enter(address(port), now(), &mut Vec::new()).unwrap()
    }

    /// What comes of a line, as a reader would see it.
    fn ask(room: &mut Room, user: UserId, kind: &str, data: &str) -> String {
        let line = format!(r#"{{"type":"{kind}","data":"{data}"}}"#);
        let mut effects = Vec::new();
        let mut fresh = || Token::new([1; 16]);
        let is_here = match decode::request(line.as_bytes(), Dialect::Basic, 4096) {
            Ok(request) => room.request(user, request, &mut fresh, now(), &mut effects),
            Err(rejected) => room.refuse(user, rejected.error, None, &mut effects),
        };
        match is_here {
            true => describe(effects),
            false => "nothing".to_owned(),
        }
    }

    fn describe(effects: Vec<Effect>) -> String {
        let described = effects.into_iter().map(|effect| match effect {
            Effect::Public(event) => match &event.kind {
                EventKind::Said(message) => format!("{}: {}", message.source, message.text),
                kind => format!("all: {}", event_notice(kind).unwrap()),
            },
            Effect::Reply(Reply::Notice(sentence)) => format!("alone: {sentence}"),
            Effect::Reply(Reply::Refused { refusal, .. }) => format!("alone: {refusal}"),
            Effect::Reply(Reply::History(messages)) => {
                let said = messages.iter().map(|m| format!("{}: {}", m.source, m.text));
                said.collect::<Vec<_>>().join("|")
            }
            Effect::Reply(Reply::Users(users)) => {
                let names = users.iter().map(|(name, _)| name.as_str());
                names.collect::<Vec<_>>().join(", ")
            }
            Effect::Close(Ending::Refused(sentence)) => format!("close: {sentence}"),
            other => format!("{other:?}"),
        });
        described.collect::<Vec<_>>().join(" + ")
    }

    fn leave(room: &mut Room, user: UserId) -> Vec<Effect> {
        let mut effects = Vec::new();
        room.leave(user, LeaveReason::Closed, now(), &mut effects);
        effects
    }

    #[test]
    fn the_dialogue_of_the_readme() {
        let mut room = room(RoomLimits::default());
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
        assert_eq!(
            describe(leave(&mut room, user)),
            "all: Kobzol has left the chat"
        );
        assert!(leave(&mut room, user).is_empty(), "nobody leaves twice");
        assert_eq!(ask(&mut room, user, "message", "ghost"), "nothing");
    }

    #[test]
    fn history_begins_empty() {
        let mut room = room(RoomLimits::default());
        let user = enter(&mut room, 1);
        assert_eq!(
            ask(&mut room, user, "history", ""),
            "alone: No messages yet"
        );
    }

    #[test]
    fn users_are_told_in_order_of_arrival() {
        let mut room = room(RoomLimits::default());
        let users = [1, 2, 3].map(|port| enter(&mut room, port));
        ask(&mut room, users[2], "set-name", "Aaron");
        assert_eq!(
            ask(&mut room, users[0], "users", ""),
            "127.0.0.1:1, 127.0.0.1:2, Aaron"
        );
        leave(&mut room, users[0]);
        assert_eq!(ask(&mut room, users[1], "users", ""), "127.0.0.1:2, Aaron");
    }

    #[test]
    fn a_name_belongs_to_one_until_it_is_given_up() {
        let mut room = room(RoomLimits::default());
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
        leave(&mut room, one);
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
        let mut room = room(RoomLimits::default());
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
            let mut room = room(RoomLimits::default());
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
        let mut room = room(RoomLimits {
            max_clients: 2,
            ..RoomLimits::default()
        });
        let one = enter(&mut room, 1);
        enter(&mut room, 2);
        let full = room.enter(address(3), now(), &mut Vec::new()).unwrap_err();
        assert_eq!(
            full.to_string(),
            "The chat is full (2 users); try again later"
        );
        leave(&mut room, one);
        assert!(room.enter(address(3), now(), &mut Vec::new()).is_ok());
    }

    #[test]
    fn connections_of_one_address_can_be_limited() {
        let mut room = room(RoomLimits {
            max_clients_per_address: Some(1),
            ..RoomLimits::default()
        });
        let one = enter(&mut room, 1);
        for same in ["127.0.0.1:2", "[::ffff:127.0.0.1]:3"] {
            let told = room
                .enter(same.parse().unwrap(), now(), &mut Vec::new())
                .unwrap_err()
                .to_string();
            assert_eq!(
                told,
                "Too many connections from your address; try again later"
            );
        }
        assert!(
            room.enter("[2001:db8::1]:1".parse().unwrap(), now(), &mut Vec::new())
                .is_ok()
        );
        assert!(
            room.enter("[2001:db8::2:1]:1".parse().unwrap(), now(), &mut Vec::new())
                .is_err(),
            "the same /64"
        );
        assert!(
            room.enter(
                "[2001:db8:0:1::1]:1".parse().unwrap(),
                now(),
                &mut Vec::new()
            )
            .is_ok()
        );
        leave(&mut room, one);
        assert!(room.enter(address(2), now(), &mut Vec::new()).is_ok());
    }

    #[test]
    fn crowds_are_summarised_above_the_limit() {
        let mut room = room(RoomLimits {
            announce_limit: 1,
            ..RoomLimits::default()
        });
        let is_summarised = |event: &Event| match event.kind {
            EventKind::Joined { is_summarised, .. } | EventKind::Left { is_summarised, .. } => {
                is_summarised
            }
            _ => unreachable!("only arrivals and departures are asked"),
        };
        let mut effects = Vec::new();
        let one = room.enter(address(1), now(), &mut effects).unwrap();
        let two = room.enter(address(2), now(), &mut effects).unwrap();
        for user in [two, one] {
            room.leave(user, LeaveReason::Closed, now(), &mut effects);
        }
        let told = effects.iter().map(|effect| match effect {
            Effect::Public(event) => is_summarised(event),
            other => unreachable!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), [false, true, true, false]);
    }
}
