//! The conformance tests' view of a server that others may use at the same time.
//!
//! A trial knows the names of its own users. A client skips lines about other users, and compares
//! each line about its own with the expected one. Nothing here depends on the library: any server
//! can be judged.

use crate::support::line_client::SERVER as SERVER_SOURCE;
use crate::support::{Deadline, LineClient, RealServer, Site, Transcript, skip};
use serde_json::Value;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

pub(crate) use crate::support::{PATIENCE, request};

/// Source of the lines of the server.
pub(crate) const SERVER: &str = SERVER_SOURCE;
/// Variable that names the server to test as `host:port`. Without it, the tests start their own.
const TARGET: &str = "SMOLCHAT_TARGET";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the server that all tests of this run share while one of them needs it.
fn shared_server() -> Arc<RealServer> {
    static SHARED: Mutex<Weak<RealServer>> = Mutex::new(Weak::new());
    let mut shared = lock(&SHARED);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(RealServer::start(&["--no-web"]));
        *shared = Arc::downgrade(&server);
        server
    })
}

/// Returns the address of the server that `SMOLCHAT_TARGET` names.
fn target() -> Option<SocketAddr> {
    let target = std::env::var(TARGET).ok()?;
    let mut addresses = target.to_socket_addrs().unwrap_or_else(|error| {
        panic!("{TARGET}={target:?} is no address ({error}); write host:port")
    });
    let address = addresses.find(|address| TcpStream::connect(address).is_ok());
    let message = "nobody listens there; start a server first";
    Some(address.unwrap_or_else(|| panic!("{TARGET}={target:?}: {message}")))
}

/// Names of a trial's users, former names included.
#[derive(Clone, Debug, Default)]
struct Names(Arc<Mutex<HashSet<String>>>);

impl Names {
    fn claim(&self, name: &str) {
        lock(&self.0).insert(name.to_owned());
    }

    fn release(&self, name: &str) {
        lock(&self.0).remove(name);
    }

    fn contains(&self, name: &str) -> bool {
        lock(&self.0).contains(name)
    }
}

/// One test at one server.
pub(crate) struct Trial {
    site: Site,
    /// The server; none where the tests have not started it.
    pub(crate) server: Option<Arc<RealServer>>,
    names: Names,
}

impl Trial {
    /// Returns a trial at the shared server, or at the one that `SMOLCHAT_TARGET` names.
    pub(crate) fn new() -> Self {
        match target() {
            Some(address) => Trial::at(address, None),
            None => {
                let server = shared_server();
                Trial::at(server.address, Some(server))
            }
        }
    }

    /// Returns a trial at a server of its own; none where `SMOLCHAT_TARGET` names the server.
    pub(crate) fn own(options: &[&str]) -> Option<Self> {
        if std::env::var_os(TARGET).is_some() {
            skip(&format!(
                "it needs a server of its own, and {TARGET} is set"
            ));
            return None;
        }
        let server = Arc::new(RealServer::start(&[&["--no-web"], options].concat()));
        Some(Trial::at(server.address, Some(server)))
    }

    /// Returns a trial at a server that delays no client, or at the one that `SMOLCHAT_TARGET`
    /// names.
    pub(crate) fn unpaced() -> Self {
        Trial::own(&["--rate", "10000000", "--burst", "10000000"]).unwrap_or_else(Trial::new)
    }

    fn at(address: SocketAddr, server: Option<Arc<RealServer>>) -> Self {
        Trial {
            site: Site {
                address,
                web: None,
                transcript: Transcript::start(),
            },
            server,
            names: Names::default(),
        }
    }

    /// Returns another trial at the same server.
    pub(crate) fn sibling(&self) -> Self {
        Trial::at(self.site.address, self.server.clone())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.site.address
    }

    /// Returns a name that no other test has, and claims it.
    pub(crate) fn name(&self, word: &str) -> String {
        let name = format!("{word}-{}", unique());
        self.claim(&name);
        name
    }

    /// Makes lines about this name part of the trial.
    pub(crate) fn claim(&self, name: &str) {
        self.names.claim(name);
    }

    /// Connects a client without waiting for an answer.
    #[track_caller]
    pub(crate) fn connect_raw(&self, label: &str) -> Client {
        self.client(self.site.connect_raw(label))
    }

