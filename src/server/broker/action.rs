//! Actions: what the broker has decided to do, in order.

use crate::chat::message::Message;
use crate::chat::request::EventCursor;
use crate::chat::room::snapshot::Snapshot;
use crate::chat::room::{PrivateCopy, Reply, WelcomeData};
use crate::server::close_reason::CloseReason;
use crate::server::command::{BrowserReply, Subscription};
use crate::server::fanout::ClientKey;
use async_channel::Sender;
use std::sync::Arc;

/// Lines for all connections, encoded once per dialect, and for the transcript.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Lines of the basic dialect.
    pub(crate) basic: Vec<u8>,
    /// Public events in the extended dialect, one per line.
    pub(crate) extended: Vec<u8>,
    /// Server-sent events for live streams.
    pub(crate) browser: Vec<u8>,
    /// Lines of the transcript.
    pub(crate) transcript: Vec<TranscriptLine>,
}

/// A line of the transcript.
#[derive(Debug)]
pub(crate) enum TranscriptLine {
    /// A public message.
    Said(Arc<Message>),
    /// A sentence of the server.
    Notice(String),
}

impl Lines {
    /// Returns whether no reader has a line.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0 && self.transcript.is_empty()
    }

    /// Returns the number of bytes of all dialects.
    pub(crate) fn bytes(&self) -> usize {
        self.basic.len() + self.extended.len() + self.browser.len()
    }
}

/// The last line that a connection gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// No line.
    Nothing,
    /// The line of this reason, if it has one.
    ForReason(CloseReason),
    /// This sentence, after too many rejected lines.
    Rejected(String),
}

/// An action.
#[derive(Debug)]
pub(crate) enum Action {
    /// Append lines to the logs of all dialects.
    Lines(Lines),
    /// Start to read and write this connection. If its join will be summarised for the others, the
    /// line is its own join notice.
    Open(ClientKey, Option<Arc<[u8]>>),
    /// Send a reply.
    Reply(ClientKey, Reply),
    /// Send these bytes as a reply, and skip that many bytes of the log after them.
    Bytes(ClientKey, Arc<[u8]>, u64),
    /// Send a private message.
    Private(ClientKey, PrivateCopy),
    /// Send the welcome and use the extended dialect from here on.
    SwitchToExtended(ClientKey, Box<HelloReply>),
    /// Close after pending writes and this line.
    Close(ClientKey, LastLine),
    /// Close the connection of a slow consumer.
    Evict(ClientKey, CloseReason),
    /// Close after pending writes, since the client has ended its sending side.
    FinishWrites(ClientKey),
    /// Let the connection read on after its lines; true if they have replies.
    Answered(ClientKey, bool),
    /// Remove a connection whose task has ended.
    Remove(ClientKey),
    /// Close all connections, since the server stops.
    CloseAll,
    /// Answer with a snapshot.
    Snapshot(Sender<Arc<Snapshot>>, Arc<Snapshot>),
    /// Answer with a subscription of a live stream.
    Subscribe(Sender<Subscription>, Subscription),
    /// Answer a request of a browser.
    ReplyToBrowser(Sender<BrowserReply>, BrowserReply),
}

/// The reply to a hello.
#[derive(Debug)]
pub(crate) struct HelloReply {
    /// Name, token and state for the welcome.
    pub(crate) welcome: WelcomeData,
    /// The newest event that the client has.
    pub(crate) after: Option<EventCursor>,
    /// The oldest event in the store, if the store has one.
    pub(crate) oldest_stored: Option<u64>,
}
