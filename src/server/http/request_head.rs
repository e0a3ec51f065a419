//! Request heads, read and judged before anything else sees them.
//!
//! What lives here: [`HeadReader`], which collects one head within its bounds in bytes and
//! time, and the answers to what is wrong. async-h1 behind it stores heads without bound, has
//! one fixed minute for everything, answers nothing to a malformed request and drains bodies
//! without bound; so it only ever gets whole, well-formed heads without a body. The bodies of the
//! API are read here too, whole and within a bound.
//!
//! It must never store more than one head and one body, or wait longer than its bounds.

use crate::server::http::allowed_hosts::{AllowedHosts, BadHost};
use crate::server::http::close_reason::HttpCloseReason;
use crate::server::http::connection_limits::ConnectionLimits;
use crate::server::http::problem::{PROBLEM_JSON, Problem};
use crate::server::http::request_info::RequestInfo;
use crate::server::limits::WEB_MAX_HEAD_BYTES;
use crate::server::timeout::timeout;
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
    /// Who asks.
    pub caller: RequestInfo,
    /// Bytes of the body that follows.
    pub body_bytes: usize,
}

/// Why there is no head to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// Why the connection ends.
    pub reason: HttpCloseReason,
    /// Whether the request is one of HEAD, as far as it came: its answer has no body.
    pub is_head: bool,
    /// Whether the request is one for the API, as far as it came: its answer is a problem.
    pub is_api: bool,
}

impl BadRequest {
    /// An end that nothing of a request is known of.
    pub fn of(reason: HttpCloseReason) -> Self {
        BadRequest {
            reason,
            is_head: false,
            is_api: false,
        }
    }
}

/// Status and sentence of the last answer; none where there is nothing to answer.
fn answer_to(reason: HttpCloseReason) -> Option<(&'static str, &'static str)> {
    Some(match reason {
        HttpCloseReason::Malformed => ("400 Bad Request", "The request is not valid HTTP/1.1"),
        HttpCloseReason::HeadTimeout => {
            ("408 Request Timeout", "The request took too long to arrive")
        }
        HttpCloseReason::HeadTooLarge => (
            "431 Request Header Fields Too Large",
            "The request's head is larger than 8 KiB",
        ),
        HttpCloseReason::HasBody => (
            "413 Content Too Large",
            "No request body is expected here, or none so large",
        ),
        HttpCloseReason::LengthRequired => (
            "411 Length Required",
            "Send the length of the body beforehand, and the body in one piece",
        ),
        HttpCloseReason::MethodNotAllowed => (
            "405 Method Not Allowed",
            "Only GET and HEAD are understood here",
        ),
        HttpCloseReason::Expectation => {
            ("417 Expectation Failed", "Send the request without Expect")
        }
        HttpCloseReason::OtherVersion => (
            "505 HTTP Version Not Supported",
            "Only HTTP/1.1 is understood here",
        ),
        HttpCloseReason::Misdirected => (
            "421 Misdirected Request",
            "The page is not served under this host name; its address works, and the server's \
             option --web-name allows further names",
        ),
        HttpCloseReason::Full | HttpCloseReason::NoDescriptor => (
            "503 Service Unavailable",
            "Too many connections are open; try again later",
        ),
        HttpCloseReason::AddressFull => (
            "503 Service Unavailable",
            "Too many connections are open from your address; close one or try again later",
        ),
        HttpCloseReason::Closed
        | HttpCloseReason::Reset
        | HttpCloseReason::Idle
        | HttpCloseReason::Stalled
        | HttpCloseReason::Deadline
        | HttpCloseReason::Fault => return None,
    })
}

/// When one who finds no place may come again.
pub const RETRY_AFTER_SECONDS: &str = "5";

