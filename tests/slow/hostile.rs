//! Clients that mean harm, or break: floods, half lines, resets, readers who stand still.
//!
//! Memory is asserted from outside, by what the system counts for the real program. A server
//! survives each of these, its other clients do not notice, and what the culprit did leaves
//! nothing behind.

use crate::support::{
    Chat, LineClient, PATIENCE, RealServer, Said, Site, eventually, request, skip,
};
use smolchat::limits::MAX_HISTORY_BYTES;
use smolchat::server::ServerConfig;
use smolchat::server::limits::{
    DEFAULT_MAX_LAG_BYTES, DEFAULT_MAX_LINE_BYTES, LAG_CHECK_INTERVAL, Limits, MAX_LINES_PER_TURN,
    READ_BUFFER_BYTES, RECENT_EVENTS_BYTES, TRANSCRIPT_BYTES,
};
use socket2::{Domain, Socket, Type};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// Arguments that hold no sender back.
const UNPACED: [&str; 4] = ["--rate", "10000000", "--burst", "10000000"];

fn with_unpaced(arguments: &[&'static str]) -> Vec<&'static str> {
    [&UNPACED, arguments].concat()
}

/// Waits until the server says that so many are here; passes over everything else.
#[track_caller]
fn wait_for_users(client: &mut LineClient, count: usize) {
    let end = Instant::now() + PATIENCE;
    let beginning = format!("Connected users ({count}): ");
    loop {
        client.request("users", "");
        let told = loop {
            let (source, message) = client.must_get();
            if source == "[Server]" && message.starts_with("Connected users (") {
                break message;
            }
        };
        if told.starts_with(&beginning) {
            return;
        }
        assert!(
            Instant::now() < end,
            "there are not {count} users but: {}",
            &told[..told.len().min(200)]
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_hundred_megabytes_without_a_newline_are_refused_once_and_not_stored() {
    let server = RealServer::start(&[]);
    let mut witness = server.join("witness");
    let mut culprit = server.join("culprit");
    let memory = server.memory_may_grow(16 * MIB);
    let chunk = vec![b'x'; 100 * 1024];
    for _ in 0..1024 {
        culprit
            .stream
            .write_all(&chunk)
            .expect("the server reads on");
    }
    assert!(culprit.notice().contains("65536"));
    culprit.send_raw(b"\n");
    culprit.say_and_hear("that was all");
    witness.skip_to("culprit", "that was all");
    memory.check(&server);
}

#[test]
fn a_thousand_connects_and_resets_leave_nothing_behind() {
    let server = RealServer::start(&["--announce-limit", "1000000"]);
    let mut witness = server.join("witness");
    for _ in 0..1000 {
        server.connect_raw("guest").reset();
    }
    // The system hands connections over in their order: this one comes after all of them.
    let late = server.connect("late");
    let (mut entered, mut left, mut late_is_here) = (0, 0, false);
    // Whoever was announced is gone again; who was reset too early was never here.
    while !late_is_here || left < entered {
        let line = witness.notice();
        if line == format!("{} has entered the chat", late.address()) {
            late_is_here = true;
        } else if line.ends_with(" has entered the chat") {
            entered += 1;
        } else if line.ends_with(" has left the chat") {
            left += 1;
        } else {
            panic!("did not expect {line:?}");
        }
    }
    witness.request("users", "");
    witness.expect_notice(&format!("Connected users (2): witness, {}", late.address()));
    drop(late);
}

#[test]
fn each_of_many_short_connections_is_announced_and_leaves() {
    let chat = Chat::with(Limits {
        announce_limit: 1_000_000,
        ..Limits::default()
    });
    let mut witness = chat.join("witness");
    let mut names = Vec::new();
    for number in 0..300 {
        let mut guest = chat.connect("guest");
        names.push(guest.address());
        match number % 3 {
            0 => drop(guest),
            1 => guest.reset(),
            _ => guest.finish_sending(),
        }
    }
    let mut arrived = Vec::new();
    let mut gone = Vec::new();
    while gone.len() < names.len() {
        let line = witness.notice();
        match line.split_once(" has ").expect("an arrival or a departure") {
            (name, "entered the chat") => arrived.push(name.to_owned()),
            (name, "left the chat") => {
                assert!(
                    arrived.iter().any(|here| here == name),
                    "{name} left before it came"
                );
                gone.push(name.to_owned());
            }
            _ => panic!("did not expect {line:?}"),
        }
    }
    assert_eq!(arrived, names);
    gone.sort();
    names.sort();
    assert_eq!(gone, names);
}

#[test]
fn a_reset_in_the_middle_of_a_line_says_nothing() {
    let chat = Chat::start();
    let mut witness = chat.join("witness");
    for half in [
        &b"{"[..],
        b"{\"type\":\"message\",\"data\":\"half\"}",
        b"{\"type\":\"message\",\"data\":\"caf\xc3",
    ] {
        let mut culprit = chat.connect("culprit");
        let name = culprit.address();
        witness.expect_notice(&format!("{name} has entered the chat"));
        culprit.send_raw(half);
        culprit.reset();
        witness.expect_notice(&format!("{name} has left the chat"));
    }
    witness.request("history", "");
    witness.expect_notice("No messages yet");
}

/// So many clients each send half of a line of so many bytes; each is to cost at most twice
/// that and so much for itself.
fn half_lines_cost_no_more_than_they_hold(clients: usize, half: usize, for_itself: usize) {
    let server = RealServer::start(&["--announce-limit", "5", "--max-clients", "20000"]);
    let mut witness = server.join("witness");
    let memory = server.memory_may_grow((clients * (2 * half + for_itself)) as u64 + 32 * MIB);
    let line = vec![b'x'; half];
    let crowd: Vec<LineClient> = (0..clients)
        .map(|number| {
            let mut client = server.connect_raw(&format!("half{number}"));
            client.send_raw(&line);
            client
        })
        .collect();
    wait_for_users(&mut witness, clients + 1);
    memory.check(&server);
    witness.say_and_skip_to("nobody is held up");
    drop(crowd);
    wait_for_users(&mut witness, 1);
}

#[test]
fn a_thousand_half_lines_cost_no_more_than_they_hold() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    half_lines_cost_no_more_than_they_hold(1000, 20_000, 8192);
}

/// As many clients as wanted, or, which is said, as many as this process may have open files.
fn as_many_as_files_allow(wanted: usize) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be raised");
    // Other tests of this program have theirs open at the same time.
    let allowed = (files - (files / 2).min(2500)) as usize;
    if allowed < wanted {
        skip(&format!(
            "{wanted} clients need more open files than the {files} allowed: \
             tried with {allowed} instead; raise the limit (ulimit -n)"
        ));
    }
    allowed.min(wanted)
}

#[test]
fn ten_thousand_half_lines_near_the_bound_cost_what_is_written_down_and_hold_nobody_up() {
    const MAX_LINE: usize = 4096;
    let clients = as_many_as_files_allow(10_000);
    let server = RealServer::start(&[
        "--no-web",
        "--announce-limit",
        "5",
        "--max-clients",
        "10003",
        "--max-line",
        "4096",
        "--max-message",
        "512",
    ]);
    let [mut alice, mut bob, mut carol] = server.room(["alice", "bob", "carol"]);
    // Of what docs/operations.md has a connection take, these have a half line and themselves. The
    // rest is for all together: one log, a short history and what the allocator keeps ready.
    let memory = server.memory_may_grow((clients * (MAX_LINE + 1 + 2048)) as u64 + 12 * MIB);
    let before = server.memory_bytes();
    // Nearly the longest line, and the longest, by turns.
    let lines = [vec![b'x'; MAX_LINE - 10], vec![b'x'; MAX_LINE]];
    let mut crowd = Vec::with_capacity(clients);
    let mut slowest = Duration::ZERO;
    while crowd.len() < clients {
        for _ in 0..500.min(clients - crowd.len()) {
            let mut client = server.connect_raw("half");
            client.send_raw(&lines[crowd.len() % 2]);
            crowd.push(client);
        }
        // Each of them hears the other two, and nothing but summaries in between.
        let text = format!("{} of them", crowd.len());
        let start = Instant::now();
        for (index, speaker) in ["alice", "bob", "carol"].into_iter().enumerate() {
            [&mut alice, &mut bob, &mut carol][index].say(&text);
            for listener in [&mut alice, &mut bob, &mut carol] {
                let between = listener.skip_to(speaker, &text);
                assert!(
                    between.iter().all(|line| line.0 == "[Server]"),
                    "{between:?}"
                );
            }
        }
        slowest = slowest.max(start.elapsed());
    }
    wait_for_users(&mut alice, clients + 3);
    assert!(
        slowest < Duration::from_secs(10),
        "three messages took {slowest:?} in the crowd"
    );
    // All of the half lines are there.
    if let (Some(before), Some(now)) = (before, server.memory_bytes()) {
        let stored = (clients * (MAX_LINE - 10)) as u64;
        assert!(
            now >= before + stored,
            "{now} after {before}, {stored} more"
        );
    }
    memory.check(&server);
    // Every one of them is still read: each line gets its end, and is refused by itself.
    for client in &mut crowd {
        client.send_raw(b"\n");
        let refused = |line: &Said| line.0 == "[Server]" && line.1.contains("JSON");
        while !refused(&client.must_get()) {}
    }
    drop(crowd);
    wait_for_users(&mut alice, 3);
}

/// How far the reader who is most behind is when its socket takes nothing more: the same at
/// three looks of the server, while nobody says anything.
#[track_caller]
fn settled_lag(site: &Site) -> u64 {
    let (mut lag, mut since) = (0, Instant::now());
    eventually(PATIENCE, "nothing more is taken", || {
        let seen = site.metric("smolchat_lag_most_bytes");
        if seen == 0 || seen != std::mem::replace(&mut lag, seen) {
            since = Instant::now();
        }
        since.elapsed() > 3 * LAG_CHECK_INTERVAL
    });
    lag
}

/// The worst case of memory that docs/operations.md promises, for these sizes and without what only
/// the page, a store and clients of the extended dialect need.
fn most_memory(limits: &Limits) -> usize {
    let each =
        limits.max_line_bytes + 64 * 1024 + 8 * limits.history_messages + 32 * limits.max_clients;
    let log = limits.max_lag_bytes + 1024 * 1024;
    let past = RECENT_EVENTS_BYTES.max(limits.max_lag_bytes) + 1024 * 1024;
    limits.max_clients * each + 2 * log + past + MAX_HISTORY_BYTES + 2 * TRANSCRIPT_BYTES
}

/// A request for the names of all users that is as long as a line may be, its end included,
/// after a rename: so that no two are answered with the same list.
fn longest_request_for_a_list_of_its_own(name: &str) -> Vec<u8> {
    let (opening, closing) = (r#"{"type":"users","data":""#, "\"}\n");
    let padding = DEFAULT_MAX_LINE_BYTES - opening.len() - closing.len() + 1;
    let mut lines = request("set-name", name);
    lines.extend(opening.as_bytes());
    lines.extend(vec![b'x'; padding]);
    lines.extend(closing.as_bytes());
    lines
}

#[test]
fn a_thousand_clients_at_every_bound_take_no_more_memory_than_is_written_down() {
    const CLIENTS: usize = 999;
    const MAX_LAG: u64 = DEFAULT_MAX_LAG_BYTES as u64;
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let server = RealServer::start(&with_unpaced(&["--announce-limit", "5"]));
    // The page is there to tell the figures and, to one reader who does not read, the talk.
    let mut page = TcpStream::connect(server.web.expect("a page")).expect("the page listens");
    page.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("sent");
    let memory = server.memory_may_grow(most_memory(&Limits::default()) as u64);
    let before = server.memory_bytes();
    // A full history, of the longest messages.
    let mut talker = server.join("talker");
    for number in 0..200 {
        talker.say_and_hear(&format!("{number:04}{}", "x".repeat(4092)));
    }
    let crowd: Vec<LineClient> = (0..CLIENTS)
        .map(|number| server.connect_narrow_raw(&format!("greedy{number}")))
        .collect();
    wait_for_users(&mut talker, CLIENTS + 1);
    // None of them reads: after this, none of their sockets takes anything more.
    let behind = || server.metric("smolchat_connections{state=\"behind\"}");
    eventually(PATIENCE, "everyone is behind", || {
        talker.say_and_skip_to(&"y".repeat(4096));
        // And so is the reader of the page.
        behind() == CLIENTS as u64 + 1
    });
    // Each has the longest line there is still in memory while its answer waits, and bytes
    // after that line which were read with it. One after the other: the rename of each has the
    // list of names made anew.
    for (number, client) in crowd.iter().enumerate() {
        let name = format!("greedy{number}");
        let done = server.metric("smolchat_lines_in_total") + 2;
        let mut lines = longest_request_for_a_list_of_its_own(&name);
        lines.extend([b'x'; READ_BUFFER_BYTES]);
        (&client.stream).write_all(&lines).expect("sent");
        let renamed = format!("{} renamed to {name}", client.address());
        talker.skip_to("[Server]", &renamed);
        eventually(PATIENCE, "its request is taken", || {
            server.metric("smolchat_lines_in_total") >= done
        });
    }
    // And all of them are as far behind as they may be, but for a few messages.
    let seen = settled_lag(&server);
    let text = "z".repeat(4096);
    for _ in 0..(MAX_LAG - seen).saturating_sub(65_536) / 4200 {
        talker.say_and_skip_to(&text);
    }
    eventually(PATIENCE, "a lag near its bound", || {
        server.metric("smolchat_lag_most_bytes") > MAX_LAG * 9 / 10
    });
    let now = server.memory_bytes();
    // The page's frames are a little longer: its reader may be over the bound by now.
    assert!(behind() >= CLIENTS as u64, "somebody was closed too early");
    assert_eq!(server.metric("smolchat_users"), CLIENTS as u64 + 1);
    // What was meant to be there is: a line and a list of names for each.
    if let (Some(before), Some(now)) = (before, now) {
        let stored = (CLIENTS * (DEFAULT_MAX_LINE_BYTES + 16 * CLIENTS)) as u64;
        assert!(
            now >= before + stored,
            "{now} after {before}, {stored} more"
        );
    }
    memory.check(&server);
    drop((crowd, page));
    wait_for_users(&mut talker, 1);
}

#[test]
fn one_byte_at_a_time_from_many_holds_nobody_up() {
    let chat = Chat::start();
    let mut clients: Vec<LineClient> = (0..20)
        .map(|number| chat.join(&format!("slow{number}")))
        .collect();
    let mut witness = chat.join("witness");
    let line = request("message", "at last");
    for (index, byte) in line.iter().enumerate() {
        for client in &mut clients {
            client
                .stream
                .write_all(std::slice::from_ref(byte))
                .expect("sent");
        }
        witness.say_and_skip_to(&format!("byte {index}"));
    }
    // They arrive in any order: the history has them all.
    eventually(PATIENCE, "twenty messages", || {
        witness.request("history", "");
        witness.say("history ends");
        let replayed = witness.skip_to("witness", "history ends");
        let heard: std::collections::BTreeSet<&str> = replayed
            .iter()
            .filter(|line| line.1 == "at last")
            .map(|line| line.0.as_str())
            .collect();
        heard.len() == 20
    });
}

#[test]
fn garbage_of_every_byte_ends_no_one_but_its_sender() {
    let chat = Chat::start();
    let [mut witness] = chat.room(["witness"]);
    // A fixed sequence that looks like chance (a linear congruential generator).
    let mut state = 1u32;
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..4096)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let mut culprit = chat.connect("culprit");
        let name = culprit.address();
        witness.expect_notice(&format!("{name} has entered the chat"));
        // The server may have closed it after too many refusals.
        let _ = culprit.stream.write_all(&bytes);
        let _ = culprit.stream.shutdown(std::net::Shutdown::Write);
        let (lines, rest) = culprit.read_until_broken();
        assert!(
            rest.is_empty() && lines.iter().all(|line| line.0 == "[Server]"),
            "{lines:?}"
        );
        witness.expect_notice(&format!("{name} has left the chat"));
    }
    witness.say_and_hear("nothing was said");
}

/// Talks until this user is gone, in step with the echo: the server serves the talker all the
/// while. Everything that the talker was told.
#[track_caller]
fn talk_until_gone(talker: &mut LineClient, gone: &str, text: &str) -> Vec<Said> {
    let departure = format!("{gone} has left the chat");
    let mut heard = Vec::new();
    for number in 0..50_000 {
        let line = format!("{number} {text}");
        talker.say(&line);
        heard.extend(talker.skip_to(&talker.name.clone(), &line));
        heard.push((talker.name.clone(), line));
        if heard.iter().rev().take(2).any(|line| line.1 == departure) {
            return heard;
        }
    }
    talker.fail(&format!("{gone} was never closed"));
}

#[test]
fn a_client_that_stops_reading_is_closed_and_the_others_do_not_notice() {
    let limits = Limits {
        rate_per_second: crate::support::UNPACED,
        burst_lines: crate::support::UNPACED,
        max_lag_bytes: 64 * 1024,
        ..Limits::default()
    };
    let chat = Chat::with(limits);
    let mut stuck = chat.connect_narrow("stuck");
    stuck.rename("stuck");
    let mut talker = chat.join("talker");
    let heard = talk_until_gone(&mut talker, "stuck", &"x".repeat(4000));
    // Its name is free at once.
    talker.rename("stuck");
    // What it was sent is the beginning of what was said; perhaps a farewell, then the end.
    let (mut got, rest) = stuck.read_until_broken();
    let arrival = format!("{} has entered the chat", talker.address());
    assert_eq!(got.remove(0).1, arrival);
    assert_eq!(
        got.remove(0).1,
        format!("{} renamed to talker", talker.address())
    );
    if got.last().is_some_and(|line| line.0 == "[Server]") {
        got.pop();
    }
    assert!(!got.is_empty() && got.len() < heard.len());
    assert_eq!(got, heard[..got.len()], "the stream has a gap");
    if !rest.is_empty() {
        let partial = String::from_utf8_lossy(&rest).into_owned();
        assert!(partial.starts_with("{\"type\":\"message\""), "{partial}");
    }
}

#[test]
fn one_who_is_too_slow_is_told_in_its_last_line_while_the_others_talk_on() {
    let server = RealServer::start(&with_unpaced(&["--max-lag", "1048576"]));
    let mut stuck = server.join("stuck");
    let mut talker = server.join("talker");
    let text = "x".repeat(4000);
    talk_until_gone(&mut talker, "stuck", &text);
    // More than the log keeps, in less than the time for a farewell.
    for number in 0..400 {
        talker.say_and_skip_to(&format!("on {number} {text}"));
    }
    let (got, rest) = stuck.read_until_broken();
    assert!(
        rest.is_empty(),
        "the last line is cut: {} bytes",
        rest.len()
    );
    let told = "You read too slowly and are too far behind; the connection is closed";
    let last = got.last().expect("a last line");
    assert_eq!((last.0.as_str(), last.1.as_str()), ("[Server]", told));
}

#[test]
fn many_clients_that_stop_reading_cost_no_more_than_the_bound() {
    let server = RealServer::start(&with_unpaced(&[
        "--max-lag",
        "1048576",
        "--announce-limit",
        "5",
    ]));
    let mut talker = server.join("talker");
    let mut stuck: Vec<LineClient> = (0..30)
        .map(|number| server.connect_narrow(&format!("stuck{number}")))
        .collect();
    stuck[29].rename("last");
    talker.skip_to(
        "[Server]",
        &format!("{} renamed to last", stuck[29].address()),
    );
    // One log for all, the history (200 messages of 4 KB, text and line), and little for each.
    let memory = server.memory_may_grow(32 * MIB);
    let text = "x".repeat(4000);
    for number in 0..6000 {
        talker.say_and_skip_to(&format!("{number} {text}"));
    }
    wait_for_users(&mut talker, 1);
    memory.check(&server);
}

#[test]
fn a_reader_who_is_half_the_limit_behind_is_not_closed_at_once_but_in_time() {
    let chat = Chat::with(Limits {
        rate_per_second: crate::support::UNPACED,
        burst_lines: crate::support::UNPACED,
        max_message_bytes: 1024 * 1024,
        max_line_bytes: 7 * 1024 * 1024,
        max_lag_bytes: 64 * 1024 * 1024,
        soft_lag_timeout: Duration::from_secs(5),
        // Not for this reason.
        write_stall_timeout: 100 * PATIENCE,
        ..Limits::default()
    });
    let mut stuck = chat.connect_narrow("stuck");
    stuck.rename("stuck");
    let mut talker = chat.join("talker");
    // The sockets hold some megabytes: 44 are more than half of the limit behind, and 44 are
    // not all of it.
    let text = "x".repeat(1024 * 1024);
    let start = Instant::now();
    let mut seen = Vec::new();
    for _ in 0..44 {
        seen.extend(talker.say_and_skip_to(&text));
    }
    talker.request("users", "");
    // On a machine that stands still the time may have passed already.
    if start.elapsed() < Duration::from_secs(4) {
        assert!(seen.is_empty());
        talker.expect_notice("Connected users (2): stuck, talker");
    }
    wait_for_departure(&mut talker, "stuck", &seen);
}

/// Waits until this user is gone, unless that was already seen.
#[track_caller]
fn wait_for_departure(client: &mut LineClient, name: &str, seen: &[Said]) {
    let departure = format!("{name} has left the chat");
    if !seen.iter().any(|line| line.1 == departure) {
        client.skip_to("[Server]", &departure);
    }
}

#[test]
fn a_reader_who_takes_no_byte_for_too_long_is_closed_and_a_silent_one_is_not() {
    let chat = Chat::with(Limits {
        rate_per_second: crate::support::UNPACED,
        burst_lines: crate::support::UNPACED,
        max_lag_bytes: 1024 * 1024 * 1024,
        write_stall_timeout: Duration::from_secs(2),
        ..Limits::default()
    });
    let mut stuck = chat.connect_narrow("stuck");
    stuck.rename("stuck");
    let [mut talker, mut silent] = chat.room(["talker", "silent"]);
    let text = "x".repeat(4000);
    let mut seen = Vec::new();
    for number in 0..3000 {
        let line = format!("{number} {text}");
        seen.extend(talker.say_and_skip_to(&line));
        silent.skip_to("talker", &line);
    }
    // It is far less behind than is allowed.
    wait_for_departure(&mut talker, "stuck", &seen);
    let start = Instant::now();
    eventually(PATIENCE, "three seconds", || {
        start.elapsed() > Duration::from_secs(3)
    });
    silent.say("it was not me");
    talker.expect("silent", "it was not me");
}

/// A time that does not come in a test.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// What those are told who are too far behind.
const TOO_FAR_BEHIND: &str = "You read too slowly and are too far behind; the connection is closed";

/// A reader who reads only when told to, and a talker who knows to the byte how far behind it is.
struct Backlog {
    chat: Chat,
    slow: LineClient,
    talker: LineClient,
    /// Bytes of a line of the talker beside its text.
    frame: u64,
    /// How far behind the reader was when its socket took nothing more, and what was said since.
    lag: u64,
    /// When the first byte was said that its socket may not have taken.
    start: Instant,
}

impl Backlog {
    /// A server with these times, and a reader whose socket is full.
    fn start(max_lag_bytes: usize, soft_lag: Duration, write_stall: Duration) -> Self {
        let limits = Limits {
            rate_per_second: crate::support::UNPACED,
            burst_lines: crate::support::UNPACED,
            max_lag_bytes,
            soft_lag_timeout: soft_lag,
            write_stall_timeout: write_stall,
            ..Limits::default()
        };
        let chat = Chat::with_config(ServerConfig {
            limits,
            ..Chat::config_with_web()
        });
        let mut slow = chat.connect_narrow("slow");
        slow.rename("slow");
        let mut talker = chat.join("talker");
        talker.say("x");
        let frame = talker.next_line().expect("an echo").len() as u64 - 1;
        let mut backlog = Backlog {
            chat,
            slow,
            talker,
            frame,
            lag: 0,
            start: Instant::now(),
        };
        eventually(PATIENCE, "the socket is full", || {
            backlog.say(4096);
            backlog.metric("smolchat_connections{state=\"behind\"}") == 1
        });
        backlog.lag = settled_lag(&backlog.chat);
        backlog
    }

    #[track_caller]
    fn metric(&self, name: &str) -> u64 {
        self.chat.metric(name)
    }

    /// How many users were closed for this reason.
    #[track_caller]
    fn closed_for(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "smolchat_connections_ended_total{{reason=\"{reason}\"}}"
        ))
    }

    /// Says one line of so many bytes, and hears it; nothing else was said meanwhile.
    #[track_caller]
    fn say(&mut self, bytes: u64) {
        let text = "x".repeat((bytes - self.frame) as usize);
        self.talker.say_and_hear(&text);
        self.lag += bytes;
    }

    /// Talks until the reader is exactly so many bytes behind, and the server has seen that.
    #[track_caller]
    fn fill_to(&mut self, lag: u64) {
        // A line has at least one byte of text: what is left after each is enough for another.
        while lag - self.lag > 4096 {
            self.say(4096 - 2 * self.frame);
        }
        self.say(lag - self.lag);
        eventually(PATIENCE, "the server sees the lag", || {
            self.metric("smolchat_lag_most_bytes") == lag
        });
    }

    /// The reader is still here.
    #[track_caller]
    fn is_here(&mut self) {
        self.talker.request("users", "");
        self.talker
            .expect_notice("Connected users (2): slow, talker");
    }

    /// The reader is here until so much time has passed.
    #[track_caller]
    fn stays_for(&mut self, time: Duration) {
        let start = Instant::now();
        eventually(time + PATIENCE, "time passes", || {
            self.is_here();
            start.elapsed() >= time
        });
    }

    /// The reader is closed for this reason, and when it reads on it gets what it was sent, in
    /// whole lines, and this sentence last.
    #[track_caller]
    fn is_closed(&mut self, reason: &str, farewell: &str) {
        self.talker.expect_notice("slow has left the chat");
        let (lines, rest) = self.slow.read_until_broken();
        assert_eq!(rest, b"", "the last line is cut");
        let (last, before) = lines.split_last().expect("a last line");
        assert_eq!(last, &("[Server]".to_owned(), farewell.to_owned()));
        assert!(before.len() > 2, "{before:?}");
        assert!(
            before[2..].iter().all(|line| line.0 == "talker"),
            "{before:?}"
        );
        assert_eq!(self.closed_for(reason), 1);
        self.talker.request("users", "");
        self.talker.expect_notice("Connected users (1): talker");
    }
}

