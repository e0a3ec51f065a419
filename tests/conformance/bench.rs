//! What the conformance tests stand on: a server to talk to, and a small line client.
//!
//! Used by the conformance tests only. It must never import the library that it tests: it knows
//! sockets, lines and the protocol, so that it judges any server.
//!
//! Others may be present. A trial knows the names of its own users, and a client hears only what
//! concerns them or what the server says to it alone; in that it is strict: the next line must
//! be the expected one.

use serde_json::Value;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::{HashSet, VecDeque};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The source of what the server itself says.
pub(crate) const SERVER: &str = "[Server]";
/// How long a single wait may take. Far more than anything needs: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a whole test may take.
const TRIAL_LIMIT: Duration = Duration::from_secs(150);
/// Names the server that is tested, as `host:port`; without it the tests start their own.
const TARGET: &str = "SMOLCHAT_TARGET";
/// Lines of the record that a failure prints.
const RECORD_LINES: usize = 300;
/// Characters of each of them.
const RECORD_WIDTH: usize = 240;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server that the tests started. Killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smolchat-server"));
        command.args(["--port", "0", "--no-web"]).args(options);
        command.env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = child.stderr.take().expect("a pipe");
        let (found, address) = mpsc::channel();
        // Reads to the end, so that the server never waits for this pipe.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let told = line.split_once("clients connect to ");
                let word = told.and_then(|(_, rest)| rest.split([' ', '/', ';', ',']).next());
                match word.and_then(|word| word.trim_end_matches(['.', ':']).parse().ok()) {
                    // Only the first one is waited for.
                    Some(address) => drop(found.send(address)),
                    None => eprintln!("the server: {line}"),
                }
            }
        });
        let address = address.recv_timeout(PATIENCE);
        if address.is_err() {
            // Nobody else would end it.
            let _ = child.kill();
        }
        Server {
            child,
            address: address.expect("the server tells its address"),
        }
    }

    /// The server that the tests of this run share while one of them needs it.
    fn shared() -> Arc<Server> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = lock(&SHARED);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// The most memory that it ever had in use, in bytes; none where the system does not tell.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("sh runs").success(), "{kill}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the clients of one test share.
#[derive(Debug)]
struct Record {
    /// Names of the test's own users, also those that they had before.
    names: Mutex<HashSet<String>>,
    lines: Mutex<VecDeque<String>>,
    end: Instant,
}

impl Record {
    fn note(&self, label: &str, arrow: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * RECORD_WIDTH)]);
        let mut line: String = text.chars().take(RECORD_WIDTH).collect();
        if line.len() < bytes.len() {
            line.push_str(&format!("… ({} bytes)", bytes.len()));
        }
        let mut lines = lock(&self.lines);
        if lines.len() == RECORD_LINES {
            lines.pop_front();
        }
        lines.push_back(format!("{label:>10} {arrow} {}", line.escape_debug()));
    }

    fn claim(&self, name: &str) {
        lock(&self.names).insert(name.to_owned());
    }

    fn release(&self, name: &str) {
        lock(&self.names).remove(name);
    }

    fn is_own(&self, name: &str) -> bool {
        lock(&self.names).contains(name)
    }
}

/// One test: the server, and a record of everything that its clients sent and heard.
#[derive(Debug)]
pub(crate) struct Trial {
    address: SocketAddr,
    /// The server, if the tests started it.
    pub(crate) server: Option<Arc<Server>>,
    record: Arc<Record>,
}

impl Trial {
    /// At the server that all tests share, which others may use too.
    pub(crate) fn new() -> Self {
        match std::env::var(TARGET) {
            Ok(target) => {
                let addresses = target.to_socket_addrs();
                let mut addresses = addresses.unwrap_or_else(|error| {
                    panic!("{TARGET}={target:?} is no address ({error}); write host:port")
                });
                let address = addresses.find(|address| TcpStream::connect(address).is_ok());
                let Some(address) = address else {
                    panic!("{TARGET}={target:?}: nobody listens there; start a server first")
                };
                Trial::at(address, None)
            }
            Err(_) => {
                let server = Server::shared();
                Trial::at(server.address, Some(server))
            }
        }
    }

