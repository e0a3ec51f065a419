//! What the integration tests share: a server in this process or as its own, clients with
//! deadlines, and a watchdog.
//!
//! Nothing here waits by sleeping for something to have happened: every wait has a condition
//! and a deadline, and that nobody got something is shown by what comes next instead of it.
//! A failure prints everything that the clients of the test sent and got.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part of this"
)]

pub mod browser;
pub mod extended;
pub mod http;
pub mod long_run;
pub mod one_log;
pub mod piped;
pub mod random;
#[cfg(target_os = "linux")]
pub mod terminal;

use serde_json::{Value, json};
use smolchat::cli::style::Style;
use smolchat::limits::Limits;
use smolchat::server::{Listeners, ServerConfig, ServerError, TranscriptOutput, WebConfig, run};
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a single wait may take. Far more than anything needs: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a whole test may take.
pub const TEST_LIMIT: Duration = Duration::from_secs(240);
/// A rate that paces nobody, for tests that send much.
pub const UNPACED: u32 = 10_000_000;

/// Lines of the trace that a failure prints.
const TRACE_LINES: usize = 200;
/// Characters of each of them.
const TRACE_WIDTH: usize = 300;

/// Says that a test could not be made here.
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // What a test prints is shown only where it fails; this is to be seen. Nobody hears it where
    // standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {test}: {reason}");
}

/// Waits until the condition holds, looking at it again and again.
#[track_caller]
pub fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Everything that the clients of one test sent and got, for the case that it fails.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<VecDeque<String>>>);

impl Trace {
    /// Notes one line.
    pub fn note(&self, who: &str, arrow: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut line: String = text.chars().take(TRACE_WIDTH).collect();
        if line.len() < text.len() {
            line.push_str(&format!("… ({} bytes)", bytes.len()));
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TRACE_LINES {
            lines.pop_front();
        }
        lines.push_back(format!("{who:>8} {arrow} {}", line.trim_end_matches('\n')));
    }

    /// The newest lines, as text.
    pub fn dump(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .fold(String::new(), |text, line| text + line + "\n")
    }
}

/// Ends the test program if a test hangs; does nothing once dropped.
#[derive(Debug)]
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    /// Watches the current test.
    pub fn start(trace: Trace) -> Self {
        let (alive, dropped) = mpsc::channel();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if dropped.recv_timeout(TEST_LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "{test} took longer than {TEST_LIMIT:?}; what its clients saw:\n{}",
                    trace.dump()
                );
                std::process::exit(124);
            }
        });
        Watchdog { _alive: alive }
    }
}

fn status_bytes(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The most memory that a process ever had in use, in bytes; none where the system does not tell.
pub fn peak_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmHWM:")
}

/// The client program, which sees no files of whoever runs the tests.
pub fn client_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smolchat-client"));
    without_files(&mut command);
    command
}

/// Keeps a client from the files of whoever runs the tests.
pub fn without_files(command: &mut Command) {
    let nowhere = concat!(env!("CARGO_TARGET_TMPDIR"), "/nowhere");
    command.env("XDG_CONFIG_HOME", nowhere);
    command.env("XDG_STATE_HOME", nowhere);
}

/// Bytes that a thread or a server writes while the test looks on.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Up while a thread may still write to it.
    is_read: Arc<AtomicBool>,
}

impl Captured {
    /// Reads `source` to its end in a thread.
    pub fn read_all(mut source: impl Read + Send + 'static) -> Self {
        let captured = Captured::default();
        captured.is_read.store(true, Ordering::Release);
        let mut writer = captured.clone();
        thread::spawn(move || {
            // What cannot be read is missed by the test.
            let _ = io::copy(&mut source, &mut writer);
            writer.is_read.store(false, Ordering::Release);
        });
        captured
    }

