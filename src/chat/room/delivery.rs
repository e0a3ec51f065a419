//! Delivery of private messages, and errors about those that were not delivered.
//!
//! Receipt of a sent message is certain if the client has a later event, which it names when it
//! resumes, if it sends a line some seconds later, or if its connection lived on for long enough.

use crate::chat::error::RequestError;
use crate::chat::event::LeaveReason;
use crate::chat::record::{MailContent, MailRecord, Record};
use crate::chat::room::Room;
use crate::chat::room::effect::{Effect, Reply};
use crate::chat::room::mailbox::{Mail, Mailbox, Sender, Sent};
use crate::chat::room::messages::PrivateMessage;
use crate::chat::room::roster::{User, UserId};
use crate::chat::room::session_table::{SessionTable, signed};
use crate::chat::token::TokenHash;
use crate::limits::{CLOSE_TIME, RECEIPT_TIME};
use jiff::SignedDuration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

impl Room {
    /// Gives the sender and the receiver their copies, or keeps the message for a detached
    /// receiver.
    pub(super) fn deliver_private(
        &mut self,
        sender: UserId,
        target: Box<str>,
        text: Box<str>,
    ) -> Result<(), RequestError> {
        let source = self.roster.get(sender);
        let receiver = self.roster.find_by_name(&target);
        let user = receiver.and_then(|receiver| self.roster.get(receiver));
        let (Some(source), Some(receiver), Some(user)) = (source, receiver, user) else {
            return Err(RequestError::NoSuchUser(target));
        };
        let mailbox = user.mailbox.as_ref().filter(|_| user.detached.is_some());
        if receiver != sender && mailbox.is_some_and(|mailbox| !mailbox.may_wait(text.len())) {
            return Err(RequestError::MailboxFull(user.name.as_str().into()));
        }
        let message = Arc::new(PrivateMessage {
            time: self.now.wall,
            source: source.name.clone(),
            target: user.name.clone(),
            text,
        });
        let copy = |is_own| MailContent::Message {
            message: message.clone(),
            is_own,
        };
        let teller = Sender {
            user: Some(sender),
            session: source.session,
        };
        self.put(sender, copy(true), None);
        if receiver != sender {
            self.put(receiver, copy(false), Some(teller));
        }
        Ok(())
    }

    /// Sends mail to a user with a connection; puts it into the mailbox if it waits or may have to
    /// be sent again.
    fn put(&mut self, id: UserId, content: MailContent, sender: Option<Sender>) {
        let Some(user) = self.roster.get_mut(id) else {
            return;
        };
        let is_own = matches!(content, MailContent::Message { is_own: true, .. });
        let is_error = matches!(content, MailContent::NotDelivered(_));
        self.last_mail += 1;
        let mut mail = Mail {
            key: self.last_mail,
            number: None,
            content,
            sender,
            sent: None,
        };
        if is_own || user.detached.is_none() {
            mail.sent = Some(Sent {
                after: self.last_event,
                at: self.now.steady,
            });
            if user.is_browser && !is_error {
                let session = user.session.unwrap_or(0);
                mail.number = Some(self.sessions.next_private(session, self.now));
            }
            self.effects.push(Effect::ToUser(id, mail.reply()));
            // A user without a session gets nothing again, and a client loses its copy only.
            let is_done = is_own || (is_error && user.session.is_none());
            if is_done && !user.is_browser {
                return;
            }
        }
        let mailbox = user.mailbox.get_or_insert_default();
        if is_error && mail.sent.is_none() && !mailbox.may_wait_for_error() {
            return;
        }
        record(&mut self.sessions, user.session, &mail);
        mailbox.push(mail);
        let session = user.session;
        mailbox.trim(user.is_browser, note_in(&mut self.sessions, session));
        self.await_receipts();
    }

    /// Returns what a new live stream of a browser user begins with: its newest private messages,
    /// and errors that it may not have got.
    pub fn mailbox(&self, id: UserId) -> Vec<Reply> {
        let mailbox = self.roster.get(id).and_then(|user| user.mailbox.as_ref());
        mailbox.map_or_else(Vec::new, |mailbox| mailbox.sent_copies().collect())
    }

