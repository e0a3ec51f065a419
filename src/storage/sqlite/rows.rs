//! Records to rows and back.

use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::message::Message;
use crate::chat::query;
use crate::chat::record::{
    MailContent, MailRecord, NonceRecord, Record, RestoredState, SessionRecord,
};
use crate::chat::room::PrivateMessage;
use crate::chat::token::TokenHash;
use crate::chat::username::Username;
use crate::limits::MAX_HISTORY_BYTES;
use jiff::Timestamp;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Params, Row, params};
use std::sync::Arc;

/// Columns of an event, in the order in which [`event`] reads them.
pub(super) const EVENT_COLUMNS: &str = "id, time, kind, name, text, action";

/// Returns an event id as SQLite's signed integer.
pub(super) fn sql_id(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn id_from_sql(id: i64) -> u64 {
    u64::try_from(id).unwrap_or(0)
}

fn time_of(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn execute(connection: &Connection, statement: &str, values: impl Params) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute(values)?;
    Ok(())
}

pub(super) fn write(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Event(event) => write_event(connection, event),
        Record::Session(session) => execute(
            connection,
            "INSERT OR REPLACE INTO sessions
                (token, name, has_chosen, is_present, used, last_private)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                session.token.bytes(),
                session.name.as_str(),
                session.has_chosen,
                session.is_present,
                session.used.as_millisecond(),
                sql_id(session.last_private),
            ],
        ),
        Record::SessionForgotten(token) => {
            let token = [token.bytes()];
            execute(connection, "DELETE FROM sessions WHERE token = ?1", token)?;
            execute(connection, "DELETE FROM nonces WHERE token = ?1", token)
        }
        Record::Nonce(nonce) => execute(
            connection,
            "INSERT OR REPLACE INTO nonces (token, nonce, event, time) VALUES (?1, ?2, ?3, ?4)",
            params![
                nonce.token.bytes(),
                nonce.nonce.cast_signed(),
                nonce.id.map(sql_id),
                nonce.time.as_millisecond(),
            ],
        ),
        Record::NonceForgotten(token, nonce) => execute(
            connection,
            "DELETE FROM nonces WHERE token = ?1 AND nonce = ?2",
            params![token.bytes(), nonce.cast_signed()],
        ),
        Record::Mail(mail) => write_mail(connection, mail),
        Record::MailForgotten(key) => {
            let key = [sql_id(*key)];
            execute(connection, "DELETE FROM mail WHERE key = ?1", key)
        }
    }
}

fn write_mail(connection: &Connection, mail: &MailRecord) -> rusqlite::Result<()> {
    let (kind, target, message) = match &mail.content {
        MailContent::NotDelivered(target) => ("not-delivered", &**target, None),
        MailContent::Message { message, is_own } => {
            let kind = if *is_own { "own" } else { "received" };
            (kind, message.target.as_str(), Some(message))
        }
    };
    execute(
        connection,
        "INSERT OR REPLACE INTO mail
            (key, owner, sender, kind, number, after, time, source, target, text)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            sql_id(mail.key),
            mail.owner.as_ref().map(TokenHash::bytes),
            mail.sender.as_ref().map(TokenHash::bytes),
            kind,
            mail.number.map(sql_id),
            mail.after.map(sql_id),
            message.map(|message| message.time.as_millisecond()),
            message.map(|message| message.source.as_str()),
            target,
            message.map(|message| &*message.text),
        ],
    )
}

fn write_event(connection: &Connection, event: &Event) -> rusqlite::Result<()> {
    let (kind, name, text, action) = match &event.kind {
        EventKind::Message(message) => {
            let text = Some(&*message.text);
            ("message", message.source.as_str(), text, message.action)
        }
        EventKind::Joined { name, .. } => ("joined", name.as_str(), None, false),
        EventKind::Left { name, reason, .. } => ("left", name.as_str(), Some(reason.word()), false),
        EventKind::Renamed { old, new } => ("renamed", old.as_str(), Some(new.as_str()), false),
    };
    let (id, time) = (sql_id(event.id), event.time.as_millisecond());
    execute(
        connection,
        "INSERT INTO events (id, time, kind, name, text, action) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, time, kind, name, text, action],
    )?;
    match &event.kind {
        EventKind::Message(message) => index_message(connection, id, name, &message.text),
        EventKind::Joined { .. } => execute(
            connection,
            "INSERT OR REPLACE INTO present (name, since, arrival) VALUES (?1, ?2, ?3)",
            params![name, time, id],
        ),
        EventKind::Left { .. } => {
            execute(connection, "DELETE FROM present WHERE name = ?1", [name])
        }
        EventKind::Renamed { new, .. } => execute(
            connection,
            "UPDATE OR REPLACE present SET name = ?2 WHERE name = ?1",
            [name, new.as_str()],
        ),
    }
}

