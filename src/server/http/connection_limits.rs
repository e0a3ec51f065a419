//! The page's gate: who may come in, and how many.
//!
//! What lives here: [`ConnectionLimits`], which all connections of the page share, and `Count`, which
//! counts what there may be only so many of. The server makes a gate and says when it stops; the
//! routes and the accept loop ask it. It must never wait for anybody but at the end, and never
//! keep an address of which nothing is open.

use crate::chat::address::limit_key;
use crate::server::http::allowed_hosts::{AllowedHosts, HostName};
use crate::server::http::close_reason::HttpCloseReason;
use crate::server::limits::{
    WEB_MAX_CLOSING_CONNECTIONS, WEB_MAX_CONNECTIONS, WEB_MAX_STREAMS, WebLimits,
};
use event_listener::Event;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all connections of the page share.
#[derive(Debug)]
pub struct ConnectionLimits {
    /// The bounds that may be chosen.
    pub limits: WebLimits,
    /// The hosts that may be asked for.
    pub hosts: AllowedHosts,
    connections: Arc<Count>,
    closing: Arc<Count>,
    streams: Arc<Count>,
    is_stopping: AtomicBool,
}

impl ConnectionLimits {
    /// An open gate.
    pub fn new(limits: WebLimits, names: Vec<HostName>) -> Self {
        ConnectionLimits {
            limits,
            hosts: AllowedHosts::new(names),
            connections: Arc::default(),
            closing: Arc::default(),
            streams: Arc::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// One more connection.
    ///
    /// # Errors
    /// There are too many.
    pub fn enter_connection(&self, address: IpAddr) -> Result<Permit, Full> {
        let most = (WEB_MAX_CONNECTIONS, self.limits.connections_per_address);
        self.connections.enter(address, most)
    }

    /// One more connection that was refused and is only being told so.
    ///
    /// # Errors
    /// There are too many.
    pub fn enter_closing(&self, address: IpAddr) -> Result<Permit, Full> {
        self.closing
            .enter(address, (WEB_MAX_CLOSING_CONNECTIONS, None))
    }

    /// One more live stream.
    ///
    /// # Errors
    /// There are too many.
    pub fn enter_stream(&self, address: IpAddr) -> Result<Permit, Full> {
        let most = (WEB_MAX_STREAMS, self.limits.streams_per_address);
        self.streams.enter(address, most)
    }

    /// From now on the server is stopping.
    pub fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether the server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Waits until no live stream is left. Cancel-safe.
    pub async fn wait_for_no_stream(&self) {
        self.streams.wait_for_none().await;
    }
}

/// Why there is no place for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many as there may be.
    InAll,
    /// Its address has as many as one address may have.
    Address,
}

impl From<Full> for HttpCloseReason {
    fn from(full: Full) -> Self {
        match full {
            Full::InAll => HttpCloseReason::Full,
            Full::Address => HttpCloseReason::AddressFull,
        }
    }
}

/// How many of something there are, in all and from each address, and when there are fewer.
#[derive(Debug, Default)]
struct Count {
    tally: Mutex<Tally>,
    fell: Event,
}

#[derive(Debug, Default)]
struct Tally {
    in_all: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// One of those counted; dropping it takes it off.
#[derive(Debug)]
pub struct Permit {
    count: Arc<Count>,
    address: IpAddr,
}

impl Count {
    /// One more of this address, unless there are as many already in all or, if that is
    /// bounded, from it.
    fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        (most, most_per_address): (usize, Option<usize>),
    ) -> Result<Permit, Full> {
        let address = limit_key(address);
        let mut tally = self.tally();
        if tally.in_all >= most {
            return Err(Full::InAll);
        }
        let before = tally.per_address.get(&address).copied().unwrap_or(0);
        if most_per_address.is_some_and(|most| before >= most) {
            return Err(Full::Address);
        }
        tally.in_all += 1;
        tally.per_address.insert(address, before + 1);
        Ok(Permit {
            count: self.clone(),
            address,
        })
    }

    async fn wait_for_none(&self) {
        loop {
            let listener = self.fell.listen();
            if self.tally().in_all == 0 {
                return;
            }
            listener.await;
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Nothing that could fail happens while it is held.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut tally = self.count.tally();
        tally.in_all -= 1;
        if let Some(count) = tally.per_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                tally.per_address.remove(&self.address);
            }
        }
        drop(tally);
        self.count.fell.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn there_are_only_so_many_in_all() {
        let count = Arc::new(Count::default());
        let one = count.enter(address("10.0.0.1"), (2, None)).unwrap();
        let two = count.enter(address("10.0.0.1"), (2, None)).unwrap();
        let third = count.enter(address("10.0.0.2"), (2, None));
        assert_eq!(third.err(), Some(Full::InAll));
        drop(one);
        let third = count.enter(address("10.0.0.2"), (2, None)).unwrap();
        drop((two, third));
        assert_eq!(count.tally().in_all, 0);
        assert!(count.tally().per_address.is_empty());
    }

    #[test]
    fn there_are_only_so_many_from_one_address() {
        let most = (100, Some(1));
        for (one, same, other) in [
            ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ] {
            let count = Arc::new(Count::default());
            let first = count.enter(address(one), most).unwrap();
            let second = count.enter(address(same), most);
            assert_eq!(second.err(), Some(Full::Address));
            let elsewhere = count.enter(address(other), most).unwrap();
            drop(first);
            let second = count.enter(address(same), most).unwrap();
            assert_eq!(count.tally().in_all, 2);
            drop((elsewhere, second));
            assert!(count.tally().per_address.is_empty());
        }
    }

    #[test]
    fn the_last_one_to_go_is_noticed() {
        let count = Arc::new(Count::default());
        let one = count.enter(address("10.0.0.1"), (2, None)).unwrap();
        smol::block_on(async {
            let mut waiting = std::pin::pin!(count.wait_for_none());
            assert!(smol::future::poll_once(waiting.as_mut()).await.is_none());
            drop(one);
            waiting.await;
        });
    }
}
