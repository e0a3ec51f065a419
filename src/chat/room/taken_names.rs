//! Which names are taken.
//!
//! What lives here: `TakenNames`, the chosen names by both of their keys. The room alone uses it.
//! It must never hold an address: no one else may choose what reads as one.

use crate::chat::room::user::UserId;
use crate::chat::username::UsernameKey;
use std::collections::HashMap;

/// The chosen names by both of their keys.
#[derive(Debug, Default)]
pub(super) struct TakenNames {
    folded_first: HashMap<Box<str>, UserId>,
    folded_last: HashMap<Box<str>, UserId>,
}

impl TakenNames {
    pub(super) fn is_taken_by_another(&self, keys: &UsernameKey, user: Option<UserId>) -> bool {
        self.owners(keys).any(|owner| Some(owner) != user)
    }

    /// The user who has this name, or one that counts as the same.
    pub(super) fn owner(&self, keys: &UsernameKey) -> Option<UserId> {
        self.owners(keys).next()
    }

    fn owners(&self, keys: &UsernameKey) -> impl Iterator<Item = UserId> {
        let owners = [
            self.folded_first.get(&keys.folded_first),
            self.folded_last.get(&keys.folded_last),
        ];
        owners.into_iter().flatten().copied()
    }

    pub(super) fn take(&mut self, keys: UsernameKey, user: UserId) {
        self.folded_first.insert(keys.folded_first, user);
        self.folded_last.insert(keys.folded_last, user);
    }

    pub(super) fn free(&mut self, keys: &UsernameKey, user: UserId) {
        for (names, key) in [
            (&mut self.folded_first, &keys.folded_first),
            (&mut self.folded_last, &keys.folded_last),
        ] {
            if names.get(key) == Some(&user) {
                names.remove(key);
            }
        }
    }
}
