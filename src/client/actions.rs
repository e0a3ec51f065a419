//! Execution of typed lines.

use crate::chat::request::Nonce;
use crate::chat::sanitize::{for_terminal, quoted};
use crate::client::input::commands::{self, Command};
use crate::client::input::json;
use crate::client::input::stdin::{BadLine, InputLine};
use crate::client::limits::WRITE_BATCH_BYTES;
use crate::client::output::formatter::OutputFormat;
use crate::client::output::item::ViewItem;
use crate::client::session::request::UserRequest;
use crate::client::setup::InputKind;
use crate::client::state::Chat;
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
        let step = self.execute_line(&line).await;
        self.refresh_status();
        step
    }

    async fn execute_line(&self, line: &InputLine) -> NextStep {
        let has_view = self.io.format == OutputFormat::Items;
        if has_view {
            self.io.screen.draw(vec![ViewItem::InputEntered]).await;
        }
        let sentence = match self.parse(line) {
            Command::Nothing => return NextStep::Continue,
            Command::Quit => return NextStep::Leave,
            Command::Reconnect if self.config.reconnect => return NextStep::Reconnect,
            Command::Request(request, nonce) => return self.request(request, nonce).await,
            Command::Reply(text) => {
                let sender = self.state.borrow().formatter.last_private.clone();
                match sender {
                    Some(target) => {
                        return self
                            .request(UserRequest::Private { target, text }, None)
                            .await;
                    }
                    None => self.error(
                        line,
                        "Nobody has written to you alone yet; use /msg NAME TEXT",
                    ),
                }
            }
            Command::ListMentions if has_view => return self.draw(ViewItem::ListMentions).await,
            Command::Clear if has_view => return self.draw(ViewItem::Clear).await,
            Command::ListMentions | Command::Clear => {
                self.error(line, "/mentions and /clear work at a terminal only")
            }
            Command::Reconnect => self.error(line, "/reconnect needs the option --reconnect"),
            Command::Help(text) => text,
            Command::Invalid(sentence) => self.error(line, &sentence),
            Command::SetIgnored(name, is_ignored) => self.set_ignored(&name, is_ignored),
            Command::Info => self.info(),
        };
        self.io.screen.notify(sentence).await;
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
                Command::Invalid(format!("Cannot read standard input: {reason}"))
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

    async fn request(&self, request: UserRequest, nonce: Option<Nonce>) -> NextStep {
        let requested = self.apply(|session, on_update| {
            session.request(request, nonce, Instant::now(), on_update);
        });
        requested.await;
        NextStep::Continue
    }

    async fn draw(&self, item: ViewItem) -> NextStep {
        self.io.screen.draw(vec![item]).await;
        NextStep::Continue
    }

    fn set_ignored(&self, name: &str, is_ignored: bool) -> String {
        let mut state = self.state.borrow_mut();
        let has_changed = state.formatter.set_ignored(name, is_ignored);
        let name = quoted(name);
        match (is_ignored, has_changed) {
            (true, true) => {
                format!("Messages from {name} are hidden; /unignore NAME shows them again")
            }
            (true, false) => format!("{name} is already ignored"),
            (false, true) => format!("Messages from {name} are shown again"),
            (false, false) => format!("{name} is not ignored"),
        }
    }

    fn info(&self) -> String {
        let state = self.state.borrow();
        let session = &state.session;
        let name = session.name.as_deref().unwrap_or("(not known yet)");
        let mut text = format!(
            "You are {} at {} port {}",
            for_terminal(name),
            self.config.host,
            self.config.port
        );
        if let Some(time) = session.heartbeat.round_trip {
            text.push_str(&format!(", {:.1} ms away", time.as_secs_f64() * 1000.0));
        }
        text.push_str(match self.is_connected.get() {
            false => "; not connected",
            true if session.is_extended() => "; extended dialect",
            true => "; basic dialect",
        });
        match session.queue.len() {
            0 => {}
            1 => text.push_str("; 1 line waits"),
            count => text.push_str(&format!("; {count} lines wait")),
        }
        text
    }
}
