//! What one connection still has to be sent, in order.
//!
//! The broker owns the outbox of a client with a reply, and the backlog task that of a slow
//! consumer. Shared bytes are never copied.

use crate::protocol::Dialect;
use crate::protocol::long_reply::LongReply;
use crate::server::fanout::broadcast_log::{BroadcastLogs, LogSlice, PerDialect, TooFarBehind};
use crate::server::limits::{
    MAX_BYTES_PER_TURN, MAX_BYTES_PER_WRITE, MAX_SLICES_PER_WRITE, REPLY_PIECE_BYTES,
};
use memchr::memmem::find;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

/// A reply and its place in the log.
#[derive(Debug)]
pub(crate) struct QueuedReply {
    /// Offset of the log after which the reply follows, in the dialect that the connection speaks
    /// when its turn comes.
    pub(crate) at: u64,
    /// Bytes of the log after the reply that this connection does not get.
    pub(crate) skip: u64,
    pub(crate) body: ReplyBody,
}

#[derive(Debug)]
pub(crate) enum ReplyBody {
    Bytes(Arc<[u8]>),
    /// Lines that are encoded while they are written.
    Long(LongReply),
    /// A document of the web page.
    Document(Arc<dyn Document>),
    /// The change to another dialect or offset.
    Switch(StreamStart),
}

/// Shared text that outlives its readers in a cache.
pub(crate) trait Document: fmt::Debug + Send + Sync {
    fn bytes(&self) -> &[u8];
}

/// Where the stream of public events of a connection starts or resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamStart {
    /// The dialect from here on.
    pub(crate) dialect: Dialect,
    /// The first offset of its log.
    pub(crate) offset: u64,
    /// Events before this offset do not count as lag, because the client missed them while it was
    /// away.
    pub(crate) lag_baseline: u64,
    /// The events from the store that come before the log.
    pub(crate) stored: Option<StoredRange>,
}

/// Public events in the store, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredRange {
    pub(crate) after: u64,
    pub(crate) until: u64,
}

/// How the stream of a slow consumer ends.
#[derive(Clone, Debug)]
pub(crate) struct Eviction {
    pub(crate) farewell: Arc<[u8]>,
    /// The rest of the record at this offset when the server decided the eviction. The log may
    /// have dropped it before the socket takes the next byte.
    pub(crate) rest: Option<(LogPosition, Arc<[u8]>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPosition {
    pub(crate) dialect: Dialect,
    pub(crate) offset: u64,
}

impl LogPosition {
    /// Returns the rest of the record at this position, if the log still has it.
    pub(crate) fn rest_of_record(self, logs: &BroadcastLogs) -> Option<Arc<[u8]>> {
        logs[self.dialect].rest_of_record(self.offset, record_end(self.dialect))
    }
}

impl Eviction {
    /// Returns the rest of the record at `position`, if the eviction has it.
    fn rest_from(&self, position: LogPosition) -> Option<Arc<[u8]>> {
        let (start, rest) = self.rest.as_ref()?;
        if start.dialect != position.dialect {
            return None;
        }
        let written = position.offset.checked_sub(start.offset)?;
        rest.get(usize::try_from(written).ok()?..).map(Arc::from)
    }
}

#[derive(Debug)]
enum Chunk {
    Bytes(Arc<[u8]>),
    Document(Arc<dyn Document>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Bytes(bytes) => bytes,
            Chunk::Document(document) => document.bytes(),
        }
    }
}

/// The result of [`Outbox::write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Everything up to the end of the log is written.
    CaughtUp,
    Finished,
    /// The socket takes no more bytes now.
    Blocked,
    /// The turn is over before everything is written.
    Yield,
    /// The log no longer has the next bytes.
    FellOut,
    /// The store has the next events.
    NeedsStored(StoredRange),
}

/// What a connection still has to be sent, in order.
#[derive(Debug)]
pub(crate) struct Outbox {
    position: LogPosition,
    lag_baseline: u64,
    /// Events from the store that come before the log.
    stored: Option<StoredRange>,
    replies: VecDeque<QueuedReply>,
    /// The chunk that is being written, and how many of its bytes are.
    chunk: Option<(Chunk, usize)>,
    /// Whether the last complete chunk ended inside a line.
    is_inside_line: bool,
    end: Option<LogPosition>,
    written: u64,
    /// Bytes and line ends that [`Outbox::take_counts`] has not returned yet.
    counts: (u64, u64),
    answer_due: bool,
}

impl Outbox {
    pub(crate) fn new(position: LogPosition) -> Self {
        Outbox {
            position,
            lag_baseline: match position.dialect {
                // A browser does not lag by the documents that its stream starts with.
                Dialect::Browser => position.offset,
                Dialect::Basic | Dialect::Extended => 0,
            },
            stored: None,
            replies: VecDeque::new(),
            chunk: None,
            is_inside_line: false,
            end: None,
            written: 0,
            counts: (0, 0),
            answer_due: false,
        }
    }

