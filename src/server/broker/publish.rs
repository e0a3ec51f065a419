//! Public events, their summaries for the basic dialect, and snapshots.

use crate::chat::event::{Event, EventKind};
use crate::chat::message::Message;
use crate::chat::record::Record;
use crate::chat::room::history::History;
use crate::chat::room::snapshot::{PresentUser, Snapshot};
use crate::limits::MAX_PAGE_MESSAGES;
use crate::protocol::basic::notice_line;
use crate::server::broker::action::Action;
use crate::server::broker::batch::STORE_FAILS;
use crate::server::broker::{Broker, presence_summary};
use crate::server::limits::WEB_MAX_TEXT_BYTES;
use std::sync::Arc;

impl Broker {
    /// Adds a public event to this batch.
    pub(super) fn publish(&mut self, event: Event) {
        self.snapshot = None;
        self.batch_bytes += size_of::<Event>();
        if let EventKind::Message(message) = &event.kind {
            // Each of the two dialects has the text.
            self.batch_bytes += 2 * message.bytes();
        }
        if event.kind.is_summarised() {
            self.summary.count(&event.kind, self.uptime);
        }
        if self.commit_queue.is_some() {
            self.records.push(Record::Event(event.clone()));
        }
        self.actions.push(Action::Publish(event));
    }

    pub(super) fn publish_summary_if_due(&mut self) {
        if self.summary.due().is_none_or(|due| due > self.uptime) {
            return;
        }
        let (entered, left) = self.summary.take();
        let Some(line) = summary_line(entered, left) else {
            return;
        };
        let skip = line.len() as u64;
        // These clients already have their own join notice, so their count leaves it out.
        let own_line = entered
            .checked_sub(1)
            .and_then(|entered| summary_line(entered, left));
        let own_line = own_line.unwrap_or_default();
        for (key, user) in std::mem::take(&mut self.awaiting_summary) {
            if self.fanout.user(key) == Some(user) {
                let action = Action::Bytes(key, own_line.clone(), skip);
                self.actions.push(action);
            }
        }
        self.actions.push(Action::Summarise(line));
    }

    /// Returns the current snapshot, which is shared until the next event.
    pub(super) fn current_snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        // While the store fails, newer events may never be committed.
        let last = match self.is_failing() {
            true => self.last_committed,
            false => self.room.last_event(),
        };
        let users = self.room.users().map(|(name, since)| PresentUser {
            name: name.clone(),
            since,
        });
        let (messages, older) = newest_messages(self.room.history(), last);
        let snapshot = Snapshot {
            epoch: self.context.epoch.clone(),
            last,
            users: users.collect(),
            messages,
            older,
            notice: self.is_failing().then(|| STORE_FAILS.to_owned()),
        };
        self.snapshot.insert(Arc::new(snapshot)).clone()
    }
}

fn summary_line(entered: usize, left: usize) -> Option<Arc<[u8]>> {
    presence_summary::sentence(entered, left).map(|sentence| notice_line(&sentence))
}

/// Returns the newest messages up to event `last`, oldest first: at most one page, with a bounded
/// length of text. Also returns the number of the newest message before them; 0 if there is none.
fn newest_messages(history: &History, last: u64) -> (Vec<Arc<Message>>, u64) {
    let mut bytes = 0;
    let mut messages = Vec::new();
    let known = history.messages().rev();
    for message in known.filter(|message| message.id <= last) {
        bytes += message.text.len();
        if messages.len() == MAX_PAGE_MESSAGES || bytes > WEB_MAX_TEXT_BYTES {
            messages.reverse();
            return (messages, message.id);
        }
        messages.push(message.clone());
    }
    messages.reverse();
    (messages, history.newest_gone())
}
