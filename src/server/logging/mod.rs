//! Standard output and standard error: the transcript of the chat and the log.

pub(crate) mod lossy_writer;
pub mod stderr;
pub mod transcript;
