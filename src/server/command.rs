//! What the broker is told.
//!
//! What lives here: [`BrokerCommand`], the closed list of everything that can make the broker do
//! something. Connections, the accept loop, the page and the server itself send them. It must
//! never grow an input that the broker would have to wait for.

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

/// One line of a client, as it was understood.
#[derive(Debug)]
pub enum ClientLine {
    /// It asks for something.
    Request(Request),
    /// It is refused.
    Refused(RejectedRequest),
    /// It says hello; with the number of the oldest event in the store, if there is one.
    Hello(Hello, Option<u64>),
    /// It asked for something that is kept elsewhere than in the room; this is the answer.
    Answer(Arc<[u8]>),
}

/// A client that connected and is not yet in the room.
#[derive(Debug)]
pub struct Newcomer {
    /// Its socket.
    pub socket: Async<TcpStream>,
    /// Its address.
    pub address: SocketAddr,
    /// Given back when the batch that lets it in is delivered: there are only so many.
    pub permit: SemaphoreGuardArc,
}

/// Something that happened.
#[derive(Debug)]
pub enum BrokerCommand {
    /// A client connected.
    Connected(Newcomer),
    /// A client sent lines, and perhaps ended its sending side after them.
    Lines {
        /// The client.
        from: ClientKey,
        /// The lines in order.
        lines: Vec<ClientLine>,
        /// Whether no further line will come.
        has_ended: bool,
        /// When they were read, in the server's own time.
        read_at: Duration,
    },
    /// A client that was behind is no more; the mailbox tells which lagging it was, since the
    /// key may be another's by now.
    CaughtUp(ClientKey, Arc<BacklogInbox>, Box<Outbox>),
    /// A connection's task ended; the last that is heard of it.
    Ended(ClientKey, CloseReason),
    /// The page wants to know who is here and what was said.
    Snapshot(Sender<Arc<Snapshot>>),
    /// Somebody looks for messages among those in memory.
    Messages(Sender<Vec<Arc<Message>>>),
    /// A live stream is about to begin.
    Subscribe(Sender<Subscription>),
    /// A live stream begins.
    Stream(Box<NewStream>),
    /// A browser asks for something.
    FromPage(Box<BrowserRequest>),
    /// The server stops.
    Stop,
}

/// A live stream of the page: everything after the snapshot, exactly.
#[derive(Debug)]
pub struct Subscription {
    /// How it was when the stream began.
    pub snapshot: Arc<Snapshot>,
    /// From which position of the page's log on.
    pub position: u64,
    /// While this is held, frames are made.
    pub reader: Arc<()>,
}

/// A live stream that begins where its subscription did.
#[derive(Debug)]
pub struct NewStream {
    /// Its socket.
    pub peer: Arc<ConnectionHandle>,
    /// What it begins with.
    pub outbox: Outbox,
    /// The secret in its cookie.
    pub session: Option<Token>,
    /// Held since the subscription, so that no frame in between is missing.
    pub reader: Arc<()>,
    /// Where its key goes; dropped if the server stops.
    pub key: Sender<ClientKey>,
}

/// Something that a browser asks for.
#[derive(Debug)]
pub struct BrowserRequest {
    /// The secret in its cookie.
    pub session: Option<Token>,
    /// From where it asks.
    pub address: IpAddr,
    /// What it asks for.
    pub asked: BrowserCommand,
    /// Where the answer goes.
    pub answer: Sender<BrowserReply>,
}

/// What a browser can ask for.
#[derive(Debug)]
pub enum BrowserCommand {
    /// To be here under this name, or under another one than so far.
    Join(Box<str>),
    /// To leave.
    Leave,
    /// What any user can ask for.
    Do(Request),
    /// What was asked for is refused already.
    Refused(RequestError),
}

/// What a browser is answered.
#[derive(Debug)]
pub enum BrowserReply {
    /// It is here.
    Joined {
        /// Under this name.
        name: Username,
        /// With this secret.
        token: Token,
        /// Whether it was not before.
        is_new: bool,
    },
    /// It is not here any more.
    Left,
    /// It is done; with the number of its event, if it has one.
    Done(Option<u64>),
    /// It is not done.
    Not(BrowserError),
}

/// Why something is not done for a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrowserError {
    /// It cannot be done.
    Refused(RequestError),
    /// There is no room for one more user.
    NoEntry(JoinError),
    /// It has not joined, or was away for too long.
    NoSession,
    /// It asks too often; after this time it may again.
    TooFast(Duration),
    /// It was refused too often in a row, and is not here any more.
    Ended(String),
    /// The server stops.
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
