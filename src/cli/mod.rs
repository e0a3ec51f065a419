//! cli
pub mod args;
pub mod exit_code;
pub mod generate;
pub mod signals;
pub mod socket;
pub mod style;
