//! What the broker is told.
//!
//! What lives here: [`Input`], the closed list of everything that can make the broker do
//! something. Connections, the accept loop, the page and the server itself send them. It must
//! never grow an input that the broker would have to wait for.

use crate::history::Message;
use crate::protocol::{Hello, Refused, Request};
use crate::server::closing::CloseReason;
use crate::server::log::Log;
use crate::server::outbound::Outbound;
use crate::server::peer::Mailbox;
use crate::server::snapshot::Snapshot;
use async_channel::Sender;
use smol::Async;
use smol::lock::SemaphoreGuardArc;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The broker's number for a connection; used again only after its [`Input::Ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey(pub usize);

/// One line of a client, as it was understood.
#[derive(Debug)]
pub enum Submission {
    /// It asks for something.
    Request(Request),
    /// It is refused.
    Refused(Refused),
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
pub enum Input {
    /// A client connected.
    Connected(Newcomer),
    /// A client sent lines, and perhaps ended its sending side after them.
    Lines {
        /// The client.
        from: ClientKey,
        /// The lines in order.
        lines: Vec<Submission>,
        /// Whether no further line will come.
        has_ended: bool,
        /// When they were read, in the server's own time.
        read_at: Duration,
    },
    /// A client that was behind is no more; the mailbox tells which lagging it was, since the
    /// key may be another's by now.
    CaughtUp(ClientKey, Arc<Mailbox>, Box<Outbound>),
    /// A connection's task ended; the last that is heard of it.
    Ended(ClientKey, CloseReason),
    /// The page wants to know who is here and what was said.
    Snapshot(Sender<Arc<Snapshot>>),
    /// Somebody looks for messages among those in memory.
    Messages(Sender<Vec<Arc<Message>>>),
    /// A live stream begins.
    Subscribe(Sender<Subscription>),
    /// The server stops.
    Stop,
}

/// A live stream of the page: everything after the snapshot, exactly.
#[derive(Debug)]
pub struct Subscription {
    /// How it was when the stream began.
    pub snapshot: Arc<Snapshot>,
    /// Where the frames are.
    pub log: Arc<Log>,
    /// From where on.
    pub position: u64,
    /// While this is held, frames are made.
    pub reader: Arc<()>,
}
