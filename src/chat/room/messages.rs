//! Public and private messages, and their acknowledgements.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::event::EventKind;
use crate::chat::message::Message;
use crate::chat::request::{Nonce, SendMessage, SendPrivate};
use crate::chat::room::Room;
use crate::chat::room::effect::{Effect, Reply};
use crate::chat::room::mailbox::PrivateCopy;
use crate::chat::room::roster::UserId;
use crate::chat::room::session_table::nonce_hash;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::sync::Arc;

/// A private message.
#[derive(Debug, PartialEq, Eq)]
pub struct PrivateMessage {
    /// Time at which the server accepted the message.
    pub time: Timestamp,
    /// Name of the sender at that time.
    pub source: Username,
    /// Name of the receiver at that time.
    pub target: Username,
    /// Text, in which a newline stays a newline.
    pub text: Box<str>,
}

impl Room {
    pub(super) fn say(
        &mut self,
        id: UserId,
        say: SendMessage,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.reset_rejections(id);
        let Some(user) = self.roster.get(id) else {
            return;
        };
        let (source, session) = (user.name.clone(), user.session);
        if let Some(ack) = self.repeated_ack(session, say.nonce.as_ref()) {
            return effects.push(Effect::Reply(ack));
        }
        let event = self.last_event + 1;
        let message = Arc::new(Message {
            action: say.action,
            ..Message::new(event, now, source, say.text)
        });
        self.history.push(message.clone());
        self.publish(EventKind::Said(message), now, effects);
        self.acknowledge(session, say.nonce, Some(event), now, effects);
    }

    pub(super) fn send_private(
        &mut self,
        id: UserId,
        private: SendPrivate,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(user) = self.roster.get(id) else {
            return;
        };
        let session = user.session;
        if let Some(ack) = self.repeated_ack(session, private.nonce.as_ref()) {
            self.reset_rejections(id);
            return effects.push(Effect::Reply(ack));
        }
        let source = user.name.clone();
        match self.deliver_private(id, source, private.target, private.text, now, effects) {
            Ok(()) => self.acknowledge(session, private.nonce, None, now, effects),
            Err(refusal) => {
                let kind = Some("private".into());
                self.reject(
                    id,
                    RejectedRequest {
                        error: refusal,
                        kind,
                    },
                    effects,
                );
            }
        }
    }

    /// Gives the sender and the receiver their copies, or keeps the message for a detached
    /// receiver.
    fn deliver_private(
        &mut self,
        sender: UserId,
        source: Username,
        target: Box<str>,
        text: Box<str>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RequestError> {
        let Some(receiver) = self.roster.find_by_name(&target) else {
            return Err(RequestError::NoSuchUser(target));
        };
        let Some(user) = self.roster.get_mut(receiver) else {
            return Err(RequestError::NoSuchUser(target));
        };
        let message = Arc::new(PrivateMessage {
            time: now,
            source,
            target: user.name.clone(),
            text,
        });
        let mut is_due = receiver != sender;
        if is_due && let Some(detached) = &mut user.detached {
            if !detached.add(sender, &message) {
                return Err(RequestError::MailboxFull(user.name.as_str().into()));
            }
            is_due = false;
        }
        self.reset_rejections(sender);
        self.deliver(sender, message.clone(), true, effects);
        if is_due {
            self.deliver(receiver, message, false, effects);
        }
        Ok(())
    }

    /// Sends a user its copy of a private message. A browser user gets the copy again with each
    /// later stream, since an open stream does not prove that the browser has the message.
    fn deliver(
        &mut self,
        id: UserId,
        message: Arc<PrivateMessage>,
        is_own: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(user) = self.roster.get_mut(id) else {
            return;
        };
        let copy = match &mut user.mailbox {
            Some(mailbox) => mailbox.add(message, is_own),
            None => PrivateCopy::unnumbered(message),
        };
        effects.push(Effect::Private(id, copy));
    }

    /// Returns the acknowledgement of a message that was accepted before with the same nonce.
    fn repeated_ack(&self, session: Option<u64>, nonce: Option<&Nonce>) -> Option<Reply> {
        let nonce = nonce?;
        let id = self.sessions.find_nonce(session?, nonce_hash(nonce))?;
        let nonce = nonce.clone();
        Some(Reply::Ack { nonce, id })
    }

    fn acknowledge(
        &mut self,
        session: Option<u64>,
        nonce: Option<Nonce>,
        id: Option<u64>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let (Some(session), Some(nonce)) = (session, nonce) {
            let (hash, records) = (nonce_hash(&nonce), &mut self.records);
            self.sessions.add_nonce(session, hash, id, now, records);
            effects.push(Effect::Reply(Reply::Ack { nonce, id }));
        }
    }

    pub(super) fn history_reply(&self) -> Reply {
        if self.history.is_empty() {
            return Reply::Notice("No messages yet".to_owned());
        }
        Reply::History(self.history.messages().cloned().collect())
    }
}
