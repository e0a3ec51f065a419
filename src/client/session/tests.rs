mod names;

use super::*;
use crate::client::limits::{MAX_HISTORY, MAX_IN_FLIGHT};
use crate::client::session::history_replay::Since;
use crate::limits::MAX_PAGE_MESSAGES;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Name, token and epoch.
const AL: [&str; 3] = ["al", "t", "e"];
const TIME: &str = "2026-01-31T12:00:00.000Z";

/// A session whose server is the test.
struct ScriptedSession {
    session: Session,
    now: Instant,
}

impl ScriptedSession {
    fn new(prefers_extended: bool, name: Option<&str>) -> Self {
        let mut client = ScriptedSession {
            session: Session::new(prefers_extended, true, name.map(str::to_owned), 7),
            now: Instant::now(),
        };
        client.session.connected(client.now);
        client
    }

    fn extended() -> Self {
        let mut client = ScriptedSession::new(true, None);
        client.receives_welcome(AL, 10, "null");
        client.assert_sends(&["hello", "ping"]);
        client.updates();
        client
    }

    fn receives(&mut self, text: &str) {
        self.session.receive(text.as_bytes(), self.now);
    }

    /// Receives the marked first line and a welcome with this answer to the wish to resume.
    fn receives_welcome(&mut self, identity: [&str; 3], last: u64, resumed: &str) {
        let [name, token, epoch] = identity;
        let data = format!(
            r#"{{"name":"{name}","token":"{token}","epoch":"{epoch}","last":{last},"resumed":{resumed}}}"#
        );
        self.receives(&marked());
        self.receives(&line("welcome", &data));
    }

    fn resumes(&mut self, last: u64, resumed: &str) {
        self.reconnects();
        self.receives_welcome(AL, last, resumed);
    }

    fn requests(&mut self, request: UserRequest) {
        self.session.request(request, None, self.now);
    }

    fn says(&mut self, text: &str) {
        let (text, action) = (text.to_owned(), false);
        self.requests(UserRequest::Say { text, action });
    }

    fn advances(&mut self, time: Duration) -> bool {
        self.now += time;
        self.session.on_timer(self.now)
    }

    fn reconnects(&mut self) {
        self.session.disconnected();
        self.session.connected(self.now);
    }

    fn updates(&mut self) -> Vec<String> {
        let updates = self.session.take_updates();
        updates.into_iter().map(text_of).collect()
    }

    fn output(&mut self) -> String {
        String::from_utf8(self.session.take_output()).unwrap()
    }

    #[track_caller]
    fn assert_sends(&mut self, kinds: &[&str]) {
        let output = self.output();
        let kind = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["type"].as_str().unwrap().to_owned()
        };
        let sent: Vec<String> = output.lines().map(kind).collect();
        assert_eq!(sent, kinds, "{output}");
    }

    #[track_caller]
    fn assert_shows(&mut self, updates: &[&str]) {
        assert_eq!(self.updates(), updates);
    }
}

fn text_of(update: SessionUpdate) -> String {
    match update {
        SessionUpdate::Line(ServerLine::History(page), _) => {
            let messages = page.messages.into_iter();
            let texts: Vec<String> = messages.map(|said| said.message).collect();
            format!("replay {}", texts.join(" "))
        }
        SessionUpdate::Line(ServerLine::Message(said), _) => {
            format!("{}: {}", said.source, said.message)
        }
        SessionUpdate::Line(ServerLine::Joined(presence), _) => format!("{} joined", presence.name),
        other => format!("{other:?}"),
    }
}

fn line(kind: &str, data: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"data\":{data}}}\n")
}

fn unmarked() -> String {
    let data = r#"{"source":"[Server]","message":"1.2.3.4:5 has entered the chat"}"#;
    line("message", data)
}

fn marked() -> String {
    unmarked().replace('\n', " \n")
}

