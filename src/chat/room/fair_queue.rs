//! Items in order of time, with the share of each owner, so that one owner cannot push out others.

use crate::chat::address::limit_key;
use jiff::SignedDuration;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Who holds items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    /// An IPv4 address or an IPv6 /64.
    Address(IpAddr),
    /// A session of an earlier run of the server, since no address is stored.
    Restored(u64),
}

impl Owner {
    pub(super) fn of(address: IpAddr) -> Self {
        Owner::Address(limit_key(address))
    }
}

/// An item after its time.
type Timed<T> = (SignedDuration, T);

#[derive(Debug)]
pub(super) struct FairQueue<T> {
    by_time: BTreeSet<Timed<T>>,
    by_owner: HashMap<Owner, BTreeSet<Timed<T>>>,
    /// The largest share is the last one; among equal shares, the one with the oldest item.
    shares: BTreeSet<(usize, Reverse<Timed<T>>, Owner)>,
}

impl<T: Copy + Ord> FairQueue<T> {
    pub(super) fn new() -> Self {
        FairQueue {
            by_time: BTreeSet::new(),
            by_owner: HashMap::new(),
            shares: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    pub(super) fn insert(&mut self, owner: Owner, time: SignedDuration, item: T) {
        self.by_time.insert((time, item));
        self.change(owner, |items| {
            items.insert((time, item));
        });
    }

    pub(super) fn remove(&mut self, owner: Owner, time: SignedDuration, item: T) {
        self.by_time.remove(&(time, item));
        self.change(owner, |items| {
            items.remove(&(time, item));
        });
    }

    fn change(&mut self, owner: Owner, change: impl FnOnce(&mut BTreeSet<Timed<T>>)) {
        let items = self.by_owner.entry(owner).or_default();
        if let Some(oldest) = items.first() {
            self.shares.remove(&(items.len(), Reverse(*oldest), owner));
        }
        change(items);
        match items.first() {
            Some(oldest) => {
                self.shares.insert((items.len(), Reverse(*oldest), owner));
            }
            None => {
                self.by_owner.remove(&owner);
            }
        }
    }

    /// Returns the oldest item and its time.
    pub(super) fn first(&self) -> Option<Timed<T>> {
        self.by_time.first().copied()
    }

    /// Returns the oldest item of an owner.
    pub(super) fn first_of(&self, owner: Owner) -> Option<T> {
        let (_, item) = self.by_owner.get(&owner)?.first()?;
        Some(*item)
    }

    /// Returns the oldest item of the owner that has most.
    pub(super) fn first_of_largest_share(&self) -> Option<T> {
        let (_, Reverse((_, item)), _) = self.shares.last()?;
        Some(*item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_share_gives_its_oldest_item_first() {
        let mut queue = FairQueue::new();
        let at = SignedDuration::from_secs;
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| Owner::of(ip.into()));
        queue.insert(one, at(1), 1);
        queue.insert(Owner::Restored(7), at(0), 0);
        for item in 2..5 {
            queue.insert(other, at(item), item);
        }
        assert_eq!(
            [queue.first_of(one), queue.first_of(other)],
            [Some(1), Some(2)]
        );
        let mut order = Vec::new();
        while let Some(item) = queue.first_of_largest_share() {
            order.push(item);
            let owner = [Owner::Restored(7), one, other][item.min(2) as usize];
            queue.remove(owner, at(item), item);
        }
        assert_eq!(order, [2, 3, 0, 1, 4]);
        assert_eq!((queue.len(), queue.by_owner.len()), (0, 0));
    }
}
