//! Text for a terminal, a pipe or a file that may stand still.
//!
//! What lives here: [`NonBlockingWriter`], a bounded queue to a thread that writes. The transcript and
//! the log go through one each. It must never make its caller wait: what the other side does
//! not take is skipped and counted, and what it takes are whole lines, each at its own start.

use crate::server::limits::{TRANSCRIPT_BATCHES, TRANSCRIPT_BYTES};
use async_channel::{Receiver, Sender};
use prometheus_client::metrics::gauge::Gauge;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that go to the thread in one step.
#[derive(Debug)]
struct Lines {
    text: Vec<u8>,
    count: u64,
}

#[derive(Debug, Default)]
struct Counts {
    waiting_bytes: AtomicUsize,
    skipped_lines: Gauge,
}

impl Counts {
    fn skip(&self, lines: u64) {
        self.skipped_lines
            .inc_by(i64::try_from(lines).unwrap_or(i64::MAX));
    }

    fn skipped(&self) -> u64 {
        u64::try_from(self.skipped_lines.get()).unwrap_or(0)
    }
}

/// Makes the line that tells, at the place where they would stand, that so many were skipped.
pub type TellSkipped = Box<dyn Fn(u64) -> String + Send>;

/// A bounded queue of lines to a thread that writes them; cheap to clone.
#[derive(Clone, Debug)]
pub struct NonBlockingWriter {
    queue: Sender<Lines>,
    ended: Arc<Ended>,
    counts: Arc<Counts>,
}

/// Whether the thread has ended. Waiting for it takes no other thread, as a timer of the runtime
/// would: a process that gets no thread any more has last words too.
#[derive(Debug, Default)]
struct Ended {
    has_ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    fn note(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    fn wait(&self, longest: Duration) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), longest, |has_ended| !*has_ended);
        // Whether it has ended or the time is over makes no difference.
        drop(waited);
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // The value is replaced in one step, so a panic elsewhere leaves it whole.
        self.has_ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the end of the thread, however it ends.
struct NotesEnd(Arc<Ended>);

impl Drop for NotesEnd {
    fn drop(&mut self) {
        self.0.note();
    }
}

impl NonBlockingWriter {
    /// Starts the thread; it ends when every sink to it is gone, or the other side is.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(name: &str, output: Box<dyn Write + Send>) -> io::Result<Self> {
        NonBlockingWriter::start_thread(name, Printer::new(output, None))
    }

    /// Like [`NonBlockingWriter::start`], and wherever lines are missing, this line stands for them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start_telling(
        name: &str,
        output: Box<dyn Write + Send>,
        tell_skipped: TellSkipped,
    ) -> io::Result<Self> {
        NonBlockingWriter::start_thread(name, Printer::new(output, Some(tell_skipped)))
    }

    fn start_thread(name: &str, printer: Printer) -> io::Result<Self> {
        let (queue, waiting) = async_channel::bounded(TRANSCRIPT_BATCHES);
        let ended = Arc::new(Ended::default());
        let notes_end = NotesEnd(ended.clone());
        let counts = Arc::new(Counts::default());
        let thread_counts = counts.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                print_all(&waiting, printer, &thread_counts);
                drop(notes_end);
            })?;
        Ok(NonBlockingWriter {
            queue,
            ended,
            counts,
        })
    }

    /// Offers lines; they are skipped and counted if there is no room for them.
    pub fn offer(&self, text: Vec<u8>, count: u64) {
        let bytes = text.len();
        let waiting = self
            .counts
            .waiting_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        let has_room = waiting + bytes <= TRANSCRIPT_BYTES;
        if !has_room || self.queue.try_send(Lines { text, count }).is_err() {
            self.counts
                .waiting_bytes
                .fetch_sub(bytes, Ordering::Relaxed);
            self.counts.skip(count);
        }
    }

    /// Lines skipped so far.
    pub fn skipped_lines(&self) -> u64 {
        self.counts.skipped()
    }

    /// The same number, as it is at any later time.
    pub fn skipped_gauge(&self) -> Gauge {
        self.counts.skipped_lines.clone()
    }

    /// Takes no more lines, and waits until what waits is written, but not longer than this.
    pub fn finish(&self, longest: Duration) {
        self.queue.close();
        self.ended.wait(longest);
    }
}

