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
    pub(crate) fn newest_gone(&self) -> u64 {
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
