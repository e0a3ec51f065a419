//! The broker: the one task that owns the room.
//!
//! What lives here: [`Broker`], a loop over its inbox, and [`BrokerHandle`], how others talk
//! to it. It takes everything that waits, applies it to the room, encodes each public event
//! once for each dialect, and so decides a batch of steps. Without a store the [`ActionExecutor`] does
//! them at once; with one, when the store has committed what they tell. It must never await
//! anything but its inbox, the store's reports and the time of its next duty: no socket, no disk,
//! no reader.
//!
//! What it does for browsers stands in `page`.
//!
//! Order: the inbox is the order. A reply has the place in the log where the room was when it
//! answered.

pub mod browser;
pub mod browser_limits;
pub mod commit_queue;
pub mod execute;
pub mod presence_summary;

use crate::chat::error::RequestError;
use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::message::Message;
use crate::chat::record::Record;
use crate::chat::request::Request;
use crate::chat::room::history::History;
use crate::chat::room::snapshot::{PresentUser, Snapshot};
use crate::chat::room::{Effect, Ending, JoinError, Reply, Room, UserId};
use crate::chat::token::Token;
use crate::limits::MAX_PAGE_MESSAGES;
use crate::protocol::basic::notice_line;
use crate::protocol::sse;
use crate::protocol::{Dialect, basic, extended};
use crate::server::broker::browser_limits::BrowserLimits;
use crate::server::broker::commit_queue::{Batch, CommitQueue};
use crate::server::broker::execute::{
    Action, ActionExecutor, HelloReply, LastLine, Lines, TranscriptLine,
};
use crate::server::broker::presence_summary::Summary;
use crate::server::close_reason::CloseReason;
use crate::server::command::{
    BrokerCommand, BrowserReply, BrowserRequest, ClientLine, Subscription,
};
use crate::server::connection::reject::Rejector;
use crate::server::context::ServerContext;
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::limits::{
    MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_CLOSING_CONNECTIONS, WEB_MAX_TEXT_BYTES,
};
use crate::server::metrics::BatchFigures;
use crate::server::timeout::timeout;
use crate::storage::sqlite::writer::CommitReport;
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt;
use jiff::Timestamp;
use smol::lock::SemaphoreGuardArc;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How others talk to the broker.
#[derive(Clone, Debug)]
pub struct BrokerHandle {
    inbox: Sender<BrokerCommand>,
}

/// The broker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerEnded;

impl BrokerHandle {
    /// A handle to the broker of this inbox.
    pub fn new(inbox: Sender<BrokerCommand>) -> Self {
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
    pub async fn tell(&self, input: BrokerCommand) -> Result<(), BrokerEnded> {
        self.inbox.send(input).await.map_err(|_| BrokerEnded)
    }

    /// How it is now.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, BrokerEnded> {
        let (sender, receiver) = async_channel::bounded(1);
        self.tell(BrokerCommand::Snapshot(sender)).await?;
        receiver.recv().await.map_err(|_| BrokerEnded)
    }

    /// How it is now, and everything that comes after.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn subscribe(&self) -> Result<Subscription, BrokerEnded> {
        let (sender, receiver) = async_channel::bounded(1);
        self.tell(BrokerCommand::Subscribe(sender)).await?;
        receiver.recv().await.map_err(|_| BrokerEnded)
    }
}

impl BrokerHandle {
    /// What comes of what a browser asks for.
    ///
    /// # Errors
    /// The broker has ended.
    pub async fn ask_from_page(
        &self,
        from: BrowserRequest,
        answer: &Receiver<BrowserReply>,
    ) -> Result<BrowserReply, BrokerEnded> {
        self.tell(BrokerCommand::FromPage(Box::new(from))).await?;
        answer.recv().await.map_err(|_| BrokerEnded)
    }
}

