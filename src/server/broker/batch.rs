//! The end of a batch: its actions are carried out, at once or when the store has committed it.

use crate::chat::room::Reply;
use crate::protocol::{Dialect, sse};
use crate::server::broker::action::Action;
use crate::server::broker::commit_queue::{Batch, CommitQueue};
use crate::server::broker::execute::last_line;
use crate::server::broker::{Broker, steady};
use crate::server::limits::LATE_COMMIT;
use crate::server::metrics::BatchFigures;
use crate::storage::sqlite::writer::CommitReport;

/// Notice to all users when the store fails.
pub(super) const STORE_FAILS: &str =
    "The server cannot store anything at the moment; what you say is not taken until it can";
/// Notice to all users when the store works again.
const STORE_RECOVERED: &str = "The server can store again; go on";

impl Broker {
    /// Ends the batch: executes its actions, or queues them until the store has committed it.
    pub(super) fn finish_batch(&mut self, commands: usize) {
        let batch = Batch {
            actions: std::mem::take(&mut self.actions),
            bytes: std::mem::take(&mut self.batch_bytes),
            commands,
            oldest_line: self.oldest_line.take(),
            uptime: self.uptime,
        };
        let mut records = std::mem::take(&mut self.records);
        let is_failing = self.is_failing();
        if !is_failing {
            // While the store fails, the room keeps the newest record of each session, since any
            // number of streams can come and go.
            records.append(&mut self.room.take_records());
        }
        match &mut self.commit_queue {
            Some(_) if is_failing && self.is_stopping && !records.is_empty() => {
                self.drop_batch(batch);
                self.publish_open_batch();
            }
            Some(queue) if !records.is_empty() || !(queue.is_empty() || is_failing) => {
                queue.push(records, batch);
                // Connections with earlier, committed bytes do not wait for this commit.
                self.publish_open_batch();
            }
            _ => self.execute_batch(batch),
        }
        if !self.actions.is_empty() {
            // Slow consumers have left.
            self.finish_batch(0);
        }
    }

    fn execute_batch(&mut self, batch: Batch) {
        for action in batch.actions {
            self.execute(action);
        }
        let bytes = self.publish_open_batch();
        let metrics = &self.context.metrics;
        if batch.commands > 0 {
            let now = self.context.now();
            let fanout = batch.oldest_line.map(|read_at| now.saturating_sub(read_at));
            metrics.observe_batch(BatchFigures {
                commands: batch.commands,
                bytes,
                fanout,
            });
        }
    }

    /// Closes slow consumers and publishes everything that was executed. Returns its bytes.
    fn publish_open_batch(&mut self) -> usize {
        for (key, reason) in self.fanout.clients_to_evict(self.uptime) {
            let line = last_line(reason, self.fanout.dialect(key));
            self.fanout.evict(key, line);
            self.disconnect(key, reason);
        }
        let bytes = self.fanout.batch_bytes();
        self.fanout.publish(self.uptime);
        // After the clients, so that waking the transcript's thread delays no message.
        self.transcript.flush();
        bytes
    }

    /// Drops a batch that will never be committed, so that no reader sees it.
    fn drop_batch(&mut self, batch: Batch) {
        for action in batch.actions {
            match action {
                // These show nothing of the batch.
                Action::FinishWrites(_)
                | Action::ResumeReading(..)
                | Action::Remove(_)
                | Action::CloseAll => self.execute(action),
                _ => {}
            }
        }
    }

    pub(super) fn drop_uncommitted(&mut self) {
        while let Some(batch) = self.commit_queue.as_mut().and_then(CommitQueue::pop) {
            self.drop_batch(batch);
        }
    }

    pub(super) fn handle_report(&mut self, report: CommitReport) {
        match report {
            CommitReport::Committed(number) => {
                self.note_late_batches();
                let next = |queue: &mut CommitQueue| queue.next_committed(number);
                while let Some(batch) = self.commit_queue.as_mut().and_then(next) {
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
                }
            }
            CommitReport::Recovered => {
                self.context.health.set_failing(None);
                self.snapshot = None;
                self.notify_all(STORE_RECOVERED, None);
                for key in std::mem::take(&mut self.streams_without_mailbox) {
                    self.send_mailbox(key);
                }
            }
        }
    }

    /// Tells the room that batches were executed late, since the receipt of mail depends on it.
    fn note_late_batches(&mut self) {
        let oldest = self.commit_queue.as_ref().and_then(CommitQueue::oldest);
        if let Some(oldest) = oldest
            && self.uptime.saturating_sub(oldest) >= LATE_COMMIT
        {
            self.room.note_late_effects(steady(oldest));
        }
    }

    /// Sends a notice to each client outside the log of events. Browsers show `lasting_notice`
    /// until the next call.
    fn notify_all(&mut self, sentence: &str, lasting_notice: Option<&str>) {
        for key in self.fanout.keys() {
            // Live streams get the notice through their log.
            let is_client = self.fanout.dialect(key) != Dialect::Browser;
            if is_client && self.fanout.user(key).is_some() {
                self.execute(Action::Reply(key, Reply::Notice(sentence.to_owned())));
            }
        }
        sse::encode_notice(&mut self.fanout.batch().browser, lasting_notice);
    }
}
