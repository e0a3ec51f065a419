//! Servers of a test: in this process, or the program.

use super::captured::Captured;
use super::deadline::{Deadline, PATIENCE, eventually};
use super::line_client::{LineClient, SERVER};
use super::link::connect_socket;
use super::program::{Program, peak_bytes, send_signal, status_bytes};
use super::transcript::Transcript;
use smolchat::cli::style::Style;
use smolchat::server::limits::Limits;
use smolchat::server::{
    Listeners, ServerConfig, ServerError, TranscriptOutput, WebConfig, open_store, run,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A rate that delays no client.
pub const UNPACED: u32 = 10_000_000;

/// Returns limits that delay no client.
pub fn unpaced() -> Limits {
    Limits {
        rate_per_second: UNPACED,
        burst_lines: UNPACED,
        ..Limits::default()
    }
}

/// Addresses of a server.
#[derive(Clone, Debug)]
pub struct Site {
    /// Address of the chat.
    pub address: SocketAddr,
    /// Address of the page.
    pub web: Option<SocketAddr>,
    pub transcript: Transcript,
}

impl Site {
    fn client(&self, stream: TcpStream, label: &str) -> LineClient {
        LineClient::new(stream, label, &self.transcript)
    }

    /// Connects a client without waiting for an answer.
    #[track_caller]
    pub fn connect_raw(&self, label: &str) -> LineClient {
        self.client(connect_socket(self.address, None, false), label)
    }

    /// Connects a client from this local address.
    #[track_caller]
    pub fn connect_from(&self, source: SocketAddr, label: &str) -> LineClient {
        let loopback: IpAddr = match source.is_ipv4() {
            true => Ipv4Addr::LOCALHOST.into(),
            false => Ipv6Addr::LOCALHOST.into(),
        };
        let target = SocketAddr::new(loopback, self.address.port());
        self.client(connect_socket(target, Some(source), false), label)
    }

    /// Connects a client that has received its own arrival.
    #[track_caller]
    pub fn connect(&self, label: &str) -> LineClient {
        let mut client = self.connect_raw(label);
        client.expect_own_arrival();
        client
    }

    /// Connects a client with the smallest receive buffer, which has received its own arrival.
    #[track_caller]
    pub fn connect_narrow(&self, label: &str) -> LineClient {
        let mut client = self.connect_narrow_raw(label);
        client.expect_own_arrival();
        client
    }

    /// Connects a client with the smallest receive buffer without waiting for an answer.
    #[track_caller]
    pub fn connect_narrow_raw(&self, label: &str) -> LineClient {
        self.client(connect_socket(self.address, None, true), label)
    }

    /// Connects a client that has taken this name.
    #[track_caller]
    pub fn join(&self, name: &str) -> LineClient {
        let mut client = self.connect(name);
        client.rename(name);
        client
    }

    /// Connects clients with these names, which have nothing left to receive.
    #[track_caller]
    pub fn room<const N: usize>(&self, names: [&str; N]) -> [LineClient; N] {
        let mut clients = names.map(|name| self.join(name));
        if let Some((last, earlier)) = clients.split_last_mut() {
            last.say_and_hear("everyone is here");
            for client in earlier {
                client.skip_to(&last.name, "everyone is here");
            }
        }
        clients
    }

    /// Returns the value of a metric of the server.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let answer = super::http::get(self.web.expect("a page"), "/metrics").text();
        let value = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no whole number {name}:\n{answer}"))
    }
}

/// A server in this process. Stops when dropped.
#[derive(Debug)]
pub struct Chat {
    site: Site,
    stop: Option<smol::channel::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    /// What the server prints.
    pub transcript_output: Captured,
}

impl Deref for Chat {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Chat {
    /// Starts a server with the default limits.
    pub fn start() -> Self {
        Chat::with(Limits::default())
    }

    /// Starts a server with these limits.
    pub fn with(limits: Limits) -> Self {
        Chat::with_config(ServerConfig {
            limits,
            ..Chat::config()
        })
    }

