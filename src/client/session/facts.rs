//! What a line tells about users, in either dialect.

use crate::chat::SERVER_SOURCE;
use crate::protocol::server_line::{Said, ServerLine};

pub(super) fn line_id(line: &ServerLine) -> Option<u64> {
    match line {
        ServerLine::Message(message) => message.id,
        ServerLine::Joined(presence) | ServerLine::Left(presence) => Some(presence.id),
        ServerLine::Renamed(renamed) => Some(renamed.id),
        _ => None,
    }
}

/// Returns the sentence of a server message in the basic dialect.
pub(super) fn basic_sentence(line: &ServerLine) -> Option<&str> {
    match line {
        ServerLine::Message(Said {
            id: None,
            source,
            message,
            ..
        }) if source == SERVER_SOURCE => Some(message),
        _ => None,
    }
}

pub(super) fn entered_name(line: &ServerLine) -> Option<&str> {
    basic_sentence(line)?.strip_suffix(" has entered the chat")
}

/// Returns the old and the new name if the line announces a renaming, in either dialect.
pub(super) fn renaming(line: &ServerLine) -> Option<(&str, &str)> {
    match line {
        ServerLine::Renamed(renamed) => Some((&renamed.name, &renamed.new_name)),
        _ => basic_sentence(line)?.split_once(" renamed to "),
    }
}
