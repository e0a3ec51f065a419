//! Browsers: requests of the API, and a live stream that resumes.

use super::private::{PrivateBook, name_of};
use super::{Item, LISTEN, MOST_UNACKNOWLEDGED, QUIET, RETRY, World, hash};
use crate::support::http::parse_frame;
use crate::support::random::Random;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Time for one request, and for a stream without a line.
const REQUEST_TIME: Duration = Duration::from_secs(20);

/// A browser without a screen.
pub(super) struct BrowserClient {
    pub(super) number: usize,
    cookie: String,
    attempts: usize,
    /// `Last-Event-ID` of the stream.
    place: String,
    pub(super) last: u64,
    /// Hash of each message by its event id.
    pub(super) messages: HashMap<u64, u64>,
    unacknowledged: VecDeque<Item>,
    pub(super) next: u64,
    pub(super) acknowledged: HashMap<u64, u64>,
    pub(super) private: PrivateBook,
    private_ids: HashSet<u64>,
    is_idle: bool,
    random: Random,
}

/// A live stream, with the bytes of unfinished frames.
struct LiveStream {
    stream: TcpStream,
    text: Vec<u8>,
    last_byte: Instant,
}

impl LiveStream {
    /// Begins a stream. Without a success, the browser tries again.
    fn open(mut stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(REQUEST_TIME))?;
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            text.push(byte[0]);
        }
        if !text.starts_with(b"HTTP/1.1 200") {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        stream.set_read_timeout(Some(LISTEN))?;
        Ok(LiveStream {
            stream,
            text: Vec::new(),
            last_byte: Instant::now(),
        })
    }

    /// Returns the next frame, or none if none comes for a moment.
    fn next(&mut self) -> io::Result<Option<String>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
                let rest = self.text.split_off(end + 2);
                let frame = std::mem::replace(&mut self.text, rest);
                let frame = String::from_utf8(frame).expect("UTF-8");
                if frame.starts_with(':') {
                    continue;
                }
                return Ok(Some(frame.trim_end().to_owned()));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.last_byte = Instant::now();
                    self.text.extend(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return match self.last_byte.elapsed() < REQUEST_TIME {
                        true => Ok(None),
                        false => Err(ErrorKind::TimedOut.into()),
                    };
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl BrowserClient {
    pub(super) fn new(number: usize, random: Random) -> Self {
        BrowserClient {
            number,
            cookie: String::new(),
            attempts: 0,
            place: String::new(),
            last: 0,
            messages: HashMap::new(),
            unacknowledged: VecDeque::new(),
            next: 0,
            acknowledged: HashMap::new(),
            private: PrivateBook::default(),
            private_ids: HashSet::new(),
            is_idle: false,
            random,
        }
    }

    pub(super) fn run(mut self, world: &World) -> Self {
        // Every error is a reason to connect again.
        while self.visit(world).is_err() {
            thread::sleep(RETRY);
        }
        self
    }

    fn is_done(&mut self, world: &World) -> bool {
        world.report_if_idle(&mut self.is_idle, self.unacknowledged.is_empty());
        world.is_over(self.last)
    }

    /// Sends a request; returns the status and the JSON of the answer.
    fn ask(
        &mut self,
        world: &World,
        method: &str,
        path: &str,
        body: &Value,
    ) -> io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(world.web_proxy)?;
        stream.set_read_timeout(Some(REQUEST_TIME))?;
        let (body, cookie) = (body.to_string(), &self.cookie);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
             Content-Type: application/json\r\nCookie: {cookie}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8(answer).expect("UTF-8");
        let torn = || io::Error::from(ErrorKind::UnexpectedEof);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(torn)?;
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let body = serde_json::from_str(body).map_err(|_| torn())?;
        let cookie = head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "));
        if let Some((cookie, _)) = cookie.and_then(|cookie| cookie.split_once(';')) {
            self.cookie = cookie.to_owned();
        }
        Ok((status.ok_or_else(torn)?, body))
    }

    /// Joins under a name of its own: that of a join whose answer was lost is taken.
    fn join(&mut self, world: &World) -> io::Result<()> {
        let name = name_of(self.number, self.attempts);
        let (status, answer) = self.ask(world, "POST", "/api/session", &json!({"name": name}))?;
        match status {
            200 | 201 => world.names.lock().expect("no panic")[self.number] = name,
            409 => self.attempts += 1,
            503 | 429 => {}
            _ => panic!("{answer}"),
        }
        Err(ErrorKind::Interrupted.into())
    }

    fn visit(&mut self, world: &World) -> io::Result<()> {
        if self.cookie.is_empty() {
            return self.join(world);
        }
        let mut stream = TcpStream::connect(world.web_proxy)?;
        let cookie = &self.cookie;
        let resume = match self.place.as_str() {
            "" => String::new(),
            place => format!("Last-Event-ID: {place}\r\n"),
        };
        let head = format!(
            "GET /api/events HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n{resume}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut live = LiveStream::open(stream)?;
        let mut quiet_since = Instant::now();
        while !(self.is_done(world) && quiet_since.elapsed() > QUIET) {
            if let Some(frame) = live.next()? {
                quiet_since = Instant::now();
                self.take(&frame);
                continue;
            }
            if !world.is_calm.load(Ordering::Acquire)
                && self.unacknowledged.len() < MOST_UNACKNOWLEDGED
            {
                let item = Item::new(self.next, self.number, world, &mut self.random);
                self.next += 1;
                self.unacknowledged.push_back(item);
            }
            self.send_oldest(world)?;
        }
        Ok(())
    }

    /// Sends the oldest message without an acknowledgement. After a lost answer, it stays.
    fn send_oldest(&mut self, world: &World) -> io::Result<()> {
        let Some(item) = self.unacknowledged.front().cloned() else {
            return Ok(());
        };
        let (kind, data) = item.data(self.number);
        let path = match kind {
            "private" => "/api/private",
            _ => "/api/messages",
        };
        let (status, answer) = self.ask(world, "POST", path, &data)?;
        match (status, &item.target) {
            (200, Some(target)) => self.private.promise(item.number, target),
            (201, None) => {
                let id = answer["id"].as_u64().expect("a number");
                self.acknowledged.insert(item.number, id);
            }
            (404, Some(_)) => self.private.refuse(item.number),
            (503, Some(_)) if answer["code"] == "mailbox-full" => {
                self.private.refuse(item.number);
            }
            (403, _) if answer["code"] == "no-session" => {
                self.join(world)?;
                return Ok(());
            }
            (503 | 429, _) => return Err(ErrorKind::Interrupted.into()),
            _ => panic!("{status} for {item:?}: {answer}"),
        }
        self.unacknowledged.pop_front();
        Ok(())
    }

    fn take(&mut self, text: &str) {
        let frame = parse_frame(text);
        let data = &frame.data;
        match frame.event.as_str() {
            "resumed" => assert_eq!(data["complete"], true, "events are missing: {data}"),
            "snapshot" => {
                let last = data["last"].as_u64().expect("a number");
                if self.place.is_empty() {
                    self.last = last;
                    let epoch = data["epoch"].as_str().expect("an epoch");
                    self.place = format!("{epoch}:{last}");
                }
            }
            "message" | "joined" | "left" | "renamed" => {
                let id = frame.id.expect("a number");
                assert_eq!(id, self.last + 1, "a gap or a repeat: {text}");
                self.last = id;
                self.place = frame.place;
                if frame.event == "message" {
                    let text = data["message"].as_str().expect("a text");
                    self.messages.insert(id, hash(&text.to_owned()));
                }
            }
            "private" => {
                let id = data["id"].as_u64().expect("a number");
                if self.private_ids.insert(id) && data["own"] != true {
                    let text = |key: &str| data[key].as_str().expect("a text");
                    self.private.receive(text("source"), text("message"));
                }
            }
            "error" if data["code"] == "not-delivered" => self.private.report_undelivered(),
            _ => {}
        }
    }
}
