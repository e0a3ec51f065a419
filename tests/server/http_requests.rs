//! Malformed, foreign and unusual HTTP requests.

use crate::http_limits::{ask, is_a_refusal, start};
use crate::support::http::{Http, get, head_of};
use crate::support::{Chat, RealServer};
use smolchat::server::limits;
use smolchat::server::limits::{Limits, WebLimits};
use std::io::Write;
use std::thread;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

#[test]
fn unknown_addresses_are_404() {
    let (_chat, web) = Chat::with_page(Limits::default());
    for path in [
        "/nothing",
        "/api",
        "/api/",
        "/api/users/x",
        "/../etc/passwd",
        "/%2e%2e/x",
        "/index.html",
        "//",
        // An encoded letter is another letter.
        "/api/%65vents",
        "/api%2fevents",
        "/api%5cevents",
        "//api/events",
    ] {
        let answer = get(web, path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.text().trim().is_empty());
    }
}

#[test]
fn other_methods_are_405() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    for (path, methods, allowed) in [
        ("/", "POST PUT DELETE PATCH OPTIONS get", "GET, HEAD"),
        ("/healthz", "POST TRACE", "GET, HEAD"),
        (
            "/api/messages",
            "PUT DELETE PATCH OPTIONS TRACE",
            "GET, HEAD, POST",
        ),
        ("/api/users", "POST DELETE", "GET, HEAD"),
        ("/api/events", "POST DELETE", "GET, HEAD"),
        ("/api/session", "GET PUT", "POST, DELETE"),
        ("/api/private", "GET DELETE", "POST"),
    ] {
        for method in methods.split(' ') {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
                 Connection: close\r\n\r\nhello"
            );
            let answer = ask(web, &request);
            is_a_refusal(&answer, 405, &allowed.replace(", ", " and "));
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        }
    }
    alice.say_and_hear("nobody said anything");
}

#[test]
fn head_is_get_without_the_body() {
    let (chat, web) = Chat::with_page(Limits::default());
    let _room = chat.room(["alice"]);
    for path in ["/", "/api/users", "/api/messages", "/healthz", "/nothing"] {
        let mut http = Http::connect(web);
        http.send(&head_of("HEAD", path));
        let head = http.head();
        http.expect_end();
        let whole = get(web, path);
        assert_eq!(head.status, whole.status, "{path}");
        for name in [
            "content-type",
            "content-security-policy",
            "x-content-type-options",
        ] {
            assert_eq!(head.header(name), whole.header(name), "{path}: {name}");
        }
    }
    // It does not become a stream that never ends.
    let mut http = Http::connect(web);
    http.send(&head_of("HEAD", "/api/events"));
    assert_eq!(http.head().status, 200);
    http.expect_end();
}

#[test]
fn a_connection_serves_several_requests_also_when_they_come_at_once() {
    let (_chat, web) = Chat::with_page(Limits::default());
    let mut http = Http::connect(web);
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..3 {
        http.send(request);
        assert_eq!(http.answer().text(), "ok\n");
    }
    http.send(&request.repeat(3));
    for _ in 0..3 {
        assert_eq!(http.answer().text(), "ok\n");
    }
    for byte in request {
        http.send(std::slice::from_ref(byte));
    }
    assert_eq!(http.answer().text(), "ok\n");
}

