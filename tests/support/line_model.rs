//! Slow, simple model of the line decoder.
//!
//! The property tests of framing and their fuzz target include this file by its path.

use smolchat::protocol::framing::{DecodedLine, LineDecoder};

/// A line; none if it was too long.
pub(crate) type Found = Option<Vec<u8>>;

/// What a decoder gets.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Bytes(Vec<u8>),
    /// The connection skips the unfinished line.
    SkipLine,
}

/// A decoder that takes one byte at a time and stores every line completely.
#[derive(Default)]
struct ByteByByte {
    line: Vec<u8>,
    /// Whether the rest of the line is skipped.
    is_skipping: bool,
    found: Vec<Found>,
}

impl ByteByByte {
    fn take(&mut self, byte: u8, longest: usize) {
        if byte != b'\n' {
            self.line.push(byte);
            // A carriage return may belong to the line end.
            let may_end = usize::from(byte == b'\r');
            if !self.is_skipping && self.line.len() - may_end > longest {
                self.is_skipping = true;
                self.found.push(None);
            }
            return;
        }
        let line = std::mem::take(&mut self.line);
        let line = without_carriage_return(&line);
        if !std::mem::take(&mut self.is_skipping) && !line.is_empty() {
            self.found.push(Some(line.to_vec()));
        }
    }

    fn has_unfinished_line(&self) -> bool {
        !self.is_skipping && !self.line.is_empty()
    }
}

/// A line without the carriage return that belongs to its end.
pub(crate) fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Panics if a decoder of lines of at most `longest` bytes differs from the model, or stores more
/// than its bound.
pub(crate) fn check(inputs: &[Input], longest: usize) {
    let mut decoder = LineDecoder::new(longest);
    let mut model = ByteByByte::default();
    let mut found: Vec<Found> = Vec::new();
    for input in inputs {
        match input {
            Input::Bytes(bytes) => {
                let mut rest = bytes.as_slice();
                while let Some(line) = decoder.next_line(&mut rest) {
                    found.push(match line {
                        DecodedLine::Complete(line) => Some(line.to_vec()),
                        DecodedLine::TooLong => None,
                    });
                    assert!(!decoder.has_unfinished_line(), "returned and still stored");
                }
                assert!(rest.is_empty(), "a chunk was not read to its end");
                for &byte in bytes {
                    model.take(byte, longest);
                }
            }
            Input::SkipLine => {
                decoder.skip_line();
                model.is_skipping = true;
            }
        }
        assert_eq!(decoder.has_unfinished_line(), model.has_unfinished_line());
        let bound = if model.has_unfinished_line() {
            longest + 1
        } else {
            0
        };
        let stored = decoder.stored_bytes();
        assert!(
            stored <= bound,
            "{stored} bytes are stored, the bound is {bound}"
        );
    }
    assert_eq!(found, model.found);
    for line in found.iter().flatten() {
        assert!(!line.is_empty() && line.len() <= longest && !line.contains(&b'\n'));
    }
    let last = without_carriage_return(&model.line);
    assert_eq!(
        decoder.finish(),
        model.has_unfinished_line() && !last.is_empty()
    );
    assert_eq!(decoder.stored_bytes(), 0);
}
