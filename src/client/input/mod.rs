//! Input of the user: lines, their meaning, and completion.

pub(crate) mod commands;
pub(crate) mod completion;
pub(crate) mod json;
pub(crate) mod known_names;
pub(crate) mod stdin;
