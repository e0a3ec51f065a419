//! Standard error of the server's program: sentences for the operator, as text or as JSON.
//!
//! What lives here: [`StderrLogger`], the one way to standard error. The program says its start, its
//! end and its faults with it, and the log goes to its sink. It must never make its caller wait,
//! and in the JSON format every line of it is one object.

use crate::cli::exit_code::DONE;
use crate::server::config::LogFormat;
use crate::server::logging::lossy_writer::{LineWriter, NonBlockingWriter};
use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;
use tracing::Level;

/// Time for the last lines at the end that was asked for.
const LAST_LINES: Duration = Duration::from_millis(100);

/// The same where they tell of a failure.
const LAST_LINES_OF_FAILURE: Duration = Duration::from_secs(2);

/// Says sentences on standard error; cheap to clone.
#[derive(Clone, Debug)]
pub struct StderrLogger {
    voice: LogStyle,
    sink: NonBlockingWriter,
}

/// How a sentence looks.
#[derive(Clone, Copy, Debug)]
struct LogStyle {
    program: &'static str,
    format: LogFormat,
}

/// A sentence in the JSON format, with the names of the log's fields.
#[derive(Serialize)]
struct Entry<'a> {
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
    fn line(self, level: Level, sentence: &str) -> String {
        match self.format {
            LogFormat::Text => format!("{}: {sentence}\n", self.program),
            LogFormat::Json => self.entry(level, sentence, None, None),
        }
    }

    fn fault(self, place: &str, thread: &str, message: &str) -> String {
        match self.format {
            // A message may have several lines; here it is one.
            LogFormat::Text => format!(
                "{}: a fault of the program at {place} in thread {thread}: {}\n",
                self.program,
                message.replace(['\r', '\n'], " ")
            ),
            LogFormat::Json => self.entry(Level::ERROR, message, Some(place), Some(thread)),
        }
    }

    fn entry(
        self,
        level: Level,
        message: &str,
        place: Option<&str>,
        thread: Option<&str>,
    ) -> String {
        let entry = Entry {
            timestamp: format!("{:.6}", Timestamp::now()),
            level: level.as_str(),
            message,
            place,
            thread,
            target: self.program,
        };
        // Text in fields of text: it always has a form. If not, nothing is better than half.
        serde_json::to_string(&entry).map_or_else(|_| String::new(), |line| line + "\n")
    }
}

impl StderrLogger {
    /// Speaks for this program in this format to this output, in a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        program: &'static str,
        format: LogFormat,
        output: Box<dyn Write + Send>,
    ) -> io::Result<Self> {
        let voice = LogStyle { program, format };
        let tell_skipped = move |count| {
            let sentence = match count {
                1 => "1 line is missing here: it could not be written".to_owned(),
                _ => format!("{count} lines are missing here: they could not be written"),
            };
            voice.line(Level::WARN, &sentence)
        };
        let sink = NonBlockingWriter::start_telling("log", output, Box::new(tell_skipped))?;
        Ok(StderrLogger { voice, sink })
    }

    /// Says a sentence, whatever the level of the log.
    pub fn say(&self, level: Level, sentence: &str) {
        self.sink
            .offer(self.voice.line(level, sentence).into_bytes(), 1);
    }

    /// Where an entry of the log is written to.
    pub fn entry_writer(&self) -> LineWriter {
        LineWriter::new(self.sink.clone())
    }

    /// Lines that standard error did not take.
    pub fn skipped_lines(&self) -> Gauge {
        self.sink.skipped_gauge()
    }

    /// From now on tells of every panic of the process, instead of what the system would write:
    /// that could hold up the task.
    pub fn tell_faults(&self) {
        let speaker = self.clone();
        panic::set_hook(Box::new(move |fault| speaker.tell_fault(fault)));
    }

    /// Tells of a panic: where it was and what it says.
    pub fn tell_fault(&self, fault: &PanicHookInfo<'_>) {
        let place = fault.location().map_or_else(
            || "an unknown place".to_owned(),
            |place| format!("{}:{}", place.file(), place.line()),
        );
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        let payload = fault.payload();
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref()) {
            (Some(message), _) => message,
            (None, message) => message.map_or("no message", String::as_str),
        };
        let line = self.voice.fault(&place, thread, message);
        self.sink.offer(line.into_bytes(), 1);
    }

    /// Says no more, and waits until what was said is written: shortly at the end that was asked
    /// for, longer where this exit status has a reason that somebody should read.
    pub fn finish(&self, status: u8) {
        self.sink.finish(match status {
            DONE => LAST_LINES,
            _ => LAST_LINES_OF_FAILURE,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn as_text_a_sentence_begins_with_the_program_and_a_fault_is_one_line() {
        let voice = LogStyle {
            program: "server",
            format: LogFormat::Text,
        };
        assert_eq!(voice.line(Level::INFO, "It runs"), "server: It runs\n");
        let fault = voice.fault("src/a.rs:7", "main", "one\ntwo");
        let told = "server: a fault of the program at src/a.rs:7 in thread main: one two\n";
        assert_eq!(fault, told);
    }

    #[test]
    fn as_json_everything_is_one_object_a_line() {
        let voice = LogStyle {
            program: "server",
            format: LogFormat::Json,
        };
        let line = voice.line(Level::INFO, "It \"runs\"");
        let entry: Value = serde_json::from_str(&line).unwrap();
        assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
        assert_eq!(entry["message"], "It \"runs\"");
        assert_eq!(entry["level"], "INFO");
        assert_eq!(entry["target"], "server");
        let timestamp = entry["timestamp"].as_str().unwrap();
        assert!(timestamp.parse::<Timestamp>().is_ok(), "{timestamp}");
        let fault = voice.fault("src/a.rs:7", "main", "one\ntwo");
        let entry: Value = serde_json::from_str(&fault).unwrap();
        assert_eq!(fault.lines().count(), 1, "{fault}");
        assert_eq!(entry["message"], "one\ntwo");
        assert_eq!(
            (&entry["place"], &entry["level"]),
            (&Value::from("src/a.rs:7"), &Value::from("ERROR"))
        );
    }
}
