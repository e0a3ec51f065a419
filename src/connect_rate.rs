//! How often one address may connect.
//!
//! What lives here: [`counted_as`], what counts as one address, and [`ConnectRate`], a pace for
//! each address. The door of the server asks it, and the room counts users by the same rule. It
//! must never look at a clock (time is an argument) and never remember more than
//! [`MAX_PACED_ADDRESSES`] addresses.

use crate::limits::MAX_PACED_ADDRESSES;
use crate::pace::{Pacer, Rate};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// A pace for each address.
#[derive(Debug)]
pub struct ConnectRate {
    rate: Rate,
    paced: HashMap<IpAddr, Pacer>,
    /// Of all those for whom there is no room in the table.
    others: Pacer,
}

impl ConnectRate {
    /// So many new connections a minute from one address, and as many at once after a minute
    /// of silence.
    pub fn new(connects_per_minute: u32) -> Self {
        ConnectRate {
            rate: Rate::per_minute(connects_per_minute),
            paced: HashMap::new(),
            others: Pacer::default(),
        }
    }

    /// Counts a new connection.
    ///
    /// # Errors
    /// It is one too many; how long its address has to wait for the next.
    pub fn check(&mut self, address: IpAddr, now: Duration) -> Result<(), Duration> {
        let rate = self.rate;
        let pacer = self.pacer(counted_as(address), now);
        let wait = pacer.wait(rate, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        pacer.spend(rate, now, 1);
        Ok(())
    }

    fn pacer(&mut self, address: IpAddr, now: Duration) -> &mut Pacer {
        let is_new = !self.paced.contains_key(&address);
        if is_new && self.paced.len() >= MAX_PACED_ADDRESSES {
            // Who has been silent long enough is as good as new.
            self.paced.retain(|_, pacer| pacer.is_ahead(now));
        }
        if is_new && self.paced.len() >= MAX_PACED_ADDRESSES {
            // More addresses than that at once are no crowd of strangers, they are one attack.
            return &mut self.others;
        }
        self.paced.entry(address).or_default()
    }
}

/// What counts as one address: IPv4 by itself, also in its mapped form, and IPv6 by its /64,
/// since whoever has one address there usually has all of them.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_and_then_one_at_its_time() {
        let mut rate = ConnectRate::new(6);
        for _ in 0..6 {
            assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Ok(()));
        }
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Err(SECOND * 10));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 4), Err(SECOND * 7));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 11), Ok(()));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 11), Err(SECOND * 10));
        assert_eq!(
            rate.check(ip("192.0.2.2"), SECOND),
            Ok(()),
            "others are others"
        );
    }

    #[test]
    fn one_who_is_turned_away_does_not_wait_longer_for_having_tried() {
        let mut rate = ConnectRate::new(1);
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Ok(()));
        for _ in 0..100 {
            assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 2), Err(SECOND * 59));
        }
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND * 61), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_and_a_mapped_address_count_once() {
        let mut rate = ConnectRate::new(1);
        assert_eq!(rate.check(ip("2001:db8::1"), SECOND), Ok(()));
        assert!(rate.check(ip("2001:db8::ffff:2"), SECOND).is_err());
        assert_eq!(rate.check(ip("2001:db8:0:1::1"), SECOND), Ok(()));
        assert_eq!(rate.check(ip("192.0.2.1"), SECOND), Ok(()));
        assert!(rate.check(ip("::ffff:192.0.2.1"), SECOND).is_err());
    }

    #[test]
    fn addresses_without_end_take_no_memory_without_end() {
        let mut rate = ConnectRate::new(1);
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..MAX_PACED_ADDRESSES as u32 {
            assert_eq!(rate.check(address(number), SECOND), Ok(()));
        }
        let beyond = MAX_PACED_ADDRESSES as u32;
        assert_eq!(rate.check(address(beyond), SECOND), Ok(()));
        assert!(
            rate.check(address(beyond + 1), SECOND).is_err(),
            "they share one"
        );
        assert_eq!(rate.paced.len(), MAX_PACED_ADDRESSES);
        assert_eq!(rate.check(address(beyond + 2), SECOND * 62), Ok(()));
        assert_eq!(rate.paced.len(), 1, "the silent are forgotten");
    }
}
