//! The live log: the newest encoded lines of each dialect, shared by all readers.
//!
//! 1. Publishing never waits for a reader.
//! 2. A reader gets every byte once and in order, or learns that it is too far behind.
//! 3. Memory is bounded and does not depend on the number of readers.
//! 4. The lock is held for a few memory accesses, never across a system call or an await.

use crate::protocol::Dialect;
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One value for each dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerDialect<T> {
    /// The value of the basic dialect.
    pub(crate) basic: T,
    /// The value of the extended dialect.
    pub(crate) extended: T,
    /// The value of the live streams of browsers.
    pub(crate) browser: T,
}

impl<T> Index<Dialect> for PerDialect<T> {
    type Output = T;

    fn index(&self, dialect: Dialect) -> &T {
        match dialect {
            Dialect::Basic => &self.basic,
            Dialect::Extended => &self.extended,
            Dialect::Browser => &self.browser,
        }
    }
}

impl<T> IndexMut<Dialect> for PerDialect<T> {
    fn index_mut(&mut self, dialect: Dialect) -> &mut T {
        match dialect {
            Dialect::Basic => &mut self.basic,
            Dialect::Extended => &mut self.extended,
            Dialect::Browser => &mut self.browser,
        }
    }
}

/// The logs of all dialects. In the extended log, each line is one public event and the line
/// number is the event's id, so a client that resumes reads on from an earlier line.
pub(crate) type BroadcastLogs = PerDialect<Arc<BroadcastLog>>;

impl BroadcastLogs {
    /// Creates empty logs; the first public event has the id `next_event`.
    pub(crate) fn new(next_event: u64, max_lag_bytes: usize, recent_events_bytes: usize) -> Self {
        let extended = BroadcastLog::numbered_from(next_event, recent_events_bytes);
        PerDialect {
            basic: Arc::new(BroadcastLog::new(max_lag_bytes)),
            extended: Arc::new(extended),
            browser: Arc::new(BroadcastLog::new(max_lag_bytes)),
        }
    }

    /// Returns the offset after the newest byte of each log.
    pub(crate) fn ends(&self) -> PerDialect<u64> {
        PerDialect {
            basic: self.basic.end(),
            extended: self.extended.end(),
            browser: self.browser.end(),
        }
    }
}

/// A stream of encoded lines that keeps its newest bytes.
#[derive(Debug)]
pub(crate) struct BroadcastLog {
    retained: Mutex<RetainedBatches>,
    retained_bytes: u64,
}

#[derive(Debug, Default)]
struct RetainedBatches {
    batches: VecDeque<LogBatch>,
    end: u64,
    /// Number of the line that starts at `end`.
    next_line: u64,
}

/// Whole lines that were published together.
#[derive(Debug)]
struct LogBatch {
    start: u64,
    first_line: u64,
    bytes: Arc<[u8]>,
}

impl LogBatch {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The log no longer keeps the bytes at the offset of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFarBehind;

/// Shared bytes of one batch.
#[derive(Clone, Debug)]
pub(crate) struct LogSlice {
    batch: Arc<[u8]>,
    start: usize,
    end: usize,
}

impl LogSlice {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.batch[self.start..self.end]
    }
}

impl BroadcastLog {
    /// Creates an empty log that keeps at least its newest `retained_bytes` bytes and at most one
    /// batch more.
    pub(crate) fn new(retained_bytes: usize) -> Self {
        BroadcastLog::numbered_from(0, retained_bytes)
    }

    /// Creates an empty log whose first line has this number.
    pub(crate) fn numbered_from(first_line: u64, retained_bytes: usize) -> Self {
        let retained = RetainedBatches {
            next_line: first_line,
            ..RetainedBatches::default()
        };
        BroadcastLog {
            retained: Mutex::new(retained),
            retained_bytes: retained_bytes as u64,
        }
    }

    /// Returns the offset after the newest byte.
    pub(crate) fn end(&self) -> u64 {
        self.lock().end
    }

    /// Appends a batch of whole lines and returns the new end.
    pub(crate) fn publish(&self, bytes: Arc<[u8]>) -> u64 {
        let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
        let mut retained = self.lock();
        let batch = LogBatch {
            start: retained.end,
            first_line: retained.next_line,
            bytes,
        };
        retained.end = batch.end();
        retained.next_line += lines;
        retained.batches.push_back(batch);
        let oldest = retained.end.saturating_sub(self.retained_bytes);
        let is_expired = |batch: &LogBatch| batch.end() <= oldest;
        while retained.batches.len() > 1 && retained.batches.front().is_some_and(is_expired) {
            retained.batches.pop_front();
        }
        retained.end
    }

    /// Collects the bytes between `offset` and `end`, in at most `max_slices` slices and about
    /// `max_bytes` bytes.
    ///
    /// # Errors
    /// The log no longer keeps the byte at `offset`.
    pub(crate) fn read(
        &self,
        offset: u64,
        end: u64,
        max_slices: usize,
        max_bytes: usize,
        slices: &mut Vec<LogSlice>,
    ) -> Result<(), TooFarBehind> {
        let retained = self.lock();
        let batches = &retained.batches;
        if offset >= retained.end.min(end) {
            return Ok(());
        }
        let first = batches.partition_point(|batch| batch.end() <= offset);
        if batches.get(first).is_none_or(|batch| batch.start > offset) {
            return Err(TooFarBehind);
        }
        let mut bytes = 0;
        for batch in batches.iter().skip(first).take(max_slices) {
            if batch.start >= end || bytes >= max_bytes {
                break;
            }
            let slice = LogSlice {
                batch: batch.bytes.clone(),
                // Both differences are at most the length of the batch, a `usize`.
                start: offset.saturating_sub(batch.start) as usize,
                end: (batch.end().min(end) - batch.start) as usize,
            };
            bytes += slice.bytes().len();
            slices.push(slice);
        }
        Ok(())
    }

