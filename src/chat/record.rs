//! Durable state of the chat: what a store keeps and restores. It has no secrets, only hashes of
//! tokens, and no private messages.

use crate::chat::event::Event;
use crate::chat::message::Message;
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
}
