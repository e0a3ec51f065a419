//! The server: starts everything, awaits everything, and ends in order.
//!
//! What lives here: [`run`], the only door. The program and the tests call it with listeners
//! that are already bound and a future that ends it. It must never parse arguments, read the
//! environment or install a signal handler.
//!
//! Order of the end: no more connections are accepted, and those who wait at the door are told;
//! the broker tells everyone and ends the log; what is written to each client is bounded in time;
//! the broker ends when the last connection has, or the deadline passes.

pub mod broker;
pub mod close_reason;
pub mod config;
pub mod connection;
pub mod fanout;
pub mod health;
pub mod http;
pub mod limits;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod rate_limit;
pub mod snapshot;

pub use crate::server::config::{LogFormat, ServerConfig, ServerOptions, WebConfig};
pub use crate::server::listener::{BindError, Listeners};

use crate::chat::room::Room;
use crate::cli::exit_code::{COULD_NOT, INTERNAL_FAILURE};
use crate::cli::style::Style;
use crate::limits::TOKEN_LIFETIME_WITH_STORE;
use crate::protocol::extended;
use crate::server::broker::command::BrokerCommand;
use crate::server::broker::commit_queue::CommitQueue;
use crate::server::broker::execute::ActionExecutor;
use crate::server::broker::{Broker, BrokerHandle, InitialState};
use crate::server::connection::{ServerContext, timeout};
use crate::server::fanout::broadcast_log::{BroadcastLog, BroadcastLogs};
use crate::server::fanout::{Fanout, SharedExecutor};
use crate::server::health::Health;
use crate::server::http::connection_limits::ConnectionLimits;
use crate::server::limits::{INBOX_EVENTS, RECENT_EVENTS_BYTES, STOP_DEADLINE};
use crate::server::listener::accept::ReserveDescriptor;
use crate::server::listener::admission::{self, Admission};
use crate::server::logging::lossy_writer::NonBlockingWriter;
use crate::server::logging::transcript::Transcript;
use crate::server::metrics::Metrics;
use crate::storage::sqlite::reader::StoreReader;
use crate::storage::sqlite::{self, OpenStore};
use crate::storage::{Archive, StoreError};
use async_channel::Receiver;
use futures_lite::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use smol::Executor;
use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Where the transcript goes, and in which style.
pub struct TranscriptOutput {
    /// Where the lines are written.
    pub output: Box<dyn Write + Send>,
    /// How they look.
    pub style: Style,
}

