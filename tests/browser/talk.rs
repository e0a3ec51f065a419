//! How the page is talked in: keys, copied text, answers to commands, search, and a phone.

use crate::page::{LIVE, count, join, say, wait_for_message};
use crate::support::browser::{Browser, ENTER, ESCAPE, TAB, UP};
use crate::support::{Chat, PATIENCE, RealServer};
use serde_json::{Value, json};
use smolchat::server::limits::Limits;

fn field(browser: &Browser) -> Value {
    browser.run("return document.querySelector('#text').value")
}

#[test]
fn copied_lines_have_time_author_and_text() {
    let Some(browser) = Browser::start("copied") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    alice.say_and_hear("one");
    join(&browser, web, "Ada");
    alice.say_and_skip_to("two");
    wait_for_message(&browser, "two");
    say(&browser, "three");
    say(&browser, "/me waves");
    wait_for_message(&browser, "waves");
    say(&browser, "four");
    wait_for_message(&browser, "four");
    let script = "getSelection().selectAllChildren(document.querySelector('#lines')); return getSelection().toString()";
    for width in [1440, 390] {
        browser.resize(width, 800);
        let copied = browser.run(script);
        let lines = copied.as_str().expect("text").lines();
        // The time has the form of the locale.
        let is_time = |word: &str| {
            word.starts_with(|start: char| start.is_ascii_digit()) || word == "AM" || word == "PM"
        };
        let said = lines.filter(|line| line.starts_with(|start: char| start.is_ascii_digit()));
        let said: Vec<String> = said
            .map(|line| {
                let words = line.split_whitespace();
                words.skip_while(|word| is_time(word)).collect::<Vec<_>>()
            })
            .map(|words| words.join(" "))
            .collect();
        let expected = [
            "alice: one",
            "Ada joined",
            "alice: two",
            "Ada: three",
            "* Ada waves",
            "Ada: four",
        ];
        assert_eq!(said, expected, "{width}: {copied}");
    }
    // An action shows its author's name, and so does what follows.
    let shown = "return [...document.querySelectorAll('.message')].filter((line) => !line.matches('.same-author')).length";
    assert_eq!(browser.run(shown), json!(5));
}

#[test]
fn keys_of_the_field_work_as_expected() {
    let Some(browser) = Browser::start("keys") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    browser.press(&format!("Ada{ENTER}"));
    browser.wait_until("document.activeElement.id === 'text'");
    browser.press(&format!("@{TAB}hello{ENTER}"));
    alice.skip_to("Ada", "@alice: hello");
    browser.wait_until("document.querySelector('#text').value === ''");
    browser.press(&format!("second{ENTER}"));
    alice.skip_to("Ada", "second");
    browser.wait_until("document.querySelector('#text').value === ''");
    browser.press(&UP.to_string());
    assert_eq!(field(&browser), "second");
    browser.press(&UP.to_string());
    assert_eq!(field(&browser), "@alice: hello");
    browser.run("const text = document.querySelector('#text'); text.value = 'にほんご'; text.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', keyCode: 229, bubbles: true, cancelable: true }))");
    assert_eq!(field(&browser), "にほんご", "Safari confirms a conversion");
    browser.run("document.querySelector('#text').value = ''");
    browser.click(".own-name");
    assert_eq!(browser.text(".join-form label"), "New name");
    browser.press(&ESCAPE.to_string());
    browser.wait_until(
        "document.querySelector('.join-form').hidden && document.activeElement.id === 'text'",
    );
}