/// The one owner of the room.
#[derive(Debug)]
pub struct Broker {
    room: Room,
    publisher: ActionExecutor,
    /// Open connections of each attached user: one of a client, any number of a browser's.
    connections_by_user: HashMap<UserId, Vec<ClientKey>>,
    browser_limits: BrowserLimits,
    context: Arc<ServerContext>,
    inbox: Receiver<BrokerCommand>,
    epoch: Arc<str>,
    /// If there is a store.
    commit_queue: Option<CommitQueue>,
    /// What is to be kept of this batch.
    records: Vec<Record>,
    /// What was decided in this batch; `lines` come after all `steps`.
    steps: Vec<Action>,
    lines: Lines,
    /// Bytes for everyone in this batch.
    batch_bytes: usize,
    /// Held once more by each live stream of the page that is about to begin.
    page_reader: Arc<()>,
    /// When the live streams are to be shown that the server is there; none without streams.
    heartbeat_at: Option<Duration>,
    snapshot: Option<Arc<Snapshot>>,
    /// The number of the newest event that is committed, while the store fails.
    last_committed: u64,
    summary: Summary,
    /// Users whose arrival waits for the summary: each gets its own line instead of being
    /// counted to itself.
    awaiting_summary: Vec<(ClientKey, UserId)>,
    /// Of the newcomers of this batch.
    permits: Vec<SemaphoreGuardArc>,
    rejector: Rejector,
    /// When the oldest line of this batch was read.
    oldest_line: Option<Duration>,
    is_stopping: bool,
    /// Time of this batch.
    now: Timestamp,
    /// The server's own time of this batch.
    uptime: Duration,
}

/// What the broker wakes up for.
enum WakeReason {
    Input(BrokerCommand),
    Report(CommitReport),
    Duty,
}

/// What one who says hello wants to have again.
type Wanted = (Option<crate::chat::request::EventCursor>, Option<u64>);

/// A token of the system's randomness.
fn new_token() -> Token {
    let mut random = [0; crate::chat::token::TOKEN_BYTES];
    // Without randomness there can be no secret: whoever could go on would be worse off.
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    Token::new(random)
}

/// What a broker begins with.
#[derive(Debug)]
pub struct InitialState {
    /// The room.
    pub room: Room,
    /// What came of its beginning.
    pub effects: Vec<Effect>,
    /// The store, if there is one.
    pub(crate) commit_queue: Option<CommitQueue>,
    /// In which the numbers of the room's events count.
    pub epoch: Arc<str>,
}

impl Broker {
    /// A broker of this room.
    pub fn new(
        context: Arc<ServerContext>,
        inbox: Receiver<BrokerCommand>,
        beginning: InitialState,
        publisher: ActionExecutor,
        rejector: Rejector,
    ) -> Self {
        let browser_limits = BrowserLimits::new(&context.limits);
        let mut broker = Broker {
            room: beginning.room,
            publisher,
            connections_by_user: HashMap::new(),
            browser_limits,
            uptime: context.now(),
            context,
            inbox,
            epoch: beginning.epoch,
            commit_queue: beginning.commit_queue,
            records: Vec::new(),
            steps: Vec::new(),
            lines: Lines::default(),
            batch_bytes: 0,
            page_reader: Arc::new(()),
            heartbeat_at: None,
            snapshot: None,
            last_committed: 0,
            summary: Summary::default(),
            awaiting_summary: Vec::new(),
            permits: Vec::new(),
            rejector,
            oldest_line: None,
            is_stopping: false,
            now: Timestamp::now(),
        };
        let mut effects = beginning.effects;
        for effect in effects.drain(..) {
            broker.apply_for_none(effect);
        }
        broker
    }

    /// Runs until the server has stopped and every connection has ended.
    pub async fn run(mut self) {
        self.finish_batch(0);
        while !(self.is_stopping && self.publisher.fanout.connection_count() == 0) {
            let wake = self.wait().await;
            // Others who are ready hand in theirs first: the more in a batch, the fewer writes.
            smol::future::yield_now().await;
            self.take_batch(wake);
        }
    }

