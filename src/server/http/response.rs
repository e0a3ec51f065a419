//! Builds HTTP responses and writes them.

use crate::server::close_reason::CloseReason;
use crate::server::fanout::outbox::Document;
use crate::server::http::api::ROUTES;
use crate::server::http::document_cache::CachedDocument;
use crate::server::http::html;
use crate::server::http::problem::{Problem, title_of};
use crate::server::http::request_head::{API, HttpConnectionEnd};
use crate::server::timeout::timeout;
use futures_lite::{AsyncBufReadExt, AsyncWriteExt};
use smol::Async;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tide::http::other::Date;
use tide::http::{self, Body};
use tide::{Response, StatusCode};

/// Security headers of every page and document.
pub(super) const SECURITY_HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Documents with fewer bytes are not compressed.
const MIN_COMPRESSED_BYTES: usize = 1024;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
const PROBLEM_JSON: &str = "application/problem+json";

pub(super) fn document(body: impl Into<Body>, media_type: &str) -> Response {
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(body);
    response.insert_header("content-type", media_type);
    response
}

/// Creates a response whose body is shared with other responses. Compresses the body for a client
/// that takes gzip, unless that saves little.
pub(super) async fn shared_document(
    shared: Arc<CachedDocument>,
    media_type: &str,
    accepts_gzip: bool,
) -> Response {
    let is_compressed = accepts_gzip && shared.bytes().len() >= MIN_COMPRESSED_BYTES;
    let body = SharedBody {
        document: shared,
        is_compressed,
    };
    let (length, body) = match is_compressed {
        // A long document would hold up the executor's thread.
        true => smol::unblock(move || (body.as_ref().len(), body)).await,
        false => (body.as_ref().len(), body),
    };
    let reader = futures_lite::io::Cursor::new(body);
    let mut response = document(Body::from_reader(reader, Some(length)), media_type);
    if is_compressed {
        response.insert_header("content-encoding", "gzip");
    }
    response.insert_header("vary", "accept-encoding");
    response
}

struct SharedBody {
    document: Arc<CachedDocument>,
    is_compressed: bool,
}

impl AsRef<[u8]> for SharedBody {
    fn as_ref(&self) -> &[u8] {
        match self.is_compressed {
            true => self.document.compressed(),
            false => self.document.bytes(),
        }
    }
}

impl From<Problem> for Response {
    /// Creates a response without a body, which `finish` adds.
    fn from(problem: Problem) -> Self {
        let mut response = Response::new(problem.status);
        response.insert_ext(problem);
        response
    }
}

/// Returns the body for a problem and its media type.
fn problem_body(problem: &Problem, is_api: bool) -> (String, &'static str) {
    match is_api {
        true => (problem.json(), PROBLEM_JSON),
        false => (format!("{}\n", problem.detail), TEXT),
    }
}

fn problem_response(problem: &Problem, is_api: bool, allowed_methods: &str) -> Response {
    let (body, media_type) = problem_body(problem, is_api);
    let mut response = document(body, media_type);
    response.set_status(problem.status);
    if let Some(seconds) = problem.retry_after_seconds() {
        response.insert_header("retry-after", seconds.to_string());
    }
    if problem.status == StatusCode::MethodNotAllowed {
        response.insert_header("allow", allowed_methods);
    }
    response
}

/// Completes the response to a request for this path: adds the headers of every page and document,
/// and the body of a problem.
pub(super) fn finish(mut response: Response, path: &str) -> http::Response {
    let route = ROUTES.iter().find(|(route, _)| *route == path);
    let allowed_methods = route.map_or("GET, HEAD", |route| route.1);
    let problem = response.ext::<Problem>().cloned();
    let problem = problem.or_else(|| routing_problem(response.status(), allowed_methods));
    if let Some(problem) = problem {
        let is_api = path.starts_with(API);
        response = problem_response(&problem, is_api, allowed_methods);
        let status = problem.status;
        let is_wrong_address = matches!(status, StatusCode::NotFound | StatusCode::BadRequest);
        if is_wrong_address && !is_api {
            response.set_body(html::problem_page(title_of(status), &problem.detail));
            response.insert_header("content-type", HTML);
        }
    }
    for (name, value) in SECURITY_HEADERS {
        response.insert_header(name, value);
    }
    if response.header("cache-control").is_none() {
        response.insert_header("cache-control", "no-store");
    }
    response.insert_header("date", Date::now().value());
    response.into()
}