impl fmt::Debug for TranscriptOutput {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TranscriptOutput")
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

/// Why a server ended other than by being stopped. Its `Display` is one sentence.
#[derive(Debug)]
pub enum ServerError {
    /// The system gives no thread.
    NoThread(io::Error),
    /// The store cannot be used.
    Store(StoreError),
    /// The broker failed: a fault of the program.
    BrokerFailed,
    /// A task failed that everyone needs, and that nothing can do without: a fault of the
    /// program. It is named by what it does.
    TaskFailed(&'static str),
}

impl ServerError {
    /// The exit status of the program.
    pub fn exit_status(&self) -> u8 {
        match self {
            ServerError::Store(_) => COULD_NOT,
            ServerError::NoThread(_) | ServerError::BrokerFailed | ServerError::TaskFailed(_) => {
                INTERNAL_FAILURE
            }
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::NoThread(error) => {
                write!(
                    out,
                    "Cannot start a thread: {error}; free some memory or choose fewer --threads"
                )
            }
            ServerError::Store(error) => write!(out, "{error}"),
            ServerError::BrokerFailed => {
                write!(
                    out,
                    "The server failed inside and had to end; please report what stands above"
                )
            }
            ServerError::TaskFailed(task) => {
                write!(
                    out,
                    "The server failed inside ({task}) and had to end; please report what stands above"
                )
            }
        }
    }
}

impl std::error::Error for ServerError {}

/// Serves on the calling thread, and on more if the configuration says so, until `stop` is
/// ready and everyone was told.
///
/// # Errors
/// A thread cannot be started, or something failed that everyone needs.
pub fn run(
    listeners: Listeners,
    config: &ServerConfig,
    transcript: TranscriptOutput,
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let store = open_store(config).map_err(ServerError::Store)?;
    let opened = (listeners, store);
    run_with_log(opened, config, transcript, &Gauge::default(), stop)
}

/// What it means that others than this machine reach the page, in one sentence.
pub fn open_page_warning(config: &ServerConfig) -> &'static str {
    match config.web.as_ref().is_some_and(|web| web.is_read_only) {
        true => {
            "everyone who reaches the page's address can read the chat there, and nobody can talk there"
        }
        false => {
            "everyone who reaches the page's address can read and talk there, unencrypted; \
             --web-read-only serves readers only"
        }
    }
}

/// Opens the store that the configuration asks for, if it does.
///
/// # Errors
/// It cannot be used.
pub fn open_store(config: &ServerConfig) -> Result<Option<OpenStore>, StoreError> {
    let open = |options| sqlite::open(options, &new_epoch(), config.limits.history_messages);
    config.store.as_ref().map(open).transpose()
}

/// Like [`run`] with a store that is open, and the metrics tell how many lines of the log were
/// skipped.
///
/// # Errors
/// Those of [`run`].
pub fn run_with_log(
    (listeners, store): (Listeners, Option<OpenStore>),
    config: &ServerConfig,
    transcript: TranscriptOutput,
    log_skipped: &Gauge,
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let executor: SharedExecutor = Arc::new(Executor::new());
    let sink =
        NonBlockingWriter::start("transcript", transcript.output).map_err(ServerError::NoThread)?;
    let transcript = Transcript::new(sink.clone(), transcript.style);
    // Nothing is ever sent: that it is closed tells the threads to end.
    let (running, ended) = async_channel::bounded::<()>(1);
    let result = thread::scope(|scope| {
        // Dropped at the end of this block, before the scope waits for its threads.
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
        let metrics = Arc::new(Metrics::with_log(log_skipped));
        let said = (transcript, metrics);
        let opened = (listeners, store);
        let serving = serve(&executor, opened, config, said, stop);
        smol::block_on(executor.run(serving))
    });
    sink.finish(TRANSCRIPT_DEADLINE);
    result
}

/// Time for the last transcript lines at the end.
const TRANSCRIPT_DEADLINE: Duration = Duration::from_millis(100);

/// Time for the store to end; nothing that anybody has seen waits for it then.
const STORE_DEADLINE: Duration = Duration::from_millis(200);

/// Time for the last frames of the page's live streams.
const PAGE_DEADLINE: Duration = Duration::from_millis(100);

/// What a server begins with: the room and its past.
fn begin(
    config: &ServerConfig,
    store: Option<OpenStore>,
) -> (InitialState, Option<StoreReader>, Option<Receiver<()>>) {
    let mut limits = config.limits.room();
    let Some(store) = store else {
        let beginning = InitialState {
            room: Room::new(limits),
            effects: Vec::new(),
            commit_queue: None,
            epoch: new_epoch().into(),
        };
        return (beginning, None, None);
    };
    limits.token_lifetime = TOKEN_LIFETIME_WITH_STORE;
    let mut effects = Vec::new();
    let now = jiff::Timestamp::now();
    let room = Room::restore(limits, store.restored, now, &mut effects);
    let ended = store.writer.ended();
    let beginning = InitialState {
        room,
        effects,
        commit_queue: Some(CommitQueue::new(store.writer, store.reports)),
        epoch: store.epoch.into(),
    };
    (beginning, Some(store.reader), Some(ended))
}

async fn serve(
    executor: &SharedExecutor,
    (listeners, store): (Listeners, Option<OpenStore>),
    config: &ServerConfig,
    (transcript, metrics): (Transcript, Arc<Metrics>),
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let (sender, inbox) = async_channel::bounded(INBOX_EVENTS);
    let next_event = store.as_ref().map_or(0, |store| store.restored.last_event) + 1;
    let (beginning, reader, store_ended) = begin(config, store);
    let handle = BrokerHandle::new(sender.clone());
    let memory = Arc::new(sender.clone());
    let context = Arc::new(ServerContext {
        limits: config.limits.clone(),
        epoch: beginning.epoch.clone(),
        inbox: sender,
        logs: BroadcastLogs {
            basic: Arc::new(BroadcastLog::new(config.limits.max_lag_bytes)),
            extended: Arc::new(BroadcastLog::numbered_from(
                next_event,
                RECENT_EVENTS_BYTES.max(config.limits.max_lag_bytes),
            )),
            page: Arc::new(BroadcastLog::new(config.limits.max_lag_bytes)),
        },
        archive: Archive::new(memory, reader),
        health: Arc::new(Health::default()),
        started: Instant::now(),
        metrics,
    });
    let admission = Admission::new(context.clone(), executor.clone());
    let publisher = ActionExecutor::new(
        Fanout::new(context.clone(), executor.clone()),
        transcript,
        beginning.epoch.clone(),
        extended::Limits {
            message: config.limits.max_message_bytes,
            line: config.limits.max_line_bytes,
        },
    );
    let broker = Broker::new(
        context.clone(),
        inbox,
        beginning,
        publisher,
        admission.clone(),
    );
    // Without any of these the server would be deaf or mute: whichever fails ends it.
    let (faults, fault) = async_channel::bounded(1);
    let spawn = |task: BoxedTask, error| spawn_needed(executor, task, faults.clone(), error);
    let broker = spawn(Box::pin(broker.run()), ServerError::BrokerFailed);
    let (chat, web) = listeners.into_parts();
    let (newcomers, waiting) = admission::admission_queue();
    // Nothing is ever sent: that it is closed tells that nobody more is accepted.
    let (door_is_open, door_closes) = async_channel::bounded::<()>(1);
    let spare = ReserveDescriptor::new();
    let accepting = admission::accept_clients(
        chat,
        spare.clone(),
        newcomers,
        admission.clone(),
        door_closes,
    );
    let accepting = spawn(Box::pin(accepting), ServerError::TaskFailed("accepting"));
    let letting_in = Box::pin(admission::admit_waiting(waiting, admission));
    let letting_in = spawn(letting_in, ServerError::TaskFailed("letting in"));
    let names = config.web.iter().flat_map(|web| web.names.clone());
    let gate = Arc::new(ConnectionLimits::new(
        config.limits.web.clone(),
        names.collect(),
    ));
    let web = web.map(|web| {
        let purpose = config.web.as_ref().map(WebConfig::purpose);
        let serving = http::serve(
            web,
            spare,
            context.clone(),
            executor.clone(),
            gate.clone(),
            purpose.unwrap_or_default(),
        );
        spawn(Box::pin(serving), ServerError::TaskFailed("the page"))
    });

    let stopped = async {
        stop.await;
        None
    };
    // `faults` is still here: what is received is a fault.
    let failed = async { fault.recv().await.ok() };
    if let Some(error) = stopped.or(failed).await {
        return Err(error);
    }
    gate.begin_stop();
    drop(door_is_open);
    let ending = async {
        // Those who wait to be let in are told that they will not be.
        accepting.await;
        letting_in.await;
        // The broker ends only after this, or by a fault, which the next lines notice.
        let _ = handle.tell(BrokerCommand::Stop).await;
        broker.await;
    };
    let ending = async {
        ending.await;
        fault.try_recv().ok()
    };
    let failed = async { fault.recv().await.ok() };
    let ended = timeout(STOP_DEADLINE, ending.or(failed)).await;
    timeout(PAGE_DEADLINE, gate.wait_for_no_stream()).await;
    if let Some(web) = web {
        web.cancel().await;
    }
    if let Some(store_ended) = store_ended {
        // The broker is gone, and the writer with it: its thread writes what waits and ends.
        // Nothing is ever sent, so this waits for that.
        timeout(STORE_DEADLINE, store_ended.recv()).await;
    }
    match ended {
        Some(Some(error)) => Err(error),
        Some(None) => Ok(()),
        None => {
            tracing::warn!("some connections did not end in time and were cut off");
            Ok(())
        }
    }
}

/// A task that the server cannot do without.
type BoxedTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Spawns a task; if it panics, the error is sent as a fault.
fn spawn_needed(
    executor: &SharedExecutor,
    task: BoxedTask,
    faults: async_channel::Sender<ServerError>,
    error: ServerError,
) -> smol::Task<()> {
    executor.spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            // If it is full, another has failed before: one is enough to end the server.
            let _ = faults.try_send(error);
        }
    })
}

