//! The users of the page as the broker knows them beside the room.
//!
//! What lives here: [`BrowserStreams`], which streams belong to whom, and how fast each asks. The broker
//! owns it. It must never know a name or a message, and never hold a user for whom the room has
//! none: [`BrowserStreams::retain`] is how it learns that one is gone.

use crate::chat::room::UserId;
use crate::server::fanout::ClientKey;
use crate::server::limits::Limits;
use crate::server::rate_limit::KeyedRateLimiter;
use crate::server::rate_limit::{Quota, RateLimiter};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Who listens by the page, and with how many streams.
#[derive(Debug)]
pub struct BrowserStreams {
    users: HashMap<UserId, Listening>,
    owners: HashMap<ClientKey, UserId>,
    joins: Option<KeyedRateLimiter>,
    rate: Quota,
}

/// One user of the page.
#[derive(Debug, Default)]
struct Listening {
    streams: Vec<ClientKey>,
    pacer: RateLimiter,
}

impl BrowserStreams {
    /// Nobody yet.
    pub fn new(limits: &Limits) -> Self {
        BrowserStreams {
            users: HashMap::new(),
            owners: HashMap::new(),
            joins: limits.connects_per_minute.map(KeyedRateLimiter::new),
            rate: Quota::new(limits.rate_per_second, limits.burst_lines),
        }
    }

    /// Counts somebody who wants to join from this address.
    ///
    /// # Errors
    /// It is one too many; how long its address has to wait for the next.
    pub fn count_join(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let joins = self.joins.as_mut();
        joins.map_or(Ok(()), |joins| joins.check(address, now))
    }

    /// Counts something that a user asks for.
    ///
    /// # Errors
    /// It is one too many; how long the user has to wait.
    pub fn count_request(&mut self, user: UserId, now: Duration) -> Result<(), Duration> {
        let pacer = &mut self.users.entry(user).or_default().pacer;
        let wait = pacer.wait(self.rate, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        pacer.spend(self.rate, now, 1);
        Ok(())
    }

    /// One more stream of this user.
    pub fn begin_stream(&mut self, user: UserId, key: ClientKey) {
        self.users.entry(user).or_default().streams.push(key);
        self.owners.insert(key, user);
    }

    /// A stream has ended; gives its user if it was that user's last.
    pub fn end_stream(&mut self, key: ClientKey) -> Option<UserId> {
        let user = self.owners.remove(&key)?;
        let streams = &mut self.users.get_mut(&user)?.streams;
        streams.retain(|stream| *stream != key);
        streams.is_empty().then_some(user)
    }

    /// The streams of a user.
    pub fn streams(&self, user: UserId) -> &[ClientKey] {
        self.users
            .get(&user)
            .map_or(&[], |listening| &listening.streams)
    }

    /// Forgets a user; gives its streams, which are nobody's from now on.
    pub fn remove(&mut self, user: UserId) -> Vec<ClientKey> {
        let streams = self.users.remove(&user).unwrap_or_default().streams;
        for key in &streams {
            self.owners.remove(key);
        }
        streams
    }

    /// Forgets those who are gone. Whoever has a stream is not.
    pub fn retain(&mut self, is_here: impl Fn(UserId) -> bool) {
        self.users
            .retain(|user, listening| !listening.streams.is_empty() || is_here(*user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stream_of_a_user_is_known() {
        let mut users = BrowserStreams::new(&Limits::default());
        let user = UserId::for_test(1);
        users.begin_stream(user, ClientKey(1));
        users.begin_stream(user, ClientKey(2));
        assert_eq!(users.streams(user), [ClientKey(1), ClientKey(2)]);
        assert_eq!(users.end_stream(ClientKey(1)), None);
        assert_eq!(users.end_stream(ClientKey(2)), Some(user));
        assert_eq!(users.end_stream(ClientKey(2)), None, "it is gone");
        users.begin_stream(user, ClientKey(3));
        assert_eq!(users.remove(user), [ClientKey(3)]);
        assert_eq!(users.end_stream(ClientKey(3)), None, "it is nobody's");
    }

    #[test]
    fn a_user_is_paced_and_forgotten_when_it_is_gone() {
        let limits = Limits {
            rate_per_second: 1,
            burst_lines: 2,
            connects_per_minute: Some(1),
            ..Limits::default()
        };
        let mut users = BrowserStreams::new(&limits);
        let (user, now) = (UserId::for_test(1), Duration::from_secs(10));
        assert_eq!(users.count_request(user, now), Ok(()));
        assert_eq!(users.count_request(user, now), Ok(()));
        let wait = users.count_request(user, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        users.retain(|_| true);
        assert!(users.count_request(user, now).is_err());
        users.retain(|_| false);
        assert_eq!(users.count_request(user, now), Ok(()), "as one who is new");
        let address = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(users.count_join(address, now), Ok(()));
        assert!(users.count_join(address, now).is_err());
    }
}
