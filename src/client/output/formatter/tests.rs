use super::*;
use crate::cli::style::Style;
use crate::client::output::printer::Printer;
use crate::protocol::server_line::{Messages, decode};

fn format(formatter: &mut Formatter, line: &str) -> Vec<OutputItem> {
    let decoded = decode(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
    let update = SessionUpdate::Line(decoded, line.as_bytes().to_owned());
    let mut items = formatter.format(vec![update], Some("me"));
    items.retain(|item| *item != OutputItem::OwnName("me".into()));
    items
}

/// Returns the lines that a pipe prints.
fn lines(formatter: &mut Formatter, line: &str) -> String {
    let mut lines = String::new();
    for item in format(formatter, line) {
        Printer::new(Style::Plain, None).add_line(item, &mut lines);
    }
    lines
}

fn line(kind: &str, data: &str) -> String {
    format!(r#"{{"type":"{kind}","data":{data}}}"#)
}

#[test]
fn both_dialects_look_the_same() {
    let mut formatter = Formatter::new(false, u64::MAX);
    let numbered = r#""id":1,"time":"2026-01-31T12:00:00.000Z""#;
    let user = |more: &str| format!(r#"{{{numbered},"name":"al"{more}}}"#);
    let said = |text: &str, more: &str| {
        format!(r#"{{{numbered},"source":"al","message":"{text}"{more}}}"#)
    };
    let page =
        |messages: &[String]| format!(r#"{{"messages":[{}],"more":true}}"#, messages.join(","));
    let private = r#"{"time":"2026-01-31T12:00:00Z","source":"al","target":"me","message":"x"}"#;
    let (a, b) = (said("a", ""), said("b", ""));
    for (kind, data, expected) in [
        ("message", r#"{"source":"al","message":"a"}"#, "al: a\n"),
        ("message", &said("a\\nb\\u001b", ""), "al: a ↵ b\u{fffd}\n"),
        (
            "message",
            &said("waves", r#","action":true"#),
            "al: * waves\n",
        ),
        ("joined", &user(""), "[Server]: al has entered the chat\n"),
        (
            "left",
            &user(r#","reason":"quit""#),
            "[Server]: al has left the chat\n",
        ),
        (
            "renamed",
            &user(r#","new_name":"bo""#),
            "[Server]: al renamed to bo\n",
        ),
        ("private", private, "al (private): x\n"),
        (
            "users",
            r#"[{"name":"al","since":"x"},{"name":"bo"}]"#,
            "[Server]: Connected users (2): al, bo\n",
        ),
        ("history", &page(&[]), "[Server]: No messages yet\n"),
        (
            "history",
            &page(&[a, b]),
            "[Server]: ── last 2 messages ──\nal: a\nal: b\n[Server]: ── end of the history ──\n",
        ),
        ("notice", r#"{"message":"n"}"#, "[Server]: n\n"),
        ("error", r#"{"code":"x","message":"e"}"#, "[Server]: e\n"),
        (
            "bye",
            r#"{"reason":"shutdown","reconnect":true}"#,
            "[Server]: The server is shutting down\n",
        ),
        ("ack", r#"{"nonce":"n","id":1}"#, ""),
    ] {
        let shown = lines(&mut formatter, &line(kind, data));
        assert_eq!(shown, expected, "{kind} {data}");
    }
    // Three public messages, a private one, and a page of two.
    assert_eq!(formatter.messages, 6);
    assert_eq!(formatter.last_private.as_deref(), Some("al"));
}

#[test]
fn terminal_gets_the_kind_of_each_message() {
    let mut formatter = Formatter::new(false, u64::MAX);
    let said = r#"{"source":"al","message":"x"}"#;
    let private = |source| {
        let time = "1970-01-01T00:00:00Z";
        line(
            "private",
            &format!(r#"{{"time":"{time}","source":"{source}","target":"bo","message":"x"}}"#),
        )
    };
    let page = format!(r#"{{"messages":[{said}],"more":false}}"#);
    for (line, expected) in [
        (line("message", said), (MessageKind::Public, false)),
        (private("me"), (MessageKind::PrivateTo("bo".into()), false)),
        (private("al"), (MessageKind::PrivateFrom, false)),
        (line("history", &page), (MessageKind::Public, true)),
    ] {
        let items = format(&mut formatter, &line);
        let message = items.iter().find_map(|item| match item {
            OutputItem::Message(message) => Some(message),
            _ => None,
        });
        let message = message.unwrap();
        assert_eq!((message.kind.clone(), message.is_replay), expected);
    }
}

#[test]
fn search_results_repeat_the_query() {
    let said = |text: &str| Said {
        id: None,
        time: None,
        source: "al".into(),
        message: text.into(),
        action: false,
    };
    for (texts, more, query, expected) in [
        (
            &[][..],
            false,
            Some("x"),
            "[Server]: Nothing was found for \"x\"\n",
        ),
        (&[], false, None, "[Server]: Nothing was found\n"),
        (
            &["b", "a"],
            true,
            Some("x y"),
            "[Server]: ── 2 messages found for \"x y\", the newest of more ──\nal: a\nal: b\n\
             [Server]: ── end of the search ──\n",
        ),
    ] {
        let messages = texts.iter().map(|text| said(text)).collect();
        let found = Messages { messages, more };
        let update = SessionUpdate::Found(found, query.map(str::to_owned), Vec::new());
        let mut lines = String::new();
        for item in Formatter::new(false, u64::MAX).format(vec![update], None) {
            Printer::new(Style::Plain, None).add_line(item, &mut lines);
        }
        assert_eq!(lines, expected);
    }
}

#[test]
fn hidden_user_list_only_feeds_completion() {
    let mut formatter = Formatter::new(false, u64::MAX);
    formatter.expect_hidden_list();
    let list = line("users", r#"[{"name":"al"}]"#);
    let present = OutputItem::PresentUsers(vec!["al".into()]);
    assert_eq!(
        format(&mut formatter, &list),
        std::slice::from_ref(&present)
    );
    let shown = OutputItem::Server("Connected users (1): al".into());
    assert_eq!(format(&mut formatter, &list), [present, shown]);
}

#[test]
fn json_is_the_line_of_the_server_without_secrets() {
    let mut formatter = Formatter::new(true, u64::MAX);
    let message = line(
        "message",
        "{\"source\":\"a\",\"message\":\"\u{9b}2J \u{202e}é\"}",
    );
    assert_eq!(
        lines(&mut formatter, &format!("{message} ")),
        "{\"type\":\"message\",\"data\":{\"source\":\"a\",\"message\":\"\\u009b2J \\u202eé\"}}\n"
    );
    let updates = vec![
        SessionUpdate::Welcome { name: "al".into() },
        SessionUpdate::Recovered(MissedCount::Messages(3)),
        SessionUpdate::Gap {
            after: None,
            oldest: 4,
        },
        SessionUpdate::Truncated { messages: 3 },
    ];
    let expected = [
        r#"{"data":{"name":"al"},"type":"connected"}"#,
        r#"{"data":{"complete":true,"messages":3},"type":"recovered"}"#,
        r#"{"data":{"after":null,"complete":false,"oldest":4},"type":"recovered"}"#,
        r#"{"data":{"messages":3},"type":"cut"}"#,
    ];
    let expected = expected.map(|line| OutputItem::Line(line.into()));
    assert_eq!(formatter.format(updates, None), expected);
}

#[test]
fn sentences_of_the_server_are_typed_in_json() {
    let mut formatter = Formatter::new(true, u64::MAX);
    for (sentence, mark, expected) in [
        ("me has entered the chat", " ", ""),
        (
            "al has entered the chat",
            "",
            "{\"data\":{\"name\":\"al\"},\"type\":\"joined\"}\n",
        ),
        (
            "al has left the chat",
            "",
            "{\"data\":{\"name\":\"al\"},\"type\":\"left\"}\n",
        ),
        (
            "al renamed to bo",
            "",
            "{\"data\":{\"name\":\"al\",\"new_name\":\"bo\"},\"type\":\"renamed\"}\n",
        ),
        (
            "full",
            "",
            "{\"data\":{\"message\":\"full\"},\"type\":\"notice\"}\n",
        ),
    ] {
        let data = format!(r#"{{"source":"[Server]","message":"{sentence}"}}"#);
        let shown = lines(&mut formatter, &format!("{}{mark}", line("message", &data)));
        assert_eq!(shown, expected);
    }
}

#[test]
fn replay_is_one_json_line_per_message() {
    let said = |message: &str| Said {
        id: Some(2),
        time: Some("2026-01-31T12:00:00Z".parse().unwrap()),
        source: "al".into(),
        message: message.into(),
        action: true,
    };
    let messages = ["a", "b", "c"].map(said).into();
    let more = false;
    let page = ServerLine::History(Messages { messages, more });
    let mut formatter = Formatter::new(true, 2);
    let updates = vec![SessionUpdate::Line(page, Vec::new())];
    let expected = ["a", "b"].map(|text| {
        let data = format!(
            r#"{{"action":true,"id":2,"message":"{text}","source":"al","time":"2026-01-31T12:00:00.000Z"}}"#
        );
        OutputItem::Line(format!(r#"{{"data":{data},"type":"message"}}"#))
    });
    assert_eq!(formatter.format(updates, None), expected);
    assert!(formatter.is_done());
}

#[test]
fn lost_events_are_counted() {
    assert!(gap_sentence(Some(9), 21).contains("11 events"));
}

#[test]
fn unconfirmed_requests_keep_their_target_and_nonce() {
    let (target, text) = ("Ann Lee".to_owned(), "x".to_owned());
    let (say, action) = (
        |action| UserRequest::Say {
            text: "x".into(),
            action,
        },
        true,
    );
    for (request, typed, data) in [
        (say(false), "x", r#"{"message":"x","nonce":"n"}"#),
        (
            say(action),
            "/me x",
            r#"{"action":true,"message":"x","nonce":"n"}"#,
        ),
        (
            UserRequest::Private { target, text },
            "/msg \"Ann Lee\" x",
            r#"{"message":"x","nonce":"n","target":"Ann Lee"}"#,
        ),
    ] {
        let nonce = Nonce::new("n");
        let update = SessionUpdate::Unconfirmed { request, nonce };
        let shown = |is_json| {
            let mut formatter = Formatter::new(is_json, u64::MAX);
            formatter.format(vec![update.clone()], None)
        };
        let told = format!("not sent again; it may have been said: {typed}");
        assert!(matches!(&shown(false)[..], [OutputItem::Notice(text)] if text.ends_with(&told)));
        let line = format!(r#"{{"data":{data},"type":"unconfirmed"}}"#);
        assert_eq!(shown(true), [OutputItem::Line(line)]);
    }
}
