//! A server of which the test plays every line.

use super::deadline::Deadline;
use super::link::Link;
use super::transcript::Transcript;
use serde_json::json;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

/// A listener on a free port.
pub struct Listening(pub TcpListener);

impl Listening {
    pub fn start() -> Self {
        Listening::on_port(0)
    }

    pub fn on_port(port: u16) -> Self {
        Listening(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a listener"))
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }

    /// Waits for a client.
    #[track_caller]
    pub fn accept(&self) -> Scripted {
        self.0.set_nonblocking(true).expect("non-blocking");
        let mut accepted = None;
        let has_connected = Deadline::new().poll(|| match self.0.accept() {
            Ok((stream, _)) => {
                accepted = Some(stream);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                false
            }
        });
        assert!(has_connected, "no client connects");
        let stream = accepted.expect("a connection");
        stream.set_nonblocking(false).expect("blocking");
        Scripted {
            link: Link::new(stream, "server", Transcript::current()),
        }
    }
}

/// The server's side of a connection.
pub struct Scripted {
    link: Link,
}

impl Scripted {
    pub fn stream(&self) -> &TcpStream {
        &self.link
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.link.begin(Deadline::new());
        self.link.send(bytes).expect("the client reads");
    }

    /// Sends a message.
    #[track_caller]
    pub fn say(&mut self, source: &str, message: &str) {
        self.send(said(source, message).as_bytes());
    }

    /// Returns the next line with its end; empty at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.link.begin(Deadline::new());
        let line = self.link.line().expect("a line, or the end");
        String::from_utf8(line.unwrap_or_default()).expect("UTF-8")
    }

    /// Expects this request next.
    #[track_caller]
    pub fn expect(&mut self, kind: &str, data: &str) {
        assert_eq!(self.line(), asked(kind, data));
    }

    /// Returns everything up to the end of the stream.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        self.link.begin(Deadline::new());
        let mut bytes = Vec::new();
        self.link
            .rest(&mut bytes)
            .expect("the client ends its side");
        String::from_utf8(bytes).expect("UTF-8")
    }

    /// Expects the end of the stream next.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.read_to_end(), "");
    }

    /// Ends the connection in both directions.
    pub fn close(&self) {
        self.link.shutdown(Shutdown::Both).expect("a close");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.link.set_reset();
    }
}

/// Returns a line of a server.
pub fn said(source: &str, message: &str) -> String {
    let data = json!({ "source": source, "message": message });
    format!("{}\n", json!({ "type": "message", "data": data }))
}

/// Returns a line of the client program, with the keys in its order.
pub fn asked(kind: &str, data: &str) -> String {
    let [kind, data] = [kind, data].map(|text| json!(text));
    format!("{{\"type\":{kind},\"data\":{data}}}\n")
}
