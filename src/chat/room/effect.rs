//! Results of room operations. The broker carries them out in order.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::event::Event;
use crate::chat::message::Message;
use crate::chat::request::Nonce;
use crate::chat::room::mailbox::PrivateCopy;
use crate::chat::room::roster::UserId;
use crate::chat::token::Token;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;

/// A result of a request, a disconnect or an expired timer.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A public event.
    Public(Event),
    /// A reply to the requesting user.
    Reply(Reply),
    /// A reply to all connections of this user, which may be the requesting one.
    ToUser(UserId, Reply),
    /// From now on the requesting connection belongs to this earlier user. Other connections of
    /// that user close without an event.
    Resumed(UserId),
    /// The requesting connection closes and its user leaves.
    Close(Ending),
}

/// A reply to one user.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A sentence of the server.
    Notice(String),
    /// The line was rejected.
    Rejected(RejectedRequest),
    /// Messages, oldest first.
    History(Vec<Arc<Message>>),
    /// Users in order of arrival, with the time of each arrival.
    Users(Arc<[(Username, Timestamp)]>),
    /// The message with this nonce was accepted.
    Ack {
        /// Nonce of the message.
        nonce: Nonce,
        /// Number of its event, if the message is public.
        id: Option<u64>,
    },
    /// The JSON value of a ping.
    Pong(Box<str>),
    /// A private message for its sender or its receiver.
    Private(PrivateCopy),
    /// The extended dialect begins.
    Welcome(WelcomeData),
}

/// Answer to a hello.
#[derive(Clone, Debug)]
pub struct WelcomeData {
    /// Name of the user from now on.
    pub name: Username,
    /// Token with which the client can resume the session.
    pub token: Token,
    /// Number of the newest event.
    pub last: u64,
    /// Number of users in the room.
    pub users: usize,
    /// False for the answer to an unknown token.
    pub is_known: bool,
}

/// Reason for which the room closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client quit.
    Quit,
    /// Too many lines in a row were rejected; the sentence is the last line to the client.
    Rejected(String),
}

/// Reason for which a newcomer gets no slot. `Display` gives the sentence for the newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The room has its maximum of this many connected users.
    Full(usize),
    /// The address has its maximum of connected users.
    AddressFull,
    /// This connected user has the same address and port, and therefore the newcomer's name. A
    /// machine can use one port for connections to two addresses of the server. More often the
    /// user's connection was reset and the server has not noticed yet.
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

/// Reason for which a browser cannot join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrowserJoinError {
    /// The name is not available.
    Rejected(RequestError),
    /// No slot is free.
    NoSlot(JoinError),
}

/// A browser user that has just joined.
#[derive(Clone, Debug)]
pub struct BrowserJoin {
    /// The new user.
    pub user: UserId,
    /// Its name.
    pub name: Username,
    /// Token of its session.
    pub token: Token,
    /// Effects of the join.
    pub effects: Vec<Effect>,
}
