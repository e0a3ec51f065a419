//! Text for a terminal, a pipe or a file that may stand still.
//!
//! What lives here: [`LossySink`], a bounded queue to a thread that writes. The transcript and
//! the log go through one each. It must never make its caller wait: what the other side does
//! not take is skipped and counted.

use crate::limits::{TRANSCRIPT_BATCHES, TRANSCRIPT_BYTES};
use async_channel::{Receiver, Sender};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    skipped_lines: AtomicU64,
}

/// A bounded queue of lines to a thread that writes them; cheap to clone.
#[derive(Clone, Debug)]
pub struct LossySink {
    queue: Sender<Lines>,
    ended: Receiver<()>,
    counts: Arc<Counts>,
}

impl LossySink {
    /// Starts the thread; it ends when every sink to it is gone, or the other side is.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(name: &str, output: Box<dyn Write + Send>) -> io::Result<Self> {
        let (queue, waiting) = async_channel::bounded(TRANSCRIPT_BATCHES);
        let (end, ended) = async_channel::bounded(1);
        let counts = Arc::new(Counts::default());
        let thread_counts = counts.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                write_all(&waiting, output, &thread_counts);
                drop(end);
            })?;
        Ok(LossySink {
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
            self.counts
                .skipped_lines
                .fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Lines skipped so far.
    pub fn skipped_lines(&self) -> u64 {
        self.counts.skipped_lines.load(Ordering::Relaxed)
    }

    /// Takes no more lines, and waits until what waits is written, but not longer than this.
    pub fn finish(&self, longest: Duration) {
        self.queue.close();
        smol::block_on(crate::server::connection::within(
            longest,
            self.ended.recv(),
        ));
    }
}

fn write_all(waiting: &Receiver<Lines>, mut output: Box<dyn Write + Send>, counts: &Counts) {
    while let Ok(lines) = waiting.recv_blocking() {
        let written = output.write_all(&lines.text).and_then(|()| output.flush());
        counts
            .waiting_bytes
            .fetch_sub(lines.text.len(), Ordering::Relaxed);
        if let Err(error) = written {
            counts
                .skipped_lines
                .fetch_add(lines.count, Ordering::Relaxed);
            if error.kind() == io::ErrorKind::BrokenPipe {
                // Nobody will ever read on: from now on the queue refuses, and that is counted.
                waiting.close();
            }
        }
    }
}

/// One line of the log at a time; made by [`LossySink`] for the tracing subscriber.
#[derive(Debug)]
pub struct LineWriter {
    sink: LossySink,
    line: Vec<u8>,
}

impl LineWriter {
    /// A writer whose text goes to the sink as one line when it is dropped.
    pub fn new(sink: LossySink) -> Self {
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
    use std::sync::mpsc;

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
        let sink = LossySink::start("test", Box::new(Gate { open, taken })).unwrap();
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
        let sink = LossySink::start("test", Box::new(Gate { open, taken })).unwrap();
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
        let sink = LossySink::start("test", Box::new(Gate { open, taken })).unwrap();
        sink.offer(b"a\n".to_vec(), 1);
        sink.finish(Duration::from_secs(30));
        sink.offer(b"b\n".to_vec(), 1);
        assert_eq!(sink.skipped_lines(), 2);
    }
}