    /// Returns the position up to which everything is written.
    pub(crate) fn position(&self) -> LogPosition {
        self.position
    }

    pub(crate) fn lag_baseline(&self) -> u64 {
        self.lag_baseline
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the bytes and line ends written since the last call.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.counts)
    }

    /// Adds a reply, whose place is not before that of an earlier one.
    pub(crate) fn add(&mut self, reply: QueuedReply) {
        if self.replies.is_empty() {
            // Thousands of connections may have one reply each at the same time.
            self.replies.reserve_exact(1);
        }
        self.replies.push_back(reply);
    }

    /// Returns the next switch of the stream and the offset at which it follows.
    pub(crate) fn next_switch(&self) -> Option<(u64, StreamStart)> {
        self.replies.iter().find_map(|reply| match reply.body {
            ReplyBody::Switch(start) => Some((reply.at, start)),
            _ => None,
        })
    }

    pub(crate) fn end_at(&mut self, position: LogPosition) {
        self.end = Some(position);
    }

    /// Adds whole lines from the store: the events after [`StoredRange::after`] up to `last`.
    pub(crate) fn add_stored(&mut self, lines: Arc<[u8]>, last: u64) {
        if let Some(stored) = &mut self.stored {
            stored.after = last;
            self.chunk = Some((Chunk::Bytes(lines), 0));
        }
    }

    /// Records that the client waits for its replies.
    pub(crate) fn expect_answer(&mut self) {
        self.answer_due = true;
    }

    /// Returns, once, whether the client waits for its replies and all are written.
    pub(crate) fn take_answered(&mut self) -> bool {
        !self.has_replies() && std::mem::take(&mut self.answer_due)
    }

    pub(crate) fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// Returns whether everything up to the end of the stream is written.
    pub(crate) fn is_finished(&self) -> bool {
        !self.has_replies() && self.is_at_end()
    }

    /// An end in another dialect comes after the switch to it.
    fn is_at_end(&self) -> bool {
        let end = self.end_in_dialect();
        self.stored.is_none() && end.is_some_and(|end| end <= self.position.offset)
    }

    fn end_in_dialect(&self) -> Option<u64> {
        let end = self.end?;
        (end.dialect == self.position.dialect).then_some(end.offset)
    }

    pub(crate) fn has_replies(&self) -> bool {
        self.chunk.is_some() || !self.replies.is_empty()
    }

    /// Drops everything except the rest of the current record, and adds the last line.
    ///
    /// If the rest of the record is unknown, the stream ends without the last line, because a
    /// record must never contain the start of another.
    pub(crate) fn evict(&mut self, logs: &BroadcastLogs, eviction: &Eviction) {
        let rest = self.rest_of_record(logs, eviction);
        let position = self.position;
        self.replies.clear();
        self.chunk = None;
        self.stored = None;
        self.end = Some(position);
        let Some(rest) = rest else {
            return;
        };
        for bytes in [rest, eviction.farewell.clone()] {
            self.replies.push_back(QueuedReply {
                at: position.offset,
                skip: 0,
                body: ReplyBody::Bytes(bytes),
            });
        }
    }

    /// Returns the rest of the record that the client has begun, or `None` if the rest is not
    /// encoded yet or gone.
    fn rest_of_record(&self, logs: &BroadcastLogs, eviction: &Eviction) -> Option<Arc<[u8]>> {
        let position = self.position;
        let record_end = record_end(position.dialect);
        let is_inside_reply = match &self.chunk {
            Some((chunk, done @ 1..)) => !chunk.bytes()[..*done].ends_with(record_end),
            _ => self.is_inside_line,
        };
        if !is_inside_reply {
            let known = eviction.rest_from(position);
            return known.or_else(|| position.rest_of_record(logs));
        }
        // A chunk has many records; a slow consumer gets only the one it has begun.
        let (chunk, done) = self.chunk.as_ref()?;
        let start = done.saturating_sub(record_end.len() - 1);
        let end = start + find(&chunk.bytes()[start..], record_end)? + record_end.len();
        Some(chunk.bytes()[*done..end].into())
    }

    /// Writes as much as the socket takes, up to `ends` and for one turn.
    ///
    /// A reply must be added before its log grows beyond its place, and `ends` be read before
    /// concurrent replies are added. Otherwise a reply comes too late.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn write(
        &mut self,
        logs: &BroadcastLogs,
        ends: PerDialect<u64>,
        socket: &mut impl Write,
    ) -> io::Result<Progress> {
        let turn_end = self.written + MAX_BYTES_PER_TURN as u64;
        let mut slices = Vec::new();
        loop {
            if self.written >= turn_end {
                return Ok(Progress::Yield);
            }
            if self.chunk.is_some() {
                if !self.write_chunk(socket)? {
                    return Ok(Progress::Blocked);
                }
                continue;
            }
            if let Some(stored) = self.stored {
                if stored.after < stored.until {
                    return Ok(Progress::NeedsStored(stored));
                }
                self.stored = None;
            }
            let LogPosition { dialect, offset } = self.position;
            let stop = self.next_stop(ends[dialect]);
            if offset < stop {
                slices.clear();
                let read = logs[dialect].read(
                    offset,
                    stop,
                    MAX_SLICES_PER_WRITE,
                    MAX_BYTES_PER_WRITE,
                    &mut slices,
                );
                if read == Err(TooFarBehind) {
                    return Ok(Progress::FellOut);
                }
                if !self.write_slices(&slices, socket)? {
                    return Ok(Progress::Blocked);
                }
            } else if self.replies.front().is_some_and(|reply| reply.at <= offset) {
                self.start_chunk();
            } else if self.is_at_end() {
                return Ok(Progress::Finished);
            } else {
                return Ok(Progress::CaughtUp);
            }
        }
    }

    /// Returns where the current part of the log stops: at the next reply or one of the ends.
    fn next_stop(&self, log_end: u64) -> u64 {
        let reply = self.replies.front().map_or(u64::MAX, |reply| reply.at);
        let end = self.end_in_dialect().unwrap_or(u64::MAX);
        log_end.min(reply).min(end)
    }

    /// Starts the next chunk of the first reply, and removes the reply after its last one.
    fn start_chunk(&mut self) {
        let Some(reply) = self.replies.front_mut() else {
            return;
        };
        let chunk = match &mut reply.body {
            ReplyBody::Bytes(bytes) => Chunk::Bytes(std::mem::take(bytes)),
            ReplyBody::Document(document) => Chunk::Document(document.clone()),
            ReplyBody::Long(long) => {
                match long.next_chunk(self.position.dialect, REPLY_PIECE_BYTES) {
                    Some(chunk) => {
                        self.chunk = Some((Chunk::Bytes(chunk), 0));
                        return;
                    }
                    None => Chunk::Bytes(Arc::default()),
                }
            }
            ReplyBody::Switch(start) => {
                let start = *start;
                self.replies.pop_front();
                self.switch_to(start);
                return;
            }
        };
        self.position.offset += reply.skip;
        self.replies.pop_front();
        if !chunk.bytes().is_empty() {
            self.chunk = Some((chunk, 0));
        }
    }

    fn switch_to(&mut self, start: StreamStart) {
        self.position = LogPosition {
            dialect: start.dialect,
            offset: start.offset,
        };
        self.lag_baseline = start.lag_baseline;
        self.stored = start.stored;
    }

    /// Writes from the chunk; returns false if the socket takes no more bytes.
    fn write_chunk(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        let Some((chunk, done)) = &mut self.chunk else {
            return Ok(true);
        };
        let rest = &chunk.bytes()[*done..];
        let length = rest.len();
        let count = write_some(socket, &[IoSlice::new(rest)])?;
        let line_ends = line_ends(&rest[..count]);
        *done += count;
        self.written += count as u64;
        self.counts.0 += count as u64;
        self.counts.1 += line_ends;
        if count < length {
            return Ok(false);
        }
        self.is_inside_line = rest.last() != Some(&b'\n');
        self.chunk = None;
        Ok(true)
    }

    /// Writes from the log; returns false if the socket takes no more bytes.
    fn write_slices(&mut self, slices: &[LogSlice], socket: &mut impl Write) -> io::Result<bool> {
        let length: usize = slices.iter().map(|slice| slice.bytes().len()).sum();
        let buffers: Vec<IoSlice<'_>> = slices
            .iter()
            .map(|slice| IoSlice::new(slice.bytes()))
            .collect();
        let count = write_some(socket, &buffers)?;
        self.position.offset += count as u64;
        self.written += count as u64;
        self.counts.0 += count as u64;
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.bytes().len());
            self.counts.1 += line_ends(&slice.bytes()[..taken]);
            left -= taken;
        }
        Ok(count == length)
    }
}

/// Returns what ends a record: a line or, on the web page, an event of several lines. A browser
/// that gets a part of an event with its id would not ask for the event again.
fn record_end(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::Basic | Dialect::Extended => b"\n",
        Dialect::Browser => b"\n\n",
    }
}

pub(crate) fn line_ends(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Writes once; a socket that would block takes zero bytes.
fn write_some(socket: &mut impl Write, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        return match socket.write_vectored(buffers) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
    }
}

#[cfg(test)]
mod tests;
