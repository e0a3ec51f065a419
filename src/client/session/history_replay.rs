//! History replays, which the client assembles from pages of the server.

use crate::client::limits::{MAX_HISTORY, MAX_HISTORY_BYTES};
use crate::client::session::recovery::HeldLines;
use crate::client::session::update::SessionUpdate;
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
    /// Whether new events wait until a replay has been shown.
    pub(super) holds_events: bool,
    held: HeldLines,
}

impl HistoryReplay {
    /// Requests the newest messages up to a limit, or all messages from a point on.
    pub(super) fn request(
        &mut self,
        limit: Option<usize>,
        since: Option<Since>,
        output: &mut Vec<u8>,
    ) {
        let default = match since {
            Some(_) => MAX_HISTORY,
            None => DEFAULT_HISTORY_MESSAGES,
        };
        let replay = PendingReplay {
            left: limit.unwrap_or(default).min(MAX_HISTORY),
            messages: VecDeque::new(),
            bytes: 0,
            since,
        };
        self.request_page(replay, output);
    }

    fn request_page(&mut self, replay: PendingReplay, output: &mut Vec<u8>) {
        let before = replay.messages.front().and_then(|oldest| oldest.id);
        let limit = replay.left.min(MAX_PAGE_MESSAGES);
        client_line::encode_history(output, before, limit);
        self.pending.push_back(replay);
    }

    /// Adds a page to the oldest replay; then requests the next page, or shows the messages.
    pub(super) fn receive_page(
        &mut self,
        page: Messages,
        raw: &[u8],
        output: &mut Vec<u8>,
        updates: &mut Vec<SessionUpdate>,
    ) {
        let Some(mut replay) = self.pending.pop_front() else {
            // The answer to a `UserRequest::Line`.
            updates.push(SessionUpdate::Line(
                ServerLine::History(page),
                raw.to_owned(),
            ));
            return;
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
        let is_since = replay.since.is_some();
        let newest = replay.messages.back().and_then(|newest| newest.id);
        if is_since && !has_all {
            let messages = replay.messages.len();
            updates.push(SessionUpdate::Truncated { messages });
        }
        // Without this, `--since` would print "No messages yet" in a quiet chat.
        if !is_since || !replay.messages.is_empty() {
            let (messages, more) = (replay.messages.into(), page.more);
            let all = ServerLine::History(Messages { messages, more });
            updates.push(SessionUpdate::Line(all, Vec::new()));
        }
        if is_since {
            self.release(newest.unwrap_or(0), updates);
        }
    }

    /// Drops the oldest replay, which the server has rejected.
    pub(super) fn reject(&mut self, updates: &mut Vec<SessionUpdate>) {
        let rejected = self.pending.pop_front();
        if rejected.is_some_and(|replay| replay.since.is_some()) {
            self.release(0, updates);
        }
    }

    /// Drops all replays; returns the one that has to be requested again over the next connection
    /// because events wait for it.
    pub(super) fn interrupt(&mut self) -> Option<Since> {
        self.pending.drain(..).find_map(|replay| replay.since)
    }

    /// Shows an event, now or after the replay that it waits for.
    pub(super) fn show_or_hold(
        &mut self,
        line: ServerLine,
        raw: &[u8],
        updates: &mut Vec<SessionUpdate>,
    ) {
        match self.holds_events && !self.held.is_full() {
            true => self.held.push(line, raw),
            false => updates.push(SessionUpdate::Line(line, raw.to_owned())),
        }
    }

    /// Shows the held events, without the messages up to event `newest`: the replay had those.
    pub(super) fn release(&mut self, newest: u64, updates: &mut Vec<SessionUpdate>) {
        self.holds_events = false;
        for (line, raw) in std::mem::take(&mut self.held).lines {
            let is_known =
                matches!(&line, ServerLine::Message(message) if message.id <= Some(newest));
            if !is_known {
                updates.push(SessionUpdate::Line(line, raw));
            }
        }
    }
}
