//! The commands that the broker takes from its inbox, and its replies to browsers.
//!
//! The broker never has to wait in order to carry out a command.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::message::Message;
use crate::chat::request::{Hello, Request};
use crate::chat::room::JoinError;
use crate::chat::room::snapshot::Snapshot;
use crate::chat::token::Token;
use crate::chat::username::Username;
use crate::server::close_reason::CloseReason;
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::fanout::outbox::Outbox;
use crate::server::fanout::slow_consumer::BacklogInbox;
use crate::storage::RecentMessages;
use async_channel::Sender;
use smol::Async;
use smol::lock::SemaphoreGuardArc;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum ClientLine {
    Request(Request),
    /// An invalid line, with the error for the client.
    Rejected(RejectedRequest),
    /// A hello, and the id of the oldest event in the store if there is one.
    Hello(Hello, Option<u64>),
    /// The encoded answer to a request that the archive has answered.
    Answer(Arc<[u8]>),
    /// The client speaks another protocol: these are the last bytes for it.
    Foreign(Arc<[u8]>),
}

/// A connected client that is not in the room yet.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) socket: Async<TcpStream>,
    pub(crate) address: SocketAddr,
    /// Bounds the clients admitted per batch; released when the batch is delivered.
    pub(crate) permit: SemaphoreGuardArc,
}

#[derive(Debug)]
pub(crate) enum BrokerCommand {
    Connected(Newcomer),
    /// A client sent lines, and may have closed its sending side after them.
    Lines {
        from: ClientKey,
        lines: Vec<ClientLine>,
        has_ended: bool,
        /// Time of the read, since the start of the server.
        read_at: Duration,
    },
    /// A slow consumer has caught up. The inbox identifies its backlog task, because the key may
    /// belong to another connection by now.
    CaughtUp(ClientKey, Arc<BacklogInbox>, Box<Outbox>),
    /// The task of a connection has ended. No command about this connection follows.
    Ended(ClientKey, CloseReason),
    /// A query needs the messages in memory.
    Messages(Sender<Vec<Arc<Message>>>),
    /// A request of the page needs a snapshot, or a live stream also its position in the log.
    Subscribe(Sender<Subscription>),
    /// A live stream is ready to be attached.
    Stream(Box<NewStream>),
    Browser(Box<BrowserRequest>),
    Stop,
}

/// A snapshot, and the position in the log after which a live stream continues.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Offset in the log of the SSE encoding.
    pub(crate) position: u64,
    /// Keeps the SSE encoding active while it exists.
    pub(crate) reader: Arc<()>,
}

/// A live stream that continues after its [`Subscription`].
#[derive(Debug)]
pub(crate) struct NewStream {
    /// With the address that the limits count for.
    pub(crate) peer: Arc<ConnectionHandle>,
    /// The first bytes of the stream.
    pub(crate) outbox: Outbox,
    pub(crate) session: Option<Token>,
    /// Held since the subscription, so that no event in between is missing.
    pub(crate) _reader: Arc<()>,
    /// Receives the key of the stream; dropped if the server stops.
    pub(crate) key: Sender<ClientKey>,
}

/// A request of a browser, and the channel for its reply.
#[derive(Debug)]
pub(crate) struct BrowserRequest {
    pub(crate) session: Option<Token>,
    pub(crate) address: IpAddr,
    pub(crate) command: BrowserCommand,
    pub(crate) reply: Sender<BrowserReply>,
}

#[derive(Debug)]
pub(crate) enum BrowserCommand {
    /// Joins under this name, or renames the user.
    Join(Box<str>),
    Leave,
    /// A request that every user may send.
    Request(Request),
    /// A request that is invalid already.
    Rejected(RequestError),
}

#[derive(Debug)]
pub(crate) enum BrowserReply {
    /// The browser has joined, or has a new name.
    Joined {
        name: Username,
        token: Token,
        /// Whether the browser had not joined before.
        is_new: bool,
    },
    Left,
    /// The request is done. Contains the id of its public event, if there is one.
    Done(Option<u64>),
    Failed(BrowserError),
}

/// The reason why a request of a browser was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BrowserError {
    Rejected(RequestError),
    /// No slot is free.
    Join(JoinError),
    /// The browser has not joined, or its grace time is over.
    NoSession,
    /// The rate limit is reached until this time has passed.
    TooFast(Duration),
    /// Too many requests in a row were rejected; the user has left.
    Ended(String),
    Stopping,
}

impl RecentMessages for Sender<BrokerCommand> {
    fn recent_messages(&self) -> Pin<Box<dyn Future<Output = Vec<Arc<Message>>> + Send + '_>> {
        Box::pin(async {
            let (sender, receiver) = async_channel::bounded(1);
            // Without a broker there are no messages.
            let _ = self.send(BrokerCommand::Messages(sender)).await;
            receiver.recv().await.unwrap_or_default()
        })
    }
}
