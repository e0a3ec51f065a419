//! What each receiver got, in which order: the verification of a run.
//!
//! The load uses it. The first receiver's lines are kept one by one; of every other one only a
//! count and a rolling hash, which tell at the end whether it got exactly the same lines in
//! the same order, from some line on. It must never be fooled by a lost, repeated or swapped
//! line, and never cost more than a few nanoseconds a line.

use super::{Result, fail};
use std::collections::HashMap;

/// An odd multiplier, so that no information is ever shifted out for good.
const FACTOR: u64 = 0xd134_2543_de82_ef95;

/// What the receivers of one load got.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    trails: Vec<Trail>,
    /// All that receiver 0 got.
    order: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct Trail {
    lines: u64,
    hash: u64,
    first: u64,
}

impl Ledger {
    /// One more receiver; its number is the one before it and one.
    pub(crate) fn add_receiver(&mut self) {
        self.trails.push(Trail::default());
    }

    /// `receiver` got the line with this number.
    pub(crate) fn note(&mut self, receiver: usize, id: u64) {
        let trail = &mut self.trails[receiver];
        if trail.lines == 0 {
            trail.first = id;
        }
        trail.lines += 1;
        trail.hash = append(trail.hash, id);
        if receiver == 0 {
            self.order.push(id);
        }
    }

    /// How many lines receiver 0 got.
    pub(crate) fn lines(&self) -> usize {
        self.order.len()
    }

    /// Where a line stands among those of receiver 0.
    pub(crate) fn positions(&self) -> HashMap<u64, usize> {
        self.order
            .iter()
            .enumerate()
            .map(|(position, id)| (*id, position))
            .collect()
    }

    /// Checks that every one of these receivers got what receiver 0 got, all of it or
    /// (`newcomers`) from its own first line on; gives how many lines were checked.
    ///
    /// # Errors
    /// Which receiver got something else, and what is known about it.
    pub(crate) fn verify(
        &self,
        receivers: impl Iterator<Item = usize>,
        newcomers: bool,
    ) -> Result<u64> {
        let positions = self.positions();
        if positions.len() != self.order.len() {
            return fail("receiver 0 got a message twice");
        }
        let hashes = Hashes::new(&self.order);
        let mut checked = 0;
        for receiver in receivers {
            let trail = &self.trails[receiver];
            let start = if newcomers && trail.lines > 0 {
                match positions.get(&trail.first) {
                    Some(position) => *position,
                    None => {
                        return fail(format!(
                            "receiver {receiver} got a line that receiver 0 did not"
                        ));
                    }
                }
            } else if newcomers {
                self.order.len()
            } else {
                0
            };
            let expected = (self.order.len() - start) as u64;
            if trail.lines != expected {
                return fail(format!(
                    "receiver {receiver} got {} lines instead of {expected}",
                    trail.lines
                ));
            }
            if trail.hash != hashes.from(start) {
                return fail(format!(
                    "receiver {receiver} got {expected} lines, but not the same ones in the same order as receiver 0"
                ));
            }
            checked += expected;
        }
        Ok(checked)
    }
}

fn append(hash: u64, id: u64) -> u64 {
    // The finalizer makes numbers that differ in one bit unalike before they are added.
    let mixed = (id ^ (id >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash.wrapping_mul(FACTOR)
        .wrapping_add(mixed ^ (mixed >> 32))
}

/// The hash of every beginning of the order, from which that of every end follows.
struct Hashes {
    beginnings: Vec<u64>,
    powers: Vec<u64>,
}

impl Hashes {
    fn new(order: &[u64]) -> Self {
        let mut beginnings = vec![0];
        let mut powers = vec![1_u64];
        for (position, id) in order.iter().enumerate() {
            beginnings.push(append(beginnings[position], *id));
            powers.push(powers[position].wrapping_mul(FACTOR));
        }
        Hashes { beginnings, powers }
    }

    /// The hash of the lines from `start` to the end.
    fn from(&self, start: usize) -> u64 {
        let lines = self.beginnings.len() - 1;
        let before = self.beginnings[start].wrapping_mul(self.powers[lines - start]);
        self.beginnings[lines].wrapping_sub(before)
    }
}
