//! One TCP connection: its bytes become lines, and its lines become requests to the broker.
//!
//! A connection reads on only after its previous lines are answered and while it is below its
//! rate limit. The end of the input is not the end of the connection: all requests are answered
//! before the socket is closed.

mod backlog;
pub(crate) mod drain;
mod read;
pub(crate) mod reject;
pub(crate) mod stream;

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::request::Request;
use crate::protocol::foreign::{ForeignProtocol, LONGEST_START};
use crate::protocol::framing::{DecodedLine, LineDecoder};
use crate::protocol::{Dialect, decode, extended};
use crate::server::close_reason::CloseReason;
use crate::server::command::{BrokerCommand, ClientLine};
use crate::server::connection::backlog::write_backlog;
use crate::server::connection::drain::close;
use crate::server::connection::read::{is_temporary, with_read_buffer};
use crate::server::context::{ServerContext, SharedExecutor};
use crate::server::fanout::handle::{ConnectionHandle, Flags};
use crate::server::fanout::outbox::Outbox;
use crate::server::fanout::slow_consumer::BacklogInbox;
use crate::server::fanout::{ClientKey, ConnectionTasks};
use crate::server::limits::{MAX_LINES_PER_TURN, SEARCH_LINES};
use crate::server::rate_limit::{Quota, RateLimiter};
use crate::server::timeout::timeout;
use crate::storage::MessagePage;
use futures_lite::FutureExt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::Shutdown;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;

#[derive(Debug)]
pub(crate) struct ConnectionSpawner {
    pub(crate) context: Arc<ServerContext>,
    pub(crate) executor: SharedExecutor,
}

impl ConnectionTasks for ConnectionSpawner {
    fn spawn_reader(&self, key: ClientKey, handle: Arc<ConnectionHandle>) {
        let context = self.context.clone();
        let serving = async move {
            let mut connection = Connection::new(&context, key, &handle);
            let outcome = AssertUnwindSafe(connection.run()).catch_unwind().await;
            report_end(&context, key, &handle, outcome).await;
        };
        // The last command of the task tells the broker that it has ended.
        self.executor.spawn(serving).detach();
    }

    fn spawn_backlog_writer(
        &self,
        key: ClientKey,
        handle: Arc<ConnectionHandle>,
        inbox: Arc<BacklogInbox>,
        outbox: Outbox,
    ) {
        let writing = write_backlog(self.context.clone(), key, handle, inbox, outbox);
        // The task ends when the client has caught up or its socket is shut down.
        self.executor.spawn(writing).detach();
    }
}

/// Shuts the socket of a connection down and reports its end to the broker.
///
/// A panic in the task of a connection ends this connection and no other.
async fn report_end(
    context: &ServerContext,
    key: ClientKey,
    handle: &ConnectionHandle,
    outcome: thread::Result<CloseReason>,
) -> CloseReason {
    let reason = outcome.unwrap_or(CloseReason::Fault);
    let reason = reconcile_close_reason(reason, handle.write_failure());
    handle.shut_down(Shutdown::Both);
    if let Some(sending) = context.send(BrokerCommand::Ended(key, reason)) {
        sending.await;
    }
    reason
}

/// Combines the close reason of the reader with that of the writer. A half-close wins, unless
/// keepalive found the client dead.
fn reconcile_close_reason(reason: CloseReason, write_failure: Option<CloseReason>) -> CloseReason {
    match (reason, write_failure) {
        (CloseReason::Fault, _) => reason,
        (CloseReason::Closed, Some(CloseReason::DeadPeer)) => CloseReason::DeadPeer,
        (CloseReason::Closed, _) => reason,
        (_, write_failure) => write_failure.unwrap_or(reason),
    }
}

/// Encodes a page of messages in the extended dialect.
fn messages_line(kind: &str, page: MessagePage) -> Arc<[u8]> {
    let mut line = Vec::new();
    extended::encode_messages(&mut line, kind, &page.messages, page.has_more);
    line.into()
}

struct Connection<'a> {
    context: &'a ServerContext,
    key: ClientKey,
    handle: &'a ConnectionHandle,
    rate_limiter: RateLimiter,
    decoder: LineDecoder,
    dialect: Dialect,
    /// Whether a line was a valid request, so that the client speaks the protocol.
    has_valid_line: bool,
    undecoded: Vec<u8>,
    /// A request that the archive answers. Nothing is read before the answer.
    archive_request: Option<Box<Request>>,
    /// Whether the last read emptied the socket.
    socket_would_block: bool,
    has_ended: bool,
}