#[test]
fn a_reader_who_is_as_far_behind_as_allowed_stays_and_one_byte_more_closes_it() {
    const MAX_LAG: u64 = 1024 * 1024;
    let mut backlog = Backlog::start(MAX_LAG as usize, NEVER, NEVER);
    backlog.fill_to(MAX_LAG - 1000);
    backlog.stays_for(2 * LAG_CHECK_INTERVAL);
    backlog.fill_to(MAX_LAG);
    backlog.stays_for(2 * LAG_CHECK_INTERVAL);
    // The shortest line there is.
    let shortest = backlog.frame + 1;
    backlog.say(shortest);
    backlog.is_closed("lag", TOO_FAR_BEHIND);
}

#[test]
fn half_of_the_lag_is_allowed_for_ever_and_more_of_it_for_its_time() {
    const MAX_LAG: u64 = 1024 * 1024;
    const SOFT: Duration = Duration::from_secs(3);
    let mut backlog = Backlog::start(MAX_LAG as usize, SOFT, NEVER);
    backlog.fill_to(MAX_LAG / 2);
    backlog.stays_for(SOFT + SOFT / 2);
    let start = Instant::now();
    let shortest = backlog.frame + 1;
    backlog.say(shortest);
    if start.elapsed() < SOFT / 2 {
        backlog.is_here();
    }
    backlog.is_closed("lag-time", TOO_FAR_BEHIND);
    let took = start.elapsed();
    assert!(took >= SOFT, "it was closed after {took:?}");
}

