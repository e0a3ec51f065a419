//! One connection: its bytes become lines, its lines requests for the broker.
//!
//! What lives here: [`serve`], the one task that a connection has while it keeps up, and
//! [`write_backlog`], the task that writes to a client that is behind. The broker spawns both. They
//! must never touch another connection, never read on while a reply is unwritten or the
//! sender is over its rate, and must end with exactly one [`BrokerCommand::Ended`].
//!
//! Half-close: the end of the input is not the end of the connection. What was asked is
//! answered before the socket is closed.

pub mod handle;

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::request::Request;
use crate::protocol::framing::{Line, LineDecoder};
use crate::protocol::sse;
use crate::protocol::{Dialect, decode, extended};
use crate::server::broker::command::{BrokerCommand, ClientKey, ClientLine};
use crate::server::close_reason::CloseReason;
use crate::server::connection::handle::{BacklogInbox, ConnectionHandle, Flags};
use crate::server::fanout::broadcast_log::BroadcastLogs;
use crate::server::fanout::outbox::{Outbox, Progress};
use crate::server::health::Health;
use crate::server::limits::{
    FAREWELL_TIMEOUT, LINGER_MAX_BYTES, LINGER_TIMEOUT, Limits, MAX_LINES_PER_TURN,
    READ_BUFFER_BYTES,
};
use crate::server::metrics::Metrics;
use crate::server::rate_limit::{Quota, RateLimiter};
use crate::storage::sqlite::reader::EventEncoder;
use crate::storage::{Archive, MessagePage};
use async_channel::{Sender, TrySendError};
use futures_lite::FutureExt;
use smol::Timer;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A future that is only made when it is needed.
type BoxedFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What all connections of a server have in common.
#[derive(Debug)]
pub struct ServerContext {
    /// The bounds.
    pub limits: Limits,
    /// Where the broker takes its inputs from.
    pub inbox: Sender<BrokerCommand>,
    /// In which the numbers of events count.
    pub epoch: Arc<str>,
    /// The logs of all dialects.
    pub logs: BroadcastLogs,
    /// Where what was said before is kept.
    pub(crate) archive: Archive,
    /// Whether what is said can be kept.
    pub health: Arc<Health>,
    /// When the server's own time began.
    pub started: Instant,
    /// What the operator can count.
    pub metrics: Arc<Metrics>,
}

