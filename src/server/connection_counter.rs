//! Counts open connections, in total and per address.

use crate::chat::address::limit_key;
use event_listener::Event;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections of one kind. An address without connections uses no memory.
#[derive(Debug)]
pub(crate) struct ConnectionCounter {
    max: usize,
    max_per_address: Option<usize>,
    counts: Mutex<Counts>,
    decreased: Event,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    per_address: HashMap<IpAddr, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    Total,
    Address,
}

/// One counted connection. Dropping the permit releases the place.
#[derive(Debug)]
pub(crate) struct Permit {
    counter: Arc<ConnectionCounter>,
    address: Option<IpAddr>,
}

impl ConnectionCounter {
    pub(crate) fn new(max: usize, max_per_address: Option<usize>) -> Arc<Self> {
        Arc::new(ConnectionCounter {
            max,
            max_per_address,
            counts: Mutex::default(),
            decreased: Event::new(),
        })
    }

    /// Counts one more connection from this address, or in the total only.
    ///
    /// # Errors
    /// A limit is reached.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        address: impl Into<Option<IpAddr>>,
    ) -> Result<Permit, LimitReached> {
        let address = address.into().map(limit_key);
        let mut counts = self.counts();
        if counts.total >= self.max {
            return Err(LimitReached::Total);
        }
        if let Some(address) = address {
            let count = counts.per_address.get(&address).copied().unwrap_or(0);
            if self.max_per_address.is_some_and(|max| count >= max) {
                return Err(LimitReached::Address);
            }
            counts.per_address.insert(address, count + 1);
        }
        counts.total += 1;
        Ok(Permit {
            counter: self.clone(),
            address,
        })
    }

    /// Waits until no connection is open. Cancel-safe.
    pub(crate) async fn wait_for_none(&self) {
        loop {
            let decreased = self.decreased.listen();
            if self.counts().total == 0 {
                return;
            }
            decreased.await;
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // The lock is never held across code that can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.counter.counts();
        counts.total -= 1;
        if let Some(address) = self.address
            && let Some(count) = counts.per_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                counts.per_address.remove(&address);
            }
        }
        drop(counts);
        self.counter.decreased.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_and_connections_of_an_address_are_limited() {
        for (per_address, one, same, other, limit) in [
            (
                None,
                "10.0.0.1",
                "10.0.0.2",
                "10.0.0.3",
                LimitReached::Total,
            ),
            (
                Some(1),
                "10.0.0.1",
                "::ffff:10.0.0.1",
                "10.0.0.2",
                LimitReached::Address,
            ),
            (
                Some(1),
                "2001:db8::1",
                "2001:db8::2",
                "2001:db8:0:2::1",
                LimitReached::Address,
            ),
        ] {
            let [one, same, other]: [IpAddr; 3] =
                [one, same, other].map(|text| text.parse().unwrap());
            let max = if per_address.is_some() { 100 } else { 2 };
            let counter = ConnectionCounter::new(max, per_address);
            let first = counter.acquire(one).unwrap();
            let elsewhere = counter.acquire(other).unwrap();
            assert_eq!(counter.acquire(same).err(), Some(limit));
            // A connection that counts in the total only needs room there.
            let uncounted = counter.acquire(None).map(drop).err();
            let total = Some(LimitReached::Total);
            assert_eq!(uncounted, total.filter(|_| per_address.is_none()));
            // A dropped permit frees its place.
            drop(first);
            let second = counter.acquire(same).unwrap();
            assert_eq!(counter.counts().total, 2);
            drop((elsewhere, second));
            assert_eq!(counter.counts().total, 0);
            assert!(counter.counts().per_address.is_empty());
        }
    }

    #[test]
    fn waiting_for_none_ends_with_the_last_permit() {
        let counter = ConnectionCounter::new(2, None);
        let one = counter.acquire(IpAddr::from([10, 0, 0, 1])).unwrap();
        smol::block_on(async {
            let mut waiting = std::pin::pin!(counter.wait_for_none());
            assert!(smol::future::poll_once(waiting.as_mut()).await.is_none());
            drop(one);
            waiting.await;
        });
    }
}
