//! Addresses as limits count them.

use std::net::{IpAddr, Ipv6Addr};

/// What counts as one address: IPv4 by itself, also in its mapped form, and IPv6 by its /64,
/// since whoever has one address there usually has all of them.
pub fn limit_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}