impl ServerContext {
    /// The server's own time: how long it has been running.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells the broker something; if its inbox is full, what is given is to be awaited.
    fn tell(&self, input: BrokerCommand) -> Option<BoxedFuture<'_>> {
        match self.inbox.try_send(input) {
            // Boxed, since every connection has room for its largest future.
            Err(TrySendError::Full(input)) => Some(Box::pin(async {
                // Closed only when the server has ended, and then nobody needs to know.
                let _ = self.inbox.send(input).await;
            })),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    /// How events from the store are written for readers of this dialect.
    fn encoder(&self, dialect: Dialect) -> EventEncoder {
        match dialect {
            Dialect::Page => {
                let epoch = self.epoch.clone();
                Arc::new(move |frames, event| sse::encode_event(frames, &epoch, event))
            }
            Dialect::Basic | Dialect::Extended => Arc::new(extended::encode_event),
        }
    }

    /// What the connections of a server without a past have in common that tells this inbox.
    #[cfg(test)]
    pub fn for_test(limits: Limits, inbox: Sender<BrokerCommand>) -> Arc<Self> {
        use crate::server::fanout::broadcast_log::BroadcastLog;
        let log = |first_line| {
            Arc::new(BroadcastLog::numbered_from(
                first_line,
                limits.max_lag_bytes,
            ))
        };
        let logs = BroadcastLogs {
            basic: log(0),
            extended: log(1),
            page: log(0),
        };
        Arc::new(ServerContext {
            logs,
            epoch: "e-1".into(),
            archive: Archive::new(Arc::new(inbox.clone()), None),
            health: Arc::default(),
            limits,
            inbox,
            started: Instant::now(),
            metrics: Arc::default(),
        })
    }

    /// How fast one client may send.
    pub fn rate(&self) -> Quota {
        Quota::new(self.limits.rate_per_second, self.limits.burst_lines)
    }
}

thread_local! {
    /// Where a thread reads to: no connection has a read buffer of its own.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER_BYTES].into());
}

/// Serves one connection to its end, which it reports.
pub async fn serve(context: Arc<ServerContext>, key: ClientKey, peer: Arc<ConnectionHandle>) {
    let mut connection = Connection::new(&context, key, &peer);
    // A panic ends this connection and no other; the panic hook has told where it was.
    let reason = AssertUnwindSafe(connection.run())
        .catch_unwind()
        .await
        .unwrap_or(CloseReason::Fault);
    let reason = reconcile_close_reason(reason, peer.broken_by());
    peer.abort();
    if let Some(waiting) = context.tell(BrokerCommand::Ended(key, reason)) {
        waiting.await;
    }
}

/// Serves one live stream of the page to its end, which it reports: everything that it gets is
/// written by others. Nothing more is expected from its reader.
pub async fn serve_stream(
    context: &ServerContext,
    key: ClientKey,
    peer: &ConnectionHandle,
) -> CloseReason {
    let reason = AssertUnwindSafe(watch_stream(peer))
        .catch_unwind()
        .await
        .unwrap_or(CloseReason::Fault);
    let reason = reconcile_close_reason(reason, peer.broken_by());
    peer.abort();
    if let Some(waiting) = context.tell(BrokerCommand::Ended(key, reason)) {
        waiting.await;
    }
    reason
}

/// Waits until the reader has gone, or the server closes the stream.
async fn watch_stream(peer: &ConnectionHandle) -> CloseReason {
    let mut discarded = 0;
    loop {
        let readable = poll_fn(|context| {
            peer.register(context.waker());
            if peer.signs().has(Flags::CLOSE.or(Flags::BROKEN)) {
                return Poll::Ready(Ok(false));
            }
            let readable = peer.socket().poll_readable(context);
            readable.map(|ready| ready.map(|()| true))
        });
        match readable.await {
            Ok(true) => {}
            Ok(false) if peer.signs().has(Flags::CLOSE) => return close(peer).await,
            Ok(false) => return CloseReason::Lost,
            Err(error) => return CloseReason::from_io_error(&error),
        }
        let count = READ_BUFFER.with_borrow_mut(|buffer| peer.socket().get_ref().read(buffer));
        match count {
            Ok(0) => return CloseReason::Closed,
            Ok(count) => {
                discarded += count;
                if discarded > LINGER_MAX_BYTES {
                    return CloseReason::Lost;
                }
            }
            Err(error) if is_temporary(&error) => {}
            Err(error) => return CloseReason::from_io_error(&error),
        }
        smol::future::yield_now().await;
    }
}

/// Messages as a line of the extended dialect.
fn messages_line(kind: &str, page: MessagePage) -> Arc<[u8]> {
    let mut line = Vec::new();
    extended::encode_messages(&mut line, kind, &page.messages, page.has_more);
    line.into()
}

struct Connection<'a> {
    context: &'a ServerContext,
    key: ClientKey,
    peer: &'a ConnectionHandle,
    splitter: LineDecoder,
    pacer: RateLimiter,
    /// In which its lines are read.
    dialect: Dialect,
    unread: Option<Box<Unread>>,
    /// What was asked for last, if it is answered here; nothing is read on before that.
    asked: Option<Box<Request>>,
    /// Whether the socket had nothing more at the last reading.
    socket_would_block: bool,
    has_ended: bool,
}

/// Bytes that were read but not yet looked at: those from `start` on, at least one.
struct Unread {
    bytes: Vec<u8>,
    start: usize,
}

/// What ended a wait for bytes.
enum ReadWake {
    Readable,
    Signs,
    HalfLineTimeout,
}

impl<'a> Connection<'a> {
    fn new(context: &'a ServerContext, key: ClientKey, peer: &'a ConnectionHandle) -> Self {
        Connection {
            context,
            key,
            peer,
            splitter: LineDecoder::new(context.limits.max_line_bytes),
            pacer: RateLimiter::default(),
            dialect: Dialect::Basic,
            unread: None,
            asked: None,
            socket_would_block: true,
            has_ended: false,
        }
    }

