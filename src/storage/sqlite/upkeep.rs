//! Upkeep of the files by the writer: removed text leaves them, and the log file stays small.
//!
//! SQLite zeroes what a transaction deletes (`secure_delete`). The words of a removed message stay
//! in the full-text index until its segments are merged, and both stay in the log file until a
//! truncating checkpoint.

use crate::storage::limits::{
    STORE_LOG_BYTES, STORE_LOG_WARN_BYTES, STORE_MERGE_PAGES, STORE_SCRUB_INTERVAL,
    STORE_UPKEEP_INTERVAL,
};
use crate::storage::sqlite::BUSY_TIMEOUT;
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// What removed text still needs to leave the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scrub {
    /// No removed text is left.
    Clean,
    /// A merge of all segments has to begin.
    Merge,
    /// The merge goes on.
    MergeOn,
    /// The log file has to be emptied.
    Truncate,
}

#[derive(Debug)]
pub(super) struct Upkeep {
    scrub: Scrub,
    /// Time of the next step, and of the next merge.
    next: Instant,
    next_merge: Instant,
    has_warned: bool,
}

impl Upkeep {
    /// Expects text that an earlier run removed, if there is retention.
    pub(super) fn new(has_retention: bool) -> Self {
        Upkeep {
            scrub: match has_retention {
                true => Scrub::Merge,
                false => Scrub::Clean,
            },
            next: Instant::now(),
            next_merge: Instant::now(),
            has_warned: false,
        }
    }

    pub(super) fn note_removal(&mut self) {
        self.scrub = Scrub::Merge;
        self.next = self.next_merge.max(Instant::now());
    }

    /// Notes the removal of private messages, which the full-text index does not have.
    pub(super) fn note_removed_mail(&mut self) {
        if self.scrub == Scrub::Clean {
            self.scrub = Scrub::Truncate;
        }
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
        match self.scrub {
            Scrub::Merge if now < self.next_merge => {}
            Scrub::Merge | Scrub::MergeOn => {
                self.next_merge = now + STORE_SCRUB_INTERVAL;
                let is_done = merge(connection, self.scrub == Scrub::Merge)?;
                self.scrub = match is_done {
                    true => Scrub::Truncate,
                    false => Scrub::MergeOn,
                };
                self.next = now;
                return Ok(());
            }
            Scrub::Truncate => {
                if truncate(connection)? {
                    self.scrub = Scrub::Clean;
                }
            }
            Scrub::Clean => {}
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

    /// Completes what is left at the end.
    pub(super) fn finish(&self, connection: &Connection) -> rusqlite::Result<()> {
        // What clients have seen is in the file before the merge, which may be cut short.
        truncate(connection)?;
        if matches!(self.scrub, Scrub::Merge | Scrub::MergeOn) {
            connection.execute("INSERT INTO words (words) VALUES ('optimize')", [])?;
            truncate(connection)?;
        }
        Ok(())
    }
}

/// Merges some pages of the full-text index; returns whether no more are left.
fn merge(connection: &Connection, is_first: bool) -> rusqlite::Result<bool> {
    // FTS5 merges all segments from a negative number on.
    let pages = match is_first {
        true => -STORE_MERGE_PAGES,
        false => STORE_MERGE_PAGES,
    };
    let before = connection.total_changes();
    let statement = "INSERT INTO words (words, rank) VALUES ('merge', ?1)";
    connection.prepare_cached(statement)?.execute([pages])?;
    // The command itself counts as a change.
    Ok(connection.total_changes() < before + 2)
}

/// Moves the log file into the database and empties it; returns false if a reader needs it still.
fn truncate(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy = connection.query_row(checkpoint, [], |row| row.get::<_, bool>(0));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(!is_busy?)
}
