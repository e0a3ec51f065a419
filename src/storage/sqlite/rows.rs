//! From records to rows and back.
//!
//! What lives here: each statement that writes, and those that read everything back at a start.
//! The writer and the opening use them. It must never decide when something is written.

use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::message::Message;
use crate::chat::query;
use crate::chat::record::{NonceRecord, Record, RestoredState, SessionRecord};
use crate::chat::token::TokenHash;
use crate::chat::username::Username;
use crate::limits::MAX_HISTORY_BYTES;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use std::sync::Arc;

/// The columns of an event, in the order in which [`event`] reads them.
pub(super) const EVENT_COLUMNS: &str = "id, time, kind, name, text, action";

fn id(number: u64) -> i64 {
    // Numbers grow by one with each event: no server lives long enough for more.
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(id: i64) -> u64 {
    u64::try_from(id).unwrap_or(0)
}

fn time_of(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A 64-bit number as the signed one with the same bits.
fn signed(bits: u64) -> i64 {
    i64::from_ne_bytes(bits.to_ne_bytes())
}

/// Writes a record.
pub(super) fn write(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::Event(event) => write_event(connection, event),
        Record::Session(session) => {
            let mut statement = connection.prepare_cached(
                "INSERT OR REPLACE INTO sessions (token, name, has_chosen, is_present, used)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            statement.execute(params![
                session.token.bytes(),
                session.name.as_str(),
                session.has_chosen,
                session.is_present,
                session.used.as_millisecond(),
            ])?;
            Ok(())
        }
        Record::SessionForgotten(token) => {
            for statement in [
                "DELETE FROM sessions WHERE token = ?1",
                "DELETE FROM nonces WHERE token = ?1",
            ] {
                let mut statement = connection.prepare_cached(statement)?;
                statement.execute([token.bytes()])?;
            }
            Ok(())
        }
        Record::Nonce(nonce) => {
            let mut statement = connection.prepare_cached(
                "INSERT OR REPLACE INTO nonces (token, nonce, event, time)
                 VALUES (?1, ?2, ?3, ?4)",
            )?;
            statement.execute(params![
                nonce.token.bytes(),
                signed(nonce.nonce),
                nonce.id.map(id),
                nonce.time.as_millisecond(),
            ])?;
            Ok(())
        }
        Record::NonceForgotten(token, nonce) => {
            let mut statement =
                connection.prepare_cached("DELETE FROM nonces WHERE token = ?1 AND nonce = ?2")?;
            statement.execute(params![token.bytes(), signed(*nonce)])?;
            Ok(())
        }
    }
}

fn write_event(connection: &Connection, event: &Event) -> rusqlite::Result<()> {
    let (kind, name, text, action) = match &event.kind {
        EventKind::Said(message) => (
            "message",
            message.source.as_str(),
            Some(&*message.text),
            message.action,
        ),
        EventKind::Joined { name, .. } => ("joined", name.as_str(), None, false),
        EventKind::Left { name, reason, .. } => ("left", name.as_str(), Some(reason.word()), false),
        EventKind::Renamed { old, new } => ("renamed", old.as_str(), Some(new.as_str()), false),
    };
    let time = event.time.as_millisecond();
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (id, time, kind, name, text, action) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    statement.execute(params![id(event.id), time, kind, name, text, action])?;
    match &event.kind {
        EventKind::Said(message) => {
            let mut statement = connection
                .prepare_cached("INSERT INTO words (rowid, message, author) VALUES (?1, ?2, ?3)")?;
            let words = query::words(&message.text).join(" ");
            statement.execute(params![id(event.id), words, query::author_key(name)])?;
        }
        EventKind::Joined { .. } => {
            let mut statement = connection.prepare_cached(
                "INSERT OR REPLACE INTO present (name, since, arrival) VALUES (?1, ?2, ?3)",
            )?;
            statement.execute(params![name, time, id(event.id)])?;
        }
        EventKind::Left { .. } => {
            let mut statement = connection.prepare_cached("DELETE FROM present WHERE name = ?1")?;
            statement.execute([name])?;
        }
        EventKind::Renamed { new, .. } => {
            let mut statement = connection
                .prepare_cached("UPDATE OR REPLACE present SET name = ?2 WHERE name = ?1")?;
            statement.execute([name, new.as_str()])?;
        }
    }
    Ok(())
}

/// Notes the number of the newest event, which counts on when all events are gone.
pub(super) fn write_last_event(connection: &Connection, last: u64) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'last_event'")?;
    statement.execute([id(last)])?;
    Ok(())
}

/// The epoch of the file.
pub(super) fn epoch(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| {
        row.get(0)
    })
}

