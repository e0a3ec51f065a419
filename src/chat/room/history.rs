//! History: the newest messages, bounded in number and bytes.

use crate::chat::message::Message;
use std::collections::VecDeque;
use std::sync::Arc;

/// The newest messages, oldest first.
#[derive(Debug)]
pub struct History {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    newest_gone: u64,
}

impl History {
    /// Makes a history of at most `max_messages` messages and `max_bytes` bytes.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        History {
            messages: VecDeque::new(),
            bytes: 0,
            max_messages,
            max_bytes,
            newest_gone: 0,
        }
    }

    /// Adds a message and drops the oldest messages that exceed a limit.
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

    /// Returns the messages, oldest first.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &Arc<Message>> + DoubleEndedIterator {
        self.messages.iter()
    }

    /// Returns the number of the newest dropped message, 0 if there is none.
    pub fn newest_gone(&self) -> u64 {
        self.newest_gone
    }

    /// Returns whether the history is empty.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the sum of [`Message::bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::username::Username;
    use jiff::Timestamp;

    fn message(id: u64, text: &str) -> Arc<Message> {
        let address = "127.0.0.1:1".parse().unwrap();
        let name = Username::from_address(address);
        Arc::new(Message::new(id, Timestamp::UNIX_EPOCH, name, text.into()))
    }

    fn ids(history: &History) -> Vec<u64> {
        history.messages().map(|message| message.id).collect()
    }

    #[test]
    fn oldest_messages_beyond_the_count_are_dropped() {
        let mut history = History::new(2, usize::MAX);
        assert!(history.is_empty());
        for id in 1..=3 {
            history.push(message(id, "x"));
        }
        assert_eq!(ids(&history), [2, 3]);
    }

    #[test]
    fn oldest_messages_beyond_the_bytes_are_dropped() {
        let one = message(1, &"x".repeat(100)).bytes();
        let mut history = History::new(10, 2 * one);
        for id in 1..=3 {
            history.push(message(id, &"x".repeat(100)));
        }
        assert_eq!(ids(&history), [2, 3]);
        assert_eq!(history.bytes(), 2 * one);
        history.push(message(4, &"x".repeat(1000)));
        assert!(history.is_empty(), "an oversized message is not kept");
        assert_eq!(history.bytes(), 0);
    }

    #[test]
    fn history_of_zero_messages_stays_empty() {
        let mut history = History::new(0, usize::MAX);
        history.push(message(1, "x"));
        assert!(history.is_empty());
    }
}
