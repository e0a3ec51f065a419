use super::*;
use crate::chat::record::{RestoredState, SessionRecord};
use crate::chat::request::{EventCursor, Hello, Nonce, Request, SendPrivate};
use crate::chat::room::RoomTime;
use crate::chat::room::limits::RoomLimits;
use crate::chat::token::Token;
use crate::chat::username::Username;
use crate::limits::{
    GRACE, MAX_KEPT_PRIVATE_BYTES, MAX_KEPT_PRIVATE_MESSAGES, MAX_UNCERTAIN_MESSAGES, MIN_STAY,
};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A room whose store is the test.
struct Stored {
    room: Room,
    steady: SignedDuration,
    mail: BTreeMap<u64, MailRecord>,
    sessions: BTreeMap<u64, SessionRecord>,
    connections: u16,
}

impl Stored {
    fn new() -> Self {
        Stored {
            room: Room::restore(RoomLimits::default(), RestoredState::default(), at(0)).0,
            steady: SignedDuration::ZERO,
            mail: BTreeMap::new(),
            sessions: BTreeMap::new(),
            connections: 0,
        }
    }

    fn store(&mut self) {
        for record in self.room.take_records() {
            match record {
                Record::Mail(mail) => drop(self.mail.insert(mail.key, mail)),
                Record::MailForgotten(key) => drop(self.mail.remove(&key)),
                Record::Session(session) => {
                    drop(self.sessions.insert(session.token.prefix(), session));
                }
                _ => {}
            }
        }
    }

    /// Ends the server without a warning, and starts it again.
    fn restart(&mut self) {
        self.store();
        let present = self.room.users();
        let state = RestoredState {
            last_event: self.room.last_event(),
            present: present.map(|(name, time)| (name.clone(), time)).collect(),
            sessions: self.sessions.values().cloned().collect(),
            mail: self.mail.values().cloned().collect(),
            ..RestoredState::default()
        };
        self.room = Room::restore(RoomLimits::default(), state, at(0)).0;
        self.steady = SignedDuration::ZERO;
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.steady += signed(time);
        self.room.set_time(RoomTime {
            steady: self.steady,
            ..at(0)
        });
        errors(&self.room.expire())
    }

    /// Connects with the token of this number. Returns the user and the private messages and
    /// errors that it gets.
    fn hello(&mut self, token: u8, after: Option<u64>) -> (UserId, Vec<String>) {
        self.connections += 1;
        let (user, _) = self.room.enter(address(self.connections)).unwrap();
        self.greet(user, token, after)
    }

    /// Says hello on the connection of this user.
    fn greet(&mut self, user: UserId, token: u8, after: Option<u64>) -> (UserId, Vec<String>) {
        let hello = Request::Hello(Hello {
            client: "test".into(),
            token: Some(Token::new([token; 16])),
            after: after.map(|id| EventCursor {
                epoch: "e".into(),
                id,
            }),
        });
        let effects = self.ask(user, hello, token);
        let resumed = effects.iter().find_map(|effect| match effect {
            Effect::Resumed(user) => Some(*user),
            _ => None,
        });
        (resumed.unwrap_or(user), texts(&effects))
    }

    /// Connects under this name and stays long enough for a grace time.
    fn join(&mut self, name: &str, token: u8) -> UserId {
        let (user, _) = self.hello(token, None);
        self.ask(user, Request::SetName(name.into()), token);
        self.wait(MIN_STAY);
        user
    }

    /// Joins with a browser and opens a live stream.
    fn browse(&mut self, name: &str, token: u8) -> UserId {
        let ip = address(1).ip();
        let joined = self
            .room
            .join(None, ip, name, &mut || Token::new([token; 16]));
        let user = joined.unwrap().user;
        self.room.attach_stream(user, ip).unwrap();
        user
    }

    fn ask(&mut self, user: UserId, request: Request, token: u8) -> Vec<Effect> {
        self.room
            .request(user, request, &mut || Token::new([token; 16]))
    }

