//! The broker: the one task that owns the room.
//!
//! The broker takes all waiting commands as one batch, applies them to the room in order, and
//! decides actions. It awaits only its inbox, the store's reports and its next deadline: never a
//! socket, a disk or a reader.

mod action;
mod batch;
mod browser;
mod browser_limits;
pub(crate) mod commit_queue;
mod execute;
pub(crate) mod handle;
mod lifecycle;
mod presence_summary;
mod publish;
mod requests;

use crate::chat::record::Record;
use crate::chat::room::snapshot::Snapshot;
use crate::chat::room::{Effect, Room, RoomTime, UserId};
use crate::server::broker::action::Action;
use crate::server::broker::browser_limits::BrowserLimits;
use crate::server::broker::commit_queue::CommitQueue;
use crate::server::broker::presence_summary::Summary;
use crate::server::command::{BrokerCommand, Subscription};
use crate::server::connection::reject::Rejector;
use crate::server::context::ServerContext;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::fanout::{ClientKey, Fanout};
use crate::server::limits::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS};
use crate::server::logging::transcript::Transcript;
use crate::server::timeout::timeout;
use crate::storage::sqlite::writer::CommitReport;
use async_channel::Receiver;
use futures_lite::FutureExt;
use jiff::{SignedDuration, Timestamp};
use smol::lock::SemaphoreGuardArc;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Owns the room and the fan-out.
#[derive(Debug)]
pub(crate) struct Broker {
    room: Room,
    fanout: Fanout,
    transcript: Transcript,
    /// Attached users and their open connections: one of a client, any number of a browser's.
    connections: BTreeSet<(UserId, ClientKey)>,
    browser_limits: BrowserLimits,
    context: Arc<ServerContext>,
    inbox: Receiver<BrokerCommand>,
    /// `None` without a store.
    commit_queue: Option<CommitQueue>,
    /// Events of this batch for the store.
    records: Vec<Record>,
    /// Actions of this batch.
    actions: Vec<Action>,
    /// Approximate bytes of the lines of this batch's public events.
    batch_bytes: usize,
    /// Each live stream that is about to start holds a clone, so that its events are encoded.
    stream_guard: Arc<()>,
    /// Live streams that began while the store failed. They get the mailboxes of their users when
    /// it works again.
    streams_without_mailbox: Vec<ClientKey>,
    /// Time of the next heartbeat of live streams; `None` without streams.
    heartbeat_at: Option<Duration>,
    snapshot: Option<Arc<Snapshot>>,
    /// Number of the newest committed event, while the store fails.
    last_committed: u64,
    summary: Summary,
    /// Users whose join waits for the summary. Each has its own join notice, so the summary that it
    /// gets does not count it.
    awaiting_summary: Vec<(ClientKey, UserId)>,
    /// Admission permits of the clients that connected in this batch.
    permits: Vec<SemaphoreGuardArc>,
    rejector: Rejector,
    /// Uptime at which the oldest line of this batch was read.
    oldest_line: Option<Duration>,
    is_stopping: bool,
    /// Uptime of this batch.
    uptime: Duration,
}

enum WakeReason {
    Command(BrokerCommand),
    Report(CommitReport),
    Deadline,
}

/// State with which a broker starts.
#[derive(Debug)]
pub(crate) struct InitialState {
    pub(crate) room: Room,
    /// Effects of restoring the room.
    pub(crate) effects: Vec<Effect>,
    /// `None` without a store.
    pub(crate) commit_queue: Option<CommitQueue>,
}

impl Broker {
    /// Makes a broker and applies the initial effects.
    pub(crate) fn new(
        context: Arc<ServerContext>,
        inbox: Receiver<BrokerCommand>,
        initial: InitialState,
        fanout: Fanout,
        transcript: Transcript,
        rejector: Rejector,
    ) -> Self {
        let mut broker = Broker {
            room: initial.room,
            fanout,
            transcript,
            connections: BTreeSet::new(),
            browser_limits: BrowserLimits::new(&context.limits),
            uptime: context.now(),
            context,
            inbox,
            commit_queue: initial.commit_queue,
            records: Vec::new(),
            actions: Vec::new(),
            batch_bytes: 0,
            stream_guard: Arc::new(()),
            streams_without_mailbox: Vec::new(),
            heartbeat_at: None,
            snapshot: None,
            last_committed: 0,
            summary: Summary::default(),
            awaiting_summary: Vec::new(),
            permits: Vec::new(),
            rejector,
            oldest_line: None,
            is_stopping: false,
        };
        broker.apply_effects(initial.effects);
        broker
    }

    /// Runs until the server has stopped and no connection is left.
    pub(crate) async fn run(mut self) {
        self.finish_batch(0);
        while !(self.is_stopping && self.fanout.connection_count() == 0) {
            let wake = self.wait().await;
            // Yield once so that other ready connections can queue their lines; larger batches mean
            // fewer writes.
            smol::future::yield_now().await;
            self.run_batch(wake);
        }
    }