impl<'a> Connection<'a> {
    fn new(context: &'a ServerContext, key: ClientKey, handle: &'a ConnectionHandle) -> Self {
        Connection {
            context,
            key,
            handle,
            rate_limiter: RateLimiter::default(),
            decoder: LineDecoder::new(context.limits.max_line_bytes),
            dialect: Dialect::Basic,
            has_valid_line: false,
            undecoded: Vec::new(),
            archive_request: None,
            socket_would_block: true,
            has_ended: false,
        }
    }

    fn quota(&self) -> Quota {
        self.context.quota()
    }

    async fn run(&mut self) -> CloseReason {
        loop {
            if self.handle.flags().has(Flags::CLOSE) {
                return close(self.handle).await;
            }
            let lines = match self.next_lines().await {
                Ok(lines) => lines,
                Err(error) => return CloseReason::from_io_error(&error),
            };
            let lines = match self.archive_request.take() {
                None => lines,
                // Process the preceding lines first, so that the answer reflects them.
                // Boxed, because every connection task has room for its largest future.
                Some(request) => match Box::pin(self.process_before_answer(lines)).await {
                    true => vec![Box::pin(self.answer(*request)).await],
                    false => continue,
                },
            };
            let has_ended = self.has_ended && self.undecoded.is_empty();
            if lines.is_empty() && !has_ended {
                // A client that sends bytes without a line end must not block other tasks.
                smol::future::yield_now().await;
                continue;
            }
            self.send_lines(lines, has_ended).await;
            if has_ended {
                let done = Flags::WRITTEN.or(Flags::BROKEN);
                if self.handle.wait(done.or(Flags::CLOSE)).await.has(done) {
                    return CloseReason::Closed;
                }
                return close(self.handle).await;
            }
            self.wait_for_answer().await;
        }
    }

    async fn wait_for_answer(&self) -> Flags {
        let flags = Flags::NEXT.or(Flags::CLOSE).or(Flags::BROKEN);
        self.handle.wait(flags).await
    }

    /// Sends the lines before an archive request to the broker and waits until they are answered.
    /// Returns false if the connection closes meanwhile.
    async fn process_before_answer(&self, lines: Vec<ClientLine>) -> bool {
        if lines.is_empty() {
            return true;
        }
        self.send_lines(lines, false).await;
        let raised = self.wait_for_answer().await;
        !raised.has(Flags::CLOSE.or(Flags::BROKEN))
    }

    /// Asks the archive, and returns the line that tells the broker the answer.
    async fn answer(&self, request: Request) -> ClientLine {
        if let Request::Hello(hello) = request {
            let oldest = self.context.archive.oldest_event().await;
            return ClientLine::Hello(hello, oldest);
        }
        // Nobody would read the answer.
        let is_closing = async {
            self.handle.wait(Flags::CLOSE.or(Flags::BROKEN)).await;
            ClientLine::Answer(Arc::default())
        };
        is_closing.or(self.query(request)).await
    }

    async fn query(&self, request: Request) -> ClientLine {
        let archive = &self.context.archive;
        let address = self.handle.address().ip();
        let found = match request {
            Request::Page(page) => {
                let found = archive.page(address, page).await;
                found.map(|found| messages_line("history", found))
            }
            Request::Search(search) => {
                let found = archive.search(address, search).await;
                found.map(|found| messages_line("search", found))
            }
            other => return ClientLine::Request(other),
        };
        found.map_or_else(ClientLine::Rejected, ClientLine::Answer)
    }

    /// Sends lines to the broker; [`Flags::NEXT`] tells when they are answered.
    async fn send_lines(&self, lines: Vec<ClientLine>, has_ended: bool) {
        self.handle.clear(Flags::NEXT);
        let command = BrokerCommand::Lines {
            from: self.key,
            lines,
            has_ended,
            read_at: self.context.now(),
        };
        if let Some(sending) = self.context.send(command) {
            sending.await;
        }
    }

    /// Returns the next lines within the rate limit; none if a flag is raised, the input ends or
    /// no line is complete.
    async fn next_lines(&mut self) -> io::Result<Vec<ClientLine>> {
        if !self.wait_for_rate_limit().await {
            return Ok(Vec::new());
        }
        if !self.undecoded.is_empty() {
            let input = std::mem::take(&mut self.undecoded);
            return Ok(self.decode_lines(&input));
        }
        if self.has_ended {
            return Ok(Vec::new());
        }
        // What the client sent before the connection broke is still read, without waiting.
        if self.socket_would_block && !self.handle.flags().has(Flags::BROKEN) {
            match self.wait_for_bytes().await? {
                Some(true) => {}
                Some(false) => return Ok(Vec::new()),
                None => {
                    self.decoder.skip_line();
                    let seconds = self.context.limits.half_line_timeout.as_secs();
                    let error = RequestError::LineStalled { seconds };
                    return Ok(vec![ClientLine::Rejected(error.into())]);
                }
            }
        }
        self.read_lines()
    }

