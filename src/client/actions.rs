//! Execution of typed lines.

use crate::chat::sanitize::{for_terminal, quoted};
use crate::client::input::commands::{self, Command};
use crate::client::input::json;
use crate::client::input::stdin::{BadLine, InputLine};
use crate::client::limits::WRITE_BATCH_BYTES;
use crate::client::output::item::OutputItem;
use crate::client::session::Session;
use crate::client::session::request::UserRequest;
use crate::client::setup::InputKind;
use crate::client::state::{Chat, round_trip, waiting_lines};
use futures_lite::future::pending;
use std::time::Instant;

/// What follows a typed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    Continue,
    Leave,
    Reconnect,
}

impl Chat<'_> {
    /// Waits for a line of the input, and for room in the session's queue; none at the end of the
    /// input. Cancel-safe.
    pub(crate) async fn next_line(&self) -> Option<InputLine> {
        if !self.state.borrow().session.queue.has_room() {
            return pending().await;
        }
        self.io.input.recv().await.ok()
    }

    /// Executes a line and those that wait behind it, as many as fit in one write.
    pub(crate) async fn execute_batch(&self, line: InputLine) -> NextStep {
        let mut next = Some(line);
        let mut bytes = 0;
        while let Some(line) = next.take() {
            bytes += line.text.as_ref().map_or(0, String::len);
            match self.execute(line).await {
                NextStep::Continue => {}
                step => return step,
            }
            if bytes < WRITE_BATCH_BYTES && self.state.borrow().session.queue.has_room() {
                next = self.io.input.try_recv().ok();
            }
        }
        NextStep::Continue
    }

    pub(crate) async fn execute(&self, line: InputLine) -> NextStep {
        let mut items = Vec::new();
        if self.io.has_view {
            items.push(OutputItem::InputEntered);
        }
        let step = self.execute_line(&line, &mut items);
        items.extend(self.state.borrow_mut().take_items());
        self.io.screen.show(items).await;
        self.refresh_status();
        step
    }

    fn execute_line(&self, line: &InputLine, items: &mut Vec<OutputItem>) -> NextStep {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        let sentence = match self.parse(line) {
            Command::Nothing => return NextStep::Continue,
            Command::Quit => return NextStep::Leave,
            Command::EndWith(failure) => {
                state.input_failure = Some(failure);
                return NextStep::Leave;
            }
            Command::Reconnect if self.config.reconnect => return NextStep::Reconnect,
            Command::Reconnect => self.error(line, "/reconnect needs the option --reconnect"),
            Command::Request(request, nonce) => {
                state.session.request(request, nonce, now);
                return NextStep::Continue;
            }
            Command::Reply(text) => match state.formatter.last_private.clone() {
                Some(target) => {
                    let request = UserRequest::Private { target, text };
                    state.session.request(request, None, now);
                    return NextStep::Continue;
                }
                None => self.error(
                    line,
                    "Nobody has written to you alone yet; use /msg NAME TEXT",
                ),
            },
            Command::Show(item) if self.io.has_view => {
                items.push(item);
                return NextStep::Continue;
            }
            Command::Show(_) => self.error(line, "/mentions and /clear work at a terminal only"),
            Command::Help(text) => {
                items.push(OutputItem::Help(text));
                return NextStep::Continue;
            }
            Command::Invalid(sentence) => self.error(line, &sentence),
            Command::SetIgnored(name, is_ignored) => {
                let has_changed = state.formatter.set_ignored(&name, is_ignored);
                let sentence = ignored_sentence(&quoted(&name), is_ignored, has_changed);
                if is_ignored && has_changed && state.session.is_extended() {
                    state.formatter.check_is_here(name);
                    state.session.request(UserRequest::Users, None, now);
                }
                sentence
            }
            Command::Info => self.info(&state.session),
        };
        items.push(OutputItem::Notice(sentence));
        NextStep::Continue
    }

    fn parse(&self, line: &InputLine) -> Command {
        let limit = self.config.max_message_bytes;
        match &line.text {
            Ok(text) if self.config.json => json::parse(text, limit),
            Ok(text) => commands::parse(text, limit),
            Err(BadLine::TooLong) => Command::Invalid(commands::too_long(limit)),
            Err(BadLine::NotUtf8) => {
                Command::Invalid("The line is not valid UTF-8 and was not sent".to_owned())
            }
            Err(BadLine::Unreadable(reason)) => {
                Command::EndWith(format!("Cannot read standard input: {reason}"))
            }
        }
    }

    /// Returns an error about a line; in a pipe it names the number of the line.
    fn error(&self, line: &InputLine, sentence: &str) -> String {
        match self.io.input_kind {
            InputKind::Pipe => format!("line {}: {sentence}", line.number),
            InputKind::Terminal => sentence.to_owned(),
        }
    }

    fn info(&self, session: &Session) -> String {
        let name = session.name.as_deref().unwrap_or("(not known yet)");
        let mut text = format!(
            "You are {} at {} port {}",
            for_terminal(name),
            self.config.host,
            self.config.port
        );
        if let Some(time) = round_trip(session) {
            text.push_str(&format!(", {time} away"));
        }
        text.push_str(match self.is_connected.get() {
            false => "; not connected",
            true if session.is_extended() => "; extended dialect",
            true => "; basic dialect",
        });
        if let Some(lines) = waiting_lines(session) {
            text.push_str(&format!("; {lines}"));
        }
        text
    }
}

fn ignored_sentence(name: &str, is_ignored: bool, has_changed: bool) -> String {
    match (is_ignored, has_changed) {
        (true, true) => format!("Messages from {name} are hidden; /unignore NAME shows them again"),
        (true, false) => format!("{name} is already ignored"),
        (false, true) => format!("Messages from {name} are shown again"),
        (false, false) => format!("{name} is not ignored"),
    }
}
