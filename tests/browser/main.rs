//! The page in a real browser.

mod accessibility;
mod geometry;
mod kept;
mod page;
#[path = "../support/mod.rs"]
mod support;
