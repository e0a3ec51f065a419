//! Output of a program or of a server in this process.

use super::deadline::Deadline;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes that a thread or a server writes while the test reads them.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Whether a thread may still write to it.
    is_open: Arc<AtomicBool>,
}

impl Captured {
    /// Reads `source` to its end in a thread.
    pub fn read_all(mut source: impl Read + Send + 'static) -> Self {
        let captured = Captured::default();
        captured.is_open.store(true, Ordering::Release);
        let mut writer = captured.clone();
        thread::spawn(move || {
            // The test misses what cannot be read.
            let _ = io::copy(&mut source, &mut writer);
            writer.is_open.store(false, Ordering::Release);
        });
        captured
    }

    /// Waits until the source has ended. A program may be gone before its last output is here.
    #[track_caller]
    pub fn wait_for_end(&self) {
        let has_ended = Deadline::new().poll(|| !self.is_open.load(Ordering::Acquire));
        assert!(has_ended, "the output does not end:\n{}", self.text());
    }

    pub fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the complete lines.
    pub fn lines(&self) -> Vec<String> {
        let text = self.text();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(str::to_owned).collect()
    }

    /// Waits until there are at least `count` lines.
    #[track_caller]
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let is_complete = Deadline::new().poll(|| self.lines().len() >= count);
        let lines = self.lines();
        assert!(is_complete, "{count} lines expected: {lines:#?}");
        lines
    }

    /// Waits until the text contains `part`.
    #[track_caller]
    pub fn wait_for(&self, part: &str) {
        let is_there = Deadline::new().poll(|| self.text().contains(part));
        assert!(is_there, "{part:?} expected:\n{}", self.text());
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
