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
const MIGRATIONS: [&str; 4] = [
    include_str!("version_1.sql"),
    include_str!("version_2.sql"),
    include_str!("version_3.sql"),
    include_str!("version_4.sql"),
];

/// Version that last changed the full-text index, or how its words are folded.
const INDEX_VERSION: usize = 4;

/// Versions before it left removed text in free parts of the file.
const CLEAN_VERSION: usize = 4;

/// Largest file that a migration writes anew, in bytes. It takes seconds, and as much space again.
const MAX_CLEANED_BYTES: i64 = 1 << 30;

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
    transaction.commit()?;
    if (1..CLEAN_VERSION).contains(&done) {
        clean(connection);
    }
    Ok(())
}

/// Writes the file anew without what earlier versions removed. The server starts even if it fails.
fn clean(connection: &Connection) {
    const REMEDY: &str = "text that an earlier version removed may still be in the file; \
                          with the server stopped, `sqlite3 FILE VACUUM` removes it";
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes = rows::value(connection, size).unwrap_or(i64::MAX);
    if bytes > MAX_CLEANED_BYTES {
        return tracing::warn!(bytes, "{REMEDY}");
    }
    tracing::info!(bytes, "writing the file anew, without removed text");
    if let Err(error) = connection.execute_batch("VACUUM") {
        tracing::warn!(%error, "{REMEDY}");
    }
}