    /// Waits until its source has ended: what was written last may not be here yet when the one
    /// who wrote it is gone.
    #[track_caller]
    pub fn wait_for_end(&self) {
        let end = Instant::now() + PATIENCE;
        while self.is_read.load(Ordering::Acquire) {
            assert!(Instant::now() < end, "it does not end: {}", self.text());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What there is by now.
    pub fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its whole lines by now.
    pub fn lines(&self) -> Vec<String> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until it has at least so many lines.
    #[track_caller]
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            if lines.len() >= count {
                return lines;
            }
            assert!(
                Instant::now() < end,
                "{count} lines did not come; there are {lines:#?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it contains `part`.
    #[track_caller]
    pub fn wait_for(&self, part: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.text().contains(part) {
            assert!(
                Instant::now() < end,
                "{part:?} did not come; there is:\n{}",
                self.text()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a server listens, and how clients of a test get there.
#[derive(Clone, Debug)]
pub struct Site {
    /// Address of the chat.
    pub address: SocketAddr,
    /// Address of the web page.
    pub web: Option<SocketAddr>,
    /// What the clients saw.
    pub trace: Trace,
}

impl Site {
    /// A client of which nothing is known yet, not even that it was let in.
    #[track_caller]
    pub fn connect_raw(&self, label: &str) -> LineClient {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE);
        let stream = stream.unwrap_or_else(|error| panic!("{label} cannot connect: {error}"));
        LineClient::new(stream, label, &self.trace)
    }

    /// A client that saw its own arrival.
    #[track_caller]
    pub fn connect(&self, label: &str) -> LineClient {
        let mut client = self.connect_raw(label);
        client.expect_own_arrival();
        client
    }

    /// A client whose receive buffer is as small as the system allows; it saw its own arrival.
    #[track_caller]
    pub fn connect_narrow(&self, label: &str) -> LineClient {
        let mut client = self.connect_narrow_raw(label);
        client.expect_own_arrival();
        client
    }

    /// The same, of which nothing is known yet.
    #[track_caller]
    pub fn connect_narrow_raw(&self, label: &str) -> LineClient {
        let socket =
            Socket::new(Domain::for_address(self.address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(2048).expect("a small buffer");
        socket
            .connect(&self.address.into())
            .expect("narrow client connects");
        LineClient::new(socket.into(), label, &self.trace)
    }

    /// The value of this metric now, which the page of the server tells.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let web = self.web.expect("a server with a page");
        let mut stream = TcpStream::connect_timeout(&web, PATIENCE).expect("the page listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {web}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let value = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("the server tells no whole number {name}:\n{answer}"))
    }

    /// A client with this name; it saw its own arrival and the rename.
    #[track_caller]
    pub fn join(&self, name: &str) -> LineClient {
        let mut client = self.connect(name);
        client.rename(name);
        client
    }

    /// Clients with these names, none of whom has anything left to read.
    #[track_caller]
    pub fn room<const N: usize>(&self, names: [&str; N]) -> [LineClient; N] {
        let mut clients = names.map(|name| self.join(name));
        if let Some((last, earlier)) = clients.split_last_mut() {
            last.say("everyone is here");
            last.expect(&last.name.clone(), "everyone is here");
            for client in earlier {
                client.skip_to(&last.name, "everyone is here");
            }
        }
        clients
    }
}

/// A server in this process. Stops when dropped.
#[derive(Debug)]
pub struct Chat {
    site: Site,
    stop: Option<smol::channel::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    /// What the server writes on its own terminal.
    pub transcript: Captured,
    _watchdog: Watchdog,
}

impl Deref for Chat {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Chat {
    /// With the default limits.
    pub fn start() -> Self {
        Chat::with(Limits::default())
    }

    /// With these limits.
    pub fn with(limits: Limits) -> Self {
        Chat::with_config(ServerConfig {
            limits,
            ..Chat::config()
        })
    }

    /// With this configuration.
    pub fn with_config(config: ServerConfig) -> Self {
        let trace = Trace::default();
        let watchdog = Watchdog::start(trace.clone());
        let listeners = Listeners::bind(&config).expect("the server listens");
        let site = Site {
            address: listeners.chat_address(),
            web: listeners.web_address(),
            trace,
        };
        let transcript = Captured::default();
        let (stop, stopped) = smol::channel::bounded(1);
        let output = TranscriptOutput {
            output: Box::new(transcript.clone()),
            style: Style::Plain,
        };
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || {
                run(listeners, &config, output, async move {
                    // It ends either way, by a word or by the sender's drop.
                    let _ = stopped.recv().await;
                })
            });
        let thread = Some(thread.expect("a thread for the server"));
        Chat {
            site,
            stop: Some(stop),
            thread,
            transcript,
            _watchdog: watchdog,
        }
    }

    /// A configuration with ports of its own and without the page.
    pub fn config() -> ServerConfig {
        ServerConfig {
            store: None,
            chat_host: "127.0.0.1".into(),
            chat_port: 0,
            web: None,
            limits: Limits::default(),
            threads: 1,
        }
    }

    /// The same with the page.
    pub fn config_with_web() -> ServerConfig {
        let web = WebConfig {
            host: "127.0.0.1".into(),
            port: 0,
            metrics_are_public: false,
            is_read_only: false,
            port_was_chosen: true,
            names: Vec::new(),
        };
        ServerConfig {
            web: Some(web),
            ..Chat::config()
        }
    }

    /// A chat with these bounds, and the address of its page.
    pub fn with_page(limits: Limits) -> (Self, SocketAddr) {
        let chat = Chat::with_config(ServerConfig {
            limits,
            ..Chat::config_with_web()
        });
        let web = chat.web.expect("a page");
        (chat, web)
    }

    /// Asks the server to stop, as a signal would.
    pub fn begin_stop(&mut self) {
        self.stop = None;
    }

    /// Waits until the server has ended.
    pub fn wait_for_end(&mut self) {
        self.begin_stop();
        let Some(server) = self.thread.take() else {
            return;
        };
        let end = Instant::now() + PATIENCE;
        while !server.is_finished() {
            if Instant::now() >= end {
                // The thread cannot be ended from here; the program ends soon.
                eprintln!("the server did not stop within {PATIENCE:?}");
                assert!(
                    thread::panicking(),
                    "the server did not stop\n{}",
                    self.trace.dump()
                );
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let ended = server.join();
        if !thread::panicking() {
            ended
                .expect("the server does not panic")
                .expect("the server ends well");
        }
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.wait_for_end();
    }
}

/// The real program. Killed and reaped when dropped.
#[derive(Debug)]
pub struct RealServer {
    site: Site,
    child: Child,
    /// What it wrote on standard output; nothing if the test has that end itself.
    pub stdout: Captured,
    /// What it wrote on standard error.
    pub stderr: Captured,
    _watchdog: Watchdog,
}

impl Deref for RealServer {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl RealServer {
    /// The program with ports of its own and these further arguments.
    pub fn start(arguments: &[&str]) -> Self {
        RealServer::from_command(RealServer::command(arguments))
    }

    /// The command of [`RealServer::start`].
    pub fn command(arguments: &[&str]) -> Command {
        let mut command = RealServer::bare_command(&[]);
        command.args(["--port", "0", "--host", "127.0.0.1"]);
        if !arguments.contains(&"--web-port") && !arguments.contains(&"--no-web") {
            command.args(["--web-port", "0"]);
        }
        command.args(arguments);
        command
    }

    /// The program with nothing but these arguments, and an environment that does not matter.
    pub fn bare_command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolchat-server"));
        command.args(arguments);
        command.env_remove("RUST_LOG").env_remove("NO_COLOR");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command that becomes the program, and waits for its start-up lines.
    pub fn from_command(mut command: Command) -> Self {
        let trace = Trace::default();
        let watchdog = Watchdog::start(trace.clone());
        let mut child = command.spawn().expect("the server starts");
        let stdout = child
            .stdout
            .take()
            .map_or_else(Captured::default, Captured::read_all);
        let stderr = child
            .stderr
            .take()
            .map_or_else(Captured::default, Captured::read_all);
        let has_web = !command.get_args().any(|argument| argument == "--no-web");
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let site = Site {
            address,
            web: None,
            trace,
        };
        let mut server = RealServer {
            site,
            child,
            stdout,
            stderr,
            _watchdog: watchdog,
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let exited = server.child.try_wait().expect("a child can be waited for");
            let lines = server.stderr.lines();
            let chat = lines
                .iter()
                .find_map(|line| address_after(line, "clients connect to "));
            let web = lines
                .iter()
                .find_map(|line| address_after(line, "the web page is at http://"));
            if let Some(chat) = chat
                && (web.is_some() || !has_web)
            {
                (server.site.address, server.site.web) = (chat, web);
                return server;
            }
            let text = server.stderr.text();
            assert!(
                exited.is_none(),
                "the server ended at once: {exited:?}\n{text}"
            );
            assert!(
                Instant::now() < end,
                "the start-up lines did not come:\n{text}"
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, `TERM` or `INT`.
    pub fn signal(&self, signal: &str) {
        send_signal(self.child.id(), signal);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.stdout.wait_for_end();
                self.stderr.wait_for_end();
                return status;
            }
            let text = self.stderr.text();
            assert!(
                Instant::now() < end,
                "the server did not end within {deadline:?}:\n{text}"
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The most memory that it ever had in use, in bytes, as the system counts it; none where
    /// the system does not tell.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, field: &str) -> Option<u64> {
        status_bytes(self.id(), field)
    }

    /// The memory that it has in use, in bytes, as the system counts it; none where the system
    /// does not tell.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.status_bytes("VmRSS:")
    }

    /// From here on its memory is to grow by no more than this.
    pub fn memory_may_grow(&self, bytes: u64) -> MemoryBound {
        MemoryBound {
            before: self.peak_bytes(),
            bytes,
        }
    }

    /// Time that it has computed, in clock ticks of a hundredth of a second.
    ///
    /// None where the system does not tell.
    pub fn cpu_ticks(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // After the name, which may hold anything, come the state and 11 further numbers.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(ticks(11)? + ticks(12)?)
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("standard error of the server:\n{}", self.stderr.text());
        }
    }
}

/// A bound on how much more memory a server may use than it did.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBound {
    before: Option<u64>,
    bytes: u64,
}

impl MemoryBound {
    /// Fails if the server ever used more.
    #[track_caller]
    pub fn check(self, server: &RealServer) {
        let (Some(before), Some(peak)) = (self.before, server.peak_bytes()) else {
            return skip("this system does not tell the memory of a process");
        };
        let bound = before + self.bytes;
        assert!(
            peak <= bound,
            "memory grew from {before} to {peak} bytes; {bound} are allowed"
        );
    }
}

fn address_after(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    let end = rest
        .find(|c: char| c.is_whitespace() || "/;,".contains(c))
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches(':').parse().ok()
}

/// Sends a signal to one process by its number.
pub fn send_signal(process: u32, signal: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {process}")])
        .status();
    assert!(
        status.expect("sh runs").success(),
        "kill -{signal} {process}"
    );
}

/// What a program that ended left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program that is to end by itself; kills it if it does not.
#[track_caller]
pub fn run_to_end(mut command: Command) -> Finished {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let stdout = child.stdout.take().map(read_to_end_in_thread);
    let stderr = child.stderr.take().map(read_to_end_in_thread);
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = |reader: Option<JoinHandle<Vec<u8>>>| {
        let bytes = reader.map(|reader| reader.join().expect("a reader ends"));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.unwrap_or_else(|| panic!("{command:?} did not end:\n{stdout}\n{stderr}"));
    Finished {
        code: status.code(),
        stdout,
        stderr,
    }
}

fn read_to_end_in_thread(mut source: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until an error is all that there is.
        let _ = source.read_to_end(&mut bytes);
        bytes
    })
}

/// Something that a client was told: who said it, and what.
pub type Said = (String, String);

/// A client over a plain socket, which is strict: the next line must be the expected one.
#[derive(Debug)]
pub struct LineClient {
    /// The socket, with deadlines.
    pub stream: TcpStream,
    /// Its name in the chat, as far as it was told.
    pub name: String,
    label: String,
    buffer: VecDeque<u8>,
    /// How many bytes one read takes at most.
    pub chunk: usize,
    trace: Trace,
}

impl LineClient {
    /// A client on this connection.
    #[track_caller]
    pub fn new(stream: TcpStream, label: &str, trace: &Trace) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a deadline");
        let name = stream.local_addr().expect("an address").to_string();
        LineClient {
            stream,
            name,
            label: label.to_owned(),
            buffer: VecDeque::new(),
            chunk: 64 * 1024,
            trace: trace.clone(),
        }
    }

    /// Its address as the chat writes it.
    pub fn address(&self) -> String {
        self.stream.local_addr().expect("an address").to_string()
    }

    /// Fails the test, with everything that the clients saw.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        panic!(
            "{} {what}\nwhat the clients saw, newest last:\n{}",
            self.label,
            self.trace.dump()
        )
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.trace.note(&self.label, "→", bytes);
        if let Err(error) = self.stream.write_all(bytes) {
            self.fail(&format!("cannot send: {error}"));
        }
    }

    /// Sends a line of this type with this data.
    #[track_caller]
    pub fn request(&mut self, kind: &str, data: &str) {
        self.send_raw(&request(kind, data));
    }

    /// Says something.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.request("message", text);
    }

    /// Says something, and sees its echo next.
    #[track_caller]
    pub fn say_and_hear(&mut self, text: &str) {
        self.say(text);
        let name = self.name.clone();
        self.expect(&name, text);
    }

    /// Says something, and passes over lines up to its echo.
    #[track_caller]
    pub fn say_and_skip_to(&mut self, text: &str) -> Vec<Said> {
        self.say(text);
        let name = self.name.clone();
        self.skip_to(&name, text)
    }

    /// Asks for another name, and sees that it has it next.
    #[track_caller]
    pub fn rename(&mut self, name: &str) {
        self.request("set-name", name);
        let old = std::mem::replace(&mut self.name, name.to_owned());
        self.expect_notice(&format!("{old} renamed to {name}"));
    }

    /// Ends its sending side.
    #[track_caller]
    pub fn finish_sending(&mut self) {
        self.trace
            .note(&self.label, "→", b"(end of its sending side)");
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the sending side can be ended");
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        self.trace.note(&self.label, "→", b"(reset)");
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a linger of zero");
    }

    /// The bytes of the next line, its newline included; none at the end of the stream.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(index) = self
                .buffer
                .iter()
                .skip(searched)
                .position(|&byte| byte == b'\n')
            {
                let line: Vec<u8> = self.buffer.drain(..=searched + index).collect();
                self.trace.note(&self.label, "←", &line);
                return Some(line);
            }
            searched = self.buffer.len();
            let mut chunk = vec![0; self.chunk];
            match self.stream.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => {
                    self.trace.note(&self.label, "←", b"(end)");
                    return None;
                }
                Ok(0) => {
                    let rest = String::from_utf8_lossy(self.buffer.make_contiguous()).into_owned();
                    self.fail(&format!(
                        "got the end of the stream in the middle of a line: {rest}"
                    ))
                }
                Ok(count) => self.buffer.extend(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.fail(&format!("got no line: {error}")),
            }
        }
    }

    /// The next line, which has exactly the keys that a basic client knows; none at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<Said> {
        let line = self.next_line()?;
        match decode(&line) {
            Some(said) => Some(said),
            None => self.fail(&format!(
                "got a line of another shape: {}",
                String::from_utf8_lossy(&line)
            )),
        }
    }

    /// The next line, which must come.
    #[track_caller]
    pub fn must_get(&mut self) -> Said {
        match self.next() {
            Some(said) => said,
            None => self.fail("got the end of the stream instead of a line"),
        }
    }

    /// The next line must be this one.
    #[track_caller]
    pub fn expect(&mut self, source: &str, message: &str) {
        match self.next() {
            Some(said) if said.0 == source && said.1 == message => {}
            Some((other, text)) => self.fail(&format!(
                "expected\n  {source}: {message:?}\nand got\n  {other}: {text:?}"
            )),
            None => self.fail(&format!("expected {source}: {message:?} and got the end")),
        }
    }

    /// The next line must be this one, of the server.
    #[track_caller]
    pub fn expect_notice(&mut self, message: &str) {
        self.expect("[Server]", message);
    }

    /// The next line must be one of the server, which is returned.
    #[track_caller]
    pub fn notice(&mut self) -> String {
        let (source, message) = self.must_get();
        if source != "[Server]" {
            self.fail(&format!(
                "expected a sentence of the server and got {source}: {message:?}"
            ));
        }
        message
    }

    /// The next line must be its own arrival.
    #[track_caller]
    pub fn expect_own_arrival(&mut self) {
        self.expect_notice(&format!("{} has entered the chat", self.name));
    }

    /// Passes over lines up to this one.
    #[track_caller]
    pub fn skip_to(&mut self, source: &str, message: &str) -> Vec<Said> {
        let mut skipped = Vec::new();
        loop {
            match self.next() {
                Some(said) if said.0 == source && said.1 == message => return skipped,
                Some(said) => skipped.push(said),
                None => self.fail(&format!(
                    "expected {source}: {message:?} sooner or later, got the end"
                )),
            }
        }
    }

    /// The stream must end here.
    #[track_caller]
    pub fn expect_end(&mut self) {
        if let Some((source, message)) = self.next() {
            self.fail(&format!("expected the end and got {source}: {message:?}"));
        }
    }

    /// All lines up to the end of the stream.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Takes what there is to read, without looking at it; none at the end or after a break.
    pub fn read_some(&mut self) -> Option<usize> {
        let mut chunk = vec![0; self.chunk];
        self.stream.read(&mut chunk).ok().filter(|&count| count > 0)
    }

    /// Reads until the stream ends or breaks: the lines, and bytes after the last of them.
    pub fn read_until_broken(&mut self) -> (Vec<Said>, Vec<u8>) {
        let mut bytes: Vec<u8> = self.buffer.drain(..).collect();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => self.fail(&format!("waited for the end and got: {error}")),
            }
        }
        let end = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |index| index + 1);
        let rest = bytes.split_off(end);
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let decode = |line: &[u8]| match decode(line) {
            Some(said) => said,
            None => self.fail(&format!(
                "got a line of another shape: {}",
                String::from_utf8_lossy(line)
            )),
        };
        (lines.map(decode).collect(), rest)
    }
}

/// A client's line.
pub fn request(kind: &str, data: &str) -> Vec<u8> {
    format!("{}\n", json!({ "type": kind, "data": data })).into_bytes()
}

/// Reads a server's line; none unless it has exactly the keys that a basic client knows.
pub fn decode(line: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let source = value["data"]["source"].as_str()?.to_owned();
    let message = value["data"]["message"].as_str()?.to_owned();
    let exact = json!({ "type": "message", "data": { "source": source, "message": message } });
    (value == exact && line.ends_with(b"\n")).then_some((source, message))
}
