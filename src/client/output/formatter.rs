//! Formatting of session updates: one set of items for terminals and pipes, or JSON.
//!
//! Text of other users is escaped, and secrets of the session are never shown.

use crate::chat::SERVER_SOURCE;
use crate::chat::sanitize::json_for_terminal;
use crate::cli::style::{Style, chat_line};
use crate::client::output::item::{MessageKind, ViewItem, ViewMessage};
use crate::client::output::presence::PresenceChange;
use crate::client::session::update::{MissedCount, SessionUpdate};
use crate::protocol::server_line::{Present, Said, ServerLine};
use serde_json::json;
use std::collections::BTreeSet;

/// Last sentence of a stopping server, as clients of the basic dialect get it.
const SHUTTING_DOWN: &str = "The server is shutting down";
const NO_MESSAGES: &str = "No messages yet";
const NOTHING_FOUND: &str = "Nothing was found";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// `SOURCE: MESSAGE` lines.
    Lines(Style),
    /// One JSON object per line.
    Json,
    /// Items for a terminal view.
    Items,
}

/// Result of formatting one or more updates.
#[derive(Debug, Default)]
pub(crate) struct FormattedOutput {
    /// Lines for standard output, each with its newline.
    pub(crate) lines: String,
    /// Sentences for standard error.
    pub(crate) notices: Vec<String>,
    /// Items for a terminal view.
    pub(crate) items: Vec<ViewItem>,
}

#[derive(Debug)]
pub(crate) struct Formatter {
    format: OutputFormat,
    /// Lower-case names of ignored users.
    ignored: BTreeSet<String>,
    /// Sender of the last private message.
    pub(crate) last_private: Option<String>,
    messages: u64,
    max_messages: u64,
    /// Number of expected user lists that only feed completion.
    pub(crate) hidden_user_lists: usize,
    /// Name that the last [`ViewItem::OwnName`] carried.
    own_name: Option<String>,
}

impl Formatter {
    /// Returns a formatter that shows at most `max_messages` messages.
    pub(crate) fn new(format: OutputFormat, max_messages: u64) -> Self {
        Formatter {
            format,
            ignored: BTreeSet::new(),
            last_private: None,
            messages: 0,
            max_messages,
            hidden_user_lists: 0,
            own_name: None,
        }
    }

    /// Returns whether as many messages as wanted were shown.
    pub(crate) fn is_done(&self) -> bool {
        self.messages >= self.max_messages
    }

    /// Hides or shows the messages of a user; returns whether that is a change.
    pub(crate) fn set_ignored(&mut self, name: &str, is_ignored: bool) -> bool {
        let name = name.to_lowercase();
        match is_ignored {
            true => self.ignored.insert(name),
            false => self.ignored.remove(&name),
        }
    }

    /// Appends what to show of an update. `raw` is the line of the server, if there is one.
    pub(crate) fn format(
        &mut self,
        update: SessionUpdate,
        raw: &[u8],
        own_name: Option<&str>,
        output: &mut FormattedOutput,
    ) {
        if self.is_done() {
            return;
        }
        if let SessionUpdate::Line(line) = &update
            && !self.admit(line, own_name)
        {
            return;
        }
        match self.format {
            OutputFormat::Json => self.format_json(update, raw, &mut output.lines),
            OutputFormat::Items => self.add_items(update, own_name, &mut output.items),
            OutputFormat::Lines(style) => {
                self.add_items(update, own_name, &mut output.items);
                for item in output.items.drain(..) {
                    write_line(item, style, &mut output.lines, &mut output.notices);
                }
            }
        }
    }

    /// Counts a message; returns false if the user ignores its sender.
    fn admit(&mut self, line: &ServerLine, own_name: Option<&str>) -> bool {
        match line {
            ServerLine::Message(message) if self.is_ignored(&message.source) => return false,
            ServerLine::Message(message) if message.source != SERVER_SOURCE => self.messages += 1,
            ServerLine::Private(private) if self.is_ignored(&private.source) => return false,
            ServerLine::Private(private) => {
                if own_name != Some(&private.source) {
                    self.last_private = Some(private.source.clone());
                }
                self.messages += 1;
            }
            _ => {}
        }
        true
    }

    fn is_ignored(&self, name: &str) -> bool {
        !self.ignored.is_empty() && self.ignored.contains(&name.to_lowercase())
    }

