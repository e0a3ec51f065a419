//! What the client shows: formatting of updates, and the screens that take the result.

pub(crate) mod formatter;
pub(crate) mod item;
pub(crate) mod presence;
pub(crate) mod printer;
pub(crate) mod screen;