    /// Marks the waiting mail of a browser user as sent. All stays: the first stream that gets it
    /// may already be dead, so the next stream needs it, too.
    pub(super) fn open_mailbox(&mut self, id: UserId) {
        let Some(user) = self.roster.get_mut(id) else {
            return;
        };
        let (session, target) = (user.session, user.name.clone());
        let Some(mailbox) = &mut user.mailbox else {
            return;
        };
        mailbox.trim(user.is_browser, note_in(&mut self.sessions, session));
        let lost = mailbox.take_stubs();
        for mut mail in mailbox.take_waiting() {
            if let MailContent::Message { .. } = mail.content {
                let session = session.unwrap_or(0);
                mail.number = Some(self.sessions.next_private(session, self.now));
            }
            mail.sent = Some(Sent {
                after: self.last_event,
                at: self.now.steady,
            });
            record(&mut self.sessions, session, &mail);
            mailbox.push(mail);
        }
        if mailbox.has_uncertain(true) {
            self.await_receipts();
        }
        self.report_all(lost, target.as_str());
    }

    /// Sends a client that resumes what it does not have for certain. The client has the event
    /// `after`.
    pub(super) fn send_again(&mut self, id: UserId, after: u64) {
        let Some(user) = self.roster.get_mut(id) else {
            return;
        };
        let Some(mailbox) = &mut user.mailbox else {
            return;
        };
        // An event of the future proves nothing.
        let after = if after > self.last_event { 0 } else { after };
        for mail in mailbox.take_certain(SignedDuration::MIN, after) {
            self.sessions.record(|_| Record::MailForgotten(mail.key));
        }
        let (lost, target) = (mailbox.take_stubs(), user.name.clone());
        let again = mailbox.take_all();
        let has_sent = !again.is_empty();
        for mut mail in again {
            mail.sent = Some(Sent {
                after: self.last_event,
                at: self.now.steady,
            });
            self.effects.push(Effect::ToUser(id, mail.reply()));
            record(&mut self.sessions, user.session, &mail);
            mailbox.push(mail);
        }
        if has_sent {
            self.await_receipts();
        }
        self.report_all(lost, target.as_str());
    }

    // Receipts

    fn await_receipts(&mut self) {
        let time = self.now.steady.saturating_add(signed(RECEIPT_TIME));
        self.next_receipt.get_or_insert(time);
    }

    /// Notes what a user has received before its last connection ended for this reason.
    pub(super) fn note_receipts(&mut self, id: UserId, reason: LeaveReason) {
        let Some(user) = self.roster.get_mut(id) else {
            return;
        };
        let uncertain = match reason {
            // The connection of a browser may have been dead for as long as that of a client.
            LeaveReason::Closed if user.is_browser => RECEIPT_TIME,
            LeaveReason::Quit | LeaveReason::Refused => Duration::ZERO,
            // So does every simple client end.
            LeaveReason::Closed if user.session.is_none() => Duration::ZERO,
            LeaveReason::Closed => CLOSE_TIME,
            _ => RECEIPT_TIME,
        };
        let time = self.now.steady.saturating_sub(signed(uncertain));
        let time = time.min(last_written(self.oldest_pending));
        note_receipts(&mut self.sessions, user, time);
    }

    /// Notes that the client of this user has sent something, so its connection works, and it has
    /// what was sent some seconds ago.
    pub(crate) fn note_sign_of_life(&mut self, id: UserId) {
        let user = self.roster.get_mut(id);
        if let Some(user) = user.filter(|user| !user.is_browser && user.mailbox.is_some()) {
            let time = self.now.steady.saturating_sub(signed(CLOSE_TIME));
            let time = time.min(last_written(self.oldest_pending));
            note_receipts(&mut self.sessions, user, time);
        }
    }

