//! Accepting connections, whatever goes wrong with one of them.
//!
//! What lives here: [`Acceptor`]; the chat and the page each have one. They share a
//! [`ReserveDescriptor`], so that when there is no other left, those who come are told so instead
//! of waiting. An acceptor must never end because of an error, never spin on one, and never
//! swallow one without a pause or a reason.

use crate::server::close_reason::CloseReason;
use crate::server::limits::{ACCEPT_FIRST_PAUSE, ACCEPT_LAST_PAUSE, MAX_ACCEPTS_PER_TURN};
use async_net::{TcpListener, TcpStream};
use prometheus_client::metrics::counter::Counter;
use smol::{Async, Timer};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A file descriptor that is there to be given up when there is no other; cheap to clone, and
/// shared by every acceptor of a server.
///
/// Whoever accepts keeps the newcomer only while the spare is there: the number that one acceptor
/// has given up may as well be taken by the newcomer of another.
#[derive(Clone, Debug, Default)]
pub struct ReserveDescriptor(Arc<Mutex<Option<File>>>);

impl ReserveDescriptor {
    /// A spare descriptor; one that is still to be had if the system has none now.
    pub fn new() -> Self {
        ReserveDescriptor(Arc::new(Mutex::new(open_spare())))
    }

    /// Gives it up, so that one more can be accepted; false if it is not there.
    fn give_up(&self) -> bool {
        self.lock().take().is_some()
    }

    /// Takes it back if there is a descriptor for it.
    fn regain(&self) {
        let mut spare = self.lock();
        if spare.is_none() {
            *spare = open_spare();
        }
    }

    /// Whether it is there, or can be had beside this newcomer, who is given back then.
    /// Otherwise the newcomer is parted with, and the spare has its descriptor.
    fn keep_beside(
        &self,
        newcomer: TcpStream,
        part_with: impl FnOnce(TcpStream),
    ) -> Option<TcpStream> {
        let mut spare = self.lock();
        if spare.is_none() {
            *spare = open_spare();
        }
        if spare.is_some() {
            return Some(newcomer);
        }
        part_with(newcomer);
        *spare = open_spare();
        None
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        // It is replaced in one step, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What those get for whom there is no descriptor, and what counts them.
#[derive(Debug)]
pub struct RejectNotice {
    /// The last that they are told.
    pub text: Vec<u8>,
    /// Each of them counts one for each who is told.
    pub counters: Vec<Counter>,
}

/// Accepts connections of one listener.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    spare: ReserveDescriptor,
    farewell: RejectNotice,
    last_pause: Option<Duration>,
    has_told: bool,
    in_this_turn: usize,
}

impl Acceptor {
    /// An acceptor for this listener. Each for whom there is no file descriptor gets this
    /// farewell, is closed and counted.
    pub fn new(listener: TcpListener, spare: ReserveDescriptor, farewell: RejectNotice) -> Self {
        Acceptor {
            listener,
            spare,
            farewell,
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
        let mut is_short = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(stream) = self.keep(stream, address) {
                        self.last_pause = None;
                        self.has_told = self.has_told && is_short;
                        self.in_this_turn += 1;
                        return (stream, address);
                    }
                    // Whoever comes without end lets others have their turn.
                    smol::future::yield_now().await;
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    self.warn_out_of_descriptors(&error);
                    is_short = true;
                    // The system reports the shortage even when nobody is there to be accepted:
                    // with the spare given up, the next step waits for somebody, and does not
                    // ask again and again.
                    if !(lacks_descriptor(&error) && self.spare.give_up()) {
                        self.pause().await;
                    }
                }
            }
        }
    }

    /// The newcomer, if there is a descriptor for the spare beside it; otherwise it is told that
    /// there is no room, and closed.
    fn keep(&self, newcomer: TcpStream, address: SocketAddr) -> Option<TcpStream> {
        self.spare.keep_beside(newcomer, |newcomer| {
            for counter in &self.farewell.counters {
                counter.inc();
            }
            tracing::debug!(%address, reason = %CloseReason::NoDescriptor, "turned away");
            let stream: Arc<Async<std::net::TcpStream>> = newcomer.into();
            // There is no descriptor to wait with: what the socket takes at once has to do, and
            // what it has sent is taken, lest closing resets the connection.
            let _ = stream.get_ref().write(&self.farewell.text);
            let _ = stream.get_ref().read(&mut [0; 1024]);
        })
    }

    /// Tells of an error of the system, once until the next connection is accepted.
    fn warn_out_of_descriptors(&mut self, error: &io::Error) {
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
        self.spare.regain();
        let pause = next_pause(self.last_pause);
        self.last_pause = Some(pause);
        Timer::after(pause).await;
    }
}

/// A file descriptor that does nothing; none if the system has none.
fn open_spare() -> Option<File> {
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
