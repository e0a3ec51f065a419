//! Clients of the basic dialect: each connection gets a piece of the log.

use super::{LISTEN, RETRY, World, hash};
use crate::support::{Deadline, LineClient, Transcript, request};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;

/// A client that connects anew after each fault.
pub(super) struct BasicClient {
    number: usize,
    next: u64,
    /// The first number that each connection sent, and hashes of the messages that it received.
    connections: Vec<(u64, Vec<u64>)>,
}

impl BasicClient {
    pub(super) fn new(number: usize) -> Self {
        BasicClient {
            number,
            next: 0,
            connections: Vec::new(),
        }
    }

    pub(super) fn run(mut self, world: &World) -> Self {
        while !world.is_calm.load(Ordering::Acquire) {
            self.connections.push((self.next, Vec::new()));
            // Every error is a reason to connect again.
            if self.talk(world).is_err() {
                thread::sleep(RETRY);
            }
        }
        self
    }

    fn talk(&mut self, world: &World) -> io::Result<()> {
        let stream = TcpStream::connect(world.proxy)?;
        let mut line = LineClient::new(stream, "basic", &Transcript::current());
        while !world.is_calm.load(Ordering::Acquire) {
            match line.try_next_line(Deadline::after(LISTEN)) {
                Ok(None) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(Some(bytes)) => {
                    let (source, text) = crate::support::decode(&bytes).expect("a message");
                    if source != "[Server]" {
                        let (_, seen) = self.connections.last_mut().expect("a connection");
                        seen.push(hash(&text));
                    }
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    let text = format!("{} {}", self.number, self.next);
                    self.next += 1;
                    line.try_send(&request("message", &text))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Checks that each connection has received consecutive messages, and that each message was
    /// said at most once, those of one connection in order.
    pub(super) fn check(&self, messages: &[String]) {
        let places: HashMap<u64, usize> = messages.iter().map(hash).zip(0..).collect();
        assert_eq!(places.len(), messages.len(), "a message was said twice");
        for (_, seen) in &self.connections {
            let found = seen.iter().map(|text| places.get(text).expect("stored"));
            let found: Vec<_> = found.copied().collect();
            let are_consecutive = found.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(are_consecutive, "a gap or a repeat: {found:?}");
        }
        let prefix = format!("{} ", self.number);
        let own = messages
            .iter()
            .filter_map(|text| text.strip_prefix(&prefix));
        let own: Vec<u64> = own
            .map(|number| number.parse().expect("a number"))
            .collect();
        let begins = self.connections.iter().map(|(begin, _)| *begin);
        let ends = begins.clone().skip(1).chain([self.next]);
        for (begin, end) in begins.zip(ends) {
            let sent = own.iter().filter(|number| (begin..end).contains(number));
            assert!(sent.is_sorted(), "{begin}: {own:?}");
        }
    }
}
