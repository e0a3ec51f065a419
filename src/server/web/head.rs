//! Request heads, read and judged before anything else sees them.
//!
//! What lives here: [`HeadReader`], which collects one head within its bounds in bytes and
//! time, and the answers to what is wrong. async-h1 behind it stores heads without bound, has
//! one fixed minute for everything, answers nothing to a malformed request and drains bodies
//! without bound; so it only ever gets whole, well-formed heads without a body.
//!
//! It must never store more than one head, or wait longer than its bounds.

use crate::limits::WEB_MAX_HEAD_BYTES;
use crate::server::connection::within;
use crate::server::web::gate::{Full, Gate};
use crate::server::web::host::{AllowedHosts, BadHost};
use async_net::TcpStream;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use std::borrow::Cow;
use std::sync::Arc;
use tide::http::Url;

/// A whole request head that may be answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The request as async-h1 gets it: its method and its path, and always the same host, since
    /// that of the request was judged. What else a head may hold, no route looks at; http-types
    /// panics at some of it (a header value that is not ASCII), and async-h1 knows HTTP/1.1 only.
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
    /// It is for another host than this one.
    Misdirected,
    /// Too many connections are open, in all or from this address.
    TooManyConnections(Full),
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
            Problem::Misdirected => (
                "421 Misdirected Request",
                "The page is not served under this host name; its address works, and the server's \
                 option --web-name allows further names",
            ),
            Problem::TooManyConnections(Full::InAll) => (
                "503 Service Unavailable",
                "Too many connections are open; try again later",
            ),
            Problem::TooManyConnections(Full::Address) => (
                "503 Service Unavailable",
                "Too many connections are open from your address; close one or try again later",
            ),
        }
    }
}

/// When one who finds no place may come again.
pub const RETRY_AFTER_SECONDS: &str = "5";

impl Problem {
    /// The whole answer, after which the connection is closed.
    pub fn text(self) -> String {
        let (status, sentence) = self.answer();
        let special = match self {
            Problem::MethodNotAllowed => "Allow: GET, HEAD\r\n".to_owned(),
            Problem::TooManyConnections(_) => format!("Retry-After: {RETRY_AFTER_SECONDS}\r\n"),
            _ => String::new(),
        };
        let length = sentence.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\n{special}Content-Type: text/plain; charset=utf-8\r\n\
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
    gate: Arc<Gate>,
    /// What was read beyond the last head.
    bytes: Vec<u8>,
}

impl HeadReader {
    /// A reader of this connection.
    pub fn new(stream: TcpStream, gate: Arc<Gate>) -> Self {
        HeadReader {
            stream,
            gate,
            bytes: Vec::new(),
        }
    }

    /// The next head.
    ///
    /// # Errors
    /// There is none, or it is not one that may be answered.
    pub async fn next_head(&mut self) -> Result<Head, Problem> {
        let gate = self.gate.clone();
        if self.bytes.is_empty() {
            // Silence between requests is no offence: it just ends.
            within(gate.limits.idle_timeout, self.read_more())
                .await
                .unwrap_or(Err(Problem::Ended))?;
        }
        within(gate.limits.head_timeout, self.collect())
            .await
            .unwrap_or(Err(Problem::TooSlow))
    }

    async fn collect(&mut self) -> Result<Head, Problem> {
        loop {
            if let Some(length) = head_length(&self.bytes) {
                let rest = self.bytes.split_off(length);
                let bytes = std::mem::replace(&mut self.bytes, rest);
                return judge(&bytes, &self.gate.hosts);
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
/// The host of every request that async-h1 gets.
const HOST: &str = "localhost";
/// Header fields that a head may have.
const MAX_FIELDS: usize = 64;

fn judge(bytes: &[u8], allowed: &AllowedHosts) -> Result<Head, Problem> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Problem::TooLarge),
        Err(httparse::Error::Version) => return Err(Problem::OtherVersion),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Problem::Malformed),
    }
    let is_old = request.version == Some(0);
    let values = |name: &str| {
        let fields = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value).collect::<Vec<_>>()
    };
    let hosts = values("host");
    if hosts.len() > 1 || (hosts.is_empty() && !is_old) {
        return Err(Problem::Malformed);
    }
    let (authority, path) = split_target(request.path.unwrap_or_default());
    match (authority, hosts.first()) {
        // Where the target names its host, the field does not count (RFC 9112, section 3.2.2).
        (Some(authority), _) => check_host(authority.as_bytes(), allowed)?,
        (None, Some(host)) => check_host(host, allowed)?,
        // HTTP/1.0 does not have to say.
        (None, None) => {}
    }
    let method = match request.method {
        Some("GET") => "GET",
        Some("HEAD") => "HEAD",
        _ => return Err(Problem::MethodNotAllowed),
    };
    if !path.starts_with('/') || !path.is_ascii() || path.contains('#') {
        return Err(Problem::Malformed);
    }
    let is_stream = leads_to(&path).ok_or(Problem::Malformed)? == STREAM_PATH;
    // A stream is sent in chunks, which HTTP/1.0 does not know.
    if is_old && is_stream {
        return Err(Problem::OtherVersion);
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
    let bytes = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes();
    // The host can make it longer than it came. async-h1 reads one byte less than the bound.
    if bytes.len() >= WEB_MAX_HEAD_BYTES {
        return Err(Problem::TooLarge);
    }
    Ok(Head {
        bytes,
        keep_alive: !closes && !is_old,
        is_stream,
    })
}

/// Where async-h1 will find this path to lead: it goes into and out of folders, takes `\` for
/// `/` and `%2e` for a dot, but decodes no other character. The routes compare the rest as it is.
fn leads_to(path: &str) -> Option<String> {
    let url = Url::parse(&format!("http://{HOST}{path}")).ok()?;
    Some(url.path().to_owned())
}

/// The host that a request's target names, if it is a whole address, and its path.
fn split_target(target: &str) -> (Option<&str>, Cow<'_, str>) {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &target[scheme.len()..])
    });
    let Some(rest) = rest else {
        return (None, target.into());
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = match path.starts_with('/') {
        true => path.into(),
        false => format!("/{path}").into(),
    };
    (Some(authority), path)
}

