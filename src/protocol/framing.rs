//! Splitting of a byte stream into lines that end in `\n` or `\r\n`.

/// Splits a byte stream into lines.
///
/// Copies only an unfinished line, and stores nothing of a line that is too long. The memory is
/// bounded by the longest allowed line.
#[derive(Debug)]
pub struct LineDecoder {
    unfinished: Vec<u8>,
    max_line_bytes: usize,
    state: DecoderState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderState {
    /// `unfinished` holds the beginning of a line, or nothing.
    Collecting,
    /// `unfinished` holds a line that was returned; the next call frees it.
    Delivered,
    /// The rest of the current line is skipped.
    Skipping,
}

/// A line found by [`LineDecoder`].
#[derive(Debug, PartialEq, Eq)]
pub enum DecodedLine<'a> {
    /// A line without its `\n` or `\r\n`; never empty.
    Complete(&'a [u8]),
    /// A line longer than allowed, reported once and as early as possible.
    TooLong,
}

impl LineDecoder {
    /// Makes a decoder for lines of at most `max_line_bytes` bytes without their line end.
    pub fn new(max_line_bytes: usize) -> Self {
        LineDecoder {
            unfinished: Vec::new(),
            max_line_bytes,
            state: DecoderState::Collecting,
        }
    }

    /// Returns the next line and advances `input` past it, or `None` if more input is needed.
    pub fn next_line<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<DecodedLine<'a>> {
        if self.state == DecoderState::Delivered {
            self.unfinished = Vec::new();
            self.state = DecoderState::Collecting;
        }
        loop {
            let Some(newline) = memchr::memchr(b'\n', input) else {
                let rest = std::mem::take(input);
                return self.store(rest).then_some(DecodedLine::TooLong);
            };
            let (head, tail) = (&input[..newline], &input[newline + 1..]);
            *input = tail;
            if self.state == DecoderState::Skipping {
                self.state = DecoderState::Collecting;
            } else if self.unfinished.is_empty() {
                let line = without_carriage_return(head);
                if line.len() > self.max_line_bytes {
                    return Some(DecodedLine::TooLong);
                }
                if !line.is_empty() {
                    return Some(DecodedLine::Complete(line));
                }
            } else if self.store(head) {
                self.state = DecoderState::Collecting;
                return Some(DecodedLine::TooLong);
            } else if without_carriage_return(&self.unfinished).is_empty() {
                self.unfinished = Vec::new();
            } else {
                self.state = DecoderState::Delivered;
                let line = without_carriage_return(&self.unfinished);
                return Some(DecodedLine::Complete(line));
            }
        }
    }

    /// Returns at most `count` bytes of the line that [`Self::next_line`] would continue.
    pub(crate) fn line_start(&self, input: &[u8], count: usize) -> Vec<u8> {
        let stored = match self.state {
            DecoderState::Collecting => &*self.unfinished,
            DecoderState::Delivered => &[],
            DecoderState::Skipping => return Vec::new(),
        };
        let bytes = stored.iter().chain(input);
        let bytes = bytes.skip_while(|byte| matches!(byte, b'\r' | b'\n'));
        bytes.take(count).copied().collect()
    }

    /// Returns whether an unfinished line is stored.
    pub fn has_unfinished_line(&self) -> bool {
        self.state == DecoderState::Collecting && !self.unfinished.is_empty()
    }

    /// Drops the unfinished line and skips input up to the next newline.
    pub fn skip_line(&mut self) {
        self.unfinished = Vec::new();
        self.state = DecoderState::Skipping;
    }

    /// Ends the stream and returns whether it ended within a line that was not reported.
    pub fn finish(&mut self) -> bool {
        let unfinished =
            self.has_unfinished_line() && !without_carriage_return(&self.unfinished).is_empty();
        self.unfinished = Vec::new();
        self.state = DecoderState::Collecting;
        unfinished
    }

    /// Returns the bytes allocated for the unfinished line.
    pub fn stored_bytes(&self) -> usize {
        self.unfinished.capacity()
    }

    /// Stores a further part of the line and returns whether the line is too long.
    fn store(&mut self, part: &[u8]) -> bool {
        if self.state == DecoderState::Skipping || part.is_empty() {
            return false;
        }
        let length = self.unfinished.len() + part.len();
        // A trailing carriage return may belong to the line end.
        let counted = length - usize::from(part.ends_with(b"\r"));
        if counted > self.max_line_bytes {
            self.skip_line();
            return true;
        }
        if length > self.unfinished.capacity() {
            // Double, but never beyond the longest line, so that the memory bound is exact.
            let doubled = (self.unfinished.capacity() * 2).min(self.max_line_bytes + 1);
            self.unfinished
                .reserve_exact(doubled.max(length) - self.unfinished.len());
        }
        self.unfinished.extend_from_slice(part);
        false
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_split_into_lines_at_any_chunk_size() {
        // `!` stands for a line that is too long.
        for (input, expected) in [
            ("one\ntwo\r\nthree\n", "one two three"),
            ("\n\r\n\na\n\n\r\nb\n", "a b"),
            ("a\r\r\n\rb\n", "a\r \rb"),
            (
                "12345678\n12345678\r\n123456789\nok\n",
                "12345678 12345678 ! ok",
            ),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nok\n", "! ok"),
            ("12345678\rx\nok\n", "! ok"),
        ] {
            for size in [1, 2, 3, 7, 256] {
                let mut decoder = LineDecoder::new(8);
                let mut lines = Vec::new();
                for mut chunk in input.as_bytes().chunks(size) {
                    while let Some(line) = decoder.next_line(&mut chunk) {
                        lines.push(match line {
                            DecodedLine::Complete(line) => String::from_utf8_lossy(line).into(),
                            DecodedLine::TooLong => "!".to_owned(),
                        });
                    }
                    assert!(decoder.stored_bytes() <= 9);
                }
                assert_eq!(lines.join(" "), expected, "chunks of {size}");
            }
        }
    }
}
