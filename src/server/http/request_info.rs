//! What the header fields of a request say about the client.
//!
//! Fields are claims: a cookie can be wrong, and only browsers keep scripts from forging an origin.
//!
//! Sources: RFC 6265 (cookies), RFC 6454 (origins), RFC 7239 (proxies), RFC 9110 (media types,
//! codings), the W3C's Fetch Metadata, and the `Last-Event-ID` of the HTML standard.

use crate::chat::request::EventCursor;
use crate::chat::token::Token;
use crate::protocol::sse;
use crate::server::http::allowed_hosts::split_port;
use crate::server::network::ForwardedAddresses;
use std::net::{IpAddr, SocketAddr};

/// What the header fields of a request say about the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestInfo {
    /// Well-formed session secret from the cookie.
    pub(super) session: Option<Token>,
    /// Name of the session cookie. Browsers share cookies between ports, so the name has the port.
    pub(super) cookie: String,
    /// Newest event that the client has received.
    pub(super) last_event: Option<EventCursor>,
    /// Whether the request comes from a page of this server.
    pub(super) is_same_origin: bool,
    /// Whether a page of another site makes the browser send the request.
    pub(super) is_cross_site: bool,
    /// Whether the browser opens the address as a page.
    pub(super) is_navigation: bool,
    /// Whether a proxy passed the request on.
    pub(super) is_forwarded: bool,
    pub(super) x_forwarded_for: ForwardedAddresses,
    pub(super) forwarded: ForwardedAddresses,
    /// Whether the client used HTTPS, terminated by a proxy.
    pub(super) is_secure: bool,
    pub(super) has_json: bool,
    pub(super) accepts_gzip: bool,
}

/// Fields that proxies add.
const PROXY_FIELDS: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

pub(super) type Fields<'a, 'b> = &'a [httparse::Header<'b>];

pub(super) fn values<'a>(fields: Fields<'a, '_>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let is_named = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
    fields.iter().filter(is_named).map(|field| field.value)
}

fn texts<'a>(fields: Fields<'a, '_>, name: &str) -> impl Iterator<Item = &'a str> {
    values(fields, name).filter_map(|value| std::str::from_utf8(value).ok())
}

/// Returns the value of a field, or none if the field occurs more than once.
fn single<'a>(fields: Fields<'a, '_>, name: &str) -> Option<&'a str> {
    let mut found = texts(fields, name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn has_word(fields: Fields<'_, '_>, name: &str, word: &str) -> bool {
    values(fields, name).any(|value| value.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

impl RequestInfo {
    /// Reads the header fields of a request for this host and port.
    pub(super) fn from_fields(fields: Fields<'_, '_>, authority: &str) -> Self {
        let cookie = cookie_name(authority);
        let origin = single(fields, "origin").and_then(|origin| origin.split_once("://"));
        let is_same_origin = origin.is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https") && host.eq_ignore_ascii_case(authority)
        });
        RequestInfo {
            session: texts(fields, "cookie").find_map(|pairs| session_in(pairs, &cookie)),
            cookie,
            last_event: single(fields, "last-event-id").and_then(sse::parse_event_id),
            is_same_origin,
            is_cross_site: has_word(fields, "sec-fetch-site", "cross-site"),
            is_navigation: has_word(fields, "sec-fetch-mode", "navigate")
                && has_word(fields, "sec-fetch-dest", "document"),
            is_forwarded: PROXY_FIELDS
                .iter()
                .any(|name| values(fields, name).next().is_some()),
            x_forwarded_for: addresses(fields, "x-forwarded-for", parse_address),
            forwarded: addresses(fields, "forwarded", forwarded_element),
            is_secure: is_same_origin && origin.is_some_and(|(scheme, _)| scheme == "https"),
            has_json: single(fields, "content-type").is_some_and(is_json),
            accepts_gzip: texts(fields, "accept-encoding").any(accepts_gzip),
        }
    }

    /// Returns the `Set-Cookie` value for the session. Scripts cannot read the cookie, and requests
    /// from other sites do not carry it.
    pub(super) fn set_cookie(&self, value: &str, lifetime_seconds: u64) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!(
            "{}={value}; Path=/; Max-Age={lifetime_seconds}; HttpOnly; SameSite=Strict{secure}",
            self.cookie
        )
    }
}

fn addresses(
    fields: Fields<'_, '_>,
    name: &str,
    parse: fn(&str) -> Option<IpAddr>,
) -> ForwardedAddresses {
    // A value that is not text counts as one unreadable address.
    let lists = values(fields, name).map(|list| std::str::from_utf8(list).unwrap_or_default());
    lists.flat_map(|list| list.split(',')).map(parse).collect()
}

fn forwarded_element(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, address) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    parse_address(address.trim().trim_matches('"'))
}

