//! The store as an operator meets it: what is wrong at a start, a disk that takes nothing any
//! more, a server that is killed in the middle of a storm, and ordinary tools beside it.

use crate::support::extended::{Extended, Folder};
use crate::support::{LineClient, PATIENCE, RealServer, eventually, run_to_end, skip};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

fn arguments(file: &Path) -> Vec<String> {
    [
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--web-port",
        "0",
        "--db",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([file.to_str().expect("a plain path").to_owned()])
    .collect()
}

fn command(file: &Path) -> Command {
    let arguments = arguments(file);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    RealServer::bare_command(&arguments)
}

fn start(file: &Path) -> RealServer {
    RealServer::from_command(command(file))
}

/// A server that does not start with this file, and says so in one sentence.
#[track_caller]
fn does_not_start(file: &Path, words: &str) {
    let ran = run_to_end(command(file));
    let told = &ran.stderr;
    assert_eq!(ran.code, Some(1), "{told}");
    assert!(told.contains(words), "{told}");
    assert!(
        told.contains(file.to_str().expect("a plain path")),
        "{told}"
    );
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
    let newer = rusqlite::Connection::open(&file).expect("the database");
    newer
        .pragma_update(None, "user_version", 1000)
        .expect("updated");
    newer.close().expect("closed");
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

#[test]
fn store_options_require_a_store() {
    for option in [
        ["--db-sync", "full"],
        ["--keep-messages", "5"],
        ["--keep-days", "5"],
    ] {
        let ran = run_to_end(RealServer::bare_command(&option));
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("add --db FILE"), "{}", ran.stderr);
    }
}

/// Says things as fast as it can until the connection breaks; gives what it heard of all.
///
/// The topic tells apart what else could be said twice: these names are addresses, and a port may
/// be given out again.
fn talk_until_broken(
    mut client: LineClient,
    topic: String,
) -> thread::JoinHandle<Vec<(String, String)>> {
    let mut talking = client.stream.try_clone().expect("a second handle");
    thread::spawn(move || {
        for number in 0..u64::MAX {
            let text = json!({"type": "message", "data": format!("{topic} {number}")});
            if talking.write_all(format!("{text}\n").as_bytes()).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || client.read_until_broken().0)
}

#[test]
fn delivered_messages_survive_a_kill_during_a_flood() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut last = 0;
    let mut all_heard: HashSet<(String, String)> = HashSet::new();
    for round in 0..3 {
        let mut command = command(&file);
        command.args(["--rate", "10000000", "--burst", "10000000"]);
        let mut server = RealServer::from_command(command);
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
        let database = rusqlite::Connection::open(&file).expect("the database");
        let mut statement = database
            .prepare("SELECT id, source, message FROM messages ORDER BY id")
            .expect("a statement");
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .expect("rows");
        let rows: Vec<(i64, String, String)> = rows.map(|row| row.expect("a row")).collect();
        let by_id: BTreeMap<u64, &(i64, String, String)> = rows
            .iter()
            .map(|row| (u64::try_from(row.0).expect("a number"), row))
            .collect();
        for (id, data) in &seen {
            let (_, source, message) = by_id[id];
            assert_eq!(
                (&data["source"], &data["message"]),
                (&json!(source), &json!(message))
            );
        }
        let stored: HashSet<(String, String)> = rows
            .iter()
            .map(|(_, source, message)| (source.clone(), message.clone()))
            .collect();
        assert_eq!(stored.len(), rows.len(), "something is there twice");
        let lost: Vec<_> = all_heard.difference(&stored).collect();
        assert!(lost.is_empty(), "heard but not kept: {lost:?}");
        last = *by_id.keys().next_back().expect("messages");
    }
}

/// That somebody was too slow is found when others are published to, and has its own place in the
/// order of what is committed.
#[test]
fn slow_readers_leave_in_the_order_of_the_store() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut command = command(&file);
    command.args([
        "--rate",
        "10000000",
        "--burst",
        "10000000",
        "--max-lag",
        "262144",
    ]);
    let mut server = RealServer::from_command(command);
    let stuck: Vec<_> = (0..8)
        .map(|number| server.connect_narrow(&format!("stuck {number}")))
        .collect();
    let witness = Extended::connect(&server, "witness");
    let first = witness.last + 1;
    let mut stream = witness.line.stream.try_clone().expect("a second handle");
    // It is read as fast as it comes, and looked at later: the witness is not too slow.
    let reading = thread::spawn(move || {
        let mut bytes = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    });
    let talkers: Vec<_> = (0..16)
        .map(|number| {
            let topic = format!("talker {number}");
            talk_until_broken(server.connect(&topic), topic)
        })
        .collect();
    let database = rusqlite::Connection::open(&file).expect("the database");
    let left = || -> i64 {
        database
            .query_row(
                "SELECT count(*) FROM events WHERE kind = 'left'",
                [],
                |row| row.get(0),
            )
            .expect("a count")
    };
    eventually(PATIENCE, "all who are too slow have left", || {
        left() >= stuck.len() as i64
    });
    server.signal("KILL");
    server.wait(PATIENCE);
    for talker in talkers {
        talker.join().expect("it does not fail");
    }
    let bytes = reading.join().expect("it does not fail");
    let end = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .expect("lines");
    let lines = bytes[..end].split(|&byte| byte == b'\n');
    let ids = lines.map(|line| {
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
    let reader = rusqlite::Connection::open(&file).expect("the database");
    let said: String = reader
        .query_row("SELECT message FROM messages", [], |row| row.get(0))
        .expect("a message");
    assert_eq!(said, "hello");
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
    let names: Vec<_> = std::fs::read_dir(folder.file(""))
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a plain name")
        })
        .filter(|name| name.starts_with("copy.db") && name != "copy.db-lock")
        .collect();
    assert_eq!(
        names.len(),
        1,
        "it is one file after an end in order: {names:?}"
    );
}

fn healthz(server: &RealServer) -> (u16, String) {
    get(server, "/healthz")
}

fn get(server: &RealServer, path: &str) -> (u16, String) {
    let web = server.web.expect("a page");
    let mut stream = TcpStream::connect(web).expect("the page listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (status.expect("a status"), body)
}

/// A limit of file sizes stands for a full disk: it can be lifted while the server runs.
#[cfg(target_os = "linux")]
#[test]
fn full_disk_delays_acknowledgements_until_it_has_space() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        return skip("there is no prlimit");
    }
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = command(&file);
    let mut shell = Command::new("bash");
    // The signal is not for the server: a write beyond the limit fails, as on a full disk.
    shell.args(["-c", "trap '' XFSZ; ulimit -S -f 300; exec \"$0\" \"$@\""]);
    shell.arg(server.get_program()).args(server.get_args());
    shell.env_remove("RUST_LOG").stdin(Stdio::null());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = RealServer::from_command(shell);
    let mut alice = Extended::join(&server, "alice");
    let mut bob = server.join("bob");
    alice.skip_to("renamed");
    let text = "x".repeat(4000);
    let mut acknowledged = Vec::new();
    let mut number = 0;
    // Until it is told that nothing is taken any more.
    loop {
        number += 1;
        let text = format!("{number} {text}");
        alice.send(
            "message",
            json!({"message": text, "nonce": number.to_string()}),
        );
        let mut is_full = false;
        loop {
            let (kind, data) = alice.next().expect("the connection stays");
            match kind.as_str() {
                "ack" => {
                    acknowledged.push(data["id"].as_u64().expect("a number"));
                    break;
                }
                "notice" => {
                    let told = data["message"].as_str().expect("a sentence");
                    assert!(told.contains("cannot store"), "{told}");
                    is_full = true;
                    break;
                }
                _ => {}
            }
        }
        if is_full {
            break;
        }
        assert!(number < 10_000, "the limit has no effect");
    }
    assert!(!acknowledged.is_empty());
    // What cannot be kept is refused, what needs no store goes on, and nobody comes in.
    eventually(PATIENCE, "bob is told too", || {
        bob.must_get().1.contains("cannot store")
    });
    bob.say("not now");
    let told = bob.notice();
    assert!(told.contains("cannot store"), "{told}");
    bob.send_raw(b"{\"type\":\"ping\",\"data\":1}\n");
    bob.expect_notice("pong 1");
    let mut newcomer = server.connect_raw("newcomer");
    assert!(newcomer.notice().contains("cannot store"));
    newcomer.expect_end();
    let (status, sentence) = healthz(&server);
    assert_eq!(status, 503, "{sentence}");
    assert!(
        sentence.contains(file.to_str().expect("a plain path")),
        "{sentence}"
    );
    let (_, page) = get(&server, "/");
    assert!(page.contains("cannot store"), "{page}");
    let (_, messages) = get(&server, "/api/messages");
    assert!(
        !messages.contains(&format!("\"{number} x")),
        "it shows what is not stored"
    );
    server.stderr.wait_for("cannot write the store");
    // There is room again.
    let lifted = Command::new("prlimit")
        .args(["--pid", &server.id().to_string(), "--fsize=unlimited"])
        .status();
    assert!(lifted.expect("it runs").success());
    // The message that waited is said now, and acknowledged.
    let ack = alice.skip_to("ack");
    assert_eq!(ack["nonce"], number.to_string());
    acknowledged.push(ack["id"].as_u64().expect("a number"));
    bob.skip_to("[Server]", "The server can store again; go on");
    assert_eq!(healthz(&server).0, 200);
    assert!(!get(&server, "/").1.contains("cannot store"));
    acknowledged.push(alice.say_with("after", "it goes on"));
    bob.skip_to("alice", "it goes on");
    let _newcomer = server.join("newcomer");
    let database = rusqlite::Connection::open(&file).expect("the database");
    for id in acknowledged {
        let id = i64::try_from(id).expect("a number");
        let found: i64 = database
            .query_row("SELECT count(*) FROM messages WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .expect("a count");
        assert_eq!(found, 1, "message {id}");
    }
}

#[test]
fn lock_of_another_program_is_reported_and_awaited() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    let mut alice = Extended::join(&server, "alice");
    alice.say("before");
    let other = rusqlite::Connection::open(&file).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    alice.send("message", json!({"message": "meanwhile", "nonce": "m"}));
    let told = alice.skip_to("notice");
    assert!(
        told["message"]
            .as_str()
            .is_some_and(|text| text.contains("cannot store"))
    );
    let (status, sentence) = healthz(&server);
    assert_eq!(status, 503, "{sentence}");
    assert!(sentence.contains("has locked"), "{sentence}");
    other.execute_batch("ROLLBACK").expect("no lock");
    assert_eq!(alice.skip_to("ack")["nonce"], "m");
    eventually(PATIENCE, "it is healthy", || healthz(&server).0 == 200);
}

/// While nothing can be stored, a stop is one in order all the same, and what waited is not there
/// afterwards: nobody had seen it.
#[test]
fn stop_during_a_locked_store_is_announced() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut server = start(&file);
    let mut alice = Extended::join(&server, "alice");
    let mut bob = server.join("bob");
    alice.skip_to("renamed");
    let other = rusqlite::Connection::open(&file).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    alice.send("message", json!({"message": "never", "nonce": "m"}));
    alice.skip_to("notice");
    server.signal("TERM");
    assert_eq!(alice.skip_to("bye")["reason"], "shutdown");
    bob.skip_to("[Server]", "The server is shutting down");
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
    other.execute_batch("ROLLBACK").expect("no lock");
    let count: i64 = other
        .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(count, 0);
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
    let after = json!({"epoch": alice.epoch, "id": alice.last});
    let hello = json!({"version": 2, "token": alice.token, "after": after});
    let last = alice.last;
    let mut back = Extended::hello(&again, "alice again", hello);
    back.last = last;
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
