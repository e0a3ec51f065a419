//! Sessions by token, bounded in number, age and nonces. Tokens are kept as hashes only.

use crate::chat::record::{NonceRecord, Record, SessionRecord};
use crate::chat::request::Nonce;
use crate::chat::room::RoomTime;
use crate::chat::room::fair_queue::{FairQueue, Owner};
use crate::chat::room::roster::UserId;
use crate::chat::token::TokenHash;
use crate::limits::{
    MAX_KEPT_PRIVATE_MESSAGES, MAX_NONCES, MAX_NONCES_PER_TOKEN, MIN_NONCES_PER_TOKEN,
    NONCE_LIFETIME,
};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// A session of an extended client or a browser.
#[derive(Debug)]
pub(super) struct UserSession {
    /// The name is that of its user, or of its last user.
    pub(super) record: SessionRecord,
    /// The user, while it is in the room.
    pub(super) user: Option<UserId>,
    /// Steady time of the last use.
    used: SignedDuration,
    is_attached: bool,
    /// Whether a user of the session has said or named something.
    is_kept: bool,
    owner: Owner,
    nonces: Nonces,
    /// Keys and targets of errors about private messages, for the next user.
    errors: Vec<(u64, Box<str>)>,
}

/// Nonces of one session, oldest first, with the number of each event.
#[derive(Debug, Default)]
struct Nonces {
    ids: HashMap<u64, Option<u64>>,
    order: VecDeque<(u64, SignedDuration)>,
}

#[derive(Debug)]
pub(super) struct SessionTable {
    sessions: HashMap<u64, UserSession>,
    /// Kept sessions without a connection, by the time of their last use.
    idle: FairQueue<u64>,
    kept_count: usize,
    /// Bound of `kept_count`. Each other session has a connection.
    capacity: usize,
    lifetime: SignedDuration,
    nonce_count: usize,
    max_nonces: usize,
    /// Changes that are not yet stored; `None` without a store.
    changes: Option<Changes>,
}

/// Changes for the store. A session that changes many times is stored once.
#[derive(Debug, Default)]
struct Changes {
    sessions: BTreeSet<u64>,
    other: Vec<Record>,
}

/// Returns the first 64 bits of the hash of a nonce. Two of one session's ten thousand nonces
/// collide with a probability of 1 to 10¹¹.
pub(super) fn nonce_hash(nonce: &Nonce) -> u64 {
    TokenHash::from_bytes(Sha256::digest(nonce.as_str().as_bytes()).into()).prefix()
}

pub(super) fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

impl SessionTable {
    pub(super) fn new(capacity: usize, lifetime: Duration) -> Self {
        SessionTable {
            sessions: HashMap::new(),
            idle: FairQueue::new(),
            kept_count: 0,
            capacity,
            lifetime: signed(lifetime),
            nonce_count: 0,
            max_nonces: MAX_NONCES,
            changes: None,
        }
    }

    /// Records all later changes for a store.
    pub(super) fn start_recording(&mut self) {
        self.changes = Some(Changes::default());
    }

    /// Records a change of something else for the store.
    pub(super) fn record(&mut self, record: impl FnOnce(&Self) -> Record) {
        if self.changes.is_none() {
            return;
        }
        let record = record(self);
        if let Some(changes) = &mut self.changes {
            changes.other.push(record);
        }
    }

    pub(super) fn take_records(&mut self) -> Vec<Record> {
        let Some(changes) = self.changes.as_mut().map(std::mem::take) else {
            return Vec::new();
        };
        let changed = changes.sessions.iter();
        let sessions = changed.filter_map(|number| self.sessions.get(number));
        let records = sessions.map(|session| {
            Record::Session(SessionRecord {
                is_present: session.user.is_some(),
                ..session.record.clone()
            })
        });
        records.chain(changes.other).collect()
    }

