//! The page by HTTP: documents, malformed requests, and the live stream.

use crate::support::http::{Events, Http, get, head_of, is_time};
use crate::support::{Chat, LineClient, PATIENCE, RealServer, eventually, unpaced};
use serde_json::json;
use smolchat::server::limits;
use smolchat::server::limits::{Limits, WebLimits};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

// What the page shows

#[test]
fn the_page_has_users_and_messages_in_the_html_that_the_server_sends() {
    let (chat, web) = Chat::with_page(Limits::default());
    let [mut alice, bob] = chat.room(["alice", "bob"]);
    alice.say_and_hear("said before anyone looked");
    let guest = chat.connect("guest");
    let page = get(web, "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let html = page.text();
    assert!(html.starts_with("<!doctype html>"), "{html}");
    for part in [
        "alice",
        "bob",
        &guest.address(),
        "said before anyone looked",
        "everyone is here",
    ] {
        assert!(html.contains(part), "{part:?} is missing in:\n{html}");
    }
    drop(bob);
    alice.skip_to("[Server]", "bob has left the chat");
    let users = get(web, "/api/users").text();
    assert!(!users.contains("bob"), "{users}");
}

#[test]
fn everything_that_users_wrote_is_escaped() {
    let (chat, web) = Chat::with_page(Limits::default());
    let [mut eve] = chat.room(["<i>&\"'x"]);
    eve.say_and_hear("</script><script>alert(\"1\")</script> & '2' {{users}}");
    let html = get(web, "/").text();
    assert!(html.contains("&lt;i&gt;&amp;&quot;&#39;x"), "{html}");
    assert!(html.contains("&lt;/script&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;2&#39; {{users}}"));
    assert!(
        !html.contains("<i>") && !html.contains("alert(\""),
        "{html}"
    );
}

#[test]
fn the_page_of_an_empty_chat_says_so() {
    let (_chat, web) = Chat::with_page(Limits::default());
    let html = get(web, "/").text();
    assert!(
        html.contains("No users") && html.contains("No messages yet"),
        "{html}"
    );
    assert_eq!(get(web, "/api/users").json(), json!({ "users": [] }));
    assert_eq!(
        get(web, "/api/messages").json(),
        json!({ "messages": [], "more": false })
    );
}

#[test]
fn api_users_has_names_and_times_in_order_of_arrival() {
    let (chat, web) = Chat::with_page(Limits::default());
    let [_alice, _bob] = chat.room(["alice", "bob"]);
    let guest = chat.connect("guest");
    let document = get(web, "/api/users").json();
    let users = document["users"].as_array().expect("a list");
    let names: Vec<&str> = users
        .iter()
        .filter_map(|user| user["name"].as_str())
        .collect();
    assert_eq!(names, ["alice", "bob", &guest.address()]);
    for user in users {
        assert!(
            is_time(&user["since"]) && user.as_object().is_some_and(|user| user.len() == 2),
            "{user}"
        );
    }
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(1));
}

