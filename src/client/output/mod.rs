//! client::output
pub mod formatter;
pub mod presence;
pub mod screen;
