//! Rates at which browsers may join and send requests.

use crate::chat::room::UserId;
use crate::server::limits::Limits;
use crate::server::rate_limit::{KeyedRateLimiter, Quota, RateLimiter};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct BrowserLimits {
    joins_by_address: Option<KeyedRateLimiter>,
    requests_by_user: HashMap<UserId, RateLimiter>,
    request_quota: Quota,
}

impl BrowserLimits {
    pub(super) fn new(limits: &Limits) -> Self {
        BrowserLimits {
            joins_by_address: limits.connects_per_minute.map(KeyedRateLimiter::new),
            requests_by_user: HashMap::new(),
            request_quota: Quota::new(limits.rate_per_second, limits.burst_lines),
        }
    }

    /// Counts a join from an address. The error is the time that the address has to wait.
    pub(super) fn count_join(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let joins = self.joins_by_address.as_mut();
        joins.map_or(Ok(()), |joins| joins.check(address, now))
    }

    /// Counts a request of a user. The error is the time that the user has to wait.
    pub(super) fn count_request(&mut self, user: UserId, now: Duration) -> Result<(), Duration> {
        let limiter = self.requests_by_user.entry(user).or_default();
        let wait = limiter.wait(self.request_quota, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        limiter.spend(self.request_quota, now, 1);
        Ok(())
    }

    pub(super) fn remove(&mut self, user: UserId) {
        self.requests_by_user.remove(&user);
    }

    /// Forgets absent users if there are more entries than users.
    pub(super) fn forget_absent(&mut self, users: usize, is_present: impl Fn(UserId) -> bool) {
        if self.requests_by_user.len() > users {
            self.requests_by_user.retain(|user, _| is_present(*user));
        }
    }
}
