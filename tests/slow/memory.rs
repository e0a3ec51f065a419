//! Memory and CPU of the server program under load, as the system counts them.

use crate::support::extended::{Extended, Folder};
use crate::support::http::{Events, Http};
use crate::support::{
    Deadline, LineClient, PATIENCE, RealServer, Said, backlog, eventually, request, skip,
    unpaced_with, wait_for_users,
};
use serde_json::json;
use smolchat::limits::MAX_HISTORY_BYTES;
use smolchat::server::limits::{
    DEFAULT_MAX_LAG_BYTES, DEFAULT_MAX_LINE_BYTES, Limits, READ_BUFFER_BYTES, RECENT_EVENTS_BYTES,
    TRANSCRIPT_BYTES,
};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// Returns this number, or with a message the number that the limit of open files allows.
fn as_many_as_files_allow(wanted: usize) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).expect("the limit can be raised");
    // Other tests of this program have open files at the same time.
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
#[ignore = "slow"]
fn ten_thousand_half_lines_stay_within_documented_memory() {
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
    // By docs/operations.md, each has a half line and its connection. The rest is shared: one log, a
    // short history and what the allocator keeps.
    let memory = server.memory_may_grow((clients * (MAX_LINE + 1 + 2048)) as u64 + 12 * MIB);
    let before = server.memory_bytes();
    // Nearly the longest line and the longest line, in turn.
    let lines = [vec![b'x'; MAX_LINE - 10], vec![b'x'; MAX_LINE]];
    let mut crowd = Vec::with_capacity(clients);
    let mut slowest = Duration::ZERO;
    while crowd.len() < clients {
        for _ in 0..500.min(clients - crowd.len()) {
            let mut client = server.connect_raw("half");
            client.send_raw(&lines[crowd.len() % 2]);
            crowd.push(client);
        }
        // Each of the three hears the others, with nothing but summaries in between.
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
    // The server stores all half lines.
    if let (Some(before), Some(now)) = (before, server.memory_bytes()) {
        let stored = (clients * (MAX_LINE - 10)) as u64;
        assert!(
            now >= before + stored,
            "{now} after {before}, {stored} more"
        );
    }
    memory.check(&server);
    // The server still reads each of them and rejects its line.
    for client in &mut crowd {
        client.send_raw(b"\n");
        let refused = |line: &Said| line.0 == "[Server]" && line.1.contains("JSON");
        while !refused(&client.must_get()) {}
    }
    drop(crowd);
    wait_for_users(&mut alice, 3);
}

/// Returns the worst case of docs/operations.md for these limits, without the page, a store and
/// clients of the extended dialect.
fn most_memory(limits: &Limits) -> usize {
    let each =
        limits.max_line_bytes + 64 * 1024 + 8 * limits.history_messages + 32 * limits.max_clients;
    let log = limits.max_lag_bytes + 1024 * 1024;
    let past = RECENT_EVENTS_BYTES.max(limits.max_lag_bytes) + 1024 * 1024;
    limits.max_clients * each + 2 * log + past + MAX_HISTORY_BYTES + 2 * TRANSCRIPT_BYTES
}

/// Returns the sum of docs/operations.md for these limits with a store, without the page and
/// without nonces.
#[cfg(target_os = "linux")]
fn documented_memory(limits: &Limits) -> usize {
    const KIB: usize = 1024;
    let each = limits.max_line_bytes
        + 160 * KIB
        + 3 * limits.max_message_bytes
        + 8 * limits.history_messages
        + 64 * limits.max_clients;
    let logs = 2 * (limits.max_lag_bytes + KIB * KIB);
    let past = RECENT_EVENTS_BYTES.max(limits.max_lag_bytes) + KIB * KIB;
    let sessions = 10 * limits.max_clients * KIB;
    let store = 2 * 8 * KIB * KIB + 8 * KIB * KIB;
    let rest = MAX_HISTORY_BYTES + 2 * TRANSCRIPT_BYTES;
    (limits.max_clients + 256) * each + logs + past + sessions + store + rest
}

/// Connects visitors from one address, two at a time. Each says hello and these lines, reads up to
/// a line with this part or the end, and closes.
#[cfg(target_os = "linux")]
fn visit(server: &RealServer, address: [u8; 4], visits: usize, lines: &str, part: &str) {
    let hello = r#"{"type":"hello","data":{"version":2,"client":"visitor/1"}}"#;
    let visit_many = |thread: usize| {
        server.transcript.share();
        for visit in 0..visits / 2 {
            let source = (IpAddr::from(address), 0).into();
            let mut visitor = server.connect_from(source, "visitor");
            let name = format!("visitor {thread} {visit}");
            visitor.send_raw(format!("{hello}\n{}\n", lines.replace("NAME", &name)).as_bytes());
            while let Some(line) = visitor.next_line()
                && !String::from_utf8_lossy(&line).contains(part)
            {}
        }
    };
    thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || visit_many(thread));
        }
    });
}

