//! The page in a browser: talk, lost links, restarts, drafts, tabs and notifications.

use crate::support::browser::{Browser, ENTER, RELEASE, SHIFT};
use crate::support::{Chat, PATIENCE, RealServer};
use serde_json::{Value, json};
use smolchat::server::limits::Limits;
use std::net::SocketAddr;

pub(crate) const LIVE: &str = "document.querySelector('#status').dataset.state === 'live'";

/// Opens the page and joins under this name.
#[track_caller]
pub(crate) fn join(browser: &Browser, web: SocketAddr, name: &str) {
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    browser.type_into("#name", &format!("{name}{ENTER}"));
    browser.wait_until(&format!(
        "document.querySelector('#users .me')?.textContent === {}",
        json!(name)
    ));
}

#[track_caller]
pub(crate) fn say(browser: &Browser, text: &str) {
    browser.type_into("#text", &format!("{text}{ENTER}"));
}

/// How often a text stands in the log.
#[track_caller]
pub(crate) fn count(browser: &Browser, text: &str) -> usize {
    let script = format!(
        "return [...document.querySelectorAll('.message .text')].filter((text) => text.textContent === {}).length",
        json!(text)
    );
    browser.run(&script).as_u64().expect("a number") as usize
}

#[track_caller]
pub(crate) fn wait_for_message(browser: &Browser, text: &str) {
    browser.wait_until(&format!(
        "[...document.querySelectorAll('.message .text')].some((text) => text.textContent === {})",
        json!(text)
    ));
}

