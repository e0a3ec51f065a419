//! The server: assembles its parts, runs until it is stopped, and stops in order.
//!
//! It stops accepting connections and rejects the waiting ones. Then the broker tells every client
//! and writes what they still get, within a deadline.

pub(crate) mod broker;
pub(crate) mod close_reason;
pub(crate) mod command;
mod config;
mod connection;
mod connection_counter;
pub(crate) mod context;
pub(crate) mod fanout;
pub(crate) mod health;
pub mod host_name;
pub mod http;
pub mod limits;
mod listener;
pub mod logging;
mod metrics;
mod network;
mod options;
pub(crate) mod rate_limit;
mod supervise;
mod timeout;

pub use crate::server::config::{LogFormat, ServerConfig, WebConfig};
pub use crate::server::listener::{BindError, Listeners};
pub use crate::server::network::Network;
pub use crate::server::options::ServerOptions;
pub use crate::server::supervise::ServerError;

use crate::chat::room::{Room, RoomTime};
use crate::cli::style::Style;
use crate::limits::TOKEN_LIFETIME_WITH_STORE;
use crate::server::broker::commit_queue::CommitQueue;
use crate::server::broker::handle::BrokerHandle;
use crate::server::broker::{Broker, InitialState};
use crate::server::command::BrokerCommand;
use crate::server::connection::ConnectionSpawner;
use crate::server::connection::reject::Rejector;
use crate::server::context::{ServerContext, SharedExecutor};
use crate::server::fanout::Fanout;
use crate::server::fanout::broadcast_log::BroadcastLogs;
use crate::server::http::connection_limits::ConnectionLimits;
use crate::server::http::endpoint::HttpState;
use crate::server::limits::{INBOX_EVENTS, RECENT_EVENTS_BYTES, STOP_DEADLINE};
use crate::server::listener::accept::ReserveDescriptor;
use crate::server::listener::admission;
use crate::server::logging::lossy_writer::NonBlockingWriter;
use crate::server::logging::transcript::Transcript;
use crate::server::metrics::Metrics;
use crate::server::supervise::Supervisor;
use crate::server::timeout::timeout;
use crate::storage::Archive;
use crate::storage::sqlite::reader::StoreReader;
use crate::storage::sqlite::{self, OpenStore};
use async_channel::Receiver;
use futures_lite::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use smol::Executor;
use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

/// Time for the last transcript lines at the end.
const TRANSCRIPT_DEADLINE: Duration = Duration::from_millis(100);
/// Time for the store to end, after everything that clients have seen is committed.
const STORE_DEADLINE: Duration = Duration::from_millis(200);
/// Time for the last events of the live streams.
const STREAM_DEADLINE: Duration = Duration::from_millis(100);

/// The output of the transcript and its style.
pub type TranscriptOutput = (Box<dyn Write + Send>, Style);

/// Returns a sentence about who may use a web page that is open to the network.
pub fn open_page_warning(config: &ServerConfig) -> &'static str {
    match config.web.as_ref().is_some_and(|web| web.is_read_only) {
        true => "everyone who reaches the address of the page can read the chat there",
        false => {
            "everyone who reaches the address of the page can read and write there, unencrypted; \
             --web-read-only allows reading only"
        }
    }
}

/// Returns a sentence about what one address may use, if anything is limited.
pub fn address_limits(config: &ServerConfig) -> Option<String> {
    let (limits, web) = (&config.limits, &config.limits.web);
    let rate = limits.connects_per_minute.map(|rate| rate as usize);
    let limited = [
        (limits.max_clients_per_address, "users"),
        (rate, "new connections a minute"),
        (web.connections_per_address, "HTTP connections"),
        (web.streams_per_address, "live streams"),
    ];
    let limited = limited.into_iter();
    let parts = limited.filter_map(|(limit, what)| limit.map(|limit| format!("{limit} {what}")));
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty()).then(|| format!("one address may have {}", parts.join(", ")))
}

/// Opens the store, if one is configured.
///
/// # Errors
/// The store cannot be used.
pub fn open_store(config: &ServerConfig) -> Result<Option<OpenStore>, ServerError> {
    let open = |options| sqlite::open(options, &new_epoch(), config.limits.history_messages);
    let store = config.store.as_ref().map(open).transpose();
    store.map_err(ServerError::Store)
}

/// Serves until `stop` is ready and every client is told; `log_skipped` counts the lost lines of
/// the log.
///
/// # Errors
/// A thread cannot be started, or a required task failed.
pub fn run(
    opened: (Listeners, Option<OpenStore>),
    config: &ServerConfig,
    transcript: TranscriptOutput,
    log_skipped: &Gauge<u64, AtomicU64>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let executor: SharedExecutor = Arc::new(Executor::new());
    let (output, style) = transcript;
    let writer = NonBlockingWriter::start("transcript", output, None);
    let writer = writer.map_err(ServerError::NoThread)?;
    let transcript = Transcript::new(writer.clone(), style);
    // A shutdown signal: closing the channel stops the threads.
    let (running, ended) = async_channel::bounded::<()>(1);
    let result = thread::scope(|scope| {
        // Dropped at the end of this block, before the scope joins its threads.
        let _running = running;
        for number in 1..config.threads {
            let (executor, ended) = (executor.clone(), ended.clone());
            thread::Builder::new()
                .name(format!("serve-{number}"))
                .spawn_scoped(scope, move || {
                    smol::block_on(executor.run(ended.recv())).is_err()
                })
                .map_err(ServerError::NoThread)?;
        }
        let metrics = Arc::new(Metrics::new(log_skipped, &writer.skipped_lines()));
        let serving = serve(&executor, opened, config, (transcript, metrics), stop);
        smol::block_on(executor.run(serving))
    });
    writer.finish(TRANSCRIPT_DEADLINE);
    result
}

