//! The broker: the one task that owns the room.
//!
//! What lives here: [`Broker`], a loop over its inbox, and [`BrokerHandle`], how others talk
//! to it. It takes everything that waits, applies it to the room, encodes each public event
//! once for each dialect that has readers, publishes the batch in one step and goes over the
//! clients with one direct write each. It must never await anything but its inbox and the time
//! of its next duty: no socket, no disk, no reader.
//!
//! Order: the inbox is the order. A reply has the place in the log where the room was when it
//! answered.

use crate::limits::{
    LAG_CHECK_INTERVAL, Limits, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_CLOSING_CONNECTIONS,
};
use crate::protocol::{SERVER_SOURCE, basic};
use crate::room::{self, Event, EventKind, NoEntry, Outcome, Reply, Room, UserId};
use crate::server::closing::CloseReason;
use crate::server::connection::{self, Common, within};
use crate::server::frames;
use crate::server::inbox::{ClientKey, Input, Submission, Subscription};
use crate::server::log::Log;
use crate::server::outbound::{Content, Outbound, Placed, Progress};
use crate::server::peer::{Mailbox, Peer, Sign};
use crate::server::snapshot::{PresentUser, Snapshot};
use crate::server::transcript::Transcript;
use crate::summary::{self, Summary};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use slab::Slab;
use smol::{Async, Executor};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How others talk to the broker.
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    inbox: Sender<Input>,
}

/// The broker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerEnded;

impl BrokerHandle {
    /// A handle to the broker of this inbox.
    pub fn new(inbox: Sender<Input>) -> Self {
        BrokerHandle { inbox }
    }

    /// Tells the broker something; waits while its inbox is full.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn tell(&self, input: Input) -> Result<(), BrokerEnded> {
        self.inbox.send(input).await.map_err(|_| BrokerEnded)
    }

    /// How it is now.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, BrokerEnded> {
        let (sender, receiver) = async_channel::bounded(1);
        self.tell(Input::Snapshot(sender)).await?;
        receiver.recv().await.map_err(|_| BrokerEnded)
    }

    /// How it is now, and everything that comes after.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn subscribe(&self) -> Result<Subscription, BrokerEnded> {
        let (sender, receiver) = async_channel::bounded(1);
        self.tell(Input::Subscribe(sender)).await?;
        receiver.recv().await.map_err(|_| BrokerEnded)
    }
}

/// The executor on which the broker starts the tasks of connections.
pub type SharedExecutor = Arc<Executor<'static>>;

/// A connection as the broker sees it.
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
    /// The broker: everything before this position is written.
    Current(u64),
    /// The broker: there are replies, an end, or more than the newest batch.
    Pending(Box<Outbound>),
    /// A task that catches up.
    Behind(Box<Lagging>),
    /// Nobody any more.
    Done,
}

/// What the broker keeps in mind of a client that is behind.
#[derive(Debug)]
struct Lagging {
    mailbox: Arc<Mailbox>,
    written: u64,
    last_progress: Duration,
    over_half_since: Option<Duration>,
    has_end: bool,
}

/// The one owner of the room.
#[derive(Debug)]
pub struct Broker {
    room: Room,
    common: Arc<Common>,
    inbox: Receiver<Input>,
    executor: SharedExecutor,
    transcript: Transcript,
    epoch: Arc<str>,
    clients: Slab<Client>,
    /// Position of the first byte of `batch`.
    batch_start: u64,
    /// Lines of the basic dialect that are not yet published.
    batch: Vec<u8>,
    page_log: Arc<Log>,
    page_batch: Vec<u8>,
    /// Held once more by each live stream of the page.
    page_reader: Arc<()>,
    summary: Summary,
    /// Users whose arrival waits for the summary: each gets its own line instead of being
    /// counted to itself.
    unsummarised: Vec<(ClientKey, UserId)>,
    /// Clients whose lines are done, and whether they got replies: to be told when the batch
    /// is written.
    answered: Vec<(ClientKey, bool)>,
    /// Clients whose output is [`Output::Pending`].
    pending: Vec<ClientKey>,
    lagging_count: usize,
    next_lag_check: Option<Duration>,
    snapshot: Option<Arc<Snapshot>>,
    /// One more for each connection that is being told that it cannot come in.
    refused: Arc<()>,
    is_stopping: bool,
    /// Time of this batch.
    now: Timestamp,
    /// The server's own time of this batch.
    uptime: Duration,
}