    async fn wait(&self) -> WakeReason {
        let Some(commit_queue) = &self.commit_queue else {
            return self.wait_for_command().await;
        };
        let reports = commit_queue.reports();
        let report = async {
            match reports.recv().await {
                Ok(report) => WakeReason::Report(report),
                // The store's thread reports a failure before it ends.
                Err(_) => std::future::pending().await,
            }
        };
        // Reports come first, since they make room in the queue. While the store fails, requests
        // that need it are rejected, so that commands cannot make the queue grow.
        match commit_queue.is_full() && !self.is_failing() {
            true => report.await,
            false => report.or(self.wait_for_command()).await,
        }
    }

    async fn wait_for_command(&self) -> WakeReason {
        let command = async {
            self.inbox
                .recv()
                .await
                .map_or(WakeReason::Deadline, WakeReason::Command)
        };
        match self.next_deadline() {
            None => command.await,
            Some(at) => {
                let wait = at.saturating_sub(self.context.now());
                timeout(wait, command).await.unwrap_or(WakeReason::Deadline)
            }
        }
    }

    /// Returns the uptime at which the broker has work even without a command.
    fn next_deadline(&self) -> Option<Duration> {
        let expiry = self.room.next_expiry();
        let expiry = expiry.map(|at| Duration::try_from(at).unwrap_or_default());
        // While the store fails, no event can be published; its recovery wakes the broker.
        let expiry = expiry.filter(|_| !self.is_failing());
        let deadlines = [
            self.summary.due(),
            self.fanout.next_lag_check(),
            self.heartbeat_at,
            expiry,
        ];
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn is_failing(&self) -> bool {
        self.context.health.is_failing()
    }

    fn run_batch(&mut self, wake: WakeReason) {
        self.uptime = self.context.now();
        self.room.set_time(RoomTime {
            wall: Timestamp::now(),
            steady: steady(self.uptime),
        });
        let mut commands = 0;
        let mut next = match wake {
            WakeReason::Command(command) => Some(command),
            WakeReason::Report(report) => {
                self.handle_report(report);
                None
            }
            WakeReason::Deadline => None,
        };
        let pending = self.commit_queue.as_ref().and_then(CommitQueue::oldest);
        self.room.set_oldest_pending(pending.map(steady));
        while let Some(command) = next {
            self.handle(command);
            commands += 1;
            if commands >= MAX_BATCH_EVENTS || self.batch_bytes >= MAX_BATCH_BYTES {
                break;
            }
            next = self.inbox.try_recv().ok();
        }
        self.publish_summary_if_due();
        self.send_heartbeat_if_due();
        self.expire();
        self.finish_batch(commands);
        self.permits.clear();
        let users = self.room.connected_count();
        let figures = self.fanout.figures(users);
        self.context.metrics.set_connections(figures);
    }

    fn expire(&mut self) {
        if self.is_failing() {
            return;
        }
        self.room.hold_receipts(|| self.fanout.users_behind());
        let effects = self.room.expire();
        self.apply_effects(effects);
        let room = &self.room;
        self.browser_limits
            .forget_absent(room.users().len(), |user| room.name(user).is_some());
    }

    fn connections_of(&self, user: UserId) -> Vec<ClientKey> {
        let all = (user, ClientKey(0))..=(user, ClientKey(usize::MAX));
        self.connections.range(all).map(|(_, key)| *key).collect()
    }

    fn handle(&mut self, command: BrokerCommand) {
        match command {
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
                self.handle_lines(from, lines, has_ended);
            }
            BrokerCommand::CaughtUp(key, inbox, outbox) => {
                self.fanout.reattach(key, &inbox, outbox);
            }
            BrokerCommand::Ended(key, reason) => self.remove(key, reason),
            BrokerCommand::Messages(requester) => {
                // The requester may have gone.
                let _ = requester.try_send(self.room.history().messages().cloned().collect());
            }
            BrokerCommand::Subscribe(requester) => {
                let subscription = Subscription {
                    snapshot: self.current_snapshot(),
                    // `execute` sets the position.
                    position: 0,
                    reader: self.stream_guard.clone(),
                };
                let action = Action::Subscribe(requester, subscription);
                match self.is_failing() {
                    // Earlier actions wait. The reader gets the committed state at once.
                    true => self.execute(action),
                    false => self.actions.push(action),
                }
            }
            BrokerCommand::Stream(stream) => self.start_stream(*stream),
            BrokerCommand::Browser(request) => self.handle_browser_request(*request),
            BrokerCommand::Stop => self.stop(),
        }
    }
}

/// Returns an uptime as the steady time of the room.
fn steady(uptime: Duration) -> SignedDuration {
    SignedDuration::try_from(uptime).unwrap_or(SignedDuration::MAX)
}
