//! The files of a store: who may read them, which server may use them, and what happens when they
//! are removed or replaced under a running server.

use crate::store::{does_not_start, page, start};
use crate::support::extended::{Extended, Folder};
use crate::support::{PATIENCE, RealServer, eventually};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const ENDS: [&str; 4] = ["", "-wal", "-shm", "-lock"];

/// Returns the paths of a database and of the files beside it.
fn files(database: &Path) -> [PathBuf; 4] {
    ENDS.map(|end| format!("{}{end}", database.display()).into())
}

fn mode(path: &Path) -> u32 {
    let file = fs::metadata(path).expect("a file");
    file.permissions().mode() & 0o777
}

#[test]
fn files_are_private_and_wider_modes_are_reported() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let path = file.to_str().expect("a plain path");
    let command = RealServer::command_after("umask 0", &["--db", path]);
    let mut server = RealServer::from_command(command);
    server.join("alice").say_and_hear("hello");
    assert_eq!(files(&file).map(|path| mode(&path)), [0o600; 4]);
    assert!(!server.stderr.text().contains("other users"));
    server.signal("TERM");
    server.wait(PATIENCE);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
    let again = start(&file);
    again
        .stderr
        .wait_for("other users of this machine may read");
    // The operator's choice stays, for the log file too.
    let [database, log, ..] = files(&file);
    assert_eq!([database, log].map(|path| mode(&path)), [0o640; 2]);
}

#[test]
fn second_server_does_not_start_through_a_link() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    let [soft, hard, elsewhere] = ["soft.db", "hard.db", "elsewhere"].map(|name| folder.file(name));
    symlink("chat.db", &soft).expect("a link");
    fs::hard_link(&file, &hard).expect("a link");
    symlink(folder.file(""), &elsewhere).expect("a link");
    let mut links = vec![soft.clone(), elsewhere.join("chat.db")];
    if cfg!(target_os = "linux") {
        links.push(hard);
    }
    for link in &links {
        does_not_start(link, "Another smolchat-server uses");
    }
    let mut alice = server.join("alice");
    alice.say_and_hear("nothing happened");
    drop(server);
    let again = start(&soft);
    let mut bob = again.join("bob");
    bob.request("history", "");
    bob.expect("alice", "nothing happened");
    does_not_start(&file, "Another smolchat-server uses");
}

#[test]
fn removed_or_replaced_file_counts_as_a_full_disk() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    let mut alice = Extended::join(&server, "alice");
    let status = || page(&server, "/healthz").status;
    for (number, path) in files(&file).iter().enumerate() {
        for is_replaced in [false, true] {
            let aside = folder.file("aside");
            fs::rename(path, &aside).expect("moved");
            if is_replaced {
                fs::copy(&aside, path).expect("a copy");
            }
            // The server notices before it has anything to store.
            let told = alice.skip_to("notice").to_string();
            assert!(told.contains("cannot store"), "{told}");
            assert_eq!(status(), 503, "{path:?}");
            server.stderr.wait_for("was removed or replaced");
            fs::rename(&aside, path).expect("moved back");
            let told = alice.skip_to("notice").to_string();
            assert!(told.contains("can store again"), "{told}");
            assert_eq!(status(), 200, "{path:?}");
            let nonce = format!("{number} {is_replaced}");
            let data = json!({"message": nonce, "nonce": nonce});
            alice.send("message", data);
            assert_eq!(alice.skip_to("ack")["nonce"], nonce);
        }
    }
}

/// SQLite removes the log file at the path of a database that it closes.
#[test]
fn end_of_a_server_with_a_replaced_store_leaves_the_new_store_alone() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let mut old = start(&file);
    let mut witness = Extended::connect(&old, "witness");
    for (path, end) in files(&file).iter().zip(ENDS) {
        fs::rename(path, folder.file(&format!("old{end}"))).expect("moved");
    }
    witness.skip_to("notice");
    let mut new = start(&file);
    new.join("alice").say_and_hear("in the new store");
    old.signal("TERM");
    assert_eq!(old.wait(PATIENCE).code(), Some(0));
    new.signal("KILL");
    new.wait(PATIENCE);
    let again = start(&file);
    let mut bob = again.join("bob");
    bob.request("history", "");
    bob.expect("alice", "in the new store");
}

/// Returns whether the database or its log contains these words.
pub(crate) fn contain(database: &Path, words: &str) -> bool {
    let [database, log, ..] = files(database);
    [database, log].iter().any(|path| {
        let bytes = fs::read(path).unwrap_or_default();
        memchr::memmem::find(&bytes, words.as_bytes()).is_some()
    })
}

#[test]
fn what_retention_removes_is_gone_from_the_files() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let path = file.to_str().expect("a plain path");
    let mut server = start(&file);
    let mut alice = server.join("alice");
    for number in 0..20 {
        alice.say_and_hear(&format!("zanzibar quagmire {number}"));
    }
    server.signal("TERM");
    server.wait(PATIENCE);
    assert!(contain(&file, "zanzibar"));
    let mut server = RealServer::start(&["--db", path, "--keep-messages", "2"]);
    let mut alice = server.join("alice");
    alice.say_and_hear("one more");
    alice.say_and_hear("and another");
    eventually(PATIENCE, "removed words leave the files", || {
        !contain(&file, "zanzibar") && !contain(&file, "quagmire")
    });
    server.signal("TERM");
    server.wait(PATIENCE);
    assert!(contain(&file, "and another") && !contain(&file, "zanzibar"));
}

#[test]
fn log_file_that_a_reader_holds_is_reported_and_emptied_later() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let server = start(&file);
    let log_bytes = || fs::metadata(&files(&file)[1]).expect("a log").len();
    let open = || rusqlite::Connection::open(&file).expect("the database");
    let reader = open();
    reader.execute_batch("BEGIN").expect("a transaction");
    let count = reader.query_row("SELECT count(*) FROM events", [], |row| {
        row.get::<_, i64>(0)
    });
    count.expect("a count");
    // Stands for much talk, which would take minutes.
    let much = "CREATE TABLE much AS SELECT zeroblob(70000000); DROP TABLE much";
    open().execute_batch(much).expect("written");
    assert!(log_bytes() > 64 * 1024 * 1024);
    server
        .stderr
        .wait_for("another program keeps a transaction");
    reader.execute_batch("COMMIT").expect("no transaction");
    eventually(PATIENCE, "a small log file", || {
        log_bytes() < 8 * 1024 * 1024
    });
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_at_a_migration_leaves_old_text_and_starts() {
    let folder = Folder::new();
    let file = folder.file("chat.db");
    let old = rusqlite::Connection::open(&file).expect("a database");
    let schema = include_str!("../../src/storage/sqlite/version_1.sql");
    old.execute_batch(schema).expect("the first version");
    let contents = "
        WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 6000)
        INSERT INTO events
            SELECT id, id, 'message', 'ada', replace(hex(zeroblob(250)), '00', 'a '), 0 FROM n;
        DELETE FROM events WHERE id < 1000;
        INSERT INTO meta VALUES ('epoch', 'old'), ('last_event', 6000);
        PRAGMA user_version = 1;
        PRAGMA application_id = 1936551788;";
    old.execute_batch(contents).expect("contents");
    old.close().expect("closed");
    // The log has room for the new index, but not for the whole file.
    let path = file.to_str().expect("a plain path");
    let limit = "prlimit --pid $$ --fsize=2000000";
    let command = RealServer::command_after(limit, &["--db", path]);
    let mut server = RealServer::from_command(command);
    server.stderr.wait_for("VACUUM");
    assert!(server.is_running());
}