    fn record_session(&mut self, number: u64) {
        if let Some(changes) = &mut self.changes
            && self
                .sessions
                .get(&number)
                .is_some_and(|session| session.is_kept)
        {
            changes.sessions.insert(number);
        }
    }

    /// Returns the number of the session with this token, unless it has expired.
    pub(super) fn find(&self, token: &TokenHash, now: SignedDuration) -> Option<u64> {
        let number = token.prefix();
        let session = self.sessions.get(&number)?;
        let is_alive = session.is_attached || self.end_of(session.used) > now;
        (session.record.token == *token && is_alive).then_some(number)
    }

    pub(super) fn get(&self, number: u64) -> Option<&UserSession> {
        self.sessions.get(&number)
    }

    /// Returns a session for changes, which are recorded.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut UserSession> {
        self.record_session(number);
        self.sessions.get_mut(&number)
    }

    /// Adds a session that is not kept. Returns `None` if another session has the same number,
    /// which has a negligible probability.
    pub(super) fn add(&mut self, record: SessionRecord, owner: Owner) -> Option<u64> {
        let number = record.token.prefix();
        let Entry::Vacant(entry) = self.sessions.entry(number) else {
            return None;
        };
        entry.insert(UserSession {
            record,
            user: None,
            used: SignedDuration::ZERO,
            is_attached: true,
            is_kept: false,
            owner,
            nonces: Nonces::default(),
            errors: Vec::new(),
        });
        Some(number)
    }

    /// Adds a stored session, which was last used at this time.
    pub(super) fn restore(&mut self, record: SessionRecord, user: Option<UserId>, used: RoomTime) {
        let number = record.token.prefix();
        let owner = Owner::Restored(number);
        if self.add(record, owner).is_some() {
            self.touch(number, false, owner, used);
            self.keep(number);
        }
        if let Some(session) = self.sessions.get_mut(&number) {
            session.user = user;
        }
    }

    pub(super) fn is_kept(&self, number: u64) -> bool {
        let session = self.sessions.get(&number);
        session.is_some_and(|session| session.is_kept)
    }

    /// Keeps and stores a session from now on, even without a connection.
    pub(super) fn keep(&mut self, number: u64) {
        if let Some(session) = self.sessions.get_mut(&number)
            && !session.is_kept
        {
            session.is_kept = true;
            self.kept_count += 1;
            if !session.is_attached {
                self.idle.insert(session.owner, session.used, number);
            }
            self.record_session(number);
        }
    }

    /// Returns the next number for a private message of a browser. The first is above those of all
    /// other sessions, since the same browser may still show messages of an earlier one.
    pub(super) fn next_private(&mut self, number: u64, now: RoomTime) -> u64 {
        let Some(last) = self.get(number).map(|session| session.record.last_private) else {
            return 0;
        };
        let others = self
            .sessions
            .values()
            .map(|other| other.record.last_private);
        let next = match last {
            0 => others
                .max()
                .max(u64::try_from(now.wall.as_microsecond()).ok())
                .unwrap_or(0),
            last => last,
        } + 1;
        if let Some(session) = self.get_mut(number) {
            session.record.last_private = next;
        }
        next
    }

    /// Keeps an error about a private message for the next user of a kept session. Returns whether
    /// there is room for it.
    pub(super) fn keep_error(&mut self, number: u64, key: u64, target: Box<str>) -> bool {
        let session = self.sessions.get_mut(&number);
        let has_room = |all: &&mut UserSession| all.errors.len() < MAX_KEPT_PRIVATE_MESSAGES;
        let Some(session) = session.filter(|all| all.is_kept).filter(has_room) else {
            return false;
        };
        session.errors.push((key, target));
        true
    }

    pub(super) fn take_errors(&mut self, number: u64) -> Vec<(u64, Box<str>)> {
        let session = self.sessions.get_mut(&number);
        session.map_or_else(Vec::new, |session| std::mem::take(&mut session.errors))
    }

    pub(super) fn clear_user(&mut self, number: u64) {
        if let Some(session) = self.get_mut(number) {
            session.user = None;
        }
    }

    /// Marks a session as used now, by a connection that stays open if `is_attached`.
    pub(super) fn touch(&mut self, number: u64, is_attached: bool, owner: Owner, now: RoomTime) {
        if let Some(session) = self.sessions.get_mut(&number) {
            self.idle.remove(session.owner, session.used, number);
            session.is_attached = is_attached;
            session.owner = owner;
            (session.used, session.record.used) = (now.steady, now.wall);
            if !is_attached && session.is_kept {
                self.idle.insert(owner, now.steady, number);
            }
            self.record_session(number);
        }
    }

    /// Returns the session to forget if too many are kept: of the owner with most sessions without
    /// a connection, the least recently used one.
    pub(super) fn over_capacity(&self) -> Option<u64> {
        let number = self.idle.first_of_largest_share()?;
        (self.kept_count > self.capacity).then_some(number)
    }

    /// Returns a session that has expired.
    pub(super) fn expired(&self, now: SignedDuration) -> Option<u64> {
        let (used, number) = self.idle.first()?;
        (self.end_of(used) <= now).then_some(number)
    }

    /// Returns the time at which the next session expires.
    pub(super) fn next_end(&self) -> Option<SignedDuration> {
        self.idle.first().map(|(used, _)| self.end_of(used))
    }

    fn end_of(&self, used: SignedDuration) -> SignedDuration {
        used.saturating_add(self.lifetime)
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(session) = self.sessions.remove(&number) {
            self.idle.remove(session.owner, session.used, number);
            self.nonce_count -= session.nonces.order.len();
            if !session.is_kept {
                return;
            }
            self.kept_count -= 1;
            if let Some(changes) = &mut self.changes {
                changes
                    .other
                    .push(Record::SessionForgotten(session.record.token));
                let errors = session.errors.into_iter();
                let forgotten = errors.map(|(key, _)| Record::MailForgotten(key));
                changes.other.extend(forgotten);
            }
        }
    }

    /// Returns the number of the event with this nonce: `None` for an unknown nonce, `Some(None)`
    /// for a private message.
    pub(super) fn find_nonce(&self, number: u64, nonce: u64) -> Option<Option<u64>> {
        let session = self.sessions.get(&number)?;
        session.nonces.ids.get(&nonce).copied()
    }

    /// Adds a nonce, and removes nonces that are too old or too many.
    pub(super) fn add_nonce(&mut self, number: u64, nonce: u64, id: Option<u64>, now: RoomTime) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let (token, nonces) = (session.record.token, &mut session.nonces);
        if nonces.ids.contains_key(&nonce) {
            return;
        }
        nonces.ids.insert(nonce, id);
        nonces.order.push_back((nonce, now.steady));
        self.nonce_count += 1;
        let mut record = |record| self.changes.as_mut().map(|all| all.other.push(record));
        record(Record::Nonce(NonceRecord {
            token,
            nonce,
            id,
            time: now.wall,
        }));
        let oldest_kept = now.steady.saturating_sub(signed(NONCE_LIFETIME));
        while let Some((oldest, time)) = nonces.order.front().copied() {
            let count = nonces.order.len();
            let is_old = time < oldest_kept;
            if count <= MIN_NONCES_PER_TOKEN || (!is_old && count <= MAX_NONCES_PER_TOKEN) {
                break;
            }
            nonces.order.pop_front();
            nonces.ids.remove(&oldest);
            self.nonce_count -= 1;
            record(Record::NonceForgotten(token, oldest));
        }
        while self.nonce_count > self.max_nonces {
            self.forget_nonces_of_largest_share();
        }
    }

    /// Forgets the oldest tenth of the nonces of one session: of the owner with most nonces, the
    /// session with most. A tenth, since finding it takes a look at each session.
    fn forget_nonces_of_largest_share(&mut self) {
        let mut shares: HashMap<Owner, usize> = HashMap::new();
        for session in self.sessions.values() {
            *shares.entry(session.owner).or_default() += session.nonces.order.len();
        }
        let largest = shares.into_iter().max_by_key(|(_, share)| *share);
        let sessions = self.sessions.values_mut();
        let of_largest = sessions.filter(|session| Some(session.owner) == largest.map(|all| all.0));
        let Some(session) = of_largest.max_by_key(|session| session.nonces.order.len()) else {
            return;
        };
        let order = &mut session.nonces.order;
        let forgotten = order.len().div_ceil(10);
        self.nonce_count -= forgotten;
        for (nonce, _) in order.drain(..forgotten) {
            session.nonces.ids.remove(&nonce);
            if let Some(changes) = &mut self.changes {
                let record = Record::NonceForgotten(session.record.token, nonce);
                changes.other.push(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::token::Token;
    use crate::chat::username::Username;

    fn at(seconds: i64) -> RoomTime {
        RoomTime {
            steady: SignedDuration::from_secs(seconds),
            ..RoomTime::default()
        }
    }

    fn table_with_session() -> (SessionTable, u64) {
        let mut sessions = SessionTable::new(10, Duration::from_secs(3600));
        let number = add_session(&mut sessions, 1, 1);
        (sessions, number)
    }

    fn add_session(sessions: &mut SessionTable, token: u8, host: u8) -> u64 {
        let session = SessionRecord {
            token: Token::new([token; 16]).hash(),
            name: Username::from_stored("a"),
            has_chosen: true,
            is_present: true,
            used: at(0).wall,
            last_private: 0,
        };
        let owner = Owner::of([10, 0, 0, host].into());
        sessions.add(session, owner).unwrap()
    }

    #[test]
    fn nonces_of_a_stranger_do_not_shorten_those_of_others() {
        let (mut sessions, own) = table_with_session();
        sessions.max_nonces = 5000;
        for nonce in 0..2000 {
            sessions.add_nonce(own, nonce, Some(nonce), at(0));
        }
        for token in 2..=30 {
            let stranger = add_session(&mut sessions, token, 2);
            for nonce in 0..300 {
                sessions.add_nonce(stranger, nonce, Some(nonce), at(1));
                assert!(sessions.nonce_count <= 5000);
            }
        }
        assert_eq!(sessions.find_nonce(own, 0), Some(Some(0)));
        let counted = sessions.sessions.values();
        let counted: usize = counted.map(|session| session.nonces.order.len()).sum();
        assert_eq!(sessions.nonce_count, counted);
    }

    #[test]
    fn newest_thousand_nonces_outlive_their_lifetime() {
        let (mut sessions, number) = table_with_session();
        for nonce in 0..1000 {
            sessions.add_nonce(number, nonce, Some(nonce), at(0));
        }
        sessions.add_nonce(number, 1000, None, at(3600));
        assert_eq!(sessions.find_nonce(number, 0), Some(Some(0)), "not yet old");
        sessions.add_nonce(number, 1001, None, at(3601));
        assert_eq!(sessions.find_nonce(number, 1), None);
        assert_eq!(sessions.find_nonce(number, 2), Some(Some(2)));
        assert_eq!(sessions.find_nonce(number, 1001), Some(None));
    }

    #[test]
    fn session_keeps_ten_thousand_nonces_and_their_first_event() {
        let (mut sessions, number) = table_with_session();
        for nonce in 0..=10_000 {
            sessions.add_nonce(number, nonce, Some(nonce), at(0));
        }
        assert_eq!(sessions.find_nonce(number, 0), None);
        sessions.add_nonce(number, 1, Some(7), at(0));
        assert_eq!(sessions.find_nonce(number, 1), Some(Some(1)));
        sessions.remove(number);
        assert_eq!(sessions.nonce_count, 0);
    }
}
