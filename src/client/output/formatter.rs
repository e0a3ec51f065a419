//! The presenter: what is shown of the news.
//!
//! What lives here: [`Presenter`], which makes lines of news: `SOURCE: MESSAGE` for people and
//! simple programs, the same whatever the dialect, or JSON for programs that want more; for a
//! terminal it makes items, which the view draws. The client's loop uses it. It must never let a stranger's text through as anything but text, and
//! never show a secret.

use crate::chat::SERVER_SOURCE;
use crate::chat::sanitize::json_for_terminal;
use crate::cli::style::{Style, chat_line};
use crate::client::output::presence::Change;
use crate::client::session::update::{Missed, SessionUpdate};
use crate::client::terminal::view::{Line, Manner, ViewItem};
use crate::protocol::basic::{entered, left, renamed};
use crate::protocol::server_line::{Present, Said, ServerLine};
use std::collections::BTreeSet;

/// The last sentence of a server that stops, as clients of the basic dialect get it.
const SHUTTING_DOWN: &str = "The server is shutting down";
const NO_MESSAGES: &str = "No messages yet";
const NOTHING_FOUND: &str = "Nothing was found";

/// How news are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// `SOURCE: MESSAGE` lines.
    Lines(Style),
    /// One JSON object a line.
    Json,
    /// Items for a view.
    Items,
}

/// What came of some news.
#[derive(Debug, Default)]
pub struct Output {
    /// Lines for standard output, each with its newline.
    pub lines: String,
    /// Sentences for the user, beside the chat.
    pub told: Vec<String>,
    /// What a view draws.
    pub items: Vec<ViewItem>,
}

/// Makes lines of news.
#[derive(Debug)]
pub struct Presenter {
    form: OutputFormat,
    /// Names, in lower case, of those who are not shown.
    ignored: BTreeSet<String>,
    /// Who said something to us alone last.
    last_private: Option<String>,
    messages: u64,
    /// Messages after which nothing more is shown.
    enough: u64,
    /// Lists of users that were asked for to know the names only.
    silent_lists: usize,
    /// Our name, as the view knows it.
    own_name: Option<String>,
}

impl Presenter {
    /// A presenter of this form, which shows nothing more after so many messages.
    pub fn new(form: OutputFormat, enough: u64) -> Self {
        Presenter {
            form,
            ignored: BTreeSet::new(),
            last_private: None,
            messages: 0,
            enough,
            silent_lists: 0,
            own_name: None,
        }
    }

    /// Whether as many messages as are wanted were shown.
    pub fn has_enough(&self) -> bool {
        self.messages >= self.enough
    }

    /// Who said something to us alone last.
    pub fn last_private(&self) -> Option<&str> {
        self.last_private.as_deref()
    }

    /// Shows nothing more of this user, or shows it again; false if that is so already.
    pub fn ignore(&mut self, name: &str, ignored: bool) -> bool {
        let name = name.to_lowercase();
        match ignored {
            true => self.ignored.insert(name),
            false => self.ignored.remove(&name),
        }
    }

    /// The next list of users is not shown, only noted: the view asks for it.
    pub fn expect_silent_list(&mut self) {
        self.silent_lists += 1;
    }

    /// There is another connection: what was asked over the last is not answered any more.
    pub fn forget_lists(&mut self) {
        self.silent_lists = 0;
    }

    fn is_ignored(&self, name: &str) -> bool {
        !self.ignored.is_empty() && self.ignored.contains(&name.to_lowercase())
    }

    /// Adds what is to be shown of these news; `own_name` is ours, and `raw` the server's line
    /// where there is one.
    pub fn show(
        &mut self,
        news: &SessionUpdate,
        raw: &[u8],
        own_name: Option<&str>,
        shown: &mut Output,
    ) {
        if self.has_enough() {
            return;
        }
        if let SessionUpdate::Heard(heard) = news {
            match heard {
                ServerLine::Message(said) if self.is_ignored(&said.source) => return,
                ServerLine::Message(said) if said.source != SERVER_SOURCE => self.messages += 1,
                ServerLine::Private(private) if self.is_ignored(&private.source) => return,
                ServerLine::Private(private) => {
                    if own_name != Some(&private.source) {
                        self.last_private = Some(private.source.clone());
                    }
                    self.messages += 1;
                }
                _ => {}
            }
        }
        match self.form {
            OutputFormat::Json => self.json(news, raw, shown),
            OutputFormat::Lines(style) => self.lines(news, style, shown),
            OutputFormat::Items => self.items(news, own_name, &mut shown.items),
        }
        if let SessionUpdate::Heard(ServerLine::History(page) | ServerLine::Search(page)) = news {
            self.messages += self.wanted(page.messages.iter()).count() as u64;
        }
    }

