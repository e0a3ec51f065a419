//! Rate limits by the generic cell rate algorithm: one timestamp instead of a counter and a refill.
//!
//! Time is an argument: the server's clock, which starts at zero.

use crate::chat::address::limit_key;
use crate::server::limits::MAX_RATE_LIMITED_ADDRESSES;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    nanos_per_line: u64,
    burst_lines: u64,
}

impl Quota {
    /// Creates a quota of lines a second, with a burst after a pause. Zeros count as one.
    pub(crate) fn new(lines_per_second: u32, burst_lines: u32) -> Self {
        Quota {
            // Rounded up, so that a client never exceeds the rate.
            nanos_per_line: NANOS_PER_SECOND.div_ceil(u64::from(lines_per_second.max(1))),
            burst_lines: u64::from(burst_lines.max(1)),
        }
    }

    /// Creates a quota of `count` a minute, with a burst of as many. Zero counts as one.
    pub(crate) fn per_minute(count: u32) -> Self {
        let count = u64::from(count.max(1));
        Quota {
            nanos_per_line: (60 * NANOS_PER_SECOND).div_ceil(count),
            burst_lines: count,
        }
    }
}

/// How much of its quota one client has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateLimiter {
    /// When the lines so far would all be sent at exactly the rate.
    due_nanos: u64,
}

impl RateLimiter {
    /// Returns how many lines the client may send now.
    pub(crate) fn allowance(&self, quota: Quota, now: Duration) -> u64 {
        let ahead = self.due_nanos.saturating_sub(nanos(now));
        let used = ahead.div_ceil(quota.nanos_per_line);
        quota.burst_lines.saturating_sub(used)
    }

    pub(crate) fn spend(&mut self, quota: Quota, now: Duration, lines: u64) {
        self.due_nanos = self.due_nanos.max(nanos(now)) + lines * quota.nanos_per_line;
    }

    pub(crate) fn wait(&self, quota: Quota, now: Duration) -> Duration {
        let burst_nanos = (quota.burst_lines - 1) * quota.nanos_per_line;
        let free_at = self.due_nanos.saturating_sub(burst_nanos);
        Duration::from_nanos(free_at.saturating_sub(nanos(now)))
    }
}

/// Enough for 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[derive(Debug)]
pub(crate) struct KeyedRateLimiter {
    quota: Quota,
    by_address: HashMap<IpAddr, RateLimiter>,
    /// The addresses by `due_nanos` of their limiters.
    by_due: BTreeSet<(u64, IpAddr)>,
}

impl KeyedRateLimiter {
    pub(crate) fn new(connects_per_minute: u32) -> Self {
        KeyedRateLimiter {
            quota: Quota::per_minute(connects_per_minute),
            by_address: HashMap::new(),
            by_due: BTreeSet::new(),
        }
    }

