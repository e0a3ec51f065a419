//! Names that users have chosen, by both comparison keys.

use crate::chat::room::roster::UserId;
use crate::chat::username::UsernameKey;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(super) struct TakenNames {
    folded_first: HashMap<Box<str>, UserId>,
    folded_last: HashMap<Box<str>, UserId>,
}

impl TakenNames {
    /// Returns the users whose name has one of the keys in common.
    pub(super) fn owners(&self, key: &UsernameKey) -> impl Iterator<Item = UserId> {
        let owners = [
            self.folded_first.get(&key.folded_first),
            self.folded_last.get(&key.folded_last),
        ];
        owners.into_iter().flatten().copied()
    }

    pub(super) fn insert(&mut self, key: UsernameKey, user: UserId) {
        self.folded_first.insert(key.folded_first, user);
        self.folded_last.insert(key.folded_last, user);
    }

    pub(super) fn remove(&mut self, key: &UsernameKey, user: UserId) {
        for (names, key) in [
            (&mut self.folded_first, &key.folded_first),
            (&mut self.folded_last, &key.folded_last),
        ] {
            if names.get(key) == Some(&user) {
                names.remove(key);
            }
        }
    }
}
