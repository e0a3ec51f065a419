//! Names under which the page may be asked for.
//!
//! What lives here: [`HostName`], a name that was checked, and [`AllowedHosts`], which tells
//! requests for the page from those for another name. A browser that was lured to a stranger's
//! name, which then leads to this machine (DNS rebinding), lets the stranger's scripts read what
//! comes back; the name in the request gives it away. The options and the program make names,
//! the heads are judged by them. It must never ask the network what a name means.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest host name and longest part of one, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
/// What names this machine everywhere.
const LOCALHOST: &str = "localhost";

/// A host name: in lower case, without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Box<str>);

/// It is no host name. Its `Display` says what is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHostName;

impl fmt::Display for NotAHostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "it is a host name alone, such as chat.example.org, of ASCII letters, digits, hyphens \
             and dots, without scheme, port or path",
        )
    }
}

impl std::error::Error for NotAHostName {}

impl HostName {
    /// A name as somebody typed it.
    ///
    /// # Errors
    /// It is no host name.
    pub fn parse(text: &str) -> Result<Self, NotAHostName> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label);
        if !is_name {
            return Err(NotAHostName);
        }
        Ok(HostName(name.to_ascii_lowercase().into()))
    }

    /// What the machine of this name is called: the name itself, its first part, by which its
    /// neighbours know it, and that part below `local`, where multicast DNS has it. None if the
    /// machine has no usable name.
    pub fn of_machine(name: &str) -> Vec<HostName> {
        let Ok(name) = HostName::parse(name) else {
            return Vec::new();
        };
        let short = name.0.split('.').next().unwrap_or_default();
        let names = [short.to_owned(), format!("{short}.local")];
        let mut names: Vec<HostName> = names
            .iter()
            .filter_map(|name| HostName::parse(name).ok())
            .collect();
        if !names.contains(&name) {
            names.push(name);
        }
        names
    }
}

fn is_label(label: &str) -> bool {
    // The underscore is in no host name by the book, but in some by custom.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(is_allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Why a request's host is not one of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHost {
    /// It is neither a host name nor an address.
    Malformed,
    /// It is a name that nobody allowed.
    Foreign,
}

/// The hosts for which the page answers: every address, `localhost`, and these names.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts(Vec<HostName>);

impl AllowedHosts {
    /// These names beside what is always allowed.
    pub fn new(names: Vec<HostName>) -> Self {
        AllowedHosts(names)
    }

    /// Judges a host with or without a port, as a request has it. An address is always good:
    /// nobody can make it lead elsewhere.
    ///
    /// # Errors
    /// It is not a host of the page.
    pub fn check(&self, authority: &str) -> Result<(), BadHost> {
        let (host, port) = split_port(authority);
        let is_port = port.is_empty() || port.parse::<u16>().is_ok();
        if !is_port || port.starts_with('+') {
            return Err(BadHost::Malformed);
        }
        if let Some(inside) = host.strip_prefix('[') {
            let address = inside.strip_suffix(']').ok_or(BadHost::Malformed)?;
            // Some say on which of their interfaces the address is.
            let address = address.split('%').next().unwrap_or_default();
            return match address.parse::<Ipv6Addr>() {
                Ok(_) => Ok(()),
                Err(_) => Err(BadHost::Malformed),
            };
        }
        if host.parse::<Ipv4Addr>().is_ok() {
            return Ok(());
        }
        let name = HostName::parse(host).map_err(|NotAHostName| BadHost::Malformed)?;
        if &*name.0 == LOCALHOST || self.0.contains(&name) {
            return Ok(());
        }
        Err(BadHost::Foreign)
    }
}

/// The host, and the port behind its colon; empty if there is none.
fn split_port(authority: &str) -> (&str, &str) {
    // The colons inside of brackets are the address's own.
    let end_of_address = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[end_of_address..].find(':') {
        Some(at) => {
            let (host, port) = authority.split_at(end_of_address + at);
            (host, &port[1..])
        }
        None => (authority, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn names(texts: &[&str]) -> Vec<HostName> {
        texts.iter().map(|text| name(text)).collect()
    }

    #[test]
    fn addresses_localhost_and_the_given_names_are_allowed() {
        let given = AllowedHosts::new(names(&["Box", "box.local", "chat.example.org."]));
        for good in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "192.168.1.7:1",
            "[::1]",
            "[::1]:8080",
            "[FE80::1%25eth0]:80",
            "[::ffff:10.0.0.1]",
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "localhost.:8080",
            "localhost:",
            "box",
            "BOX:65535",
            "box.local:8080",
            "box.local.",
            "chat.example.org",
            "Chat.Example.Org.:80",
        ] {
            assert_eq!(given.check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn other_names_are_foreign() {
        let given = AllowedHosts::new(names(&["box", "chat.example.org"]));
        for foreign in [
            "evil",
            "evil.example:8080",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "box.evil.example",
            "box.local",
            "example.org",
            "x.chat.example.org",
            "chat.example.orgx",
            // No address in the form that browsers send.
            "127.1",
            "2130706433",
            "0x7f000001",
        ] {
            assert_eq!(given.check(foreign), Err(BadHost::Foreign), "{foreign}");
        }
    }

    #[test]
    fn what_is_no_host_is_malformed() {
        let given = AllowedHosts::default();
        for malformed in [
            "",
            ":",
            ":8080",
            ".",
            "localhost..",
            "localhost:99999",
            "localhost:+1",
            "localhost:x",
            "localhost:1:2",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost/..",
            "local host",
            "localhost\\evil.example",
            "%6cocalhost",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[localhost]",
            "[127.0.0.1]",
            "evil.example[::1]",
            "[]",
            "é",
            "-x",
        ] {
            assert_eq!(
                given.check(malformed),
                Err(BadHost::Malformed),
                "{malformed}"
            );
        }
    }

    #[test]
    fn a_name_is_checked_and_folded() {
        assert_eq!(name("Chat.Example.ORG."), name("chat.example.org"));
        assert_eq!(name("a_b-c.d1"), name("A_B-C.d1"));
        let label = "x".repeat(MAX_LABEL_BYTES);
        assert!(HostName::parse(&label).is_ok());
        assert!(HostName::parse(&format!("{label}x")).is_err());
        let longest = [&label; 4].map(String::as_str).join(".");
        let longest = &longest[..MAX_NAME_BYTES];
        assert!(HostName::parse(longest).is_ok());
        assert!(HostName::parse(&format!("{longest}x")).is_err());
        for wrong in [
            "",
            ".",
            "a..b",
            ".a",
            "http://a",
            "a:80",
            "a/b",
            "*.a",
            "a b",
            "ä.example",
            "-a",
            "a-",
            "[::1]",
            "a\n",
        ] {
            assert_eq!(HostName::parse(wrong), Err(NotAHostName), "{wrong:?}");
        }
    }

    #[test]
    fn a_machine_is_known_by_its_name_and_below_local() {
        assert_eq!(HostName::of_machine("Box"), names(&["box", "box.local"]));
        assert_eq!(
            HostName::of_machine("box.local"),
            names(&["box", "box.local"])
        );
        assert_eq!(
            HostName::of_machine("box.example.org"),
            names(&["box", "box.local", "box.example.org"])
        );
        for unusable in ["", "(none)", "my box"] {
            assert_eq!(HostName::of_machine(unusable), []);
        }
    }
}
