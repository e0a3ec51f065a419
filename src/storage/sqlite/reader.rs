//! Threads that read the store: pages, searches, missed events.
//!
//! Each thread has a read-only connection, and each query has a time limit.

use crate::chat::event::Event;
use crate::chat::message::Message;
use crate::chat::query::{Phrase, Query, is_word_alone, words};
use crate::chat::request::{HistoryPage, SearchRequest};
use crate::storage::MessagePage;
use crate::storage::limits::{
    REPLAY_CHUNK_BYTES, REPLAY_CHUNK_EVENTS, STORE_QUERIES, STORE_QUERY_TIMEOUT, STORE_READERS,
    STORE_STEPS_PER_CHECK,
};
use crate::storage::sqlite::files::StoreFiles;
use crate::storage::sqlite::rows::{self, EVENT_COLUMNS};
use crate::storage::sqlite::{StoreError, connect_with};
use async_channel::Sender;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, ToSql, params_from_iter};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Consecutive events, encoded.
#[derive(Debug)]
pub(crate) struct EncodedEvents {
    pub(crate) bytes: Arc<[u8]>,
    /// Id of the last of them.
    pub(crate) last: u64,
}

/// Appends the encoding of an event.
pub(crate) type EventEncoder = Arc<dyn Fn(&mut Vec<u8>, &Event) + Send + Sync>;

/// A query with the channel of its answer.
type ReadJob = Box<dyn FnOnce(&mut Connection) + Send>;

/// Sends queries to the reader threads.
#[derive(Clone, Debug)]
pub(crate) struct StoreReader {
    jobs: Sender<ReadJob>,
    path: Arc<Path>,
}

impl StoreReader {
    /// Starts the threads, which end with the last clone of the reader.
    pub(super) fn start(path: &Path, files: &Arc<StoreFiles>) -> Result<Self, StoreError> {
        let (jobs, queue) = async_channel::bounded::<ReadJob>(STORE_QUERIES);
        for number in 0..STORE_READERS {
            let mut connection = connect_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
                .map_err(|error| StoreError::from_sqlite(path, &error))?;
            let (queue, files) = (queue.clone(), files.clone());
            let answer_queries = move || {
                while let Ok(job) = queue.recv_blocking() {
                    job(&mut connection);
                }
                // The writer reports why a store does not close.
                let _ = files.close(connection);
            };
            thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(answer_queries)
                .map_err(|error| StoreError::no_thread(&error))?;
        }
        let path = path.into();
        Ok(StoreReader { jobs, path })
    }

    /// Runs a query on one of the threads. The turn ends with the query, even if the caller stops
    /// waiting for the answer.
    pub(in crate::storage) async fn run<T: Send + 'static>(
        &self,
        turn: impl Send + 'static,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, result) = async_channel::bounded(1);
        let job: ReadJob = Box::new(move |connection| {
            let found = run_within(STORE_QUERY_TIMEOUT, connection, query);
            drop(turn);
            // A caller that went away needs no answer.
            let _ = answer.try_send(found);
        });
        self.jobs.send(job).await.map_err(|_| StoreError::ended())?;
        let result = result.recv().await.map_err(|_| StoreError::ended())?;
        result.map_err(|error| StoreError::from_sqlite(&self.path, &error))
    }
}

/// Runs a query, and interrupts it after the time limit.
pub(super) fn run_within<T>(
    limit: Duration,
    connection: &mut Connection,
    query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let end = Instant::now() + limit;
    connection.progress_handler(STORE_STEPS_PER_CHECK, Some(move || Instant::now() >= end))?;
    query(connection)
}

/// Returns a page of messages, newest first.
pub(in crate::storage) fn find_page(
    connection: &Connection,
    page: HistoryPage,
) -> rusqlite::Result<MessagePage> {
    let source = "FROM events WHERE kind = 'message' AND id < ?1 ORDER BY id DESC";
    collect(connection, source, &[&before(page)], page.limit, |_| true)
}