#[test]
fn api_messages_has_what_was_said_oldest_first() {
    let (chat, web) = Chat::with_page(Limits {
        history_messages: 3,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    for text in ["gone", "one\ttab", "x"] {
        alice.say_and_hear(text);
    }
    alice.rename("alicia");
    alice.say("two\nlines");
    alice.expect("alicia", "two ↵ lines");
    let document = get(web, "/api/messages").json();
    let messages = document["messages"].as_array().expect("a list");
    let said: Vec<(&str, &str)> = messages
        .iter()
        .map(|message| {
            (
                message["source"].as_str().unwrap_or(""),
                message["message"].as_str().unwrap_or(""),
            )
        })
        .collect();
    // A newline is one here: only terminals need a sign for it.
    assert_eq!(
        said,
        [
            ("alice", "one\ttab"),
            ("alice", "x"),
            ("alicia", "two\nlines")
        ]
    );
    let ids: Vec<u64> = messages
        .iter()
        .filter_map(|message| message["id"].as_u64())
        .collect();
    // One arrival and one rename came before, one rename in between.
    assert_eq!(ids, [4, 5, 7]);
    for message in messages {
        assert!(
            is_time(&message["time"])
                && message
                    .as_object()
                    .is_some_and(|message| message.len() == 4),
            "{message}"
        );
    }
}

#[test]
fn readers_of_the_page_are_not_in_the_chat() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    get(web, "/");
    let mut events = Events::open(web);
    events.expect("snapshot");
    alice.request("users", "");
    alice.expect_notice("Connected users (1): alice");
    alice.say_and_hear("nobody came");
}

#[test]
fn healthz_tells_that_the_chat_is_alive() {
    let (_chat, web) = Chat::with_page(Limits::default());
    let answer = get(web, "/healthz");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
}

#[test]
fn the_files_of_the_page_are_there_and_nothing_is_loaded_from_elsewhere() {
    let (_chat, web) = Chat::with_page(Limits::default());
    let html = get(web, "/").text();
    let mut found = 0;
    for (attribute, ending, kind) in [
        ("href=\"", ".css", "text/css"),
        ("src=\"", ".js", "text/javascript"),
        ("href=\"", ".svg", "image/svg+xml"),
    ] {
        let addresses = html
            .split(attribute)
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        let address = addresses
            .into_iter()
            .find(|address| address.ends_with(ending))
            .expect(ending);
        assert!(
            address.starts_with('/') && !address.starts_with("//"),
            "{address}"
        );
        let file = get(web, address);
        assert_eq!(file.status, 200, "{address}");
        assert_eq!(file.header("content-type").split(';').next(), Some(kind));
        assert!(
            file.header("cache-control").contains("immutable"),
            "its address changes with it"
        );
        assert!(!file.body.is_empty());
        found += 1;
    }
    assert_eq!(found, 3);
    for forbidden in [
        "<style", " style=", " onload", " onclick", "http://", "https://",
    ] {
        assert!(!html.contains(forbidden), "{forbidden} in:\n{html}");
    }
}

// HTTP

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
        (
            "/",
            &["POST", "PUT", "DELETE", "PATCH", "OPTIONS"][..],
            "GET, HEAD",
        ),
        (
            "/api/messages",
            &["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"],
            "GET, HEAD, POST",
        ),
        ("/api/users", &["POST", "DELETE"], "GET, HEAD"),
        ("/api/events", &["POST", "DELETE"], "GET, HEAD"),
        ("/api/session", &["GET", "PUT"], "POST, DELETE"),
        ("/api/private", &["GET", "DELETE"], "POST"),
    ] {
        for method in methods {
            let mut http = Http::connect(web);
            http.send(&head_of(method, path));
            let answer = http.answer();
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
            http.expect_end();
        }
    }
    let mut http = Http::connect(web);
    http.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(http.answer().status, 405);
    http.expect_end();
    alice.say_and_hear("nobody said anything");
}

#[test]
fn every_document_has_the_security_headers() {
    let (_chat, web) = Chat::with_page(Limits::default());
    for path in ["/", "/api/users", "/api/messages", "/healthz", "/nothing"] {
        let answer = get(web, path);
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
            "{path}: {policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
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
fn what_is_no_good_request_gets_a_short_answer_and_an_end() {
    let (_chat, web) = Chat::with_page(Limits::default());
    for (request, statuses) in [
        ("hello\r\n\r\n", &[400][..]),
        ("GET / HTTP/1.1\r\n\r\n", &[400]),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
            &[400],
        ),
        (
            "GET /api/events HTTP/1.0\r\nHost: localhost\r\n\r\n",
            &[505],
        ),
        ("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", &[505]),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
            &[400, 413],
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400, 413],
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[400, 413],
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n",
            &[417],
        ),
        (
            "{\"type\":\"message\",\"data\":\"hello\"}\n\r\n\r\n",
            &[400],
        ),
    ] {
        let mut http = Http::connect(web);
        http.send(request.as_bytes());
        let answer = http.answer();
        assert!(statuses.contains(&answer.status), "{request:?}: {answer:?}");
        assert!(answer.body.len() < 500);
        http.expect_end();
    }
    assert_eq!(get(web, "/healthz").status, 200);
}