/// Returns the problem of a request for which there is no route.
fn routing_problem(status: StatusCode, allowed_methods: &str) -> Option<Problem> {
    let (code, detail) = match status {
        StatusCode::NotFound => (
            "not-found",
            "There is nothing at this address; the page is at /".to_owned(),
        ),
        StatusCode::MethodNotAllowed => {
            let methods = allowed_methods.replace(", ", " and ");
            ("method", format!("Only {methods} are understood here"))
        }
        _ => return None,
    };
    Some(Problem::new(status.into(), code, detail))
}

/// Encodes the last response of a connection. Most reasons have none.
pub(super) fn encode_last(end: HttpConnectionEnd) -> Vec<u8> {
    let Some(problem) = last_problem(end.reason) else {
        return Vec::new();
    };
    let mut response = problem_response(&problem, end.is_api, "GET, HEAD");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("cache-control", "no-store"),
        ("connection", "close"),
    ] {
        response.insert_header(name, value);
    }
    let mut bytes = encode_head(&response.into());
    if !end.is_head {
        let (body, _) = problem_body(&problem, end.is_api);
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

/// Returns the problem of a client whose connection ends.
fn last_problem(reason: CloseReason) -> Option<Problem> {
    let (status, detail) = match reason {
        CloseReason::Malformed => (400, "The request is not valid HTTP/1.1"),
        CloseReason::MethodNotAllowed => (405, "Only GET and HEAD are understood here"),
        CloseReason::HeadTimeout => (408, "The request took too long to arrive"),
        CloseReason::LengthRequired => (
            411,
            "Send the length of the body beforehand, and the body in one piece",
        ),
        CloseReason::HasBody => (413, "No request body is expected here, or none so large"),
        CloseReason::Expectation => (417, "Send the request without Expect"),
        CloseReason::Misdirected => (
            421,
            "The page is not served under this host name; its address works, and the server's \
             option --web-name allows further names",
        ),
        CloseReason::HeadTooLarge => (431, "The request's head is larger than 8 KiB"),
        CloseReason::Full | CloseReason::NoDescriptor => {
            (503, "Too many connections are open; try again later")
        }
        CloseReason::AddressFull => (
            503,
            "Too many connections are open from your address; close one or try again later",
        ),
        CloseReason::OtherVersion => (505, "Only HTTP/1.1 is understood here"),
        _ => return None,
    };
    Some(match status {
        503 => Problem::unavailable(reason.word(), detail),
        _ => Problem::new(status, reason.word(), detail),
    })
}

/// Returns the status line and header fields of a response.
fn encode_head(response: &http::Response) -> Vec<u8> {
    let status = response.status();
    let mut fields = Vec::new();
    for (name, values) in response.iter() {
        fields.extend(values.iter().map(|value| format!("{name}: {value}")));
    }
    // The map has a random order.
    fields.sort_unstable();
    let length = response.len().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-length: {length}\r\n{}\r\n\r\n",
        u16::from(status),
        title_of(status),
        fields.join("\r\n")
    );
    head.into_bytes()
}

/// Writes a response. The response to HEAD has the headers of GET and no body (RFC 9110, section
/// 9.3.2).
///
/// # Errors
/// The client reads nothing for `stall_timeout`, or the connection is broken.
pub(super) async fn write_response(
    socket: &Async<TcpStream>,
    mut response: http::Response,
    is_head: bool,
    stall_timeout: Duration,
) -> Result<(), CloseReason> {
    write_all(socket, &encode_head(&response), stall_timeout).await?;
    if is_head {
        return Ok(());
    }
    let mut body = response.take_body();
    loop {
        let piece = body.fill_buf().await.map_err(|_| CloseReason::Fault)?;
        if piece.is_empty() {
            return Ok(());
        }
        let count = write_some(socket, piece, stall_timeout).await?;
        AsyncBufReadExt::consume(&mut body, count);
    }
}

pub(super) async fn write_all(
    socket: &Async<TcpStream>,
    mut bytes: &[u8],
    stall_timeout: Duration,
) -> Result<(), CloseReason> {
    while !bytes.is_empty() {
        let count = write_some(socket, bytes, stall_timeout).await?;
        bytes = &bytes[count..];
    }
    Ok(())
}

async fn write_some(
    mut socket: &Async<TcpStream>,
    bytes: &[u8],
    stall_timeout: Duration,
) -> Result<usize, CloseReason> {
    match timeout(stall_timeout, socket.write(bytes)).await {
        None => Err(CloseReason::Stalled),
        Some(Ok(0) | Err(_)) => Err(CloseReason::Reset),
        Some(Ok(count)) => Ok(count),
    }
}
