//! Standard error of the server: sentences for the operator, the log, and panics.

use crate::cli::exit_code::DONE;
use crate::server::config::LogFormat;
use crate::server::logging::lossy_writer::{LogLineWriter, NonBlockingWriter};
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
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
    fn sentence(self, level: Level, sentence: &str) -> String {
        match self.format {
            LogFormat::Text => format!("{}: {sentence}\n", self.program),
            LogFormat::Json => self.json(level, sentence, None, None),
        }
    }

    fn panic(self, place: &str, thread: &str, message: &str) -> String {
        match self.format {
            LogFormat::Text => format!(
                "{}: internal error at {place} in thread {thread}: {}\n",
                self.program,
                message.replace(['\r', '\n'], " ")
            ),
            LogFormat::Json => self.json(Level::ERROR, message, Some(place), Some(thread)),
        }
    }

    fn json(
        self,
        level: Level,
        message: &str,
        place: Option<&str>,
        thread: Option<&str>,
    ) -> String {
        let entry = JsonLogEntry {
            timestamp: format!("{:.6}", Timestamp::now()),
            level: level.as_str(),
            message,
            place,
            thread,
            target: self.program,
        };
        // Serializing strings cannot fail.
        serde_json::to_string(&entry).map_or_else(|_| String::new(), |line| line + "\n")
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
            style.sentence(Level::WARN, &sentence)
        };
        let writer = NonBlockingWriter::start("log", output, Some(Box::new(notice)))?;
        Ok(StderrLogger { style, writer })
    }

    /// Writes a sentence, whatever the level of the log.
    pub fn print(&self, level: Level, sentence: &str) {
        let line = self.style.sentence(level, sentence);
        self.writer.queue(line.into_bytes(), 1);
    }

    /// Returns a writer for one entry of the log.
    pub fn entry_writer(&self) -> LogLineWriter {
        LogLineWriter::new(self.writer.clone())
    }

    /// Returns a gauge of the lines that standard error did not take.
    pub fn skipped_lines(&self) -> Gauge {
        self.writer.skipped_gauge()
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
        let line = self.style.panic(&place, thread, message);
        self.writer.queue(line.into_bytes(), 1);
    }

    /// Closes the log and waits for its last lines, longer if the exit status tells a failure.
    pub fn finish(&self, status: u8) {
        self.writer.finish(match status {
            DONE => FINISH_TIMEOUT,
            _ => FINISH_TIMEOUT_AFTER_FAILURE,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::mpsc;
    use std::thread;

    fn style(format: LogFormat) -> LogStyle {
        LogStyle {
            program: "server",
            format,
        }
    }

    #[test]
    fn text_lines_start_with_the_program() {
        let style = style(LogFormat::Text);
        assert_eq!(style.sentence(Level::INFO, "It runs"), "server: It runs\n");
        assert_eq!(
            style.panic("src/a.rs:7", "main", "one\ntwo"),
            "server: internal error at src/a.rs:7 in thread main: one two\n"
        );
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let style = style(LogFormat::Json);
        let line = style.sentence(Level::INFO, "It \"runs\"");
        let entry: Value = serde_json::from_str(&line).unwrap();
        assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
        assert_eq!(entry["message"], "It \"runs\"");
        assert_eq!(entry["level"], "INFO");
        assert_eq!(entry["target"], "server");
        let timestamp = entry["timestamp"].as_str().unwrap();
        assert!(timestamp.parse::<Timestamp>().is_ok(), "{timestamp}");
        let line = style.panic("src/a.rs:7", "main", "one\ntwo");
        let entry: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(entry["message"], "one\ntwo");
        assert_eq!(entry["place"], "src/a.rs:7");
        assert_eq!(entry["level"], "ERROR");
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