    async fn run(&mut self) -> CloseReason {
        loop {
            if self.peer.signs().has(Flags::CLOSE) {
                return close(self.peer).await;
            }
            let lines = match self.next_lines().await {
                Ok(lines) => lines,
                Err(error) => return CloseReason::from_io_error(&error),
            };
            let lines = match self.asked.take() {
                None => lines,
                // The room is to be at this place when the answer is made.
                // Boxed, since every connection has room for its largest future.
                Some(request) => match Box::pin(self.hand_in_before(lines)).await {
                    true => vec![Box::pin(self.answer(*request)).await],
                    false => continue,
                },
            };
            let has_ended = self.has_ended && self.unread.is_none();
            if lines.is_empty() && !has_ended {
                // Whoever sends without end, but no lines, lets others have their turn.
                smol::future::yield_now().await;
                continue;
            }
            self.hand_in(lines, has_ended).await;
            if has_ended {
                let done = Flags::WRITTEN.or(Flags::BROKEN);
                if self.peer.wait(done.or(Flags::CLOSE)).await.has(done) {
                    return CloseReason::Closed;
                }
                return close(self.peer).await;
            }
            self.peer
                .wait(Flags::NEXT.or(Flags::CLOSE).or(Flags::BROKEN))
                .await;
        }
    }

    /// Hands in what comes before a request that is answered here, and waits until it is done;
    /// false if there will be no answer.
    async fn hand_in_before(&self, lines: Vec<ClientLine>) -> bool {
        if lines.is_empty() {
            return true;
        }
        self.hand_in(lines, false).await;
        let signs = Flags::NEXT.or(Flags::CLOSE).or(Flags::BROKEN);
        !self
            .peer
            .wait(signs)
            .await
            .has(Flags::CLOSE.or(Flags::BROKEN))
    }

    /// What the broker is told of a request that is not answered by the room alone.
    async fn answer(&self, request: Request) -> ClientLine {
        let archive = &self.context.archive;
        let found = match request {
            Request::Hello(hello) => return ClientLine::Hello(hello, archive.oldest_event().await),
            Request::Page(page) => {
                let found = archive.page(page).await;
                found.map(|found| messages_line("history", found))
            }
            Request::Search(search) => {
                let found = archive.search(search).await;
                found.map(|found| messages_line("search", found))
            }
            other => return ClientLine::Request(other),
        };
        found.map_or_else(ClientLine::Refused, ClientLine::Answer)
    }

    /// Hands lines to the broker; [`Flags::NEXT`] tells when they are done and answered.
    async fn hand_in(&self, lines: Vec<ClientLine>, has_ended: bool) {
        self.peer.clear(Flags::NEXT);
        let input = BrokerCommand::Lines {
            from: self.key,
            lines,
            has_ended,
            read_at: self.context.now(),
        };
        if let Some(waiting) = self.context.tell(input) {
            waiting.await;
        }
    }

    /// The next lines, as many as this connection may send now; none when something else
    /// happened: the caller looks at the signs and at the end.
    async fn next_lines(&mut self) -> io::Result<Vec<ClientLine>> {
        if !self.wait_for_rate_limit().await {
            return Ok(Vec::new());
        }
        if let Some(unread) = self.unread.take() {
            return Ok(self.lines_of(unread));
        }
        if self.has_ended {
            return Ok(Vec::new());
        }
        // What a client said before its connection broke is still to be read: nothing of it is
        // waited for.
        if self.socket_would_block && !self.peer.signs().has(Flags::BROKEN) {
            match self.wait_for_bytes().await? {
                ReadWake::Readable => {}
                ReadWake::Signs => return Ok(Vec::new()),
                ReadWake::HalfLineTimeout => {
                    self.splitter.skip_line();
                    let seconds = self.context.limits.half_line_timeout.as_secs();
                    let refusal = RequestError::LineStalled { seconds };
                    return Ok(vec![ClientLine::Refused(refusal.into())]);
                }
            }
        }
        self.read_lines()
    }

    /// Waits while this connection is over its rate; false if the server closes it meanwhile.
    async fn wait_for_rate_limit(&mut self) -> bool {
        let wait = self.pacer.wait(self.context.rate(), self.context.now());
        if wait.is_zero() {
            return true;
        }
        let mut timer = Box::pin(Timer::after(wait));
        let mut sign = Box::pin(self.peer.wait(Flags::CLOSE));
        poll_fn(|context| {
            if sign.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            timer.as_mut().poll(context).map(|_| true)
        })
        .await
    }

