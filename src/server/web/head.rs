//! Request heads, read and judged before anything else sees them.
//!
//! What lives here: [`HeadReader`], which collects one head within its bounds in bytes and
//! time, and the answers to what is wrong. async-h1 behind it stores heads without bound, has
//! one fixed minute for everything, answers nothing to a malformed request and drains bodies
//! without bound; so it only ever gets whole, well-formed heads without a body.
//!
//! It must never store more than one head, or wait longer than its bounds.

use crate::limits::{WEB_HEAD_TIMEOUT, WEB_IDLE_TIMEOUT, WEB_MAX_HEAD_BYTES};
use crate::server::connection::within;
use async_net::TcpStream;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

/// A whole request head that may be answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The request as async-h1 gets it: its line and its host. What else a head may hold, no
    /// route looks at; http-types panics at some of it (a header value that is not ASCII), and
    /// async-h1 knows HTTP/1.1 only.
    pub bytes: Vec<u8>,
    /// Whether a further request may follow.
    pub keep_alive: bool,
    /// Whether the answer goes on without end.
    pub is_stream: bool,
}

/// Why a request is not answered as it wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no further request.
    Ended,
    /// It is no HTTP request.
    Malformed,
    /// It took too long.
    TooSlow,
    /// It is too large.
    TooLarge,
    /// It has a body.
    HasBody,
    /// It does something else than reading.
    MethodNotAllowed,
    /// It expects something before it goes on.
    Expectation,
    /// It is of another version of HTTP.
    OtherVersion,
    /// Too many connections are open.
    TooManyConnections,
}

impl Problem {
    /// Status, reason and sentence of the answer.
    fn answer(self) -> (&'static str, &'static str) {
        match self {
            Problem::Ended | Problem::Malformed => {
                ("400 Bad Request", "The request is not valid HTTP/1.1")
            }
            Problem::TooSlow => ("408 Request Timeout", "The request took too long to arrive"),
            Problem::TooLarge => (
                "431 Request Header Fields Too Large",
                "The request's head is larger than 8 KiB",
            ),
            Problem::HasBody => ("413 Content Too Large", "No request body is expected here"),
            Problem::MethodNotAllowed => (
                "405 Method Not Allowed",
                "Only GET and HEAD are understood here",
            ),
            Problem::Expectation => ("417 Expectation Failed", "Send the request without Expect"),
            Problem::OtherVersion => (
                "505 HTTP Version Not Supported",
                "Only HTTP/1.1 is understood here",
            ),
            Problem::TooManyConnections => (
                "503 Service Unavailable",
                "Too many connections are open; try again later",
            ),
        }
    }
}

impl Problem {
    /// The whole answer, after which the connection is closed.
    pub fn text(self) -> String {
        let (status, sentence) = self.answer();
        let allow = if self == Problem::MethodNotAllowed {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let length = sentence.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\n{allow}Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{sentence}\n"
        )
    }
}

/// Writes the answer to a problem.
pub async fn tell(stream: &TcpStream, problem: Problem) {
    let answer = problem.text();
    // One who is gone by now is not told.
    let _ = stream.clone().write_all(answer.as_bytes()).await;
}

/// Collects request heads from a connection, one after the other.
#[derive(Debug)]
pub struct HeadReader {
    stream: TcpStream,
    /// What was read beyond the last head.
    bytes: Vec<u8>,
}

impl HeadReader {
    /// A reader of this connection.
    pub fn new(stream: TcpStream) -> Self {
        HeadReader {
            stream,
            bytes: Vec::new(),
        }
    }

    /// The next head.
    ///
    /// # Errors
    /// There is none, or it is not one that may be answered.
    pub async fn next_head(&mut self) -> Result<Head, Problem> {
        if self.bytes.is_empty() {
            // Silence between requests is no offence: it just ends.
            within(WEB_IDLE_TIMEOUT, self.read_more())
                .await
                .unwrap_or(Err(Problem::Ended))?;
        }
        within(WEB_HEAD_TIMEOUT, self.collect())
            .await
            .unwrap_or(Err(Problem::TooSlow))
    }

