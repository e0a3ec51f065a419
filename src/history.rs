//! The messages that are kept: a ring bounded in messages and in bytes.
//!
//! What lives here: [`Message`], one thing that was said, with its encoded line, and
//! [`History`], the newest of them. The room owns it; replies and the page share its messages.
//! It must never hold more than its bounds, and never copy a message for a reader.

use crate::name::Name;
use crate::protocol::basic;
use crate::search::Query;
use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// One thing that was said.
#[derive(Debug)]
pub struct Message {
    /// Number of the public event, growing by one with each.
    pub id: u64,
    /// When it was said.
    pub time: Timestamp,
    /// The name its author had then.
    pub source: Name,
    /// What was said; newlines are newlines here.
    pub text: Box<str>,
    /// Whether it was done, not said.
    pub action: bool,
    /// The line of the basic dialect, its newline included: encoded once, shared by everyone.
    pub basic_line: Box<[u8]>,
}

impl Message {
    /// A message with its encoded line.
    pub fn new(id: u64, time: Timestamp, source: Name, text: Box<str>) -> Self {
        let mut line = Vec::with_capacity(LINE_FRAME_BYTES + source.as_str().len() + text.len());
        basic::encode_message(&mut line, source.as_str(), &text);
        Message {
            id,
            time,
            source,
            text,
            action: false,
            basic_line: line.into_boxed_slice(),
        }
    }

    /// The same as something done, if it is: a basic client sees a star before it.
    #[must_use]
    pub fn as_action(mut self, action: bool) -> Self {
        if action && !self.action {
            let mut line = Vec::with_capacity(self.basic_line.len() + 2);
            self.action = true;
            basic::encode_message(&mut line, self.source.as_str(), &self.spoken());
            self.basic_line = line.into_boxed_slice();
        }
        self
    }

    /// Whether it is what is looked for.
    pub fn is_found_by(&self, query: &Query) -> bool {
        query.matches(self.source.as_str(), self.time, &self.text)
    }

    /// The text as those see it who know no actions: something done has a star before it.
    pub fn spoken(&self) -> Cow<'_, str> {
        match self.action {
            true => format!("* {}", self.text).into(),
            false => (&*self.text).into(),
        }
    }

    /// Bytes that this message counts for in the history's bound.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.basic_line.len()
    }
}

/// Bytes of a basic line beside its two texts, where nothing is escaped.
const LINE_FRAME_BYTES: usize = 56;

/// The newest messages, oldest first.
#[derive(Debug)]
pub struct History {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    /// Number of the newest message that was let go.
    newest_gone: u64,
}

impl History {
    /// A history of at most `max_messages` messages and `max_bytes` bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        History {
            messages: VecDeque::new(),
            bytes: 0,
            max_messages,
            max_bytes,
            newest_gone: 0,
        }
    }

    /// Keeps a message, and lets go of the oldest ones that have no room any more.
    pub fn push(&mut self, message: Arc<Message>) {
        self.bytes += message.bytes();
        self.messages.push_back(message);
        while self.messages.len() > self.max_messages || self.bytes > self.max_bytes {
            let Some(oldest) = self.messages.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.newest_gone = oldest.id;
        }
    }

    /// The messages, oldest first.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &Arc<Message>> + DoubleEndedIterator {
        self.messages.iter()
    }

    /// Number of the newest message that was kept and let go; 0 if there is none.
    pub fn newest_gone(&self) -> u64 {
        self.newest_gone
    }

    /// Whether no message is kept.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes that the kept messages count for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, text: &str) -> Arc<Message> {
        let address = "127.0.0.1:1".parse().unwrap();
        let name = Name::from_address(address);
        Arc::new(Message::new(id, Timestamp::UNIX_EPOCH, name, text.into()))
    }

    fn ids(history: &History) -> Vec<u64> {
        history.messages().map(|message| message.id).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut history = History::new(2, usize::MAX);
        assert!(history.is_empty());
        for id in 1..=3 {
            history.push(message(id, "x"));
        }
        assert_eq!(ids(&history), [2, 3]);
    }

    #[test]
    fn the_oldest_go_when_they_are_too_large() {
        let one = message(1, &"x".repeat(100)).bytes();
        let mut history = History::new(10, 2 * one);
        for id in 1..=3 {
            history.push(message(id, &"x".repeat(100)));
        }
        assert_eq!(ids(&history), [2, 3]);
        assert_eq!(history.bytes(), 2 * one);
        history.push(message(4, &"x".repeat(1000)));
        assert_eq!(
            ids(&history),
            Vec::<u64>::new(),
            "a message over the bound is not kept"
        );
        assert_eq!(history.bytes(), 0);
    }

    #[test]
    fn no_history_keeps_nothing() {
        let mut history = History::new(0, usize::MAX);
        history.push(message(1, "x"));
        assert!(history.is_empty());
    }
}
