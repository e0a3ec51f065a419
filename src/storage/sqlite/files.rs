//! The files of the store: private from the start, locked, and watched while they are open.
//!
//! SQLite opens its files by path once. A server that goes on with a removed or replaced file
//! acknowledges messages that no later start finds.

use crate::storage::sqlite::StoreError;
use rusqlite::Connection;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Locked files of a store, and what stood at their paths when it was opened.
#[derive(Debug)]
pub(super) struct StoreFiles {
    path: PathBuf,
    /// Paths of the lock, of the database as given and without links, and of its log and index.
    paths: [PathBuf; 5],
    /// Device and inode of each path.
    ids: Vec<Option<(u64, u64)>>,
    /// Handles that hold the locks. Closing the handle of the database releases SQLite's own POSIX
    /// locks, so every thread with a connection shares this value.
    locked: Vec<File>,
}

impl StoreFiles {
    /// Creates missing files and takes the locks that keep other servers out.
    pub(super) fn lock(path: &Path) -> Result<Self, StoreError> {
        let database = open_private(path)?;
        let real = fs::canonicalize(path).map_err(|error| StoreError::no_file(path, &error))?;
        let [lock, log, index] = ["-lock", "-wal", "-shm"].map(|end| {
            let mut name = real.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        });
        let mut locked = vec![open_private(&lock)?];
        // Finds a server that opened the file by another hard link. Other systems do not separate
        // this lock from those of SQLite.
        if cfg!(target_os = "linux") {
            locked.push(database);
        }
        for file in &locked {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Unusable(format!(
                        "Another smolchat-server uses {}; stop it, or choose another --db file",
                        path.display()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(StoreError::no_file(path, &error)),
            }
        }
        Ok(StoreFiles {
            path: path.to_owned(),
            paths: [lock, path.to_owned(), real, log, index],
            ids: Vec::new(),
            locked,
        })
    }

    /// Remembers the files that SQLite has open now, and warns if other users can read them.
    pub(super) fn watch(&mut self) {
        self.ids = self.paths.iter().map(|path| id(path)).collect();
        for path in &self.paths[2..] {
            let mode = fs::metadata(path).map_or(0, |file| file.mode() & 0o777);
            if mode & 0o077 != 0 {
                tracing::warn!(
                    path = %path.display(),
                    mode = format!("{mode:o}"),
                    "other users of this machine may read this file; chmod 600 makes it private"
                );
            }
        }
    }

    /// Returns whether every file is still at its path.
    pub(super) fn are_in_place(&self) -> bool {
        let now = self.paths.iter().map(|path| id(path));
        now.eq(self.ids.iter().copied())
    }

    /// Returns the size of the log file in bytes.
    pub(super) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.paths[3]).map_or(0, |file| file.len())
    }

    /// Closes a connection, which may remove the log file by its path.
    pub(super) fn close(&self, connection: Connection) -> Result<(), StoreError> {
        if !self.are_in_place() {
            // The log file at the path belongs to another database, or to nobody.
            std::mem::forget(connection);
            return Err(StoreError::replaced(&self.path));
        }
        let closed = connection.close();
        closed.map_err(|(_, error)| StoreError::from_sqlite(&self.path, &error))
    }

    /// Lets another server use the store.
    pub(super) fn unlock(&self) {
        for file in &self.locked {
            // The end of the process unlocks it in any case.
            let _ = file.unlock();
        }
    }
}

/// Opens a file, or creates it for this user alone.
fn open_private(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).mode(0o600);
    options.open(path).map_err(
        |error| match fs::metadata(path).is_ok_and(|file| file.is_file()) {
            true => StoreError::read_only(path),
            false => StoreError::no_file(path, &error),
        },
    )
}

fn id(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}
