//! Upkeep of the files by the writer: removed text leaves them, and the log file stays small.
//!
//! SQLite zeroes what a transaction deletes (`secure_delete`), and the full-text index takes the
//! words out of its pages (`secure-delete`). The old pages stay in the log file until a truncating
//! checkpoint.

use crate::storage::limits::{
    STORE_LOG_BYTES, STORE_LOG_WARN_BYTES, STORE_SCRUB_INTERVAL, STORE_UPKEEP_INTERVAL,
};
use crate::storage::sqlite::BUSY_TIMEOUT;
use rusqlite::Connection;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Upkeep {
    /// Whether the log file may have removed text.
    has_removed: bool,
    /// Time of the next step, and the earliest one at which removed text leaves the log file.
    next: Instant,
    next_scrub: Instant,
    has_warned: bool,
}

impl Upkeep {
    /// Expects text that an earlier run removed.
    pub(super) fn new() -> Self {
        Upkeep {
            has_removed: true,
            next: Instant::now(),
            next_scrub: Instant::now(),
            has_warned: false,
        }
    }

    pub(super) fn note_removal(&mut self) {
        self.has_removed = true;
    }

    pub(super) fn time_to_next(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Takes one short step if it is due; `log_bytes` returns the size of the log file.
    pub(super) fn step_if_due(
        &mut self,
        connection: &Connection,
        log_bytes: impl Fn() -> u64,
    ) -> rusqlite::Result<()> {
        let now = Instant::now();
        if now < self.next {
            return Ok(());
        }
        self.next = now + STORE_UPKEEP_INTERVAL;
        if self.has_removed && now >= self.next_scrub && truncate(connection)? {
            self.has_removed = false;
            self.next_scrub = now + STORE_SCRUB_INTERVAL;
        }
        let mut bytes = log_bytes();
        if bytes > STORE_LOG_BYTES && truncate(connection)? {
            bytes = 0;
        }
        if bytes > STORE_LOG_WARN_BYTES && !self.has_warned {
            tracing::warn!(
                bytes,
                "another program keeps a transaction of the store open, so its log file grows; \
                 end that program"
            );
        }
        self.has_warned = bytes > STORE_LOG_WARN_BYTES;
        Ok(())
    }
}

/// Moves the log file into the database and empties it; returns false if a reader needs it still.
pub(super) fn truncate(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy = connection.query_row(checkpoint, [], |row| row.get::<_, bool>(0));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(!is_busy?)
}
