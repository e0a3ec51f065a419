//! The live log: the newest encoded lines of each dialect, shared by all readers.
//!
//! 1. Publishing never waits for a reader.
//! 2. A reader gets every byte once and in order, or learns that it is too far behind.
//! 3. Memory is bounded and does not depend on the number of readers.
//! 4. The lock is held for a few memory accesses, never across a system call or an await.

use crate::protocol::Dialect;
use memchr::memmem::find;
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerDialect<T> {
    pub(crate) basic: T,
    pub(crate) extended: T,
    pub(crate) browser: T,
}

impl<T> PerDialect<T> {
    pub(crate) fn from_fn(mut value: impl FnMut(Dialect) -> T) -> Self {
        PerDialect {
            basic: value(Dialect::Basic),
            extended: value(Dialect::Extended),
            browser: value(Dialect::Browser),
        }
    }
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
        PerDialect {
            basic: Arc::new(BroadcastLog::new(0, max_lag_bytes)),
            extended: Arc::new(BroadcastLog::new(next_event, recent_events_bytes)),
            browser: Arc::new(BroadcastLog::new(0, max_lag_bytes)),
        }
    }

    /// Returns the offset after the newest byte of each log.
    pub(crate) fn ends(&self) -> PerDialect<u64> {
        PerDialect::from_fn(|dialect| self[dialect].end())
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
    /// Creates an empty log whose first line has this number. The log keeps at least its newest
    /// `retained_bytes` bytes and at most one batch more.
    pub(crate) fn new(first_line: u64, retained_bytes: usize) -> Self {
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

    /// Returns the rest of the record at `offset`: nothing between two records, `None` if the log
    /// no longer keeps the record. No record stands in two batches.
    pub(crate) fn rest_of_record(&self, offset: u64, record_end: &[u8]) -> Option<Arc<[u8]>> {
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
        if before == 0 {
            return Some(Arc::default());
        }
        // The offset may stand inside the end of the record.
        let start = before.saturating_sub(record_end.len());
        let end = start + find(&batch.bytes[start..], record_end)? + record_end.len();
        Some(batch.bytes[before..end].into())
    }

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

    fn publish(log: &BroadcastLog, batches: &[&str]) {
        for batch in batches {
            log.publish(batch.as_bytes().into());
        }
    }

    #[test]
    fn retained_line_is_found_by_its_number() {
        let log = BroadcastLog::new(7, 10);
        let offsets = |oldest, expected: &[Option<u64>]| {
            let found: Vec<_> = (6..=15).map(|line| log.offset_of_line(line)).collect();
            assert_eq!(
                (log.oldest_line(), &found[..expected.len()]),
                (oldest, expected)
            );
        };
        offsets(7, &[None, Some(0), None]);
        publish(&log, &["7\n8\n9\n", "10\n", "11\n12\n"]);
        let lines = [0, 2, 4, 6, 9, 12, 15].map(Some);
        offsets(7, &[&[None], lines.as_slice(), &[None]].concat());
        // The log drops the first two batches.
        publish(&log, &["13\n14\n"]);
        let lines = [9, 12, 15, 18, 21].map(Some);
        offsets(11, &[&[None; 5], lines.as_slice()].concat());
    }

    #[test]
    fn rest_of_record_is_found_at_every_retained_byte() {
        let ends = |batches: &[&str], record_end: &str| -> Vec<Option<u64>> {
            let log = BroadcastLog::new(0, 8);
            publish(&log, batches);
            let rest = |at| log.rest_of_record(at, record_end.as_bytes());
            let end = |at| rest(at).map(|rest| at + rest.len() as u64);
            (0..=log.end() + 1).map(end).collect()
        };
        let lines = ends(&["one\n", "two\nthree\n", "four\n"], "\n");
        // Between two records, also before the oldest retained one, the rest is empty.
        let kept = [[4].as_slice(), &[8; 4], &[14; 6], &[19; 5], &[20]].concat();
        let expected = [vec![None; 4], kept.into_iter().map(Some).collect()].concat();
        assert_eq!(lines, expected);
        let events = ends(&["id: 1\ndata: 1\n\nid: 2\n\n"], "\n\n");
        let expected = [[0].as_slice(), &[15; 15], &[22; 7], &[23]].concat();
        assert_eq!(events, expected.into_iter().map(Some).collect::<Vec<_>>());
    }

    fn read(log: &BroadcastLog, offset: u64, end: u64) -> Result<String, TooFarBehind> {
        let mut slices = Vec::new();
        log.read(offset, end, 64, 1 << 20, &mut slices)?;
        let bytes: Vec<_> = slices.iter().map(LogSlice::bytes).collect();
        Ok(String::from_utf8(bytes.concat()).unwrap())
    }

    #[test]
    fn read_gets_any_range() {
        let log = BroadcastLog::new(0, 100);
        publish(&log, &["abc", "defg"]);
        for start in 0..=7 {
            for end in start..=9 {
                let expected = &"abcdefg"[start..end.min(7)];
                let text = read(&log, start as u64, end as u64);
                assert_eq!(text.as_deref(), Ok(expected));
            }
        }
        assert_eq!(read(&log, 9, 20).as_deref(), Ok(""));
    }

    #[test]
    fn log_keeps_its_bytes_and_at_most_one_batch_more() {
        let log = BroadcastLog::new(0, 10);
        publish(&log, &["123\n"; 100]);
        assert_eq!(read(&log, 390, 400).as_deref(), Ok("3\n123\n123\n"));
        assert_eq!(read(&log, 387, 400), Err(TooFarBehind));
        // The newest batch stays.
        let long = "x".repeat(49) + "\n";
        publish(&log, &[&long]);
        assert_eq!(read(&log, 400, 450).as_ref(), Ok(&long));
        assert_eq!(read(&log, 399, 450), Err(TooFarBehind));
    }

    #[test]
    fn read_is_bounded_by_slices_and_bytes() {
        let log = BroadcastLog::new(0, 1000);
        publish(&log, &["12345"; 10]);
        for (max_slices, max_bytes) in [(3, 1000), (64, 11)] {
            let mut slices = Vec::new();
            let read = log.read(0, u64::MAX, max_slices, max_bytes, &mut slices);
            assert_eq!((read, slices.len()), (Ok(()), 3));
        }
    }
}
