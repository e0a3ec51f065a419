//! Slow consumers: the inbox of the backlog task of such a client, and when the server evicts it.

use crate::protocol::Dialect;
use crate::server::close_reason::CloseReason;
use crate::server::fanout::broadcast_log::{BroadcastLogs, PerDialect};
use crate::server::fanout::outbox::{Eviction, LogPosition, Outbox, QueuedReply};
use crate::server::limits::Limits;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the broker and the backlog task of a slow consumer share.
#[derive(Debug)]
pub(crate) struct BacklogInbox {
    pending: Mutex<BacklogOrders>,
    /// How far the backlog task has written, and how many bytes.
    progress: Mutex<(LogPosition, u64)>,
}

/// What the broker wants the backlog task to do next.
#[derive(Debug, Default)]
pub(crate) struct BacklogOrders {
    pub(crate) replies: Vec<QueuedReply>,
    /// Whether the client waits for its replies before it sends on.
    pub(crate) answer_due: bool,
    pub(crate) end: Option<LogPosition>,
    pub(crate) eviction: Option<Eviction>,
}

impl BacklogInbox {
    fn new(outbox: &Outbox) -> Self {
        BacklogInbox {
            pending: Mutex::default(),
            progress: Mutex::new((outbox.position(), outbox.written())),
        }
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, BacklogOrders> {
        // Orders are only added and taken, so a panic elsewhere does no harm.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the orders of the broker into the outbox.
    pub(crate) fn collect(&self, logs: &BroadcastLogs, outbox: &mut Outbox) {
        let orders = std::mem::take(&mut *self.pending());
        for reply in orders.replies {
            outbox.add(reply);
        }
        if orders.answer_due {
            outbox.expect_answer();
        }
        if let Some(end) = orders.end {
            outbox.end_at(end);
        }
        if let Some(eviction) = &orders.eviction {
            outbox.evict(logs, eviction);
        }
    }

    pub(crate) fn report(&self, outbox: &Outbox) {
        *self.progress() = (outbox.position(), outbox.written());
    }

    /// Returns the position up to which everything is written.
    pub(crate) fn position(&self) -> LogPosition {
        self.progress().0
    }

    fn progress(&self) -> MutexGuard<'_, (LogPosition, u64)> {
        // Each change is one assignment, so a panic elsewhere does no harm.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a slow consumer that the lag policy needs.
#[derive(Debug)]
pub(crate) struct SlowConsumer {
    pub(crate) inbox: Arc<BacklogInbox>,
    written: u64,
    last_progress: Duration,
    over_half_since: Option<Duration>,
    pub(crate) has_end: bool,
    /// Offset of the basic log at which the client switches to the extended dialect.
    pub(crate) switches_at: Option<u64>,
    /// Events before this offset do not count as lag.
    pub(crate) lag_baseline: u64,
    /// Bytes of private messages since the client is behind.
    pub(crate) private_bytes: u64,
}

impl SlowConsumer {
    pub(crate) fn new(outbox: &Outbox, now: Duration) -> Self {
        let switch = outbox.next_switch();
        let baseline = switch.map(|(_, start)| start.lag_baseline);
        SlowConsumer {
            inbox: Arc::new(BacklogInbox::new(outbox)),
            written: outbox.written(),
            last_progress: now,
            over_half_since: None,
            has_end: outbox.has_end(),
            switches_at: switch.map(|(at, _)| at),
            lag_baseline: baseline.unwrap_or(outbox.lag_baseline()),
            private_bytes: 0,
        }
    }

    /// Returns how many bytes the client is behind.
    pub(crate) fn lag(&self, ends: PerDialect<u64>) -> u64 {
        let position = self.inbox.position();
        let live = match position.dialect {
            Dialect::Browser => ends.browser.saturating_sub(self.lag_baseline),
            Dialect::Basic | Dialect::Extended => ends.extended.saturating_sub(self.lag_baseline),
        };
        let behind = match (position.dialect, self.switches_at) {
            (Dialect::Basic, None) => ends.basic.saturating_sub(position.offset),
            (Dialect::Basic, Some(at)) => at.saturating_sub(position.offset) + live,
            (dialect, _) => live.min(ends[dialect].saturating_sub(position.offset)),
        };
        behind + self.private_bytes
    }

    /// Returns why the server evicts the client, if it does.
    pub(crate) fn eviction_reason(
        &mut self,
        limits: &Limits,
        ends: PerDialect<u64>,
        now: Duration,
    ) -> Option<CloseReason> {
        let (_, written) = *self.inbox.progress();
        if written != self.written {
            self.written = written;
            self.last_progress = now;
        }
        if now.saturating_sub(self.last_progress) >= limits.write_stall_timeout {
            return Some(CloseReason::WriteTimeout);
        }
        if self.has_end {
            return None;
        }
        let lag = self.lag(ends);
        let max_lag = limits.max_lag_bytes as u64;
        if lag > max_lag {
            return Some(CloseReason::Lag);
        }
        if lag <= max_lag / 2 {
            self.over_half_since = None;
            return None;
        }
        let since = *self.over_half_since.get_or_insert(now);
        (now.saturating_sub(since) >= limits.soft_lag_timeout).then_some(CloseReason::LagTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(dialect: Dialect, offset: u64) -> LogPosition {
        LogPosition { dialect, offset }
    }

    fn consumer(offset: u64) -> SlowConsumer {
        SlowConsumer::new(&Outbox::new(at(Dialect::Basic, offset)), Duration::ZERO)
    }

    #[test]
    fn consumer_is_evicted_by_its_lag_and_its_time_without_progress() {
        let limits = Limits {
            max_lag_bytes: 1000,
            ..Limits::default()
        };
        let (lag, lag_time) = (Some(CloseReason::Lag), Some(CloseReason::LagTime));
        let timeout = Some(CloseReason::WriteTimeout);
        // For each check: the second, the end of the log, the bytes written, and the outcome.
        let over_the_limit = [(1, 1000, 0, None), (1, 1001, 0, lag)];
        let over_half = [
            (1, 501, 0, None),
            (10, 501, 0, None),
            (11, 501, 0, lag_time),
            // Exactly half restarts the time.
            (11, 500, 0, None),
            (12, 501, 0, None),
            (21, 501, 0, None),
            (22, 501, 0, lag_time),
        ];
        let stalled = [
            (29, 1, 0, None),
            // A byte is progress.
            (30, 1, 1, None),
            (59, 1, 1, None),
            (60, 1, 1, timeout),
        ];
        let ending = [(1, 5000, 0, None), (30, 5000, 0, timeout)];
        for (has_end, checks) in [
            (false, over_the_limit.as_slice()),
            (false, &over_half),
            (false, &stalled),
            (true, &ending),
        ] {
            let mut slow = consumer(0);
            slow.has_end = has_end;
            for &(second, basic, written, expected) in checks {
                let ends = PerDialect {
                    basic,
                    ..PerDialect::default()
                };
                slow.inbox.progress().1 = written;
                let reason = slow.eviction_reason(&limits, ends, Duration::from_secs(second));
                assert_eq!(reason, expected, "second {second}");
            }
        }
    }

    #[test]
    fn missed_events_are_no_lag() {
        let mut slow = consumer(100);
        slow.switches_at = Some(150);
        slow.lag_baseline = 1000;
        let ends = |extended| PerDialect {
            basic: 5000,
            extended,
            browser: 0,
        };
        // 50 bytes of the basic log remain before the switch.
        assert_eq!(slow.lag(ends(1007)), 57);
        for (offset, end, lag) in [(10, 1000, 0), (10, 1007, 7), (1003, 1007, 4)] {
            slow.inbox.progress().0 = at(Dialect::Extended, offset);
            assert_eq!(slow.lag(ends(end)), lag, "at {offset} of {end}");
        }
        slow.private_bytes = 30;
        assert_eq!(slow.lag(ends(1007)), 34);
    }
}
