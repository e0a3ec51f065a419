//! Delivery: every client's place in the log, and who writes to it.
//!
//! What lives here: [`Fanout`], which holds the connections and the batch in the making,
//! publishes the batch in one step and goes over the clients with one direct write each. The
//! broker owns it and is the only one to call it. It must never wait for a client: whoever does
//! not take everything at once is handed to a task of its own, and closed when it is too far
//! behind. It must never know the room: a user is a number to it.

pub mod broadcast_log;
pub mod outbox;

use crate::chat::room::UserId;
use crate::protocol::{Dialect, basic};
use crate::server::broker::command::ClientKey;
use crate::server::close_reason::CloseReason;
use crate::server::connection;
use crate::server::connection::ServerContext;
use crate::server::connection::handle::{BacklogInbox, ConnectionHandle, Flags};
use crate::server::fanout::broadcast_log::PerDialect;
use crate::server::fanout::outbox::{
    Eviction, LogPosition, Outbox, Progress, QueuedReply, ReplyBody, StreamStart, line_ends,
};
use crate::server::limits::{LAG_CHECK_INTERVAL, Limits};
use crate::server::metrics::ConnectionFigures;
use slab::Slab;
use smol::Executor;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Clients whose sockets the sweep looks up together.
const SWEEP_CHUNK: usize = 32;

/// The executor on which the tasks of connections run.
pub type SharedExecutor = Arc<Executor<'static>>;

/// A connection.
#[derive(Debug)]
struct Client {
    peer: Arc<ConnectionHandle>,
    /// None once it has left the room.
    user: Option<UserId>,
    /// In which everything that is said to it from now on is written.
    dialect: Dialect,
    output: Output,
}

/// Who writes to a client.
#[derive(Debug)]
enum Output {
    /// Nobody yet: its arrival is not published.
    Waiting,
    /// The sweep: everything before the batch in the making is written.
    Current,
    /// The sweep: it came with the batch in the making, at this position.
    Newcomer(u64),
    /// The broker: there are replies, an end, or more than the newest batch.
    Pending(Box<Outbox>),
    /// A task that catches up.
    Behind(Box<SlowConsumer>),
    /// Nobody any more.
    Done,
}

/// What is kept in mind of a client that is behind.
#[derive(Debug)]
struct SlowConsumer {
    mailbox: Arc<BacklogInbox>,
    written: u64,
    last_progress: Duration,
    over_half_since: Option<Duration>,
    has_end: bool,
    /// Where in the basic log it changes to the extended dialect, if it has not yet.
    changes_at: Option<u64>,
    /// Position of the extended log before which nothing counts as being behind.
    live_from: u64,
    /// Bytes of what others said to it alone since it is behind.
    private_bytes: u64,
}

/// The connections, and the batch in the making.
#[derive(Debug)]
pub struct Fanout {
    context: Arc<ServerContext>,
    executor: SharedExecutor,
    clients: Slab<Client>,
    /// Positions of the first bytes of `batch`.
    batch_start: PerDialect<u64>,
    /// Lines of each dialect that are not yet published.
    batch: PerDialect<Vec<u8>>,
    /// Clients whose output is [`Output::Pending`].
    pending: Vec<ClientKey>,
    /// Clients whose output is, or was in this batch, [`Output::Newcomer`].
    newcomers: Vec<ClientKey>,
    /// Clients whose lines are done, and whether they got replies: to be told when the batch
    /// is written.
    answered: Vec<(ClientKey, bool)>,
    lagging_count: usize,
    /// Connections that are live streams of the page.
    stream_count: usize,
    next_lag_check: Option<Duration>,
}

impl Fanout {
    /// Delivery to nobody yet.
    pub fn new(context: Arc<ServerContext>, executor: SharedExecutor) -> Self {
        Fanout {
            batch_start: context.logs.heads(),
            context,
            executor,
            clients: Slab::new(),
            batch: PerDialect::default(),
            pending: Vec::new(),
            newcomers: Vec::new(),
            answered: Vec::new(),
            lagging_count: 0,
            stream_count: 0,
            next_lag_check: None,
        }
    }

    // Connections

    /// Takes a connection in, which is neither read nor written before it is opened.
    pub fn connect(&mut self, peer: ConnectionHandle, user: UserId) -> ClientKey {
        let client = Client {
            peer: Arc::new(peer),
            user: Some(user),
            dialect: Dialect::Basic,
            output: Output::Waiting,
        };
        ClientKey(self.clients.insert(client))
    }