    /// Those of a page that are shown.
    fn wanted<'a>(
        &self,
        messages: impl Iterator<Item = &'a Said>,
    ) -> impl Iterator<Item = &'a Said> {
        let room = usize::try_from(self.enough - self.messages).unwrap_or(usize::MAX);
        messages
            .filter(|message| !self.is_ignored(&message.source))
            .take(room)
    }

    fn lines(&self, news: &SessionUpdate, style: Style, shown: &mut Output) {
        match news {
            SessionUpdate::Heard(heard) => self.heard(heard, style, shown),
            SessionUpdate::Welcome { .. } => {}
            SessionUpdate::Recovered(missed) => shown.told.push(recovered(*missed)),
            SessionUpdate::Gap { after, oldest } => shown.told.push(gap(*after, *oldest)),
            SessionUpdate::Cut { messages } => shown.told.push(cut(*messages)),
            SessionUpdate::Impossible(sentence) => shown.told.push(sentence.clone()),
        }
    }

    fn heard(&self, heard: &ServerLine, style: Style, shown: &mut Output) {
        let lines = &mut shown.lines;
        let mut server = |sentence: &str| chat_line(lines, SERVER_SOURCE, sentence, style);
        match heard {
            ServerLine::Message(message) => said(lines, message, style),
            ServerLine::Joined(presence) => server(&entered(&presence.name)),
            ServerLine::Left(presence) => server(&left(&presence.name)),
            ServerLine::Renamed(change) => server(&renamed(&change.name, &change.new_name)),
            ServerLine::Private(private) => {
                let source = format!("{} (private)", private.source);
                chat_line(lines, &source, &private.message, style);
            }
            ServerLine::Users(users) => server(&users_sentence(users)),
            ServerLine::History(page) if page.messages.is_empty() => server(NO_MESSAGES),
            ServerLine::Search(page) if page.messages.is_empty() => server(NOTHING_FOUND),
            ServerLine::History(page) => self.page(page.messages.iter(), style, lines),
            // The newest stands last, as everywhere.
            ServerLine::Search(page) => self.page(page.messages.iter().rev(), style, lines),
            ServerLine::Notice(notice) => server(&notice.message),
            ServerLine::Error(refused) => server(&refused.message),
            ServerLine::Bye(bye) if bye.reason == "shutdown" => server(SHUTTING_DOWN),
            ServerLine::Bye(_)
            | ServerLine::Ack(_)
            | ServerLine::Welcome(_)
            | ServerLine::Pong(_) => {}
        }
    }

    fn page<'a>(&self, messages: impl Iterator<Item = &'a Said>, style: Style, lines: &mut String) {
        for message in self.wanted(messages) {
            said(lines, message, style);
        }
    }

    /// The server's own line, or one of the same shape.
    fn json(&self, news: &SessionUpdate, raw: &[u8], shown: &mut Output) {
        let mut line = |line: &str| {
            shown.lines.push_str(&json_for_terminal(line));
            shown.lines.push('\n');
        };
        match news {
            // The past, which came in pages.
            SessionUpdate::Heard(ServerLine::History(page)) if raw.is_empty() => {
                for message in self.wanted(page.messages.iter()) {
                    line(&replayed_json(message));
                }
            }
            SessionUpdate::Heard(_) => match std::str::from_utf8(raw) {
                Ok(text) => line(text.trim_ascii_end()),
                Err(_) => line(String::from_utf8_lossy(raw).trim_ascii_end()),
            },
            _ => line(&own_json(news)),
        }
    }
}

