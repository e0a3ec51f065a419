//! The room: a synchronous state machine of users and messages.
//!
//! A request goes in and its [`Effect`]s come out, in order. The caller gives the time and new
//! tokens; the room has no clock, randomness or I/O.

mod delivery;
mod effect;
mod fair_queue;
pub mod history;
pub mod limits;
mod mailbox;
mod messages;
mod rename;
mod roster;
mod session;
mod session_table;
pub(crate) mod snapshot;
mod taken_names;

pub use crate::chat::room::effect::{
    BrowserJoin, BrowserJoinError, Effect, Ending, JoinError, Reply, WelcomeData,
};
pub use crate::chat::room::mailbox::PrivateCopy;
pub use crate::chat::room::messages::PrivateMessage;
pub use crate::chat::room::roster::UserId;

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::event::{Event, EventKind};
use crate::chat::record::Record;
use crate::chat::request::Request;
use crate::chat::room::history::History;
use crate::chat::room::limits::RoomLimits;
use crate::chat::room::roster::{Roster, User};
use crate::chat::room::session_table::SessionTable;
use crate::chat::token::Token;
use crate::chat::username::Username;
use crate::limits::{MAX_HISTORY_BYTES, MAX_REJECTIONS_IN_A_ROW, SESSIONS_PER_CLIENT};
use jiff::{SignedDuration, Timestamp};
use std::net::{IpAddr, SocketAddr};

