//! Pacing: how many lines a connection may send now, and when the next one may follow.
//!
//! What lives here: a rate with a burst, as the generic cell rate algorithm: one point in time
//! per connection instead of a counter and a refill. The connection asks it before it reads.
//! It must never refuse or drop anything and never look at a clock: time is an argument.

use crate::chat::address::limit_key;
use crate::server::limits::MAX_RATE_LIMITED_ADDRESSES;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// A rate with a burst; shared by all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    nanos_per_line: u64,
    burst_lines: u64,
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Quota {
    /// So many lines a second on average and so many at once after a pause. Zeros count as one.
    pub fn new(lines_per_second: u32, burst_lines: u32) -> Self {
        Quota {
            // Rounded up: what is promised to others is never exceeded.
            nanos_per_line: NANOS_PER_SECOND.div_ceil(u64::from(lines_per_second.max(1))),
            burst_lines: u64::from(burst_lines.max(1)),
        }
    }

    /// So many a minute on average, and as many at once after a minute of silence. Zero counts
    /// as one.
    pub fn per_minute(count: u32) -> Self {
        let count = u64::from(count.max(1));
        Quota {
            nanos_per_line: (60 * NANOS_PER_SECOND).div_ceil(count),
            burst_lines: count,
        }
    }
}

/// How far ahead of its rate one connection is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimiter {
    /// When the lines so far would have been sent at exactly the rate, in nanoseconds of the
    /// server's own time.
    due_nanos: u64,
}

impl RateLimiter {
    /// Lines that may be sent now.
    pub fn allowance(&self, rate: Quota, now: Duration) -> u64 {
        let ahead = self.due_nanos.saturating_sub(nanos(now));
        let used = ahead.div_ceil(rate.nanos_per_line);
        rate.burst_lines.saturating_sub(used)
    }

    /// Counts lines that were sent.
    pub fn spend(&mut self, rate: Quota, now: Duration, lines: u64) {
        self.due_nanos = self.due_nanos.max(nanos(now)) + lines * rate.nanos_per_line;
    }

    /// Whether there is anything to remember: otherwise it is as one that never sent.
    pub fn is_ahead(&self, now: Duration) -> bool {
        self.due_nanos > nanos(now)
    }

    /// How long to wait until a line may be sent; zero if one may be sent now.
    pub fn wait(&self, rate: Quota, now: Duration) -> Duration {
        let free_at = self
            .due_nanos
            .saturating_sub((rate.burst_lines - 1) * rate.nanos_per_line);
        Duration::from_nanos(free_at.saturating_sub(nanos(now)))
    }
}

/// Nanoseconds of the server's own time; good for 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// A pace for each address.
#[derive(Debug)]
pub struct KeyedRateLimiter {
    rate: Quota,
    paced: HashMap<IpAddr, RateLimiter>,
    /// Of all those for whom there is no room in the table.
    others: RateLimiter,
}

impl KeyedRateLimiter {
    /// So many new connections a minute from one address, and as many at once after a minute
    /// of silence.
    pub fn new(connects_per_minute: u32) -> Self {
        KeyedRateLimiter {
            rate: Quota::per_minute(connects_per_minute),
            paced: HashMap::new(),
            others: RateLimiter::default(),
        }
    }

