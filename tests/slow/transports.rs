//! Transports that take and give little at a time, stand still, or break: at every byte.
//!
//! The first half is what one client is sent, written to writers of all kinds: whatever they
//! take, it is the one right stream or the beginning of it. The second half is whole
//! conversations over sockets that are cut, ended or held at every byte of their life.

use crate::support::{Chat, LineClient, PATIENCE, RealServer, Said, Site, decode, request};
use jiff::Timestamp;
use smolchat::chat::message::Message;
use smolchat::chat::username::Username;
use smolchat::protocol::Dialect;
use smolchat::server::fanout::broadcast_log::{BroadcastLog, BroadcastLogs, PerDialect};
use smolchat::server::fanout::outbox::{
    Eviction, LogPosition, Outbox, Progress, QueuedReply, ReplyBody,
};
use smolchat::server::limits::{Limits, MAX_BYTES_PER_TURN, REPLY_PIECE_BYTES};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

// What one client is sent

const FAREWELL: &[u8] = b"farewell\n";

/// A writer that takes so many bytes in all, at most so many a call, and then does this.
struct Scripted {
    taken: Vec<u8>,
    room: usize,
    per_call: usize,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It would block.
    Block,
    /// It takes zero bytes.
    TakeNothing,
    /// It is broken.
    Break,
    /// It is interrupted once, and then takes everything.
    Interrupt,
}

