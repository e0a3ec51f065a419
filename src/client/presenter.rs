//! The presenter: what news look like where no terminal draws them.
//!
//! What lives here: [`Presenter`], which makes lines of news: `SOURCE: MESSAGE` for people and
//! simple programs, the same whatever the dialect, or JSON for programs that want more. The
//! client's loop uses it. It must never let a stranger's text through as anything but text, and
//! never show a secret.

use crate::client::session::{Missed, News};
use crate::protocol::SERVER_SOURCE;
use crate::protocol::basic::{entered, left, renamed};
use crate::protocol::client::{Heard, Said};
use crate::render::{Style, chat_line};
use crate::text::json_for_terminal;
use std::collections::BTreeSet;

/// The last sentence of a server that stops, as clients of the basic dialect get it.
const SHUTTING_DOWN: &str = "The server is shutting down";

/// How news are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `SOURCE: MESSAGE` lines.
    Lines(Style),
    /// One JSON object a line.
    Json,
}

/// What came of some news.
#[derive(Debug, Default)]
pub struct Shown {
    /// Lines for standard output, each with its newline.
    pub lines: String,
    /// Sentences for the user, beside the chat.
    pub told: Vec<String>,
}

/// Makes lines of news.
#[derive(Debug)]
pub struct Presenter {
    form: Form,
    /// Names, in lower case, of those who are not shown.
    ignored: BTreeSet<String>,
    /// Who said something to us alone last.
    last_private: Option<String>,
    messages: u64,
}

impl Presenter {
    /// A presenter of this form.
    pub fn new(form: Form) -> Self {
        Presenter {
            form,
            ignored: BTreeSet::new(),
            last_private: None,
            messages: 0,
        }
    }

