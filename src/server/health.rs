//! Whether the store takes events.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The health of the store, written by the broker and read by the web page.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failure: Mutex<Option<String>>,
}

impl Health {
    pub(crate) fn is_failing(&self) -> bool {
        self.lock().is_some()
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().clone()
    }

    /// Sets why the store fails; `None` if it works.
    pub(crate) fn set_failing(&self, sentence: Option<String>) {
        *self.lock() = sentence;
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // Each change is one assignment, so a panic elsewhere does no harm.
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
