//! The live log: the newest batches of encoded lines as shared immutable bytes.
//!
//! What lives here: [`BroadcastLog`], one stream of bytes with positions, one for each dialect that has
//! readers. The broker alone publishes; connections that are behind read by a position of their
//! own. What it promises:
//!
//! 1. Publishing never waits for a reader.
//! 2. Nothing is reordered, and a reader gets every byte once or is told that it fell out.
//! 3. Memory is the log's bound, whatever the number of readers: nothing is copied for one.
//! 4. Publishing wakes only those who sleep.
//! 5. Its lock is held for a few steps in memory, never across a system call or an await.

use crate::protocol::Dialect;
use event_listener::{Event, EventListener};
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One of something for each dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerDialect<T> {
    /// That of the basic dialect.
    pub basic: T,
    /// That of the extended dialect.
    pub extended: T,
    /// That of the page's live streams.
    pub page: T,
}

impl<T> Index<Dialect> for PerDialect<T> {
    type Output = T;

    fn index(&self, dialect: Dialect) -> &T {
        match dialect {
            Dialect::Basic => &self.basic,
            Dialect::Extended => &self.extended,
            Dialect::Page => &self.page,
        }
    }
}

impl<T> IndexMut<Dialect> for PerDialect<T> {
    fn index_mut(&mut self, dialect: Dialect) -> &mut T {
        match dialect {
            Dialect::Basic => &mut self.basic,
            Dialect::Extended => &mut self.extended,
            Dialect::Page => &mut self.page,
        }
    }
}

/// The logs of all dialects. In that of the extended one each line is one public event, and its
/// number the event's: what a client missed is the log itself, from an earlier line on.
pub type BroadcastLogs = PerDialect<Arc<BroadcastLog>>;

impl BroadcastLogs {
    /// The positions after the newest bytes.
    pub fn heads(&self) -> PerDialect<u64> {
        PerDialect {
            basic: self.basic.head(),
            extended: self.extended.head(),
            page: self.page.head(),
        }
    }
}

/// A stream of encoded lines, of which the newest bytes are kept.
#[derive(Debug)]
pub struct BroadcastLog {
    kept: Mutex<Kept>,
    published: Event,
    max_lag_bytes: u64,
}

#[derive(Debug, Default)]
struct Kept {
    batches: VecDeque<Batch>,
    head: u64,
    /// Number that the next line will have.
    next_line: u64,
    closed: bool,
}

#[derive(Debug)]
struct Batch {
    start: u64,
    /// Number of its first line.
    first_line: u64,
    bytes: Arc<[u8]>,
}

impl Batch {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The reader's position is older than what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFarBehind;

/// A part of a batch; the bytes are shared.
#[derive(Clone, Debug)]
pub struct Slice {
    batch: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl Slice {
    /// The bytes of this part.
    pub fn bytes(&self) -> &[u8] {
        &self.batch[self.start..self.end]
    }
}

impl BroadcastLog {
    /// An empty log that keeps at least the newest `max_lag_bytes` bytes, and at most one batch
    /// more.
    pub fn new(max_lag_bytes: usize) -> Self {
        BroadcastLog::numbered_from(0, max_lag_bytes)
    }

    /// The same, and its first line has this number: so a line is found again by its number.
    pub fn numbered_from(first_line: u64, kept_bytes: usize) -> Self {
        let kept = Kept {
            next_line: first_line,
            ..Kept::default()
        };
        BroadcastLog {
            kept: Mutex::new(kept),
            published: Event::new(),
            max_lag_bytes: kept_bytes as u64,
        }
    }

    /// The position after the newest byte.
    pub fn head(&self) -> u64 {
        self.lock().head
    }

    /// Appends a batch and wakes the readers who wait for one; gives the new head.
    pub fn publish(&self, bytes: Arc<[u8]>) -> u64 {
        let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
        let head = {
            let mut kept = self.lock();
            let batch = Batch {
                start: kept.head,
                first_line: kept.next_line,
                bytes,
            };
            kept.head = batch.end();
            kept.next_line += lines;
            kept.batches.push_back(batch);
            let oldest = kept.head.saturating_sub(self.max_lag_bytes);
            while kept.batches.len() > 1 && kept.batches.front().is_some_and(|b| b.end() <= oldest)
            {
                kept.batches.pop_front();
            }
            kept.head
        };
        self.published.notify(usize::MAX);
        head
    }

    /// Ends the stream: readers read on to the head and are then told that there is no more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.published.notify(usize::MAX);
    }