    /// Counts a new connection.
    ///
    /// # Errors
    /// The address exceeds its rate; the error is the time until its next connection.
    pub(crate) fn check(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let address = limit_key(address);
        let known = self.by_address.get(&address).copied();
        let mut limiter = known.unwrap_or_default();
        let wait = limiter.wait(self.quota, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        if known.is_none() {
            self.make_room(now);
        }
        self.by_due.remove(&(limiter.due_nanos, address));
        limiter.spend(self.quota, now, 1);
        self.by_address.insert(address, limiter);
        self.by_due.insert((limiter.due_nanos, address));
        Ok(())
    }

    /// Forgets the addresses without a recent connection, and in a full table the address that used
    /// least of its rate. So strangers who fill the table hold up no newcomer, and an address far
    /// ahead of its rate stays known.
    fn make_room(&mut self, now: Duration) {
        while let Some((due, address)) = self.by_due.first().copied()
            && (due <= nanos(now) || self.by_due.len() >= MAX_RATE_LIMITED_ADDRESSES)
        {
            self.by_due.remove(&(due, address));
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate_for_any_step() {
        let per_second = Quota::new(100, 200);
        for (quota, step_nanos, steps, least, most) in [
            (per_second, 1_000_000, 10_000, 1199, 1200),
            (per_second, 7_000_000, 1428, 1199, 1200),
            (per_second, 1_000_000_000, 10, 1199, 1200),
            (Quota::new(10_000_000, 1), 100, 1000, 1001, 1001),
            // A pause restores at most the burst.
            (Quota::new(10, 20), 3_600_000_000_000, 1, 40, 40),
        ] {
            let mut limiter = RateLimiter::default();
            let mut total = 0;
            for index in 0..=steps {
                let now = Duration::from_nanos(step_nanos * index);
                let lines = limiter.allowance(quota, now);
                limiter.spend(quota, now, lines);
                total += lines;
            }
            assert!((least..=most).contains(&total), "{quota:?}: {total}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_exceeds_the_quota(
            lines_per_second in 1_u32..10_000,
            burst in 1_u32..1000,
            tries in proptest::collection::vec((0_u64..3_000_000_000, 0_u64..2000), 1..60),
        ) {
            let quota = Quota::new(lines_per_second, burst);
            let mut limiter = RateLimiter::default();
            let mut now = Duration::ZERO;
            // Times, and the lines sent up to then.
            let mut sent = vec![(Duration::ZERO, 0_u64)];
            for (gap, wanted) in tries {
                now += Duration::from_nanos(gap);
                let lines = limiter.allowance(quota, now).min(wanted);
                proptest::prop_assert!(lines > 0 || wanted == 0 || !limiter.wait(quota, now).is_zero());
                limiter.spend(quota, now, lines);
                sent.push((now, sent[sent.len() - 1].1 + lines));
            }
            for (first, &(from, _)) in sent.iter().enumerate().skip(1) {
                let before = sent[first - 1].1;
                for &(to, total) in &sent[first..] {
                    let window = (to - from).as_secs_f64();
                    let most = f64::from(burst) + window * f64::from(lines_per_second);
                    proptest::prop_assert!((total - before) as f64 <= most + 1e-6);
                }
            }
        }

        #[test]
        fn line_is_allowed_after_the_wait(
            lines_per_second in 1_u32..10_000,
            burst in 1_u32..1000,
            spent in 1_u64..5000,
        ) {
            let quota = Quota::new(lines_per_second, burst);
            let mut limiter = RateLimiter::default();
            limiter.spend(quota, Duration::ZERO, spent);
            let wait = limiter.wait(quota, Duration::ZERO);
            proptest::prop_assert!(limiter.allowance(quota, wait) >= 1);
            if let Some(sooner) = wait.checked_sub(Duration::from_nanos(1)) {
                proptest::prop_assert_eq!(limiter.allowance(quota, sooner), 0);
            }
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn address_gets_its_burst_and_then_its_rate() {
        let mut limiter = KeyedRateLimiter::new(2);
        for (second, address, expected) in [
            (1, "192.0.2.1", Ok(())),
            (1, "192.0.2.1", Ok(())),
            (1, "192.0.2.1", Err(SECOND * 30)),
            (1, "192.0.2.2", Ok(())),
            // A rejected attempt does not extend the wait.
            (11, "192.0.2.1", Err(SECOND * 20)),
            (31, "192.0.2.1", Ok(())),
            (31, "::ffff:192.0.2.1", Err(SECOND * 30)),
            // An IPv6 network is one address.
            (31, "2001:db8::1", Ok(())),
            (31, "2001:db8::2", Ok(())),
            (31, "2001:db8::ffff:3", Err(SECOND * 30)),
            (31, "2001:db8:0:1::1", Ok(())),
        ] {
            let outcome = limiter.check(address.parse().unwrap(), SECOND * second);
            assert_eq!(outcome, expected, "{address} at {second} s");
        }
    }

    #[test]
    fn table_of_addresses_is_bounded() {
        let mut limiter = KeyedRateLimiter::new(2);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let busy = address(0);
        assert_eq!(limiter.check(busy, SECOND), Ok(()));
        assert_eq!(limiter.check(busy, SECOND), Ok(()));
        // Strangers who fill the table twice hold up none of the addresses after them.
        for number in 1..2 * MAX_RATE_LIMITED_ADDRESSES as u32 {
            assert_eq!(limiter.check(address(number), SECOND), Ok(()));
            assert!(limiter.by_address.len() <= MAX_RATE_LIMITED_ADDRESSES);
        }
        assert!(limiter.check(busy, SECOND).is_err(), "it is remembered");
        assert_eq!(limiter.check(address(1), SECOND * 62), Ok(()));
        assert_eq!(limiter.by_address.len(), 1, "idle addresses are removed");
        assert_eq!(limiter.by_due.len(), 1);
    }
}
