//! Standard error of the server: sentences for the operator, the log, and panics.

use crate::cli::exit_code::DONE;
use crate::server::config::LogFormat;
use crate::server::logging::lossy_writer::NonBlockingWriter;
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tracing::Level;

/// Time for the last lines when the server was stopped.
const FINISH_TIMEOUT: Duration = Duration::from_millis(100);
/// Time for the last lines when the server failed.
const FINISH_TIMEOUT_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Writes sentences to standard error without blocking; cheap to clone.
#[derive(Clone, Debug)]
pub struct StderrLogger {
    style: LogStyle,
    writer: NonBlockingWriter,
}

#[derive(Clone, Copy, Debug)]
struct LogStyle {
    program: &'static str,
    format: LogFormat,
}

/// A sentence in the JSON format, with the same fields as the log.
#[derive(Serialize)]
struct JsonLogEntry<'a> {
    timestamp: String,
    level: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<&'a str>,
    target: &'a str,
}

impl LogStyle {
    /// Formats a sentence or, with its place and thread, the message of a panic.
    fn line(self, level: Level, message: &str, panic: Option<(&str, &str)>) -> String {
        match (self.format, panic) {
            (LogFormat::Text, None) => format!("{}: {message}\n", self.program),
            (LogFormat::Text, Some((place, thread))) => format!(
                "{}: internal error at {place} in thread {thread}: {}\n",
                self.program,
                message.replace(['\r', '\n'], " ")
            ),
            (LogFormat::Json, _) => {
                let entry = JsonLogEntry {
                    timestamp: format!("{:.6}", Timestamp::now()),
                    level: level.as_str(),
                    message,
                    place: panic.map(|(place, _)| place),
                    thread: panic.map(|(_, thread)| thread),
                    target: self.program,
                };
                // Serializing strings cannot fail.
                serde_json::to_string(&entry).unwrap_or_default() + "\n"
            }
        }
    }
}

impl StderrLogger {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        program: &'static str,
        format: LogFormat,
        output: Box<dyn Write + Send>,
    ) -> io::Result<Self> {
        let style = LogStyle { program, format };
        let notice = move |count| {
            let sentence = match count {
                1 => "1 line is missing here: it could not be written".to_owned(),
                _ => format!("{count} lines are missing here: they could not be written"),
            };
            style.line(Level::WARN, &sentence, None)
        };
        let writer = NonBlockingWriter::start("log", output, Some(Box::new(notice)))?;
        Ok(StderrLogger { style, writer })
    }

    /// Writes a sentence, whatever the level of the log.
    pub fn print(&self, level: Level, sentence: &str) {
        let line = self.style.line(level, sentence, None);
        self.writer.queue(line.into_bytes());
    }

    /// Returns a gauge of the lines that standard error did not take.
    pub fn skipped_lines(&self) -> Gauge<u64, AtomicU64> {
        self.writer.skipped_lines()
    }

    /// Writes every panic of the process from now on. The default hook could block the task.
    pub fn set_panic_hook(&self) {
        let logger = self.clone();
        panic::set_hook(Box::new(move |panic| logger.print_panic(panic)));
    }

    fn print_panic(&self, panic: &PanicHookInfo<'_>) {
        let place = panic.location().map_or_else(
            || "an unknown place".to_owned(),
            |place| format!("{}:{}", place.file(), place.line()),
        );
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        let payload = panic.payload();
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref()) {
            (Some(message), _) => message,
            (None, message) => message.map_or("no message", String::as_str),
        };
        let line = self
            .style
            .line(Level::ERROR, message, Some((&place, thread)));
        self.writer.queue(line.into_bytes());
    }

    /// Closes the log and waits for its last lines, longer if the exit status tells a failure.
    pub fn finish(&self, status: u8) {
        self.writer.finish(match status {
            DONE => FINISH_TIMEOUT,
            _ => FINISH_TIMEOUT_AFTER_FAILURE,
        });
    }
}

/// Takes an entry of the log with each write.
impl Write for StderrLogger {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.writer.queue(entry.to_vec());
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn lines_are_text_or_one_json_object_each() {
        let program = "server";
        let [text, json] =
            [LogFormat::Text, LogFormat::Json].map(|format| LogStyle { program, format });
        let panic = Some(("src/a.rs:7", "main"));
        for (level, message, panic, expected) in [
            (Level::INFO, "It \"runs\"", None, "server: It \"runs\"\n"),
            (
                Level::ERROR,
                "one\ntwo",
                panic,
                "server: internal error at src/a.rs:7 in thread main: one two\n",
            ),
        ] {
            assert_eq!(text.line(level, message, panic), expected);
            let line = json.line(level, message, panic);
            assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
            let entry: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(entry["message"], message);
            assert_eq!(entry["level"], level.as_str());
            assert_eq!(entry["target"], program);
            let (place, thread) = panic.unzip();
            assert_eq!(entry["place"].as_str(), place);
            assert_eq!(entry["thread"].as_str(), thread);
            let timestamp = entry["timestamp"].as_str().unwrap();
            assert!(timestamp.parse::<Timestamp>().is_ok(), "{timestamp}");
        }
    }

    /// Sends every write to a channel.
    struct ChannelOutput(mpsc::Sender<String>);

    impl Write for ChannelOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the test, other tests of the process may still panic.
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn panic_is_written_with_its_place() {
        let (output, lines) = mpsc::channel();
        let output = Box::new(ChannelOutput(output));
        let logger = StderrLogger::start("test", LogFormat::Text, output).unwrap();
        let before = panic::take_hook();
        // The hook stays and calls the one before it, for panics of other tests.
        panic::set_hook(Box::new(move |panic| {
            logger.print_panic(panic);
            before(panic);
        }));
        let _panic = thread::spawn(|| panic!("a test panics")).join();
        let line = loop {
            let line = lines.recv_timeout(Duration::from_secs(30)).unwrap();
            if line.ends_with("a test panics\n") {
                break line;
            }
        };
        assert!(line.contains(&format!(" at {}:", file!())), "{line}");
    }
}
