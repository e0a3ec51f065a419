//! What the connections, the broker, the listener and the web page share.

use crate::protocol::foreign::ForeignProtocol;
use crate::server::command::BrokerCommand;
use crate::server::fanout::broadcast_log::BroadcastLogs;
use crate::server::health::Health;
use crate::server::limits::Limits;
use crate::server::metrics::Metrics;
use crate::server::rate_limit::Quota;
use crate::storage::Archive;
use async_channel::{Sender, TrySendError};
use smol::Executor;
use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) type SharedExecutor = Arc<Executor<'static>>;

/// What several layers of a server share.
#[derive(Debug)]
pub(crate) struct ServerContext {
    pub(crate) limits: Limits,
    pub(crate) inbox: Sender<BrokerCommand>,
    /// The log epoch: event numbers are comparable only within it.
    pub(crate) epoch: Arc<str>,
    pub(crate) logs: BroadcastLogs,
    pub(crate) archive: Archive,
    pub(crate) health: Arc<Health>,
    /// The start of the server's clock.
    pub(crate) started: Instant,
    pub(crate) metrics: Arc<Metrics>,
    /// Address of the web page, if the server has one.
    pub(crate) page: Option<SocketAddr>,
}

impl ServerContext {
    /// Returns the time on the server's clock, which starts at zero.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the rate limit of one client.
    pub(crate) fn quota(&self) -> Quota {
        Quota::new(self.limits.rate_per_second, self.limits.burst_lines)
    }

    /// Returns the last bytes for a peer of this socket that speaks another protocol.
    pub(crate) fn answer_foreign(&self, socket: &TcpStream, protocol: ForeignProtocol) -> Vec<u8> {
        let mut page = self.page;
        if let (Some(page), Ok(local)) = (&mut page, socket.local_addr())
            && page.ip().is_unspecified()
        {
            // The peer reached the chat at this address, so it reaches the page there.
            page.set_ip(local.ip());
        }
        protocol.answer(page)
    }

    /// Sends a command to the broker. If the inbox is full, the returned future sends it.
    // Boxed, because every connection task has room for its largest future.
    pub(crate) fn send(
        &self,
        command: BrokerCommand,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        match self.inbox.try_send(command) {
            Err(TrySendError::Full(command)) => Some(Box::pin(async {
                // Fails only when the server has stopped.
                let _ = self.inbox.send(command).await;
            })),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    /// Creates a context without a store for a unit test.
    #[cfg(test)]
    pub(crate) fn for_test(limits: Limits, inbox: Sender<BrokerCommand>) -> Arc<Self> {
        Arc::new(ServerContext {
            logs: BroadcastLogs::new(1, limits.max_lag_bytes, limits.max_lag_bytes),
            epoch: "e-1".into(),
            archive: Archive::new(Arc::new(inbox.clone()), None),
            health: Arc::default(),
            limits,
            inbox,
            started: Instant::now(),
            metrics: Arc::default(),
            page: None,
        })
    }
}
