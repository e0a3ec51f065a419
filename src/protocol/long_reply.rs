//! Replies of any length, encoded in chunks as the socket takes them.

use crate::chat::SERVER_SOURCE;
use crate::chat::message::Message;
use crate::chat::username::Username;
use crate::protocol::{Dialect, basic, extended};
use jiff::Timestamp;
use std::sync::Arc;

/// A long reply and how much of it is encoded.
///
/// A slow reader costs one chunk of memory, whatever the length of the reply.
#[derive(Debug)]
pub(crate) enum LongReply {
    /// One line for each message, from the index on.
    History(Vec<Arc<Message>>, usize),
    /// One line with all users: 0 before the line is opened, then one more than the users encoded.
    Users(Arc<[(Username, Timestamp)]>, usize),
}

impl LongReply {
    /// Encodes the next chunk of about `max_bytes` bytes; `None` after the last one.
    pub(crate) fn next_chunk(&mut self, dialect: Dialect, max_bytes: usize) -> Option<Arc<[u8]>> {
        match self {
            LongReply::History(messages, next) => {
                let mut chunk = Vec::new();
                while let Some(message) = messages.get(*next)
                    && chunk.len() < max_bytes
                {
                    basic::encode_chat_message(&mut chunk, message);
                    *next += 1;
                }
                (!chunk.is_empty()).then(|| chunk.into())
            }
            // The web page gets the users in documents.
            LongReply::Users(..) if dialect == Dialect::Browser => None,
            LongReply::Users(users, next) => users_chunk(users, next, dialect, max_bytes),
        }
    }
}

fn users_chunk(
    users: &[(Username, Timestamp)],
    next: &mut usize,
    dialect: Dialect,
    max_bytes: usize,
) -> Option<Arc<[u8]>> {
    if *next > users.len() {
        return None;
    }
    let is_extended = dialect == Dialect::Extended;
    let mut chunk = Vec::with_capacity(max_bytes.min(64 + 64 * users.len()));
    if *next == 0 {
        if is_extended {
            extended::open_users(&mut chunk);
        } else {
            let opening = format!("Connected users ({}): ", users.len());
            basic::open_message(&mut chunk, SERVER_SOURCE);
            basic::continue_text(&mut chunk, &opening);
        }
        *next = 1;
    }
    while let Some((name, since)) = users.get(*next - 1) {
        if chunk.len() >= max_bytes {
            return Some(chunk.into());
        }
        let is_first = *next == 1;
        if is_extended {
            extended::continue_users(&mut chunk, is_first, name.as_str(), *since);
        } else {
            if !is_first {
                basic::continue_text(&mut chunk, ", ");
            }
            basic::continue_text(&mut chunk, name.as_str());
        }
        *next += 1;
    }
    if is_extended {
        extended::close_users(&mut chunk);
    } else {
        basic::close_message(&mut chunk);
    }
    *next = users.len() + 2;
    Some(chunk.into())
}