    /// Starts a server with this configuration.
    ///
    /// Users need no minimum stay for their grace time, unless the test has chosen one.
    pub fn with_config(mut config: ServerConfig) -> Self {
        if config.limits.min_stay == Limits::default().min_stay {
            config.limits.min_stay = Duration::ZERO;
        }
        let listeners = Listeners::bind(&config).expect("the server listens");
        let site = Site {
            address: listeners.chat_address(),
            web: listeners.web_address(),
            transcript: Transcript::start(),
        };
        let transcript_output = Captured::default();
        let (stop, stopped) = smol::channel::bounded(1);
        let output: TranscriptOutput = (Box::new(transcript_output.clone()), Style::Plain);
        let server = move || {
            let opened = (listeners, open_store(&config)?);
            run(opened, &config, output, &Default::default(), async move {
                // The sender is dropped to stop the server.
                let _ = stopped.recv().await;
            })
        };
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(server);
        Chat {
            site,
            stop: Some(stop),
            thread: Some(thread.expect("a thread for the server")),
            transcript_output,
        }
    }

    /// Returns a configuration with free ports and without the page.
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

    /// Returns a configuration with free ports and the page.
    pub fn config_with_web() -> ServerConfig {
        let web = WebConfig {
            host: "127.0.0.1".into(),
            port: 0,
            metrics_are_public: false,
            is_read_only: false,
            port_was_chosen: true,
            names: Vec::new(),
            trusted_proxies: Vec::new(),
        };
        ServerConfig {
            web: Some(web),
            ..Chat::config()
        }
    }

    /// Starts a server with a page, and returns the address of the page.
    pub fn with_page(limits: Limits) -> (Self, SocketAddr) {
        let chat = Chat::with_config(ServerConfig {
            limits,
            ..Chat::config_with_web()
        });
        let web = chat.web.expect("a page");
        (chat, web)
    }

    /// Asks the server to stop, as a signal does.
    pub fn begin_stop(&mut self) {
        self.stop = None;
    }

    /// Waits until the server has stopped.
    pub fn wait_for_end(&mut self) {
        self.begin_stop();
        let Some(server) = self.thread.take() else {
            return;
        };
        let has_ended = Deadline::new().poll(|| server.is_finished());
        if thread::panicking() {
            return;
        }
        assert!(has_ended, "the server did not stop within {PATIENCE:?}");
        let result = server.join().expect("the server does not panic");
        result.expect("the server stops in order");
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let transcript = self.site.transcript.clone();
        transcript.print_on_panic(&self.transcript_output.text());
        self.wait_for_end();
    }
}

/// The server program. Killed and reaped when dropped.
pub struct RealServer {
    site: Site,
    program: Program,
    /// Standard output; empty where the test has that end itself.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
}

impl Deref for RealServer {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl RealServer {
    /// Starts the program with free ports and these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        RealServer::from_command(RealServer::command(arguments))
    }

    /// Returns the command of [`RealServer::start`].
    pub fn command(arguments: &[&str]) -> Command {
        let mut command = RealServer::bare_command(&["--port", "0"]);
        if !arguments.contains(&"--host") {
            command.args(["--host", "127.0.0.1"]);
        }
        if !arguments.contains(&"--web-port") && !arguments.contains(&"--no-web") {
            command.args(["--web-port", "0"]);
        }
        command.args(arguments);
        command
    }

    /// Returns a command with these arguments only.
    pub fn bare_command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolchat-server"));
        command.args(arguments);
        RealServer::in_pipes(command)
    }

    /// Returns the command of [`RealServer::command`] in a shell that runs `setup` before.
    pub fn command_after(setup: &str, arguments: &[&str]) -> Command {
        let command = RealServer::command(arguments);
        let mut shell = Command::new("sh");
        // The shell becomes the server, which thus has the process number of the shell.
        shell.args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")]);
        shell.arg(command.get_program()).args(command.get_args());
        RealServer::in_pipes(shell)
    }