#[test]
fn search_and_answers_leave_the_talk_in_place() {
    let Some(browser) = Browser::start("answers") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    alice.say_and_hear("a Café opens");
    for number in 0..60 {
        alice.say_and_hear(&format!("number {number}"));
    }
    join(&browser, web, "Ada");
    wait_for_message(&browser, "number 59");
    let lines = "return document.querySelector('#lines').textContent";
    let before = browser.run(lines);
    browser.type_into("#q", &format!("cafe{ENTER}"));
    browser.wait_for("#answer", "Search results for “cafe”", true);
    assert_eq!(browser.text("#answer mark"), "Café");
    say(&browser, "/help");
    browser.wait_for("#answer", "explains the commands", true);
    say(&browser, "/search nothinglikethis");
    browser.wait_for("#answer", "No messages found for “nothinglikethis”", true);
    assert_eq!(browser.run(lines), before);
    say(&browser, "/search opens");
    browser.wait_for("#answer", "Café", true);
    browser.click("#answer a.when");
    browser.wait_until("document.querySelector('#lines .marked')?.textContent.includes('Café')");
    browser.wait_until("document.querySelector('#text').checkVisibility()");
    browser.press(&ESCAPE.to_string());
    browser.wait_until("document.querySelector('#answer').hidden");
    // The way back from another page leads to the same place.
    let top = "[...document.querySelectorAll('.message')].find((line) => line.getBoundingClientRect().bottom > document.querySelector('#log').getBoundingClientRect().top + 1)?.id";
    browser.run("document.querySelector('#log').scrollTop = 500");
    browser.wait_until(&format!("{top} !== 'm2'"));
    let place = browser.run(&format!("return {top}"));
    browser.open(&format!("http://{web}/?q=cafe"));
    assert_eq!(browser.text(".text mark"), "Café");
    browser.back();
    browser.wait_until(LIVE);
    browser.wait_until(&format!("{top} === {place}"));
    browser.open(&format!("http://{web}/nothing"));
    browser.click("a");
    browser.wait_until(LIVE);
}

#[test]
fn disconnected_page_says_so_where_the_user_writes() {
    let Some(browser) = Browser::start("told") else {
        return;
    };
    let mut server = RealServer::start(&[]);
    join(&browser, server.web.expect("a page"), "Ada");
    assert_eq!(browser.text(".link"), "");
    server.signal("TERM");
    server.wait(PATIENCE);
    browser.wait_for(".link", "Server shut down at", true);
    browser.run("window.seen = []; new MutationObserver(() => seen.push(document.querySelector('#status').textContent)).observe(document.querySelector('#status'), { childList: true }); window.tries = 0; const load = fetch; window.fetch = (...all) => { tries += 1; return load(...all); }");
    browser.wait_until("tries >= 2");
    assert_eq!(browser.run("return seen"), json!([]), "it stays told");
}

#[test]
fn phone_has_search_users_completion_and_new_rows() {
    let Some(browser) = Browser::start("phone") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    browser.emulate_phone();
    join(&browser, web, "Ada");
    browser.type_into("#text", "@");
    browser.click(".suggestions button");
    assert_eq!(field(&browser), "@alice: ");
    browser.type_into("#text", &format!("one{ENTER}two"));
    assert_eq!(field(&browser), "@alice: one\ntwo");
    browser.click(".message-form .primary");
    alice.skip_to("Ada", "@alice: one ↵ two");
    browser.type_into("#q", &format!("one{ENTER}"));
    browser.wait_until("document.querySelector('#answer mark')");
    browser.click(".open-users");
    browser.wait_until("document.querySelector('.open-users').ariaExpanded === 'true'");
    assert_eq!(count(&browser, "@alice: one\ntwo"), 1);
}

#[test]
fn long_chat_keeps_few_rows_and_reads_out_the_newest_messages() {
    let Some(browser) = Browser::start("flood") else {
        return;
    };
    let server = RealServer::start(&["--rate", "100000", "--burst", "100000"]);
    let mut alice = server.join("alice");
    join(&browser, server.web.expect("a page"), "Ada");
    browser.run("window.heard = []; new MutationObserver(() => heard.push(document.querySelector('#announcer').textContent)).observe(document.querySelector('#announcer'), { childList: true })");
    for number in 0..1500 {
        alice.say(&format!("flood {number}"));
    }
    wait_for_message(&browser, "flood 1499");
    let rows = browser.run("return document.querySelectorAll('.message').length");
    assert!(rows.as_u64() <= Some(1000), "{rows}");
    browser.wait_until("heard.some((text) => text.includes('new messages, the last 3') && text.includes('alice: flood 1499'))");
}
