//! Names of users for completion, the latest speaker first.

use crate::client::limits::KNOWN_NAMES;
use std::sync::{Arc, Mutex, MutexGuard};

/// Bounded list of names, shared between threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownNames(Arc<Mutex<Vec<String>>>);

impl KnownNames {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        // No operation leaves the list in an invalid state, not even by a panic.
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Moves a name to the front, adding it if necessary.
    pub(crate) fn spoke(&self, name: &str) {
        let mut names = self.lock();
        match names.iter().position(|known| known == name) {
            Some(at) => names[..=at].rotate_right(1),
            None => {
                names.insert(0, name.to_owned());
                names.truncate(KNOWN_NAMES);
            }
        }
    }

    pub(crate) fn entered(&self, name: &str) {
        let mut names = self.lock();
        if names.len() < KNOWN_NAMES && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    pub(crate) fn left(&self, name: &str) {
        self.lock().retain(|known| known != name);
    }

    pub(crate) fn renamed(&self, old: &str, new: &str) {
        let mut names = self.lock();
        names.retain(|known| known != new);
        match names.iter().position(|known| known == old) {
            Some(at) => names[at] = new.to_owned(),
            None if names.len() < KNOWN_NAMES => names.push(new.to_owned()),
            None => {}
        }
    }

    /// Returns the names with this prefix, in any case.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Vec<String> {
        let prefix = prefix.to_lowercase();
        let mut names = self.lock().clone();
        names.retain(|name| name.to_lowercase().starts_with(&prefix));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_speaker_comes_first() {
        let names = KnownNames::default();
        for name in ["Al", "alma", "Bo"] {
            names.entered(name);
        }
        assert_eq!(names.with_prefix("AL"), ["Al", "alma"]);
        names.spoke("alma");
        names.spoke("Bo");
        assert_eq!(names.with_prefix(""), ["Bo", "alma", "Al"]);
    }

    #[test]
    fn departures_and_renamings_are_applied() {
        let names = KnownNames::default();
        names.entered("al");
        names.entered("bo");
        names.left("al");
        names.renamed("bo", "cy");
        names.renamed("unknown", "di");
        assert_eq!(names.with_prefix(""), ["cy", "di"]);
        names.renamed("cy", "di");
        assert_eq!(names.with_prefix(""), ["di"]);
    }

    #[test]
    fn list_is_bounded() {
        let names = KnownNames::default();
        for number in 0..KNOWN_NAMES * 2 {
            names.entered(&format!("e{number}"));
            names.spoke(&format!("s{number}"));
            names.renamed("nobody", &format!("r{number}"));
        }
        let known = names.with_prefix("");
        assert_eq!(known.len(), KNOWN_NAMES);
        assert_eq!(known[0], format!("s{}", KNOWN_NAMES * 2 - 1));
    }
}
