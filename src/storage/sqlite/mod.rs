//! The chat on disk, in SQLite: one thread writes, two read.
//!
//! Reading order: this file (opening), `files` (locks), `schema` (tables and versions), `rows` (records to rows and
//! back), `writer` (group commit, retention), `upkeep` (removed text, log file), `reader` (pages, searches, missed events).

mod error;
mod files;
pub(crate) mod reader;
pub(super) mod rows;
mod schema;
mod upkeep;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

pub use error::StoreError;

use crate::chat::record::RestoredState;
use crate::storage::limits::STORE_LOG_BYTES;
use crate::storage::sqlite::files::StoreFiles;
use crate::storage::sqlite::reader::StoreReader;
use crate::storage::sqlite::writer::{CommitReport, StoreWriter};
use async_channel::Receiver;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Time that a statement waits for another program that uses the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Durability of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Survives a crash of the process; a power failure can lose the last seconds.
    #[default]
    Normal,
    /// Survives a power failure too, if the disk honours flushes.
    Full,
}

/// File, durability and retention of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Database file.
    pub path: PathBuf,
    /// Durability of a commit.
    pub sync: SyncMode,
    /// Number of messages to keep; none keeps all.
    pub keep_messages: Option<u64>,
    /// Age up to which events are kept; none keeps all.
    pub keep_for: Option<Duration>,
}

/// An open store and the state read from it.
#[derive(Debug)]
pub struct OpenStore {
    /// Log epoch of the file.
    pub(crate) epoch: String,
    pub(crate) restored: RestoredState,
    pub(crate) writer: StoreWriter,
    pub(crate) reports: Receiver<CommitReport>,
    pub(crate) reader: StoreReader,
}

/// Opens a store, or creates it with `new_epoch`, and restores at most `max_messages` messages.
///
/// # Errors
/// The file cannot be used.
pub(crate) fn open(
    options: &StoreOptions,
    new_epoch: &str,
    max_messages: usize,
) -> Result<OpenStore, StoreError> {
    let path = &options.path;
    let mut files = StoreFiles::lock(path)?;
    let mut connection = connect(path, options.sync)?;
    let restored = schema::migrate(&mut connection, new_epoch).and_then(|()| {
        let epoch = rows::epoch(&connection)?;
        Ok((epoch, rows::restore(&connection, max_messages)?))
    });
    let (epoch, restored) = restored.map_err(|error| StoreError::from_sqlite(path, &error))?;
    files.watch();
    let files = Arc::new(files);
    let reader = StoreReader::start(path, &files)?;
    let (writer, reports) = StoreWriter::start(connection, files, options.clone())?;
    Ok(OpenStore {
        epoch,
        restored,
        writer,
        reports,
        reader,
    })
}

/// Opens the connection of the writer and checks that the file is usable.
fn connect(path: &Path, sync: SyncMode) -> Result<Connection, StoreError> {
    let store_error = |error| StoreError::from_sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = connect_with(path, flags).map_err(store_error)?;
    if connection.is_readonly("main").map_err(store_error)? {
        return Err(StoreError::read_only(path));
    }
    // Any later statement could change a foreign file.
    schema::check(&connection, path)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(store_error)?;
    if mode != "wal" {
        return Err(StoreError::Unusable(format!(
            "{} is on a disk without support for a write-ahead log, such as a network drive; \
             choose a --db file on a local disk",
            path.display()
        )));
    }
    let log_bytes = STORE_LOG_BYTES.cast_signed();
    let synchronous = match sync {
        SyncMode::Normal => "normal",
        SyncMode::Full => "full",
    };
    connection
        .pragma_update(None, "synchronous", synchronous)
        .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
        .and_then(|()| connection.pragma_update(None, "secure_delete", true))
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", log_bytes))
        .map_err(store_error)?;
    Ok(connection)
}

fn connect_with(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}
