//! A server of which the test plays every line.

use super::deadline::{Deadline, TimedStream};
use super::transcript::Transcript;
use serde_json::json;
use socket2::SockRef;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

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
            reader: BufReader::new(TimedStream::new(stream)),
        }
    }
}

/// The server's side of a connection.
pub struct Scripted {
    reader: BufReader<TimedStream>,
}

impl Scripted {
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    fn begin(&mut self) {
        self.reader.get_mut().expect_by(Deadline::new());
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.begin();
        Transcript::current().note("server", "→", bytes);
        let stream = self.reader.get_mut();
        stream.write_all(bytes).expect("the client reads");
    }

    /// Sends a message.
    #[track_caller]
    pub fn say(&mut self, source: &str, message: &str) {
        self.send(said(source, message).as_bytes());
    }

    /// Returns the next line with its end; empty at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.begin();
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        Transcript::current().note("server", "←", line.as_bytes());
        read.expect("a line, or the end");
        line
    }

    /// Expects this request next.
    #[track_caller]
    pub fn expect(&mut self, kind: &str, data: &str) {
        assert_eq!(self.line(), asked(kind, data));
    }

    /// Returns everything up to the end of the stream.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        self.begin();
        let mut text = String::new();
        let read = self.reader.read_to_string(&mut text);
        Transcript::current().note("server", "←", text.as_bytes());
        read.expect("the client ends its side");
        text
    }

    /// Expects the end of the stream next.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.read_to_end(), "");
    }

    /// Ends the connection in both directions.
    pub fn close(&self) {
        self.stream().shutdown(Shutdown::Both).expect("a close");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        SockRef::from(self.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("no linger");
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
