//! Public and private messages, and their acknowledgements.

use crate::chat::event::EventKind;
use crate::chat::message::Message;
use crate::chat::request::{Nonce, SendMessage, SendPrivate};
use crate::chat::room::Room;
use crate::chat::room::effect::{Effect, Reply};
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
    pub(super) fn send_message(&mut self, id: UserId, message: SendMessage) {
        self.reset_rejections(id);
        let Some(user) = self.roster.get(id) else {
            return;
        };
        let (source, session) = (user.name.clone(), user.session);
        if self.repeat_ack(session, message.nonce.as_ref()) {
            return;
        }
        let event = self.last_event + 1;
        let nonce = message.nonce;
        let message = Arc::new(Message {
            action: message.action,
            ..Message::new(event, self.now.wall, source, message.text)
        });
        self.history.push(message.clone());
        self.publish(EventKind::Message(message));
        self.acknowledge(session, nonce, Some(event));
        self.note_action(id);
    }

    pub(super) fn send_private(&mut self, id: UserId, private: SendPrivate) {
        let session = self.roster.get(id).and_then(|user| user.session);
        if self.repeat_ack(session, private.nonce.as_ref()) {
            return self.reset_rejections(id);
        }
        match self.deliver_private(id, private.target, private.text) {
            Ok(()) => {
                self.reset_rejections(id);
                self.acknowledge(session, private.nonce, None);
                self.note_action(id);
            }
            Err(error) => self.reject_request(id, error, "private"),
        }
    }

    /// Acknowledges a message again that was accepted before with the same nonce. Returns false for
    /// a new message.
    fn repeat_ack(&mut self, session: Option<u64>, nonce: Option<&Nonce>) -> bool {
        let (Some(session), Some(nonce)) = (session, nonce) else {
            return false;
        };
        let Some(id) = self.sessions.find_nonce(session, nonce_hash(nonce)) else {
            return false;
        };
        let nonce = nonce.clone();
        self.effects.push(Effect::Reply(Reply::Ack { nonce, id }));
        true
    }

    fn acknowledge(&mut self, session: Option<u64>, nonce: Option<Nonce>, id: Option<u64>) {
        if let (Some(session), Some(nonce)) = (session, nonce) {
            let hash = nonce_hash(&nonce);
            self.sessions.add_nonce(session, hash, id, self.now);
            self.effects.push(Effect::Reply(Reply::Ack { nonce, id }));
        }
    }

    pub(super) fn history_reply(&self) -> Reply {
        if self.history.is_empty() {
            return Reply::Notice("No messages yet".to_owned());
        }
        Reply::History(self.history.messages().cloned().collect())
    }
}
