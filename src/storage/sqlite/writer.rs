//! The thread that writes: group commit and retention.
//!
//! What lives here: [`Writer`], a bounded queue in front of one thread, which commits whatever
//! waits as one transaction and reports. The server's ledger uses it. It must never report
//! something as committed that is not, and never give up: while the disk takes nothing it tries
//! again and again, with the same.

use crate::chat::record::Record;
use crate::limits::STORE_RETRY_INTERVAL;
use crate::storage::limits::{
    MAX_UNCOMMITTED_BATCHES, STORE_REPORTS, STORE_TRIM_EVENTS, STORE_TRIM_INTERVAL,
};
use crate::storage::sqlite::{StoreError, StoreOptions, rows};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use rusqlite::Connection;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

/// Records that are committed together.
#[derive(Debug)]
pub struct Commit {
    /// Its number; they grow.
    pub number: u64,
    /// The records, in order.
    pub records: Vec<Record>,
}

/// What became of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitReport {
    /// Everything up to the commit with this number is in the file.
    Committed(u64),
    /// Nothing can be written, as this sentence says; it is tried again.
    Failing(String),
    /// It can be written again.
    Recovered,
}

/// Hands commits to the thread that writes.
#[derive(Debug)]
pub struct Writer {
    commits: SyncSender<Commit>,
    ended: Receiver<()>,
}

impl Writer {
    /// Starts the thread; the lock is held until it ends.
    pub(super) fn start(
        connection: Connection,
        lock: File,
        options: StoreOptions,
    ) -> Result<(Writer, Receiver<CommitReport>), StoreError> {
        // As many as wait in the ledger before the broker takes no further inputs.
        let (commits, waiting) = mpsc::sync_channel(MAX_UNCOMMITTED_BATCHES);
        let (reports, reported) = async_channel::bounded(STORE_REPORTS);
        let (running, ended) = async_channel::bounded::<()>(1);
        let path = options.path.clone();
        let message_count =
            rows::message_count(&connection).map_err(|error| StoreError::of(&path, error))?;
        let mut thread = WriterThread {
            connection,
            options,
            reports,
            message_count,
            is_failing: false,
            next_trim: Instant::now(),
        };
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                thread.run(&waiting);
                thread.end();
                drop((lock, running));
            })
            .map_err(StoreError::NoThread)?;
        Ok((Writer { commits, ended }, reported))
    }

    /// Hands in a commit.
    ///
    /// # Errors
    /// There is no room for it now; a report will tell that there may be. It is given back.
    pub fn submit(&self, commit: Commit) -> Result<(), Commit> {
        self.commits.try_send(commit).map_err(|error| match error {
            // The thread ends only when this sender does, or by a panic, which has been told.
            TrySendError::Full(commit) | TrySendError::Disconnected(commit) => commit,
        })
    }

    /// How to wait for the thread's end, when the writer itself is gone: it writes what waits.
    pub fn ended(&self) -> Receiver<()> {
        self.ended.clone()
    }
}

struct WriterThread {
    connection: Connection,
    options: StoreOptions,
    reports: Sender<CommitReport>,
    message_count: u64,
    is_failing: bool,
    next_trim: Instant,
}

