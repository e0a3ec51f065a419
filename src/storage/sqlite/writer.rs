//! The thread that writes the store: group commit and retention.
//!
//! Waiting commits share one transaction. While the disk fails, the thread retries the same
//! transaction at intervals.

use crate::chat::event::EventKind;
use crate::chat::record::Record;
use crate::limits::STORE_RETRY_INTERVAL;
use crate::storage::limits::{
    MAX_UNCOMMITTED_BATCHES, STORE_CHECK_INTERVAL, STORE_REPORTS, STORE_TRIM_EVENTS,
    STORE_TRIM_INTERVAL, STORE_TRIM_TIME,
};
use crate::storage::sqlite::files::StoreFiles;
use crate::storage::sqlite::upkeep::Upkeep;
use crate::storage::sqlite::{StoreError, StoreOptions, rows, upkeep};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two portions of a trim, for commits.
const STORE_TRIM_PAUSE: Duration = Duration::from_millis(20);

/// Events in the first portion of a trim.
const FIRST_TRIM_EVENTS: usize = 16;

/// Records to commit together.
#[derive(Debug)]
pub(crate) struct Commit {
    /// Grows with each commit.
    pub(crate) number: u64,
    pub(crate) records: Vec<Record>,
}

/// Progress of the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitReport {
    /// Everything up to the commit with this number is in the file.
    Committed(u64),
    /// Writing fails, for this reason, which does not name the file; the writer retries.
    Failing(String),
    /// Writing works again.
    Recovered,
}

/// Sends commits to the writer thread.
#[derive(Debug)]
pub(crate) struct StoreWriter {
    commits: SyncSender<Commit>,
    /// Closes with the writer, which ends a wait for the next retry.
    _open: mpsc::Sender<()>,
    ended: Receiver<()>,
}

impl StoreWriter {
    /// Starts the thread, which unlocks the files when it ends.
    pub(super) fn start(
        connection: Connection,
        files: Arc<StoreFiles>,
        options: StoreOptions,
    ) -> Result<(Self, Receiver<CommitReport>), StoreError> {
        // The broker takes no further commands while as many batches wait.
        let (commits, queue) = mpsc::sync_channel(MAX_UNCOMMITTED_BATCHES);
        let (reports, reported) = async_channel::bounded(STORE_REPORTS);
        let (open, closed) = mpsc::channel();
        let (running, ended) = async_channel::bounded::<()>(1);
        let message_count = rows::message_count(&connection)
            .map_err(|error| StoreError::from_sqlite(&options.path, &error))?;
        let has_retention = options.keep_messages.is_some() || options.keep_for.is_some();
        let mut thread = WriterThread {
            connection,
            files: files.clone(),
            options,
            reports,
            message_count,
            is_failing: false,
            clock: RetentionClock {
                start: (Timestamp::now(), Instant::now()),
            },
            next_trim: has_retention.then(Instant::now),
            portion: FIRST_TRIM_EVENTS,
            upkeep: Upkeep::new(),
        };
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                thread.run(&queue, &closed);
                thread.end();
                files.unlock();
                drop(running);
            })
            .map_err(|error| StoreError::no_thread(&error))?;
        let writer = StoreWriter {
            commits,
            _open: open,
            ended,
        };
        Ok((writer, reported))
    }

    /// Queues a commit.
    ///
    /// # Errors
    /// The queue is full; returns the commit. Retry after the next report.
    pub(crate) fn submit(&self, commit: Commit) -> Result<(), Commit> {
        self.commits.try_send(commit).map_err(|error| match error {
            // The thread ends with this sender, or by a panic, which is logged.
            TrySendError::Full(commit) | TrySendError::Disconnected(commit) => commit,
        })
    }

    /// Returns a channel that closes when the thread has written everything and ended, after the
    /// writer is dropped.
    pub(crate) fn ended(&self) -> Receiver<()> {
        self.ended.clone()
    }
}

