//! The store as an operator sees it: errors at the start, a full disk, a locked or a killed store,
//! and other programs that use the file.

use crate::page_user::Browser;
use crate::support::extended::{Extended, Folder};
use crate::support::http::{Answer, get};
use crate::support::{
    Deadline, LineClient, PATIENCE, RealServer, Said, eventually, limit_file_sizes, run_to_end,
    skip, unpaced_with,
};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

fn command(file: &Path) -> Command {
    RealServer::command(&["--db", file.to_str().expect("a plain path")])
}

pub(crate) fn start(file: &Path) -> RealServer {
    RealServer::from_command(command(file))
}

fn start_unpaced(file: &Path, arguments: &[&'static str]) -> RealServer {
    let mut command = command(file);
    command.args(unpaced_with(arguments));
    RealServer::from_command(command)
}

fn open(file: &Path) -> Connection {
    Connection::open(file).expect("the database")
}

/// Returns the rows that this condition selects.
#[track_caller]
fn count(database: &Connection, rows: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {rows}");
    let row = database.query_row(&query, [], |row| row.get(0));
    row.expect("a count")
}

pub(crate) fn page(server: &RealServer, path: &str) -> Answer {
    get(server.web.expect("a page"), path)
}

/// Expects that the server does not start with this file, and one sentence with these words.
#[track_caller]
pub(crate) fn does_not_start(file: &Path, words: &str) {
    let ran = run_to_end(command(file));
    let told = &ran.stderr;
    assert_eq!(ran.code, Some(1), "{told}");
    assert!(told.contains(words), "{told}");
    assert!(told.contains(&*file.to_string_lossy()), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn invalid_store_is_reported_at_the_start() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    std::fs::write(&file, "a letter to somebody, of some length").expect("written");
    does_not_start(&file, "is not a database");
    std::fs::remove_file(&file).expect("removed");
    does_not_start(
        &folder.file("no/chat.db"),
        "choose a --db file in a writable folder",
    );
    let server = start(&file);
    does_not_start(&file, "Another smolchat-server uses");
    drop(server);
    let newer = open(&file).pragma_update(None, "user_version", 1000);
    newer.expect("updated");
    does_not_start(&file, "a newer smolchat");
}

#[cfg(unix)]
#[test]
fn read_only_store_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let file = folder.file("chat.db");
    drop(start(&file));
    let set = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, permissions).expect("it is ours");
    };
    set(0o444);
    if std::fs::OpenOptions::new().write(true).open(&file).is_ok() {
        return skip("this user may write to every file");
    }
    does_not_start(&file, "is read-only");
    set(0o644);
    drop(start(&file));
}

/// Talks as fast as possible until the connection breaks, and returns the lines received.
///
/// The topic makes the texts unique. The names are not, because addresses can repeat.
fn talk_until_broken(mut client: LineClient, topic: String) -> JoinHandle<Vec<Said>> {
    let mut sender = client.stream.sender();
    thread::spawn(move || {
        let line = |number| json!({"type": "message", "data": format!("{topic} {number}")});
        let mut numbers = 0..u64::MAX;
        while let Some(number) = numbers.next()
            && sender
                .write_all(format!("{}\n", line(number)).as_bytes())
                .is_ok()
        {}
    });
    thread::spawn(move || client.read_until_broken().0)
}

