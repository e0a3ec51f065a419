//! Tests of the session: a scripted server on the other side, time as an argument.

use super::*;
use crate::client::limits::MAX_HISTORY;
use crate::client::session::history_replay::Since;
use crate::limits::MAX_PAGE_MESSAGES;
use std::ops::RangeInclusive;

const MARKED: &str = "{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"1.2.3.4:5 has entered the chat\"}} \n";
const UNMARKED: &str = "{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"1.2.3.4:5 has entered the chat\"}}\n";

/// A session with a scripted server.
struct Script {
    session: Session,
    now: Instant,
    shown: Vec<SessionUpdate>,
}

impl Script {
    fn new(prefers_extended: bool) -> Self {
        Script::named(prefers_extended, None)
    }

    fn named(prefers_extended: bool, name: Option<&str>) -> Self {
        let mut script = Script {
            session: Session::new(prefers_extended, name.map(str::to_owned), 7),
            now: Instant::now(),
            shown: Vec::new(),
        };
        script.session.connected(script.now);
        script
    }

    fn extended() -> Self {
        let mut script = Script::new(true);
        script.hears(MARKED);
        script.sends(&["hello"]);
        script.hears(&welcome("al", "t", "e", 10, ""));
        script.sends(&["ping"]);
        script.shown.clear();
        script
    }

    fn hears(&mut self, text: &str) {
        let shown = &mut self.shown;
        self.session
            .receive(text.as_bytes(), self.now, &mut |news, _| shown.push(news));
    }

    fn asks(&mut self, asked: UserRequest) {
        let shown = &mut self.shown;
        self.session
            .ask(asked, None, self.now, &mut |news, _| shown.push(news));
    }

    fn says(&mut self, text: &str) {
        self.asks(UserRequest::Say {
            text: text.to_owned(),
            action: false,
        });
    }

    fn waits(&mut self, time: Duration) -> TimerOutcome {
        self.now += time;
        let shown = &mut self.shown;
        self.session
            .pulse(self.now, &mut |news, _| shown.push(news))
    }

    fn breaks(&mut self) {
        let shown = &mut self.shown;
        self.session.disconnected(&mut |news, _| shown.push(news));
        self.session.connected(self.now);
    }

    fn output(&mut self) -> String {
        String::from_utf8(self.session.take_output()).unwrap()
    }

    /// The types of the lines that are sent now.
    #[track_caller]
    fn sends(&mut self, kinds: &[&str]) {
        let output = self.output();
        let kind = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["type"].as_str().unwrap().to_owned()
        };
        let sent: Vec<String> = output.lines().map(kind).collect();
        assert_eq!(sent, kinds, "{output}");
    }

    fn shown_texts(&mut self) -> Vec<String> {
        let shown = std::mem::take(&mut self.shown);
        shown.into_iter().map(text_of).collect()
    }
}

