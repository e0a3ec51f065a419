//! Sessions by token, bounded in number, age and nonces. Tokens are kept as hashes only.

use crate::chat::record::{NonceRecord, Record, SessionRecord};
use crate::chat::request::Nonce;
use crate::chat::room::RoomTime;
use crate::chat::room::roster::UserId;
use crate::chat::token::TokenHash;
use crate::limits::{MAX_NONCES, MAX_NONCES_PER_TOKEN, MIN_NONCES_PER_TOKEN, NONCE_LIFETIME};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
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
    nonces: Nonces,
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
    /// Sessions without a connection, by the time of their last use.
    idle: BTreeSet<(SignedDuration, u64)>,
    capacity: usize,
    lifetime: SignedDuration,
    nonce_count: usize,
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

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

impl SessionTable {
    pub(super) fn new(capacity: usize, lifetime: Duration) -> Self {
        SessionTable {
            sessions: HashMap::new(),
            idle: BTreeSet::new(),
            capacity,
            lifetime: signed(lifetime),
            nonce_count: 0,
            changes: None,
        }
    }

    /// Records all later changes for a store.
    pub(super) fn start_recording(&mut self) {
        self.changes = Some(Changes::default());
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
        if let Some(changes) = &mut self.changes {
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

    /// Adds a session without a connection. Returns `None` if another session has the same
    /// number, which has a negligible probability.
    pub(super) fn add(
        &mut self,
        record: SessionRecord,
        user: Option<UserId>,
        used: SignedDuration,
    ) -> Option<u64> {
        let number = record.token.prefix();
        if self.sessions.contains_key(&number) {
            return None;
        }
        self.idle.insert((used, number));
        let session = UserSession {
            record,
            user,
            used,
            is_attached: false,
            nonces: Nonces::default(),
        };
        self.sessions.insert(number, session);
        Some(number)
    }

    /// Marks a session as used now, by a connection that stays open if `is_attached`.
    pub(super) fn touch(&mut self, number: u64, is_attached: bool, now: RoomTime) {
        if let Some(session) = self.sessions.get_mut(&number) {
            self.idle.remove(&(session.used, number));
            session.is_attached = is_attached;
            (session.used, session.record.used) = (now.steady, now.wall);
            if !is_attached {
                self.idle.insert((now.steady, number));
            }
            self.record_session(number);
        }
    }

    /// Returns the least recently used session without a connection if there are too many.
    pub(super) fn least_recent_over_capacity(&self) -> Option<u64> {
        let (_, number) = self.idle.first()?;
        (self.sessions.len() > self.capacity).then_some(*number)
    }

    /// Returns a session that has expired.
    pub(super) fn expired(&self, now: SignedDuration) -> Option<u64> {
        let (used, number) = self.idle.first()?;
        (self.end_of(*used) <= now).then_some(*number)
    }

    /// Returns the time at which the next session expires.
    pub(super) fn next_end(&self) -> Option<SignedDuration> {
        self.idle.first().map(|(used, _)| self.end_of(*used))
    }

    fn end_of(&self, used: SignedDuration) -> SignedDuration {
        used.saturating_add(self.lifetime)
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(session) = self.sessions.remove(&number) {
            self.idle.remove(&(session.used, number));
            self.nonce_count -= session.nonces.order.len();
            if let Some(changes) = &mut self.changes {
                changes
                    .other
                    .push(Record::SessionForgotten(session.record.token));
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
            let may_go = time < oldest_kept || self.nonce_count > MAX_NONCES;
            if count <= MIN_NONCES_PER_TOKEN || (!may_go && count <= MAX_NONCES_PER_TOKEN) {
                break;
            }
            nonces.order.pop_front();
            nonces.ids.remove(&oldest);
            self.nonce_count -= 1;
            record(Record::NonceForgotten(token, oldest));
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
        let session = SessionRecord {
            token: Token::new([1; 16]).hash(),
            name: Username::from_stored("a"),
            has_chosen: true,
            is_present: true,
            used: at(0).wall,
        };
        let number = sessions.add(session, None, at(0).steady).unwrap();
        (sessions, number)
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
