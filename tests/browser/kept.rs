//! What the page keeps: private messages, mentions, refused messages, and its stream.

use crate::page::{LIVE, count, join, say, wait_for_message};
use crate::support::browser::{Browser, ENTER};
use crate::support::{Chat, PATIENCE, RealServer};
use serde_json::json;
use smolchat::server::limits::Limits;

const TEXTS: &str = "[...document.querySelectorAll('.message .text')].map((text) => text.lastChild.textContent).join(' / ')";

/// Counts the streams that the page opens from now on.
const COUNT_STREAMS: &str = "window.streams = 0; const load = fetch; window.fetch = (path, ...more) => { if (path === '/api/events') streams += 1; return load(path, ...more); }";

#[test]
fn private_messages_and_mentions_survive_a_reload_in_their_order() {
    let Some(browser) = Browser::start("kept") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    alice.say_and_skip_to("first");
    alice.send_raw(
        b"{\"type\":\"private\",\"data\":{\"target\":\"Ada\",\"message\":\"a secret\"}}\n",
    );
    alice.expect("alice (private)", "a secret");
    alice.say_and_hear("look, Ada");
    browser.wait_until("document.querySelector('.mention')");
    say(&browser, "/reply my answer");
    alice.expect("Ada (private)", "my answer");
    alice.say_and_hear("last");
    wait_for_message(&browser, "last");
    let order = json!("first / a secret / look, Ada / my answer / last");
    assert_eq!(browser.run(&format!("return {TEXTS}")), order);
    // From a page with one message, as after a reload.
    for _ in 0..2 {
        browser.open(&format!("http://{web}/?before=3"));
        browser.open(&format!("http://{web}/"));
        browser.wait_until(&format!("{TEXTS} === {order}"));
        browser.wait_until("document.querySelectorAll('.mention').length === 1");
    }
    say(&browser, "/mentions");
    browser.wait_for("body", "alice: look, Ada", true);
    browser.wait_for("body", "alice (private): a secret", true);
    say(&browser, "/reply once more");
    alice.expect("Ada (private)", "once more");
    // Nothing old is announced.
    browser.wait_until("document.querySelector('#announcer').textContent === 'Ada: once more'");
}

#[test]
fn refused_message_can_be_edited_or_discarded() {
    let Some(browser) = Browser::start("not-sent") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let _alice = chat.join("alice");
    join(&browser, web, "Ada");
    say(&browser, "/msg nobody for you");
    browser.type_into("#text", "the next one");
    browser.wait_for(".refused", "Not sent: /msg \"nobody\" for you", true);
    browser.wait_for(".refused", "No user is named", true);
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    browser.click(".refused button");
    let field = "return document.querySelector('#text').value";
    assert_eq!(browser.run(field), json!("/msg \"nobody\" for you"));
    browser.wait_for(".refused", "Not sent: the next one", true);
    browser.click(".refused button:last-child");
    browser.wait_until("document.querySelector('.refused').hidden");
    // The length is shown before the message is sent.
    for (length, hint) in [
        (100, ""),
        (4000, "96 bytes left"),
        (
            4097,
            "The message has 4097 bytes, more than the 4096 allowed",
        ),
    ] {
        browser.run(&format!(
            "const text = document.querySelector('#text'); text.value = 'x'.repeat({length}); text.dispatchEvent(new Event('input'))"
        ));
        let shown = browser.text(".remaining");
        assert!(shown.starts_with(hint) && shown.is_empty() == hint.is_empty());
    }
}

/// Sends messages and loses the responses.
const LOSE_RESPONSES: &str = "window.load = fetch; window.fetch = async (path, ...more) => { const response = await load(path, ...more); if (path === '/api/messages') throw new TypeError('lost'); return response; }";

