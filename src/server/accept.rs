//! Accepting connections, whatever goes wrong with one of them.
//!
//! What lives here: [`Acceptor`]; the chat and the page each have one. It must never end because of an error, never spin on one, and never swallow
//! one without a pause or a reason.

use crate::limits::{ACCEPT_FIRST_PAUSE, ACCEPT_LAST_PAUSE, MAX_ACCEPTS_PER_TURN};
use async_net::{TcpListener, TcpStream};
use smol::Timer;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Accepts connections of one listener.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    last_pause: Option<Duration>,
    in_this_turn: usize,
}

impl Acceptor {
    /// An acceptor for this listener.
    pub fn new(listener: TcpListener) -> Self {
        Acceptor {
            listener,
            last_pause: None,
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
                    self.in_this_turn += 1;
                    return (stream, address);
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Waits until the system may have what it lacked; tells of it once an episode.
    async fn pause(&mut self, error: &io::Error) {
        if self.last_pause.is_none() {
            tracing::warn!(%error, "cannot accept connections; trying again");
        }
        let pause = next_pause(self.last_pause);
        self.last_pause = Some(pause);
        Timer::after(pause).await;
    }
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
        assert!(is_of_one_connection(
            &io::ErrorKind::ConnectionAborted.into()
        ));
    }
}
