//! What is typed or piped in, line by line.
//!
//! What lives here: a thread that reads standard input, since a blocked read of a terminal
//! cannot be cancelled and must not hold up the end of the program. It must never store more
//! than one line, bounded, and the lines that wait in its channel.

use crate::limits::{CLIENT_INPUT_LINES, CLIENT_MAX_INPUT_LINE_BYTES};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// It is longer than any message.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
}

/// Starts the thread; the channel is closed at the end of the input.
///
/// # Errors
/// The system gives no thread.
pub fn start() -> io::Result<Receiver<InputLine>> {
    let (sender, receiver) = async_channel::bounded(CLIENT_INPUT_LINES);
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut input = io::stdin().lock();
            for number in 1.. {
                // An input that cannot be read has ended.
                let Ok(Some(text)) = read_line(&mut input, CLIENT_MAX_INPUT_LINE_BYTES) else {
                    return;
                };
                if sender.send_blocking(InputLine { number, text }).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// Reads one line; none at the end of the input. Of a line that is too long nothing is kept.
fn read_line(
    input: &mut impl BufRead,
    max_bytes: usize,
) -> io::Result<Option<Result<String, BadLine>>> {
    let mut line = Vec::new();
    let mut is_too_long = false;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() && line.is_empty() && !is_too_long {
            return Ok(None);
        }
        let newline = memchr::memchr(b'\n', available);
        let part = &available[..newline.unwrap_or(available.len())];
        if line.len() + part.len() > max_bytes {
            is_too_long = true;
            line = Vec::new();
        } else if !is_too_long {
            line.extend_from_slice(part);
        }
        let has_ended = newline.is_some() || available.is_empty();
        let used = part.len() + usize::from(newline.is_some());
        input.consume(used);
        if has_ended {
            return Ok(Some(if is_too_long {
                Err(BadLine::TooLong)
            } else {
                text_of(line)
            }));
        }
    }
}

fn text_of(mut line: Vec<u8>) -> Result<String, BadLine> {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| BadLine::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn lines_are_read_at_any_buffer_size() {
        let input = b"one\r\n\ntwo\n0123456789\n01234567890\n\xff\nlast";
        let expected: [Result<String, BadLine>; 7] = [
            Ok("one".into()),
            Ok("".into()),
            Ok("two".into()),
            Ok("0123456789".into()),
            Err(BadLine::TooLong),
            Err(BadLine::NotUtf8),
            Ok("last".into()),
        ];
        for size in [1, 2, 5, 100] {
            let mut reader = BufReader::with_capacity(size, &input[..]);
            let mut lines = Vec::new();
            while let Some(line) = read_line(&mut reader, 10).unwrap() {
                lines.push(line);
            }
            assert_eq!(lines, expected, "buffer of {size}");
        }
    }
}