#[test]
fn odd_requests_are_answered_or_closed_and_harm_nothing() {
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
fn a_head_that_is_too_long_is_refused_and_not_stored() {
    let server = RealServer::start(&[]);
    let web = server.web.expect("a page");
    let mut http = Http::connect(web);
    let padding = "x".repeat(limits::WEB_MAX_HEAD_BYTES);
    http.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {padding}").as_bytes());
    assert_eq!(http.answer().status, 431);
    http.expect_end();
    // A head that just fits is read.
    let mut http = Http::connect(web);
    let frame = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: \r\n\r\n";
    let padding = "x".repeat(limits::WEB_MAX_HEAD_BYTES - 1 - frame.len());
    http.send(frame.replace("X: ", &format!("X: {padding}")).as_bytes());
    assert_eq!(http.answer().status, 200);
    // Without end and without a line end it is not stored either.
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
    let stream = http.reader.get_ref().try_clone().expect("a second handle");
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
fn too_many_connections_are_told_and_the_page_comes_back() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let server = RealServer::start(&[]);
    let web = server.web.expect("a page");
    // Each one has been answered, so the server counts it; then it waits for a next request.
    let open = || {
        let mut http = Http::connect(web);
        http.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        (http.answer().status, http)
    };
    let mut idle = Vec::new();
    let refused = loop {
        let (status, http) = open();
        if status != 200 {
            break (status, http);
        }
        idle.push(http);
        assert!(
            idle.len() <= limits::WEB_MAX_CONNECTIONS,
            "there is no bound"
        );
    };
    assert_eq!(refused.0, 503);
    assert_eq!(idle.len(), limits::WEB_MAX_CONNECTIONS);
    // The chat has places of its own.
    server.connect("alice");
    drop(idle);
    eventually(PATIENCE, "the page", || open().0 == 200);
}

// The live stream

#[test]
fn the_stream_begins_with_a_snapshot_and_goes_on_with_every_event() {
    let (chat, web) = Chat::with_page(Limits::default());
    let [mut alice] = chat.room(["alice"]);
    let mut events = Events::open(web);
    let snapshot = events.expect("snapshot").data;
    assert_eq!(snapshot["users"][0]["name"], "alice");
    assert_eq!(snapshot["messages"][0]["message"], "everyone is here");
    assert!(
        snapshot["epoch"]
            .as_str()
            .is_some_and(|epoch| !epoch.is_empty())
    );
    let last = snapshot["last"].as_u64().expect("a number");
    assert_eq!(snapshot["messages"][0]["id"].as_u64(), Some(last));

    let mut bob = chat.connect("bob");
    let address = bob.address();
    let joined = events.expect("joined");
    assert_eq!(
        (joined.id, &joined.data["name"]),
        (Some(last + 1), &json!(address))
    );
    bob.rename("bob");
    let renamed = events.expect("renamed");
    assert_eq!(renamed.data["name"], address);
    assert_eq!(renamed.data["new_name"], "bob");
    alice.say("two\nlines <b>");
    let message = events.expect("message");
    assert_eq!(message.data["source"], "alice");
    assert_eq!(message.data["message"], "two\nlines <b>");
    drop(bob);
    let left = events.expect("left");
    assert_eq!(left.data["name"], "bob");
    for (frame, id) in [(joined, 1), (renamed, 2), (message, 3), (left, 4)] {
        assert_eq!(frame.id, Some(last + id));
        assert_eq!(frame.data["id"].as_u64(), frame.id);
        assert!(is_time(&frame.data["time"]), "{frame:?}");
    }
    // A stream that begins now has all of it.
    let snapshot = Events::open(web).expect("snapshot").data;
    assert_eq!(snapshot["last"].as_u64(), Some(last + 4));
    assert_eq!(snapshot["messages"][1]["message"], "two\nlines <b>");
}

#[test]
fn streams_that_begin_while_others_talk_have_neither_gap_nor_repetition() {
    let (chat, web) = Chat::with_page(Limits {
        history_messages: 10,
        ..unpaced()
    });
    let mut talker = chat.join("talker");
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !enough.load(Ordering::Relaxed) {
                talker.say_and_hear(&number.to_string());
                number += 1;
            }
        });
        // Whatever happens in here, the talker ends.
        let _end = SetAtEnd(&enough);
        for _ in 0..20 {
            let mut events = Events::open(web);
            let snapshot = events.expect("snapshot");
            let last = snapshot.data["last"].as_u64().expect("a number");
            for next in last + 1..last + 21 {
                assert_eq!(events.expect("message").id, Some(next));
            }
        }
    });
}

/// Says that it is over when it is dropped, also by a panic.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_crowd_is_summarised_in_the_chat_but_not_on_the_page() {
    let (chat, web) = Chat::with_page(Limits {
        announce_limit: 0,
        ..Limits::default()
    });
    let mut events = Events::open(web);
    events.expect("snapshot");
    let guests: Vec<LineClient> = (0..5)
        .map(|number| chat.connect(&number.to_string()))
        .collect();
    for guest in &guests {
        assert_eq!(events.expect("joined").data["name"], guest.address());
    }
}

#[test]
fn the_stream_says_bye_when_the_server_stops() {
    let (mut chat, web) = Chat::with_page(Limits::default());
    let mut events = Events::open(web);
    events.expect("snapshot");
    let mut alice = chat.join("alice");
    events.expect("joined");
    events.expect("renamed");
    chat.begin_stop();
    alice.expect_notice("The server is shutting down");
    assert_eq!(events.expect("bye").data["reason"], "shutdown");
    assert_eq!(events.next(), None);
    chat.wait_for_end();
}

#[test]
fn too_many_streams_are_told_and_a_gone_one_makes_room() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut streams: Vec<Events> = (0..limits::WEB_MAX_STREAMS)
        .map(|_| Events::open(web))
        .collect();
    let answer = get(web, "/api/events");
    assert_eq!(answer.status, 503);
    assert!(
        answer.header("retry-after").parse::<u32>().is_ok(),
        "{answer:?}"
    );
    // The page itself is still there.
    assert_eq!(get(web, "/").status, 200);
    drop(streams.pop());
    // That it is gone is noticed by what cannot be written to it.
    let mut number = 0;
    eventually(PATIENCE, "room for another stream", || {
        number += 1;
        alice.say_and_hear(&number.to_string());
        let mut http = Http::connect(web);
        http.send(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        http.head().status == 200
    });
}