#[test]
fn odd_requests_are_answered_or_closed() {
    let server = RealServer::start(&["--log", "trace"]);
    let web = server.web.expect("a page");
    let heads: [&[u8]; 30] = [
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%ff%00%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /?\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://other:99999/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET //// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x:y@z/..\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xc3\xbc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\xff: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Type: \xff;;=\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nForwarded: for=\"\xff\"; by=;;\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: \xff\r\nConnection: close\r\n\r\n",
        b"\r\n\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for head in heads {
        let mut http = Http::connect(web);
        http.send(head);
        http.finish_sending();
        // An answer with a status, or the end; nothing else, and not silence.
        let first = http.line();
        let shown = String::from_utf8_lossy(head).into_owned();
        assert!(
            first.is_empty() || first.starts_with("HTTP/1.1 "),
            "{shown:?}: {first:?}"
        );
        assert_eq!(get(web, "/healthz").status, 200, "after {shown:?}");
    }
    server.connect("alice");
    let log = server.stderr.text();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_head_without_end_is_not_stored() {
    let server = RealServer::start(&[]);
    let web = server.web.expect("a page");
    let memory = server.memory_may_grow(16 * MIB);
    for _ in 0..10 {
        let mut http = Http::connect(web);
        let chunk = vec![b'x'; 100 * 1024];
        // The server stops reading at some point.
        http.patience = Duration::from_millis(500);
        let _ = (0..200).try_for_each(|_| http.try_send(&chunk));
    }
    memory.check(&server);
    assert_eq!(get(web, "/healthz").status, 200);
}

#[test]
fn a_slow_head_is_closed_however_steadily_it_drips() {
    let (_chat, web) = Chat::with_page(Limits {
        web: WebLimits {
            head_timeout: Duration::from_secs(1),
            ..WebLimits::default()
        },
        ..Limits::default()
    });
    let mut http = Http::connect(web);
    let stream = http.link.try_clone().expect("a second handle");
    // A byte now and then, for as long as the server takes them.
    let dripping = thread::spawn(move || {
        let mut stream = stream;
        let head = [
            &b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "[..],
            &b"x".repeat(1000),
        ]
        .concat();
        for byte in head {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let answer = http.answer();
    assert_eq!(answer.status, 408, "{answer:?}");
    http.expect_end();
    drop(http);
    dripping.join().expect("it ends when the connection does");
}

#[test]
fn each_wrong_request_gets_its_own_answer() {
    let (_chat, web) = start(WebLimits::default());
    let line_without_end = "x".repeat(limits::WEB_MAX_HEAD_BYTES);
    let long_field = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {line_without_end}");
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let missing = String::from_utf8(head_of("GET", "/nothing")).expect("ASCII");
    for (request, status, words) in [
        ("hello\r\n\r\n", 400, "not valid HTTP"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "not valid HTTP"),
        (&missing, 404, "nothing at this address"),
        (&get("Content-Length: 5\r\n"), 413, "No request body"),
        (&get("Expect: 100-continue\r\n"), 417, "without Expect"),
        (
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            421,
            "--web-name",
        ),
        (&line_without_end, 431, "larger than 8 KiB"),
        (&long_field, 431, "larger than 8 KiB"),
        (&get(&"X: y\r\n".repeat(100)), 431, "larger than 8 KiB"),
        ("GET / HTTP/9.9\r\n\r\n", 505, "Only HTTP/1.1"),
    ] {
        let plain = ask(web, request);
        is_a_refusal(&plain, status, words);
        let Some(target) = request.strip_prefix("GET /") else {
            continue;
        };
        // RFC 9110, section 9.3.2: the response to HEAD has no body.
        let head = ask(web, &format!("HEAD /{target}"));
        assert_eq!((head.status, head.body.len()), (status, 0), "{head:?}");
        assert_eq!(
            head.header("content-length"),
            plain.header("content-length")
        );
        if status != 413 {
            let problem = ask(web, &format!("GET /api/{target}"));
            is_a_refusal(&problem, status, words);
            assert_eq!(problem.header("content-type"), "application/problem+json");
        }
    }
}

#[test]
fn a_head_of_exactly_8_kib_is_answered() {
    let (_chat, web) = start(WebLimits::default());
    for (extra, status, words) in [
        (0, 404, "nothing at this address"),
        (1, 431, "larger than 8 KiB"),
    ] {
        let end = " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let frame = "GET /".len() + end.len();
        let path = "a".repeat(limits::WEB_MAX_HEAD_BYTES - frame + extra);
        is_a_refusal(&ask(web, &format!("GET /{path}{end}")), status, words);
    }
}

#[test]
fn requests_of_other_sites_and_proxies_get_less() {
    let (_chat, web) = start(WebLimits::default());
    let other = "Sec-Fetch-Site: cross-site";
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document";
    for (path, fields, status) in [
        ("/api/messages", "Sec-Fetch-Site: same-origin", 200),
        ("/api/messages", "sec-fetch-site: none", 200),
        ("/api/messages", other, 403),
        ("/api/messages?q=x", "SEC-FETCH-SITE: Cross-Site", 403),
        ("/api/messages", link, 403),
        ("/api/events", other, 403),
        ("/x/../api/events", other, 403),
        ("/api/openapi.json", other, 403),
        ("/?q=x", other, 403),
        ("/m/1", other, 403),
        ("/", link, 200),
        ("/?q=x", link, 200),
        ("/healthz", other, 200),
        ("/metrics", "Accept: */*", 200),
        ("/metrics", "X-Forwarded-For: 127.0.0.1", 403),
        ("/metrics", "forwarded: for=127.0.0.1", 403),
        ("/metrics", "Via: 1.1 proxy", 403),
        ("/metrics", "X-Real-IP: ::1", 403),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(ask(web, &request).status, status, "{path} {fields}");
    }
}
