//! Summary of joins and leaves above the announce limit, in the basic dialect only.

use crate::server::limits::SUMMARY_INTERVAL;
use std::time::Duration;

/// Joins and leaves since the last summary.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    entered: usize,
    left: usize,
    due: Option<Duration>,
}

impl Summary {
    pub(super) fn count_entered(&mut self, now: Duration) {
        self.entered += 1;
        self.due.get_or_insert(now + SUMMARY_INTERVAL);
    }

    pub(super) fn count_left(&mut self, now: Duration) {
        self.left += 1;
        self.due.get_or_insert(now + SUMMARY_INTERVAL);
    }

    /// Returns the uptime of the next summary; `None` without joins and leaves.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Takes the counts of joins and leaves.
    pub(super) fn take(&mut self) -> (usize, usize) {
        let counts = (self.entered, self.left);
        *self = Summary::default();
        counts
    }
}

/// Returns the sentence of a summary; `None` if both counts are zero.
pub(super) fn sentence(entered: usize, left: usize) -> Option<String> {
    let entered = part(entered, "entered");
    let left = match (left, entered.is_some()) {
        (0, _) => None,
        (1, true) => Some("1 has left".to_owned()),
        (left, true) => Some(format!("{left} have left")),
        (left, false) => part(left, "left"),
    };
    match (entered, left) {
        (Some(entered), Some(left)) => Some(format!("{entered}, {left}")),
        (one, other) => one.or(other),
    }
}

fn part(count: usize, verb: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 user has {verb} the chat")),
        _ => Some(format!("{count} users have {verb} the chat")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_sentence_counts_joins_and_leaves() {
        let cases = [
            (0, 0, None),
            (37, 12, Some("37 users have entered the chat, 12 have left")),
            (1, 0, Some("1 user has entered the chat")),
            (0, 12, Some("12 users have left the chat")),
            (0, 1, Some("1 user has left the chat")),
            (1, 1, Some("1 user has entered the chat, 1 has left")),
        ];
        for (entered, left, expected) in cases {
            assert_eq!(
                sentence(entered, left).as_deref(),
                expected,
                "{entered}, {left}"
            );
        }
    }

    #[test]
    fn summary_is_due_an_interval_after_the_first_event() {
        let mut summary = Summary::default();
        assert_eq!(summary.due(), None);
        let start = Duration::from_secs(5);
        summary.count_entered(start);
        summary.count_left(start + Duration::from_millis(900));
        assert_eq!(summary.due(), Some(start + SUMMARY_INTERVAL));
        assert_eq!(summary.take(), (1, 1));
        assert_eq!(summary.due(), None);
    }
}