/// For a terminal.
impl Presenter {
    fn items(&mut self, news: &SessionUpdate, own_name: Option<&str>, items: &mut Vec<ViewItem>) {
        if let (Some(name), true) = (own_name, own_name != self.own_name.as_deref()) {
            self.is_called(name, items);
        }
        match news {
            SessionUpdate::Heard(heard) => self.heard_items(heard, own_name, items),
            SessionUpdate::Welcome { name } => self.is_called(name, items),
            SessionUpdate::Recovered(missed) => items.push(ViewItem::Told(recovered(*missed))),
            SessionUpdate::Gap { after, oldest } => {
                items.push(ViewItem::Told(gap(*after, *oldest)))
            }
            SessionUpdate::Cut { messages } => items.push(ViewItem::Told(cut(*messages))),
            SessionUpdate::Impossible(sentence) => items.push(ViewItem::Told(sentence.clone())),
        }
    }

    fn is_called(&mut self, name: &str, items: &mut Vec<ViewItem>) {
        self.own_name = Some(name.to_owned());
        items.push(ViewItem::OwnName(name.to_owned()));
    }

    fn heard_items(
        &mut self,
        heard: &ServerLine,
        own_name: Option<&str>,
        items: &mut Vec<ViewItem>,
    ) {
        let server = |sentence: &str| ViewItem::Server(sentence.to_owned());
        let change = |change, time| ViewItem::Change(change, Some(time));
        let item = match heard {
            ServerLine::Message(message) if message.source == SERVER_SOURCE => {
                server(&message.message)
            }
            ServerLine::Message(message) => item_of(message, false),
            ServerLine::Joined(who) => change(Change::Entered(who.name.clone()), who.time),
            ServerLine::Left(who) => change(Change::Left(who.name.clone()), who.time),
            ServerLine::Renamed(who) => {
                let renamed = Change::Renamed(who.name.clone(), who.new_name.clone());
                change(renamed, who.time)
            }
            ServerLine::Private(private) => ViewItem::Said(Line {
                source: private.source.clone(),
                text: private.message.clone(),
                time: Some(private.time),
                manner: match own_name == Some(&private.source) {
                    true => Manner::PrivateTo(private.target.clone()),
                    false => Manner::PrivateFrom,
                },
                is_replay: false,
            }),
            ServerLine::Users(users) => {
                let names = users.iter().map(|user| user.name.clone());
                items.push(ViewItem::Present(names.collect()));
                if self.silent_lists > 0 {
                    self.silent_lists -= 1;
                    return;
                }
                server(&users_sentence(users))
            }
            ServerLine::History(page) if page.messages.is_empty() => server(NO_MESSAGES),
            ServerLine::Search(page) if page.messages.is_empty() => server(NOTHING_FOUND),
            ServerLine::History(page) => {
                items.extend(self.replay(page.messages.iter()));
                return;
            }
            ServerLine::Search(page) => {
                items.extend(self.replay(page.messages.iter().rev()));
                return;
            }
            ServerLine::Notice(notice) => server(&notice.message),
            ServerLine::Error(refused) => server(&refused.message),
            ServerLine::Bye(bye) if bye.reason == "shutdown" => server(SHUTTING_DOWN),
            ServerLine::Bye(_)
            | ServerLine::Ack(_)
            | ServerLine::Welcome(_)
            | ServerLine::Pong(_) => return,
        };
        items.push(item);
    }

    fn replay<'a>(
        &self,
        messages: impl Iterator<Item = &'a Said>,
    ) -> impl Iterator<Item = ViewItem> {
        self.wanted(messages).map(|message| item_of(message, true))
    }
}

fn item_of(message: &Said, is_replay: bool) -> ViewItem {
    ViewItem::Said(Line {
        source: message.source.clone(),
        text: message.message.clone(),
        time: message.time,
        manner: match message.action {
            true => Manner::Done,
            false => Manner::Said,
        },
        is_replay,
    })
}

fn users_sentence(users: &[Present]) -> String {
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    format!("Connected users ({}): {}", names.len(), names.join(", "))
}

fn said(lines: &mut String, message: &Said, style: Style) {
    if message.action {
        let text = format!("* {}", message.message);
        chat_line(lines, &message.source, &text, style);
    } else {
        chat_line(lines, &message.source, &message.message, style);
    }
}

/// What is told after a break.
fn recovered(missed: Missed) -> String {
    match missed {
        Missed::Messages(0) => "connected again; no message was missed".to_owned(),
        Missed::Messages(1) => "missed 1 message, recovered".to_owned(),
        Missed::Messages(count) => format!("missed {count} messages, all recovered"),
        Missed::Events(count) => format!("missed {count} events, all recovered"),
    }
}