    async fn wait(&self) -> WakeReason {
        let Some(commit_queue) = &self.commit_queue else {
            return self.wait_for_input().await;
        };
        let reports = commit_queue.reports();
        let report = async {
            match reports.recv().await {
                Ok(report) => WakeReason::Report(report),
                // The store has said that it ended before it did.
                Err(_) => std::future::pending().await,
            }
        };
        // Reports come first: they make room for inputs.
        // While the store fails, what needs it is refused: nothing grows by what comes in.
        match commit_queue.is_full() && !self.is_failing() {
            true => report.await,
            false => report.or(self.wait_for_input()).await,
        }
    }

    async fn wait_for_input(&self) -> WakeReason {
        let input = async {
            self.inbox
                .recv()
                .await
                .map_or(WakeReason::Duty, WakeReason::Input)
        };
        match self.next_deadline() {
            None => input.await,
            Some(at) => {
                let wait = at.saturating_sub(self.context.now());
                timeout(wait, input).await.unwrap_or(WakeReason::Duty)
            }
        }
    }

    /// When there is something to do even if nothing comes in.
    fn next_deadline(&self) -> Option<Duration> {
        let expiry = self.room.next_expiry().map(|at| {
            let left = Duration::try_from(at.duration_since(Timestamp::now()));
            self.context.now() + left.unwrap_or_default()
        });
        // While the store fails nothing can be told anyway; its recovery wakes the broker.
        let expiry = expiry.filter(|_| !self.is_failing());
        let duties = [
            self.summary.due(),
            self.publisher.fanout.next_lag_check(),
            self.next_heartbeat(),
            expiry,
        ];
        duties.into_iter().flatten().min()
    }

    fn is_failing(&self) -> bool {
        self.context.health.is_failing()
    }

    fn take_batch(&mut self, wake: WakeReason) {
        self.now = Timestamp::now();
        self.uptime = self.context.now();
        let mut events = 0;
        let mut next = match wake {
            WakeReason::Input(input) => Some(input),
            WakeReason::Report(report) => {
                self.take_report(report);
                None
            }
            WakeReason::Duty => None,
        };
        while let Some(input) = next {
            self.take(input);
            events += 1;
            if events >= MAX_BATCH_EVENTS || self.batch_bytes >= MAX_BATCH_BYTES {
                break;
            }
            next = self.inbox.try_recv().ok();
        }
        self.tell_summary_if_due();
        self.send_heartbeat_if_due();
        if !self.is_failing() && self.room.next_expiry().is_some_and(|at| at <= self.now) {
            let mut effects = Vec::new();
            self.room.expire(self.now, &mut effects);
            for effect in effects {
                self.apply_for_none(effect);
            }
            let room = &self.room;
            self.browser_limits.retain(|user| room.name(user).is_some());
        }
        self.finish_batch(events);
        self.permits.clear();
        self.count_connections();
    }

    fn count_connections(&self) {
        let users = self.room.connected_count();
        let figures = self.publisher.fanout.figures(users);
        self.context.metrics.set_connections(figures);
    }

    fn take(&mut self, input: BrokerCommand) {
        match input {
            BrokerCommand::Connected(newcomer) => {
                self.permits.push(newcomer.permit);
                self.admit(ConnectionHandle::new(newcomer.socket, newcomer.address));
            }
            BrokerCommand::Lines {
                from,
                lines,
                has_ended,
                read_at,
            } => {
                let oldest = self.oldest_line.unwrap_or(read_at);
                self.oldest_line = Some(oldest.min(read_at));
                self.take_lines(from, lines, has_ended);
            }
            BrokerCommand::CaughtUp(key, mailbox, outbox) => {
                self.publisher.fanout.reattach(key, &mailbox, outbox);
            }
            BrokerCommand::Ended(key, reason) => self.forget(key, reason),
            BrokerCommand::Messages(asker) => {
                // An asker who is gone needs no answer.
                let _ = asker.try_send(self.room.history().messages().cloned().collect());
            }
            BrokerCommand::Snapshot(asker) => {
                let snapshot = self.current_snapshot();
                self.for_the_page(Action::Snapshot(asker, snapshot));
            }
            BrokerCommand::Subscribe(asker) => {
                let subscription = Subscription {
                    snapshot: self.current_snapshot(),
                    // The publisher knows where, when it comes to this.
                    position: 0,
                    reader: self.page_reader.clone(),
                };
                self.for_the_page(Action::Subscribe(asker, subscription));
            }
            BrokerCommand::Stream(stream) => self.begin_stream(*stream),
            BrokerCommand::FromPage(from) => self.take_from_page(*from),
            BrokerCommand::Stop => self.stop(),
        }
    }

