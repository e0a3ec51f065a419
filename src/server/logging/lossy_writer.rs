//! A writer that never blocks: a bounded queue to a thread that writes to a terminal, pipe or file.
//!
//! Unlike the writer of `tracing-appender`, it bounds the bytes in the queue, counts the lines that
//! an I/O error loses, and resumes after an error with a whole line.

use crate::server::limits::{TRANSCRIPT_BATCHES, TRANSCRIPT_BYTES};
use async_channel::{Receiver, Sender};
use prometheus_client::metrics::gauge::Gauge;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// Returns the line that stands in for a number of skipped lines.
pub(crate) type SkippedNotice = Box<dyn Fn(u64) -> String + Send>;

/// A bounded queue of lines to a thread that writes them; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct NonBlockingWriter {
    queue: Sender<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
    skipped_lines: Gauge<u64, AtomicU64>,
    /// Closed when the thread ends. Waiting for it needs no timer thread, which the system may
    /// refuse at the end.
    thread_end: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl NonBlockingWriter {
    /// Starts the thread, which ends when every writer is dropped or the reader of the output is
    /// gone. With a `notice`, a line in the output stands in for skipped lines.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        name: &str,
        output: Box<dyn Write + Send>,
        notice: Option<SkippedNotice>,
    ) -> io::Result<Self> {
        let (queue, queued) = async_channel::bounded(TRANSCRIPT_BATCHES);
        let (ended, thread_end) = mpsc::channel();
        let writer = NonBlockingWriter {
            queue,
            queued_bytes: Arc::default(),
            skipped_lines: Gauge::default(),
            thread_end: Arc::new(Mutex::new(thread_end)),
        };
        let mut printer = LinePrinter::new(output, notice, writer.skipped_lines.clone());
        let queued_bytes = writer.queued_bytes.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped at the end of the thread, also by a panic.
                let _ended: mpsc::Sender<()> = ended;
                printer.print_all(&queued, &queued_bytes);
            })?;
        Ok(writer)
    }

    /// Queues whole lines; skips and counts them if the queue is full.
    pub(crate) fn queue(&self, lines: Vec<u8>) {
        let bytes = lines.len();
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let skipped = match queued + bytes <= TRANSCRIPT_BYTES {
            true => self
                .queue
                .try_send(lines)
                .map_err(|error| error.into_inner()),
            false => Err(lines),
        };
        if let Err(lines) = skipped {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.skipped_lines.inc_by(line_ends(&lines));
        }
    }

    /// Returns the number of lines skipped so far.
    pub(crate) fn skipped_lines(&self) -> Gauge<u64, AtomicU64> {
        self.skipped_lines.clone()
    }

    /// Closes the queue and waits until its lines are written, for at most `timeout`.
    pub(crate) fn finish(&self, timeout: Duration) {
        self.queue.close();
        let thread_end = self.thread_end.lock();
        let thread_end = thread_end.unwrap_or_else(PoisonError::into_inner);
        // Nothing is sent: the result is an error at the end of the thread or of the time.
        let _ = thread_end.recv_timeout(timeout);
    }
}

