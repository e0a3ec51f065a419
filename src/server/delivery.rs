//! Delivery: every client's place in the log, and who writes to it.
//!
//! What lives here: [`Delivery`], which holds the connections and the batch in the making,
//! publishes the batch in one step and goes over the clients with one direct write each. The
//! broker owns it and is the only one to call it. It must never wait for a client: whoever does
//! not take everything at once is handed to a task of its own, and closed when it is too far
//! behind. It must never know the room: a user is a number to it.

use crate::limits::{LAG_CHECK_INTERVAL, Limits};
use crate::protocol::basic;
use crate::room::UserId;
use crate::server::closing::CloseReason;
use crate::server::connection::{self, Common};
use crate::server::inbox::ClientKey;
use crate::server::metrics::ConnectionFigures;
use crate::server::outbound::{Content, Cut, Outbound, Placed, Progress, line_ends};
use crate::server::peer::{Mailbox, Peer, Sign};
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
    peer: Arc<Peer>,
    /// None once it has left the room.
    user: Option<UserId>,
    output: Output,
}

/// Who writes to a client.
#[derive(Debug)]
enum Output {
    /// The sweep: everything before the batch in the making is written.
    Current,
    /// The sweep: it came with the batch in the making, at this position.
    Newcomer(u64),
    /// The broker: there are replies, an end, or more than the newest batch.
    Pending(Box<Outbound>),
    /// A task that catches up.
    Behind(Box<Lagging>),
    /// Nobody any more.
    Done,
}

/// What is kept in mind of a client that is behind.
#[derive(Debug)]
struct Lagging {
    mailbox: Arc<Mailbox>,
    written: u64,
    last_progress: Duration,
    over_half_since: Option<Duration>,
    has_end: bool,
}

/// The connections, and the batch in the making.
#[derive(Debug)]
pub struct Delivery {
    common: Arc<Common>,
    executor: SharedExecutor,
    clients: Slab<Client>,
    /// Position of the first byte of `batch`.
    batch_start: u64,
    /// Lines of the basic dialect that are not yet published.
    batch: Vec<u8>,
    /// Clients whose output is [`Output::Pending`].
    pending: Vec<ClientKey>,
    /// Clients whose output is, or was in this batch, [`Output::Newcomer`].
    newcomers: Vec<ClientKey>,
    /// Clients whose lines are done, and whether they got replies: to be told when the batch
    /// is written.
    answered: Vec<(ClientKey, bool)>,
    lagging_count: usize,
    next_lag_check: Option<Duration>,
}

impl Delivery {
    /// Delivery to nobody yet.
    pub fn new(common: Arc<Common>, executor: SharedExecutor) -> Self {
        Delivery {
            batch_start: common.log.head(),
            common,
            executor,
            clients: Slab::new(),
            batch: Vec::new(),
            pending: Vec::new(),
            newcomers: Vec::new(),
            answered: Vec::new(),
            lagging_count: 0,
            next_lag_check: None,
        }
    }

    // Connections

    /// Takes a connection in: it gets everything from here on. Its task is started, and sends
    /// [`Input::Ended`](crate::server::inbox::Input::Ended) last.
    pub fn connect(&mut self, peer: Peer, user: UserId) -> ClientKey {
        let peer = Arc::new(peer);
        let client = Client {
            peer: peer.clone(),
            user: Some(user),
            output: Output::Newcomer(self.position()),
        };
        let key = ClientKey(self.clients.insert(client));
        self.newcomers.push(key);
        let serving = connection::serve(self.common.clone(), key, peer);
        // The broker notices its end by its last input.
        self.executor.spawn(serving).detach();
        key
    }

    /// Connections, those included that are being closed.
    pub fn connection_count(&self) -> usize {
        self.clients.len()
    }

    /// The user of a connection; none once it has left.
    pub fn user(&self, key: ClientKey) -> Option<UserId> {
        self.clients.get(key.0)?.user
    }

    /// The connection of this user, if the kernel has already ended it. Goes through all.
    pub fn gone_connection_of(&self, user: UserId) -> Option<ClientKey> {
        let mut clients = self.clients.iter();
        let (key, client) = clients.find(|(_, client)| client.user == Some(user))?;
        // A reset leaves the socket without a peer.
        client.peer.stream().peer_addr().err()?;
        Some(ClientKey(key))
    }

