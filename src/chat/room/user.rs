//! One user of the room.
//!
//! What lives here: [`UserId`], [`PrivateMessage`], `User`, what the room knows of one, and `Detached`, what it keeps
//! for one whose connection is lost. The room alone uses them. It must never know whether a name
//! is free.

use crate::chat::event::LeaveReason;
use crate::chat::room::mailbox::Mailbox;
use crate::chat::username::Username;
use crate::limits::{MAX_KEPT_PRIVATE_BYTES, MAX_KEPT_PRIVATE_MESSAGES};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;

/// A user, numbered in the order of arrival; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub(super) u64);

#[cfg(test)]
impl UserId {
    /// A user of this number, of no room.
    pub fn for_test(number: u64) -> Self {
        UserId(number)
    }
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) name: Username,
    pub(super) address: SocketAddr,
    pub(super) since: Timestamp,
    pub(super) refusals_in_a_row: u32,
    /// Whether the name was chosen: an address needs no place among the taken names, since no
    /// one else may choose what reads as an address.
    pub(super) has_chosen: bool,
    /// The number of its session, if it speaks the extended dialect or is one of the page.
    pub(super) session: Option<u64>,
    /// Its private messages, if it is one of the page, who has no address for a name.
    pub(super) mailbox: Option<Box<Mailbox>>,
    /// What is kept for it while its connection is lost.
    pub(super) away: Option<Box<Detached>>,
}

/// Something that one user said to another alone.
#[derive(Debug, PartialEq, Eq)]
pub struct PrivateMessage {
    /// When it was said.
    pub time: Timestamp,
    /// The sender's name then.
    pub source: Username,
    /// The receiver's name then.
    pub target: Username,
    /// What was said; newlines are newlines here.
    pub text: Box<str>,
}

/// A user whose connection is lost, in its grace time.
#[derive(Debug)]
pub(super) struct Detached {
    /// When the grace time ends.
    pub(super) until: Timestamp,
    /// Why it has left, if it does not come back.
    pub(super) reason: LeaveReason,
    /// Whether it counts as connected meanwhile: nobody else gets its place.
    pub(super) has_reserved_slot: bool,
    /// Messages for it alone, and who said them.
    pub(super) kept: Vec<(UserId, Arc<PrivateMessage>)>,
    kept_bytes: usize,
}

impl Detached {
    pub(super) fn new(until: Timestamp, reason: LeaveReason) -> Self {
        Detached {
            until,
            reason,
            has_reserved_slot: false,
            kept: Vec::new(),
            kept_bytes: 0,
        }
    }

    /// Keeps a message; false if there is no room for it.
    pub(super) fn keep(&mut self, sender: UserId, message: &Arc<PrivateMessage>) -> bool {
        let bytes = self.kept_bytes + message.text.len();
        if self.kept.len() >= MAX_KEPT_PRIVATE_MESSAGES || bytes > MAX_KEPT_PRIVATE_BYTES {
            return false;
        }
        self.kept_bytes = bytes;
        self.kept.push((sender, message.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Arc<PrivateMessage> {
        Arc::new(PrivateMessage {
            time: Timestamp::UNIX_EPOCH,
            source: Username::from_stored("a"),
            target: Username::from_stored("b"),
            text: "x".repeat(bytes).into(),
        })
    }

    #[test]
    fn so_much_is_kept_for_one_who_is_away_and_no_more() {
        let away = || Detached::new(Timestamp::UNIX_EPOCH, LeaveReason::Lost);
        let mut many = away();
        for _ in 0..MAX_KEPT_PRIVATE_MESSAGES {
            assert!(many.keep(UserId(1), &message(1)));
        }
        assert!(!many.keep(UserId(1), &message(1)));
        assert_eq!(many.kept.len(), MAX_KEPT_PRIVATE_MESSAGES);
        let mut large = away();
        assert!(large.keep(UserId(1), &message(MAX_KEPT_PRIVATE_BYTES - 1)));
        assert!(!large.keep(UserId(1), &message(2)));
        assert!(large.keep(UserId(1), &message(1)), "what fits is kept");
        assert!(!large.keep(UserId(1), &message(1)));
    }
}