/// Messages that are stored.
pub(super) fn message_count(connection: &Connection) -> rusqlite::Result<u64> {
    let statement = "SELECT count(*) FROM events WHERE kind = 'message'";
    connection
        .query_row(statement, [], |row| row.get(0))
        .map(number)
}

/// An event of a row with [`EVENT_COLUMNS`].
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (id, time) = (number(row.get(0)?), time_of(row.get(1)?));
    let kind: String = row.get(2)?;
    let name = Username::from_stored(row.get_ref(3)?.as_str()?);
    let kind = match kind.as_str() {
        "joined" => EventKind::Joined {
            name,
            is_summarised: false,
        },
        "left" => {
            let word: Option<String> = row.get(4)?;
            let is_it = |reason: &LeaveReason| Some(reason.word()) == word.as_deref();
            let reason = LeaveReason::ALL.into_iter().find(is_it);
            EventKind::Left {
                name,
                is_summarised: false,
                reason: reason.unwrap_or(LeaveReason::Lost),
            }
        }
        "renamed" => EventKind::Renamed {
            old: name,
            new: Username::from_stored(row.get_ref(4)?.as_str()?),
        },
        _ => EventKind::Said(Arc::new(message_of(row, id, time, name)?)),
    };
    Ok(Event { id, time, kind })
}

/// A message of a row with [`EVENT_COLUMNS`].
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Arc<Message>> {
    let (id, time) = (number(row.get(0)?), time_of(row.get(1)?));
    let name = Username::from_stored(row.get_ref(3)?.as_str()?);
    Ok(Arc::new(message_of(row, id, time, name)?))
}

fn message_of(
    row: &Row<'_>,
    id: u64,
    time: Timestamp,
    name: Username,
) -> rusqlite::Result<Message> {
    let text = row.get_ref(4)?.as_str()?;
    Ok(Message {
        action: row.get(5)?,
        ..Message::new(id, time, name, text.into())
    })
}

/// What a chat goes on from; at most so many messages.
pub(super) fn kept(
    connection: &Connection,
    max_messages: usize,
) -> rusqlite::Result<RestoredState> {
    let statement = "SELECT value FROM meta WHERE key = 'last_event'";
    let last_event = connection
        .query_row(statement, [], |row| row.get(0))
        .map(number)?;
    let mut present = connection.prepare("SELECT name, since FROM present ORDER BY arrival")?;
    let present = present
        .query_map([], |row| {
            Ok((
                Username::from_stored(row.get_ref(0)?.as_str()?),
                time_of(row.get(1)?),
            ))
        })?
        .collect::<Result<_, _>>()?;
    Ok(RestoredState {
        last_event,
        messages: newest_messages(connection, max_messages)?,
        present,
        sessions: sessions(connection)?,
        nonces: nonces(connection)?,
    })
}

fn newest_messages(
    connection: &Connection,
    max_messages: usize,
) -> rusqlite::Result<Vec<Arc<Message>>> {
    let mut statement = connection.prepare(&format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE kind = 'message' ORDER BY id DESC LIMIT ?1"
    ))?;
    let limit = i64::try_from(max_messages).unwrap_or(i64::MAX);
    let mut rows = statement.query([limit])?;
    let mut messages = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let message = message(row)?;
        bytes += message.bytes();
        if bytes > MAX_HISTORY_BYTES {
            break;
        }
        messages.push(message);
    }
    messages.reverse();
    Ok(messages)
}

fn token(row: &Row<'_>, column: usize) -> rusqlite::Result<TokenHash> {
    row.get(column).map(TokenHash::from_bytes)
}

fn sessions(connection: &Connection) -> rusqlite::Result<Vec<SessionRecord>> {
    let mut statement = connection
        .prepare("SELECT token, name, has_chosen, is_present, used FROM sessions ORDER BY used")?;
    let session = |row: &Row<'_>| {
        Ok(SessionRecord {
            token: token(row, 0)?,
            name: Username::from_stored(row.get_ref(1)?.as_str()?),
            has_chosen: row.get(2)?,
            is_present: row.get(3)?,
            used: time_of(row.get(4)?),
        })
    };
    statement.query_map([], session)?.collect()
}

fn nonces(connection: &Connection) -> rusqlite::Result<Vec<NonceRecord>> {
    let mut statement =
        connection.prepare("SELECT token, nonce, event, time FROM nonces ORDER BY sequence")?;
    let nonce = |row: &Row<'_>| {
        let (nonce, event): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
        Ok(NonceRecord {
            token: token(row, 0)?,
            nonce: u64::from_ne_bytes(nonce.to_ne_bytes()),
            id: event.map(number),
            time: time_of(row.get(3)?),
        })
    };
    statement.query_map([], nonce)?.collect()
}
