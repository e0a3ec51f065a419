//! Formatting of session updates: one set of items for terminals and pipes, or JSON without the
//! secrets of the session.

use crate::chat::SERVER_SOURCE;
use crate::chat::request::Nonce;
use crate::chat::sanitize::{json_for_terminal, quoted};
use crate::client::output::item::{MessageKind, OutputItem, OutputMessage};
use crate::client::output::presence::PresenceChange;
use crate::client::session::request::UserRequest;
use crate::client::session::update::{MissedCount, SessionUpdate};
use crate::protocol::server_line::{Messages, PrivateLine, Said, ServerLine};
use serde_json::json;
use std::collections::BTreeSet;

/// Last sentence of a stopping server, as clients of the basic dialect get it.
const SHUTTING_DOWN: &str = "The server is shutting down";
const REPLACED: &str = "Another connection has taken over your session";
const NO_MESSAGES: &str = "No messages yet";

#[derive(Debug)]
pub(crate) struct Formatter {
    is_json: bool,
    /// Lower-case names of ignored users.
    ignored: BTreeSet<String>,
    /// Sender of the last private message.
    pub(crate) last_private: Option<String>,
    messages: u64,
    max_messages: u64,
    /// Number of expected user lists that only feed completion.
    hidden_user_lists: usize,
    /// Ignored names to look for in the next of those lists.
    unseen: Vec<String>,
    own_name: Option<String>,
}

impl Formatter {
    pub(crate) fn new(is_json: bool, max_messages: u64) -> Self {
        Formatter {
            is_json,
            ignored: BTreeSet::new(),
            last_private: None,
            messages: 0,
            max_messages,
            hidden_user_lists: 0,
            unseen: Vec::new(),
            own_name: None,
        }
    }

    /// Returns whether as many messages as wanted were shown.
    pub(crate) fn is_done(&self) -> bool {
        self.messages >= self.max_messages
    }

    /// Expects a user list that is not shown, and only feeds completion.
    pub(crate) fn expect_hidden_list(&mut self) {
        self.hidden_user_lists += 1;
    }

    /// Expects a user list that is not shown; tells the user if it lacks this name.
    pub(crate) fn check_is_here(&mut self, name: String) {
        self.hidden_user_lists += 1;
        self.unseen.push(name);
    }

    /// Expects none of these lists any more, because the connection is lost.
    pub(crate) fn forget_lists(&mut self) {
        self.hidden_user_lists = 0;
        self.unseen.clear();
    }

    /// Hides or shows the messages of a user; returns whether that is a change.
    pub(crate) fn set_ignored(&mut self, name: &str, is_ignored: bool) -> bool {
        let name = name.to_lowercase();
        match is_ignored {
            true => self.ignored.insert(name),
            false => self.ignored.remove(&name),
        }
    }

    /// Returns what to show of updates to the user with this name.
    pub(crate) fn format(
        &mut self,
        updates: Vec<SessionUpdate>,
        own_name: Option<&str>,
    ) -> Vec<OutputItem> {
        let mut items = Vec::new();
        if own_name.is_some() && own_name != self.own_name.as_deref() {
            self.own_name = own_name.map(str::to_owned);
            items.extend(self.own_name.clone().map(OutputItem::OwnName));
        }
        for update in updates {
            if self.is_done() {
                break;
            }
            match update {
                SessionUpdate::Line(line, _) if !self.admit(&line) => {}
                update if self.is_json => self.add_json(update, &mut items),
                update => self.add_items(update, &mut items),
            }
        }
        items
    }

    /// Counts a message; returns false if the user ignores its sender.
    fn admit(&mut self, line: &ServerLine) -> bool {
        match line {
            ServerLine::Message(message) if self.is_ignored(&message.source) => return false,
            ServerLine::Message(message) if message.source != SERVER_SOURCE => self.messages += 1,
            ServerLine::Private(private) if self.is_ignored(&private.source) => return false,
            ServerLine::Private(private) => {
                if !self.is_own(private) {
                    self.last_private = Some(private.source.clone());
                }
                self.messages += 1;
            }
            _ => {}
        }
        true
    }