    /// Messages of people that were shown.
    pub fn messages(&self) -> u64 {
        self.messages
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

    fn is_ignored(&self, name: &str) -> bool {
        !self.ignored.is_empty() && self.ignored.contains(&name.to_lowercase())
    }

    /// Adds what is to be shown of these news; `own_name` is ours, and `raw` the server's line
    /// where there is one.
    pub fn show(&mut self, news: &News, raw: &[u8], own_name: Option<&str>, shown: &mut Shown) {
        if let News::Heard(heard) = news {
            match heard {
                Heard::Message(said) if self.is_ignored(&said.source) => return,
                Heard::Message(said) if said.source != SERVER_SOURCE => self.messages += 1,
                Heard::Private(private) if self.is_ignored(&private.source) => return,
                Heard::Private(private) => {
                    if own_name != Some(&private.source) {
                        self.last_private = Some(private.source.clone());
                    }
                    self.messages += 1;
                }
                _ => {}
            }
        }
        match self.form {
            Form::Json => json(news, raw, shown),
            Form::Lines(style) => self.lines(news, style, shown),
        }
    }

    fn lines(&self, news: &News, style: Style, shown: &mut Shown) {
        match news {
            News::Heard(heard) => self.heard(heard, style, shown),
            News::Welcome { .. } => {}
            News::Recovered(missed) => shown.told.push(recovered(*missed)),
            News::Gap { after, oldest } => shown.told.push(gap(*after, *oldest)),
            News::Impossible(sentence) => shown.told.push(sentence.clone()),
        }
    }

    fn heard(&self, heard: &Heard, style: Style, shown: &mut Shown) {
        let lines = &mut shown.lines;
        let mut server = |sentence: &str| chat_line(lines, SERVER_SOURCE, sentence, style);
        match heard {
            Heard::Message(message) => said(lines, message, style),
            Heard::Joined(presence) => server(&entered(&presence.name)),
            Heard::Left(presence) => server(&left(&presence.name)),
            Heard::Renamed(change) => server(&renamed(&change.name, &change.new_name)),
            Heard::Private(private) => {
                let source = format!("{} (private)", private.source);
                chat_line(lines, &source, &private.message, style);
            }
            Heard::Users(users) => {
                let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
                server(&format!(
                    "Connected users ({}): {}",
                    names.len(),
                    names.join(", ")
                ));
            }
            Heard::History(page) if page.messages.is_empty() => server("No messages yet"),
            Heard::Search(page) if page.messages.is_empty() => server("Nothing was found"),
            Heard::History(page) => self.page(page.messages.iter(), style, lines),
            // The newest stands last, as everywhere.
            Heard::Search(page) => self.page(page.messages.iter().rev(), style, lines),
            Heard::Notice(notice) => server(&notice.message),
            Heard::Error(refused) => server(&refused.message),
            Heard::Bye(bye) if bye.reason == "shutdown" => server(SHUTTING_DOWN),
            Heard::Bye(_) | Heard::Ack(_) | Heard::Welcome(_) | Heard::Pong(_) => {}
        }
    }

    fn page<'a>(&self, messages: impl Iterator<Item = &'a Said>, style: Style, lines: &mut String) {
        for message in messages.filter(|message| !self.is_ignored(&message.source)) {
            said(lines, message, style);
        }
    }
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

/// The server's own line, or one of the same shape.
fn json(news: &News, raw: &[u8], shown: &mut Shown) {
    let own = |kind: &str, data: serde_json::Value| {
        serde_json::json!({ "type": kind, "data": data }).to_string()
    };
    let line = match news {
        News::Heard(_) => String::from_utf8_lossy(raw).trim_end().to_owned(),
        News::Welcome { name } => own("connected", serde_json::json!({ "name": name })),
        News::Recovered(Missed::Messages(count)) => own(
            "recovered",
            serde_json::json!({ "complete": true, "messages": count }),
        ),
        News::Recovered(Missed::Events(count)) => own(
            "recovered",
            serde_json::json!({ "complete": true, "events": count }),
        ),
        News::Gap { after, oldest } => own(
            "recovered",
            serde_json::json!({ "complete": false, "after": after, "oldest": oldest }),
        ),
        News::Impossible(sentence) => own("impossible", serde_json::json!({ "message": sentence })),
    };
    shown.lines.push_str(&json_for_terminal(&line));
    shown.lines.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::client::decode;

    fn shown(presenter: &mut Presenter, line: &str) -> String {
        let heard = decode(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
        let mut shown = Shown::default();
        presenter.show(&News::Heard(heard), line.as_bytes(), Some("me"), &mut shown);
        assert_eq!(shown.told, [""; 0]);
        shown.lines
    }

    #[test]
    fn both_dialects_look_the_same() {
        let mut presenter = Presenter::new(Form::Lines(Style::Plain));
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
        assert_eq!(presenter.messages(), 4);
        assert_eq!(presenter.last_private(), Some("al"));
    }

    #[test]
    fn who_is_ignored_is_not_shown() {
        let mut presenter = Presenter::new(Form::Lines(Style::Plain));
        let line = r#"{"type":"message","data":{"source":"Al","message":"x"}}"#;
        assert!(presenter.ignore("aL", true));
        assert!(!presenter.ignore("al", true));
        assert_eq!(shown(&mut presenter, line), "");
        assert!(presenter.ignore("AL", false));
        assert!(!presenter.ignore("AL", false));
        assert_eq!(shown(&mut presenter, line), "Al: x\n");
        assert_eq!(presenter.messages(), 1);
    }

    #[test]
    fn json_is_the_servers_own_and_no_secret_is_shown() {
        let mut presenter = Presenter::new(Form::Json);
        let line = r#"{"type":"weather","data":{"é":"x"},"type":"message","data":{"source":"a","message":"\u001b"}}"#;
        assert!(decode(line.as_bytes()).is_none());
        let line = "{\"type\":\"message\",\"data\":{\"source\":\"a\",\"message\":\"\u{9b}2J \u{202e}é\"}} ";
        assert_eq!(
            shown(&mut presenter, line),
            "{\"type\":\"message\",\"data\":{\"source\":\"a\",\"message\":\"\\u009b2J \\u202eé\"}}\n"
        );
        let mut told = Shown::default();
        for news in [
            News::Welcome { name: "al".into() },
            News::Recovered(Missed::Messages(3)),
            News::Gap {
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
