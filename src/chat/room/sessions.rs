//! Sessions: the users as their tokens know them, and what they said under a nonce.
//!
//! What lives here: `Sessions`, bounded in number, in time and in nonces. The room alone uses it.
//! It must never hold a token, only its hash, and never know who is connected beyond what it is
//! told.
//!
//! Protocol: the paragraph on nonces and tokens.

use crate::chat::record::{NonceRecord, Record, SessionRecord};
use crate::chat::request::Nonce;
use crate::chat::room::user::UserId;
use crate::chat::token::TokenHash;
use crate::chat::username::Username;
use crate::limits::{MAX_NONCES, MAX_NONCES_PER_TOKEN, MIN_NONCES_PER_TOKEN, NONCE_LIFETIME};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// What is known under one token.
#[derive(Debug)]
pub(super) struct Entry {
    token: TokenHash,
    pub(super) name: Username,
    pub(super) has_chosen: bool,
    /// The user, while it is here or in its grace time.
    pub(super) user: Option<UserId>,
    is_connected: bool,
    used: Timestamp,
    nonces: Nonces,
}

impl Entry {
    /// As it is kept.
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

/// The nonces of one token, oldest first.
#[derive(Debug, Default)]
struct Nonces {
    ids: HashMap<u64, Option<u64>>,
    order: VecDeque<(u64, Timestamp)>,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    entries: HashMap<u64, Entry>,
    /// Those whose client is not connected, by when they were last used.
    idle: BTreeSet<(Timestamp, u64)>,
    most: usize,
    lifetime: SignedDuration,
    nonce_count: usize,
}

/// The nonce as it is remembered: 64 bits of its hash. That two of one token's ten thousand agree
/// by chance has odds of one to 10¹¹.
pub(super) fn nonce_hash(nonce: &Nonce) -> u64 {
    TokenHash::from_bytes(Sha256::digest(nonce.as_str().as_bytes()).into()).prefix()
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

impl Sessions {
    /// At most so many sessions, each forgotten so long after its last use.
    pub(super) fn new(most: usize, lifetime: Duration) -> Self {
        Sessions {
            entries: HashMap::new(),
            idle: BTreeSet::new(),
            most,
            lifetime: signed(lifetime),
            nonce_count: 0,
        }
    }

    /// Number of the session with this token, if it is known and not too old.
    pub(super) fn find(&self, token: &TokenHash, now: Timestamp) -> Option<u64> {
        let number = token.prefix();
        let entry = self.entries.get(&number)?;
        let is_known = entry.token == *token;
        let is_alive = entry.is_connected || self.end_of(entry.used) > now;
        (is_known && is_alive).then_some(number)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    /// Adds a session of a connected user; none if another has the same number, which does not
    /// happen by chance.
    pub(super) fn add(
        &mut self,
        token: TokenHash,
        user: UserId,
        (name, has_chosen): (Username, bool),
        now: Timestamp,
    ) -> Option<u64> {
        let number = token.prefix();
        if self.entries.contains_key(&number) {
            return None;
        }
        let entry = Entry {
            token,
            name,
            has_chosen,
            user: Some(user),
            is_connected: true,
            used: now,
            nonces: Nonces::default(),
        };
        self.entries.insert(number, entry);
        Some(number)
    }

    /// Takes a session back in that was kept; nobody is connected under it.
    pub(super) fn restore(&mut self, session: SessionRecord, user: Option<UserId>) {
        let number = session.token.prefix();
        let entry = Entry {
            token: session.token,
            name: session.name,
            has_chosen: session.has_chosen,
            user,
            is_connected: false,
            used: session.used,
            nonces: Nonces::default(),
        };
        self.idle.insert((session.used, number));
        self.entries.insert(number, entry);
    }

    /// Takes a nonce back in that was kept.
    pub(super) fn restore_nonce(&mut self, nonce: &NonceRecord) {
        let number = nonce.token.prefix();
        self.remember(number, nonce.nonce, nonce.id, nonce.time, &mut None);
    }

    /// Somebody is connected under this session, as this user.
    pub(super) fn connect(&mut self, number: u64, user: UserId, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&number) {
            self.idle.remove(&(entry.used, number));
            entry.user = Some(user);
            entry.is_connected = true;
            entry.used = now;
        }
    }

    /// Nobody is connected under this session any more.
    pub(super) fn disconnect(&mut self, number: u64, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&number) {
            self.idle.remove(&(entry.used, number));
            entry.is_connected = false;
            entry.used = now;
            self.idle.insert((now, number));
        }
    }

    /// The session that is to be forgotten next, if there are more than there may be: the least
    /// recently used one.
    pub(super) fn least_recent_over_capacity(&self) -> Option<u64> {
        let (_, number) = self.idle.first()?;
        (self.entries.len() > self.most).then_some(*number)
    }

    /// The session that is too old, if there is one.
    pub(super) fn expired(&self, now: Timestamp) -> Option<u64> {
        let (used, number) = self.idle.first()?;
        (self.end_of(*used) <= now).then_some(*number)
    }

    /// When the next one will be too old.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.idle.first().map(|(used, _)| self.end_of(*used))
    }

    fn end_of(&self, used: Timestamp) -> Timestamp {
        used.saturating_add(self.lifetime).unwrap_or(Timestamp::MAX)
    }

