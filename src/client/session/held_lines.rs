//! Lines of the server that are shown later.

use crate::client::limits::{MAX_RECOVERED, MAX_RECOVERED_BYTES};
use crate::protocol::server_line::ServerLine;

#[derive(Debug, Default)]
pub(super) struct HeldLines {
    lines: Vec<(ServerLine, Vec<u8>)>,
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

    pub(super) fn messages(&self) -> usize {
        let lines = self.lines.iter();
        lines
            .filter(|(line, _)| matches!(line, ServerLine::Message(_)))
            .count()
    }

    pub(super) fn take(&mut self) -> Vec<(ServerLine, Vec<u8>)> {
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }
}
