//! The fan-out: the connection table, the open batch, and who writes to each client.
//!
//! The broker owns the [`Fanout`], which never waits for a client: a client that does not take
//! everything at once gets a backlog task, and is evicted when it lags too far behind.

pub(crate) mod broadcast_log;
pub(crate) mod handle;
pub(crate) mod outbox;
pub(crate) mod slow_consumer;
mod write_pass;

use crate::chat::room::UserId;
use crate::protocol::Dialect;
use crate::server::close_reason::CloseReason;
use crate::server::fanout::broadcast_log::{BroadcastLogs, PerDialect};
use crate::server::fanout::handle::{ConnectionHandle, Flags};
use crate::server::fanout::outbox::{
    Eviction, LogPosition, Outbox, QueuedReply, ReplyBody, StreamStart,
};
use crate::server::fanout::slow_consumer::{BacklogInbox, SlowConsumer};
use crate::server::limits::{LAG_CHECK_INTERVAL, Limits};
use crate::server::metrics::{ConnectionFigures, Metrics};
use slab::Slab;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The key of a connection in the fan-out. A key is reused only after the connection's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientKey(pub(crate) usize);

pub(crate) trait ConnectionTasks: fmt::Debug + Send + Sync {
    fn spawn_reader(&self, key: ClientKey, handle: Arc<ConnectionHandle>);

    fn spawn_backlog_writer(
        &self,
        key: ClientKey,
        handle: Arc<ConnectionHandle>,
        inbox: Arc<BacklogInbox>,
        outbox: Outbox,
    );
}

#[derive(Debug)]
struct ConnectedClient {
    handle: Arc<ConnectionHandle>,
    /// The user, until it leaves the room.
    user: Option<UserId>,
    /// The dialect of everything that is published from now on.
    dialect: Dialect,
    output: Output,
}

/// Who writes to a client.
#[derive(Debug)]
enum Output {
    /// Nobody: the connection has not started, or everything is written or lost.
    Nobody,
    /// The write pass; everything before the open batch is written.
    Current,
    /// The write pass; the client joined at this offset in the open batch.
    Newcomer(u64),
    /// The broker, because there are replies, an end, or more than the newest batch.
    Pending(Box<Outbox>),
    Behind(Box<SlowConsumer>),
}

#[derive(Debug)]
pub(crate) struct Fanout {
    logs: BroadcastLogs,
    limits: Limits,
    metrics: Arc<Metrics>,
    tasks: Box<dyn ConnectionTasks>,
    clients: Slab<ConnectedClient>,
    /// Offsets of the first bytes of `batch`.
    batch_start: PerDialect<u64>,
    /// Encoded lines that are not published yet.
    batch: PerDialect<Vec<u8>>,
    /// Clients with [`Output::Pending`].
    pending: Vec<ClientKey>,
    /// Clients that joined with this batch.
    newcomers: Vec<ClientKey>,
    /// Clients that may read on when the batch is written, and whether they have replies.
    answered: Vec<(ClientKey, bool)>,
    slow_count: usize,
    /// Connections that are live streams of the web page.
    stream_count: usize,
    /// Client connections whose user has left.
    closing_count: usize,
    next_lag_check: Option<Duration>,
}

impl Fanout {
    pub(crate) fn new(
        logs: BroadcastLogs,
        limits: Limits,
        metrics: Arc<Metrics>,
        tasks: Box<dyn ConnectionTasks>,
    ) -> Self {
        Fanout {
            batch_start: logs.ends(),
            logs,
            limits,
            metrics,
            tasks,
            clients: Slab::new(),
            batch: PerDialect::default(),
            pending: Vec::new(),
            newcomers: Vec::new(),
            answered: Vec::new(),
            slow_count: 0,
            stream_count: 0,
            closing_count: 0,
            next_lag_check: None,
        }
    }

    // Connections

    /// Adds a connection, which is neither read nor written before [`Fanout::start`].
    pub(crate) fn connect(&mut self, handle: ConnectionHandle, user: UserId) -> ClientKey {
        let client = ConnectedClient {
            handle: Arc::new(handle),
            user: Some(user),
            dialect: Dialect::Basic,
            output: Output::Nobody,
        };
        ClientKey(self.clients.insert(client))
    }