    /// Counts a new connection.
    ///
    /// # Errors
    /// It is one too many; how long its address has to wait for the next.
    pub fn check(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let rate = self.rate;
        let pacer = self.pacer(limit_key(address), now);
        let wait = pacer.wait(rate, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        pacer.spend(rate, now, 1);
        Ok(())
    }

    fn pacer(&mut self, address: IpAddr, now: Duration) -> &mut RateLimiter {
        let is_new = !self.paced.contains_key(&address);
        if is_new && self.paced.len() >= MAX_RATE_LIMITED_ADDRESSES {
            // Who has been silent long enough is as good as new.
            self.paced.retain(|_, pacer| pacer.is_ahead(now));
        }
        if is_new && self.paced.len() >= MAX_RATE_LIMITED_ADDRESSES {
            // More addresses than that at once are no crowd of strangers, they are one attack.
            return &mut self.others;
        }
        self.paced.entry(address).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as much as is allowed at every step and counts what was sent.
    fn sent(rate: Quota, step: Duration, steps: u32) -> u64 {
        let mut pacer = RateLimiter::default();
        let mut total = 0;
        for index in 0..=steps {
            let now = step * index;
            let lines = pacer.allowance(rate, now);
            pacer.spend(rate, now, lines);
            total += lines;
        }
        total
    }

    #[test]
    fn a_burst_then_the_rate_in_any_pattern() {
        let rate = Quota::new(100, 200);
        for (step, steps) in [(1, 10_000), (7, 1428), (100, 100), (1000, 10)] {
            let total = sent(rate, Duration::from_millis(step), steps);
            assert!(
                (1199..=1200).contains(&total),
                "{total} lines in 10 s in steps of {step} ms"
            );
        }
    }

    #[test]
    fn a_pause_gives_the_burst_back_and_not_more() {
        let rate = Quota::new(10, 20);
        let mut pacer = RateLimiter::default();
        pacer.spend(rate, Duration::ZERO, 20);
        assert_eq!(pacer.allowance(rate, Duration::ZERO), 0);
        assert_eq!(pacer.allowance(rate, Duration::from_secs(1)), 10);
        assert_eq!(pacer.allowance(rate, Duration::from_secs(3600)), 20);
    }

    #[test]
    fn the_wait_ends_when_a_line_may_be_sent() {
        let rate = Quota::new(3, 2);
        let mut pacer = RateLimiter::default();
        assert_eq!(pacer.wait(rate, Duration::ZERO), Duration::ZERO);
        pacer.spend(rate, Duration::ZERO, 2);
        let wait = pacer.wait(rate, Duration::ZERO);
        assert!(wait > Duration::from_millis(333), "{wait:?}");
        assert_eq!(pacer.allowance(rate, wait - Duration::from_nanos(1)), 0);
        assert_eq!(pacer.allowance(rate, wait), 1);
    }

    #[test]
    fn the_largest_rate_is_a_real_rate() {
        let rate = Quota::new(10_000_000, 1);
        assert_eq!(sent(rate, Duration::from_nanos(100), 1000), 1001);
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_of_sending_gets_more_than_was_promised(
            lines_per_second in 1_u32..10_000,
            burst in 1_u32..1000,
            tries in proptest::collection::vec((0_u64..3_000_000_000, 0_u64..2000), 1..60),
        ) {
            let rate = Quota::new(lines_per_second, burst);
            let mut pacer = RateLimiter::default();
            let mut now = Duration::ZERO;
            // When how many lines were sent in all.
            let mut sent = vec![(Duration::ZERO, 0_u64)];
            for (gap, wanted) in tries {
                now += Duration::from_nanos(gap);
                let lines = pacer.allowance(rate, now).min(wanted);
                proptest::prop_assert!(lines > 0 || wanted == 0 || !pacer.wait(rate, now).is_zero());
                pacer.spend(rate, now, lines);
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
        fn whoever_waits_as_long_as_told_may_send(
            lines_per_second in 1_u32..10_000,
            burst in 1_u32..1000,
            spent in 1_u64..5000,
        ) {
            let rate = Quota::new(lines_per_second, burst);
            let mut pacer = RateLimiter::default();
            pacer.spend(rate, Duration::ZERO, spent);
            let wait = pacer.wait(rate, Duration::ZERO);
            proptest::prop_assert!(pacer.allowance(rate, wait) >= 1);
            if let Some(sooner) = wait.checked_sub(Duration::from_nanos(1)) {
                proptest::prop_assert_eq!(pacer.allowance(rate, sooner), 0);
            }
        }
    }

    // Keyed by address

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_and_then_one_at_its_time() {
        let mut rate = KeyedRateLimiter::new(6);
        for _ in 0..6 {
            assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Ok(()));
        }
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Err(SECOND * 10));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 4), Err(SECOND * 7));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 11), Ok(()));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 11), Err(SECOND * 10));
        assert_eq!(
            rate.check(ip("192.0.2.2"), SECOND),
            Ok(()),
            "others are others"
        );
    }

    #[test]
    fn one_who_is_turned_away_does_not_wait_longer_for_having_tried() {
        let mut rate = KeyedRateLimiter::new(1);
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Ok(()));
        for _ in 0..100 {
            assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 2), Err(SECOND * 59));
        }
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 61), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_and_a_mapped_address_count_once() {
        let mut rate = KeyedRateLimiter::new(1);
        assert_eq!(rate.check(ip("2001:db8::1"), SECOND), Ok(()));
        assert!(rate.check(ip("2001:db8::ffff:2"), SECOND).is_err());
        assert_eq!(rate.check(ip("2001:db8:0:1::1"), SECOND), Ok(()));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Ok(()));
        assert!(rate.check(ip("::ffff:192.0.2.1"), SECOND).is_err());
    }

    #[test]
    fn addresses_without_end_take_no_memory_without_end() {
        let mut rate = KeyedRateLimiter::new(1);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..MAX_RATE_LIMITED_ADDRESSES as u32 {
            assert_eq!(rate.check(address(number), SECOND), Ok(()));
        }
        let beyond = MAX_RATE_LIMITED_ADDRESSES as u32;
        assert_eq!(rate.check(address(beyond), SECOND), Ok(()));
        assert!(
            rate.check(address(beyond + 1), SECOND).is_err(),
            "they share one"
        );
        assert_eq!(rate.paced.len(), MAX_RATE_LIMITED_ADDRESSES);
        assert_eq!(rate.check(address(beyond + 2), SECOND * 62), Ok(()));
        assert_eq!(rate.paced.len(), 1, "the silent are forgotten");
    }
}