    /// Counts and returns the messages of a page that are shown.
    fn admit_page(&mut self, mut messages: Vec<Said>) -> Vec<Said> {
        let room = usize::try_from(self.max_messages - self.messages).unwrap_or(usize::MAX);
        messages.retain(|message| !self.is_ignored(&message.source));
        messages.truncate(room);
        self.messages += messages.len() as u64;
        messages
    }

    fn add_items(
        &mut self,
        update: SessionUpdate,
        own_name: Option<&str>,
        items: &mut Vec<ViewItem>,
    ) {
        if let Some(name) = own_name
            && own_name != self.own_name.as_deref()
        {
            self.add_own_name(name, items);
        }
        let notice = match update {
            SessionUpdate::Line(line) => return self.add_line_items(line, own_name, items),
            SessionUpdate::Welcome { name } => return self.add_own_name(&name, items),
            SessionUpdate::Recovered(missed) => recovered_sentence(missed),
            SessionUpdate::Gap { after, oldest } => gap_sentence(after, oldest),
            SessionUpdate::Truncated { messages } => format!(
                "Only the newest {messages} messages are shown; --json and history requests get older ones"
            ),
            SessionUpdate::Unsupported(sentence) => sentence,
        };
        items.push(ViewItem::Notice(notice));
    }

    fn add_own_name(&mut self, name: &str, items: &mut Vec<ViewItem>) {
        self.own_name = Some(name.to_owned());
        items.push(ViewItem::OwnName(name.to_owned()));
    }

    fn add_line_items(
        &mut self,
        line: ServerLine,
        own_name: Option<&str>,
        items: &mut Vec<ViewItem>,
    ) {
        let server = |sentence: &str| ViewItem::Server(sentence.to_owned());
        let presence = |change, time| ViewItem::Presence(change, Some(time));
        let item = match line {
            ServerLine::Message(message) if message.source == SERVER_SOURCE => {
                ViewItem::Server(message.message)
            }
            ServerLine::Message(message) => message_item(message, false),
            ServerLine::Joined(user) => presence(PresenceChange::Entered(user.name), user.time),
            ServerLine::Left(user) => presence(PresenceChange::Left(user.name), user.time),
            ServerLine::Renamed(user) => {
                presence(PresenceChange::Renamed(user.name, user.new_name), user.time)
            }
            ServerLine::Private(private) => ViewItem::Message(ViewMessage {
                kind: match own_name == Some(&private.source) {
                    true => MessageKind::PrivateTo(private.target),
                    false => MessageKind::PrivateFrom,
                },
                source: private.source,
                text: private.message,
                time: Some(private.time),
                is_replay: false,
            }),
            ServerLine::Users(users) => {
                let names = users.iter().map(|user| user.name.clone());
                items.push(ViewItem::PresentUsers(names.collect()));
                if self.hidden_user_lists > 0 {
                    self.hidden_user_lists -= 1;
                    return;
                }
                ViewItem::Server(users_sentence(&users))
            }
            ServerLine::History(page) if page.messages.is_empty() => server(NO_MESSAGES),
            ServerLine::Search(page) if page.messages.is_empty() => server(NOTHING_FOUND),
            ServerLine::History(page) => return self.add_page(page.messages, items),
            ServerLine::Search(mut page) => {
                // The server lists the newest message first.
                page.messages.reverse();
                return self.add_page(page.messages, items);
            }
            ServerLine::Notice(notice) => ViewItem::Server(notice.message),
            ServerLine::Error(error) => ViewItem::Server(error.message),
            ServerLine::Bye(bye) if bye.reason == "shutdown" => server(SHUTTING_DOWN),
            ServerLine::Bye(_)
            | ServerLine::Ack(_)
            | ServerLine::Welcome(_)
            | ServerLine::Pong(_) => return,
        };
        items.push(item);
    }

    fn add_page(&mut self, messages: Vec<Said>, items: &mut Vec<ViewItem>) {
        let messages = self.admit_page(messages).into_iter();
        items.extend(messages.map(|message| message_item(message, true)));
    }