fn gap(after: Option<u64>, oldest: u64) -> String {
    match after {
        Some(after) => format!(
            "missed more than the server keeps: {} events could not be recovered",
            oldest.saturating_sub(after + 1)
        ),
        None => "the server has started anew and lost its past; what was said meanwhile could not be recovered".to_owned(),
    }
}

fn cut(messages: usize) -> String {
    format!(
        "There is more than these {messages} messages; --json and history requests get older ones"
    )
}

fn json_line(kind: &str, data: serde_json::Value) -> String {
    serde_json::json!({ "type": kind, "data": data }).to_string()
}

/// A message of the past as it was said.
fn replayed_json(message: &Said) -> String {
    let mut data = serde_json::json!({
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

/// News that are no line of the server, in the shape of one.
fn own_json(news: &SessionUpdate) -> String {
    use serde_json::json;
    match news {
        // The line itself is shown.
        SessionUpdate::Heard(_) => String::new(),
        SessionUpdate::Welcome { name } => json_line("connected", json!({ "name": name })),
        SessionUpdate::Recovered(Missed::Messages(count)) => {
            json_line("recovered", json!({ "complete": true, "messages": count }))
        }
        SessionUpdate::Recovered(Missed::Events(count)) => {
            json_line("recovered", json!({ "complete": true, "events": count }))
        }
        SessionUpdate::Gap { after, oldest } => json_line(
            "recovered",
            json!({ "complete": false, "after": after, "oldest": oldest }),
        ),
        SessionUpdate::Cut { messages } => json_line("cut", json!({ "messages": messages })),
        SessionUpdate::Impossible(sentence) => {
            json_line("impossible", json!({ "message": sentence }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::server_line::{Messages, decode};

    fn shown(presenter: &mut Presenter, line: &str) -> String {
        let heard = decode(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        let mut shown = Output::default();
        presenter.show(
            &SessionUpdate::Heard(heard),
            line.as_bytes(),
            Some("me"),
            &mut shown,
        );
        assert_eq!(shown.told, [""; 0]);
        shown.lines
    }

    #[test]
    fn both_dialects_look_the_same() {
        let mut presenter = Presenter::new(OutputFormat::Lines(Style::Plain), u64::MAX);
        let numbered = r#""id":1,"time":"2026-01-31T12:00:00.000Z""#;
        let said = |text: &str, more: &str| {
            format!(r#"{{{numbered},"source":"al","message":"{text}"{more}}}"#)
        };
        let line = |kind: &str, data: &str| format!(r#"{{"type":"{kind}","data":{data}}}"#);
        for (kind, data, expected) in [
            (
                "message",
                r#"{"source":"al","message":"a"}"#.to_owned(),
                "al: a\n",
            ),
            ("message", said("a\\nb\\u001b", ""), "al: a ↵ b\u{fffd}\n"),
            (
                "message",
                said("waves", r#","action":true"#),
                "al: * waves\n",
            ),
            (
                "joined",
                format!(r#"{{{numbered},"name":"al"}}"#),
                "[Server]: al has entered the chat\n",
            ),
            (
                "left",
                format!(r#"{{{numbered},"name":"al","reason":"quit"}}"#),
                "[Server]: al has left the chat\n",
            ),
            (
                "renamed",
                format!(r#"{{{numbered},"name":"al","new_name":"bo"}}"#),
                "[Server]: al renamed to bo\n",
            ),
            (
                "private",
                r#"{"time":"2026-01-31T12:00:00Z","source":"al","target":"me","message":"x"}"#
                    .to_owned(),
                "al (private): x\n",
            ),
            (
                "users",
                r#"[{"name":"al","since":"x"},{"name":"bo"}]"#.to_owned(),
                "[Server]: Connected users (2): al, bo\n",
            ),
            (
                "history",
                r#"{"messages":[],"more":false}"#.to_owned(),
                "[Server]: No messages yet\n",
            ),
            (
                "history",
                format!(
                    r#"{{"messages":[{},{}],"more":true}}"#,
                    said("a", ""),
                    said("b", "")
                ),
                "al: a\nal: b\n",
            ),
            (
                "search",
                format!(
                    r#"{{"messages":[{},{}],"more":true}}"#,
                    said("b", ""),
                    said("a", "")
                ),
                "al: a\nal: b\n",
            ),
            (
                "search",
                r#"{"messages":[],"more":false}"#.to_owned(),
                "[Server]: Nothing was found\n",
            ),
            ("notice", r#"{"message":"n"}"#.to_owned(), "[Server]: n\n"),
            (
                "error",
                r#"{"code":"x","message":"e"}"#.to_owned(),
                "[Server]: e\n",
            ),
            (
                "bye",
                r#"{"reason":"shutdown","reconnect":true}"#.to_owned(),
                "[Server]: The server is shutting down\n",
            ),
            ("ack", r#"{"nonce":"n","id":1}"#.to_owned(), ""),
        ] {
            assert_eq!(
                shown(&mut presenter, &line(kind, &data)),
                expected,
                "{kind} {data}"
            );
        }
        // Three messages, one for us alone, and two pages of two.
        assert_eq!(presenter.messages, 8);
        assert_eq!(presenter.last_private(), Some("al"));
    }

    #[test]
    fn a_terminal_gets_items() {
        let mut presenter = Presenter::new(OutputFormat::Items, u64::MAX);
        let mut items = |line: &str| {
            let mut shown = Output::default();
            let heard = decode(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            presenter.show(
                &SessionUpdate::Heard(heard),
                line.as_bytes(),
                Some("me"),
                &mut shown,
            );
            assert!(shown.lines.is_empty() && shown.told.is_empty());
            shown.items
        };
        let message = r#"{"type":"message","data":{"source":"al","message":"x"}}"#;
        let line = Line {
            source: "al".into(),
            text: "x".into(),
            time: None,
            manner: Manner::Said,
            is_replay: false,
        };
        let own_name = ViewItem::OwnName("me".into());
        assert_eq!(items(message), [own_name, ViewItem::Said(line.clone())]);
        let server = r#"{"type":"message","data":{"source":"[Server]","message":"x"}}"#;
        assert_eq!(items(server), [ViewItem::Server("x".into())]);
        let private = |source| {
            format!(
                r#"{{"type":"private","data":{{"time":"1970-01-01T00:00:00Z","source":"{source}","target":"bo","message":"x"}}}}"#
            )
        };
        let time = Some(jiff::Timestamp::UNIX_EPOCH);
        let manner = Manner::PrivateTo("bo".into());
        let from_me = Line {
            source: "me".into(),
            time,
            manner,
            ..line.clone()
        };
        assert_eq!(items(&private("me")), [ViewItem::Said(from_me)]);
        let to_me = Line {
            time,
            manner: Manner::PrivateFrom,
            ..line.clone()
        };
        assert_eq!(items(&private("al")), [ViewItem::Said(to_me)]);
        let page = r#"{"type":"history","data":{"messages":[{"source":"al","message":"x"}],"more":false}}"#;
        let replayed = Line {
            is_replay: true,
            ..line
        };
        assert_eq!(items(page), [ViewItem::Said(replayed)]);
    }

    #[test]
    fn nothing_is_shown_beyond_what_is_enough() {
        let mut presenter = Presenter::new(OutputFormat::Lines(Style::Plain), 3);
        let message = r#"{"type":"message","data":{"source":"al","message":"x"}}"#;
        assert_eq!(shown(&mut presenter, message), "al: x\n");
        let said = |source| format!(r#"{{"source":"{source}","message":"x"}}"#);
        let page = format!(
            r#"{{"type":"history","data":{{"messages":[{},{},{}],"more":false}}}}"#,
            said("a"),
            said("b"),
            said("c")
        );
        assert!(!presenter.has_enough());
        assert_eq!(shown(&mut presenter, &page), "a: x\nb: x\n");
        assert!(presenter.has_enough());
        assert_eq!(shown(&mut presenter, message), "");
    }

    #[test]
    fn a_list_of_users_that_nobody_asked_for_is_only_noted() {
        let mut presenter = Presenter::new(OutputFormat::Items, u64::MAX);
        presenter.expect_silent_list();
        let line = r#"{"type":"users","data":[{"name":"al"}]}"#;
        let present = ViewItem::Present(vec!["al".into()]);
        let mut shown = Output::default();
        let news = SessionUpdate::Heard(decode(line.as_bytes()).unwrap());
        presenter.show(&news, line.as_bytes(), None, &mut shown);
        assert_eq!(shown.items, std::slice::from_ref(&present));
        presenter.show(&news, line.as_bytes(), None, &mut shown);
        let listed = ViewItem::Server("Connected users (1): al".into());
        assert_eq!(shown.items, [present.clone(), present, listed]);
    }

    #[test]
    fn who_is_ignored_is_not_shown() {
        let mut presenter = Presenter::new(OutputFormat::Lines(Style::Plain), u64::MAX);
        let line = r#"{"type":"message","data":{"source":"Al","message":"x"}}"#;
        assert!(presenter.ignore("aL", true));
        assert!(!presenter.ignore("al", true));
        assert_eq!(shown(&mut presenter, line), "");
        assert!(presenter.ignore("AL", false));
        assert!(!presenter.ignore("AL", false));
        assert_eq!(shown(&mut presenter, line), "Al: x\n");
        assert_eq!(presenter.messages, 1);
    }

    #[test]
    fn json_is_the_servers_own_and_no_secret_is_shown() {
        let mut presenter = Presenter::new(OutputFormat::Json, u64::MAX);
        let line = r#"{"type":"weather","data":{"é":"x"},"type":"message","data":{"source":"a","message":"\u001b"}}"#;
        assert!(decode(line.as_bytes()).is_none());
        let line = "{\"type\":\"message\",\"data\":{\"source\":\"a\",\"message\":\"\u{9b}2J \u{202e}é\"}} ";
        assert_eq!(
            shown(&mut presenter, line),
            "{\"type\":\"message\",\"data\":{\"source\":\"a\",\"message\":\"\\u009b2J \\u202eé\"}}\n"
        );
        let mut told = Output::default();
        for news in [
            SessionUpdate::Welcome { name: "al".into() },
            SessionUpdate::Recovered(Missed::Messages(3)),
            SessionUpdate::Gap {
                after: None,
                oldest: 4,
            },
        ] {
            presenter.show(&news, &[], None, &mut told);
        }
        assert_eq!(
            told.lines,
            concat!(
                r#"{"data":{"name":"al"},"type":"connected"}"#,
                "\n",
                r#"{"data":{"complete":true,"messages":3},"type":"recovered"}"#,
                "\n",
                r#"{"data":{"after":null,"complete":false,"oldest":4},"type":"recovered"}"#,
                "\n",
            )
        );
    }

    #[test]
    fn a_replay_is_one_line_of_json_for_each_message() {
        let said = |id: u64, message: &str, action| Said {
            id: Some(id),
            time: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            source: "al".into(),
            message: message.into(),
            action,
        };
        let page = SessionUpdate::Heard(ServerLine::History(Messages {
            messages: vec![
                said(1, "a\nb", false),
                said(2, "waves", true),
                said(3, "c", false),
            ],
            more: false,
        }));
        let mut presenter = Presenter::new(OutputFormat::Json, 2);
        let mut told = Output::default();
        presenter.show(&SessionUpdate::Cut { messages: 3 }, &[], None, &mut told);
        presenter.show(&page, &[], None, &mut told);
        let lines: Vec<serde_json::Value> = told
            .lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let data = serde_json::json!({
            "id": 2, "time": "2026-01-31T12:00:00.000Z", "source": "al", "message": "waves",
            "action": true,
        });
        assert_eq!(lines.len(), 3, "{}", told.lines);
        assert_eq!(
            lines[0],
            serde_json::json!({ "type": "cut", "data": { "messages": 3 } })
        );
        assert_eq!(lines[1]["data"]["message"], "a\nb");
        assert_eq!(
            lines[2],
            serde_json::json!({ "type": "message", "data": data })
        );
        assert!(presenter.has_enough());
    }

    #[test]
    fn what_was_missed_is_one_sentence() {
        assert_eq!(
            recovered(Missed::Messages(312)),
            "missed 312 messages, all recovered"
        );
        for missed in [0, 1] {
            assert!(!recovered(Missed::Messages(missed)).contains("messages"));
        }
        assert!(gap(Some(9), 21).contains("11 events"));
    }
}