/// The last answer of a connection that ends for this reason; empty where there is nothing to
/// answer. One to HEAD says how long its body would be (RFC 9110, section 9.3.2).
pub fn last_answer(end: BadRequest) -> String {
    let BadRequest {
        reason, is_head, ..
    } = end;
    let Some((status, sentence)) = answer_to(reason) else {
        return String::new();
    };
    let (media_type, body) = match end.is_api {
        false => ("text/plain; charset=utf-8", format!("{sentence}\n")),
        true => {
            let number = status.split(' ').next().unwrap_or_default();
            let number = number.parse().unwrap_or(400);
            let problem = Problem::new(number, reason.word(), sentence);
            (PROBLEM_JSON, problem.json())
        }
    };
    let special = match reason {
        HttpCloseReason::MethodNotAllowed => "Allow: GET, HEAD\r\n".to_owned(),
        HttpCloseReason::Full | HttpCloseReason::AddressFull | HttpCloseReason::NoDescriptor => {
            format!("Retry-After: {RETRY_AFTER_SECONDS}\r\n")
        }
        _ => String::new(),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{special}Content-Type: {media_type}\r\n\
         Content-Length: {length}\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    match is_head {
        true => head,
        false => format!("{head}{body}"),
    }
}

/// Writes the last answer, if there is one.
pub async fn tell(stream: &TcpStream, end: BadRequest) {
    let answer = last_answer(end);
    // One who is gone by now is not told.
    let _ = stream.clone().write_all(answer.as_bytes()).await;
}

/// Collects request heads from a connection, one after the other.
#[derive(Debug)]
pub struct HeadReader {
    stream: TcpStream,
    gate: Arc<ConnectionLimits>,
    /// What was read beyond the last head.
    bytes: Vec<u8>,
    max_body_bytes: usize,
}

impl HeadReader {
    /// A reader of this connection, for bodies of at most so many bytes.
    pub fn new(stream: TcpStream, gate: Arc<ConnectionLimits>, max_body_bytes: usize) -> Self {
        HeadReader {
            stream,
            gate,
            bytes: Vec::new(),
            max_body_bytes,
        }
    }

    /// The next head.
    ///
    /// # Errors
    /// There is none, or it is not one that may be answered.
    pub async fn next_head(&mut self) -> Result<Head, BadRequest> {
        let head = self.wait_for_head().await;
        head.map_err(|reason| BadRequest {
            reason,
            is_head: is_of_head(&self.bytes),
            is_api: is_of_api(&self.bytes),
        })
    }

    /// The body that a head has announced.
    ///
    /// # Errors
    /// It does not come, or not in time.
    pub async fn body(&mut self, length: usize) -> Result<Vec<u8>, HttpCloseReason> {
        let limit = self.gate.limits.head_timeout;
        let collecting = async {
            while self.bytes.len() < length {
                self.read_up_to(length).await?;
            }
            Ok(self.bytes.drain(..length).collect())
        };
        timeout(limit, collecting)
            .await
            .unwrap_or(Err(HttpCloseReason::HeadTimeout))
    }

    async fn wait_for_head(&mut self) -> Result<Head, HttpCloseReason> {
        let gate = self.gate.clone();
        if self.bytes.is_empty() {
            // Silence between requests is no offence: it just ends.
            timeout(gate.limits.idle_timeout, self.read_more())
                .await
                .unwrap_or(Err(HttpCloseReason::Idle))?;
        }
        timeout(gate.limits.head_timeout, self.collect())
            .await
            .unwrap_or(Err(HttpCloseReason::HeadTimeout))
    }

    /// What is refused stays, so that its method is known to the answer.
    async fn collect(&mut self) -> Result<Head, HttpCloseReason> {
        loop {
            if let Some(length) = head_length(&self.bytes) {
                let head = judge(&self.bytes[..length], &self.gate.hosts)?;
                if head.body_bytes > self.max_body_bytes {
                    return Err(HttpCloseReason::HasBody);
                }
                self.bytes.drain(..length);
                return Ok(head);
            }
            if self.bytes.len() >= WEB_MAX_HEAD_BYTES {
                return Err(HttpCloseReason::HeadTooLarge);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), HttpCloseReason> {
        self.read_up_to(WEB_MAX_HEAD_BYTES).await
    }

    /// Reads once, until at most so many bytes are there; there are fewer yet.
    async fn read_up_to(&mut self, most: usize) -> Result<(), HttpCloseReason> {
        let mut buffer = [0; 1024];
        let room = (most - self.bytes.len()).min(buffer.len());
        match self.stream.read(&mut buffer[..room]).await {
            Ok(0) if !self.bytes.is_empty() => Err(HttpCloseReason::Malformed),
            Ok(0) => Err(HttpCloseReason::Closed),
            Err(_) => Err(HttpCloseReason::Reset),
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// Where the first line begins. Empty lines before it are part of the head, as RFC 9112,
/// section 2.2 lets them be.
fn first_line_start(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// Whether the request is one of HEAD, as far as it came.
pub fn is_of_head(bytes: &[u8]) -> bool {
    first_line_start(bytes).is_some_and(|start| bytes[start..].starts_with(b"HEAD "))
}

/// Whether the request is one for the API, as far as it came.
pub fn is_of_api(bytes: &[u8]) -> bool {
    let start = first_line_start(bytes).unwrap_or_default();
    let line = bytes[start..].split(|&byte| byte == b'\n').next();
    let target = line.and_then(|line| line.split(|&byte| byte == b' ').nth(1));
    target.is_some_and(|target| target.starts_with(API.as_bytes()))
}

/// Where the head ends; none if it has not yet. An empty line that is written in another way
/// than with `\r\n` ends it too: whoever wrote it waits for an answer.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let start = first_line_start(bytes)?;
    memchr::memchr_iter(b'\n', &bytes[start..])
        .map(|newline| start + newline + 1)
        .find_map(|after| match bytes.get(after..)? {
            [b'\n', ..] => Some(after + 1),
            [b'\r', b'\n', ..] => Some(after + 2),
            _ => None,
        })
}

/// Whether a line ends without `\r`. RFC 9112, section 2.2 leaves it to the server to take that;
/// a proxy in front may see one request where such a server sees two.
fn has_bare_newline(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r')
}

/// Where the API begins.
pub const API: &str = "/api/";
/// The methods that the API knows, or refuses by itself.
const API_METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE",
];
/// The one address that answers without end.
pub const STREAM_PATH: &str = "/api/events";
/// The host of every request that async-h1 gets.
const HOST: &str = "localhost";
/// Header fields that a head may have.
const MAX_FIELDS: usize = 64;

fn judge(bytes: &[u8], allowed: &AllowedHosts) -> Result<Head, HttpCloseReason> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    if has_bare_newline(bytes) {
        return Err(HttpCloseReason::Malformed);
    }
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HttpCloseReason::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(HttpCloseReason::OtherVersion),
        Ok(_) | Err(_) => return Err(HttpCloseReason::Malformed),
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
        return Err(HttpCloseReason::Malformed);
    }
    let (authority, path) = split_target(request.path.unwrap_or_default());
    match (authority, hosts.first()) {
        // Where the target names its host, the field does not count (RFC 9112, section 3.2.2).
        (Some(authority), _) => check_host(authority.as_bytes(), allowed)?,
        (None, Some(host)) => check_host(host, allowed)?,
        // HTTP/1.0 does not have to say.
        (None, None) => {}
    }
    let method = request.method.unwrap_or_default();
    let is_reading = matches!(method, "GET" | "HEAD");
    let is_for_api = path.starts_with(API) && API_METHODS.contains(&method);
    if !is_reading && !is_for_api {
        return Err(HttpCloseReason::MethodNotAllowed);
    }
    if !path.starts_with('/') || !path.is_ascii() || path.contains('#') {
        return Err(HttpCloseReason::Malformed);
    }
    let leads_to = leads_to(&path).ok_or(HttpCloseReason::Malformed)?;
    let is_stream = leads_to == STREAM_PATH && method == "GET";
    // What goes on without end is nothing that HTTP/1.0 expects.
    if is_old && leads_to == STREAM_PATH {
        return Err(HttpCloseReason::OtherVersion);
    }
    if !values("expect").is_empty() {
        return Err(HttpCloseReason::Expectation);
    }
    let body_bytes = body_length(&values("content-length"))?;
    let has_coding = !values("transfer-encoding").is_empty();
    match is_for_api {
        false if body_bytes > 0 || has_coding => return Err(HttpCloseReason::HasBody),
        true if has_coding => return Err(HttpCloseReason::LengthRequired),
        _ => {}
    }
    let closes = values("connection").iter().any(|value| {
        let mut options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        options.any(|option| option.eq_ignore_ascii_case(b"close"))
    });
    let bytes = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes();
    // The host can make it longer than it came. async-h1 reads one byte less than the bound.
    if bytes.len() >= WEB_MAX_HEAD_BYTES {
        return Err(HttpCloseReason::HeadTooLarge);
    }
    let authority = authority.map(str::as_bytes).or(hosts.first().copied());
    let authority = authority.and_then(|host| std::str::from_utf8(host).ok());
    Ok(Head {
        bytes,
        keep_alive: !closes && !is_old,
        is_stream,
        caller: RequestInfo::read(request.headers, authority.unwrap_or_default()),
        body_bytes,
    })
}

/// The length of the body that is announced by these values of Content-Length.
///
/// # Errors
/// One is no number, or they are not the same (RFC 9112, section 6.3).
fn body_length(values: &[&[u8]]) -> Result<usize, HttpCloseReason> {
    let is_number = |value: &&[u8]| !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let is_one = values.windows(2).all(|pair| pair[0] == pair[1]);
    if !is_one || !values.iter().all(is_number) {
        return Err(HttpCloseReason::Malformed);
    }
    let length = values.first().map_or(Some(0), |value| {
        std::str::from_utf8(value).ok()?.parse().ok()
    });
    // One that is too large to count is too large.
    Ok(length.unwrap_or(usize::MAX))
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

fn check_host(host: &[u8], allowed: &AllowedHosts) -> Result<(), HttpCloseReason> {
    let host = std::str::from_utf8(host).map_err(|_| HttpCloseReason::Malformed)?;
    allowed.check(host).map_err(|bad| match bad {
        BadHost::Malformed => HttpCloseReason::Malformed,
        BadHost::Foreign => HttpCloseReason::Misdirected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http::allowed_hosts::HostName;

    /// Judges by the names `x` and `chat.example`.
    fn judged(head: &str) -> Result<Head, HttpCloseReason> {
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
        use HttpCloseReason::{
            Expectation, HasBody, HeadTooLarge, Malformed, MethodNotAllowed, Misdirected,
            OtherVersion,
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
            (
                "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: abc",
                Malformed,
            ),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1", Malformed),
            ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length:", Malformed),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5",
                Malformed,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999",
                HasBody,
            ),
            ("GET / HTTP/1.1\nHost: x\r\nA: b", Malformed),
            ("GET / HTTP/1.1\r\nHost: x\nA: b", Malformed),
            ("\nGET / HTTP/1.1\r\nHost: x", Malformed),
            (many.trim_end(), HeadTooLarge),
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
            ("/", "evil.example", Err(HttpCloseReason::Misdirected)),
            (
                "/",
                "x.evil.example:8080",
                Err(HttpCloseReason::Misdirected),
            ),
            ("/", "evil.example@x", Err(HttpCloseReason::Malformed)),
            // The target's own host is the one that counts.
            ("http://x/a?b", "evil.example", Ok("/a?b")),
            ("HTTP://X", "x", Ok("/")),
            ("https://localhost:1?b", "x", Ok("/?b")),
            (
                "http://evil.example/",
                "x",
                Err(HttpCloseReason::Misdirected),
            ),
            (
                "http://evil.example:80?x",
                "x",
                Err(HttpCloseReason::Misdirected),
            ),
            (
                "HtTpS://evil.example",
                "x",
                Err(HttpCloseReason::Misdirected),
            ),
            (
                "http://x@evil.example/",
                "x",
                Err(HttpCloseReason::Malformed),
            ),
            ("http://", "x", Err(HttpCloseReason::Malformed)),
            ("http:///", "x", Err(HttpCloseReason::Malformed)),
            (
                "http://x#@evil.example/",
                "x",
                Err(HttpCloseReason::Malformed),
            ),
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
            ("http://evil.example/", Err(HttpCloseReason::Misdirected)),
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
            assert_eq!(old, Err(HttpCloseReason::OtherVersion), "{path}");
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
            assert_eq!(length, Err(HttpCloseReason::HeadTooLarge), "{end:?}");
        }
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
        assert_eq!(head_length(b"\r\n\r\nGET / HTTP/1.1\r\n\r\nmore"), Some(22));
        assert_eq!(head_length(b"\r\n\r\n"), None);
    }

    /// Whoever writes line ends in another way gets an answer at once, not when its time is over.
    #[test]
    fn an_empty_line_however_written_ends_a_head_which_is_then_refused() {
        for (head, rest) in [
            ("GET / HTTP/1.1\nHost: x\n\n", "GET"),
            ("GET / HTTP/1.1\nHost: x\n\r\n", ""),
            ("GET / HTTP/1.1\r\nHost: x\r\n\n", "\r\n"),
            // What httparse takes for the end is never somewhere else than here.
            ("GET / HTTP/1.1\r\nA: b\n\n", "C: d\r\n\r\n"),
        ] {
            let bytes = format!("{head}{rest}").into_bytes();
            assert_eq!(head_length(&bytes), Some(head.len()), "{head:?}");
            assert_eq!(judged(head), Err(HttpCloseReason::Malformed), "{head:?}");
        }
        assert_eq!(head_length(b"GET / HTTP/1.1\nHost: x\n\r"), None);
    }

    #[test]
    fn an_answer_to_head_has_the_length_of_its_body_and_no_body() {
        for reason in HttpCloseReason::ALL {
            let end = BadRequest::of(reason);
            let whole = last_answer(end);
            let head = last_answer(BadRequest {
                is_head: true,
                ..end
            });
            let problem = last_answer(BadRequest {
                is_api: true,
                ..end
            });
            if answer_to(reason).is_none() {
                assert_eq!((&*whole, &*head, &*problem), ("", "", ""));
                continue;
            }
            let (before, body) = whole.split_once("\r\n\r\n").unwrap();
            assert_eq!(head, format!("{before}\r\n\r\n"));
            let length = format!("Content-Length: {}\r\n", body.len());
            assert!(head.contains(&length), "{head}");
            let (_, problem) = problem.split_once("\r\n\r\n").unwrap();
            let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
            assert_eq!(problem["detail"], body.trim_end());
            assert_eq!(problem["code"], reason.word());
            assert!(whole.contains(&format!("HTTP/1.1 {} ", problem["status"])));
        }
    }

    #[test]
    fn the_method_is_known_as_far_as_the_request_came() {
        for (bytes, expected) in [
            ("HEAD / HTTP/1.1\r\n\r\n", true),
            ("\r\nHEAD /", true),
            ("HEAD", false),
            ("HEADER / HTTP/1.1", false),
            ("GET / HTTP/1.1\r\nA: HEAD / ", false),
            ("", false),
        ] {
            assert_eq!(is_of_head(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