    /// Whether the stream has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Collects the bytes from `position` on, up to `end`, in at most `max_slices` parts and
    /// about `max_bytes` bytes.
    ///
    /// # Errors
    /// The position is older than what is kept.
    pub fn read(
        &self,
        position: u64,
        end: u64,
        max_slices: usize,
        max_bytes: usize,
        slices: &mut Vec<Slice>,
    ) -> Result<(), TooFarBehind> {
        let kept = self.lock();
        if position >= kept.head.min(end) {
            return Ok(());
        }
        let first = kept
            .batches
            .partition_point(|batch| batch.end() <= position);
        if kept
            .batches
            .get(first)
            .is_none_or(|batch| batch.start > position)
        {
            return Err(TooFarBehind);
        }
        let mut bytes = 0;
        for batch in kept.batches.iter().skip(first).take(max_slices) {
            if batch.start >= end || bytes >= max_bytes {
                break;
            }
            let slice = Slice {
                batch: batch.bytes.clone(),
                // Both differences are at most the length of the batch, a `usize`.
                start: position.saturating_sub(batch.start) as usize,
                end: (batch.end().min(end) - batch.start) as usize,
            };
            bytes += slice.bytes().len();
            slices.push(slice);
        }
        Ok(())
    }

    /// What is left of the line in which `position` stands, nothing where no line has begun; none
    /// if that is not kept any more. Batches are whole lines.
    pub fn rest_of_line(&self, position: u64) -> Option<Arc<[u8]>> {
        let kept = self.lock();
        if position >= kept.head {
            return Some(Arc::default());
        }
        let holding = kept
            .batches
            .partition_point(|batch| batch.end() <= position);
        let batch = kept.batches.get(holding)?;
        // The difference is less than the length of the batch, a `usize`.
        let before = position.checked_sub(batch.start)? as usize;
        let Some(last) = before.checked_sub(1) else {
            return Some(Arc::default());
        };
        let newline = memchr::memchr(b'\n', &batch.bytes[last..])?;
        Some(batch.bytes[before..before + newline].into())
    }

    /// Number that the next line will have.
    pub fn next_line(&self) -> u64 {
        self.lock().next_line
    }

    /// Number of the oldest line that is kept, or of the next one if none is.
    pub fn oldest_line(&self) -> u64 {
        let kept = self.lock();
        let oldest = kept.batches.front();
        oldest.map_or(kept.next_line, |batch| batch.first_line)
    }

    /// Where the line with this number begins, or will begin if it is the next one; none if it is
    /// not kept any more, or further in the future. Batches are whole lines.
    pub fn position_of_line(&self, number: u64) -> Option<u64> {
        let (start, bytes, before) = {
            let kept = self.lock();
            if number == kept.next_line {
                return Some(kept.head);
            }
            if number > kept.next_line {
                return None;
            }
            let after = kept
                .batches
                .partition_point(|batch| batch.first_line <= number);
            // Batches without a line end would be found here too, but there are none.
            let batch = kept.batches.get(after.checked_sub(1)?)?;
            (batch.start, batch.bytes.clone(), number - batch.first_line)
        };
        let Some(last) = before.checked_sub(1) else {
            return Some(start);
        };
        let ends = usize::try_from(last).ok()?;
        let end = memchr::memchr_iter(b'\n', &bytes).nth(ends)?;
        Some(start + end as u64 + 1)
    }

    /// Waits until there is something after `position`, or the stream has ended.
    ///
    /// Cancel-safe.
    pub async fn wait_beyond(&self, position: u64) {
        loop {
            // Listen first, then look: a batch published in between is not missed.
            let listener = self.published.listen();
            if self.is_beyond(position) {
                return;
            }
            listener.await;
        }
    }

    /// A listener for the next batch; look at [`BroadcastLog::is_beyond`] after it was made.
    pub fn listen(&self) -> EventListener {
        self.published.listen()
    }

    /// Whether there is something after `position`, or the stream has ended.
    pub fn is_beyond(&self, position: u64) -> bool {
        let kept = self.lock();
        kept.head > position || kept.closed
    }

    /// Bytes kept.
    pub fn kept_bytes(&self) -> usize {
        self.lock()
            .batches
            .iter()
            .map(|batch| batch.bytes.len())
            .sum()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Every step under the lock leaves the log whole, so a panic elsewhere changes nothing.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, poll_once};

