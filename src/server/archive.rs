//! Where what was said before is found.
//!
//! What lives here: [`Archive`], which answers for pages of history, for searches and for the events
//! that a client missed: from the messages in memory, or from the store. Connections ask it, each
//! for itself. It must never ask the broker for more than what that holds ready, nor do longer
//! work on a thread that serves others.

use crate::chat::error::{RejectedRequest, RequestError};
use crate::chat::message::Message;
use crate::chat::request::{HistoryPage, SearchRequest};
use crate::limits::MAX_PAGE_BYTES;
use crate::server::broker::command::BrokerCommand;
use crate::server::fanout::outbox::StoredRange;
use crate::storage::sqlite::{Encoder, MessagePage, Reader, StoreError};
use async_channel::Sender;
use std::sync::Arc;

/// Where the past is.
#[derive(Clone, Debug)]
pub enum Archive {
    /// In memory: with the broker.
    Memory,
    /// In the store.
    Store(Reader),
}

impl Archive {
    /// Number of the oldest event in the store; none if there is no store, or none in it.
    pub async fn oldest_event(&self) -> Option<u64> {
        match self {
            Archive::Memory => None,
            Archive::Store(reader) => reader.oldest_event().await.unwrap_or_else(note_failure),
        }
    }

    /// A page of history, oldest first, and whether there are older messages.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn page(
        &self,
        broker: &Sender<BrokerCommand>,
        page: HistoryPage,
    ) -> Result<MessagePage, RejectedRequest> {
        let found = match self {
            Archive::Memory => page_of(&messages_of(broker).await, page, |_| true),
            Archive::Store(reader) => reader.page(page).await.map_err(unreadable("history"))?,
        };
        let (mut messages, more) = found;
        messages.reverse();
        Ok((messages, more))
    }

    /// The messages after the event with this number, oldest first, and whether there are
    /// newer ones.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn after(
        &self,
        broker: &Sender<BrokerCommand>,
        after: u64,
        limit: usize,
    ) -> Result<MessagePage, RejectedRequest> {
        match self {
            Archive::Memory => Ok(first_after(&messages_of(broker).await, after, limit)),
            Archive::Store(reader) => reader
                .after(after, limit)
                .await
                .map_err(unreadable("history")),
        }
    }

    /// What was found, newest first, and whether there is more.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn search(
        &self,
        broker: &Sender<BrokerCommand>,
        search: SearchRequest,
    ) -> Result<MessagePage, RejectedRequest> {
        Ok(match self {
            Archive::Memory => {
                let messages = messages_of(broker).await;
                // Megabytes of text may have to be looked through.
                smol::unblock(move || {
                    page_of(&messages, search.page, |each| each.matches(&search.query))
                })
                .await
            }
            Archive::Store(reader) => reader.search(search).await.map_err(unreadable("search"))?,
        })
    }

    /// The next of these events, each as `encode` writes it, and the number up to which they go;
    /// none if they cannot be had.
    pub async fn events(&self, stored: StoredRange, encode: Encoder) -> Option<(Arc<[u8]>, u64)> {
        match self {
            Archive::Memory => None,
            Archive::Store(reader) => reader
                .events(stored.after, stored.until, encode)
                .await
                .map_or_else(note_failure, Some),
        }
    }
}

fn note_failure<T>(error: StoreError) -> Option<T> {
    tracing::warn!(%error, "the store cannot be read");
    None
}

fn unreadable(kind: &'static str) -> impl Fn(StoreError) -> RejectedRequest {
    move |error| {
        let refusal = match error {
            StoreError::TooLong => RequestError::SearchTooLong,
            _ => RequestError::NotReadable,
        };
        note_failure::<()>(error);
        RejectedRequest {
            refusal,
            kind: Some(kind.into()),
        }
    }
}

/// The messages that the room keeps, oldest first; none when the server ends.
pub async fn messages_of(broker: &Sender<BrokerCommand>) -> Vec<Arc<Message>> {
    let (sender, receiver) = async_channel::bounded(1);
    if broker.send(BrokerCommand::Messages(sender)).await.is_err() {
        return Vec::new();
    }
    receiver.recv().await.unwrap_or_default()
}

/// The newest of these messages that belong to the page, newest first, and whether older ones
/// would too.
fn page_of(
    messages: &[Arc<Message>],
    page: HistoryPage,
    belongs: impl Fn(&Message) -> bool,
) -> MessagePage {
    let is_before = |message: &&Arc<Message>| page.before.is_none_or(|before| message.id < before);
    let mut matching = messages
        .iter()
        .rev()
        .filter(is_before)
        .filter(|message| belongs(message));
    let mut found = Vec::new();
    let mut bytes = 0;
    for message in matching.by_ref() {
        bytes += message.text.len();
        if found.len() >= page.limit || (bytes > MAX_PAGE_BYTES && !found.is_empty()) {
            return (found, true);
        }
        found.push(message.clone());
    }
    (found, false)
}

/// The oldest of these messages after this number, oldest first, and whether there are newer ones.
fn first_after(messages: &[Arc<Message>], after: u64, limit: usize) -> MessagePage {
    let first = messages.partition_point(|message| message.id <= after);
    let mut bytes = 0;
    let mut found = Vec::new();
    for message in &messages[first..] {
        bytes += message.text.len();
        if found.len() >= limit || (bytes > MAX_PAGE_BYTES && !found.is_empty()) {
            return (found, true);
        }
        found.push(message.clone());
    }
    (found, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::username::Username;
    use jiff::Timestamp;

    #[test]
    fn a_page_is_the_newest_before_a_number_and_tells_whether_there_is_more() {
        let message = |id| {
            let name = Username::from_stored("alice");
            Arc::new(Message::new(id, Timestamp::UNIX_EPOCH, name, "x".into()))
        };
        let messages: Vec<_> = [2, 3, 5, 8].map(message).into();
        for (before, limit, expected, more) in [
            (None, 2, &[8, 5][..], true),
            (None, 4, &[8, 5, 3, 2], false),
            (Some(8), 2, &[5, 3], true),
            (Some(5), 2, &[3, 2], false),
            (Some(2), 2, &[], false),
            (Some(4), 9, &[3, 2], false),
        ] {
            let (found, has_more) = page_of(&messages, HistoryPage { before, limit }, |_| true);
            let ids: Vec<u64> = found.iter().map(|message| message.id).collect();
            assert_eq!((ids.as_slice(), has_more), (expected, more), "{before:?}");
        }
        let large = "x".repeat(MAX_PAGE_BYTES);
        let name = Username::from_stored("alice");
        let large = Arc::new(Message::new(9, Timestamp::UNIX_EPOCH, name, large.into()));
        let messages = [messages[0].clone(), large];
        let page = HistoryPage {
            before: None,
            limit: 5,
        };
        assert_eq!(page_of(&messages, page, |_| true).0.len(), 1);
        assert_eq!(page_of(&messages, page, |each| each.id == 2).0.len(), 1);
    }
}
