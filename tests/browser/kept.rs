//! What the page keeps: private messages, mentions, refused messages, and its stream.

use crate::page::{LIVE, count, join, say, wait_for_message};
use crate::support::Chat;
use crate::support::browser::Browser;
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
