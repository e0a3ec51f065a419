//! Address keys for limits.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the key by which limits count an address: an IPv4 address, or the /64 of an IPv6 address,
/// since one subscriber usually has the whole /64.
pub fn limit_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}
