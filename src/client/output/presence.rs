//! Comings and goings, told in one line.
//!
//! What lives here: [`Change`], one of them, and [`PresenceGroup`], those that follow each other while
//! nobody speaks. The view uses it. It must never know where or when it is shown.

use crate::client::limits::{GROUPED_CHANGES, GROUPED_NAMES};
use crate::protocol::basic::{entered, left, renamed};

/// Somebody came, went, or is called otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This user is here.
    Entered(String),
    /// This user is not here any more.
    Left(String),
    /// The first is called the second from now on.
    Renamed(String, String),
}

impl Change {
    /// The change that a sentence of a server of the basic dialect tells, if it is one.
    ///
    /// Protocol: "Messages of the server".
    pub fn of_sentence(sentence: &str) -> Option<Self> {
        if let Some(name) = sentence.strip_suffix(" has entered the chat") {
            return Some(Change::Entered(name.to_owned()));
        }
        if let Some(name) = sentence.strip_suffix(" has left the chat") {
            return Some(Change::Left(name.to_owned()));
        }
        // Names may hold the words themselves: then it cannot be told who is who.
        let mut parts = sentence.split(" renamed to ");
        match (parts.next(), parts.next(), parts.next()) {
            (Some(old), Some(new), None) => Some(Change::Renamed(old.to_owned(), new.to_owned())),
            _ => None,
        }
    }

    /// The sentence that tells it.
    pub fn sentence(&self) -> String {
        match self {
            Change::Entered(name) => entered(name),
            Change::Left(name) => left(name),
            Change::Renamed(old, new) => renamed(old, new),
        }
    }
}

/// What one user did in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetChange {
    Entered,
    Left,
    LookedIn,
    CameBack,
}

const SUMS: [(NetChange, &str); 4] = [
    (NetChange::Entered, "entered"),
    (NetChange::Left, "left"),
    (NetChange::LookedIn, "looked in"),
    (NetChange::CameBack, "came back"),
];

/// Changes that are told in one line; never none.
#[derive(Debug)]
pub struct PresenceGroup {
    first: Change,
    count: usize,
    /// By the latest name.
    sums: Vec<(String, NetChange)>,
    renames: Vec<(String, String)>,
}

impl PresenceGroup {
    /// A line about one change.
    pub fn new(change: Change) -> Self {
        let mut folding = PresenceGroup {
            first: change.clone(),
            count: 0,
            sums: Vec::new(),
            renames: Vec::new(),
        };
        folding.add(change);
        folding
    }

    /// Whether it takes another change; it is bounded by [`GROUPED_CHANGES`].
    pub fn has_room(&self) -> bool {
        self.count < GROUPED_CHANGES
    }

    /// Takes one more change.
    pub fn add(&mut self, change: Change) {
        self.count += 1;
        match change {
            Change::Entered(name) => self.enter(name),
            Change::Left(name) => self.leave(name),
            Change::Renamed(old, new) => self.rename(old, new),
        }
    }

