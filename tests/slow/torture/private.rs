//! Private messages: each accepted one is received once, in order, or reported.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Returns the name of a client. Later attempts to join have names of their own.
pub(super) fn name_of(number: usize, attempt: usize) -> String {
    match attempt {
        0 => format!("user-{number}"),
        _ => format!("user-{number}-{attempt}"),
    }
}

/// What one client knows of private messages.
#[derive(Default)]
pub(super) struct PrivateBook {
    /// Names of the targets of accepted messages, by number.
    promised: BTreeMap<u64, String>,
    refused: HashSet<u64>,
    /// Numbers of the received messages of each client.
    received: HashMap<usize, Vec<u64>>,
    /// Errors about accepted messages.
    undelivered: usize,
}

impl PrivateBook {
    pub(super) fn promise(&mut self, number: u64, target: &str) {
        self.promised.insert(number, target.to_owned());
    }

    pub(super) fn has_accepted(&self) -> bool {
        !self.promised.is_empty()
    }

    pub(super) fn refuse(&mut self, number: u64) {
        self.refused.insert(number);
    }

    pub(super) fn report_undelivered(&mut self) {
        self.undelivered += 1;
    }

    /// Takes a message, which may be repeated after a broken connection.
    pub(super) fn receive(&mut self, source: &str, text: &str) {
        let (from, number) = text.split_once(' ').expect("two numbers");
        let from: usize = from.parse().expect("a number");
        let number = number.parse().expect("a number");
        assert!(source.starts_with(&name_of(from, 0)), "{source}: {text}");
        let before = self.received.entry(from).or_default();
        if before.last().is_none_or(|last| *last < number) {
            before.push(number);
        } else {
            let is_repeat = before.binary_search(&number).is_ok();
            assert!(is_repeat, "{text} came after {:?}", before.last());
        }
    }
}

/// Checks the books of all clients, each at its number. Returns how many messages were accepted
/// and how many of them were reported instead of received.
pub(super) fn check_books(books: &[&PrivateBook]) -> (usize, usize) {
    let (mut accepted, mut reported) = (0, 0);
    for (sender, book) in books.iter().enumerate() {
        let has_received = |target: &PrivateBook, number: &u64| {
            let received = target.received.get(&sender);
            received.is_some_and(|all| all.binary_search(number).is_ok())
        };
        let is_missing = |(number, target): &(&u64, &String)| {
            let target = target.split('-').nth(1).expect("a number");
            let target: usize = target.parse().expect("a number");
            !has_received(books[target], number)
        };
        let missing: Vec<_> = book.promised.iter().filter(is_missing).collect();
        assert!(
            missing.len() <= book.undelivered,
            "client {sender} was told of {} lost messages: {missing:?}",
            book.undelivered
        );
        let mut refused = book.refused.iter();
        let has_leaked = |number| books.iter().any(|target| has_received(target, number));
        assert!(!refused.any(has_leaked), "a refused message was delivered");
        accepted += book.promised.len();
        reported += missing.len();
    }
    (accepted, reported)
}