impl Scripted {
    fn new(room: usize, per_call: usize, then: Then) -> Self {
        Scripted {
            taken: Vec::new(),
            room,
            per_call,
            then,
        }
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let most = self.room.min(self.per_call);
        let offered: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if most == 0 && offered > 0 {
            match self.then {
                Then::Block => return Err(ErrorKind::WouldBlock.into()),
                Then::TakeNothing => return Ok(0),
                Then::Break => return Err(ErrorKind::BrokenPipe.into()),
                Then::Interrupt => {
                    self.room = usize::MAX;
                    return Err(ErrorKind::Interrupted.into());
                }
            }
        }
        let mut left = most;
        for buffer in buffers {
            let count = buffer.len().min(left);
            self.taken.extend_from_slice(&buffer[..count]);
            left -= count;
        }
        self.room -= most - left;
        Ok(most - left)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is sent to one client: from a position of a log on, with replies in between.
struct Scene {
    name: &'static str,
    batches: Vec<Vec<u8>>,
    start: usize,
    /// Where a reply stands, how much of the log after it is left out, and what it says.
    replies: Vec<(usize, usize, Words)>,
    end: Option<usize>,
}

/// What a reply says.
#[derive(Clone, Copy)]
enum Words {
    Line(&'static str),
    History(&'static [&'static str]),
    Users(u16),
}

impl Words {
    fn content(self) -> ReplyBody {
        match self {
            Words::Line(text) => ReplyBody::Bytes(text.as_bytes().into()),
            Words::History(texts) => {
                ReplyBody::History(texts.iter().map(|text| message(text)).collect(), 0)
            }
            Words::Users(count) => {
                let user = |port| (name(port), Timestamp::UNIX_EPOCH);
                ReplyBody::Users((1..=count).map(user).collect(), 0)
            }
        }
    }

    /// The bytes that it is to be, made without the code that is tested.
    fn bytes(self) -> Vec<u8> {
        let line = |source: &str, text: &str| {
            format!(
                "{{\"type\":\"message\",\"data\":{{\"source\":\"{source}\",\"message\":\"{text}\"}}}}\n"
            )
        };
        let text = match self {
            Words::Line(text) => text.to_owned(),
            Words::History(texts) => texts.iter().map(|text| line("127.0.0.1:1", text)).collect(),
            Words::Users(count) => {
                let names: Vec<String> = (1..=count)
                    .map(|port| format!("127.0.0.1:{port}"))
                    .collect();
                let told = format!("Connected users ({count}): {}", names.join(", "));
                line("[Server]", &told)
            }
        };
        text.into_bytes()
    }
}

/// The logs of all dialects, of which only the basic one has something in it.
fn logs(basic: BroadcastLog) -> BroadcastLogs {
    BroadcastLogs {
        basic: Arc::new(basic),
        extended: Arc::new(BroadcastLog::new(1)),
        page: Arc::new(BroadcastLog::new(1)),
    }
}

/// The heads, as they were when that of the basic log was this.
fn up_to(basic: u64) -> PerDialect<u64> {
    PerDialect {
        basic,
        extended: 0,
        page: 0,
    }
}

/// A place in the log of the basic dialect.
fn basic(position: u64) -> LogPosition {
    LogPosition {
        dialect: Dialect::Basic,
        position,
    }
}

fn name(port: u16) -> Username {
    Username::from_address(([127, 0, 0, 1], port).into())
}

fn message(text: &str) -> Arc<Message> {
    Arc::new(Message::new(1, Timestamp::UNIX_EPOCH, name(1), text.into()))
}

impl Scene {
    fn log(&self) -> BroadcastLogs {
        let log = BroadcastLog::new(64 << 20);
        for batch in &self.batches {
            log.publish(batch.as_slice().into());
        }
        logs(log)
    }

    fn outbound(&self) -> Outbox {
        let mut outbound = Outbox::new(basic(self.start as u64));
        for (at, skip, words) in &self.replies {
            outbound.add(placed(*at as u64, *skip, *words));
        }
        if let Some(end) = self.end {
            outbound.end_at(basic(end as u64));
        }
        outbound
    }

    /// The one right stream.
    fn expected(&self) -> Vec<u8> {
        let log = self.batches.concat();
        let end = self.end.unwrap_or(log.len());
        let mut stream = Vec::new();
        let mut position = self.start;
        for (at, skip, words) in &self.replies {
            stream.extend_from_slice(&log[position..(*at).max(position)]);
            stream.extend(words.bytes());
            position = (*at).max(position) + skip;
        }
        stream.extend_from_slice(&log[position.min(end)..end]);
        stream
    }

    fn last(&self) -> Progress {
        match self.end {
            Some(_) => Progress::Finished,
            None => Progress::CaughtUp,
        }
    }
}

fn cut() -> Eviction {
    Eviction {
        farewell: FAREWELL.into(),
        rest: None,
    }
}

fn placed(at: u64, skip: usize, words: Words) -> QueuedReply {
    QueuedReply {
        at,
        skip: skip as u64,
        content: words.content(),
    }
}

fn batches(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Everything that a client's stream is made of, in every neighbourhood.
fn scenes() -> Vec<Scene> {
    use Words::{History, Line, Users};
    let scene = |name, texts: &[&str], start, replies: &[(usize, usize, Words)], end| Scene {
        name,
        batches: batches(texts),
        start,
        replies: replies.to_vec(),
        end,
    };
    vec![
        scene("nothing", &[], 0, &[], None),
        scene("nothing but the end", &[], 0, &[], Some(0)),
        scene("log only", &["one\n", "two\nthree\n", "4\n"], 0, &[], None),
        scene("log from inside", &["one\n", "two\nthree\n"], 8, &[], None),
        scene("one reply only", &[], 0, &[(0, 0, Line("reply\n"))], None),
        scene(
            "replies before, between and after lines",
            &["one\ntwo\n", "three\n", "four\nfive\n"],
            0,
            &[
                (0, 0, Line("first\n")),
                (4, 0, Line("second\n")),
                (4, 0, Line("third\n")),
                (8, 0, Line("fourth\n")),
                (24, 0, Line("fifth\n")),
            ],
            None,
        ),
        scene(
            "a reply in the place of lines",
            &["one\nsummary\ntwo\n", "three\n"],
            0,
            &[(4, 8, Line("own\n"))],
            None,
        ),
        scene(
            "an empty reply in the place of a whole batch",
            &["one\n", "summary\n", "two\n"],
            0,
            &[(4, 8, Line("")), (12, 0, Line("reply\n"))],
            None,
        ),
        scene(
            "history and users between lines",
            &["one\n", "two\n"],
            0,
            &[
                (4, 0, History(&["a", "bc", "č 🦀"])),
                (4, 0, Users(3)),
                (8, 0, History(&[])),
                (8, 0, Users(1)),
            ],
            None,
        ),
        scene(
            "an end in the midst of the log",
            &["one\ntwo\n", "three\n"],
            0,
            &[(4, 0, Line("reply\n")), (8, 0, Line("bye\n"))],
            Some(8),
        ),
        scene(
            "an end at a reply of many lines",
            &["one\n", "two\n"],
            4,
            &[(4, 0, History(&["a", "b"])), (4, 0, Users(2))],
            Some(4),
        ),
    ]
}

/// Writes to writers of this kind until it is done; each takes at most `step` bytes.
fn write_on(outbound: &mut Outbox, log: &BroadcastLogs, step: usize) -> (Vec<u8>, Progress) {
    let mut stream = Vec::new();
    loop {
        let mut writer = Scripted::new(step, step, Then::Block);
        let progress = outbound.write(log, log.heads(), &mut writer);
        let progress = progress.expect("nothing breaks");
        assert!(writer.taken.len() <= step);
        stream.extend_from_slice(&writer.taken);
        match progress {
            Progress::Blocked => assert_eq!(writer.taken.len(), step, "it gave up too early"),
            Progress::Yield => assert!(outbound.written() >= MAX_BYTES_PER_TURN as u64),
            other => return (stream, other),
        }
    }
}

/// Writes exactly `count` bytes, in one call or one by one.
fn write_first(
    outbound: &mut Outbox,
    log: &BroadcastLogs,
    count: usize,
    per_call: usize,
) -> Vec<u8> {
    let mut stream = Vec::new();
    while stream.len() < count {
        let mut writer = Scripted::new((count - stream.len()).min(per_call), per_call, Then::Block);
        let progress = outbound.write(log, log.heads(), &mut writer);
        progress.expect("nothing breaks");
        assert!(!writer.taken.is_empty(), "it stands still");
        stream.extend_from_slice(&writer.taken);
    }
    stream
}

#[track_caller]
fn assert_bytes(got: &[u8], expected: &[u8], when: &str) {
    let (got, expected) = (
        String::from_utf8_lossy(got),
        String::from_utf8_lossy(expected),
    );
    assert_eq!(got, expected, "{when}");
}

#[test]
fn whatever_a_writer_takes_in_a_turn_the_stream_is_the_right_one() {
    for scene in scenes() {
        let (log, expected) = (scene.log(), scene.expected());
        for step in 1..=expected.len() + 1 {
            let mut outbound = scene.outbound();
            let (stream, progress) = write_on(&mut outbound, &log, step);
            let when = format!("{}: {step} bytes at a time", scene.name);
            assert_bytes(&stream, &expected, &when);
            assert_eq!(progress, scene.last(), "{when}");
            assert_eq!(outbound.written(), expected.len() as u64, "{when}");
            assert!(!outbound.has_replies(), "{when}");
            assert_eq!(outbound.is_finished(), scene.end.is_some(), "{when}");
            let end = scene.end.map_or(log.basic.head(), |end| end as u64);
            assert_eq!(outbound.place(), basic(end), "{when}");
        }
    }
}

#[test]
fn a_writer_may_stop_at_every_byte_and_in_every_way() {
    for scene in scenes() {
        let (log, expected) = (scene.log(), scene.expected());
        for taken in 0..=expected.len() {
            for per_call in [1, 2, 7, usize::MAX] {
                for then in [Then::Block, Then::TakeNothing, Then::Break, Then::Interrupt] {
                    let mut outbound = scene.outbound();
                    let mut writer = Scripted::new(taken, per_call, then);
                    // As long as it makes progress, it is offered what is left.
                    let last = loop {
                        let before = writer.taken.len();
                        match outbound.write(&log, log.heads(), &mut writer) {
                            Ok(Progress::Blocked) if writer.taken.len() > before => {}
                            other => break other,
                        }
                    };
                    let when = format!("{}: {then:?} at {taken}", scene.name);
                    let is_whole = taken == expected.len() || then == Then::Interrupt;
                    let right = if is_whole {
                        &expected
                    } else {
                        &expected[..taken]
                    };
                    assert_bytes(&writer.taken, right, &when);
                    assert_eq!(outbound.written(), writer.taken.len() as u64, "{when}");
                    match (is_whole, then) {
                        (true, _) => assert_eq!(last.expect("it is whole"), scene.last(), "{when}"),
                        (false, Then::Break) => {
                            let kind = last.expect_err("it broke").kind();
                            assert_eq!(kind, ErrorKind::BrokenPipe, "{when}");
                        }
                        (false, _) => {
                            let last = last.expect("it only blocks");
                            assert_eq!(last, Progress::Blocked, "{when}");
                            let (rest, _) = write_on(&mut outbound, &log, 3);
                            assert_bytes(&rest, &expected[taken..], &when);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_cut_at_every_byte_ends_the_line_and_says_farewell() {
    for scene in scenes() {
        let (log, expected) = (scene.log(), scene.expected());
        for taken in 0..=expected.len() {
            for (before, after) in [(1, 1), (usize::MAX, 3), (3, usize::MAX)] {
                let mut outbound = scene.outbound();
                let mut stream = write_first(&mut outbound, &log, taken, before);
                outbound.cut(&log, &cut());
                assert!(outbound.has_end());
                let (rest, progress) = write_on(&mut outbound, &log, after);
                stream.extend(rest);
                let when = format!("{}: cut at {taken}", scene.name);
                let right = |end| [&expected[..end], FAREWELL].concat();
                assert_bytes(&stream, &right(line_end(&expected, taken)), &when);
                assert_eq!(progress, Progress::Finished, "{when}");
                assert!(outbound.is_finished(), "{when}");
            }
        }
    }
}

/// Where the line ends of which `taken` bytes of a stream are a part; `taken` between two lines.
fn line_end(stream: &[u8], taken: usize) -> usize {
    if taken == 0 || stream[taken - 1] == b'\n' {
        return taken;
    }
    let rest = stream[taken..].iter().position(|&byte| byte == b'\n');
    taken + rest.expect("every line ends") + 1
}

#[test]
fn a_cut_in_a_line_that_is_made_in_pieces_never_has_another_line_in_it() {
    // The line is longer than one piece, so its end may not be at hand.
    let names = (2 * REPLY_PIECE_BYTES / 10) as u16;
    let scene = Scene {
        name: "many users",
        batches: batches(&["one\n", "two\n"]),
        start: 0,
        replies: vec![(4, 0, Words::Users(names))],
        end: None,
    };
    let (log, expected) = (scene.log(), scene.expected());
    assert!(expected.len() > 2 * REPLY_PIECE_BYTES);
    let mut with_farewell = 0;
    // Every byte about the edges of lines and pieces, and some in between: each is much work.
    let edges = [0, REPLY_PIECE_BYTES, 2 * REPLY_PIECE_BYTES, expected.len()];
    let is_near = |taken: usize| edges.iter().any(|edge| edge.abs_diff(taken) < 60);
    let places = (0..=expected.len()).filter(|&taken| is_near(taken) || taken % 401 == 0);
    for taken in places {
        let mut outbound = scene.outbound();
        let mut stream = write_first(&mut outbound, &log, taken, usize::MAX);
        outbound.cut(&log, &cut());
        let (rest, progress) = write_on(&mut outbound, &log, usize::MAX);
        assert_eq!(progress, Progress::Finished);
        stream.extend(rest);
        let mut right = expected[..line_end(&expected, taken)].to_vec();
        right.extend_from_slice(FAREWELL);
        let is_between = taken == 0 || expected[taken - 1] == b'\n';
        if stream == right {
            with_farewell += 1;
        } else {
            assert!(!is_between, "no farewell at {taken}");
            // Nothing but what was taken, or what is left of the piece.
            assert!(expected.starts_with(&stream), "cut at {taken}");
        }
    }
    assert!(with_farewell > 8, "there was hardly ever a farewell");
}

#[test]
fn a_list_of_users_of_which_nothing_was_taken_is_given_up_by_a_cut() {
    for count in [3, REPLY_PIECE_BYTES as u16 / 4] {
        let log = logs(BroadcastLog::new(1000));
        let mut outbound = Outbox::new(basic(0));
        outbound.add(placed(0, 0, Words::Users(count)));
        let mut writer = Scripted::new(0, 1, Then::Block);
        let progress = outbound.write(&log, log.heads(), &mut writer);
        assert_eq!(progress.expect("it only blocks"), Progress::Blocked);
        outbound.cut(&log, &cut());
        let (stream, _) = write_on(&mut outbound, &log, 5);
        assert_bytes(&stream, FAREWELL, "nothing but the farewell");
    }
}

#[test]
fn what_is_added_while_a_writer_stands_still_has_its_place_too() {
    for scene in scenes().into_iter().filter(|scene| scene.end.is_none()) {
        let before = scene.expected();
        for taken in 0..=before.len() {
            for step in [1, 5, usize::MAX] {
                let log = scene.log();
                let mut outbound = scene.outbound();
                let mut stream = write_first(&mut outbound, &log, taken, step);
                // The broker answers, goes on, answers again, and ends the stream.
                let head = log.basic.head();
                outbound.add(placed(head, 0, Words::Line("late\n")));
                log.basic.publish(b"more\nsummary\n"[..].into());
                outbound.add(placed(head + 5, 8, Words::Users(1)));
                log.basic.publish(b"last\n"[..].into());
                outbound.end_at(basic(log.basic.head()));
                log.basic.publish(b"not for this one\n"[..].into());
                let (rest, progress) = write_on(&mut outbound, &log, step);
                stream.extend(rest);
                let mut right = before.clone();
                right.extend_from_slice(b"late\nmore\n");
                right.extend(Words::Users(1).bytes());
                right.extend_from_slice(b"last\n");
                let when = format!("{}: added at {taken}", scene.name);
                assert_bytes(&stream, &right, &when);
                assert_eq!(progress, Progress::Finished, "{when}");
            }
        }
    }
}

#[test]
fn a_head_of_a_while_ago_stops_the_writing_there() {
    let scene = &scenes()[5];
    let (log, expected) = (scene.log(), scene.expected());
    for head in 0..=log.basic.head() {
        let mut outbound = scene.outbound();
        let mut writer = Scripted::new(usize::MAX, 3, Then::Block);
        let mut last = Progress::Blocked;
        while last == Progress::Blocked {
            last = outbound
                .write(&log, up_to(head), &mut writer)
                .expect("it works");
        }
        assert_eq!(last, Progress::CaughtUp);
        assert_eq!(outbound.place(), basic(head));
        assert!(expected.starts_with(&writer.taken), "up to {head}");
        let (rest, _) = write_on(&mut outbound, &log, 4);
        assert_bytes(&[writer.taken, rest].concat(), &expected, "in two parts");
    }
}

#[test]
fn who_fell_out_of_the_log_gets_nothing_more_of_it() {
    // Ten lines of ten bytes, of which the newest thirty bytes are kept.
    let lines: Vec<String> = (0..10)
        .map(|number| format!("line {number} ..\n"))
        .collect();
    let stream = lines.concat();
    assert_eq!(stream.len(), 100);
    for taken in 0..=stream.len() {
        for is_cut in [false, true] {
            let log = logs(BroadcastLog::new(30));
            let mut outbound = Outbox::new(basic(0));
            let mut got = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                log.basic.publish(line.as_bytes().into());
                let most = taken.min((index + 1) * 10) - got.len();
                got.extend(write_first(&mut outbound, &log, most, 4));
            }
            assert_bytes(&got, &stream.as_bytes()[..taken], "what was taken in time");
            if is_cut {
                outbound.cut(&log, &cut());
            }
            let mut writer = Scripted::new(usize::MAX, usize::MAX, Then::Block);
            let progress = outbound.write(&log, log.heads(), &mut writer);
            let progress = progress.expect("nothing breaks");
            // Of the seventh line on, everything is kept.
            let kept = taken >= 70;
            let mut right = Vec::new();
            if kept {
                let end = match is_cut {
                    true => line_end(stream.as_bytes(), taken),
                    false => stream.len(),
                };
                right.extend_from_slice(&stream.as_bytes()[taken..end]);
            }
            let says_farewell = writer.taken.ends_with(FAREWELL);
            if is_cut && says_farewell {
                right.extend_from_slice(FAREWELL);
            }
            let when = format!("after {taken} bytes, cut: {is_cut}");
            assert_bytes(&writer.taken, &right, &when);
            let is_between = taken % 10 == 0;
            match (is_cut, kept) {
                (false, false) => assert_eq!(progress, Progress::FellOut, "{when}"),
                (false, true) => assert_eq!(progress, Progress::CaughtUp, "{when}"),
                (true, false) => {
                    assert_eq!(progress, Progress::Finished, "{when}");
                    assert!(!says_farewell || is_between, "{when}");
                }
                (true, true) => {
                    assert_eq!(progress, Progress::Finished, "{when}");
                    // At the edge, the byte before is not kept that would tell that a line ends.
                    assert!(says_farewell || taken == 70, "{when}");
                }
            }
        }
    }
}

#[test]
fn a_long_stream_is_written_in_turns_and_whole() {
    let line = format!("{}\n", "x".repeat(999));
    let batch = line.repeat(300).into_bytes();
    let scene = Scene {
        name: "long",
        batches: vec![batch; 10],
        start: 0,
        replies: vec![
            (1000, 0, Words::Users(2000)),
            (300_000, 1000, Words::Line("own\n")),
            (1_500_000, 0, Words::History(&["a", "b"])),
        ],
        end: None,
    };
    let (log, expected) = (scene.log(), scene.expected());
    for per_call in [4099, 65_536, usize::MAX] {
        let mut outbound = scene.outbound();
        let mut writer = Scripted::new(usize::MAX, per_call, Then::Block);
        let mut yields = 0;
        loop {
            let before = writer.taken.len();
            let progress = outbound.write(&log, log.heads(), &mut writer);
            match progress.expect("nothing breaks") {
                Progress::CaughtUp => break,
                Progress::Yield => {
                    yields += 1;
                    let turn = writer.taken.len() - before;
                    assert!(turn >= MAX_BYTES_PER_TURN, "{turn} bytes are no turn");
                }
                Progress::Blocked => assert!(writer.taken.len() > before, "it stands still"),
                other => panic!("{other:?}"),
            }
        }
        assert!(writer.taken == expected, "{per_call} bytes a call");
        assert_eq!(
            yields > 0,
            per_call == usize::MAX,
            "{per_call} bytes a call"
        );
    }
}

// Whole conversations

/// What one client says in its life.
fn script() -> Vec<u8> {
    [
        request("message", "hello"),
        request("set-name", "walker"),
        request("users", ""),
        b"{\"type\":\"nonsense\"}\n".to_vec(),
        request("message", "č 🦀 \"quoted\""),
        request("history", ""),
        b"\r\n\n{\"data\":\"last\",\"type\":\"message\"}\r\n".to_vec(),
    ]
    .concat()
}

/// What comes back to it, line by line, and whether everyone gets it.
#[derive(Clone, Debug)]
struct Told {
    line: Said,
    is_public: bool,
}

/// What the first `sent` bytes of the script are answered with, the arrival first; the observer
/// is the only other one who is here.
fn answers(script: &[u8], sent: usize, address: &str, has_ended: bool) -> Vec<Told> {
    let public = |source: &str, text: &str| Told {
        line: (source.to_owned(), text.to_owned()),
        is_public: true,
    };
    let private = |source: &str, text: &str| Told {
        is_public: false,
        ..public(source, text)
    };
    let mut told = vec![public(
        "[Server]",
        &format!("{address} has entered the chat"),
    )];
    let (quoted, nonsense) = (
        "č 🦀 \"quoted\"",
        "The type \"nonsense\" is unknown; the types are \"message\", \"set-name\", \"history\", \"users\", \"private\", \"ping\", \"quit\" and, in the extended dialect, \"search\"",
    );
    let lines = script[..sent].split_inclusive(|&byte| byte == b'\n');
    for (number, line) in lines.enumerate() {
        let is_whole = line.ends_with(b"\n");
        match number {
            _ if !is_whole && (!has_ended || line == b"\r") => {}
            _ if !is_whole => told.push(private(
                "[Server]",
                "The last line was not ended and was skipped; end each line with a newline",
            )),
            0 => told.push(public(address, "hello")),
            1 => told.push(public("[Server]", &format!("{address} renamed to walker"))),
            2 => told.push(private("[Server]", "Connected users (2): observer, walker")),
            3 => told.push(private("[Server]", nonsense)),
            4 => told.push(public("walker", quoted)),
            5 => told.extend([private(address, "hello"), private("walker", quoted)]),
            8 => told.push(public("walker", "last")),
            _ => {}
        }
    }
    told
}

fn chat() -> Chat {
    Chat::with(Limits {
        history_messages: 2,
        ..Limits::default()
    })
}

/// The public ones of these lines.
fn public(told: &[Told]) -> Vec<Said> {
    let public = told.iter().filter(|told| told.is_public);
    public.map(|told| told.line.clone()).collect()
}

fn all(told: &[Told]) -> Vec<Said> {
    told.iter().map(|told| told.line.clone()).collect()
}

/// What the observer sees of one who comes and goes: its lines, and that it left under the name
/// that it then had.
fn watch(observer: &mut LineClient, address: &str) -> Vec<Said> {
    let mut seen: Vec<Said> = Vec::new();
    let mut name = address.to_owned();
    loop {
        let said = observer.must_get();
        if said == ("[Server]".to_owned(), format!("{name} has left the chat")) {
            return seen;
        }
        if said.1 == format!("{address} renamed to walker") {
            name = "walker".to_owned();
        }
        seen.push(said);
    }
}

/// A connection that is to break: what it has not sent by then is not sent.
fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.address).expect("it connects");
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    stream
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a linger of zero");
}

fn send_byte_by_byte(mut stream: &TcpStream, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).expect("it is taken");
    }
}

fn lines_of(bytes: &[u8]) -> Vec<Said> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| decode(line).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(line))))
        .collect()
}

#[test]
fn a_connection_that_is_reset_after_every_byte_sent_leaves_cleanly() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    for sent in 0..=script.len() {
        let stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        if sent % 2 == 0 {
            send_byte_by_byte(&stream, &script[..sent]);
        } else {
            (&stream).write_all(&script[..sent]).expect("it is taken");
        }
        reset(stream);
        let seen = watch(&mut observer, &address);
        let most = public(&answers(&script, sent, &address, false));
        assert!(most.starts_with(&seen), "{sent} bytes: {seen:?}");
        observer.say_and_hear("still here");
    }
}

