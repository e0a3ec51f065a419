//! Who asks: what a request's head tells about the browser that sent it.
//!
//! What lives here: [`RequestInfo`], read once from the fields of a head that was judged, so that no
//! route ever looks at a field itself. It must never trust more than it says: a cookie is a secret
//! that may be wrong, an origin a claim that browsers do not let scripts make.
//!
//! Sources: RFC 6265 (cookies), RFC 6454 (origins), RFC 9110 (media types, codings), and the
//! `Last-Event-ID` of the HTML standard.

use crate::chat::request::EventCursor;
use crate::chat::token::Token;
use crate::protocol::sse;

/// What is known of who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The secret in the session's cookie, if there is one that can be one.
    pub session: Option<Token>,
    /// The name of that cookie: browsers do not tell the ports of a host apart, so it does.
    pub cookie: String,
    /// The newest event that it has got.
    pub last_event: Option<EventCursor>,
    /// Whether the page itself asks, as the browser says.
    pub is_same_origin: bool,
    /// Whether it came encrypted to whatever stands before this server.
    pub is_secure: bool,
    /// Whether what it sends calls itself JSON.
    pub has_json: bool,
    /// Whether it takes what is compressed with gzip.
    pub accepts_gzip: bool,
}

/// The fields of a head.
pub type Fields<'a, 'b> = &'a [httparse::Header<'b>];

/// Values of a field that stands at most once; none if it stands more often.
fn single<'a>(fields: Fields<'a, '_>, name: &str) -> Option<&'a str> {
    let mut found = values(fields, name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn values<'a>(fields: Fields<'a, '_>, name: &str) -> impl Iterator<Item = &'a str> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .filter_map(|field| std::str::from_utf8(field.value).ok())
}

impl RequestInfo {
    /// Reads the fields of a request for this host.
    pub fn read(fields: Fields<'_, '_>, authority: &str) -> Self {
        let cookie = cookie_name(authority);
        let origin = single(fields, "origin").and_then(|origin| origin.split_once("://"));
        let is_same_origin = origin.is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https") && host.eq_ignore_ascii_case(authority)
        });
        RequestInfo {
            session: values(fields, "cookie").find_map(|pairs| session_in(pairs, &cookie)),
            cookie,
            last_event: single(fields, "last-event-id").and_then(sse::place_of),
            is_same_origin,
            is_secure: is_same_origin && origin.is_some_and(|(scheme, _)| scheme == "https"),
            has_json: single(fields, "content-type").is_some_and(is_json),
            accepts_gzip: values(fields, "accept-encoding").any(accepts_gzip),
        }
    }

    /// The field that gives the browser its secret: no script sees it, and no other site's request
    /// carries it.
    pub fn cookie_with(&self, token: &Token, lifetime_seconds: u64) -> String {
        self.cookie_of(&token.secret(), lifetime_seconds)
    }

    /// The field that takes it away.
    pub fn cookie_without(&self) -> String {
        self.cookie_of("", 0)
    }

    fn cookie_of(&self, value: &str, lifetime_seconds: u64) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!(
            "{}={value}; Path=/; Max-Age={lifetime_seconds}; HttpOnly; SameSite=Strict{secure}",
            self.cookie
        )
    }
}

/// The name of the session's cookie on this host and port.
fn cookie_name(authority: &str) -> String {
    let after_address = authority.rfind(']').map_or(0, |at| at + 1);
    let port = authority[after_address..].split_once(':');
    match port {
        Some((_, port)) if !port.is_empty() => format!("smolchat-{port}"),
        _ => "smolchat".to_owned(),
    }
}

fn session_in(pairs: &str, name: &str) -> Option<Token> {
    let mut pairs = pairs
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(key, value)| (key == name).then(|| Token::parse(value)).flatten())
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Whether gzip is among the codings, and not with the weight zero.
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

    fn caller(authority: &str, fields: &[(&str, &str)]) -> RequestInfo {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| httparse::Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        RequestInfo::read(&fields, authority)
    }

    const SECRET: &str = "000102030405060708090a0b0c0d0e0f";

    #[test]
    fn the_page_itself_is_told_from_others() {
        for (host, origin, expected) in [
            ("localhost:8080", "http://localhost:8080", true),
            ("LocalHost:8080", "http://localhost:8080", true),
            ("chat.example", "https://chat.example", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("localhost:8080", "http://localhost:8081", false),
            ("localhost:8080", "http://localhost", false),
            ("localhost:8080", "http://evil.example", false),
            (
                "localhost:8080",
                "http://localhost:8080.evil.example",
                false,
            ),
            ("localhost:8080", "file://localhost:8080", false),
            ("localhost:8080", "null", false),
            ("localhost:8080", "", false),
        ] {
            let caller = caller(host, &[("Origin", origin)]);
            assert_eq!(caller.is_same_origin, expected, "{host} {origin}");
            assert_eq!(caller.is_secure, expected && origin.starts_with("https"));
        }
        assert!(!caller("localhost", &[]).is_same_origin);
        let twice = [("origin", "http://x"), ("origin", "http://x")];
        assert!(!caller("x", &twice).is_same_origin);
    }

    #[test]
    fn the_cookie_of_this_port_is_found() {
        let pairs = format!("a=b; smolchat={SECRET}x; smolchat-81={SECRET}; c=d");
        let of = |authority| caller(authority, &[("cookie", &pairs)]).session;
        assert_eq!(of("x:81"), Token::parse(SECRET));
        assert_eq!(of("[::1]:81"), Token::parse(SECRET));
        assert_eq!(of("x:82"), None);
        assert_eq!(of("x"), None, "it is no token");
        let caller = caller("x:81", &[("origin", "https://x:81")]);
        let token = Token::parse(SECRET).unwrap();
        assert_eq!(
            caller.cookie_with(&token, 60),
            format!("smolchat-81={SECRET}; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure")
        );
        assert!(
            caller
                .cookie_without()
                .starts_with("smolchat-81=; Path=/; Max-Age=0;")
        );
    }

    #[test]
    fn json_is_told_by_its_type_and_gzip_by_its_weight() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonx", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let caller = caller("x", &[("content-type", value)]);
            assert_eq!(caller.has_json, expected, "{value}");
        }
        for (value, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("identity", false),
            ("", false),
        ] {
            let caller = caller("x", &[("accept-encoding", value)]);
            assert_eq!(caller.accepts_gzip, expected, "{value}");
        }
    }

    #[test]
    fn the_last_event_is_of_a_life_of_the_server() {
        let of = |id| caller("x", &[("last-event-id", id)]).last_event;
        let place = of("18b-1f:42").unwrap();
        assert_eq!((&*place.epoch, place.id), ("18b-1f", 42));
        for none in ["42", "", ":", "x:", "x:-1", "x:99999999999999999999"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
