//! Lines of standard input, read by a thread of its own.
//!
//! A blocked read of a terminal cannot be cancelled, and must not delay the end of the process.

use crate::client::limits::{INPUT_BYTES, INPUT_LINES};
use crate::limits::DEFAULT_MAX_MESSAGE_BYTES;
use async_channel::Receiver;
use std::io::{self, BufRead, Read};
use std::thread;

/// Begins UTF-8 files of some programs, and is no part of their first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputLine {
    /// Number of the line, from 1.
    pub(crate) number: u64,
    /// Text without the line end.
    pub(crate) text: Result<String, BadLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// Longer than any message.
    TooLong,
    NotUtf8,
    /// The input failed for this reason and ends here.
    Unreadable(String),
}

/// Starts the thread; the channel is closed at the end of the input.
pub(crate) fn start(max_message_bytes: usize) -> io::Result<Receiver<InputLine>> {
    // Room for any command, and for the second slash of `//x`.
    let max_bytes = max_message_bytes.max(DEFAULT_MAX_MESSAGE_BYTES) + 1;
    let capacity = (INPUT_BYTES / max_bytes).clamp(1, INPUT_LINES);
    let (sender, receiver) = async_channel::bounded(capacity);
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            read_lines(io::stdin().lock(), max_bytes, |line| {
                // Fails when the client leaves.
                sender.send_blocking(line).is_ok()
            });
        })?;
    Ok(receiver)
}

/// Calls `on_line` for each line until it returns false. Stores no more than one line.
///
/// A terminal reports its end once, so the input is not read again after that.
fn read_lines(
    mut input: impl BufRead,
    max_bytes: usize,
    mut on_line: impl FnMut(InputLine) -> bool,
) {
    // A line end has at most two bytes.
    let limit = BYTE_ORDER_MARK.len() + max_bytes + 2;
    let mut is_too_long = false;
    let mut number = 1;
    loop {
        let mut line = Vec::new();
        let mut part = input.by_ref().take(limit as u64);
        if let Err(error) = part.read_until(b'\n', &mut line) {
            let text = Err(BadLine::Unreadable(error.to_string()));
            on_line(InputLine { number, text });
            return;
        }
        let has_newline = line.ends_with(b"\n");
        if line.len() == limit && !has_newline {
            is_too_long = true;
            continue;
        }
        if line.is_empty() && !is_too_long {
            return;
        }
        if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        let text = match std::mem::take(&mut is_too_long) {
            true => Err(BadLine::TooLong),
            false => line_text(line, max_bytes),
        };
        if !on_line(InputLine { number, text }) || !has_newline {
            return;
        }
        number += 1;
    }
}

fn line_text(mut line: Vec<u8>, max_bytes: usize) -> Result<String, BadLine> {
    for byte in b"\n\r" {
        line.pop_if(|last| last == byte);
    }
    if line.len() > max_bytes {
        return Err(BadLine::TooLong);
    }
    String::from_utf8(line).map_err(|_| BadLine::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

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

    #[test]
    fn byte_order_mark_is_no_text() {
        for (input, expected) in [
            ("\u{feff}/users\n\u{feff}x\n", &["/users", "\u{feff}x"][..]),
            ("\u{feff}0123456789\n", &["0123456789"]),
            ("\u{feff}", &[""]),
        ] {
            let expected = numbered(expected.iter().map(|&text| Ok(text.into())));
            assert_eq!(lines(input.as_bytes()), expected);
        }
    }

    /// Returns one result per read, and panics when read after the last one.
    struct ScriptedReader(std::vec::IntoIter<io::Result<&'static [u8]>>);

    impl Read for ScriptedReader {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.next().expect("no read after the end")?.read(buffer)
        }
    }

    #[test]
    fn input_is_not_read_after_its_end() {
        for input in [&b"half"[..], b"whole\n", b"01234567890123"] {
            let reader = ScriptedReader(vec![Ok(input), Ok(b"")].into_iter());
            assert_eq!(lines(BufReader::new(reader)).len(), 1);
        }
    }

    #[test]
    fn failed_input_ends_with_its_reason() {
        let interrupted = Err(io::ErrorKind::Interrupted.into());
        let reads = vec![
            interrupted,
            Ok(&b"one\ntw"[..]),
            Err(io::Error::other("it broke")),
        ];
        let read = lines(BufReader::new(ScriptedReader(reads.into_iter())));
        let error = BadLine::Unreadable("it broke".into());
        assert_eq!(read, numbered([Ok("one".into()), Err(error)]));
    }
}