    async fn collect(&mut self) -> Result<Head, Problem> {
        loop {
            if let Some(length) = head_length(&self.bytes) {
                let rest = self.bytes.split_off(length);
                let bytes = std::mem::replace(&mut self.bytes, rest);
                return judge(bytes);
            }
            if self.bytes.len() >= WEB_MAX_HEAD_BYTES {
                return Err(Problem::TooLarge);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Problem> {
        let mut buffer = [0; 1024];
        let room = (WEB_MAX_HEAD_BYTES - self.bytes.len()).min(buffer.len());
        match self.stream.read(&mut buffer[..room]).await {
            Ok(0) if !self.bytes.is_empty() => Err(Problem::Malformed),
            Ok(0) | Err(_) => Err(Problem::Ended),
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// Where the head ends; none if it has not yet. Empty lines before it are part of it, as
/// RFC 9112, section 2.2 lets them be.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let end = memchr::memmem::find(&bytes[start..], b"\r\n\r\n")?;
    Some(start + end + 4)
}

/// The one address that answers without end.
pub const STREAM_PATH: &str = "/api/events";
/// Header fields that a head may have.
const MAX_FIELDS: usize = 64;

fn judge(bytes: Vec<u8>) -> Result<Head, Problem> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(&bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Problem::TooLarge),
        Err(httparse::Error::Version) => return Err(Problem::OtherVersion),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Problem::Malformed),
    }
    let is_old = request.version == Some(0);
    let path = request.path.unwrap_or_default();
    // A stream is sent in chunks, which HTTP/1.0 does not know; so none of its addresses, however
    // it is written, is answered there.
    let is_plain = path.starts_with('/') && !path.contains("/.") && !path.contains('%');
    if is_old && (!is_plain || path.starts_with(STREAM_PATH)) {
        return Err(Problem::OtherVersion);
    }
    let values = |name: &str| {
        let fields = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value).collect::<Vec<_>>()
    };
    let hosts = values("host").len();
    if hosts > 1 || (hosts == 0 && !is_old) {
        return Err(Problem::Malformed);
    }
    if !matches!(request.method, Some("GET" | "HEAD")) {
        return Err(Problem::MethodNotAllowed);
    }
    if !values("expect").is_empty() {
        return Err(Problem::Expectation);
    }
    let has_length = values("content-length").iter().any(|value| *value != b"0");
    if has_length || !values("transfer-encoding").is_empty() {
        return Err(Problem::HasBody);
    }
    let closes = values("connection").iter().any(|value| {
        let mut options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        options.any(|option| option.eq_ignore_ascii_case(b"close"))
    });
    let host = values("host").first().copied().unwrap_or(b"localhost");
    let is_usable = !host.is_empty() && host.is_ascii() && path.is_ascii();
    let (Ok(host), true) = (std::str::from_utf8(host), is_usable) else {
        return Err(Problem::Malformed);
    };
    let method = request.method.unwrap_or_default();
    let bytes = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let is_stream = path.contains(STREAM_PATH);
    Ok(Head {
        bytes,
        keep_alive: !closes && !is_old,
        is_stream,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expected: Result<bool, Problem>) {
        let judged = judge(head.as_bytes().to_vec()).map(|head| head.keep_alive);
        assert_eq!(judged, expected, "{head:?}");
    }

    #[test]
    fn only_whole_reading_requests_pass() {
        check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Ok(true));
        check(
            "HEAD /a?b HTTP/1.1\r\nhost: x\r\nConnection: Close\r\n\r\n",
            Ok(false),
        );
        check(
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            Ok(true),
        );
        check("GET / HTTP/1.1\r\n\r\n", Err(Problem::Malformed));
        check(
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            Err(Problem::Malformed),
        );
        check("GET / HTTP/1.0\r\n\r\n", Ok(false));
        for other in ["/./api/events", "http://x/api/events", "/api/%65vents"] {
            check(
                &format!("GET {other} HTTP/1.0\r\n\r\n"),
                Err(Problem::OtherVersion),
            );
        }
        check("GET / HTTP/1.1\r\nHost:\r\n\r\n", Err(Problem::Malformed));
        check(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
            Ok(false),
        );
        check("GET / HTTP/1.1\r\nHost: x\r\nCookie: n=é\r\n\r\n", Ok(true));
        check("GET / HTTP/1.1\r\nHost: é\r\n\r\n", Err(Problem::Malformed));
        check(
            "GET /é HTTP/1.1\r\nHost: x\r\n\r\n",
            Err(Problem::Malformed),
        );
        check(
            "GET /api/events HTTP/1.0\r\n\r\n",
            Err(Problem::OtherVersion),
        );
        check("POST / HTTP/1.0\r\n\r\n", Err(Problem::MethodNotAllowed));
        check(
            "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
            Err(Problem::OtherVersion),
        );
        check("hello\r\n\r\n", Err(Problem::Malformed));
        check(
            "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            Err(Problem::MethodNotAllowed),
        );
        check(
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
            Err(Problem::HasBody),
        );
        check(
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Problem::HasBody),
        );
        check(
            "GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
            Err(Problem::Expectation),
        );
        let many = "A: b\r\n".repeat(MAX_FIELDS);
        check(
            &format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
            Err(Problem::TooLarge),
        );
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
        assert_eq!(head_length(b"\r\n\r\nGET / HTTP/1.1\r\n\r\nmore"), Some(22));
        assert_eq!(head_length(b"\r\n\r\n"), None);
    }
}