#[test]
fn the_time_above_half_of_the_lag_begins_anew_when_the_reader_was_below_it() {
    const MAX_LAG: u64 = 2 * 1024 * 1024;
    const SOFT: Duration = Duration::from_secs(6);
    const LINE: u64 = 4096;
    let mut backlog = Backlog::start(MAX_LAG as usize, SOFT, NEVER);
    let mut above = Duration::ZERO;
    // From there it swings by half of the bound, and is behind all the time.
    backlog.fill_to(MAX_LAG * 3 / 8);
    while above < SOFT {
        let start = Instant::now();
        for _ in 0..MAX_LAG / 2 / LINE {
            backlog.say(LINE);
        }
        eventually(PATIENCE, "the server sees more than half", || {
            backlog.metric("smolchat_lag_most_bytes") > MAX_LAG / 2
        });
        let is_above = Instant::now();
        backlog.stays_for(SOFT / 4);
        above += is_above.elapsed();
        for _ in 0..MAX_LAG / 2 / LINE {
            backlog.slow.must_get();
        }
        let took = start.elapsed();
        if took >= SOFT {
            return skip(&format!("the machine stood still: a round took {took:?}"));
        }
        eventually(PATIENCE, "the server sees less than half", || {
            backlog.metric("smolchat_lag_most_bytes") < MAX_LAG / 2
        });
        let behind = backlog.metric("smolchat_connections{state=\"behind\"}");
        assert_eq!(behind, 1, "it is behind all the time");
    }
    backlog.is_here();
}

