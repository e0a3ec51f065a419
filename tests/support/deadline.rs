//! Absolute ends of waits.

use super::transcript::Transcript;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait of one expectation; long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The end of one expectation, set once; traffic never renews it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline of an expectation that begins now.
    ///
    /// The end of the whole test comes first where it is nearer.
    pub fn new() -> Self {
        Deadline::after(PATIENCE)
    }

    /// Returns a deadline after this time, or at the end of the whole test.
    pub fn after(time: Duration) -> Self {
        Deadline((Instant::now() + time).min(Transcript::current().test_end()))
    }

    /// Returns the end of the whole test, for threads that work in the background.
    pub fn of_test() -> Self {
        Deadline(Transcript::current().test_end())
    }

    /// Returns the time that is left; none when the deadline has passed.
    pub fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Reads once, until the deadline.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline; otherwise the error of the socket.
    pub fn read(self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            stream.set_read_timeout(Some(self.left().ok_or(ErrorKind::TimedOut)?))?;
            match stream.read(buffer) {
                Err(error) if may_go_on(&error) => {}
                result => return result,
            }
        }
    }

    /// Writes once, until the deadline.
    ///
    /// # Errors
    ///
    /// Those of [`Deadline::read`].
    pub fn write(self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        loop {
            stream.set_write_timeout(Some(self.left().ok_or(ErrorKind::TimedOut)?))?;
            match stream.write(bytes) {
                Err(error) if may_go_on(&error) => {}
                result => return result,
            }
        }
    }

    /// Polls until the condition holds; false at the deadline.
    #[must_use]
    pub fn poll(self, mut condition: impl FnMut() -> bool) -> bool {
        while !condition() {
            if self.left().is_none() {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

fn may_go_on(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
    )
}

/// Polls until the condition holds; panics after `limit`.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, condition: impl FnMut() -> bool) {
    let holds = Deadline::after(limit).poll(condition);
    assert!(holds, "not within {limit:?}: {what}");
}