    fn is_own(&self, private: &PrivateLine) -> bool {
        self.own_name.as_ref() == Some(&private.source)
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

    fn add_items(&mut self, update: SessionUpdate, items: &mut Vec<OutputItem>) {
        let notice = match update {
            SessionUpdate::Line(line, _) => return self.add_line_items(line, items),
            SessionUpdate::Found(page, query, _) => return self.add_found(page, query, items),
            SessionUpdate::Welcome { .. } => return,
            SessionUpdate::Recovered(missed) => recovered_sentence(missed),
            SessionUpdate::Gap { after, oldest } => gap_sentence(after, oldest),
            SessionUpdate::Truncated { messages } => format!(
                "Only the newest {messages} messages are shown; --json and history requests get older ones"
            ),
            SessionUpdate::Unconfirmed { request, .. } => format!(
                "The server does not know your session, so this is not sent again; it may have been said: {}",
                request.as_typed()
            ),
            SessionUpdate::Unsupported(sentence) | SessionUpdate::Waiting(sentence) => sentence,
        };
        items.push(OutputItem::Notice(notice));
    }

    fn add_line_items(&mut self, line: ServerLine, items: &mut Vec<OutputItem>) {
        let server = |sentence: &str| OutputItem::Server(sentence.to_owned());
        let presence = |change, time| OutputItem::Presence(change, Some(time));
        let item = match line {
            ServerLine::Message(message) if message.source == SERVER_SOURCE => {
                match PresenceChange::from_sentence(&message.message) {
                    Some(change) => OutputItem::Presence(change, None),
                    None => OutputItem::Server(message.message),
                }
            }
            ServerLine::Message(message) => message_item(message, false),
            ServerLine::Joined(user) => presence(PresenceChange::Entered(user.name), user.time),
            ServerLine::Left(user) => presence(PresenceChange::Left(user.name), user.time),
            ServerLine::Renamed(user) => {
                presence(PresenceChange::Renamed(user.name, user.new_name), user.time)
            }
            ServerLine::Private(private) => OutputItem::Message(OutputMessage {
                kind: match self.is_own(&private) {
                    true => MessageKind::PrivateTo(private.target),
                    false => MessageKind::PrivateFrom,
                },
                source: private.source,
                text: private.message,
                time: Some(private.time),
                is_replay: false,
            }),
            ServerLine::Users(users) => {
                let names: Vec<String> = users.into_iter().map(|user| user.name).collect();
                let sentence = format!("Connected users ({}): {}", names.len(), names.join(", "));
                for name in self.unseen.drain(..) {
                    let folded = name.to_lowercase();
                    if !names.iter().any(|other| other.to_lowercase() == folded) {
                        items.push(OutputItem::Notice(format!(
                            "No user named {} is here; the name stays ignored",
                            quoted(&name)
                        )));
                    }
                }
                items.push(OutputItem::PresentUsers(names));
                if self.hidden_user_lists > 0 {
                    self.hidden_user_lists -= 1;
                    return;
                }
                OutputItem::Server(sentence)
            }
            ServerLine::History(page) if page.messages.is_empty() => server(NO_MESSAGES),
            ServerLine::History(page) => {
                let heading = |count| match count {
                    1 => "last message".to_owned(),
                    count => format!("last {count} messages"),
                };
                return self.add_page(page.messages, heading, "end of the history", items);
            }
            ServerLine::Notice(notice) => OutputItem::Server(notice.message),
            ServerLine::Error(error) => OutputItem::Server(error.message),
            ServerLine::Bye(bye) if bye.reason == "shutdown" => server(SHUTTING_DOWN),
            ServerLine::Bye(bye) if bye.reason == "replaced" => server(REPLACED),
            ServerLine::Bye(_)
            | ServerLine::Ack(_)
            | ServerLine::Search(_)
            | ServerLine::Welcome(_)
            | ServerLine::Pong(_) => return,
        };
        items.push(item);
    }

    fn add_found(
        &mut self,
        mut page: Messages,
        query: Option<String>,
        items: &mut Vec<OutputItem>,
    ) {
        let query = query.map_or_else(String::new, |query| format!(" for {}", quoted(&query)));
        if page.messages.is_empty() {
            let sentence = format!("Nothing was found{query}");
            return items.push(OutputItem::Server(sentence));
        }
        let more = match page.more {
            true => ", the newest of more",
            false => "",
        };
        let heading = |count| match count {
            1 => format!("1 message found{query}{more}"),
            count => format!("{count} messages found{query}{more}"),
        };
        // The server lists the newest message first.
        page.messages.reverse();
        self.add_page(page.messages, heading, "end of the search", items);
    }

    /// Adds the messages of a reply between a heading, which names their number, and an end.
    fn add_page(
        &mut self,
        messages: Vec<Said>,
        heading: impl Fn(usize) -> String,
        end: &str,
        items: &mut Vec<OutputItem>,
    ) {
        let messages = self.admit_page(messages);
        items.push(OutputItem::ReplyBorder(heading(messages.len())));
        let messages = messages.into_iter();
        items.extend(messages.map(|message| message_item(message, true)));
        items.push(OutputItem::ReplyBorder(end.to_owned()));
    }

    /// Appends the line of the server, or an object of the same shape.
    fn add_json(&mut self, update: SessionUpdate, items: &mut Vec<OutputItem>) {
        let mut add = |line: &str| {
            let safe = json_for_terminal(line).into_owned();
            items.push(OutputItem::Line(safe));
        };
        let (kind, data) = match update {
            // A replay that the session assembled from pages.
            SessionUpdate::Line(ServerLine::History(page), raw) if raw.is_empty() => {
                for message in self.admit_page(page.messages) {
                    add(&json_line("message", message_data(&message)));
                }
                return;
            }
            // A server sends sentences instead of types until it knows the dialect of the client.
            SessionUpdate::Line(ServerLine::Message(message), raw)
                if message.source == SERVER_SOURCE && message.id.is_none() =>
            {
                match PresenceChange::from_sentence(&message.message) {
                    // The user's own arrival is the next `connected`.
                    Some(PresenceChange::Entered(_)) if raw.ends_with(b" ") => return,
                    Some(PresenceChange::Entered(name)) => ("joined", json!({ "name": name })),
                    Some(PresenceChange::Left(name)) => ("left", json!({ "name": name })),
                    Some(PresenceChange::Renamed(old, new)) => {
                        ("renamed", json!({ "name": old, "new_name": new }))
                    }
                    None => ("notice", json!({ "message": message.message })),
                }
            }
            SessionUpdate::Line(line, raw) => {
                add(String::from_utf8_lossy(&raw).trim_ascii_end());
                if let ServerLine::History(page) = line {
                    self.admit_page(page.messages);
                }
                return;
            }
            SessionUpdate::Found(page, _, raw) => {
                add(String::from_utf8_lossy(&raw).trim_ascii_end());
                self.admit_page(page.messages);
                return;
            }
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
            SessionUpdate::Unconfirmed { request, nonce } => {
                ("unconfirmed", unconfirmed_data(request, nonce.as_ref()))
            }
            SessionUpdate::Waiting(sentence) => ("waiting", json!({ "message": sentence })),
            SessionUpdate::Unsupported(sentence) => ("impossible", json!({ "message": sentence })),
        };
        add(&json_line(kind, data));
    }
}

fn message_item(message: Said, is_replay: bool) -> OutputItem {
    OutputItem::Message(OutputMessage {
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

/// Returns the data of the line that would send the request again.
fn unconfirmed_data(request: UserRequest, nonce: Option<&Nonce>) -> serde_json::Value {
    let mut data = match request {
        UserRequest::Private { target, text } => json!({ "target": target, "message": text }),
        UserRequest::Say { text, action: true } => json!({ "message": text, "action": true }),
        UserRequest::Say { text, .. } => json!({ "message": text }),
        _ => json!({}),
    };
    if let Some(nonce) = nonce {
        data["nonce"] = nonce.as_str().into();
    }
    data
}

fn message_data(message: &Said) -> serde_json::Value {
    let mut data = json!({
        "id": message.id,
        "time": message.time.map(|time| format!("{time:.3}")),
        "source": message.source,
        "message": message.message,
    });
    if message.action {
        data["action"] = true.into();
    }
    data
}

#[cfg(test)]
mod tests;
