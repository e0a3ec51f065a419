//! One connection: its bytes become lines, its lines requests for the broker.
//!
//! What lives here: [`serve`], the one task that a connection has while it keeps up, and
//! [`catch_up`], the task that writes to a client that is behind. The broker spawns both. They
//! must never touch another connection, never read on while a reply is unwritten or the
//! sender is over its rate, and must end with exactly one [`Input::Ended`].
//!
//! Half-close: the end of the input is not the end of the connection. What was asked is
//! answered before the socket is closed.

use crate::framing::{Line, LineSplitter};
use crate::limits::{
    FAREWELL_TIMEOUT, LINGER_MAX_BYTES, LINGER_TIMEOUT, Limits, MAX_LINES_PER_TURN,
    READ_BUFFER_BYTES,
};
use crate::pace::{Pacer, Rate};
use crate::protocol::{Dialect, Refusal, Refused, Request, decode, extended};
use crate::server::closing::CloseReason;
use crate::server::frames;
use crate::server::health::Health;
use crate::server::inbox::{ClientKey, Input, Submission};
use crate::server::log::Logs;
use crate::server::metrics::Metrics;
use crate::server::outbound::{Outbound, Progress};
use crate::server::past::Past;
use crate::server::peer::{Mailbox, Peer, Sign};
use crate::store::{Encoder, Found};
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
pub struct Common {
    /// The bounds.
    pub limits: Limits,
    /// Where the broker takes its inputs from.
    pub inbox: Sender<Input>,
    /// In which the numbers of events count.
    pub epoch: Arc<str>,
    /// The logs of all dialects.
    pub logs: Logs,
    /// Where what was said before is kept.
    pub past: Past,
    /// Whether what is said can be kept.
    pub health: Arc<Health>,
    /// When the server's own time began.
    pub started: Instant,
    /// What the operator can count.
    pub metrics: Arc<Metrics>,
}

impl Common {
    /// The server's own time: how long it has been running.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells the broker something; if its inbox is full, what is given is to be awaited.
    fn tell(&self, input: Input) -> Option<BoxedFuture<'_>> {
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
    fn encoder(&self, dialect: Dialect) -> Encoder {
        match dialect {
            Dialect::Page => {
                let epoch = self.epoch.clone();
                Arc::new(move |frames, event| frames::encode_event(frames, &epoch, event))
            }
            Dialect::Basic | Dialect::Extended => Arc::new(extended::encode_event),
        }
    }

    /// What the connections of a server without a past have in common that tells this inbox.
    #[cfg(test)]
    pub fn for_test(limits: Limits, inbox: Sender<Input>) -> Arc<Self> {
        use crate::server::log::Log;
        let log = |first_line| Arc::new(Log::numbered_from(first_line, limits.max_lag_bytes));
        let logs = Logs {
            basic: log(0),
            extended: log(1),
            page: log(0),
        };
        Arc::new(Common {
            logs,
            epoch: "e-1".into(),
            past: Past::Memory,
            health: Arc::default(),
            limits,
            inbox,
            started: Instant::now(),
            metrics: Arc::default(),
        })
    }

    /// How fast one client may send.
    pub fn rate(&self) -> Rate {
        Rate::new(self.limits.rate_per_second, self.limits.burst_lines)
    }
}

thread_local! {
    /// Where a thread reads to: no connection has a read buffer of its own.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER_BYTES].into());
}

/// Serves one connection to its end, which it reports.
pub async fn serve(common: Arc<Common>, key: ClientKey, peer: Arc<Peer>) {
    let mut connection = Connection::new(&common, key, &peer);
    // A panic ends this connection and no other; the panic hook has told where it was.
    let reason = AssertUnwindSafe(connection.run())
        .catch_unwind()
        .await
        .unwrap_or(CloseReason::Fault);
    let reason = known_better(reason, peer.broken_by());
    peer.abort();
    if let Some(waiting) = common.tell(Input::Ended(key, reason)) {
        waiting.await;
    }
}

/// Serves one live stream of the page to its end, which it reports: everything that it gets is
/// written by others. Nothing more is expected from its reader.
pub async fn serve_stream(common: &Common, key: ClientKey, peer: &Peer) -> CloseReason {
    let reason = AssertUnwindSafe(watch_stream(peer))
        .catch_unwind()
        .await
        .unwrap_or(CloseReason::Fault);
    let reason = known_better(reason, peer.broken_by());
    peer.abort();
    if let Some(waiting) = common.tell(Input::Ended(key, reason)) {
        waiting.await;
    }
    reason
}