    /// Appends the line of the server, or an object of the same shape.
    fn format_json(&mut self, update: SessionUpdate, raw: &[u8], lines: &mut String) {
        let mut add = |line: &str| {
            lines.push_str(&json_for_terminal(line));
            lines.push('\n');
        };
        match update {
            // A replay that the client assembled from pages.
            SessionUpdate::Line(ServerLine::History(page)) if raw.is_empty() => {
                for message in self.admit_page(page.messages) {
                    add(&message_json(&message));
                }
            }
            SessionUpdate::Line(line) => {
                add(String::from_utf8_lossy(raw).trim_ascii_end());
                if let ServerLine::History(page) | ServerLine::Search(page) = line {
                    self.admit_page(page.messages);
                }
            }
            update => add(&update_json(update)),
        }
    }
}

fn message_item(message: Said, is_replay: bool) -> ViewItem {
    ViewItem::Message(ViewMessage {
        source: message.source,
        text: message.message,
        time: message.time,
        kind: match message.action {
            true => MessageKind::Action,
            false => MessageKind::Public,
        },
        is_replay,
    })
}

fn users_sentence(users: &[Present]) -> String {
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    format!("Connected users ({}): {}", names.len(), names.join(", "))
}

fn write_line(item: ViewItem, style: Style, lines: &mut String, notices: &mut Vec<String>) {
    match item {
        ViewItem::Message(message) => match message.kind {
            MessageKind::Public => chat_line(lines, &message.source, &message.text, style),
            MessageKind::Action => {
                let text = format!("* {}", message.text);
                chat_line(lines, &message.source, &text, style);
            }
            MessageKind::PrivateFrom | MessageKind::PrivateTo(_) => {
                let source = format!("{} (private)", message.source);
                chat_line(lines, &source, &message.text, style);
            }
        },
        ViewItem::Presence(change, _) => {
            chat_line(lines, SERVER_SOURCE, &change.sentence(), style);
        }
        ViewItem::Server(sentence) => chat_line(lines, SERVER_SOURCE, &sentence, style),
        ViewItem::Notice(sentence) => notices.push(sentence),
        ViewItem::OwnName(_)
        | ViewItem::PresentUsers(_)
        | ViewItem::ListMentions
        | ViewItem::Clear
        | ViewItem::InputEntered => {}
    }
}

fn recovered_sentence(missed: MissedCount) -> String {
    match missed {
        MissedCount::Messages(0) => "connected again; no message was missed".to_owned(),
        MissedCount::Messages(1) => "missed 1 message, recovered".to_owned(),
        MissedCount::Messages(count) => format!("missed {count} messages, all recovered"),
        MissedCount::Events(count) => format!("missed {count} events, all recovered"),
    }
}

fn gap_sentence(after: Option<u64>, oldest: u64) -> String {
    match after {
        Some(after) => format!(
            "missed more than the server keeps: {} events could not be recovered",
            oldest.saturating_sub(after + 1)
        ),
        None => {
            "the server restarted without its history; messages in between could not be recovered"
                .to_owned()
        }
    }
}

fn json_line(kind: &str, data: serde_json::Value) -> String {
    json!({ "type": kind, "data": data }).to_string()
}

fn message_json(message: &Said) -> String {
    let mut data = json!({
        "id": message.id,
        "time": message.time.map(|time| format!("{time:.3}")),
        "source": message.source,
        "message": message.message,
    });
    if message.action {
        data["action"] = true.into();
    }
    json_line("message", data)
}

/// Returns an update of the client itself in the shape of a line of the server.
fn update_json(update: SessionUpdate) -> String {
    let (kind, data) = match update {
        // `format_json` prints the line itself.
        SessionUpdate::Line(_) => return String::new(),
        SessionUpdate::Welcome { name } => ("connected", json!({ "name": name })),
        SessionUpdate::Recovered(MissedCount::Messages(count)) => {
            ("recovered", json!({ "complete": true, "messages": count }))
        }
        SessionUpdate::Recovered(MissedCount::Events(count)) => {
            ("recovered", json!({ "complete": true, "events": count }))
        }
        SessionUpdate::Gap { after, oldest } => (
            "recovered",
            json!({ "complete": false, "after": after, "oldest": oldest }),
        ),
        SessionUpdate::Truncated { messages } => ("cut", json!({ "messages": messages })),
        SessionUpdate::Unsupported(sentence) => ("impossible", json!({ "message": sentence })),
    };
    json_line(kind, data)
}

#[cfg(test)]
mod tests;