    /// Opens a connection: it gets everything from here on. Its task is started, and sends
    /// [`BrokerCommand::Ended`](crate::server::broker::command::Input::Ended) last.
    pub fn open(&mut self, key: ClientKey) {
        let position = self.position(Dialect::Basic);
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        client.output = Output::Newcomer(position);
        self.newcomers.push(key);
        let serving = connection::serve(self.context.clone(), key, client.peer.clone());
        // The broker notices its end by its last input.
        self.executor.spawn(serving).detach();
    }

    /// Takes in a live stream of the page with what it begins with; its task sends
    /// [`BrokerCommand::Ended`](crate::server::broker::command::Input::Ended) last.
    pub fn connect_stream(&mut self, peer: Arc<ConnectionHandle>, outbox: Outbox) -> ClientKey {
        let client = Client {
            peer,
            user: None,
            dialect: Dialect::Page,
            output: Output::Pending(Box::new(outbox)),
        };
        self.stream_count += 1;
        let key = ClientKey(self.clients.insert(client));
        self.pending.push(key);
        key
    }

    /// Connections, those included that are being closed, and live streams of the page.
    pub fn connection_count(&self) -> usize {
        self.clients.len()
    }

    /// Live streams of the page, those included that are being closed.
    pub fn stream_count(&self) -> usize {
        self.stream_count
    }

    /// The user of a connection; none once it has left.
    pub fn user(&self, key: ClientKey) -> Option<UserId> {
        self.clients.get(key.0)?.user
    }

    /// Makes a connection another user's.
    pub fn set_user(&mut self, key: ClientKey, user: UserId) {
        if let Some(client) = self.clients.get_mut(key.0) {
            client.user = Some(user);
        }
    }

    /// In which dialect a connection is spoken with.
    pub fn dialect(&self, key: ClientKey) -> Dialect {
        let client = self.clients.get(key.0);
        client.map(|client| client.dialect).unwrap_or_default()
    }

    /// The address of a connection.
    pub fn address(&self, key: ClientKey) -> Option<SocketAddr> {
        self.clients.get(key.0).map(|client| client.peer.address())
    }

    /// Whether the kernel has already ended a connection.
    pub fn is_gone(&self, key: ClientKey) -> bool {
        let client = self.clients.get(key.0);
        // A reset leaves the socket without a peer.
        client.is_none_or(|client| client.peer.stream().peer_addr().is_err())
    }

    /// Parts a connection from its user, which leaves; gives its address too.
    pub fn take_user(&mut self, key: ClientKey) -> Option<(UserId, SocketAddr)> {
        let client = self.clients.get_mut(key.0)?;
        Some((client.user.take()?, client.peer.address()))
    }

    /// Closes a connection after everything up to here and, perhaps, a last line.
    pub fn close(&mut self, key: ClientKey, last_line: Option<Arc<[u8]>>) {
        if let Some(line) = last_line {
            self.reply(key, ReplyBody::Bytes(line), 0);
        }
        self.end(key);
        if let Some(client) = self.clients.get(key.0) {
            client.peer.give(Flags::CLOSE);
        }
    }

    /// Closes every connection after everything up to here and the last line of its dialect, if
    /// that has one.
    pub fn close_all(&mut self, mut last_line: impl FnMut(Dialect) -> Option<Arc<[u8]>>) {
        for key in self.keys() {
            let line = last_line(self.dialect(key));
            self.close(key, line);
        }
    }

    /// Every connection.
    pub fn keys(&self) -> Vec<ClientKey> {
        self.clients.iter().map(|(key, _)| ClientKey(key)).collect()
    }