/// Writes the words of a message to the full-text index.
fn index_message(
    connection: &Connection,
    id: i64,
    author: &str,
    text: &str,
) -> rusqlite::Result<()> {
    let (text, author) = (indexed_words(text), indexed_words(author));
    execute(
        connection,
        "INSERT INTO words (rowid, message, author) VALUES (?1, ?2, ?3)",
        params![id, text, author],
    )
}

fn indexed_words(text: &str) -> String {
    query::words(text).join(" ")
}

/// Fills the empty full-text index with all stored messages.
pub(super) fn fill_index(connection: &Connection) -> rusqlite::Result<()> {
    let select = "SELECT id, name, text FROM events WHERE kind = 'message' ORDER BY id";
    let mut statement = connection.prepare(select)?;
    let mut messages = statement.query([])?;
    while let Some(row) = messages.next()? {
        let text = row.get_ref(2)?.as_str()?;
        index_message(connection, row.get(0)?, row.get_ref(1)?.as_str()?, text)?;
    }
    Ok(())
}

/// Writes the id of the newest event, so that ids continue even if retention removes all events.
pub(super) fn write_last_event(connection: &Connection, last: u64) -> rusqlite::Result<()> {
    let statement = "UPDATE meta SET value = ?1 WHERE key = 'last_event'";
    execute(connection, statement, [sql_id(last)])
}

/// Reads the only value that a statement selects.
pub(super) fn value<T: FromSql>(connection: &Connection, statement: &str) -> rusqlite::Result<T> {
    connection.query_row(statement, [], |row| row.get(0))
}

pub(super) fn epoch(connection: &Connection) -> rusqlite::Result<String> {
    value(connection, "SELECT value FROM meta WHERE key = 'epoch'")
}

pub(super) fn message_count(connection: &Connection) -> rusqlite::Result<u64> {
    let count = "SELECT count(*) FROM events WHERE kind = 'message'";
    value(connection, count).map(id_from_sql)
}

pub(in crate::storage) fn oldest_event(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    let oldest: Option<i64> = value(connection, "SELECT min(id) FROM events")?;
    Ok(oldest.map(id_from_sql))
}

/// Returns id, time and whether it is a message, for the oldest `limit` events.
pub(super) fn oldest_events(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, i64, bool)>> {
    let statement = "SELECT id, time, kind = 'message' FROM events ORDER BY id LIMIT ?1";
    let mut statement = connection.prepare_cached(statement)?;
    let columns = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    statement.query_map([sql_limit(limit)], columns)?.collect()
}

pub(super) fn remove_event(
    connection: &Connection,
    id: i64,
    is_message: bool,
) -> rusqlite::Result<()> {
    if is_message {
        let select = "SELECT text, name FROM events WHERE id = ?1";
        let columns = |row: &Row<'_>| {
            let (text, author) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            Ok((indexed_words(text), indexed_words(author)))
        };
        let mut select = connection.prepare_cached(select)?;
        let (text, author) = select.query_row([id], columns)?;
        // The index finds the entries to remove by the words.
        execute(
            connection,
            "INSERT INTO words (words, rowid, message, author) VALUES ('delete', ?1, ?2, ?3)",
            params![id, text, author],
        )?;
    }
    execute(connection, "DELETE FROM events WHERE id = ?1", [id])
}

/// Reads an event from a row with [`EVENT_COLUMNS`].
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (id, time) = (id_from_sql(row.get(0)?), time_of(row.get(1)?));
    let kind: String = row.get(2)?;
    let name = username(row, 3)?;
    let kind = match kind.as_str() {
        "joined" => EventKind::Joined {
            name,
            is_summarised: false,
        },
        "left" => {
            let word: Option<String> = row.get(4)?;
            let has_word = |reason: &LeaveReason| Some(reason.word()) == word.as_deref();
            let reason = LeaveReason::ALL.into_iter().find(has_word);
            EventKind::Left {
                name,
                is_summarised: false,
                reason: reason.unwrap_or(LeaveReason::Lost),
            }
        }
        "renamed" => EventKind::Renamed {
            old: name,
            new: username(row, 4)?,
        },
        _ => EventKind::Message(message(row)?),
    };
    Ok(Event { id, time, kind })
}

