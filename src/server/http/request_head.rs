//! Reads requests from a connection and validates their heads.
//!
//! A reader stores at most one head and one body, and waits no longer than its limits. Only
//! validated requests reach the routes.

use crate::server::close_reason::CloseReason;
use crate::server::http::allowed_hosts::AllowedHosts;
use crate::server::http::connection_limits::ConnectionLimits;
use crate::server::http::request_info::{RequestInfo, values};
use crate::server::limits::WEB_MAX_HEAD_BYTES;
use crate::server::timeout::timeout;
use futures_lite::AsyncReadExt;
use smol::Async;
use std::borrow::Cow;
use std::net::TcpStream;
use std::str;
use tide::http::{Method, Url};

pub(super) const API: &str = "/api/";
pub(super) const STREAM_PATH: &str = "/api/events";
/// Maximum header fields of a request.
const MAX_FIELDS: usize = 64;

/// A valid request head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    /// The path and query. The host is always `localhost`, since no route looks at it.
    pub(super) url: Url,
    /// Whether another request may follow on this connection.
    pub(super) keep_alive: bool,
    /// Whether the path as sent belongs to the API.
    pub(super) is_api: bool,
    /// Whether the client asks for the live stream.
    pub(super) is_stream: bool,
    pub(super) info: RequestInfo,
    /// Announced bytes of the body.
    pub(super) body_bytes: usize,
}

impl RequestHead {
    /// Returns whether a page of another site reads or searches the chat through the browser of a
    /// visitor. A link to the page is no such request.
    pub(super) fn is_abuse(&self) -> bool {
        let path = self.url.path();
        let is_page = path == "/" || path.starts_with("/m/");
        self.info.is_cross_site && (path.starts_with(API) || (is_page && !self.info.is_navigation))
    }
}

/// The end of a connection, with what its last response depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HttpConnectionEnd {
    pub(super) reason: CloseReason,
    /// Whether the request uses HEAD, as far as it arrived. Its response has no body.
    pub(super) is_head: bool,
    /// Whether the request is for the API, as far as it arrived. Its response is a problem document.
    pub(super) is_api: bool,
}

impl From<CloseReason> for HttpConnectionEnd {
    fn from(reason: CloseReason) -> Self {
        HttpConnectionEnd {
            reason,
            is_head: false,
            is_api: false,
        }
    }
}

/// Reads requests from a connection, one after the other.
#[derive(Debug)]
pub(super) struct RequestReader<'a> {
    socket: &'a Async<TcpStream>,
    limits: &'a ConnectionLimits,
    /// Bytes after the last request.
    bytes: Vec<u8>,
    max_body_bytes: usize,
}

impl<'a> RequestReader<'a> {
    pub(super) fn new(
        socket: &'a Async<TcpStream>,
        limits: &'a ConnectionLimits,
        max_body_bytes: usize,
    ) -> Self {
        RequestReader {
            socket,
            limits,
            bytes: Vec::new(),
            max_body_bytes,
        }
    }

    /// Reads and validates the next head.
    pub(super) async fn next_head(&mut self) -> Result<RequestHead, HttpConnectionEnd> {
        let head = self.wait_for_head().await;
        head.map_err(|reason| {
            let start = first_line_start(&self.bytes).unwrap_or_default();
            let mut words = self.bytes[start..].split(|&byte| matches!(byte, b' ' | b'\n'));
            let (method, target) = (words.next(), words.next());
            HttpConnectionEnd {
                reason,
                is_head: method == Some(b"HEAD"),
                is_api: target.is_some_and(|target| target.starts_with(API.as_bytes())),
            }
        })
    }

    /// Reads the announced body.
    pub(super) async fn body(&mut self, length: usize) -> Result<Vec<u8>, CloseReason> {
        let limit = self.limits.configured.head_timeout;
        let reading = async {
            while self.bytes.len() < length {
                self.read_up_to(length).await?;
            }
            Ok(self.bytes.drain(..length).collect())
        };
        let body = timeout(limit, reading).await;
        body.unwrap_or(Err(CloseReason::HeadTimeout))
    }

    async fn wait_for_head(&mut self) -> Result<RequestHead, CloseReason> {
        let limits = &self.limits.configured;
        if self.bytes.is_empty() {
            // A silent keep-alive connection is normal: it ends without a response.
            timeout(limits.idle_timeout, self.read_up_to(WEB_MAX_HEAD_BYTES))
                .await
                .unwrap_or(Err(CloseReason::Idle))?;
        }
        timeout(limits.head_timeout, self.read_head())
            .await
            .unwrap_or(Err(CloseReason::HeadTimeout))
    }

    /// Leaves the bytes of an invalid head in place: the response depends on its method.
    async fn read_head(&mut self) -> Result<RequestHead, CloseReason> {
        loop {
            if let Some(length) = head_length(&self.bytes) {
                let head = validate_head(&self.bytes[..length], &self.limits.hosts)?;
                if head.body_bytes > self.max_body_bytes {
                    return Err(CloseReason::HasBody);
                }
                self.bytes.drain(..length);
                return Ok(head);
            }
            if self.bytes.len() >= WEB_MAX_HEAD_BYTES {
                return Err(CloseReason::HeadTooLarge);
            }
            self.read_up_to(WEB_MAX_HEAD_BYTES).await?;
        }
    }

