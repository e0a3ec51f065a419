//! Pages of messages in memory.

use crate::chat::message::Message;
use crate::chat::request::HistoryPage;
use crate::storage::MessagePage;
use std::convert::Infallible;
use std::sync::Arc;

/// Returns the newest of `messages` before the page's id that satisfy `matches`, newest first.
pub(super) fn page(
    messages: &[Arc<Message>],
    page: HistoryPage,
    matches: impl Fn(&Message) -> bool,
) -> MessagePage {
    let is_before = |message: &Message| page.before.is_none_or(|before| message.id < before);
    let newest_first = messages.iter().rev();
    let selected = newest_first.filter(|message| is_before(message) && matches(message));
    collect(selected, page.limit)
}

/// Returns the oldest of `messages` after the id `after`, oldest first.
pub(super) fn after(messages: &[Arc<Message>], after: u64, limit: usize) -> MessagePage {
    let first = messages.partition_point(|message| message.id <= after);
    collect(&messages[first..], limit)
}

fn collect<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>, limit: usize) -> MessagePage {
    let messages = messages.into_iter().cloned().map(Ok::<_, Infallible>);
    let Ok(page) = MessagePage::collect(messages, limit);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::username::Username;
    use crate::limits::MAX_PAGE_BYTES;
    use jiff::Timestamp;

    fn message(id: u64, text: &str) -> Arc<Message> {
        let name = Username::from_stored("alice");
        Arc::new(Message::new(id, Timestamp::UNIX_EPOCH, name, text.into()))
    }

    fn ids(page: &MessagePage) -> Vec<u64> {
        page.messages.iter().map(|message| message.id).collect()
    }

    #[test]
    fn page_has_the_newest_messages_before_an_id() {
        let messages = [2, 3, 5, 8].map(|id| message(id, "x"));
        for (before, limit, expected, has_more) in [
            (None, 2, &[8, 5][..], true),
            (None, 4, &[8, 5, 3, 2], false),
            (Some(8), 2, &[5, 3], true),
            (Some(5), 2, &[3, 2], false),
            (Some(2), 2, &[], false),
            (Some(4), 9, &[3, 2], false),
        ] {
            let found = page(&messages, HistoryPage { before, limit }, |_| true);
            assert_eq!((&ids(&found)[..], found.has_more), (expected, has_more));
        }
        let found = after(&messages, 2, 2);
        assert_eq!((ids(&found), found.has_more), (vec![3, 5], true));
    }

    #[test]
    fn page_is_bounded_in_bytes_but_has_one_message() {
        let messages = [message(2, "x"), message(9, &"x".repeat(MAX_PAGE_BYTES))];
        let newest = HistoryPage {
            before: None,
            limit: 5,
        };
        assert_eq!(ids(&page(&messages, newest, |_| true)), [9]);
        assert_eq!(ids(&page(&messages, newest, |each| each.id == 2)), [2]);
    }
}
