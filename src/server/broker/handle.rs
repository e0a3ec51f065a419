//! The handle with which other tasks send commands to the broker.

use crate::server::command::{BrokerCommand, BrowserReply, BrowserRequest, Subscription};
use async_channel::{Receiver, Sender};

/// Sends commands to the broker.
#[derive(Clone, Debug)]
pub(crate) struct BrokerHandle {
    inbox: Sender<BrokerCommand>,
}

/// Error of a command to a broker that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokerEnded;

impl BrokerHandle {
    /// Makes a handle for this inbox.
    pub(crate) fn new(inbox: Sender<BrokerCommand>) -> Self {
        BrokerHandle { inbox }
    }

    pub(crate) fn queued_commands(&self) -> usize {
        self.inbox.len()
    }

    /// Sends a command. Waits while the inbox is full.
    pub(crate) async fn send(&self, command: BrokerCommand) -> Result<(), BrokerEnded> {
        self.inbox.send(command).await.map_err(|_| BrokerEnded)
    }

    /// Returns the current snapshot and the log position after it.
    pub(crate) async fn subscribe(&self) -> Result<Subscription, BrokerEnded> {
        let (sender, receiver) = async_channel::bounded(1);
        self.send(BrokerCommand::Subscribe(sender)).await?;
        receiver.recv().await.map_err(|_| BrokerEnded)
    }

    /// Sends a request of a browser and returns the reply.
    pub(crate) async fn request(
        &self,
        request: BrowserRequest,
        reply: &Receiver<BrowserReply>,
    ) -> Result<BrowserReply, BrokerEnded> {
        self.send(BrokerCommand::Browser(Box::new(request))).await?;
        reply.recv().await.map_err(|_| BrokerEnded)
    }
}