    /// Starts a connection: the client gets everything from here on, and its reader runs.
    pub(crate) fn start(&mut self, key: ClientKey) {
        let offset = self.next_offset(Dialect::Basic);
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        client.output = Output::Newcomer(offset);
        self.newcomers.push(key);
        self.tasks.spawn_reader(key, client.handle.clone());
    }

    /// Adds a live stream of the web page with its first replies.
    pub(crate) fn connect_stream(
        &mut self,
        handle: Arc<ConnectionHandle>,
        outbox: Outbox,
        user: Option<UserId>,
    ) -> ClientKey {
        let client = ConnectedClient {
            handle,
            user,
            dialect: Dialect::Browser,
            output: Output::Pending(Box::new(outbox)),
        };
        self.stream_count += 1;
        let key = ClientKey(self.clients.insert(client));
        self.pending.push(key);
        key
    }

    /// Returns the number of connections and live streams, including those that are closing.
    pub(crate) fn connection_count(&self) -> usize {
        self.clients.len()
    }

    /// Returns the number of live streams of the web page, including those that are closing.
    pub(crate) fn stream_count(&self) -> usize {
        self.stream_count
    }

    /// Returns the user of a connection, until it leaves.
    pub(crate) fn user(&self, key: ClientKey) -> Option<UserId> {
        self.clients.get(key.0)?.user
    }

    /// Returns whether the connection is a slow consumer, which has not got everything yet.
    pub(crate) fn is_behind(&self, key: ClientKey) -> bool {
        let client = self.clients.get(key.0);
        client.is_some_and(|client| matches!(client.output, Output::Behind(_)))
    }

    /// Returns the users of slow consumers.
    pub(crate) fn users_behind(&self) -> Vec<UserId> {
        let clients = self.clients.iter().map(|(_, client)| client);
        let behind = clients.filter(|client| matches!(client.output, Output::Behind(_)));
        behind.filter_map(|client| client.user).collect()
    }

    pub(crate) fn set_user(&mut self, key: ClientKey, user: UserId) {
        if let Some(client) = self.clients.get_mut(key.0) {
            client.user = Some(user);
        }
    }

    pub(crate) fn dialect(&self, key: ClientKey) -> Dialect {
        let client = self.clients.get(key.0);
        client.map(|client| client.dialect).unwrap_or_default()
    }

    pub(crate) fn address(&self, key: ClientKey) -> Option<SocketAddr> {
        let client = self.clients.get(key.0)?;
        Some(client.handle.address())
    }

    /// Returns whether the kernel has already ended a connection.
    pub(crate) fn is_gone(&self, key: ClientKey) -> bool {
        let client = self.clients.get(key.0);
        // After a reset the socket has no peer.
        client.is_none_or(|client| client.handle.stream().peer_addr().is_err())
    }

    /// Separates a connection from its user, and returns the user and the address.
    pub(crate) fn take_user(&mut self, key: ClientKey) -> Option<(UserId, SocketAddr)> {
        let client = self.clients.get_mut(key.0)?;
        let user = client.user.take()?;
        self.closing_count += usize::from(client.dialect != Dialect::Browser);
        Some((user, client.handle.address()))
    }

    /// Closes a connection after everything up to here and the last line.
    pub(crate) fn close(&mut self, key: ClientKey, last_line: Option<Arc<[u8]>>) {
        if let Some(line) = last_line {
            self.reply(key, ReplyBody::Bytes(line), 0);
        }
        self.finish_writes(key);
        if let Some(client) = self.clients.get(key.0) {
            client.handle.raise(Flags::CLOSE);
        }
    }

    /// Closes every connection after everything up to here and the last line of its dialect.
    pub(crate) fn close_all(&mut self, mut last_line: impl FnMut(Dialect) -> Option<Arc<[u8]>>) {
        for key in self.keys() {
            let line = last_line(self.dialect(key));
            self.close(key, line);
        }
    }

    pub(crate) fn keys(&self) -> Vec<ClientKey> {
        self.clients.iter().map(|(key, _)| ClientKey(key)).collect()
    }

