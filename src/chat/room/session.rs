//! Users that outlive their connections: hello, browser join, attach, detach, resume, restore.
//!
//! A user with a session is attached while it has a connection: the one of an extended client, or
//! any number of a browser's live streams. After its last connection it is detached: it keeps its
//! name, and private messages wait for it, until it is attached again or its grace time ends.

use crate::chat::error::RequestError;
use crate::chat::event::{EventKind, LeaveReason};
use crate::chat::record::{RestoredState, SessionRecord};
use crate::chat::request::Hello;
use crate::chat::room::effect::{
    BrowserJoin, BrowserJoinError, Effect, JoinError, Reply, WelcomeData,
};
use crate::chat::room::fair_queue::Owner;
use crate::chat::room::limits::RoomLimits;
use crate::chat::room::roster::{User, UserId};
use crate::chat::room::session_table::signed;
use crate::chat::room::{Room, RoomTime, TokenSource};
use crate::chat::token::{Token, TokenHash};
use crate::chat::username::Username;
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// State of a user without a connection.
#[derive(Debug)]
pub(super) struct Detached {
    /// Steady time of the end of the grace time.
    pub(super) until: SignedDuration,
    /// Who holds the place of the user.
    pub(super) owner: Owner,
    /// Reason to announce if the user does not come back.
    pub(super) reason: LeaveReason,
    pub(super) has_reserved_slot: bool,
}

impl Detached {
    pub(super) fn new(until: SignedDuration, owner: Owner, reason: LeaveReason) -> Self {
        Detached {
            until,
            owner,
            reason,
            has_reserved_slot: false,
        }
    }
}

/// Number of a session that was found by its token, and the token.
type KnownSession = Option<(u64, Token)>;

impl Room {
    // A client's hello

    pub(super) fn hello(&mut self, user: UserId, hello: Hello, new_token: TokenSource<'_>) {
        self.reset_rejections(user);
        let requester = self.roster.get(user);
        if requester.is_some_and(|user| user.session.is_some()) {
            return self.reject_request(user, RequestError::HelloTwice, "hello");
        }
        let has_token = hello.token.is_some();
        let after = hello.after.map_or(0, |after| after.id);
        let known = self.find_session(hello.token, Token::hash);
        let is_known = known.is_some() || !has_token;
        let session = known
            .as_ref()
            .and_then(|(number, _)| self.sessions.get(*number));
        match (session.and_then(|session| session.user), known) {
            (Some(earlier), Some(known)) => self.resume(user, earlier, known, after),
            (_, known) => self.start_session(user, known, is_known, new_token),
        }
    }

    fn find_session(&self, token: Option<Token>, hash: fn(&Token) -> TokenHash) -> KnownSession {
        let token = token?;
        Some((self.sessions.find(&hash(&token), self.now.steady)?, token))
    }

    /// Gives the requesting user a new session, or a known one whose user has left. The user then
    /// gets the session's name back if it is free.
    fn start_session(
        &mut self,
        id: UserId,
        known: KnownSession,
        is_known: bool,
        new_token: TokenSource<'_>,
    ) {
        let Some(user) = self.roster.get(id) else {
            return;
        };
        let session = known
            .as_ref()
            .and_then(|(number, _)| self.sessions.get(*number));
        // A name chosen before the hello has priority over the session's.
        let session_name = session
            .map(|session| &session.record)
            .filter(|record| record.has_chosen && !user.has_chosen)
            .map(|record| record.name.clone());
        let own = (user.name.clone(), user.has_chosen);
        let loss = session_name.as_ref();
        let loss = loss.and_then(|name| self.name_loss(name, Some(id)));
        let name = session_name.as_ref().filter(|_| loss.is_none());
        let name = name.unwrap_or(&own.0).clone();
        let token = self.open_session(id, own, known, Token::hash, new_token);
        self.welcome(name, token, is_known);
        match (session_name, loss) {
            (Some(name), None) => self.rename(id, &name, Some(name.key())),
            (Some(name), Some(loss)) => {
                let sentence =
                    format!("Your name {name} is {loss}; choose another, or keep your address");
                self.effects.push(Effect::Reply(Reply::Notice(sentence)));
            }
            (None, _) => {}
        }
        self.give_kept_errors(id);
        if self.roster.get(id).is_some_and(|user| user.has_acted) {
            self.note_action(id);
        }
    }

