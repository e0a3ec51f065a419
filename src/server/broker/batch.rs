//! The end of a batch: its actions are carried out, at once or when the store has committed it.

use crate::chat::room::Reply;
use crate::protocol::Dialect;
use crate::protocol::sse;
use crate::server::broker::Broker;
use crate::server::broker::commit_queue::Batch;
use crate::server::broker::execute::{Action, Lines};
use crate::server::metrics::BatchFigures;
use crate::storage::sqlite::writer::CommitReport;

/// What everyone is told when the store takes nothing any more, and when it does again.
pub(super) const STORE_FAILS: &str =
    "The server cannot store anything at the moment; what you say is not taken until it can";
const STORE_RECOVERED: &str = "The server can store again; go on";

impl Broker {
    /// Adds a step after everything that was said in this batch.
    pub(super) fn step(&mut self, step: Action) {
        if !self.lines.is_empty() {
            self.steps
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
        self.steps.push(step);
    }

    /// What the page asks for is told after what was decided before, but not held up by a store
    /// that fails: then it is told what is committed.
    pub(super) fn for_the_page(&mut self, step: Action) {
        match self.is_failing() {
            true => self.publisher.perform(step),
            false => self.step(step),
        }
    }

    /// Does what was decided, or holds it until it is committed.
    pub(super) fn finish_batch(&mut self, inputs: usize) {
        let mut batch = Batch {
            steps: std::mem::take(&mut self.steps),
            inputs,
            oldest_line: self.oldest_line.take(),
        };
        let bytes = std::mem::take(&mut self.batch_bytes);
        let failing = self.is_failing();
        let Some(commit_queue) = &mut self.commit_queue else {
            return self.perform(batch);
        };
        if !self.lines.is_empty() {
            batch
                .steps
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
        let mut records = std::mem::take(&mut self.records);
        records.append(&mut self.room.take_records());
        if self.is_stopping && failing {
            // Nothing will be committed any more.
            return self.perform(batch);
        }
        if records.is_empty() && (commit_queue.is_empty() || failing) {
            self.perform(batch);
            // Slow connections may have ended by this.
            self.records.append(&mut self.room.take_records());
            return match self.records.is_empty() {
                true => {}
                false => self.finish_batch(0),
            };
        }
        commit_queue.hold(records, bytes, batch);
        // Those who are behind, or back, are not held up.
        self.cut_the_slow();
        self.publisher.publish(self.uptime);
    }

    /// Ends those who are too far behind what is about to be published. That they have left is
    /// told like anything else: with a store when it is committed.
    pub(super) fn cut_the_slow(&mut self) {
        for (key, reason) in self.publisher.fanout.clients_to_evict(self.uptime) {
            self.publisher.perform(Action::Cut(key, reason));
            self.leave(key, reason);
        }
    }

    pub(super) fn perform(&mut self, batch: Batch) {
        for step in batch.steps {
            self.publisher.perform(step);
        }
        if self.commit_queue.is_some() {
            // What is in `lines` by now is of a later batch, and not committed.
            self.cut_the_slow();
        } else {
            self.publisher.say(&mut self.lines);
            self.cut_the_slow();
            self.publisher.say(&mut self.lines);
        }
        let bytes = self.publisher.publish(self.uptime);
        let metrics = &self.context.metrics;
        metrics.set_transcript_skipped(self.publisher.transcript.skipped_lines());
        if batch.inputs > 0 {
            let now = self.context.now();
            let fanout = batch.oldest_line.map(|read_at| now.saturating_sub(read_at));
            metrics.observe_batch(BatchFigures {
                inputs: batch.inputs,
                bytes,
                fanout,
            });
        }
    }

    pub(super) fn take_report(&mut self, report: CommitReport) {
        match report {
            CommitReport::Committed(number) => {
                self.context.health.set_failing(None);
                while let Some(batch) = self
                    .commit_queue
                    .as_mut()
                    .and_then(|commit_queue| commit_queue.next_committed(number))
                {
                    self.perform(batch);
                }
            }
            CommitReport::Failing(sentence) => {
                self.last_committed = self.publisher.fanout.last_event();
                self.snapshot = None;
                self.context.health.set_failing(Some(sentence));
                self.tell_everyone(STORE_FAILS, Some(STORE_FAILS));
                if self.is_stopping {
                    self.give_up_held();
                    self.step(Action::CloseAll);
                }
            }
            CommitReport::Recovered => {
                self.context.health.set_failing(None);
                self.snapshot = None;
                self.tell_everyone(STORE_RECOVERED, None);
            }
        }
    }

    /// Tells each client by itself, beside the log of public events, and the page what stays true.
    pub(super) fn tell_everyone(&mut self, sentence: &str, on_the_page: Option<&str>) {
        for key in self.publisher.fanout.keys() {
            // Streams learn it from a frame of their log.
            let is_client = self.publisher.fanout.dialect(key) != Dialect::Page;
            if is_client && self.publisher.fanout.user(key).is_some() {
                let notice = Reply::Notice(sentence.to_owned());
                self.publisher.perform(Action::Reply(key, notice));
            }
        }
        let mut lines = Lines::default();
        sse::encode_notice(&mut lines.page, on_the_page);
        self.publisher.say(&mut lines);
        self.publisher.publish(self.uptime);
    }
}