    /// At a server of its own with these options; none if the server is somebody else's.
    pub(crate) fn own(options: &[&str]) -> Option<Self> {
        if std::env::var_os(TARGET).is_some() {
            let test = thread::current().name().unwrap_or("a test").to_owned();
            let why = format!("SKIPPED: {test} needs a server of its own, and {TARGET} is set");
            println!("{why}");
            // What a test prints is shown only where it fails; this is to be seen.
            let _ = writeln!(std::io::stderr().lock(), "{why}");
            return None;
        }
        let server = Arc::new(Server::start(options));
        Some(Trial::at(server.address, Some(server)))
    }

    /// At a server of its own that holds back no flood of bytes, for tests that send so much
    /// that the pacing would take minutes; or at somebody else's, however long it takes.
    pub(crate) fn unpaced() -> Self {
        if std::env::var_os(TARGET).is_some() {
            return Trial::new();
        }
        let server = Arc::new(Server::start(&[
            "--rate", "10000000", "--burst", "10000000",
        ]));
        Trial::at(server.address, Some(server))
    }

    fn at(address: SocketAddr, server: Option<Arc<Server>>) -> Self {
        Trial {
            address,
            server,
            record: Arc::new(Record {
                names: Mutex::default(),
                lines: Mutex::default(),
                end: Instant::now() + TRIAL_LIMIT,
            }),
        }
    }

    /// Another trial at the same server, to which the users of this one are strangers.
    pub(crate) fn sibling(&self) -> Self {
        Trial::at(self.address, self.server.clone())
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A name that nobody else has; what is said of it is this test's affair.
    pub(crate) fn name(&self, word: &str) -> String {
        let name = format!("{word}-{}", unique());
        self.claim(&name);
        name
    }

    /// What is said of this name is this test's affair.
    pub(crate) fn claim(&self, name: &str) {
        self.record.claim(name);
    }

    /// A client of which nothing is known yet, not even that it was let in.
    #[track_caller]
    pub(crate) fn connect_raw(&self, label: &str) -> Client {
        self.connect_to(self.address, label)
    }

    /// The same by another address.
    #[track_caller]
    pub(crate) fn connect_to(&self, address: SocketAddr, label: &str) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        let stream = stream.unwrap_or_else(|error| panic!("{label} cannot connect: {error}"));
        Client::new(stream, label, &self.record)
    }

    /// A client that saw its own arrival, and nobody else's before it.
    #[track_caller]
    pub(crate) fn connect(&self, label: &str) -> Client {
        let mut client = self.connect_raw(label);
        client.arrive();
        client
    }

    /// A client that buffers as little as the system allows; it saw its own arrival.
    #[track_caller]
    pub(crate) fn connect_narrow(&self, label: &str) -> Client {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_recv_buffer_size(2048).expect("a small buffer");
        socket
            .connect(&self.address.into())
            .expect("a narrow client connects");
        let mut client = Client::new(socket.into(), label, &self.record);
        client.arrive();
        client
    }

    /// A client with a name of its own that begins with this word.
    #[track_caller]
    pub(crate) fn join(&self, word: &str) -> Client {
        let mut client = self.connect(word);
        client.rename(&self.name(word));
        client
    }

    /// Clients with such names, none of whom has anything left to hear.
    #[track_caller]
    pub(crate) fn room<const N: usize>(&self, words: [&str; N]) -> [Client; N] {
        let mut clients = words.map(|word| self.join(word));
        if let Some((last, earlier)) = clients.split_last_mut() {
            let everyone = format!("everyone is here {}", unique());
            last.say_and_hear(&everyone);
            for client in earlier {
                client.skip_to(&last.name, &everyone);
            }
        }
        clients
    }

    /// A culprit and a witness, who have heard of each other.
    #[track_caller]
    pub(crate) fn pair(&self) -> Pair {
        let [culprit, witness] = self.room(["culprit", "witness"]);
        Pair { culprit, witness }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("what was sent (→) and heard (←), newest last; ~ is about others:");
            for line in &*lock(&self.record.lines) {
                eprintln!("{line}");
            }
        }
    }
}

/// Letters and digits that no other call, test or run at this time gives.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // Hexadecimal digits never look like each other.
    format!("{:x}.{count:x}", std::process::id())
}

/// One line of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) source: String,
    pub(crate) message: String,
}