/// Returns the first messages after the event with the id `after`, oldest first.
pub(in crate::storage) fn find_after(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> rusqlite::Result<MessagePage> {
    let after = rows::sql_id(after);
    let source = "FROM events WHERE kind = 'message' AND id > ?1 ORDER BY id";
    collect(connection, source, &[&after], limit, |_| true)
}

/// Collects a page of the messages that the rest of a SELECT selects and that satisfy `matches`.
fn collect(
    connection: &Connection,
    source: &str,
    values: &[&dyn ToSql],
    limit: usize,
    matches: impl Fn(&Message) -> bool,
) -> rusqlite::Result<MessagePage> {
    let mut statement = connection.prepare_cached(&format!("SELECT {EVENT_COLUMNS} {source}"))?;
    let found = statement.query_map(params_from_iter(values), rows::message)?;
    let found = found.filter(|message| message.as_ref().map_or(true, |message| matches(message)));
    MessagePage::collect(found, limit)
}

/// Returns the messages that match, newest first.
pub(in crate::storage) fn find_matches(
    connection: &Connection,
    search: &SearchRequest,
) -> rusqlite::Result<MessagePage> {
    let query = &search.query;
    let (first, end) = id_range(connection, query)?;
    let end = before(search.page).min(end);
    let indexed = full_text_expression(query);
    // CROSS JOIN keeps SQLite from reordering the tables: it reads the hits of the index one by
    // one, and stops when the page is full.
    let source = match &indexed {
        Some(_) => {
            "FROM words CROSS JOIN events ON id = words.rowid
            WHERE words MATCH ?3 AND words.rowid >= ?1 AND words.rowid < ?2
            ORDER BY words.rowid DESC"
        }
        None => {
            "FROM events WHERE kind = 'message' AND id >= ?1 AND id < ?2
            ORDER BY id DESC"
        }
    };
    let mut values: Vec<&dyn ToSql> = vec![&first, &end];
    values.extend(indexed.as_ref().map(|text| text as &dyn ToSql));
    // The index finds candidates; the same rule as in memory decides.
    let matches = |message: &Message| message.matches(query);
    collect(connection, source, &values, search.page.limit, matches)
}

/// Returns the ids that the times of a query allow: the first, and the end (exclusive).
fn id_range(connection: &Connection, query: &Query) -> rusqlite::Result<(i64, i64)> {
    let id = |statement: &str, time: Timestamp| -> rusqlite::Result<Option<i64>> {
        connection.query_row(statement, [time.as_millisecond()], |row| row.get(0))
    };
    let first = match query.after {
        None => 0,
        Some(after) => {
            id("SELECT min(id) FROM events WHERE time >= ?1", after)?.unwrap_or(i64::MAX)
        }
    };
    let end = match query.before {
        None => i64::MAX,
        Some(before) => id("SELECT max(id) FROM events WHERE time < ?1", before)?
            .map_or(0, |last| last.saturating_add(1)),
    };
    Ok((first, end))
}

/// Returns the first events after `after` and up to `until`; none if one of them is missing.
pub(in crate::storage) fn encode_events(
    connection: &Connection,
    after: u64,
    until: u64,
    encode: &EventEncoder,
) -> rusqlite::Result<Option<EncodedEvents>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3"
    ))?;
    let bounds = [after, until, REPLAY_CHUNK_EVENTS as u64].map(rows::sql_id);
    let mut bytes = Vec::new();
    let mut last = after;
    for event in statement.query_map(bounds, rows::event)? {
        let event = event?;
        if event.id != last + 1 {
            return Ok(None);
        }
        last = event.id;
        encode(&mut bytes, &event);
        if bytes.len() >= REPLAY_CHUNK_BYTES {
            break;
        }
    }
    let bytes = bytes.into();
    Ok((last > after).then_some(EncodedEvents { bytes, last }))
}

fn before(page: HistoryPage) -> i64 {
    page.before.map_or(i64::MAX, rows::sql_id)
}

/// Returns the expression for the full-text index; none if the index cannot narrow the search.
fn full_text_expression(query: &Query) -> Option<String> {
    let phrase = |column: &str, words: &[String]| format!("{column} : \"{}\"", words.join(" "));
    let mut parts = Vec::new();
    for Phrase { words, is_prefix } in &query.phrases {
        let part = phrase("message", words);
        // A character that is a word needs no search for longer ones.
        let is_alone = words
            .last()
            .is_some_and(|word| word.chars().all(is_word_alone));
        let end = if *is_prefix && !is_alone { " *" } else { "" };
        parts.push(part + end);
    }
    // A name of punctuation alone has no word in the index.
    let author = query.from.as_deref().map(words).unwrap_or_default();
    if !author.is_empty() {
        parts.push(phrase("author", &author));
    }
    (!parts.is_empty()).then(|| parts.join(" AND "))
}