    /// Closes a connection that is too slow, with a farewell if its socket takes it.
    pub fn cut(&mut self, key: ClientKey, last_line: Option<Arc<[u8]>>) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        if let Output::Behind(lagging) = &mut client.output {
            lagging.has_end = true;
            let place = lagging.mailbox.place();
            let rest = place.rest_of_line(&self.context.logs);
            lagging.mailbox.mail().cut = last_line.map(|farewell| Eviction {
                farewell,
                rest: rest.map(|rest| (place, rest)),
            });
        }
        client.peer.give(Flags::CLOSE);
    }

    /// Forgets a connection whose task has ended; gives its address.
    pub fn forget(&mut self, key: ClientKey) -> Option<SocketAddr> {
        let client = self.clients.try_remove(key.0)?;
        // The key may be another's before the batch is written.
        self.answered.retain(|(answered, _)| *answered != key);
        if matches!(client.output, Output::Behind(_)) {
            self.lagging_count -= 1;
        }
        if client.dialect == Dialect::Page {
            self.stream_count -= 1;
        }
        Some(client.peer.address())
    }

    // Lines

    /// The position of a log after everything that was appended.
    pub fn position(&self, dialect: Dialect) -> u64 {
        self.batch_start[dialect] + self.batch[dialect].len() as u64
    }

    /// Where the public event with this number begins in the extended log, or will begin if it is
    /// the next one; none if it is not kept any more.
    pub fn position_of_event(&self, id: u64) -> Option<u64> {
        let log = &self.context.logs.extended;
        let Some(ahead) = id.checked_sub(log.next_line()) else {
            return log.position_of_line(id);
        };
        let Some(last) = ahead.checked_sub(1) else {
            return Some(self.batch_start.extended);
        };
        // It is in the batch in the making, or just after it.
        let mut ends = memchr::memchr_iter(b'\n', &self.batch.extended);
        let end = ends.nth(usize::try_from(last).ok()?)?;
        Some(self.batch_start.extended + end as u64 + 1)
    }

    /// Number of the newest public event that is published.
    pub fn last_event(&self) -> u64 {
        self.context.logs.extended.next_line().saturating_sub(1)
    }

    /// Number and position of the oldest public event that is kept.
    pub fn oldest_event(&self) -> (u64, u64) {
        let log = &self.context.logs.extended;
        let oldest = log.oldest_line();
        // Only this task publishes, and so lets lines go.
        let position = log.position_of_line(oldest);
        (oldest, position.unwrap_or(self.batch_start.extended))
    }

    fn positions(&self) -> PerDialect<u64> {
        PerDialect {
            basic: self.position(Dialect::Basic),
            extended: self.position(Dialect::Extended),
            page: self.position(Dialect::Page),
        }
    }

    /// The batches in the making, to append whole lines to.
    pub fn batch(&mut self) -> &mut PerDialect<Vec<u8>> {
        &mut self.batch
    }

    /// Bytes of the batches in the making.
    pub fn batch_bytes(&self) -> usize {
        Dialect::ALL
            .iter()
            .map(|&each| self.batch[each].len())
            .sum()
    }

    /// Adds a reply at the place where the batch is now; so many bytes of the batch after it
    /// are not for this client.
    pub fn reply(&mut self, key: ClientKey, content: ReplyBody, skip: u64) {
        let positions = self.positions();
        let Some(client) = self.client_beside_the_sweep(key) else {
            return;
        };
        let reply = QueuedReply {
            at: positions[client.dialect],
            skip,
            content,
        };
        match &mut client.output {
            // What was decided before its end, but waited for the store, comes too late: the last
            // line is the last.
            Output::Pending(outbox) if outbox.has_end() => {}
            Output::Behind(lagging) if lagging.has_end => {}
            Output::Pending(outbox) => outbox.add(reply),
            // Nobody writes to a connection that is broken, so nothing is kept for it.
            Output::Behind(_) if client.peer.signs().has(Flags::BROKEN) => {}
            Output::Behind(lagging) => lagging.mailbox.mail().replies.push(reply),
            _ => {}
        }
    }

    /// Tells a client what another said to it alone: that counts as being behind.
    pub fn tell(&mut self, key: ClientKey, line: Arc<[u8]>) {
        let length = line.len() as u64;
        self.reply(key, ReplyBody::Bytes(line), 0);
        if let Some(client) = self.clients.get_mut(key.0)
            && let Output::Behind(lagging) = &mut client.output
        {
            lagging.private_bytes += length;
        }
    }

    /// Speaks with a client in the extended dialect from here on; what it missed is as `start`
    /// says.
    pub fn extend(&mut self, key: ClientKey, start: StreamStart) {
        let at = self.position(Dialect::Basic);
        self.reply(key, ReplyBody::Begin(start), 0);
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        client.dialect = Dialect::Extended;
        if let Output::Behind(lagging) = &mut client.output {
            lagging.changes_at = Some(at);
            lagging.live_from = start.live_from;
        }
    }

    /// A client whose output is not the sweep's, from now on if it was before.
    fn client_beside_the_sweep(&mut self, key: ClientKey) -> Option<&mut Client> {
        let client = self.clients.get_mut(key.0)?;
        if let Some(place) = client.swept_from(self.batch_start) {
            client.output = Output::Pending(Box::new(Outbox::new(place)));
            self.pending.push(key);
        }
        Some(client)
    }

    /// Ends what a connection gets where the batch is now; the connection stays open until it
    /// is written.
    pub fn end(&mut self, key: ClientKey) {
        let positions = self.positions();
        let Some(client) = self.client_beside_the_sweep(key) else {
            return;
        };
        let end = LogPosition {
            dialect: client.dialect,
            position: positions[client.dialect],
        };
        match &mut client.output {
            // The first end stays: what is said after a user has left is not for it.
            Output::Pending(outbox) if !outbox.has_end() => outbox.end_at(end),
            Output::Behind(lagging) if !lagging.has_end => {
                lagging.has_end = true;
                lagging.mailbox.mail().end = Some(end);
            }
            _ => {}
        }
    }

    /// Notes that the lines which a client handed in are done: it may send on when the batch
    /// and its replies are written.
    pub fn answer(&mut self, key: ClientKey, has_replies: bool) {
        self.answered.push((key, has_replies));
    }

    // Publishing

    /// Publishes the batch and writes it, and what else waits, to every client who keeps up.
    pub fn publish(&mut self, now: Duration) {
        let start = self.batch_start;
        let batch = PerDialect {
            basic: self.publish_to(Dialect::Basic),
            extended: self.publish_to(Dialect::Extended),
            page: self.publish_to(Dialect::Page),
        };
        if Dialect::ALL.iter().any(|&each| !batch[each].is_empty()) {
            self.write_pass(&batch, start);
        }
        self.write_to_newcomers(&batch.basic, start.basic);
        for key in std::mem::take(&mut self.pending) {
            self.write_pending(key, now);
        }
        for (key, has_replies) in std::mem::take(&mut self.answered) {
            self.tell_answered(key, has_replies);
        }
    }

    fn publish_to(&mut self, dialect: Dialect) -> Arc<[u8]> {
        let batch: Arc<[u8]> = Arc::from(self.batch[dialect].as_slice());
        if !batch.is_empty() {
            self.batch_start[dialect] = self.context.logs[dialect].publish(batch.clone());
            self.batch[dialect].clear();
        }
        batch
    }

    /// One direct write of the batch of its dialect to each client who keeps up.
    fn write_pass(&mut self, batch: &PerDialect<Arc<[u8]>>, start: PerDialect<u64>) {
        let mut complete = PerDialect::<u64>::default();
        let mut incomplete = Vec::new();
        let mut chunk = Vec::with_capacity(SWEEP_CHUNK);
        let mut clients = self.clients.iter();
        loop {
            // The sockets of a chunk are looked up before the first of them is written: each is
            // somewhere else in memory, and the processor waits for all of them at once. After a
            // write, which throws much out of its caches, it would wait for each by itself.
            let current = clients
                .by_ref()
                .filter_map(|(key, client)| client.if_current(key));
            chunk.extend(current.take(SWEEP_CHUNK));
            if chunk.is_empty() {
                break;
            }
            for (key, dialect, stream) in chunk.drain(..) {
                let batch = &batch[dialect];
                if batch.is_empty() {
                    continue;
                }
                match write_now(stream, batch) {
                    Ok(count) if count == batch.len() => complete[dialect] += 1,
                    other => incomplete.push((key, dialect, other)),
                }
            }
        }
        let metrics = self.context.metrics.clone();
        for dialect in Dialect::ALL {
            let (batch, times) = (&batch[dialect], complete[dialect]);
            if times > 0 {
                metrics.count_written(times * batch.len() as u64, times * line_ends(batch));
            }
        }
        for (key, dialect, written) in incomplete {
            if let Ok(count) = written {
                metrics.count_written(count as u64, line_ends(&batch[dialect][..count]));
            }
            let position = written.map(|count| start[dialect] + count as u64);
            self.after_incomplete_write(key, position);
        }
    }

    /// Writes to those who came with the batch what of it came after them.
    fn write_to_newcomers(&mut self, batch: &[u8], start: u64) {
        for key in std::mem::take(&mut self.newcomers) {
            let Some(client) = self.clients.get_mut(key.0) else {
                continue;
            };
            let Output::Newcomer(position) = client.output else {
                continue;
            };
            client.output = Output::Current;
            // It came in the midst of the batch: its position is not before the start, and the
            // rest not longer than the batch.
            let rest = &batch[(position - start) as usize..];
            if rest.is_empty() {
                continue;
            }
            let written = write_now(client.peer.stream(), rest);
            if let Ok(count) = written {
                let lines = line_ends(&rest[..count]);
                self.context.metrics.count_written(count as u64, lines);
            }
            if !written.as_ref().is_ok_and(|count| *count == rest.len()) {
                let written = written.map(|count| position + count as u64);
                self.after_incomplete_write(key, written);
            }
        }
    }

    /// What becomes of a client that did not take all of the newest batch, but everything up
    /// to this position.
    fn after_incomplete_write(&mut self, key: ClientKey, written: io::Result<u64>) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let dialect = client.dialect;
        match written {
            Ok(position) => {
                let place = LogPosition { dialect, position };
                client.output = Output::Pending(Box::new(Outbox::new(place)));
                self.pending.push(key);
            }
            Err(error) => client.break_off(CloseReason::from_io_error(&error)),
        }
    }

    /// Writes to a client with something pending; who does not take everything is from then on
    /// written to by a task of its own.
    fn write_pending(&mut self, key: ClientKey, now: Duration) {
        let heads = self.batch_start;
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let Output::Pending(outbox) = &mut client.output else {
            return;
        };
        let progress = outbox.write(&self.context.logs, heads, &mut client.peer.writer());
        let (bytes, lines) = outbox.take_figures();
        self.context.metrics.count_written(bytes, lines);
        if outbox.take_answered() {
            client.peer.give(Flags::NEXT);
        }
        match progress {
            Ok(Progress::CaughtUp) => client.output = Output::Current,
            Ok(Progress::Finished) => {
                client.output = Output::Done;
                client.peer.give(Flags::WRITTEN);
            }
            Ok(Progress::Blocked | Progress::Yield | Progress::NeedsStored(_)) => {
                let nothing = Outbox::new(outbox.place());
                let outbox = std::mem::replace(&mut **outbox, nothing);
                self.hand_to_backlog_task(key, outbox, now);
            }
            Ok(Progress::FellOut) => {
                client.break_off(CloseReason::Lag);
                client.peer.give(Flags::CLOSE);
            }
            Err(error) => client.break_off(CloseReason::from_io_error(&error)),
        }
    }

    /// Lets a client send on, now or when its replies are written.
    fn tell_answered(&mut self, key: ClientKey, has_replies: bool) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &mut client.output {
            Output::Behind(lagging) if has_replies => lagging.mailbox.mail().answer_due = true,
            _ => client.peer.give(Flags::NEXT),
        }
    }

    // Clients who are behind

    /// Hands a client over to a task that writes whenever its socket takes something.
    fn hand_to_backlog_task(&mut self, key: ClientKey, outbox: Outbox, now: Duration) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let mailbox = Arc::new(BacklogInbox::new(outbox.place()));
        let change = outbox.change_of_dialect();
        client.output = Output::Behind(Box::new(SlowConsumer {
            mailbox: mailbox.clone(),
            written: outbox.written(),
            last_progress: now,
            over_half_since: None,
            has_end: outbox.has_end(),
            changes_at: change.map(|(at, _)| at),
            live_from: change.map_or(outbox.live_from(), |(_, start)| start.live_from),
            private_bytes: 0,
        }));
        self.lagging_count += 1;
        self.next_lag_check.get_or_insert(now + LAG_CHECK_INTERVAL);
        let (context, peer) = (self.context.clone(), client.peer.clone());
        let catching_up = connection::write_backlog(context, key, peer, mailbox, outbox);
        // It ends by the socket's end or by catching up, and the client's own task with it.
        self.executor.spawn(catching_up).detach();
    }

    /// Takes back a client that has caught up.
    pub fn reattach(
        &mut self,
        key: ClientKey,
        mailbox: &Arc<BacklogInbox>,
        mut outbox: Box<Outbox>,
    ) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &client.output {
            Output::Behind(lagging) if Arc::ptr_eq(&lagging.mailbox, mailbox) => {}
            _ => return,
        }
        connection::collect_mail(&self.context.logs, mailbox, &mut outbox);
        client.output = Output::Pending(outbox);
        self.lagging_count -= 1;
        self.pending.push(key);
    }

    /// When the clients who are behind are to be looked at; none while there are none.
    pub fn next_lag_check(&self) -> Option<Duration> {
        self.next_lag_check
    }

    /// How many bytes the clients are behind who are behind.
    fn lags(&self, heads: PerDialect<u64>) -> impl Iterator<Item = u64> {
        let clients = self.clients.iter();
        clients.filter_map(move |(_, client)| match &client.output {
            Output::Behind(lagging) => Some(lagging.lag(heads)),
            _ => None,
        })
    }

    /// How many connections there are, of which so many belong to users; those of the page have
    /// none.
    pub fn figures(&self, users: usize, linked: usize) -> ConnectionFigures {
        ConnectionFigures {
            users,
            linked,
            connections: self.clients.len() - self.stream_count,
            behind: self.lagging_count,
        }
    }

    /// The clients who are too slow, and why.
    pub fn too_slow(&mut self, now: Duration) -> Vec<(ClientKey, CloseReason)> {
        let Some(at) = self.next_lag_check else {
            return Vec::new();
        };
        if self.lagging_count == 0 {
            self.next_lag_check = None;
            self.context.metrics.observe_lags(std::iter::empty());
            return Vec::new();
        }
        // Who is too far behind for the log is found with each batch, the rest at the interval.
        if at > now && self.batch_bytes() == 0 {
            return Vec::new();
        }
        let heads = self.positions();
        if at <= now {
            self.next_lag_check = Some(now + LAG_CHECK_INTERVAL);
            self.context.metrics.observe_lags(self.lags(heads));
        }
        let limits = &self.context.limits;
        let clients = self.clients.iter_mut();
        clients
            .filter_map(|(key, client)| match &mut client.output {
                Output::Behind(lagging) => {
                    Some((ClientKey(key), lagging.too_slow(limits, heads, now)?))
                }
                _ => None,
            })
            .collect()
    }
}

