use super::*;
use crate::chat::message::Message;
use crate::chat::username::Username;
use crate::server::fanout::broadcast_log::BroadcastLog;
use jiff::Timestamp;

/// Takes `room` bytes before it would block, and `per_call` bytes a call.
struct LimitedSocket {
    taken: Vec<u8>,
    room: usize,
    per_call: usize,
}

impl LimitedSocket {
    fn new(room: usize, per_call: usize) -> Self {
        LimitedSocket {
            taken: Vec::new(),
            room,
            per_call,
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.taken).unwrap()
    }
}

impl Write for LimitedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room).min(self.per_call);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.taken.extend_from_slice(&bytes[..count]);
        self.room -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns this log for the basic dialect and empty ones for the others.
fn logs_of(log: BroadcastLog) -> BroadcastLogs {
    PerDialect {
        basic: Arc::new(log),
        extended: Arc::new(BroadcastLog::new(1 << 20)),
        browser: Arc::new(BroadcastLog::new(1 << 20)),
    }
}

fn basic(offset: u64) -> LogPosition {
    LogPosition {
        dialect: Dialect::Basic,
        offset,
    }
}

fn extended(offset: u64) -> LogPosition {
    LogPosition {
        dialect: Dialect::Extended,
        offset,
    }
}

fn ends(basic: u64) -> PerDialect<u64> {
    PerDialect {
        basic,
        extended: 0,
        browser: 0,
    }
}

fn log(batches: &[&str]) -> BroadcastLogs {
    let log = BroadcastLog::new(1 << 20);
    for batch in batches {
        log.publish(Arc::from(batch.as_bytes()));
    }
    logs_of(log)
}

fn bytes(at: u64, text: &str) -> QueuedReply {
    QueuedReply {
        at,
        skip: 0,
        body: ReplyBody::Bytes(text.as_bytes().into()),
    }
}

fn bye() -> Eviction {
    Eviction {
        farewell: b"bye\n"[..].into(),
        rest: None,
    }
}

fn name(port: u16) -> Username {
    Username::from_address(([127, 0, 0, 1], port).into())
}

fn message(text: &str) -> Arc<Message> {
    Arc::new(Message::new(1, Timestamp::UNIX_EPOCH, name(1), text.into()))
}

/// Writes everything to a socket that blocks after `step` bytes.
fn drain(outbox: &mut Outbox, log: &BroadcastLogs, step: usize) -> String {
    let mut text = Vec::new();
    for _ in 0..1_000_000 {
        let mut socket = LimitedSocket::new(step, step);
        let progress = outbox.write(log, log.ends(), &mut socket).unwrap();
        text.extend_from_slice(&socket.taken);
        match progress {
            Progress::Blocked | Progress::Yield => {}
            Progress::CaughtUp | Progress::Finished => return String::from_utf8(text).unwrap(),
            Progress::FellOut => panic!("fell out of the log"),
            Progress::NeedsStored(_) => panic!("nothing was to come from the store"),
        }
    }
    panic!("the writing never ends");
}

#[test]
fn replies_keep_their_place_for_any_write_size() {
    let log = log(&["a\nb\n", "c\n", "d\n"]);
    for step in [1, 2, 3, 5, 1000] {
        let mut outbox = Outbox::new(basic(2));
        outbox.add(bytes(4, "R1\n"));
        outbox.add(bytes(4, "R2\n"));
        outbox.add(bytes(8, "R3\n"));
        assert!(outbox.has_replies());
        assert_eq!(
            drain(&mut outbox, &log, step),
            "b\nR1\nR2\nc\nd\nR3\n",
            "steps of {step}"
        );
        assert_eq!(outbox.position(), basic(8));
        assert!(!outbox.has_replies());
    }
}

#[test]
fn outbox_writes_nothing_after_the_end() {
    let log = log(&["a\nb\n", "c\n"]);
    let mut outbox = Outbox::new(basic(0));
    outbox.add(bytes(2, "bye\n"));
    outbox.end_at(basic(2));
    assert_eq!(drain(&mut outbox, &log, 1), "a\nbye\n");
    assert!(outbox.is_finished());
}

#[test]
fn reply_replaces_skipped_lines_of_the_log() {
    let log = log(&["a\nsummary\nb\n"]);
    let mut outbox = Outbox::new(basic(0));
    outbox.add(QueuedReply {
        skip: 8,
        ..bytes(2, "own\n")
    });
    assert_eq!(drain(&mut outbox, &log, 3), "a\nown\nb\n");
}

