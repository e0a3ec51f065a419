//! Sessions by token, bounded in number, age and nonces. Tokens are kept as hashes only.

use crate::chat::record::{NonceRecord, Record, SessionRecord};
use crate::chat::request::Nonce;
use crate::chat::room::roster::UserId;
use crate::chat::token::TokenHash;
use crate::chat::username::Username;
use crate::limits::{MAX_NONCES, MAX_NONCES_PER_TOKEN, MIN_NONCES_PER_TOKEN, NONCE_LIFETIME};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// A session of an extended client or a browser.
#[derive(Debug)]
pub(super) struct UserSession {
    token: TokenHash,
    /// Name of its user, or of its last user.
    pub(super) name: Username,
    pub(super) has_chosen: bool,
    /// The user, while it is in the room.
    pub(super) user: Option<UserId>,
    is_attached: bool,
    used: Timestamp,
    nonces: Nonces,
}

impl UserSession {
    pub(super) fn record(&self) -> SessionRecord {
        SessionRecord {
            token: self.token,
            name: self.name.clone(),
            has_chosen: self.has_chosen,
            is_present: self.user.is_some(),
            used: self.used,
        }
    }
}

/// Nonces of one session, oldest first, with the number of each event.
#[derive(Debug, Default)]
struct Nonces {
    ids: HashMap<u64, Option<u64>>,
    order: VecDeque<(u64, Timestamp)>,
}

