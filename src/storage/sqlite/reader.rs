//! The threads that read: pages, searches, and what a client missed.
//!
//! What lives here: [`Reader`], a bounded queue in front of a few threads, each with a connection
//! of its own that cannot write. The server's connections use it. It must never do work without a
//! bound: a query that takes too long is given up.

use crate::chat::event::Event;
use crate::chat::message::Message;
use crate::chat::query::{Query, words};
use crate::chat::request::{HistoryPage, SearchRequest};
use crate::limits::MAX_PAGE_BYTES;
use crate::storage::limits::{
    REPLAY_CHUNK_BYTES, REPLAY_CHUNK_EVENTS, STORE_QUERIES, STORE_QUERY_TIMEOUT, STORE_READERS,
    STORE_STEPS_PER_CHECK,
};
use crate::storage::sqlite::rows;
use crate::storage::sqlite::rows::EVENT_COLUMNS;
use crate::storage::sqlite::{StoreError, connect_to_read};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use rusqlite::{Connection, ToSql, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Messages, newest first, and whether there are older ones.
pub type MessagePage = (Vec<Arc<Message>>, bool);

/// Events as they were encoded, and the number of the last one.
pub type Lines = (Arc<[u8]>, u64);

/// Writes an event for its readers.
pub type Encoder = Arc<dyn Fn(&mut Vec<u8>, &Event) + Send + Sync>;

/// Asks the threads that read; clones ask the same.
#[derive(Clone, Debug)]
pub struct Reader {
    queries: Sender<ReadQuery>,
}

/// Something to look up, and where the answer goes.
enum ReadQuery {
    Oldest(Sender<Result<Option<u64>, StoreError>>),
    Page(HistoryPage, Sender<Result<MessagePage, StoreError>>),
    Search(Box<SearchRequest>, Sender<Result<MessagePage, StoreError>>),
    After(u64, usize, Sender<Result<MessagePage, StoreError>>),
    Events(u64, u64, Encoder, Sender<Result<Lines, StoreError>>),
}

impl Reader {
    /// Starts the threads.
    pub(super) fn start(path: &Path) -> Result<Reader, StoreError> {
        let (queries, asked) = async_channel::bounded(STORE_QUERIES);
        for number in 0..STORE_READERS {
            let mut thread = ReaderThread {
                connection: connect_to_read(path)?,
                path: path.to_owned(),
            };
            let asked: Receiver<ReadQuery> = asked.clone();
            thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || {
                    while let Ok(asked) = asked.recv_blocking() {
                        thread.answer(asked);
                    }
                })
                .map_err(StoreError::NoThread)?;
        }
        Ok(Reader { queries })
    }

    /// Number of the oldest event; none if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn oldest_event(&self) -> Result<Option<u64>, StoreError> {
        self.ask(ReadQuery::Oldest).await
    }

    /// A page of messages.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn page(&self, page: HistoryPage) -> Result<MessagePage, StoreError> {
        self.ask(|sender| ReadQuery::Page(page, sender)).await
    }

    /// Messages that match.
    ///
    /// # Errors
    /// The store cannot be read, or it took too long.
    pub async fn search(&self, search: SearchRequest) -> Result<MessagePage, StoreError> {
        self.ask(|sender| ReadQuery::Search(Box::new(search), sender))
            .await
    }

    /// The first messages after the event with this number, oldest first, and whether there are
    /// newer ones.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn after(&self, after: u64, limit: usize) -> Result<MessagePage, StoreError> {
        self.ask(|sender| ReadQuery::After(after, limit, sender))
            .await
    }

    /// The first of the events after one and up to another, each as `encode` writes it, and the
    /// number up to which they go.
    ///
    /// # Errors
    /// The store cannot be read, or one of them is not there any more.
    pub async fn events(
        &self,
        after: u64,
        until: u64,
        encode: Encoder,
    ) -> Result<Lines, StoreError> {
        self.ask(|sender| ReadQuery::Events(after, until, encode, sender))
            .await
    }

    async fn ask<T>(
        &self,
        asked: impl FnOnce(Sender<Result<T, StoreError>>) -> ReadQuery,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = async_channel::bounded(1);
        let asked = asked(sender);
        self.queries
            .send(asked)
            .await
            .map_err(|_| StoreError::Ended)?;
        receiver.recv().await.map_err(|_| StoreError::Ended)?
    }
}

struct ReaderThread {
    connection: Connection,
    path: PathBuf,
}

impl ReaderThread {
    /// Answers; one who does not wait any more needs no answer.
    fn answer(&mut self, asked: ReadQuery) {
        match asked {
            ReadQuery::Oldest(asker) => {
                let _ = asker.try_send(self.look(Self::oldest));
            }
            ReadQuery::Page(page, asker) => {
                let _ = asker.try_send(self.look(|this| this.page(page)));
            }
            ReadQuery::Search(search, asker) => {
                let _ = asker.try_send(self.look(|this| this.search(&search)));
            }
            ReadQuery::After(after, limit, asker) => {
                let _ = asker.try_send(self.look(|this| this.after(after, limit)));
            }
            ReadQuery::Events(after, until, encode, asker) => {
                let found = self.look(|this| this.events(after, until, &encode));
                let _ = asker.try_send(found.and_then(|found| found.ok_or(StoreError::Ended)));
            }
        }
    }