    /// Closes the connection of a slow consumer, after the last line if its socket takes it.
    pub(crate) fn evict(&mut self, key: ClientKey, last_line: Option<Arc<[u8]>>) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        if let Output::Behind(slow) = &mut client.output {
            slow.has_end = true;
            let position = slow.inbox.position();
            let rest = position.rest_of_record(&self.logs);
            slow.inbox.pending().eviction = last_line.map(|farewell| Eviction {
                farewell,
                rest: rest.map(|rest| (position, rest)),
            });
        }
        client.handle.raise(Flags::CLOSE);
    }

    /// Removes a connection whose task has ended.
    pub(crate) fn remove(&mut self, key: ClientKey) {
        let Some(client) = self.clients.try_remove(key.0) else {
            return;
        };
        // Another connection may get the key before the batch is written.
        self.answered.retain(|(answered, _)| *answered != key);
        if matches!(client.output, Output::Behind(_)) {
            self.slow_count -= 1;
        }
        if client.dialect == Dialect::Browser {
            self.stream_count -= 1;
        } else if client.user.is_none() {
            self.closing_count -= 1;
        }
    }

    // Lines

    /// Returns the offset after everything that was appended to a log.
    pub(crate) fn next_offset(&self, dialect: Dialect) -> u64 {
        self.batch_start[dialect] + self.batch[dialect].len() as u64
    }

    /// Returns the offset of a public event in the extended log; `None` if the log dropped it.
    pub(crate) fn offset_of_event(&self, id: u64) -> Option<u64> {
        let log = &self.logs.extended;
        let Some(ahead) = id.checked_sub(log.next_line()) else {
            return log.offset_of_line(id);
        };
        let Some(last) = ahead.checked_sub(1) else {
            return Some(self.batch_start.extended);
        };
        // The event is in the open batch or follows it.
        let mut ends = memchr::memchr_iter(b'\n', &self.batch.extended);
        let end = ends.nth(usize::try_from(last).ok()?)?;
        Some(self.batch_start.extended + end as u64 + 1)
    }

    pub(crate) fn last_event(&self) -> u64 {
        self.logs.extended.next_line().saturating_sub(1)
    }

    /// Returns the id and the offset of the oldest public event in the log.
    pub(crate) fn oldest_event(&self) -> (u64, u64) {
        let log = &self.logs.extended;
        let oldest = log.oldest_line();
        // Only the fan-out publishes, so the log cannot have dropped the line meanwhile.
        let offset = log.offset_of_line(oldest);
        (oldest, offset.unwrap_or(self.batch_start.extended))
    }

    fn next_offsets(&self) -> PerDialect<u64> {
        PerDialect::from_fn(|dialect| self.next_offset(dialect))
    }

    /// Returns the open batch, to which the broker appends whole lines.
    pub(crate) fn batch(&mut self) -> &mut PerDialect<Vec<u8>> {
        &mut self.batch
    }

    pub(crate) fn batch_bytes(&self) -> usize {
        let sizes = Dialect::ALL.iter().map(|&each| self.batch[each].len());
        sizes.sum()
    }

    /// Adds a reply at the end of the open batch. The client does not get the next `skip` bytes of
    /// the batch.
    pub(crate) fn reply(&mut self, key: ClientKey, body: ReplyBody, skip: u64) {
        let offsets = self.next_offsets();
        let Some(client) = self.client_with_outbox(key) else {
            return;
        };
        let reply = QueuedReply {
            at: offsets[client.dialect],
            skip,
            body,
        };
        match &mut client.output {
            // A reply that waited for the store comes too late: nothing follows the last line.
            Output::Pending(outbox) if outbox.has_end() => {}
            Output::Behind(slow) if slow.has_end => {}
            Output::Pending(outbox) => outbox.add(reply),
            // No task writes to a broken connection, so the reply would stay in memory.
            Output::Behind(_) if client.handle.flags().has(Flags::BROKEN) => {}
            Output::Behind(slow) => slow.inbox.pending().replies.push(reply),
            Output::Nobody | Output::Current | Output::Newcomer(_) => {}
        }
    }

    /// Sends a private message to a client; its bytes count as lag.
    pub(crate) fn send_private(&mut self, key: ClientKey, line: Arc<[u8]>) {
        let length = line.len() as u64;
        self.reply(key, ReplyBody::Bytes(line), 0);
        if let Some(client) = self.clients.get_mut(key.0)
            && let Output::Behind(slow) = &mut client.output
        {
            slow.private_bytes += length;
        }
    }

    /// Switches a client to the extended dialect from here on.
    pub(crate) fn switch_to_extended(&mut self, key: ClientKey, start: StreamStart) {
        let at = self.next_offset(Dialect::Basic);
        self.reply(key, ReplyBody::Switch(start), 0);
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        client.dialect = Dialect::Extended;
        if let Output::Behind(slow) = &mut client.output {
            slow.switches_at = Some(at);
            slow.lag_baseline = start.lag_baseline;
        }
    }

    /// Returns a client after it got an outbox, if the write pass wrote to it so far.
    fn client_with_outbox(&mut self, key: ClientKey) -> Option<&mut ConnectedClient> {
        let client = self.clients.get_mut(key.0)?;
        let dialect = client.dialect;
        let offset = match client.output {
            Output::Current => self.batch_start[dialect],
            Output::Newcomer(offset) => offset,
            Output::Nobody | Output::Pending(_) | Output::Behind(_) => return Some(client),
        };
        let outbox = Outbox::new(LogPosition { dialect, offset });
        client.output = Output::Pending(Box::new(outbox));
        self.pending.push(key);
        Some(client)
    }

    /// Ends the stream of a connection here. The connection stays open until everything is
    /// written.
    pub(crate) fn finish_writes(&mut self, key: ClientKey) {
        let offsets = self.next_offsets();
        let Some(client) = self.client_with_outbox(key) else {
            return;
        };
        let end = LogPosition {
            dialect: client.dialect,
            offset: offsets[client.dialect],
        };
        match &mut client.output {
            // The first end counts: a user that has left gets no later event.
            Output::Pending(outbox) if !outbox.has_end() => outbox.end_at(end),
            Output::Behind(slow) if !slow.has_end => {
                slow.has_end = true;
                slow.inbox.pending().end = Some(end);
            }
            _ => {}
        }
    }

    /// Lets a client read on when the batch and its replies are written.
    pub(crate) fn answer(&mut self, key: ClientKey, has_replies: bool) {
        self.answered.push((key, has_replies));
    }

    // Slow consumers

    /// Takes a client back from its backlog task.
    pub(crate) fn reattach(
        &mut self,
        key: ClientKey,
        inbox: &Arc<BacklogInbox>,
        mut outbox: Box<Outbox>,
    ) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &client.output {
            Output::Behind(slow) if Arc::ptr_eq(&slow.inbox, inbox) => {}
            _ => return,
        }
        inbox.collect(&self.logs, &mut outbox);
        client.output = Output::Pending(outbox);
        self.slow_count -= 1;
        self.pending.push(key);
    }

    /// Returns the time of the next lag check, if there are slow consumers.
    pub(crate) fn next_lag_check(&self) -> Option<Duration> {
        self.next_lag_check
    }

    fn lags(&self, ends: PerDialect<u64>) -> impl Iterator<Item = u64> {
        let clients = self.clients.iter();
        clients.filter_map(move |(_, client)| match &client.output {
            Output::Behind(slow) => Some(slow.lag(ends)),
            _ => None,
        })
    }

    /// Returns the connection counts for the metrics; live streams are not included.
    pub(crate) fn figures(&self, users: usize) -> ConnectionFigures {
        ConnectionFigures {
            users,
            closing: self.closing_count,
            behind: self.slow_count,
        }
    }

    /// Returns the slow consumers to evict, each with the reason.
    pub(crate) fn clients_to_evict(&mut self, now: Duration) -> Vec<(ClientKey, CloseReason)> {
        let Some(at) = self.next_lag_check else {
            return Vec::new();
        };
        if self.slow_count == 0 {
            self.next_lag_check = None;
            self.metrics.observe_lags(std::iter::empty());
            return Vec::new();
        }
        // A batch may exceed the lag limit of a client; the timeouts are checked at the interval.
        if at > now && self.batch_bytes() == 0 {
            return Vec::new();
        }
        let ends = self.next_offsets();
        if at <= now {
            self.next_lag_check = Some(now + LAG_CHECK_INTERVAL);
            self.metrics.observe_lags(self.lags(ends));
        }
        let limits = &self.limits;
        let clients = self.clients.iter_mut();
        clients
            .filter_map(|(key, client)| match &mut client.output {
                Output::Behind(slow) => {
                    Some((ClientKey(key), slow.eviction_reason(limits, ends, now)?))
                }
                _ => None,
            })
            .collect()
    }
}
