//! The room at one moment, for readers.

use crate::chat::message::Message;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) epoch: Arc<str>,
    pub(crate) last: u64,
    /// Present users in order of arrival.
    pub(crate) users: Vec<PresentUser>,
    /// Newest messages, oldest first.
    pub(crate) messages: Vec<Arc<Message>>,
    /// Number of the newest message before `messages`; 0 if there is none.
    pub(crate) older: u64,
    /// A warning for all users, such as a store that fails.
    pub(crate) notice: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct PresentUser {
    pub(crate) name: Username,
    pub(crate) since: Timestamp,
}
