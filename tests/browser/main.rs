//! The page in a real browser.

mod accessibility;
mod geometry;
mod kept;
mod page;
mod recognition;
#[path = "../support/mod.rs"]
mod support;
mod talk;
