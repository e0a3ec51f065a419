use super::*;
use crate::client::limits::{MAX_HISTORY, MAX_IN_FLIGHT};
use crate::client::session::history_replay::Since;
use crate::client::session::update::MissedCount;
use crate::limits::MAX_PAGE_MESSAGES;
use std::ops::RangeInclusive;

const MARKED: &str = "{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"1.2.3.4:5 has entered the chat\"}} \n";
const UNMARKED: &str = "{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"1.2.3.4:5 has entered the chat\"}}\n";

struct ScriptedSession {
    session: Session,
    now: Instant,
    updates: Vec<SessionUpdate>,
}

impl ScriptedSession {
    fn new(prefers_extended: bool) -> Self {
        ScriptedSession::named(prefers_extended, None)
    }

    fn named(prefers_extended: bool, name: Option<&str>) -> Self {
        let mut client = ScriptedSession {
            session: Session::new(prefers_extended, name.map(str::to_owned), 7),
            now: Instant::now(),
            updates: Vec::new(),
        };
        client.session.connected(client.now);
        client
    }

    fn extended() -> Self {
        let mut client = ScriptedSession::new(true);
        client.receives(MARKED);
        client.assert_sends(&["hello"]);
        client.receives(&welcome("al", "t", "e", 10, ""));
        client.assert_sends(&["ping"]);
        client.updates.clear();
        client
    }

    fn receives(&mut self, text: &str) {
        let updates = &mut self.updates;
        self.session
            .receive(text.as_bytes(), self.now, &mut |update, _| {
                updates.push(update)
            });
    }

    fn requests(&mut self, request: UserRequest) {
        let updates = &mut self.updates;
        self.session
            .request(request, None, self.now, &mut |update, _| {
                updates.push(update)
            });
    }

    fn says(&mut self, text: &str) {
        self.requests(UserRequest::Say {
            text: text.to_owned(),
            action: false,
        });
    }

    fn advance(&mut self, time: Duration) -> TimerOutcome {
        self.now += time;
        let updates = &mut self.updates;
        self.session
            .on_timer(self.now, &mut |update, _| updates.push(update))
    }

    fn reconnect(&mut self) {
        let updates = &mut self.updates;
        self.session
            .disconnected(&mut |update, _| updates.push(update));
        self.session.connected(self.now);
    }