/// Waits until the reader has gone, or the server closes the stream.
async fn watch_stream(peer: &Peer) -> CloseReason {
    let mut discarded = 0;
    loop {
        let readable = poll_fn(|context| {
            peer.register(context.waker());
            if peer.signs().has(Sign::CLOSE.or(Sign::BROKEN)) {
                return Poll::Ready(Ok(false));
            }
            let readable = peer.socket().poll_readable(context);
            readable.map(|ready| ready.map(|()| true))
        });
        match readable.await {
            Ok(true) => {}
            Ok(false) if peer.signs().has(Sign::CLOSE) => return close(peer).await,
            Ok(false) => return CloseReason::Lost,
            Err(error) => return CloseReason::of_error(&error),
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
            Err(error) => return CloseReason::of_error(&error),
        }
        smol::future::yield_now().await;
    }
}

/// Messages as a line of the extended dialect.
fn messages_line(kind: &str, (messages, more): Found) -> Arc<[u8]> {
    let mut line = Vec::new();
    extended::encode_messages(&mut line, kind, &messages, more);
    line.into()
}

struct Connection<'a> {
    common: &'a Common,
    key: ClientKey,
    peer: &'a Peer,
    splitter: LineSplitter,
    pacer: Pacer,
    /// In which its lines are read.
    dialect: Dialect,
    unread: Option<Box<Unread>>,
    /// What was asked for last, if it is answered here; nothing is read on before that.
    asked: Option<Box<Request>>,
    /// Whether the socket had nothing more at the last reading.
    is_drained: bool,
    has_ended: bool,
}

/// Bytes that were read but not yet looked at: those from `start` on, at least one.
struct Unread {
    bytes: Vec<u8>,
    start: usize,
}

/// What ended a wait for bytes.
enum Woken {
    Readable,
    Signs,
    HalfLineTimeout,
}

impl<'a> Connection<'a> {
    fn new(common: &'a Common, key: ClientKey, peer: &'a Peer) -> Self {
        Connection {
            common,
            key,
            peer,
            splitter: LineSplitter::new(common.limits.max_line_bytes),
            pacer: Pacer::default(),
            dialect: Dialect::Basic,
            unread: None,
            asked: None,
            is_drained: true,
            has_ended: false,
        }
    }

    async fn run(&mut self) -> CloseReason {
        loop {
            if self.peer.signs().has(Sign::CLOSE) {
                return close(self.peer).await;
            }
            let lines = match self.next_lines().await {
                Ok(lines) => lines,
                Err(error) => return CloseReason::of_error(&error),
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
                let done = Sign::WRITTEN.or(Sign::BROKEN);
                if self.peer.wait(done.or(Sign::CLOSE)).await.has(done) {
                    return CloseReason::Closed;
                }
                return close(self.peer).await;
            }
            self.peer
                .wait(Sign::NEXT.or(Sign::CLOSE).or(Sign::BROKEN))
                .await;
        }
    }

    /// Hands in what comes before a request that is answered here, and waits until it is done;
    /// false if there will be no answer.
    async fn hand_in_before(&self, lines: Vec<Submission>) -> bool {
        if lines.is_empty() {
            return true;
        }
        self.hand_in(lines, false).await;
        let signs = Sign::NEXT.or(Sign::CLOSE).or(Sign::BROKEN);
        !self
            .peer
            .wait(signs)
            .await
            .has(Sign::CLOSE.or(Sign::BROKEN))
    }

    /// What the broker is told of a request that is not answered by the room alone.
    async fn answer(&self, request: Request) -> Submission {
        let past = &self.common.past;
        let found = match request {
            Request::Hello(hello) => return Submission::Hello(hello, past.oldest_event().await),
            Request::Page(page) => {
                let found = past.page(&self.common.inbox, page).await;
                found.map(|found| messages_line("history", found))
            }
            Request::Search(search) => {
                let found = past.search(&self.common.inbox, search).await;
                found.map(|found| messages_line("search", found))
            }
            other => return Submission::Request(other),
        };
        found.map_or_else(Submission::Refused, Submission::Answer)
    }

    /// Hands lines to the broker; [`Sign::NEXT`] tells when they are done and answered.
    async fn hand_in(&self, lines: Vec<Submission>, has_ended: bool) {
        self.peer.clear(Sign::NEXT);
        let input = Input::Lines {
            from: self.key,
            lines,
            has_ended,
            read_at: self.common.now(),
        };
        if let Some(waiting) = self.common.tell(input) {
            waiting.await;
        }
    }

