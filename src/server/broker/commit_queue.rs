//! The ledger: what was decided and waits for the store.
//!
//! What lives here: `CommitQueue`, the batches whose records are not yet committed, in order, with
//! what is to be done when they are. The broker alone owns it. It must never wait: the store has
//! a thread of its own, which reports.
//!
//! Why it exists: with a store nothing is published before it is committed, so that whatever
//! anybody saw is there after a crash. The room goes on meanwhile.

use crate::chat::record::Record;
use crate::server::broker::execute::Action;
use crate::server::limits::MAX_UNCOMMITTED_BYTES;
use crate::storage::limits::MAX_UNCOMMITTED_BATCHES;
use crate::storage::sqlite::writer::{Commit, CommitReport, StoreWriter};
use async_channel::Receiver;
use std::collections::VecDeque;
use std::time::Duration;

/// A batch of the broker.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What is to be done, in order.
    pub steps: Vec<Action>,
    /// Inputs that it took.
    pub inputs: usize,
    /// When its oldest line was read, in the server's own time; none if there is no line in it.
    pub oldest_line: Option<Duration>,
}

#[derive(Debug)]
struct PendingBatch {
    /// Number of the commit that it waits for.
    commit: u64,
    bytes: usize,
    batch: Batch,
}

/// Batches that wait for the store.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    writer: StoreWriter,
    reports: Receiver<CommitReport>,
    held: VecDeque<PendingBatch>,
    held_bytes: usize,
    /// For which the writer has no room yet: only while the store fails, when departures go on.
    unsubmitted: VecDeque<Commit>,
    /// Number of the newest commit.
    newest: u64,
}

impl CommitQueue {
    /// A ledger for the store with this writer.
    pub(crate) fn new(writer: StoreWriter, reports: Receiver<CommitReport>) -> Self {
        CommitQueue {
            writer,
            reports,
            held: VecDeque::new(),
            held_bytes: 0,
            unsubmitted: VecDeque::new(),
            newest: 0,
        }
    }

    /// What the store reports.
    pub(crate) fn reports(&self) -> Receiver<CommitReport> {
        self.reports.clone()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether no further input should be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.held.len() >= MAX_UNCOMMITTED_BATCHES || self.held_bytes >= MAX_UNCOMMITTED_BYTES
    }

    /// Gives records to the store and holds the batch until they are committed; one without
    /// records waits for those before it.
    pub(crate) fn hold(&mut self, records: Vec<Record>, bytes: usize, batch: Batch) {
        if !records.is_empty() {
            self.newest += 1;
            self.unsubmitted.push_back(Commit {
                number: self.newest,
                records,
            });
            self.submit();
        }
        self.held_bytes += bytes;
        self.held.push_back(PendingBatch {
            commit: self.newest,
            bytes,
            batch,
        });
    }

    /// Gives the store as many commits as it has room for, in order.
    fn submit(&mut self) {
        while let Some(commit) = self.unsubmitted.pop_front() {
            if let Err(commit) = self.writer.submit(commit) {
                return self.unsubmitted.push_front(commit);
            }
        }
    }

    /// The next batch of which everything is committed, by a report up to this number.
    pub(crate) fn next_committed(&mut self, commit: u64) -> Option<Batch> {
        self.submit();
        self.held.front().filter(|held| held.commit <= commit)?;
        self.take_first()
    }

    /// The next batch, committed or not: when the store will take nothing more.
    pub(crate) fn take_first(&mut self) -> Option<Batch> {
        let held = self.held.pop_front()?;
        self.held_bytes -= held.bytes;
        Some(held.batch)
    }
}
