//! Storage of events, and pages of messages from the store or from memory.
//!
//! The broker writes through `StoreWriter`; connections read through `Archive`.

pub(crate) mod limits;
mod memory;
pub(crate) mod sqlite;
mod turns;

pub use sqlite::{StoreError, StoreOptions, SyncMode};

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::message::Message;
use crate::chat::request::{HistoryPage, SearchRequest};
use crate::limits::MAX_PAGE_BYTES;
use crate::storage::limits::{
    MAX_QUERIES_UNDER_WAY, MAX_WAITING_QUERIES_OF_ADDRESS, QUERY_TURN_TIMEOUT,
};
use crate::storage::sqlite::reader::{self, EncodedEvents, EventEncoder, StoreReader};
use crate::storage::sqlite::rows;
use crate::storage::turns::{QueryTurn, QueryTurns};
use futures_lite::FutureExt;
use smol::Timer;
use std::fmt;
use std::net::IpAddr;
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
    queries: Arc<QueryTurns>,
    /// Turns of clients that read missed events, a short read at a time.
    replays: Arc<QueryTurns>,
}

impl Archive {
    pub(crate) fn new(memory: Arc<dyn RecentMessages>, store: Option<StoreReader>) -> Self {
        Archive {
            memory,
            store,
            queries: QueryTurns::new(MAX_QUERIES_UNDER_WAY, MAX_WAITING_QUERIES_OF_ADDRESS),
            // A connection has one.
            replays: QueryTurns::new(1, usize::MAX),
        }
    }

    /// Returns the messages in memory, oldest first.
    pub(crate) async fn recent_messages(&self) -> Vec<Arc<Message>> {
        self.memory.recent_messages().await
    }

    /// Returns the id of the oldest event in the store, if there is one.
    pub(crate) async fn oldest_event(&self) -> Option<u64> {
        let oldest = self.store.as_ref()?.run((), rows::oldest_event).await;
        oldest.unwrap_or_else(log_failure)
    }

    /// Waits for the turn of a query from this address.
    async fn turn(&self, address: IpAddr, kind: &str) -> Result<QueryTurn, RejectedRequest> {
        let too_late = async {
            Timer::after(QUERY_TURN_TIMEOUT).await;
            None
        };
        let turn = self.queries.wait(address).or(too_late).await;
        turn.ok_or_else(|| RejectedRequest {
            error: RequestError::TooManyQueries,
            kind: Some(kind.into()),
        })
    }

    /// Returns a page of history for this address, oldest message first.
    ///
    /// # Errors
    /// The store cannot be read, or the turn does not come in time.
    pub(crate) async fn page(
        &self,
        address: IpAddr,
        page: HistoryPage,
    ) -> Result<MessagePage, RejectedRequest> {
        let mut found = match &self.store {
            None => memory::page(&self.recent_messages().await, page, |_| true),
            Some(store) => {
                let turn = self.turn(address, "history").await?;
                let found = store.run(turn, move |connection| reader::find_page(connection, page));
                found.await.map_err(reject("history"))?
            }
        };
        found.messages.reverse();
        Ok(found)
    }

    /// Returns the messages after the event with the id `after`, oldest first.
    ///
    /// # Errors
    /// The store cannot be read, or the turn does not come in time.
    pub(crate) async fn after(
        &self,
        address: IpAddr,
        after: u64,
        limit: usize,
    ) -> Result<MessagePage, RejectedRequest> {
        let Some(store) = &self.store else {
            return Ok(memory::after(&self.recent_messages().await, after, limit));
        };
        let turn = self.turn(address, "history").await?;
        let found = store.run(turn, move |connection| {
            reader::find_after(connection, after, limit)
        });
        found.await.map_err(reject("history"))
    }

    /// Returns the messages that match, newest first.
    ///
    /// # Errors
    /// The store cannot be read, the turn does not come in time, or the search takes too long.
    pub(crate) async fn search(
        &self,
        address: IpAddr,
        search: SearchRequest,
    ) -> Result<MessagePage, RejectedRequest> {
        let turn = self.turn(address, "search").await?;
        if let Some(store) = &self.store {
            let find = move |connection: &_| reader::find_matches(connection, &search);
            return store.run(turn, find).await.map_err(reject("search"));
        }
        let messages = self.recent_messages().await;
        // Up to 16 MiB of text would hold up the executor's thread.
        let find = move || {
            let _turn = turn;
            memory::page(&messages, search.page, |each| each.matches(&search.query))
        };
        Ok(smol::unblock(find).await)
    }

    /// Returns the first events after `after` and up to `until`, encoded; none if the store does
    /// not have all of them.
    pub(crate) async fn events(
        &self,
        address: IpAddr,
        after: u64,
        until: u64,
        encode: EventEncoder,
    ) -> Option<EncodedEvents> {
        let store = self.store.as_ref()?;
        let turn = self.replays.wait(address).await;
        let events = store.run(turn, move |connection| {
            reader::encode_events(connection, after, until, &encode)
        });
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
