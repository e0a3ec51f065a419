//! What both programs share on the command line and the terminal.

pub mod args;
pub mod exit_code;
pub mod generate;
pub mod signals;
pub(crate) mod socket;
pub mod style;