impl Broker {
    /// A broker of an empty room.
    pub fn new(
        common: Arc<Common>,
        inbox: Receiver<Input>,
        executor: SharedExecutor,
        transcript: Transcript,
        page_log: Arc<Log>,
        epoch: Arc<str>,
    ) -> Self {
        Broker {
            room: Room::new(common.limits.clone()),
            batch_start: common.log.head(),
            uptime: common.now(),
            common,
            inbox,
            executor,
            transcript,
            epoch,
            clients: Slab::new(),
            batch: Vec::new(),
            page_log,
            page_batch: Vec::new(),
            page_reader: Arc::new(()),
            summary: Summary::default(),
            unsummarised: Vec::new(),
            answered: Vec::new(),
            pending: Vec::new(),
            lagging_count: 0,
            next_lag_check: None,
            snapshot: None,
            refused: Arc::new(()),
            is_stopping: false,
            now: Timestamp::now(),
        }
    }

    /// Runs until the server has stopped and every connection has ended.
    pub async fn run(mut self) {
        while !(self.is_stopping && self.clients.is_empty()) {
            let first = match self.next_duty() {
                None => self.inbox.recv().await.ok(),
                Some(at) => {
                    let wait = at.saturating_sub(self.common.now());
                    within(wait, self.inbox.recv()).await.and_then(Result::ok)
                }
            };
            // Others who are ready hand in theirs first: the more in a batch, the fewer writes.
            smol::future::yield_now().await;
            self.take_batch(first);
        }
        self.page_log.close();
    }

    /// When there is something to do even if nothing comes in.
    fn next_duty(&self) -> Option<Duration> {
        [self.summary.due(), self.next_lag_check]
            .into_iter()
            .flatten()
            .min()
    }

    fn take_batch(&mut self, first: Option<Input>) {
        self.now = Timestamp::now();
        self.uptime = self.common.now();
        let mut next = first;
        let mut events = 0;
        while let Some(input) = next {
            self.take(input);
            events += 1;
            if events >= MAX_BATCH_EVENTS || self.batch.len() >= MAX_BATCH_BYTES {
                break;
            }
            next = self.inbox.try_recv().ok();
        }
        self.tell_summary_if_due();
        self.check_lagging_if_due();
        self.publish_batch();
        for (key, has_replies) in std::mem::take(&mut self.answered) {
            self.tell_answered(key, has_replies);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Connected(socket, address) => self.admit(socket, address),
            Input::Lines {
                from,
                lines,
                has_ended,
            } => self.take_lines(from, lines, has_ended),
            Input::CaughtUp(key, mailbox, outbound) => self.take_back(key, &mailbox, outbound),
            Input::Ended(key, reason) => self.forget(key, reason),
            Input::Snapshot(asker) => {
                // An asker who is gone needs no answer.
                let _ = asker.try_send(self.current_snapshot());
            }
            Input::Subscribe(asker) => self.subscribe(&asker),
            Input::Stop => self.stop(),
        }
    }

    // Arrivals and ends

