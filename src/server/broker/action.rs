//! Actions: what the broker has decided to do, in order.

use crate::chat::event::Event;
use crate::chat::request::EventCursor;
use crate::chat::room::{Reply, WelcomeData};
use crate::server::close_reason::CloseReason;
use crate::server::command::{BrowserReply, Subscription};
use crate::server::fanout::ClientKey;
use async_channel::Sender;
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum Action {
    /// Publish an event to all connections and the transcript.
    Publish(Event),
    /// Send this summary of joins and leaves to all clients of the basic dialect.
    Summarise(Arc<[u8]>),
    /// Start to read and write this connection.
    Open(ClientKey),
    Reply(ClientKey, Reply),
    /// Send these bytes as a reply, and skip that many bytes of the log after them.
    Bytes(ClientKey, Arc<[u8]>, u64),
    /// Send the welcome and use the extended dialect from here on.
    Welcome(ClientKey, WelcomeData, ResumePoint),
    /// Close after pending writes and the last line of this reason.
    Close(ClientKey, CloseReason),
    /// Close after pending writes, since the client has ended its sending side.
    FinishWrites(ClientKey),
    /// Let the connection read on after its lines; true if they have replies.
    ResumeReading(ClientKey, bool),
    /// Remove a connection whose task has ended.
    Remove(ClientKey),
    /// Tell all clients that the server stops, and close all connections.
    CloseAll,
    /// Answer with a subscription of a live stream.
    Subscribe(Sender<Subscription>, Subscription),
    ReplyToBrowser(Sender<BrowserReply>, BrowserReply),
}

/// Where the events of a client that says hello begin.
#[derive(Debug, Default)]
pub(super) struct ResumePoint {
    /// The newest event that the client has.
    pub(super) after: Option<EventCursor>,
    /// The oldest event in the store, if the store has one.
    pub(super) oldest_stored: Option<u64>,
}