    /// Reads once. Requires fewer than `max` bytes in the buffer and stores at most `max`.
    async fn read_up_to(&mut self, max: usize) -> Result<(), CloseReason> {
        let mut buffer = [0; 1024];
        let room = (max - self.bytes.len()).min(buffer.len());
        match self.socket.read(&mut buffer[..room]).await {
            Ok(0) if !self.bytes.is_empty() => Err(CloseReason::Malformed),
            Ok(0) => Err(CloseReason::Closed),
            Err(_) => Err(CloseReason::Reset),
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// Finds the first line. A head may begin with empty lines (RFC 9112, section 2.2).
fn first_line_start(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// Returns the length of a complete head. An empty line with a bare newline ends a head too:
/// otherwise its sender would wait for the timeout instead of the rejection.
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

/// Returns whether a line ends without `\r`. RFC 9112, section 2.2 lets a server accept that, but
/// a proxy may then see one request where the server sees two.
fn has_bare_newline(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r')
}

fn validate_head(bytes: &[u8], allowed: &AllowedHosts) -> Result<RequestHead, CloseReason> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    if has_bare_newline(bytes) {
        return Err(CloseReason::Malformed);
    }
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(CloseReason::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(CloseReason::OtherVersion),
        Ok(_) | Err(_) => return Err(CloseReason::Malformed),
    }
    let is_http_1_0 = request.version == Some(0);
    let values = |name| -> Vec<&[u8]> { values(request.headers, name).collect() };
    let hosts = values("host");
    if hosts.len() > 1 || (hosts.is_empty() && !is_http_1_0) {
        return Err(CloseReason::Malformed);
    }
    let (authority, path) = split_target(request.path.unwrap_or_default());
    // A host in the target overrides the field (RFC 9112, section 3.2.2); HTTP/1.0 needs neither.
    let authority = authority.map(str::as_bytes).or(hosts.first().copied());
    let authority = match authority {
        Some(host) => {
            let host = str::from_utf8(host).map_err(|_| CloseReason::Malformed)?;
            allowed.check(host)?;
            host
        }
        None => "",
    };
    let is_api = path.starts_with(API);
    let method = known_method(request.method.unwrap_or_default(), is_api)
        .ok_or(CloseReason::MethodNotAllowed)?;
    if !path.starts_with('/') || !path.is_ascii() || path.contains('#') {
        return Err(CloseReason::Malformed);
    }
    // `Url` resolves `.`, `..`, `\` and `%2e`. Routes are compared with its result.
    let url = Url::parse(&format!("http://localhost{path}")).map_err(|_| CloseReason::Malformed)?;
    // A stream without end does not fit into HTTP/1.0.
    if is_http_1_0 && url.path() == STREAM_PATH {
        return Err(CloseReason::OtherVersion);
    }
    if !values("expect").is_empty() {
        return Err(CloseReason::Expectation);
    }
    let body_bytes = body_length(&values("content-length"))?;
    let has_coding = !values("transfer-encoding").is_empty();
    match is_api {
        false if body_bytes > 0 || has_coding => return Err(CloseReason::HasBody),
        true if has_coding => return Err(CloseReason::LengthRequired),
        _ => {}
    }
    Ok(RequestHead {
        keep_alive: !is_http_1_0 && !asks_to_close(&values("connection")),
        is_stream: url.path() == STREAM_PATH && method == Method::Get,
        info: RequestInfo::from_fields(request.headers, authority),
        method,
        url,
        is_api,
        body_bytes,
    })
}

/// Returns the method if it is allowed here. Method names are case-sensitive.
fn known_method(name: &str, is_api: bool) -> Option<Method> {
    let method = name
        .parse()
        .ok()
        .filter(|method: &Method| method.as_ref() == name)?;
    (is_api || matches!(method, Method::Get | Method::Head)).then_some(method)
}

fn asks_to_close(values: &[&[u8]]) -> bool {
    values.iter().any(|value| {
        let mut options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        options.any(|option| option.eq_ignore_ascii_case(b"close"))
    })
}

/// Returns the announced length of the body, given all values of Content-Length, which have to be
/// the same number (RFC 9112, section 6.3).
fn body_length(values: &[&[u8]]) -> Result<usize, CloseReason> {
    let Some(first) = values.first() else {
        return Ok(0);
    };
    let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    if !is_number || values.iter().any(|value| value != first) {
        return Err(CloseReason::Malformed);
    }
    let length = str::from_utf8(first)
        .ok()
        .and_then(|text| text.parse().ok());
    // A number that overflows is larger than any limit.
    Ok(length.unwrap_or(usize::MAX))
}

/// Splits a request target into its host, if it is an absolute URL, and its path.
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

#[cfg(test)]
mod tests;
