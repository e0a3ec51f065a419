//! Public events: encoded once per dialect, summarised for the basic dialect, and in snapshots.

use crate::chat::event::{Event, EventKind};
use crate::chat::message::Message;
use crate::chat::record::Record;
use crate::chat::room::history::History;
use crate::chat::room::snapshot::{PresentUser, Snapshot};
use crate::chat::username::Username;
use crate::limits::MAX_PAGE_MESSAGES;
use crate::protocol::basic::notice_line;
use crate::protocol::{basic, extended, sse};
use crate::server::broker::Broker;
use crate::server::broker::action::{Action, TranscriptLine};
use crate::server::broker::batch::STORE_FAILS;
use crate::server::broker::presence_summary;
use crate::server::limits::WEB_MAX_TEXT_BYTES;
use jiff::Timestamp;
use std::sync::Arc;

impl Broker {
    /// Encodes a public event once per dialect.
    pub(super) fn publish(&mut self, event: Event) {
        self.snapshot = None;
        let before = self.lines.bytes();
        let lines = &mut self.lines;
        let fanout = &self.fanout;
        if Arc::strong_count(&self.stream_guard) > 1 || fanout.stream_count() > 0 {
            sse::encode_event(&mut lines.browser, &self.epoch, &event);
        }
        extended::encode_event(&mut lines.extended, &event);
        match &event.kind {
            EventKind::Said(message) => {
                basic::encode_chat_message(&mut lines.basic, message);
                lines.transcript.push(TranscriptLine::Said(message.clone()));
            }
            kind => {
                let sentence = basic::event_notice(kind).unwrap_or_default();
                match kind {
                    EventKind::Joined {
                        is_summarised: true,
                        ..
                    } => self.summary.count_entered(self.uptime),
                    EventKind::Left {
                        is_summarised: true,
                        ..
                    } => self.summary.count_left(self.uptime),
                    EventKind::Joined { name, .. } => {
                        basic::encode_entered(&mut lines.basic, name.as_str());
                    }
                    _ => basic::encode_notice(&mut lines.basic, &sentence),
                }
                lines.transcript.push(TranscriptLine::Notice(sentence));
            }
        }
        self.batch_bytes += self.lines.bytes() - before;
        if self.commit_queue.is_some() {
            self.records.push(Record::Event(event));
        }
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
        // These clients already got their own join notice, so leave it out of the count they receive.
        let own_line = entered
            .checked_sub(1)
            .and_then(|entered| summary_line(entered, left));
        let own_line = own_line.unwrap_or_default();
        for (key, user) in std::mem::take(&mut self.awaiting_summary) {
            if self.fanout.user(key) == Some(user) {
                self.add_action(Action::Bytes(key, own_line.clone(), skip));
            }
        }
        self.lines.basic.extend_from_slice(&line);
        self.batch_bytes += line.len();
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
        let present = |(name, since): (&Username, Timestamp)| PresentUser {
            name: name.clone(),
            since,
        };
        let users = self.room.users().map(present).collect();
        let messages = newest_messages(self.room.history(), last, WEB_MAX_TEXT_BYTES);
        let notice = self.is_failing().then(|| STORE_FAILS.to_owned());
        let older = newest_before(self.room.history(), messages.len(), last);
        let snapshot = Snapshot {
            epoch: self.epoch.clone(),
            last,
            users,
            messages,
            older,
            notice,
        };
        self.snapshot.insert(Arc::new(snapshot)).clone()
    }
}

fn summary_line(entered: usize, left: usize) -> Option<Arc<[u8]>> {
    presence_summary::sentence(entered, left).map(|sentence| notice_line(&sentence))
}

/// Returns the number of the newest message before the last `count` up to event `last`; 0 if there
/// is none.
fn newest_before(history: &History, count: usize, last: u64) -> u64 {
    let mut messages = history
        .messages()
        .rev()
        .filter(|message| message.id <= last);
    messages
        .nth(count)
        .map_or(history.newest_gone(), |message| message.id)
}

/// Returns the newest messages up to event `last`, oldest first: at most one page, and at most
/// `max_bytes` of text.
fn newest_messages(history: &History, last: u64, max_bytes: usize) -> Vec<Arc<Message>> {
    let mut bytes = 0;
    let fits = |message: &&Arc<Message>| {
        bytes += message.text.len();
        bytes <= max_bytes
    };
    let mut messages: Vec<_> = history
        .messages()
        .rev()
        .filter(|message| message.id <= last)
        .take(MAX_PAGE_MESSAGES)
        .take_while(fits)
        .cloned()
        .collect();
    messages.reverse();
    messages
}
