//! The past that a user asks for.
//!
//! What lives here: [`Replays`], which puts what was said together page by page, as the server
//! gives it, and [`Since`], where it is to begin. The session uses it. It must never collect
//! without bound, and never show anything twice.

use crate::client::limits::{MAX_HISTORY, MAX_HISTORY_BYTES, MAX_RECOVERED, MAX_RECOVERED_BYTES};
use crate::client::session::update::{OnUpdate, SessionUpdate};
use crate::limits::{DEFAULT_HISTORY_MESSAGES, MAX_PAGE_MESSAGES};
use crate::protocol::server_line;
use crate::protocol::server_line::{Messages, Said, ServerLine};
use jiff::Timestamp;
use std::collections::VecDeque;

/// Since when messages are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Those after the event of this number.
    Event(u64),
    /// Those of this time, and later ones.
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

/// A replay of which the server has been asked for one more page.
#[derive(Debug)]
struct Replay {
    /// Messages that are still wanted.
    left: usize,
    /// What has come, oldest first.
    collected: VecDeque<Said>,
    /// Of its texts.
    bytes: usize,
    /// Older ones are not wanted.
    since: Option<Since>,
}

/// The replays that are under way, and what is said meanwhile.
#[derive(Debug, Default)]
pub struct Replays {
    /// One for each page that the server was asked for, in that order.
    asked: VecDeque<Replay>,
    /// Whether what is said now has to stand behind a past that has not come yet.
    is_past_due: bool,
    /// What was said while the past was on its way.
    held: Vec<(ServerLine, Vec<u8>)>,
    /// Of its lines.
    held_bytes: usize,
}

impl Replays {
    /// What is said from now on waits for the past.
    pub fn expect_past(&mut self) {
        self.is_past_due = true;
    }

    /// Asks for the newest messages, as many as a user gets who says no number.
    pub fn ask_for_newest(&mut self, limit: Option<usize>, output: &mut Vec<u8>) {
        let count = limit.unwrap_or(DEFAULT_HISTORY_MESSAGES);
        self.ask(count, None, output);
    }

    /// Asks for what was said since then.
    pub fn ask_since(&mut self, since: Since, output: &mut Vec<u8>) {
        self.ask(MAX_HISTORY, Some(since), output);
    }

    fn ask(&mut self, count: usize, since: Option<Since>, output: &mut Vec<u8>) {
        let replay = Replay {
            left: count.min(MAX_HISTORY),
            collected: VecDeque::new(),
            bytes: 0,
            since,
        };
        self.ask_page(replay, output);
    }

    /// Asks for the page before what has come.
    fn ask_page(&mut self, replay: Replay, output: &mut Vec<u8>) {
        let before = replay.collected.front().and_then(|oldest| oldest.id);
        let limit = replay.left.min(MAX_PAGE_MESSAGES);
        server_line::encode_history(output, before, Some(limit));
        self.asked.push_back(replay);
    }

    /// Takes a page, and asks for the next or shows all.
    pub fn hear(&mut self, page: Messages, line: &[u8], output: &mut Vec<u8>, show: OnUpdate<'_>) {
        let Some(mut replay) = self.asked.pop_front() else {
            // A program asked for it in its own words.
            return show(SessionUpdate::Heard(ServerLine::History(page)), line);
        };
        replay.left = replay.left.saturating_sub(page.messages.len());
        let mut has_all = !page.more || page.messages.is_empty();
        for message in page.messages.into_iter().rev() {
            if replay.since.is_some_and(|since| !since.includes(&message)) {
                has_all = true;
                break;
            }
            replay.bytes += message.message.len();
            replay.collected.push_front(message);
        }
        let has_room = replay.left > 0 && replay.bytes < MAX_HISTORY_BYTES;
        if !has_all && has_room {
            return self.ask_page(replay, output);
        }
        self.show_past(replay, page.more, has_all, show);
    }

    fn show_past(&mut self, replay: Replay, more: bool, has_all: bool, show: OnUpdate<'_>) {
        let is_since = replay.since.is_some();
        let newest = replay.collected.back().and_then(|newest| newest.id);
        if is_since && !has_all {
            let messages = replay.collected.len();
            show(SessionUpdate::Cut { messages }, &[]);
        }
        // A chat in which nothing was said since then has nothing to tell.
        if !is_since || !replay.collected.is_empty() {
            let messages = replay.collected.into();
            let all = Messages { messages, more };
            show(SessionUpdate::Heard(ServerLine::History(all)), &[]);
        }
        if is_since {
            self.release(newest.unwrap_or(0), show);
        }
    }

    /// The server has refused the oldest of what it was asked for.
    pub fn refuse(&mut self, show: OnUpdate<'_>) {
        let refused = self.asked.pop_front();
        if refused.is_some_and(|replay| replay.since.is_some()) {
            self.release(0, show);
        }
    }

    /// The connection is gone, and with it what was asked for; gives what has to be asked for
    /// again, since what is said waits for it.
    pub fn interrupt(&mut self) -> Option<Since> {
        self.asked.drain(..).find_map(|replay| replay.since)
    }

    /// Whether what is said now has to wait for the past.
    pub fn holds(&self) -> bool {
        self.is_past_due && self.held.len() < MAX_RECOVERED && self.held_bytes < MAX_RECOVERED_BYTES
    }

    /// Keeps this until the past has come.
    pub fn hold(&mut self, heard: ServerLine, line: &[u8]) {
        self.held_bytes += line.len();
        self.held.push((heard, line.to_owned()));
    }

    /// The past does not come (any more), or it has come up to the event of this number: shows
    /// what waited for it.
    pub fn release(&mut self, newest: u64, show: OnUpdate<'_>) {
        self.is_past_due = false;
        self.held_bytes = 0;
        for (heard, line) in std::mem::take(&mut self.held) {
            let is_known = matches!(&heard, ServerLine::Message(said) if said.id <= Some(newest));
            if !is_known {
                show(SessionUpdate::Heard(heard), &line);
            }
        }
    }
}
