//! A writer that never blocks: a bounded queue to a thread that writes to a terminal, pipe or file.
//!
//! Unlike the writer of `tracing-appender`, it bounds the bytes in the queue, counts the lines that
//! an I/O error loses, and resumes after an error with a whole line.

use crate::server::limits::{TRANSCRIPT_BATCHES, TRANSCRIPT_BYTES};
use async_channel::{Receiver, Sender};
use prometheus_client::metrics::gauge::Gauge;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// Whole lines that the thread writes together.
#[derive(Debug)]
struct QueuedLines {
    text: Vec<u8>,
    count: u64,
}

#[derive(Clone, Debug, Default)]
struct WriterCounts {
    queued_bytes: Arc<AtomicUsize>,
    skipped_lines: Gauge,
}

impl WriterCounts {
    fn skip(&self, lines: u64) {
        self.skipped_lines
            .inc_by(i64::try_from(lines).unwrap_or(i64::MAX));
    }

    fn skipped(&self) -> u64 {
        u64::try_from(self.skipped_lines.get()).unwrap_or(0)
    }
}

/// Returns the line that stands in for a number of skipped lines.
pub(crate) type SkippedNotice = Box<dyn Fn(u64) -> String + Send>;

/// A bounded queue of lines to a thread that writes them; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct NonBlockingWriter {
    queue: Sender<QueuedLines>,
    /// Closed when the thread ends. Waiting for it needs no timer thread, which the system may
    /// refuse at the end.
    thread_end: Arc<Mutex<mpsc::Receiver<()>>>,
    counts: WriterCounts,
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
        let counts = WriterCounts::default();
        let mut printer = LinePrinter::new(output, notice, counts.clone());
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Dropped at the end of the thread, also by a panic.
                let _ended: mpsc::Sender<()> = ended;
                printer.print_all(&queued);
            })?;
        Ok(NonBlockingWriter {
            queue,
            thread_end: Arc::new(Mutex::new(thread_end)),
            counts,
        })
    }

    /// Queues whole lines; skips and counts them if the queue is full.
    pub(crate) fn queue(&self, text: Vec<u8>, count: u64) {
        let bytes = text.len();
        let queued_bytes = &self.counts.queued_bytes;
        let queued = queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = queued + bytes <= TRANSCRIPT_BYTES;
        if !has_room || self.queue.try_send(QueuedLines { text, count }).is_err() {
            queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.skip(count);
        }
    }

    /// Returns the number of lines skipped so far.
    pub(crate) fn skipped_lines(&self) -> u64 {
        self.counts.skipped()
    }

    /// Returns a gauge of the skipped lines.
    pub(crate) fn skipped_gauge(&self) -> Gauge {
        self.counts.skipped_lines.clone()
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

/// Writes lines, and knows after an error what the output has taken.
struct LinePrinter {
    output: Box<dyn Write + Send>,
    notice: Option<SkippedNotice>,
    counts: WriterCounts,
    /// Skipped lines that a notice stands in for.
    announced: u64,
    /// Whether the output has the start of a line without its end.
    is_torn: bool,
    /// Whether the last write failed.
    has_failed: bool,
}

impl fmt::Debug for LinePrinter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LinePrinter").finish_non_exhaustive()
    }
}

impl LinePrinter {
    fn new(
        output: Box<dyn Write + Send>,
        notice: Option<SkippedNotice>,
        counts: WriterCounts,
    ) -> Self {
        LinePrinter {
            output,
            notice,
            counts,
            announced: 0,
            is_torn: false,
            has_failed: false,
        }
    }

    fn print_all(&mut self, queued: &Receiver<QueuedLines>) {
        while let Ok(lines) = queued.recv_blocking() {
            let mut printed = self.print(&lines);
            if printed.is_ok() && queued.is_empty() {
                // The lines that a full queue skipped came after these.
                printed = self.announce();
            }
            self.counts
                .queued_bytes
                .fetch_sub(lines.text.len(), Ordering::Relaxed);
            if printed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                // The reader is gone for good: from now on `queue` skips and counts.
                queued.close();
            }
        }
    }

    /// Prints lines. The first print after an error starts with a notice.
    fn print(&mut self, lines: &QueuedLines) -> io::Result<()> {
        if let Err(error) = self.recover() {
            self.counts.skip(lines.count);
            return Err(error);
        }
        self.write(&lines.text).map_err(|(error, taken)| {
            // A torn line counts as skipped.
            let whole = memchr::memchr_iter(b'\n', taken).count() as u64;
            self.counts.skip(lines.count.saturating_sub(whole));
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
        let skipped = self.counts.skipped();
        let Some(notice) = &self.notice else {
            return Ok(());
        };
        if skipped > self.announced {
            let line = notice(skipped - self.announced);
            self.write(line.as_bytes()).map_err(|(error, _)| error)?;
            self.announced = skipped;
        }
        Ok(())
    }

    /// Writes all of the text, or returns what the output took before the error.
    fn write<'a>(&mut self, text: &'a [u8]) -> Result<(), (io::Error, &'a [u8])> {
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
        let taken = &text[..count];
        if let Some(last) = taken.last() {
            self.is_torn = *last != b'\n';
        }
        self.has_failed = result.is_err();
        result.map_err(|error| (error, taken))
    }
}

