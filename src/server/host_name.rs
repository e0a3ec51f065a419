//! Host names under which the web page may be reached.

/// Maximum bytes of a host name and of one of its labels (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// A valid host name in lower case, without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Box<str>);

const INVALID: &str = "it is a host name alone, such as chat.example.org, of ASCII letters, digits, \
                       hyphens and dots, without scheme, port or path";

impl HostName {
    /// Validates a host name.
    ///
    /// # Errors
    /// The text is not a host name; the error describes a valid one.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label);
        if !is_name {
            return Err(INVALID);
        }
        Ok(HostName(name.to_ascii_lowercase().into()))
    }

    /// Returns the names of a machine: its first label, that label below `local` (multicast DNS),
    /// and the full name. An invalid name yields none.
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

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    // RFC 1123 excludes the underscore, but some host names have one.
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(is_allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn names_are_validated_and_converted_to_lower_case() {
        assert_eq!(name("Chat.Example.ORG."), name("chat.example.org"));
        assert_eq!(name("a_b-c.d1"), name("A_B-C.d1"));
        let label = "x".repeat(MAX_LABEL_BYTES);
        assert!(HostName::parse(&label).is_ok());
        assert!(HostName::parse(&format!("{label}x")).is_err());
        let longest = [&label; 4].map(String::as_str).join(".");
        let longest = &longest[..MAX_NAME_BYTES];
        assert!(HostName::parse(longest).is_ok());
        assert!(HostName::parse(&format!("{longest}x")).is_err());
        let wrong = "|.|a..b|.a|http://a|a:80|a/b|*.a|a b|ä.example|-a|a-|[::1]|a\n";
        for wrong in wrong.split('|') {
            assert_eq!(HostName::parse(wrong), Err(INVALID), "{wrong:?}");
        }
    }

    #[test]
    fn machine_has_a_short_name_a_local_name_and_a_full_name() {
        for (machine, expected) in [
            ("Box", &["box", "box.local"][..]),
            ("box.local", &["box", "box.local"]),
            ("box.example.org", &["box", "box.local", "box.example.org"]),
            ("", &[]),
            ("(none)", &[]),
            ("my box", &[]),
        ] {
            let names = HostName::of_machine(machine);
            let names: Vec<_> = names.iter().map(HostName::as_str).collect();
            assert_eq!(names, expected, "{machine:?}");
        }
    }
}