    /// Parts a connection from its user, which leaves; gives its address too.
    pub fn take_user(&mut self, key: ClientKey) -> Option<(UserId, SocketAddr)> {
        let client = self.clients.get_mut(key.0)?;
        Some((client.user.take()?, client.peer.address()))
    }

    /// Closes a connection after everything up to here and, perhaps, a last line.
    pub fn close(&mut self, key: ClientKey, last_line: Option<Arc<[u8]>>) {
        if let Some(line) = last_line {
            self.reply(key, Content::Bytes(line), 0);
        }
        self.end(key);
        if let Some(client) = self.clients.get(key.0) {
            client.peer.give(Sign::CLOSE);
        }
    }

    /// Closes every connection after everything up to here.
    /// Gives those who were users until now.
    pub fn close_all(&mut self) -> Vec<(UserId, SocketAddr)> {
        let keys: Vec<ClientKey> = self.clients.iter().map(|(key, _)| ClientKey(key)).collect();
        for key in &keys {
            self.close(*key, None);
        }
        keys.iter().filter_map(|key| self.take_user(*key)).collect()
    }

    /// Closes a connection that is too slow, with a farewell if its socket takes it.
    pub fn cut(&mut self, key: ClientKey, last_line: Option<Arc<[u8]>>) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        if let Output::Behind(lagging) = &mut client.output {
            lagging.has_end = true;
            let position = lagging.mailbox.position();
            let rest = self.common.log.rest_of_line(position);
            lagging.mailbox.mail().cut = last_line.map(|farewell| Cut {
                farewell,
                rest: rest.map(|rest| (position, rest)),
            });
        }
        client.peer.give(Sign::CLOSE);
    }

    /// Forgets a connection whose task has ended; gives its address.
    pub fn forget(&mut self, key: ClientKey) -> Option<SocketAddr> {
        let client = self.clients.try_remove(key.0)?;
        // The key may be another's before the batch is written.
        self.answered.retain(|(answered, _)| *answered != key);
        if matches!(client.output, Output::Behind(_)) {
            self.lagging_count -= 1;
        }
        Some(client.peer.address())
    }

    // Lines

    /// The position of the log after everything that was appended.
    pub fn position(&self) -> u64 {
        self.batch_start + self.batch.len() as u64
    }

    /// The batch in the making, to append whole lines to.
    pub fn batch(&mut self) -> &mut Vec<u8> {
        &mut self.batch
    }

    /// Adds a reply at the place where the batch is now; so many bytes of the batch after it
    /// are not for this client.
    pub fn reply(&mut self, key: ClientKey, content: Content, skip: u64) {
        let reply = Placed {
            at: self.position(),
            skip,
            content,
        };
        let Some(client) = self.client_beside_the_sweep(key) else {
            return;
        };
        match &mut client.output {
            Output::Pending(outbound) => outbound.add(reply),
            // Nobody writes to a connection that is broken, so nothing is kept for it.
            Output::Behind(_) if client.peer.signs().has(Sign::BROKEN) => {}
            Output::Behind(lagging) => lagging.mailbox.mail().replies.push(reply),
            _ => {}
        }
    }

    /// A client whose output is not the sweep's, from now on if it was before.
    fn client_beside_the_sweep(&mut self, key: ClientKey) -> Option<&mut Client> {
        let client = self.clients.get_mut(key.0)?;
        if let Some(position) = client.swept_from(self.batch_start) {
            client.output = Output::Pending(Box::new(Outbound::new(position)));
            self.pending.push(key);
        }
        Some(client)
    }

    /// Ends what a connection gets where the batch is now; the connection stays open until it
    /// is written.
    pub fn end(&mut self, key: ClientKey) {
        let end = self.position();
        let Some(client) = self.client_beside_the_sweep(key) else {
            return;
        };
        match &mut client.output {
            // The first end stays: what is said after a user has left is not for it.
            Output::Pending(outbound) if !outbound.has_end() => outbound.end_at(end),
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
        let batch: Arc<[u8]> = Arc::from(self.batch.as_slice());
        if !batch.is_empty() {
            self.batch_start = self.common.log.publish(batch.clone());
            self.batch.clear();
            self.sweep(&batch, start);
        }
        self.write_to_newcomers(&batch, start);
        for key in std::mem::take(&mut self.pending) {
            self.write_pending(key, now);
        }
        for (key, has_replies) in std::mem::take(&mut self.answered) {
            self.tell_answered(key, has_replies);
        }
    }

    /// One direct write of the batch to each client who keeps up.
    fn sweep(&mut self, batch: &[u8], start: u64) {
        let mut complete = 0;
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
            for (key, stream) in chunk.drain(..) {
                match write_now(stream, batch) {
                    Ok(count) if count == batch.len() => complete += 1,
                    other => incomplete.push((key, other.map(|count| start + count as u64))),
                }
            }
        }
        let lines = line_ends(batch);
        let metrics = &self.common.metrics;
        metrics.count_written(complete * batch.len() as u64, complete * lines);
        for (key, written) in incomplete {
            if let Ok(position) = written {
                let taken = &batch[..(position - start) as usize];
                let metrics = &self.common.metrics;
                metrics.count_written(taken.len() as u64, line_ends(taken));
            }
            self.after_incomplete_write(key, written);
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
                self.common.metrics.count_written(count as u64, lines);
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
        match written {
            Ok(position) => {
                client.output = Output::Pending(Box::new(Outbound::new(position)));
                self.pending.push(key);
            }
            Err(error) => client.break_off(CloseReason::of_error(&error)),
        }
    }

    /// Writes to a client with something pending; who does not take everything is from then on
    /// written to by a task of its own.
    fn write_pending(&mut self, key: ClientKey, now: Duration) {
        let head = self.batch_start;
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let Output::Pending(outbound) = &mut client.output else {
            return;
        };
        let progress = outbound.write(&self.common.log, head, &mut client.peer.writer());
        let (bytes, lines) = outbound.take_figures();
        self.common.metrics.count_written(bytes, lines);
        if outbound.take_answered() {
            client.peer.give(Sign::NEXT);
        }
        match progress {
            Ok(Progress::CaughtUp) => client.output = Output::Current,
            Ok(Progress::Finished) => {
                client.output = Output::Done;
                client.peer.give(Sign::WRITTEN);
            }
            Ok(Progress::Blocked | Progress::Yield) => {
                let outbound = std::mem::replace(&mut **outbound, Outbound::new(head));
                self.let_catch_up(key, outbound, now);
            }
            Ok(Progress::FellOut) => {
                client.break_off(CloseReason::Lag);
                client.peer.give(Sign::CLOSE);
            }
            Err(error) => client.break_off(CloseReason::of_error(&error)),
        }
    }

    /// Lets a client send on, now or when its replies are written.
    fn tell_answered(&mut self, key: ClientKey, has_replies: bool) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &mut client.output {
            Output::Behind(lagging) if has_replies => lagging.mailbox.mail().answer_due = true,
            _ => client.peer.give(Sign::NEXT),
        }
    }

    // Clients who are behind

    /// Hands a client over to a task that writes whenever its socket takes something.
    fn let_catch_up(&mut self, key: ClientKey, outbound: Outbound, now: Duration) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let mailbox = Arc::new(Mailbox::new(outbound.position()));
        client.output = Output::Behind(Box::new(Lagging {
            mailbox: mailbox.clone(),
            written: outbound.written(),
            last_progress: now,
            over_half_since: None,
            has_end: outbound.has_end(),
        }));
        self.lagging_count += 1;
        self.next_lag_check.get_or_insert(now + LAG_CHECK_INTERVAL);
        let (common, peer) = (self.common.clone(), client.peer.clone());
        let catching_up = connection::catch_up(common, key, peer, mailbox, outbound);
        // It ends by the socket's end or by catching up, and the client's own task with it.
        self.executor.spawn(catching_up).detach();
    }

    /// Takes back a client that has caught up.
    pub fn take_back(
        &mut self,
        key: ClientKey,
        mailbox: &Arc<Mailbox>,
        mut outbound: Box<Outbound>,
    ) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &client.output {
            Output::Behind(lagging) if Arc::ptr_eq(&lagging.mailbox, mailbox) => {}
            _ => return,
        }
        connection::collect_mail(&self.common.log, mailbox, &mut outbound);
        client.output = Output::Pending(outbound);
        self.lagging_count -= 1;
        self.pending.push(key);
    }

    /// When the clients who are behind are to be looked at; none while there are none.
    pub fn next_lag_check(&self) -> Option<Duration> {
        self.next_lag_check
    }

    /// How many bytes the clients are behind who are behind.
    fn lags(&self, head: u64) -> impl Iterator<Item = u64> {
        let clients = self.clients.iter();
        clients.filter_map(move |(_, client)| match &client.output {
            Output::Behind(lagging) => Some(lagging.lag(head)),
            _ => None,
        })
    }

    /// How many connections there are, of whom so many are users.
    pub fn figures(&self, users: usize) -> ConnectionFigures {
        ConnectionFigures {
            users,
            connections: self.clients.len(),
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
            self.common.metrics.observe_lags(std::iter::empty());
            return Vec::new();
        }
        // Who is too far behind for the log is found with each batch, the rest at the interval.
        if at > now && self.batch.is_empty() {
            return Vec::new();
        }
        let head = self.position();
        if at <= now {
            self.next_lag_check = Some(now + LAG_CHECK_INTERVAL);
            self.common.metrics.observe_lags(self.lags(head));
        }
        let limits = &self.common.limits;
        let clients = self.clients.iter_mut();
        clients
            .filter_map(|(key, client)| match &mut client.output {
                Output::Behind(lagging) => {
                    Some((ClientKey(key), lagging.too_slow(limits, head, now)?))
                }
                _ => None,
            })
            .collect()
    }
}

