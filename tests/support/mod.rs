//! Harness of the integration tests: servers, clients, programs, and their transcripts.
//!
//! Every wait ends at a [`Deadline`], which traffic does not renew. A test that fails prints what
//! its clients sent and received, and what the server logged.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses its own part of the harness"
)]

pub mod backlog;
pub mod browser;
pub mod captured;
pub mod deadline;
pub mod extended;
pub mod http;
pub mod line_client;
pub mod link;
pub mod one_log;
pub mod program;
pub mod random;
pub mod scripted;
pub mod server;
#[cfg(target_os = "linux")]
pub mod terminal;
pub mod transcript;

pub use captured::Captured;
pub use deadline::{Deadline, PATIENCE, eventually};
pub use line_client::{LineClient, Said, decode, request};
pub use program::{
    Finished, Program, client_command, client_of, limit_file_sizes, run_to_end, send_signal,
};
pub use server::{Chat, RealServer, Site, UNPACED, unpaced, unpaced_with, wait_for_users};
pub use transcript::Transcript;

use std::io::Write;

/// Reports that a test cannot run here.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // libtest shows printed text of failed tests only; this line has to be seen. A closed
    // standard error loses it.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {test}: {reason}");
}
