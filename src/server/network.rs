//! Networks of addresses, and the client behind trusted proxies.

use std::net::IpAddr;
use std::str::FromStr;

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

/// Returns the client of a request from `peer`. Each trusted proxy has appended the address that it
/// saw to `forwarded`; an unreadable one is none.
pub(crate) fn client(peer: IpAddr, forwarded: &[Option<IpAddr>], trusted: &[Network]) -> IpAddr {
    let mut client = peer;
    for address in forwarded.iter().rev() {
        let is_trusted = trusted.iter().any(|network| network.contains(client));
        let Some(address) = address.filter(|_| is_trusted) else {
            break;
        };
        client = address;
    }
    client
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
            let found = client(peer.parse().unwrap(), &forwarded, &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {forwarded:?}");
        }
    }
}