#[test]
fn a_reader_who_takes_no_byte_is_closed_after_its_time_and_told_why() {
    const STALL: Duration = Duration::from_secs(5);
    let mut backlog = Backlog::start(64 * 1024 * 1024, NEVER, STALL);
    if backlog.start.elapsed() < STALL / 2 {
        backlog.is_here();
    }
    // It is hardly behind.
    assert!(backlog.lag < 1024 * 1024, "{} bytes behind", backlog.lag);
    let told = "You took nothing of what was sent for too long; the connection is closed";
    backlog.is_closed("write-timeout", told);
    let took = backlog.start.elapsed();
    assert!(took >= STALL, "it was closed after {took:?}");
}

#[test]
fn one_who_reads_slowly_but_steadily_and_stays_below_half_is_never_closed() {
    const MAX_LAG: u64 = 1024 * 1024;
    const TIME: Duration = Duration::from_secs(3);
    let mut backlog = Backlog::start(MAX_LAG as usize, TIME, TIME);
    backlog.slow.expect_notice(&format!(
        "{} has entered the chat",
        backlog.talker.address()
    ));
    backlog
        .slow
        .expect_notice(&format!("{} renamed to talker", backlog.talker.address()));
    let (mut said, mut heard) = (0, 0);
    // The lines of the beginning, which are all alike.
    backlog.talker.say_and_hear("now");
    let beginning = backlog.slow.skip_to("talker", "now");
    assert!(beginning.iter().all(|line| line.0 == "talker"));
    let text = "x".repeat(4000);
    // Ahead of it from here on by more than the sockets hold, and never by half of the bound.
    let ahead = MAX_LAG * 3 / 8 / 4096;
    let start = Instant::now();
    while start.elapsed() < TIME * 3 {
        backlog.talker.say_and_hear(&format!("{said} {text}"));
        said += 1;
        if said - heard > ahead {
            backlog.slow.expect("talker", &format!("{heard} {text}"));
            heard += 1;
            // This slow: a hundred lines a second, or fewer.
            thread::sleep(Duration::from_millis(10));
        }
        if said % 50 == 0 && said > ahead {
            let behind = backlog.metric("smolchat_connections{state=\"behind\"}");
            assert_eq!(behind, 1, "it is behind all the time");
            let most = backlog.metric("smolchat_lag_most_bytes");
            assert!(most <= MAX_LAG / 2, "{most} bytes behind");
        }
    }
    backlog.is_here();
    // It gets the rest of it, without a gap.
    while heard < said {
        backlog.slow.expect("talker", &format!("{heard} {text}"));
        heard += 1;
    }
    backlog.slow.say("all of it");
    backlog.slow.expect("slow", "all of it");
}

