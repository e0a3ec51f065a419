//! server::logging
pub mod lossy_writer;
pub mod stderr;
pub mod transcript;
