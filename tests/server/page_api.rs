//! The API of the page: join, talk, presence, limits, and rejected requests.

use crate::page_user::{Browser, SHORT, description, must_be_described, problem};
use crate::support::http::{Events, Http, get, head_of, is_time};
use crate::support::{Chat, RealServer, skip};
use serde_json::{Value, json};
use smolchat::limits::MAX_REJECTIONS_IN_A_ROW;
use smolchat::server::http::api::ROUTES;
use smolchat::server::limits::Limits;
use smolchat::server::{ServerConfig, WebConfig};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn browser_is_a_user_like_any_other() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "Eve");
    alice.expect_notice("Eve has entered the chat");
    alice.request("users", "");
    alice.expect_notice("Connected users (2): alice, Eve");
    let mut events = eve.listen();
    assert_eq!(events.expect("session").data["name"], "Eve");

    let id = eve.say("two\nlines");
    alice.expect("Eve", "two ↵ lines");
    let heard = events.expect("message");
    assert_eq!(
        (heard.id, &heard.data["message"]),
        (Some(id), &json!("two\nlines"))
    );
    let answer = eve.post(
        "/api/messages",
        &json!({ "message": "waves", "action": true }),
    );
    assert_eq!(answer.status, 201);
    alice.expect("Eve", "* waves");
    assert_eq!(events.expect("message").data["action"], true);
    alice.say_and_hear("hello, Eve");
    assert_eq!(events.expect("message").data["source"], "alice");

    let answer = eve.post("/api/session", &json!({ "name": "Eva" }));
    assert_eq!(
        (answer.status, &answer.json()["name"]),
        (200, &json!("Eva"))
    );
    alice.expect_notice("Eve renamed to Eva");
    assert_eq!(events.expect("renamed").data["new_name"], "Eva");

    assert_eq!(eve.act("DELETE", "/api/session", "").status, 200);
    alice.expect_notice("Eva has left the chat");
    assert_eq!(events.skip_to("left").data["name"], "Eva");
    assert_eq!(eve.cookie, "smolchat=");
    eve.must_be_refused(
        "/api/messages",
        &json!({ "message": "x" }),
        403,
        "no-session",
    );
    alice.say_and_hear("it is gone");
    assert_eq!(
        events.skip_to("message").data["message"],
        "it is gone",
        "it may read on"
    );
}