    /// Waits until the rate limit allows a line; returns false if the server closes the
    /// connection meanwhile.
    async fn wait_for_rate_limit(&mut self) -> bool {
        let wait = self.rate_limiter.wait(self.quota(), self.context.now());
        if wait.is_zero() {
            return true;
        }
        let closing = self.handle.wait(Flags::CLOSE);
        // Boxed, because every connection task has room for its largest future.
        Box::pin(timeout(wait, closing)).await.is_none()
    }

    /// Waits until the socket is readable, or a flag is raised: then returns false. Returns `None`
    /// after the time for an unfinished line.
    async fn wait_for_bytes(&self) -> io::Result<Option<bool>> {
        let flags = Flags::CLOSE.or(Flags::BROKEN);
        let readable = poll_fn(|context| self.handle.poll_readable(flags, context));
        if !self.decoder.has_unfinished_line() {
            return readable.await.map(Some);
        }
        let limit = self.context.limits.half_line_timeout;
        Box::pin(timeout(limit, readable)).await.transpose()
    }

    /// Reads once without waiting, and decodes lines.
    fn read_lines(&mut self) -> io::Result<Vec<ClientLine>> {
        with_read_buffer(|buffer| {
            let count = match self.handle.stream().read(buffer) {
                Ok(0) => {
                    self.has_ended = true;
                    return Ok(self.finish_input());
                }
                Ok(count) => {
                    self.context.metrics.count_read(count);
                    count
                }
                Err(error) if is_temporary(&error) && !self.handle.flags().has(Flags::BROKEN) => 0,
                Err(error) => return Err(error),
            };
            self.socket_would_block = count < buffer.len();
            let lines = self.decode_lines(&buffer[..count]);
            if lines.is_empty() && !self.socket_would_block {
                // A flood of bytes without a line end counts as one line for each read.
                self.rate_limiter.spend(self.quota(), self.context.now(), 1);
            }
            Ok(lines)
        })
    }

    /// Rejects an unfinished line at the end of the input.
    fn finish_input(&mut self) -> Vec<ClientLine> {
        if self.decoder.finish() {
            vec![ClientLine::Rejected(RequestError::LineUnfinished.into())]
        } else {
            Vec::new()
        }
    }

    /// Returns the line that tells the broker of another protocol, if the next line belongs to one
    /// and no valid line came before. A few bytes of the line are enough.
    fn foreign_line(&self, input: &[u8]) -> Option<ClientLine> {
        if self.has_valid_line {
            return None;
        }
        let start = self.decoder.line_start(input, LONGEST_START);
        let protocol = ForeignProtocol::of(&start)?;
        let answer = self.context.answer_foreign(self.handle.stream(), protocol);
        Some(ClientLine::Foreign(answer.into()))
    }

    /// Decodes lines from the front of `input` within the rate limit, none of them after a request
    /// with a long answer, and keeps the rest.
    fn decode_lines(&mut self, mut input: &[u8]) -> Vec<ClientLine> {
        let now = self.context.now();
        let allowed = self.rate_limiter.allowance(self.quota(), now);
        let allowed = allowed.min(MAX_LINES_PER_TURN as u64);
        let mut lines = Vec::new();
        let mut count = 0;
        while count < allowed {
            if let Some(foreign) = self.foreign_line(input) {
                // Nothing of this input is obeyed.
                input = &[];
                lines.push(foreign);
                break;
            }
            let Some(line) = self.decoder.next_line(&mut input) else {
                break;
            };
            count += 1;
            let request = match line {
                DecodedLine::Complete(line) => {
                    decode::request(line, self.dialect, self.context.limits.max_message_bytes)
                }
                DecodedLine::TooLong => Err(RejectedRequest::from(RequestError::LineTooLong {
                    limit: self.context.limits.max_line_bytes,
                })),
            };
            self.has_valid_line |= request.is_ok();
            match request {
                Ok(request @ (Request::Hello(_) | Request::Page(_) | Request::Search(_))) => {
                    match request {
                        Request::Hello(_) => self.dialect = Dialect::Extended,
                        Request::Search(_) => count += SEARCH_LINES - 1,
                        _ => {}
                    }
                    self.archive_request = Some(Box::new(request));
                    break;
                }
                Ok(request) => {
                    let has_long_answer = matches!(request, Request::History | Request::Users);
                    lines.push(ClientLine::Request(request));
                    if has_long_answer {
                        break;
                    }
                }
                Err(rejected) => lines.push(ClientLine::Rejected(rejected)),
            }
        }
        self.rate_limiter.spend(self.quota(), now, count);
        self.undecoded = input.to_vec();
        lines
    }
}

#[cfg(test)]
mod tests;
