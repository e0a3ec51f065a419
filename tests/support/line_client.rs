//! A client over a plain socket, which compares each line with the expected one.

use super::deadline::Deadline;
use super::link::Link;
use super::transcript::Transcript;
use serde_json::{Value, json};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};

/// Source and message of a line of the basic dialect.
pub type Said = (String, String);

/// Source of the lines of the server.
pub const SERVER: &str = "[Server]";

/// A client over a plain socket. Each expectation has one deadline, whatever arrives meanwhile.
#[derive(Debug)]
pub struct LineClient {
    pub stream: Link,
    /// Name in the chat, as far as the server has confirmed it.
    pub name: String,
    label: String,
}

impl LineClient {
    /// Returns a client on this connection.
    #[track_caller]
    pub fn new(stream: TcpStream, label: &str, transcript: &Transcript) -> Self {
        LineClient {
            name: stream.local_addr().expect("an address").to_string(),
            stream: Link::new(stream, label, transcript.clone()),
            label: label.to_owned(),
        }
    }

    /// Returns its address.
    pub fn address(&self) -> String {
        self.socket_address().to_string()
    }

    pub fn socket_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }

    /// Fails the test.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        panic!("{} ({}): {what}", self.label, self.name)
    }

    // Sending

    /// Sends these bytes.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send(bytes) {
            self.fail(&format!("cannot send: {error}"));
        }
    }

    /// Sends these bytes.
    ///
    /// # Errors
    ///
    /// When the connection does not take all of them within the time of one expectation.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.begin(Deadline::new());
        self.stream.send(bytes)
    }

    /// Sends a line of this type with this data.
    #[track_caller]
    pub fn request(&mut self, kind: &str, data: &str) {
        self.send_raw(&request(kind, data));
    }

    /// Sends a message.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.request("message", text);
    }

    /// Sends a message and receives it next.
    #[track_caller]
    pub fn say_and_hear(&mut self, text: &str) {
        self.say(text);
        let name = self.name.clone();
        self.expect(&name, text);
    }

    /// Sends a message and skips lines up to it.
    #[track_caller]
    pub fn say_and_skip_to(&mut self, text: &str) -> Vec<Said> {
        self.say(text);
        let name = self.name.clone();
        self.skip_to(&name, text)
    }

    /// Sends numbered messages in batches and receives them; returns the other lines.
    #[track_caller]
    pub fn say_many(&mut self, count: usize, text: &str) -> Vec<Said> {
        let message = |number: usize| format!("{number} {text}");
        let numbers: Vec<usize> = (0..count).collect();
        let mut others = Vec::new();
        for batch in numbers.chunks(50) {
            let lines = batch.iter().flat_map(|n| request("message", &message(*n)));
            self.send_raw(&lines.collect::<Vec<u8>>());
            let name = self.name.clone();
            let last = message(batch[batch.len() - 1]);
            let skipped = self.skip_to(&name, &last);
            others.extend(skipped.into_iter().filter(|said| said.0 != name));
        }
        others
    }

    /// Requests another name and receives the confirmation next.
    #[track_caller]
    pub fn rename(&mut self, name: &str) {
        self.request("set-name", name);
        let old = std::mem::replace(&mut self.name, name.to_owned());
        self.expect_notice(&format!("{old} renamed to {name}"));
    }

    /// Closes its sending side.
    #[track_caller]
    pub fn finish_sending(&mut self) {
        self.stream.note("→", b"(end)");
        self.stream.shutdown(Shutdown::Write).expect("half-close");
    }

    /// Closes the connection by a reset.
    pub fn reset(self) {
        self.stream.set_reset();
    }

    // Receiving

    /// Returns the bytes of the next line with its newline; none at the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of [`Link::line`].
    pub fn try_next_line(&mut self, deadline: Deadline) -> io::Result<Option<Vec<u8>>> {
        self.stream.begin(deadline);
        self.stream.line()
    }

    #[track_caller]
    fn next_line_by(&mut self, deadline: Deadline) -> Option<Vec<u8>> {
        match self.try_next_line(deadline) {
            Ok(line) => line,
            Err(error) => self.fail(&format!("no line: {error}")),
        }
    }

    #[track_caller]
    fn next_by(&mut self, deadline: Deadline) -> Option<Said> {
        let line = self.next_line_by(deadline)?;
        match decode(&line) {
            Some(said) => Some(said),
            None => self.fail(&format!(
                "not a line of the basic dialect: {}",
                String::from_utf8_lossy(&line)
            )),
        }
    }

    /// Returns the bytes of the next line with its newline; none at the end of the stream.
    #[track_caller]
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        self.next_line_by(Deadline::new())
    }

    /// Returns the next line, which has exactly the keys of the basic dialect; none at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<Said> {
        self.next_by(Deadline::new())
    }

    /// Returns the next line; fails at the end.
    #[track_caller]
    pub fn must_get(&mut self) -> Said {
        match self.next() {
            Some(said) => said,
            None => self.fail("a line expected, but the stream ends"),
        }
    }

    /// Expects this line next.
    #[track_caller]
    pub fn expect(&mut self, source: &str, message: &str) {
        let said = self.next();
        let is_expected = said
            .as_ref()
            .is_some_and(|said| said.0 == source && said.1 == message);
        if !is_expected {
            self.fail(&format!(
                "expected\n  {source}: {message:?}\nand received\n  {said:?}"
            ));
        }
    }

    /// Expects this line of the server next.
    #[track_caller]
    pub fn expect_notice(&mut self, message: &str) {
        self.expect(SERVER, message);
    }

    /// Expects a line of the server next and returns its message.
    #[track_caller]
    pub fn notice(&mut self) -> String {
        let (source, message) = self.must_get();
        if source != SERVER {
            self.fail(&format!(
                "a line of the server expected, not {source}: {message:?}"
            ));
        }
        message
    }

    /// Expects its own arrival next.
    #[track_caller]
    pub fn expect_own_arrival(&mut self) {
        self.expect_notice(&format!("{} has entered the chat", self.name));
    }

    /// Skips lines up to this one and returns them.
    #[track_caller]
    pub fn skip_to(&mut self, source: &str, message: &str) -> Vec<Said> {
        self.skip_until(&format!("{source}: {message:?}"), |said| {
            said.0 == source && said.1 == message
        })
        .0
    }

    /// Skips lines up to one that fits; returns those before it and the line.
    #[track_caller]
    pub fn skip_until(&mut self, what: &str, fits: impl Fn(&Said) -> bool) -> (Vec<Said>, Said) {
        let deadline = Deadline::new();
        let mut skipped = Vec::new();
        loop {
            match self.next_by(deadline) {
                Some(said) if fits(&said) => return (skipped, said),
                Some(said) => skipped.push(said),
                None => self.fail(&format!("{what} expected, but the stream ends")),
            }
        }
    }

    /// Expects the end of the stream next.
    #[track_caller]
    pub fn expect_end(&mut self) {
        if let Some(said) = self.next() {
            self.fail(&format!("the end expected, not {said:?}"));
        }
    }

    /// Returns all lines up to the end of the stream.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<Said> {
        let deadline = Deadline::new();
        std::iter::from_fn(|| self.next_by(deadline)).collect()
    }

    /// Reads to the end or a reset; returns the lines and the bytes after the last of them.
    #[track_caller]
    pub fn read_until_broken(&mut self) -> (Vec<Said>, Vec<u8>) {
        let deadline = Deadline::new();
        let mut lines = Vec::new();
        loop {
            match self.try_next_line(deadline) {
                Ok(Some(line)) => match decode(&line) {
                    Some(said) => lines.push(said),
                    None => self.fail("not a line of the basic dialect"),
                },
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.fail("the stream does not end")
                }
                Ok(None) | Err(_) => return (lines, self.stream.unfinished_line()),
            }
        }
    }
}

/// Returns a line of a client.
pub fn request(kind: &str, data: &str) -> Vec<u8> {
    format!("{}\n", json!({ "type": kind, "data": data })).into_bytes()
}

/// Parses a line of the server; none unless it has exactly the keys of the basic dialect.
pub fn decode(line: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let source = value["data"]["source"].as_str()?.to_owned();
    let message = value["data"]["message"].as_str()?.to_owned();
    let exact = json!({ "type": "message", "data": { "source": source, "message": message } });
    (value == exact && line.ends_with(b"\n")).then_some((source, message))
}
