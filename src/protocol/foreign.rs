//! Recognition of other protocols on the chat port.
//!
//! Any web page can make its visitor's browser send an HTTP request to this port. Without
//! recognition, the lines of the request's body would be obeyed.

use crate::protocol::basic;
use std::net::SocketAddr;

/// Bytes of a line that tell its protocol.
pub(crate) const LONGEST_START: usize = 32;

/// Methods of RFC 9110 and RFC 5789, and the preface of HTTP/2 (RFC 9113).
const HTTP_STARTS: [&str; 10] = [
    "GET ",
    "HEAD ",
    "POST ",
    "PUT ",
    "DELETE ",
    "CONNECT ",
    "OPTIONS ",
    "TRACE ",
    "PATCH ",
    "PRI * HTTP/2.0",
];
/// Type and major version of a TLS handshake record (RFC 8446, section 5.1).
const TLS_START: &[u8] = &[0x16, 0x03];

/// A protocol other than that of the chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForeignProtocol {
    /// HTTP of any version.
    Http,
    /// A TLS handshake.
    Tls,
}

impl ForeignProtocol {
    /// Recognises the protocol of a line by its first bytes. Empty lines before it do not count.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        let empty = start.iter().take_while(|byte| b"\r\n".contains(byte));
        let start = &start[empty.count()..];
        if start.starts_with(TLS_START) {
            return Some(ForeignProtocol::Tls);
        }
        let is_http = HTTP_STARTS
            .iter()
            .any(|method| start.starts_with(method.as_bytes()))
            || is_request_line(start);
        is_http.then_some(ForeignProtocol::Http)
    }

    /// Returns the bytes that the peer gets before its connection closes.
    pub(crate) fn answer(self, page: Option<SocketAddr>) -> Vec<u8> {
        match self {
            ForeignProtocol::Http => bad_request(page),
            ForeignProtocol::Tls => {
                basic::notice_line("This port does not speak TLS; connect without it").to_vec()
            }
        }
    }
}

/// Returns whether an upper-case word and a path begin the line, as with methods of extensions.
fn is_request_line(start: &[u8]) -> bool {
    let method = start.iter().take_while(|byte| byte.is_ascii_uppercase());
    let rest = &start[method.count()..];
    rest.len() < start.len() && (rest.starts_with(b" /") || rest.starts_with(b" http"))
}

fn bad_request(page: Option<SocketAddr>) -> Vec<u8> {
    let mut body = "This port is for chat clients, not for HTTP.\n".to_owned();
    if let Some(address) = page {
        body.push_str(&format!("The page of this chat is at http://{address}/\n"));
    }
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let http = Some(ForeignProtocol::Http);
        for (start, protocol) in [
            ("GET / HTTP/1.1", http),
            ("POST ", http),
            ("\r\n\r\nOPTIONS * HTTP/1.0", http),
            ("CONNECT [::1]:80", http),
            ("PROPFIND /x", http),
            ("PRI * HTTP/2.0\r\n", http),
            ("\x16\x03\x01\x02", Some(ForeignProtocol::Tls)),
            ("\x16\x02", None),
            ("{\"type\":\"message\",\"data\":\"GET / HTTP/1.1\"}", None),
            (" GET /", None),
            ("GET", None),
            ("GETTING /", http),
            ("get /", None),
            ("hello /world", None),
            (" /", None),
            ("", None),
        ] {
            assert_eq!(ForeignProtocol::of(start.as_bytes()), protocol, "{start:?}");
        }
    }

    #[test]
    fn answer_names_the_page() {
        let page = Some(([127, 0, 0, 1], 8080).into());
        let answer = String::from_utf8(ForeignProtocol::Http.answer(page)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(body.contains("http://127.0.0.1:8080/"), "{body}");
    }
}