    /// Connects a client to another address of the server.
    #[track_caller]
    pub(crate) fn connect_to(&self, address: SocketAddr, label: &str) -> Client {
        let site = Site {
            address,
            ..self.site.clone()
        };
        self.client(site.connect_raw(label))
    }

    /// Connects a client from another local address.
    #[track_caller]
    pub(crate) fn connect_from(&self, source: SocketAddr, label: &str) -> Client {
        self.client(self.site.connect_from(source, label))
    }

    /// Connects a client that has received its own arrival first.
    #[track_caller]
    pub(crate) fn connect(&self, label: &str) -> Client {
        let mut client = self.connect_raw(label);
        client.arrive();
        client
    }

    /// Connects a client with the smallest receive buffer, which has received its own arrival.
    #[track_caller]
    pub(crate) fn connect_narrow(&self, label: &str) -> Client {
        let mut client = self.client(self.site.connect_narrow_raw(label));
        client.arrive();
        client
    }

    fn client(&self, line: LineClient) -> Client {
        // The first name, unless something on the way translates addresses.
        let name = line.name.clone();
        self.names.claim(&name);
        Client {
            line,
            name,
            names: self.names.clone(),
        }
    }

    /// Connects a client with a name of its own that begins with this word.
    #[track_caller]
    pub(crate) fn join(&self, word: &str) -> Client {
        let mut client = self.connect(word);
        client.rename(&self.name(word));
        client
    }

    /// Connects clients with such names, which have nothing left to receive.
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

    /// Connects a culprit and a witness.
    #[track_caller]
    pub(crate) fn pair(&self) -> Pair {
        let [culprit, witness] = self.room(["culprit", "witness"]);
        Pair { culprit, witness }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let log = self.server.as_ref().map(|server| server.stderr.text());
        self.site
            .transcript
            .print_on_panic(&log.unwrap_or_default());
    }
}

/// Returns letters and digits that no other call, test or run at this time returns.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // No two hexadecimal digits look alike.
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

    /// Parses a line strictly: a basic client receives no other form.
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

    /// Returns the user that a public notice of the server is about; `""` for many users.
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

/// A client that skips lines about users of other tests.
#[derive(Debug)]
pub(crate) struct Client {
    line: LineClient,
    /// Name in the chat, as far as the server has confirmed it.
    pub(crate) name: String,
    names: Names,
}

impl Client {
    /// Returns its own end of the connection.
    pub(crate) fn address(&self) -> SocketAddr {
        self.line.socket_address()
    }

