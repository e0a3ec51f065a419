//! Lines out of a byte stream, whatever the chunks in which it arrives.
//!
//! What lives here: [`LineDecoder`], which takes bytes and gives lines. A connection of the
//! server and the client's session use it. It must never allocate by what the peer claims or
//! keep more than one unfinished line, bounded by the longest line allowed; of a line that is
//! too long it stores nothing.
//!
//! Protocol: "Both directions carry *lines*", `\r\n` accepted, empty lines ignored.

/// Splits a byte stream into lines.
///
/// A whole line in the input is given without a copy; only an unfinished one is stored.
#[derive(Debug)]
pub struct LineDecoder {
    unfinished: Vec<u8>,
    max_line_bytes: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `unfinished` holds the beginning of a line, or nothing.
    Collecting,
    /// `unfinished` holds a line that was given out: the next call gives its memory back.
    Delivered,
    /// The line was reported as too long, or given up: everything up to the next newline is skipped.
    Skipping,
}

/// What a [`LineDecoder`] finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its `\n` or `\r\n`; never empty.
    Complete(&'a [u8]),
    /// A line longer than allowed; told once, as soon as it is known.
    TooLong,
}

impl LineDecoder {
    /// A splitter for lines of at most `max_line_bytes` bytes, the line end not counted.
    pub fn new(max_line_bytes: usize) -> Self {
        LineDecoder {
            unfinished: Vec::new(),
            max_line_bytes,
            state: State::Collecting,
        }
    }

