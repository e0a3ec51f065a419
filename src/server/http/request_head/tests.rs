use super::*;
use crate::server::host_name::HostName;
use proptest::prelude::*;

/// Validates a head for the host names `x` and `chat.example`.
fn validated(head: &str) -> Result<RequestHead, CloseReason> {
    let names = ["x", "chat.example"].map(|name| HostName::parse(name).unwrap());
    validate_head(head.as_bytes(), &AllowedHosts::new(names.to_vec()))
}

/// Returns the path and query that the routes get.
fn target_of(head: RequestHead) -> String {
    let url = head.url.as_str();
    url.strip_prefix("http://localhost").unwrap().to_owned()
}

#[test]
fn valid_heads_pass_and_say_whether_the_connection_stays_open() {
    for (head, keep_alive) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true),
        (
            "HEAD /a?b HTTP/1.1\r\nhost: x\r\nConnection: Close\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", false),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
            false,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nCookie: n=é\r\n\r\n", true),
    ] {
        let validated = validated(head).map(|head| head.keep_alive);
        assert_eq!(validated, Ok(keep_alive), "{head:?}");
    }
}

#[test]
fn each_invalid_head_has_its_reason() {
    use CloseReason::{
        Expectation, HasBody, HeadTooLarge, Malformed, MethodNotAllowed, Misdirected, OtherVersion,
    };
    let many = format!("Host: x\r\n{}", "A: b\r\n".repeat(MAX_FIELDS));
    for (line, fields, reason) in [
        ("hello", "", Malformed),
        ("GET / HTTP/1.1", "", Malformed),
        ("GET / HTTP/1.1", "Host: x\r\nHost: x", Malformed),
        ("GET / HTTP/1.0", "Host: x\r\nHost: x", Malformed),
        ("GET / HTTP/1.1", "Host:", Malformed),
        ("GET / HTTP/1.1", "Host: é", Malformed),
        ("GET / HTTP/1.1", "Host: x y", Malformed),
        ("GET /é HTTP/1.1", "Host: x", Malformed),
        ("GET * HTTP/1.1", "Host: x", Malformed),
        ("GET x HTTP/1.1", "Host: x", Malformed),
        ("GET ftp://x/ HTTP/1.1", "Host: x", Malformed),
        ("GET /#x HTTP/1.1", "Host: x", Malformed),
        ("GET /api/events HTTP/1.0", "", OtherVersion),
        ("GET / HTTP/2.0", "Host: x", OtherVersion),
        ("POST / HTTP/1.0", "", MethodNotAllowed),
        ("POST / HTTP/1.1", "Host: x", MethodNotAllowed),
        ("get / HTTP/1.1", "Host: x", MethodNotAllowed),
        ("OPTIONS * HTTP/1.1", "Host: x", MethodNotAllowed),
        ("CONNECT x:80 HTTP/1.1", "Host: x", MethodNotAllowed),
        (
            "POST / HTTP/1.1",
            "Host: x\r\nContent-Length: 5",
            MethodNotAllowed,
        ),
        ("POST / HTTP/1.1", "Host: evil.example", Misdirected),
        ("GET / HTTP/1.1", "Host: x\r\nContent-Length: 5", HasBody),
        (
            "GET / HTTP/1.1",
            "Host: x\r\nTransfer-Encoding: chunked",
            HasBody,
        ),
        (
            "GET / HTTP/1.1",
            "Host: x\r\nExpect: 100-continue",
            Expectation,
        ),
        (
            "GET / HTTP/1.1",
            "Host: x\r\nContent-Length: abc",
            Malformed,
        ),
        ("GET / HTTP/1.1", "Host: x\r\nContent-Length: -1", Malformed),
        ("GET / HTTP/1.1", "Host: x\r\nContent-Length:", Malformed),
        (
            "GET / HTTP/1.1",
            "Host: x\r\nContent-Length: 0\r\nContent-Length: 5",
            Malformed,
        ),
        (
            "GET / HTTP/1.1",
            "Host: x\r\nContent-Length: 99999999999999999999",
            HasBody,
        ),
        ("GET / HTTP/1.1\nHost: x", "A: b", Malformed),
        ("GET / HTTP/1.1", "Host: x\nA: b", Malformed),
        ("\nGET / HTTP/1.1", "Host: x", Malformed),
        ("GET / HTTP/1.1", many.trim_end(), HeadTooLarge),
    ] {
        let head = match fields {
            "" => format!("{line}\r\n\r\n"),
            _ => format!("{line}\r\n{fields}\r\n\r\n"),
        };
        assert_eq!(validated(&head), Err(reason), "{head:?}");
    }
}

#[test]
fn api_methods_and_bodies_pass_for_api_paths() {
    for (method, path, expected) in [
        ("POST", "/api/messages", Ok(5)),
        ("PUT", "/api/x", Ok(5)),
        ("GET", "/api/users", Ok(5)),
        ("BREW", "/api/users", Err(CloseReason::MethodNotAllowed)),
        (
            "POST",
            "/x/../api/users",
            Err(CloseReason::MethodNotAllowed),
        ),
    ] {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
        let body_bytes = validated(&head).map(|head| head.body_bytes);
        assert_eq!(body_bytes, expected, "{head:?}");
    }
    let chunked = "POST /api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(validated(chunked), Err(CloseReason::LengthRequired));
}