#[test]
fn long_replies_are_complete_after_all_chunks() {
    let log = log(&[]);
    let messages = vec![message("one"), message("two")];
    let users: Arc<[(Username, Timestamp)]> = (1..=3000)
        .map(|port| (name(port), Timestamp::UNIX_EPOCH))
        .collect();
    let mut outbox = Outbox::new(basic(0));
    outbox.add(QueuedReply {
        at: 0,
        skip: 0,
        body: ReplyBody::Long(LongReply::History(messages, 0)),
    });
    outbox.add(QueuedReply {
        at: 0,
        skip: 0,
        body: ReplyBody::Long(LongReply::Users(users, 0)),
    });
    let text = drain(&mut outbox, &log, 777);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[1],
        r#"{"type":"message","data":{"source":"127.0.0.1:1","message":"two"}}"#
    );
    let names: Vec<String> = (1..=3000).map(|port| format!("127.0.0.1:{port}")).collect();
    let told = format!("Connected users (3000): {}", names.join(", "));
    let last: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(last["data"]["message"], told);
}

#[test]
fn answer_is_reported_once_when_written() {
    let log = log(&["a\n"]);
    let mut outbox = Outbox::new(basic(0));
    outbox.add(bytes(0, "reply\n"));
    outbox.expect_answer();
    let mut socket = LimitedSocket::new(3, 3);
    assert_eq!(
        outbox.write(&log, ends(2), &mut socket).unwrap(),
        Progress::Blocked
    );
    assert!(!outbox.take_answered());
    socket.room = 3;
    assert_eq!(
        outbox.write(&log, ends(2), &mut socket).unwrap(),
        Progress::Blocked
    );
    assert!(outbox.take_answered());
    assert!(!outbox.take_answered(), "only once");
}

#[test]
fn reader_older_than_the_log_falls_out() {
    let log = logs_of(BroadcastLog::new(4));
    for _ in 0..10 {
        log.basic.publish(Arc::from(&b"abc\n"[..]));
    }
    let mut outbox = Outbox::new(basic(0));
    let progress = outbox
        .write(&log, log.ends(), &mut LimitedSocket::new(100, 100))
        .unwrap();
    assert_eq!(progress, Progress::FellOut);
}

#[test]
fn eviction_finishes_the_line_and_adds_the_last_line() {
    let log = log(&["first\nsecond\n", "third\n"]);
    let cases = [
        (0, "bye\n"),
        (3, "first\nbye\n"),
        (6, "first\nbye\n"),
        (7, "first\nsecond\nbye\n"),
    ];
    for (taken, expected) in cases {
        let mut outbox = Outbox::new(basic(0));
        let mut socket = LimitedSocket::new(taken, 100);
        assert_eq!(
            outbox.write(&log, log.ends(), &mut socket).unwrap(),
            Progress::Blocked
        );
        outbox.evict(&log, &bye());
        let text = format!("{}{}", socket.text(), drain(&mut outbox, &log, 2));
        assert_eq!(text, expected, "after {taken} bytes");
    }
}

#[test]
fn eviction_finishes_a_line_that_the_log_has_dropped() {
    let log = logs_of(BroadcastLog::new(10));
    log.basic.publish(b"first\nsecond\n"[..].into());
    for (taken, taken_later, expected) in [
        (2, 0, "first\nbye\n"),
        (2, 2, "first\nbye\n"),
        (2, 4, "first\nbye\n"),
        (6, 0, "first\nbye\n"),
    ] {
        let mut outbox = Outbox::new(basic(0));
        let mut socket = LimitedSocket::new(taken, 100);
        let ends = log.ends();
        outbox.write(&log, ends, &mut socket).unwrap();
        let rest = outbox.position().rest_of_line(&log).unwrap();
        let cut = Eviction {
            rest: Some((outbox.position(), rest)),
            ..bye()
        };
        // Another thread may have written on meanwhile.
        socket.room = taken_later;
        outbox.write(&log, ends, &mut socket).unwrap();
        let far = logs_of(BroadcastLog::new(10));
        far.basic.publish(vec![b'\n'; 1000].into());
        far.basic.publish(vec![b'\n'; 1000].into());
        outbox.evict(&far, &cut);
        let text = format!("{}{}", socket.text(), drain(&mut outbox, &far, 2));
        assert_eq!(text, expected, "after {taken} and {taken_later} bytes");
    }
}

#[test]
fn eviction_finishes_the_line_of_a_reply() {
    let log = log(&["first\n"]);
    let reply = "one\ntwo\nthree\n";
    for taken in 0..reply.len() {
        let lines = reply[..taken].split_inclusive('\n').count();
        let begun: String = reply.split_inclusive('\n').take(lines).collect();
        let expected = format!("{begun}bye\n");
        let mut outbox = Outbox::new(basic(0));
        outbox.add(bytes(0, reply));
        outbox.add(bytes(0, "another\n"));
        let mut socket = LimitedSocket::new(taken, 100);
        assert_eq!(
            outbox.write(&log, ends(6), &mut socket).unwrap(),
            Progress::Blocked
        );
        outbox.evict(&log, &bye());
        let text = format!("{}{}", socket.text(), drain(&mut outbox, &log, 100));
        assert_eq!(text, expected, "after {taken} bytes");
    }
}