    fn enter(&mut self, name: String) {
        match self.sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => {
                *sum = match *sum {
                    NetChange::Left => NetChange::CameBack,
                    NetChange::LookedIn => NetChange::Entered,
                    other => other,
                }
            }
            None => self.sums.push((name, NetChange::Entered)),
        }
    }

    fn leave(&mut self, name: String) {
        match self.sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => {
                *sum = match *sum {
                    NetChange::Entered => NetChange::LookedIn,
                    NetChange::CameBack => NetChange::Left,
                    other => other,
                }
            }
            None => self.sums.push((name, NetChange::Left)),
        }
    }

    /// Who has just come is told under the new name only.
    fn rename(&mut self, old: String, new: String) {
        let is_new_here = |(known, sum): &&mut (String, NetChange)| {
            *known == old && matches!(sum, NetChange::Entered | NetChange::CameBack)
        };
        if let Some((name, _)) = self.sums.iter_mut().find(is_new_here) {
            *name = new;
            return;
        }
        match self.renames.iter_mut().find(|(_, latest)| *latest == old) {
            Some((_, latest)) => *latest = new,
            None => self.renames.push((old, new)),
        }
        self.renames.retain(|(first, latest)| first != latest);
    }

    /// The sentence: of one change its own, of several a sum of them.
    pub fn sentence(&self) -> String {
        if self.count == 1 {
            return self.first.sentence();
        }
        let mut parts = Vec::new();
        for (sum, verb) in SUMS {
            let names: Vec<&str> = self
                .sums
                .iter()
                .filter(|(_, of)| *of == sum)
                .map(|(name, _)| name.as_str())
                .collect();
            if !names.is_empty() {
                parts.push(format!("{} {verb}", listed(&names)));
            }
        }
        let renames: Vec<String> = self
            .renames
            .iter()
            .map(|(old, new)| format!("{old} is now {new}"))
            .collect();
        if !renames.is_empty() {
            let renames: Vec<&str> = renames.iter().map(String::as_str).collect();
            parts.push(listed(&renames));
        }
        match parts.is_empty() {
            // They were renamed back and forth.
            true => "nobody came or left".to_owned(),
            false => parts.join("; "),
        }
    }
}

/// `a, b and c`, or with too many `a, b and 7 more`.
fn listed(names: &[&str]) -> String {
    let (shown, more) = names.split_at(names.len().min(GROUPED_NAMES));
    match (shown, more.len()) {
        ([], _) => String::new(),
        ([only], 0) => (*only).to_owned(),
        ([most @ .., last], 0) => format!("{} and {last}", most.join(", ")),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(word: &str) -> Change {
        match (word.strip_prefix('+'), word.strip_prefix('-')) {
            (Some(name), _) => Change::Entered(name.into()),
            (_, Some(name)) => Change::Left(name.into()),
            _ => {
                let (old, new) = word.split_once('>').unwrap();
                Change::Renamed(old.into(), new.into())
            }
        }
    }

    fn folded(words: &str) -> String {
        let mut changes = words.split(' ').map(change);
        let mut folding = PresenceGroup::new(changes.next().unwrap());
        changes.for_each(|change| folding.add(change));
        folding.sentence()
    }

    #[test]
    fn one_change_is_told_as_ever() {
        assert_eq!(folded("+al"), "al has entered the chat");
        assert_eq!(folded("-al"), "al has left the chat");
        assert_eq!(folded("al>bo"), "al renamed to bo");
    }

    #[test]
    fn several_are_summed_up() {
        assert_eq!(folded("+al +bo"), "al and bo entered");
        assert_eq!(folded("+al -bo +cy"), "al and cy entered; bo left");
        assert_eq!(folded("+al -al"), "al looked in");
        assert_eq!(folded("-al +al"), "al came back");
        assert_eq!(folded("-al +al -al"), "al left");
        assert_eq!(folded("+al -al +al"), "al entered");
        assert_eq!(folded("al>bo bo>cy +di"), "di entered; al is now cy");
        assert_eq!(folded("+al al>bo"), "bo entered");
        assert_eq!(folded("al>bo bo>al"), "nobody came or left");
    }

    #[test]
    fn a_crowd_is_counted() {
        let words: Vec<String> = (0..30).map(|number| format!("+u{number}")).collect();
        assert_eq!(
            folded(&words.join(" ")),
            "u0, u1, u2, u3, u4, u5, u6, u7 and 22 more entered"
        );
        let mut folding = PresenceGroup::new(change("+al"));
        for _ in 1..GROUPED_CHANGES {
            assert!(folding.has_room());
            folding.add(change("+al"));
        }
        assert!(!folding.has_room());
    }

    #[test]
    fn sentences_of_a_basic_server_are_understood() {
        for word in ["+al bo", "-al", "al>bo cy"] {
            let change = change(word);
            assert_eq!(Change::of_sentence(&change.sentence()), Some(change));
        }
        assert_eq!(Change::of_sentence("No messages yet"), None);
        assert_eq!(Change::of_sentence("a renamed to b renamed to c"), None);
    }
}
