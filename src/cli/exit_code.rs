//! Exit codes of both programs.

/// Success; for the client also if the server closed the connection.
pub const DONE: u8 = 0;
/// Failure, such as an address that cannot be bound, connected to or resolved.
pub const COULD_NOT: u8 = 1;
/// Invalid arguments or configuration.
pub const WRONG_USE: u8 = 2;
/// A fault of the program itself.
pub const INTERNAL_FAILURE: u8 = 70;
/// End by Ctrl-C (client), or by a second signal during shutdown (server).
pub const INTERRUPTED: u8 = 130;
