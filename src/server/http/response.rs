//! Builds HTTP responses and writes them.

use crate::server::close_reason::CloseReason;
use crate::server::http::document_cache::CachedDocument;
use crate::server::http::problem::{PROBLEM_JSON, Problem, RETRY_AFTER, title_of};
use crate::server::http::request_head::{API, HttpConnectionEnd};
use crate::server::timeout::timeout;
use futures_lite::{AsyncBufReadExt, AsyncWriteExt};
use smol::Async;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tide::http::headers::HeaderName;
use tide::http::other::Date;
use tide::http::{self, Body};
use tide::{Response, StatusCode};

/// Security headers of every page and document.
pub(crate) const SECURITY_HEADERS: [(&str, &str); 7] = [
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

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Creates a response with this text.
pub(crate) fn document(text: String, media_type: &str) -> Response {
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_string(text));
    response.insert_header("content-type", media_type);
    response
}

/// Creates a response with one sentence as plain text.
pub(crate) fn sentence(status: StatusCode, sentence: &str) -> Response {
    let mut response = document(format!("{sentence}\n"), TEXT);
    response.set_status(status);
    response
}

/// Creates a response whose body is shared with other responses.
pub(crate) fn shared_document(document: Arc<CachedDocument>, media_type: &str) -> Response {
    let length = document.text().len();
    let reader = futures_lite::io::Cursor::new(SharedText(document));
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_reader(reader, Some(length)));
    response.insert_header("content-type", media_type);
    response
}

struct SharedText(Arc<CachedDocument>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.text().as_bytes()
    }
}

/// Creates a 503 response in plain text.
pub(crate) fn unavailable(detail: &str) -> Response {
    let mut response = sentence(StatusCode::ServiceUnavailable, detail);
    response.insert_header("retry-after", RETRY_AFTER.as_secs().to_string());
    response
}

/// Creates a problem document, or for browsers (`is_api` is false) its sentence.
pub(crate) fn problem_response(problem: &Problem, is_api: bool) -> Response {
    let status = status_code(problem.status);
    let mut response = match is_api {
        true => document(problem.json(), PROBLEM_JSON),
        false => sentence(status, &problem.detail),
    };
    response.set_status(status);
    if let Some(seconds) = problem.retry_after_seconds() {
        response.insert_header("retry-after", seconds.to_string());
    }
    response
}

fn status_code(number: u16) -> StatusCode {
    StatusCode::try_from(number).unwrap_or(StatusCode::InternalServerError)
}

/// Adds the headers of every page and document, and a sentence to an error without a body.
/// `allowed_methods` belongs to the path.
pub(crate) fn finish(mut response: Response, path: &str, allowed_methods: &str) -> http::Response {
    let status = response.status();
    if is_error(status) && response.is_empty() == Some(true) {
        response = empty_error(path, status, allowed_methods);
    }
    for (name, value) in SECURITY_HEADERS {
        response.insert_header(HeaderName::from(name), value);
    }
    if response.header("cache-control").is_none() {
        response.insert_header("cache-control", "no-store");
    }
    response.insert_header("date", Date::now().value());
    response.into()
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn empty_error(path: &str, status: StatusCode, allowed_methods: &str) -> Response {
    let (code, detail) = match status {
        StatusCode::NotFound => (
            "not-found",
            "There is nothing at this address; the page is at /".to_owned(),
        ),
        StatusCode::Forbidden => (
            "forbidden",
            "Only this machine may read this; --public-metrics lets others read it too".to_owned(),
        ),
        StatusCode::MethodNotAllowed => {
            let methods = allowed_methods.replace(", ", " and ");
            ("method", format!("Only {methods} are understood here"))
        }
        _ => ("fault", "The request could not be answered".to_owned()),
    };
    let problem = Problem::new(status.into(), code, detail);
    let mut response = problem_response(&problem, path.starts_with(API));
    if status == StatusCode::MethodNotAllowed {
        response.insert_header("allow", allowed_methods);
    }
    response
}

/// Encodes the last response of a connection. Most reasons have none.
pub(crate) fn encode_last(end: HttpConnectionEnd) -> Vec<u8> {
    let Some((status, detail)) = last_sentence(end.reason) else {
        return Vec::new();
    };
    let (media_type, body) = match end.is_api {
        true => {
            let problem = Problem::new(status, end.reason.word(), detail);
            (PROBLEM_JSON, problem.json())
        }
        false => (TEXT, format!("{detail}\n")),
    };
    let mut response = document(body.clone(), media_type);
    response.set_status(status_code(status));
    match status {
        405 => response.insert_header("allow", "GET, HEAD"),
        503 => response.insert_header("retry-after", RETRY_AFTER.as_secs().to_string()),
        _ => {}
    }
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
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

/// Returns the status and sentence for a client whose connection ends.
fn last_sentence(reason: CloseReason) -> Option<(u16, &'static str)> {
    Some(match reason {
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
    })
}

/// Returns the status line and header fields of a response.
pub(crate) fn encode_head(response: &http::Response) -> Vec<u8> {
    let status = response.status();
    let title = match is_error(status) {
        true => title_of(status.into()),
        false => status.canonical_reason(),
    };
    let mut fields = Vec::new();
    for (name, values) in response.iter() {
        fields.extend(values.iter().map(|value| format!("{name}: {value}")));
    }
    // The map has a random order.
    fields.sort_unstable();
    let length = response.len().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {title}\r\ncontent-length: {length}\r\n{}\r\n\r\n",
        u16::from(status),
        fields.join("\r\n")
    );
    head.into_bytes()
}

/// Writes a response. The response to HEAD has the headers of GET and no body (RFC 9110, section
/// 9.3.2).
///
/// # Errors
/// The client reads nothing for `stall_timeout`, or the connection is broken.
pub(crate) async fn write_response(
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

/// Writes all bytes.
///
/// # Errors
/// Those of [`write_response`].
pub(crate) async fn write_all(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn last_text(end: HttpConnectionEnd) -> String {
        String::from_utf8(encode_last(end)).unwrap()
    }

    #[test]
    fn last_response_to_head_has_the_length_of_its_body_and_no_body() {
        for reason in CloseReason::of_http() {
            let end = HttpConnectionEnd::from(reason);
            let whole = last_text(end);
            let head = last_text(HttpConnectionEnd {
                is_head: true,
                ..end
            });
            let problem = last_text(HttpConnectionEnd {
                is_api: true,
                ..end
            });
            if last_sentence(reason).is_none() {
                assert_eq!((&*whole, &*head, &*problem), ("", "", ""));
                continue;
            }
            let (before, body) = whole.split_once("\r\n\r\n").unwrap();
            assert_eq!(head, format!("{before}\r\n\r\n"));
            let length = format!("content-length: {}\r\n", body.len());
            assert!(head.contains(&length), "{head}");
            let (_, problem) = problem.split_once("\r\n\r\n").unwrap();
            let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
            assert_eq!(problem["detail"], body.trim_end());
            assert_eq!(problem["code"], reason.word());
            let line = format!("HTTP/1.1 {} ", problem["status"]);
            assert!(whole.starts_with(&line), "{whole}");
        }
    }
}