#[test]
fn a_connection_that_is_reset_after_every_byte_received_leaves_cleanly() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    let mut received = 0;
    loop {
        let mut stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        let told = answers(&script, script.len(), &address, false);
        stream.write_all(&script).expect("it is taken");
        let mut bytes = vec![0; received];
        stream.read_exact(&mut bytes).expect("so much comes");
        let whole = bytes.iter().rposition(|&byte| byte == b'\n');
        let whole = lines_of(&bytes[..whole.map_or(0, |end| end + 1)]);
        assert!(all(&told).starts_with(&whole), "{whole:?}");
        let is_everything = whole.len() == told.len();
        reset(stream);
        let seen = watch(&mut observer, &address);
        assert!(public(&told).starts_with(&seen), "{received}: {seen:?}");
        // What it got, everyone got.
        let got = whole.len();
        assert!(seen.len() >= public(&told[..got]).len(), "{received} bytes");
        observer.say_and_hear("still here");
        if is_everything {
            break;
        }
        received += 1;
    }
    assert!(received > script.len());
}

#[test]
fn a_sending_side_that_ends_after_every_byte_gets_every_answer() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    for sent in 0..=script.len() {
        let mut stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        if sent % 2 == 0 {
            send_byte_by_byte(&stream, &script[..sent]);
        } else {
            stream.write_all(&script[..sent]).expect("it is taken");
        }
        stream.shutdown(Shutdown::Write).expect("it can be ended");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the end comes");
        let told = answers(&script, sent, &address, true);
        assert_eq!(lines_of(&bytes), all(&told), "{sent} bytes");
        let seen = watch(&mut observer, &address);
        assert_eq!(seen, public(&told), "{sent} bytes");
    }
}