/// Collects one line of the log and queues it when dropped.
#[derive(Debug)]
pub struct LogLineWriter {
    writer: NonBlockingWriter,
    line: Vec<u8>,
}

impl LogLineWriter {
    pub(crate) fn new(writer: NonBlockingWriter) -> Self {
        LogLineWriter {
            writer,
            line: Vec::new(),
        }
    }
}

impl Write for LogLineWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLineWriter {
    fn drop(&mut self) {
        self.writer.queue(std::mem::take(&mut self.line), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one write for each message of `open`, and sends it to `taken`.
    struct GatedOutput {
        open: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for GatedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.taken
                .send(bytes.to_vec())
                .map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type GatedWriter = (NonBlockingWriter, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>);

    fn gated() -> GatedWriter {
        let (let_go, open) = mpsc::channel();
        let (taken, lines) = mpsc::channel();
        let output = Box::new(GatedOutput { open, taken });
        let writer = NonBlockingWriter::start("test", output, None).unwrap();
        (writer, let_go, lines)
    }

    #[test]
    fn blocked_output_skips_lines_and_counts_them() {
        let (writer, let_go, lines) = gated();
        let queued = TRANSCRIPT_BATCHES as u64 * 3;
        for _ in 0..queued {
            writer.queue(b"x\n".to_vec(), 1);
        }
        let skipped = writer.skipped_lines();
        let least = queued - TRANSCRIPT_BATCHES as u64 - 1;
        assert!(skipped >= least, "{skipped}");
        for _ in 0..queued - skipped {
            let_go.send(()).unwrap();
            assert_eq!(lines.recv().unwrap(), b"x\n");
        }
        assert_eq!(writer.skipped_lines(), skipped);
    }

    #[test]
    fn queue_is_bounded_in_bytes() {
        let (writer, _let_go, _lines) = gated();
        writer.queue(vec![b'x'; TRANSCRIPT_BYTES], 1);
        assert_eq!(writer.skipped_lines(), 0);
        writer.queue(vec![b'x'; 1], 7);
        assert_eq!(writer.skipped_lines(), 7);
    }

    #[test]
    fn closed_output_counts_every_line_as_skipped() {
        let (writer, let_go, _lines) = gated();
        drop(let_go);
        writer.queue(b"a\n".to_vec(), 1);
        writer.finish(Duration::from_secs(30));
        writer.queue(b"b\n".to_vec(), 1);
        assert_eq!(writer.skipped_lines(), 2);
    }

    /// A disk with `room` bytes left.
    #[derive(Clone, Debug, Default)]
    struct FullDisk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl FullDisk {
        fn with_room(room: usize) -> Self {
            FullDisk(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn set_room(&self, room: usize) {
            self.0.lock().unwrap().1 = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

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

    fn print(printer: &mut LinePrinter, text: &str) -> bool {
        let count = text.lines().count() as u64;
        let text = text.into();
        printer.print(&QueuedLines { text, count }).is_ok()
    }

    #[test]
    fn output_after_a_full_disk_has_whole_lines_and_a_notice() {
        let disk = FullDisk::with_room(9);
        let notice: SkippedNotice = Box::new(|count| format!("{count} skipped\n"));
        let counts = WriterCounts::default();
        let mut printer = LinePrinter::new(Box::new(disk.clone()), Some(notice), counts.clone());
        assert!(print(&mut printer, "one\n"));
        assert!(!print(&mut printer, "two\nthree\nfour\n"));
        assert_eq!((disk.text().as_str(), counts.skipped()), ("one\ntwo\nt", 2));
        assert!(!print(&mut printer, "five\n"));
        // Room for the end of the torn line, but not for the notice.
        disk.set_room(3);
        assert!(!print(&mut printer, "six\n"));
        assert_eq!(counts.skipped(), 4);
        disk.set_room(usize::MAX);
        assert!(print(&mut printer, "seven\n"));
        assert!(print(&mut printer, "eight\n"));
        let text = "one\ntwo\nt\n3 \n4 skipped\nseven\neight\n";
        assert_eq!((disk.text().as_str(), counts.skipped()), (text, 4));
    }

    #[test]
    fn output_that_was_full_from_the_start_has_no_empty_line() {
        let disk = FullDisk::with_room(0);
        let counts = WriterCounts::default();
        let mut printer = LinePrinter::new(Box::new(disk.clone()), None, counts.clone());
        assert!(!print(&mut printer, "lost\n"));
        disk.set_room(usize::MAX);
        assert!(print(&mut printer, "kept\n"));
        assert_eq!((disk.text().as_str(), counts.skipped()), ("kept\n", 1));
    }
}
