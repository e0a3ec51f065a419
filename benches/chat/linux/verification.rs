//! Verifies that all receivers got the same lines in the same order.

use super::Result;
use std::collections::HashMap;

/// Odd, so that the multiplication loses no information.
const FACTOR: u64 = 0xd134_2543_de82_ef95;

/// Keeps the lines of receiver 0; a count and a rolling hash for every other receiver make a
/// line cost a few nanoseconds.
pub(crate) struct Verification {
    receivers: Vec<Received>,
    /// Identifiers of all lines that receiver 0 got.
    order: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct Received {
    lines: usize,
    hash: u64,
    first: u64,
}

impl Verification {
    pub(crate) fn new(receivers: usize) -> Self {
        Verification {
            receivers: vec![Received::default(); receivers],
            order: Vec::new(),
        }
    }

    /// Records that `receiver` got the line `id`.
    pub(crate) fn record(&mut self, receiver: usize, id: u64) {
        let received = &mut self.receivers[receiver];
        if received.lines == 0 {
            received.first = id;
        }
        received.lines += 1;
        received.hash = append(received.hash, id);
        if receiver == 0 {
            self.order.push(id);
        }
    }

    /// Checks that each of these receivers got the lines of receiver 0, either all of them or,
    /// with `from_own_first`, those from its own first line on.
    pub(crate) fn check(
        &self,
        receivers: impl Iterator<Item = usize>,
        from_own_first: bool,
    ) -> Result<()> {
        // Of each line, its position and the hash of all lines before it.
        let mut prefixes = HashMap::new();
        let mut hash = 0;
        for (position, id) in self.order.iter().enumerate() {
            if prefixes.insert(*id, (position, hash)).is_some() {
                return Err("receiver 0 got a message twice".into());
            }
            hash = append(hash, *id);
        }
        for receiver in receivers {
            let received = &self.receivers[receiver];
            let start = match from_own_first {
                false => Some((0, 0)),
                true if received.lines == 0 => Some((self.order.len(), hash)),
                true => prefixes.get(&received.first).copied(),
            };
            let (start, before) = start.ok_or(format!("receiver 0 missed {received:?}"))?;
            let (lines, expected) = (received.lines, self.order.len() - start);
            if lines != expected {
                let error = format!("receiver {receiver} got {lines} lines instead of {expected}");
                return Err(error.into());
            }
            let before = before.wrapping_mul(FACTOR.wrapping_pow(expected as u32));
            if received.hash != hash.wrapping_sub(before) {
                return Err(format!("receiver {receiver} got other lines or another order").into());
            }
        }
        Ok(())
    }
}

fn append(hash: u64, id: u64) -> u64 {
    // Mixed, because identifiers often differ in one bit only.
    let mixed = (id ^ (id >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mixed = mixed ^ (mixed >> 32);
    hash.wrapping_mul(FACTOR).wrapping_add(mixed)
}
