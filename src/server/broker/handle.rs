//! The handle with which other tasks send commands to the broker.

use crate::chat::room::snapshot::Snapshot;
use crate::server::command::{BrokerCommand, BrowserReply, BrowserRequest, Subscription};
use async_channel::{Receiver, Sender};
use std::sync::Arc;

/// Sends commands to the broker.
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    inbox: Sender<BrokerCommand>,
}

/// The broker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerEnded;

impl BrokerHandle {
    /// A handle to the broker of this inbox.
    pub fn new(inbox: Sender<BrokerCommand>) -> Self {
        BrokerHandle { inbox }
    }

    /// Inputs that wait for the broker.
    pub fn waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Tells the broker something; waits while its inbox is full.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn tell(&self, input: BrokerCommand) -> Result<(), BrokerEnded> {
        self.inbox.send(input).await.map_err(|_| BrokerEnded)
    }

    /// How it is now.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, BrokerEnded> {
        let (sender, receiver) = async_channel::bounded(1);
        self.tell(BrokerCommand::Snapshot(sender)).await?;
        receiver.recv().await.map_err(|_| BrokerEnded)
    }

    /// How it is now, and everything that comes after.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn subscribe(&self) -> Result<Subscription, BrokerEnded> {
        let (sender, receiver) = async_channel::bounded(1);
        self.tell(BrokerCommand::Subscribe(sender)).await?;
        receiver.recv().await.map_err(|_| BrokerEnded)
    }

    /// What comes of what a browser asks for.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn ask_from_page(
        &self,
        from: BrowserRequest,
        answer: &Receiver<BrowserReply>,
    ) -> Result<BrowserReply, BrokerEnded> {
        self.tell(BrokerCommand::FromPage(Box::new(from))).await?;
        answer.recv().await.map_err(|_| BrokerEnded)
    }
}
