//! Events missed during a disconnect, collected to count the messages among them.

use crate::client::session::held_lines::HeldLines;
use crate::client::session::update::MissedCount;
use crate::protocol::server_line::ServerLine;

#[derive(Debug)]
pub(super) struct Recovery {
    missed: u64,
    received: u64,
    held: HeldLines,
}

impl Recovery {
    pub(super) fn new(missed: u64) -> Self {
        Recovery {
            missed,
            received: 0,
            held: HeldLines::default(),
        }
    }

    /// Counts an event; `line` is none if the event is not shown.
    pub(super) fn add(&mut self, line: Option<ServerLine>, raw: &[u8]) {
        self.received += 1;
        if let Some(line) = line {
            self.held.push(line, raw);
        }
    }

    /// Returns whether all events have come, or too many to collect.
    pub(super) fn is_complete(&self) -> bool {
        self.received >= self.missed || self.held.is_full()
    }

    pub(super) fn finish(mut self) -> (MissedCount, Vec<(ServerLine, Vec<u8>)>) {
        let missed = match self.received >= self.missed {
            true => MissedCount::Messages(self.held.messages()),
            false => MissedCount::Events(self.missed),
        };
        (missed, self.held.take())
    }
}