#[test]
fn a_line_that_is_held_at_every_byte_holds_up_nobody() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    for sent in 0..=script.len() {
        let mut stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        stream.write_all(&script[..sent]).expect("it is taken");
        let told = answers(&script, sent, &address, true);
        // It stands still, in the midst of a line or not, and the others go on.
        let so_far = answers(&script, sent, &address, false);
        for (source, text) in public(&so_far) {
            observer.expect(&source, &text);
        }
        observer.say_and_hear("meanwhile");
        stream.shutdown(Shutdown::Write).expect("it can be ended");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the end comes");
        let mut lines = lines_of(&bytes);
        let place = lines.iter().position(|line| line.1 == "meanwhile");
        lines.remove(place.expect("everyone gets it"));
        // A history that was asked for before is of before.
        assert_eq!(lines, all(&told), "{sent} bytes");
        let name = match public(&so_far).len() {
            0..3 => address,
            _ => "walker".to_owned(),
        };
        observer.expect_notice(&format!("{name} has left the chat"));
    }
}

#[test]
fn a_reader_that_is_held_at_every_byte_holds_up_nobody() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    let mut received = 0;
    loop {
        let mut stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        let told = answers(&script, script.len(), &address, true);
        stream.write_all(&script).expect("it is taken");
        let mut bytes = vec![0; received];
        stream.read_exact(&mut bytes).expect("so much comes");
        for (source, text) in public(&told) {
            observer.expect(&source, &text);
        }
        observer.say_and_hear("meanwhile");
        stream.shutdown(Shutdown::Write).expect("it can be ended");
        stream.read_to_end(&mut bytes).expect("the end comes");
        let mut lines = lines_of(&bytes);
        assert_eq!(lines.pop().expect("a last line").1, "meanwhile");
        assert_eq!(lines, all(&told), "{received} bytes");
        observer.expect_notice("walker has left the chat");
        received += 1;
        if received > bytes.len() - "meanwhile".len() - 80 {
            break;
        }
    }
}