impl Line {
    pub(crate) fn new(source: &str, message: &str) -> Self {
        Line {
            source: source.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Reads a line strictly: nothing but this form may ever be sent to a basic client.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let keys = |value: &Value| -> Vec<String> {
            let object = value.as_object();
            object.map_or_else(Vec::new, |object| object.keys().cloned().collect())
        };
        let mut outer = keys(&value);
        let mut inner = keys(&value["data"]);
        outer.sort();
        inner.sort();
        if outer != ["data", "type"] || inner != ["message", "source"] {
            return Err(format!("its keys are {outer:?} and {inner:?}"));
        }
        if value["type"] != "message" {
            return Err(format!("its type is {}", value["type"]));
        }
        let data = &value["data"];
        let (Some(source), Some(message)) = (data["source"].as_str(), data["message"].as_str())
        else {
            return Err("source and message are no strings".to_owned());
        };
        let harmful = |c: char| c.is_control() && c != '\t';
        if source.chars().any(char::is_control) || message.chars().any(harmful) {
            return Err("it holds a control character".to_owned());
        }
        Ok(Line::new(source, message))
    }

    /// Whom a public notice of the server is about; `""` if about many.
    pub(crate) fn subject(&self) -> Option<&str> {
        if self.source != SERVER {
            return None;
        }
        let text = &*self.message;
        let of_many = [
            "users have entered the chat",
            "users have left the chat",
            " entered the chat, ",
        ];
        if of_many.iter().any(|words| text.contains(words)) {
            return Some("");
        }
        text.strip_suffix(" has entered the chat")
            .or_else(|| text.strip_suffix(" has left the chat"))
            .or_else(|| text.split_once(" renamed to ").map(|(old, _)| old))
    }
}

/// Why there was no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// None came in time.
    Silence,
    /// The server closed in order.
    End,
    /// The connection broke.
    Reset,
}

/// A client over a plain socket.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    address: SocketAddr,
    /// Its name in the chat, as far as it was told.
    pub(crate) name: String,
    label: String,
    buffer: Vec<u8>,
    /// Bytes of `buffer` in which no newline is.
    searched: usize,
    record: Arc<Record>,
}

