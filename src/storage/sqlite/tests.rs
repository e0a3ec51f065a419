//! The store by itself: what is written is read back, whatever the file was before.
//!
//! What lives here: tests of the opening, the writer and the reader together.

use super::*;
use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::message::Message;
use crate::chat::query::Query;
use crate::chat::record::{NonceRecord, Record, SessionRecord};
use crate::chat::request::{HistoryPage, SearchRequest};
use crate::chat::token::Token;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("smolchat-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn options(&self) -> StoreOptions {
        StoreOptions {
            path: self.0.join("chat.db"),
            sync: Sync::Normal,
            keep_messages: None,
            keep_for: None,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Events as lines of the extended dialect.
fn extended_lines() -> Encoder {
    Arc::new(crate::protocol::extended::encode_event)
}

fn name(text: &str) -> Username {
    Username::from_stored(text)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn event(id: u64, kind: EventKind) -> Record {
    let time = at(1000 + i64::try_from(id).unwrap());
    Record::Event(Event { id, time, kind })
}

fn joined(id: u64, who: &str) -> Record {
    let kind = EventKind::Joined {
        name: name(who),
        is_summarised: false,
    };
    event(id, kind)
}

fn said(id: u64, who: &str, text: &str) -> Record {
    let time = at(1000 + i64::try_from(id).unwrap());
    let message = Message::new(id, time, name(who), text.into());
    event(id, EventKind::Said(Arc::new(message)))
}

/// Commits, and waits until it is done.
fn commit(opened: &Opened, number: u64, records: Vec<Record>) {
    opened.writer.submit(Commit { number, records }).unwrap();
    while opened.reports.recv_blocking().unwrap() != CommitReport::Committed(number) {}
}

/// Ends a store in order.
fn close(opened: Opened) {
    let ended = opened.writer.ended();
    drop(opened);
    // Nothing is ever sent: this waits for the end.
    assert!(ended.recv_blocking().is_err());
}

fn texts(messages: &[Arc<Message>]) -> Vec<&str> {
    messages.iter().map(|message| &*message.text).collect()
}

#[test]
fn what_was_kept_is_there_again() {
    let folder = Folder::new();
    let opened = open(&folder.options(), "first", 10).unwrap();
    assert_eq!(
        (opened.epoch.as_str(), opened.kept.last_event),
        ("first", 0)
    );
    let (one, other) = (Token::new([1; 16]).hash(), Token::new([2; 16]).hash());
    let session = |token, who: &str| {
        Record::Session(SessionRecord {
            token,
            name: name(who),
            has_chosen: true,
            is_present: true,
            used: at(5),
        })
    };
    let nonce = |token, nonce, id| {
        Record::Nonce(NonceRecord {
            token,
            nonce,
            id,
            time: at(6),
        })
    };
    let renamed = EventKind::Renamed {
        old: name("a"),
        new: name("alice"),
    };
    let left = EventKind::Left {
        name: name("b"),
        is_summarised: false,
        reason: LeaveReason::TooSlow,
    };
    commit(
        &opened,
        1,
        vec![
            joined(1, "a"),
            joined(2, "b"),
            event(3, renamed),
            said(4, "alice", "hello\nworld"),
            event(5, left),
            session(one, "alice"),
            session(other, "b"),
            nonce(one, u64::MAX, Some(4)),
            nonce(one, 7, None),
            nonce(other, 8, None),
            Record::NonceForgotten(one, 7),
            Record::SessionForgotten(other),
        ],
    );
    close(opened);
    let opened = open(&folder.options(), "second", 10).unwrap();
    let kept = &opened.kept;
    assert_eq!((opened.epoch.as_str(), kept.last_event), ("first", 5));
    assert_eq!(texts(&kept.messages), ["hello\nworld"]);
    assert_eq!(kept.present, [(name("alice"), at(1001))]);
    assert_eq!(kept.sessions.len(), 1);
    assert!(kept.sessions[0].token == one && kept.sessions[0].is_present);
    let nonces: Vec<_> = kept
        .nonces
        .iter()
        .map(|each| (each.nonce, each.id))
        .collect();
    assert_eq!(nonces, [(u64::MAX, Some(4))]);
    let (lines, last) = smol::block_on(opened.reader.events(2, 5, extended_lines())).unwrap();
    let lines = String::from_utf8(lines.to_vec()).unwrap();
    assert_eq!((lines.lines().count(), last), (3, 5));
    assert!(lines.contains("\"reason\":\"too-slow\"") && lines.contains("hello\\nworld"));
    close(opened);
}

#[test]
fn only_one_server_has_the_file() {
    let folder = Folder::new();
    let first = open(&folder.options(), "first", 10).unwrap();
    let second = open(&folder.options(), "second", 10);
    assert!(matches!(second, Err(StoreError::InUse(_))));
    close(first);
    close(open(&folder.options(), "third", 10).unwrap());
}

#[test]
fn a_file_that_is_none_of_ours_is_told_and_left_as_it_is() {
    let folder = Folder::new();
    let path = folder.options().path;
    let refused = |what: &str| {
        let before = std::fs::read(&path).unwrap();
        let error = open(&folder.options(), "x", 10).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.contains(path.to_str().unwrap()), "{sentence}");
        assert!(sentence.contains(what), "{sentence}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{what}");
        std::fs::remove_file(&path).unwrap();
    };
    std::fs::write(
        &path,
        "this is a text file, not a database at all, and long",
    )
    .unwrap();
    refused("is no database");
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE other (x)").unwrap();
    foreign.close().unwrap();
    refused("of another program");
    close(open(&folder.options(), "x", 10).unwrap());
    let newer = Connection::open(&path).unwrap();
    newer
        .pragma_update(None, "user_version", VERSION + 1)
        .unwrap();
    newer
        .pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
        .unwrap();
    newer.close().unwrap();
    refused("newer smolchat");
}

#[test]
fn a_damaged_file_is_told() {
    let folder = Folder::new();
    let opened = open(&folder.options(), "x", 10).unwrap();
    commit(
        &opened,
        1,
        (1..500).map(|id| said(id, "a", "some text")).collect(),
    );
    close(opened);
    let path = folder.options().path;
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[4096..length].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let sentence = open(&folder.options(), "x", 10).unwrap_err().to_string();
    assert!(
        sentence.contains("damaged") && sentence.contains(".recover"),
        "{sentence}"
    );
}

#[test]
fn a_file_that_cannot_be_made_is_told() {
    let folder = Folder::new();
    let options = StoreOptions {
        path: folder.0.join("no/such/folder/chat.db"),
        ..folder.options()
    };
    let sentence = open(&options, "x", 10).unwrap_err().to_string();
    assert!(
        sentence.contains("choose a --db file in a folder that exists"),
        "{sentence}"
    );
    let options = StoreOptions {
        path: folder.0.clone(),
        ..folder.options()
    };
    assert!(open(&options, "x", 10).is_err(), "a folder is no file");
}

#[test]
fn each_version_is_brought_to_this_one_without_loss() {
    // There has been one version so far; its tables, as they were then, stay here.
    let folder = Folder::new();
    let first = Connection::open(folder.options().path).unwrap();
    first.execute_batch(include_str!("version_1.sql")).unwrap();
    first.close().unwrap();
    let opened = open(&folder.options(), "new", 10).unwrap();
    assert_eq!(opened.epoch, "of the first");
    assert_eq!(opened.kept.last_event, 2);
    assert_eq!(texts(&opened.kept.messages), ["hello"]);
    assert_eq!(opened.kept.present.len(), 1);
    commit(&opened, 1, vec![said(3, "alice", "again")]);
    close(opened);
}

fn stored(opened: &Opened) -> Vec<u64> {
    let page = HistoryPage {
        before: None,
        limit: 200,
    };
    let (messages, _) = smol::block_on(opened.reader.page(page)).unwrap();
    messages.iter().rev().map(|message| message.id).collect()
}

/// Waits for what the writer does by itself.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn too_many_and_too_old_ones_go_in_small_steps_and_numbers_go_on() {
    let folder = Folder::new();
    let opened = open(&folder.options(), "x", 10).unwrap();
    let many = crate::storage::limits::STORE_TRIM_EVENTS as u64 * 3;
    let messages = (1..=many).map(|id| said(id, "a", "hello there"));
    commit(&opened, 1, messages.collect());
    close(opened);
    // It looks for them when it starts; between the steps others write.
    let options = StoreOptions {
        keep_messages: Some(3),
        ..folder.options()
    };
    let opened = open(&options, "x", 10).unwrap();
    wait_until("too many are kept", || {
        stored(&opened) == [many - 2, many - 1, many]
    });
    commit(&opened, 1, vec![joined(many + 1, "b")]);
    let oldest = smol::block_on(opened.reader.oldest_event()).unwrap();
    assert_eq!(oldest, Some(many - 2));
    let search = SearchRequest {
        query: Query::parse("hello").unwrap(),
        page: HistoryPage {
            before: None,
            limit: 200,
        },
    };
    let (found, _) = smol::block_on(opened.reader.search(search)).unwrap();
    assert_eq!(found.len(), 3, "the index forgets too");
    assert!(
        smol::block_on(opened.reader.events(1, many, extended_lines())).is_err(),
        "a gap is told"
    );
    close(opened);
    // Everything is too old.
    let options = StoreOptions {
        keep_for: Some(Duration::from_secs(1)),
        ..folder.options()
    };
    let opened = open(&options, "x", 10).unwrap();
    let last = opened.kept.last_event;
    assert_eq!(last, many + 1);
    wait_until("too old ones are kept", || {
        let oldest = smol::block_on(opened.reader.oldest_event());
        oldest.unwrap().is_none()
    });
    close(opened);
    let opened = open(&options, "x", 10).unwrap();
    assert_eq!(opened.kept.last_event, last, "numbers go on");
    close(opened);
}

#[test]
fn a_search_that_takes_too_long_is_given_up() {
    let folder = Folder::new();
    let opened = open(&folder.options(), "x", 10).unwrap();
    let reader = connect_to_read(&folder.options().path).unwrap();
    let mut reader = reader;
    let ends = std::time::Instant::now();
    reader
        .progress_handler(
            1000,
            Some(move || ends.elapsed() > Duration::from_millis(50)),
        )
        .unwrap();
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                   SELECT count(*) FROM n";
    let error = reader.query_row(endless, [], |_| Ok(())).unwrap_err();
    let error = StoreError::of(&folder.options().path, error);
    assert!(matches!(error, StoreError::TooLong), "{error}");
    close(opened);
}