    /// Returns the rest of the line at `offset`: nothing between two lines, `None` if the log no
    /// longer keeps the line.
    pub(crate) fn rest_of_line(&self, offset: u64) -> Option<Arc<[u8]>> {
        let retained = self.lock();
        if offset >= retained.end {
            return Some(Arc::default());
        }
        let index = retained
            .batches
            .partition_point(|batch| batch.end() <= offset);
        let batch = retained.batches.get(index)?;
        // The difference is less than the length of the batch, a `usize`.
        let before = offset.checked_sub(batch.start)? as usize;
        let Some(last) = before.checked_sub(1) else {
            return Some(Arc::default());
        };
        let newline = memchr::memchr(b'\n', &batch.bytes[last..])?;
        Some(batch.bytes[before..before + newline].into())
    }

    /// Returns the number of the line that is published next.
    pub(crate) fn next_line(&self) -> u64 {
        self.lock().next_line
    }

    /// Returns the number of the oldest line in the log, or of the next one if the log is empty.
    pub(crate) fn oldest_line(&self) -> u64 {
        let retained = self.lock();
        let oldest = retained.batches.front();
        oldest.map_or(retained.next_line, |batch| batch.first_line)
    }

    /// Returns the offset of a line in the log, or of the next line; `None` for any other line.
    pub(crate) fn offset_of_line(&self, number: u64) -> Option<u64> {
        let (start, bytes, before) = {
            let retained = self.lock();
            if number == retained.next_line {
                return Some(retained.end);
            }
            if number > retained.next_line {
                return None;
            }
            let after = retained
                .batches
                .partition_point(|batch| batch.first_line <= number);
            let batch = retained.batches.get(after.checked_sub(1)?)?;
            (batch.start, batch.bytes.clone(), number - batch.first_line)
        };
        let Some(last) = before.checked_sub(1) else {
            return Some(start);
        };
        let ends = usize::try_from(last).ok()?;
        let end = memchr::memchr_iter(b'\n', &bytes).nth(ends)?;
        Some(start + end as u64 + 1)
    }

    fn lock(&self) -> MutexGuard<'_, RetainedBatches> {
        // No step under the lock leaves it inconsistent, so a panic elsewhere does no harm.
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retained_line_is_found_by_its_number() {
        let log = BroadcastLog::numbered_from(7, 10);
        assert_eq!((log.oldest_line(), log.offset_of_line(7)), (7, Some(0)));
        assert_eq!((log.offset_of_line(6), log.offset_of_line(8)), (None, None));
        for batch in ["7\n8\n9\n", "10\n", "11\n12\n"] {
            log.publish(Arc::from(batch.as_bytes()));
        }
        assert_eq!(log.oldest_line(), 7);
        for (number, position) in [(7, 0), (8, 2), (9, 4), (10, 6), (11, 9), (12, 12), (13, 15)] {
            assert_eq!(log.offset_of_line(number), Some(position), "line {number}");
        }
        assert_eq!(log.offset_of_line(14), None);
        log.publish(Arc::from(b"13\n14\n".as_slice()));
        assert_eq!(
            log.oldest_line(),
            11,
            "the log dropped the first two batches"
        );
        assert_eq!(
            (log.offset_of_line(10), log.offset_of_line(11)),
            (None, Some(9))
        );
        assert_eq!(log.offset_of_line(14), Some(18));
    }

    #[test]
    fn rest_of_line_is_found_at_every_retained_byte() {
        let log = BroadcastLog::new(8);
        for batch in ["one\n", "two\nthree\n", "four\n"] {
            publish(&log, batch);
        }
        let rest = |at| log.rest_of_line(at).map(|rest| at + rest.len() as u64);
        let ends: Vec<_> = (0..=20).map(rest).collect();
        let mut expected = vec![None; 4];
        // Between two lines, also before the oldest retained one, the rest is empty.
        expected.extend(
            [
                4, 8, 8, 8, 8, 14, 14, 14, 14, 14, 14, 19, 19, 19, 19, 19, 20,
            ]
            .map(Some),
        );
        assert_eq!(ends, expected);
    }

    fn bytes(log: &BroadcastLog) -> u64 {
        let oldest = log.offset_of_line(log.oldest_line()).unwrap_or_default();
        log.end() - oldest
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
    fn read_starts_at_any_offset() {
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
    fn log_keeps_its_bytes_and_at_most_one_batch_more() {
        let log = BroadcastLog::new(10);
        for _ in 0..100 {
            publish(&log, "123\n");
            let bytes = bytes(&log);
            assert!(bytes <= 10 + 4, "{bytes}");
        }
        let end = log.end();
        assert_eq!(read(&log, end - 10, end).as_deref(), Ok("3\n123\n123\n"));
        assert_eq!(read(&log, end - 13, end), Err(TooFarBehind));
        publish(&log, &("x".repeat(49) + "\n"));
        assert_eq!(bytes(&log), 50, "the newest batch stays");
    }

    #[test]
    fn read_is_bounded_by_slices_and_bytes() {
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
}
