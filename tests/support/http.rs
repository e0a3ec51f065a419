//! HTTP as programs see it: requests byte by byte, whole answers, and live streams.

#![allow(dead_code, reason = "not every test file needs all of it")]

use super::PATIENCE;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What a server answers to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
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
    pub reader: BufReader<TcpStream>,
}

impl Http {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the page is there");
        Http::new(stream)
    }

    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a deadline");
        Http {
            reader: BufReader::new(stream),
        }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("sent");
    }

    /// A line without its end; empty also at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// A line with its end; empty at the end of the stream.
    #[track_caller]
    pub fn raw_line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line");
        line
    }

    /// The same, all of which must arrive before this time.
    #[track_caller]
    pub fn raw_line_until(&mut self, deadline: Instant) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO, "no line in time, only {line:?}");
            let stream = self.reader.get_ref();
            stream.set_read_timeout(Some(left)).expect("a deadline");
            let bytes = self.reader.fill_buf().expect("a line in time");
            if bytes.is_empty() {
                break;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            line.extend_from_slice(&bytes[..taken]);
            self.reader.consume(taken);
        }
        String::from_utf8(line).expect("UTF-8")
    }

    /// Status and header fields of an answer.
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
            headers,
            body: Vec::new(),
        }
    }

    /// A whole answer to a request that was sent.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if let Ok(length) = answer.header("content-length").parse() {
            answer.body = vec![0; length];
            self.reader
                .read_exact(&mut answer.body)
                .expect("a whole body");
        } else {
            self.reader
                .read_to_end(&mut answer.body)
                .expect("a body to the end");
        }
        answer
    }

    /// The connection must be at its end.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
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
        self.next_until(Instant::now() + PATIENCE)
    }

    /// The same before this time: comments do not prolong the wait.
    #[track_caller]
    fn next_until(&mut self, deadline: Instant) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                if !frame.lines().all(|line| line.starts_with(':')) {
                    return Some(parse_frame(&frame));
                }
                continue;
            }
            let line = self.http.raw_line_until(deadline);
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            let frame = self.next_until(deadline);
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