#[test]
fn request_must_name_a_host_of_this_server() {
    use CloseReason::{Malformed, Misdirected};
    for (target, host, expected) in [
        ("/", "x", Ok("/")),
        ("/", "X:8080", Ok("/")),
        ("/", "chat.example.", Ok("/")),
        ("/", "localhost", Ok("/")),
        ("/", "10.0.0.1:80", Ok("/")),
        ("/", "[::1]:80", Ok("/")),
        ("/", "evil.example", Err(Misdirected)),
        ("/", "x.evil.example:8080", Err(Misdirected)),
        ("/", "evil.example@x", Err(Malformed)),
        // A host in the target overrides the field.
        ("http://x/a?b", "evil.example", Ok("/a?b")),
        ("HTTP://X", "x", Ok("/")),
        ("https://localhost:1?b", "x", Ok("/?b")),
        ("http://evil.example/", "x", Err(Misdirected)),
        ("http://evil.example:80?x", "x", Err(Misdirected)),
        ("HtTpS://evil.example", "x", Err(Misdirected)),
        ("http://x@evil.example/", "x", Err(Malformed)),
        ("http://", "x", Err(Malformed)),
        ("http:///", "x", Err(Malformed)),
        ("http://x#@evil.example/", "x", Err(Malformed)),
        // A target with two slashes is a path.
        ("//evil.example/", "x", Ok("//evil.example/")),
    ] {
        for version in ["1.0", "1.1"] {
            let head = format!("GET {target} HTTP/{version}\r\nHost: {host}\r\n\r\n");
            let expected = expected.map(str::to_owned);
            assert_eq!(validated(&head).map(target_of), expected, "{head:?}");
        }
    }
    // HTTP/1.0 may omit the field, but a foreign target stays foreign.
    for (target, expected) in [
        ("/", Ok("/".to_owned())),
        ("http://evil.example/", Err(Misdirected)),
    ] {
        let head = validated(&format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(head.map(target_of), expected, "{target}");
    }
}

#[test]
fn every_spelling_of_the_stream_path_is_recognised() {
    let cases = "/api/events /api/events?since=1 /./api/events /api/./events /api/%2e/events \
         /x/../api/events /x/%2E%2e/api/events /../api/events /api\\events \
         /api\\.\\events http://x/api/events http://x/api/x/..\\events";
    for path in cases.split(' ') {
        let new = validated(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(new.map(|head| head.is_stream), Ok(true), "{path}");
        let old = validated(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert_eq!(old, Err(CloseReason::OtherVersion), "{path}");
    }
}

/// Other paths get a response deadline and are allowed in HTTP/1.0.
#[test]
fn no_other_path_is_a_stream() {
    let cases = "/ /?/api/events /api/users?x=/api/events /x/api/events /api/eventsx \
         /api/events/ /api/events/x /api/events/../users //api/events /api//events \
         /API/EVENTS /api/%65vents /api%2fevents /api%5Cevents";
    for path in cases.split(' ') {
        for version in ["1.0", "1.1"] {
            let head = validated(&format!("GET {path} HTTP/{version}\r\nHost: x\r\n\r\n"));
            assert_eq!(head.map(|head| head.is_stream), Ok(false), "{path}");
        }
    }
}

#[test]
fn head_ends_with_an_empty_line() {
    assert_eq!(head_length(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
    assert_eq!(head_length(b"\r\n\r\nGET / HTTP/1.1\r\n\r\nmore"), Some(22));
    assert_eq!(head_length(b"\r\n\r\n"), None);
    assert_eq!(head_length(b"GET / HTTP/1.1\nHost: x\n\r"), None);
}

#[test]
fn bare_newlines_end_a_head_which_is_then_rejected() {
    for (head, rest) in [
        ("GET / HTTP/1.1\nHost: x\n\n", "GET"),
        ("GET / HTTP/1.1\nHost: x\n\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n", "\r\n"),
        // httparse finds the end of a head at the same place.
        ("GET / HTTP/1.1\r\nA: b\n\n", "C: d\r\n\r\n"),
    ] {
        let bytes = format!("{head}{rest}").into_bytes();
        assert_eq!(head_length(&bytes), Some(head.len()), "{head:?}");
        assert_eq!(validated(head), Err(CloseReason::Malformed), "{head:?}");
    }
}

#[test]
fn head_method_is_recognised_in_a_partial_request() {
    for (bytes, expected) in [
        ("HEAD / HTTP/1.1\r\n\r\n", true),
        ("\r\nHEAD /", true),
        ("HEAD", false),
        ("HEADER / HTTP/1.1", false),
        ("GET / HTTP/1.1\r\nA: HEAD / ", false),
        ("", false),
    ] {
        assert_eq!(is_head_request(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_validated_or_rejected(
        method in "GET|HEAD|POST|\\PC{0,4}",
        target in "/|/api/events|(/|http://x)\\PC{0,40}",
        fields in "(Host: x\r\n)?(\\PC{0,20}: \\PC{0,20}\r\n){0,3}",
    ) {
        let head = format!("{method} {target} HTTP/1.1\r\n{fields}\r\n");
        if let Ok(valid) = validated(&head) {
            prop_assert!(valid.url.as_str().is_ascii());
            prop_assert_eq!(head_length(head.as_bytes()), Some(head.len()));
        }
    }
}
