//! History on the page: pages, search, resumed streams, and the page without scripts.

use crate::page_user::{Browser, must_be_described, problem};
use crate::support::http::{Events, get};
use crate::support::{Chat, PATIENCE, RealServer};
use serde_json::{Value, json};
use smolchat::limits::MAX_PAGE_MESSAGES;
use smolchat::server::limits::Limits;

#[test]
fn history_has_pages_and_a_search() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    for number in 1..=20 {
        alice.say_and_hear(&format!(
            "message {number} {}",
            if number % 5 == 0 { "five" } else { "" }
        ));
    }
    let read = |query: &str| {
        let answer = get(web, &format!("/api/messages{query}"));
        must_be_described("GET", "/api/messages", &answer);
        let document = answer.json();
        let ids: Vec<u64> = document["messages"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|message| message["id"].as_u64())
            .collect();
        (ids, document["more"] == true)
    };
    // The arrival and the rename came first.
    assert_eq!(read(""), ((3..=22).collect(), false));
    assert_eq!(read("?limit=3"), (vec![20, 21, 22], true));
    assert_eq!(read("?before=6"), (vec![3, 4, 5], false));
    assert_eq!(read("?before=6&limit=2"), (vec![4, 5], true));
    assert_eq!(read("?after=20"), (vec![21, 22], false));
    assert_eq!(read("?after=0&limit=2"), (vec![3, 4], true));
    assert_eq!(read("?after=4&before=7"), (vec![5, 6], false));
    assert_eq!(read("?q=five"), (vec![7, 12, 17, 22], false));
    assert_eq!(read("?q=five&limit=1"), (vec![22], true));
    assert_eq!(read("?q=five&before=17&limit=1"), (vec![12], true));
    assert_eq!(read("?q=five&after=12"), (vec![17, 22], false));
    assert_eq!(read("?q=nothing+like+it"), (vec![], false));
    assert_eq!(read("?before=9223372036854775807&unknown=x").0.len(), 20);
    for (query, status, code) in [
        ("?limit=0", 400, "bad-limit"),
        ("?limit=-1", 400, "bad-parameter"),
        ("?before=x", 400, "bad-parameter"),
        ("?after=", 400, "bad-parameter"),
        ("?before=1&before=2", 400, "bad-parameter"),
        ("?after=9223372036854775808", 400, "bad-parameter"),
        ("?q=%29", 422, "bad-query"),
        ("?q=five+%F0%9F%8E%89", 422, "bad-query"),
    ] {
        let answer = get(web, &format!("/api/messages{query}"));
        must_be_described("GET", "/api/messages", &answer);
        problem(&answer, status, code);
    }
    let unclosed = get(web, "/api/messages?q=%22five");
    must_be_described("GET", "/api/messages", &unclosed);
    problem(&unclosed, 422, "bad-query");
    let long = |length| format!("/api/messages?q={}", "x".repeat(length));
    problem(&get(web, &long(513)), 422, "bad-query");
    problem(&get(web, &long(9000)), 431, "head-too-large");
}

#[test]
fn history_is_readable_without_scripts() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    for number in 1..=120 {
        alice.say_and_hear(&format!("number {number}."));
    }
    let page = get(web, "/?before=102").text();
    assert!(
        page.contains(">number 99.<") && !page.contains(">number 100.<"),
        "{page}"
    );
    assert!(
        page.contains(">number 50.<") && !page.contains(">number 49.<"),
        "{page}"
    );
    assert!(page.contains("data-kind=\"history\""));
    let older = page.split("rel=\"prev\" href=\"").nth(1).expect("a link");
    let older = older.split('"').next().expect("its end");
    assert_eq!(older, "/?before=52");
    let page = get(web, older).text();
    assert!(
        page.contains(">number 49.<") && page.contains(">number 1.<"),
        "{page}"
    );
    assert!(!page.contains("rel=\"prev\""));

    let page = get(web, "/?q=number+7").text();
    assert!(
        page.contains(">number 7.<") && !page.contains(">number 8.<"),
        "{page}"
    );
    assert!(page.contains("value=\"number 7\""));
    assert!(page.contains("<a href=\"/\">Back to the live chat</a>"));
    let page = get(web, "/?q=%22number%22&limit=1").text();
    let older = "rel=\"prev\" href=\"/?q=%22number%22&amp;before=";
    assert!(page.contains(older), "{page}");
    let page = get(web, "/?q=%3Cb%3E").text();
    assert!(
        page.contains("No messages found for “&lt;b&gt;”."),
        "{page}"
    );
    assert!(page.contains("value=\"&lt;b&gt;\""), "{page}");
    assert!(!page.contains("<b>"));

    let page = get(web, "/m/62").text();
    assert!(
        page.contains("<li id=\"m62\" class=\"line message"),
        "{page}"
    );
    assert_eq!(page.matches(" marked\"").count(), 1);
    assert!(
        page.contains(">number 60.<") && page.contains(">number 85.<"),
        "{page}"
    );
    for nothing in [
        "/m/1",
        "/m/999",
        "/m/x",
        "/m/-1",
        "/m/99999999999999999999",
        "/m/",
    ] {
        assert_eq!(get(web, nothing).status, 404, "{nothing}");
    }
    assert_eq!(get(web, "/?before=x").status, 400);
}

