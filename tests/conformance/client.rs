//! A client of a trial, and the lines it receives.

use crate::bench::{Names, SERVER, unique};
use crate::support::{Deadline, LineClient, decode};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

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

    /// Parses a line strictly; none unless a basic client may receive it.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (source, message) = decode(bytes)?;
        let is_harmful = |c: char| c.is_control() && c != '\t';
        let is_safe = !source.chars().any(char::is_control) && !message.chars().any(is_harmful);
        is_safe.then_some(Line { source, message })
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
    pub(crate) line: LineClient,
    pub(crate) names: Names,
}

impl Deref for Client {
    type Target = LineClient;

    fn deref(&self) -> &LineClient {
        &self.line
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut LineClient {
        &mut self.line
    }
}

impl Client {
    /// Returns its own end of the connection.
    pub(crate) fn address(&self) -> SocketAddr {
        self.line.socket_address()
    }

    // Sending

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.send_raw(bytes);
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

    /// Closes the connection by a reset.
    pub(crate) fn reset(self) {
        self.line.stream.set_reset();
    }

    // Receiving

    /// Returns the next line about any user.
    fn next(&mut self, deadline: Deadline) -> Result<Line, Nothing> {
        match self.line.try_next_line(deadline) {
            Ok(Some(bytes)) => Line::parse(&bytes).ok_or_else(|| {
                let text = String::from_utf8_lossy(&bytes);
                self.fail(&format!("received a line of another form: {text:?}"))
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
        self.line.name = name.to_owned();
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
        self.culprit.reply();
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