impl Client {
    fn new(stream: TcpStream, label: &str, record: &Arc<Record>) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a deadline");
        // Its first name, unless something on the way translates addresses.
        let address = stream.local_addr().expect("an address");
        let name = address.to_string();
        record.claim(&name);
        Client {
            stream,
            address,
            name,
            label: label.to_owned(),
            buffer: Vec::new(),
            searched: 0,
            record: record.clone(),
        }
    }

    /// Its own end of the connection.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fails the test.
    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        panic!("{} ({}): {what}", self.label, self.name)
    }

    // Sending

    /// Sends these bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if !self.try_send(bytes) {
            self.fail("cannot send");
        }
    }

    /// Sends these bytes; false if the connection does not take all of them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.record.note(&self.label, "→", bytes);
        let mut rest = bytes;
        while !rest.is_empty() && Instant::now() < self.record.end {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("({error})");
                    self.record.note(&self.label, "→", what.as_bytes());
                    return false;
                }
            }
        }
        rest.is_empty()
    }

    /// Sends a line of this type with this data.
    #[track_caller]
    pub(crate) fn request(&mut self, kind: &str, data: &str) {
        self.send(&request(kind, data));
    }

    /// Says something.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.request("message", text);
    }

    /// Says something, and hears its echo next.
    #[track_caller]
    pub(crate) fn say_and_hear(&mut self, text: &str) {
        self.say(text);
        self.echo(text);
    }

    /// Hears next that itself said this.
    #[track_caller]
    pub(crate) fn echo(&mut self, text: &str) {
        let name = self.name.clone();
        self.expect(&name, text);
    }

    /// Asks for another name, and hears next that it has it.
    #[track_caller]
    pub(crate) fn rename(&mut self, name: &str) {
        self.record.claim(name);
        self.request("set-name", name);
        let old = std::mem::replace(&mut self.name, name.to_owned());
        self.expect(SERVER, &format!("{old} renamed to {name}"));
    }

    /// Ends its sending side.
    #[track_caller]
    pub(crate) fn finish_sending(&mut self) {
        self.record
            .note(&self.label, "→", b"(end of its sending side)");
        self.stream.shutdown(Shutdown::Write).expect("a shutdown");
    }

    /// Vanishes with a reset.
    pub(crate) fn reset(self) {
        self.record.note(&self.label, "→", b"(reset)");
        let linger = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        linger.expect("no linger");
    }

    // Hearing

    /// The next line of anybody.
    fn next(&mut self, deadline: Instant) -> Result<Line, Nothing> {
        let deadline = deadline.min(self.record.end);
        let mut chunk = [0; 16 * 1024];
        loop {
            let newline = self.buffer[self.searched..]
                .iter()
                .position(|b| *b == b'\n');
            if let Some(offset) = newline {
                let end = self.searched + offset;
                self.searched = 0;
                let bytes: Vec<u8> = self.buffer.drain(..=end).collect();
                return match Line::parse(&bytes) {
                    Ok(line) => Ok(self.noted(line)),
                    Err(why) => {
                        let text = String::from_utf8_lossy(&bytes);
                        self.fail(&format!(
                            "got what is no line of the protocol, {why}: {text:?}"
                        ))
                    }
                };
            }
            self.searched = self.buffer.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Nothing::Silence);
            }
            self.stream
                .set_read_timeout(Some(left))
                .expect("a deadline");
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.record.note(&self.label, "←", b"(end)");
                    if !self.buffer.is_empty() {
                        let text = String::from_utf8_lossy(&self.buffer).into_owned();
                        self.fail(&format!("the last line has no newline: {text:?}"));
                    }
                    return Err(Nothing::End);
                }
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    _ => {
                        let what = format!("({error})");
                        self.record.note(&self.label, "←", what.as_bytes());
                        return Err(Nothing::Reset);
                    }
                },
            }
        }
    }

    fn noted(&self, line: Line) -> Line {
        let arrow = if self.concerns(&line) { "←" } else { "~" };
        let text = format!("{}: {}", line.source, line.message);
        self.record.note(&self.label, arrow, text.as_bytes());
        line
    }

    /// Whether a line is this test's affair.
    fn concerns(&self, line: &Line) -> bool {
        match line.subject() {
            Some(subject) => self.record.is_own(subject),
            None => line.source == SERVER || self.record.is_own(&line.source),
        }
    }

    /// The next line that concerns this test, if it comes by then.
    pub(crate) fn hear_by(&mut self, deadline: Instant) -> Result<Line, Nothing> {
        loop {
            let line = self.next(deadline)?;
            if self.concerns(&line) {
                return Ok(line);
            }
        }
    }

    /// The next line that concerns this test.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Line {
        match self.hear_by(Instant::now() + PATIENCE) {
            Ok(line) => line,
            Err(nothing) => self.fail(&format!("heard nothing more: {nothing:?}")),
        }
    }

    /// The next line of anybody.
    #[track_caller]
    pub(crate) fn hear_anybody(&mut self) -> Line {
        match self.next(Instant::now() + PATIENCE) {
            Ok(line) => line,
            Err(nothing) => self.fail(&format!("heard nothing more: {nothing:?}")),
        }
    }

    /// Hears its own arrival, before anything else.
    #[track_caller]
    pub(crate) fn arrive(&mut self) {
        let line = self.hear_anybody();
        let name = line.message.strip_suffix(" has entered the chat");
        let (SERVER, Some(name)) = (&*line.source, name) else {
            self.fail(&format!("its own arrival is not the first line: {line:?}"))
        };
        name.clone_into(&mut self.name);
        self.record.claim(name);
        let own = self.address();
        if own.ip().is_loopback() && name != own.to_string() {
            self.fail(&format!("it is {own} and was announced as {name:?}"));
        }
        if name.parse::<SocketAddr>().is_err() {
            self.fail(&format!("its first name is no address: {name:?}"));
        }
    }

    /// Hears this next.
    #[track_caller]
    pub(crate) fn expect(&mut self, source: &str, message: &str) {
        let line = self.hear();
        if line != Line::new(source, message) {
            self.fail(&format!(
                "heard {line:?} where {source:?} was to say {message:?}"
            ));
        }
    }

    /// Hears next that the server says this.
    #[track_caller]
    pub(crate) fn notice(&mut self, message: &str) {
        self.expect(SERVER, message);
    }

    /// Hears next that the server says something to it alone.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> String {
        let line = self.hear();
        if line.source != SERVER || line.subject().is_some() {
            self.fail(&format!("heard {line:?} where the server was to answer"));
        }
        line.message
    }

    /// Hears next that it is refused: in a sentence, which is none of the other replies.
    #[track_caller]
    pub(crate) fn refusal(&mut self) -> String {
        let told = self.reply();
        let others = [
            "Connected users",
            "No messages yet",
            "Your name is already",
            "The server is shutting down",
            "The chat is full",
        ];
        if others.iter().any(|other| told.starts_with(other)) {
            self.fail(&format!("was told {told:?} where it was to be refused"));
        }
        if told.split_whitespace().count() < 3 || told.len() > 1000 {
            self.fail(&format!("a refusal is a sentence, not {told:?}"));
        }
        told
    }

    /// Passes over lines up to this one.
    #[track_caller]
    pub(crate) fn skip_to(&mut self, source: &str, message: &str) {
        while self.hear() != Line::new(source, message) {}
    }

    /// Every public line of anybody up to this one, which is included.
    #[track_caller]
    pub(crate) fn everything_to(&mut self, source: &str, message: &str) -> Vec<Line> {
        let last = Line::new(source, message);
        let mut lines = Vec::new();
        while lines.last() != Some(&last) {
            lines.push(self.hear_anybody());
        }
        lines
    }

    /// Its user is gone: nothing more concerns it, and the server closes in order.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        match self.hear_by(Instant::now() + PATIENCE) {
            Err(Nothing::End) => {}
            other => self.fail(&format!("the server was to close, instead: {other:?}")),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The system gives the port to others now; only a departure may still be told of it.
        let address = self.address().to_string();
        if self.name != address {
            self.record.release(&address);
        }
    }
}