#[derive(Debug)]
pub(super) struct SessionTable {
    sessions: HashMap<u64, UserSession>,
    /// Sessions without a connection, by the time of their last use.
    idle: BTreeSet<(Timestamp, u64)>,
    capacity: usize,
    lifetime: SignedDuration,
    nonce_count: usize,
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
        }
    }

    /// Returns the number of the session with this token, unless it has expired.
    pub(super) fn find(&self, token: &TokenHash, now: Timestamp) -> Option<u64> {
        let number = token.prefix();
        let session = self.sessions.get(&number)?;
        let is_alive = session.is_attached || self.end_of(session.used) > now;
        (session.token == *token && is_alive).then_some(number)
    }

    pub(super) fn get(&self, number: u64) -> Option<&UserSession> {
        self.sessions.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut UserSession> {
        self.sessions.get_mut(&number)
    }

    /// Adds a session without a connection. Returns `None` if another session has the same
    /// number, which has a negligible probability.
    pub(super) fn add(&mut self, session: SessionRecord, user: Option<UserId>) -> Option<u64> {
        let number = session.token.prefix();
        if self.sessions.contains_key(&number) {
            return None;
        }
        self.idle.insert((session.used, number));
        let session = UserSession {
            token: session.token,
            name: session.name,
            has_chosen: session.has_chosen,
            user,
            is_attached: false,
            used: session.used,
            nonces: Nonces::default(),
        };
        self.sessions.insert(number, session);
        Some(number)
    }

    /// Adds a stored nonce.
    pub(super) fn restore_nonce(&mut self, nonce: &NonceRecord) {
        let number = nonce.token.prefix();
        self.add_nonce(number, nonce.nonce, nonce.id, nonce.time, &mut None);
    }

    /// Marks a session as used now, by a connection that stays open if `is_attached`.
    pub(super) fn touch(&mut self, number: u64, is_attached: bool, now: Timestamp) {
        if let Some(session) = self.sessions.get_mut(&number) {
            self.idle.remove(&(session.used, number));
            session.is_attached = is_attached;
            session.used = now;
            if !is_attached {
                self.idle.insert((now, number));
            }
        }
    }

    /// Returns the least recently used session without a connection if there are too many.
    pub(super) fn least_recent_over_capacity(&self) -> Option<u64> {
        let (_, number) = self.idle.first()?;
        (self.sessions.len() > self.capacity).then_some(*number)
    }

    /// Returns a session that has expired.
    pub(super) fn expired(&self, now: Timestamp) -> Option<u64> {
        let (used, number) = self.idle.first()?;
        (self.end_of(*used) <= now).then_some(*number)
    }

    /// Returns the time at which the next session expires.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.idle.first().map(|(used, _)| self.end_of(*used))
    }

    fn end_of(&self, used: Timestamp) -> Timestamp {
        used.saturating_add(self.lifetime).unwrap_or(Timestamp::MAX)
    }

    /// Removes a session and returns the hash of its token.
    pub(super) fn remove(&mut self, number: u64) -> Option<TokenHash> {
        let session = self.sessions.remove(&number)?;
        self.idle.remove(&(session.used, number));
        self.nonce_count -= session.nonces.order.len();
        Some(session.token)
    }

    /// Returns the number of the event with this nonce: `None` for an unknown nonce, `Some(None)`
    /// for a private message.
    pub(super) fn find_nonce(&self, number: u64, nonce: u64) -> Option<Option<u64>> {
        let session = self.sessions.get(&number)?;
        session.nonces.ids.get(&nonce).copied()
    }

    /// Adds a nonce, and removes nonces that are too old or too many.
    pub(super) fn add_nonce(
        &mut self,
        number: u64,
        nonce: u64,
        id: Option<u64>,
        now: Timestamp,
        records: &mut Option<Vec<Record>>,
    ) {
        let Some(session) = self.sessions.get_mut(&number) else {
            return;
        };
        let nonces = &mut session.nonces;
        if nonces.ids.contains_key(&nonce) {
            return;
        }
        nonces.ids.insert(nonce, id);
        nonces.order.push_back((nonce, now));
        self.nonce_count += 1;
        let mut record = |record| records.as_mut().map(|records| records.push(record));
        record(Record::Nonce(NonceRecord {
            token: session.token,
            nonce,
            id,
            time: now,
        }));
        let oldest_kept = now
            .saturating_sub(signed(NONCE_LIFETIME))
            .unwrap_or(Timestamp::MIN);
        while let Some((oldest, time)) = nonces.order.front().copied() {
            let count = nonces.order.len();
            let may_go = time < oldest_kept || self.nonce_count > MAX_NONCES;
            if count <= MIN_NONCES_PER_TOKEN || (!may_go && count <= MAX_NONCES_PER_TOKEN) {
                break;
            }
            nonces.order.pop_front();
            nonces.ids.remove(&oldest);
            self.nonce_count -= 1;
            record(Record::NonceForgotten(session.token, oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::token::Token;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn token(number: u8) -> TokenHash {
        Token::new([number; 16]).hash()
    }

    /// Adds a session that was used at second 0 and is attached.
    fn add(sessions: &mut SessionTable, number: u8) -> u64 {
        let session = SessionRecord {
            token: token(number),
            name: Username::from_stored("a"),
            has_chosen: true,
            is_present: true,
            used: at(0),
        };
        let number = sessions.add(session, None).unwrap();
        sessions.touch(number, true, at(0));
        number
    }

    #[test]
    fn session_expires_a_lifetime_after_its_last_use() {
        let mut sessions = SessionTable::new(10, HOUR);
        let number = add(&mut sessions, 1);
        assert_eq!(sessions.find(&token(1), at(99_999)), Some(number));
        sessions.touch(number, false, at(100));
        assert_eq!(sessions.find(&token(1), at(3699)), Some(number));
        assert_eq!(sessions.expired(at(3699)), None);
        assert_eq!(sessions.find(&token(1), at(3700)), None);
        assert_eq!(sessions.expired(at(3700)), Some(number));
        assert_eq!(sessions.next_end(), Some(at(3700)));
        assert!(sessions.remove(number).is_some());
        assert_eq!(sessions.next_end(), None);
    }

    #[test]
    fn least_recently_used_idle_session_is_over_capacity() {
        let mut sessions = SessionTable::new(2, HOUR);
        let numbers = [1, 2, 3].map(|number| add(&mut sessions, number));
        assert_eq!(sessions.least_recent_over_capacity(), None);
        sessions.touch(numbers[1], false, at(10));
        sessions.touch(numbers[0], false, at(20));
        assert_eq!(sessions.least_recent_over_capacity(), Some(numbers[1]));
        sessions.touch(numbers[1], true, at(30));
        assert_eq!(sessions.least_recent_over_capacity(), Some(numbers[0]));
        sessions.remove(numbers[0]);
        assert_eq!(sessions.least_recent_over_capacity(), None);
    }

    #[test]
    fn newest_thousand_nonces_outlive_their_lifetime() {
        let mut sessions = SessionTable::new(10, HOUR);
        let number = add(&mut sessions, 1);
        for nonce in 0..1000 {
            sessions.add_nonce(number, nonce, Some(nonce), at(0), &mut None);
        }
        sessions.add_nonce(number, 1000, None, at(3600), &mut None);
        assert_eq!(sessions.find_nonce(number, 0), Some(Some(0)), "not yet old");
        sessions.add_nonce(number, 1001, None, at(3601), &mut None);
        assert_eq!(sessions.find_nonce(number, 1), None);
        assert_eq!(sessions.find_nonce(number, 2), Some(Some(2)));
        assert_eq!(sessions.find_nonce(number, 1001), Some(None));
    }

    #[test]
    fn session_keeps_ten_thousand_nonces_and_their_first_event() {
        let mut sessions = SessionTable::new(10, HOUR);
        let number = add(&mut sessions, 1);
        for nonce in 0..=10_000 {
            sessions.add_nonce(number, nonce, Some(nonce), at(0), &mut None);
        }
        assert_eq!(sessions.find_nonce(number, 0), None);
        sessions.add_nonce(number, 1, Some(7), at(0), &mut None);
        assert_eq!(sessions.find_nonce(number, 1), Some(Some(1)));
        sessions.remove(number);
        assert_eq!(sessions.nonce_count, 0);
    }
}
