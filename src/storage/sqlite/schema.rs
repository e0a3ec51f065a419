//! Tables of the file, and migrations from earlier versions.
//!
//! Never changes a file of another program or of a newer smolchat.

use crate::storage::sqlite::{StoreError, rows};
use rusqlite::Connection;
use std::path::Path;

/// Schema version of this program.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// Marks a file as smolchat's: "smol" in ASCII.
const APPLICATION_ID: i32 = 0x736d_6f6c;

/// Migrations from each version to the next; the first creates the tables.
///
/// Times are milliseconds since 1970, UTC. The full-text index gets words that are already folded,
/// and stores no copy of them.
const MIGRATIONS: [&str; 3] = [
    include_str!("version_1.sql"),
    include_str!("version_2.sql"),
    include_str!("version_3.sql"),
];

/// Version that last changed how the words of the full-text index are folded.
const INDEX_VERSION: usize = 2;

fn integer_pragma(connection: &Connection, pragma: &str) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Checks that the file is empty or smolchat's, and not of a newer version.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let store_error = |error| StoreError::from_sqlite(path, &error);
    let tables: i64 =
        rows::value(connection, "SELECT count(*) FROM sqlite_schema").map_err(store_error)?;
    let application = integer_pragma(connection, "application_id").map_err(store_error)?;
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(StoreError::Unusable(format!(
            "{} is a database of another program; choose another --db file",
            path.display()
        )));
    }
    let version = integer_pragma(connection, "user_version").map_err(store_error)?;
    if version > VERSION {
        return Err(StoreError::Unusable(format!(
            "{} was made by a newer smolchat (schema version {version}, this one knows {VERSION}); \
             install that, or choose another --db file",
            path.display()
        )));
    }
    Ok(())
}

/// Migrates the file to [`VERSION`], and sets its epoch if it has none.
pub(super) fn migrate(connection: &mut Connection, new_epoch: &str) -> rusqlite::Result<()> {
    let version = integer_pragma(connection, "user_version")?;
    let done = usize::try_from(version).unwrap_or(0).min(MIGRATIONS.len());
    let transaction = connection.transaction()?;
    for migration in &MIGRATIONS[done..] {
        transaction.execute_batch(migration)?;
    }
    if (1..INDEX_VERSION).contains(&done) {
        tracing::info!("indexing the stored messages anew");
        rows::fill_index(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.execute(
        "INSERT OR IGNORE INTO meta (key, value) VALUES ('epoch', ?1), ('last_event', 0)",
        [new_epoch],
    )?;
    transaction.commit()
}
