//! The room at one moment, for readers.

use crate::chat::message::Message;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::sync::Arc;

/// The users and newest messages at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Log epoch.
    pub epoch: Arc<str>,
    /// Number of the newest event.
    pub last: u64,
    /// Present users in order of arrival.
    pub users: Vec<PresentUser>,
    /// Newest messages, oldest first.
    pub messages: Vec<Arc<Message>>,
    /// Number of the newest message before `messages`; 0 if there is none.
    pub older: u64,
    /// A warning for all users, such as a store that fails.
    pub notice: Option<String>,
}

/// A present user.
#[derive(Clone, Debug)]
pub struct PresentUser {
    /// The name.
    pub name: Username,
    /// Time of arrival.
    pub since: Timestamp,
}
