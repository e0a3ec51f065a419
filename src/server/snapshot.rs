//! How the room is at one moment, for the page.
//!
//! What lives here: [`Snapshot`], shared by all who look at the same moment. The broker makes
//! it, the page reads it. It must never change.

use crate::history::Message;
use crate::name::Name;
use jiff::Timestamp;
use std::sync::Arc;

/// Who is here and what was said, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Changes when the server's past was lost.
    pub epoch: Arc<str>,
    /// Number of the newest event.
    pub last: u64,
    /// Users in order of arrival.
    pub users: Vec<PresentUser>,
    /// Kept messages, oldest first.
    pub messages: Vec<Arc<Message>>,
}

/// A user who is here.
#[derive(Clone, Debug)]
pub struct PresentUser {
    /// The name.
    pub name: Name,
    /// Since when.
    pub since: Timestamp,
}
