//! The store: the chat on disk, in SQLite.
//!
//! What lives here: [`open`], which gives what was kept with a [`Writer`] and a [`Reader`]; each
//! works on threads of its own. The server opens a store at its start; its ledger writes, its
//! connections read. It must never be waited for by the broker, and never tell an SQL error
//! without a sentence that says what to do.
//!
//! In reading order: this file (opening), `schema` (what a file looks like, and its versions),
//! `rows` (from records to rows and back), `writer` (group commit and retention), `reader`
//! (pages, searches, what was missed), `error`.

pub mod error;
pub mod reader;
pub mod rows;
pub mod schema;
pub mod writer;

#[cfg(test)]
mod tests;

pub use crate::storage::sqlite::error::StoreError;
pub use crate::storage::sqlite::reader::{Encoder, Lines, MessagePage, Reader};
pub use crate::storage::sqlite::schema::VERSION;
pub use crate::storage::sqlite::writer::{Commit, CommitReport, Writer};

use crate::chat::record::RestoredState;
use async_channel::Receiver;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How sure a commit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// It outlives the process, however that ends; a power cut can take the last seconds.
    #[default]
    Normal,
    /// It outlives a power cut too, as far as the disk keeps its word.
    Full,
}

/// How a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The file.
    pub path: PathBuf,
    /// How sure a commit is.
    pub sync: Sync,
    /// Messages that are kept; none means all.
    pub keep_messages: Option<u64>,
    /// Time for which events are kept; none means for ever.
    pub keep_for: Option<Duration>,
}

/// A store that is open.
#[derive(Debug)]
pub struct Opened {
    /// In which the numbers of events count; it is the file's.
    pub epoch: String,
    /// What was kept.
    pub kept: RestoredState,
    /// Writes.
    pub writer: Writer,
    /// What the writer reports.
    pub reports: Receiver<CommitReport>,
    /// Reads.
    pub reader: Reader,
}

/// Opens a store, or makes one where there is none. `new_epoch` is that of a new one; so many
/// messages are given back at most.
///
/// # Errors
/// The file cannot be used; the sentence says why and what to do.
pub fn open(
    options: &StoreOptions,
    new_epoch: &str,
    max_messages: usize,
) -> Result<Opened, StoreError> {
    let path = &options.path;
    let lock = lock(path)?;
    let mut connection = connect(path, options.sync)?;
    let told = |error| StoreError::of(path, error);
    schema::prepare(&mut connection, path, new_epoch)?;
    let epoch = rows::epoch(&connection).map_err(told)?;
    let kept = rows::kept(&connection, max_messages).map_err(told)?;
    let reader = Reader::start(path)?;
    let (writer, reports) = Writer::start(connection, lock, options.clone())?;
    Ok(Opened {
        epoch,
        kept,
        writer,
        reports,
        reader,
    })
}

/// Makes sure that no other server uses the file. The lock is one of a file beside it, since
/// closing a second handle of the database itself would take SQLite's own locks away.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-lock");
    let beside = PathBuf::from(beside);
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .clone();
    let file = options
        .open(&beside)
        .map_err(|error| StoreError::NoFile(beside.clone(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::NoFile(beside, error)),
    }
}

/// A connection that writes.
fn connect(path: &Path, sync: Sync) -> Result<Connection, StoreError> {
    let told = |error| StoreError::of(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(told)?;
    if connection.is_readonly("main").map_err(told)? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    connection.busy_timeout(BUSY_TIMEOUT).map_err(told)?;
    // Before anything else looks at the file, so that a foreign one is left as it is.
    schema::check(&connection, path)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(told)?;
    if mode != "wal" {
        return Err(StoreError::NoWal(path.to_owned()));
    }
    let synchronous = match sync {
        Sync::Normal => "normal",
        Sync::Full => "full",
    };
    connection
        .pragma_update(None, "synchronous", synchronous)
        .map_err(told)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(told)?;
    Ok(connection)
}

/// A connection that only reads.
fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let told = |error| StoreError::of(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(told)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(told)?;
    Ok(connection)
}

/// Time that a statement waits for another program that uses the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