#[test]
fn delivered_messages_survive_a_kill_during_a_flood() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut last = 0;
    let mut all_heard: HashSet<Said> = HashSet::new();
    for round in 0..3 {
        let mut server = start_unpaced(&file, &[]);
        let mut witness = Extended::connect(&server, "witness");
        assert!(
            witness.last > last,
            "numbers go on: {} after {last}",
            witness.last
        );
        let talkers: Vec<_> = (0..4)
            .map(|number| {
                let topic = format!("round {round} talker {number}");
                talk_until_broken(server.connect(&topic), topic)
            })
            .collect();
        let mut seen = BTreeMap::new();
        while seen.len() < 3000 {
            let Some((kind, data)) = witness.next() else {
                panic!("the server ended by itself")
            };
            if kind == "message" {
                seen.insert(witness.last, data);
            }
        }
        server.signal("KILL");
        server.wait(PATIENCE);
        for talker in talkers {
            let heard = talker.join().expect("it does not fail");
            all_heard.extend(heard.into_iter().filter(|(source, _)| source != "[Server]"));
        }
        let database = open(&file);
        let mut statement = database
            .prepare("SELECT id, source, message FROM messages ORDER BY id")
            .expect("a statement");
        let row = |row: &rusqlite::Row<'_>| {
            let id: i64 = row.get(0)?;
            Ok((id as u64, (row.get(1)?, row.get(2)?)))
        };
        let rows = statement.query_map([], row).expect("rows");
        let by_id: BTreeMap<u64, Said> = rows.map(|row| row.expect("a row")).collect();
        for (id, data) in &seen {
            let (source, message) = &by_id[id];
            assert_eq!(
                (&data["source"], &data["message"]),
                (&json!(source), &json!(message))
            );
        }
        let stored: HashSet<Said> = by_id.values().cloned().collect();
        assert_eq!(stored.len(), by_id.len(), "a message is stored twice");
        let lost: Vec<_> = all_heard.difference(&stored).collect();
        assert!(lost.is_empty(), "received but not stored: {lost:?}");
        last = *by_id.keys().next_back().expect("messages");
    }
}

/// The server detects a slow reader while it publishes a batch. The departure needs its own place
/// in the order of commits.
#[test]
fn slow_readers_leave_in_the_order_of_the_store() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut server = start_unpaced(&file, &["--max-lag", "262144"]);
    let stuck: Vec<_> = (0..8)
        .map(|number| server.connect_narrow(&format!("stuck {number}")))
        .collect();
    let witness = Extended::connect(&server, "witness");
    let first = witness.last + 1;
    let mut stream = witness.line.stream;
    // A thread reads without parsing, so that the witness is not too slow.
    let reading = thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.begin(Deadline::of_test());
        // The kill may reset the connection.
        let _ = stream.rest(&mut bytes);
        bytes
    });
    let talkers: Vec<_> = (0..16)
        .map(|number| {
            let topic = format!("talker {number}");
            talk_until_broken(server.connect(&topic), topic)
        })
        .collect();
    let database = open(&file);
    eventually(PATIENCE, "the slow readers have left", || {
        count(&database, "events WHERE kind = 'left'") >= stuck.len() as i64
    });
    server.signal("KILL");
    server.wait(PATIENCE);
    for talker in talkers {
        talker.join().expect("it does not fail");
    }
    let bytes = reading.join().expect("it does not fail");
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let whole = lines.filter(|line| line.ends_with(b"\n"));
    let ids = whole.map(|line| {
        let line: Value = serde_json::from_slice(line).expect("JSON");
        line["data"]["id"].as_u64().expect("a number")
    });
    let ids: Vec<u64> = ids.collect();
    let expected: Vec<u64> = (first..).take(ids.len()).collect();
    assert_eq!(ids, expected, "not in order");
    drop(stuck);
}

#[test]
fn other_programs_read_it_and_back_it_up_while_the_server_runs() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    let mut alice = server.join("alice");
    alice.say_and_hear("hello");
    let reader = open(&file);
    assert_eq!(count(&reader, "messages WHERE message = 'hello'"), 1);
    let copy = folder.file("copy.db");
    let into = copy.to_str().expect("a plain path");
    reader.execute("VACUUM INTO ?1", [into]).expect("a copy");
    alice.say_and_hear("after the copy");
    let mut second = start(&copy);
    let mut bob = second.join("bob");
    bob.request("history", "");
    bob.expect("alice", "hello");
    bob.say_and_hear("and no more");
    second.signal("TERM");
    second.wait(PATIENCE);
    let mut names: Vec<String> = std::fs::read_dir(folder.file(""))
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into()
        })
        .collect();
    names.retain(|name| name.starts_with("copy.db") && name != "copy.db-lock");
    assert_eq!(names, ["copy.db"], "one file after an orderly stop");
}

