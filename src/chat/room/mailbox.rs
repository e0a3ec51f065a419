//! The private messages of a browser user.
//!
//! A write to a live stream does not prove that the browser has it. So each stream begins with the
//! whole mailbox, and the browser skips the messages that it has shown.

use crate::chat::room::messages::PrivateMessage;
use crate::limits::{MAX_MAILBOX_BYTES, MAX_MAILBOX_MESSAGES};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

/// A private message as its sender or its receiver gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateCopy {
    /// Number in the mailbox, for a browser user.
    pub number: Option<u64>,
    /// Whether the user who gets it is the sender.
    pub is_own: bool,
    /// The message.
    pub message: Arc<PrivateMessage>,
}

impl PrivateCopy {
    /// Makes a copy for a client without a mailbox.
    pub(super) fn unnumbered(message: Arc<PrivateMessage>) -> Self {
        PrivateCopy {
            number: None,
            is_own: false,
            message,
        }
    }
}

/// The newest private messages of one browser user, oldest first.
#[derive(Debug)]
pub(super) struct Mailbox {
    copies: VecDeque<PrivateCopy>,
    bytes: usize,
    next_number: u64,
}

impl Mailbox {
    /// Makes an empty mailbox. Numbers begin with the time in microseconds, so that an earlier
    /// mailbox of the same browser, which may still show its messages, has none of them.
    pub(super) fn new(now: Timestamp) -> Self {
        Mailbox {
            copies: VecDeque::new(),
            bytes: 0,
            next_number: u64::try_from(now.as_microsecond()).unwrap_or(0),
        }
    }

    /// Returns all messages, with which each stream begins.
    pub(super) fn copies(&self) -> Vec<PrivateCopy> {
        self.copies.iter().cloned().collect()
    }

    /// Adds a message and drops the oldest ones beyond a limit. Returns it with its number.
    pub(super) fn add(&mut self, message: Arc<PrivateMessage>, is_own: bool) -> PrivateCopy {
        let copy = self.push(message, is_own);
        self.trim();
        copy
    }

    fn trim(&mut self) {
        while self.copies.len() > MAX_MAILBOX_MESSAGES || self.bytes > MAX_MAILBOX_BYTES {
            let Some(oldest) = self.copies.pop_front() else {
                break;
            };
            self.bytes -= oldest.message.text.len();
        }
    }

    /// Adds the messages that waited while no stream was open, after dropping older ones beyond the
    /// limits. All pending ones stay: the first stream that gets them may already be dead, so the
    /// next stream needs them, too.
    pub(super) fn add_pending(&mut self, pending: impl Iterator<Item = Arc<PrivateMessage>>) {
        self.trim();
        for message in pending {
            self.push(message, false);
        }
    }

    fn push(&mut self, message: Arc<PrivateMessage>, is_own: bool) -> PrivateCopy {
        self.bytes += message.text.len();
        let copy = PrivateCopy {
            number: Some(self.next_number),
            is_own,
            message,
        };
        self.next_number += 1;
        self.copies.push_back(copy.clone());
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::username::Username;

    fn message(bytes: usize) -> Arc<PrivateMessage> {
        Arc::new(PrivateMessage {
            time: Timestamp::UNIX_EPOCH,
            source: Username::from_stored("a"),
            target: Username::from_stored("b"),
            text: "x".repeat(bytes).into(),
        })
    }

    fn numbers(mailbox: &Mailbox) -> Vec<u64> {
        let copies = mailbox.copies();
        copies.iter().filter_map(|copy| copy.number).collect()
    }

    #[test]
    fn full_mailbox_drops_the_oldest_messages() {
        let mut mailbox = Mailbox::new(Timestamp::from_microsecond(7).unwrap());
        for number in 0..MAX_MAILBOX_MESSAGES as u64 {
            assert_eq!(mailbox.add(message(1), false).number, Some(7 + number));
        }
        assert_eq!(numbers(&mailbox)[0], 7);
        mailbox.add(message(1), true);
        assert_eq!(numbers(&mailbox)[0], 8);
        mailbox.add(message(MAX_MAILBOX_BYTES - 1), false);
        assert_eq!(numbers(&mailbox), [107, 108]);
        mailbox.add(message(1), false);
        assert_eq!(numbers(&mailbox), [108, 109]);
    }

    #[test]
    fn pending_messages_drop_nothing_until_the_next_message() {
        let mut mailbox = Mailbox::new(Timestamp::UNIX_EPOCH);
        mailbox.add(message(1), true);
        let half = MAX_MAILBOX_BYTES / 2;
        mailbox.add_pending((0..4).map(|_| message(half)));
        assert_eq!(numbers(&mailbox), [0, 1, 2, 3, 4]);
        mailbox.add_pending((0..4).map(|_| message(half)));
        assert_eq!(numbers(&mailbox), [3, 4, 5, 6, 7, 8]);
        mailbox.add(message(1), false);
        assert_eq!(numbers(&mailbox), [8, 9]);
    }
}