    /// Looks something up, but not for longer than a query may take.
    fn look<T>(
        &mut self,
        query: impl FnOnce(&Self) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let end = Instant::now() + STORE_QUERY_TIMEOUT;
        let is_over = move || Instant::now() >= end;
        let told = |error| StoreError::of(&self.path, error);
        self.connection
            .progress_handler(STORE_STEPS_PER_CHECK, Some(is_over))
            .map_err(told)?;
        query(self).map_err(told)
    }

    fn oldest(&self) -> rusqlite::Result<Option<u64>> {
        let oldest: Option<i64> =
            self.connection
                .query_row("SELECT min(id) FROM events", [], |row| row.get(0))?;
        Ok(oldest.and_then(|id| u64::try_from(id).ok()))
    }

    fn page(&self, page: HistoryPage) -> rusqlite::Result<MessagePage> {
        let statement = format!(
            "SELECT {EVENT_COLUMNS} FROM events
             WHERE kind = 'message' AND id < ?1 ORDER BY id DESC"
        );
        self.collect(&statement, &[&before(page)], page.limit, |_| true)
    }

    fn after(&self, after: u64, limit: usize) -> rusqlite::Result<MessagePage> {
        let statement = format!(
            "SELECT {EVENT_COLUMNS} FROM events
             WHERE kind = 'message' AND id > ?1 ORDER BY id"
        );
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.collect(&statement, &[&after], limit, |_| true)
    }

    /// The first so many messages that a statement gives and that belong to the answer.
    fn collect(
        &self,
        statement: &str,
        values: &[&dyn ToSql],
        limit: usize,
        belongs: impl Fn(&Message) -> bool,
    ) -> rusqlite::Result<MessagePage> {
        let mut statement = self.connection.prepare_cached(statement)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut found = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let message = rows::message(row)?;
            if !belongs(&message) {
                continue;
            }
            bytes += message.text.len();
            if found.len() >= limit || (bytes > MAX_PAGE_BYTES && !found.is_empty()) {
                return Ok((found, true));
            }
            found.push(message);
        }
        Ok((found, false))
    }

    fn search(&self, search: &SearchRequest) -> rusqlite::Result<MessagePage> {
        let query = &search.query;
        let (first, end) = self.numbers(query)?;
        let end = before(search.page).min(end);
        let matching = full_text(query);
        // Those found by the index are looked up one after the other, as far as they are needed.
        let source = match &matching {
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
        let statement = format!("SELECT {EVENT_COLUMNS} {source}");
        let mut values: Vec<&dyn ToSql> = vec![&first, &end];
        values.extend(matching.as_ref().map(|text| text as &dyn ToSql));
        // The index finds what may match; the rules of the memory decide.
        let belongs = |message: &Message| message.matches(query);
        self.collect(&statement, &values, search.page.limit, belongs)
    }

    /// The numbers among which the times of a query lie: from the first up to but not with the
    /// second.
    fn numbers(&self, query: &Query) -> rusqlite::Result<(i64, i64)> {
        let number = |statement: &str, time: Timestamp| -> rusqlite::Result<Option<i64>> {
            let time = time.as_millisecond();
            self.connection
                .query_row(statement, [time], |row| row.get(0))
        };
        let first = match query.after {
            None => 0,
            Some(after) => {
                number("SELECT min(id) FROM events WHERE time >= ?1", after)?.unwrap_or(i64::MAX)
            }
        };
        let end = match query.before {
            None => i64::MAX,
            Some(before) => number("SELECT max(id) FROM events WHERE time < ?1", before)?
                .map_or(0, |last| last.saturating_add(1)),
        };
        Ok((first, end))
    }

    /// None if one of the events is not there.
    fn events(&self, after: u64, until: u64, encode: &Encoder) -> rusqlite::Result<Option<Lines>> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {EVENT_COLUMNS} FROM events WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3"
        ))?;
        let bounds = [after, until, REPLAY_CHUNK_EVENTS as u64];
        let bounds = bounds.map(|bound| i64::try_from(bound).unwrap_or(i64::MAX));
        let mut rows = statement.query(bounds)?;
        let mut lines = Vec::new();
        let mut last = after;
        while let Some(row) = rows.next()? {
            let event: Event = rows::event(row)?;
            if event.id != last + 1 {
                return Ok(None);
            }
            last = event.id;
            encode(&mut lines, &event);
            if lines.len() >= REPLAY_CHUNK_BYTES {
                break;
            }
        }
        Ok((last > after).then(|| (lines.into(), last)))
    }
}

fn before(page: HistoryPage) -> i64 {
    page.before
        .map_or(i64::MAX, |id| i64::try_from(id).unwrap_or(i64::MAX))
}

/// What the full-text index is asked for; none if any message may match.
fn full_text(query: &Query) -> Option<String> {
    let phrase = |column: &str, words: &str| format!("{column} : \"{words}\"");
    let mut parts: Vec<String> = query
        .phrases
        .iter()
        .map(|words| phrase("message", &words.join(" ")))
        .collect();
    // A name without a word is looked at one by one.
    let author = query.from.as_deref().map(words).unwrap_or_default();
    if !author.is_empty() {
        parts.push(phrase("author", &author.join(" ")));
    }
    (!parts.is_empty()).then(|| parts.join(" AND "))
}
