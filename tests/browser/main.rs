//! The page in a real browser.

mod page;
#[path = "../support/mod.rs"]
mod support;
