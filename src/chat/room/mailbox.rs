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
use std::collections::{HashMap, VecDeque};
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

    /// Returns whether only a report to the sender may be left to do.
    fn is_stub(&self) -> bool {
        matches!(&self.content, MailContent::Message { message, .. } if message.text.is_empty())
    }

    fn remove_text(&mut self) {
        if let MailContent::Message { message, .. } = &mut self.content {
            *message = Arc::new(PrivateMessage {
                time: message.time,
                source: message.source.clone(),
                target: message.target.clone(),
                text: Box::default(),
            });
        }
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

    /// Brings the sent mail within its limits. The oldest mail of the sender that holds most goes
    /// first, so that a stranger does not push out the mail of others. If the sender may have to be
    /// told, only the text goes. Calls `note` with changed mail, and whether it stays.
    pub(super) fn trim(&mut self, is_browser: bool, mut note: impl FnMut(&Mail, bool)) {
        let count = match is_browser {
            true => MAX_MAILBOX_MESSAGES,
            false => MAX_UNCERTAIN_MESSAGES,
        };
        loop {
            let texts = self.sent.iter().filter(|mail| !mail.is_stub()).count();
            let has_excess = texts > count || self.sent_bytes > MAX_MAILBOX_BYTES;
            if !has_excess && self.sent.len() <= MAX_UNCERTAIN_MESSAGES {
                return;
            }
            let Some(place) = self.oldest_of_largest_share(has_excess) else {
                return;
            };
            let mail = &mut self.sent[place];
            self.sent_bytes -= mail.bytes();
            if has_excess && mail.sender.is_some() {
                mail.remove_text();
                note(mail, true);
            } else if let Some(mail) = self.sent.remove(place) {
                note(&mail, false);
            }
        }
    }

    /// Returns the place of the oldest sent mail of the sender that holds most.
    fn oldest_of_largest_share(&self, needs_text: bool) -> Option<usize> {
        let mut shares: HashMap<_, (usize, usize)> = HashMap::new();
        for (place, mail) in self.sent.iter().enumerate() {
            if !(needs_text && mail.is_stub()) {
                let sender = mail.sender.map(|sender| (sender.session, sender.user));
                let (share, _) = shares.entry(sender).or_insert((0, place));
                *share += mail.bytes() + size_of::<Mail>();
            }
        }
        let largest = shares.into_values().max_by_key(|(share, _)| *share);
        largest.map(|(_, oldest)| oldest)
    }

    /// Takes the messages whose texts are gone.
    pub(super) fn take_stubs(&mut self) -> VecDeque<Mail> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        let (stubs, rest) = sent.partition(Mail::is_stub);
        self.sent = rest;
        stubs
    }

    /// Returns the copies of sent messages.
    pub(super) fn sent_copies(&self) -> impl Iterator<Item = Reply> {
        let sent = self.sent.iter().filter(|mail| !mail.is_stub());
        sent.map(Mail::reply)
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

    /// Notes that mail sent since this time was written only now.
    pub(super) fn delay(&mut self, since: SignedDuration, now: SignedDuration) {
        let sent = self.sent.iter_mut().filter_map(|mail| mail.sent.as_mut());
        for sent in sent.filter(|sent| sent.at >= since) {
            sent.at = now;
        }
    }

    /// Notes for a browser user, which keeps its messages, that the receipt of mail sent up to this
    /// time is certain. Calls `note` with changed mail, and whether it stays.
    pub(super) fn settle(&mut self, time: SignedDuration, mut note: impl FnMut(&Mail, bool)) {
        self.sent.retain_mut(|mail| {
            let is_error = !mail.is_message();
            if !(is_error || mail.sender.is_some()) || !mail.is_sent_before(time) {
                return true;
            }
            let stays = !is_error && !mail.is_stub();
            mail.sender = None;
            note(mail, stays);
            stays
        });
    }

    pub(super) fn has_uncertain(&self, is_browser: bool) -> bool {
        match is_browser {
            true => {
                let mut sent = self.sent.iter();
                sent.any(|mail| mail.sender.is_some() || !mail.is_message())
            }
            false => !self.sent.is_empty(),
        }
    }
}
