//! Turns to read past messages, so that one address does not hold up the others.

use crate::chat::address::limit_key;
use async_channel::Sender;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Queries of one kind. Each address has at most one under way, and the addresses that wait for
/// more take turns.
#[derive(Debug)]
pub(super) struct QueryTurns {
    max_under_way: usize,
    /// Most queries of one address that wait.
    max_waiting: usize,
    state: Mutex<TurnState>,
}

#[derive(Debug, Default)]
struct TurnState {
    under_way: usize,
    /// The waiting queries of each address that has one waiting or under way, oldest first.
    queries: HashMap<IpAddr, VecDeque<Sender<QueryTurn>>>,
    /// Addresses that wait and have no query under way, in the order of their turns.
    next: VecDeque<IpAddr>,
}

/// One query under way. Dropping it gives the next address its turn.
#[derive(Debug)]
pub(super) struct QueryTurn {
    turns: Arc<QueryTurns>,
    address: IpAddr,
}

impl QueryTurns {
    pub(super) fn new(max_under_way: usize, max_waiting: usize) -> Arc<Self> {
        Arc::new(QueryTurns {
            max_under_way,
            max_waiting,
            state: Mutex::default(),
        })
    }

    /// Waits for the turn of a query from this address; returns `None` if too many of this address
    /// wait. A caller that stops waiting loses its place.
    pub(super) async fn wait(self: &Arc<Self>, address: IpAddr) -> Option<QueryTurn> {
        let address = limit_key(address);
        let (sender, turn) = async_channel::bounded(1);
        {
            let mut state = self.state();
            let TurnState { queries, next, .. } = &mut *state;
            match queries.entry(address) {
                Entry::Occupied(mut waiting) => {
                    let waiting = waiting.get_mut();
                    waiting.retain(|query| !query.is_closed());
                    if waiting.len() >= self.max_waiting {
                        return None;
                    }
                    waiting.push_back(sender);
                }
                Entry::Vacant(entry) => {
                    entry.insert(VecDeque::from([sender]));
                    next.push_back(address);
                }
            }
        }
        self.grant();
        turn.recv().await.ok()
    }

    fn grant(self: &Arc<Self>) {
        loop {
            let next = self.state().take_next(self.max_under_way);
            let Some((address, sender)) = next else {
                return;
            };
            let turns = self.clone();
            // If the caller stops waiting, the turn is dropped here or with the channel.
            let _ = sender.try_send(QueryTurn { turns, address });
        }
    }

    fn state(&self) -> MutexGuard<'_, TurnState> {
        // The lock is never held across code that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnState {
    /// Begins the next query, if there is one and another may be under way.
    fn take_next(&mut self, max_under_way: usize) -> Option<(IpAddr, Sender<QueryTurn>)> {
        while self.under_way < max_under_way {
            let address = self.next.pop_front()?;
            let waiting = self.queries.get_mut(&address)?;
            while let Some(query) = waiting.pop_front() {
                if !query.is_closed() {
                    self.under_way += 1;
                    return Some((address, query));
                }
            }
            self.queries.remove(&address);
        }
        None
    }

    fn end(&mut self, address: IpAddr) {
        self.under_way -= 1;
        if self.queries.get(&address).is_some_and(VecDeque::is_empty) {
            self.queries.remove(&address);
        } else {
            self.next.push_back(address);
        }
    }
}

impl Drop for QueryTurn {
    fn drop(&mut self) {
        self.turns.state().end(self.address);
        self.turns.grant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, poll_once};
    use std::pin::Pin;

    type Waiting<'a> = Pin<Box<dyn Future<Output = Option<QueryTurn>> + 'a>>;

    fn wait<'a>(turns: &'a Arc<QueryTurns>, address: &str) -> Waiting<'a> {
        let mut waiting: Waiting<'a> = Box::pin(turns.wait(address.parse().unwrap()));
        assert!(
            block_on(poll_once(&mut waiting)).is_none(),
            "it has to wait"
        );
        waiting
    }

    #[test]
    fn addresses_take_turns_and_have_one_query_under_way() {
        let turns = QueryTurns::new(2, 3);
        let own = turns.wait("10.0.0.1".parse().unwrap());
        let own = block_on(own).unwrap();
        let flood = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"];
        let mut flood = flood.map(|address| wait(&turns, address));
        let surplus = turns.wait("10.0.0.1".parse().unwrap());
        assert!(block_on(surplus).is_none());
        // Another address has the second place at once, and a third one the next free place.
        let other = block_on(turns.wait("2001:db8::1".parse().unwrap())).unwrap();
        let mut same_network = wait(&turns, "2001:db8::2");
        let mut third = wait(&turns, "10.0.0.3");
        drop(own);
        let third = block_on(&mut third).unwrap();
        assert!(block_on(poll_once(&mut flood[0])).is_none());
        drop(third);
        let own = block_on(&mut flood[0]).unwrap();
        assert!(block_on(poll_once(&mut same_network)).is_none());
        drop(other);
        let other = block_on(&mut same_network).unwrap();
        // A caller that went away needs no turn, even if it had just got one.
        let [_, gone, last] = flood;
        drop(gone);
        drop(own);
        drop(last);
        drop(other);
        let state = turns.state();
        assert_eq!((state.under_way, state.next.len()), (0, 0));
        assert!(state.queries.is_empty());
    }
}
