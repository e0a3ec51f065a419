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

use crate::chat::address::limit_key;
use crate::chat::error::RequestError;
use crate::chat::event::{EventKind, LeaveReason};
use crate::chat::room::mailbox::{Mailbox, PrivateCopy};
use crate::chat::room::user::{Detached, User, UserId};
use crate::chat::room::{Effect, FreshToken, JoinError, Room};
use crate::chat::token::Token;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::net::{IpAddr, SocketAddr};

/// Why a browser cannot join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// It cannot have this name.
    Refused(RequestError),
    /// There is no room for it.
    NoEntry(JoinError),
}

/// A user of the page who is here from now on.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The user.
    pub user: UserId,
    /// The name, as everyone is told it.
    pub name: Username,
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
    /// nonces again. Until [`Room::attach_stream`] it is away, and its place is held.
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
        let parsed = Username::parse_without_address(requested);
        let name = parsed.map_err(|error| refused(RequestError::Name(error)))?;
        let keys = name.key();
        if self.taken.is_taken_by_another(&keys, None) {
            return Err(refused(RequestError::NameTaken(name.as_str().into())));
        }
        self.reserve_slot(address).map_err(NotJoined::NoEntry)?;
        self.last_user += 1;
        let user = UserId(self.last_user);
        let until = self.grace_end(now);
        let mut away = Detached::new(until, LeaveReason::Closed);
        away.has_reserved_slot = true;
        self.reserved_slots += 1;
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
            mailbox: Some(Box::new(Mailbox::new(now))),
            away: Some(Box::new(away)),
        };
        self.users.insert(user, Box::new(newcomer));
        self.user_list = None;
        self.record_session(session);
        while let Some(session) = self.sessions.least_recent_over_capacity() {
            self.forget_session(session, now, effects);
        }
        let is_summarised = self.users.len() > self.limits.announce_limit;
        let joined = EventKind::Joined {
            name: name.clone(),
            is_summarised,
        };
        effects.push(Effect::Public(self.event(now, joined)));
        Ok(Joined { user, name, token })
    }

    /// The session of this token, or a new one, with this user, who is away.
    fn page_session(
        &mut self,
        known: Option<Token>,
        user: UserId,
        name: &Username,
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

    /// A stream of this user is open: the user is connected. Returns what the stream begins with:
    /// all private messages of the mailbox, and those that were kept for the user.
    ///
    /// # Errors
    /// Its place was not held, and there is none for it now.
    pub fn attach_stream(
        &mut self,
        user: UserId,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Vec<PrivateCopy>, JoinError> {
        self.ensure_slot(user, address, now)?;
        let Some(here) = self.users.get_mut(&user) else {
            return Ok(Vec::new());
        };
        let session = here.session;
        let Some(mailbox) = &mut here.mailbox else {
            return Ok(Vec::new());
        };
        let Some(away) = here.away.take() else {
            return Ok(mailbox.copies());
        };
        mailbox.take_kept(away.kept.into_iter().map(|(_, message)| message));
        let copies = mailbox.copies();
        self.reserved_slots -= 1;
        self.away.remove(&(away.until, user));
        if let Some(session) = session {
            self.sessions.connect(session, user, now);
            self.record_session(session);
        }
        Ok(copies)
    }

    /// This user asks for something: its grace time begins anew, if it is away.
    ///
    /// # Errors
    /// Its place was not held, and there is none for it now.
    pub fn touch(
        &mut self,
        user: UserId,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(), JoinError> {
        self.ensure_slot(user, address, now)?;
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
    fn ensure_slot(
        &mut self,
        user: UserId,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(), JoinError> {
        let is_without = |user: &&mut Box<User>| {
            let away = user.away.as_ref();
            away.is_some_and(|away| !away.has_reserved_slot)
        };
        if self.users.get_mut(&user).filter(is_without).is_none() {
            return Ok(());
        }
        self.reserve_slot(address)?;
        if let Some(here) = self.users.get_mut(&user) {
            here.address = SocketAddr::new(limit_key(address), 0);
            let empty = || Box::new(Mailbox::new(now));
            here.mailbox.get_or_insert_with(empty);
            if let Some(away) = &mut here.away {
                away.has_reserved_slot = true;
                self.reserved_slots += 1;
            }
        }
        Ok(())
    }

    /// The last stream of this user has ended, or it was never there: it has its grace time.
    pub fn detach_stream(&mut self, user: UserId, now: Timestamp, effects: &mut Vec<Effect>) {
        let is_here = self
            .users
            .get(&user)
            .is_some_and(|user| user.away.is_none());
        if is_here {
            self.leave(user, LeaveReason::Closed, now, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::request::{Request, SendPrivate};
    use crate::chat::room::limits::RoomLimits;
    use crate::protocol::basic::event_notice;
    use std::time::Duration;

    const GRACE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn home() -> IpAddr {
        [192, 0, 2, 7].into()
    }

    fn room(max_clients: usize) -> Room {
        Room::new(RoomLimits {
            max_clients,
            grace: GRACE,
            ..RoomLimits::default()
        })
    }

    fn join(
        room: &mut Room,
        known: Option<Token>,
        name: &str,
        now: i64,
    ) -> Result<Joined, NotJoined> {
        let mut number = 0;
        let mut fresh = || {
            number += 1;
            // Nobody has the first one twice.
            let first = u8::try_from(now % 100).unwrap() + number;
            Token::new([first; 16])
        };
        let mut effects = Vec::new();
        room.join((known, home()), name, &mut fresh, at(now), &mut effects)
    }

    /// What everyone is told of the passing of time up to now.
    fn told(room: &mut Room, now: i64) -> Vec<String> {
        let mut effects = Vec::new();
        room.expire(at(now), &mut effects);
        let told = effects.into_iter().filter_map(|effect| match effect {
            Effect::Public(event) => event_notice(&event.kind),
            _ => None,
        });
        told.collect()
    }

    #[test]
    fn one_who_joins_holds_its_place_for_the_grace_time() {
        let mut room = room(1);
        let joined = join(&mut room, None, " Eve ", 0).unwrap();
        assert_eq!(joined.name.as_str(), "Eve");
        assert_eq!(room.page_user(&joined.token, at(1)), Some(joined.user));
        assert_eq!((room.user_count(), room.connected_count()), (1, 1));
        let full = NotJoined::NoEntry(JoinError::Full(1));
        assert_eq!(join(&mut room, None, "Dan", 1).unwrap_err(), full);
        let taken = join(&mut room, None, "eve", 1).unwrap_err();
        assert!(matches!(
            taken,
            NotJoined::Refused(RequestError::NameTaken(_))
        ));
        assert!(told(&mut room, 29).is_empty());
        room.touch(joined.user, home(), at(29)).unwrap();
        assert!(told(&mut room, 58).is_empty());
        assert_eq!(told(&mut room, 59), ["Eve has left the chat"]);
        assert_eq!((room.user_count(), room.connected_count()), (0, 0));
        assert_eq!(room.page_user(&joined.token, at(59)), None);
        assert!(room.per_address.is_empty());
    }

    #[test]
    fn one_who_listens_is_connected_and_one_who_stops_has_no_place() {
        let mut room = room(1);
        let eve = join(&mut room, None, "Eve", 0).unwrap();
        room.attach_stream(eve.user, home(), at(1)).unwrap();
        assert!(told(&mut room, 1000).is_empty());
        assert_eq!(room.connected_count(), 1);
        room.detach_stream(eve.user, at(1000), &mut Vec::new());
        room.detach_stream(eve.user, at(1001), &mut Vec::new());
        assert_eq!((room.user_count(), room.connected_count()), (1, 0));
        let dan = join(&mut room, None, "Dan", 1001).unwrap();
        assert_eq!(
            room.touch(eve.user, home(), at(1002)),
            Err(JoinError::Full(1))
        );
        assert_eq!(
            room.attach_stream(eve.user, home(), at(1002)),
            Err(JoinError::Full(1))
        );
        let mut effects = Vec::new();
        room.leave(dan.user, LeaveReason::Quit, at(1003), &mut effects);
        assert_eq!(effects.len(), 1);
        assert!(room.attach_stream(eve.user, home(), at(1003)).is_ok());
        assert_eq!((room.user_count(), room.connected_count()), (1, 1));
        assert!(told(&mut room, 5000).is_empty());
    }

    #[test]
    fn each_stream_begins_with_all_private_messages() {
        let mut room = room(10);
        let eve = join(&mut room, None, "Eve", 0).unwrap();
        let dan = join(&mut room, None, "Dan", 1).unwrap();
        let send_private = Request::Private(SendPrivate {
            target: "eve".into(),
            text: "psst".into(),
            nonce: None,
        });
        let mut fresh = || Token::new([99; 16]);
        room.request(dan.user, send_private, &mut fresh, at(2), &mut Vec::new());
        let first = room.attach_stream(eve.user, home(), at(3)).unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!((&*first[0].message.text, first[0].is_own), ("psst", false));
        let second = room.attach_stream(eve.user, home(), at(4)).unwrap();
        assert_eq!(second, first, "each stream begins with the same");
        let own = room.attach_stream(dan.user, home(), at(5)).unwrap();
        assert_eq!((own.len(), own[0].is_own), (1, true));
    }

    #[test]
    fn a_token_gives_the_same_session_and_no_other_kind_of_user() {
        let mut room = room(10);
        let eve = join(&mut room, None, "Eve", 0).unwrap();
        told(&mut room, 30);
        let again = join(&mut room, Some(eve.token.clone()), "Eva", 31).unwrap();
        assert_eq!(again.token, eve.token);
        assert_ne!(again.user, eve.user);
        assert_eq!(room.page_user(&eve.token, at(31)), Some(again.user));
        assert_eq!(room.sessions.find(&eve.token.hash(), at(31)), None);
        let stranger = Token::new([77; 16]);
        let other = join(&mut room, Some(stranger.clone()), "Dan", 40).unwrap();
        assert_ne!(other.token, stranger, "what nobody gave out is not taken");
    }

    #[test]
    fn one_of_the_page_has_no_address_for_a_name() {
        let mut room = room(10);
        for name in ["192.0.2.7:0", "0.0.0.0:0", "127.0.0.1:80"] {
            let refused = join(&mut room, None, name, 0).unwrap_err();
            assert!(
                matches!(refused, NotJoined::Refused(RequestError::Name(_))),
                "{name}"
            );
        }
        let eve = join(&mut room, None, "Eve", 0).unwrap();
        let mut effects = Vec::new();
        let rename = Request::SetName("192.0.2.7:0".into());
        room.request(
            eve.user,
            rename,
            &mut || Token::new([9; 16]),
            at(1),
            &mut effects,
        );
        assert!(matches!(effects[..], [Effect::Reply(_)]), "{effects:?}");
        assert_eq!(room.name(eve.user).map(Username::as_str), Some("Eve"));
    }
}