    fn admit(&mut self, socket: Arc<Async<TcpStream>>, address: SocketAddr) {
        let limits = &self.common.limits;
        let peer = Peer::new(socket, address);
        if self.is_stopping {
            return self.turn_away(peer, "The server is shutting down");
        }
        if self.clients.len() >= limits.max_clients + MAX_CLOSING_CONNECTIONS {
            let full = NoEntry::Full(limits.max_clients);
            return self.turn_away(peer, &full.to_string());
        }
        let (user, event) = match self.room.enter(address, self.now) {
            Ok(entered) => entered,
            Err(no_entry) => return self.turn_away(peer, &no_entry.to_string()),
        };
        let peer = Arc::new(peer);
        let output = Output::Current(self.position());
        let client = Client {
            peer: peer.clone(),
            user: Some(user),
            output,
        };
        let key = ClientKey(self.clients.insert(client));
        if let EventKind::Joined {
            name,
            summarised: true,
        } = &event.kind
        {
            let line = notice(&basic::entered(name.as_str()));
            self.reply(key, Content::Bytes(line), 0);
            self.unsummarised.push((key, user));
        }
        self.publish(&event);
        // The broker notices its end: it always sends `Input::Ended` last.
        self.executor
            .spawn(connection::serve(self.common.clone(), key, peer))
            .detach();
    }

    /// Tells a newcomer why it cannot come in, and closes the connection.
    fn turn_away(&self, peer: Peer, sentence: &str) {
        tracing::debug!(address = %peer.address(), sentence, "turned away");
        let line = notice(sentence);
        // A new socket takes one line at once; one that does not is not waited for.
        let told = peer.writer().write(&line);
        if told.is_err() || Arc::strong_count(&self.refused) > MAX_CLOSING_CONNECTIONS {
            return;
        }
        let being_refused = self.refused.clone();
        let lingering = async move {
            peer.finish_sending();
            within(
                crate::limits::LINGER_TIMEOUT,
                connection::discard_input(&peer),
            )
            .await;
            drop(being_refused);
        };
        // It ends by itself within the linger time, and is counted while it lasts.
        self.executor.spawn(lingering).detach();
    }

