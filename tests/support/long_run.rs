//! What a test needs of a server that runs for longer than other tests do.

use super::{RealServer, Watchdog};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

impl RealServer {
    /// Lets the test take this long instead of the time that is allowed to others.
    pub fn watch_for(&mut self, limit: Duration) {
        let (alive, dropped) = mpsc::channel();
        let trace = self.trace.clone();
        thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "the test took longer than {limit:?}; what its clients saw:\n{}",
                    trace.dump()
                );
                std::process::exit(124);
            }
        });
        // The former one is dropped, and with that does nothing.
        self._watchdog = Watchdog { _alive: alive };
    }

    /// The memory that it has in use now, in bytes; none where the system does not tell.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kilobytes * 1024)
    }
}
