//! What the tasks of one connection share.
//!
//! What lives here: [`ConnectionHandle`], the socket with the signs that the broker and the tasks of a
//! connection give each other, and [`BacklogInbox`], what the broker leaves for a task that catches
//! up. It must never be locked across a system call or an await.

use crate::protocol::Dialect;
use crate::server::close_reason::CloseReason;
use crate::server::fanout::outbox::{Eviction, LogPosition, QueuedReply};
use atomic_waker::AtomicWaker;
use smol::Async;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// A sign between the broker and a connection; several may be up at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// What the connection handed in is done and answered: it may read on.
    pub const NEXT: Flags = Flags(1);
    /// The server closes this connection: nothing more is read as a request.
    pub const CLOSE: Flags = Flags(2);
    /// Everything that this connection gets is written.
    pub const WRITTEN: Flags = Flags(4);
    /// Nothing more can be written. What was received before can still be read.
    pub const BROKEN: Flags = Flags(8);

    /// Both signs.
    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether one of `other` is among these.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

/// The socket of a connection and its signs.
#[derive(Debug)]
pub struct ConnectionHandle {
    // Held here and not shared once more, so that a sweep finds it with one look into memory.
    socket: Async<TcpStream>,
    address: SocketAddr,
    waker: AtomicWaker,
    signs: AtomicU8,
    /// Why nothing more can be written: an index into [`CloseReason::ALL`], or beyond it.
    broken_by: AtomicU8,
}

impl ConnectionHandle {
    /// A connection of which nothing was heard yet.
    pub fn new(socket: Async<TcpStream>, address: SocketAddr) -> Self {
        ConnectionHandle {
            socket,
            address,
            waker: AtomicWaker::new(),
            signs: AtomicU8::new(0),
            broken_by: AtomicU8::new(u8::MAX),
        }
    }

    /// The socket; reading and writing its inner stream never blocks.
    pub fn socket(&self) -> &Async<TcpStream> {
        &self.socket
    }

    /// A writer that takes what the socket takes at once.
    pub fn writer(&self) -> impl Write + '_ {
        self.stream()
    }

    /// The stream, which never blocks.
    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// The client's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives a sign and wakes the connection's task.
    pub fn give(&self, sign: Flags) {
        self.signs.fetch_or(sign.0, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Gives the sign that nothing more can be written, and remembers why: reading may tell
    /// another reason afterwards, or none.
    pub fn break_off(&self, reason: CloseReason) {
        // There are far fewer reasons than bytes have values.
        self.broken_by.store(reason as u8, Ordering::Release);
        self.give(Flags::BROKEN);
    }

    /// Why nothing more can be written; none while something can.
    pub fn broken_by(&self) -> Option<CloseReason> {
        let index = self.broken_by.load(Ordering::Acquire);
        CloseReason::ALL.get(usize::from(index)).copied()
    }

    /// Takes a sign down, before what it will tell is begun.
    pub fn clear(&self, sign: Flags) {
        self.signs.fetch_and(!sign.0, Ordering::AcqRel);
    }

    /// The signs that are up.
    pub fn signs(&self) -> Flags {
        Flags(self.signs.load(Ordering::Acquire))
    }

    /// Arranges for the task to be woken by the next sign; only the connection's own task may
    /// call this.
    pub fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Waits for one of these signs; only the connection's own task may. Cancel-safe.
    pub async fn wait(&self, signs: Flags) -> Flags {
        poll_fn(|context| {
            self.register(context.waker());
            let up = self.signs();
            if up.has(signs) {
                Poll::Ready(up)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Ends both directions at once, so that every task that waits for the socket wakes.
    pub fn abort(&self) {
        self.shut_down(Shutdown::Both);
    }

    /// Ends the sending side; the peer sees the end of the stream after what was written.
    pub fn finish_sending(&self) {
        self.shut_down(Shutdown::Write);
    }

    fn shut_down(&self, how: Shutdown) {
        // The one error that can come of this is that the connection is already gone.
        if let Err(error) = self.socket.get_ref().shutdown(how)
            && error.kind() != io::ErrorKind::NotConnected
        {
            tracing::debug!(address = %self.address, %error, "cannot shut down the socket");
        }
    }
}

/// What the broker and the task that catches up share of a client that is behind.
#[derive(Debug, Default)]
pub struct BacklogInbox {
    mail: Mutex<BacklogOrders>,
    /// The position, and a mark of its dialect: one value, so that nobody sees a position in the
    /// wrong log.
    place: AtomicU64,
    written: AtomicU64,
}

/// Stand beside a position in the other dialects than the basic one: no log ever has so many
/// bytes.
const EXTENDED: u64 = 1 << 63;
const PAGE: u64 = 1 << 62;

fn packed(place: LogPosition) -> u64 {
    match place.dialect {
        Dialect::Basic => place.position,
        Dialect::Extended => place.position | EXTENDED,
        Dialect::Page => place.position | PAGE,
    }
}

/// What the broker leaves for the task that catches up.
#[derive(Debug, Default)]
pub struct BacklogOrders {
    /// Replies, in order.
    pub replies: Vec<QueuedReply>,
    /// Whether the client waits for its replies before it sends on.
    pub answer_due: bool,
    /// Where the stream ends.
    pub end: Option<LogPosition>,
    /// Give up everything but the line begun, say this and end.
    pub cut: Option<Eviction>,
}

impl BacklogInbox {
    /// A mailbox for a client that is written up to this place.
    pub fn new(place: LogPosition) -> Self {
        BacklogInbox {
            place: AtomicU64::new(packed(place)),
            ..BacklogInbox::default()
        }
    }

    /// What was left.
    pub fn mail(&self) -> MutexGuard<'_, BacklogOrders> {
        // Mail is only moved in and out, so a panic elsewhere leaves it whole.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how far the writing came: the place in the log, and bytes written in all.
    pub fn tell(&self, place: LogPosition, written: u64) {
        self.place.store(packed(place), Ordering::Relaxed);
        self.written.store(written, Ordering::Relaxed);
    }

    /// The place up to which the client is written.
    pub fn place(&self) -> LogPosition {
        let packed = self.place.load(Ordering::Relaxed);
        let dialect = match packed & (EXTENDED | PAGE) {
            0 => Dialect::Basic,
            PAGE => Dialect::Page,
            _ => Dialect::Extended,
        };
        LogPosition {
            dialect,
            position: packed & !(EXTENDED | PAGE),
        }
    }

    /// Bytes written since the client is behind.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}
