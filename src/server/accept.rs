//! Accepting connections, whatever goes wrong with one of them.
//!
//! What lives here: [`Acceptor`]; the chat and the page each have one. It keeps a spare file
//! descriptor, so that when there is no other left, those who come are told so instead of
//! waiting. It must never end because of an error, never spin on one, and never swallow one
//! without a pause or a reason.

use crate::limits::{ACCEPT_FIRST_PAUSE, ACCEPT_LAST_PAUSE, MAX_ACCEPTS_PER_TURN};
use crate::server::closing::CloseReason;
use async_net::{TcpListener, TcpStream};
use prometheus_client::metrics::counter::Counter;
use smol::{Async, Timer};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Accepts connections of one listener.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    /// Given up to accept one more who can be told, and taken back after that.
    spare: Option<File>,
    /// What those are told for whom there is no descriptor.
    farewell: Vec<u8>,
    turned_away: Counter,
    last_pause: Option<Duration>,
    has_told: bool,
    in_this_turn: usize,
}

impl Acceptor {
    /// An acceptor for this listener. For whom there is no file descriptor, gets this farewell,
    /// is closed and counted.
    pub fn new(listener: TcpListener, farewell: Vec<u8>, turned_away: Counter) -> Self {
        Acceptor {
            listener,
            spare: spare(),
            farewell,
            turned_away,
            last_pause: None,
            has_told: false,
            in_this_turn: 0,
        }
    }

    /// The next connection, however long it takes and whatever goes wrong before. Cancel-safe.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr) {
        if self.in_this_turn >= MAX_ACCEPTS_PER_TURN {
            self.in_this_turn = 0;
            smol::future::yield_now().await;
        }
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    self.last_pause = None;
                    self.has_told = false;
                    self.in_this_turn += 1;
                    return (stream, address);
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) if lacks_descriptor(&error) && self.spare.is_some() => {
                    self.tell_of_shortage(&error);
                    if let Some(accepted) = self.accept_with_spare().await {
                        return accepted;
                    }
                    // Whoever comes without end lets others have their turn.
                    smol::future::yield_now().await;
                }
                Err(error) => {
                    self.tell_of_shortage(&error);
                    self.pause().await;
                }
            }
        }
    }

    /// Accepts one with the spare descriptor. If there is another for the spare by then, it is
    /// taken in as anyone; otherwise it is told that there is no room, and closed.
    async fn accept_with_spare(&mut self) -> Option<(TcpStream, SocketAddr)> {
        self.spare = None;
        // The system reports the shortage even when nobody is there to be accepted: this waits
        // for somebody, and does not ask again and again.
        let accepted = self.listener.accept().await.ok();
        self.spare = spare();
        let (stream, address) = accepted?;
        if self.spare.is_some() {
            return Some((stream, address));
        }
        self.turned_away.inc();
        tracing::debug!(%address, reason = %CloseReason::NoDescriptor, "turned away");
        let stream: Arc<Async<std::net::TcpStream>> = stream.into();
        // There is no descriptor to wait with: what the socket takes at once has to do, and what
        // it has sent is taken, lest closing resets the connection.
        let _ = stream.get_ref().write(&self.farewell);
        let _ = stream.get_ref().read(&mut [0; 1024]);
        drop(stream);
        self.spare = spare();
        None
    }

    /// Tells of an error of the system, once until the next connection is accepted.
    fn tell_of_shortage(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.has_told, true) {
            return;
        }
        if lacks_descriptor(error) {
            tracing::warn!(
                %error,
                "no file descriptor is left for further connections: raise the limit (ulimit -n) \
                 or lower --max-clients; those who come are turned away until one is free"
            );
        } else {
            tracing::warn!(%error, "cannot accept connections; trying again");
        }
    }

    /// Waits until the system may have what it lacked.
    async fn pause(&mut self) {
        if self.spare.is_none() {
            self.spare = spare();
        }
        let pause = next_pause(self.last_pause);
        self.last_pause = Some(pause);
        Timer::after(pause).await;
    }
}

/// A file descriptor that is there to be given up; none if the system has none.
fn spare() -> Option<File> {
    File::open(NULL_DEVICE).ok()
}

const NULL_DEVICE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// Whether the process or the system has no file descriptor left: `EMFILE`, `ENFILE`, or
/// `WSAEMFILE`.
fn lacks_descriptor(error: &io::Error) -> bool {
    let codes: &[i32] = if cfg!(windows) { &[10024] } else { &[23, 24] };
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Whether an accept error concerns a single connection, which is gone by now.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// The pause after a further error of the system: doubled, up to the longest.
fn next_pause(last: Option<Duration>) -> Duration {
    last.map_or(ACCEPT_FIRST_PAUSE, |last| (last * 2).min(ACCEPT_LAST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pause = None;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pause = Some(next_pause(pause));
            pauses.push(pause.unwrap().as_millis());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn running_out_of_descriptors_is_no_matter_of_one_connection() {
        let emfile = io::Error::from_raw_os_error(24);
        assert!(!is_of_one_connection(&emfile));
        assert!(lacks_descriptor(&emfile));
        assert!(is_of_one_connection(
            &io::ErrorKind::ConnectionAborted.into()
        ));
    }
}