    // Steps

    /// Adds a step after everything that was said in this batch.
    fn step(&mut self, step: Action) {
        if !self.lines.is_empty() {
            self.steps
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
        self.steps.push(step);
    }

    /// What the page asks for is told after what was decided before, but not held up by a store
    /// that fails: then it is told what is committed.
    fn for_the_page(&mut self, step: Action) {
        match self.is_failing() {
            true => self.publisher.perform(step),
            false => self.step(step),
        }
    }

    /// Does what was decided, or holds it until it is committed.
    fn finish_batch(&mut self, inputs: usize) {
        let mut batch = Batch {
            steps: std::mem::take(&mut self.steps),
            inputs,
            oldest_line: self.oldest_line.take(),
        };
        let bytes = std::mem::take(&mut self.batch_bytes);
        let failing = self.is_failing();
        let Some(commit_queue) = &mut self.commit_queue else {
            return self.perform(batch);
        };
        if !self.lines.is_empty() {
            batch
                .steps
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
        let mut records = std::mem::take(&mut self.records);
        records.append(&mut self.room.take_records());
        if self.is_stopping && failing {
            // Nothing will be committed any more.
            return self.perform(batch);
        }
        if records.is_empty() && (commit_queue.is_empty() || failing) {
            self.perform(batch);
            // Slow connections may have ended by this.
            self.records.append(&mut self.room.take_records());
            return match self.records.is_empty() {
                true => {}
                false => self.finish_batch(0),
            };
        }
        commit_queue.hold(records, bytes, batch);
        // Those who are behind, or back, are not held up.
        self.cut_the_slow();
        self.publisher.publish(self.uptime);
    }

    /// Ends those who are too far behind what is about to be published. That they have left is
    /// told like anything else: with a store when it is committed.
    fn cut_the_slow(&mut self) {
        for (key, reason) in self.publisher.fanout.clients_to_evict(self.uptime) {
            self.publisher.perform(Action::Cut(key, reason));
            self.leave(key, reason);
        }
    }

    fn perform(&mut self, batch: Batch) {
        for step in batch.steps {
            self.publisher.perform(step);
        }
        if self.commit_queue.is_some() {
            // What is in `lines` by now is of a later batch, and not committed.
            self.cut_the_slow();
        } else {
            self.publisher.say(&mut self.lines);
            self.cut_the_slow();
            self.publisher.say(&mut self.lines);
        }
        let bytes = self.publisher.publish(self.uptime);
        let metrics = &self.context.metrics;
        metrics.set_transcript_skipped(self.publisher.transcript.skipped_lines());
        if batch.inputs > 0 {
            let now = self.context.now();
            let fanout = batch.oldest_line.map(|read_at| now.saturating_sub(read_at));
            metrics.observe_batch(BatchFigures {
                inputs: batch.inputs,
                bytes,
                fanout,
            });
        }
    }

    fn take_report(&mut self, report: CommitReport) {
        match report {
            CommitReport::Committed(number) => {
                self.context.health.set_failing(None);
                while let Some(batch) = self
                    .commit_queue
                    .as_mut()
                    .and_then(|commit_queue| commit_queue.next_committed(number))
                {
                    self.perform(batch);
                }
            }
            CommitReport::Failing(sentence) => {
                self.last_committed = self.publisher.fanout.last_event();
                self.snapshot = None;
                self.context.health.set_failing(Some(sentence));
                self.tell_everyone(STORE_FAILS, Some(STORE_FAILS));
                if self.is_stopping {
                    self.give_up_held();
                    self.step(Action::CloseAll);
                }
            }
            CommitReport::Recovered => {
                self.context.health.set_failing(None);
                self.snapshot = None;
                self.tell_everyone(STORE_RECOVERED, None);
            }
        }
    }

    /// Tells each client by itself, beside the log of public events, and the page what stays true.
    fn tell_everyone(&mut self, sentence: &str, on_the_page: Option<&str>) {
        for key in self.publisher.fanout.keys() {
            // Streams learn it from a frame of their log.
            let is_client = self.publisher.fanout.dialect(key) != Dialect::Page;
            if is_client && self.publisher.fanout.user(key).is_some() {
                let notice = Reply::Notice(sentence.to_owned());
                self.publisher.perform(Action::Reply(key, notice));
            }
        }
        let mut lines = Lines::default();
        sse::encode_notice(&mut lines.page, on_the_page);
        self.publisher.say(&mut lines);
        self.publisher.publish(self.uptime);
    }

    // What comes of what happens in the room

    /// Does what came of something that this client did; true if it gets an answer.
    fn apply(&mut self, key: ClientKey, effects: Vec<Effect>, wanted: Wanted) -> bool {
        let mut wanted = Some(wanted);
        let mut has_replies = false;
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Welcome(welcome)) => {
                    has_replies = true;
                    // The summaries of arrivals are not for it any more.
                    self.awaiting_summary.retain(|(waiting, _)| *waiting != key);
                    let (after, oldest_stored) = wanted.take().unwrap_or_default();
                    let greeting = HelloReply {
                        welcome,
                        after,
                        oldest_stored,
                    };
                    self.step(Action::Extend(key, Box::new(greeting)));
                }
                Effect::Reply(reply) => {
                    has_replies = true;
                    self.step(Action::Reply(key, reply));
                }
                Effect::Resumed(user) => self.resume(key, user),
                Effect::Close(Ending::Quit) => {
                    self.end(key, CloseReason::Quit, LastLine::Nothing);
                }
                Effect::Close(Ending::Rejected(sentence)) => {
                    self.end(key, CloseReason::Refused, LastLine::Refused(sentence));
                }
                other => self.apply_for_none(other),
            }
        }
        has_replies
    }

    /// The same where no client did it.
    fn apply_for_none(&mut self, effect: Effect) {
        match effect {
            Effect::Public(event) => self.publish(event),
            Effect::Tell(user, reply) => {
                self.step_for_each(user, |key| Action::Reply(key, reply.clone()));
            }
            Effect::Private(user, copy) => {
                self.step_for_each(user, |key| Action::Private(key, copy.clone()));
            }
            // They answer somebody.
            Effect::Reply(_) | Effect::Resumed(_) | Effect::Close(_) => {}
        }
    }

    /// Adds an action for each connection of a user.
    fn step_for_each(&mut self, user: UserId, action: impl Fn(ClientKey) -> Action) {
        let Some(connections) = self.connections_by_user.get(&user) else {
            return;
        };
        if !self.lines.is_empty() {
            self.steps
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
        self.steps.extend(connections.iter().copied().map(action));
    }

    /// Gives a connection to an earlier user, whose other connection closes.
    fn resume(&mut self, key: ClientKey, user: UserId) {
        if let Some(temporary) = self.publisher.fanout.user(key) {
            self.connections_by_user.remove(&temporary);
        }
        for replaced in self.connections_by_user.remove(&user).unwrap_or_default() {
            if let Some((_, address)) = self.publisher.fanout.take_user(replaced) {
                self.note_end(user, address, CloseReason::Resumed);
                self.step(Action::Close(replaced, LastLine::Nothing));
            }
        }
        self.publisher.fanout.set_user(key, user);
        self.connections_by_user.insert(user, vec![key]);
    }

    // Arrivals and ends

    fn admit(&mut self, peer: ConnectionHandle) {
        let limits = &self.context.limits;
        let reason = match (self.is_stopping, self.is_failing()) {
            (true, _) => Some(CloseReason::Shutdown),
            (false, true) => Some(CloseReason::NotStored),
            (false, false) => None,
        };
        if let Some(reason) = reason {
            let sentence = reason.farewell().unwrap_or_default();
            return self.reject(peer, reason, sentence);
        }
        let fanout = &self.publisher.fanout;
        let connections = fanout.connection_count() - fanout.stream_count();
        if connections >= limits.max_clients + MAX_CLOSING_CONNECTIONS {
            let full = JoinError::Full(limits.max_clients);
            return self.reject(peer, full.into(), &full.to_string());
        }
        let mut effects = Vec::new();
        let user = match self.enter(peer.address(), &mut effects) {
            Ok(user) => user,
            Err(error) => return self.reject(peer, error.into(), &error.to_string()),
        };
        let key = self.publisher.fanout.connect(peer, user);
        self.connections_by_user.insert(user, vec![key]);
        // The arrival is last; what was told before it is not for the newcomer.
        let arrival = effects.pop();
        for effect in effects {
            self.apply_for_none(effect);
        }
        let early = match &arrival {
            Some(Effect::Public(Event {
                kind:
                    EventKind::Joined {
                        name,
                        is_summarised: true,
                    },
                ..
            })) => {
                let mut line = Vec::new();
                basic::encode_entered(&mut line, name.as_str());
                self.awaiting_summary.push((key, user));
                Some(line.into())
            }
            _ => None,
        };
        self.step(Action::Open(key, early));
        if let Some(arrival) = arrival {
            self.apply_for_none(arrival);
        }
    }

    /// Lets a newcomer into the room. Whoever has its address and port, but a connection that is
    /// gone, ends first: one who is over its rate is not read, and so its end was not noticed.
    fn enter(
        &mut self,
        address: SocketAddr,
        effects: &mut Vec<Effect>,
    ) -> Result<UserId, JoinError> {
        match self.room.enter(address, self.now, effects) {
            Err(JoinError::AddressInUse(holder)) => {
                let connections = self.connections_by_user.get(&holder);
                let key = connections.and_then(|keys| keys.first().copied());
                let gone = key.filter(|key| self.publisher.fanout.is_gone(*key));
                let key = gone.ok_or(JoinError::AddressInUse(holder))?;
                self.end(key, CloseReason::Reset, LastLine::Nothing);
                self.room.enter(address, self.now, effects)
            }
            other => other,
        }
    }

    fn reject(&self, peer: ConnectionHandle, reason: CloseReason, sentence: &str) {
        let address = peer.address();
        let text = notice_line(sentence);
        self.rejector
            .reject(peer.into_socket(), address, reason, &text);
    }

    /// Ends a user for this reason, after what is owed.
    fn end(&mut self, key: ClientKey, reason: CloseReason, last_line: LastLine) {
        self.step(Action::Close(key, last_line));
        self.leave(key, reason);
    }

    /// Parts a connection, which may have to be written on, from its user. Without any other
    /// connection the user is detached or leaves.
    fn leave(&mut self, key: ClientKey, reason: CloseReason) {
        let is_stream = self.publisher.fanout.dialect(key) == Dialect::Page;
        let Some((user, address)) = self.publisher.fanout.take_user(key) else {
            return;
        };
        let left = self.connections_by_user.get_mut(&user).map(|connections| {
            connections.retain(|other| *other != key);
            connections.len()
        });
        if !is_stream {
            self.note_end(user, address, reason);
        }
        if left.is_some_and(|left| left > 0) {
            return;
        }
        self.connections_by_user.remove(&user);
        if self.is_stopping {
            // Users who are present at the end are present again after the restart.
            return;
        }
        let reason = match is_stream {
            true => LeaveReason::Closed,
            false => reason.leave_reason(),
        };
        self.disconnect_user(user, reason);
    }

    fn disconnect_user(&mut self, user: UserId, reason: LeaveReason) {
        let mut effects = Vec::new();
        self.room.disconnect(user, reason, self.now, &mut effects);
        for effect in effects {
            self.apply_for_none(effect);
        }
    }

    /// Logs and counts the end of a user's connection; called once for each.
    fn note_end(&self, user: UserId, address: SocketAddr, reason: CloseReason) {
        self.context.metrics.count_ended(reason);
        let name = self.room.name(user).map_or("", |name| name.as_str());
        match reason {
            CloseReason::Fault => {
                tracing::error!(%address, name, %reason, "a connection's task failed");
            }
            // What is no more than a departure stands in the transcript; a reset is one too,
            // of a client that left with something unread.
            CloseReason::Closed
            | CloseReason::Quit
            | CloseReason::Resumed
            | CloseReason::Reset
            | CloseReason::Shutdown => {
                tracing::debug!(%address, name, %reason, "left");
            }
            _ => tracing::info!(%address, name, %reason, "left"),
        }
    }

    /// Forgets a connection whose task has ended.
    fn forget(&mut self, key: ClientKey, reason: CloseReason) {
        self.leave(key, reason);
        self.step(Action::Forget(key));
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        if self.is_failing() {
            self.give_up_held();
        }
        let sentence = CloseReason::Shutdown.farewell().unwrap_or_default();
        basic::encode_notice(&mut self.lines.basic, sentence);
        self.lines
            .transcript
            .push(TranscriptLine::Notice(sentence.to_owned()));
        for key in self.publisher.fanout.keys() {
            self.leave(key, CloseReason::Shutdown);
        }
        self.step(Action::CloseAll);
    }

    /// What is held will never be committed, so nobody may hear of it; only connections that
    /// have ended are still to be forgotten.
    fn give_up_held(&mut self) {
        while let Some(batch) = self.commit_queue.as_mut().and_then(CommitQueue::take_first) {
            for step in batch.steps {
                if let Action::Forget(_) | Action::End(_) | Action::Answered(..) = step {
                    self.publisher.perform(step);
                }
            }
        }
    }

    // Lines of clients

    fn take_lines(&mut self, key: ClientKey, lines: Vec<ClientLine>, has_ended: bool) {
        let mut has_replies = false;
        let is_refused = |line: &&ClientLine| matches!(line, ClientLine::Refused(_));
        let refused = lines.iter().filter(is_refused).count();
        self.context.metrics.count_lines(lines.len(), refused);
        for line in lines {
            let Some(user) = self.publisher.fanout.user(key) else {
                break;
            };
            has_replies |= self.take_line(key, user, line);
        }
        if has_ended {
            self.step(Action::End(key));
            self.leave(key, CloseReason::Closed);
        }
        // It has no place among what is said.
        self.steps.push(Action::Answered(key, has_replies));
    }

    /// Does what one line asks; true if there is an answer.
    fn take_line(&mut self, key: ClientKey, user: UserId, line: ClientLine) -> bool {
        if self.is_failing() && !can_be_done_without_a_store(&line) {
            let rejected = Reply::Rejected(RequestError::NotStored.into());
            self.step(Action::Reply(key, rejected));
            return true;
        }
        let mut effects = Vec::new();
        let mut wanted = Wanted::default();
        match line {
            ClientLine::Request(request) => {
                let fresh = &mut new_token;
                self.room
                    .request(user, request, fresh, self.now, &mut effects);
            }
            ClientLine::Hello(mut hello, oldest_stored) => {
                let address = self.publisher.fanout.address(key);
                tracing::debug!(?address, client = ?hello.client, "speaks the extended dialect");
                wanted = (hello.after.take(), oldest_stored);
                let (request, fresh) = (Request::Hello(hello), &mut new_token);
                self.room
                    .request(user, request, fresh, self.now, &mut effects);
            }
            ClientLine::Refused(refused) => {
                self.room.reject(user, refused, &mut effects);
            }
            ClientLine::Answer(bytes) => {
                self.room.reset_rejections(user);
                self.step(Action::Bytes(key, bytes, 0));
                return true;
            }
        }
        self.apply(key, effects, wanted)
    }

    // Publishing

    /// Encodes a public event for everyone who reads.
    fn publish(&mut self, event: Event) {
        self.snapshot = None;
        let before = self.lines.bytes();
        let lines = &mut self.lines;
        let fanout = &self.publisher.fanout;
        if Arc::strong_count(&self.page_reader) > 1 || fanout.stream_count() > 0 {
            sse::encode_event(&mut lines.page, &self.epoch, &event);
        }
        extended::encode_event(&mut lines.extended, &event);
        match &event.kind {
            EventKind::Said(message) => {
                basic::encode_chat_message(&mut lines.basic, message);
                lines.transcript.push(TranscriptLine::Said(message.clone()));
            }
            kind => {
                let sentence = basic::event_notice(kind).unwrap_or_default();
                match kind {
                    EventKind::Joined {
                        is_summarised: true,
                        ..
                    } => self.summary.count_entered(self.uptime),
                    EventKind::Left {
                        is_summarised: true,
                        ..
                    } => self.summary.count_left(self.uptime),
                    EventKind::Joined { name, .. } => {
                        basic::encode_entered(&mut lines.basic, name.as_str());
                    }
                    _ => basic::encode_notice(&mut lines.basic, &sentence),
                }
                lines.transcript.push(TranscriptLine::Notice(sentence));
            }
        }
        self.batch_bytes += self.lines.bytes() - before;
        if self.commit_queue.is_some() {
            self.records.push(Record::Event(event));
        }
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
        for (key, user) in std::mem::take(&mut self.awaiting_summary) {
            if self.publisher.fanout.user(key) == Some(user) {
                self.step(Action::Bytes(key, others.clone(), skip));
            }
        }
        self.lines.basic.extend_from_slice(&line);
        self.batch_bytes += line.len();
    }

    // The page

    /// How it is now; made once, whoever asks, until something happens.
    fn current_snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        // What is not committed may never be.
        let last = match self.is_failing() {
            true => self.last_committed,
            false => self.room.last_event(),
        };
        let present = |(name, since): (&crate::chat::username::Username, Timestamp)| PresentUser {
            name: name.clone(),
            since,
        };
        let users = self.room.users().map(present).collect();
        let messages = newest(self.room.history(), last, WEB_MAX_TEXT_BYTES);
        let notice = self.is_failing().then(|| STORE_FAILS.to_owned());
        let older = newest_before(self.room.history(), messages.len(), last);
        let snapshot = Snapshot {
            epoch: self.epoch.clone(),
            last,
            users,
            messages,
            older,
            notice,
        };
        self.snapshot.insert(Arc::new(snapshot)).clone()
    }
}

