//! storage
pub(crate) mod limits;
pub mod sqlite;