    #[test]
    fn a_line_is_found_by_its_number_while_it_is_kept() {
        let log = BroadcastLog::numbered_from(7, 10);
        assert_eq!((log.oldest_line(), log.position_of_line(7)), (7, Some(0)));
        assert_eq!(
            (log.position_of_line(6), log.position_of_line(8)),
            (None, None)
        );
        for batch in ["7\n8\n9\n", "10\n", "11\n12\n"] {
            log.publish(Arc::from(batch.as_bytes()));
        }
        assert_eq!(log.oldest_line(), 7);
        for (number, position) in [(7, 0), (8, 2), (9, 4), (10, 6), (11, 9), (12, 12), (13, 15)] {
            assert_eq!(
                log.position_of_line(number),
                Some(position),
                "line {number}"
            );
        }
        assert_eq!(log.position_of_line(14), None);
        log.publish(Arc::from(b"13\n14\n".as_slice()));
        assert_eq!(
            log.oldest_line(),
            11,
            "the first two batches are not kept any more"
        );
        assert_eq!(
            (log.position_of_line(10), log.position_of_line(11)),
            (None, Some(9))
        );
        assert_eq!(log.position_of_line(14), Some(18));
    }

    #[test]
    fn the_end_of_a_line_is_found_at_every_byte_that_is_kept() {
        let log = BroadcastLog::new(8);
        for batch in ["one\n", "two\nthree\n", "four\n"] {
            publish(&log, batch);
        }
        let rest = |at| log.rest_of_line(at).map(|rest| at + rest.len() as u64);
        let ends: Vec<_> = (0..=20).map(rest).collect();
        let mut expected = vec![None; 4];
        // Between two lines nothing has begun, also before the oldest that is kept.
        expected.extend(
            [
                4, 8, 8, 8, 8, 14, 14, 14, 14, 14, 14, 19, 19, 19, 19, 19, 20,
            ]
            .map(Some),
        );
        assert_eq!(ends, expected);
    }

    fn publish(log: &BroadcastLog, text: &str) -> u64 {
        log.publish(Arc::from(text.as_bytes()))
    }

    fn read(log: &BroadcastLog, position: u64, end: u64) -> Result<String, TooFarBehind> {
        let mut slices = Vec::new();
        log.read(position, end, 64, 1 << 20, &mut slices)?;
        Ok(slices
            .iter()
            .map(|slice| String::from_utf8_lossy(slice.bytes()))
            .collect())
    }

    #[test]
    fn every_position_reads_on_from_there() {
        let log = BroadcastLog::new(100);
        publish(&log, "abc");
        assert_eq!(publish(&log, "defg"), 7);
        for position in 0..=7 {
            let expected = &"abcdefg"[position..];
            assert_eq!(
                read(&log, position as u64, u64::MAX).as_deref(),
                Ok(expected)
            );
        }
        assert_eq!(read(&log, 1, 5).as_deref(), Ok("bcde"));
        assert_eq!(read(&log, 1, 2).as_deref(), Ok("b"));
        assert_eq!(read(&log, 9, 20).as_deref(), Ok(""));
    }

    #[test]
    fn at_least_the_lag_and_at_most_one_batch_more_is_kept() {
        let log = BroadcastLog::new(10);
        for _ in 0..100 {
            publish(&log, "1234");
            assert!(log.kept_bytes() <= 10 + 4, "{}", log.kept_bytes());
        }
        let head = log.head();
        assert_eq!(read(&log, head - 10, head).as_deref(), Ok("3412341234"));
        assert_eq!(read(&log, head - 13, head), Err(TooFarBehind));
        publish(&log, &"x".repeat(50));
        assert_eq!(log.kept_bytes(), 50, "the newest batch is always kept");
    }

    #[test]
    fn a_reading_is_bounded() {
        let log = BroadcastLog::new(1000);
        for _ in 0..10 {
            publish(&log, "12345");
        }
        let mut slices = Vec::new();
        assert_eq!(log.read(0, u64::MAX, 3, 1000, &mut slices), Ok(()));
        assert_eq!(slices.len(), 3);
        slices.clear();
        assert_eq!(log.read(0, u64::MAX, 64, 11, &mut slices), Ok(()));
        assert_eq!(slices.len(), 3);
    }

    #[test]
    fn a_sleeping_reader_is_woken_by_a_batch_and_by_the_end() {
        let log = BroadcastLog::new(10);
        block_on(async {
            let mut waiting = Box::pin(log.wait_beyond(0));
            assert!(poll_once(&mut waiting).await.is_none());
            publish(&log, "a");
            assert!(poll_once(&mut waiting).await.is_some());
            let mut waiting = Box::pin(log.wait_beyond(1));
            assert!(poll_once(&mut waiting).await.is_none());
            log.close();
            assert!(poll_once(&mut waiting).await.is_some());
        });
    }
}