/// A limit of file sizes stands for a full disk, because it can be lifted while the server runs.
#[cfg(target_os = "linux")]
#[test]
fn full_disk_delays_acknowledgements_until_it_has_space() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    if !limit_file_sizes(server.id(), "300000") {
        return skip("there is no prlimit");
    }
    let mut alice = Extended::join(&server, "alice");
    let mut bob = server.join("bob");
    alice.skip_to("renamed");
    let text = "x".repeat(4000);
    let mut acknowledged = Vec::new();
    let mut number = 0;
    // Talks until the server tells that it cannot store.
    loop {
        number += 1;
        assert!(number < 10_000, "the limit has no effect");
        let text = format!("{number} {text}");
        let nonce = number.to_string();
        alice.send("message", json!({"message": text, "nonce": nonce}));
        let (kind, data) = loop {
            let (kind, data) = alice.next().expect("the connection stays");
            if kind == "ack" || kind == "notice" {
                break (kind, data);
            }
        };
        if kind == "notice" {
            assert!(data.to_string().contains("cannot store"), "{data}");
            break;
        }
        acknowledged.push(data["id"].as_u64().expect("a number"));
    }
    assert!(!acknowledged.is_empty());
    // The server rejects what it cannot store and newcomers, and serves the rest.
    bob.skip_until("a notice", |line| line.1.contains("cannot store"));
    bob.say("not now");
    let told = bob.notice();
    assert!(told.contains("cannot store"), "{told}");
    bob.send_raw(b"{\"type\":\"ping\",\"data\":1}\n");
    bob.expect_notice("pong 1");
    let mut newcomer = server.connect_raw("newcomer");
    assert!(newcomer.notice().contains("cannot store"));
    newcomer.expect_end();
    let health = page(&server, "/healthz");
    assert_eq!(health.status, 503);
    // The path is for the log, not for strangers.
    assert!(health.text().contains("the database"), "{health:?}");
    assert!(!health.text().contains("chat.db"), "{health:?}");
    assert!(page(&server, "/").text().contains("cannot store"));
    let messages = page(&server, "/api/messages").text();
    let unstored = format!("\"{number} x");
    assert!(
        !messages.contains(&unstored),
        "an uncommitted message is shown"
    );
    server.stderr.wait_for("cannot write the store");
    assert!(limit_file_sizes(server.id(), "unlimited"));
    // The server now publishes and acknowledges the message that waited.
    let ack = alice.skip_to("ack");
    assert_eq!(ack["nonce"], number.to_string());
    acknowledged.push(ack["id"].as_u64().expect("a number"));
    bob.skip_to("[Server]", "The server can store again; go on");
    assert_eq!(page(&server, "/healthz").status, 200);
    assert!(!page(&server, "/").text().contains("cannot store"));
    acknowledged.push(alice.say_with("after", "it goes on"));
    bob.skip_to("alice", "it goes on");
    let _newcomer = server.join("newcomer");
    let database = open(&file);
    for id in acknowledged {
        let stored = count(&database, &format!("messages WHERE id = {id}"));
        assert_eq!(stored, 1, "message {id}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn transcript_beyond_the_limit_of_file_sizes_skips_lines_and_goes_on() {
    let folder = Folder::new();
    let out = folder.file("out");
    let setup = format!("exec > {}", out.display());
    let command = RealServer::command_after(&setup, &[]);
    let server = RealServer::from_command(command);
    if !limit_file_sizes(server.id(), "4000") {
        return skip("there is no prlimit");
    }
    let mut alice = server.join("alice");
    let skipped = || server.metric("smolchat_transcript_skipped_lines");
    while skipped() == 0 {
        alice.say_and_hear(&"x".repeat(1000));
    }
    assert!(limit_file_sizes(server.id(), "unlimited"));
    alice.say_and_hear("it goes on");
    let text = || std::fs::read_to_string(&out).expect("text");
    eventually(PATIENCE, "a whole line after the gap", || {
        text().ends_with("\nalice: it goes on\n")
    });
}

#[test]
fn lock_of_another_program_is_reported_and_awaited() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    let mut alice = Extended::join(&server, "alice");
    alice.say("before");
    let other = open(&file);
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    alice.send("message", json!({"message": "meanwhile", "nonce": "m"}));
    let told = alice.skip_to("notice").to_string();
    assert!(told.contains("cannot store"), "{told}");
    let health = page(&server, "/healthz");
    assert_eq!(health.status, 503);
    assert!(health.text().contains("has locked"), "{health:?}");
    other.execute_batch("ROLLBACK").expect("no lock");
    assert_eq!(alice.skip_to("ack")["nonce"], "m");
    eventually(PATIENCE, "a healthy server", || {
        page(&server, "/healthz").status == 200
    });
}

