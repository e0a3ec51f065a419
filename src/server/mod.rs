//! The server: starts everything, awaits everything, and ends in order.
//!
//! What lives here: [`run`], the only door. The program and the tests call it with listeners
//! that are already bound and a future that ends it. It must never parse arguments, read the
//! environment or install a signal handler.
//!
//! Order of the end: no more connections are accepted; the broker tells everyone and ends the
//! log; what is written to each client is bounded in time; the broker ends when the last
//! connection has, or the deadline passes.

pub mod accept;
pub mod broker;
pub mod closing;
pub mod config;
pub mod connection;
pub mod delivery;
pub mod door;
pub mod frames;
pub mod inbox;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod outbound;
pub mod peer;
pub mod sink;
pub mod snapshot;
pub mod transcript;
pub mod web;

pub use config::{Config, LogFormat, ServerOptions, WebConfig};
pub use listen::{BindError, Listeners};

use crate::limits::{INBOX_EVENTS, STOP_DEADLINE};
use crate::render::Style;
use accept::SpareDescriptor;
use broker::{Broker, BrokerHandle};
use connection::{Common, within};
use delivery::SharedExecutor;
use door::Door;
use futures_lite::FutureExt;
use inbox::Input;
use log::Log;
use sink::LossySink;
use smol::Executor;
use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use transcript::Transcript;
use web::gate::Gate;

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
pub enum RunError {
    /// The system gives no thread.
    NoThread(io::Error),
    /// The broker failed: a fault of the program.
    BrokerFailed,
}

impl fmt::Display for RunError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::NoThread(error) => {
                write!(
                    out,
                    "Cannot start a thread: {error}; free some memory or choose fewer --threads"
                )
            }
            RunError::BrokerFailed => {
                write!(
                    out,
                    "The server failed inside and had to end; please report what stands above"
                )
            }
        }
    }
}

impl std::error::Error for RunError {}

/// Serves on the calling thread, and on more if the configuration says so, until `stop` is
/// ready and everyone was told.
///
/// # Errors
/// A thread cannot be started, or the broker failed.
pub fn run(
    listeners: Listeners,
    config: &Config,
    transcript: TranscriptOutput,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let executor: SharedExecutor = Arc::new(Executor::new());
    let sink = LossySink::start("transcript", transcript.output).map_err(RunError::NoThread)?;
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
                .map_err(RunError::NoThread)?;
        }
        let serving = serve(&executor, listeners, config, transcript, stop);
        smol::block_on(executor.run(serving))
    });
    sink.finish(TRANSCRIPT_DEADLINE);
    result
}

/// Time for the last transcript lines at the end.
const TRANSCRIPT_DEADLINE: Duration = Duration::from_millis(100);

/// Time for the last frames of the page's live streams.
const PAGE_DEADLINE: Duration = Duration::from_millis(100);

async fn serve(
    executor: &SharedExecutor,
    listeners: Listeners,
    config: &Config,
    transcript: Transcript,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (sender, inbox) = async_channel::bounded(INBOX_EVENTS);
    let common = Arc::new(Common {
        limits: config.limits.clone(),
        inbox: sender.clone(),
        log: Arc::new(Log::new(config.limits.max_lag_bytes)),
        started: Instant::now(),
        metrics: Arc::default(),
    });
    let door = Door::new(common.clone(), executor.clone());
    let page_log = Arc::new(Log::new(config.limits.max_lag_bytes));
    let broker = Broker::new(
        common.clone(),
        inbox,
        executor.clone(),
        transcript,
        page_log.clone(),
        new_epoch(),
        door.clone(),
    );
    let broker = executor.spawn(AssertUnwindSafe(broker.run()).catch_unwind());
    let handle = BrokerHandle::new(sender);
    let (chat, web) = listeners.into_parts();
    let (newcomers, waiting) = door::waiting_room();
    let spare = SpareDescriptor::new();
    let accepting = executor.spawn(door::accept_clients(chat, spare.clone(), newcomers, door));
    let letting_in = executor.spawn(door::let_in(waiting, common.clone()));
    let names = config.web.iter().flat_map(|web| web.names.clone());
    let gate = Arc::new(Gate::new(config.limits.web.clone(), names.collect()));
    let web = web.map(|web| {
        executor.spawn(web::serve(
            web,
            spare,
            handle.clone(),
            executor.clone(),
            gate.clone(),
            Arc::new(web::Counts {
                metrics: common.metrics.clone(),
                started: common.started,
                is_public: config
                    .web
                    .as_ref()
                    .is_some_and(|web| web.metrics_are_public),
            }),
        ))
    });

    let stopped = async {
        stop.await;
        None
    };
    let mut broker = broker;
    let failed = stopped.or(async { Some((&mut broker).await) }).await;
    accepting.cancel().await;
    letting_in.cancel().await;
    if failed.is_some() {
        return Err(RunError::BrokerFailed);
    }
    gate.begin_stop();
    // The broker ends only after this, or by a fault, which the next lines notice.
    let _ = handle.tell(Input::Stop).await;
    let ended = within(STOP_DEADLINE, broker).await;
    page_log.close();
    within(PAGE_DEADLINE, gate.wait_for_no_stream()).await;
    if let Some(web) = web {
        web.cancel().await;
    }
    match ended {
        Some(Err(_panic)) => Err(RunError::BrokerFailed),
        Some(Ok(())) => Ok(()),
        None => {
            tracing::warn!("some connections did not end in time and were cut off");
            Ok(())
        }
    }
}

/// A word that no other life of the server has: its history is not that of this one.
fn new_epoch() -> Arc<str> {
    let nanos = jiff::Timestamp::now().as_nanosecond();
    format!("{nanos:x}-{:x}", std::process::id()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Request;
    use crate::server::inbox::Submission;
    use std::io::{BufRead, BufReader};
    use std::net::{SocketAddr, TcpStream};
    use std::thread::JoinHandle;

    /// What a client says to make its connection's task fail, in these tests only.
    pub(crate) const CONNECTION_FAULT: &str = "fail, connection";
    /// What a client says to make the broker fail.
    pub(crate) const BROKER_FAULT: &str = "fail, broker";

    /// A fault of the program, at a place where there is none.
    pub(crate) fn fail_if_asked(line: &Submission, words: &str) {
        if matches!(line, Ok(Request::Say(text)) if **text == *words) {
            panic!("a fault that a test asked for");
        }
    }

    struct Running {
        address: SocketAddr,
        stop: async_channel::Sender<()>,
        thread: JoinHandle<Result<(), RunError>>,
    }

    fn start() -> Running {
        let config = Config {
            chat_port: 0,
            web: None,
            ..Config::default()
        };
        let listeners = Listeners::bind(&config).expect("a free port");
        let address = listeners.chat_address();
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
        assert!(matches!(ended, Err(RunError::BrokerFailed)), "{ended:?}");
    }
}
