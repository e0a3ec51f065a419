//! Summary of joins and leaves above the announce limit, in the basic dialect only.

use crate::chat::event::EventKind;
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
    /// Counts a join or a leave.
    pub(super) fn count(&mut self, kind: &EventKind, now: Duration) {
        match kind {
            EventKind::Joined { .. } => self.entered += 1,
            _ => self.left += 1,
        }
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
    let part = |count: usize, verb: &str| match count {
        0 => None,
        1 => Some(format!("1 user has {verb} the chat")),
        _ => Some(format!("{count} users have {verb} the chat")),
    };
    match (part(entered, "entered"), left) {
        (None, left) => part(left, "left"),
        (Some(entered), 0) => Some(entered),
        (Some(entered), 1) => Some(format!("{entered}, 1 has left")),
        (Some(entered), left) => Some(format!("{entered}, {left} have left")),
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
}
