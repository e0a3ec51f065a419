//! The messages that are kept: a ring bounded in messages and in bytes.
//!
//! What lives here: [`Message`], one thing that was said, with its encoded line, and
//! [`History`], the newest of them. The room owns it; replies and the page share its messages.
//! It must never hold more than its bounds, and never copy a message for a reader.

use crate::chat::query::Query;
use crate::chat::username::Username;
use crate::protocol::basic;
use jiff::Timestamp;
use std::borrow::Cow;

/// One thing that was said.
#[derive(Debug)]
pub struct Message {
    /// Number of the public event, growing by one with each.
    pub id: u64,
    /// When it was said.
    pub time: Timestamp,
    /// The name its author had then.
    pub source: Username,
    /// What was said; newlines are newlines here.
    pub text: Box<str>,
    /// Whether it was done, not said.
    pub action: bool,
    /// The line of the basic dialect, its newline included: encoded once, shared by everyone.
    pub basic_line: Box<[u8]>,
}

impl Message {
    /// A message with its encoded line.
    pub fn new(id: u64, time: Timestamp, source: Username, text: Box<str>) -> Self {
        let mut line = Vec::with_capacity(LINE_FRAME_BYTES + source.as_str().len() + text.len());
        basic::encode_message(&mut line, source.as_str(), &text);
        Message {
            id,
            time,
            source,
            text,
            action: false,
            basic_line: line.into_boxed_slice(),
        }
    }

    /// The same as something done, if it is: a basic client sees a star before it.
    #[must_use]
    pub fn as_action(mut self, action: bool) -> Self {
        if action && !self.action {
            let mut line = Vec::with_capacity(self.basic_line.len() + 2);
            self.action = true;
            basic::encode_message(&mut line, self.source.as_str(), &self.spoken());
            self.basic_line = line.into_boxed_slice();
        }
        self
    }

    /// Whether it is what is looked for.
    pub fn is_found_by(&self, query: &Query) -> bool {
        query.matches(self.source.as_str(), self.time, &self.text)
    }

    /// The text as those see it who know no actions: something done has a star before it.
    pub fn spoken(&self) -> Cow<'_, str> {
        match self.action {
            true => format!("* {}", self.text).into(),
            false => (&*self.text).into(),
        }
    }

    /// Bytes that this message counts for in the history's bound.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.basic_line.len()
    }
}

/// Bytes of a basic line beside its two texts, where nothing is escaped.
const LINE_FRAME_BYTES: usize = 56;