#[test]
fn a_stuck_reader_who_resets_or_closes_is_gone_at_once() {
    let chat = Chat::with(Limits {
        rate_per_second: crate::support::UNPACED,
        burst_lines: crate::support::UNPACED,
        max_lag_bytes: 64 * 1024 * 1024,
        ..Limits::default()
    });
    let mut talker = chat.join("talker");
    let mut stuck: Vec<LineClient> = Vec::new();
    for number in 0..4 {
        let mut client = chat.connect_narrow("stuck");
        talker.expect_notice(&format!("{} has entered the chat", client.address()));
        if number % 2 == 1 {
            client.request("history", "");
        }
        stuck.push(client);
    }
    let text = "x".repeat(4000);
    for number in 0..3000 {
        talker.say_and_hear(&format!("{number} {text}"));
    }
    for (number, client) in stuck.into_iter().enumerate() {
        let gone = format!("{} has left the chat", client.address());
        if number < 2 {
            client.reset();
        } else {
            drop(client);
        }
        talker.expect_notice(&gone);
    }
    talker.request("users", "");
    talker.expect_notice("Connected users (1): talker");
}

#[test]
fn a_server_with_nothing_to_do_computes_nothing() {
    let server = RealServer::start(&with_unpaced(&["--max-lag", "1073741824"]));
    let mut talker = server.join("talker");
    // Every state in which a connection can wait: a reader who stands still, one with a reply
    // pending, a half line, a half-closed one who does not read, the page's idle and live ones.
    let stuck = server.connect_narrow("stuck");
    let mut asking = server.connect_narrow("asking");
    let mut half = server.connect("half");
    half.send_raw(b"{\"type\":");
    let text = "x".repeat(4000);
    for number in 0..2000 {
        talker.say_and_skip_to(&format!("{number} {text}"));
    }
    asking.request("history", "");
    let mut closed = server.connect_narrow("closed");
    closed.send_raw(&request("history", "").repeat(10));
    closed.finish_sending();
    let web = server.web.expect("a page");
    let idle = TcpStream::connect(web).expect("the page is there");
    let mut live = TcpStream::connect(web).expect("the page is there");
    live.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("sent");
    talker.say_and_skip_to("all is set up");
    let (before, start) = (server.cpu_ticks(), Instant::now());
    eventually(PATIENCE, "three seconds", || {
        start.elapsed() >= Duration::from_secs(3)
    });
    match (before, server.cpu_ticks()) {
        (Some(before), Some(after)) => {
            let used = after - before;
            assert!(
                used < 30,
                "{used} hundredths of a second were computed in three seconds"
            );
        }
        _ => skip("this system does not tell the computing time of a process"),
    }
    drop((stuck, asking, half, closed, idle, live));
}