impl Client {
    /// Its key, dialect and stream, if the sweep writes to it the whole batch.
    fn if_current(&self, key: usize) -> Option<(ClientKey, Dialect, &TcpStream)> {
        matches!(self.output, Output::Current).then(|| {
            let stream = self.peer.stream();
            (ClientKey(key), self.dialect, stream)
        })
    }

    /// Where its writing goes on if the sweep writes to it; the batch in the making starts at
    /// `batch_start`.
    fn swept_from(&self, batch_start: PerDialect<u64>) -> Option<LogPosition> {
        let dialect = self.dialect;
        let position = match self.output {
            Output::Current => batch_start[dialect],
            Output::Newcomer(position) => position,
            Output::Waiting | Output::Pending(_) | Output::Behind(_) | Output::Done => return None,
        };
        Some(LogPosition { dialect, position })
    }

    /// Gives up writing to a connection that is broken; its task ends it when it has read what
    /// the client said before.
    fn break_off(&mut self, reason: CloseReason) {
        self.output = Output::Done;
        self.peer.break_off(reason);
    }
}

impl SlowConsumer {
    /// How many bytes it is behind.
    fn lag(&self, heads: PerDialect<u64>) -> u64 {
        let place = self.mailbox.place();
        let live = match place.dialect {
            Dialect::Page => heads.page.saturating_sub(self.live_from),
            _ => heads.extended.saturating_sub(self.live_from),
        };
        let behind = match (place.dialect, self.changes_at) {
            (Dialect::Basic, None) => heads.basic.saturating_sub(place.position),
            (Dialect::Basic, Some(at)) => at.saturating_sub(place.position) + live,
            (dialect, _) => live.min(heads[dialect].saturating_sub(place.position)),
        };
        behind + self.private_bytes
    }

