//! The server's own terminal: the chat as it happens.
//!
//! What lives here: [`Transcript`], which puts events into the lines that clients print and
//! hands them to a [`NonBlockingWriter`]. The broker uses it. It must never make the broker wait.

use crate::cli::style;
use crate::cli::style::Style;
use crate::server::logging::lossy_writer::NonBlockingWriter;
use std::time::{Duration, Instant};

/// The chat as lines for standard output.
#[derive(Debug)]
pub struct Transcript {
    sink: NonBlockingWriter,
    style: Style,
    lines: String,
    count: u64,
    told_skipped: u64,
    told_at: Option<Instant>,
}

/// Shortest time between two sentences on skipped lines.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

impl Transcript {
    /// A transcript in this style to this sink.
    pub fn new(sink: NonBlockingWriter, style: Style) -> Self {
        Transcript {
            sink,
            style,
            lines: String::new(),
            count: 0,
            told_skipped: 0,
            told_at: None,
        }
    }

    /// Adds a line.
    pub fn line(&mut self, source: &str, message: &str) {
        style::chat_line(&mut self.lines, source, message, self.style);
        self.count += 1;
    }

    /// Hands on what was added, and says on the log when lines were skipped.
    pub fn flush(&mut self) {
        if self.count > 0 {
            let lines = std::mem::take(&mut self.lines);
            self.sink
                .offer(lines.into_bytes(), std::mem::take(&mut self.count));
        }
        if self.sink.skipped_lines() > self.told_skipped {
            self.tell_skipped();
        }
    }

    /// Lines that were skipped up to now.
    pub fn skipped_lines(&self) -> u64 {
        self.sink.skipped_lines()
    }

    fn tell_skipped(&mut self) {
        let now = Instant::now();
        if self
            .told_at
            .is_some_and(|told_at| now.duration_since(told_at) < TELL_INTERVAL)
        {
            return;
        }
        self.told_at = Some(now);
        self.told_skipped = self.sink.skipped_lines();
        tracing::warn!(
            "standard output takes no more: {} transcript lines were skipped so far; the chat goes on",
            self.told_skipped
        );
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        self.told_at = None;
        self.flush();
    }
}
