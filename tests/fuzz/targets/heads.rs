//! Any bytes on a connection to the page: each head that passes is one request that async-h1 and
//! http-types take without harm, and the reader comes to an end.
//!
//! The input: a first byte that is even, then what is on the connection; or one that is odd, then
//! lines, from which whole requests are put together, since chance alone hardly makes one.

#![no_main]

use async_net::TcpStream;
use libfuzzer_sys::fuzz_target;
use smolchat::server::limits::{WEB_MAX_HEAD_BYTES, WebLimits};
use smolchat::server::http::h1_stream::H1Stream;
use smolchat::server::http::connection_limits::Gate;
use smolchat::server::http::request_head::{Head, HeadReader, STREAM_PATH};
use smolchat::server::host_name::HostName;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Bytes that a body may have.
const MAX_BODY_BYTES: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else {
        return;
    };
    if first % 2 == 0 {
        check_connection(rest);
    } else {
        check_connection(&requests(first, rest));
    }
});

/// Two lines a request: what is asked for, and the host with further fields.
fn requests(first: u8, lines: &[u8]) -> Vec<u8> {
    let method = ["GET ", "HEAD ", "POST ", "DELETE "][usize::from(first / 2 % 4)];
    let version = [" HTTP/1.1\r\nHost: ", " HTTP/1.0\r\nHost: "][usize::from(first / 8 % 2)];
    let lines: Vec<&[u8]> = lines.split(|&byte| byte == b'\n').collect();
    let mut bytes = Vec::new();
    for request in lines.chunks(2) {
        bytes.extend_from_slice(method.as_bytes());
        bytes.extend_from_slice(request[0]);
        bytes.extend_from_slice(version.as_bytes());
        bytes.extend_from_slice(request.get(1).copied().unwrap_or(b"x"));
        bytes.extend_from_slice(b"\r\n\r\n");
    }
    bytes
}

fn check_connection(bytes: &[u8]) {
    let (reader, mut writer) = pair();
    // All of it fits into the socket's buffer.
    writer
        .write_all(bytes)
        .expect("a socket that takes the bytes");
    drop(writer);
    smol::block_on(async {
        let stream = TcpStream::try_from(reader).expect("a socket");
        let name = HostName::parse("x").expect("a host name");
        let gate = Arc::new(Gate::new(WebLimits::default(), vec![name]));
        let mut heads = HeadReader::new(stream.clone(), gate, MAX_BODY_BYTES);
        let mut before = 0;
        while let Ok(head) = heads.next_head().await {
            before += 1;
            assert!(before <= bytes.len(), "more heads than bytes");
            let body_bytes = head.body_bytes;
            check(&stream, head).await;
            match heads.body(body_bytes).await {
                Ok(body) => assert_eq!(body.len(), body_bytes),
                Err(_) => return,
            }
        }
    });
}

async fn check(stream: &TcpStream, head: Head) {
    assert!(head.bytes.len() < WEB_MAX_HEAD_BYTES);
    assert!(head.bytes.is_ascii() && head.bytes.ends_with(b"\r\n\r\n"));
    let lines = head.bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(lines, 3, "not a line, a host and an end");
    let exchange = H1Stream::new(stream.clone(), head.bytes);
    let decoded = async_h1::server::decode(exchange).await;
    let (request, _body) = decoded
        .expect("a head that async-h1 takes")
        .expect("a request");
    assert!(head.body_bytes <= MAX_BODY_BYTES);
    // What async-h1 takes for the stream is known to be one, and nothing else is.
    let is_stream = request.url().path() == STREAM_PATH && request.method().as_ref() == "GET";
    assert_eq!(head.is_stream, is_stream);
}

/// Two ends of a connection, which takes no port: the reader cares for bytes only.
fn pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    (OwnedFd::from(one).into(), OwnedFd::from(other).into())
}