/// Searches while a hundred clients of another address search without pause, and half of them do
/// not read what is found.
#[cfg(target_os = "linux")]
fn search_in_a_flood(server: &RealServer) {
    let mut own = Extended::connect(server, "own");
    // The full-text index does not narrow this search.
    let mut search = || {
        let start = Instant::now();
        own.send("search", json!({"query": "from:\"!\""}));
        assert_eq!(own.skip_to("search")["more"], false);
        start.elapsed()
    };
    let alone = search();
    let flooders: Vec<_> = (0..100)
        .map(|number| {
            let source = (IpAddr::from([127, 0, 0, 4]), 0).into();
            let mut flooder = server.connect_from(source, "flooder");
            let query = ["from:\\\"!\\\"", "words"][number % 2];
            let line = format!(r#"{{"type":"search","data":{{"query":"{query}"}}}}"#);
            let hello = "{\"type\":\"hello\",\"data\":{\"version\":2}}\n";
            flooder.send_raw(format!("{hello}{}", format!("{line}\n").repeat(500)).as_bytes());
            flooder
        })
        .collect();
    let slowest = (0..10).map(|_| search()).max().expect("a search");
    assert!(
        slowest < alone * 10 + Duration::from_secs(1),
        "a search took {slowest:?} instead of {alone:?}"
    );
    drop(flooders);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "slow"]
fn strangers_stay_within_documented_memory() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let file = file.to_str().expect("a plain path");
    let clients = ["--max-clients", "128", "--announce-limit", "5"];
    let mut command = RealServer::command(&["--no-web", "--db", file]);
    command.args(unpaced_with(&clients));
    let server = RealServer::from_command(command);
    server.transcript.set_limit(Duration::from_secs(240));
    let memory = server.memory_may_grow(documented_memory(&Limits {
        max_clients: 128,
        ..Limits::default()
    }) as u64);
    let quit = r#"{"type":"quit","data":""}"#;
    visit(&server, [127, 0, 0, 2], 1000, quit, "never");
    let name = r#"{"type":"set-name","data":"NAME"}"#;
    visit(&server, [127, 0, 0, 3], 2000, name, "new_name");
    server.connect("talker").say_many(20_000, "some words");
    // Repeated visits need nothing more.
    let again = server.memory_may_grow(8 * MIB);
    visit(&server, [127, 0, 0, 2], 4000, quit, "never");
    visit(&server, [127, 0, 0, 3], 2000, name, "new_name");
    again.check(&server);
    search_in_a_flood(&server);
    memory.check(&server);
    wait_for_users(&mut server.connect("last"), 1);
}