    fn whisper(&mut self, user: UserId, target: &str, text: &str) -> Vec<String> {
        let request = Request::Private(SendPrivate {
            target: target.into(),
            text: text.into(),
            nonce: Nonce::new(text.get(..64).unwrap_or(text)),
        });
        let effects = self.ask(user, request, 0);
        let is_ack = |effect: &Effect| matches!(effect, Effect::Reply(Reply::Ack { .. }));
        assert!(effects.iter().any(is_ack), "{effects:?}");
        texts(&effects)
    }
}

fn at(seconds: i64) -> RoomTime {
    RoomTime {
        wall: Timestamp::UNIX_EPOCH,
        steady: SignedDuration::from_secs(seconds),
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Returns the texts of received private messages, and of errors.
fn texts(effects: &[Effect]) -> Vec<String> {
    let texts = effects.iter().filter_map(|effect| match effect {
        Effect::ToUser(_, Reply::Private(copy)) if !copy.is_own => {
            Some(copy.message.text.to_string())
        }
        Effect::ToUser(_, Reply::Rejected(rejected)) => Some(rejected.error.code().to_owned()),
        _ => None,
    });
    texts.collect()
}

fn errors(effects: &[Effect]) -> Vec<String> {
    let mut errors = texts(effects);
    errors.retain(|text| text == "not-delivered");
    errors
}

#[test]
fn message_comes_again_unless_the_client_has_a_later_event() {
    let mut stored = Stored::new();
    let ada = stored.join("ada", 1);
    stored.join("bob", 2);
    assert_eq!(stored.whisper(ada, "bob", "one"), ["one"]);
    stored.ask(ada, Request::SendMessage("public".into()), 1);
    let event = stored.room.last_event();
    assert_eq!(stored.whisper(ada, "bob", "two"), ["two"]);
    for is_restart in [false, true] {
        if is_restart {
            stored.restart();
        }
        // An event of the future proves nothing.
        for (after, expected) in [
            (None, &["one", "two"][..]),
            (Some(event + 1000), &["one", "two"]),
            (Some(0), &["one", "two"]),
        ] {
            let (_, again) = stored.hello(2, after);
            assert_eq!(again, expected, "{after:?}");
        }
    }
    let (ada, _) = stored.hello(1, None);
    let (bob, again) = stored.hello(2, Some(stored.room.last_event()));
    assert_eq!(again.len(), 0, "an event came after both");
    stored.store();
    assert!(stored.mail.is_empty(), "{:?}", stored.mail);
    // Nor does a message that its live connection has had for long enough.
    stored.whisper(ada, "bob", "three");
    stored.store();
    assert_eq!(stored.mail.len(), 1);
    assert_eq!(
        stored.room.next_expiry(),
        Some(stored.steady + signed(RECEIPT_TIME))
    );
    stored.wait(RECEIPT_TIME);
    stored.store();
    assert!(stored.mail.is_empty());
    stored.room.disconnect(bob, LeaveReason::Lost);
    assert!(stored.wait(GRACE).is_empty(), "nothing is in doubt");
}

#[test]
fn client_that_sends_a_line_has_what_was_sent_seconds_before() {
    let mut stored = Stored::new();
    let ada = stored.join("ada", 1);
    let bob = stored.join("bob", 2);
    stored.whisper(ada, "bob", "old");
    stored.wait(CLOSE_TIME);
    stored.whisper(ada, "bob", "new");
    stored.room.note_sign_of_life(bob);
    stored.restart();
    assert_eq!(stored.hello(2, None).1, ["new"]);
    stored.room.set_oldest_pending(Some(stored.steady));
    stored.wait(CLOSE_TIME);
    let bob = stored.hello(2, None).0;
    stored.room.note_sign_of_life(bob);
    stored.restart();
    assert_eq!(stored.hello(2, None).1, ["new"], "the store holds it back");
}

#[test]
fn what_may_be_lost_is_reported_to_a_sender_who_may_be_away() {
    // The end of the connection of the receiver, when the message is sent in seconds before it,
    // and whether the sender is told.
    let cases = [
        (LeaveReason::Quit, 0, false),
        (LeaveReason::Closed, 4, true),
        (LeaveReason::Closed, 6, false),
        (LeaveReason::Lost, 119, true),
        (LeaveReason::Lost, 121, false),
        (LeaveReason::TooSlow, 119, true),
    ];
    for (reason, age, is_told) in cases {
        for is_away in [false, true] {
            let mut stored = Stored::new();
            let ada = stored.join("ada", 1);
            let bob = stored.join("bob", 2);
            stored.whisper(ada, "bob", "one");
            stored.wait(Duration::from_secs(age));
            let mut told = errors(&stored.room.disconnect(bob, reason));
            stored.wait(GRACE / 2);
            if is_away {
                stored.room.disconnect(ada, LeaveReason::Lost);
            }
            told.extend(stored.wait(GRACE / 2));
            if is_away {
                stored.restart();
                told.extend(stored.hello(1, None).1);
            }
            // It may come again, like a message.
            told.dedup();
            let expected = if is_told { &["not-delivered"][..] } else { &[] };
            assert_eq!(told, expected, "{reason:?} after {age} s, away: {is_away}");
        }
    }
}

#[test]
fn restart_reports_messages_to_those_who_do_not_come_back() {
    let mut stored = Stored::new();
    let ada = stored.join("ada", 1);
    stored.join("bob", 2);
    let (basic, _) = stored.room.enter(address(77)).unwrap();
    let name = stored.room.name(basic).unwrap().to_string();
    stored.whisper(ada, "bob", "one");
    stored.whisper(ada, &name, "two");
    stored.restart();
    assert_eq!(
        stored.hello(1, None).1,
        ["not-delivered"],
        "of the basic user"
    );
    assert_eq!(stored.wait(GRACE), ["not-delivered"], "of bob");
    stored.store();
    // An orderly stop lets users of the basic dialect read everything.
    let (basic, _) = stored.room.enter(address(78)).unwrap();
    let name = stored.room.name(basic).unwrap().to_string();
    let (ada, _) = stored.hello(1, Some(stored.room.last_event()));
    stored.whisper(ada, &name, "three");
    stored.room.note_last_receipts();
    stored.restart();
    assert!(
        !stored
            .hello(1, None)
            .1
            .contains(&"not-delivered".to_owned())
    );
}

#[test]
fn receipt_is_uncertain_while_the_store_holds_a_message_back() {
    // The end of the connection of the receiver, and whether the message was written before.
    for (reason, is_written) in [
        (LeaveReason::Closed, false),
        (LeaveReason::Quit, false),
        (LeaveReason::Closed, true),
    ] {
        let mut stored = Stored::new();
        let ada = stored.join("ada", 1);
        let bob = stored.join("bob", 2);
        let sent = stored.steady;
        stored.room.set_oldest_pending(Some(sent));
        stored.whisper(ada, "bob", "one");
        stored.wait(2 * RECEIPT_TIME);
        if is_written {
            stored.room.set_oldest_pending(None);
            stored.room.note_late_effects(sent);
        }
        let mut told = errors(&stored.room.disconnect(bob, reason));
        if reason == LeaveReason::Closed {
            let (bob, again) = stored.hello(2, None);
            assert_eq!(again, ["one"], "written: {is_written}");
            stored.room.disconnect(bob, LeaveReason::Lost);
            told.extend(stored.wait(GRACE));
        }
        assert_eq!(told, ["not-delivered"], "{reason:?}, written: {is_written}");
    }
}

#[test]
fn receipt_is_uncertain_for_a_connection_that_is_behind() {
    let mut stored = Stored::new();
    let ada = stored.join("ada", 1);
    let bob = stored.join("bob", 2);
    stored.whisper(ada, "bob", "one");
    stored.steady += signed(2 * RECEIPT_TIME);
    stored.room.set_time(at(stored.steady.as_secs()));
    stored.room.hold_receipts(|| vec![bob]);
    stored.wait(Duration::ZERO);
    stored.room.disconnect(bob, LeaveReason::Lost);
    assert_eq!(stored.wait(GRACE), ["not-delivered"]);
}

#[test]
fn mail_of_a_temporary_user_moves_to_the_user_that_resumes() {
    let mut stored = Stored::new();
    let ada = stored.join("ada", 1);
    let bob = stored.join("bob", 2);
    stored.room.disconnect(bob, LeaveReason::Lost);
    let (temporary, _) = stored.room.enter(address(77)).unwrap();
    let name = stored.room.name(temporary).unwrap().to_string();
    assert_eq!(stored.whisper(ada, &name, "one"), ["one"]);
    let (bob, again) = stored.greet(temporary, 2, None);
    assert_eq!(again.len(), 0, "the connection has it");
    stored.room.disconnect(bob, LeaveReason::Lost);
    let (bob, again) = stored.hello(2, None);
    assert_eq!(again, ["one"]);
    stored.room.disconnect(bob, LeaveReason::Lost);
    assert_eq!(stored.wait(GRACE), ["not-delivered"]);
}

#[test]
fn dead_link_of_a_browser_is_as_uncertain_as_that_of_a_client() {
    for (age, told) in [(119, &["not-delivered"][..]), (121, &[])] {
        let mut stored = Stored::new();
        let ada = stored.join("ada", 1);
        let browser = stored.browse("brow", 9);
        stored.whisper(ada, "brow", "one");
        stored.wait(Duration::from_secs(age));
        stored.room.disconnect(browser, LeaveReason::Closed);
        assert_eq!(stored.wait(GRACE), told, "after {age} s");
    }
}

#[test]
fn errors_wait_with_the_session_of_a_sender_that_comes_back_later() {
    for is_restart in [false, true] {
        let mut stored = Stored::new();
        let ada = stored.join("ada", 1);
        let bob = stored.join("bob", 2);
        stored.whisper(ada, "bob", "one");
        for user in [ada, bob] {
            stored.room.disconnect(user, LeaveReason::Lost);
        }
        if is_restart {
            stored.restart();
        }
        stored.wait(GRACE);
        // The error is stored, too.
        for _ in 0..2 {
            stored.store();
            assert_eq!(stored.mail.len(), 1, "restart: {is_restart}");
            stored.restart();
        }
        assert_eq!(stored.hello(2, None).1.len(), 0);
        let (ada, told) = stored.hello(1, None);
        assert_eq!(told, ["not-delivered"], "restart: {is_restart}");
        stored.ask(ada, Request::Quit, 1);
        stored.room.disconnect(ada, LeaveReason::Quit);
        stored.store();
        assert!(stored.mail.is_empty(), "{:?}", stored.mail);
    }
}

#[test]
fn report_at_a_restart_does_not_replace_other_mail() {
    let mut stored = Stored::new();
    stored.join("bob", 2);
    let (basic, _) = stored.room.enter(address(77)).unwrap();
    let basic = stored.room.name(basic).unwrap().to_string();
    let browser = stored.browse("brow", 9);
    // A browser keeps its own copies, so all four keys are in use.
    for (target, text) in [(&*basic, "one"), ("bob", "two")] {
        stored.whisper(browser, target, text);
    }
    stored.restart();
    stored.store();
    let mut texts = Vec::new();
    for mail in stored.mail.values() {
        texts.push(match &mail.content {
            MailContent::Message { message, .. } => &message.text,
            MailContent::NotDelivered(target) => target,
        });
    }
    assert_eq!(
        texts,
        ["one", "two", "two", basic.as_str()]
            .map(Box::from)
            .iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn numbers_of_a_browser_grow_whatever_the_clock_says() {
    let mut stored = Stored::new();
    let ada = stored.join("ada", 1);
    let mut numbers = Vec::new();
    for (number, wall) in [(1, 5000), (1, 3), (2, 2)] {
        let ip = address(1).ip();
        stored.room.set_time(RoomTime {
            wall: Timestamp::from_second(wall).unwrap(),
            steady: stored.steady,
        });
        let token = Token::new([9 * number; 16]);
        if stored.room.browser_user(&token).is_none() {
            let joined =
                stored
                    .room
                    .join(Some(token.clone()), ip, &format!("b{number}"), &mut || {
                        token.clone()
                    });
            joined.unwrap();
        }
        let browser = stored.room.browser_user(&token).unwrap();
        // One message waits, and one does not.
        stored.whisper(
            ada,
            &format!("b{number}"),
            &format!("waiting {number} {wall}"),
        );
        stored.room.attach_stream(browser, ip).unwrap();
        stored.whisper(ada, &format!("b{number}"), &format!("sent {number} {wall}"));
        let mail = stored.room.mailbox(browser);
        let last = mail.iter().rev().take(2).rev();
        numbers.extend(last.map(|reply| match reply {
            Reply::Private(copy) => copy.number.unwrap(),
            other => panic!("{other:?}"),
        }));
        stored.room.disconnect(browser, LeaveReason::Closed);
    }
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers[0], 5_000_000_001);
    stored.restart();
    let browser = stored.room.browser_user(&Token::new([9; 16])).unwrap();
    stored.room.attach_stream(browser, address(1).ip()).unwrap();
    assert_eq!(
        stored.room.mailbox(browser).len(),
        4,
        "the mailbox is restored"
    );
}

#[test]
fn waiting_and_sent_mail_are_bounded() {
    let mut stored = Stored::new();
    let ada = stored.join("ada", 1);
    let bob = stored.join("bob", 2);
    for number in 0..MAX_UNCERTAIN_MESSAGES + 10 {
        stored.whisper(ada, "bob", &number.to_string());
    }
    stored.store();
    assert_eq!(stored.mail.len(), MAX_UNCERTAIN_MESSAGES);
    stored.room.disconnect(bob, LeaveReason::Lost);
    // What was sent does not count for what waits.
    for number in 0..MAX_KEPT_PRIVATE_MESSAGES {
        stored.whisper(ada, "bob", &format!("waiting {number}"));
    }
    let mailbox = |texts: &[usize]| {
        let mut mailbox = Mailbox::default();
        for (key, bytes) in (0..).zip(texts) {
            assert!(mailbox.may_wait(*bytes), "{texts:?}");
            mailbox.push(waiting(key, *bytes));
        }
        mailbox
    };
    let full = mailbox(&[1; MAX_KEPT_PRIVATE_MESSAGES]);
    assert!(!full.may_wait(1));
    let almost = mailbox(&[MAX_KEPT_PRIVATE_BYTES - 1]);
    assert!(almost.may_wait(1) && !almost.may_wait(2));
}

#[test]
fn stranger_does_not_push_out_mail_of_others_unreported() {
    for is_restart in [false, true] {
        let mut stored = Stored::new();
        let ada = stored.join("ada", 1);
        let bob = stored.join("bob", 2);
        let eve = stored.join("eve", 3);
        stored.whisper(ada, "bob", "one");
        for number in 10..30 {
            stored.whisper(eve, "bob", &format!("{number}{}", "x".repeat(4094)));
        }
        if is_restart {
            stored.restart();
            stored.hello(3, None);
        } else {
            stored.room.disconnect(bob, LeaveReason::Lost);
        }
        // What is too much is reported to its sender, and the rest comes again.
        let (_, again) = stored.hello(2, None);
        let of = |start: &str| again.iter().filter(|text| text.starts_with(start)).count();
        let all = (of("one"), of("not-delivered"), again.len());
        assert_eq!(all, (1, 5, 1 + 20), "restart: {is_restart}");
    }
}

#[test]
fn error_comes_again_to_a_browser_that_may_not_have_it() {
    let mut stored = Stored::new();
    let browser = stored.browse("brow", 9);
    let bob = stored.join("bob", 2);
    stored.whisper(browser, "bob", "one");
    let quit_of_bob = stored.room.disconnect(bob, LeaveReason::TooSlow);
    assert_eq!(errors(&quit_of_bob), ["not-delivered"]);
    let count = |stored: &Stored| {
        let mail = stored.room.mailbox(browser);
        let errors = mail
            .iter()
            .filter(|reply| matches!(reply, Reply::Rejected(_)));
        errors.count()
    };
    stored.room.disconnect(browser, LeaveReason::Closed);
    stored.room.attach_stream(browser, address(1).ip()).unwrap();
    assert_eq!(count(&stored), 1);
    stored.wait(RECEIPT_TIME);
    assert_eq!(count(&stored), 0);
    stored.store();
    assert_eq!(stored.mail.len(), 1, "its own copy");
}

/// Returns a message of this many bytes that waits.
fn waiting(key: u64, bytes: usize) -> Mail {
    let message = Arc::new(PrivateMessage {
        time: Timestamp::UNIX_EPOCH,
        source: Username::from_stored("a"),
        target: Username::from_stored("b"),
        text: "x".repeat(bytes).into(),
    });
    Mail {
        key,
        number: None,
        content: MailContent::Message {
            message,
            is_own: false,
        },
        sender: None,
        sent: None,
    }
}
