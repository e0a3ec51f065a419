//! Documents made from snapshots, shared by all clients that read them.

use crate::chat::room::snapshot::Snapshot;
use crate::server::fanout::outbox::Document;
use crate::server::http::problem::Problem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// A document that does not exist until a client asks for it.
pub(crate) type LazyDocument = OnceLock<Arc<CachedDocument>>;

/// Documents of one snapshot.
#[derive(Debug, Default)]
pub(crate) struct SnapshotDocuments {
    /// The page.
    pub(crate) page: LazyDocument,
    /// The users as JSON.
    pub(crate) users: LazyDocument,
    /// The messages as JSON.
    pub(crate) messages: LazyDocument,
    /// First event of a new live stream.
    pub(crate) snapshot_event: LazyDocument,
    /// First event of a resumed live stream, which has the messages already.
    pub(crate) presence_event: LazyDocument,
}

/// A document, counted by its cache until the last client has read it.
#[derive(Debug)]
pub(crate) struct CachedDocument {
    text: String,
    used_bytes: Arc<AtomicUsize>,
}

impl CachedDocument {
    /// Returns the text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl Document for CachedDocument {
    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for CachedDocument {
    fn drop(&mut self) {
        self.used_bytes.fetch_sub(self.text.len(), Ordering::AcqRel);
    }
}

/// Holds the documents of the newest snapshot. Slow readers keep older documents alive, so the
/// bytes of all documents together are limited.
#[derive(Debug)]
pub(crate) struct DocumentCache {
    max_bytes: usize,
    used_bytes: Arc<AtomicUsize>,
    newest: Mutex<(Weak<Snapshot>, Arc<SnapshotDocuments>)>,
}

impl DocumentCache {
    /// Creates a cache for documents of at most `max_bytes` together.
    pub(crate) fn new(max_bytes: usize) -> Self {
        DocumentCache {
            max_bytes,
            used_bytes: Arc::default(),
            newest: Mutex::default(),
        }
    }

    /// Returns the documents of this snapshot, and forgets those of another one.
    pub(crate) fn of(&self, snapshot: &Arc<Snapshot>) -> Arc<SnapshotDocuments> {
        // The pair is replaced in one step, so a panic elsewhere cannot leave it inconsistent.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(newest.0.as_ptr(), Arc::as_ptr(snapshot)) {
            *newest = (Arc::downgrade(snapshot), Arc::default());
        }
        newest.1.clone()
    }

    /// Returns the document in this place, and makes it if there is none.
    ///
    /// # Errors
    /// The limit allows no further document. A single document always fits.
    pub(crate) fn document(
        &self,
        place: &LazyDocument,
        make: impl FnOnce() -> String,
    ) -> Result<Arc<CachedDocument>, Problem> {
        if let Some(document) = place.get() {
            return Ok(document.clone());
        }
        let text = make();
        let used = self.used_bytes.fetch_add(text.len(), Ordering::AcqRel);
        // Dropping the document takes its bytes off again.
        let document = Arc::new(CachedDocument {
            text,
            used_bytes: self.used_bytes.clone(),
        });
        if used > 0 && used + document.text.len() > self.max_bytes {
            return Err(Problem::overloaded());
        }
        Ok(place.get_or_init(|| document).clone())
    }

    /// Makes a document for one client.
    ///
    /// # Errors
    /// Those of [`DocumentCache::document`].
    pub(crate) fn single(
        &self,
        make: impl FnOnce() -> String,
    ) -> Result<Arc<CachedDocument>, Problem> {
        self.document(&LazyDocument::new(), make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_shared_and_limited_in_total_bytes() {
        let cache = DocumentCache::new(10);
        let places: [LazyDocument; 3] = Default::default();
        let first = cache.document(&places[0], || "sixsix".to_owned()).unwrap();
        let again = cache.document(&places[0], || unreachable!("the document exists"));
        assert!(Arc::ptr_eq(&first, &again.unwrap()));
        assert!(cache.document(&places[1], || "five!".to_owned()).is_err());
        let second = cache.document(&places[1], || "four".to_owned()).unwrap();
        assert!(cache.document(&places[2], || "1".to_owned()).is_err());
        drop((first, places, second));
        let single = cache.single(|| "more than ten bytes".to_owned());
        assert_eq!(single.unwrap().text(), "more than ten bytes");
    }
}
