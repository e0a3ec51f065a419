//! Slow, simple model of a line splitter.
//!
//! The property tests of framing and their fuzz target include this file by its path.

use smolchat::protocol::framing::{DecodedLine, LineDecoder};

/// A line, or that one was too long.
pub(crate) type Found = Option<Vec<u8>>;

/// What happens to a splitter.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    /// These bytes arrive.
    Bytes(Vec<u8>),
    /// The unfinished line is given up.
    GiveUp,
}

/// A splitter that looks at one byte at a time and keeps whatever it gets.
#[derive(Default)]
struct ByteByByte {
    line: Vec<u8>,
    /// Whether the rest of the line is passed over, told or given up.
    passes_over: bool,
    found: Vec<Found>,
}

impl ByteByByte {
    fn take(&mut self, byte: u8, most: usize) {
        if byte != b'\n' {
            self.line.push(byte);
            // A carriage return may belong to the line end.
            let may_end = usize::from(byte == b'\r');
            if !self.passes_over && self.line.len() - may_end > most {
                self.passes_over = true;
                self.found.push(None);
            }
            return;
        }
        let line = std::mem::take(&mut self.line);
        let line = without_carriage_return(&line);
        if !std::mem::take(&mut self.passes_over) && !line.is_empty() {
            self.found.push(Some(line.to_vec()));
        }
    }

    fn has_unfinished_line(&self) -> bool {
        !self.passes_over && !self.line.is_empty()
    }
}

/// A line without the carriage return that belongs to its end.
pub(crate) fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Feeds a splitter for lines of at most `most` bytes; panics if it does anything but what one
/// byte after the other would bring, or stores more than it may.
pub(crate) fn check(feeds: &[Feed], most: usize) {
    let mut splitter = LineDecoder::new(most);
    let mut model = ByteByByte::default();
    let mut found: Vec<Found> = Vec::new();
    for feed in feeds {
        match feed {
            Feed::Bytes(bytes) => {
                let mut input = bytes.as_slice();
                while let Some(line) = splitter.next_line(&mut input) {
                    found.push(match line {
                        DecodedLine::Complete(line) => Some(line.to_vec()),
                        DecodedLine::TooLong => None,
                    });
                    assert!(
                        !splitter.has_unfinished_line(),
                        "a line was told, and waits as well"
                    );
                }
                assert!(input.is_empty(), "a chunk was not read to its end");
                for &byte in bytes {
                    model.take(byte, most);
                }
            }
            Feed::GiveUp => {
                splitter.skip_line();
                model.passes_over = true;
            }
        }
        assert_eq!(splitter.has_unfinished_line(), model.has_unfinished_line());
        let bound = if model.has_unfinished_line() {
            most + 1
        } else {
            0
        };
        let stored = splitter.stored_bytes();
        assert!(stored <= bound, "{stored} bytes are stored, {bound} may be");
    }
    assert_eq!(found, model.found);
    for line in found.iter().flatten() {
        assert!(!line.is_empty() && line.len() <= most && !line.contains(&b'\n'));
    }
    let last = without_carriage_return(&model.line);
    assert_eq!(
        splitter.finish(),
        model.has_unfinished_line() && !last.is_empty()
    );
    assert_eq!(splitter.stored_bytes(), 0);
}
