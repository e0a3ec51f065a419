//! What can go wrong with a store, as sentences.
//!
//! What lives here: [`StoreError`]. It must never show an SQL error alone: each sentence names the
//! file and says what to do.

use rusqlite::ffi::ErrorCode;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a store cannot be used. Its `Display` is one sentence with the path and a remedy.
#[derive(Debug)]
pub enum StoreError {
    /// A file cannot be opened or made.
    NoFile(PathBuf, io::Error),
    /// Another server uses it.
    InUse(PathBuf),
    /// It may only be read.
    ReadOnly(PathBuf),
    /// It is no database.
    NotADatabase(PathBuf),
    /// It is a database of another program.
    Foreign(PathBuf),
    /// A newer smolchat made it, with this version of the schema.
    Newer(PathBuf, i32),
    /// It is damaged.
    Corrupt(PathBuf, String),
    /// The disk is full.
    Full(PathBuf),
    /// Another program holds a lock on it.
    Locked(PathBuf),
    /// Its disk does not allow a write-ahead log.
    NoWal(PathBuf),
    /// The system gives no thread.
    NoThread(io::Error),
    /// A query was given up, since it took too long.
    TooLong,
    /// The store has ended.
    Ended,
    /// Something else.
    Failed(PathBuf, String),
}

impl StoreError {
    /// What an error of SQLite on this file is.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        let Some(code) = error.sqlite_error_code() else {
            return StoreError::Failed(path, error.to_string());
        };
        match code {
            ErrorCode::CannotOpen => {
                let reason = io::Error::other("the system does not let it be opened or made");
                StoreError::NoFile(path, reason)
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly(path),
            ErrorCode::NotADatabase => StoreError::NotADatabase(path),
            ErrorCode::DatabaseCorrupt => StoreError::Corrupt(path, error.to_string()),
            ErrorCode::DiskFull => StoreError::Full(path),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Locked(path),
            ErrorCode::OperationInterrupted => StoreError::TooLong,
            _ => StoreError::Failed(path, error.to_string()),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::NoFile(path, error) => write!(
                out,
                "Cannot open {}: {error}; choose a --db file in a folder that exists and that you \
                 may write to",
                path.display()
            ),
            StoreError::InUse(path) => write!(
                out,
                "Another smolchat-server uses {}; stop it, or choose another --db file",
                path.display()
            ),
            StoreError::ReadOnly(path) => write!(
                out,
                "{} may only be read; make it and its folder writable, or choose another --db file",
                path.display()
            ),
            StoreError::NotADatabase(path) => write!(
                out,
                "{} is no database; move it away, or choose another --db file",
                path.display()
            ),
            StoreError::Foreign(path) => write!(
                out,
                "{} is a database of another program; choose another --db file",
                path.display()
            ),
            StoreError::Newer(path, version) => write!(
                out,
                "{} was made by a newer smolchat (version {version} of the file, {} is known \
                 here); install that, or choose another --db file",
                path.display(),
                super::VERSION
            ),
            StoreError::Corrupt(path, error) => write!(
                out,
                "{} is damaged ({error}); restore a backup, or recover it with \
                 `sqlite3 FILE .recover`",
                path.display()
            ),
            StoreError::Full(path) => write!(
                out,
                "The disk of {} is full; make room on it",
                path.display()
            ),
            StoreError::Locked(path) => write!(
                out,
                "Another program holds a lock on {}; end it",
                path.display()
            ),
            StoreError::NoWal(path) => write!(
                out,
                "{} is on a disk that does not allow a write-ahead log, such as a network drive; \
                 choose a --db file on a local disk",
                path.display()
            ),
            StoreError::NoThread(error) => {
                write!(out, "Cannot start a thread: {error}; free some memory")
            }
            StoreError::TooLong => write!(out, "The query took too long and was given up"),
            StoreError::Ended => write!(out, "The store has ended"),
            StoreError::Failed(path, error) => write!(
                out,
                "{} cannot be used ({error}); look at its disk",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StoreError {}