    /// Takes a user out of the room and tells everyone; the connection may have to be written on.
    fn leave(&mut self, key: ClientKey, reason: CloseReason) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let Some(user) = client.user.take() else {
            return;
        };
        let Some(event) = self.room.leave(user, self.now) else {
            return;
        };
        if let EventKind::Left { name, .. } = &event.kind {
            tracing::debug!(address = %client.peer.address(), %name, %reason, "left");
        }
        self.publish(&event);
    }

    /// Closes a connection after everything up to here and, perhaps, a last line.
    fn close(&mut self, key: ClientKey, reason: CloseReason, last_line: Option<Box<[u8]>>) {
        if let Some(line) = last_line {
            self.reply(key, Content::Bytes(line), 0);
        }
        self.end_output(key, self.position());
        if let Some(client) = self.clients.get(key.0) {
            client.peer.give(Sign::CLOSE);
        }
        self.leave(key, reason);
    }

    /// Forgets a connection whose task has ended.
    fn forget(&mut self, key: ClientKey, reason: CloseReason) {
        self.leave(key, reason);
        let Some(client) = self.clients.try_remove(key.0) else {
            return;
        };
        if reason == CloseReason::Fault {
            tracing::error!(address = %client.peer.address(), "a connection's task failed");
        }
        if matches!(client.output, Output::Behind(_)) {
            self.lagging_count -= 1;
        }
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        self.transcript.line(SERVER_SOURCE, SHUTDOWN_SENTENCE);
        basic::encode_notice(&mut self.batch, SHUTDOWN_SENTENCE);
        self.page_batch.extend_from_slice(frames::BYE.as_bytes());
        let end = self.position();
        let keys: Vec<ClientKey> = self.clients.iter().map(|(key, _)| ClientKey(key)).collect();
        for key in keys {
            self.end_output(key, end);
            if let Some(client) = self.clients.get_mut(key.0) {
                client.user = None;
                client.peer.give(Sign::CLOSE);
            }
        }
    }

    // Lines of clients

    fn take_lines(&mut self, key: ClientKey, lines: Vec<Submission>, has_ended: bool) {
        let mut has_replies = false;
        for line in lines {
            let Some(user) = self.clients.get(key.0).and_then(|client| client.user) else {
                break;
            };
            let outcome = match line {
                Ok(request) => self.room.request(user, request, self.now),
                Err(refusal) => self.room.refuse(user, &refusal),
            };
            match outcome {
                Some(Outcome::Public(event)) => self.publish(&event),
                Some(Outcome::Reply(reply)) => {
                    has_replies = true;
                    self.reply(key, content(reply), 0);
                }
                Some(Outcome::Close(sentence)) => {
                    self.close(key, CloseReason::Refused, Some(notice(&sentence)));
                }
                None => break,
            }
        }
        if has_ended {
            self.end_output(key, self.position());
            self.leave(key, CloseReason::Closed);
        }
        self.answered.push((key, has_replies));
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

    /// Adds a reply at the place where the room is now.
    fn reply(&mut self, key: ClientKey, content: Content, skip: u64) {
        let reply = Placed {
            at: self.position(),
            skip,
            content,
        };
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &mut client.output {
            Output::Current(position) => {
                let mut outbound = Outbound::new(*position);
                outbound.add(reply);
                client.output = Output::Pending(Box::new(outbound));
                self.pending.push(key);
            }
            Output::Pending(outbound) => outbound.add(reply),
            Output::Behind(lagging) => lagging.mailbox.mail().replies.push(reply),
            Output::Done => {}
        }
    }

    fn end_output(&mut self, key: ClientKey, end: u64) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &mut client.output {
            Output::Current(position) => {
                let mut outbound = Outbound::new(*position);
                outbound.end_at(end);
                client.output = Output::Pending(Box::new(outbound));
                self.pending.push(key);
            }
            // The first end stays: what is said after a user has left is not for it.
            Output::Pending(outbound) if !outbound.has_end() => outbound.end_at(end),
            Output::Behind(lagging) if !lagging.has_end => {
                lagging.has_end = true;
                lagging.mailbox.mail().end = Some(end);
            }
            Output::Pending(_) | Output::Behind(_) | Output::Done => {}
        }
    }

    // Publishing

    /// The position of the log after everything that the room has said.
    fn position(&self) -> u64 {
        self.batch_start + self.batch.len() as u64
    }

    /// Encodes a public event for everyone who reads.
    fn publish(&mut self, event: &Event) {
        self.snapshot = None;
        if Arc::strong_count(&self.page_reader) > 1 {
            frames::encode_event(&mut self.page_batch, event);
        }
        match &event.kind {
            EventKind::Said(message) => {
                self.batch.extend_from_slice(&message.basic_line);
                self.transcript.line(message.source.as_str(), &message.text);
            }
            kind => {
                let sentence = room::sentence(kind).unwrap_or_default();
                self.transcript.line(SERVER_SOURCE, &sentence);
                match kind {
                    EventKind::Joined {
                        summarised: true, ..
                    } => {
                        self.summary.count_entered(self.uptime);
                    }
                    EventKind::Left {
                        summarised: true, ..
                    } => self.summary.count_left(self.uptime),
                    _ => basic::encode_notice(&mut self.batch, &sentence),
                }
            }
        }
    }

    /// Publishes the batch and writes it to every client who keeps up.
    fn publish_batch(&mut self) {
        if !self.page_batch.is_empty() {
            self.page_log.publish(Arc::from(self.page_batch.as_slice()));
            self.page_batch.clear();
        }
        self.transcript.flush();
        if !self.batch.is_empty() {
            let batch: Arc<[u8]> = Arc::from(self.batch.as_slice());
            let start = self.batch_start;
            self.batch_start = self.common.log.publish(batch.clone());
            self.batch.clear();
            self.sweep(&batch, start);
        }
        for key in std::mem::take(&mut self.pending) {
            self.write_pending(key);
        }
    }

    /// One direct write of the batch to each client who keeps up; who does not take everything
    /// has something pending.
    fn sweep(&mut self, batch: &[u8], start: u64) {
        let head = self.batch_start;
        for (key, client) in &mut self.clients {
            let Output::Current(position) = &mut client.output else {
                continue;
            };
            // It had everything up to this batch, or came in the midst of it: the position is
            // not before the start, and the rest not longer than the batch.
            let rest = &batch[(*position - start) as usize..];
            match write_now(&client.peer, rest) {
                Ok(count) if count == rest.len() => *position = head,
                Ok(count) => {
                    let outbound = Outbound::new(*position + count as u64);
                    client.output = Output::Pending(Box::new(outbound));
                    self.pending.push(ClientKey(key));
                }
                Err(_) => client.break_off(),
            }
        }
    }

    /// Writes to a client with something pending; who does not take everything is from then on
    /// written to by a task of its own.
    fn write_pending(&mut self, key: ClientKey) {
        let head = self.batch_start;
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let Output::Pending(outbound) = &mut client.output else {
            return;
        };
        let progress = outbound.write(&self.common.log, head, &mut client.peer.writer());
        if outbound.take_answered() {
            client.peer.give(Sign::NEXT);
        }
        match progress {
            Ok(Progress::CaughtUp) => client.output = Output::Current(head),
            Ok(Progress::Finished) => {
                client.output = Output::Done;
                client.peer.give(Sign::WRITTEN);
            }
            Ok(Progress::Blocked | Progress::Yield) => {
                let outbound = std::mem::replace(&mut **outbound, Outbound::new(head));
                self.let_catch_up(key, outbound);
            }
            Ok(Progress::FellOut) | Err(_) => client.break_off(),
        }
    }

    /// Hands a client over to a task that writes whenever its socket takes something.
    fn let_catch_up(&mut self, key: ClientKey, outbound: Outbound) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let mailbox = Arc::new(Mailbox::new(outbound.position()));
        client.output = Output::Behind(Box::new(Lagging {
            mailbox: mailbox.clone(),
            written: outbound.written(),
            last_progress: self.uptime,
            over_half_since: None,
            has_end: outbound.has_end(),
        }));
        self.lagging_count += 1;
        self.next_lag_check
            .get_or_insert(self.uptime + LAG_CHECK_INTERVAL);
        let (common, peer) = (self.common.clone(), client.peer.clone());
        let catching_up = connection::catch_up(common, key, peer, mailbox, outbound);
        // It ends by the socket's end or by catching up, and the client's own task with it.
        self.executor.spawn(catching_up).detach();
    }

    // Clients who are behind

    /// A client that has caught up is written to by the broker again.
    fn take_back(&mut self, key: ClientKey, mailbox: &Arc<Mailbox>, mut outbound: Outbound) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &client.output {
            Output::Behind(lagging) if Arc::ptr_eq(&lagging.mailbox, mailbox) => {}
            _ => return,
        }
        connection::collect_mail(&self.common.log, mailbox, &mut outbound);
        client.output = Output::Pending(Box::new(outbound));
        self.lagging_count -= 1;
        self.pending.push(key);
    }

    fn check_lagging_if_due(&mut self) {
        let Some(at) = self.next_lag_check else {
            return;
        };
        if self.lagging_count == 0 {
            self.next_lag_check = None;
            return;
        }
        // Who is too far behind for the log is found at once, the rest at the interval.
        if at > self.uptime && self.batch.is_empty() {
            return;
        }
        self.next_lag_check = Some(self.uptime + LAG_CHECK_INTERVAL);
        let (head, uptime) = (self.position(), self.uptime);
        let limits = &self.common.limits;
        let too_slow: Vec<(ClientKey, CloseReason)> = self
            .clients
            .iter_mut()
            .filter_map(|(key, client)| match &mut client.output {
                Output::Behind(lagging) => {
                    Some((ClientKey(key), lagging.too_slow(limits, head, uptime)?))
                }
                _ => None,
            })
            .collect();
        for (key, reason) in too_slow {
            self.close_too_slow(key, reason);
        }
    }

    fn close_too_slow(&mut self, key: ClientKey, reason: CloseReason) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        if let Output::Behind(lagging) = &mut client.output {
            lagging.has_end = true;
            lagging.mailbox.mail().cut = reason.farewell().map(notice);
        }
        client.peer.give(Sign::CLOSE);
        self.leave(key, reason);
    }

    // Summaries

    fn tell_summary_if_due(&mut self) {
        if self.summary.due().is_none_or(|due| due > self.uptime) {
            return;
        }
        let (entered, left) = self.summary.take();
        let Some(line) = summary_line(entered, left) else {
            return;
        };
        let skip = line.len() as u64;
        for (key, user) in std::mem::take(&mut self.unsummarised) {
            let is_here = self
                .clients
                .get(key.0)
                .is_some_and(|client| client.user == Some(user));
            if is_here {
                // It was told of its own arrival; to itself it is not one of those counted.
                let others = summary_line(entered - 1, left).unwrap_or_default();
                self.reply(key, Content::Bytes(others), skip);
            }
        }
        self.batch.extend_from_slice(&line);
    }

    // The page

    fn subscribe(&mut self, asker: &Sender<Subscription>) {
        let subscription = Subscription {
            snapshot: self.current_snapshot(),
            log: self.page_log.clone(),
            position: self.page_log.head() + self.page_batch.len() as u64,
            reader: self.page_reader.clone(),
        };
        // An asker who is gone needs no answer.
        let _ = asker.try_send(subscription);
    }

    /// How it is now; made once, whoever asks, until something happens.
    fn current_snapshot(&mut self) -> Arc<Snapshot> {
        let (room, epoch) = (&self.room, &self.epoch);
        let snapshot = self.snapshot.get_or_insert_with(|| {
            let present = |(name, since): (&crate::name::Name, Timestamp)| PresentUser {
                name: name.clone(),
                since,
            };
            Arc::new(Snapshot {
                epoch: epoch.clone(),
                last: room.last_event(),
                users: room.users().map(present).collect(),
                messages: room.history().messages().cloned().collect(),
            })
        });
        snapshot.clone()
    }
}

