//! Users who come by the page.
//!
//! What lives here: how a browser joins, comes back, and is kept in mind between two requests: a
//! browser has no connection that would tell whether it is still there, but live streams, and none
//! of those for a moment now and then. The broker calls it. It must never know a stream or a
//! cookie: whether somebody listens is what it is told.
//!
//! A user of the page has chosen its name before it is let in, so nobody ever sees its address. It
//! is away, in the room's sense, whenever no stream of it is open; one that has only just come, or
//! asks for something meanwhile, holds its place for as long as the grace time.

use crate::connect_rate::counted_as;
use crate::event::{EventKind, LeaveReason};
use crate::name::Name;
use crate::protocol::Refusal;
use crate::room::user::{Away, PrivateMessage, User, UserId};
use crate::room::{Effect, FreshToken, NoEntry, Room};
use crate::token::Token;
use jiff::Timestamp;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Why a browser cannot join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// It cannot have this name.
    Refused(Refusal),
    /// There is no room for it.
    NoEntry(NoEntry),
}

/// A user of the page who is here from now on.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The user.
    pub user: UserId,
    /// The name, as everyone is told it.
    pub name: Name,
    /// By which it is the same user again.
    pub token: Token,
}

impl Room {
    /// The user of the page who has this token, while it is here.
    pub fn page_user(&self, token: &Token, now: Timestamp) -> Option<UserId> {
        let session = self.sessions.find(&token.page_hash(), now)?;
        self.sessions.get(session)?.user
    }

    /// Lets a browser in under this name. One that was here before with its token has the same
    /// nonces again. Until [`Room::attend`] it is away, and its place is held.
    ///
    /// # Errors
    /// It cannot have the name, or there is no room for it.
    pub fn join(
        &mut self,
        (known, address): (Option<Token>, IpAddr),
        requested: &str,
        fresh: FreshToken<'_>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Joined, NotJoined> {
        let refused = NotJoined::Refused;
        let parsed = Name::parse_without_address(requested);
        let name = parsed.map_err(|error| refused(Refusal::Name(error)))?;
        let keys = name.keys();
        if self.taken.is_taken_by_another(&keys, None) {
            return Err(refused(Refusal::NameTaken(name.as_str().into())));
        }
        self.take_place(address).map_err(NotJoined::NoEntry)?;
        self.last_user += 1;
        let user = UserId(self.last_user);
        let until = self.grace_end(now);
        let mut away = Away::new(until, LeaveReason::Closed);
        away.holds_place = true;
        self.held_places += 1;
        self.away.insert((until, user));
        self.taken.take(keys, user);
        let (session, token) = self.page_session(known, user, &name, fresh, now);
        let newcomer = User {
            name: name.clone(),
            address: SocketAddr::new(address, 0),
            since: now,
            refusals_in_a_row: 0,
            has_chosen: true,
            session: Some(session),
            is_of_page: true,
            away: Some(Box::new(away)),
        };
        self.users.insert(user, Box::new(newcomer));
        self.roster = None;
        self.record_session(session);
        while let Some(session) = self.sessions.one_too_many() {
            self.forget_session(session, now, effects);
        }
        let summarised = self.users.len() > self.limits.announce_limit;
        let joined = EventKind::Joined {
            name: name.clone(),
            summarised,
        };
        effects.push(Effect::Public(self.event(now, joined)));
        Ok(Joined { user, name, token })
    }

    /// The session of this token, or a new one, with this user, who is away.
    fn page_session(
        &mut self,
        known: Option<Token>,
        user: UserId,
        name: &Name,
        fresh: FreshToken<'_>,
        now: Timestamp,
    ) -> (u64, Token) {
        let known = known.and_then(|token| {
            let session = self.sessions.find(&token.page_hash(), now)?;
            Some((session, token))
        });
        let (session, token) = known.unwrap_or_else(|| {
            loop {
                let token = fresh();
                let own = (name.clone(), true);
                let added = self.sessions.add(token.page_hash(), user, own, now);
                if let Some(session) = added {
                    break (session, token);
                }
            }
        });
        self.sessions.connect(session, user, now);
        self.sessions.disconnect(session, now);
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.name = name.clone();
            entry.has_chosen = true;
        }
        (session, token)
    }

    /// A stream of this user is open: it is connected, and gets what was kept for it.
    ///
    /// # Errors
    /// Its place was not held, and there is none for it now.
    pub fn attend(
        &mut self,
        user: UserId,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Vec<Arc<PrivateMessage>>, NoEntry> {
        self.hold_place(user, address)?;
        let Some(here) = self.users.get_mut(&user) else {
            return Ok(Vec::new());
        };
        let session = here.session;
        let Some(away) = here.away.take() else {
            return Ok(Vec::new());
        };
        self.held_places -= 1;
        self.away.remove(&(away.until, user));
        if let Some(session) = session {
            self.sessions.connect(session, user, now);
            self.record_session(session);
        }
        Ok(away.kept.into_iter().map(|(_, message)| message).collect())
    }

    /// This user asks for something: its grace time begins anew, if it is away.
    ///
    /// # Errors
    /// Its place was not held, and there is none for it now.
    pub fn stay(&mut self, user: UserId, address: IpAddr, now: Timestamp) -> Result<(), NoEntry> {
        self.hold_place(user, address)?;
        let until = self.grace_end(now);
        let here = self.users.get_mut(&user);
        let Some(away) = here.and_then(|user| user.away.as_mut()) else {
            return Ok(());
        };
        self.away.remove(&(away.until, user));
        self.away.insert((until, user));
        away.until = until;
        Ok(())
    }

    /// Counts one who is away as connected, from this address.
    fn hold_place(&mut self, user: UserId, address: IpAddr) -> Result<(), NoEntry> {
        let is_without = |user: &&mut Box<User>| {
            let away = user.away.as_ref();
            away.is_some_and(|away| !away.holds_place)
        };
        if self.users.get_mut(&user).filter(is_without).is_none() {
            return Ok(());
        }
        self.take_place(address)?;
        if let Some(here) = self.users.get_mut(&user) {
            here.address = SocketAddr::new(counted_as(address), 0);
            here.is_of_page = true;
            if let Some(away) = &mut here.away {
                away.holds_place = true;
                self.held_places += 1;
            }
        }
        Ok(())
    }

    /// The last stream of this user has ended, or it was never there: it has its grace time.
    pub fn withdraw(&mut self, user: UserId, now: Timestamp, effects: &mut Vec<Effect>) {
        let is_here = self
            .users
            .get(&user)
            .is_some_and(|user| user.away.is_none());
        if is_here {
            self.leave(user, LeaveReason::Closed, now, effects);
        }
    }
}