fn print_all(waiting: &Receiver<Lines>, mut printer: Printer, counts: &Counts) {
    while let Ok(lines) = waiting.recv_blocking() {
        let mut printed = printer.print(&lines, counts);
        if printed.is_ok() && waiting.is_empty() {
            // Those for whom the queue had no room came after these.
            printed = printer.announce(counts);
        }
        counts
            .waiting_bytes
            .fetch_sub(lines.text.len(), Ordering::Relaxed);
        if printed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            // Nobody will ever read on: from now on the queue refuses, and that is counted.
            waiting.close();
        }
    }
}

/// Puts lines out, and knows after an error what the other side has.
struct Printer {
    output: Box<dyn Write + Send>,
    tell_skipped: Option<TellSkipped>,
    /// Lines that are skipped and told of.
    told: u64,
    /// Whether the other side has the beginning of a line without its end.
    is_torn: bool,
    /// Whether the last writing failed.
    has_failed: bool,
}

impl fmt::Debug for Printer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Printer")
            .field("told", &self.told)
            .field("is_torn", &self.is_torn)
            .finish_non_exhaustive()
    }
}

impl Printer {
    fn new(output: Box<dyn Write + Send>, tell_skipped: Option<TellSkipped>) -> Self {
        Printer {
            output,
            tell_skipped,
            told: 0,
            is_torn: false,
            has_failed: false,
        }
    }

    /// Prints lines; the first after an error, after the sentence that others are missing.
    fn print(&mut self, lines: &Lines, counts: &Counts) -> io::Result<()> {
        if let Err(error) = self.recover(counts) {
            counts.skip(lines.count);
            return Err(error);
        }
        self.put(&lines.text).map_err(|(error, taken)| {
            // A line is there with its end; one that is torn is skipped.
            let whole = taken.iter().filter(|&&byte| byte == b'\n').count() as u64;
            counts.skip(lines.count.saturating_sub(whole));
            error
        })
    }

    /// Begins a line of its own if the last writing failed, and tells what is missing.
    fn recover(&mut self, counts: &Counts) -> io::Result<()> {
        if !self.has_failed {
            return Ok(());
        }
        if self.is_torn {
            self.put(b"\n").map_err(|(error, _)| error)?;
        }
        self.announce(counts)
    }

    /// Tells that lines are missing, once for each.
    fn announce(&mut self, counts: &Counts) -> io::Result<()> {
        let skipped = counts.skipped();
        if skipped == self.told {
            return Ok(());
        }
        let Some(line) = self
            .tell_skipped
            .as_ref()
            .map(|tell| tell(skipped - self.told))
        else {
            return Ok(());
        };
        self.put(line.as_bytes()).map_err(|(error, _)| error)?;
        self.told = skipped;
        Ok(())
    }

