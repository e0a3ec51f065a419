//! How many cases a property is tried with.
//!
//! What lives here: one number, for the property tests, which include this file by its path. It
//! must never need anything of the harness beside it: those tests open no socket.

/// Cases under continuous integration.
const CASES_OF_CI: u32 = 10_000;

/// What `PROPTEST_CASES` says; else many where `CI` is set, and `usual` on somebody's desk.
pub(crate) fn cases(usual: u32) -> u32 {
    let chosen = std::env::var("PROPTEST_CASES").ok();
    if let Some(cases) = chosen {
        return cases
            .parse()
            .unwrap_or_else(|_| panic!("PROPTEST_CASES={cases:?}: give a number, such as 10000"));
    }
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    if is_ci { usual.max(CASES_OF_CI) } else { usual }
}