impl WriterThread {
    fn run(&mut self, waiting: &mpsc::Receiver<Commit>) {
        loop {
            match waiting.recv_timeout(self.time_to_trim()) {
                Ok(first) => {
                    let mut commits = vec![first];
                    commits.extend(waiting.try_iter().take(MAX_UNCOMMITTED_BATCHES));
                    if !self.commit_at_last(&commits, waiting) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.trim_if_due();
        }
    }

    fn path(&self) -> &Path {
        &self.options.path
    }

    /// Commits, however long the disk takes nothing; false if it never will, since the server
    /// has ended meanwhile.
    fn commit_at_last(&mut self, commits: &[Commit], waiting: &mpsc::Receiver<Commit>) -> bool {
        let mut later = Vec::new();
        loop {
            match self.commit(commits) {
                Ok(()) => break,
                Err(error) => self.note_failure(&StoreError::of(self.path(), error)),
            }
            match waiting.recv_timeout(STORE_RETRY_INTERVAL) {
                // It has its turn when these are written; there are only so many.
                Ok(commit) => later.push(commit),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        if self.is_failing {
            self.is_failing = false;
            tracing::info!(path = %self.path().display(), "the store can be written again");
            self.report(CommitReport::Recovered);
        }
        if let Some(last) = commits.last() {
            self.report(CommitReport::Committed(last.number));
        }
        later.is_empty() || self.commit_at_last(&later, waiting)
    }

    fn note_failure(&mut self, error: &StoreError) {
        if std::mem::replace(&mut self.is_failing, true) {
            return;
        }
        let path = self.path().display();
        tracing::error!(%path, %error, "the store cannot be written; it is tried again and again");
        self.report(CommitReport::Failing(error.to_string()));
    }

    fn report(&self, report: CommitReport) {
        // The broker takes each at once; the one that does not listen any more has ended.
        let _ = self.reports.send_blocking(report);
    }

    fn commit(&mut self, commits: &[Commit]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let mut messages = 0;
        let mut last = None;
        for record in commits.iter().flat_map(|commit| &commit.records) {
            rows::write(&transaction, record)?;
            if let Record::Event(event) = record {
                last = Some(event.id);
                messages += u64::from(matches!(event.kind, crate::chat::event::EventKind::Said(_)));
            }
        }
        if let Some(last) = last {
            rows::write_last_event(&transaction, last)?;
        }
        transaction.commit()?;
        self.message_count += messages;
        Ok(())
    }

    /// Leaves a file that is whole without its log, as far as nobody reads it meanwhile.
    fn end(self) {
        let emptied = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) =
            emptied.and_then(|()| self.connection.close().map_err(|(_, error)| error))
        {
            let error = StoreError::of(&self.options.path, error);
            tracing::warn!(%error, "the store could not be closed in order; nothing is lost");
        }
    }

    // Retention

    fn has_retention(&self) -> bool {
        self.options.keep_messages.is_some() || self.options.keep_for.is_some()
    }

    fn time_to_trim(&self) -> Duration {
        match self.has_retention() {
            true => self.next_trim.saturating_duration_since(Instant::now()),
            false => STORE_TRIM_INTERVAL,
        }
    }

    /// Takes one small step, and the next at once if there is more to do.
    fn trim_if_due(&mut self) {
        if !self.has_retention() || Instant::now() < self.next_trim {
            return;
        }
        let pause = match self.trim() {
            Ok(STORE_TRIM_EVENTS) => STORE_TRIM_PAUSE,
            Ok(_) => STORE_TRIM_INTERVAL,
            Err(error) => {
                let error = StoreError::of(self.path(), error);
                tracing::warn!(%error, "the store cannot be trimmed");
                STORE_TRIM_INTERVAL
            }
        };
        self.next_trim = Instant::now() + pause;
    }

    /// Removes the oldest events that are too many or too old; gives how many.
    fn trim(&mut self) -> rusqlite::Result<usize> {
        let oldest_time = self.options.keep_for.map_or(i64::MIN, |time| {
            let now = Timestamp::now().as_millisecond();
            now.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
        });
        let keep = self.options.keep_messages.unwrap_or(u64::MAX);
        let mut left = self.message_count;
        let transaction = self.connection.transaction()?;
        let mut removed = 0;
        {
            let mut statement = transaction.prepare_cached(
                "SELECT id, time, kind = 'message' FROM events ORDER BY id LIMIT ?1",
            )?;
            let mut delete = transaction.prepare_cached("DELETE FROM events WHERE id = ?1")?;
            let mut delete_words =
                transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?;
            let oldest = statement.query_map([STORE_TRIM_EVENTS as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            let oldest = oldest.collect::<rusqlite::Result<Vec<(i64, i64, bool)>>>()?;
            for (id, time, is_message) in oldest {
                if left <= keep && time >= oldest_time {
                    break;
                }
                delete.execute([id])?;
                if is_message {
                    delete_words.execute([id])?;
                    left -= 1;
                }
                removed += 1;
            }
        }
        transaction.commit()?;
        self.message_count = left;
        Ok(removed)
    }
}

/// Time between two small steps, in which others write.
const STORE_TRIM_PAUSE: Duration = Duration::from_millis(20);
