//! storage
pub mod sqlite;
