//! Storage errors as sentences with the path and a remedy.

use rusqlite::ffi::ErrorCode;
use std::fmt;
use std::path::Path;

/// Reason why the store cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A query exceeded its time limit.
    QueryTimeout,
    /// Any other reason, as a sentence with a remedy.
    Unusable(String),
}

impl StoreError {
    /// Converts an error of SQLite on the file `path`.
    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
        let name = path.display();
        StoreError::Unusable(match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => return StoreError::QueryTimeout,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                return StoreError::read_only(path);
            }
            Some(ErrorCode::CannotOpen) => {
                return StoreError::no_file(path, &"the system does not open or create it");
            }
            Some(ErrorCode::NotADatabase) => {
                format!("{name} is not a database; move it away, or choose another --db file")
            }
            Some(ErrorCode::DatabaseCorrupt) => format!(
                "{name} is damaged ({error}); restore a backup, or recover it with \
                 `sqlite3 FILE .recover`"
            ),
            Some(ErrorCode::DiskFull) => {
                format!("The disk of {name} is full; make room on it")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                format!("Another program has locked {name}; stop that program")
            }
            Some(ErrorCode::SystemIoFailure) => format!(
                "Cannot read or write {name} ({error}); check its disk, and the limit of file \
                 sizes (`ulimit -f`)"
            ),
            _ => format!("Cannot use {name} ({error}); check its disk"),
        })
    }

    /// Returns the error of a file that cannot be opened or created.
    pub(super) fn no_file(path: &Path, error: &dyn fmt::Display) -> StoreError {
        StoreError::Unusable(format!(
            "Cannot open {}: {error}; choose a --db file in a writable folder that exists",
            path.display()
        ))
    }

    pub(super) fn read_only(path: &Path) -> StoreError {
        StoreError::Unusable(format!(
            "{} is read-only; make it and its folder writable, or choose another --db file",
            path.display()
        ))
    }

    pub(super) fn replaced(path: &Path) -> StoreError {
        StoreError::Unusable(format!(
            "A file of {} was removed or replaced while the server runs; put it back, or restart \
             the server",
            path.display()
        ))
    }

    pub(super) fn no_thread(error: &std::io::Error) -> StoreError {
        StoreError::Unusable(format!("Cannot start a thread: {error}; free some memory"))
    }

    pub(super) fn ended() -> StoreError {
        StoreError::Unusable("The store has ended".to_owned())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            StoreError::QueryTimeout => "The query exceeded its time limit",
            StoreError::Unusable(sentence) => sentence,
        })
    }
}

impl std::error::Error for StoreError {}
