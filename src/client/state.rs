//! State of one run that the sending and the receiving side of a connection share.

use crate::chat::SERVER_SOURCE;
use crate::chat::sanitize::{clean_message, one_line};
use crate::client::options::ClientConfig;
use crate::client::output::formatter::Formatter;
use crate::client::output::item::OutputItem;
use crate::client::session::Session;
use crate::client::session::request::UserRequest;
use crate::client::session::update::SessionUpdate;
use crate::client::setup::{ClientIo, InputKind};
use crate::protocol::server_line::ServerLine;
use async_channel::{Receiver, Sender};
use std::cell::{Cell, RefCell};
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct ChatState {
    pub(crate) session: Session,
    pub(crate) formatter: Formatter,
    /// Whether the server has neither accepted nor rejected the name of `--name`.
    pub(crate) awaits_name: bool,
    /// Last sentence of the server that may explain why it rejected the text of `--say`.
    rejection: Option<String>,
    is_said: bool,
    /// Why the input ended before its end.
    pub(crate) input_failure: Option<String>,
    status: String,
    link: LinkStatus,
}

impl ChatState {
    pub(crate) fn take_items(&mut self) -> Vec<OutputItem> {
        let updates = self.session.take_updates();
        self.formatter.format(updates, self.session.name.as_deref())
    }

