//! Rejects connections: sends one last text and closes.

use crate::server::close_reason::CloseReason;
use crate::server::connection::drain::drain;
use crate::server::connection_counter::ConnectionCounter;
use crate::server::context::{ServerContext, SharedExecutor};
use crate::server::limits::{LINGER_TIMEOUT, MAX_CLOSING_CONNECTIONS};
use crate::server::metrics::Metrics;
use crate::server::timeout::timeout;
use smol::Async;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct Rejector {
    context: Arc<ServerContext>,
    executor: SharedExecutor,
    /// Rejected connections that are still open.
    closing: Arc<ConnectionCounter>,
    count: fn(&Metrics, CloseReason),
}

impl Rejector {
    pub(crate) fn chat(context: &Arc<ServerContext>, executor: SharedExecutor) -> Self {
        Rejector {
            context: context.clone(),
            executor,
            closing: ConnectionCounter::new(MAX_CLOSING_CONNECTIONS, None),
            count: Metrics::count_refused,
        }
    }

    pub(crate) fn http(
        context: &Arc<ServerContext>,
        closing: &Arc<ConnectionCounter>,
        executor: SharedExecutor,
    ) -> Self {
        Rejector {
            context: context.clone(),
            executor,
            closing: closing.clone(),
            count: Metrics::count_web_ended,
        }
    }

    /// Sends the text if the socket takes it at once, and closes the connection.
    pub(crate) fn reject(
        &self,
        socket: Async<TcpStream>,
        address: SocketAddr,
        reason: CloseReason,
        text: &[u8],
    ) {
        (self.count)(&self.context.metrics, reason);
        // Clients decide how often this happens, so it is not logged louder.
        tracing::debug!(%address, %reason, "connection rejected");
        // The send buffer of a new socket has room for the text.
        let written = socket.get_ref().write(text);
        let permit = self.closing.acquire(address.ip());
        if let (Ok(_), Ok(permit)) = (written, permit) {
            let lingering = async move {
                linger(socket).await;
                drop(permit);
            };
            self.executor.spawn(lingering).detach();
        }
    }
}

/// Closes the sending side and drains the input for a while. Closing with unread input would make
/// the kernel reset the connection, and the peer could lose the last bytes.
pub(crate) async fn linger(socket: Async<TcpStream>) {
    if socket.get_ref().shutdown(Shutdown::Write).is_ok() {
        timeout(LINGER_TIMEOUT, drain(&socket)).await;
    }
}