    /// Takes the next line from the front of `input`, which is moved past what was read.
    ///
    /// `None` means that `input` is empty and a further line needs more bytes.
    pub fn next_line<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Option<Line<'a>> {
        if self.state == State::Delivered {
            self.unfinished = Vec::new();
            self.state = State::Collecting;
        }
        loop {
            let Some(newline) = memchr::memchr(b'\n', input) else {
                let rest = std::mem::take(input);
                return self.keep(rest).then_some(Line::TooLong);
            };
            let (head, tail) = (&input[..newline], &input[newline + 1..]);
            *input = tail;
            if self.state == State::Skipping {
                self.state = State::Collecting;
            } else if self.unfinished.is_empty() {
                let line = without_carriage_return(head);
                if line.len() > self.max_line_bytes {
                    return Some(Line::TooLong);
                }
                if !line.is_empty() {
                    return Some(Line::Complete(line));
                }
            } else if self.keep(head) {
                self.state = State::Collecting;
                return Some(Line::TooLong);
            } else if without_carriage_return(&self.unfinished).is_empty() {
                self.unfinished = Vec::new();
            } else {
                return self.deliver();
            }
        }
    }

    /// Whether the beginning of a line waits for its end.
    pub fn has_unfinished_line(&self) -> bool {
        self.state == State::Collecting && !self.unfinished.is_empty()
    }

    /// Gives up the unfinished line: it is forgotten, and what follows up to the next newline
    /// is skipped.
    pub fn skip_line(&mut self) {
        self.unfinished = Vec::new();
        self.state = State::Skipping;
    }

    /// Ends the stream; true if it ended in the middle of a line that was not reported yet.
    pub fn finish(&mut self) -> bool {
        let unfinished =
            self.has_unfinished_line() && !without_carriage_return(&self.unfinished).is_empty();
        self.unfinished = Vec::new();
        self.state = State::Collecting;
        unfinished
    }

    /// Bytes stored for the unfinished line, as allocated.
    pub fn stored_bytes(&self) -> usize {
        self.unfinished.capacity()
    }

    /// Stores a further part of the line; true if that makes it too long.
    fn keep(&mut self, part: &[u8]) -> bool {
        if self.state == State::Skipping || part.is_empty() {
            return false;
        }
        let length = self.unfinished.len() + part.len();
        // A carriage return may turn out to belong to the line end.
        let counted = length - usize::from(part.ends_with(b"\r"));
        if counted > self.max_line_bytes {
            self.skip_line();
            return true;
        }
        if length > self.unfinished.capacity() {
            // Doubling, but never beyond the longest line: the bound on memory is exact.
            let doubled = (self.unfinished.capacity() * 2).min(self.max_line_bytes + 1);
            self.unfinished
                .reserve_exact(doubled.max(length) - self.unfinished.len());
        }
        self.unfinished.extend_from_slice(part);
        false
    }

    fn deliver(&mut self) -> Option<Line<'_>> {
        self.state = State::Delivered;
        Some(Line::Complete(without_carriage_return(&self.unfinished)))
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in chunks of `size` bytes; a line that is too long is told as `!`.
    fn split(input: &[u8], size: usize, max_line_bytes: usize) -> Vec<String> {
        let mut splitter = LineDecoder::new(max_line_bytes);
        let mut lines = Vec::new();
        for mut chunk in input.chunks(size) {
            while let Some(line) = splitter.next_line(&mut chunk) {
                lines.push(match line {
                    Line::Complete(line) => String::from_utf8_lossy(line).into_owned(),
                    Line::TooLong => "!".to_owned(),
                });
            }
            assert!(splitter.stored_bytes() <= max_line_bytes + 1);
        }
        lines
    }

    fn check(input: &[u8], expected: &[&str]) {
        for size in [1, 2, 3, 7, 256, input.len().max(1)] {
            assert_eq!(split(input, size, 8), expected, "chunks of {size}");
        }
    }

    #[test]
    fn lines_end_with_a_newline_with_or_without_carriage_return() {
        check(b"one\ntwo\r\nthree\n", &["one", "two", "three"]);
    }

    #[test]
    fn empty_lines_are_ignored() {
        check(b"\n\r\n\na\n\n\r\nb\n", &["a", "b"]);
    }

    #[test]
    fn only_the_last_carriage_return_belongs_to_the_line_end() {
        check(b"a\r\r\n\rb\n", &["a\r", "\rb"]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        check(
            b"12345678\n12345678\r\n123456789\nok\n",
            &["12345678", "12345678", "!", "ok"],
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_the_next_is_read() {
        check(
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nok\n",
            &["!", "ok"],
        );
        check(b"12345678\rx\nok\n", &["!", "ok"]);
    }

    #[test]
    fn the_end_of_the_stream_tells_an_unfinished_line() {
        for (input, unfinished) in [
            (&b"a\nb"[..], true),
            (b"a\n", false),
            (b"\r", false),
            (b"123456789", false),
        ] {
            let mut splitter = LineDecoder::new(8);
            let mut rest = input;
            while splitter.next_line(&mut rest).is_some() {}
            assert_eq!(splitter.finish(), unfinished, "{input:?}");
        }
    }

    #[test]
    fn a_skipped_line_leaves_nothing_behind() {
        let mut splitter = LineDecoder::new(64);
        assert_eq!(splitter.next_line(&mut &b"half"[..]), None);
        assert!(splitter.has_unfinished_line());
        splitter.skip_line();
        assert_eq!(splitter.stored_bytes(), 0);
        assert!(!splitter.has_unfinished_line());
        let mut input = &b" rest\nnext\n"[..];
        assert_eq!(
            splitter.next_line(&mut input),
            Some(Line::Complete(b"next"))
        );
        assert_eq!(splitter.next_line(&mut input), None);
    }

    #[test]
    fn memory_of_a_delivered_line_is_given_back() {
        let mut splitter = LineDecoder::new(64);
        assert_eq!(splitter.next_line(&mut &b"he"[..]), None);
        let mut input = &b"llo\n"[..];
        assert_eq!(
            splitter.next_line(&mut input),
            Some(Line::Complete(b"hello"))
        );
        assert_eq!(splitter.next_line(&mut input), None);
        assert_eq!(splitter.stored_bytes(), 0);
    }
}