/// Users, sessions and messages of the chat.
#[derive(Debug)]
pub struct Room {
    limits: RoomLimits,
    roster: Roster,
    sessions: SessionTable,
    history: History,
    last_event: u64,
    /// Key of the newest mail.
    last_mail: u64,
    /// Steady time at which the receipt of some mail may be certain.
    next_receipt: Option<SignedDuration>,
    /// Steady time of the oldest effects that the caller has not carried out, if there are any.
    oldest_pending: Option<SignedDuration>,
    now: RoomTime,
    /// Effects of the current call.
    effects: Vec<Effect>,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomTime {
    /// Time of day, which is shown and stored. It can jump, so it decides nothing.
    pub wall: Timestamp,
    /// Monotonic time since any start. It decides what expires.
    pub steady: SignedDuration,
}

impl RoomTime {
    /// Returns the moment of a stored time of day. A moment of the future counts as the present.
    fn back_at(self, wall: Timestamp) -> RoomTime {
        let age = self.wall.duration_since(wall).max(SignedDuration::ZERO);
        let steady = self.steady.saturating_sub(age);
        RoomTime { wall, steady }
    }
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
            last_mail: 0,
            next_receipt: None,
            oldest_pending: None,
            now: RoomTime::default(),
            effects: Vec::new(),
        }
    }

    /// Sets the time of the next calls.
    pub fn set_time(&mut self, now: RoomTime) {
        self.now = now;
    }

    /// Adds a client under its address as its name.
    ///
    /// # Errors
    /// No slot is free, or a connected user has the address.
    pub fn enter(&mut self, address: SocketAddr) -> Result<(UserId, Vec<Effect>), JoinError> {
        let holder = self.roster.find_by_address(address);
        if let Some(holder) = holder.filter(|holder| self.roster.is_attached(*holder)) {
            return Err(JoinError::AddressInUse(holder));
        }
        self.reserve_slot(address.ip())?;
        if let Some(holder) = holder {
            // The newcomer takes the name of a detached user, which therefore cannot come back.
            self.end_grace(holder);
        }
        let user = self.roster.add(User::new(address, self.now), None);
        self.announce_join(Username::from_address(address));
        Ok((user, self.take_effects()))
    }

    /// Reserves a slot for a newcomer from this address. In a full room, a browser user without a
    /// live stream gives way.
    fn reserve_slot(&mut self, address: IpAddr) -> Result<(), JoinError> {
        if let Some(user) = self.roster.giving_way(address)? {
            self.end_grace(user);
        }
        self.roster.reserve_slot(address);
        Ok(())
    }

    // Time

    /// Returns the steady time at which [`Room::expire`] next has something to do.
    pub fn next_expiry(&self) -> Option<SignedDuration> {
        let grace = self.roster.first_grace_end().map(|(until, _)| until);
        let ends = [grace, self.sessions.next_end(), self.next_receipt];
        ends.into_iter().flatten().min()
    }

    /// Removes users whose grace time is over, expired sessions, and mail that was received.
    pub fn expire(&mut self) -> Vec<Effect> {
        self.expire_mail();
        while let Some((until, user)) = self.roster.first_grace_end()
            && until <= self.now.steady
        {
            self.end_grace(user);
        }
        while let Some(session) = self.sessions.expired(self.now.steady) {
            self.remove_session(session);
        }
        self.take_effects()
    }

    // Requests

    /// Carries out a request of a user in the room.
    pub fn request(
        &mut self,
        user: UserId,
        request: Request,
        new_token: TokenSource<'_>,
    ) -> Vec<Effect> {
        if self.roster.get(user).is_none() {
            return Vec::new();
        }
        match request {
            Request::SendMessage(message) => self.send_message(user, message),
            Request::SetName(name) => self.set_name(user, &name),
            Request::History => self.accept(user, Effect::Reply(self.history_reply())),
            Request::Users => {
                let reply = Reply::Users(self.roster.user_list());
                self.accept(user, Effect::Reply(reply));
            }
            Request::Hello(hello) => self.hello(user, hello, new_token),
            Request::Private(private) => self.send_private(user, private),
            Request::Ping(data) => self.accept(user, Effect::Reply(Reply::Pong(data))),
            Request::Quit => self.accept(user, Effect::Close(Ending::Quit)),
            // The archive answers these.
            Request::Page(_) | Request::Search(_) => {}
        }
        self.take_effects()
    }

    /// Counts a rejected line of a user and returns the reply.
    pub fn reject(&mut self, user: UserId, rejected: RejectedRequest) -> Vec<Effect> {
        self.count_rejection(user, rejected);
        self.take_effects()
    }

    fn reject_request(&mut self, user: UserId, error: RequestError, kind: &str) {
        let kind = Some(kind.into());
        self.count_rejection(user, RejectedRequest { error, kind });
    }

    fn count_rejection(&mut self, user: UserId, rejected: RejectedRequest) {
        let Some(user) = self.roster.get_mut(user) else {
            return;
        };
        user.rejections_in_a_row += 1;
        let rejections = user.rejections_in_a_row;
        self.effects.push(if rejections <= MAX_REJECTIONS_IN_A_ROW {
            Effect::Reply(Reply::Rejected(rejected))
        } else {
            Effect::Close(Ending::Rejected(format!(
                "{rejections} lines in a row were refused, more than the {MAX_REJECTIONS_IN_A_ROW} \
                 allowed; the connection is closed"
            )))
        });
    }

    /// Restarts a user's count of rejected lines, after a line that was accepted.
    pub(crate) fn reset_rejections(&mut self, user: UserId) {
        if let Some(user) = self.roster.get_mut(user) {
            user.rejections_in_a_row = 0;
        }
    }

    fn accept(&mut self, user: UserId, effect: Effect) {
        self.reset_rejections(user);
        self.effects.push(effect);
    }

    /// Adds the next public event.
    fn publish(&mut self, kind: EventKind) {
        self.last_event += 1;
        self.effects.push(Effect::Public(Event {
            id: self.last_event,
            time: self.now.wall,
            kind,
        }));
    }

    fn announce_join(&mut self, name: Username) {
        let is_summarised = self.is_over_announce_limit();
        self.publish(EventKind::Joined {
            name,
            is_summarised,
        });
    }

    fn is_over_announce_limit(&self) -> bool {
        self.roster.len() > self.limits.announce_limit
    }

    fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes the changes of sessions, nonces and mail since the last call, for the store. Each session
    /// has at most one change.
    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        self.sessions.take_records()
    }

    // State

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

#[cfg(test)]
mod tests;
