//! Private messages: who gets them, when again, and who is told that they were not delivered.

use super::{Model, Person, seconds};
use jiff::SignedDuration;
use smolchat::chat::event::LeaveReason;
use smolchat::chat::room::{Effect, Reply, UserId};
use smolchat::limits::{CLOSE_TIME, RECEIPT_TIME};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Mail {
    /// The text and whether the user is the sender; `None` for an error.
    pub(super) message: Option<(String, bool)>,
    /// Sender to tell if it is not delivered, with its token.
    pub(super) sender: Option<(UserId, Option<usize>)>,
    pub(super) at: SignedDuration,
}

impl Person {
    pub(super) fn has_uncertain_mail(&self) -> bool {
        let is_uncertain = |mail: &Mail| mail.sender.is_some() || mail.message.is_none();
        let mut sent = self.sent.iter();
        sent.any(|mail| !self.is_browser || is_uncertain(mail))
    }
}

impl Model {
    /// Gives a user mail; checks what its connections get.
    pub(super) fn put(
        &mut self,
        id: UserId,
        message: Option<(String, bool)>,
        sender: Option<(UserId, Option<usize>)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(place) = self.here.iter().position(|person| person.id == id) else {
            return;
        };
        let person = &mut self.here[place];
        let is_own = message.as_ref().is_some_and(|(_, is_own)| *is_own);
        let is_error = message.is_none();
        let is_sent = is_own || person.away.is_none();
        if is_sent {
            assert!(!effects.is_empty(), "mail is missing");
            let Effect::ToUser(user, reply) = effects.remove(0) else {
                panic!("mail was expected")
            };
            assert_eq!(user, id);
            Self::check_mail(message.as_ref(), person.is_browser, &reply);
        }
        let is_stored = match (person.is_browser, is_sent) {
            (true, true) => true,
            (false, true) => !(is_own || is_error && person.token.is_none()),
            (_, false) => {
                let errors = person.waiting.iter().filter(|mail| mail.message.is_none());
                !is_error || errors.count() < 100
            }
        };
        if !is_stored {
            return;
        }
        let at = self.now.steady;
        let mail = Mail {
            message,
            sender,
            at,
        };
        match is_sent {
            true => person.sent.push(mail),
            false => person.waiting.push(mail),
        }
        self.trim(place);
        self.await_receipts();
    }

    pub(super) fn check_mail(message: Option<&(String, bool)>, is_browser: bool, reply: &Reply) {
        match (message, reply) {
            (Some((text, is_own)), Reply::Private(copy)) => {
                assert_eq!((&*copy.message.text, copy.is_own), (text.as_str(), *is_own));
                assert_eq!(copy.number.is_some(), is_browser);
            }
            (None, Reply::Rejected(rejected)) => {
                assert_eq!(rejected.error.code(), "not-delivered");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Drops the oldest sent mail; each text is short.
    pub(super) fn trim(&mut self, place: usize) {
        let person = &mut self.here[place];
        let most = if person.is_browser { 100 } else { 500 };
        let surplus = person.sent.len().saturating_sub(most);
        person.sent.drain(..surplus);
    }

    /// Tells the sender of mail that was not delivered.
    pub(super) fn report(&mut self, mail: Mail, effects: &mut Vec<Effect>) {
        let Some((id, token)) = mail.sender else {
            return;
        };
        let of_token = self
            .here
            .iter()
            .find(|person| token.is_some() && person.token == token);
        let id = of_token.map_or(id, |person| person.id);
        if self.here.iter().any(|person| person.id == id) {
            self.put(id, None, None, effects);
        } else {
            self.keep_error(token);
        }
    }

    /// Keeps an error with the session of a user who is gone.
    pub(super) fn keep_error(&mut self, token: Option<usize>) {
        let known = token.map(|token| &mut self.tokens[token]);
        if let Some(known) = known.filter(|known| known.is_kept && !known.is_forgotten) {
            known.errors = (known.errors + 1).min(100);
        }
    }

    pub(super) fn give_kept_errors(&mut self, id: UserId, token: usize, effects: &mut Vec<Effect>) {
        for _ in 0..std::mem::take(&mut self.tokens[token].errors) {
            self.put(id, None, None, effects);
        }
    }

    pub(super) fn await_receipts(&mut self) {
        let time = self.now.steady + seconds(RECEIPT_TIME);
        self.next_receipt.get_or_insert(time);
    }

    /// Notes what a user has received before the end of its connection.
    pub(super) fn note_receipts(&mut self, place: usize, reason: LeaveReason) {
        let person = &self.here[place];
        let has_token = person.token.is_some();
        let uncertain = match reason {
            LeaveReason::Closed if person.is_browser => RECEIPT_TIME,
            LeaveReason::Closed if has_token => CLOSE_TIME,
            _ => Duration::ZERO,
        };
        self.receive_until(place, self.now.steady - seconds(uncertain));
    }

    fn receive_until(&mut self, place: usize, time: SignedDuration) {
        let person = &mut self.here[place];
        if !person.is_browser {
            return person.sent.retain(|mail| mail.at > time);
        }
        person.sent.retain_mut(|mail| {
            let is_certain = mail.at <= time;
            if is_certain {
                mail.sender = None;
            }
            !is_certain || mail.message.is_some()
        });
    }

    pub(super) fn expire_mail(&mut self) {
        if self.next_receipt.is_none_or(|time| time > self.now.steady) {
            return;
        }
        let mut is_any_left = false;
        for place in 0..self.here.len() {
            if self.here[place].away.is_none() {
                self.receive_until(place, self.now.steady - seconds(RECEIPT_TIME));
                is_any_left |= self.here[place].has_uncertain_mail();
            }
        }
        let next = self.now.steady + seconds(RECEIPT_TIME / 4);
        self.next_receipt = is_any_left.then_some(next);
    }
}