/// Returns a rename and a request for the users that is the longest line, its end included. The
/// rename makes every answer a list of its own.
fn longest_users_request(name: &str) -> Vec<u8> {
    let (opening, closing) = (r#"{"type":"users","data":""#, "\"}\n");
    let padding = DEFAULT_MAX_LINE_BYTES - opening.len() - closing.len() + 1;
    let mut lines = request("set-name", name);
    lines.extend(opening.as_bytes());
    lines.extend(vec![b'x'; padding]);
    lines.extend(closing.as_bytes());
    lines
}

#[test]
#[ignore = "slow"]
fn thousand_clients_at_every_bound_stay_within_documented_memory() {
    const CLIENTS: usize = 999;
    const MAX_LAG: u64 = DEFAULT_MAX_LAG_BYTES as u64;
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let server = RealServer::start(&unpaced_with(&["--announce-limit", "5"]));
    // The page has the metrics, and one stream whose reader stands still.
    let mut page = Http::connect(server.web.expect("a page"));
    page.request("/api/events");
    let memory = server.memory_may_grow(most_memory(&Limits::default()) as u64);
    let before = server.memory_bytes();
    // A full history, of the longest messages.
    let mut talker = server.join("talker");
    for number in 0..200 {
        talker.say_and_hear(&format!("{number:04}{}", "x".repeat(4092)));
    }
    let mut crowd: Vec<LineClient> = (0..CLIENTS)
        .map(|number| server.connect_narrow_raw(&format!("greedy{number}")))
        .collect();
    wait_for_users(&mut talker, CLIENTS + 1);
    // None of them reads, so their sockets become full, and that of the stream too.
    let behind = || server.metric("smolchat_connections{state=\"behind\"}");
    eventually(PATIENCE, "everyone is behind", || {
        talker.say_and_skip_to(&"y".repeat(4096));
        behind() == CLIENTS as u64 + 1
    });
    // While its answer waits, each has the longest line in memory, and the bytes that were read
    // with it. They ask in turn, so that every rename makes a new list.
    for (number, client) in crowd.iter_mut().enumerate() {
        let name = format!("greedy{number}");
        let done = server.metric("smolchat_lines_in_total") + 2;
        let mut lines = longest_users_request(&name);
        lines.extend([b'x'; READ_BUFFER_BYTES]);
        client.send_raw(&lines);
        let renamed = format!("{} renamed to {name}", client.address());
        talker.skip_to("[Server]", &renamed);
        eventually(PATIENCE, "its request is taken", || {
            server.metric("smolchat_lines_in_total") >= done
        });
    }
    // All of them are nearly as far behind as allowed.
    let seen = backlog::settled_lag(&server);
    let text = "z".repeat(4096);
    for _ in 0..(MAX_LAG - seen).saturating_sub(65_536) / 4200 {
        talker.say_and_skip_to(&text);
    }
    eventually(PATIENCE, "a lag near its bound", || {
        server.metric("smolchat_lag_most_bytes") > MAX_LAG * 9 / 10
    });
    let now = server.memory_bytes();
    // The events of the page are longer, so its reader may be above the limit.
    assert!(behind() >= CLIENTS as u64, "a client was closed too early");
    assert_eq!(server.metric("smolchat_users"), CLIENTS as u64 + 1);
    // The server stores a line and a list of names for each.
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
#[ignore = "slow"]
fn stuck_readers_stay_within_memory_bound() {
    let server = RealServer::start(&unpaced_with(&[
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
    // One log, the history (200 messages of 4 KB, text and line), and little for each client.
    let memory = server.memory_may_grow(32 * MIB);
    let text = "x".repeat(4000);
    talker.say_many(6000, &text);
    wait_for_users(&mut talker, 1);
    memory.check(&server);
}

#[test]
#[ignore = "slow"]
fn requests_of_a_stuck_reader_are_not_queued() {
    let server = RealServer::start(&unpaced_with(&["--max-lag", "67108864"]));
    let mut talker = server.join("talker");
    let text = "x".repeat(4000);
    talker.say_many(200, &text);
    let mut stuck = server.connect_narrow("stuck");
    talker.expect_notice(&format!("{} has entered the chat", stuck.address()));
    let memory = server.memory_may_grow(16 * MIB);
    // A hundred thousand replies of 800 KB, if the server made all of them. The server stops
    // reading long before.
    let requests = request("history", "").repeat(100_000);
    stuck
        .stream
        .begin(Deadline::after(Duration::from_millis(300)));
    // An error means that the sockets are full.
    let _ = stuck.stream.send(&requests);
    for number in 0..100 {
        talker.say_and_skip_to(&format!("after {number}"));
    }
    memory.check(&server);
}

#[test]
#[ignore = "slow"]
fn flooder_that_never_reads_is_closed_within_memory_bound() {
    let server = RealServer::start(&unpaced_with(&["--max-lag", "262144"]));
    let mut witness = server.join("witness");
    let memory = server.memory_may_grow(32 * MIB);
    let mut flooder = server.connect_narrow("flooder");
    let name = flooder.address();
    let flood = thread::spawn(move || {
        let lines = request("message", &"x".repeat(4000)).repeat(64);
        let mut sent = 0;
        // The server closes the connection long before 64 MB.
        while sent < 256 && flooder.try_send(&lines).is_ok() {
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
#[ignore = "slow"]
fn rejected_connections_stay_within_memory_bound() {
    let server = RealServer::start(&["--max-clients", "2"]);
    let mut witness = server.join("witness");
    let second = server.connect("second");
    witness.expect_notice(&format!("{} has entered the chat", second.address()));
    let memory = server.memory_may_grow(16 * MIB);
    for _ in 0..2000 {
        let mut guest = server.connect_raw("guest");
        // Above a number of rejected connections, the server closes without a line.
        let (lines, rest) = guest.read_until_broken();
        assert!(rest.is_empty() && lines.len() <= 1, "{lines:?}");
        if let Some(line) = lines.first() {
            assert_eq!(line.1, "The chat is full (2 users); try again later");
        }
    }
    memory.check(&server);
    witness.say_and_hear("nobody came");
}

#[test]
#[ignore = "slow"]
fn idle_server_uses_no_cpu() {
    let server = RealServer::start(&unpaced_with(&["--max-lag", "1073741824"]));
    let mut talker = server.join("talker");
    // Every state in which a connection can wait: stuck readers with and without a reply, a half
    // line, a half-closed stuck reader, and an idle and a live connection of the page.
    let stuck = server.connect_narrow("stuck");
    let mut asking = server.connect_narrow("asking");
    let mut half = server.connect("half");
    half.send_raw(b"{\"type\":");
    let text = "x".repeat(4000);
    talker.say_many(2000, &text);
    asking.request("history", "");
    let mut closed = server.connect_narrow("closed");
    closed.send_raw(&request("history", "").repeat(10));
    closed.finish_sending();
    let web = server.web.expect("a page");
    let idle = Http::connect(web);
    let mut live = Http::connect(web);
    live.request("/api/events");
    talker.say_and_skip_to("all is set up");
    server.check_idle();
    drop((stuck, asking, half, closed, idle, live));
}

#[test]
#[ignore = "slow"]
fn stuck_stream_reader_stays_within_memory_bound() {
    let server = RealServer::start(&unpaced_with(&["--max-lag", "1048576"]));
    let web = server.web.expect("a page");
    let mut alice = server.join("alice");
    let stuck: Vec<Http> = (0..10)
        .map(|_| {
            let mut http = Http::connect_narrow(web);
            http.request("/api/events");
            assert_eq!(http.head().status, 200);
            http
        })
        .collect();
    let memory = server.memory_may_grow(32 * MIB);
    let text = "x".repeat(4000);
    alice.say_many(6000, &text);
    memory.check(&server);
    // The log has dropped what each of them needs, so its stream ends.
    for mut http in stuck {
        http.rest();
    }
    let snapshot = Events::open(web).expect("snapshot").data;
    assert_eq!(snapshot["messages"][199]["message"], format!("5999 {text}"));
}
