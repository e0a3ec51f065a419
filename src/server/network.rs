//! Networks of addresses, and the client behind trusted proxies.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// All addresses with the same first bits, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let (own, other) = (self.address, address.to_canonical());
        let difference = left_aligned(own) ^ left_aligned(other);
        own.is_ipv4() == other.is_ipv4() && difference.leading_zeros() >= self.bits
    }
}

fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "it is an address or a network, such as 10.0.0.0/8".to_owned();
        let (address, bits) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match text.contains('/') {
            true => bits.parse().map_err(|_| wrong())?,
            false => longest,
        };
        match (address.to_canonical(), bits) {
            (_, bits) if bits > longest => Err(wrong()),
            // Peers with IPv4-mapped addresses are compared as IPv4.
            (canonical, 96..) if canonical.is_ipv4() && address.is_ipv6() => Ok(Network {
                address: canonical,
                bits: bits - 96,
            }),
            _ => Ok(Network { address, bits }),
        }
    }
}

/// The proxies of which the server believes who their clients are. All of them use the same field.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
    /// Whether they use `Forwarded`, not `X-Forwarded-For`.
    use_forwarded: AtomicBool,
    has_warned: AtomicBool,
}

/// The addresses that a request has in a field, the nearest last; `None` for an unreadable one.
pub(crate) type ForwardedAddresses = Vec<Option<IpAddr>>;

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<Network>) -> Self {
        TrustedProxies {
            networks,
            ..TrustedProxies::default()
        }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }

    /// Returns the client of a request from `peer`. Each proxy has appended the address that it saw.
    pub(crate) fn client(
        &self,
        peer: IpAddr,
        x_forwarded_for: &ForwardedAddresses,
        forwarded: &ForwardedAddresses,
    ) -> IpAddr {
        if !self.contains(peer) {
            if !(x_forwarded_for.is_empty() && forwarded.is_empty()) {
                self.warn_once(peer);
            }
            return peer;
        }
        // A client can add the other field, but cannot remove that of the proxy.
        match (x_forwarded_for.is_empty(), forwarded.is_empty()) {
            (false, true) => self.use_forwarded.store(false, Ordering::Relaxed),
            (true, false) => self.use_forwarded.store(true, Ordering::Relaxed),
            _ => {}
        }
        let addresses = match self.use_forwarded.load(Ordering::Relaxed) {
            true => forwarded,
            false => x_forwarded_for,
        };
        let mut client = peer;
        for address in addresses.iter().rev() {
            let Some(address) = address.filter(|_| self.contains(client)) else {
                break;
            };
            client = address;
        }
        client
    }

    /// Tells the operator once of a proxy in the own network that is not trusted.
    fn warn_once(&self, peer: IpAddr) {
        let is_near = match peer.to_canonical() {
            IpAddr::V4(peer) => peer.is_loopback() || peer.is_private(),
            IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
        };
        if is_near && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                address = %peer,
                "requests from this address name other clients: if it is your proxy, add \
                 --trusted-proxy, or all its clients share the limits of one address"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_has_the_addresses_with_its_first_bits() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "::1", false),
        ] {
            let network: Network = network.parse().unwrap();
            let address = address.parse().unwrap();
            assert_eq!(network.contains(address), expected, "{network:?} {address}");
        }
        for wrong in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "proxy",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn client_is_the_first_address_that_no_trusted_proxy_has() {
        let trusted = ["127.0.0.1", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        let proxies = TrustedProxies::new(trusted.into());
        for (peer, forwarded, expected) in [
            ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
            // The client itself sent the first one.
            ("127.0.0.1", "203.0.113.9 198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "198.51.100.1 10.0.0.1", "198.51.100.1"),
            ("127.0.0.1", "198.51.100.1 unknown", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1 unknown 10.0.0.1", "10.0.0.1"),
        ] {
            let forwarded = forwarded.split_whitespace();
            let forwarded: Vec<_> = forwarded.map(|address| address.parse().ok()).collect();
            let found = proxies.client(peer.parse().unwrap(), &forwarded, &Vec::new());
            assert_eq!(found.to_string(), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn client_cannot_name_another_in_the_field_that_its_proxy_does_not_use() {
        let proxies = TrustedProxies::new(vec!["127.0.0.1".parse().unwrap()]);
        for (x_forwarded_for, forwarded, expected) in [
            // Most proxies use `X-Forwarded-For`.
            ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
            ("", "192.0.2.2", "192.0.2.2"),
            ("203.0.113.9", "192.0.2.2", "192.0.2.2"),
            ("192.0.2.1", "", "192.0.2.1"),
            ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
            ("", "", "127.0.0.1"),
        ] {
            let [x_forwarded_for, forwarded] = [x_forwarded_for, forwarded].map(|field| {
                field
                    .split_whitespace()
                    .map(|each| each.parse().ok())
                    .collect()
            });
            let peer = "127.0.0.1".parse().unwrap();
            let found = proxies.client(peer, &x_forwarded_for, &forwarded);
            assert_eq!(found.to_string(), expected);
        }
    }
}
