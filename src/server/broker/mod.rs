//! The broker: the one task that owns the room.
//!
//! The broker takes all waiting commands as one batch, applies them to the room in order, and
//! decides actions. It awaits only its inbox, the store's reports and its next deadline: never a
//! socket, a disk or a reader.

mod batch;
mod browser;
mod browser_limits;
pub mod commit_queue;
pub mod execute;
pub mod handle;
mod lifecycle;
mod presence_summary;
mod publish;
mod requests;

use crate::chat::record::Record;
use crate::chat::room::snapshot::Snapshot;
use crate::chat::room::{Effect, Room, UserId};
use crate::server::broker::browser_limits::BrowserLimits;
use crate::server::broker::commit_queue::CommitQueue;
use crate::server::broker::execute::{Action, ActionExecutor, Lines};
use crate::server::broker::presence_summary::Summary;
use crate::server::command::{BrokerCommand, Subscription};
use crate::server::connection::reject::Rejector;
use crate::server::context::ServerContext;
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::limits::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS};
use crate::server::timeout::timeout;
use crate::storage::sqlite::writer::CommitReport;
use async_channel::Receiver;
use futures_lite::FutureExt;
use jiff::Timestamp;
use smol::lock::SemaphoreGuardArc;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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

    pub(super) fn is_failing(&self) -> bool {
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
}