fn text_of(news: SessionUpdate) -> String {
    match news {
        SessionUpdate::Heard(ServerLine::History(page)) => {
            let text = |said: &Said| format!(" {}", said.message);
            format!("past{}", page.messages.iter().map(text).collect::<String>())
        }
        SessionUpdate::Heard(ServerLine::Message(said)) => {
            format!("{}: {}", said.source, said.message)
        }
        SessionUpdate::Heard(ServerLine::Ack(ack)) => format!("ack {}", ack.nonce),
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

/// A page of the history with messages of these numbers.
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
fn a_server_that_never_says_the_mark_never_sees_a_hello() {
    for first in [UNMARKED, "{\"type\":\"weather\"}\n", "nonsense\n"] {
        let mut script = Script::named(true, Some("al"));
        script.hears(first);
        script.waits(Duration::from_secs(2));
        script.says("a");
        script.asks(UserRequest::Users);
        script.hears(MARKED);
        script.sends(&["set-name", "message", "users"]);
        script.asks(UserRequest::Search("x".into()));
        script.sends(&[]);
        assert!(
            matches!(script.shown.last(), Some(SessionUpdate::Impossible(_))),
            "{:?}",
            script.shown
        );
    }
}

#[test]
fn a_mark_that_comes_late_is_a_mark() {
    let mut script = Script::new(true);
    script.says("a");
    script.waits(FIRST_LINE_TIMEOUT);
    script.sends(&["message"]);
    script.hears(MARKED);
    script.says("b");
    script.sends(&["hello"]);
    script.hears(&welcome("al", "t", "e", 1, ""));
    script.sends(&["ping", "message"]);
}

#[test]
fn a_silent_server_gets_what_is_typed_after_a_second() {
    let mut script = Script::new(true);
    script.says("a");
    script.waits(Duration::from_millis(999));
    script.sends(&[]);
    script.waits(Duration::from_millis(2));
    assert_eq!(script.output(), "{\"type\":\"message\",\"data\":\"a\"}\n");
}

#[test]
fn who_does_not_prefer_it_speaks_extended_only_when_something_needs_it() {
    let mut script = Script::new(false);
    script.hears(MARKED);
    script.says("a");
    script.sends(&["message"]);
    script.asks(UserRequest::Search("x".into()));
    script.says("b");
    script.sends(&["hello"]);
    script.hears(&welcome("al", "t", "e", 1, ""));
    script.sends(&["ping", "search", "message"]);
}

#[test]
fn a_hello_without_an_answer_ends_in_the_basic_dialect() {
    let mut script = Script::new(true);
    script.hears(MARKED);
    script.says("a");
    script.sends(&["hello"]);
    script.waits(HELLO_TIMEOUT);
    assert_eq!(script.output(), "{\"type\":\"message\",\"data\":\"a\"}\n");
}

#[test]
fn what_is_not_acknowledged_is_said_again_in_order_under_its_nonce() {
    let mut script = Script::extended();
    for text in ["a", "b", "c"] {
        script.says(text);
    }
    let first = script.output();
    assert_eq!(first.lines().count(), 3);
    script.hears(&ack(1));
    assert_eq!(script.session.waiting(), 2);
    script.breaks();
    script.says("d");
    script.hears(MARKED);
    let hello = script.output();
    assert!(
        hello.contains(r#""token":"t","after":{"epoch":"e","id":10}"#),
        "{hello}"
    );
    script.hears(&welcome(
        "al",
        "t",
        "e",
        12,
        ",\"resumed\":{\"complete\":true,\"missed\":2}",
    ));
    let second = script.output();
    let again: Vec<&str> = first.lines().skip(1).collect();
    let lines: Vec<&str> = second
        .lines()
        .filter(|line| !line.contains("ping"))
        .collect();
    assert_eq!(lines[..2], again[..]);
    assert!(lines[2].contains("\"d\""), "{second}");
    for number in 2..=4 {
        script.hears(&ack(number));
    }
    assert_eq!(script.session.waiting(), 0);
}

#[test]
fn what_was_missed_is_told_and_shown_once() {
    let mut script = Script::extended();
    script.hears(&event(11, "one"));
    script.breaks();
    script.hears(MARKED);
    script.hears(&welcome(
        "al",
        "t",
        "e",
        14,
        ",\"resumed\":{\"complete\":true,\"missed\":3}",
    ));
    script.shown.clear();
    script.hears(&event(12, "two"));
    script.hears("{\"type\":\"joined\",\"data\":{\"id\":13,\"time\":\"2026-01-31T12:00:00.000Z\",\"name\":\"cy\"}}\n");
    assert_eq!(script.shown, []);
    script.hears(&event(14, "three"));
    script.hears(&event(14, "again"));
    script.hears(&event(15, "live"));
    assert_eq!(
        script.shown[0],
        SessionUpdate::Recovered(Missed::Messages(2)),
        "{:?}",
        script.shown
    );
    let texts = script.shown_texts();
    assert_eq!(
        (texts[1].as_str(), texts[3].as_str(), texts[4].as_str()),
        ("bo: two", "bo: three", "bo: live")
    );
    assert_eq!(texts.len(), 5);
}

#[test]
fn the_address_of_a_connection_that_is_somebody_again_is_no_news() {
    let presence = |kind: &str, id: u64, name: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"data\":{{\"id\":{id},\"time\":\"2026-01-31T12:00:00.000Z\",\"name\":\"{name}\",\"reason\":\"resumed\"}}}}\n"
        )
    };
    let mut script = Script::extended();
    script.breaks();
    script.hears(MARKED);
    script.hears(&welcome(
        "al",
        "t",
        "e",
        12,
        ",\"resumed\":{\"complete\":true,\"missed\":2}",
    ));
    script.hears(&event(11, "one"));
    script.hears(&presence("joined", 12, "1.2.3.4:5"));
    script.hears(&presence("left", 13, "1.2.3.4:5"));
    // Somebody else may come from there later.
    script.hears(&presence("joined", 14, "1.2.3.4:5"));
    assert_eq!(
        script.shown[0],
        SessionUpdate::Recovered(Missed::Messages(1))
    );
    assert!(matches!(
        script.shown[2],
        SessionUpdate::Heard(ServerLine::Joined(_))
    ));
    assert_eq!(script.shown.len(), 3);
}

#[test]
fn a_flood_of_what_was_missed_waits_in_a_bound() {
    let mut script = Script::extended();
    script.breaks();
    script.hears(MARKED);
    script.hears(&welcome(
        "al",
        "t",
        "e",
        5000,
        ",\"resumed\":{\"complete\":true,\"missed\":4990}",
    ));
    script.shown.clear();
    for id in 11..=5000 {
        script.hears(&event(id, "x"));
    }
    assert_eq!(
        script.shown[0],
        SessionUpdate::Recovered(Missed::Events(4990))
    );
    assert_eq!(script.shown.len(), 4991);
}

#[test]
fn a_gap_is_told() {
    let mut script = Script::extended();
    script.breaks();
    script.hears(MARKED);
    script.hears(&welcome(
        "al",
        "t",
        "e",
        99,
        ",\"resumed\":{\"complete\":false,\"oldest\":90}",
    ));
    script.hears(&event(90, "x"));
    assert!(script.shown.contains(&SessionUpdate::Gap {
        after: Some(10),
        oldest: 90
    }));
    assert_eq!(script.shown_texts().last().unwrap(), "bo: x");

    // Another life of the server: its numbers begin anew.
    script.breaks();
    script.hears(MARKED);
    script.hears(&welcome(
        "1.2.3.4:6",
        "u",
        "f",
        3,
        ",\"resumed\":{\"complete\":false,\"oldest\":1}",
    ));
    script.hears(&event(1, "new"));
    assert_eq!(
        script.shown_texts(),
        ["Gap { after: None, oldest: 1 }", "bo: new"]
    );
}

#[test]
fn a_chosen_name_is_asked_for_again_where_the_token_is_forgotten() {
    let mut script = Script::named(true, Some("al"));
    script.hears(MARKED);
    script.hears(&welcome("1.2.3.4:5", "t", "e", 1, ""));
    script.sends(&["hello", "ping", "set-name"]);
    script.hears("{\"type\":\"renamed\",\"data\":{\"id\":2,\"time\":\"2026-01-31T12:00:00.000Z\",\"name\":\"1.2.3.4:5\",\"new_name\":\"al\"}}\n");
    assert_eq!(script.session.name(), Some("al"));
    script.breaks();
    script.hears(MARKED);
    script.hears(&welcome(
        "al",
        "t",
        "e",
        2,
        ",\"resumed\":{\"complete\":true,\"missed\":0}",
    ));
    script.sends(&["hello", "ping"]);
    script.breaks();
    script.hears(MARKED);
    script.hears(&welcome(
        "1.2.3.4:9",
        "u",
        "f",
        1,
        ",\"resumed\":{\"complete\":false,\"oldest\":1}",
    ));
    script.sends(&["hello", "ping", "set-name"]);
    let refusal = "{\"type\":\"error\",\"data\":{\"code\":\"name-taken\",\"message\":\"Taken\",\"type\":\"set-name\"}}\n";
    script.hears(refusal);
    assert_eq!(script.session.name_refusal(), Some("Taken"));
}

#[test]
fn a_refusal_is_of_the_oldest_line_of_its_kind() {
    let mut script = Script::extended();
    script.says("a");
    script.asks(UserRequest::Private {
        target: "bo".into(),
        text: "x".into(),
    });
    script.says("b");
    script.sends(&["message", "private", "message"]);
    let refusal = |code: &str, kind: &str| {
        format!(
            "{{\"type\":\"error\",\"data\":{{\"code\":\"{code}\",\"message\":\"No\",\"type\":\"{kind}\"}}}}\n"
        )
    };
    script.hears(&refusal("not-delivered", "private"));
    assert_eq!(script.session.waiting(), 3);
    script.hears(&refusal("no-such-user", "private"));
    script.hears(&refusal("bad-limit", "history"));
    assert_eq!(script.session.waiting(), 2);
    script.hears(&refusal("not-stored", "message"));
    script.hears(&ack(3));
    assert_eq!(script.session.waiting(), 0);
}

#[test]
fn only_so_many_lines_are_under_way_and_all_of_them_arrive() {
    let mut script = Script::extended();
    let total = MAX_IN_FLIGHT + 50;
    for number in 0..total {
        script.says(&number.to_string());
    }
    assert_eq!(script.output().lines().count(), MAX_IN_FLIGHT);
    for number in 1..=total as u64 {
        script.hears(&ack(number));
    }
    assert_eq!(script.output().lines().count(), 50);
    assert_eq!(script.session.waiting(), 0);
    assert_eq!(script.session.waiting_bytes, 0);
}

#[test]
fn a_server_that_does_not_answer_is_noticed_within_twenty_seconds() {
    let mut script = Script::extended();
    script.hears("{\"type\":\"pong\",\"data\":1}\n");
    assert_eq!(script.session.round_trip(), Some(Duration::ZERO));
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(500);
    while script.waits(step) == TimerOutcome::Alive {
        waited += step;
        assert!(waited < Duration::from_secs(20));
    }
    assert!(waited > Duration::from_secs(8));
}

#[test]
fn a_server_that_says_something_is_alive() {
    let mut script = Script::extended();
    for id in 11..100 {
        assert_eq!(script.waits(Duration::from_secs(1)), TimerOutcome::Alive);
        script.hears(&event(id, "x"));
    }
}

#[test]
fn any_chunking_tells_the_same() {
    let dialogue = [
        MARKED,
        "\r\n\nnonsense\n[[[[\n\u{0}\n",
        &welcome("al", "t", "e", 10, ""),
        &event(11, "é"),
        &ack(9),
        "{\"type\":\"bye\",\"data\":{\"reason\":\"shutdown\",\"reconnect\":true,\"retry_after_ms\":5}}\n",
        "{\"type\":\"message\"",
    ]
    .concat();
    let expected = {
        let mut script = Script::new(true);
        script.hears(&dialogue);
        (script.shown_texts(), script.output())
    };
    assert_eq!(expected.0.len(), 5, "{expected:?}");
    for size in [1, 2, 3, 7, 64] {
        let mut script = Script::new(true);
        let now = script.now;
        for chunk in dialogue.as_bytes().chunks(size) {
            let shown = &mut script.shown;
            script
                .session
                .receive(chunk, now, &mut |news, _| shown.push(news));
        }
        assert_eq!((script.shown_texts(), script.output()), expected, "{size}");
        assert_eq!(script.session.take_bye().unwrap().retry_after_ms, 5);
    }
}

#[test]
fn a_line_without_end_is_passed_over_in_bounded_memory() {
    let mut script = Script::new(false);
    let chunk = "x".repeat(1 << 16);
    for _ in 0..256 {
        script.hears(&chunk);
        assert!(script.session.splitter.stored_bytes() <= MAX_LINE_BYTES + 1);
    }
    script.hears("\n");
    script.hears(UNMARKED);
    assert_eq!(
        script.shown_texts(),
        ["[Server]: 1.2.3.4:5 has entered the chat"]
    );
}

#[test]
fn a_long_replay_is_put_together_of_pages() {
    let mut script = Script::extended();
    script.asks(UserRequest::History(Some(500)));
    script.asks(UserRequest::History(None));
    let asked = script.output();
    assert_eq!(asked.matches(r#"{"limit":200}"#).count(), 2, "{asked}");
    script.hears(&page(6..=9, true));
    assert!(script.output().contains(r#"{"before":6,"limit":200}"#));
    // The second replay is whole with its first page.
    script.hears(&page(8..=9, false));
    script.hears(&page(2..=5, false));
    let shown = std::mem::take(&mut script.shown);
    let ids = |news: &SessionUpdate| match news {
        SessionUpdate::Heard(ServerLine::History(page)) => {
            page.messages.iter().filter_map(|said| said.id).collect()
        }
        _ => Vec::new(),
    };
    let ids: Vec<Vec<u64>> = shown.iter().map(ids).collect();
    assert_eq!(ids, [vec![8, 9], (2..=9).collect()]);
    // What was not asked for is shown as it comes.
    script.hears(&page(1..=1, false));
    assert_eq!(script.shown_texts(), ["past 1"]);
}

#[test]
fn what_is_said_waits_for_the_past_and_is_shown_once() {
    let mut script = Script::extended();
    script.asks(UserRequest::Since(Since::Event(3)));
    assert!(script.output().contains(r#"{"limit":200}"#));
    script.hears(&event(11, "live"));
    script.hears(&event(12, "later"));
    script.hears(&page(9..=11, true));
    assert!(script.output().contains(r#"{"before":9,"limit":200}"#));
    assert_eq!(script.shown, []);
    script.hears(&page(2..=8, true));
    let expected = "past 4 5 6 7 8 9 10 11";
    assert_eq!(script.shown_texts(), [expected, "bo: later"]);
    script.hears(&event(13, "on"));
    assert_eq!(script.shown_texts(), ["bo: on"]);
}

#[test]
fn a_past_without_messages_is_not_shown() {
    let mut script = Script::extended();
    let tomorrow = "2026-02-01T00:00:00Z".parse().unwrap();
    script.asks(UserRequest::Since(Since::Time(tomorrow)));
    script.hears(&event(11, "live"));
    script.hears(&page(1..=5, true));
    assert_eq!(script.shown_texts(), ["bo: live"]);
}

#[test]
fn a_past_that_a_break_cuts_is_asked_for_again() {
    let mut script = Script::extended();
    script.asks(UserRequest::Since(Since::Event(8)));
    script.hears(&event(11, "live"));
    script.hears(&page(10..=11, true));
    script.breaks();
    script.hears(MARKED);
    let resumed = ",\"resumed\":{\"complete\":true,\"missed\":1}";
    script.hears(&welcome("al", "t", "e", 12, resumed));
    script.hears(&event(12, "missed"));
    assert_eq!(script.shown_texts(), ["Recovered(Messages(1))"]);
    script.hears(&event(13, "after"));
    let asked = script.output();
    assert!(asked.ends_with("{\"limit\":200}}\n"), "{asked}");
    script.hears(&page(1..=12, false));
    assert_eq!(script.shown_texts(), ["past 9 10 11 12", "bo: after"]);
}

#[test]
fn what_waits_for_a_past_that_does_not_come_is_shown() {
    type End = fn(&mut Script);
    let refused: End = |script| {
        script.hears("{\"type\":\"error\",\"data\":{\"code\":\"invalid\",\"message\":\"no\",\"type\":\"history\"}}\n");
    };
    let gone: End = |script| {
        script.breaks();
        let shown = &mut script.shown;
        script
            .session
            .abandon_replay(&mut |news, _| shown.push(news));
    };
    for end in [refused, gone] {
        let mut script = Script::extended();
        script.asks(UserRequest::Since(Since::Event(1)));
        script.hears(&event(11, "live"));
        assert_eq!(script.shown, []);
        end(&mut script);
        let last = script.shown_texts();
        assert!(last.contains(&"bo: live".to_owned()), "{last:?}");
    }
}

#[test]
fn a_past_that_is_too_long_is_told_to_be_cut() {
    let mut script = Script::extended();
    script.asks(UserRequest::Since(Since::Event(0)));
    let pages = MAX_HISTORY.div_ceil(MAX_PAGE_MESSAGES) as u64;
    let size = MAX_PAGE_MESSAGES as u64;
    for number in (1..=pages).rev() {
        script.hears(&page(number * size + 1..=(number + 1) * size, true));
    }
    let told = script.shown_texts();
    let messages = MAX_HISTORY;
    assert_eq!(told[0], format!("{:?}", SessionUpdate::Cut { messages }));
    assert!(told[1].ends_with(&format!(" {}", (pages + 1) * size)));
}

#[test]
fn one_who_is_turned_away_at_the_door_was_not_let_in() {
    let mut script = Script::new(true);
    script.hears("{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"The chat is full (5 users); try again later\"}}\n");
    assert!(!script.session.is_greeted());
    script.breaks();
    script.hears(UNMARKED);
    assert!(script.session.is_greeted());
    script.breaks();
    assert!(!script.session.is_greeted());
}