/// A line of a client.
pub(crate) fn request(kind: &str, data: &str) -> Vec<u8> {
    let mut line = serde_json::json!({ "type": kind, "data": data }).to_string();
    line.push('\n');
    line.into_bytes()
}

/// Somebody who sends what is refused, and somebody who may not learn of it.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) culprit: Client,
    pub(crate) witness: Client,
}

impl Pair {
    /// The line is refused in one sentence to the culprit alone, and then all goes on.
    #[track_caller]
    pub(crate) fn refused(&mut self, line: &[u8]) -> String {
        self.culprit.send(&[line, b"\n"].concat());
        let told = self.culprit.refusal();
        self.goes_on();
        told
    }

    /// The connection is as usable as before, and the witness has learned nothing.
    #[track_caller]
    pub(crate) fn goes_on(&mut self) {
        self.said(&format!("goes on {}", unique()));
    }

    /// The text is said as it is.
    #[track_caller]
    pub(crate) fn said(&mut self, text: &str) {
        self.said_as(text, text);
    }

    /// The text is said in this form.
    #[track_caller]
    pub(crate) fn said_as(&mut self, text: &str, heard: &str) {
        self.culprit.say(text);
        self.heard(heard);
    }

    /// Both hear the culprit say this next.
    #[track_caller]
    pub(crate) fn heard(&mut self, text: &str) {
        self.culprit.echo(text);
        self.witness.expect(&self.culprit.name, text);
    }

    /// The name is refused, and the culprit keeps its own.
    #[track_caller]
    pub(crate) fn name_refused(&mut self, name: &str) {
        self.culprit.request("set-name", name);
        let line = self.culprit.hear();
        if line.source != SERVER || line.subject().is_some() {
            self.culprit
                .fail(&format!("{name:?} was to be refused, heard {line:?}"));
        }
        self.goes_on();
    }

    /// The name is taken and announced in this form.
    #[track_caller]
    pub(crate) fn name_accepted(&mut self, name: &str, announced: &str) {
        let old = self.culprit.name.clone();
        self.culprit.record.claim(announced);
        self.culprit.request("set-name", name);
        for client in [&mut self.culprit, &mut self.witness] {
            client.notice(&format!("{old} renamed to {announced}"));
        }
        announced.clone_into(&mut self.culprit.name);
        self.goes_on();
    }
}
