//! How the room is at one moment, for the page.
//!
//! What lives here: [`Snapshot`], shared by all who look at the same moment, and [`CachedDocument`],
//! a text made of it, of which there may be only so many bytes. The broker makes snapshots, the
//! page documents of them. Neither must ever change.

use crate::chat::message::Message;
use crate::chat::username::Username;
use crate::server::fanout::outbox::Document;
use jiff::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Who is here and what was said, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Changes when the server's past was lost.
    pub epoch: Arc<str>,
    /// Number of the newest event.
    pub last: u64,
    /// Users in order of arrival.
    pub users: Vec<PresentUser>,
    /// The newest kept messages, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// What everyone should know now, such as that nothing can be stored.
    pub notice: Option<String>,
    /// The page of this moment, made when somebody asks for it and shared by all who do; so are
    /// the next four.
    pub page: OnceLock<Arc<CachedDocument>>,
    /// Who is here, as JSON.
    pub users_document: OnceLock<Arc<CachedDocument>>,
    /// What was said, as JSON.
    pub messages_document: OnceLock<Arc<CachedDocument>>,
    /// The first frame of a live stream.
    pub frame: OnceLock<Arc<CachedDocument>>,
    /// The same for one who has what was said.
    pub present_frame: OnceLock<Arc<CachedDocument>>,
    /// Number of the newest message that is older than these; 0 if there never was one.
    pub older: u64,
}

impl Snapshot {
    /// A moment of which nothing was made yet.
    pub fn new(
        epoch: Arc<str>,
        last: u64,
        users: Vec<PresentUser>,
        messages: Vec<Arc<Message>>,
    ) -> Self {
        Snapshot {
            epoch,
            last,
            users,
            messages,
            notice: None,
            page: OnceLock::new(),
            users_document: OnceLock::new(),
            messages_document: OnceLock::new(),
            frame: OnceLock::new(),
            present_frame: OnceLock::new(),
            older: 0,
        }
    }
}

impl Snapshot {
    /// The same with something that everyone should know.
    #[must_use]
    pub fn with_notice(mut self, notice: Option<String>) -> Self {
        self.notice = notice;
        self
    }
}

/// A text of the page, which counts in its budget as long as somebody holds it.
#[derive(Debug)]
pub struct CachedDocument {
    text: String,
    budget: Arc<Budget>,
}

impl CachedDocument {
    /// The text.
    pub fn text(&self) -> &str {
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
        self.budget
            .used_bytes
            .fetch_sub(self.text.len(), Ordering::AcqRel);
    }
}

/// How many bytes all documents together may have. Those of one moment are one; but each moment
/// may have its own, and a slow reader keeps it for as long as it reads.
#[derive(Debug)]
pub struct Budget {
    most_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(most_bytes: usize) -> Arc<Self> {
        Arc::new(Budget {
            most_bytes,
            used_bytes: AtomicUsize::new(0),
        })
    }

    /// The document in this place, made if there is none; none if there is no room for it now.
    /// A document that is alone always has room.
    pub fn document(
        self: &Arc<Self>,
        place: &OnceLock<Arc<CachedDocument>>,
        make: impl FnOnce() -> String,
    ) -> Option<Arc<CachedDocument>> {
        if let Some(document) = place.get() {
            return Some(document.clone());
        }
        let text = make();
        let used = self.used_bytes.fetch_add(text.len(), Ordering::AcqRel);
        // From here on it is counted, and taken off again when it is dropped.
        let document = Arc::new(CachedDocument {
            text,
            budget: self.clone(),
        });
        if used > 0 && used + document.text.len() > self.most_bytes {
            return None;
        }
        Some(place.get_or_init(|| document).clone())
    }
}

/// A user who is here.
#[derive(Clone, Debug)]
pub struct PresentUser {
    /// The name.
    pub name: Username,
    /// Since when.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_share_a_place_and_have_a_bound_together() {
        let budget = Budget::new(10);
        let places: [OnceLock<Arc<CachedDocument>>; 3] = Default::default();
        let first = budget.document(&places[0], || "sixsix".to_owned()).unwrap();
        let again = budget
            .document(&places[0], || unreachable!("it is there"))
            .unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(budget.document(&places[1], || "five!".to_owned()).is_none());
        let second = budget.document(&places[1], || "four".to_owned()).unwrap();
        assert!(budget.document(&places[2], || "1".to_owned()).is_none());
        drop((first, again, places, second));
        let large = OnceLock::new();
        let alone = budget.document(&large, || "more than ten bytes".to_owned());
        assert_eq!(alone.unwrap().text(), "more than ten bytes");
    }
}
