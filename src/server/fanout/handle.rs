//! The socket of one connection and the flags by which the broker and its tasks wake each other.

use crate::server::close_reason::CloseReason;
use atomic_waker::AtomicWaker;
use smol::Async;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

/// A set of flags between the broker and a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    /// The broker has answered the lines of the connection, which may read on.
    pub(crate) const NEXT: Flags = Flags(1);
    /// The server closes the connection, which reads no further request.
    pub(crate) const CLOSE: Flags = Flags(2);
    /// Everything for this connection is written.
    pub(crate) const WRITTEN: Flags = Flags(4);
    /// Writing has failed. What the client sent before can still be read.
    pub(crate) const BROKEN: Flags = Flags(8);

    pub(crate) const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    // Not behind an `Arc` of its own, so that a write pass finds the socket with one memory access.
    socket: Async<TcpStream>,
    address: SocketAddr,
    waker: AtomicWaker,
    flags: AtomicU8,
    write_failure: OnceLock<CloseReason>,
}

impl ConnectionHandle {
    pub(crate) fn new(socket: Async<TcpStream>, address: SocketAddr) -> Self {
        ConnectionHandle {
            socket,
            address,
            waker: AtomicWaker::new(),
            flags: AtomicU8::new(0),
            write_failure: OnceLock::new(),
        }
    }

    /// Returns the socket; reading and writing its inner stream never blocks.
    pub(crate) fn socket(&self) -> &Async<TcpStream> {
        &self.socket
    }

    pub(crate) fn into_socket(self) -> Async<TcpStream> {
        self.socket
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Raises flags and wakes the task of the connection.
    pub(crate) fn raise(&self, flags: Flags) {
        self.flags.fetch_or(flags.0, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Clears flags. The task does so before it starts what raises them.
    pub(crate) fn clear(&self, flags: Flags) {
        self.flags.fetch_and(!flags.0, Ordering::AcqRel);
    }

    pub(crate) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Acquire))
    }

    /// Raises [`Flags::BROKEN`] and records the reason, because a later read may report another
    /// reason or none.
    pub(crate) fn abort(&self, reason: CloseReason) {
        self.write_failure.get_or_init(|| reason);
        self.raise(Flags::BROKEN);
    }

    pub(crate) fn write_failure(&self) -> Option<CloseReason> {
        self.write_failure.get().copied()
    }

    /// Polls until the socket is readable, or one of these flags is raised: then returns false.
    /// Only the task of the connection calls this.
    pub(crate) fn poll_readable(
        &self,
        flags: Flags,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        self.waker.register(context.waker());
        if self.flags().has(flags) {
            return Poll::Ready(Ok(false));
        }
        self.socket.poll_readable(context).map_ok(|()| true)
    }

    /// Waits for one of these flags and returns all raised flags. Only the task of the connection
    /// calls this. Cancel-safe.
    pub(crate) async fn wait(&self, flags: Flags) -> Flags {
        poll_fn(|context| {
            self.waker.register(context.waker());
            let raised = self.flags();
            if raised.has(flags) {
                Poll::Ready(raised)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Shuts down the sending side, after which the client reads the end of the stream, or both,
    /// so that every task that waits for the socket wakes.
    pub(crate) fn shut_down(&self, how: Shutdown) {
        if let Err(error) = self.stream().shutdown(how)
            && error.kind() != io::ErrorKind::NotConnected
        {
            tracing::debug!(address = %self.address, %error, "cannot shut down the socket");
        }
    }
}
