//! Lines of the server that are shown later, events missed during a disconnect, and private
//! messages that come twice.

use crate::client::limits::{MAX_RECOVERED, MAX_RECOVERED_BYTES};
use crate::client::session::update::MissedCount;
use crate::limits::MAX_UNCERTAIN_MESSAGES;
use crate::protocol::server_line::{PrivateLine, ServerLine};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

#[derive(Debug, Default)]
pub(super) struct HeldLines {
    pub(super) lines: Vec<(ServerLine, Vec<u8>)>,
    bytes: usize,
}

impl HeldLines {
    pub(super) fn push(&mut self, line: ServerLine, raw: &[u8]) {
        self.bytes += raw.len();
        self.lines.push((line, raw.to_owned()));
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= MAX_RECOVERED || self.bytes >= MAX_RECOVERED_BYTES
    }
}

/// Missed events, collected to count the messages among them.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) missed: u64,
    pub(super) received: u64,
    pub(super) held: HeldLines,
}

impl Recovery {
    /// Returns whether all events have come, or too many to collect.
    pub(super) fn is_complete(&self) -> bool {
        self.received >= self.missed || self.held.is_full()
    }

    pub(super) fn count(&self) -> MissedCount {
        if self.received < self.missed {
            return MissedCount::Events(self.missed);
        }
        let lines = self.held.lines.iter();
        let is_message = |(line, _): &&(ServerLine, _)| matches!(line, ServerLine::Message(_));
        MissedCount::Messages(lines.filter(is_message).count())
    }
}

/// Finds private messages that the server sends again because it does not know that they arrived.
#[derive(Debug, Default)]
pub(super) struct PrivateRepeats {
    /// Hashes of those received since the newest public event.
    recent: VecDeque<u64>,
    /// Hashes of those received over earlier connections, which may come again.
    expected: VecDeque<u64>,
}

impl PrivateRepeats {
    pub(super) fn note_event(&mut self) {
        self.recent.clear();
    }

    pub(super) fn resume(&mut self) {
        // The connection may end before all that was expected has come.
        self.expected.append(&mut self.recent);
        let excess = self.expected.len().saturating_sub(MAX_UNCERTAIN_MESSAGES);
        self.expected.drain(..excess);
    }

    /// Notes a private message; returns whether it is a repeat.
    pub(super) fn note(&mut self, line: &PrivateLine) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let hash = hasher.finish();
        self.recent.push_back(hash);
        if self.recent.len() > MAX_UNCERTAIN_MESSAGES {
            self.recent.pop_front();
        }
        let repeat = self.expected.iter().position(|expected| *expected == hash);
        repeat
            .and_then(|place| self.expected.remove(place))
            .is_some()
    }
}
