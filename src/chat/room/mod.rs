//! The room: a synchronous state machine of users and messages.
//!
//! A request goes in and its [`Effect`]s come out, in order. Time and new tokens are arguments; the
//! room has no clock, randomness or I/O.

pub mod effect;
pub mod history;
pub mod limits;
mod mailbox;
mod messages;
mod rename;
mod roster;
mod session;
mod session_table;
pub mod snapshot;
mod taken_names;

pub use crate::chat::room::effect::{
    BrowserJoin, BrowserJoinError, Effect, Ending, JoinError, Reply, WelcomeData,
};
pub use crate::chat::room::mailbox::PrivateCopy;
pub use crate::chat::room::messages::PrivateMessage;
pub use crate::chat::room::roster::UserId;

use crate::chat::error::RejectedRequest;
use crate::chat::event::{Event, EventKind};
use crate::chat::record::Record;
use crate::chat::request::Request;
use crate::chat::room::history::History;
use crate::chat::room::limits::RoomLimits;
use crate::chat::room::roster::{Roster, User};
use crate::chat::room::session_table::SessionTable;
use crate::chat::token::Token;
use crate::chat::username::Username;
use crate::limits::{MAX_HISTORY_BYTES, MAX_REFUSALS_IN_A_ROW, SESSIONS_PER_CLIENT};
use jiff::Timestamp;
use std::net::SocketAddr;

/// Users, sessions and messages of the chat.
#[derive(Debug)]
pub struct Room {
    limits: RoomLimits,
    roster: Roster,
    sessions: SessionTable,
    history: History,
    last_event: u64,
    /// Changes of sessions and nonces that are not yet stored; `None` without a store.
    records: Option<Vec<Record>>,
}

/// Returns a new random token at each call.
pub type TokenSource<'a> = &'a mut dyn FnMut() -> Token;

impl Room {
    /// Makes an empty room that records nothing for a store.
    pub fn new(limits: RoomLimits) -> Self {
        let max_sessions = SESSIONS_PER_CLIENT.saturating_mul(limits.max_clients);
        Room {
            roster: Roster::new(&limits),
            sessions: SessionTable::new(max_sessions, limits.token_lifetime),
            history: History::new(limits.history_messages, MAX_HISTORY_BYTES),
            limits,
            last_event: 0,
            records: None,
        }
    }

    /// Adds a client under its address as its name.
    ///
    /// # Errors
    /// No slot is free, or a connected user has the address.
    pub fn enter(
        &mut self,
        address: SocketAddr,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<UserId, JoinError> {
        let holder = self.roster.find_by_address(address);
        if let Some(holder) = holder
            && self
                .roster
                .get(holder)
                .is_some_and(|user| user.detached.is_none())
        {
            return Err(JoinError::AddressInUse(holder));
        }
        self.roster.reserve_slot(address.ip())?;
        if let Some(holder) = holder {
            // The newcomer takes the name of a detached user, which therefore cannot come back.
            self.end_grace(holder, now, effects);
        }
        let user = self.roster.add(User::new(address, now), None);
        let joined = EventKind::Joined {
            name: Username::from_address(address),
            is_summarised: self.is_over_announce_limit(),
        };
        self.publish(joined, now, effects);
        Ok(user)
    }

    // Time

    /// Returns the time at which [`Room::expire`] next has something to do.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let grace = self.roster.first_grace_end().map(|(until, _)| until);
        let ends = [grace, self.sessions.next_end()];
        ends.into_iter().flatten().min()
    }

    /// Removes users whose grace time is over, and expired sessions.
    pub fn expire(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some((until, user)) = self.roster.first_grace_end()
            && until <= now
        {
            self.end_grace(user, now, effects);
        }
        while let Some(session) = self.sessions.expired(now) {
            self.remove_session(session, now, effects);
        }
    }

    // Requests

    /// Carries out a request of a user. Returns false if the user is not in the room.
    pub fn request(
        &mut self,
        user: UserId,
        request: Request,
        new_token: TokenSource<'_>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.roster.get(user).is_none() {
            return false;
        }
        match request {
            Request::Say(say) => self.say(user, say, now, effects),
            Request::SetName(name) => self.set_name(user, &name, now, effects),
            Request::History => self.accept(user, Effect::Reply(self.history_reply()), effects),
            Request::Users => {
                let reply = Reply::Users(self.roster.user_list());
                self.accept(user, Effect::Reply(reply), effects);
            }
            Request::Hello(hello) => self.hello(user, hello, new_token, now, effects),
            Request::Private(private) => self.send_private(user, private, now, effects),
            Request::Ping(data) => self.accept(user, Effect::Reply(Reply::Pong(data)), effects),
            Request::Quit => self.accept(user, Effect::Close(Ending::Quit), effects),
            // The archive answers these.
            Request::Page(_) | Request::Search(_) => {}
        }
        true
    }

    /// Counts a rejected line and adds the reply to its sender. Returns false if the sender is not
    /// in the room.
    pub fn reject(
        &mut self,
        user: UserId,
        rejected: RejectedRequest,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(user) = self.roster.get_mut(user) else {
            return false;
        };
        user.rejections_in_a_row += 1;
        let rejections = user.rejections_in_a_row;
        effects.push(if rejections <= MAX_REFUSALS_IN_A_ROW {
            Effect::Reply(Reply::Rejected(rejected))
        } else {
            Effect::Close(Ending::Rejected(format!(
                "{rejections} lines in a row were refused, more than the {MAX_REFUSALS_IN_A_ROW} \
                 allowed; the connection is closed"
            )))
        });
        true
    }

    /// Restarts a user's count of rejected lines, after a line that was accepted.
    pub fn reset_rejections(&mut self, user: UserId) {
        if let Some(user) = self.roster.get_mut(user) {
            user.rejections_in_a_row = 0;
        }
    }

    fn accept(&mut self, user: UserId, effect: Effect, effects: &mut Vec<Effect>) {
        self.reset_rejections(user);
        effects.push(effect);
    }

    /// Adds the next public event.
    fn publish(&mut self, kind: EventKind, time: Timestamp, effects: &mut Vec<Effect>) {
        self.last_event += 1;
        effects.push(Effect::Public(Event {
            id: self.last_event,
            time,
            kind,
        }));
    }

    fn is_over_announce_limit(&self) -> bool {
        self.roster.len() > self.limits.announce_limit
    }

    /// Takes the changes of sessions and nonces since the last call.
    pub fn take_records(&mut self) -> Vec<Record> {
        let records = self.records.as_mut();
        records.map(std::mem::take).unwrap_or_default()
    }

    // State

    /// Returns the number of users, detached ones included.
    pub fn user_count(&self) -> usize {
        self.roster.len()
    }

    /// Returns the number of users that are attached or have a reserved slot.
    pub fn connected_count(&self) -> usize {
        self.roster.connected_count()
    }

    /// Returns names and times of arrival, in order of arrival.
    pub fn users(&self) -> impl ExactSizeIterator<Item = (&Username, Timestamp)> {
        self.roster.iter()
    }

    /// Returns the name of a user in the room.
    pub fn name(&self, user: UserId) -> Option<&Username> {
        self.roster.get(user).map(|user| &user.name)
    }

    /// Returns the messages in memory.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the number of the newest event, 0 before the first.
    pub fn last_event(&self) -> u64 {
        self.last_event
    }
}
