//! The number of cases of a property.

/// Returns `PROPTEST_CASES`, or `usual` without it.
pub(crate) fn cases(usual: u32) -> u32 {
    let Ok(cases) = std::env::var("PROPTEST_CASES") else {
        return usual;
    };
    cases
        .parse()
        .unwrap_or_else(|_| panic!("PROPTEST_CASES={cases:?}: give a number, such as 10000"))
}
