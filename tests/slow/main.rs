//! What takes minutes: floods, dead peers, long runs.

mod dead_peers;
mod hostile;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod torture;
mod transports;
