//! Opening, writer and reader together.

use super::*;
use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::message::Message;
use crate::chat::query::Query;
use crate::chat::record::{NonceRecord, Record, SessionRecord};
use crate::chat::request::{HistoryPage, SearchRequest};
use crate::chat::token::Token;
use crate::chat::username::Username;
use crate::limits::STORE_RETRY_INTERVAL;
use crate::storage::limits::MAX_UNCOMMITTED_BATCHES;
use crate::storage::sqlite::reader::{
    EventEncoder, encode_events, find_matches, find_page, run_within,
};
use crate::storage::sqlite::writer::{Commit, CommitReport};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A temporary folder, removed on drop.
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
            sync: SyncMode::Normal,
            keep_messages: None,
            keep_for: None,
        }
    }

    fn open(&self) -> OpenStore {
        open(&self.options(), "x", 10).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> Username {
    Username::from_stored(text)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(second.cast_signed()).unwrap()
}

fn event(id: u64, kind: EventKind) -> Record {
    let time = at(1000 + id);
    Record::Event(Event { id, time, kind })
}

fn joined(id: u64, who: &str) -> Record {
    let (name, is_summarised) = (name(who), false);
    event(
        id,
        EventKind::Joined {
            name,
            is_summarised,
        },
    )
}

fn said(id: u64, who: &str, text: &str) -> Record {
    let message = Message::new(id, at(1000 + id), name(who), text.into());
    event(id, EventKind::Message(Arc::new(message)))
}

/// Commits, and waits for the report.
fn commit(opened: &OpenStore, number: u64, records: Vec<Record>) {
    opened.writer.submit(Commit { number, records }).unwrap();
    while opened.reports.recv_blocking().unwrap() != CommitReport::Committed(number) {}
}

/// Closes the store, and waits for the writer thread.
fn close(opened: OpenStore) {
    let ended = opened.writer.ended();
    drop(opened);
    assert!(ended.recv_blocking().is_err());
}

fn read<T: Send + 'static>(
    opened: &OpenStore,
    query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> T {
    smol::block_on(opened.reader.run((), query)).unwrap()
}

/// Returns the events after `after` and up to `until` in the extended dialect.
fn lines(opened: &OpenStore, after: u64, until: u64) -> Option<(String, u64)> {
    let encode: EventEncoder = Arc::new(crate::protocol::extended::encode_event);
    let events = read(opened, move |c| encode_events(c, after, until, &encode))?;
    let text = String::from_utf8(events.bytes.to_vec()).unwrap();
    Some((text, events.last))
}

fn texts(messages: &[Arc<Message>]) -> Vec<&str> {
    messages.iter().map(|message| &*message.text).collect()
}

#[test]
fn reopened_store_restores_the_chat() {
    let folder = Folder::new();
    let opened = open(&folder.options(), "first", 10).unwrap();
    assert_eq!(opened.restored.last_event, 0);
    // Of a version that allowed such names.
    let old_name = "[Server] admin, ✓";
    let (one, other) = (Token::new([1; 16]).hash(), Token::new([2; 16]).hash());
    let session = |token, who| {
        Record::Session(SessionRecord {
            token,
            name: name(who),
            has_chosen: true,
            is_present: true,
            used: at(5),
            last_private: 12,
        })
    };
    let nonce = |token, nonce, id| NonceRecord {
        token,
        nonce,
        id,
        time: at(6),
    };
    let kept_nonce = nonce(one, u64::MAX, Some(4));
    let renamed = EventKind::Renamed {
        old: name("a"),
        new: name(old_name),
    };
    let left = EventKind::Left {
        name: name("b"),
        is_summarised: false,
        reason: LeaveReason::TooSlow,
    };
    let records = vec![
        joined(1, "a"),
        joined(2, "b"),
        event(3, renamed),
        said(4, old_name, "hello\nworld"),
        event(5, left),
        session(one, old_name),
        session(other, "b"),
        Record::Nonce(kept_nonce),
        Record::Nonce(nonce(one, 7, None)),
        Record::Nonce(nonce(other, 8, None)),
        Record::NonceForgotten(one, 7),
        Record::SessionForgotten(other),
    ];
    commit(&opened, 1, records);
    close(opened);
    let opened = open(&folder.options(), "second", 10).unwrap();
    let kept = &opened.restored;
    assert_eq!((opened.epoch.as_str(), kept.last_event), ("first", 5));
    assert_eq!(texts(&kept.messages), ["hello\nworld"]);
    assert_eq!(kept.present, [(name(old_name), at(1001))]);
    assert_eq!(kept.sessions.len(), 1);
    assert!(kept.sessions[0].token == one && kept.sessions[0].is_present);
    assert_eq!(kept.nonces, [kept_nonce]);
    let (lines, last) = lines(&opened, 2, 5).unwrap();
    assert_eq!((lines.lines().count(), last), (3, 5));
    assert!(lines.contains("\"reason\":\"too-slow\"") && lines.contains("hello\\nworld"));
    close(opened);
}

#[test]
fn unusable_files_are_rejected_unchanged() {
    let folder = Folder::new();
    let path = folder.options().path;
    let assert_rejected = |reason: &str| {
        let before = std::fs::read(&path).unwrap();
        let sentence = open(&folder.options(), "x", 10).unwrap_err().to_string();
        assert!(sentence.contains(path.to_str().unwrap()), "{sentence}");
        assert!(sentence.contains(reason), "{sentence}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{reason}");
        std::fs::remove_file(&path).unwrap();
    };
    let change = |statements: &str| {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(statements).unwrap();
        connection.close().unwrap();
    };
    let text = "this is a text file, not a database at all, and long";
    std::fs::write(&path, text).unwrap();
    assert_rejected("is not a database");
    change("CREATE TABLE other (x)");
    assert_rejected("of another program");
    close(folder.open());
    change("PRAGMA user_version = 99; PRAGMA journal_mode = delete");
    assert_rejected("newer smolchat");
    let opened = folder.open();
    let messages = (1..500).map(|id| said(id, "a", "some text"));
    commit(&opened, 1, messages.collect());
    close(opened);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    assert_rejected(".recover");
}

#[test]
fn first_version_is_migrated_without_loss() {
    let folder = Folder::new();
    let has_removed = || {
        let bytes = std::fs::read(folder.options().path).unwrap();
        memchr::memmem::find(&bytes, b"zanzibar").is_some()
    };
    let first = Connection::open(folder.options().path).unwrap();
    first.execute_batch(include_str!("version_1.sql")).unwrap();
    let contents = "
        INSERT INTO meta VALUES ('epoch', 'of the first'), ('last_event', 2);
        INSERT INTO events VALUES (1, 1700000000000, 'joined', 'alice', NULL, 0);
        INSERT INTO events VALUES (2, 1700000001000, 'message', 'alice', 'hello', 0);
        INSERT INTO words (rowid, message, author) VALUES (2, 'hello', 'alice');
        INSERT INTO events VALUES (3, 1700000001000, 'message', 'alice', 'zanzibar', 0);
        DELETE FROM events WHERE id = 3;
        INSERT INTO present VALUES ('alice', 1700000000000, 1);
        PRAGMA user_version = 1;
        PRAGMA application_id = 1936551788;";
    first.execute_batch(contents).unwrap();
    first.close().unwrap();
    assert!(has_removed(), "the first version left it");
    let opened = open(&folder.options(), "new", 10).unwrap();
    wait_until("removed text is in the file", || !has_removed());
    assert_eq!(opened.epoch, "of the first");
    assert_eq!(opened.restored.last_event, 2);
    assert_eq!(texts(&opened.restored.messages), ["hello"]);
    assert_eq!(opened.restored.present.len(), 1);
    commit(&opened, 1, vec![said(3, "alice", "कल का दिन")]);
    assert_eq!(found(&opened, "hell from:alice"), [2]);
    assert_eq!(found(&opened, "दिन"), [3]);
    assert!(found(&opened, "दान").is_empty());
    close(opened);
}

/// Returns the ids of the messages that a query finds, newest first.
fn found(opened: &OpenStore, query: &str) -> Vec<u64> {
    let page = HistoryPage {
        before: None,
        limit: 1000,
    };
    let query = Query::parse(query).unwrap();
    let page = read(opened, move |c| {
        find_matches(c, &SearchRequest { query, page })
    });
    page.messages.iter().map(|message| message.id).collect()
}

#[test]
fn search_finds_what_a_search_in_memory_finds() {
    let cases = include_str!("../../../tests/cases/search.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
    let texts = cases.iter().flat_map(|case| {
        let texts = ["finds", "misses"].map(|key| case[key].as_array().unwrap());
        texts.into_iter().flatten()
    });
    let texts: Vec<&str> = texts.map(|text| text.as_str().unwrap()).collect();
    let folder = Folder::new();
    let opened = folder.open();
    let said = (1..).zip(&texts).map(|(id, text)| said(id, "Ada", text));
    commit(&opened, 1, said.collect());
    for case in &cases {
        let text = case["query"].as_str().unwrap();
        let query = Query::parse(text).unwrap();
        let matching = (1..)
            .zip(&texts)
            .filter(|(_, text)| query.matches("Ada", at(1), text));
        let mut expected: Vec<u64> = matching.map(|(id, _)| id).collect();
        expected.reverse();
        assert!(!expected.is_empty(), "{text}");
        assert_eq!(found(&opened, text), expected, "{text}");
    }
    close(opened);
}

#[test]
fn failing_transaction_is_retried_unchanged_at_intervals() {
    let folder = Folder::new();
    let opened = folder.open();
    let submit = |number| {
        let records = vec![joined(number, "a")];
        opened.writer.submit(Commit { number, records }).unwrap();
    };
    let next_report = || opened.reports.recv_blocking().unwrap();
    let other = Connection::open(folder.options().path).unwrap();
    let failure = "CREATE TRIGGER failure BEFORE INSERT ON events
        BEGIN SELECT RAISE(ABORT, 'full'); END";
    other.execute_batch(failure).unwrap();
    let start = std::time::Instant::now();
    submit(1);
    assert!(matches!(next_report(), CommitReport::Failing(_)));
    other.execute_batch("DROP TRIGGER failure").unwrap();
    let newest = MAX_UNCOMMITTED_BATCHES as u64;
    (2..=newest).for_each(submit);
    assert_eq!(next_report(), CommitReport::Recovered);
    assert!(start.elapsed() >= STORE_RETRY_INTERVAL);
    assert_eq!(next_report(), CommitReport::Committed(1));
    assert_eq!(next_report(), CommitReport::Committed(newest));
    close(opened);
}

const ALL: HistoryPage = HistoryPage {
    before: None,
    limit: 200,
};

fn stored_ids(opened: &OpenStore) -> Vec<u64> {
    let found = read(opened, |c| find_page(c, ALL));
    let messages = found.messages.iter().rev();
    messages.map(|message| message.id).collect()
}

fn oldest_event(opened: &OpenStore) -> Option<u64> {
    read(opened, rows::oldest_event)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn retention_removes_the_oldest_events_and_ids_continue() {
    let folder = Folder::new();
    let opened = folder.open();
    let many = crate::storage::limits::STORE_TRIM_EVENTS as u64 * 3;
    let messages = (1..=many).map(|id| said(id, "a", "hello there"));
    commit(&opened, 1, messages.collect());
    close(opened);
    // The writer trims at its start, in several portions.
    let options = StoreOptions {
        keep_messages: Some(3),
        ..folder.options()
    };
    let opened = open(&options, "x", 10).unwrap();
    wait_until("too many messages remain", || {
        stored_ids(&opened) == [many - 2, many - 1, many]
    });
    commit(&opened, 1, vec![joined(many + 1, "b")]);
    assert_eq!(oldest_event(&opened), Some(many - 2));
    let search = SearchRequest {
        query: Query::parse("hello").unwrap(),
        page: ALL,
    };
    let found = read(&opened, move |c| find_matches(c, &search));
    assert_eq!(found.messages.len(), 3, "the index is trimmed too");
    assert_eq!(lines(&opened, 1, many), None, "missing events are detected");
    close(opened);
    let options = StoreOptions {
        keep_for: Some(Duration::from_secs(1)),
        ..folder.options()
    };
    let opened = open(&options, "x", 10).unwrap();
    wait_until("old events remain", || oldest_event(&opened).is_none());
    close(opened);
    let opened = open(&options, "x", 10).unwrap();
    assert_eq!(opened.restored.last_event, many + 1, "ids continue");
    close(opened);
}

#[test]
fn removal_takes_words_out_of_the_index_alone() {
    let folder = Folder::new();
    let opened = folder.open();
    let said = [said(1, "ada", "café Zanzibar"), said(2, "ada", "a café")];
    commit(&opened, 1, said.to_vec());
    close(opened);
    let connection = Connection::open(folder.options().path).unwrap();
    let page_has = |word: &str| {
        let count = "SELECT count(*) FROM words_data WHERE instr(block, CAST(?1 AS BLOB)) > 0";
        let row = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
        connection.query_row(count, [word], row).unwrap()
    };
    assert!(page_has("zanzibar"));
    rows::remove_event(&connection, 1, true).unwrap();
    assert!(!page_has("zanzibar"));
    let check = "INSERT INTO words (words) VALUES ('integrity-check')";
    connection.execute(check, []).unwrap();
    let found = "SELECT rowid FROM words WHERE words MATCH 'cafe'";
    let found: i64 = rows::value(&connection, found).unwrap();
    assert_eq!(found, 2);
}

#[test]
fn query_beyond_its_time_limit_is_interrupted() {
    let mut connection = Connection::open_in_memory().unwrap();
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                   SELECT count(*) FROM n";
    let limit = Duration::from_millis(50);
    let result = run_within(limit, &mut connection, |connection| {
        connection.query_row(endless, [], |_| Ok(()))
    });
    let error = StoreError::from_sqlite(Path::new("chat.db"), &result.unwrap_err());
    assert_eq!(error, StoreError::QueryTimeout);
}
