//! History replays, which the client assembles from pages of the server.

use crate::client::limits::{MAX_HISTORY, MAX_HISTORY_BYTES};
use crate::client::session::held_lines::HeldLines;
use crate::client::session::update::{OnUpdate, SessionUpdate};
use crate::limits::{DEFAULT_HISTORY_MESSAGES, MAX_PAGE_MESSAGES};
use crate::protocol::client_line;
use crate::protocol::server_line::{Messages, Said, ServerLine};
use jiff::Timestamp;
use std::collections::VecDeque;

/// Point from which messages are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// After the event with this number.
    Event(u64),
    /// From this time on.
    Time(Timestamp),
}

impl Since {
    fn includes(self, message: &Said) -> bool {
        match self {
            Since::Event(number) => message.id.is_some_and(|id| id > number),
            Since::Time(time) => message.time.is_some_and(|said| said >= time),
        }
    }
}

/// A replay for which the server owes one page.
#[derive(Debug)]
struct PendingReplay {
    /// Messages still wanted.
    left: usize,
    /// Received messages, oldest first.
    messages: VecDeque<Said>,
    bytes: usize,
    since: Option<Since>,
}

/// Replays in progress, and the events that wait for one of them.
#[derive(Debug, Default)]
pub(crate) struct HistoryReplay {
    /// One replay per requested page, in the order of the requests.
    pending: VecDeque<PendingReplay>,
    holds_events: bool,
    held: HeldLines,
}

impl HistoryReplay {
    /// Holds new events back until a replay has been shown.
    pub(super) fn hold_until_replayed(&mut self) {
        self.holds_events = true;
    }

    pub(super) fn request_newest(&mut self, limit: Option<usize>, output: &mut Vec<u8>) {
        let count = limit.unwrap_or(DEFAULT_HISTORY_MESSAGES);
        self.request(count.min(MAX_HISTORY), None, output);
    }

    pub(super) fn request_since(&mut self, since: Since, output: &mut Vec<u8>) {
        self.request(MAX_HISTORY, Some(since), output);
    }

    fn request(&mut self, count: usize, since: Option<Since>, output: &mut Vec<u8>) {
        let replay = PendingReplay {
            left: count,
            messages: VecDeque::new(),
            bytes: 0,
            since,
        };
        self.request_page(replay, output);
    }

    fn request_page(&mut self, replay: PendingReplay, output: &mut Vec<u8>) {
        let before = replay.messages.front().and_then(|oldest| oldest.id);
        let limit = replay.left.min(MAX_PAGE_MESSAGES);
        client_line::encode_history(output, before, Some(limit));
        self.pending.push_back(replay);
    }

    /// Adds a page to the oldest replay; then requests the next page, or shows the messages.
    pub(super) fn receive_page(
        &mut self,
        page: Messages,
        raw: &[u8],
        output: &mut Vec<u8>,
        on_update: OnUpdate<'_>,
    ) {
        let Some(mut replay) = self.pending.pop_front() else {
            // The answer to a `UserRequest::Line`.
            return on_update(SessionUpdate::Line(ServerLine::History(page)), raw);
        };
        replay.left = replay.left.saturating_sub(page.messages.len());
        let mut has_all = !page.more || page.messages.is_empty();
        for message in page.messages.into_iter().rev() {
            if replay.since.is_some_and(|since| !since.includes(&message)) {
                has_all = true;
                break;
            }
            replay.bytes += message.message.len();
            replay.messages.push_front(message);
        }
        if !has_all && replay.left > 0 && replay.bytes < MAX_HISTORY_BYTES {
            return self.request_page(replay, output);
        }
        self.show(replay, page.more, has_all, on_update);
    }

    fn show(&mut self, replay: PendingReplay, more: bool, has_all: bool, on_update: OnUpdate<'_>) {
        let is_since = replay.since.is_some();
        let newest = replay.messages.back().and_then(|newest| newest.id);
        if is_since && !has_all {
            let messages = replay.messages.len();
            on_update(SessionUpdate::Truncated { messages }, &[]);
        }
        // Without this, `--since` would print "No messages yet" in a quiet chat.
        if !is_since || !replay.messages.is_empty() {
            let messages = replay.messages.into();
            let all = Messages { messages, more };
            on_update(SessionUpdate::Line(ServerLine::History(all)), &[]);
        }
        if is_since {
            self.release(newest.unwrap_or(0), on_update);
        }
    }

    /// Drops the oldest replay, which the server has rejected.
    pub(super) fn reject(&mut self, on_update: OnUpdate<'_>) {
        let rejected = self.pending.pop_front();
        if rejected.is_some_and(|replay| replay.since.is_some()) {
            self.release(0, on_update);
        }
    }

    /// Drops all replays; returns the one that has to be requested again over the next connection
    /// because events wait for it.
    pub(super) fn interrupt(&mut self) -> Option<Since> {
        self.pending.drain(..).find_map(|replay| replay.since)
    }

    pub(super) fn is_holding(&self) -> bool {
        self.holds_events && !self.held.is_full()
    }

    pub(super) fn hold(&mut self, line: ServerLine, raw: &[u8]) {
        self.held.push(line, raw);
    }

    /// Shows the held events, without the messages up to event `newest`: the replay had those.
    pub(super) fn release(&mut self, newest: u64, on_update: OnUpdate<'_>) {
        self.holds_events = false;
        for (line, raw) in self.held.take() {
            let is_known =
                matches!(&line, ServerLine::Message(message) if message.id <= Some(newest));
            if !is_known {
                on_update(SessionUpdate::Line(line), &raw);
            }
        }
    }
}