#[test]
fn a_stuck_reader_with_a_pending_reply_gets_everything_in_order_once_it_reads() {
    let limits = Limits {
        rate_per_second: crate::support::UNPACED,
        burst_lines: crate::support::UNPACED,
        history_messages: 100,
        max_lag_bytes: 64 * 1024 * 1024,
        ..Limits::default()
    };
    let chat = Chat::with(limits);
    let mut talker = chat.join("talker");
    let text = "x".repeat(4000);
    for number in 0..100 {
        talker.say_and_hear(&format!("{number} {text}"));
    }
    let mut stuck = chat.connect_narrow("stuck");
    let arrival = format!("{} has entered the chat", stuck.address());
    talker.expect_notice(&arrival);
    // Together they are more than the sockets hold: some wait while the talk goes on.
    let requests = [
        request("history", "").repeat(20),
        request("message", "now I read"),
    ];
    stuck.send_raw(&requests.concat());
    for number in 100..400 {
        let line = format!("{number} {text}");
        talker.say(&line);
        talker.skip_to("talker", &line);
    }
    let (mut newest, mut replies) = (99, 0);
    let stuck_name = stuck.name.clone();
    loop {
        let (source, line) = stuck.must_get();
        if source == stuck_name {
            assert_eq!(line, "now I read");
            break;
        }
        let number: u64 = line
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .expect("a number");
        if number == newest + 1 {
            newest = number;
            continue;
        }
        assert_eq!(
            number,
            newest - 99,
            "after {newest}: neither the next message nor a reply"
        );
        for expected in number + 1..=newest {
            let (_, line) = stuck.must_get();
            assert!(
                line.starts_with(&format!("{expected} ")),
                "inside of a reply after {newest}"
            );
        }
        replies += 1;
    }
    assert_eq!(replies, 20);
    talker.skip_to(&stuck_name, "now I read");
    stuck.say("still here");
    stuck.skip_to(&stuck_name, "still here");
}

#[test]
fn requests_of_a_reader_who_stands_still_are_not_piled_up() {
    let server = RealServer::start(&with_unpaced(&["--max-lag", "67108864"]));
    let mut talker = server.join("talker");
    let text = "x".repeat(4000);
    for number in 0..200 {
        talker.say_and_hear(&format!("{number} {text}"));
    }
    let mut stuck = server.connect_narrow("stuck");
    talker.expect_notice(&format!("{} has entered the chat", stuck.address()));
    let memory = server.memory_may_grow(16 * MIB);
    // Replies of a hundred thousand times 800 KB, if they were all made; the server stops
    // reading long before, so the sending ends when the sockets are full.
    stuck
        .stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a deadline");
    let requests = request("history", "").repeat(1000);
    let _is_full = (0..100).any(|_| stuck.stream.write_all(&requests).is_err());
    for number in 0..100 {
        talker.say_and_skip_to(&format!("after {number}"));
    }
    memory.check(&server);
}