fn message_data(id: u64, text: &str) -> String {
    format!(r#"{{"id":{id},"time":"{TIME}","source":"bo","message":"{text}"}}"#)
}

fn message(id: u64, text: &str) -> String {
    line("message", &message_data(id, text))
}

fn presence(kind: &str, id: u64, name: &str) -> String {
    let data = format!(r#"{{"id":{id},"time":"{TIME}","name":"{name}"}}"#);
    line(kind, &data)
}

fn error(code: &str, kind: &str) -> String {
    let data = format!(r#"{{"code":"{code}","message":"No","type":"{kind}"}}"#);
    line("error", &data)
}

fn page(ids: RangeInclusive<u64>, more: bool) -> String {
    let messages: Vec<String> = ids.map(|id| message_data(id, &id.to_string())).collect();
    let messages = messages.join(",");
    let data = format!(r#"{{"messages":[{messages}],"more":{more}}}"#);
    line("history", &data)
}

fn ack(number: u64) -> String {
    let data = format!(r#"{{"nonce":"0000000000000007-{number}","id":1}}"#);
    line("ack", &data)
}

#[test]
fn nothing_is_sent_before_the_first_line_of_the_server() {
    // Chosen is the extended dialect, or none because the server is silent.
    let mut client = ScriptedSession::new(true, Some("al"));
    client.says("a");
    assert!(client.advances(SILENCE_NOTICE));
    assert!(client.updates()[0].starts_with("Waiting"));
    for _ in 0..10 {
        assert!(client.advances(GREETING_TIMEOUT));
    }
    client.assert_sends(&[]);
    client.assert_shows(&[]);
    client.receives_welcome(AL, 1, "null");
    client.assert_sends(&["hello", "ping", "set-name", "message"]);
}

#[test]
fn silent_server_gets_lines_that_no_connection_repeats() {
    let mut client = ScriptedSession::new(true, Some("al"));
    client.session.reconnects = false;
    client.says("a");
    client.requests(UserRequest::Search("b".into()));
    client.assert_sends(&[]);
    assert!(client.advances(FIRST_LINE_TIMEOUT));
    client.assert_sends(&["set-name", "message"]);
    client.receives_welcome(AL, 1, "null");
    client.assert_sends(&["hello", "ping", "search"]);
}

#[test]
fn rejection_of_a_connection_keeps_the_queue() {
    let full = "The chat is full (1000 users); try again later";
    let rejection = unmarked().replace("1.2.3.4:5 has entered the chat", full);
    let mut client = ScriptedSession::new(true, Some("al"));
    client.says("a");
    client.receives(&rejection);
    client.assert_sends(&[]);
    client.reconnects();
    client.receives_welcome(AL, 1, "null");
    client.assert_sends(&["hello", "ping", "set-name", "message"]);
}

#[test]
fn server_that_welcomes_in_its_own_words_gets_lines_soon() {
    let welcome = unmarked().replace("1.2.3.4:5 has entered the chat", "Welcome!");
    let mut client = ScriptedSession::new(true, Some("al"));
    client.says("a");
    assert!(client.advances(SILENCE_NOTICE));
    client.receives(&welcome);
    client.assert_sends(&[]);
    client.advances(FIRST_LINE_TIMEOUT);
    client.assert_sends(&["set-name", "message"]);
}

#[test]
fn stalled_server_gets_no_line_without_its_nonce() {
    let mut client = ScriptedSession::extended();
    client.says("a");
    let first = client.output();
    for first_line in ["", &message(11, "not an arrival"), "HTTP/1.1 400 Bad\n"] {
        client.reconnects();
        client.receives(first_line);
        client.session.skip_greeting();
        assert!(client.advances(SILENCE_NOTICE));
        assert!(!client.advances(GREETING_TIMEOUT));
        client.assert_sends(&[]);
    }
    // Nor if the server stalls after its mark.
    client.reconnects();
    client.receives(&marked());
    client.assert_sends(&["hello"]);
    assert!(!client.advances(HELLO_TIMEOUT));
    client.assert_sends(&[]);
    client.resumes(10, r#"{"complete":true,"missed":0}"#);
    let second = client.output();
    assert_eq!(second.lines().nth(2), first.lines().next(), "{second}");
}

#[test]
fn server_of_the_basic_dialect_gets_no_line_again() {
    let sentence = "Version 2 of the extended dialect is unknown; use version 3";
    let rejection = unmarked().replace("1.2.3.4:5 has entered the chat", sentence);
    for (first_lines, sent) in [
        (unmarked(), &["message"][..]),
        (marked() + &rejection, &["hello", "message"]),
    ] {
        let mut client = ScriptedSession::extended();
        client.says("sent");
        client.session.disconnected();
        client.says("not yet sent");
        client.session.connected(client.now);
        client.output();
        client.receives(&first_lines);
        client.assert_sends(sent);
        let shown = client.updates().concat();
        let told = r#"Unconfirmed { request: Say { text: "sent""#;
        assert!(shown.contains(told), "{shown}");
    }
}

#[test]
fn mark_counts_in_the_first_line_only() {
    for first in [unmarked(), line("weather", "{}"), "nonsense\n".to_owned()] {
        let mut client = ScriptedSession::new(true, Some("al"));
        client.receives(&first);
        client.receives(&marked());
        client.requests(UserRequest::Search("x".into()));
        client.assert_sends(&["set-name"]);
        let updates = client.updates();
        let last = updates.last().unwrap();
        assert!(last.starts_with("Unsupported"), "{last}");
    }
}

#[test]
fn hello_is_sent_when_a_request_needs_it() {
    let mut client = ScriptedSession::new(false, None);
    client.receives(&marked());
    client.says("a");
    client.assert_sends(&["message"]);
    client.requests(UserRequest::Search("x".into()));
    client.says("b");
    client.assert_sends(&["hello"]);
    client.receives_welcome(AL, 1, "null");
    client.assert_sends(&["ping", "search", "message"]);
}

#[test]
fn search_results_come_with_their_query() {
    let mut client = ScriptedSession::extended();
    for number in 0..=MAX_IN_FLIGHT {
        client.requests(UserRequest::Search(format!("q{number}")));
    }
    let sent = client.output();
    assert_eq!(sent.lines().count(), MAX_IN_FLIGHT);
    let error = r#"{"code":"rate-limited","message":"m","type":"search"}"#;
    client.receives(&line("error", error));
    assert!(client.output().contains(&format!("q{MAX_IN_FLIGHT}")));
    client.session.take_updates();
    client.receives(&line("search", r#"{"messages":[],"more":false}"#));
    let [SessionUpdate::Found(_, query, _)] = &client.session.take_updates()[..] else {
        panic!("no answer");
    };
    assert_eq!(query.as_deref(), Some("q1"));
}

#[test]
fn unacknowledged_requests_are_resent_in_order_with_their_nonces() {
    let mut client = ScriptedSession::extended();
    for text in ["a", "b", "c"] {
        client.says(text);
    }
    let first = client.output();
    assert_eq!(first.lines().count(), 3);
    client.receives(&ack(1));
    assert_eq!(client.session.queue.len(), 2);
    client.reconnects();
    client.says("d");
    client.receives_welcome(AL, 12, r#"{"complete":true,"missed":2}"#);
    let second = client.output();
    assert!(second.contains(r#""token":"t","after":{"epoch":"e","id":10}"#));
    let resent: Vec<&str> = second.lines().skip(2).take(2).collect();
    assert!(first.lines().skip(1).eq(resent), "{second}");
    assert!(second.lines().nth(4).unwrap().contains("\"d\""));
    for number in 2..=4 {
        client.receives(&ack(number));
    }
    assert_eq!(client.session.queue.len(), 0);
}

#[test]
fn missed_events_are_counted_and_shown_once() {
    let mut client = ScriptedSession::extended();
    client.receives(&message(11, "one"));
    client.resumes(14, r#"{"complete":true,"missed":3}"#);
    client.assert_shows(&["bo: one"]);
    client.receives(&message(12, "two"));
    client.receives(&presence("joined", 13, "cy"));
    client.assert_shows(&[]);
    client.receives(&message(14, "three"));
    client.receives(&message(14, "again"));
    client.receives(&message(15, "live"));
    let missed = "Recovered(Messages(2))";
    client.assert_shows(&[missed, "bo: two", "cy joined", "bo: three", "bo: live"]);
}

#[test]
fn temporary_address_of_resumed_connection_is_hidden() {
    let mut client = ScriptedSession::extended();
    client.resumes(12, r#"{"complete":true,"missed":2}"#);
    client.receives(&message(11, "one"));
    client.receives(&presence("joined", 12, "1.2.3.4:5"));
    client.receives(&presence("left", 13, "1.2.3.4:5"));
    // Another user may have the same address later.
    client.receives(&presence("joined", 14, "1.2.3.4:5"));
    client.assert_shows(&["Recovered(Messages(1))", "bo: one", "1.2.3.4:5 joined"]);
}

#[test]
fn repeated_private_messages_are_shown_once() {
    let private = |text: &str| {
        let data = format!(r#"{{"time":"{TIME}","source":"bo","target":"al","message":"{text}"}}"#);
        line("private", &data)
    };
    let mut client = ScriptedSession::extended();
    client.receives(&private("early"));
    client.receives(&message(11, "x"));
    for text in ["one", "one", "two"] {
        client.receives(&private(text));
    }
    assert_eq!(client.updates().len(), 5, "equal ones are not repeats");
    for _ in 0..2 {
        client.resumes(12, r#"{"complete":true,"missed":0}"#);
        client.updates();
        for text in ["one", "one", "two", "two"] {
            client.receives(&private(text));
        }
        // The second one is new, and was received before the second loss.
        assert!(client.updates().len() <= 1);
    }
    client.receives(&message(12, "y"));
    client.resumes(12, r#"{"complete":true,"missed":0}"#);
    client.updates();
    client.receives(&private("two"));
    assert_eq!(client.updates().len(), 1, "an event was received since");
    client.resumes(13, r#"{"complete":true,"missed":1}"#);
    client.receives(&presence("left", 13, "1.2.3.4:5"));
    client.resumes(13, r#"{"complete":true,"missed":0}"#);
    client.updates();
    client.receives(&private("two"));
    assert_eq!(client.updates().len(), 0, "the first link ended too early");
}

#[test]
fn recovery_is_bounded() {
    let mut client = ScriptedSession::extended();
    client.resumes(5000, r#"{"complete":true,"missed":4990}"#);
    for id in 11..=5000 {
        client.receives(&message(id, "x"));
    }
    let updates = client.updates();
    assert_eq!(updates[0], "Recovered(Events(4990))");
    assert_eq!(updates.len(), 4991);
}

#[test]
fn gap_is_reported() {
    let mut client = ScriptedSession::extended();
    client.resumes(99, r#"{"complete":false,"oldest":90}"#);
    client.receives(&message(90, "x"));
    client.assert_shows(&["Gap { after: Some(10), oldest: 90 }", "bo: x"]);
    // A restarted server counts its events from 1.
    client.reconnects();
    let resumed = r#"{"complete":false,"oldest":1}"#;
    client.receives_welcome(["1.2.3.4:6", "u", "f"], 3, resumed);
    client.receives(&message(1, "new"));
    client.assert_shows(&["Gap { after: None, oldest: 1 }", "bo: new"]);
}

#[test]
fn error_removes_oldest_request_of_its_kind() {
    let mut client = ScriptedSession::extended();
    client.says("a");
    let (target, text) = ("bo".to_owned(), "x".to_owned());
    client.requests(UserRequest::Private { target, text });
    client.says("b");
    client.assert_sends(&["message", "private", "message"]);
    for (code, kind, left) in [
        ("not-delivered", "private", 3),
        ("no-such-user", "private", 2),
        ("bad-limit", "history", 2),
        ("not-stored", "message", 1),
    ] {
        client.receives(&error(code, kind));
        assert_eq!(client.session.queue.len(), left, "{code}");
    }
    client.receives(&ack(3));
    assert_eq!(client.session.queue.len(), 0);
}

#[test]
fn requests_in_flight_are_limited() {
    let mut client = ScriptedSession::extended();
    let total = MAX_IN_FLIGHT + 50;
    for number in 0..total {
        client.says(&number.to_string());
    }
    assert_eq!(client.output().lines().count(), MAX_IN_FLIGHT);
    for number in 1..=total as u64 {
        client.receives(&ack(number));
    }
    assert_eq!(client.output().lines().count(), 50);
    assert_eq!(client.session.queue.len(), 0);
}

#[test]
fn dead_server_is_detected_within_twenty_seconds() {
    let mut client = ScriptedSession::extended();
    client.receives(&line("pong", "1"));
    assert_eq!(client.session.heartbeat.round_trip, Some(Duration::ZERO));
    // Any line shows that the server is alive.
    for id in 11..100 {
        assert!(client.advances(Duration::from_secs(1)));
        client.receives(&message(id, "x"));
    }
    let step = Duration::from_millis(500);
    let mut waited = Duration::ZERO;
    while client.advances(step) {
        waited += step;
        assert!(waited < Duration::from_secs(20));
    }
    assert!(waited > Duration::from_secs(8));
}

#[test]
fn long_replay_is_assembled_from_pages() {
    let mut client = ScriptedSession::extended();
    client.requests(UserRequest::History(Some(500)));
    client.requests(UserRequest::History(None));
    let sent = client.output();
    assert_eq!(sent.matches(r#"{"limit":200}"#).count(), 2, "{sent}");
    client.receives(&page(6..=9, true));
    assert!(client.output().contains(r#"{"before":6,"limit":200}"#));
    // The first page completes the second replay.
    client.receives(&page(8..=9, false));
    client.receives(&page(2..=5, false));
    client.receives(&page(1..=1, false));
    client.assert_shows(&["replay 8 9", "replay 2 3 4 5 6 7 8 9", "replay 1"]);
}

#[test]
fn events_wait_for_replay_and_are_shown_once() {
    let mut client = ScriptedSession::extended();
    client.requests(UserRequest::Since(Since::Event(3)));
    client.receives(&message(11, "live"));
    client.receives(&message(12, "later"));
    client.receives(&page(9..=11, true));
    client.assert_shows(&[]);
    client.receives(&page(2..=8, true));
    client.assert_shows(&["replay 4 5 6 7 8 9 10 11", "bo: later"]);
    client.receives(&message(13, "on"));
    client.assert_shows(&["bo: on"]);
}

#[test]
fn interrupted_replay_is_requested_again() {
    let mut client = ScriptedSession::extended();
    client.requests(UserRequest::Since(Since::Event(8)));
    client.receives(&message(11, "live"));
    client.receives(&page(10..=11, true));
    client.resumes(12, r#"{"complete":true,"missed":1}"#);
    client.receives(&message(12, "missed"));
    client.assert_shows(&["Recovered(Messages(1))"]);
    client.receives(&message(13, "after"));
    let sent = client.output();
    assert!(sent.ends_with("{\"limit\":200}}\n"), "{sent}");
    client.receives(&page(1..=12, false));
    client.assert_shows(&["replay 9 10 11 12", "bo: after"]);
}

#[test]
fn held_events_are_shown_if_replay_fails() {
    for is_rejected in [true, false] {
        let mut client = ScriptedSession::extended();
        client.requests(UserRequest::Since(Since::Event(1)));
        client.receives(&message(11, "live"));
        client.assert_shows(&[]);
        if is_rejected {
            client.receives(&error("invalid", "history"));
        } else {
            client.session.abandon_replay();
        }
        assert_eq!(client.updates()[0], "bo: live");
    }
}

#[test]
fn truncated_replay_is_reported() {
    let mut client = ScriptedSession::extended();
    client.requests(UserRequest::Since(Since::Event(0)));
    let size = MAX_PAGE_MESSAGES as u64;
    let pages = MAX_HISTORY.div_ceil(MAX_PAGE_MESSAGES) as u64;
    for number in (1..=pages).rev() {
        client.receives(&page(number * size + 1..=(number + 1) * size, true));
    }
    let truncated = format!("Truncated {{ messages: {MAX_HISTORY} }}");
    let updates = client.updates();
    assert_eq!(updates[0], truncated);
    assert!(updates[1].ends_with(&format!(" {}", (pages + 1) * size)));
}

#[test]
fn lines_that_a_forgotten_session_may_have_said_are_not_sent_again() {
    let mut client = ScriptedSession::extended();
    client.says("sent");
    client.assert_sends(&["message"]);
    client.session.disconnected();
    client.says("not yet sent");
    client.session.connected(client.now);
    client.receives(&marked());
    client.assert_sends(&["hello"]);
    let data = r#"{"name":"al","token":"t2","known":false,"epoch":"e","last":10}"#;
    client.receives(&line("welcome", data));
    let output = client.output();
    assert!(!output.contains(r#""sent""#), "{output}");
    assert!(output.contains(r#""not yet sent""#), "{output}");
    assert_eq!(client.session.unconfirmed, 1);
    let shown = client.updates().concat();
    assert!(
        shown.contains(r#"Unconfirmed { request: Say { text: "sent""#),
        "{shown}"
    );
}
