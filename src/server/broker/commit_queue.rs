//! The commit queue: batches that wait for the store, in order.
//!
//! With a store, no event is published before its commit, so that a crash loses nothing that any
//! reader has seen. The room goes on meanwhile.

use crate::chat::record::Record;
use crate::server::broker::action::Action;
use crate::server::limits::MAX_UNCOMMITTED_BYTES;
use crate::storage::limits::MAX_UNCOMMITTED_BATCHES;
use crate::storage::sqlite::writer::{Commit, CommitReport, StoreWriter};
use async_channel::Receiver;
use std::collections::VecDeque;
use std::time::Duration;

/// A batch of the broker.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) actions: Vec<Action>,
    /// Approximate bytes of the lines of its public events.
    pub(super) bytes: usize,
    pub(super) commands: usize,
    /// Uptime at which its oldest line was read; `None` without a line.
    pub(super) oldest_line: Option<Duration>,
    /// Uptime at which the room made it.
    pub(super) uptime: Duration,
}

/// Batches that wait for the store.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    writer: StoreWriter,
    reports: Receiver<CommitReport>,
    /// Batches, each with the number of the commit for which it waits.
    pending: VecDeque<(u64, Batch)>,
    pending_bytes: usize,
    /// Commits for which the writer has no room: only while the store fails and users leave.
    unsubmitted: VecDeque<Commit>,
    /// Number of the newest commit.
    newest: u64,
}

impl CommitQueue {
    pub(crate) fn new(writer: StoreWriter, reports: Receiver<CommitReport>) -> Self {
        CommitQueue {
            writer,
            reports,
            pending: VecDeque::new(),
            pending_bytes: 0,
            unsubmitted: VecDeque::new(),
            newest: 0,
        }
    }

    pub(super) fn reports(&self) -> Receiver<CommitReport> {
        self.reports.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the uptime of the oldest batch.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.pending.front().map(|(_, batch)| batch.uptime)
    }

    /// Returns whether the broker should take no further command.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= MAX_UNCOMMITTED_BATCHES || self.pending_bytes >= MAX_UNCOMMITTED_BYTES
    }

    /// Gives records to the store and queues the batch until their commit. A batch without records
    /// waits for the batches before it.
    pub(super) fn push(&mut self, records: Vec<Record>, batch: Batch) {
        if !records.is_empty() {
            self.newest += 1;
            self.unsubmitted.push_back(Commit {
                number: self.newest,
                records,
            });
            self.submit();
        }
        self.pending_bytes += batch.bytes;
        self.pending.push_back((self.newest, batch));
    }

    /// Gives the store as many commits as it has room for, in order.
    fn submit(&mut self) {
        while let Some(commit) = self.unsubmitted.pop_front() {
            if let Err(commit) = self.writer.submit(commit) {
                return self.unsubmitted.push_front(commit);
            }
        }
    }

    /// Returns the next batch that this commit covers.
    pub(super) fn next_committed(&mut self, commit: u64) -> Option<Batch> {
        self.submit();
        let (needed, _) = self.pending.front()?;
        (*needed <= commit).then(|| self.pop())?
    }

    /// Returns the next batch, committed or not.
    pub(super) fn pop(&mut self) -> Option<Batch> {
        let (_, batch) = self.pending.pop_front()?;
        self.pending_bytes -= batch.bytes;
        Some(batch)
    }
}