    /// The next lines, as many as this connection may send now; none when something else
    /// happened: the caller looks at the signs and at the end.
    async fn next_lines(&mut self) -> io::Result<Vec<Submission>> {
        if !self.wait_for_its_share().await {
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
        if self.is_drained && !self.peer.signs().has(Sign::BROKEN) {
            match self.wait_for_bytes().await? {
                Woken::Readable => {}
                Woken::Signs => return Ok(Vec::new()),
                Woken::HalfLineTimeout => {
                    self.splitter.skip_line();
                    let seconds = self.common.limits.half_line_timeout.as_secs();
                    let refusal = Refusal::LineStalled { seconds };
                    return Ok(vec![Submission::Refused(refusal.into())]);
                }
            }
        }
        self.read_lines()
    }

    /// Waits while this connection is over its rate; false if the server closes it meanwhile.
    async fn wait_for_its_share(&mut self) -> bool {
        let wait = self.pacer.wait(self.common.rate(), self.common.now());
        if wait.is_zero() {
            return true;
        }
        let mut timer = Box::pin(Timer::after(wait));
        let mut sign = Box::pin(self.peer.wait(Sign::CLOSE));
        poll_fn(|context| {
            if sign.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            timer.as_mut().poll(context).map(|_| true)
        })
        .await
    }

    async fn wait_for_bytes(&mut self) -> io::Result<Woken> {
        let mut deadline = self
            .splitter
            .has_unfinished_line()
            .then(|| Box::pin(Timer::after(self.common.limits.half_line_timeout)));
        let peer = self.peer;
        poll_fn(|context| {
            peer.register(context.waker());
            if peer.signs().has(Sign::CLOSE.or(Sign::BROKEN)) {
                return Poll::Ready(Ok(Woken::Signs));
            }
            if let Poll::Ready(ready) = peer.socket().poll_readable(context) {
                return Poll::Ready(ready.map(|()| Woken::Readable));
            }
            match deadline.as_mut().map(|timer| Pin::new(timer).poll(context)) {
                Some(Poll::Ready(_)) => Poll::Ready(Ok(Woken::HalfLineTimeout)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Reads once, without waiting, into the thread's buffer, and takes lines out of it.
    fn read_lines(&mut self) -> io::Result<Vec<Submission>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let count = match self.peer.socket().get_ref().read(buffer) {
                Ok(0) => {
                    self.has_ended = true;
                    return Ok(self.lines_at_the_end());
                }
                Ok(count) => {
                    self.common.metrics.count_read(count);
                    count
                }
                Err(error) if is_temporary(&error) && !self.peer.signs().has(Sign::BROKEN) => 0,
                Err(error) => return Err(error),
            };
            self.is_drained = count < buffer.len();
            let mut input = &buffer[..count];
            let lines = self.take_lines(&mut input);
            if lines.is_empty() && !self.is_drained {
                // A flood without lines counts as a line for each reading.
                self.pacer.spend(self.common.rate(), self.common.now(), 1);
            }
            if !input.is_empty() {
                let (bytes, start) = (input.to_vec(), 0);
                self.unread = Some(Box::new(Unread { bytes, start }));
            }
            Ok(lines)
        })
    }

    fn lines_of(&mut self, mut unread: Box<Unread>) -> Vec<Submission> {
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
    fn lines_at_the_end(&mut self) -> Vec<Submission> {
        if self.splitter.finish() {
            vec![Submission::Refused(Refusal::LineUnfinished.into())]
        } else {
            Vec::new()
        }
    }

    /// Takes lines from the front of `input`: not more than this connection may send now, and
    /// none after one that has a long answer.
    fn take_lines(&mut self, input: &mut &[u8]) -> Vec<Submission> {
        let rate = self.common.rate();
        let now = self.common.now();
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
                    let most = self.common.limits.max_message_bytes;
                    decode::request(line, self.dialect, most)
                }
                Line::TooLong => Err(Refused::from(Refusal::LineTooLong {
                    limit: self.common.limits.max_line_bytes,
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
                Ok(request) => Submission::Request(request),
                Err(refused) => Submission::Refused(refused),
            };
            #[cfg(test)]
            crate::server::tests::fail_if_asked(&line, crate::server::tests::CONNECTION_FAULT);
            let has_long_answer =
                matches!(line, Submission::Request(Request::History | Request::Users));
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
pub fn known_better(reason: CloseReason, broken_by: Option<CloseReason>) -> CloseReason {
    match (reason, broken_by) {
        (CloseReason::Fault, _) => reason,
        (CloseReason::Closed, Some(CloseReason::DeadPeer)) => CloseReason::DeadPeer,
        (CloseReason::Closed, _) => reason,
        (_, broken_by) => broken_by.unwrap_or(reason),
    }
}

/// Ends a connection that the server closes, or that broke.
async fn close(peer: &Peer) -> CloseReason {
    // Boxed, since every connection has room for its largest future and few are ever closed
    // from here.
    Box::pin(async {
        let written = peer.wait(Sign::WRITTEN.or(Sign::BROKEN));
        within(FAREWELL_TIMEOUT, written).await;
        if !peer.signs().has(Sign::BROKEN) {
            // Also when time ran out: what the socket holds may still arrive.
            peer.finish_sending();
            within(LINGER_TIMEOUT, discard_input(peer)).await;
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
pub async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    async { Some(future.await) }
        .or(async {
            Timer::after(time).await;
            None
        })
        .await
}

/// Reads and throws away until the peer has ended its side: closing with unread input would
/// reset the connection, and the peer could lose the last lines.
pub async fn discard_input(peer: &Peer) {
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
pub async fn catch_up(
    common: Arc<Common>,
    key: ClientKey,
    peer: Arc<Peer>,
    mailbox: Arc<Mailbox>,
    outbound: Outbound,
) {
    let writing = write_until_caught_up(&common, &peer, &mailbox, outbound);
    match AssertUnwindSafe(writing).catch_unwind().await {
        Ok(Ok(Some(outbound))) if outbound.is_finished() => peer.give(Sign::WRITTEN),
        Ok(Ok(Some(outbound))) => {
            let caught_up = Input::CaughtUp(key, mailbox, Box::new(outbound));
            if let Some(waiting) = common.tell(caught_up) {
                waiting.await;
            }
        }
        // What the client said before is still to be read.
        Ok(Err(error)) => peer.break_off(CloseReason::of_error(&error)),
        Ok(Ok(None)) => {
            peer.break_off(CloseReason::Lag);
            peer.give(Sign::CLOSE);
        }
        Err(_panic) => {
            peer.break_off(CloseReason::Fault);
            peer.give(Sign::CLOSE);
        }
    }
}

/// Writes until everything is written; none if what comes next is not kept any more.
async fn write_until_caught_up(
    common: &Common,
    peer: &Peer,
    mailbox: &Mailbox,
    mut outbound: Outbound,
) -> io::Result<Option<Outbound>> {
    loop {
        let progress = write_once(&common.logs, peer, mailbox, &mut outbound);
        let (bytes, lines) = outbound.take_figures();
        common.metrics.count_written(bytes, lines);
        let progress = progress?;
        mailbox.tell(outbound.place(), outbound.written());
        match progress {
            Progress::Blocked => peer.socket().writable().await?,
            Progress::Yield => smol::future::yield_now().await,
            Progress::CaughtUp | Progress::Finished => return Ok(Some(outbound)),
            Progress::FellOut => return Ok(None),
            Progress::NeedsStored(stored) => {
                let encode = common.encoder(outbound.place().dialect);
                let Some((lines, last)) = common.past.events(stored, encode).await else {
                    return Ok(None);
                };
                outbound.give_stored(lines, last);
            }
        }
    }
}

fn write_once(
    logs: &Logs,
    peer: &Peer,
    mailbox: &Mailbox,
    outbound: &mut Outbound,
) -> io::Result<Progress> {
    // The head first, the mail after it: a reply is left before the log goes on beyond it.
    let heads = logs.heads();
    collect_mail(logs, mailbox, outbound);
    let progress = outbound.write(logs, heads, &mut peer.writer());
    if outbound.take_answered() {
        peer.give(Sign::NEXT);
    }
    progress
}

/// Moves what the broker left into what is to be sent.
pub fn collect_mail(logs: &Logs, mailbox: &Mailbox, outbound: &mut Outbound) {
    let mail = std::mem::take(&mut *mailbox.mail());
    for reply in mail.replies {
        outbound.add(reply);
    }
    if mail.answer_due {
        outbound.expect_answer();
    }
    if let Some(end) = mail.end {
        outbound.end_at(end);
    }
    if let Some(cut) = &mail.cut {
        outbound.cut(logs, cut);
    }
}
