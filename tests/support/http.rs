//! HTTP as programs see it: requests byte by byte, whole answers, and live streams.

use super::deadline::{Deadline, PATIENCE};
use super::link::{Link, connect_socket};
use super::transcript::Transcript;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub status_line: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        assert_eq!(
            self.header("content-type").split(';').next(),
            Some("application/json")
        );
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A connection to the page.
#[derive(Debug)]
pub struct Http {
    pub link: Link,
    /// Longest wait of one expectation.
    pub patience: Duration,
}

impl Http {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Http::new(connect_socket(address, None, false))
    }

    /// Connects from this local address.
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        Http::new(connect_socket(address, Some((source, 0).into()), false))
    }

    /// Connects with the smallest receive buffer.
    #[track_caller]
    pub fn connect_narrow(address: SocketAddr) -> Self {
        Http::new(connect_socket(address, None, true))
    }

    fn new(stream: TcpStream) -> Self {
        Http {
            link: Link::new(stream, "http", Transcript::current()),
            patience: PATIENCE,
        }
    }

    /// Begins an expectation.
    pub fn begin(&mut self) {
        self.link.begin(Deadline::after(self.patience));
    }

    /// Sends these bytes.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.begin();
        self.link.send(bytes)
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the page reads");
    }

    /// Sends a GET request on a connection that stays open.
    #[track_caller]
    pub fn request(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    }

    /// Closes the sending side.
    pub fn finish_sending(&mut self) {
        self.link.shutdown(Shutdown::Write).expect("half-close");
    }

    /// Returns a line without its end; empty also at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.begin();
        let line = self.raw_line();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Returns a line with its end, within the expectation that has begun.
    #[track_caller]
    fn raw_line(&mut self) -> String {
        let line = self.link.line().expect("a line, or the end");
        String::from_utf8(line.unwrap_or_default()).expect("UTF-8")
    }

    /// Returns status and header fields of a response.
    #[track_caller]
    pub fn head(&mut self) -> Answer {
        let first = self.line();
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{first:?} is no status line"));
        let mut headers = HashMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Answer {
            status,
            status_line: first,
            headers,
            body: Vec::new(),
        }
    }

    /// Returns a complete response.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let Ok(length) = answer.header("content-length").parse() else {
            answer.body = self.rest();
            return answer;
        };
        self.begin();
        answer.body = self.link.exactly(length).expect("a complete body");
        answer
    }

    /// Returns the last response, whose body ends with the connection.
    #[track_caller]
    pub fn last_answer(&mut self) -> Answer {
        let mut answer = self.head();
        answer.body = self.rest();
        answer
    }

    /// Returns everything up to the end or a reset.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        self.begin();
        let mut bytes = Vec::new();
        if let Err(error) = self.link.rest(&mut bytes) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        bytes
    }

    /// Skips everything up to these words.
    #[track_caller]
    pub fn skip_to(&mut self, words: &str) {
        self.begin();
        let mut text = String::new();
        while !text.contains(words) {
            let bytes = self.link.some().expect("more");
            assert!(!bytes.is_empty(), "{words:?} expected, but the stream ends");
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Expects the end of the stream next.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest()), "");
    }
}

pub fn head_of(method: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
}

#[track_caller]
pub fn get(web: SocketAddr, path: &str) -> Answer {
    let mut http = Http::connect(web);
    http.send(&head_of("GET", path));
    http.answer()
}

/// A live stream of the page.
#[derive(Debug)]
pub struct Events {
    http: Http,
    text: String,
}

/// One frame: its event, its number and its data.
#[derive(Debug, PartialEq)]
pub struct Frame {
    pub event: String,
    pub id: Option<u64>,
    /// The whole identifier, as a browser sends it back.
    pub place: String,
    pub data: Value,
}

impl Events {
    #[track_caller]
    pub fn open(web: SocketAddr) -> Self {
        Events::open_with(web, "")
    }

    /// The same with these header fields, each with its end.
    #[track_caller]
    pub fn open_with(web: SocketAddr, fields: &str) -> Self {
        let mut http = Http::connect(web);
        let head = format!(
            "GET /api/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{fields}\r\n"
        );
        http.send(head.as_bytes());
        let answer = http.head();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert!(answer.header("cache-control").contains("no-store"));
        Events {
            http,
            text: String::new(),
        }
    }

    /// The next frame; comments are passed over. None at the end.
    #[track_caller]
    pub fn next(&mut self) -> Option<Frame> {
        self.http.begin();
        self.next_in_time()
    }

    /// The same within the expectation that has begun: comments do not prolong it.
    #[track_caller]
    fn next_in_time(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                if !frame.lines().all(|line| line.starts_with(':')) {
                    return Some(parse_frame(&frame));
                }
                continue;
            }
            let line = self.http.raw_line();
            if line.is_empty() {
                assert_eq!(self.text, "", "the stream ends inside of a frame");
                return None;
            }
            self.text.push_str(&line);
        }
    }

    #[track_caller]
    pub fn expect(&mut self, event: &str) -> Frame {
        // Who listens is told at the beginning, and mostly it is nobody.
        let is_nobody = |frame: &Frame| frame.event == "session" && frame.data["name"].is_null();
        let frame = self.find(event, |frame| event == "session" || !is_nobody(frame));
        assert_eq!(frame.event, event, "{frame:?}");
        frame
    }

    /// Waits for a frame of this kind, whatever comes before it.
    #[track_caller]
    pub fn skip_to(&mut self, event: &str) -> Frame {
        self.find(event, |frame| frame.event == event)
    }

    /// The first frame that is the right one; this event is waited for.
    #[track_caller]
    fn find(&mut self, event: &str, is_right: impl Fn(&Frame) -> bool) -> Frame {
        self.http.begin();
        loop {
            let frame = self.next_in_time();
            let frame = frame.unwrap_or_else(|| panic!("the stream ended before {event}"));
            if is_right(&frame) {
                return frame;
            }
        }
    }
}

#[track_caller]
pub fn parse_frame(text: &str) -> Frame {
    let mut frame = Frame {
        event: String::new(),
        id: None,
        place: String::new(),
        data: Value::Null,
    };
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("event", event)) => frame.event = event.to_owned(),
            Some(("id", id)) => {
                let (_, number) = id.rsplit_once(':').expect("an epoch before the number");
                frame.id = Some(number.parse().expect("a number"));
                frame.place = id.to_owned();
            }
            Some(("data", data)) => frame.data = serde_json::from_str(data).expect("JSON"),
            _ => panic!("{line:?} is no field of a frame"),
        }
    }
    frame
}

/// Whether this is RFC 3339 in UTC with milliseconds.
pub fn is_time(value: &Value) -> bool {
    let shape: String = value
        .as_str()
        .unwrap_or("")
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00:00.000Z"
}
