//! Summaries of arrivals, departures and renamings in one line.

use crate::client::limits::{GROUPED_CHANGES, GROUPED_NAMES};
use crate::protocol::basic::{entered, left, renamed};
use std::borrow::Borrow;
use std::fmt::Display;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PresenceChange {
    Entered(String),
    Left(String),
    /// Old and new name.
    Renamed(String, String),
}

impl PresenceChange {
    /// Parses a sentence of a server that speaks the basic dialect.
    pub(crate) fn from_sentence(sentence: &str) -> Option<Self> {
        if let Some(name) = sentence.strip_suffix(" has entered the chat") {
            return Some(PresenceChange::Entered(name.to_owned()));
        }
        if let Some(name) = sentence.strip_suffix(" has left the chat") {
            return Some(PresenceChange::Left(name.to_owned()));
        }
        // A name may contain these words, which makes the sentence ambiguous.
        let mut parts = sentence.split(" renamed to ");
        match (parts.next(), parts.next(), parts.next()) {
            (Some(old), Some(new), None) => {
                Some(PresenceChange::Renamed(old.to_owned(), new.to_owned()))
            }
            _ => None,
        }
    }

    pub(crate) fn sentence(&self) -> String {
        match self {
            PresenceChange::Entered(name) => entered(name),
            PresenceChange::Left(name) => left(name),
            PresenceChange::Renamed(old, new) => renamed(old, new),
        }
    }
}

/// Summaries of a user who was here before the changes, or is here after them.
const NET_CHANGES: [((bool, bool), &str); 4] = [
    ((false, true), "entered"),
    ((true, false), "left"),
    ((false, false), "looked in"),
    ((true, true), "came back"),
];

#[derive(Debug)]
struct GroupedUser {
    /// Latest name.
    name: String,
    was_here: bool,
    is_here: bool,
}

/// One or more changes that share a line.
#[derive(Debug)]
pub(crate) struct PresenceGroup {
    first: PresenceChange,
    count: usize,
    users: Vec<GroupedUser>,
    renamings: Vec<(String, String)>,
}

impl PresenceGroup {
    pub(crate) fn new(change: PresenceChange) -> Self {
        let mut group = PresenceGroup {
            first: change.clone(),
            count: 0,
            users: Vec::new(),
            renamings: Vec::new(),
        };
        group.add(change);
        group
    }

    /// Returns whether the group takes another change, at most [`GROUPED_CHANGES`].
    pub(crate) fn has_room(&self) -> bool {
        self.count < GROUPED_CHANGES
    }

    pub(crate) fn add(&mut self, change: PresenceChange) {
        self.count += 1;
        match change {
            PresenceChange::Entered(name) => self.add_presence(name, true),
            PresenceChange::Left(name) => self.add_presence(name, false),
            PresenceChange::Renamed(old, new) => self.rename(old, new),
        }
    }

    fn add_presence(&mut self, name: String, is_here: bool) {
        match self.users.iter_mut().find(|user| user.name == name) {
            Some(user) => user.is_here = is_here,
            None => self.users.push(GroupedUser {
                name,
                was_here: !is_here,
                is_here,
            }),
        }
    }

    /// A user who has just entered appears under the new name only.
    fn rename(&mut self, old: String, new: String) {
        let mut users = self.users.iter_mut();
        if let Some(user) = users.find(|user| user.name == old && user.is_here) {
            user.name = new;
            return;
        }
        let mut renamings = self.renamings.iter_mut();
        match renamings.find(|(_, latest)| *latest == old) {
            Some((_, latest)) => *latest = new,
            None => self.renamings.push((old, new)),
        }
        self.renamings.retain(|(first, latest)| first != latest);
    }

    /// Returns the sentence of a single change, or a summary of several.
    pub(crate) fn sentence(&self) -> String {
        if self.count == 1 {
            return self.first.sentence();
        }
        let mut parts = Vec::new();
        for (net, verb) in NET_CHANGES {
            let users = self.users.iter();
            let users = users.filter(|user| (user.was_here, user.is_here) == net);
            let names: Vec<&str> = users.map(|user| user.name.as_str()).collect();
            parts.extend(join_names(&names).map(|names| format!("{names} {verb}")));
        }
        let renamings = self.renamings.iter();
        let renamings: Vec<String> = renamings
            .map(|(old, new)| format!("{old} is now {new}"))
            .collect();
        parts.extend(join_names(&renamings));
        match parts.is_empty() {
            // Renamed, and renamed back.
            true => "nobody came or left".to_owned(),
            false => parts.join("; "),
        }
    }
}

/// Returns `a, b and c`, or `a, b and 7 more` if there are too many.
fn join_names<Name: Borrow<str> + Display>(names: &[Name]) -> Option<String> {
    let (shown, more) = names.split_at(names.len().min(GROUPED_NAMES));
    match (shown, more.len()) {
        ([], _) => None,
        ([only], 0) => Some(only.to_string()),
        ([most @ .., last], 0) => Some(format!("{} and {last}", most.join(", "))),
        (_, more) => Some(format!("{} and {more} more", shown.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `+al` (entered), `-al` (left) and `al>bo` (renamed).
    fn change(word: &str) -> PresenceChange {
        match (word.strip_prefix('+'), word.strip_prefix('-')) {
            (Some(name), _) => PresenceChange::Entered(name.into()),
            (_, Some(name)) => PresenceChange::Left(name.into()),
            _ => {
                let (old, new) = word.split_once('>').unwrap();
                PresenceChange::Renamed(old.into(), new.into())
            }
        }
    }

    fn summary(words: &str) -> String {
        let mut changes = words.split(' ').map(change);
        let mut group = PresenceGroup::new(changes.next().unwrap());
        changes.for_each(|change| group.add(change));
        group.sentence()
    }

    #[test]
    fn changes_are_summarised() {
        for (words, expected) in [
            ("+al", "al has entered the chat"),
            ("-al", "al has left the chat"),
            ("al>bo", "al renamed to bo"),
            ("+al +bo", "al and bo entered"),
            ("+al -bo +cy", "al and cy entered; bo left"),
            ("+al -al", "al looked in"),
            ("-al +al", "al came back"),
            ("-al +al -al", "al left"),
            ("+al -al +al", "al entered"),
            ("al>bo bo>cy +di", "di entered; al is now cy"),
            ("+al al>bo", "bo entered"),
            ("al>bo bo>al", "nobody came or left"),
        ] {
            assert_eq!(summary(words), expected, "{words}");
        }
    }

    #[test]
    fn group_is_bounded() {
        let words: Vec<String> = (0..30).map(|number| format!("+u{number}")).collect();
        let expected = "u0, u1, u2, u3, u4, u5, u6, u7 and 22 more entered";
        assert_eq!(summary(&words.join(" ")), expected);
        let mut group = PresenceGroup::new(change("+al"));
        for _ in 1..GROUPED_CHANGES {
            assert!(group.has_room());
            group.add(change("+al"));
        }
        assert!(!group.has_room());
    }

    #[test]
    fn sentences_of_basic_server_are_parsed() {
        for word in ["+al bo", "-al", "al>bo cy"] {
            let change = change(word);
            let parsed = PresenceChange::from_sentence(&change.sentence());
            assert_eq!(parsed, Some(change));
        }
        for other in ["No messages yet", "a renamed to b renamed to c"] {
            assert_eq!(PresenceChange::from_sentence(other), None);
        }
    }
}
