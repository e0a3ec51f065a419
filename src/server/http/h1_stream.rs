//! The stream that async-h1 gets for one request: the head it may read, and the socket to
//! answer on.
//!
//! What lives here: [`H1Stream`]. It must never let async-h1 read from the socket, and it
//! notes when a reader takes nothing, since async-h1 would wait for ever.

use crate::server::http::close_reason::HttpCloseReason;
use async_net::TcpStream;
use futures_lite::{AsyncRead, AsyncWrite};
use smol::Timer;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// One request and its answer; clones share it.
#[derive(Clone, Debug)]
pub struct H1Stream {
    stream: TcpStream,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What of the head is not yet read.
    head: Mutex<io::Cursor<Vec<u8>>>,
    has_written: AtomicBool,
    blocked_since: Mutex<Option<Instant>>,
}

/// How often a blocked answer is looked at before its time is over.
const STALL_CHECKS: u32 = 6;

impl H1Stream {
    /// An exchange about a request with this head.
    pub fn new(stream: TcpStream, head: Vec<u8>) -> Self {
        let shared = Shared {
            head: Mutex::new(io::Cursor::new(head)),
            has_written: AtomicBool::new(false),
            blocked_since: Mutex::new(None),
        };
        H1Stream {
            stream,
            shared: Arc::new(shared),
        }
    }

    /// Whether any of the answer was written.
    pub fn has_written(&self) -> bool {
        self.shared.has_written.load(Ordering::Acquire)
    }

    /// Waits until the reader has taken nothing for so long, or the deadline for the whole
    /// answer has passed, if there is one; gives which it was. Cancel-safe.
    pub async fn wait_for_stall(
        &self,
        stall: Duration,
        deadline: Option<Duration>,
    ) -> HttpCloseReason {
        let start = Instant::now();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_sub(start.elapsed()));
            let check = stall / STALL_CHECKS;
            Timer::after(left.map_or(check, |left| left.min(check))).await;
            let blocked_since = *lock(&self.shared.blocked_since);
            if blocked_since.is_some_and(|since| since.elapsed() >= stall) {
                return HttpCloseReason::Stalled;
            }
            if deadline.is_some_and(|deadline| start.elapsed() >= deadline) {
                return HttpCloseReason::Deadline;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is replaced in one step, so a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRead for H1Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(io::Read::read(&mut *lock(&self.shared.head), buffer))
    }
}

impl AsyncWrite for H1Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        let mut blocked_since = lock(&self.shared.blocked_since);
        if written.is_pending() {
            blocked_since.get_or_insert_with(Instant::now);
        } else {
            *blocked_since = None;
            self.shared.has_written.store(true, Ordering::Release);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