#[test]
fn a_client_that_sends_faster_than_its_share_is_held_back_and_nothing_is_lost() {
    let limits = Limits {
        rate_per_second: 20,
        burst_lines: 10,
        ..Limits::default()
    };
    let chat = Chat::with(limits);
    let [mut flooder, mut other] = chat.room(["flooder", "other"]);
    let start = Instant::now();
    let lines: Vec<u8> = (0..130)
        .flat_map(|number| request("message", &number.to_string()))
        .collect();
    flooder.send_raw(&lines);
    flooder.finish_sending();
    other.say("in between");
    let mut before_other = None;
    for number in 0..130 {
        let (mut source, mut message) = flooder.must_get();
        if source == "other" {
            before_other = Some(number);
            (source, message) = flooder.must_get();
        }
        assert_eq!((source.as_str(), message), ("flooder", number.to_string()));
    }
    // 120 lines beyond the burst at 20 a second are 6 seconds; some of the burst was used to
    // come in, and some had come back.
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(3),
        "130 lines came within {took:?}"
    );
    // A quiet client is not held back by a loud one.
    assert!(
        before_other.is_some(),
        "the other one was heard only after all of the flood"
    );
    flooder.expect_end();
    other.skip_to("[Server]", "flooder has left the chat");
}

#[test]
fn no_more_lines_come_at_once_than_the_burst() {
    let chat = Chat::with(Limits {
        rate_per_second: 1,
        burst_lines: 5,
        ..Limits::default()
    });
    let mut flooder = chat.connect("flooder");
    let start = Instant::now();
    for number in 0..8 {
        flooder.say(&number.to_string());
    }
    for number in 0..8u32 {
        let name = flooder.name.clone();
        flooder.expect(&name, &number.to_string());
        // The sixth comes after a second, the eighth after three.
        let earliest = Duration::from_secs(1) * number.saturating_sub(4);
        let took = start.elapsed();
        assert!(took * 2 >= earliest, "line {number} came after {took:?}");
    }
}

#[test]
fn pacing_counts_refused_lines_too() {
    let limits = Limits {
        rate_per_second: 10,
        burst_lines: 5,
        ..Limits::default()
    };
    let chat = Chat::with(limits);
    let mut flooder = chat.connect("flooder");
    let start = Instant::now();
    flooder.send_raw(&b"garbage\n".repeat(17));
    for _ in 0..17 {
        flooder.notice();
    }
    flooder.expect_end();
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(600),
        "17 refusals came within {took:?}"
    );
}

#[test]
fn flooders_do_not_hold_up_a_quiet_client() {
    let chat = Chat::with_config(ServerConfig {
        threads: 1,
        ..Chat::config()
    });
    let mut quiet = chat.join("quiet");
    let mut flooders: Vec<LineClient> = (0..10)
        .map(|number| chat.join(&format!("flooder{number}")))
        .collect();
    for flooder in &mut flooders {
        // More than their burst of 200: they are at their rate from then on.
        let lines: Vec<u8> = (0..1000)
            .flat_map(|number| request("message", &number.to_string()))
            .collect();
        flooder.send_raw(&lines);
    }
    // Paced, ten of them say at most a thousand lines a second, and so the quiet one's round
    // trip has a few lines before it, not all ten thousand.
    for number in 0..50 {
        let start = Instant::now();
        quiet.say_and_skip_to(&format!("quiet {number}"));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "a round trip took {took:?}");
    }
    quiet.request("users", "");
    let users = quiet_notice(&mut quiet);
    assert!(users.starts_with("Connected users (11): "), "{users}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_quiet_clients_message_is_delivered_within_a_few_batches() {
    const FLOOD: usize = 1000;
    let server = RealServer::start(&UNPACED);
    let [mut quiet, mut flooder, mut witness] = server.room(["quiet", "flooder", "witness"]);
    // While the server is halted, both wait in the kernel, the flood first: from then on the
    // order is the server's choice alone.
    halt(&server);
    let flood: Vec<u8> = (0..FLOOD)
        .flat_map(|number| request("message", &number.to_string()))
        .collect();
    flooder.send_raw(&flood);
    quiet.say("excuse me");
    server.signal("CONT");
    let before = witness.skip_to("quiet", "excuse me").len();
    assert!(
        before <= 4 * MAX_LINES_PER_TURN,
        "{before} lines of the flood came before the quiet client's"
    );
    let rest = witness.skip_to("flooder", &(FLOOD - 1).to_string()).len();
    assert_eq!(before + rest + 1, FLOOD, "and none of the flood is lost");
}

/// Halts the program, and waits until it is.
#[cfg(target_os = "linux")]
fn halt(server: &RealServer) {
    server.signal("STOP");
    eventually(PATIENCE, "the server is halted", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id()));
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('T')))
    });
}

#[track_caller]
fn quiet_notice(client: &mut LineClient) -> String {
    loop {
        let (source, message) = client.must_get();
        if source == "[Server]" && message.starts_with("Connected users (") {
            return message;
        }
    }
}

#[test]
fn a_flooder_who_never_reads_is_bounded_like_everyone() {
    let server = RealServer::start(&with_unpaced(&["--max-lag", "262144"]));
    let mut witness = server.join("witness");
    let memory = server.memory_may_grow(32 * MIB);
    let mut flooder = server.connect_narrow("flooder");
    let name = flooder.address();
    let flood = thread::spawn(move || {
        let lines = request("message", &"x".repeat(4000)).repeat(64);
        let mut sent = 0;
        // 64 MB, if the server takes them; it closes the connection before.
        while sent < 256 && flooder.stream.write_all(&lines).is_ok() {
            sent += 1;
        }
        sent
    });
    witness.skip_to("[Server]", &format!("{name} has left the chat"));
    let sent = flood.join().expect("the flooder ends");
    assert!(sent < 256, "the flooder was never closed");
    memory.check(&server);
    witness.say_and_skip_to("peace");
}

#[test]
fn connects_beyond_the_limit_do_not_grow_the_server() {
    let server = RealServer::start(&["--max-clients", "2"]);
    let mut witness = server.join("witness");
    let second = server.connect("second");
    witness.expect_notice(&format!("{} has entered the chat", second.address()));
    let memory = server.memory_may_grow(16 * MIB);
    for _ in 0..2000 {
        let mut guest = server.connect_raw("guest");
        // It is told, or, where too many are being told already, closed without a word.
        let (lines, rest) = guest.read_until_broken();
        assert!(rest.is_empty() && lines.len() <= 1, "{lines:?}");
        if let Some(line) = lines.first() {
            assert_eq!(line.1, "The chat is full (2 users); try again later");
        }
    }
    memory.check(&server);
    witness.say_and_hear("nobody came");
}