impl Client {
    /// Gives up writing to a connection that is broken; its task then ends it.
    fn break_off(&mut self) {
        self.output = Output::Done;
        self.peer.give(Sign::BROKEN);
    }
}

impl Lagging {
    /// Why this client is too slow; none if it is not.
    fn too_slow(&mut self, limits: &Limits, head: u64, now: Duration) -> Option<CloseReason> {
        let written = self.mailbox.written();
        if written != self.written {
            self.written = written;
            self.last_progress = now;
        }
        if now.saturating_sub(self.last_progress) >= limits.write_stall_timeout {
            return Some(CloseReason::Stalled);
        }
        if self.has_end {
            return None;
        }
        let lag = head.saturating_sub(self.mailbox.position());
        let max_lag = limits.max_lag_bytes as u64;
        if lag > max_lag {
            return Some(CloseReason::TooFarBehind);
        }
        if lag <= max_lag / 2 {
            self.over_half_since = None;
            return None;
        }
        let since = *self.over_half_since.get_or_insert(now);
        (now.saturating_sub(since) >= limits.soft_lag_timeout).then_some(CloseReason::BehindTooLong)
    }
}

/// What everyone is told when the server stops.
const SHUTDOWN_SENTENCE: &str = "The server is shutting down";

fn notice(sentence: &str) -> Box<[u8]> {
    let mut line = Vec::new();
    basic::encode_notice(&mut line, sentence);
    line.into_boxed_slice()
}

fn summary_line(entered: usize, left: usize) -> Option<Box<[u8]>> {
    summary::sentence(entered, left).map(|sentence| notice(&sentence))
}

fn content(reply: Reply) -> Content {
    match reply {
        Reply::Notice(sentence) => Content::Bytes(notice(&sentence)),
        Reply::History(messages) => Content::History(messages, 0),
        Reply::Users(names) => Content::Users(names, 0),
    }
}

/// One write that does not block; a socket that is full takes nothing.
fn write_now(peer: &Peer, bytes: &[u8]) -> io::Result<usize> {
    loop {
        return match peer.writer().write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
    }
}