#[test]
fn message_without_a_response_is_sent_again_by_the_user_after_the_session() {
    let Some(browser) = Browser::start("doubtful") else {
        return;
    };
    let mut server = RealServer::start(&[]);
    let web = server.web.expect("a page");
    let mut alice = server.join("alice");
    join(&browser, web, "Ada");
    browser.run(LOSE_RESPONSES);
    say(&browser, "perhaps");
    alice.skip_to("Ada", "perhaps");
    browser.wait_for(".unsent", "perhaps", true);
    say(&browser, "behind it");
    let shown = "return document.querySelector('.unsent').innerText";
    assert_eq!(browser.run(shown), json!("perhaps\nbehind it"));
    // Without a store, the next server knows no session.
    server.signal("KILL");
    server.wait(PATIENCE);
    browser.run("window.fetch = load");
    let server = RealServer::start(&["--web-port", &web.port().to_string()]);
    browser.wait_for(".refused", "May have been sent: perhaps", true);
    wait_for_message(&browser, "behind it");
    assert_eq!(browser.text(".unsent"), "");
    let mut alice = server.join("alice");
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    assert_eq!(count(&browser, "perhaps"), 0);
    browser.click(".refused button");
    alice.skip_to("Ada", "perhaps");
    browser.wait_until("document.querySelector('.refused').hidden");
}

#[test]
fn next_name_does_not_say_what_the_last_one_wrote() {
    let Some(browser) = Browser::start("next-name") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    browser.run(
        "window.load = fetch; window.fetch = (path, ...more) => (path === '/api/messages' ? Promise.reject(new TypeError('lost')) : load(path, ...more))",
    );
    say(&browser, "tried");
    browser.wait_for(".unsent", "tried", true);
    say(&browser, "/me waits");
    say(&browser, "/quit");
    alice.skip_to("[Server]", "Ada has left the chat");
    for row in ["May have been sent: tried", "Not sent: /me waits"] {
        browser.wait_for(".refused", row, true);
    }
    browser.run("window.fetch = load");
    browser.run("document.querySelector('#name').value = ''");
    browser.type_into("#name", &format!("Eve{ENTER}"));
    alice.expect_notice("Eve has entered the chat");
    say(&browser, "hello");
    alice.expect("Eve", "hello");
    browser.click(".refused li:first-child button:last-child");
    browser.click(".refused button");
    browser.wait_until("document.querySelector('#text').value === '/me waits'");
}

#[test]
fn name_of_the_browser_is_taken_back_when_it_is_free() {
    let Some(browser) = Browser::start("taken") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut other = chat.join("ada");
    browser.open(&format!("http://{web}/"));
    browser.run("for (const [key, value] of [['name', 'Ada'], ['joined', true]]) localStorage.setItem(`smolchat.${key}`, JSON.stringify(value))");
    browser.open(&format!("http://{web}/"));
    browser.wait_for("#error", "You join as Ada when that name is free", true);
    other.rename("Grace");
    other.expect_notice("Ada has entered the chat");
    browser.wait_for("#error", "You join as", false);
    // A user who is choosing another name is left alone.
    browser.run("return fetch('/api/session', { method: 'DELETE', headers: { 'Content-Type': 'application/json' }, body: '{}' })");
    other.expect_notice("Ada has left the chat");
    other.skip_to("[Server]", "Ada has entered the chat");
    say(&browser, "/quit");
    other.expect_notice("Ada has left the chat");
    other.rename("Ada");
    browser.run("localStorage.setItem('smolchat.joined', 'true')");
    browser.open(&format!("http://{web}/"));
    browser.wait_for("#error", "You join as Ada when that name is free", true);
    browser.type_into("#name", "x");
    other.rename("Grace");
    other.say_and_hear("nobody came");
}

#[test]
fn fault_of_the_page_is_reported_and_opens_no_stream() {
    let Some(browser) = Browser::start("fault") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    join(&browser, web, "Ada");
    browser.run(COUNT_STREAMS);
    // On phones the constructor throws.
    browser.run(
        "window.Notification = class { static permission = 'granted'; constructor() { throw new TypeError('Illegal constructor'); } };
         Object.defineProperty(document, 'hidden', { get: () => window.isHidden, configurable: true });
         window.isHidden = true",
    );
    alice.say_and_skip_to("Ada, are you there?");
    browser.wait_until("document.title === '(1) alice: Ada, are you there?'");
    browser.run("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))");
    assert_eq!(browser.run("return document.title"), json!("smolchat"));
    browser.run("const draw = requestAnimationFrame; window.requestAnimationFrame = () => { window.requestAnimationFrame = draw; throw new TypeError('a mistake'); }");
    alice.say_and_hear("unlucky");
    browser.wait_for("#notice", "This page has a fault", true);
    browser.wait_for("#notice", "a mistake", true);
    alice.say_and_hear("goes on");
    wait_for_message(&browser, "goes on");
    assert_eq!(count(&browser, "goes on"), 1);
    assert_eq!(browser.run("return streams"), json!(0));
}
