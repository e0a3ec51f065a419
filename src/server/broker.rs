//! The broker: the one task that owns the room.
//!
//! What lives here: [`Broker`], a loop over its inbox, and [`BrokerHandle`], how others talk
//! to it. It takes everything that waits, applies it to the room, encodes each public event
//! once for each dialect that has readers, and lets [`Delivery`] publish the batch. It must never await anything but its inbox and the time
//! of its next duty: no socket, no disk, no reader.
//!
//! Order: the inbox is the order. A reply has the place in the log where the room was when it
//! answered.

use crate::history::{History, Message};
use crate::limits::{
    MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_CLOSING_CONNECTIONS, WEB_MAX_TEXT_BYTES,
};
use crate::protocol::{SERVER_SOURCE, basic};
use crate::room::{self, Event, EventKind, NoEntry, Outcome, Reply, Room, UserId};
use crate::server::closing::CloseReason;
use crate::server::connection::{Common, within};
use crate::server::delivery::{Delivery, SharedExecutor, notice};
use crate::server::door::Door;
use crate::server::frames;
use crate::server::inbox::{ClientKey, Input, Submission, Subscription};
use crate::server::log::Log;
use crate::server::metrics::BatchFigures;
use crate::server::outbound::Content;
use crate::server::peer::Peer;
use crate::server::snapshot::{PresentUser, Snapshot};
use crate::server::transcript::Transcript;
use crate::summary::{self, Summary};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use smol::lock::SemaphoreGuardArc;
use std::net::SocketAddr;
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

    /// Inputs that wait for the broker.
    pub fn waiting(&self) -> usize {
        self.inbox.len()
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

/// The one owner of the room.
#[derive(Debug)]
pub struct Broker {
    room: Room,
    delivery: Delivery,
    common: Arc<Common>,
    inbox: Receiver<Input>,
    transcript: Transcript,
    epoch: Arc<str>,
    page_log: Arc<Log>,
    page_batch: Vec<u8>,
    /// Held once more by each live stream of the page.
    page_reader: Arc<()>,
    snapshot: Option<Arc<Snapshot>>,
    summary: Summary,
    /// Users whose arrival waits for the summary: each gets its own line instead of being
    /// counted to itself.
    unsummarised: Vec<(ClientKey, UserId)>,
    /// Of the newcomers of this batch.
    permits: Vec<SemaphoreGuardArc>,
    door: Door,
    /// When the oldest line of this batch was read.
    oldest_line: Option<Duration>,
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
        door: Door,
    ) -> Self {
        Broker {
            room: Room::new(common.limits.clone()),
            delivery: Delivery::new(common.clone(), executor),
            uptime: common.now(),
            common,
            inbox,
            transcript,
            epoch,
            page_log,
            page_batch: Vec::new(),
            page_reader: Arc::new(()),
            snapshot: None,
            summary: Summary::default(),
            unsummarised: Vec::new(),
            permits: Vec::new(),
            door,
            oldest_line: None,
            is_stopping: false,
            now: Timestamp::now(),
        }
    }

    /// Runs until the server has stopped and every connection has ended.
    pub async fn run(mut self) {
        while !(self.is_stopping && self.delivery.connection_count() == 0) {
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
        let duties = [self.summary.due(), self.delivery.next_lag_check()];
        duties.into_iter().flatten().min()
    }

    fn take_batch(&mut self, first: Option<Input>) {
        self.now = Timestamp::now();
        self.uptime = self.common.now();
        let mut next = first;
        let mut events = 0;
        while let Some(input) = next {
            self.take(input);
            events += 1;
            if events >= MAX_BATCH_EVENTS || self.delivery.batch().len() >= MAX_BATCH_BYTES {
                break;
            }
            next = self.inbox.try_recv().ok();
        }
        self.tell_summary_if_due();
        for (key, reason) in self.delivery.too_slow(self.uptime) {
            self.end(key, reason, reason.farewell().map(notice));
        }
        let bytes = self.publish_batch();
        self.permits.clear();
        self.count_batch(events, bytes);
    }

    fn count_batch(&mut self, inputs: usize, bytes: usize) {
        let metrics = &self.common.metrics;
        metrics.set_connections(self.delivery.figures(self.room.user_count()));
        if inputs > 0 {
            let read_at = self.oldest_line.take();
            metrics.observe_batch(BatchFigures {
                inputs,
                bytes,
                delivery: read_at.map(|read_at| self.common.now().saturating_sub(read_at)),
            });
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Connected(newcomer) => {
                self.permits.push(newcomer.permit);
                self.admit(Peer::new(newcomer.socket, newcomer.address));
            }
            Input::Lines {
                from,
                lines,
                has_ended,
                read_at,
            } => {
                let oldest = self.oldest_line.unwrap_or(read_at);
                self.oldest_line = Some(oldest.min(read_at));
                self.take_lines(from, lines, has_ended);
            }
            Input::CaughtUp(key, mailbox, outbound) => {
                self.delivery.take_back(key, &mailbox, outbound);
            }
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

    fn admit(&mut self, peer: Peer) {
        let limits = &self.common.limits;
        if self.is_stopping {
            let reason = CloseReason::Shutdown;
            return self.door.turn_away(peer, reason, SHUTDOWN_SENTENCE);
        }
        if self.delivery.connection_count() >= limits.max_clients + MAX_CLOSING_CONNECTIONS {
            let full = NoEntry::Full(limits.max_clients);
            return self.turn_away(peer, full);
        }
        let (user, event) = match self.enter(peer.address()) {
            Ok(entered) => entered,
            Err(no_entry) => return self.turn_away(peer, no_entry),
        };
        let key = self.delivery.connect(peer, user);
        if let EventKind::Joined {
            name,
            summarised: true,
        } = &event.kind
        {
            let line = notice(&basic::entered(name.as_str()));
            self.delivery.reply(key, Content::Bytes(line), 0);
            self.unsummarised.push((key, user));
        }
        self.publish(&event);
    }

    /// Lets a newcomer into the room. Whoever has its address and port, but a connection that is
    /// gone, ends first: one who is over its rate is not read, and so its end was not noticed.
    fn enter(&mut self, address: SocketAddr) -> Result<(UserId, Event), NoEntry> {
        match self.room.enter(address, self.now) {
            Err(NoEntry::AddressInUse(holder)) => {
                let gone = self.delivery.gone_connection_of(holder);
                let key = gone.ok_or(NoEntry::AddressInUse(holder))?;
                self.end(key, CloseReason::Reset, None);
                self.room.enter(address, self.now)
            }
            other => other,
        }
    }

    fn turn_away(&self, peer: Peer, no_entry: NoEntry) {
        let sentence = no_entry.to_string();
        self.door.turn_away(peer, no_entry.into(), &sentence);
    }

    /// Ends a user for this reason, which decides whether what is owed is written first.
    fn end(&mut self, key: ClientKey, reason: CloseReason, last_line: Option<Arc<[u8]>>) {
        if reason.flushes_first() {
            self.delivery.close(key, last_line);
        } else {
            self.delivery.cut(key, last_line);
        }
        self.leave(key, reason);
    }

    /// Takes a user out of the room and tells everyone; the connection may have to be written on.
    fn leave(&mut self, key: ClientKey, reason: CloseReason) {
        let Some((user, address)) = self.delivery.take_user(key) else {
            return;
        };
        self.note_end(user, address, reason);
        if let Some(event) = self.room.leave(user, self.now) {
            self.publish(&event);
        }
    }

    /// Logs and counts the end of a user; called once for each.
    fn note_end(&self, user: UserId, address: SocketAddr, reason: CloseReason) {
        self.common.metrics.count_ended(reason);
        let name = self.room.name(user).map_or("", |name| name.as_str());
        match reason {
            CloseReason::Fault => {
                tracing::error!(%address, name, %reason, "a connection's task failed");
            }
            // What is no more than a departure stands in the transcript; a reset is one too,
            // of a client that left with something unread.
            CloseReason::Closed | CloseReason::Reset | CloseReason::Shutdown => {
                tracing::debug!(%address, name, %reason, "left");
            }
            _ => tracing::info!(%address, name, %reason, "left"),
        }
    }

    /// Forgets a connection whose task has ended.
    fn forget(&mut self, key: ClientKey, reason: CloseReason) {
        self.leave(key, reason);
        self.delivery.forget(key);
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        self.transcript.line(SERVER_SOURCE, SHUTDOWN_SENTENCE);
        basic::encode_notice(self.delivery.batch(), SHUTDOWN_SENTENCE);
        self.page_batch.extend_from_slice(frames::BYE.as_bytes());
        for (user, address) in self.delivery.close_all() {
            self.note_end(user, address, CloseReason::Shutdown);
        }
    }

    // Lines of clients

    fn take_lines(&mut self, key: ClientKey, lines: Vec<Submission>, has_ended: bool) {
        let mut has_replies = false;
        let refused = lines.iter().filter(|line| line.is_err()).count();
        self.common.metrics.count_lines(lines.len(), refused);
        for line in lines {
            let Some(user) = self.delivery.user(key) else {
                break;
            };
            #[cfg(test)]
            crate::server::tests::fail_if_asked(&line, crate::server::tests::BROKER_FAULT);
            let outcome = match line {
                Ok(request) => self.room.request(user, request, self.now),
                Err(refusal) => self.room.refuse(user, &refusal),
            };
            match outcome {
                Some(Outcome::Public(event)) => self.publish(&event),
                Some(Outcome::Reply(reply)) => {
                    has_replies = true;
                    self.delivery.reply(key, content(reply), 0);
                }
                Some(Outcome::Close(sentence)) => {
                    self.end(key, CloseReason::Refused, Some(notice(&sentence)));
                }
                None => break,
            }
        }
        if has_ended {
            self.delivery.end(key);
            self.leave(key, CloseReason::Closed);
        }
        self.delivery.answer(key, has_replies);
    }

    // Publishing

    /// Encodes a public event for everyone who reads.
    fn publish(&mut self, event: &Event) {
        self.snapshot = None;
        if Arc::strong_count(&self.page_reader) > 1 {
            frames::encode_event(&mut self.page_batch, event);
        }
        match &event.kind {
            EventKind::Said(message) => {
                self.delivery.batch().extend_from_slice(&message.basic_line);
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
                    } => {
                        self.summary.count_left(self.uptime);
                    }
                    _ => basic::encode_notice(self.delivery.batch(), &sentence),
                }
            }
        }
    }

    /// Publishes what the batch made; gives how many bytes it had for clients.
    fn publish_batch(&mut self) -> usize {
        let bytes = self.delivery.batch().len();
        if !self.page_batch.is_empty() {
            self.page_log.publish(Arc::from(self.page_batch.as_slice()));
            self.page_batch.clear();
        }
        self.delivery.publish(self.uptime);
        // Its thread is woken when the clients have theirs: nobody's message waits for it.
        self.transcript.flush();
        let skipped = self.transcript.skipped_lines();
        self.common.metrics.set_transcript_skipped(skipped);
        bytes
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
        // To one who was told of its own arrival, that is not one of those counted.
        let others = entered
            .checked_sub(1)
            .and_then(|entered| summary_line(entered, left));
        let others = others.unwrap_or_default();
        for (key, user) in std::mem::take(&mut self.unsummarised) {
            if self.delivery.user(key) == Some(user) {
                self.delivery
                    .reply(key, Content::Bytes(others.clone()), skip);
            }
        }
        self.delivery.batch().extend_from_slice(&line);
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
            let users = room.users().map(present).collect();
            let messages = newest(room.history(), WEB_MAX_TEXT_BYTES);
            Arc::new(Snapshot::new(
                epoch.clone(),
                room.last_event(),
                users,
                messages,
            ))
        });
        snapshot.clone()
    }
}

/// The newest messages whose texts fit into so many bytes, oldest first.
fn newest(history: &History, max_bytes: usize) -> Vec<Arc<Message>> {
    let mut bytes = 0;
    let fits = |message: &&Arc<Message>| {
        bytes += message.text.len();
        bytes <= max_bytes
    };
    let mut messages: Vec<_> = history.messages().rev().take_while(fits).cloned().collect();
    messages.reverse();
    messages
}

/// What everyone is told when the server stops.
const SHUTDOWN_SENTENCE: &str = "The server is shutting down";

fn summary_line(entered: usize, left: usize) -> Option<Arc<[u8]>> {
    summary::sentence(entered, left).map(|sentence| notice(&sentence))
}

fn content(reply: Reply) -> Content {
    match reply {
        Reply::Notice(sentence) => Content::Bytes(notice(&sentence)),
        Reply::History(messages) => Content::History(messages, 0),
        Reply::Users(names) => Content::Users(names, 0),
    }
}