/// Whether nothing of what a line asks for would have to be kept.
fn can_be_done_without_a_store(line: &ClientLine) -> bool {
    match line {
        // A history from memory could hold what is not committed.
        ClientLine::Request(request) => {
            matches!(request, Request::Users | Request::Ping(_) | Request::Quit)
        }
        ClientLine::Hello(..) => false,
        ClientLine::Refused(_) | ClientLine::Answer(_) => true,
    }
}

/// What everyone is told when the store takes nothing any more, and when it does again.
const STORE_FAILS: &str =
    "The server cannot store anything at the moment; what you say is not taken until it can";
const STORE_RECOVERED: &str = "The server can store again; go on";

fn summary_line(entered: usize, left: usize) -> Option<Arc<[u8]>> {
    presence_summary::sentence(entered, left).map(|sentence| notice_line(&sentence))
}

/// Number of the newest message before the last so many up to this event; 0 if there was none.
fn newest_before(history: &History, count: usize, last: u64) -> u64 {
    let known = history.messages().rev();
    let mut known = known.filter(|message| message.id <= last);
    known
        .nth(count)
        .map_or(history.newest_gone(), |message| message.id)
}

/// The newest messages up to this event, as many as a page has, whose texts fit into so many bytes,
/// oldest first. The others are found page by page.
fn newest(history: &History, last: u64, max_bytes: usize) -> Vec<Arc<Message>> {
    let mut bytes = 0;
    let fits = |message: &&Arc<Message>| {
        bytes += message.text.len();
        bytes <= max_bytes
    };
    let mut messages: Vec<_> = history
        .messages()
        .rev()
        .filter(|message| message.id <= last)
        .take(MAX_PAGE_MESSAGES)
        .take_while(fits)
        .cloned()
        .collect();
    messages.reverse();
    messages
}
