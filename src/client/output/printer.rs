//! Items as lines, for pipes and for terminals that can only print.

use crate::chat::SERVER_SOURCE;
use crate::cli::style::{Style, coloured_line};
use crate::client::output::item::{
    MENTION_MARK, MessageKind, OutputItem, OutputMessage, border, date_and_time,
};
use crate::client::terminal::view::help_block;
use crate::client::terminal::wrap::Widths;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::termios::tcgetwinsize;
use std::io::{self, Write, stderr, stdout};

#[derive(Debug)]
pub(crate) struct Printer {
    style: Style,
    /// Zone of the times of replies at a terminal. A pipe gets neither times nor marks, so that its
    /// lines have the form `SOURCE: MESSAGE`.
    zone: Option<TimeZone>,
    own_name: String,
}

impl Printer {
    pub(crate) fn new(style: Style, zone: Option<TimeZone>) -> Self {
        Printer {
            style,
            zone,
            own_name: String::new(),
        }
    }

    /// Prints lines on standard output, and sentences of the client on standard error.
    pub(crate) fn print(&mut self, items: Vec<OutputItem>) -> io::Result<()> {
        let mut lines = String::new();
        for item in items {
            let text = match item {
                OutputItem::Notice(sentence) => format!("{sentence}\n"),
                OutputItem::Help(text) => self.help(&text),
                item => {
                    self.add_line(item, &mut lines);
                    continue;
                }
            };
            print_lines(&mut lines)?;
            // A closed standard error leaves no place to report its failure.
            let _ = stderr().write_all(text.as_bytes());
        }
        print_lines(&mut lines)
    }

    pub(super) fn add_line(&mut self, item: OutputItem, lines: &mut String) {
        let sentence = match item {
            OutputItem::Message(message) => return self.add_message(message, lines),
            OutputItem::Presence(change, _) => change.sentence(),
            OutputItem::Server(sentence) => sentence,
            OutputItem::ReplyBorder(text) => border(&text),
            OutputItem::Line(line) => {
                lines.push_str(&line);
                lines.push('\n');
                return;
            }
            OutputItem::OwnName(name) => {
                self.own_name = name;
                return;
            }
            // The rest is for terminals.
            _ => return,
        };
        let opening = self.style.opening(SERVER_SOURCE);
        coloured_line(lines, SERVER_SOURCE, &sentence, opening, true);
    }

    /// Returns the help, at a terminal in rows of its width.
    fn help(&self, text: &str) -> String {
        let columns = match tcgetwinsize(stderr()) {
            Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
            _ => return format!("{text}\n"),
        };
        let mut rows = String::new();
        for line in text.lines() {
            let mut block = help_block(line, Style::Plain);
            block.draw(columns, Widths::Characters, &mut rows);
        }
        rows
    }

    fn add_message(&self, message: OutputMessage, lines: &mut String) {
        let is_mention = self.zone.is_some() && message.is_mention_of(&self.own_name);
        if let (Some(zone), true, Some(time)) = (&self.zone, message.is_replay, message.time) {
            let today = zone.to_datetime(Timestamp::now()).date();
            lines.push_str(&date_and_time(zone.to_datetime(time), today));
        }
        if is_mention {
            lines.push_str(MENTION_MARK);
        }
        let is_private = message.kind.is_private();
        let opening = match is_private {
            true => self.style.private(),
            false => self.style.opening(&message.source),
        };
        let opening = match is_mention && !is_private {
            true => opening.map(|opening| opening + &self.style.inverse().unwrap_or_default()),
            false => opening,
        };
        let (label, text) = match message.kind {
            MessageKind::Action => (message.source, format!("* {}", message.text)),
            _ => (message.label(), message.text),
        };
        coloured_line(lines, &label, &text, opening, is_mention || is_private);
    }
}

fn print_lines(lines: &mut String) -> io::Result<()> {
    let mut output = stdout().lock();
    output.write_all(lines.as_bytes())?;
    lines.clear();
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::style::Background;

    fn printed(printer: &mut Printer, message: OutputMessage) -> String {
        let mut lines = String::new();
        printer.add_line(OutputItem::OwnName("me".into()), &mut lines);
        printer.add_line(OutputItem::Message(message), &mut lines);
        lines
    }

    fn message(kind: MessageKind, text: &str) -> OutputMessage {
        OutputMessage {
            source: "al".into(),
            text: text.into(),
            time: Some("2025-11-24T12:00:00Z".parse().unwrap()),
            kind,
            is_replay: false,
        }
    }

    #[test]
    fn mentions_and_dates_are_marked_at_a_terminal_only() {
        let public = || message(MessageKind::Public, "me?");
        let replay = OutputMessage {
            is_replay: true,
            ..message(MessageKind::Action, "waves")
        };
        let private = |kind| message(kind, "hi");
        for (message, in_pipe, at_terminal) in [
            (public(), "al: me?\n", "! al: me?\n"),
            (replay, "al: * waves\n", "24 Nov 2025 12:00 al: * waves\n"),
            (
                private(MessageKind::PrivateFrom),
                "al (private): hi\n",
                "! al (private): hi\n",
            ),
            (
                private(MessageKind::PrivateTo("bo".into())),
                "(private to bo): hi\n",
                "(private to bo): hi\n",
            ),
        ] {
            let pipe = &mut Printer::new(Style::Plain, None);
            assert_eq!(printed(pipe, message.clone()), in_pipe);
            let terminal = &mut Printer::new(Style::Plain, Some(TimeZone::UTC));
            assert_eq!(printed(terminal, message), at_terminal);
        }
        let coloured =
            &mut Printer::new(Style::Colours16(Background::Unknown), Some(TimeZone::UTC));
        let line = printed(coloured, public());
        assert!(
            line.ends_with("\u{1b}[7mal: me?\u{1b}[0m\n"),
            "the whole line is marked: {line:?}"
        );
    }
}