/// Creates an empty room, or restores the room from the store.
fn initial_state(
    config: &ServerConfig,
    store: Option<OpenStore>,
) -> (InitialState, Option<StoreReader>, Option<Receiver<()>>) {
    let mut limits = config.limits.room();
    let Some(store) = store else {
        let state = InitialState {
            room: Room::new(limits),
            effects: Vec::new(),
            commit_queue: None,
        };
        return (state, None, None);
    };
    limits.token_lifetime = TOKEN_LIFETIME_WITH_STORE;
    // The server's clock is about to start.
    let now = RoomTime {
        wall: jiff::Timestamp::now(),
        ..RoomTime::default()
    };
    let (room, effects) = Room::restore(limits, store.restored, now);
    let ended = store.writer.ended();
    let state = InitialState {
        room,
        effects,
        commit_queue: Some(CommitQueue::new(store.writer, store.reports)),
    };
    (state, Some(store.reader), Some(ended))
}

async fn serve(
    executor: &SharedExecutor,
    (listeners, store): (Listeners, Option<OpenStore>),
    config: &ServerConfig,
    (transcript, metrics): (Transcript, Arc<Metrics>),
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let limits = &config.limits;
    let (sender, inbox) = async_channel::bounded(INBOX_EVENTS);
    let next_event = store.as_ref().map_or(0, |store| store.restored.last_event) + 1;
    let epoch = store.as_ref().map(|store| store.epoch.clone());
    let (state, reader, store_ended) = initial_state(config, store);
    let handle = BrokerHandle::new(sender.clone());
    let recent_bytes = RECENT_EVENTS_BYTES.max(limits.max_lag_bytes);
    let context = Arc::new(ServerContext {
        limits: limits.clone(),
        epoch: epoch.unwrap_or_else(new_epoch).into(),
        archive: Archive::new(Arc::new(sender.clone()), reader),
        inbox: sender,
        logs: BroadcastLogs::new(next_event, limits.max_lag_bytes, recent_bytes),
        health: Arc::default(),
        started: Instant::now(),
        metrics: metrics.clone(),
        page: listeners.web_address(),
    });
    let tasks = ConnectionSpawner {
        context: context.clone(),
        executor: executor.clone(),
    };
    let fanout = Fanout::new(
        context.logs.clone(),
        limits.clone(),
        metrics,
        Box::new(tasks),
    );
    let rejector = Rejector::chat(&context, executor.clone());
    let broker = Broker::new(
        context.clone(),
        inbox,
        state,
        fanout,
        transcript,
        rejector.clone(),
    );
    let supervisor = Supervisor::new(executor.clone());
    let broker = supervisor.spawn("the broker", broker.run());
    let Listeners { chat, web } = listeners;
    let (newcomers, waiting) = admission::admission_queue();
    // A shutdown signal: closing the channel stops accepting.
    let (accepting, stop_accepting) = async_channel::bounded::<()>(1);
    let reserve = ReserveDescriptor::new();
    let accept = supervisor.spawn(
        "accepting connections",
        admission::accept_clients(
            chat,
            reserve.clone(),
            newcomers,
            (context.clone(), rejector.clone()),
            stop_accepting,
        ),
    );
    let admit = admission::admit_waiting(waiting, (context.clone(), rejector));
    let admit = supervisor.spawn("admitting connections", admit);
    let names = config.web.iter().flat_map(|web| web.names.clone());
    let web_limits = Arc::new(ConnectionLimits::new(limits.web.clone(), names.collect()));
    let web = web.zip(config.web.clone()).map(|(bound, web)| {
        let state = HttpState::new(context.clone(), web_limits.clone(), web);
        let serving = http::serve(bound, reserve, state, executor.clone());
        supervisor.spawn("the web page", serving)
    });

    let stopped = async {
        stop.await;
        None
    };
    if let Some(error) = stopped.or(async { Some(supervisor.failure().await) }).await {
        return Err(error);
    }
    web_limits.begin_stop();
    drop(accepting);
    let stopping = async {
        accept.await;
        // Rejects the waiting connections.
        admit.await;
        // Fails only if the broker failed, which `take_failure` reports.
        let _ = handle.send(BrokerCommand::Stop).await;
        broker.await;
        supervisor.take_failure()
    };
    let stopping = stopping.or(async { Some(supervisor.failure().await) });
    let outcome = timeout(STOP_DEADLINE, stopping).await;
    timeout(STREAM_DEADLINE, web_limits.streams.wait_for_none()).await;
    if let Some(web) = web {
        web.cancel().await;
    }
    if let Some(store_ended) = store_ended {
        // The broker dropped its writer, so the thread of the store writes what waits and ends.
        timeout(STORE_DEADLINE, store_ended.recv()).await;
    }
    match outcome {
        Some(Some(error)) => Err(error),
        Some(None) => Ok(()),
        None => {
            tracing::warn!("some connections did not end in time and were aborted");
            Ok(())
        }
    }
}

/// Returns an epoch that no other run of the server has.
fn new_epoch() -> String {
    format!("{:016x}", fastrand::u64(..))
}
