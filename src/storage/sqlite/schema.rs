//! What a file looks like, and its versions.
//!
//! What lives here: the tables, how a file is known to be smolchat's, and the migrations from
//! each earlier version. The opening of a store uses it. It must never change a file that is not
//! smolchat's, or that a newer one made.

use crate::storage::sqlite::StoreError;
use rusqlite::{Connection, Transaction};
use std::path::Path;

/// Version of the schema that this program makes.
pub const VERSION: i32 = MIGRATIONS.len() as i32;

/// Marks a file as smolchat's: "smol" in ASCII.
const APPLICATION_ID: i32 = 0x736d_6f6c;

/// From each version to the next; the first makes the tables.
///
/// Times are milliseconds since 1970, UTC. The words of messages are folded before they are
/// indexed, so the index itself folds nothing; it has no copy of them.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        time INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('message', 'joined', 'left', 'renamed')),
        name TEXT NOT NULL,
        text TEXT,
        action INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX events_by_time ON events (time);
    CREATE INDEX messages_by_id ON events (id) WHERE kind = 'message';
    CREATE VIEW messages AS
        SELECT id,
               strftime('%Y-%m-%d %H:%M:%f', time / 1000.0, 'unixepoch') AS time,
               name AS source,
               text AS message,
               action
        FROM events WHERE kind = 'message';
    CREATE VIRTUAL TABLE words USING fts5 (
        message, author,
        content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 0'
    );
    CREATE TABLE present (
        name TEXT PRIMARY KEY,
        since INTEGER NOT NULL,
        arrival INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE sessions (
        token BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        has_chosen INTEGER NOT NULL,
        is_present INTEGER NOT NULL,
        used INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE nonces (
        sequence INTEGER PRIMARY KEY,
        token BLOB NOT NULL,
        nonce INTEGER NOT NULL,
        event INTEGER,
        time INTEGER NOT NULL,
        UNIQUE (token, nonce)
    );
"];

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Looks whether the file is smolchat's, or empty.
///
/// # Errors
/// It is not, or a newer smolchat made it.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let told = |error| StoreError::of(path, error);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(told)?;
    let application = number(connection, "application_id").map_err(told)?;
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let version = number(connection, "user_version").map_err(told)?;
    if version > VERSION {
        return Err(StoreError::Newer(path.to_owned(), version));
    }
    Ok(())
}

/// Brings the file to this version, and gives it an epoch if it has none.
///
/// # Errors
/// It cannot be written.
pub(super) fn prepare(
    connection: &mut Connection,
    path: &Path,
    new_epoch: &str,
) -> Result<(), StoreError> {
    let told = |error| StoreError::of(path, error);
    let version = number(connection, "user_version").map_err(told)?;
    let transaction = connection.transaction().map_err(told)?;
    migrate(&transaction, version, new_epoch).map_err(told)?;
    transaction.commit().map_err(told)
}

fn migrate(transaction: &Transaction<'_>, from: i32, new_epoch: &str) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    for migration in &MIGRATIONS[done.min(MIGRATIONS.len())..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.execute(
        "INSERT OR IGNORE INTO meta (key, value) VALUES ('epoch', ?1), ('last_event', 0)",
        [new_epoch],
    )?;
    Ok(())
}