/// Reads a message from a row with [`EVENT_COLUMNS`].
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Arc<Message>> {
    Ok(Arc::new(Message {
        id: id_from_sql(row.get(0)?),
        time: time_of(row.get(1)?),
        source: username(row, 3)?,
        text: row.get_ref(4)?.as_str()?.into(),
        action: row.get(5)?,
    }))
}

fn username(row: &Row<'_>, column: usize) -> rusqlite::Result<Username> {
    Ok(Username::from_stored(row.get_ref(column)?.as_str()?))
}

/// Reads the state of the chat, with at most `max_messages` messages.
pub(super) fn restore(
    connection: &Connection,
    max_messages: usize,
) -> rusqlite::Result<RestoredState> {
    let last_event = value(
        connection,
        "SELECT value FROM meta WHERE key = 'last_event'",
    )?;
    let mut present = connection.prepare("SELECT name, since FROM present ORDER BY arrival")?;
    let present = present
        .query_map([], |row| Ok((username(row, 0)?, time_of(row.get(1)?))))?
        .collect::<Result<_, _>>()?;
    Ok(RestoredState {
        last_event: id_from_sql(last_event),
        messages: newest_messages(connection, max_messages)?,
        present,
        sessions: sessions(connection)?,
        nonces: nonces(connection)?,
        mail: mail(connection)?,
    })
}

fn newest_messages(
    connection: &Connection,
    max_messages: usize,
) -> rusqlite::Result<Vec<Arc<Message>>> {
    let mut statement = connection.prepare(&format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE kind = 'message' ORDER BY id DESC LIMIT ?1"
    ))?;
    let mut messages = Vec::new();
    let mut bytes = 0;
    for found in statement.query_map([sql_limit(max_messages)], message)? {
        let found = found?;
        bytes += found.bytes();
        if bytes > MAX_HISTORY_BYTES {
            break;
        }
        messages.push(found);
    }
    messages.reverse();
    Ok(messages)
}

fn token(row: &Row<'_>, column: usize) -> rusqlite::Result<TokenHash> {
    row.get(column).map(TokenHash::from_bytes)
}

fn sessions(connection: &Connection) -> rusqlite::Result<Vec<SessionRecord>> {
    let mut statement = connection.prepare(
        "SELECT token, name, has_chosen, is_present, used, last_private
         FROM sessions ORDER BY used",
    )?;
    let session = |row: &Row<'_>| {
        Ok(SessionRecord {
            token: token(row, 0)?,
            name: username(row, 1)?,
            has_chosen: row.get(2)?,
            is_present: row.get(3)?,
            used: time_of(row.get(4)?),
            last_private: id_from_sql(row.get(5)?),
        })
    };
    statement.query_map([], session)?.collect()
}

fn mail(connection: &Connection) -> rusqlite::Result<Vec<MailRecord>> {
    let mut statement = connection.prepare(
        "SELECT key, owner, sender, number, after, kind, target, time, source, text
         FROM mail ORDER BY key",
    )?;
    let mail = |row: &Row<'_>| {
        let kind: String = row.get(5)?;
        let content = match kind.as_str() {
            "not-delivered" => MailContent::NotDelivered(row.get_ref(6)?.as_str()?.into()),
            kind => MailContent::Message {
                message: Arc::new(PrivateMessage {
                    time: time_of(row.get(7)?),
                    source: username(row, 8)?,
                    target: username(row, 6)?,
                    text: row.get_ref(9)?.as_str()?.into(),
                }),
                is_own: kind == "own",
            },
        };
        let token = |column| {
            let bytes: rusqlite::Result<Option<_>> = row.get(column);
            bytes.map(|bytes| bytes.map(TokenHash::from_bytes))
        };
        let id = |column| {
            let id: rusqlite::Result<Option<_>> = row.get(column);
            id.map(|id| id.map(id_from_sql))
        };
        Ok(MailRecord {
            key: id_from_sql(row.get(0)?),
            owner: token(1)?,
            sender: token(2)?,
            number: id(3)?,
            after: id(4)?,
            content,
        })
    };
    statement.query_map([], mail)?.collect()
}

fn nonces(connection: &Connection) -> rusqlite::Result<Vec<NonceRecord>> {
    let mut statement =
        connection.prepare("SELECT token, nonce, event, time FROM nonces ORDER BY sequence")?;
    let nonce = |row: &Row<'_>| {
        let (nonce, event): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
        Ok(NonceRecord {
            token: token(row, 0)?,
            nonce: nonce.cast_unsigned(),
            id: event.map(id_from_sql),
            time: time_of(row.get(3)?),
        })
    };
    statement.query_map([], nonce)?.collect()
}
