//! Documents of the page: HTML, JSON, assets, headers.

use crate::support::http::{Answer, Events, Http, get, is_time};
use crate::support::{Chat, PATIENCE, RealServer, eventually};
use serde_json::json;
use smolchat::server::limits;
use smolchat::server::limits::Limits;
use std::io::Read;
use std::net::SocketAddr;

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
fn api_messages_lists_messages_oldest_first() {
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

/// Asks for a document as a browser does, which takes gzip.
fn get_packed(web: SocketAddr, path: &str) -> Answer {
    let mut http = Http::connect(web);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br\r\n\r\n");
    http.send(request.as_bytes());
    let answer = http.answer();
    assert_eq!(answer.header("content-encoding"), "gzip", "{path}");
    answer
}

fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(&answer.body[..]);
    reader.read_to_end(&mut bytes).expect("gzip");
    bytes
}

#[test]
fn long_documents_are_compressed_for_clients_that_take_it() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    alice.say_many(50, "the same words again");
    for path in [
        "/",
        "/?q=words",
        "/m/10",
        "/api/messages",
        "/api/messages?limit=40",
    ] {
        let plain = get(web, path);
        let packed = get_packed(web, path);
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        for answer in [&plain, &packed] {
            assert_eq!(answer.header("vary"), "accept-encoding", "{path}");
        }
        assert!(packed.body.len() < plain.body.len() / 2, "{path}");
        assert_eq!(unpacked(&packed), plain.body, "{path}");
    }
}

#[test]
fn page_serves_all_its_files_and_compresses_them_on_request() {
    let (_chat, web) = Chat::with_page(Limits::default());
    let html = get(web, "/").text();
    for (attribute, ending, kind) in [
        ("href=\"/", ".css", "text/css"),
        ("src=\"/", ".js", "text/javascript"),
        ("href=\"/", ".svg", "image/svg+xml"),
    ] {
        let addresses = html.split(attribute).skip(1);
        let mut addresses = addresses.filter_map(|rest| rest.split('"').next());
        let address = addresses.find(|address| address.ends_with(ending));
        let address = address.expect(ending);
        let plain = get(web, &format!("/{address}"));
        assert_eq!(plain.header("content-encoding"), "");
        let packed = get_packed(web, &format!("/{address}"));
        for answer in [&plain, &packed] {
            assert_eq!(answer.status, 200, "{address}");
            assert_eq!(answer.header("content-type").split(';').next(), Some(kind));
            assert_eq!(answer.header("vary"), "accept-encoding");
            // The address changes with the content.
            assert!(answer.header("cache-control").contains("immutable"));
        }
        assert!(packed.body.len() < plain.body.len(), "{address}");
        assert_eq!(unpacked(&packed), plain.body, "{address}");
    }
    for forbidden in [
        "<style", " style=", " onload", " onclick", "http://", "https://",
    ] {
        assert!(!html.contains(forbidden), "{forbidden} in:\n{html}");
    }
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
fn page_reports_full_server_and_reconnects() {
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
