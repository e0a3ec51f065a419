//! Whether the server can do what it is there for.
//!
//! What lives here: [`Health`]. The broker says how it is; the page and `/healthz` tell. It must
//! never be waited for.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether what is said can be kept.
#[derive(Debug, Default)]
pub struct Health {
    failing: Mutex<Option<String>>,
}

impl Health {
    /// Whether the store fails.
    pub fn is_failing(&self) -> bool {
        self.lock().is_some()
    }

    /// The sentence that says why the store fails; none if it does not.
    pub fn failure(&self) -> Option<String> {
        self.lock().clone()
    }

    /// The store fails as this sentence says, or does not.
    pub fn set_failing(&self, sentence: Option<String>) {
        *self.lock() = sentence;
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // The value is replaced in one step, so a panic elsewhere leaves it whole.
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