    /// Sets the steady time of the oldest effects that are not carried out yet, because they wait
    /// for the store. No receipt of their mail is certain.
    pub(crate) fn set_oldest_pending(&mut self, time: Option<SignedDuration>) {
        self.oldest_pending = time;
    }

    /// Notes that effects since this time were carried out only now.
    pub(crate) fn note_late_effects(&mut self, since: SignedDuration) {
        for mailbox in self
            .roster
            .iter_mut()
            .filter_map(|user| user.mailbox.as_mut())
        {
            mailbox.delay(since, self.now.steady);
        }
    }

    /// Notes that users of the basic dialect receive everything, because the server stops in
    /// order. They cannot resume.
    pub(crate) fn note_last_receipts(&mut self) {
        for user in self.roster.iter_mut() {
            if user.session.is_none() {
                note_receipts(&mut self.sessions, user, SignedDuration::MAX);
            }
        }
    }

    /// Notes that users are behind, so what was sent to them may be written only from now on. Asks
    /// for them only if receipts are about to be noted.
    pub(crate) fn hold_receipts(&mut self, users_behind: impl FnOnce() -> Vec<UserId>) {
        if !self.is_receipt_due() {
            return;
        }
        for id in users_behind() {
            let user = self.roster.get_mut(id);
            if let Some(mailbox) = user.and_then(|user| user.mailbox.as_mut()) {
                mailbox.delay(SignedDuration::MIN, self.now.steady);
            }
        }
    }

    fn is_receipt_due(&self) -> bool {
        let next = self.next_receipt;
        next.is_some_and(|time| time <= self.now.steady)
    }

    /// Notes what connected users have received, because their connections lived on.
    pub(super) fn expire_mail(&mut self) {
        if !self.is_receipt_due() {
            return;
        }
        let time = self.now.steady.saturating_sub(signed(RECEIPT_TIME));
        let time = time.min(last_written(self.oldest_pending));
        let mut is_any_left = false;
        for user in self.roster.iter_mut() {
            if user.detached.is_none() {
                note_receipts(&mut self.sessions, user, time);
                let mailbox = user.mailbox.as_ref();
                is_any_left |=
                    mailbox.is_some_and(|mailbox| mailbox.has_uncertain(user.is_browser));
            }
        }
        let next = self.now.steady.saturating_add(signed(RECEIPT_TIME / 4));
        self.next_receipt = is_any_left.then_some(next);
    }

    // Ends

    /// Moves the mail of a temporary user, which its connection has got already, to the user that
    /// the connection belongs to from now on.
    pub(super) fn move_mail(&mut self, mailbox: Option<Box<Mailbox>>, to: UserId) {
        let (Some(mut mailbox), Some(user)) = (mailbox, self.roster.get_mut(to)) else {
            return;
        };
        for mail in mailbox.take_all() {
            record(&mut self.sessions, user.session, &mail);
            user.mailbox.get_or_insert_default().push(mail);
        }
    }

    /// Removes the mail of a user that has left, and tells the senders. Errors stay with a kept
    /// session.
    pub(super) fn report_undelivered(
        &mut self,
        target: &str,
        session: Option<u64>,
        mailbox: Option<Box<Mailbox>>,
    ) {
        for mail in mailbox.into_iter().flat_map(|mut all| all.take_all()) {
            match (mail.content, session) {
                (MailContent::NotDelivered(target), Some(session))
                    if self.sessions.keep_error(session, mail.key, target.clone()) => {}
                _ => self.sessions.record(|_| Record::MailForgotten(mail.key)),
            }
            if let Some(sender) = mail.sender {
                self.report(sender, target);
            }
        }
    }

    fn report_all(&mut self, lost: VecDeque<Mail>, target: &str) {
        for mail in lost {
            self.sessions.record(|_| Record::MailForgotten(mail.key));
            if let Some(sender) = mail.sender {
                self.report(sender, target);
            }
        }
    }