    /// Returns why the name of a session cannot be used again; `None` if it can. The rules may be
    /// stricter than those of the server that stored the name.
    fn name_loss(&self, name: &Username, user: Option<UserId>) -> Option<&'static str> {
        if Username::parse(name.as_str(), None).as_ref() != Ok(name) {
            return Some("not allowed any more");
        }
        let is_taken = self.roster.is_taken(&name.key(), user);
        is_taken.then_some("taken by now")
    }

    /// Notes that a user has said or named something: its session is kept from now on.
    pub(super) fn note_action(&mut self, id: UserId) {
        let Some(user) = self.roster.get_mut(id) else {
            return;
        };
        user.has_acted = true;
        if let Some(session) = user.session {
            self.sessions.keep(session);
            self.remove_sessions_over_capacity();
        }
    }

    /// Connects a user with a known session or a new one. Returns the token of the session.
    fn open_session(
        &mut self,
        id: UserId,
        (name, has_chosen): (Username, bool),
        known: KnownSession,
        hash: fn(&Token) -> TokenHash,
        new_token: TokenSource<'_>,
    ) -> Token {
        let user = self.roster.get(id);
        let owner = user.map_or(Owner::Restored(0), User::owner);
        let (number, token) = known.unwrap_or_else(|| {
            loop {
                let token = new_token();
                let session = SessionRecord {
                    token: hash(&token),
                    name: name.clone(),
                    has_chosen,
                    is_present: true,
                    used: self.now.wall,
                    last_private: 0,
                };
                if let Some(number) = self.sessions.add(session, owner) {
                    break (number, token);
                }
            }
        });
        if let Some(session) = self.sessions.get_mut(number) {
            (session.record.name, session.record.has_chosen) = (name, has_chosen);
            session.user = Some(id);
        }
        if let Some(user) = self.roster.get_mut(id) {
            user.session = Some(number);
            let is_attached = user.detached.is_none();
            self.sessions.touch(number, is_attached, owner, self.now);
        }
        token
    }

    fn welcome(&mut self, name: Username, token: Token, is_known: bool) {
        self.effects.push(Effect::Reply(Reply::Welcome(WelcomeData {
            name,
            token,
            last: self.last_event,
            users: self.roster.len(),
            is_known,
        })));
    }

    /// Gives the requesting user's connection to the session's user, and removes the requesting
    /// user. The welcome comes first and describes the state after the events that follow. The
    /// client has the event `after` and all that was sent before it.
    fn resume(
        &mut self,
        requester: UserId,
        earlier: UserId,
        (session, token): (u64, Token),
        after: u64,
    ) {
        let is_summarised = self.is_over_announce_limit();
        let Some(temporary) = self.roster.take_over(requester, earlier) else {
            return;
        };
        self.roster.attach(earlier);
        let Some(user) = self.roster.get_mut(earlier) else {
            return;
        };
        user.rejections_in_a_row = 0;
        let name = match user.has_chosen {
            true => user.name.clone(),
            false => Username::from_address(user.address),
        };
        let is_renamed = name != user.name;
        self.sessions.touch(session, true, user.owner(), self.now);
        self.effects.push(Effect::Resumed(earlier));
        self.welcome(name.clone(), token, true);
        self.publish(EventKind::Left {
            name: temporary.name,
            is_summarised,
            reason: LeaveReason::Resumed,
        });
        if is_renamed {
            self.rename(earlier, &name, None);
        }
        self.send_again(earlier, after);
        self.move_mail(temporary.mailbox, earlier);
        if temporary.has_acted {
            self.note_action(earlier);
        }
    }

    // Browsers

    /// Returns the user of a browser's token, while it is in the room.
    pub(crate) fn browser_user(&self, token: &Token) -> Option<UserId> {
        let session = self.sessions.find(&token.browser_hash(), self.now.steady)?;
        self.sessions.get(session)?.user
    }

    /// Adds a browser user. A known token continues its session. The user is detached with a
    /// reserved slot until [`Room::attach_stream`].
    ///
    /// # Errors
    /// The name is not available, or no slot is free.
    pub fn join(
        &mut self,
        token: Option<Token>,
        address: IpAddr,
        requested: &str,
        new_token: TokenSource<'_>,
    ) -> Result<BrowserJoin, BrowserJoinError> {
        let rejected = BrowserJoinError::Rejected;
        let name = Username::parse(requested, None)
            .map_err(|error| rejected(RequestError::Name(error)))?;
        let key = name.key();
        if self.roster.is_taken(&key, None) {
            return Err(rejected(RequestError::NameTaken(name.as_str().into())));
        }
        self.reserve_slot(address)
            .map_err(BrowserJoinError::NoSlot)?;
        let owner = Owner::of(address);
        let mut detached = Detached::new(self.grace_end(), owner, LeaveReason::Closed);
        detached.has_reserved_slot = true;
        let user = User {
            name: name.clone(),
            has_chosen: true,
            is_browser: true,
            detached: Some(Box::new(detached)),
            ..User::new(SocketAddr::new(address, 0), self.now)
        };
        let user = self.roster.add(user, Some(key));
        let (own, hash) = ((name.clone(), true), Token::browser_hash);
        let known = self.find_session(token, hash);
        let token = self.open_session(user, own, known, hash, new_token);
        self.note_action(user);
        self.announce_join(name.clone());
        self.give_kept_errors(user);
        let effects = self.take_effects();
        Ok(BrowserJoin {
            user,
            name,
            token,
            effects,
        })
    }

    /// Attaches a browser user for a new live stream, which begins with its [`Room::mailbox`].
    ///
    /// # Errors
    /// The user is detached without a slot, and none is free.
    pub fn attach_stream(&mut self, id: UserId, address: IpAddr) -> Result<Vec<Effect>, JoinError> {
        self.ensure_slot(id, address)?;
        if self.roster.attach(id).is_some()
            && let Some(user) = self.roster.get(id)
        {
            if let Some(session) = user.session {
                self.sessions.touch(session, true, user.owner(), self.now);
            }
            self.open_mailbox(id);
        }
        Ok(self.take_effects())
    }

    fn ensure_slot(&mut self, id: UserId, address: IpAddr) -> Result<(), JoinError> {
        if self.roster.lacks_slot(id) {
            self.reserve_slot(address)?;
            self.roster.give_slot(id, address);
        }
        Ok(())
    }

    /// Restarts the grace time and the lifetime of the session of a detached browser user at a
    /// request, and reserves a slot.
    ///
    /// # Errors
    /// The user is detached without a slot, and none is free.
    pub fn touch(&mut self, user: UserId, address: IpAddr) -> Result<Vec<Effect>, JoinError> {
        self.ensure_slot(user, address)?;
        self.roster.set_grace_end(user, self.grace_end());
        if let Some(user) = self.roster.get(user)
            && let (Some(session), Some(_)) = (user.session, &user.detached)
        {
            self.sessions.touch(session, false, user.owner(), self.now);
        }
        Ok(self.take_effects())
    }

    // Detached users

    /// Reports that a user's last connection ended. If a user with a kept session closed or lost
    /// it and has stayed long enough, the user is detached; otherwise the user leaves.
    pub fn disconnect(&mut self, id: UserId, reason: LeaveReason) -> Vec<Effect> {
        let Some(user) = self.roster.get(id) else {
            return Vec::new();
        };
        let may_come_back = matches!(reason, LeaveReason::Closed | LeaveReason::Lost);
        let session = user.session.filter(|_| may_come_back);
        let stay = self.now.steady.saturating_sub(user.arrived);
        let has_stayed = stay >= signed(self.limits.min_stay);
        // A browser keeps its slot at first, as before its first stream, so that it can reload.
        let may_be_away = has_stayed || user.is_browser;
        match session.filter(|session| may_be_away && self.sessions.is_kept(*session)) {
            None => self.remove_user(id, reason),
            Some(session) if user.detached.is_none() => {
                let owner = user.owner();
                let mut detached = Detached::new(self.grace_end(), owner, reason);
                detached.has_reserved_slot = !has_stayed;
                self.note_receipts(id, reason);
                self.roster.detach(id, detached);
                self.sessions.touch(session, false, owner, self.now);
                self.end_grace_over_capacity();
            }
            Some(_) => {}
        }
        self.take_effects()
    }

    fn grace_end(&self) -> SignedDuration {
        self.now.steady.saturating_add(signed(self.limits.grace))
    }

    fn end_grace_over_capacity(&mut self) {
        while let Some(user) = self.roster.absent_over_capacity() {
            self.end_grace(user);
        }
    }

    /// Removes a user. The senders of messages that it may not have get an error.
    fn remove_user(&mut self, id: UserId, reason: LeaveReason) {
        let is_summarised = self.is_over_announce_limit();
        if self.roster.is_attached(id) {
            self.note_receipts(id, reason);
        }
        let Some(user) = self.roster.remove(id) else {
            return;
        };
        if let Some(number) = user.session {
            if user.detached.is_none() {
                self.sessions.touch(number, false, user.owner(), self.now);
            }
            match self.sessions.is_kept(number) {
                true => self.sessions.clear_user(number),
                false => self.sessions.remove(number),
            }
        }
        let target = user.name.clone();
        self.publish(EventKind::Left {
            name: user.name,
            is_summarised,
            reason,
        });
        self.report_undelivered(target.as_str(), user.session, user.mailbox);
    }

    /// Removes a detached user with the reason of its disconnect.
    pub(super) fn end_grace(&mut self, id: UserId) {
        let user = self.roster.get(id);
        let detached = user.and_then(|user| user.detached.as_ref());
        let reason = detached.map_or(LeaveReason::Lost, |detached| detached.reason);
        self.remove_user(id, reason);
    }

    fn remove_sessions_over_capacity(&mut self) {
        while let Some(session) = self.sessions.over_capacity() {
            self.remove_session(session);
        }
    }

    pub(super) fn remove_session(&mut self, number: u64) {
        // Only sessions of detached users expire or are over capacity.
        if let Some(user) = self.sessions.get(number).and_then(|session| session.user) {
            self.end_grace(user);
        }
        self.sessions.remove(number);
    }

    // Restart

    /// Makes a room from stored state that records its changes. Users with a session are detached;
    /// the effects announce that the others have left.
    pub(crate) fn restore(
        limits: RoomLimits,
        stored: RestoredState,
        now: RoomTime,
    ) -> (Self, Vec<Effect>) {
        let mut room = Room::new(limits);
        room.now = now;
        room.last_event = stored.last_event;
        for message in stored.messages {
            room.history.push(message);
        }
        let names = stored.present.iter().map(|(name, _)| name.clone());
        let arrivals: HashMap<Username, usize> = names.zip(0..).collect();
        let mut sessions = stored.sessions;
        // In order of arrival: of two users with equal names, the earlier one keeps it.
        sessions.sort_by_key(|session| arrivals.get(&session.name));
        let mut present: Vec<_> = stored.present.into_iter().map(Some).collect();
        for session in sessions {
            let arrival = arrivals.get(&session.name);
            let place = arrival.filter(|_| session.is_present).copied();
            let id = place.and_then(|place| {
                let (_, since) = present[place].as_ref()?;
                let id = room.restore_user(&session, *since)?;
                present[place] = None;
                Some(id)
            });
            // A connected user was using its token until the end, of which no time is stored.
            let used = match place.is_some() {
                true => now,
                false => now.back_at(session.used),
            };
            room.sessions.restore(session, id, used);
        }
        for nonce in stored.nonces {
            let session = nonce.token.prefix();
            room.sessions
                .add_nonce(session, nonce.nonce, nonce.id, now.back_at(nonce.time));
        }
        room.sessions.start_recording();
        // A report must not take the key of mail that follows.
        room.last_mail = stored.mail.iter().map(|mail| mail.key).max().unwrap_or(0);
        for mail in stored.mail {
            room.restore_mail(mail);
        }
        for (name, _) in present.into_iter().flatten() {
            room.publish(EventKind::Left {
                name,
                is_summarised: false,
                reason: LeaveReason::Shutdown,
            });
        }
        room.end_grace_over_capacity();
        room.remove_sessions_over_capacity();
        let effects = room.take_effects();
        (room, effects)
    }

    /// Adds the detached user of a session, unless it cannot have its name any more.
    fn restore_user(&mut self, session: &SessionRecord, since: Timestamp) -> Option<UserId> {
        let name = session.name.clone();
        if session.has_chosen && self.name_loss(&name, None).is_some() {
            return None;
        }
        // The address of a user with a chosen name matters only once it is attached again.
        let address = match session.has_chosen {
            true => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            false => name.as_str().parse().ok()?,
        };
        let key = session.has_chosen.then(|| name.key());
        let owner = Owner::Restored(session.token.prefix());
        let detached = Detached::new(self.grace_end(), owner, LeaveReason::Shutdown);
        let user = User {
            name,
            has_chosen: session.has_chosen,
            has_acted: true,
            session: Some(session.token.prefix()),
            detached: Some(Box::new(detached)),
            since,
            // Its session is stored, so it has stayed.
            arrived: SignedDuration::MIN,
            ..User::new(address, self.now)
        };
        Some(self.roster.add(user, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_streams_leave_one_record_of_their_session() {
        let address: IpAddr = Ipv4Addr::LOCALHOST.into();
        let stored = RestoredState::default();
        let (mut room, _) = Room::restore(RoomLimits::default(), stored, RoomTime::default());
        let joined = room.join(None, address, "a", &mut || Token::new([1; 16]));
        let user = joined.unwrap().user;
        for _ in 0..10 {
            room.attach_stream(user, address).unwrap();
            room.disconnect(user, LeaveReason::Closed);
        }
        assert_eq!(room.take_records().len(), 1);
        assert!(room.take_records().is_empty());
    }
}
