//! Storage of events, and pages of messages from the store or from memory.
//!
//! The broker writes through `StoreWriter`; connections read through `Archive`.

pub(crate) mod limits;
mod memory;
pub(crate) mod sqlite;

pub use sqlite::{StoreError, StoreOptions, SyncMode};

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::message::Message;
use crate::chat::request::{HistoryPage, SearchRequest};
use crate::limits::MAX_PAGE_BYTES;
use crate::storage::sqlite::reader::{self, EncodedEvents, EventEncoder, StoreReader};
use crate::storage::sqlite::rows;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// Some of the messages that a request selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct MessagePage {
    /// The messages, in the order of the request.
    pub(crate) messages: Vec<Arc<Message>>,
    /// Whether further messages follow in that order.
    pub(crate) has_more: bool,
}

impl MessagePage {
    /// Takes messages up to `limit` and [`MAX_PAGE_BYTES`] of text, but at least one.
    fn collect<E>(
        messages: impl IntoIterator<Item = Result<Arc<Message>, E>>,
        limit: usize,
    ) -> Result<Self, E> {
        let mut page = MessagePage::default();
        let mut bytes = 0;
        for message in messages {
            let message = message?;
            bytes += message.text.len();
            let is_large = bytes > MAX_PAGE_BYTES && !page.messages.is_empty();
            if page.messages.len() >= limit || is_large {
                page.has_more = true;
                break;
            }
            page.messages.push(message);
        }
        Ok(page)
    }
}

/// Source of the messages in memory.
pub(crate) trait RecentMessages: fmt::Debug + Send + Sync {
    /// Returns the messages, oldest first.
    fn recent_messages(&self) -> Pin<Box<dyn Future<Output = Vec<Arc<Message>>> + Send + '_>>;
}

/// Past messages and events: from the store or, without one, from memory.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    memory: Arc<dyn RecentMessages>,
    store: Option<StoreReader>,
}

impl Archive {
    pub(crate) fn new(memory: Arc<dyn RecentMessages>, store: Option<StoreReader>) -> Self {
        Archive { memory, store }
    }

    /// Returns the messages in memory, oldest first.
    pub(crate) async fn recent_messages(&self) -> Vec<Arc<Message>> {
        self.memory.recent_messages().await
    }

    /// Returns the id of the oldest event in the store, if there is one.
    pub(crate) async fn oldest_event(&self) -> Option<u64> {
        let oldest = self.store.as_ref()?.run(rows::oldest_event).await;
        oldest.unwrap_or_else(log_failure)
    }

    /// Returns a page of history, oldest message first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn page(&self, page: HistoryPage) -> Result<MessagePage, RejectedRequest> {
        let mut found = match &self.store {
            None => memory::page(&self.recent_messages().await, page, |_| true),
            Some(store) => {
                let found = store.run(move |connection| reader::find_page(connection, page));
                found.await.map_err(reject("history"))?
            }
        };
        found.messages.reverse();
        Ok(found)
    }

    /// Returns the messages after the event with the id `after`, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn after(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<MessagePage, RejectedRequest> {
        let Some(store) = &self.store else {
            return Ok(memory::after(&self.recent_messages().await, after, limit));
        };
        let found = store.run(move |connection| reader::find_after(connection, after, limit));
        found.await.map_err(reject("history"))
    }

    /// Returns the messages that match, newest first.
    ///
    /// # Errors
    /// The store cannot be read, or the search takes too long.
    pub(crate) async fn search(
        &self,
        search: SearchRequest,
    ) -> Result<MessagePage, RejectedRequest> {
        if let Some(store) = &self.store {
            let found = store.run(move |connection| reader::find_matches(connection, &search));
            return found.await.map_err(reject("search"));
        }
        let messages = self.recent_messages().await;
        // Up to 16 MiB of text would hold up the executor's thread.
        let find = move || memory::page(&messages, search.page, |each| each.matches(&search.query));
        Ok(smol::unblock(find).await)
    }

    /// Returns the first events after `after` and up to `until`, encoded; none if the store does
    /// not have all of them.
    pub(crate) async fn events(
        &self,
        after: u64,
        until: u64,
        encode: EventEncoder,
    ) -> Option<EncodedEvents> {
        let store = self.store.as_ref()?;
        let events =
            store.run(move |connection| reader::encode_events(connection, after, until, &encode));
        events.await.unwrap_or_else(log_failure)
    }
}

fn log_failure<T>(error: StoreError) -> Option<T> {
    tracing::warn!(%error, "cannot read the store");
    None
}

fn reject(kind: &'static str) -> impl Fn(StoreError) -> RejectedRequest {
    move |error| {
        let reason = match error {
            StoreError::QueryTimeout => RequestError::SearchTooLong,
            _ => RequestError::NotReadable,
        };
        log_failure::<()>(error);
        RejectedRequest {
            error: reason,
            kind: Some(kind.into()),
        }
    }
}