#[test]
fn reconnected_stream_gets_missed_events() {
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    let mut events = Events::open(web);
    let snapshot = events.expect("snapshot");
    alice.say_and_hear("heard");
    let heard = events.expect("message");
    drop(events);
    for text in ["missed 1", "missed 2"] {
        alice.say_and_hear(text);
    }
    let reader = Browser::new(web);
    let mut events = reader.listen_after(&heard.place);
    assert_eq!(
        events.expect("resumed").data,
        json!({ "complete": true, "missed": 2 })
    );
    assert_eq!(events.expect("message").data["message"], "missed 1");
    let last = events.expect("message");
    let now = events.expect("snapshot").data;
    assert_eq!(now["messages"], json!([]), "it has them");
    assert_eq!(now["last"].as_u64(), last.id);
    alice.say_and_hear("live");
    assert_eq!(events.expect("message").data["message"], "live");
    // Nothing missed, nothing told again.
    let mut events = reader.listen_after(&last.place.replace(
        &format!(":{}", last.id.expect("a number")),
        &format!(":{}", last.id.expect("a number") + 1),
    ));
    assert_eq!(
        events.expect("resumed").data,
        json!({ "complete": true, "missed": 0 })
    );
    events.expect("snapshot");
    // Another life of the server, or nonsense.
    for place in ["0-0:1", &snapshot.place.replace(':', ":9"), "x"] {
        let mut events = reader.listen_after(place);
        let first = events.next().expect("a frame");
        if place == "x" {
            assert_eq!(first.event, "snapshot");
        } else {
            assert_eq!(
                (first.event.as_str(), &first.data["complete"]),
                ("resumed", &json!(false))
            );
            assert_eq!(
                events.expect("snapshot").data["messages"][0]["message"],
                "heard"
            );
        }
    }
}

#[test]
fn dropped_events_are_reported_as_a_gap() {
    let (chat, web) = Chat::with_page(Limits {
        history_messages: 5,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    let mut events = Events::open(web);
    let start = events.expect("snapshot").place;
    drop(events);
    for number in 0..5 {
        alice.say_and_hear(&number.to_string());
    }
    let reader = Browser::new(web);
    let mut events = reader.listen_after(&start);
    assert_eq!(
        events.expect("resumed").data,
        json!({ "complete": true, "missed": 5 })
    );
    alice.say_and_hear("one too many");
    let mut events = reader.listen_after(&start);
    let resumed = events.expect("resumed").data;
    assert_eq!(resumed["complete"], false);
    let snapshot = events.expect("snapshot").data;
    assert_eq!(snapshot["messages"][0]["id"], resumed["oldest"]);
    assert_eq!(snapshot["messages"].as_array().map(Vec::len), Some(5));
}

#[test]
fn store_restores_everything_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("smolchat-page-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("chat.db");
    let database = file.to_str().expect("a path");
    let mut first = RealServer::start(&["--db", database, "--history", "3"]);
    let web = first.web.expect("a page");
    let mut eve = Browser::join(web, "eve");
    let mut events = eve.listen_after("");
    let place = events.expect("snapshot").place;
    let said = json!({ "message": "stored", "nonce": "n" });
    let id = eve.post("/api/messages", &said).json()["id"].clone();
    for number in 0..10 {
        eve.say(&number.to_string());
    }
    first.signal("TERM");
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    let second = RealServer::start(&["--db", database, "--history", "3"]);
    let mut eve = Browser {
        web: second.web.expect("a page"),
        ..eve
    };
    // The same user, the same nonce, and more than is held in memory.
    assert_eq!(eve.post("/api/messages", &said).json()["id"], id);
    let mut events = eve.listen_after(&place);
    assert_eq!(events.expect("resumed").data["complete"], true);
    assert_eq!(events.expect("message").data["message"], "stored");
    for number in 0..10 {
        assert_eq!(events.expect("message").data["message"], number.to_string());
    }
    let snapshot = events.skip_to("snapshot").data;
    assert_eq!(snapshot["users"][0]["name"], "eve");
    assert_eq!(events.expect("session").data["name"], "eve");
    let mut bob = second.join("bob");
    eve.say("still here");
    bob.skip_to("eve", "still here");
    drop(second);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_long_history_comes_in_pages() {
    let (chat, web) = Chat::with_page(Limits {
        history_messages: 1000,
        rate_per_second: crate::support::UNPACED,
        burst_lines: crate::support::UNPACED,
        ..Limits::default()
    });
    let mut alice = chat.join("alice");
    for number in 0..=2 * MAX_PAGE_MESSAGES {
        alice.say_and_hear(&number.to_string());
    }
    let mut heard = Vec::new();
    let mut path = "/api/messages".to_owned();
    loop {
        let page = get(web, &path).json();
        let messages = page["messages"].as_array().expect("messages");
        assert!(messages.len() <= MAX_PAGE_MESSAGES, "{}", messages.len());
        let texts = messages.iter().rev().map(|one| one["message"].clone());
        heard.extend(texts);
        if page["more"] != json!(true) {
            break;
        }
        let limit = MAX_PAGE_MESSAGES;
        path = format!("/api/messages?before={}&limit={limit}", messages[0]["id"]);
    }
    let said = (0..=2 * MAX_PAGE_MESSAGES).rev();
    let said: Vec<Value> = said.map(|number| json!(number.to_string())).collect();
    assert_eq!(heard, said);
    let html = get(web, "/").text();
    assert_eq!(
        html.matches("class=\"line message").count(),
        MAX_PAGE_MESSAGES
    );
    assert!(html.contains("/?before="), "older ones are behind a link");
}