/// A word that no other life of the server has: its history is not that of this one.
fn new_epoch() -> String {
    let nanos = jiff::Timestamp::now().as_nanosecond();
    format!("{nanos:x}-{:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::request::Request;
    use crate::server::broker::command::ClientLine;
    use crate::server::limits::Limits;
    use std::io::{BufRead, BufReader, Read};
    use std::net::{SocketAddr, TcpStream};
    use std::thread::JoinHandle;

    /// What a client says to make its connection's task fail, in these tests only.
    pub(crate) const CONNECTION_FAULT: &str = "fail, connection";
    /// What a client says to make the broker fail.
    pub(crate) const BROKER_FAULT: &str = "fail, broker";

    /// The most users of a server at whose door a fault is.
    pub(crate) const DOOR_FAULT: usize = 4242;

    /// A fault of the program, at a place where there is none.
    pub(crate) fn fail_if_asked(line: &ClientLine, words: &str) {
        if matches!(line, ClientLine::Request(Request::Say(say)) if *say.text == *words) {
            panic!("a fault that a test asked for");
        }
    }

    /// The same at the door, which hears no words.
    pub(crate) fn fail_at_the_door(limits: &Limits) {
        if limits.max_clients == DOOR_FAULT {
            panic!("a fault that a test asked for at the door");
        }
    }

    /// What of the page fails.
    pub(crate) const PAGE_FAULT: &str = "/fault";

    /// The same on the page.
    pub(crate) async fn fail_on_the_page<State>(_: tide::Request<State>) -> tide::Result {
        panic!("a fault that a test asked for on the page")
    }

    struct Running {
        address: SocketAddr,
        web: SocketAddr,
        stop: async_channel::Sender<()>,
        thread: JoinHandle<Result<(), ServerError>>,
    }

    fn start() -> Running {
        start_with(Limits::default())
    }

    fn start_with(limits: Limits) -> Running {
        let web = WebConfig {
            host: "127.0.0.1".into(),
            port: 0,
            port_was_chosen: true,
            metrics_are_public: false,
            is_read_only: false,
            names: Vec::new(),
        };
        let config = ServerConfig {
            chat_port: 0,
            web: Some(web),
            limits,
            ..ServerConfig::default()
        };
        let listeners = Listeners::bind(&config).expect("a free port");
        let address = listeners.chat_address();
        let web = listeners.web_address().expect("a page");
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let transcript = TranscriptOutput {
            output: Box::new(io::sink()),
            style: Style::Plain,
        };
        let thread = thread::spawn(move || {
            run(listeners, &config, transcript, async move {
                let _ = stopped.recv().await;
            })
        });
        Running {
            address,
            web,
            stop,
            thread,
        }
    }

    fn connect(address: SocketAddr) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(address).expect("the server listens");
        let patience = Duration::from_secs(30);
        stream.set_read_timeout(Some(patience)).expect("a deadline");
        let mut client = BufReader::new(stream);
        let mut line = String::new();
        client.read_line(&mut line).expect("its own arrival");
        client
    }

    fn say(client: &BufReader<TcpStream>, text: &str) {
        let line = format!("{{\"type\":\"message\",\"data\":\"{text}\"}}\n");
        client.get_ref().write_all(line.as_bytes()).expect("sent");
    }

    fn skip_to(client: &mut BufReader<TcpStream>, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            let count = client.read_line(&mut line).expect("a line in time");
            assert_ne!(count, 0, "the stream ended before {part:?} came");
        }
    }

    #[test]
    fn a_panic_in_one_connection_ends_that_one_and_no_other() {
        let running = start();
        let mut witness = connect(running.address);
        let mut victim = connect(running.address);
        say(&victim, CONNECTION_FAULT);
        skip_to(&mut witness, "has left the chat");
        let mut rest = String::new();
        while victim.read_line(&mut rest).is_ok_and(|count| count > 0) {}
        say(&witness, "still here");
        skip_to(&mut witness, "still here");
        drop(running.stop);
        let ended = running.thread.join().expect("the server's thread ends");
        assert!(ended.is_ok(), "{ended:?}");
    }

    #[test]
    fn a_panic_in_the_broker_ends_the_server_and_says_so() {
        let running = start();
        let client = connect(running.address);
        say(&client, BROKER_FAULT);
        let ended = running.thread.join().expect("the server's thread ends");
        assert!(matches!(ended, Err(ServerError::BrokerFailed)), "{ended:?}");
        let error = ended.expect_err("it failed");
        assert_eq!(error.exit_status(), 70);
    }

    #[test]
    fn a_panic_at_the_door_ends_the_server_and_says_so() {
        let running = start_with(Limits {
            max_clients: DOOR_FAULT,
            ..Limits::default()
        });
        let client = TcpStream::connect(running.address).expect("the server listens");
        let ended = running.thread.join().expect("the server's thread ends");
        let error = ended.expect_err("it failed");
        assert!(matches!(error, ServerError::TaskFailed(_)), "{error}");
        assert_eq!(error.exit_status(), 70);
        drop(client);
    }

    /// Sends a request for this to the page; gives all that comes.
    fn ask_page(running: &Running, path: &str) -> String {
        let mut page = TcpStream::connect(running.web).expect("the page listens");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        page.write_all(head.as_bytes()).expect("sent");
        let mut text = String::new();
        page.read_to_string(&mut text).expect("an answer");
        text
    }

    /// The same once the connection before has given its place back.
    fn ask_page_for_its_place(running: &Running, path: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let text = ask_page(running, path);
            if !text.contains("503 Service Unavailable") {
                return text;
            }
            assert!(Instant::now() < deadline, "the place is not given back");
        }
    }

    #[test]
    fn a_panic_in_one_connection_of_the_page_ends_that_one_and_gives_its_place_back() {
        let mut limits = Limits::default();
        limits.web.connections_per_address = Some(1);
        let running = start_with(limits);
        // Were the place of the one that failed kept, the next would be refused.
        for _ in 0..3 {
            assert_eq!(ask_page_for_its_place(&running, PAGE_FAULT), "");
        }
        let text = ask_page_for_its_place(&running, "/metrics");
        let count = "smolchat_web_ended_total{reason=\"fault\"} 3\n";
        assert!(text.contains(count), "{text}");
        drop(running.stop);
        let ended = running.thread.join().expect("the server's thread ends");
        assert!(ended.is_ok(), "{ended:?}");
    }

    #[test]
    fn a_panic_of_a_connection_is_counted_as_a_fault_and_told_with_its_place() {
        let (writer, told) = std::sync::mpsc::channel();
        let writer = LineByLine(writer);
        let speaker = crate::server::logging::stderr::StderrLogger::start(
            "test",
            LogFormat::Text,
            Box::new(writer),
        );
        let speaker = speaker.expect("a thread");
        let before = std::panic::take_hook();
        // It stays: other tests may have panics of their own, which are told here too.
        std::panic::set_hook(Box::new(move |fault| {
            speaker.tell_fault(fault);
            before(fault);
        }));
        let running = start();
        let mut witness = connect(running.address);
        let victim = connect(running.address);
        say(&victim, CONNECTION_FAULT);
        skip_to(&mut witness, "has left the chat");
        let text = ask_page(&running, "/metrics");
        let count = "smolchat_connections_ended_total{reason=\"fault\"} 1\n";
        assert!(text.contains(count), "{text}");
        let place = format!(" at {}:", file!());
        let patience = Duration::from_secs(30);
        let line = loop {
            let line = told.recv_timeout(patience).expect("the fault is told");
            if line.ends_with("a fault that a test asked for\n") {
                break line;
            }
        };
        assert!(line.contains(&place), "{line}");
        drop(running.stop);
        let ended = running.thread.join().expect("the server's thread ends");
        assert!(ended.is_ok(), "{ended:?}");
    }

    /// Sends on each piece that is written.
    struct LineByLine(std::sync::mpsc::Sender<String>);

    impl Write for LineByLine {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once the test has ended nobody reads.
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