    /// Writes all of it, or gives what was taken before the error.
    fn put<'a>(&mut self, text: &'a [u8]) -> Result<(), (io::Error, &'a [u8])> {
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

/// One line of the log at a time; made by [`NonBlockingWriter`] for the tracing subscriber.
#[derive(Debug)]
pub struct LineWriter {
    sink: NonBlockingWriter,
    line: Vec<u8>,
}

impl LineWriter {
    /// A writer whose text goes to the sink as one line when it is dropped.
    pub fn new(sink: NonBlockingWriter) -> Self {
        LineWriter {
            sink,
            line: Vec::new(),
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.sink.offer(std::mem::take(&mut self.line), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, mpsc};

    /// An output that takes nothing until it is let go, and tells what it took.
    struct Gate {
        open: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gate {
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

    #[test]
    fn an_output_that_stands_still_makes_nobody_wait_and_the_skipped_are_counted() {
        let (let_go, open) = mpsc::channel();
        let (taken, lines) = mpsc::channel();
        let sink = NonBlockingWriter::start("test", Box::new(Gate { open, taken })).unwrap();
        let offered = TRANSCRIPT_BATCHES as u64 * 3;
        for _ in 0..offered {
            sink.offer(b"x\n".to_vec(), 1);
        }
        let skipped = sink.skipped_lines();
        assert!(
            skipped >= offered - TRANSCRIPT_BATCHES as u64 - 1,
            "{skipped}"
        );
        for _ in 0..offered - skipped {
            let_go.send(()).unwrap();
            assert_eq!(lines.recv().unwrap(), b"x\n");
        }
        assert_eq!(sink.skipped_lines(), skipped);
    }

    #[test]
    fn too_many_bytes_are_skipped_too() {
        let (_let_go, open) = mpsc::channel();
        let (taken, _lines) = mpsc::channel();
        let sink = NonBlockingWriter::start("test", Box::new(Gate { open, taken })).unwrap();
        sink.offer(vec![b'x'; TRANSCRIPT_BYTES], 1);
        assert_eq!(sink.skipped_lines(), 0);
        sink.offer(vec![b'x'; 1], 7);
        assert_eq!(sink.skipped_lines(), 7);
    }

    #[test]
    fn a_closed_output_is_given_up_and_everything_counted() {
        let (let_go, open) = mpsc::channel::<()>();
        let (taken, _lines) = mpsc::channel();
        drop(let_go);
        let sink = NonBlockingWriter::start("test", Box::new(Gate { open, taken })).unwrap();
        sink.offer(b"a\n".to_vec(), 1);
        sink.finish(Duration::from_secs(30));
        sink.offer(b"b\n".to_vec(), 1);
        assert_eq!(sink.skipped_lines(), 2);
    }

    /// A disk with room for so many bytes.
    #[derive(Clone, Debug, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(room: usize) -> Self {
            Disk(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn set_room(&self, room: usize) {
            self.0.lock().unwrap().1 = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
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

    fn print(printer: &mut Printer, counts: &Counts, text: &str) -> bool {
        let count = text.lines().count() as u64;
        let text = text.into();
        printer.print(&Lines { text, count }, counts).is_ok()
    }

    #[test]
    fn after_a_full_disk_lines_are_whole_and_the_missing_are_counted_and_told() {
        let disk = Disk::with_room(9);
        let tell: TellSkipped = Box::new(|count| format!("{count} skipped\n"));
        let mut printer = Printer::new(Box::new(disk.clone()), Some(tell));
        let counts = Counts::default();
        assert!(print(&mut printer, &counts, "one\n"));
        assert!(!print(&mut printer, &counts, "two\nthree\nfour\n"));
        assert_eq!((disk.text().as_str(), counts.skipped()), ("one\ntwo\nt", 2));
        assert!(!print(&mut printer, &counts, "five\n"));
        // Room for the end of the torn line, but not for the sentence.
        disk.set_room(3);
        assert!(!print(&mut printer, &counts, "six\n"));
        assert_eq!(counts.skipped(), 4);
        disk.set_room(usize::MAX);
        assert!(print(&mut printer, &counts, "seven\n"));
        assert!(print(&mut printer, &counts, "eight\n"));
        let text = "one\ntwo\nt\n3 \n4 skipped\nseven\neight\n";
        assert_eq!((disk.text().as_str(), counts.skipped()), (text, 4));
    }

    #[test]
    fn an_output_that_is_full_from_the_start_has_no_empty_line_after_it() {
        let disk = Disk::with_room(0);
        let mut printer = Printer::new(Box::new(disk.clone()), None);
        let counts = Counts::default();
        assert!(!print(&mut printer, &counts, "lost\n"));
        disk.set_room(usize::MAX);
        assert!(print(&mut printer, &counts, "kept\n"));
        assert_eq!((disk.text().as_str(), counts.skipped()), ("kept\n", 1));
    }
}
