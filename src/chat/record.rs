//! Durable state of the chat: what a store keeps and restores. It has no secrets, only hashes of
//! tokens, and private messages only while they may have to be sent again.

use crate::chat::event::Event;
use crate::chat::message::Message;
use crate::chat::room::PrivateMessage;
use crate::chat::token::TokenHash;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::sync::Arc;

/// A change to store.
#[derive(Clone, Debug)]
pub enum Record {
    /// A public event.
    Event(Event),
    /// A new or changed session.
    Session(SessionRecord),
    /// The end of a session and its nonces.
    SessionForgotten(TokenHash),
    /// The acceptance of a line with a nonce.
    Nonce(NonceRecord),
    /// The end of a nonce of this token.
    NonceForgotten(TokenHash, u64),
    /// New or changed mail.
    Mail(MailRecord),
    /// The end of the mail with this key.
    MailForgotten(u64),
}

/// A session as its store knows it.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Hash of the session token.
    pub token: TokenHash,
    /// Current or last name of the user.
    pub name: Username,
    /// Whether the user chose the name.
    pub has_chosen: bool,
    /// Whether the user is connected or in its grace period.
    pub is_present: bool,
    /// Time of the last use of the token.
    pub used: Timestamp,
    /// Number of the newest private message of a browser user; 0 before the first.
    pub last_private: u64,
}

/// An accepted line with a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceRecord {
    /// Hash of the session token.
    pub token: TokenHash,
    /// The first 64 bits of the SHA-256 of the nonce.
    pub nonce: u64,
    /// Number of the event, or `None` for a private message.
    pub id: Option<u64>,
    /// Time of the acceptance.
    pub time: Timestamp,
}

/// A private message, or the error about one, for one user.
#[derive(Clone, Debug, PartialEq)]
pub struct MailRecord {
    /// Identifies the mail.
    pub key: u64,
    /// Session of the user who gets it; `None` for a user of the basic dialect.
    pub owner: Option<TokenHash>,
    /// Session of the user to tell if it is not delivered.
    pub sender: Option<TokenHash>,
    /// Number for a browser user.
    pub number: Option<u64>,
    /// Number of the newest event before it in the stream of the client; `None` while it waits.
    pub after: Option<u64>,
    /// The message or the error.
    pub content: MailContent,
}

/// What a user gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailContent {
    /// A private message.
    Message {
        /// The message.
        message: Arc<PrivateMessage>,
        /// Whether the user is its sender.
        is_own: bool,
    },
    /// A message to the user with this name was not delivered.
    NotDelivered(Box<str>),
}

/// The stored state with which a chat continues.
#[derive(Clone, Debug, Default)]
pub struct RestoredState {
    /// Number of the newest event, 0 before the first.
    pub last_event: u64,
    /// The newest messages, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// Names and join times of the users connected at the end, in order of arrival.
    pub present: Vec<(Username, Timestamp)>,
    /// Sessions, least recently used first.
    pub sessions: Vec<SessionRecord>,
    /// Nonces, oldest first.
    pub nonces: Vec<NonceRecord>,
    /// Mail, oldest first.
    pub mail: Vec<MailRecord>,
}
