//! The transcript: the chat on the standard output of the server.

use crate::cli::style;
use crate::cli::style::Style;
use crate::server::logging::lossy_writer::NonBlockingWriter;
use std::time::{Duration, Instant};

/// Shortest time between two warnings about skipped lines.
const WARN_INTERVAL: Duration = Duration::from_secs(5);

/// The lines of the chat for standard output.
#[derive(Debug)]
pub struct Transcript {
    writer: NonBlockingWriter,
    style: Style,
    lines: String,
    count: u64,
    reported_skipped: u64,
    reported_at: Option<Instant>,
}

impl Transcript {
    pub(crate) fn new(writer: NonBlockingWriter, style: Style) -> Self {
        Transcript {
            writer,
            style,
            lines: String::new(),
            count: 0,
            reported_skipped: 0,
            reported_at: None,
        }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, source: &str, message: &str) {
        style::chat_line(&mut self.lines, source, message, self.style);
        self.count += 1;
    }

    /// Queues the added lines for writing, and warns about skipped lines.
    pub(crate) fn flush(&mut self) {
        if self.count > 0 {
            let lines = std::mem::take(&mut self.lines).into_bytes();
            self.writer.queue(lines, std::mem::take(&mut self.count));
        }
        if self.skipped_lines() > self.reported_skipped {
            self.warn_skipped();
        }
    }

    /// Returns the number of lines skipped so far.
    pub(crate) fn skipped_lines(&self) -> u64 {
        self.writer.skipped_lines()
    }

    fn warn_skipped(&mut self) {
        let now = Instant::now();
        let is_recent = |at: Instant| now.duration_since(at) < WARN_INTERVAL;
        if self.reported_at.is_some_and(is_recent) {
            return;
        }
        self.reported_at = Some(now);
        self.reported_skipped = self.skipped_lines();
        tracing::warn!(
            "standard output is blocked: {} transcript lines were skipped so far; the chat goes on",
            self.reported_skipped
        );
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.reported_at = None;
        self.flush();
    }
}
