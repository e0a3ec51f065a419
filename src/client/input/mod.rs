//! client::input
pub mod commands;
pub mod completion;
pub mod json;
pub mod known_names;
pub mod stdin;
