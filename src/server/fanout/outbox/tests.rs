use super::*;
use crate::chat::username::Username;
use jiff::Timestamp;

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

fn publish(logs: &BroadcastLogs, dialect: Dialect, batches: &[&str]) {
    for batch in batches {
        logs[dialect].publish(batch.as_bytes().into());
    }
}

/// Returns logs with these batches, which keep at least `max_lag` bytes each.
fn logs_of(max_lag: usize, basic: &[&str], extended: &[&str]) -> BroadcastLogs {
    let logs = BroadcastLogs::new(1, max_lag, max_lag);
    publish(&logs, Dialect::Basic, basic);
    publish(&logs, Dialect::Extended, extended);
    logs
}

fn reply(at: u64, body: ReplyBody) -> QueuedReply {
    QueuedReply { at, skip: 0, body }
}

fn bytes(at: u64, text: &str) -> QueuedReply {
    reply(at, ReplyBody::Bytes(text.as_bytes().into()))
}

fn bye() -> Eviction {
    Eviction {
        farewell: b"bye\n"[..].into(),
        rest: None,
    }
}

/// Writes to a socket that takes `room` bytes, and returns what it took.
fn write(outbox: &mut Outbox, logs: &BroadcastLogs, room: usize) -> (Progress, String) {
    let mut taken = vec![0; room];
    let mut socket = &mut taken[..];
    let progress = outbox.write(logs, logs.ends(), &mut socket).unwrap();
    let left = socket.len();
    taken.truncate(room - left);
    (progress, String::from_utf8(taken).unwrap())
}

/// Writes everything to a socket that blocks after `step` bytes.
fn drain(outbox: &mut Outbox, logs: &BroadcastLogs, step: usize) -> String {
    let mut text = String::new();
    loop {
        let (progress, part) = write(outbox, logs, step);
        text += &part;
        match progress {
            Progress::Blocked | Progress::Yield => assert_eq!(part.len(), step),
            Progress::CaughtUp | Progress::Finished => return text,
            Progress::FellOut | Progress::NeedsStored(_) => panic!("{progress:?}"),
        }
    }
}

#[test]
fn replies_keep_their_place_for_any_write_size() {
    let logs = logs_of(1000, &["a\nb\n", "c\n", "d\n", "e\n"], &[]);
    for step in [1, 2, 3, 5, 1000] {
        let mut outbox = Outbox::new(basic(2));
        outbox.add(bytes(4, "R1\n"));
        // The client does not get the next line of the log.
        outbox.add(QueuedReply {
            skip: 2,
            ..bytes(4, "R2\n")
        });
        outbox.add(bytes(8, "R3\n"));
        outbox.end_at(basic(8));
        let text = drain(&mut outbox, &logs, step);
        assert_eq!(text, "b\nR1\nR2\nd\nR3\n", "steps of {step}");
        assert_eq!(outbox.position(), basic(8));
        assert!(outbox.is_finished());
    }
}

fn long_reply() -> QueuedReply {
    let name = |port| Username::from_address(([127, 0, 0, 1], port).into());
    let users = (1..=3000).map(|port| (name(port), Timestamp::UNIX_EPOCH));
    reply(0, ReplyBody::Long(LongReply::Users(users.collect(), 0)))
}

#[test]
fn long_reply_is_complete_after_all_chunks() {
    let mut outbox = Outbox::new(basic(0));
    outbox.add(long_reply());
    let text = drain(&mut outbox, &logs_of(1000, &[], &[]), 777);
    let names: Vec<String> = (1..=3000).map(|port| format!("127.0.0.1:{port}")).collect();
    let told = format!("Connected users (3000): {}", names.join(", "));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["data"]["message"], told);
}

#[test]
fn answer_is_reported_once_when_written() {
    let logs = logs_of(1000, &["a\n"], &[]);
    let mut outbox = Outbox::new(basic(0));
    outbox.add(bytes(0, "reply\n"));
    outbox.expect_answer();
    for expected in [false, true, false] {
        write(&mut outbox, &logs, 3);
        assert_eq!(outbox.take_answered(), expected);
    }
}

#[test]
fn reader_older_than_the_log_falls_out() {
    let logs = logs_of(4, &["abc\n", "def\n", "ghi\n"], &[]);
    let mut outbox = Outbox::new(basic(0));
    assert_eq!(write(&mut outbox, &logs, 100).0, Progress::FellOut);
}

#[test]
fn eviction_finishes_the_record_and_adds_the_last_line() {
    let events = "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\ndata: 3\n\n";
    for (dialect, end, text) in [
        (Dialect::Basic, "\n", "one\ntwo\nthree\n"),
        (Dialect::Browser, "\n\n", events),
    ] {
        let full = logs_of(1000, &[], &[]);
        publish(&full, dialect, &[text]);
        let empty = logs_of(1000, &[], &[]);
        for (logs, replies) in [(full, vec![]), (empty, vec![text, "another\n\n"])] {
            for taken in 0..text.len() {
                let mut outbox = Outbox::new(LogPosition { dialect, offset: 0 });
                replies.iter().for_each(|text| outbox.add(bytes(0, text)));
                let (progress, begun) = write(&mut outbox, &logs, taken);
                assert_eq!(progress, Progress::Blocked);
                outbox.evict(&logs, &bye());
                let got = begun + &drain(&mut outbox, &logs, 2);
                let count = text[..taken].split_inclusive(end).count();
                let whole: String = text.split_inclusive(end).take(count).collect();
                assert_eq!(got, whole + "bye\n", "after {taken} bytes");
                assert!(outbox.is_finished());
            }
        }
    }
}