    fn in_pipes(mut command: Command) -> Command {
        command.env_remove("RUST_LOG").env_remove("NO_COLOR");
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command that becomes the program, and waits for its start-up lines.
    pub fn from_command(command: Command) -> Self {
        let has_web = !command.get_args().any(|argument| argument == "--no-web");
        let program = Program::spawn_as_is(command);
        let mut server = RealServer {
            site: Site {
                address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
                web: None,
                transcript: Transcript::start(),
            },
            stdout: program.stdout.clone(),
            stderr: program.stderr.clone(),
            program,
        };
        let is_ready = Deadline::new().poll(|| {
            let has_ended = server.program.try_wait().is_some();
            let lines = server.stderr.lines();
            let after = |words| lines.iter().find_map(|line| address_after(line, words));
            let chat = after("clients connect to ");
            server.site.web = after("the web page is at http://");
            server.site.address = chat.unwrap_or(server.site.address);
            let is_ready = chat.is_some() && (server.site.web.is_some() || !has_web);
            assert!(is_ready || !has_ended, "the server has ended");
            is_ready
        });
        assert!(is_ready, "no start-up lines");
        server
    }

    /// Returns its process number.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// Sends it a signal, `TERM` or `INT`.
    pub fn signal(&self, signal: &str) {
        send_signal(self.id(), signal);
    }

    /// Halts the program, and waits until it is.
    #[cfg(target_os = "linux")]
    pub fn halt(&self) {
        self.signal("STOP");
        eventually(PATIENCE, "the server is halted", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()));
            stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T')))
        });
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.program.try_wait().is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.program.wait_by(Deadline::after(limit))
    }

    /// Returns its peak memory in bytes; none where the system does not tell.
    pub fn peak_bytes(&self) -> Option<u64> {
        peak_bytes(self.id())
    }

    /// Returns its memory in bytes; none where the system does not tell.
    pub fn memory_bytes(&self) -> Option<u64> {
        status_bytes(self.id(), "VmRSS:")
    }

    /// Allows its peak memory to grow by `bytes` from here on.
    pub fn memory_may_grow(&self, bytes: u64) -> MemoryBound {
        MemoryBound {
            before: self.peak_bytes(),
            bytes,
        }
    }

    /// Fails if the server does not sleep during two seconds.
    #[track_caller]
    pub fn check_idle(&self) {
        let before = self.cpu_ticks();
        thread::sleep(Duration::from_secs(2));
        let (Some(before), Some(after)) = (before, self.cpu_ticks()) else {
            return super::skip("this system does not tell the CPU time of a process");
        };
        let used = after - before;
        assert!(used < 30, "{used} hundredths of a second of CPU time");
    }

    /// Returns its CPU time in hundredths of a second; none where the system does not tell.
    fn cpu_ticks(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The name may hold anything; the state and 11 further numbers follow it.
        let after_name = stat.rsplit(')').next().unwrap_or("");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(ticks(11)? + ticks(12)?)
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        self.site.transcript.print_on_panic("");
    }
}

/// A bound on the growth of the memory of a server.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBound {
    before: Option<u64>,
    bytes: u64,
}

impl MemoryBound {
    /// Fails if the server has used more.
    #[track_caller]
    pub fn check(self, server: &RealServer) {
        let (Some(before), Some(peak)) = (self.before, server.peak_bytes()) else {
            return super::skip("this system does not tell the memory of a process");
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

/// Returns arguments that delay no client, and these.
pub fn unpaced_with(arguments: &[&'static str]) -> Vec<&'static str> {
    [&["--rate", "10000000", "--burst", "10000000"], arguments].concat()
}

/// Waits until this many users are connected; skips every other line.
#[track_caller]
pub fn wait_for_users(client: &mut LineClient, count: usize) {
    let beginning = format!("Connected users ({count}): ");
    super::eventually(PATIENCE, &beginning, || {
        client.request("users", "");
        let (_, list) = client.skip_until("a list of users", |said| {
            said.0 == SERVER && said.1.starts_with("Connected users (")
        });
        list.1.starts_with(&beginning)
    });
}