    /// Notes what lines of the server mean for the text of `--say`: an acknowledgement, its echo
    /// in the basic dialect, or a rejection.
    pub(crate) fn note_say_result(&mut self, text: &str, updates: &[SessionUpdate]) {
        for update in updates {
            let SessionUpdate::Line(line, _) = update else {
                continue;
            };
            match line {
                ServerLine::Ack(_) => self.is_said = true,
                ServerLine::Error(error) => self.rejection = Some(error.message.clone()),
                ServerLine::Message(message) if message.source == SERVER_SOURCE => {
                    // A server may welcome in its own words before it gets the text.
                    let has_text = self.session.queue.len() == 0;
                    let sentence = has_text.then(|| message.message.clone());
                    self.rejection = sentence.or(self.rejection.take());
                }
                ServerLine::Message(message) if !self.session.is_extended() => {
                    let name = self.session.name.as_ref();
                    let is_own = name.is_none_or(|name| *name == message.source);
                    self.is_said |= is_own && one_line(&clean_message(text)) == message.message;
                }
                _ => {}
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Chat<'a> {
    pub(crate) config: &'a ClientConfig,
    pub(crate) io: &'a ClientIo,
    pub(crate) state: RefCell<ChatState>,
    pub(crate) is_connected: Cell<bool>,
    /// Wakes the sending side when the session may have output.
    pub(crate) wake: (Sender<()>, Receiver<()>),
}

impl<'a> Chat<'a> {
    pub(crate) fn new(config: &'a ClientConfig, io: &'a ClientIo) -> Self {
        let prefers_extended = io.input_kind == InputKind::Terminal
            || config.reconnect
            || config.json
            || config.say.is_some()
            || config.since.is_some()
            || config.name.is_some();
        let name = config.name.clone();
        let mut session = Session::new(prefers_extended, config.reconnect, name, io.random);
        let mut request = |request| session.request(request, None, Instant::now());
        if let Some(since) = config.since {
            request(UserRequest::Since(since));
        }
        if let Some(text) = &config.say {
            let (text, action) = (text.clone(), false);
            request(UserRequest::Say { text, action });
            io.input.close();
        }
        Chat {
            config,
            io,
            state: RefCell::new(ChatState {
                session,
                formatter: Formatter::new(config.json, config.count.unwrap_or(u64::MAX)),
                awaits_name: config.name.is_some() && io.input_kind == InputKind::Pipe,
                rejection: None,
                is_said: false,
                input_failure: None,
                status: String::new(),
                link: LinkStatus::Connecting,
            }),
            is_connected: Cell::new(false),
            wake: async_channel::bounded(1),
        }
    }

    pub(crate) async fn show_updates(&self) {
        let items = self.state.borrow_mut().take_items();
        self.io.screen.show(items).await;
    }

    pub(crate) fn wake_sender(&self) {
        // A full channel wakes the sender as well.
        let _ = self.wake.0.try_send(());
    }

    pub(crate) fn set_link(&self, link: LinkStatus) {
        self.state.borrow_mut().link = link;
        self.refresh_status();
    }

    /// Updates the status line of a terminal if it has changed.
    pub(crate) fn refresh_status(&self) {
        if !self.io.has_view {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        let status = status_line(&state.session, &state.link, Instant::now());
        if status != state.status && self.io.screen.set_status(status.clone()) {
            state.status = status;
        }
    }

    /// Checks that the server has everything it was to get.
    pub(crate) fn check_all_sent(&self) -> Result<(), String> {
        let state = self.state.borrow();
        match &self.config.say {
            None => self.undelivered().map_or(Ok(()), Err),
            Some(_) if !state.is_said => {
                Err(state.rejection.clone().unwrap_or_else(|| {
                    match state.session.queue.unsent() {
                    0 => "The server did not acknowledge the text of --say, which may or may not \
                          have been sent",
                    _ => "The server did not greet, so the text of --say was not sent",
                }
                .to_owned()
                }))
            }
            _ => Ok(()),
        }
    }

    /// Returns what the server does not have, or may not have, if there is anything.
    pub(crate) fn undelivered(&self) -> Option<String> {
        let session = &self.state.borrow().session;
        let unsent = session.queue.unsent();
        let doubtful = session.queue.len() - unsent + session.unconfirmed;
        undelivered_sentence(unsent, doubtful, self.config.reconnect)
    }
}

fn undelivered_sentence(unsent: usize, doubtful: usize, reconnects: bool) -> Option<String> {
    let mut parts = Vec::new();
    if doubtful > 0 {
        parts.push(format!(
            "{} may not have arrived: the server did not acknowledge",
            counted_lines(doubtful)
        ));
    }
    if unsent > 0 {
        let verb = if unsent == 1 { "was" } else { "were" };
        parts.push(format!("{} {verb} not sent", counted_lines(unsent)));
    }
    if !reconnects && !parts.is_empty() {
        parts.push("with --reconnect the client waits for the server, and sends again".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn counted_lines(lines: usize) -> String {
    match lines {
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    }
}

// The status above the prompt of a terminal

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    Connecting,
    Up,
    Down {
        /// Time of the next attempt.
        until: Instant,
        /// Why the last attempt failed, if it was one to connect.
        reason: Option<String>,
    },
}

fn status_line(session: &Session, link: &LinkStatus, now: Instant) -> String {
    let mut parts: Vec<String> = session.name.iter().cloned().collect();
    // The longest part comes last, because a narrow terminal cuts the line.
    let mut last = None;
    match link {
        LinkStatus::Connecting => parts.push("connecting".to_owned()),
        LinkStatus::Up => parts.extend(round_trip(session)),
        LinkStatus::Down { until, reason } => {
            let seconds = until.saturating_duration_since(now).as_secs_f64().ceil();
            parts.push(format!("reconnecting in {seconds} s"));
            last.clone_from(reason);
        }
    }
    parts.extend(waiting_lines(session));
    parts.extend(last);
    parts.join(" · ")
}

pub(crate) fn round_trip(session: &Session) -> Option<String> {
    let time = session.heartbeat.round_trip?;
    Some(format!("{:.1} ms", time.as_secs_f64() * 1000.0))
}

/// Returns how many typed lines the server does not have, if there are any.
pub(crate) fn waiting_lines(session: &Session) -> Option<String> {
    let lines = session.queue.len();
    let verb = if lines == 1 { "waits" } else { "wait" };
    (lines > 0).then(|| format!("{} {verb}", counted_lines(lines)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undelivered_lines_are_told_without_a_promise_that_was_not_kept() {
        let doubt = "1 line may not have arrived: the server did not acknowledge";
        let hint = "with --reconnect the client waits for the server, and sends again";
        for (unsent, doubtful, reconnects, sentence) in [
            (0, 1, true, doubt.to_owned()),
            (0, 1, false, format!("{doubt}; {hint}")),
            (1, 0, true, "1 line was not sent".to_owned()),
            (2, 1, true, format!("{doubt}; 2 lines were not sent")),
        ] {
            let told = undelivered_sentence(unsent, doubtful, reconnects);
            assert_eq!(told, Some(sentence));
        }
        assert_eq!(undelivered_sentence(0, 0, false), None);
    }
}