/// An address of this machine from which no other test connects, where loopback has several: a
/// port of it that was given up is not taken by others at once.
const HERE_ALONE: Ipv4Addr = match cfg!(target_os = "linux") {
    true => Ipv4Addr::new(127, 77, 0, 1),
    false => Ipv4Addr::LOCALHOST,
};

/// A connection to the chat from this address.
#[track_caller]
fn connect_from(source: SocketAddr, chat: &Chat) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .set_reuse_address(true)
        .expect("it can be used again");
    socket.bind(&source.into()).expect("it is free");
    socket.connect(&chat.address.into()).expect("it connects");
    socket.into()
}

#[test]
fn who_comes_from_the_address_of_one_who_is_gone_is_the_only_one_with_that_name() {
    // The server reads no further of one who is over its share, and so does not see its end.
    let chat = Chat::with(Limits {
        burst_lines: 1,
        rate_per_second: 1,
        ..Limits::default()
    });
    let mut observer = chat.connect("observer");
    let first = connect_from((HERE_ALONE, 0).into(), &chat);
    let address = first.local_addr().expect("an address");
    let lines = [request("message", "one"), request("message", "two")].concat();
    (&first).write_all(&lines).expect("it is taken");
    observer.expect_notice(&format!("{address} has entered the chat"));
    observer.expect(&address.to_string(), "one");
    reset(first);
    // After a reset the port is free at once.
    let second = connect_from(address, &chat);
    let mut second = LineClient::new(second, "second", &chat.transcript);
    second.expect_own_arrival();
    second.request("users", "");
    let users = loop {
        let (_, text) = second.must_get();
        if text.starts_with("Connected users") {
            break text;
        }
    };
    assert_eq!(
        users,
        format!("Connected users (2): {}, {address}", observer.name)
    );
}

