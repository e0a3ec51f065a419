//! Documents made from snapshots, shared by all clients that read them.

use crate::chat::room::snapshot::Snapshot;
use crate::server::fanout::outbox::Document;
use crate::server::http::assets::gzip;
use crate::server::http::problem::Problem;
use flate2::Compression;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// A kind of document that readers of one snapshot share.
#[derive(Clone, Copy, Debug)]
pub(super) enum DocumentKind {
    Page,
    Users,
    Messages,
    /// First event of a new live stream.
    SnapshotEvent,
    /// First event of a resumed live stream, which has the messages already.
    PresenceEvent,
}

const KINDS: usize = DocumentKind::PresenceEvent as usize + 1;

/// A document that does not exist until a client asks for it.
type LazyDocument = OnceLock<Arc<CachedDocument>>;

type SnapshotDocuments = Arc<[LazyDocument; KINDS]>;

/// A document, counted by its cache until the last client has read it.
#[derive(Debug)]
pub(super) struct CachedDocument {
    bytes: Vec<u8>,
    /// The bytes compressed with gzip, made for the first client that takes them.
    compressed: OnceLock<Vec<u8>>,
    used_bytes: Arc<AtomicUsize>,
}

impl Document for CachedDocument {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl CachedDocument {
    /// Returns the bytes compressed with gzip. The first call takes milliseconds.
    pub(super) fn compressed(&self) -> &[u8] {
        self.compressed.get_or_init(|| {
            let compressed = gzip(&self.bytes, Compression::fast());
            self.used_bytes
                .fetch_add(compressed.len(), Ordering::AcqRel);
            compressed
        })
    }
}

impl Drop for CachedDocument {
    fn drop(&mut self) {
        let compressed = self.compressed.get().map_or(0, Vec::len);
        self.used_bytes
            .fetch_sub(self.bytes.len() + compressed, Ordering::AcqRel);
    }
}

/// Holds the documents of each snapshot that is in use. Slow readers keep older documents alive,
/// so the bytes of all documents together are limited.
#[derive(Debug)]
pub(super) struct DocumentCache {
    max_bytes: usize,
    used_bytes: Arc<AtomicUsize>,
    /// Only the broker and requests hold snapshots, so the limit of connections bounds their number.
    snapshots: Mutex<Vec<(Weak<Snapshot>, SnapshotDocuments)>>,
}

impl DocumentCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        DocumentCache {
            max_bytes,
            used_bytes: Arc::default(),
            snapshots: Mutex::default(),
        }
    }

    /// Returns the document of this kind, and makes it if the readers of this snapshot have none.
    pub(super) fn shared(
        &self,
        snapshot: &Arc<Snapshot>,
        kind: DocumentKind,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Result<Arc<CachedDocument>, Problem> {
        let documents = self.documents_of(snapshot);
        let place = &documents[kind as usize];
        match place.get() {
            Some(document) => Ok(document.clone()),
            None => {
                let document = self.single(make())?;
                Ok(place.get_or_init(|| document).clone())
            }
        }
    }

    /// Counts a document for one client, unless the limit is reached. One document always fits.
    pub(super) fn single(&self, bytes: Vec<u8>) -> Result<Arc<CachedDocument>, Problem> {
        let length = bytes.len();
        let used = self.used_bytes.fetch_add(length, Ordering::AcqRel);
        // Dropping the document takes its bytes off again.
        let document = CachedDocument {
            bytes,
            compressed: OnceLock::new(),
            used_bytes: self.used_bytes.clone(),
        };
        if used > 0 && used + length > self.max_bytes {
            let detail = "The server is overloaded; try again later";
            return Err(Problem::unavailable("overloaded", detail));
        }
        Ok(Arc::new(document))
    }

    fn documents_of(&self, snapshot: &Arc<Snapshot>) -> SnapshotDocuments {
        // Nothing panics while the lock is held.
        let mut snapshots = self
            .snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        snapshots.retain(|(known, _)| known.strong_count() > 0);
        let mut known = snapshots.iter();
        if let Some((_, documents)) =
            known.find(|(known, _)| known.as_ptr() == Arc::as_ptr(snapshot))
        {
            return documents.clone();
        }
        let documents = SnapshotDocuments::default();
        snapshots.push((Arc::downgrade(snapshot), documents.clone()));
        documents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Arc<Snapshot> {
        Arc::new(Snapshot {
            epoch: "e".into(),
            last: 0,
            users: Vec::new(),
            messages: Vec::new(),
            older: 0,
            notice: None,
        })
    }

    #[test]
    fn readers_of_a_snapshot_share_documents_whatever_other_requests_read() {
        let cache = DocumentCache::new(10);
        let shared = |snapshot: &Arc<Snapshot>, text: &str| {
            let kind = DocumentKind::Users;
            cache.shared(snapshot, kind, || text.into()).unwrap()
        };
        let (older, newer) = (snapshot(), snapshot());
        let (first, second) = (shared(&older, "one"), shared(&newer, "two"));
        assert!(Arc::ptr_eq(&first, &shared(&older, "again")));
        assert!(Arc::ptr_eq(&second, &shared(&newer, "again")));
        drop((older, first));
        shared(&newer, "again");
        let used = || cache.used_bytes.load(Ordering::Acquire);
        assert_eq!(used(), "two".len());
        let compressed = second.compressed().len();
        assert_eq!(used(), "two".len() + compressed);
        drop((newer, second));
        cache.documents_of(&snapshot());
        assert_eq!(used(), 0);
    }

    #[test]
    fn bytes_of_all_documents_together_are_limited() {
        let cache = DocumentCache::new(10);
        let first = cache.single(vec![0; 6]).unwrap();
        assert!(cache.single(vec![0; 5]).is_err());
        let second = cache.single(vec![0; 4]).unwrap();
        assert!(cache.single(vec![0]).is_err());
        drop((first, second));
        assert!(cache.single(vec![0; 11]).is_ok());
    }
}