/// Parses an address with an optional port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let without_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let inside = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: Option<IpAddr> = text.parse().ok().or_else(without_port).or_else(inside);
    Some(address?.to_canonical())
}

fn cookie_name(authority: &str) -> String {
    match split_port(authority) {
        (_, "") => "smolchat".to_owned(),
        (_, port) => format!("smolchat-{port}"),
    }
}

fn session_in(pairs: &str, name: &str) -> Option<Token> {
    let pairs = pairs.split(';').map(str::trim);
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.find_map(Token::parse)
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Returns whether the codings have gzip with a weight above zero.
fn accepts_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse() == Ok(0.0))
        });
        is_gzip && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(authority: &str, fields: &[(&str, &str)]) -> RequestInfo {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| httparse::Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        RequestInfo::from_fields(&fields, authority)
    }

    #[test]
    fn forwarded_addresses_are_read() {
        for (field, value, expected) in [
            ("X-Forwarded-For", "192.0.2.1, ::1", "192.0.2.1 ::1"),
            ("x-forwarded-for", "192.0.2.1:80,[::1]:80", "192.0.2.1 ::1"),
            ("X-Forwarded-For", "unknown", "-"),
            ("Forwarded", "for=192.0.2.1;proto=http", "192.0.2.1"),
            (
                "Forwarded",
                "by=x;For=\"[2001:db8::1]:80\", for=_a",
                "2001:db8::1 -",
            ),
        ] {
            let info = info("x", &[(field, value)]);
            let show = |address: &Option<IpAddr>| {
                address.map_or("-".to_owned(), |address| address.to_string())
            };
            let found = info.x_forwarded_for.iter().chain(&info.forwarded);
            let found: Vec<_> = found.map(show).collect();
            assert_eq!(found.join(" "), expected, "{value}");
        }
    }

    const SECRET: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn only_pages_of_this_host_and_port_are_same_origin() {
        for (host, origin, expected) in [
            ("localhost:8080", "http://localhost:8080", true),
            ("LocalHost:8080", "http://localhost:8080", true),
            ("chat.example", "https://chat.example", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("localhost:8080", "http://localhost:8081", false),
            ("localhost:8080", "http://localhost", false),
            ("localhost:8080", "http://evil.example", false),
            ("x:80", "http://x:80.evil.example", false),
            ("localhost:8080", "file://localhost:8080", false),
            ("localhost:8080", "null", false),
            ("localhost:8080", "", false),
        ] {
            let info = info(host, &[("Origin", origin)]);
            assert_eq!(info.is_same_origin, expected, "{host} {origin}");
            assert_eq!(info.is_secure, expected && origin.starts_with("https"));
        }
        assert!(!info("localhost", &[]).is_same_origin);
        let twice = [("origin", "http://x"), ("origin", "http://x")];
        assert!(!info("x", &twice).is_same_origin);
    }

    #[test]
    fn cookie_of_this_port_is_found() {
        let pairs = format!("a=b; smolchat={SECRET}x; smolchat-81={SECRET}; c=d");
        let of = |authority| info(authority, &[("cookie", &pairs)]).session;
        assert_eq!(of("x:81"), Token::parse(SECRET));
        assert_eq!(of("[::1]:81"), Token::parse(SECRET));
        assert_eq!(of("x:82"), None);
        assert_eq!(of("x"), None, "not a token");
        let info = info("x:81", &[("origin", "https://x:81")]);
        let cookie = "smolchat-81=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(info.set_cookie("x", 60), cookie);
    }

    #[test]
    fn json_depends_on_the_media_type_and_gzip_on_its_weight() {
        for (value, has_json, accepts_gzip) in [
            ("application/json", true, false),
            ("Application/JSON; charset=utf-8", true, false),
            ("text/plain", false, false),
            ("application/jsonx", false, false),
            ("gzip", false, true),
            ("br, GZIP;q=0.5", false, true),
            ("*", false, true),
            ("gzip;q=0", false, false),
            ("gzip; q=0.0, br", false, false),
            ("", false, false),
        ] {
            let fields = [("content-type", value), ("accept-encoding", value)];
            let info = info("x", &fields);
            let found = (info.has_json, info.accepts_gzip);
            assert_eq!(found, (has_json, accepts_gzip), "{value}");
        }
    }

    #[test]
    fn last_event_id_has_an_epoch_and_a_number() {
        let of = |id| info("x", &[("last-event-id", id)]).last_event;
        let cursor = of("18b-1f:42").unwrap();
        assert_eq!((&*cursor.epoch, cursor.id), ("18b-1f", 42));
        for none in ["42", "", ":", "x:", "x:-1", "x:99999999999999999999"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
