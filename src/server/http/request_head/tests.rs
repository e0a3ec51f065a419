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

/// Validates a request for the host `x` with these further fields.
fn validated_request(line: &str, fields: &str) -> Result<RequestHead, CloseReason> {
    let fields = match fields {
        "" => String::new(),
        fields => format!("{fields}\r\n"),
    };
    validated(&format!("{line}\r\nHost: x\r\n{fields}\r\n"))
}

#[test]
fn connection_stays_open_unless_the_client_closes_it() {
    for (line, fields, keep_alive) in [
        ("GET / HTTP/1.1", "", true),
        ("GET / HTTP/1.1", "Content-Length: 0", true),
        ("GET / HTTP/1.1", "Cookie: n=é", true),
        ("HEAD /a?b HTTP/1.1", "Connection: Close", false),
        ("GET / HTTP/1.1", "Connection: keep-alive, close", false),
        ("GET / HTTP/1.0", "", false),
    ] {
        let head = validated_request(line, fields);
        let validated = head.map(|head| head.keep_alive);
        assert_eq!(validated, Ok(keep_alive), "{line} {fields}");
    }
}

#[test]
fn each_invalid_head_has_its_reason() {
    use CloseReason::{
        Expectation, HasBody, HeadTooLarge, Malformed, MethodNotAllowed, OtherVersion,
    };
    for (line, reason) in [
        ("hello", Malformed),
        ("GET /é HTTP/1.1", Malformed),
        ("GET * HTTP/1.1", Malformed),
        ("GET x HTTP/1.1", Malformed),
        ("GET ftp://x/ HTTP/1.1", Malformed),
        ("GET /#x HTTP/1.1", Malformed),
        ("\nGET / HTTP/1.1", Malformed),
        ("GET / HTTP/1.1\nA: b", Malformed),
        ("GET / HTTP/2.0", OtherVersion),
        ("POST / HTTP/1.1", MethodNotAllowed),
        ("get / HTTP/1.1", MethodNotAllowed),
        ("OPTIONS * HTTP/1.1", MethodNotAllowed),
        ("CONNECT x:80 HTTP/1.1", MethodNotAllowed),
    ] {
        assert_eq!(validated_request(line, ""), Err(reason), "{line:?}");
    }
    let many = "A: b\r\n".repeat(MAX_FIELDS);
    for (fields, reason) in [
        ("Host: x", Malformed),
        ("bad header", Malformed),
        ("A: b\nC: d", Malformed),
        ("Content-Length: abc", Malformed),
        ("Content-Length: -1", Malformed),
        ("Content-Length:", Malformed),
        ("Content-Length: 0\r\nContent-Length: 5", Malformed),
        ("Content-Length: 5", HasBody),
        ("Content-Length: 99999999999999999999", HasBody),
        ("Transfer-Encoding: chunked", HasBody),
        ("Expect: 100-continue", Expectation),
        (many.trim_end(), HeadTooLarge),
    ] {
        let head = validated_request("GET / HTTP/1.1", fields);
        assert_eq!(head, Err(reason), "{fields:?}");
    }
    let without_host = validated("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(without_host, Err(Malformed));
}

#[test]
fn api_methods_and_bodies_pass_for_api_paths() {
    use CloseReason::{LengthRequired, MethodNotAllowed};
    for (target, expected) in [
        ("POST /api/messages", Ok(5)),
        ("PUT /api/x", Ok(5)),
        ("GET /api/users", Ok(5)),
        ("BREW /api/users", Err(MethodNotAllowed)),
        ("post /api/users", Err(MethodNotAllowed)),
        ("POST /x/../api/users", Err(MethodNotAllowed)),
    ] {
        let head = validated_request(&format!("{target} HTTP/1.1"), "Content-Length: 5");
        assert_eq!(head.map(|head| head.body_bytes), expected, "{target}");
    }
    let chunked = validated_request("POST /api/x HTTP/1.1", "Transfer-Encoding: chunked");
    assert_eq!(chunked, Err(LengthRequired));
}

#[test]
fn request_must_name_a_host_of_this_server() {
    use CloseReason::{Malformed, Misdirected};
    for (target, host, expected) in [
        ("/", "X:8080", Ok("/")),
        ("/", "chat.example.", Ok("/")),
        ("/", "evil.example", Err(Misdirected)),
        ("/", "", Err(Malformed)),
        ("/", "é", Err(Malformed)),
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
    assert!(validated("GET / HTTP/1.0\r\n\r\n").is_ok());
    let foreign = validated("GET http://evil.example/ HTTP/1.0\r\n\r\n");
    assert_eq!(foreign, Err(Misdirected));
}

#[test]
fn every_spelling_of_the_stream_path_is_recognised() {
    let cases = "/api/events /api/events?since=1 /./api/events /api/./events /api/%2e/events \
         /x/../api/events /x/%2E%2e/api/events /../api/events /api\\events \
         /api\\.\\events http://x/api/events http://x/api/x/..\\events";
    for path in cases.split(' ') {
        let new = validated_request(&format!("GET {path} HTTP/1.1"), "");
        assert_eq!(new.map(|head| head.is_stream), Ok(true), "{path}");
        let old = validated_request(&format!("GET {path} HTTP/1.0"), "");
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
            let head = validated_request(&format!("GET {path} HTTP/{version}"), "");
            assert_eq!(head.map(|head| head.is_stream), Ok(false), "{path}");
        }
    }
}

#[test]
fn head_ends_with_an_empty_line_and_is_invalid_with_bare_newlines() {
    assert_eq!(head_length(b"GET / HTTP/1.1\r\nHost: x\r\n"), None);
    assert_eq!(head_length(b"\r\n\r\nGET / HTTP/1.1\r\n\r\nmore"), Some(22));
    assert_eq!(head_length(b"\r\n\r\n"), None);
    assert_eq!(head_length(b"GET / HTTP/1.1\nHost: x\n\r"), None);
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
