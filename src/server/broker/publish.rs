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
use crate::server::broker::batch::STORE_FAILS;
use crate::server::broker::execute::{Action, TranscriptLine};
use crate::server::broker::presence_summary;
use crate::server::limits::WEB_MAX_TEXT_BYTES;
use jiff::Timestamp;
use std::sync::Arc;

impl Broker {
    /// Encodes a public event for everyone who reads.
    pub(super) fn publish(&mut self, event: Event) {
        self.snapshot = None;
        let before = self.lines.bytes();
        let lines = &mut self.lines;
        let fanout = &self.publisher.fanout;
        if Arc::strong_count(&self.page_reader) > 1 || fanout.stream_count() > 0 {
            sse::encode_event(&mut lines.page, &self.epoch, &event);
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

    pub(super) fn tell_summary_if_due(&mut self) {
        if self.summary.due().is_none_or(|due| due > self.uptime) {
            return;
        }
        let (entered, left) = self.summary.take();
        let Some(line) = summary_line(entered, left) else {
            return;
        };
        let skip = line.len() as u64;
        // To one who was told of its own arrival, that is not one of those counted.
        let others = entered
            .checked_sub(1)
            .and_then(|entered| summary_line(entered, left));
        let others = others.unwrap_or_default();
        for (key, user) in std::mem::take(&mut self.awaiting_summary) {
            if self.publisher.fanout.user(key) == Some(user) {
                self.step(Action::Bytes(key, others.clone(), skip));
            }
        }
        self.lines.basic.extend_from_slice(&line);
        self.batch_bytes += line.len();
    }

    /// How it is now; made once, whoever asks, until something happens.
    pub(super) fn current_snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        // What is not committed may never be.
        let last = match self.is_failing() {
            true => self.last_committed,
            false => self.room.last_event(),
        };
        let present = |(name, since): (&Username, Timestamp)| PresentUser {
            name: name.clone(),
            since,
        };
        let users = self.room.users().map(present).collect();
        let messages = newest(self.room.history(), last, WEB_MAX_TEXT_BYTES);
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

/// Number of the newest message before the last so many up to this event; 0 if there was none.
fn newest_before(history: &History, count: usize, last: u64) -> u64 {
    let known = history.messages().rev();
    let mut known = known.filter(|message| message.id <= last);
    known
        .nth(count)
        .map_or(history.newest_gone(), |message| message.id)
}

/// The newest messages up to this event, as many as a page has, whose texts fit into so many bytes,
/// oldest first. The others are found page by page.
fn newest(history: &History, last: u64, max_bytes: usize) -> Vec<Arc<Message>> {
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
