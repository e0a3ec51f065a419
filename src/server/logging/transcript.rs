//! The transcript: the chat on the standard output of the server.

use crate::cli::style;
use crate::cli::style::Style;
use crate::server::logging::lossy_writer::NonBlockingWriter;
use std::time::{Duration, Instant};

/// Shortest time between two warnings about skipped lines.
const WARN_INTERVAL: Duration = Duration::from_secs(5);

/// The lines of the chat for standard output.
#[derive(Debug)]
pub(crate) struct Transcript {
    writer: NonBlockingWriter,
    style: Style,
    lines: String,
    reported_skipped: u64,
    reported_at: Option<Instant>,
}

impl Transcript {
    pub(crate) fn new(writer: NonBlockingWriter, style: Style) -> Self {
        Transcript {
            writer,
            style,
            lines: String::new(),
            reported_skipped: 0,
            reported_at: None,
        }
    }

    pub(crate) fn line(&mut self, source: &str, message: &str) {
        style::chat_line(&mut self.lines, source, message, self.style);
    }

    /// Queues the added lines for writing, and warns about skipped lines.
    pub(crate) fn flush(&mut self) {
        if !self.lines.is_empty() {
            let lines = std::mem::take(&mut self.lines);
            self.writer.queue(lines.into_bytes());
        }
        let skipped = self.writer.skipped_lines().get();
        let is_recent = |at: Instant| at.elapsed() < WARN_INTERVAL;
        if skipped > self.reported_skipped && !self.reported_at.is_some_and(is_recent) {
            self.reported_at = Some(Instant::now());
            self.reported_skipped = skipped;
            tracing::warn!(
                "standard output is blocked: {skipped} transcript lines were skipped so far; the \
                 chat goes on"
            );
        }
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.reported_at = None;
        self.flush();
    }
}