    /// Reconnects as the same user.
    fn resume(&mut self, last: u64, resumed: &str) {
        self.reconnect();
        self.receives(MARKED);
        let resumed = format!(",\"resumed\":{{{resumed}}}");
        self.receives(&welcome("al", "t", "e", last, &resumed));
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

    fn take_texts(&mut self) -> Vec<String> {
        let updates = std::mem::take(&mut self.updates);
        updates.into_iter().map(text_of).collect()
    }
}

fn text_of(update: SessionUpdate) -> String {
    match update {
        SessionUpdate::Line(ServerLine::History(page)) => {
            let text = |said: &Said| format!(" {}", said.message);
            format!(
                "replay{}",
                page.messages.iter().map(text).collect::<String>()
            )
        }
        SessionUpdate::Line(ServerLine::Message(said)) => {
            format!("{}: {}", said.source, said.message)
        }
        SessionUpdate::Line(ServerLine::Ack(ack)) => format!("ack {}", ack.nonce),
        other => format!("{other:?}"),
    }
}

fn welcome(name: &str, token: &str, epoch: &str, last: u64, more: &str) -> String {
    format!(
        "{{\"type\":\"welcome\",\"data\":{{\"name\":\"{name}\",\"token\":\"{token}\",\"epoch\":\"{epoch}\",\"last\":{last}{more}}}}}\n"
    )
}

fn event(id: u64, text: &str) -> String {
    format!(
        "{{\"type\":\"message\",\"data\":{{\"id\":{id},\"time\":\"2026-01-31T12:00:00.000Z\",\"source\":\"bo\",\"message\":\"{text}\"}}}}\n"
    )
}

/// Returns a page of the history with messages of these numbers.
fn page(ids: RangeInclusive<u64>, more: bool) -> String {
    let messages: Vec<String> = ids
        .map(|id| event(id, &id.to_string()).trim_end().to_owned())
        .map(|line| line[r#"{"type":"message","data":"#.len()..line.len() - 1].to_owned())
        .collect();
    format!(
        "{{\"type\":\"history\",\"data\":{{\"messages\":[{}],\"more\":{more}}}}}\n",
        messages.join(",")
    )
}

fn ack(number: u64) -> String {
    format!("{{\"type\":\"ack\",\"data\":{{\"nonce\":\"0000000000000007-{number}\",\"id\":1}}}}\n")
}

#[test]
fn server_without_mark_never_gets_hello() {
    for first in [UNMARKED, "{\"type\":\"weather\"}\n", "nonsense\n"] {
        let mut client = ScriptedSession::named(true, Some("al"));
        client.receives(first);
        client.advance(Duration::from_secs(2));
        client.says("a");
        client.requests(UserRequest::Users);
        client.receives(MARKED);
        client.assert_sends(&["set-name", "message", "users"]);
        client.requests(UserRequest::Search("x".into()));
        client.assert_sends(&[]);
        assert!(
            matches!(client.updates.last(), Some(SessionUpdate::Unsupported(_))),
            "{:?}",
            client.updates
        );
    }
}

#[test]
fn late_mark_is_accepted() {
    let mut client = ScriptedSession::new(true);
    client.says("a");
    client.advance(FIRST_LINE_TIMEOUT);
    client.assert_sends(&["message"]);
    client.receives(MARKED);
    client.says("b");
    client.assert_sends(&["hello"]);
    client.receives(&welcome("al", "t", "e", 1, ""));
    client.assert_sends(&["ping", "message"]);
}

#[test]
fn silent_server_gets_basic_lines_after_timeout() {
    let mut client = ScriptedSession::new(true);
    client.says("a");
    client.advance(Duration::from_millis(999));
    client.assert_sends(&[]);
    client.advance(Duration::from_millis(2));
    assert_eq!(client.output(), "{\"type\":\"message\",\"data\":\"a\"}\n");
}

#[test]
fn hello_is_sent_when_a_request_needs_it() {
    let mut client = ScriptedSession::new(false);
    client.receives(MARKED);
    client.says("a");
    client.assert_sends(&["message"]);
    client.requests(UserRequest::Search("x".into()));
    client.says("b");
    client.assert_sends(&["hello"]);
    client.receives(&welcome("al", "t", "e", 1, ""));
    client.assert_sends(&["ping", "search", "message"]);
}

#[test]
fn unanswered_hello_falls_back_to_basic() {
    let mut client = ScriptedSession::new(true);
    client.receives(MARKED);
    client.says("a");
    client.assert_sends(&["hello"]);
    client.advance(HELLO_TIMEOUT);
    assert_eq!(client.output(), "{\"type\":\"message\",\"data\":\"a\"}\n");
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
    assert_eq!(client.session.queued(), 2);
    client.reconnect();
    client.says("d");
    client.receives(MARKED);
    let hello = client.output();
    assert!(
        hello.contains(r#""token":"t","after":{"epoch":"e","id":10}"#),
        "{hello}"
    );
    client.receives(&welcome(
        "al",
        "t",
        "e",
        12,
        ",\"resumed\":{\"complete\":true,\"missed\":2}",
    ));
    let second = client.output();
    let again: Vec<&str> = first.lines().skip(1).collect();
    let lines: Vec<&str> = second
        .lines()
        .filter(|line| !line.contains("ping"))
        .collect();
    assert_eq!(lines[..2], again[..]);
    assert!(lines[2].contains("\"d\""), "{second}");
    for number in 2..=4 {
        client.receives(&ack(number));
    }
    assert_eq!(client.session.queued(), 0);
}

#[test]
fn missed_events_are_counted_and_shown_once() {
    let mut client = ScriptedSession::extended();
    client.receives(&event(11, "one"));
    client.resume(14, r#""complete":true,"missed":3"#);
    client.updates.clear();
    client.receives(&event(12, "two"));
    client.receives("{\"type\":\"joined\",\"data\":{\"id\":13,\"time\":\"2026-01-31T12:00:00.000Z\",\"name\":\"cy\"}}\n");
    assert_eq!(client.updates, []);
    client.receives(&event(14, "three"));
    client.receives(&event(14, "again"));
    client.receives(&event(15, "live"));
    assert_eq!(
        client.updates[0],
        SessionUpdate::Recovered(MissedCount::Messages(2)),
        "{:?}",
        client.updates
    );
    let texts = client.take_texts();
    assert_eq!(
        (texts[1].as_str(), texts[3].as_str(), texts[4].as_str()),
        ("bo: two", "bo: three", "bo: live")
    );
    assert_eq!(texts.len(), 5);
}

#[test]
fn temporary_address_of_resumed_connection_is_hidden() {
    let presence = |kind: &str, id: u64, name: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"data\":{{\"id\":{id},\"time\":\"2026-01-31T12:00:00.000Z\",\"name\":\"{name}\",\"reason\":\"resumed\"}}}}\n"
        )
    };
    let mut client = ScriptedSession::extended();
    client.resume(12, r#""complete":true,"missed":2"#);
    client.receives(&event(11, "one"));
    client.receives(&presence("joined", 12, "1.2.3.4:5"));
    client.receives(&presence("left", 13, "1.2.3.4:5"));
    // Another user may have the same address later.
    client.receives(&presence("joined", 14, "1.2.3.4:5"));
    assert_eq!(
        client.updates[0],
        SessionUpdate::Recovered(MissedCount::Messages(1))
    );
    assert!(matches!(
        client.updates[2],
        SessionUpdate::Line(ServerLine::Joined(_))
    ));
    assert_eq!(client.updates.len(), 3);
}

#[test]
fn recovery_is_bounded() {
    let mut client = ScriptedSession::extended();
    client.resume(5000, r#""complete":true,"missed":4990"#);
    client.updates.clear();
    for id in 11..=5000 {
        client.receives(&event(id, "x"));
    }
    assert_eq!(
        client.updates[0],
        SessionUpdate::Recovered(MissedCount::Events(4990))
    );
    assert_eq!(client.updates.len(), 4991);
}

#[test]
fn gap_is_reported() {
    let mut client = ScriptedSession::extended();
    client.resume(99, r#""complete":false,"oldest":90"#);
    client.receives(&event(90, "x"));
    assert!(client.updates.contains(&SessionUpdate::Gap {
        after: Some(10),
        oldest: 90
    }));
    assert_eq!(client.take_texts().last().unwrap(), "bo: x");

    // A restarted server counts its events from 1.
    client.reconnect();
    client.receives(MARKED);
    client.receives(&welcome(
        "1.2.3.4:6",
        "u",
        "f",
        3,
        ",\"resumed\":{\"complete\":false,\"oldest\":1}",
    ));
    client.receives(&event(1, "new"));
    assert_eq!(
        client.take_texts(),
        ["Gap { after: None, oldest: 1 }", "bo: new"]
    );
}

#[test]
fn chosen_name_is_requested_again_after_token_expired() {
    let mut client = ScriptedSession::named(true, Some("al"));
    client.receives(MARKED);
    client.receives(&welcome("1.2.3.4:5", "t", "e", 1, ""));
    client.assert_sends(&["hello", "ping", "set-name"]);
    client.receives("{\"type\":\"renamed\",\"data\":{\"id\":2,\"time\":\"2026-01-31T12:00:00.000Z\",\"name\":\"1.2.3.4:5\",\"new_name\":\"al\"}}\n");
    assert_eq!(client.session.name(), Some("al"));
    client.resume(2, r#""complete":true,"missed":0"#);
    client.assert_sends(&["hello", "ping"]);
    client.reconnect();
    client.receives(MARKED);
    client.receives(&welcome(
        "1.2.3.4:9",
        "u",
        "f",
        1,
        ",\"resumed\":{\"complete\":false,\"oldest\":1}",
    ));
    client.assert_sends(&["hello", "ping", "set-name"]);
    let refusal = "{\"type\":\"error\",\"data\":{\"code\":\"name-taken\",\"message\":\"Taken\",\"type\":\"set-name\"}}\n";
    client.receives(refusal);
    assert_eq!(client.session.name_rejection(), Some("Taken"));
}

#[test]
fn error_removes_oldest_request_of_its_kind() {
    let mut client = ScriptedSession::extended();
    client.says("a");
    client.requests(UserRequest::Private {
        target: "bo".into(),
        text: "x".into(),
    });
    client.says("b");
    client.assert_sends(&["message", "private", "message"]);
    let refusal = |code: &str, kind: &str| {
        format!(
            "{{\"type\":\"error\",\"data\":{{\"code\":\"{code}\",\"message\":\"No\",\"type\":\"{kind}\"}}}}\n"
        )
    };
    client.receives(&refusal("not-delivered", "private"));
    assert_eq!(client.session.queued(), 3);
    client.receives(&refusal("no-such-user", "private"));
    client.receives(&refusal("bad-limit", "history"));
    assert_eq!(client.session.queued(), 2);
    client.receives(&refusal("not-stored", "message"));
    client.receives(&ack(3));
    assert_eq!(client.session.queued(), 0);
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
    assert_eq!(client.session.queued(), 0);
    assert!(client.session.has_room());
}

#[test]
fn dead_server_is_detected_within_twenty_seconds() {
    let mut client = ScriptedSession::extended();
    client.receives("{\"type\":\"pong\",\"data\":1}\n");
    assert_eq!(client.session.round_trip(), Some(Duration::ZERO));
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(500);
    while client.advance(step) == TimerOutcome::Alive {
        waited += step;
        assert!(waited < Duration::from_secs(20));
    }
    assert!(waited > Duration::from_secs(8));
}

#[test]
fn any_line_keeps_connection_alive() {
    let mut client = ScriptedSession::extended();
    for id in 11..100 {
        assert_eq!(client.advance(Duration::from_secs(1)), TimerOutcome::Alive);
        client.receives(&event(id, "x"));
    }
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
    let updates = std::mem::take(&mut client.updates);
    let ids = |update: &SessionUpdate| match update {
        SessionUpdate::Line(ServerLine::History(page)) => {
            page.messages.iter().filter_map(|said| said.id).collect()
        }
        _ => Vec::new(),
    };
    let ids: Vec<Vec<u64>> = updates.iter().map(ids).collect();
    assert_eq!(ids, [vec![8, 9], (2..=9).collect()]);
    client.receives(&page(1..=1, false));
    assert_eq!(client.take_texts(), ["replay 1"]);
}

#[test]
fn events_wait_for_replay_and_are_shown_once() {
    let mut client = ScriptedSession::extended();
    client.requests(UserRequest::Since(Since::Event(3)));
    assert!(client.output().contains(r#"{"limit":200}"#));
    client.receives(&event(11, "live"));
    client.receives(&event(12, "later"));
    client.receives(&page(9..=11, true));
    assert!(client.output().contains(r#"{"before":9,"limit":200}"#));
    assert_eq!(client.updates, []);
    client.receives(&page(2..=8, true));
    let expected = "replay 4 5 6 7 8 9 10 11";
    assert_eq!(client.take_texts(), [expected, "bo: later"]);
    client.receives(&event(13, "on"));
    assert_eq!(client.take_texts(), ["bo: on"]);
}

#[test]
fn empty_replay_since_is_not_shown() {
    let mut client = ScriptedSession::extended();
    let tomorrow = "2026-02-01T00:00:00Z".parse().unwrap();
    client.requests(UserRequest::Since(Since::Time(tomorrow)));
    client.receives(&event(11, "live"));
    client.receives(&page(1..=5, true));
    assert_eq!(client.take_texts(), ["bo: live"]);
}

#[test]
fn interrupted_replay_is_requested_again() {
    let mut client = ScriptedSession::extended();
    client.requests(UserRequest::Since(Since::Event(8)));
    client.receives(&event(11, "live"));
    client.receives(&page(10..=11, true));
    client.reconnect();
    client.receives(MARKED);
    let resumed = ",\"resumed\":{\"complete\":true,\"missed\":1}";
    client.receives(&welcome("al", "t", "e", 12, resumed));
    client.receives(&event(12, "missed"));
    assert_eq!(client.take_texts(), ["Recovered(Messages(1))"]);
    client.receives(&event(13, "after"));
    let sent = client.output();
    assert!(sent.ends_with("{\"limit\":200}}\n"), "{sent}");
    client.receives(&page(1..=12, false));
    assert_eq!(client.take_texts(), ["replay 9 10 11 12", "bo: after"]);
}

#[test]
fn held_events_are_shown_if_replay_fails() {
    type End = fn(&mut ScriptedSession);
    let refused: End = |client| {
        client.receives("{\"type\":\"error\",\"data\":{\"code\":\"invalid\",\"message\":\"no\",\"type\":\"history\"}}\n");
    };
    let gone: End = |client| {
        client.reconnect();
        let updates = &mut client.updates;
        client
            .session
            .abandon_replay(&mut |update, _| updates.push(update));
    };
    for end in [refused, gone] {
        let mut client = ScriptedSession::extended();
        client.requests(UserRequest::Since(Since::Event(1)));
        client.receives(&event(11, "live"));
        assert_eq!(client.updates, []);
        end(&mut client);
        let last = client.take_texts();
        assert!(last.contains(&"bo: live".to_owned()), "{last:?}");
    }
}

#[test]
fn truncated_replay_is_reported() {
    let mut client = ScriptedSession::extended();
    client.requests(UserRequest::Since(Since::Event(0)));
    let pages = MAX_HISTORY.div_ceil(MAX_PAGE_MESSAGES) as u64;
    let size = MAX_PAGE_MESSAGES as u64;
    for number in (1..=pages).rev() {
        client.receives(&page(number * size + 1..=(number + 1) * size, true));
    }
    let texts = client.take_texts();
    let messages = MAX_HISTORY;
    assert_eq!(
        texts[0],
        format!("{:?}", SessionUpdate::Truncated { messages })
    );
    assert!(texts[1].ends_with(&format!(" {}", (pages + 1) * size)));
}

#[test]
fn rejected_connection_is_not_admitted() {
    let mut client = ScriptedSession::new(true);
    client.receives("{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"The chat is full (5 users); try again later\"}}\n");
    assert!(!client.session.is_admitted());
    client.reconnect();
    client.receives(UNMARKED);
    assert!(client.session.is_admitted());
    client.reconnect();
    assert!(!client.session.is_admitted());
}