fn line_ends(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// Writes lines, and knows after an error what the output has taken.
struct LinePrinter {
    output: Box<dyn Write + Send>,
    notice: Option<SkippedNotice>,
    skipped_lines: Gauge<u64, AtomicU64>,
    /// Skipped lines that a notice stands in for.
    announced: u64,
    /// Whether the output has the start of a line without its end.
    is_torn: bool,
    /// Whether the last write failed.
    has_failed: bool,
}

impl LinePrinter {
    fn new(
        output: Box<dyn Write + Send>,
        notice: Option<SkippedNotice>,
        skipped_lines: Gauge<u64, AtomicU64>,
    ) -> Self {
        LinePrinter {
            output,
            notice,
            skipped_lines,
            announced: 0,
            is_torn: false,
            has_failed: false,
        }
    }

    fn print_all(&mut self, queued: &Receiver<Vec<u8>>, queued_bytes: &AtomicUsize) {
        while let Ok(lines) = queued.recv_blocking() {
            let mut printed = self.print(&lines);
            if printed.is_ok() && queued.is_empty() {
                // The lines that a full queue skipped came after these.
                printed = self.announce();
            }
            queued_bytes.fetch_sub(lines.len(), Ordering::Relaxed);
            if printed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                // The reader is gone for good: from now on `queue` skips and counts.
                queued.close();
            }
        }
    }

    /// Prints lines. The first print after an error starts with a notice.
    fn print(&mut self, lines: &[u8]) -> io::Result<()> {
        let recovered = self.recover().map_err(|error| (error, 0));
        recovered
            .and_then(|()| self.write(lines))
            .map_err(|(error, taken)| {
                // A torn line counts as skipped.
                self.skipped_lines.inc_by(line_ends(&lines[taken..]));
                error
            })
    }

    /// After an error, ends a torn line and announces the skipped lines.
    fn recover(&mut self) -> io::Result<()> {
        if !self.has_failed {
            return Ok(());
        }
        if self.is_torn {
            self.write(b"\n").map_err(|(error, _)| error)?;
        }
        self.announce()
    }

    /// Prints a notice for the skipped lines that have none yet.
    fn announce(&mut self) -> io::Result<()> {
        let skipped = self.skipped_lines.get();
        if let Some(notice) = &self.notice
            && skipped > self.announced
        {
            let line = notice(skipped - self.announced);
            self.write(line.as_bytes()).map_err(|(error, _)| error)?;
            self.announced = skipped;
        }
        Ok(())
    }

    /// Writes all of the text, or returns how many bytes the output took before the error.
    fn write(&mut self, text: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut count = 0;
        let result = loop {
            if count == text.len() {
                break self.output.flush();
            }
            match self.output.write(&text[count..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let Some(last) = text[..count].last() {
            self.is_torn = *last != b'\n';
        }
        self.has_failed = result.is_err();
        result.map_err(|error| (error, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one write for each message, and none after the sender is gone.
    struct GatedOutput(mpsc::Receiver<()>);

    impl Write for GatedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (NonBlockingWriter, mpsc::Sender<()>) {
        let (gate, open) = mpsc::channel();
        let output = Box::new(GatedOutput(open));
        (
            NonBlockingWriter::start("test", output, None).unwrap(),
            gate,
        )
    }

    #[test]
    fn full_queue_and_closed_output_skip_lines_and_count_them() {
        let (writer, gate) = gated();
        let most = TRANSCRIPT_BATCHES as u64 + 1;
        for _ in 0..3 * most {
            writer.queue(b"x\n".to_vec());
        }
        let skipped = writer.skipped_lines().get();
        assert!(skipped >= 2 * most, "{skipped}");
        gate.send(()).unwrap();
        drop(gate);
        writer.finish(Duration::from_secs(30));
        writer.queue(b"x\n".to_vec());
        assert_eq!(writer.skipped_lines().get(), 3 * most, "one line was taken");
    }

    #[test]
    fn queue_is_bounded_in_bytes() {
        let (writer, _gate) = gated();
        writer.queue(vec![b'\n'; TRANSCRIPT_BYTES]);
        assert_eq!(writer.skipped_lines().get(), 0);
        writer.queue(b"a\nb\n".to_vec());
        assert_eq!(writer.skipped_lines().get(), 2);
    }

    /// A disk with the text on it, and the bytes left.
    type Disk = Arc<Mutex<(Vec<u8>, usize)>>;

    struct FullDisk(Disk);

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (text, room) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            text.extend_from_slice(&bytes[..count]);
            *room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_after_a_full_disk_has_whole_lines_and_a_notice() {
        let disk = Disk::default();
        let notice: SkippedNotice = Box::new(|count| format!("{count} skipped\n"));
        let output = Box::new(FullDisk(disk.clone()));
        let mut printer = LinePrinter::new(output, Some(notice), Gauge::default());
        for (room, lines, skipped, expected) in [
            (0, "zero\n", 1, ""),
            (20, "one\n", 1, "1 skipped\none\n"),
            (6, "two\nthree\nfour\n", 3, "two\nth"),
            (0, "five\n", 4, ""),
            // Room for the end of the torn line, but not for the notice.
            (3, "six\n", 5, "\n3 "),
            (99, "seven\n", 5, "\n4 skipped\nseven\n"),
            (99, "eight\n", 5, "eight\n"),
        ] {
            *disk.lock().unwrap() = (Vec::new(), room);
            let _printed = printer.print(lines.as_bytes());
            let text = String::from_utf8(disk.lock().unwrap().0.clone()).unwrap();
            assert_eq!((printer.skipped_lines.get(), &*text), (skipped, expected));
        }
    }
}