    /// Why this client is too slow; none if it is not.
    fn too_slow(
        &mut self,
        limits: &Limits,
        heads: PerDialect<u64>,
        now: Duration,
    ) -> Option<CloseReason> {
        let written = self.mailbox.written();
        if written != self.written {
            self.written = written;
            self.last_progress = now;
        }
        if now.saturating_sub(self.last_progress) >= limits.write_stall_timeout {
            return Some(CloseReason::WriteTimeout);
        }
        if self.has_end {
            return None;
        }
        let lag = self.lag(heads);
        let max_lag = limits.max_lag_bytes as u64;
        if lag > max_lag {
            return Some(CloseReason::Lag);
        }
        if lag <= max_lag / 2 {
            self.over_half_since = None;
            return None;
        }
        let since = *self.over_half_since.get_or_insert(now);
        (now.saturating_sub(since) >= limits.soft_lag_timeout).then_some(CloseReason::LagTime)
    }
}

/// A line of the server itself.
pub fn notice(sentence: &str) -> Arc<[u8]> {
    let mut line = Vec::new();
    basic::encode_notice(&mut line, sentence);
    line.into()
}

/// One write that does not block; a socket that is full takes nothing.
fn write_now(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        return match stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(position: u64) -> LogPosition {
        LogPosition {
            dialect: Dialect::Basic,
            position,
        }
    }

    fn head(basic: u64) -> PerDialect<u64> {
        PerDialect {
            basic,
            extended: 0,
            page: 0,
        }
    }

    fn lagging(position: u64) -> SlowConsumer {
        SlowConsumer {
            mailbox: Arc::new(BacklogInbox::new(basic(position))),
            written: 0,
            last_progress: Duration::ZERO,
            over_half_since: None,
            has_end: false,
            changes_at: None,
            live_from: 0,
            private_bytes: 0,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            max_lag_bytes: 1000,
            ..Limits::default()
        }
    }

    #[test]
    fn a_reader_is_too_far_behind_above_the_bound_and_not_at_it() {
        assert_eq!(lagging(0).too_slow(&limits(), head(1000), SECOND), None);
        let told = lagging(0).too_slow(&limits(), head(1001), SECOND);
        assert_eq!(told, Some(CloseReason::Lag));
    }

    #[test]
    fn half_of_the_bound_is_allowed_for_ten_seconds_in_a_row() {
        let mut reader = lagging(0);
        assert_eq!(reader.too_slow(&limits(), head(501), SECOND), None);
        assert_eq!(reader.too_slow(&limits(), head(501), SECOND * 10), None);
        let told = reader.too_slow(&limits(), head(501), SECOND * 11);
        assert_eq!(told, Some(CloseReason::LagTime));
        // Half and no more starts the time again.
        assert_eq!(reader.too_slow(&limits(), head(500), SECOND * 11), None);
        assert_eq!(reader.too_slow(&limits(), head(501), SECOND * 12), None);
        assert_eq!(reader.too_slow(&limits(), head(501), SECOND * 21), None);
    }

    #[test]
    fn a_reader_who_takes_nothing_for_thirty_seconds_has_stalled() {
        let mut reader = lagging(0);
        assert_eq!(reader.too_slow(&limits(), head(1), SECOND * 29), None);
        reader.mailbox.tell(basic(0), 1);
        assert_eq!(
            reader.too_slow(&limits(), head(1), SECOND * 30),
            None,
            "a byte is progress"
        );
        assert_eq!(reader.too_slow(&limits(), head(1), SECOND * 59), None);
        assert_eq!(
            reader.too_slow(&limits(), head(1), SECOND * 60),
            Some(CloseReason::WriteTimeout)
        );
    }

    #[test]
    fn one_who_gets_only_what_is_owed_is_not_behind() {
        let mut reader = lagging(0);
        reader.has_end = true;
        assert_eq!(reader.too_slow(&limits(), head(5000), SECOND), None);
        assert_eq!(
            reader.too_slow(&limits(), head(5000), SECOND * 30),
            Some(CloseReason::WriteTimeout)
        );
    }

    #[test]
    fn what_a_client_missed_is_no_lag_but_what_was_said_since_is() {
        let mut reader = lagging(100);
        reader.changes_at = Some(150);
        reader.live_from = 1000;
        let heads = |extended| PerDialect {
            basic: 5000,
            extended,
            page: 0,
        };
        // It has its last 50 bytes of the basic dialect to come, and no more of it.
        assert_eq!(reader.lag(heads(1007)), 57);
        let extended = |position| LogPosition {
            dialect: Dialect::Extended,
            position,
        };
        for (position, head, lag) in [(10, 1000, 0), (10, 1007, 7), (1003, 1007, 4)] {
            reader.mailbox.tell(extended(position), 0);
            assert_eq!(reader.lag(heads(head)), lag, "at {position} of {head}");
        }
        reader.private_bytes = 30;
        assert_eq!(reader.lag(heads(1007)), 34);
    }
}