    /// Fails the test.
    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        self.line.fail(&format!("{} {what}", self.name))
    }

    // Sending

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.line.send_raw(bytes);
    }

    /// Sends these bytes; false if the connection does not take all of them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.line.try_send(bytes).is_ok()
    }

    #[track_caller]
    pub(crate) fn request(&mut self, kind: &str, data: &str) {
        self.line.request(kind, data);
    }

    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        self.line.say(text);
    }

    /// Sends a message and receives it next.
    #[track_caller]
    pub(crate) fn say_and_hear(&mut self, text: &str) {
        self.say(text);
        self.echo(text);
    }

    /// Expects its own message next.
    #[track_caller]
    pub(crate) fn echo(&mut self, text: &str) {
        let name = self.name.clone();
        self.expect(&name, text);
    }

    /// Requests another name and receives the confirmation next.
    #[track_caller]
    pub(crate) fn rename(&mut self, name: &str) {
        self.names.claim(name);
        self.request("set-name", name);
        let old = std::mem::replace(&mut self.name, name.to_owned());
        self.expect(SERVER, &format!("{old} renamed to {name}"));
    }

    #[track_caller]
    pub(crate) fn finish_sending(&mut self) {
        self.line.finish_sending();
    }

    /// Closes the connection by a reset.
    pub(crate) fn reset(self) {
        self.line.set_reset();
    }

    // Receiving

    /// Returns the next line about any user.
    fn next(&mut self, deadline: Deadline) -> Result<Line, Nothing> {
        match self.line.try_next_line(deadline) {
            Ok(Some(bytes)) => Line::parse(&bytes).map_err(|why| {
                let text = String::from_utf8_lossy(&bytes);
                self.fail(&format!("received a line of another form, {why}: {text:?}"))
            }),
            Ok(None) => Err(Nothing::End),
            Err(error) => match error.kind() {
                ErrorKind::TimedOut => Err(Nothing::Silence),
                ErrorKind::UnexpectedEof => self.fail("received a last line without a newline"),
                _ => Err(Nothing::Reset),
            },
        }
    }

    /// Whether a line is about a user of this test.
    fn concerns(&self, line: &Line) -> bool {
        match line.subject() {
            Some(subject) => self.names.contains(subject),
            None => line.source == SERVER || self.names.contains(&line.source),
        }
    }

    /// Returns the next line of this test until the deadline.
    fn next_own(&mut self, deadline: Deadline) -> Result<Line, Nothing> {
        loop {
            let line = self.next(deadline)?;
            if self.concerns(&line) {
                return Ok(line);
            }
        }
    }

    /// Returns the next line of this test within this time.
    pub(crate) fn hear_within(&mut self, time: Duration) -> Result<Line, Nothing> {
        self.next_own(Deadline::after(time))
    }

    /// Returns the next line of this test.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Line {
        match self.next_own(Deadline::new()) {
            Ok(line) => line,
            Err(nothing) => self.fail(&format!("expected a line: {nothing:?}")),
        }
    }

    /// Returns the next line about any user.
    #[track_caller]
    pub(crate) fn hear_anybody(&mut self) -> Line {
        match self.next(Deadline::new()) {
            Ok(line) => line,
            Err(nothing) => self.fail(&format!("expected a line: {nothing:?}")),
        }
    }

    /// Expects its own arrival before any other line.
    #[track_caller]
    pub(crate) fn arrive(&mut self) {
        let line = self.hear_anybody();
        let name = line.message.strip_suffix(" has entered the chat");
        let (SERVER, Some(name)) = (&*line.source, name) else {
            self.fail(&format!("its own arrival is not the first line: {line:?}"))
        };
        name.clone_into(&mut self.name);
        self.names.claim(name);
        let own = self.address();
        if own.ip().is_loopback() && name != own.to_string() {
            self.fail(&format!("it is {own} and was announced as {name:?}"));
        }
        if name.parse::<SocketAddr>().is_err() {
            self.fail(&format!("its first name is no address: {name:?}"));
        }
    }

    /// Expects this line next.
    #[track_caller]
    pub(crate) fn expect(&mut self, source: &str, message: &str) {
        let line = self.hear();
        if line != Line::new(source, message) {
            self.fail(&format!(
                "heard {line:?} where {source:?} was to say {message:?}"
            ));
        }
    }

    /// Expects this line of the server next.
    #[track_caller]
    pub(crate) fn notice(&mut self, message: &str) {
        self.expect(SERVER, message);
    }

    /// Returns the next line, which the server sends to this client alone.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> String {
        let line = self.hear();
        if line.source != SERVER || line.subject().is_some() {
            self.fail(&format!("heard {line:?} where the server was to answer"));
        }
        line.message
    }

    /// Returns the next line, which rejects a request in one sentence.
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

    /// Skips lines up to this one.
    #[track_caller]
    pub(crate) fn skip_to(&mut self, source: &str, message: &str) {
        let expected = Line::new(source, message);
        let deadline = Deadline::new();
        loop {
            match self.next_own(deadline) {
                Ok(line) if line == expected => return,
                Ok(_) => {}
                Err(nothing) => self.fail(&format!("expected {expected:?}: {nothing:?}")),
            }
        }
    }

    /// Returns every line about any user up to this one, which is included.
    #[track_caller]
    pub(crate) fn everything_to(&mut self, source: &str, message: &str) -> Vec<Line> {
        let last = Line::new(source, message);
        let deadline = Deadline::new();
        let mut lines = Vec::new();
        while lines.last() != Some(&last) {
            match self.next(deadline) {
                Ok(line) => lines.push(line),
                Err(nothing) => self.fail(&format!("expected {last:?}: {nothing:?}")),
            }
        }
        lines
    }

    /// Expects the end of the stream; no further line is about this test.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        match self.next_own(Deadline::new()) {
            Err(Nothing::End) => {}
            other => self.fail(&format!("expected the end: {other:?}")),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The system may give the port to another client now; only a departure still mentions it.
        let address = self.address().to_string();
        if self.name != address {
            self.names.release(&address);
        }
    }
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
        self.culprit.names.claim(announced);
        self.culprit.request("set-name", name);
        for client in [&mut self.culprit, &mut self.witness] {
            client.notice(&format!("{old} renamed to {announced}"));
        }
        announced.clone_into(&mut self.culprit.name);
        self.goes_on();
    }
}
