//! Admits chat connections: limits their rate and queues them for the broker.
//!
//! A connection storm never delays present users.

use crate::protocol::basic::notice_line;
use crate::server::close_reason::CloseReason;
use crate::server::command::{BrokerCommand, Newcomer};
use crate::server::connection::reject::Rejector;
use crate::server::context::ServerContext;
use crate::server::limits::{MAX_NEWCOMERS_PER_BATCH, MAX_WAITING_NEWCOMERS};
use crate::server::listener::Bound;
use crate::server::listener::accept::{Acceptor, RejectNotice, ReserveDescriptor};
use crate::server::rate_limit::KeyedRateLimiter;
use async_channel::{Receiver, Sender};
use smol::Async;
use smol::lock::Semaphore;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

type Accepted = (Async<TcpStream>, SocketAddr);

/// Creates the queue between [`accept_clients`] and [`admit_waiting`].
pub(crate) fn admission_queue() -> (Sender<Accepted>, Receiver<Accepted>) {
    async_channel::bounded(MAX_WAITING_NEWCOMERS)
}

/// Accepts connections into the queue until `stop` closes, and rejects those of an address that
/// connects too often.
pub(crate) async fn accept_clients(
    bound: Bound,
    reserve: ReserveDescriptor,
    queue: Sender<Accepted>,
    (context, rejector): (Arc<ServerContext>, Rejector),
    stop: Receiver<()>,
) {
    let reason = CloseReason::NoDescriptor;
    let sentence = reason.farewell().unwrap_or_default();
    let metrics = &context.metrics;
    let counting = context.clone();
    let reject_notice = RejectNotice {
        text: notice_line(sentence).to_vec(),
        count: Box::new(move || {
            counting.metrics.count_accepted();
            counting.metrics.count_refused(reason);
        }),
    };
    let acceptor = Acceptor::new(bound.listener, reserve, reject_notice);
    let rate = context.limits.connects_per_minute;
    let mut rate = rate.map(KeyedRateLimiter::new);
    let admit = |socket, address: SocketAddr| {
        metrics.count_accepted();
        let rate = rate.as_mut();
        let wait = rate.and_then(|rate| rate.check(address.ip(), context.now()).err());
        let admitted = match wait {
            None => Some((socket, address)),
            Some(wait) => {
                let seconds = wait.as_secs() + 1;
                let sentence =
                    format!("Too many new connections from your address; try again in {seconds} s");
                let reason = CloseReason::ConnectRate;
                rejector.reject(socket, address, reason, &notice_line(&sentence));
                None
            }
        };
        let queue = queue.clone();
        async move {
            if let Some(accepted) = admitted {
                // The queue closes only when its receiver has panicked, which ends the server.
                let _ = queue.send(accepted).await;
            }
        }
    };
    // Nothing is ever sent: closing the channel is the signal.
    let stopped = async {
        let _ = stop.recv().await;
    };
    acceptor.accept_until(stopped, admit).await;
}

/// Passes queued connections to the broker, at most the permitted number per batch.
///
/// When the queue has closed, the remaining connections are rejected.
pub(crate) async fn admit_waiting(
    queue: Receiver<Accepted>,
    (context, rejector): (Arc<ServerContext>, Rejector),
) {
    let permits = Arc::new(Semaphore::new(MAX_NEWCOMERS_PER_BATCH));
    while let Ok((socket, address)) = queue.recv().await {
        context.metrics.set_waiting(queue.len());
        if queue.is_closed() {
            let reason = CloseReason::Shutdown;
            let sentence = reason.farewell().unwrap_or_default();
            rejector.reject(socket, address, reason, &notice_line(sentence));
            continue;
        }
        let permit = permits.acquire_arc().await;
        let newcomer = Newcomer {
            socket,
            address,
            permit,
        };
        let connected = BrokerCommand::Connected(newcomer);
        if context.inbox.send(connected).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::limits::Limits;
    use smol::Executor;
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    /// Connects a client that waits in the queue.
    fn queue_client(queue: &Sender<Accepted>) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let (socket, address) = listener.accept().unwrap();
        queue
            .try_send((Async::new(socket).unwrap(), address))
            .unwrap();
        client
    }

    #[test]
    fn queued_connections_are_rejected_when_the_server_stops() {
        let (inbox, commands) = async_channel::bounded(1);
        let context = ServerContext::for_test(Limits::default(), inbox);
        let rejector = Rejector::chat(&context, Arc::new(Executor::new()));
        let (sender, queue) = admission_queue();
        let clients: Vec<_> = (0..3).map(|_| queue_client(&sender)).collect();
        drop(sender);
        // The rejector holds the last reference to the executor and its lingering tasks.
        smol::block_on(admit_waiting(queue, (context.clone(), rejector)));
        for mut client in clients {
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert!(text.contains("The server is shutting down"), "{text}");
        }
        assert!(commands.is_empty());
        let text = context.metrics.text(0, Duration::ZERO).unwrap();
        let count = "smolchat_connections_refused_total{reason=\"shutdown\"} 3\n";
        assert!(text.contains(count), "{text}");
    }
}