/// The stop is orderly. A message that waited for its commit is lost, because no client has seen it.
#[test]
fn stop_during_a_locked_store_is_announced() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut server = start(&file);
    let mut alice = Extended::join(&server, "alice");
    let mut bob = server.join("bob");
    alice.skip_to("renamed");
    let other = open(&file);
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    alice.send("message", json!({"message": "never", "nonce": "m"}));
    alice.skip_to("notice");
    server.signal("TERM");
    assert_eq!(alice.skip_to("bye")["reason"], "shutdown");
    bob.skip_to("[Server]", "The server is shutting down");
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
    other.execute_batch("ROLLBACK").expect("no lock");
    assert_eq!(count(&other, "messages"), 0);
}

/// A stream that starts while the store fails gets the private messages of its user after their
/// commit, and none that is never committed.
#[test]
fn new_stream_gets_private_messages_only_after_their_commit() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut server = start(&file);
    let mut alice = Extended::join(&server, "alice");
    let eve = Browser::join(server.web.expect("a page"), "eve");
    let other = rusqlite::Connection::open(&file).expect("the database");
    let whisper_while_locked = |alice: &mut Extended, text: &str| {
        other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        let private = json!({"target": "eve", "message": text, "nonce": text});
        alice.send("private", private);
        alice.skip_to("notice");
        eve.listen()
    };
    let mut events = whisper_while_locked(&mut alice, "first");
    other.execute_batch("ROLLBACK").expect("no lock");
    assert_eq!(events.skip_to("private").data["message"], "first");
    alice.skip_to("ack");
    let mut events = whisper_while_locked(&mut alice, "second");
    server.signal("TERM");
    while let Some(frame) = events.next() {
        assert_ne!(frame.data["message"], "second", "it is not committed");
        if frame.event == "bye" {
            break;
        }
    }
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
    other.execute_batch("ROLLBACK").expect("no lock");
}

#[test]
fn restart_continues_with_everything() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut server = start(&file);
    let mut alice = Extended::join(&server, "alice");
    let mut bob = server.join("bob");
    bob.say_and_hear("I was here");
    alice.skip_to("message");
    server.signal("TERM");
    assert_eq!(alice.skip_to("bye")["reason"], "shutdown");
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
    let again = start(&file);
    let mut back = alice.state().resume(&again);
    assert_eq!((back.name.as_str(), &back.epoch), ("alice", &alice.epoch));
    assert_eq!(back.welcome["resumed"]["complete"], true);
    let left = back.expect("left");
    assert_eq!(
        (&left["name"], &left["reason"]),
        (&json!("bob"), &json!("shutdown"))
    );
    let mut carol = again.connect("carol");
    carol.request("history", "");
    carol.skip_to("bob", "I was here");
    carol.request("users", "");
    let users = format!("Connected users (2): alice, {}", carol.name);
    carol.skip_to("[Server]", &users);
}