    async fn wait_for_bytes(&mut self) -> io::Result<ReadWake> {
        let mut deadline = self
            .splitter
            .has_unfinished_line()
            .then(|| Box::pin(Timer::after(self.context.limits.half_line_timeout)));
        let peer = self.peer;
        poll_fn(|context| {
            peer.register(context.waker());
            if peer.signs().has(Flags::CLOSE.or(Flags::BROKEN)) {
                return Poll::Ready(Ok(ReadWake::Signs));
            }
            if let Poll::Ready(ready) = peer.socket().poll_readable(context) {
                return Poll::Ready(ready.map(|()| ReadWake::Readable));
            }
            match deadline.as_mut().map(|timer| Pin::new(timer).poll(context)) {
                Some(Poll::Ready(_)) => Poll::Ready(Ok(ReadWake::HalfLineTimeout)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Reads once, without waiting, into the thread's buffer, and takes lines out of it.
    fn read_lines(&mut self) -> io::Result<Vec<ClientLine>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let count = match self.peer.socket().get_ref().read(buffer) {
                Ok(0) => {
                    self.has_ended = true;
                    return Ok(self.finish_input());
                }
                Ok(count) => {
                    self.context.metrics.count_read(count);
                    count
                }
                Err(error) if is_temporary(&error) && !self.peer.signs().has(Flags::BROKEN) => 0,
                Err(error) => return Err(error),
            };
            self.socket_would_block = count < buffer.len();
            let mut input = &buffer[..count];
            let lines = self.take_lines(&mut input);
            if lines.is_empty() && !self.socket_would_block {
                // A flood without lines counts as a line for each reading.
                self.pacer.spend(self.context.rate(), self.context.now(), 1);
            }
            if !input.is_empty() {
                let (bytes, start) = (input.to_vec(), 0);
                self.unread = Some(Box::new(Unread { bytes, start }));
            }
            Ok(lines)
        })
    }

    fn lines_of(&mut self, mut unread: Box<Unread>) -> Vec<ClientLine> {
        let mut input = &unread.bytes[unread.start..];
        let lines = self.take_lines(&mut input);
        let left = input.len();
        if left > 0 {
            unread.start = unread.bytes.len() - left;
            self.unread = Some(unread);
        }
        lines
    }

    /// What is left to say of an input that ended.
    fn finish_input(&mut self) -> Vec<ClientLine> {
        if self.splitter.finish() {
            vec![ClientLine::Refused(RequestError::LineUnfinished.into())]
        } else {
            Vec::new()
        }
    }

    /// Takes lines from the front of `input`: not more than this connection may send now, and
    /// none after one that has a long answer.
    fn take_lines(&mut self, input: &mut &[u8]) -> Vec<ClientLine> {
        let rate = self.context.rate();
        let now = self.context.now();
        let most = self
            .pacer
            .allowance(rate, now)
            .min(MAX_LINES_PER_TURN as u64);
        let mut lines = Vec::new();
        let mut count = 0;
        while count < most {
            let Some(line) = self.splitter.next_line(input) else {
                break;
            };
            count += 1;
            let line = match line {
                Line::Complete(line) => {
                    let most = self.context.limits.max_message_bytes;
                    decode::request(line, self.dialect, most)
                }
                Line::TooLong => Err(RejectedRequest::from(RequestError::LineTooLong {
                    limit: self.context.limits.max_line_bytes,
                })),
            };
            let line = match line {
                Ok(Request::Hello(hello)) => {
                    self.dialect = Dialect::Extended;
                    self.asked = Some(Box::new(Request::Hello(hello)));
                    break;
                }
                Ok(request @ (Request::Page(_) | Request::Search(_))) => {
                    self.asked = Some(Box::new(request));
                    break;
                }
                Ok(request) => ClientLine::Request(request),
                Err(refused) => ClientLine::Refused(refused),
            };
            #[cfg(test)]
            crate::server::tests::fail_if_asked(&line, crate::server::tests::CONNECTION_FAULT);
            let has_long_answer =
                matches!(line, ClientLine::Request(Request::History | Request::Users));
            lines.push(line);
            if has_long_answer {
                break;
            }
        }
        self.pacer.spend(rate, now, count);
        lines
    }
}

/// The reason, corrected by what writing has found out: who ended the sending side has done so,
/// even if nothing could be written after that, but a peer that is gone never said so.
pub fn reconcile_close_reason(reason: CloseReason, broken_by: Option<CloseReason>) -> CloseReason {
    match (reason, broken_by) {
        (CloseReason::Fault, _) => reason,
        (CloseReason::Closed, Some(CloseReason::DeadPeer)) => CloseReason::DeadPeer,
        (CloseReason::Closed, _) => reason,
        (_, broken_by) => broken_by.unwrap_or(reason),
    }
}

/// Ends a connection that the server closes, or that broke.
async fn close(peer: &ConnectionHandle) -> CloseReason {
    // Boxed, since every connection has room for its largest future and few are ever closed
    // from here.
    Box::pin(async {
        let written = peer.wait(Flags::WRITTEN.or(Flags::BROKEN));
        timeout(FAREWELL_TIMEOUT, written).await;
        if !peer.signs().has(Flags::BROKEN) {
            // Also when time ran out: what the socket holds may still arrive.
            peer.finish_sending();
            timeout(LINGER_TIMEOUT, drain(peer)).await;
        }
        CloseReason::Lost
    })
    .await
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// What the future gives, if it does in time.
pub async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    async { Some(future.await) }
        .or(async {
            Timer::after(time).await;
            None
        })
        .await
}

/// Reads and throws away until the peer has ended its side: closing with unread input would
/// reset the connection, and the peer could lose the last lines.
pub async fn drain(peer: &ConnectionHandle) {
    let mut discarded = 0;
    while discarded < LINGER_MAX_BYTES {
        let count = READ_BUFFER.with_borrow_mut(|buffer| peer.socket().get_ref().read(buffer));
        match count {
            Ok(0) => return,
            Ok(count) => {
                discarded += count;
                smol::future::yield_now().await;
            }
            Err(error) if is_temporary(&error) => {
                if peer.socket().readable().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Writes to a client that is behind until it has caught up, and gives it back to the broker.
pub async fn write_backlog(
    context: Arc<ServerContext>,
    key: ClientKey,
    peer: Arc<ConnectionHandle>,
    mailbox: Arc<BacklogInbox>,
    outbox: Outbox,
) {
    let writing = write_until_caught_up(&context, &peer, &mailbox, outbox);
    match AssertUnwindSafe(writing).catch_unwind().await {
        Ok(Ok(Some(outbox))) if outbox.is_finished() => peer.give(Flags::WRITTEN),
        Ok(Ok(Some(outbox))) => {
            let caught_up = BrokerCommand::CaughtUp(key, mailbox, Box::new(outbox));
            if let Some(waiting) = context.tell(caught_up) {
                waiting.await;
            }
        }
        // What the client said before is still to be read.
        Ok(Err(error)) => peer.break_off(CloseReason::from_io_error(&error)),
        Ok(Ok(None)) => {
            peer.break_off(CloseReason::Lag);
            peer.give(Flags::CLOSE);
        }
        Err(_panic) => {
            peer.break_off(CloseReason::Fault);
            peer.give(Flags::CLOSE);
        }
    }
}

/// Writes until everything is written; none if what comes next is not kept any more.
async fn write_until_caught_up(
    context: &ServerContext,
    peer: &ConnectionHandle,
    mailbox: &BacklogInbox,
    mut outbox: Outbox,
) -> io::Result<Option<Outbox>> {
    loop {
        let progress = write_once(&context.logs, peer, mailbox, &mut outbox);
        let (bytes, lines) = outbox.take_figures();
        context.metrics.count_written(bytes, lines);
        let progress = progress?;
        mailbox.tell(outbox.place(), outbox.written());
        match progress {
            Progress::Blocked => peer.socket().writable().await?,
            Progress::Yield => smol::future::yield_now().await,
            Progress::CaughtUp | Progress::Finished => return Ok(Some(outbox)),
            Progress::FellOut => return Ok(None),
            Progress::NeedsStored(stored) => {
                let encode = context.encoder(outbox.place().dialect);
                let (after, until) = (stored.after, stored.until);
                let events = context.archive.events(after, until, encode).await;
                let Some(events) = events else {
                    return Ok(None);
                };
                outbox.give_stored(events.bytes, events.last);
            }
        }
    }
}

fn write_once(
    logs: &BroadcastLogs,
    peer: &ConnectionHandle,
    mailbox: &BacklogInbox,
    outbox: &mut Outbox,
) -> io::Result<Progress> {
    // The head first, the mail after it: a reply is left before the log goes on beyond it.
    let heads = logs.heads();
    collect_mail(logs, mailbox, outbox);
    let progress = outbox.write(logs, heads, &mut peer.writer());
    if outbox.take_answered() {
        peer.give(Flags::NEXT);
    }
    progress
}

/// Moves what the broker left into what is to be sent.
pub fn collect_mail(logs: &BroadcastLogs, mailbox: &BacklogInbox, outbox: &mut Outbox) {
    let mail = std::mem::take(&mut *mailbox.mail());
    for reply in mail.replies {
        outbox.add(reply);
    }
    if mail.answer_due {
        outbox.expect_answer();
    }
    if let Some(end) = mail.end {
        outbox.end_at(end);
    }
    if let Some(cut) = &mail.cut {
        outbox.cut(logs, cut);
    }
}