/// Stands between one client and the server, and passes on one byte at a time.
fn byte_by_byte_to(site: &Site) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let (accepting, server) = (listener.try_clone().expect("a second handle"), site.address);
    thread::spawn(move || {
        let (client, _) = accepting.accept().expect("the client comes");
        let server = TcpStream::connect(server).expect("the server is there");
        let (client_again, server_again) = (
            client.try_clone().expect("a second handle"),
            server.try_clone().expect("a second handle"),
        );
        let up = thread::spawn(move || pass_on(&client_again, &server_again));
        pass_on(&server, &client);
        // It ends with the connection, at the latest when the server does.
        up.join().expect("it does not fail");
    });
    listener
}

/// Passes bytes on up to the end, which it passes on too, or until the other side is gone.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream) {
    to.set_nodelay(true).expect("no delay");
    let mut byte = [0];
    while let Ok(1) = from.read(&mut byte) {
        if to.write_all(&byte).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_conversation_of_single_bytes_both_ways_is_the_same_one() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let proxy = byte_by_byte_to(&chat);
    let mut stream = TcpStream::connect(proxy.local_addr().expect("an address")).expect("it");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let (source, text) = observer.must_get();
    assert_eq!(source, "[Server]");
    let address = text.strip_suffix(" has entered the chat").expect("it came");
    stream.write_all(&script()).expect("it is taken");
    stream.shutdown(Shutdown::Write).expect("it can be ended");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the end comes");
    let told = answers(&script(), script().len(), address, true);
    assert_eq!(lines_of(&bytes), all(&told));
    assert_eq!(watch(&mut observer, address), public(&told[1..]));
}

#[test]
fn the_client_program_speaks_byte_by_byte_too() {
    let server = RealServer::start(&["--no-web"]);
    let [mut observer] = server.room(["observer"]);
    let proxy = byte_by_byte_to(&server);
    let port = proxy.local_addr().expect("an address").port().to_string();
    let mut client = crate::support::client_command()
        .args(["127.0.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let mut input = client.stdin.take().expect("a pipe");
    input
        .write_all("/setname walker\nč 🦀\n/users\n".as_bytes())
        .expect("it is taken");
    drop(input);
    let output = client.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (_, after) = text.split_once(" renamed to walker\n").expect("a rename");
    assert_eq!(
        after,
        "walker: č 🦀\n[Server]: Connected users (2): observer, walker\n"
    );
    observer.skip_to("walker", "č 🦀");
    observer.expect_notice("walker has left the chat");
}