/// A client that connects from this address to this one.
fn connect_from(source: &str, target: SocketAddr, chat: &Chat) -> io::Result<LineClient> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    let source: IpAddr = source.parse().expect("an address");
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&target.into())?;
    Ok(LineClient::new(socket.into(), "guest", &chat.transcript))
}

#[test]
fn on_a_listener_for_both_an_ipv4_address_has_a_rate_of_connections_of_its_own() {
    if std::net::TcpListener::bind("[::]:0").is_err() {
        return skip("this machine has no IPv6");
    }
    if std::net::TcpListener::bind("127.0.0.2:0").is_err() {
        return skip("this machine has one loopback address only");
    }
    let chat = Chat::with_config(ServerConfig {
        chat_host: "::".into(),
        limits: Limits {
            connects_per_minute: Some(2),
            ..Limits::default()
        },
        ..Chat::config()
    });
    let port = chat.address.port();
    let at = |target: &str| SocketAddr::new(target.parse().expect("an address"), port);
    // What the listener sees of them is ::ffff:127.0.0.1 and ::ffff:127.0.0.2: were that an IPv6
    // address like others, all of IPv4, and ::1 with it, would be in one and the same /64.
    let mut sources = vec![
        ("127.0.0.1", at("127.0.0.1")),
        ("127.0.0.2", at("127.0.0.1")),
    ];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        sources.push(("::1", at("::1")));
    }
    for (source, target) in sources {
        let mut inside = Vec::new();
        for _ in 0..2 {
            let mut guest = connect_from(source, target, &chat).expect("connected");
            guest.expect_own_arrival();
            inside.push(guest);
        }
        for _ in 0..3 {
            let mut one_too_many = connect_from(source, target, &chat).expect("connected");
            let sentence = one_too_many.notice();
            assert!(
                sentence.starts_with("Too many new connections from your address"),
                "from {source}: {sentence}"
            );
            one_too_many.expect_end();
        }
        let name = inside[1].name.clone();
        inside[1].say("x");
        inside[1].skip_to(&name, "x");
    }
}

/// A server that may have only so many open files.
fn server_with_descriptors(count: u64, arguments: &[&str]) -> RealServer {
    let command = RealServer::command(arguments);
    let mut shell = Command::new("sh");
    // The shell becomes the server: its number is the server's.
    shell.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    RealServer::from_command(shell)
}

#[test]
fn running_out_of_descriptors_neither_ends_the_server_nor_makes_it_spin() {
    let server = server_with_descriptors(64, &[]);
    let mut witness = server.join("witness");
    // More than there are descriptors for: the last are told so, and closed.
    let mut crowd: Vec<LineClient> = (0..100)
        .map(|number| server.connect_raw(&format!("c{number}")))
        .collect();
    server.stderr.wait_for("no file descriptor is left");
    let mut last = crowd.pop().expect("the last of them");
    last.expect_notice("The server has no room for a further connection; try again later");
    last.expect_end();
    witness.say_and_skip_to("still served");
    let (before, start) = (server.cpu_ticks(), Instant::now());
    eventually(PATIENCE, "three seconds", || {
        start.elapsed() >= Duration::from_secs(3)
    });
    match (before, server.cpu_ticks()) {
        (Some(before), Some(after)) => {
            let used = after - before;
            assert!(
                used < 30,
                "{used} hundredths of a second were computed in three seconds of waiting"
            );
        }
        _ => skip("this system does not tell the computing time of a process"),
    }
    drop(crowd);
    // Those who had waited come in and find that they are gone; then there is room again.
    wait_for_users(&mut witness, 1);
    let mut late = server.connect("late");
    late.say("hello");
    late.skip_to(&late.name.clone(), "hello");
}

#[test]
fn a_reader_of_the_page_does_not_take_the_descriptor_that_is_kept_for_telling() {
    let server = server_with_descriptors(64, &[]);
    let mut witness = server.join("witness");
    let _crowd: Vec<LineClient> = (0..70)
        .map(|number| server.connect_raw(&format!("c{number}")))
        .collect();
    server.stderr.wait_for("no file descriptor is left");
    let (mut readers, mut inside) = (Vec::new(), Vec::new());
    for number in 0..20 {
        // Both at once: whoever is accepted first may find the spare of the other.
        let web = server.web.expect("a page");
        let mut reader = TcpStream::connect(web).expect("connected");
        let told: Vec<LineClient> = (0..2)
            .map(|_| server.connect_raw(&format!("told{number}")))
            .collect();
        let head = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        reader.write_all(head).expect("sent");
        readers.push(reader);
        for mut told in told {
            // Let in, or told that there is no room: never left without a word.
            told.must_get();
            inside.push(told);
        }
    }
    witness.say_and_skip_to("still served");
}

#[test]
fn a_limit_of_clients_beyond_the_descriptors_is_a_clear_warning() {
    let server = server_with_descriptors(256, &["--max-clients", "5000"]);
    server.stderr.wait_for("--max-clients 5000");
    server.stderr.wait_for("256");
    let mut guest = server.connect("guest");
    guest.say("it works all the same");
    guest.skip_to(&guest.name.clone(), "it works all the same");
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    let Ok((_, hard)) = rlimit::Resource::NOFILE.get() else {
        return skip("this system tells no limit of open files");
    };
    if hard < 200 {
        return skip("the hard limit of open files is too low");
    }
    let command = RealServer::command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 64; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = RealServer::from_command(shell);
    let mut crowd: Vec<LineClient> = (0..100)
        .map(|number| server.connect(&format!("c{number}")))
        .collect();
    crowd[0].say_and_skip_to("all are here");
    wait_for_users(&mut crowd[0], 100);
}

#[test]
fn a_request_of_the_other_side_of_the_house_is_refused_line_by_line() {
    // A browser that is sent to the chat's port gets refusals, not the chat.
    let chat = Chat::start();
    let site: &Site = &chat;
    let mut browser = site.connect("browser");
    browser.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x\r\n\r\n");
    for _ in 0..3 {
        assert!(browser.notice().contains("JSON"));
    }
    browser.finish_sending();
    browser.expect_end();
}