fn check_host(host: &[u8], allowed: &AllowedHosts) -> Result<(), Problem> {
    let host = std::str::from_utf8(host).map_err(|_| Problem::Malformed)?;
    allowed.check(host).map_err(|bad| match bad {
        BadHost::Malformed => Problem::Malformed,
        BadHost::Foreign => Problem::Misdirected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::web::host::HostName;

    /// Judges by the names `x` and `chat.example`.
    fn judged(head: &str) -> Result<Head, Problem> {
        let names = ["x", "chat.example"].map(|name| HostName::parse(name).unwrap());
        judge(head.as_bytes(), &AllowedHosts::new(names.to_vec()))
    }

    /// What async-h1 gets to read, in its first line.
    fn line_of(head: &Head) -> String {
        let text = String::from_utf8(head.bytes.clone()).unwrap();
        let (line, rest) = text.split_once("\r\n").unwrap();
        assert_eq!(rest, "Host: localhost\r\n\r\n");
        line.to_owned()
    }

    #[test]
    fn only_whole_reading_requests_pass() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
            (
                "HEAD /a?b HTTP/1.1\r\nhost: x\r\nConnection: Close\r\n\r\n",
                false,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                true,
            ),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", false),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
                false,
            ),
            ("GET / HTTP/1.1\r\nHost: x\r\nCookie: n=é\r\n\r\n", true),
        ] {
            assert_eq!(
                judged(head).map(|head| head.keep_alive),
                Ok(keep_alive),
                "{head:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_apart() {
        use Problem::{
            Expectation, HasBody, Malformed, MethodNotAllowed, Misdirected, OtherVersion, TooLarge,
        };
        let many = format!(
            "GET / HTTP/1.1\r\nHost: x\r\n{}",
            "A: b\r\n".repeat(MAX_FIELDS)
        );
        for (head, problem) in [
            ("hello", Malformed),
            ("GET / HTTP/1.1", Malformed),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: x", Malformed),
            ("GET / HTTP/1.0\r\nHost: x\r\nHost: x", Malformed),
            ("GET / HTTP/1.1\r\nHost:", Malformed),
            ("GET / HTTP/1.1\r\nHost: é", Malformed),
            ("GET / HTTP/1.1\r\nHost: x y", Malformed),
            ("GET /é HTTP/1.1\r\nHost: x", Malformed),
            ("GET * HTTP/1.1\r\nHost: x", Malformed),
            ("GET x HTTP/1.1\r\nHost: x", Malformed),
            ("GET ftp://x/ HTTP/1.1\r\nHost: x", Malformed),
            ("GET /#x HTTP/1.1\r\nHost: x", Malformed),
            ("GET /api/events HTTP/1.0", OtherVersion),
            ("GET / HTTP/2.0\r\nHost: x", OtherVersion),
            ("POST / HTTP/1.0", MethodNotAllowed),
            ("POST / HTTP/1.1\r\nHost: x", MethodNotAllowed),
            ("get / HTTP/1.1\r\nHost: x", MethodNotAllowed),
            ("OPTIONS * HTTP/1.1\r\nHost: x", MethodNotAllowed),
            ("CONNECT x:80 HTTP/1.1\r\nHost: x", MethodNotAllowed),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5",
                MethodNotAllowed,
            ),
            ("POST / HTTP/1.1\r\nHost: evil.example", Misdirected),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5", HasBody),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked",
                HasBody,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue",
                Expectation,
            ),
            (many.trim_end(), TooLarge),
        ] {
            assert_eq!(judged(&format!("{head}\r\n\r\n")), Err(problem), "{head:?}");
        }
    }

    #[test]
    fn a_request_is_for_a_host_of_the_page() {
        for (target, host, expected) in [
            ("/", "x", Ok("/")),
            ("/", "X:8080", Ok("/")),
            ("/", "chat.example.", Ok("/")),
            ("/", "localhost", Ok("/")),
            ("/", "10.0.0.1:80", Ok("/")),
            ("/", "[::1]:80", Ok("/")),
            ("/", "evil.example", Err(Problem::Misdirected)),
            ("/", "x.evil.example:8080", Err(Problem::Misdirected)),
            ("/", "evil.example@x", Err(Problem::Malformed)),
            // The target's own host is the one that counts.
            ("http://x/a?b", "evil.example", Ok("/a?b")),
            ("HTTP://X", "x", Ok("/")),
            ("https://localhost:1?b", "x", Ok("/?b")),
            ("http://evil.example/", "x", Err(Problem::Misdirected)),
            ("http://evil.example:80?x", "x", Err(Problem::Misdirected)),
            ("HtTpS://evil.example", "x", Err(Problem::Misdirected)),
            ("http://x@evil.example/", "x", Err(Problem::Malformed)),
            ("http://", "x", Err(Problem::Malformed)),
            ("http:///", "x", Err(Problem::Malformed)),
            ("http://x#@evil.example/", "x", Err(Problem::Malformed)),
            // This is a path, however it looks.
            ("//evil.example/", "x", Ok("//evil.example/")),
        ] {
            for version in ["1.0", "1.1"] {
                let head = format!("GET {target} HTTP/{version}\r\nHost: {host}\r\n\r\n");
                let expected = expected.map(|path| format!("GET {path} HTTP/1.1"));
                let line = judged(&head).map(|head| line_of(&head));
                assert_eq!(line, expected, "{head:?}");
            }
        }
        // Without the field, HTTP/1.0 passes, but not with a foreign target.
        for (target, expected) in [
            ("/", Ok("GET / HTTP/1.1".to_owned())),
            ("http://evil.example/", Err(Problem::Misdirected)),
        ] {
            let line = judged(&format!("GET {target} HTTP/1.0\r\n\r\n"));
            assert_eq!(line.map(|head| line_of(&head)), expected, "{target}");
        }
    }

    /// A stream is known as such however its address is written, also where its version cannot
    /// have one.
    #[test]
    fn every_spelling_of_the_stream_is_one() {
        for path in [
            "/api/events",
            "/api/events?since=1",
            "/./api/events",
            "/api/./events",
            "/api/%2e/events",
            "/x/../api/events",
            "/x/%2E%2e/api/events",
            "/../api/events",
            "/api\\events",
            "/api\\.\\events",
            "http://x/api/events",
            "http://x/api/x/..\\events",
        ] {
            let new = judged(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(new.map(|head| head.is_stream), Ok(true), "{path}");
            let old = judged(&format!("GET {path} HTTP/1.0\r\n\r\n"));
            assert_eq!(old, Err(Problem::OtherVersion), "{path}");
        }
    }

    /// What is no stream has a deadline for its answer, and HTTP/1.0 may ask for it.
    #[test]
    fn nothing_else_is_a_stream() {
        for path in [
            "/",
            "/?/api/events",
            "/api/users?x=/api/events",
            "/x/api/events",
            "/api/eventsx",
            "/api/events/",
            "/api/events/x",
            "/api/events/../users",
            "//api/events",
            "/api//events",
            "/API/EVENTS",
            "/api/%65vents",
            "/api%2fevents",
            "/api%5Cevents",
        ] {
            for version in ["1.0", "1.1"] {
                let head = judged(&format!("GET {path} HTTP/{version}\r\nHost: x\r\n\r\n"));
                assert_eq!(head.map(|head| head.is_stream), Ok(false), "{path}");
            }
        }
    }

    /// The host that is put in makes a head longer; async-h1 gets none that it would not read.
    #[test]
    fn a_head_that_would_be_too_long_for_async_h1_is_told_to_be() {
        let rebuilt = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let most = WEB_MAX_HEAD_BYTES - 1 - rebuilt.len();
        for end in [" HTTP/1.0\r\n\r\n", " HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let longest = format!("GET /{}{end}", "a".repeat(most));
            let length = judged(&longest).map(|head| head.bytes.len());
            assert_eq!(length, Ok(WEB_MAX_HEAD_BYTES - 1), "{end:?}");
            let longer = format!("GET /{}{end}", "a".repeat(most + 1));
            assert!(longer.len() <= WEB_MAX_HEAD_BYTES, "{end:?}");
            let length = judged(&longer).map(|head| head.bytes.len());
            assert_eq!(length, Err(Problem::TooLarge), "{end:?}");
        }
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
        assert_eq!(head_length(b"\r\n\r\nGET / HTTP/1.1\r\n\r\nmore"), Some(22));
        assert_eq!(head_length(b"\r\n\r\n"), None);
    }
}