#[test]
fn eviction_in_an_unencoded_line_adds_nothing() {
    let log = log(&[]);
    let users: Arc<[(Username, Timestamp)]> = (1..=3000)
        .map(|port| (name(port), Timestamp::UNIX_EPOCH))
        .collect();
    let mut outbox = Outbox::new(basic(0));
    outbox.add(QueuedReply {
        at: 0,
        skip: 0,
        body: ReplyBody::Long(LongReply::Users(users, 0)),
    });
    let mut socket = LimitedSocket::new(20, 100);
    assert_eq!(
        outbox.write(&log, ends(0), &mut socket).unwrap(),
        Progress::Blocked
    );
    outbox.evict(&log, &bye());
    assert_eq!(drain(&mut outbox, &log, 100), "");
    assert!(outbox.is_finished());
}

/// Returns logs with these batches.
fn both(basic: &[&str], extended: &[&str]) -> BroadcastLogs {
    let logs = log(basic);
    for batch in extended {
        logs.extended.publish(Arc::from(batch.as_bytes()));
    }
    logs
}

fn start(offset: u64) -> StreamStart {
    StreamStart {
        dialect: Dialect::Extended,
        offset,
        lag_baseline: offset,
        stored: None,
    }
}

fn switch(at: u64, start: StreamStart) -> QueuedReply {
    QueuedReply {
        at,
        skip: 0,
        body: ReplyBody::Switch(start),
    }
}

#[test]
fn client_switches_the_dialect_between_two_lines() {
    let logs = both(&["a\nb\n", "c\n"], &["A\nB\n", "C\nD\n"]);
    for step in 1..8 {
        let mut outbox = Outbox::new(basic(0));
        outbox.add(bytes(4, "welcome\n"));
        outbox.add(switch(4, start(4)));
        // Its place is in the other log: the position is passed over there only.
        outbox.add(bytes(6, "reply\n"));
        outbox.end_at(extended(8));
        let told = drain(&mut outbox, &logs, step);
        assert_eq!(told, "a\nb\nwelcome\nC\nreply\nD\n", "{step} a time");
        assert!(outbox.is_finished());
    }
}

#[test]
fn missed_events_come_from_an_earlier_line_of_the_log() {
    let logs = both(&["a\n"], &["A\nB\n", "C\nD\n"]);
    let mut outbox = Outbox::new(basic(2));
    outbox.add(bytes(2, "welcome\n"));
    let missed = StreamStart {
        dialect: Dialect::Extended,
        offset: 2,
        lag_baseline: 6,
        stored: None,
    };
    outbox.add(switch(2, missed));
    assert_eq!(drain(&mut outbox, &logs, 3), "welcome\nB\nC\nD\n");
    assert_eq!((outbox.lag_baseline(), outbox.position()), (6, extended(8)));
}

#[test]
fn older_missed_events_come_from_the_store_first() {
    let logs = both(&["a\n"], &["C\n", "D\n"]);
    let stored = StoredRange { after: 5, until: 7 };
    let begin = StreamStart {
        dialect: Dialect::Extended,
        offset: 2,
        lag_baseline: 2,
        stored: Some(stored),
    };
    let mut outbox = Outbox::new(basic(2));
    outbox.add(switch(2, begin));
    outbox.add(bytes(2, "kept\n"));
    let mut socket = LimitedSocket::new(100, 100);
    for (stored, lines, last) in [
        (stored, "six\n", 6),
        (StoredRange { after: 6, until: 7 }, "seven\n", 7),
    ] {
        let progress = outbox.write(&logs, logs.ends(), &mut socket).unwrap();
        assert_eq!(progress, Progress::NeedsStored(stored));
        outbox.add_stored(lines.as_bytes().into(), last);
    }
    let progress = outbox.write(&logs, logs.ends(), &mut socket).unwrap();
    assert_eq!(progress, Progress::CaughtUp);
    assert_eq!(socket.text(), "six\nseven\nkept\nD\n");
}

#[test]
fn eviction_during_a_store_read_finishes_the_line() {
    let logs = both(&["a\n"], &["C\n", "D\n"]);
    for (taken, expected) in [(0, "bye\n"), (2, "six\nbye\n")] {
        let begin = StreamStart {
            dialect: Dialect::Extended,
            offset: 2,
            lag_baseline: 2,
            stored: Some(StoredRange { after: 5, until: 9 }),
        };
        let mut outbox = Outbox::new(basic(2));
        outbox.add(switch(2, begin));
        let mut socket = LimitedSocket::new(taken, 100);
        outbox.write(&logs, logs.ends(), &mut socket).unwrap();
        outbox.add_stored(b"six\n"[..].into(), 6);
        outbox.write(&logs, logs.ends(), &mut socket).unwrap();
        outbox.evict(&logs, &bye());
        let text = format!("{}{}", socket.text(), drain(&mut outbox, &logs, 100));
        assert_eq!(text, expected, "after {taken} bytes");
    }
}