    /// Forgets a session; gives what it was.
    pub(super) fn forget(&mut self, number: u64) -> Option<SessionRecord> {
        let entry = self.entries.remove(&number)?;
        self.idle.remove(&(entry.used, number));
        self.nonce_count -= entry.nonces.order.len();
        Some(entry.record())
    }

    /// What was said under this nonce: the number of its event, if it has one.
    pub(super) fn said(&self, number: u64, nonce: u64) -> Option<Option<u64>> {
        self.entries.get(&number)?.nonces.ids.get(&nonce).copied()
    }

    /// Remembers what was said under a nonce; what is to be kept of that goes to the records.
    pub(super) fn remember(
        &mut self,
        number: u64,
        nonce: u64,
        id: Option<u64>,
        now: Timestamp,
        records: &mut Option<Vec<Record>>,
    ) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let nonces = &mut entry.nonces;
        if nonces.ids.contains_key(&nonce) {
            return;
        }
        nonces.ids.insert(nonce, id);
        let mut record = |record| {
            if let Some(records) = records {
                records.push(record);
            }
        };
        record(Record::Nonce(NonceRecord {
            token: entry.token,
            nonce,
            id,
            time: now,
        }));
        nonces.order.push_back((nonce, now));
        self.nonce_count += 1;
        let old = now
            .saturating_sub(signed(NONCE_LIFETIME))
            .unwrap_or(Timestamp::MIN);
        while let Some((oldest, time)) = nonces.order.front().copied() {
            let count = nonces.order.len();
            let may_go = time < old || self.nonce_count > MAX_NONCES;
            if count <= MIN_NONCES_PER_TOKEN || (!may_go && count <= MAX_NONCES_PER_TOKEN) {
                break;
            }
            nonces.order.pop_front();
            nonces.ids.remove(&oldest);
            self.nonce_count -= 1;
            record(Record::NonceForgotten(entry.token, oldest));
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

    fn name() -> (Username, bool) {
        (Username::from_address(([127, 0, 0, 1], 1).into()), false)
    }

    fn token(number: u8) -> TokenHash {
        Token::new([number; 16]).hash()
    }

    #[test]
    fn a_session_ends_its_lifetime_after_its_last_use_and_never_while_it_is_used() {
        let mut sessions = Sessions::new(10, HOUR);
        let number = sessions.add(token(1), UserId(1), name(), at(0)).unwrap();
        assert_eq!(sessions.find(&token(1), at(99_999)), Some(number));
        sessions.disconnect(number, at(100));
        assert_eq!(sessions.find(&token(1), at(3699)), Some(number));
        assert_eq!(sessions.expired(at(3699)), None);
        assert_eq!(sessions.find(&token(1), at(3700)), None);
        assert_eq!(sessions.expired(at(3700)), Some(number));
        assert_eq!(sessions.next_end(), Some(at(3700)));
        assert!(sessions.forget(number).is_some());
        assert_eq!(sessions.next_end(), None);
        assert_eq!(sessions.find(&token(2), at(0)), None);
    }

    #[test]
    fn the_least_recently_used_is_the_one_too_many() {
        let mut sessions = Sessions::new(2, HOUR);
        let numbers = [1, 2, 3].map(|number| {
            let user = UserId(u64::from(number));
            sessions.add(token(number), user, name(), at(0)).unwrap()
        });
        assert_eq!(
            sessions.least_recent_over_capacity(),
            None,
            "all are in use"
        );
        sessions.disconnect(numbers[1], at(10));
        sessions.disconnect(numbers[0], at(20));
        assert_eq!(sessions.least_recent_over_capacity(), Some(numbers[1]));
        sessions.connect(numbers[1], UserId(2), at(30));
        assert_eq!(sessions.least_recent_over_capacity(), Some(numbers[0]));
        sessions.forget(numbers[0]);
        assert_eq!(sessions.least_recent_over_capacity(), None);
    }

    #[test]
    fn a_nonce_is_forgotten_when_it_is_old_and_beyond_the_last_thousand() {
        let mut sessions = Sessions::new(10, HOUR);
        let number = sessions.add(token(1), UserId(1), name(), at(0)).unwrap();
        for nonce in 0..1000 {
            sessions.remember(number, nonce, Some(nonce), at(0), &mut None);
        }
        sessions.remember(number, 1000, None, at(3600), &mut None);
        assert_eq!(sessions.said(number, 0), Some(Some(0)), "not yet old");
        sessions.remember(number, 1001, None, at(3601), &mut None);
        assert_eq!(sessions.said(number, 0), None);
        assert_eq!(sessions.said(number, 1), None);
        assert_eq!(
            sessions.said(number, 2),
            Some(Some(2)),
            "among the last thousand"
        );
        assert_eq!(sessions.said(number, 1001), Some(None));
    }

    #[test]
    fn a_token_has_ten_thousand_nonces_at_most() {
        let mut sessions = Sessions::new(10, HOUR);
        let number = sessions.add(token(1), UserId(1), name(), at(0)).unwrap();
        for nonce in 0..=10_000 {
            sessions.remember(number, nonce, Some(nonce), at(0), &mut None);
        }
        assert_eq!(sessions.said(number, 0), None);
        assert_eq!(sessions.said(number, 1), Some(Some(1)));
        sessions.remember(number, 1, Some(7), at(0), &mut None);
        assert_eq!(
            sessions.said(number, 1),
            Some(Some(1)),
            "the first one counts"
        );
        sessions.forget(number);
        assert_eq!(sessions.nonce_count, 0);
    }
}
