//! A public chat message.

use crate::chat::query::Query;
use crate::chat::username::Username;
use jiff::Timestamp;
use std::borrow::Cow;

/// A public chat message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Number of its public event.
    pub id: u64,
    /// Time at which the server accepted the message.
    pub time: Timestamp,
    /// Name of the author at that time.
    pub source: Username,
    /// Text, in which a newline stays a newline.
    pub text: Box<str>,
    /// Whether the author describes an action, as with `/me`.
    pub action: bool,
}

impl Message {
    /// Makes a message that is not an action.
    pub fn new(id: u64, time: Timestamp, source: Username, text: Box<str>) -> Self {
        Message {
            id,
            time,
            source,
            text,
            action: false,
        }
    }

    /// Returns whether the message satisfies `query`.
    pub fn matches(&self, query: &Query) -> bool {
        query.matches(self.source.as_str(), self.time, &self.text)
    }

    /// Returns the text for readers without actions: an action gets the prefix `* `.
    pub fn plain_text(&self) -> Cow<'_, str> {
        match self.action {
            true => format!("* {}", self.text).into(),
            false => (&*self.text).into(),
        }
    }

    /// Returns the memory of the message in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.source.as_str().len() + self.text.len()
    }
}
