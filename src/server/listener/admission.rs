//! The door: who is accepted, who is let in, and how the others are turned away.
//!
//! What lives here: the accept loop of the chat, the rate of new connections from one address,
//! the letting in of a bounded number with each batch, and [`Admission`], which tells one who cannot
//! come in why. The server starts the loops; the broker turns away who finds no room. It must
//! never know the room, and a crowd at the door must never hold up those who are inside.

use crate::cli::socket;
use crate::protocol::basic::notice_line;
use crate::server::close_reason::CloseReason;
use crate::server::command::{BrokerCommand, Newcomer};
use crate::server::connection::drain::drain;
use crate::server::context::ServerContext;
use crate::server::context::SharedExecutor;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::limits::{
    LINGER_TIMEOUT, MAX_CLOSING_CONNECTIONS, MAX_NEWCOMERS_PER_BATCH, MAX_WAITING_NEWCOMERS,
};
use crate::server::listener::Bound;
use crate::server::listener::accept::{Acceptor, RejectNotice, ReserveDescriptor};
use crate::server::rate_limit::KeyedRateLimiter;
use crate::server::timeout::timeout;
use async_channel::{Receiver, Sender};
use async_net::TcpStream;
use futures_lite::FutureExt;
use smol::Async;
use smol::lock::Semaphore;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// Turns away those who cannot come in.
#[derive(Clone, Debug)]
pub struct Admission {
    context: Arc<ServerContext>,
    executor: SharedExecutor,
    /// One more for each connection that is being told that it cannot come in.
    being_refused: Arc<()>,
}

impl Admission {
    /// A door at which nobody waits.
    pub fn new(context: Arc<ServerContext>, executor: SharedExecutor) -> Self {
        Admission {
            context,
            executor,
            being_refused: Arc::new(()),
        }
    }

    /// Tells a newcomer in one sentence why it cannot come in, and closes the connection.
    pub fn reject(&self, peer: ConnectionHandle, reason: CloseReason, sentence: &str) {
        self.context.metrics.count_refused(reason);
        // Not louder: how often this is logged is up to strangers.
        tracing::debug!(address = %peer.address(), %reason, "turned away");
        // A new socket takes one line at once; one that does not is not waited for.
        let told = peer.writer().write(&notice_line(sentence));
        if told.is_err() || Arc::strong_count(&self.being_refused) > MAX_CLOSING_CONNECTIONS {
            return;
        }
        let being_refused = self.being_refused.clone();
        let lingering = async move {
            peer.finish_sending();
            timeout(LINGER_TIMEOUT, drain(&peer)).await;
            drop(being_refused);
        };
        // It ends by itself within the linger time, and is counted while it lasts.
        self.executor.spawn(lingering).detach();
    }
}

/// One who was accepted.
type Accepted = (TcpStream, SocketAddr);

/// Where accepted connections wait to be let in.
pub fn admission_queue() -> (Sender<Accepted>, Receiver<Accepted>) {
    async_channel::bounded(MAX_WAITING_NEWCOMERS)
}

/// Accepts whoever comes, at once, so that the kernel's queue does not overflow. Who comes too
/// often is turned away here: nobody else waits for it. Ends when the door closes, which is when
/// its other side is dropped.
pub async fn accept_clients(
    chat: Bound,
    spare: ReserveDescriptor,
    waiting: Sender<Accepted>,
    admission: Admission,
    closes: Receiver<()>,
) {
    let no_descriptor = CloseReason::NoDescriptor;
    let metrics = &admission.context.metrics;
    let farewell = RejectNotice {
        text: no_descriptor
            .farewell()
            .map(notice_line)
            .unwrap_or_default()
            .to_vec(),
        counters: vec![metrics.accepted(), metrics.refused_by(no_descriptor)],
    };
    let mut acceptor = Acceptor::new(chat.listener, spare, farewell);
    let limits = &admission.context.limits;
    let mut rate = limits.connects_per_minute.map(KeyedRateLimiter::new);
    loop {
        let closed = async {
            // Nothing is ever sent: this waits for the end.
            let _ = closes.recv().await;
            None
        };
        let next = closed.or(async { Some(acceptor.next().await) }).await;
        let Some((stream, address)) = next else {
            return;
        };
        admission.context.metrics.count_accepted();
        let wait = rate
            .as_mut()
            .and_then(|rate| rate.check(address.ip(), admission.context.now()).err());
        if let Some(wait) = wait {
            let seconds = wait.as_secs() + 1;
            let sentence =
                format!("Too many new connections from your address; try again in {seconds} s");
            let peer = ConnectionHandle::new(sole_handle(stream), address);
            admission.reject(peer, CloseReason::ConnectRate, &sentence);
        } else if waiting.send((stream, address)).await.is_err() {
            return;
        }
    }
}

/// Lets in those who wait, so many with each batch: a crowd at the door does not hold up those
/// who are here. Once nobody more is accepted, those who still wait are told that the server
/// stops.
pub async fn admit_waiting(waiting: Receiver<Accepted>, admission: Admission) {
    let context = &admission.context;
    let permits = Arc::new(Semaphore::new(MAX_NEWCOMERS_PER_BATCH));
    while let Ok((stream, address)) = waiting.recv().await {
        context.metrics.set_waiting(waiting.len());
        if waiting.is_closed() {
            let reason = CloseReason::Shutdown;
            let peer = ConnectionHandle::new(sole_handle(stream), address);
            admission.reject(peer, reason, reason.farewell().unwrap_or_default());
            continue;
        }
        let permit = permits.acquire_arc().await;
        socket::prepare(&stream);
        let newcomer = Newcomer {
            socket: sole_handle(stream),
            address,
            permit,
        };
        let connected = BrokerCommand::Connected(newcomer);
        if context.inbox.send(connected).await.is_err() {
            return;
        }
    }
}

/// The socket by itself.
fn sole_handle(stream: TcpStream) -> Async<std::net::TcpStream> {
    let shared: Arc<Async<std::net::TcpStream>> = stream.into();
    // It was accepted just now and moved to here: there is no second handle.
    Arc::into_inner(shared).expect("the only handle")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::limits::Limits;
    use smol::Executor;
    use std::io::Read;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[test]
    fn who_waits_when_the_door_closes_is_told_that_the_server_stops() {
        let limits = Limits::default();
        let (inbox, inputs) = async_channel::bounded(1);
        let context = ServerContext::for_test(limits, inbox);
        let admission = Admission::new(context.clone(), Arc::new(Executor::new()));
        let (newcomers, waiting) = admission_queue();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(std::net::TcpStream::connect(address).unwrap());
            let (stream, from) = listener.accept().unwrap();
            let stream = TcpStream::from(Async::new(stream).unwrap());
            newcomers.try_send((stream, from)).unwrap();
        }
        drop(newcomers);
        smol::block_on(admit_waiting(waiting, admission.clone()));
        // What lingers ends with the executor that nobody runs.
        drop(admission);
        for mut client in clients {
            let patience = Some(Duration::from_secs(30));
            client.set_read_timeout(patience).unwrap();
            let mut told = [0; 200];
            let count = client.read(&mut told).unwrap();
            let told = String::from_utf8_lossy(&told[..count]);
            assert!(told.contains("The server is shutting down"), "{told}");
        }
        assert!(inputs.is_empty(), "nobody was let in");
        let text = context.metrics.text(0, Duration::ZERO).unwrap();
        let count = "smolchat_connections_refused_total{reason=\"shutdown\"} 3\n";
        assert!(text.contains(count), "{text}");
    }
}
