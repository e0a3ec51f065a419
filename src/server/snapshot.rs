//! How the room is at one moment, for the page.
//!
//! What lives here: [`Snapshot`], shared by all who look at the same moment. The broker makes
//! it, the page reads it. It must never change.

use crate::history::Message;
use crate::name::Name;
use jiff::Timestamp;
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
    /// The page of this moment, made when somebody asks for it and shared by all who do; so are
    /// the next three.
    pub page: OnceLock<Arc<str>>,
    /// Who is here, as JSON.
    pub users_document: OnceLock<Arc<str>>,
    /// What was said, as JSON.
    pub messages_document: OnceLock<Arc<str>>,
    /// The first frame of a live stream.
    pub frame: OnceLock<Arc<str>>,
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
            page: OnceLock::new(),
            users_document: OnceLock::new(),
            messages_document: OnceLock::new(),
            frame: OnceLock::new(),
        }
    }
}

/// A user who is here.
#[derive(Clone, Debug)]
pub struct PresentUser {
    /// The name.
    pub name: Name,
    /// Since when.
    pub since: Timestamp,
}