#[test]
fn eviction_finishes_a_line_that_the_log_has_dropped() {
    let logs = logs_of(10, &["first\nsecond\n"], &[]);
    for (taken, taken_later, expected) in [
        (2, 0, "first\nbye\n"),
        (2, 2, "first\nbye\n"),
        (2, 4, "first\nbye\n"),
        (6, 0, "first\nbye\n"),
    ] {
        let mut outbox = Outbox::new(basic(0));
        let (_, begun) = write(&mut outbox, &logs, taken);
        let position = outbox.position();
        let rest = position.rest_of_record(&logs).unwrap();
        let cut = Eviction {
            rest: Some((position, rest)),
            ..bye()
        };
        // Another thread may have written on meanwhile.
        let (_, later) = write(&mut outbox, &logs, taken_later);
        let line = "\n".repeat(1000);
        let far = logs_of(10, &[&line, &line], &[]);
        outbox.evict(&far, &cut);
        let text = begun + &later + &drain(&mut outbox, &far, 2);
        assert_eq!(text, expected, "after {taken} and {taken_later} bytes");
    }
}

#[test]
fn eviction_in_an_unencoded_line_adds_nothing() {
    let logs = logs_of(1000, &[], &[]);
    let mut outbox = Outbox::new(basic(0));
    outbox.add(long_reply());
    assert_eq!(write(&mut outbox, &logs, 20).0, Progress::Blocked);
    outbox.evict(&logs, &bye());
    assert_eq!(drain(&mut outbox, &logs, 100), "");
    assert!(outbox.is_finished());
}

fn switch(at: u64, stored: Option<StoredRange>) -> QueuedReply {
    let start = StreamStart {
        dialect: Dialect::Extended,
        offset: 2,
        lag_baseline: 6,
        stored,
    };
    reply(at, ReplyBody::Switch(start))
}

#[test]
fn client_switches_the_dialect_between_two_lines_and_gets_missed_events() {
    let logs = logs_of(1000, &["a\nb\n", "c\n"], &["A\nB\n", "C\nD\n"]);
    for step in 1..8 {
        let mut outbox = Outbox::new(basic(0));
        outbox.add(bytes(4, "welcome\n"));
        outbox.add(switch(4, None));
        // Its place is in the other log: the position is passed over there only.
        outbox.add(bytes(6, "reply\n"));
        outbox.end_at(extended(8));
        let told = drain(&mut outbox, &logs, step);
        assert_eq!(told, "a\nb\nwelcome\nB\nC\nreply\nD\n", "{step} a time");
        assert!(outbox.is_finished());
        assert_eq!((outbox.lag_baseline(), outbox.position()), (6, extended(8)));
    }
}

#[test]
fn older_missed_events_come_from_the_store_first() {
    let logs = logs_of(1000, &["a\n"], &["C\n", "D\n"]);
    let missing = |after| StoredRange { after, until: 7 };
    let mut outbox = Outbox::new(basic(2));
    outbox.add(switch(2, Some(missing(5))));
    outbox.add(bytes(2, "kept\n"));
    let mut text = String::new();
    for (after, lines, last) in [(5, "six\n", 6), (6, "seven\n", 7)] {
        let (progress, part) = write(&mut outbox, &logs, 100);
        assert_eq!(progress, Progress::NeedsStored(missing(after)));
        outbox.add_stored(lines.as_bytes().into(), last);
        text += &part;
    }
    text += &drain(&mut outbox, &logs, 100);
    assert_eq!(text, "six\nseven\nkept\nD\n");
}

#[test]
fn eviction_at_every_byte_of_stored_events_finishes_the_line() {
    let logs = logs_of(1000, &["a\n"], &["C\n", "D\n"]);
    let chunks = ["five\nsix\n", "seven\n"];
    let events = chunks.concat();
    for taken in 0..=events.len() {
        let mut outbox = Outbox::new(basic(2));
        outbox.add(switch(2, Some(StoredRange { after: 4, until: 9 })));
        let mut text = write(&mut outbox, &logs, 0).1;
        for (chunk, last) in chunks.iter().zip([6, 7]) {
            if text.len() < taken || last == 6 {
                outbox.add_stored(chunk.as_bytes().into(), last);
            }
            let room = taken - text.len();
            text += &write(&mut outbox, &logs, room).1;
        }
        outbox.evict(&logs, &bye());
        text += &drain(&mut outbox, &logs, 100);
        let begun = events[..taken].split_inclusive('\n').count();
        let lines: String = events.split_inclusive('\n').take(begun).collect();
        assert_eq!(text, format!("{lines}bye\n"), "after {taken} bytes");
    }
}