#[test]
fn killed_server_loses_no_message_of_browsers_and_client() {
    let (Some(one), Some(two)) = (Browser::start("one"), Browser::start("two")) else {
        return;
    };
    let folder = std::env::temp_dir().join(format!("smolchat-browser-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let database = folder.join("chat.db");
    let database = database.to_str().expect("a path");
    let mut first = RealServer::start(&["--db", database]);
    let web = first.web.expect("a page");
    join(&one, web, "Ada");
    join(&two, web, "Grace");
    for browser in [&one, &two] {
        browser.run("window.neverReloaded = true");
    }
    let mut alice = first.join("alice");
    alice.say_and_hear("from the terminal");
    say(&one, "from Ada");
    alice.skip_to("Ada", "from Ada");
    say(&two, "from Grace");
    alice.skip_to("Grace", "from Grace");
    for browser in [&one, &two] {
        for text in ["from the terminal", "from Ada", "from Grace"] {
            wait_for_message(browser, text);
        }
    }
    first.signal("KILL");
    first.wait(PATIENCE);
    one.wait_until("document.querySelector('#status').dataset.state !== 'live'");
    say(&one, "written while nobody listened");
    say(&one, "and one more");
    one.wait_for("#composer", "written while nobody listened", true);
    let second = RealServer::start(&["--db", database, "--web-port", &web.port().to_string()]);
    let mut alice = second.join("alice");
    for browser in [&one, &two] {
        wait_for_message(browser, "and one more");
    }
    alice.say_and_skip_to("both are back");
    say(&two, "and talk");
    alice.skip_to("Grace", "and talk");
    for browser in [&one, &two] {
        wait_for_message(browser, "and talk");
        for text in [
            "from the terminal",
            "from Ada",
            "from Grace",
            "written while nobody listened",
            "and one more",
            "both are back",
            "and talk",
        ] {
            assert_eq!(
                count(browser, text),
                1,
                "{text}: {}",
                browser.text("#lines")
            );
        }
        assert_eq!(browser.run("return window.neverReloaded"), json!(true));
    }
    one.wait_until("document.querySelector('.unsent').hidden");
    alice.request("history", "");
    let said: Vec<String> = (0..7).map(|_| alice.must_get().1).collect();
    assert_eq!(
        said.iter().filter(|text| *text == "and one more").count(),
        1,
        "{said:?}"
    );
    drop(second);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn without_a_store_a_browser_joins_the_next_server_by_itself() {
    let Some(browser) = Browser::start("again") else {
        return;
    };
    let mut first = RealServer::start(&[]);
    let web = first.web.expect("a page");
    join(&browser, web, "Ada");
    first.signal("TERM");
    first.wait(PATIENCE);
    browser.wait_until("document.querySelector('#status').dataset.state !== 'live'");
    say(&browser, "for the next one");
    let second = RealServer::start(&["--web-port", &web.port().to_string()]);
    wait_for_message(&browser, "for the next one");
    let mut alice = second.join("alice");
    alice.request("users", "");
    alice.expect_notice("Connected users (2): Ada, alice");
    // It is written where the old ends.
    browser.wait_for("#lines", "The server restarted", true);
}

#[test]
fn reconnected_page_loses_nothing() {
    let Some(browser) = Browser::start("offline") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    browser.set_offline(true);
    browser.wait_for("#status", "Offline since", true);
    alice.say("missed by Ada");
    say(&browser, "said offline");
    browser.wait_for("#composer", "said offline", true);
    browser.set_offline(false);
    wait_for_message(&browser, "missed by Ada");
    wait_for_message(&browser, "said offline");
    alice.skip_to("Ada", "said offline");
    alice.say_and_hear("once");
    wait_for_message(&browser, "once");
    assert_eq!(count(&browser, "missed by Ada"), 1);
    assert_eq!(count(&browser, "said offline"), 1);
}

#[test]
fn rejection_is_shown_beside_the_field() {
    let Some(browser) = Browser::start("refused") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    browser.type_into("#name", &format!("Alice{ENTER}"));
    browser.wait_for("#error", "is taken", true);
    browser.run("document.querySelector('#name').value = ''");
    browser.type_into("#name", &format!("Ada{ENTER}"));
    browser.wait_until("document.querySelector('#users .me')");
    alice.expect_notice("Ada has entered the chat");
    assert_eq!(browser.text("#error"), "");
    browser.run("document.querySelector('#text').value = 'x'.repeat(5000)");
    browser.type_into("#text", &ENTER.to_string());
    browser.wait_for("#error", "more than the 4096 allowed", true);
    let kept = browser.run("return document.querySelector('#text').value.length");
    assert_eq!(kept, json!(5000), "it can be shortened");
    browser.run("document.querySelector('#text').value = ''");
    say(&browser, "/serch x");
    browser.wait_for("#error", "did you mean /search?", true);
    browser.run("document.querySelector('#text').value = ''");
    say(&browser, "//serch is no command");
    alice.expect("Ada", "/serch is no command");
}

#[test]
fn commands_work_as_in_the_terminal() {
    let Some(browser) = Browser::start("commands") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    alice.expect_notice("Ada has entered the chat");
    say(&browser, "/me waves");
    alice.expect("Ada", "* waves");
    say(&browser, "/msg alice a secret");
    alice.expect("Ada (private)", "a secret");
    browser.wait_for("#lines", "(private to alice) a secret", true);
    alice.send_raw(
        b"{\"type\":\"private\",\"data\":{\"target\":\"Ada\",\"message\":\"another\"}}\n",
    );
    alice.expect("alice (private)", "another");
    browser.wait_for("#lines", "private to you", true);
    say(&browser, "/msg \"alice\" in quotes");
    alice.expect("Ada (private)", "in quotes");
    say(&browser, "/reply thanks");
    alice.expect("Ada (private)", "thanks");
    say(&browser, "/setname Ada-L.");
    alice.expect_notice("Ada renamed to Ada-L.");
    browser.wait_until("document.querySelector('#users .me')?.textContent === 'Ada-L.'");
    alice.say_and_hear("hello, ADA-L.!");
    browser.wait_until("document.querySelector('.mention')");
    say(&browser, "/mentions");
    browser.wait_for("#answer", "Mentions and private messages", true);
    say(&browser, "/users");
    browser.wait_for("#answer", "2 online", true);
    say(&browser, "/search hello");
    browser.wait_for("#answer", "results for", true);
    say(&browser, "/ignore Typo");
    browser.wait_for("#answer", "No user of that name is here", true);
    say(&browser, "/ignore ALICE");
    browser.wait_for("#answer", "No user of that name is here", false);
    browser.wait_until("document.querySelector('.message.ignored')");
    alice.say_and_hear("hidden");
    alice.send_raw(
        b"{\"type\":\"private\",\"data\":{\"target\":\"Ada-L.\",\"message\":\"never seen\"}}\n",
    );
    alice.expect("alice (private)", "never seen");
    say(&browser, "/unignore alice");
    browser.wait_for("#lines", "hidden", true);
    assert_eq!(count(&browser, "never seen"), 0);
    for (mistake, advice) in [
        ("/users 5", "/users takes no argument"),
        ("/history x", "takes a number of at least 1"),
        ("/help weather", "/help lists all commands"),
        ("/x", "/help lists all commands"),
        ("/msg alice", "/msg needs NAME TEXT"),
    ] {
        say(&browser, mistake);
        browser.wait_for("#error", advice, true);
        assert!(!browser.text("#error").contains("did you mean"));
        browser.run("document.querySelector('#text').value = ''");
    }
    say(&browser, "/info");
    browser.wait_for("#answer", "You are Ada-L.", true);
    say(&browser, "/help msg");
    browser.wait_for("#answer", "/msg NAME TEXT", true);
    say(&browser, "/clear");
    browser.wait_for("#lines", "hello, ADA-L.!", false);
    say(&browser, "/history 1");
    browser.wait_for("#lines", "hidden", true);
    say(&browser, "/history");
    browser.wait_for("#lines", "hello, ADA-L.!", true);
    say(&browser, "/quit");
    alice.expect_notice("Ada-L. has left the chat");
    browser.wait_until("!document.querySelector('.join-form').hidden");
}

#[test]
fn a_draft_survives_and_tabs_are_one_user() {
    let Some(browser) = Browser::start("tabs") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    alice.expect_notice("Ada has entered the chat");
    let line = format!("{SHIFT}{ENTER}{RELEASE}");
    browser.type_into("#text", &format!("a draft{line}of two lines"));
    browser.open(&format!("http://{web}/"));
    browser.wait_until("document.querySelector('#text')?.value === 'a draft\\nof two lines'");
    browser.wait_until("document.querySelector('#users .me')?.textContent === 'Ada'");
    browser.type_into("#text", &ENTER.to_string());
    alice.expect("Ada", "a draft ↵ of two lines");
    browser.open_tab();
    browser.open(&format!("http://{web}/"));
    browser.wait_until("document.querySelector('#users .me')?.textContent === 'Ada'");
    say(&browser, "from the second tab");
    alice.expect("Ada", "from the second tab");
    alice.request("users", "");
    alice.expect_notice("Connected users (2): alice, Ada");
}

#[test]
fn hidden_messages_are_counted_and_marked() {
    let Some(browser) = Browser::start("unread") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    alice.say_and_skip_to("seen");
    wait_for_message(&browser, "seen");
    // A tab in front of it hides it, as far as it can tell.
    browser.run("Object.defineProperty(document, 'hidden', { get: () => window.isHidden, configurable: true }); window.isHidden = true; document.dispatchEvent(new Event('visibilitychange'))");
    alice.say_and_hear("unseen 1");
    alice.say_and_hear("unseen 2");
    browser.wait_until("document.title.startsWith('(2) ')");
    browser.run("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))");
    assert_eq!(browser.run("return document.title"), json!("smolchat"));
    let before_mark = "return document.querySelector('.unread').previousElementSibling.querySelector('.text').textContent";
    assert_eq!(browser.run(before_mark), json!("seen"));
    // The same after it was closed.
    browser.run(
        "document.querySelector('#log').scrollTop = 1e6; document.dispatchEvent(new Event('scroll'))",
    );
    alice.say_and_hear("seen too");
    wait_for_message(&browser, "seen too");
    browser.wait_until("JSON.parse(localStorage['smolchat.read']).id === Number([...document.querySelectorAll('.message')].at(-1).id.slice(1))");
    browser.open("about:blank");
    alice.say_and_hear("while it was closed");
    browser.open(&format!("http://{web}/"));
    wait_for_message(&browser, "while it was closed");
    browser.wait_until("document.querySelector('.unread')?.nextElementSibling.querySelector('.text')?.textContent === 'while it was closed'");
}

#[test]
fn mentions_notify_a_hidden_page_if_enabled() {
    let Some(browser) = Browser::start("notified") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    // A browser without a screen shows none, so what would be shown is written down.
    browser.run(
        "window.shown = [];
         window.Notification = class {
           static permission = 'default';
           static requestPermission = async () => { Notification.permission = 'granted'; };
           constructor(title, { body }) { shown.push(`${title}: ${body}`); }
         };
         Object.defineProperty(document, 'hidden', { get: () => window.isHidden });
         window.isHidden = true",
    );
    alice.say_and_skip_to("Ada, nobody asked for this");
    wait_for_message(&browser, "Ada, nobody asked for this");
    browser.run("window.isHidden = false");
    // The button is there for who was not asked yet, and gone afterwards.
    say(&browser, "/setname Ada L");
    browser.wait_until("!document.querySelector('.notify').hidden");
    browser.click(".notify");
    browser.wait_until("document.querySelector('.notify').hidden");
    alice.say_and_skip_to("Ada L, in sight");
    wait_for_message(&browser, "Ada L, in sight");
    browser.run("window.isHidden = true");
    alice.say_and_skip_to("of nobody");
    alice.say_and_skip_to("of ada l, out of sight");
    let whisper = json!({ "target": "Ada L", "message": "psst" });
    let private = json!({ "type": "private", "data": whisper });
    alice.send_raw(format!("{private}\n").as_bytes());
    browser.wait_until("shown.length >= 2");
    assert_eq!(
        browser.run("return shown"),
        json!(["alice: of ada l, out of sight", "alice (private): psst"])
    );
}

#[test]
fn scrolling_up_loads_older_messages_without_a_jump() {
    let Some(browser) = Browser::start("scroll") else {
        return;
    };
    let folder = std::env::temp_dir().join(format!("smolchat-scroll-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let database = folder.join("chat.db");
    let server = RealServer::start(&[
        "--db",
        database.to_str().expect("a path"),
        "--history",
        "50",
        "--rate",
        "100000",
        "--burst",
        "100000",
    ]);
    let web = server.web.expect("a page");
    let mut alice = server.join("alice");
    for number in 0..400 {
        alice.say_and_hear(&format!("number {number}"));
    }
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    assert_eq!(count(&browser, "number 349"), 0);
    // What is looked at stays where it is while older ones come above it.
    browser.run("const log = document.querySelector('#log'); log.scrollTop = 100");
    let place = "[...document.querySelectorAll('.message')].find((line) => line.querySelector('.text').textContent === 'number 352').getBoundingClientRect().top";
    let before = browser
        .run(&format!("return {place}"))
        .as_f64()
        .expect("a place");
    wait_for_message(&browser, "number 349");
    let after = browser
        .run(&format!("return {place}"))
        .as_f64()
        .expect("a place");
    assert!((before - after).abs() < 2.0, "from {before} to {after}");
    for _ in 0..20 {
        browser.run("const log = document.querySelector('#log'); log.scrollTop = 0");
        if count(&browser, "number 0") == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    for number in 0..400 {
        assert_eq!(count(&browser, &format!("number {number}")), 1, "{number}");
    }
    let ids = browser.run(
        "return [...document.querySelectorAll('.message')].map((line) => Number(line.id.slice(1)))",
    );
    let ids: Vec<u64> = ids
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert!(ids.is_sorted() && ids.len() == 400, "{ids:?}");
    assert_eq!(
        browser.run("return document.querySelectorAll('.day').length"),
        json!(1)
    );
    drop(server);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
#[ignore = "slow"]
fn a_stuck_tab_is_closed_by_its_bound_and_recovers() {
    let Some(browser) = Browser::start("stuck") else {
        return;
    };
    let server = RealServer::start(&[
        "--rate",
        "10000000",
        "--burst",
        "10000000",
        "--max-lag",
        "1048576",
    ]);
    let web = server.web.expect("a page");
    let mut alice = server.join("alice");
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    let behind = || server.metric("smolchat_connections{state=\"behind\"}");
    // Its only thread does nothing else for a while, so nobody reads what comes.
    browser.run(
        "window.stuck = true; setTimeout(() => { const end = Date.now() + 30000; \
         while (Date.now() < end); window.stuck = false; }, 50)",
    );
    let since = std::time::Instant::now();
    let text = "x".repeat(4000);
    let mut was_behind = false;
    let mut said = 0;
    // Until it was behind, and is no more: nothing else ends that while it stands still.
    while !(was_behind && behind() == 0) {
        for _ in 0..50 {
            alice.say_and_hear(&format!("{said} {text}"));
            said += 1;
        }
        was_behind |= behind() == 1;
        assert!(
            said < 30_000,
            "it is never closed: behind once {was_behind}"
        );
    }
    let took = since.elapsed();
    assert!(
        took < std::time::Duration::from_secs(29),
        "{took:?}: it is not stuck any more"
    );
    alice.say_and_hear("after all that");
    wait_for_message(&browser, "after all that");
    browser.wait_until(LIVE);
    browser.wait_for("#lines", "Some messages are missing here", true);
}
