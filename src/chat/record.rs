//! What a store keeps: the public events, and what is needed to be the same chat again.
//!
//! What lives here: [`Record`] and its parts, and [`RestoredState`], what a store gives back at a start;
//! plain data. The room makes records, a store keeps them. It must never hold a secret: tokens
//! are here as hashes only, and private messages not at all.

use crate::chat::event::Event;
use crate::chat::message::Message;
use crate::chat::token::TokenHash;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::sync::Arc;

/// Something to keep.
#[derive(Clone, Debug)]
pub enum Record {
    /// A public event happened.
    Event(Event),
    /// A session is new, or is like this from now on.
    Session(SessionRecord),
    /// A session is forgotten, and its nonces with it.
    SessionForgotten(TokenHash),
    /// A line with a nonce was accepted.
    Nonce(NonceRecord),
    /// What was said under a nonce of this token is forgotten.
    NonceForgotten(TokenHash, u64),
}

/// A user as one token knows it.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Whose it is.
    pub token: TokenHash,
    /// The name that the user has, or had last.
    pub name: Username,
    /// Whether the name was chosen and is no address.
    pub has_chosen: bool,
    /// Whether the user is here, or in its grace time.
    pub is_present: bool,
    /// When the token was last used.
    pub used: Timestamp,
}

/// A line that was accepted under a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceRecord {
    /// Under which token.
    pub token: TokenHash,
    /// The first 64 bits of the SHA-256 of the nonce.
    pub nonce: u64,
    /// The event's number; none for a private message.
    pub id: Option<u64>,
    /// When it was accepted.
    pub time: Timestamp,
}

/// What was kept, as a chat goes on from it.
#[derive(Clone, Debug, Default)]
pub struct RestoredState {
    /// Number of the newest event; 0 before the first.
    pub last_event: u64,
    /// The newest messages, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// Names of the users who were here when it ended, in the order of their arrival, and since
    /// when.
    pub present: Vec<(Username, Timestamp)>,
    /// The sessions, least recently used first.
    pub sessions: Vec<SessionRecord>,
    /// The nonces, oldest first.
    pub nonces: Vec<NonceRecord>,
}
