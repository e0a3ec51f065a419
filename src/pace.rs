//! Pacing: how many lines a connection may send now, and when the next one may follow.
//!
//! What lives here: a rate with a burst, as the generic cell rate algorithm: one point in time
//! per connection instead of a counter and a refill. The connection asks it before it reads.
//! It must never refuse or drop anything and never look at a clock: time is an argument.

use std::time::Duration;

/// A rate with a burst; shared by all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    nanos_per_line: u64,
    burst_lines: u64,
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Rate {
    /// So many lines a second on average and so many at once after a pause. Zeros count as one.
    pub fn new(lines_per_second: u32, burst_lines: u32) -> Self {
        Rate {
            // Rounded up: what is promised to others is never exceeded.
            nanos_per_line: NANOS_PER_SECOND.div_ceil(u64::from(lines_per_second.max(1))),
            burst_lines: u64::from(burst_lines.max(1)),
        }
    }

    /// So many a minute on average, and as many at once after a minute of silence. Zero counts
    /// as one.
    pub fn per_minute(count: u32) -> Self {
        let count = u64::from(count.max(1));
        Rate {
            nanos_per_line: (60 * NANOS_PER_SECOND).div_ceil(count),
            burst_lines: count,
        }
    }
}

/// How far ahead of its rate one connection is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    /// When the lines so far would have been sent at exactly the rate, in nanoseconds of the
    /// server's own time.
    due_nanos: u64,
}

impl Pacer {
    /// Lines that may be sent now.
    pub fn allowance(&self, rate: Rate, now: Duration) -> u64 {
        let ahead = self.due_nanos.saturating_sub(nanos(now));
        let used = ahead.div_ceil(rate.nanos_per_line);
        rate.burst_lines.saturating_sub(used)
    }

    /// Counts lines that were sent.
    pub fn spend(&mut self, rate: Rate, now: Duration, lines: u64) {
        self.due_nanos = self.due_nanos.max(nanos(now)) + lines * rate.nanos_per_line;
    }

    /// Whether there is anything to remember: otherwise it is as one that never sent.
    pub fn is_ahead(&self, now: Duration) -> bool {
        self.due_nanos > nanos(now)
    }

    /// How long to wait until a line may be sent; zero if one may be sent now.
    pub fn wait(&self, rate: Rate, now: Duration) -> Duration {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as much as is allowed at every step and counts what was sent.
    fn sent(rate: Rate, step: Duration, steps: u32) -> u64 {
        let mut pacer = Pacer::default();
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
        let rate = Rate::new(100, 200);
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
        let rate = Rate::new(10, 20);
        let mut pacer = Pacer::default();
        pacer.spend(rate, Duration::ZERO, 20);
        assert_eq!(pacer.allowance(rate, Duration::ZERO), 0);
        assert_eq!(pacer.allowance(rate, Duration::from_secs(1)), 10);
        assert_eq!(pacer.allowance(rate, Duration::from_secs(3600)), 20);
    }

    #[test]
    fn the_wait_ends_when_a_line_may_be_sent() {
        let rate = Rate::new(3, 2);
        let mut pacer = Pacer::default();
        assert_eq!(pacer.wait(rate, Duration::ZERO), Duration::ZERO);
        pacer.spend(rate, Duration::ZERO, 2);
        let wait = pacer.wait(rate, Duration::ZERO);
        assert!(wait > Duration::from_millis(333), "{wait:?}");
        assert_eq!(pacer.allowance(rate, wait - Duration::from_nanos(1)), 0);
        assert_eq!(pacer.allowance(rate, wait), 1);
    }

    #[test]
    fn the_largest_rate_is_a_real_rate() {
        let rate = Rate::new(10_000_000, 1);
        assert_eq!(sent(rate, Duration::from_nanos(100), 1000), 1001);
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_of_sending_gets_more_than_was_promised(
            lines_per_second in 1_u32..10_000,
            burst in 1_u32..1000,
            tries in proptest::collection::vec((0_u64..3_000_000_000, 0_u64..2000), 1..60),
        ) {
            let rate = Rate::new(lines_per_second, burst);
            let mut pacer = Pacer::default();
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
            let rate = Rate::new(lines_per_second, burst);
            let mut pacer = Pacer::default();
            pacer.spend(rate, Duration::ZERO, spent);
            let wait = pacer.wait(rate, Duration::ZERO);
            proptest::prop_assert!(pacer.allowance(rate, wait) >= 1);
            if let Some(sooner) = wait.checked_sub(Duration::from_nanos(1)) {
                proptest::prop_assert_eq!(pacer.allowance(rate, sooner), 0);
            }
        }
    }
}
