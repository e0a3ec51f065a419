//! The end of a batch: its actions are carried out, at once or when the store has committed it.

use crate::chat::room::Reply;
use crate::protocol::Dialect;
use crate::protocol::sse;
use crate::server::broker::Broker;
use crate::server::broker::action::{Action, Lines};
use crate::server::broker::commit_queue::Batch;
use crate::server::metrics::BatchFigures;
use crate::storage::sqlite::writer::CommitReport;

/// Notice to all users when the store fails.
pub(super) const STORE_FAILS: &str =
    "The server cannot store anything at the moment; what you say is not taken until it can";
/// Notice to all users when the store works again.
const STORE_RECOVERED: &str = "The server can store again; go on";

impl Broker {
    /// Adds an action after the lines of this batch so far.
    pub(super) fn add_action(&mut self, action: Action) {
        self.flush_lines();
        self.actions.push(action);
    }

    /// Moves the lines of this batch so far into its actions.
    pub(super) fn flush_lines(&mut self) {
        if !self.lines.is_empty() {
            self.actions
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
    }

    /// Answers a reader over HTTP after the earlier actions. While the store fails, these wait; the
    /// reader then gets the committed state at once.
    pub(super) fn answer_http(&mut self, action: Action) {
        match self.is_failing() {
            true => self.execute(action),
            false => self.add_action(action),
        }
    }

    pub(super) fn execute(&mut self, action: Action) {
        self.action_executor.execute(&mut self.fanout, action);
    }

    /// Ends the batch: executes its actions, or queues them until the store has committed it.
    pub(super) fn finish_batch(&mut self, commands: usize) {
        let mut batch = Batch {
            actions: std::mem::take(&mut self.actions),
            commands,
            oldest_line: self.oldest_line.take(),
        };
        let bytes = std::mem::take(&mut self.batch_bytes);
        let is_failing = self.is_failing();
        let Some(commit_queue) = &mut self.commit_queue else {
            return self.execute_batch(batch);
        };
        if !self.lines.is_empty() {
            batch
                .actions
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
        let mut records = std::mem::take(&mut self.records);
        records.append(&mut self.room.take_records());
        if self.is_stopping && is_failing {
            // The store will not commit this batch.
            return self.execute_batch(batch);
        }
        if records.is_empty() && (commit_queue.is_empty() || is_failing) {
            self.execute_batch(batch);
            // The eviction of slow consumers may have detached users.
            self.records.append(&mut self.room.take_records());
            return match self.records.is_empty() {
                true => {}
                false => self.finish_batch(0),
            };
        }
        commit_queue.push(records, bytes, batch);
        // Connections with earlier, committed bytes do not wait for this commit.
        self.evict_slow_consumers();
        self.action_executor.publish(&mut self.fanout, self.uptime);
    }

    /// Closes slow consumers. Their leave events are published like all others: with a store, after
    /// their commit.
    fn evict_slow_consumers(&mut self) {
        for (key, reason) in self.fanout.clients_to_evict(self.uptime) {
            self.execute(Action::Evict(key, reason));
            self.disconnect(key, reason);
        }
    }

    fn execute_batch(&mut self, batch: Batch) {
        for action in batch.actions {
            self.execute(action);
        }
        if self.commit_queue.is_some() {
            // `lines` belongs to a later batch, which is not committed.
            self.evict_slow_consumers();
        } else {
            self.action_executor
                .append_lines(&mut self.fanout, &mut self.lines);
            self.evict_slow_consumers();
            self.action_executor
                .append_lines(&mut self.fanout, &mut self.lines);
        }
        let bytes = self.action_executor.publish(&mut self.fanout, self.uptime);
        let metrics = &self.context.metrics;
        metrics.set_transcript_skipped(self.action_executor.skipped_lines());
        if batch.commands > 0 {
            let now = self.context.now();
            let fanout = batch.oldest_line.map(|read_at| now.saturating_sub(read_at));
            metrics.observe_batch(BatchFigures {
                inputs: batch.commands,
                bytes,
                fanout,
            });
        }
    }

    pub(super) fn handle_report(&mut self, report: CommitReport) {
        match report {
            CommitReport::Committed(number) => {
                self.context.health.set_failing(None);
                while let Some(batch) = self
                    .commit_queue
                    .as_mut()
                    .and_then(|commit_queue| commit_queue.next_committed(number))
                {
                    self.execute_batch(batch);
                }
            }
            CommitReport::Failing(sentence) => {
                self.last_committed = self.fanout.last_event();
                self.snapshot = None;
                self.context.health.set_failing(Some(sentence));
                self.notify_all(STORE_FAILS, Some(STORE_FAILS));
                if self.is_stopping {
                    self.drop_uncommitted();
                    self.add_action(Action::CloseAll);
                }
            }
            CommitReport::Recovered => {
                self.context.health.set_failing(None);
                self.snapshot = None;
                self.notify_all(STORE_RECOVERED, None);
            }
        }
    }

    /// Sends a notice to each client outside the log of events. Browsers show `lasting_notice` until
    /// the next call.
    fn notify_all(&mut self, sentence: &str, lasting_notice: Option<&str>) {
        for key in self.fanout.keys() {
            // Live streams get the notice through their log.
            let is_client = self.fanout.dialect(key) != Dialect::Browser;
            if is_client && self.fanout.user(key).is_some() {
                let notice = Reply::Notice(sentence.to_owned());
                self.execute(Action::Reply(key, notice));
            }
        }
        let mut lines = Lines::default();
        sse::encode_notice(&mut lines.browser, lasting_notice);
        self.action_executor
            .append_lines(&mut self.fanout, &mut lines);
        self.action_executor.publish(&mut self.fanout, self.uptime);
    }
}
