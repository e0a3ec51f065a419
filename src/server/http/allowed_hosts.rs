//! Checks the host that a request names.
//!
//! DNS rebinding lets a foreign page read this server through a name that its owner points here.
//! Such a request carries the foreign name and is rejected. Names are never resolved.

use crate::server::close_reason::CloseReason;
use crate::server::host_name::HostName;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The hosts that the server answers for: every address, `localhost`, and these names.
#[derive(Clone, Debug, Default)]
pub(super) struct AllowedHosts(Vec<HostName>);

impl AllowedHosts {
    pub(super) fn new(names: Vec<HostName>) -> Self {
        AllowedHosts(names)
    }

    /// Checks a host with an optional port. Every address is allowed, since an attacker cannot
    /// point an address elsewhere.
    pub(super) fn check(&self, authority: &str) -> Result<(), CloseReason> {
        let (host, port) = split_port(authority);
        let is_port = port.is_empty() || port.parse::<u16>().is_ok();
        if !is_port || port.starts_with('+') {
            return Err(CloseReason::Malformed);
        }
        if let Some(inside) = host.strip_prefix('[') {
            let address = inside.strip_suffix(']').ok_or(CloseReason::Malformed)?;
            // An address may have a zone, such as `%eth0`.
            let address = address.split('%').next().unwrap_or_default();
            let address = address.parse::<Ipv6Addr>();
            return address.map(|_| ()).map_err(|_| CloseReason::Malformed);
        }
        if host.parse::<Ipv4Addr>().is_ok() {
            return Ok(());
        }
        let name = HostName::parse(host).map_err(|_| CloseReason::Malformed)?;
        if name.as_str() == "localhost" || self.0.contains(&name) {
            return Ok(());
        }
        Err(CloseReason::Misdirected)
    }
}

/// Splits off the port, which is empty if there is none.
pub(super) fn split_port(authority: &str) -> (&str, &str) {
    // Colons inside brackets belong to an IPv6 address.
    let end_of_address = authority.rfind(']').map_or(0, |at| at + 1);
    let colon = authority[end_of_address..].find(':');
    colon.map_or((authority, ""), |colon| {
        let at = end_of_address + colon;
        (&authority[..at], &authority[at + 1..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_given_names_are_allowed() {
        let names = ["Box", "box.local", "chat.example.org."];
        let allowed = AllowedHosts(names.map(|name| HostName::parse(name).unwrap()).to_vec());
        let good = "127.0.0.1 127.0.0.1:8080 192.168.1.7:1 [::1] [::1]:8080 [FE80::1%25eth0]:80 \
             [::ffff:10.0.0.1] localhost LocalHost:8080 localhost. localhost.:8080 localhost: box \
             BOX:65535 box.local:8080 box.local. chat.example.org Chat.Example.Org.:80";
        // Browsers normalise the last three forms of addresses before they send them.
        let foreign = "evil evil.example:8080 localhost.evil.example evil.localhost \
             127.0.0.1.evil.example box.evil.example box.example example.org x.chat.example.org \
             chat.example.orgx 127.1 2130706433 0x7f000001";
        let malformed = ": :8080 . localhost.. localhost:99999 localhost:+1 localhost:x \
             localhost:1:2 localhost@evil.example evil.example@localhost localhost/.. \
             localhost\\evil.example %6cocalhost ::1 [::1 [::1]x [::1]:x [localhost] [127.0.0.1] \
             evil.example[::1] [] é -x";
        for (hosts, expected) in [
            (good, Ok(())),
            (foreign, Err(CloseReason::Misdirected)),
            (malformed, Err(CloseReason::Malformed)),
        ] {
            for host in hosts.split(' ') {
                assert_eq!(allowed.check(host), expected, "{host}");
            }
        }
        for host in ["", "local host"] {
            assert_eq!(allowed.check(host), Err(CloseReason::Malformed), "{host}");
        }
    }
}