/// Reason why a commit failed.
enum CommitError {
    /// A file of the store is no longer at its path.
    Replaced,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        CommitError::Sqlite(error)
    }
}

impl CommitError {
    /// Returns the sentence, which calls the store `name`.
    fn at(&self, name: &Path) -> StoreError {
        match self {
            CommitError::Replaced => StoreError::replaced(name),
            CommitError::Sqlite(error) => StoreError::from_sqlite(name, error),
        }
    }
}

/// The time of day for retention. The wall clock may jump ahead and back again, and what it made
/// the store remove would be gone. So this clock never runs more than twice as fast as the
/// monotonic one, and is never ahead of the wall clock.
struct RetentionClock {
    start: (Timestamp, Instant),
}

impl RetentionClock {
    /// Returns milliseconds since 1970.
    fn time(&self, wall: Timestamp, now: Instant) -> i64 {
        let (start, started) = self.start;
        let elapsed = now.saturating_duration_since(started).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let latest = start
            .as_millisecond()
            .saturating_add(elapsed.saturating_mul(2));
        wall.as_millisecond().min(latest)
    }
}

struct WriterThread {
    connection: Connection,
    files: Arc<StoreFiles>,
    options: StoreOptions,
    reports: Sender<CommitReport>,
    message_count: u64,
    is_failing: bool,
    clock: RetentionClock,
    /// Time of the next trim; `None` without retention.
    next_trim: Option<Instant>,
    /// Events that the next portion of a trim removes.
    portion: usize,
    upkeep: Upkeep,
}

impl WriterThread {
    fn run(&mut self, queue: &mpsc::Receiver<Commit>, closed: &mpsc::Receiver<()>) {
        // Not empty at the start of a round only while writing fails.
        let mut pending = Vec::new();
        loop {
            if self.is_failing {
                if closed.recv_timeout(STORE_RETRY_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            } else {
                match queue.recv_timeout(self.time_to_next()) {
                    Ok(commit) => {
                        pending.push(commit);
                        pending.extend(queue.try_iter().take(MAX_UNCOMMITTED_BATCHES - 1));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            match self.commit(&pending) {
                Ok(()) => {
                    let last = pending.last().map(|commit| commit.number);
                    pending.clear();
                    self.report_success(last);
                }
                Err(error) => self.report_failure(&error),
            }
            if !self.is_failing {
                self.trim_if_due();
                self.keep_up();
            }
        }
    }

    fn store_error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.options.path, error)
    }

    fn report_success(&mut self, last: Option<u64>) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(path = %self.options.path.display(), "the store is writable again");
            self.report(CommitReport::Recovered);
        }
        if let Some(last) = last {
            self.report(CommitReport::Committed(last));
        }
    }

    fn report_failure(&mut self, error: &CommitError) {
        if std::mem::replace(&mut self.is_failing, true) {
            return;
        }
        let reason = error.at(&self.options.path);
        let path = self.options.path.display();
        tracing::error!(%path, error = %reason, "cannot write the store; retrying");
        // Strangers read this sentence.
        let reason = error.at(Path::new("the database")).to_string();
        self.report(CommitReport::Failing(reason));
    }

    fn report(&self, report: CommitReport) {
        // An error means that the broker has ended.
        let _ = self.reports.send_blocking(report);
    }

    fn commit(&mut self, commits: &[Commit]) -> Result<(), CommitError> {
        if !self.files.are_in_place() {
            return Err(CommitError::Replaced);
        }
        if commits.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        let mut messages = 0;
        let mut last = None;
        let mut has_removed = false;
        for record in commits.iter().flat_map(|commit| &commit.records) {
            rows::write(&transaction, record)?;
            if let Record::Event(event) = record {
                last = Some(event.id);
                messages += u64::from(matches!(event.kind, EventKind::Message(_)));
            }
            has_removed |= matches!(record, Record::MailForgotten(_));
        }
        if let Some(last) = last {
            rows::write_last_event(&transaction, last)?;
        }
        transaction.commit()?;
        if has_removed {
            self.upkeep.note_removal();
        }
        self.message_count += messages;
        Ok(())
    }

