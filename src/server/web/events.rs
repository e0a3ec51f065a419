//! The live stream of the page: server-sent events as a response body.
//!
//! What lives here: [`EventStream`], a cursor into the log of the page's frames that reads like
//! a file. The routes make it, async-h1 reads it as fast as the browser takes it. It must never
//! hold frames of its own, and never be silent for longer than a heartbeat: a browser that is
//! gone is noticed by the failing write.

use crate::limits::{WEB_HEARTBEAT_INTERVAL, WEB_STREAM_BUFFER_BYTES};
use crate::server::frames::{self, HEARTBEAT};
use crate::server::inbox::Subscription;
use crate::server::log::{Log, TooFarBehind};
use crate::server::snapshot::{Budget, Document};
use crate::server::web::gate::Counted;
use event_listener::EventListener;
use futures_lite::{AsyncBufRead, AsyncRead};
use smol::Timer;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What is being read.
#[derive(Debug)]
enum Chunk {
    Document(Arc<Document>),
    Text(&'static str),
    /// A copy: one who does not read would keep a whole batch from being freed.
    Frames(Vec<u8>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Document(document) => document.text().as_bytes(),
            Chunk::Text(text) => text.as_bytes(),
            Chunk::Frames(frames) => frames,
        }
    }
}

/// A response body that goes on while the server does.
#[derive(Debug)]
pub struct EventStream {
    log: Arc<Log>,
    position: u64,
    chunk: Chunk,
    read: usize,
    listener: Option<EventListener>,
    heartbeat: Timer,
    has_ended: bool,
    /// While it is held, frames are made.
    _reader: Arc<()>,
    /// While it is held, this stream counts.
    _counted: Counted,
}

impl EventStream {
    /// A stream that begins with the subscription's snapshot; none if there is no room for that
    /// now. Streams that begin at the same moment share it.
    pub fn new(subscription: Subscription, counted: Counted, budget: &Arc<Budget>) -> Option<Self> {
        let snapshot = &subscription.snapshot;
        let frame = budget.document(&snapshot.frame, || frames::snapshot_frame(snapshot))?;
        Some(EventStream {
            log: subscription.log,
            position: subscription.position,
            chunk: Chunk::Document(frame),
            read: 0,
            listener: None,
            heartbeat: Timer::after(WEB_HEARTBEAT_INTERVAL),
            has_ended: false,
            _reader: subscription.reader,
            _counted: counted,
        })
    }

    /// Takes the next frames, or a heartbeat, or notes the end.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut slices = Vec::new();
            let read = self.log.read(
                self.position,
                u64::MAX,
                1,
                WEB_STREAM_BUFFER_BYTES,
                &mut slices,
            );
            if read == Err(TooFarBehind) {
                // The browser connects again and starts from a new snapshot.
                self.has_ended = true;
                return Poll::Ready(());
            }
            if let Some(slice) = slices.pop() {
                let count = slice.bytes().len().min(WEB_STREAM_BUFFER_BYTES);
                self.position += count as u64;
                self.take(Chunk::Frames(slice.bytes()[..count].to_vec()));
                return Poll::Ready(());
            }
            if self.log.is_closed() {
                self.has_ended = true;
                return Poll::Ready(());
            }
            if Pin::new(&mut self.heartbeat).poll(context).is_ready() {
                self.take(Chunk::Text(HEARTBEAT));
                return Poll::Ready(());
            }
            // Listen first, then look again: what is published in between is not missed.
            let Some(listener) = &mut self.listener else {
                self.listener = Some(self.log.listen());
                continue;
            };
            ready!(Pin::new(listener).poll(context));
            self.listener = None;
        }
    }

    fn take(&mut self, chunk: Chunk) {
        self.chunk = chunk;
        self.read = 0;
        self.heartbeat.set_after(WEB_HEARTBEAT_INTERVAL);
    }
}

impl AsyncBufRead for EventStream {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.read >= this.chunk.bytes().len() && !this.has_ended {
            ready!(this.poll_chunk(context));
        }
        Poll::Ready(Ok(
            &this.chunk.bytes()[this.read.min(this.chunk.bytes().len())..]
        ))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.read += count;
    }
}

impl AsyncRead for EventStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let available = ready!(self.as_mut().poll_fill_buf(context))?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Poll::Ready(Ok(count))
    }
}
