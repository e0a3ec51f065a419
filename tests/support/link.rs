//! TCP connections whose waits end at a deadline.

use super::deadline::Deadline;
use super::transcript::Transcript;
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::time::Duration;

/// A socket whose reads and writes end at a deadline.
#[derive(Debug)]
pub struct TimedStream {
    stream: TcpStream,
    deadline: Deadline,
}

impl TimedStream {
    pub fn new(stream: TcpStream, deadline: Deadline) -> Self {
        stream.set_nodelay(true).expect("no delay");
        TimedStream { stream, deadline }
    }
}

impl Deref for TimedStream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.deadline.read(&self.stream, buffer)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.deadline.write(&self.stream, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection of a test, whose bytes are in the transcript.
#[derive(Debug)]
pub struct Link {
    reader: BufReader<TimedStream>,
    label: String,
    transcript: Transcript,
    /// Start of a line whose end has not arrived.
    unfinished: Vec<u8>,
}

impl Deref for Link {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

impl Link {
    pub fn new(stream: TcpStream, label: &str, transcript: Transcript) -> Self {
        Link {
            reader: BufReader::new(TimedStream::new(stream, Deadline::new())),
            label: label.to_owned(),
            transcript,
            unfinished: Vec::new(),
        }
    }

    /// Begins an expectation: everything after this ends at `deadline`.
    pub fn begin(&mut self, deadline: Deadline) {
        self.reader.get_mut().deadline = deadline;
    }

    pub fn note(&self, arrow: &str, bytes: &[u8]) {
        self.transcript.note(&self.label, arrow, bytes);
    }

    /// Returns a second handle to send in the background, up to the end of the test.
    pub fn sender(&self) -> TimedStream {
        let stream = self.try_clone().expect("a second handle");
        TimedStream::new(stream, Deadline::of_test())
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.note("→", bytes);
        self.reader.get_mut().write_all(bytes)
    }

    /// Returns the next line with its newline; none at the end of the stream.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline, `UnexpectedEof` inside of a line, or that of the socket.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        // What arrived before an error stays for the next call.
        let read = self.reader.read_until(b'\n', &mut self.unfinished);
        match read {
            Ok(_) if self.unfinished.ends_with(b"\n") => {
                let line = std::mem::take(&mut self.unfinished);
                self.note("←", &line);
                Ok(Some(line))
            }
            Ok(_) => {
                self.note("←", b"(end)");
                match self.unfinished.is_empty() {
                    true => Ok(None),
                    false => Err(ErrorKind::UnexpectedEof.into()),
                }
            }
            Err(error) => {
                self.note("←", format!("({error})").as_bytes());
                Err(error)
            }
        }
    }

    /// Returns the bytes after the last line, when the stream has ended.
    pub fn unfinished_line(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unfinished)
    }

    /// Returns the next bytes, at least one except at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        let bytes = self.reader.fill_buf()?.to_vec();
        self.reader.consume(bytes.len());
        self.note("←", &bytes);
        Ok(bytes)
    }

    /// Returns this many bytes.
    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = self.reader.read_exact(&mut bytes);
        self.note("←", &bytes);
        read.map(|()| bytes)
    }

    /// Appends everything up to the end of the stream to `bytes`.
    pub fn rest(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.append(&mut self.unfinished);
        let read = self.reader.read_to_end(bytes);
        self.note("←", bytes);
        read.map(drop)
    }

    /// Makes the close of the socket a reset.
    pub fn set_reset(&self) {
        self.note("→", b"(reset)");
        let reset = SockRef::from(&**self).set_linger(Some(Duration::ZERO));
        reset.expect("a linger of zero");
    }
}

/// Connects from `source`, if there is one, with the smallest receive buffer if it is narrow.
#[track_caller]
pub fn connect_socket(
    target: SocketAddr,
    source: Option<SocketAddr>,
    is_narrow: bool,
) -> TcpStream {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).expect("a socket");
    if let Some(source) = source {
        socket.set_reuse_address(true).expect("a reusable address");
        socket.bind(&source.into()).expect("a local address");
    }
    if is_narrow {
        socket.set_recv_buffer_size(2048).expect("a small buffer");
    }
    let connected = socket.connect_timeout(&target.into(), super::PATIENCE);
    connected.unwrap_or_else(|error| panic!("cannot connect to {target}: {error}"));
    socket.into()
}