    /// Moves the write-ahead log into the file, unless another program still reads it.
    fn end(self) {
        let emptied = upkeep::truncate(&self.connection);
        let emptied = emptied.map_err(|error| self.store_error(&error));
        let closed = self.files.close(self.connection);
        if let Err(error) = emptied.and(closed) {
            tracing::warn!(%error, "cannot close the store in order");
        }
    }

    // Retention

    fn time_to_next(&self) -> Duration {
        let trim = self.next_trim.map_or(STORE_CHECK_INTERVAL, |next_trim| {
            next_trim.saturating_duration_since(Instant::now())
        });
        trim.min(self.upkeep.time_to_next())
            .min(STORE_CHECK_INTERVAL)
    }

    fn keep_up(&mut self) {
        let log_bytes = || self.files.log_bytes();
        if let Err(error) = self.upkeep.step_if_due(&self.connection, log_bytes) {
            let error = self.store_error(&error);
            tracing::warn!(%error, "cannot clean the store up");
        }
    }

    /// Removes one portion of old events; the next portion follows after a short pause.
    fn trim_if_due(&mut self) {
        if self.next_trim.is_none_or(|time| Instant::now() < time) {
            return;
        }
        let start = Instant::now();
        let portion = self.portion;
        let pause = match self.trim() {
            Ok(removed) if removed == portion => STORE_TRIM_PAUSE,
            Ok(_) => STORE_TRIM_INTERVAL,
            Err(error) => {
                let error = self.store_error(&error);
                tracing::warn!(%error, "cannot trim the store");
                STORE_TRIM_INTERVAL
            }
        };
        // In a large index, a removal takes milliseconds, and commits wait for it.
        self.portion = match start.elapsed() > STORE_TRIM_TIME {
            true => portion.div_ceil(2),
            false => (2 * portion).min(STORE_TRIM_EVENTS),
        };
        self.next_trim = Some(Instant::now() + pause);
    }

    /// Removes the oldest events beyond the retention; returns how many.
    fn trim(&mut self) -> rusqlite::Result<usize> {
        let oldest_time = self.options.keep_for.map_or(i64::MIN, |time| {
            let now = self.clock.time(Timestamp::now(), Instant::now());
            now.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
        });
        let keep = self.options.keep_messages.unwrap_or(u64::MAX);
        let mut messages = self.message_count;
        let mut removed = 0;
        let transaction = self.connection.transaction()?;
        for (id, time, is_message) in rows::oldest_events(&transaction, self.portion)? {
            if messages <= keep && time >= oldest_time {
                break;
            }
            rows::remove_event(&transaction, id, is_message)?;
            messages -= u64::from(is_message);
            removed += 1;
        }
        transaction.commit()?;
        self.message_count = messages;
        if removed > 0 {
            self.upkeep.note_removal();
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn retention_follows_no_jump_of_the_wall_clock_at_once() {
        const HOUR: i64 = 3_600_000;
        let (wall, start) = (Timestamp::UNIX_EPOCH, Instant::now());
        let clock = RetentionClock {
            start: (wall, start),
        };
        // Hours since the start by each clock, and the hours that count.
        for (by_wall, elapsed, expected) in [
            (1, 1, 1),
            (48, 0, 0),
            (49, 1, 2),
            (72, 24, 48),
            (97, 49, 97),
            (-24, 3, -24),
        ] {
            let now = start + Duration::from_secs(elapsed * 3600);
            let time = clock.time(wall + SignedDuration::from_hours(by_wall), now);
            assert_eq!(time, expected * HOUR, "{by_wall} h, {elapsed} h");
        }
    }
}
