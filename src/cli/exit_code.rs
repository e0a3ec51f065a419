//! The exit statuses of both programs, as their `--help` lists them.
//!
//! What lives here: numbers. The two programs use them. Nothing else may end the process.

/// Done; for the client also when the server closed the connection.
pub const DONE: u8 = 0;
/// Could not be done: an address cannot be bound, connected to or resolved.
pub const COULD_NOT: u8 = 1;
/// Used wrongly: an unknown option, a bad port, a value out of range.
pub const WRONG_USE: u8 = 2;
/// An internal failure: a fault of the program itself.
pub const INTERNAL_FAILURE: u8 = 70;
/// Interrupted by Ctrl-C (the client), or by a second signal while stopping (the server).
pub const INTERRUPTED: u8 = 130;
