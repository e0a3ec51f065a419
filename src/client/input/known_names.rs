//! Names that can be completed, those first who spoke last.
//!
//! What lives here: [`NameBook`]. The view writes in it, the line editor reads it. It must never
//! grow without bound.

use crate::client::limits::KNOWN_NAMES;
use std::sync::{Arc, Mutex, MutexGuard};

/// Names of those who are here, shared between threads.
#[derive(Clone, Debug, Default)]
pub struct NameBook {
    names: Arc<Mutex<Vec<String>>>,
}

impl NameBook {
    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        // A list of names is whole whoever panicked over it.
        self.names
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }

    /// This user spoke.
    pub fn spoke(&self, name: &str) {
        let mut names = self.names();
        match names.iter().position(|known| known == name) {
            Some(at) => names[..=at].rotate_right(1),
            None => {
                names.insert(0, name.to_owned());
                names.truncate(KNOWN_NAMES);
            }
        }
    }

    /// This user is here.
    pub fn entered(&self, name: &str) {
        let mut names = self.names();
        if names.len() < KNOWN_NAMES && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    /// This user is not here any more.
    pub fn left(&self, name: &str) {
        self.names().retain(|known| known != name);
    }

    /// The first is called the second from now on.
    pub fn renamed(&self, old: &str, new: &str) {
        let mut names = self.names();
        names.retain(|known| known != new);
        match names.iter().position(|known| known == old) {
            Some(at) => names[at] = new.to_owned(),
            None if names.len() < KNOWN_NAMES => names.push(new.to_owned()),
            None => {}
        }
    }

    /// Names that begin with this, in any case; who spoke last comes first.
    pub fn beginning_with(&self, beginning: &str) -> Vec<String> {
        let beginning = beginning.to_lowercase();
        let names = self.names();
        let matching = names
            .iter()
            .filter(|name| name.to_lowercase().starts_with(&beginning));
        matching.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spoke_last_comes_first() {
        let names = NameBook::default();
        for name in ["Al", "alma", "Bo"] {
            names.entered(name);
        }
        assert_eq!(names.beginning_with("AL"), ["Al", "alma"]);
        names.spoke("alma");
        names.spoke("Bo");
        assert_eq!(names.beginning_with("al"), ["alma", "Al"]);
        assert_eq!(names.beginning_with(""), ["Bo", "alma", "Al"]);
    }

    #[test]
    fn who_left_is_forgotten_and_who_is_renamed_is_not() {
        let names = NameBook::default();
        names.entered("al");
        names.entered("bo");
        names.left("al");
        names.renamed("bo", "cy");
        names.renamed("unknown", "di");
        assert_eq!(names.beginning_with(""), ["cy", "di"]);
        names.renamed("cy", "di");
        assert_eq!(names.beginning_with(""), ["di"]);
    }

    #[test]
    fn the_book_is_bounded() {
        let names = NameBook::default();
        for number in 0..KNOWN_NAMES * 2 {
            names.entered(&format!("e{number}"));
            names.spoke(&format!("s{number}"));
            names.renamed("nobody", &format!("r{number}"));
        }
        assert_eq!(names.beginning_with("").len(), KNOWN_NAMES);
        assert_eq!(
            names.beginning_with("")[0],
            format!("s{}", KNOWN_NAMES * 2 - 1)
        );
    }
}