impl Client {
    /// Its key and stream, if the sweep writes to it the whole batch.
    fn if_current(&self, key: usize) -> Option<(ClientKey, &TcpStream)> {
        matches!(self.output, Output::Current).then(|| (ClientKey(key), self.peer.stream()))
    }

    /// Where its writing goes on if the sweep writes to it; the batch in the making starts at
    /// `batch_start`.
    fn swept_from(&self, batch_start: u64) -> Option<u64> {
        match self.output {
            Output::Current => Some(batch_start),
            Output::Newcomer(position) => Some(position),
            Output::Pending(_) | Output::Behind(_) | Output::Done => None,
        }
    }

    /// Gives up writing to a connection that is broken; its task ends it when it has read what
    /// the client said before.
    fn break_off(&mut self, reason: CloseReason) {
        self.output = Output::Done;
        self.peer.break_off(reason);
    }
}

impl Lagging {
    /// How many bytes it is behind.
    fn lag(&self, head: u64) -> u64 {
        head.saturating_sub(self.mailbox.position())
    }

    /// Why this client is too slow; none if it is not.
    fn too_slow(&mut self, limits: &Limits, head: u64, now: Duration) -> Option<CloseReason> {
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
        let lag = self.lag(head);
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

    fn lagging(position: u64) -> Lagging {
        Lagging {
            mailbox: Arc::new(Mailbox::new(position)),
            written: 0,
            last_progress: Duration::ZERO,
            over_half_since: None,
            has_end: false,
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
        assert_eq!(lagging(0).too_slow(&limits(), 1000, SECOND), None);
        let told = lagging(0).too_slow(&limits(), 1001, SECOND);
        assert_eq!(told, Some(CloseReason::Lag));
    }

    #[test]
    fn half_of_the_bound_is_allowed_for_ten_seconds_in_a_row() {
        let mut reader = lagging(0);
        assert_eq!(reader.too_slow(&limits(), 501, SECOND), None);
        assert_eq!(reader.too_slow(&limits(), 501, SECOND * 10), None);
        let told = reader.too_slow(&limits(), 501, SECOND * 11);
        assert_eq!(told, Some(CloseReason::LagTime));
        // Half and no more starts the time again.
        assert_eq!(reader.too_slow(&limits(), 500, SECOND * 11), None);
        assert_eq!(reader.too_slow(&limits(), 501, SECOND * 12), None);
        assert_eq!(reader.too_slow(&limits(), 501, SECOND * 21), None);
    }

    #[test]
    fn a_reader_who_takes_nothing_for_thirty_seconds_has_stalled() {
        let mut reader = lagging(0);
        assert_eq!(reader.too_slow(&limits(), 1, SECOND * 29), None);
        reader.mailbox.tell(0, 1);
        assert_eq!(
            reader.too_slow(&limits(), 1, SECOND * 30),
            None,
            "a byte is progress"
        );
        assert_eq!(reader.too_slow(&limits(), 1, SECOND * 59), None);
        assert_eq!(
            reader.too_slow(&limits(), 1, SECOND * 60),
            Some(CloseReason::WriteTimeout)
        );
    }

    #[test]
    fn one_who_gets_only_what_is_owed_is_not_behind() {
        let mut reader = lagging(0);
        reader.has_end = true;
        assert_eq!(reader.too_slow(&limits(), 5000, SECOND), None);
        assert_eq!(
            reader.too_slow(&limits(), 5000, SECOND * 30),
            Some(CloseReason::WriteTimeout)
        );
    }
}