    fn report(&mut self, sender: Sender, target: &str) {
        let session = sender.session.and_then(|number| self.sessions.get(number));
        let user = session.and_then(|session| session.user).or(sender.user);
        let error = MailContent::NotDelivered(target.into());
        if let Some(user) = user.filter(|user| self.roster.get(*user).is_some()) {
            return self.put(user, error, None);
        }
        let key = self.last_mail + 1;
        if let Some(number) = sender.session
            && self.sessions.keep_error(number, key, target.into())
        {
            self.last_mail = key;
            let mail = Mail {
                key,
                number: None,
                content: error,
                sender: None,
                sent: None,
            };
            record(&mut self.sessions, sender.session, &mail);
        }
    }

    /// Gives a user the errors that its session has kept.
    pub(super) fn give_kept_errors(&mut self, id: UserId) {
        let session = self.roster.get(id).and_then(|user| user.session);
        for (key, target) in session.map_or_else(Vec::new, |all| self.sessions.take_errors(all)) {
            self.sessions.record(|_| Record::MailForgotten(key));
            self.put(id, MailContent::NotDelivered(target), None);
        }
    }

    /// Takes over stored mail, after the sessions.
    pub(super) fn restore_mail(&mut self, stored: MailRecord) {
        let session = |token: TokenHash| {
            let number = token.prefix();
            let session = self.sessions.get(number)?;
            (session.record.token == token).then_some((number, session.user))
        };
        let sender = stored.sender.and_then(session).map(|(number, _)| Sender {
            user: None,
            session: Some(number),
        });
        let owner = stored.owner.and_then(session);
        let user = owner.and_then(|(_, user)| user);
        if let Some(user) = user.and_then(|user| self.roster.get_mut(user)) {
            return user.mailbox.get_or_insert_default().push(Mail {
                key: stored.key,
                number: stored.number,
                content: stored.content,
                sender,
                sent: stored.after.map(|after| Sent {
                    after,
                    at: self.now.steady,
                }),
            });
        }
        match (stored.content, sender, owner) {
            (MailContent::NotDelivered(target), _, Some((session, _)))
                if self
                    .sessions
                    .keep_error(session, stored.key, target.clone()) => {}
            (content, sender, _) => {
                self.sessions.record(|_| Record::MailForgotten(stored.key));
                if let (Some(sender), MailContent::Message { message, .. }) = (sender, content) {
                    self.report(sender, message.target.as_str());
                }
            }
        }
    }
}

/// Returns the latest time at which all effects were carried out.
fn last_written(oldest_pending: Option<SignedDuration>) -> SignedDuration {
    let before = |time: SignedDuration| time.saturating_sub(SignedDuration::from_nanos(1));
    oldest_pending.map_or(SignedDuration::MAX, before)
}

/// Removes the mail that a user has received for certain, sent up to this time. A browser user
/// keeps it, but the senders need no report any more.
fn note_receipts(sessions: &mut SessionTable, user: &mut User, time: SignedDuration) {
    let Some(mailbox) = &mut user.mailbox else {
        return;
    };
    if user.is_browser {
        return mailbox.settle(time, note_in(sessions, user.session));
    }
    for mail in mailbox.take_certain(time, 0) {
        sessions.record(|_| Record::MailForgotten(mail.key));
    }
}

/// Returns a function that records changed mail of the user with this session, or its end.
fn note_in(sessions: &mut SessionTable, owner: Option<u64>) -> impl FnMut(&Mail, bool) {
    move |mail, stays| match stays {
        true => record(sessions, owner, mail),
        false => sessions.record(|_| Record::MailForgotten(mail.key)),
    }
}

/// Records new or changed mail of the user with this session.
fn record(sessions: &mut SessionTable, owner: Option<u64>, mail: &Mail) {
    sessions.record(|sessions| {
        let token = |number| sessions.get(number).map(|session| session.record.token);
        Record::Mail(MailRecord {
            key: mail.key,
            owner: owner.and_then(token),
            sender: mail
                .sender
                .and_then(|sender| sender.session)
                .and_then(token),
            number: mail.number,
            after: mail.sent.map(|sent| sent.after),
            content: mail.content.clone(),
        })
    });
}

#[cfg(test)]
mod tests;
