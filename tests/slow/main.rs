//! What takes minutes: floods, dead peers, long runs.

mod dead_peers;
mod memory;
mod slow_readers;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod torture;