#[test]
fn api_rejects_what_the_chat_rejects() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut eve = Browser::new(web);
    eve.must_be_refused(
        "/api/session",
        &json!({ "name": "ALICE" }),
        409,
        "name-taken",
    );
    for name in [
        "",
        "a: b",
        "[Server]",
        "127.0.0.1:80",
        "x\u{202e}y",
        &"x".repeat(33),
    ] {
        eve.must_be_refused("/api/session", &json!({ "name": name }), 422, "bad-name");
    }
    assert_eq!(eve.cookie, "", "nobody has joined");
    let mut eve = Browser::join(web, "eve");
    alice.expect_notice("eve has entered the chat");
    let say = "/api/messages";
    eve.must_be_refused(say, &json!({ "message": " \n" }), 422, "blank-message");
    let problem = eve.must_be_refused(
        say,
        &json!({ "message": "x".repeat(4097) }),
        413,
        "message-too-long",
    );
    assert_eq!(problem["limit"], 4096);
    eve.must_be_refused(
        say,
        &json!({ "message": "x", "nonce": "" }),
        422,
        "bad-nonce",
    );
    let whisper = json!({ "target": "nobody", "message": "x" });
    eve.must_be_refused("/api/private", &whisper, 404, "no-such-user");
    eve.must_be_refused(
        "/api/session",
        &json!({ "name": "Alice" }),
        409,
        "name-taken",
    );
    for (body, code) in [
        ("", "not-json"),
        ("{", "not-json"),
        ("[]", "bad-data"),
        ("{}", "bad-data"),
        (r#"{"message":1}"#, "bad-data"),
        (r#"{"message":"x","message":"y"}"#, "bad-data"),
        (r#"{"message":"x","action":"yes"}"#, "bad-data"),
    ] {
        self::problem(&eve.act("POST", say, body), 400, code);
    }
    // Every byte of the longest message may be an escape of six.
    let escaped = format!(r#"{{"message":"{}"}}"#, r"\u0078".repeat(4096));
    assert_eq!(eve.act("POST", say, &escaped).status, 201);
    alice.expect("eve", &"x".repeat(4096));
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(40_000));
    self::problem(&eve.act("POST", say, &long), 413, "body");
    alice.say_and_hear("nothing else was said");
}

#[test]
fn too_many_refusals_in_a_row_end_a_session() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    let mut events = eve.listen();
    alice.expect_notice("eve has entered the chat");
    let blank = json!({ "message": "" });
    for _ in 0..MAX_REJECTIONS_IN_A_ROW {
        eve.must_be_refused("/api/messages", &blank, 422, "blank-message");
    }
    eve.say("an accepted one starts the count again");
    alice.expect("eve", "an accepted one starts the count again");
    for _ in 0..MAX_REJECTIONS_IN_A_ROW {
        eve.must_be_refused("/api/messages", &blank, 422, "blank-message");
    }
    eve.must_be_refused("/api/messages", &blank, 403, "refused");
    alice.expect_notice("eve has left the chat");
    assert_eq!(events.skip_to("left").data["name"], "eve");
    eve.must_be_refused("/api/messages", &blank, 403, "no-session");
}

#[test]
fn requests_of_other_origins_are_rejected() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    alice.expect_notice("eve has entered the chat");
    let origin = "Origin: http://localhost\r\n";
    let json = "Content-Type: application/json\r\n";
    for (method, path, body) in [
        ("POST", "/api/session", r#"{"name":"x"}"#),
        ("POST", "/api/messages", r#"{"message":"x"}"#),
        (
            "POST",
            "/api/private",
            r#"{"target":"alice","message":"x"}"#,
        ),
        ("DELETE", "/api/session", ""),
    ] {
        for foreign in ["", "Origin: http://evil.example\r\n"] {
            let answer = eve.send(method, path, &format!("{foreign}{json}"), body);
            problem(&answer, 403, "foreign-origin");
        }
        for kind in ["", "Content-Type: text/plain\r\n"] {
            let answer = eve.send(method, path, &format!("{origin}{kind}"), body);
            problem(&answer, 415, "bad-content-type");
        }
    }
    alice.say_and_hear("nothing happened");
}

#[test]
fn repeated_nonce_is_said_once() {
    let (chat, web) = Chat::with_page(Limits {
        grace: SHORT,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    let said = json!({ "message": "once", "nonce": "n1" });
    let first = eve.post("/api/messages", &said);
    let again = eve.post("/api/messages", &said);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json(), again.json());
    alice.expect_notice("eve has entered the chat");
    alice.expect("eve", "once");
    // Also after it was gone, and came back with its cookie.
    alice.expect_notice("eve has left the chat");
    assert_eq!(
        eve.post("/api/session", &json!({ "name": "eve" })).status,
        201
    );
    assert_eq!(eve.post("/api/messages", &said).json(), first.json());
    alice.expect_notice("eve has entered the chat");
    let whisper = json!({ "target": "alice", "message": "once", "nonce": "n2" });
    assert_eq!(eve.post("/api/private", &whisper).status, 200);
    assert_eq!(eve.post("/api/private", &whisper).status, 200);
    alice.expect("eve (private)", "once");
    alice.say_and_hear("not twice");
}

#[test]
fn private_messages_reach_current_and_later_streams() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    let mut bob = Browser::join(web, "bob");
    let (mut first, mut second, mut other) = (eve.listen(), eve.listen(), bob.listen());
    alice.skip_to("[Server]", "bob has entered the chat");
    let whisper = json!({ "target": "eve", "message": "for you\nalone" });
    assert_eq!(bob.post("/api/private", &whisper).status, 200);
    for (events, is_own) in [
        (&mut first, false),
        (&mut second, false),
        (&mut other, true),
    ] {
        let private = events.skip_to("private").data;
        assert_eq!(
            (&private["source"], &private["target"], &private["message"]),
            (&json!("bob"), &json!("eve"), &json!("for you\nalone"))
        );
        assert_eq!(private["own"], is_own);
        assert!(is_time(&private["time"]), "{private}");
    }
    // The server still takes both streams for open, but the browser reads neither.
    let whisper = json!({ "target": "eve", "message": "unread" });
    assert_eq!(bob.post("/api/private", &whisper).status, 200);
    drop((first, second));
    let whisper = json!({ "target": "eve", "message": "just gone" });
    assert_eq!(bob.post("/api/private", &whisper).status, 200);
    let line = br#"{"type":"private","data":{"target":"eve","message":"of the chat"}}"#;
    alice.send_raw(&[line, &b"\n"[..]].concat());
    alice.say("sent");
    alice.skip_to("alice", "sent");
    let whisper = json!({ "target": "alice", "message": "a copy" });
    assert_eq!(eve.post("/api/private", &whisper).status, 200);
    // Each new stream begins with all of them, under the same numbers.
    let all = |events: &mut Events| {
        let mut texts = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let private = events.skip_to("private").data;
            ids.push(private["id"].as_u64().expect("a number"));
            texts.push(private["message"].as_str().expect("a text").to_owned());
        }
        let distances: Vec<_> = ids.iter().map(|id| id - ids[0]).collect();
        assert_eq!(distances, [0, 1, 2, 3, 4]);
        texts.sort();
        assert_eq!(
            texts,
            [
                "a copy",
                "for you\nalone",
                "just gone",
                "of the chat",
                "unread"
            ]
        );
        ids
    };
    let (mut first, mut second) = (eve.listen(), eve.listen());
    assert_eq!(all(&mut first), all(&mut second));
    eve.say("back");
    for events in [&mut first, &mut second] {
        assert_eq!(events.expect("message").data["message"], "back");
    }
}

#[test]
fn tabs_share_a_user_that_leaves_after_the_last_closes() {
    let (chat, web) = Chat::with_page(Limits {
        grace: SHORT,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    alice.expect_notice("eve has entered the chat");
    let (first, second) = (eve.listen(), eve.listen());
    drop(first);
    std::thread::sleep(SHORT + SHORT / 2);
    eve.say("one tab is enough");
    alice.expect("eve", "one tab is enough");
    let since = Instant::now();
    drop(second);
    alice.expect_notice("eve has left the chat");
    let took = since.elapsed();
    assert!(took >= SHORT / 2, "{took:?}");
    // Back in time, nothing is told.
    let mut eve = Browser::join(web, "eve");
    alice.expect_notice("eve has entered the chat");
    for _ in 0..3 {
        drop(eve.listen());
    }
    let _events = eve.listen();
    std::thread::sleep(SHORT + SHORT / 2);
    eve.say("here all the time");
    alice.expect("eve", "here all the time");
}

#[test]
fn browser_without_stream_leaves_after_the_grace_time() {
    let (chat, web) = Chat::with_page(Limits {
        grace: SHORT,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    alice.expect_notice("eve has entered the chat");
    // Whoever asks for something is there.
    for number in 0..3 {
        std::thread::sleep(SHORT / 2);
        eve.say(&number.to_string());
        alice.expect("eve", &number.to_string());
    }
    alice.expect_notice("eve has left the chat");
    eve.must_be_refused(
        "/api/messages",
        &json!({ "message": "x" }),
        403,
        "no-session",
    );
    let mut events = eve.listen();
    assert!(events.expect("session").data["name"].is_null());
}

#[test]
fn browser_uses_a_slot() {
    let (chat, web) = Chat::with_page(Limits {
        max_clients: 2,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    alice.expect_notice("eve has entered the chat");
    let mut events = eve.listen();
    events.skip_to("session");
    let mut bob = chat.connect_raw("bob");
    bob.expect_notice("The chat is full (2 users); try again later");
    let mut other = Browser::new(web);
    let problem = other.must_be_refused("/api/session", &json!({ "name": "dan" }), 503, "full");
    assert_eq!(
        problem["detail"],
        "The chat is full (2 users); try again later"
    );
    eve.act("DELETE", "/api/session", "");
    alice.expect_notice("eve has left the chat");
    let _bob = chat.join("bob");
    other.must_be_refused("/api/session", &json!({ "name": "dan" }), 503, "full");
}

#[test]
fn browser_without_stream_gives_way_to_a_newcomer() {
    let (chat, web) = Chat::with_page(Limits {
        max_clients: 2,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let mut eve = Browser::join(web, "eve");
    alice.expect_notice("eve has entered the chat");
    let _bob = chat.join("bob");
    alice.expect_notice("eve has left the chat");
    let said = json!({ "message": "x" });
    eve.must_be_refused("/api/messages", &said, 403, "no-session");
}

#[test]
fn limits_per_address_apply_to_browsers() {
    let (_chat, web) = Chat::with_page(Limits {
        max_clients_per_address: Some(1),
        ..Limits::default()
    });
    let eve = Browser::join(web, "eve");
    let mut events = eve.listen();
    events.skip_to("session");
    let mut other = Browser::new(web);
    other.must_be_refused(
        "/api/session",
        &json!({ "name": "dan" }),
        503,
        "address-full",
    );
    let (_chat, web) = Chat::with_page(Limits {
        connects_per_minute: Some(2),
        ..Limits::default()
    });
    let [_eve, _bob] = ["eve", "bob"].map(|name| Browser::join(web, name));
    let mut other = Browser::new(web);
    let problem = other.must_be_refused("/api/session", &json!({ "name": "dan" }), 429, "too-fast");
    assert!(
        problem["retry_after_ms"].as_u64() > Some(20_000),
        "{problem}"
    );
}

#[test]
fn rate_limited_browser_gets_a_retry_time() {
    let (chat, web) = Chat::with_page(Limits {
        rate_per_second: 1,
        burst_lines: 3,
        ..Limits::default()
    });
    let mut eve = Browser::join(web, "eve");
    for number in 0..3 {
        eve.say(&number.to_string());
    }
    let said = json!({ "message": "too fast", "nonce": "n" });
    let problem = eve.must_be_refused("/api/messages", &said, 429, "too-fast");
    let wait = problem["retry_after_ms"].as_u64().expect("a wait");
    assert!(wait <= 1000, "{problem}");
    std::thread::sleep(Duration::from_millis(wait));
    assert_eq!(eve.post("/api/messages", &said).status, 201);
    drop(chat);
}

#[test]
fn read_only_page_rejects_requests_to_talk() {
    let chat = Chat::with_config(ServerConfig {
        web: Some(WebConfig {
            is_read_only: true,
            ..Chat::config_with_web().web.expect("a page")
        }),
        ..Chat::config()
    });
    let web = chat.web.expect("a page");
    let mut eve = Browser::new(web);
    eve.must_be_refused("/api/session", &json!({ "name": "eve" }), 403, "read-only");
    eve.must_be_refused(
        "/api/messages",
        &json!({ "message": "x" }),
        403,
        "read-only",
    );
    assert!(get(web, "/").text().contains("data-kind=\"read-only\""));
    let mut alice = chat.join("alice");
    let mut events = Events::open(web);
    events.expect("snapshot");
    alice.say_and_hear("to readers");
    assert_eq!(events.expect("message").data["message"], "to readers");
}

#[test]
fn browser_token_is_invalid_in_the_chat() {
    let (chat, web) = Chat::with_page(Limits::default());
    let eve = Browser::join(web, "eve");
    let token = eve.cookie.split_once('=').expect("a value").1;
    let mut bob = chat.connect("bob");
    let hello =
        json!({ "type": "hello", "data": { "version": 2, "client": "x/1", "token": token } });
    bob.send_raw(format!("{hello}\n").as_bytes());
    let welcome = bob.next_line().expect("a line");
    let welcome: Value = serde_json::from_slice(&welcome).expect("JSON");
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(welcome["data"]["name"], bob.address());
    assert_ne!(welcome["data"]["token"], token);
}

#[test]
fn openapi_description_matches_the_routes() {
    let (_chat, web) = Chat::with_page(Limits::default());
    let answer = get(web, "/api/openapi.json");
    let mut served = description();
    let cookie = &mut served["components"]["securitySchemes"]["session"]["name"];
    *cookie = json!("smolchat");
    assert_eq!(answer.json(), served);
    let paths = description()["paths"].clone();
    let described = paths.as_object().expect("paths");
    let routes: Vec<_> = ROUTES
        .iter()
        .filter(|(_, methods)| !methods.is_empty())
        .collect();
    assert_eq!(described.len(), routes.len());
    for (path, methods) in routes {
        let operations = described[*path].as_object().expect(path);
        let mut of_route: Vec<String> = methods
            .split(", ")
            .filter(|method| *method != "HEAD")
            .map(str::to_lowercase)
            .collect();
        let mut of_description: Vec<String> = operations.keys().cloned().collect();
        of_route.sort();
        of_description.sort();
        assert_eq!(of_description, of_route, "{path}");
        let mut http = Http::connect(web);
        http.send(&head_of("PATCH", path));
        assert_eq!(http.answer().header("allow"), *methods, "{path}");
    }
    for path in ["/api/users", "/api/messages"] {
        must_be_described("GET", path, &get(web, path));
    }
}

#[test]
#[ignore = "slow"]
fn a_fuzzer_made_from_the_description_finds_nothing() {
    let program = ["schemathesis", "st"].into_iter().find(|program| {
        let mut command = Command::new(program);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    });
    let Some(program) = program else {
        let reason = "no schemathesis is installed: the API was not fuzzed";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        return skip(reason);
    };
    let server = RealServer::start(&["--rate", "1000000", "--burst", "1000000"]);
    let web = server.web.expect("a page");
    let eve = Browser::join(web, "eve");
    let _events = eve.listen();
    let (_, token) = eve.cookie.split_once('=').expect("a cookie");
    let folder = std::env::temp_dir().join(format!("smolchat-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("schemathesis.toml");
    // A name that cannot be one, a search of too many words: no schema tells all of that.
    let expected = "[checks]\n\
                    positive_data_acceptance.expected-statuses = \
                    [\"2xx\", \"403\", \"404\", \"409\", \"422\", \"429\"]\n\
                    negative_data_rejection.expected-statuses = \
                    [\"400\", \"403\", \"404\", \"409\", \"413\", \"415\", \"422\", \"429\", \"431\"]\n";
    let session = format!("[auth.openapi.session]\napi_key = \"{token}\"\n");
    std::fs::write(&config, format!("{expected}{session}")).expect("written");
    let output = Command::new(program)
        .current_dir(&folder)
        .arg("--config-file")
        .arg(&config)
        .args([
            "--no-color",
            "run",
            &format!("http://{web}/api/openapi.json"),
        ])
        .args(["--header", &format!("Origin: http://{web}")])
        // A stream has no end that it could wait for.
        .args([
            "--exclude-path",
            "/api/events",
            "--max-examples",
            "40",
            "--max-time",
            "40",
            // The same cases each time: what others find becomes a test with a name.
            "--seed",
            "20",
        ])
        .output()
        .expect("it runs");
    let _ = std::fs::remove_dir_all(folder);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let mut alice = server.join("alice");
    alice.say_and_hear("the server goes on");
}

#[test]
fn open_page_warns_at_the_start() {
    for (arguments, sentence) in [
        (
            &["--web-host", "0.0.0.0"][..],
            "can read and write there, unencrypted; --web-read-only",
        ),
        (
            &["--web-host", "0.0.0.0", "--web-read-only"],
            "can read the chat there",
        ),
    ] {
        let server = RealServer::start(arguments);
        server.stderr.wait_for(sentence);
    }
    let server = RealServer::start(&[]);
    server.stderr.wait_for("only this machine can connect");
    assert!(
        !server
            .stderr
            .text()
            .contains("address of the page can read")
    );
}
