//! What is typed or piped in, line by line.
//!
//! What lives here: a thread that reads standard input, since a blocked read of a terminal
//! cannot be cancelled and must not hold up the end of the program. It must never store more
//! than one line, no longer than can be said, and the lines that wait in its channel.

use crate::client::limits::{INPUT_BYTES, INPUT_LINES};
use crate::limits::DEFAULT_MAX_MESSAGE_BYTES;
use async_channel::Receiver;
use std::io::{self, BufRead};
use std::thread;

/// One line of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputLine {
    /// Its number, beginning with 1.
    pub number: u64,
    /// Its text without the line end.
    pub text: Result<String, BadLine>,
}

/// Why a line is no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// It is longer than any message.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// The input cannot be read, for this reason; it ends here.
    Unreadable(String),
}

/// Starts the thread; the channel is closed at the end of the input.
///
/// # Errors
/// The system gives no thread.
pub fn start(max_message_bytes: usize) -> io::Result<Receiver<InputLine>> {
    // Room for any command, and for the second slash of `//x`.
    let longest = max_message_bytes.max(DEFAULT_MAX_MESSAGE_BYTES) + 1;
    let room = (INPUT_BYTES / longest).clamp(1, INPUT_LINES);
    let (sender, receiver) = async_channel::bounded(room);
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            read_lines(io::stdin().lock(), longest, |line| {
                // It fails when the client leaves: then nothing more is wanted.
                sender.send_blocking(line).is_ok()
            });
        })?;
    Ok(receiver)
}

/// Gives each line up to the end of the input, or until it is not wanted. Of a line that is
/// too long nothing is kept.
///
/// A terminal says its end once: it must not be read again after that.
fn read_lines(mut input: impl BufRead, max_bytes: usize, mut give: impl FnMut(InputLine) -> bool) {
    let mut line = Vec::new();
    let mut is_too_long = false;
    let mut number = 1;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let text = Err(BadLine::Unreadable(error.to_string()));
                give(InputLine { number, text });
                return;
            }
        };
        let at_end = available.is_empty();
        if at_end && line.is_empty() && !is_too_long {
            return;
        }
        let newline = memchr::memchr(b'\n', available);
        let part = &available[..newline.unwrap_or(available.len())];
        // One byte more than allowed: it may be the carriage return of the line end.
        if is_too_long || line.len() + part.len() > max_bytes + 1 {
            is_too_long = true;
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(newline.is_some());
        input.consume(used);
        if newline.is_some() || at_end {
            let text = text_of(std::mem::take(&mut line), max_bytes);
            let text = if is_too_long {
                Err(BadLine::TooLong)
            } else {
                text
            };
            is_too_long = false;
            if !give(InputLine { number, text }) || at_end {
                return;
            }
            number += 1;
        }
    }
}

fn text_of(mut line: Vec<u8>, max_bytes: usize) -> Result<String, BadLine> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.len() > max_bytes {
        return Err(BadLine::TooLong);
    }
    String::from_utf8(line).map_err(|_| BadLine::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    fn lines(input: impl BufRead) -> Vec<InputLine> {
        let mut lines = Vec::new();
        read_lines(input, 10, |line| {
            lines.push(line);
            true
        });
        lines
    }

    fn numbered(texts: impl IntoIterator<Item = Result<String, BadLine>>) -> Vec<InputLine> {
        let lines = (1..).zip(texts);
        lines
            .map(|(number, text)| InputLine { number, text })
            .collect()
    }

    #[test]
    fn lines_are_read_at_any_buffer_size() {
        let input =
            b"one\r\n\ntwo\n0123456789\n0123456789\r\n01234567890\n0123456789\rx\n\xff\nlast";
        let expected = numbered([
            Ok("one".into()),
            Ok("".into()),
            Ok("two".into()),
            Ok("0123456789".into()),
            Ok("0123456789".into()),
            Err(BadLine::TooLong),
            Err(BadLine::TooLong),
            Err(BadLine::NotUtf8),
            Ok("last".into()),
        ]);
        for size in [1, 2, 5, 100] {
            let reader = BufReader::with_capacity(size, &input[..]);
            assert_eq!(lines(reader), expected, "buffer of {size}");
        }
    }

    /// An input that gives one thing after the other, and panics if it is read further.
    struct Script(std::vec::IntoIter<io::Result<&'static [u8]>>);

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0
                .next()
                .expect("the end was told already")?
                .read(buffer)
        }
    }

    #[test]
    fn the_end_of_a_terminal_is_told_once_even_after_half_a_line() {
        for input in [&b"half"[..], b"whole\n", b"01234567890123"] {
            let script = Script(vec![Ok(input), Ok(b"")].into_iter());
            assert_eq!(lines(BufReader::new(script)).len(), 1);
        }
    }

    #[test]
    fn an_input_that_breaks_ends_with_its_reason() {
        let interrupted = Err(io::ErrorKind::Interrupted.into());
        let script = vec![
            interrupted,
            Ok(&b"one\ntw"[..]),
            Err(io::Error::other("it broke")),
        ];
        let read = lines(BufReader::new(Script(script.into_iter())));
        let broke = BadLine::Unreadable("it broke".into());
        assert_eq!(read, numbered([Ok("one".into()), Err(broke)]));
    }

    #[test]
    fn reading_stops_when_nobody_wants_more() {
        let mut count = 0;
        read_lines(BufReader::new(&b"a\nb\nc\n"[..]), 10, |_| {
            count += 1;
            count < 2
        });
        assert_eq!(count, 2);
    }
}
