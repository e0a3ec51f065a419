//! What comes of what happens in the room.
//!
//! What lives here: [`Effect`] and its parts, plain data. The room makes them, the broker carries
//! them out in order. It must never hold what is not meant for the one whom an effect names.

use crate::chat::error::RequestError;
use crate::chat::event::Event;
use crate::chat::message::Message;
use crate::chat::request::Nonce;
use crate::chat::room::mailbox::PrivateCopy;
use crate::chat::room::user::UserId;
use crate::chat::token::Token;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;

/// Something that comes of a request, a departure or the passing of time.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Everyone learns this.
    Public(Event),
    /// The asker alone gets this.
    Reply(Reply),
    /// This user alone gets this.
    Tell(UserId, Reply),
    /// This user gets what was said to it alone, or a copy of what it said.
    Private(UserId, PrivateCopy),
    /// The asker is this earlier user from now on.
    Became {
        /// The earlier user.
        user: UserId,
        /// Whether that still has another connection, which ends without a word to others.
        replaced: bool,
    },
    /// The asker's connection ends, and it leaves.
    Close(Ending),
}

/// An answer to one user.
#[derive(Clone, Debug)]
pub enum Reply {
    /// One sentence of the server.
    Notice(String),
    /// A line was refused.
    Refused {
        /// Why.
        refusal: RequestError,
        /// The type of the line, as far as it is known.
        kind: Option<Box<str>>,
    },
    /// These messages, oldest first.
    History(Vec<Arc<Message>>),
    /// These users, in the order of their arrival, and since when they are here.
    Users(Arc<[(Username, Timestamp)]>),
    /// What was sent under this nonce is said, as the event with this number if it is public.
    Ack {
        /// The nonce.
        nonce: Nonce,
        /// The number.
        id: Option<u64>,
    },
    /// The JSON value that was sent.
    Pong(Box<str>),
    /// The extended dialect begins.
    Welcome(WelcomeData),
}

/// What one who says hello is told.
#[derive(Clone, Debug)]
pub struct WelcomeData {
    /// Its name from now on.
    pub name: Username,
    /// By which it is the same user again.
    pub token: Token,
    /// Number of the newest event.
    pub last: u64,
    /// Users who are here.
    pub users: usize,
}

/// Why the room ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client asked for it.
    Quit,
    /// Too many of its lines in a row were refused; this is its last sentence.
    Refused(String),
}

/// Why a newcomer cannot come in. Its `Display` is the sentence that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// So many users are here, and no more may be.
    Full(usize),
    /// Its address has as many connections as one address may have.
    AddressFull,
    /// This user has the same address and port, and so the name that it would have. A machine can
    /// use one port for two connections if they lead to two addresses of the server; mostly the
    /// user's connection was reset and nobody has noticed yet.
    AddressInUse(UserId),
}

impl fmt::Display for JoinError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Full(1) => write!(out, "The chat is full (1 user); try again later"),
            JoinError::Full(users) => {
                write!(out, "The chat is full ({users} users); try again later")
            }
            JoinError::AddressInUse(_) => write!(
                out,
                "Somebody with your address and port is here; connect again from another port"
            ),
            JoinError::AddressFull => write!(
                out,
                "Too many connections from your address; try again later"
            ),
        }
    }
}
