//! Lines of the server that are shown later, and the events missed during a disconnect.

use crate::client::limits::{MAX_RECOVERED, MAX_RECOVERED_BYTES};
use crate::client::session::update::MissedCount;
use crate::protocol::server_line::ServerLine;

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
