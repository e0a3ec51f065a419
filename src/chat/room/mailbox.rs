//! The private messages of one user: those that wait for it, and those that it may not have yet.
//!
//! A write to a socket does not prove that the client has the bytes. So a sent message stays here
//! until its receipt is certain, and a client that resumes before gets it again. A browser user
//! keeps its newest messages, with which each live stream begins.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::record::MailContent;
use crate::chat::room::effect::Reply;
use crate::chat::room::messages::PrivateMessage;
use crate::chat::room::roster::UserId;
use crate::limits::{
    MAX_KEPT_PRIVATE_BYTES, MAX_KEPT_PRIVATE_MESSAGES, MAX_MAILBOX_BYTES, MAX_MAILBOX_MESSAGES,
    MAX_UNCERTAIN_MESSAGES,
};
use jiff::SignedDuration;
use std::collections::VecDeque;
use std::sync::Arc;

/// A private message as its sender or its receiver gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateCopy {
    /// Number for a browser user, which grows with each of its private messages.
    pub number: Option<u64>,
    /// Whether the user who gets it is the sender.
    pub is_own: bool,
    /// The message.
    pub message: Arc<PrivateMessage>,
}

/// Who gets an error if a message is not delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    /// `None` for a sender of an earlier run.
    pub(super) user: Option<UserId>,
    pub(super) session: Option<u64>,
}

/// When a message was given to the connections of its user.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Number of the newest event before the message in the stream of the client.
    pub(super) after: u64,
    /// Steady time.
    pub(super) at: SignedDuration,
}

/// A private message, or the error about one, for one user.
#[derive(Debug)]
pub(super) struct Mail {
    /// Identifies the mail in the store.
    pub(super) key: u64,
    pub(super) number: Option<u64>,
    pub(super) content: MailContent,
    /// `None` if nobody has to be told any more.
    pub(super) sender: Option<Sender>,
    /// `None` while the mail waits for a connection.
    pub(super) sent: Option<Sent>,
}

impl Mail {
    pub(super) fn reply(&self) -> Reply {
        match &self.content {
            MailContent::Message { message, is_own } => Reply::Private(PrivateCopy {
                number: self.number,
                is_own: *is_own,
                message: message.clone(),
            }),
            MailContent::NotDelivered(target) => not_delivered(target),
        }
    }

    fn is_sent_before(&self, time: SignedDuration) -> bool {
        self.sent.is_some_and(|sent| sent.at <= time)
    }

    fn is_message(&self) -> bool {
        matches!(self.content, MailContent::Message { .. })
    }

    fn bytes(&self) -> usize {
        match &self.content {
            MailContent::Message { message, .. } => message.text.len(),
            MailContent::NotDelivered(_) => 0,
        }
    }
}

/// Returns the error about a private message to `target`.
pub(super) fn not_delivered(target: &str) -> Reply {
    Reply::Rejected(RejectedRequest {
        error: RequestError::NotDelivered(target.into()),
        kind: Some("private".into()),
    })
}

/// The mail of one user. Sent mail is older than waiting mail, and each is in order.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    sent: VecDeque<Mail>,
    sent_bytes: usize,
    waiting: VecDeque<Mail>,
    waiting_bytes: usize,
}

impl Mailbox {
    /// Returns whether a message of this many bytes may wait.
    pub(super) fn may_wait(&self, bytes: usize) -> bool {
        let messages = self.waiting.iter().filter(|mail| mail.is_message());
        messages.count() < MAX_KEPT_PRIVATE_MESSAGES
            && self.waiting_bytes + bytes <= MAX_KEPT_PRIVATE_BYTES
    }

    /// Returns whether one more error may wait.
    pub(super) fn may_wait_for_error(&self) -> bool {
        let errors = self.waiting.iter().filter(|mail| !mail.is_message());
        errors.count() < MAX_KEPT_PRIVATE_MESSAGES
    }

    pub(super) fn push(&mut self, mail: Mail) {
        let (mails, bytes) = match mail.sent {
            Some(_) => (&mut self.sent, &mut self.sent_bytes),
            None => (&mut self.waiting, &mut self.waiting_bytes),
        };
        *bytes += mail.bytes();
        mails.push_back(mail);
    }

    /// Removes the oldest sent mail beyond the limits, and returns its keys.
    pub(super) fn trim(&mut self, is_browser: bool) -> Vec<u64> {
        let count = match is_browser {
            true => MAX_MAILBOX_MESSAGES,
            false => MAX_UNCERTAIN_MESSAGES,
        };
        let mut removed = Vec::new();
        while (self.sent.len() > count || self.sent_bytes > MAX_MAILBOX_BYTES)
            && let Some(oldest) = self.sent.pop_front()
        {
            self.sent_bytes -= oldest.bytes();
            removed.push(oldest.key);
        }
        removed
    }

    /// Returns the copies of sent messages.
    pub(super) fn sent_copies(&self) -> impl Iterator<Item = Reply> {
        self.sent.iter().map(Mail::reply)
    }

    /// Takes the mail that waits.
    pub(super) fn take_waiting(&mut self) -> VecDeque<Mail> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Takes all mail, oldest first.
    pub(super) fn take_all(&mut self) -> VecDeque<Mail> {
        let mut all = std::mem::take(self);
        all.sent.append(&mut all.waiting);
        all.sent
    }

    /// Takes the sent mail whose receipt is certain: sent up to this time, or before an event that
    /// the client has.
    pub(super) fn take_certain(&mut self, time: SignedDuration, event: u64) -> Vec<Mail> {
        let is_certain = |mail: &Mail| {
            let is_before_event = mail.sent.is_some_and(|sent| sent.after < event);
            is_before_event || mail.is_sent_before(time)
        };
        let sent = std::mem::take(&mut self.sent).into_iter();
        let (certain, rest): (Vec<_>, Vec<_>) = sent.partition(is_certain);
        self.sent = rest.into();
        self.sent_bytes = self.sent.iter().map(Mail::bytes).sum();
        certain
    }

    /// Returns the sent messages whose receipt is certain since this time and of which the senders
    /// would still be told.
    pub(super) fn certain_mut(&mut self, time: SignedDuration) -> impl Iterator<Item = &mut Mail> {
        let sent = self.sent.iter_mut();
        sent.filter(move |mail| mail.sender.is_some() && mail.is_sent_before(time))
    }

    pub(super) fn has_uncertain(&self, is_browser: bool) -> bool {
        match is_browser {
            true => self.sent.iter().any(|mail| mail.sender.is_some()),
            false => !self.sent.is_empty(),
        }
    }
}
