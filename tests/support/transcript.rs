//! What the clients of a test sent and received.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest time of a test outside of the slow group.
const TEST_LIMIT: Duration = Duration::from_secs(180);
/// Lines that a failure prints.
const MAX_LINES: usize = 300;
/// Characters of a line.
const MAX_WIDTH: usize = 300;

/// A transcript of one test, printed if the test fails.
#[derive(Clone, Debug)]
pub struct Transcript(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    lines: VecDeque<String>,
    test_end: Instant,
}

thread_local! {
    static CURRENT: RefCell<Transcript> = RefCell::new(Transcript::new());
}

impl Transcript {
    fn new() -> Self {
        Transcript(Arc::new(Mutex::new(Inner {
            lines: VecDeque::new(),
            test_end: Instant::now() + TEST_LIMIT,
        })))
    }

    /// Starts the transcript of the test that runs in this thread.
    pub fn start() -> Self {
        let transcript = Transcript::new();
        transcript.share();
        transcript
    }

    /// Makes this the transcript of the current thread, for a helper of the test.
    pub fn share(&self) {
        CURRENT.set(self.clone());
    }

    /// Returns the transcript of the current thread.
    pub fn current() -> Self {
        CURRENT.with_borrow(Clone::clone)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the test take `limit` from now on.
    pub fn set_limit(&self, limit: Duration) {
        self.lock().test_end = Instant::now() + limit;
    }

    /// Returns when every wait of the test is over.
    pub fn test_end(&self) -> Instant {
        self.lock().test_end
    }

    /// Adds one line.
    pub fn note(&self, who: &str, arrow: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_WIDTH)]);
        let visible = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let mut line: String = text
            .trim_end()
            .chars()
            .take(MAX_WIDTH)
            .map(visible)
            .collect();
        if line.len() + 2 < bytes.len() {
            line.push_str(&format!("… ({} bytes)", bytes.len()));
        }
        let mut inner = self.lock();
        if inner.lines.len() == MAX_LINES {
            inner.lines.pop_front();
        }
        inner.lines.push_back(format!("{who:>10} {arrow} {line}"));
    }

    /// Prints the transcript and the log of the server if this thread panics.
    pub fn print_on_panic(&self, log: &str) {
        if !thread::panicking() || (self.lock().lines.is_empty() && log.is_empty()) {
            return;
        }
        eprintln!("sent (→) and received (←), newest last:");
        for line in &self.lock().lines {
            eprintln!("{line}");
        }
        eprintln!("log of the server:\n{log}");
    }
}
