//! Accepts connections, whatever goes wrong with one of them.
//!
//! An acceptor never ends because of an error, and never retries an error in a busy loop.

use crate::cli::socket;
use crate::server::close_reason::CloseReason;
use crate::server::limits::{ACCEPT_FIRST_PAUSE, ACCEPT_LAST_PAUSE, MAX_ACCEPTS_PER_TURN};
use futures_lite::FutureExt;
use smol::{Async, Timer};
use socket2::SockRef;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A file descriptor that the acceptors of a server release when the process has no other left.
///
/// An acceptor keeps a new connection only while the reserve exists: another acceptor's connection
/// may have taken the released descriptor.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReserveDescriptor(Arc<Mutex<Option<File>>>);

impl ReserveDescriptor {
    /// Opens the reserve. If that fails now, an acceptor tries again later.
    pub(crate) fn new() -> Self {
        ReserveDescriptor(Arc::new(Mutex::new(open_null())))
    }

    /// Closes the reserve, so that one more connection can be accepted.
    fn release(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Opens the reserve again if a descriptor is available.
    fn reopen(&self) -> MutexGuard<'_, Option<File>> {
        let mut reserve = self.lock();
        if reserve.is_none() {
            *reserve = open_null();
        }
        reserve
    }

    /// Returns the connection if the reserve exists or can be opened. Otherwise `reject` drops the
    /// connection, and the reserve takes its descriptor.
    fn keep_or(
        &self,
        socket: Async<TcpStream>,
        reject: impl FnOnce(Async<TcpStream>),
    ) -> Option<Async<TcpStream>> {
        let mut reserve = self.reopen();
        if reserve.is_some() {
            return Some(socket);
        }
        reject(socket);
        *reserve = open_null();
        None
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        // The value is replaced in one step, so a panic elsewhere cannot leave it inconsistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens to connections for which no file descriptor is left.
pub(crate) struct RejectNotice {
    pub(crate) text: Vec<u8>,
    pub(crate) count: Box<dyn Fn() + Send + Sync>,
}

/// Accepts connections of one listener.
pub(crate) struct Acceptor {
    listener: Async<TcpListener>,
    reserve: ReserveDescriptor,
    notice: RejectNotice,
    last_pause: Option<Duration>,
    has_warned: bool,
    in_this_turn: usize,
}

impl Acceptor {
    pub(crate) fn new(
        listener: Async<TcpListener>,
        reserve: ReserveDescriptor,
        notice: RejectNotice,
    ) -> Self {
        Acceptor {
            listener,
            reserve,
            notice,
            last_pause: None,
            has_warned: false,
            in_this_turn: 0,
        }
    }

    /// Passes connections to `admit`, one after the other, until `stop` is ready.
    pub(crate) async fn accept_until<Admitted: Future<Output = ()>>(
        mut self,
        stop: impl Future<Output = ()>,
        mut admit: impl FnMut(Async<TcpStream>, SocketAddr) -> Admitted,
    ) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let stopped = async {
                stop.as_mut().await;
                None
            };
            let next = stopped.or(async { Some(self.next().await) }).await;
            let Some((socket, address)) = next else {
                return;
            };
            socket::prepare(&SockRef::from(&socket));
            admit(socket, address).await;
        }
    }

    /// Waits for the next connection. Cancel-safe.
    async fn next(&mut self) -> (Async<TcpStream>, SocketAddr) {
        if self.in_this_turn >= MAX_ACCEPTS_PER_TURN {
            self.in_this_turn = 0;
            smol::future::yield_now().await;
        }
        let mut is_short = false;
        loop {
            match self.listener.accept().await {
                Ok((socket, address)) => {
                    if let Some(socket) = self.keep(socket, address) {
                        self.last_pause = None;
                        self.has_warned = self.has_warned && is_short;
                        self.in_this_turn += 1;
                        return (socket, address);
                    }
                    // Endless connection attempts must not occupy the thread.
                    smol::future::yield_now().await;
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    self.warn(&error);
                    is_short = true;
                    // Without a free descriptor, `accept` fails even if no connection waits. After
                    // the release it waits for one.
                    if !(lacks_descriptor(&error) && self.reserve.release()) {
                        self.pause().await;
                    }
                }
            }
        }
    }

    /// Returns the connection if a descriptor is left for the reserve. Otherwise rejects it.
    fn keep(&self, socket: Async<TcpStream>, address: SocketAddr) -> Option<Async<TcpStream>> {
        self.reserve.keep_or(socket, |socket| {
            (self.notice.count)();
            let reason = CloseReason::NoDescriptor;
            tracing::debug!(%address, %reason, "connection rejected");
            // The descriptor is needed at once, so nothing waits. Reading what has arrived keeps
            // the kernel from resetting the connection.
            let _ = socket.get_ref().write(&self.notice.text);
            let _ = socket.get_ref().read(&mut [0; 1024]);
        })
    }

    /// Logs a system error once until the next connection is accepted.
    fn warn(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.has_warned, true) {
            return;
        }
        if lacks_descriptor(error) {
            tracing::warn!(
                %error,
                "no file descriptor is left for further connections: raise the limit (ulimit -n) \
                 or lower --max-clients; new connections are rejected until one is free"
            );
        } else {
            tracing::warn!(%error, "cannot accept connections; trying again");
        }
    }

    async fn pause(&mut self) {
        drop(self.reserve.reopen());
        // Doubled up to a limit.
        let pause = self.last_pause.map_or(ACCEPT_FIRST_PAUSE, |last| last * 2);
        let pause = pause.min(ACCEPT_LAST_PAUSE);
        self.last_pause = Some(pause);
        Timer::after(pause).await;
    }
}

fn open_null() -> Option<File> {
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}

/// Returns whether the error is `EMFILE`, `ENFILE` or `WSAEMFILE`.
fn lacks_descriptor(error: &io::Error) -> bool {
    let codes: &[i32] = if cfg!(windows) { &[10024] } else { &[23, 24] };
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Returns whether an accept error concerns one connection, which is gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_descriptors_are_not_an_error_of_one_connection() {
        let emfile = io::Error::from_raw_os_error(24);
        assert!(!is_of_one_connection(&emfile));
        assert!(lacks_descriptor(&emfile));
        assert!(is_of_one_connection(
            &io::ErrorKind::ConnectionAborted.into()
        ));
    }
}
