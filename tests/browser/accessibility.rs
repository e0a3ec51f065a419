//! The page without scripts, with a keyboard only, with hostile text, and under the rules of axe.

use crate::page::{LIVE, count, say, wait_for_message};
use crate::support::browser::{Browser, ENTER, TAB};
use crate::support::{Chat, RealServer, skip};
use serde_json::json;
use smolchat::server::limits::Limits;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn page_is_readable_without_scripts() {
    let preferences = json!({ "profile.managed_default_content_settings.javascript": 2 });
    let Some(browser) = Browser::start_with("plain", &preferences) else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    for number in 1..=120 {
        alice.say_and_hear(&format!("number {number}"));
    }
    browser.open(&format!("http://{web}/?before=103"));
    browser.wait_for("#lines", "number 100", true);
    browser.wait_for("#users", "alice", true);
    browser.type_into(".older a", &ENTER.to_string());
    browser.wait_for("#lines", "number 50", true);
    browser.type_into("#q", &format!("number 77{ENTER}"));
    browser.wait_for("#lines", "number 77", true);
    browser.wait_for("#lines", "number 78", false);
    browser.click("a.time");
    browser.wait_for(".marked", "number 77", true);
    browser.wait_for("#lines", "number 78", true);
    browser.click(".back a");
    browser.wait_for("#lines", "number 120", true);
    assert!(
        !browser.text("body").contains("Join"),
        "nothing that does nothing"
    );
}

/// Messages and names as somebody hostile would choose them.
fn hostile() -> Vec<String> {
    vec![
        "<img src=x onerror=\"window.hacked = true\">".to_owned(),
        "</script><script>window.hacked = true</script>".to_owned(),
        "javascript:window.hacked=true https://x\"onmouseover=\"window.hacked=true".to_owned(),
        "gnp.exe שלום עולם".to_owned(),
        "x".repeat(4096),
        format!("Z{}algo", "\u{301}\u{327}\u{489}".repeat(60)),
        "{{users}} ${window.hacked = true}".to_owned(),
        "日本語のメッセージ 👩‍👩‍👧 مرحبا بالعالم".to_owned(),
    ]
}

#[test]
fn hostile_names_and_messages_stay_text_and_inside_the_window() {
    let Some(browser) = Browser::start("hostile") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut eve = chat.join("<b>eve</b>!");
    let mut long = chat.join("WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW");
    long.say_and_skip_to("a wide name");
    eve.skip_to("WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW", "a wide name");
    let fits = "document.scrollingElement.scrollWidth <= innerWidth && [...document.querySelectorAll('.log, .users, main')].every((place) => place.getBoundingClientRect().right <= innerWidth + 1) && [...document.querySelectorAll('.log *')].every((part) => part.getBoundingClientRect().right <= innerWidth + 1)";
    // Live, and as the server draws it.
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    for text in hostile() {
        eve.say(&text);
        eve.must_get();
    }
    for _ in 0..2 {
        browser.wait_for("#lines", "日本語のメッセージ", true);
        for width in [320, 1200] {
            browser.resize(width, 700);
            browser.wait_until(fits);
        }
        for text in hostile() {
            let shown = text.clone();
            assert_eq!(count(&browser, &shown), 1, "{shown}");
        }
        assert_eq!(
            browser.run("return window.hacked === undefined"),
            json!(true)
        );
        assert_eq!(browser.run("return document.querySelectorAll('#lines img, #lines script, #lines b, #users b').length"), json!(0));
        let links = "return [...document.querySelectorAll('.text a')].map((link) => `${link.rel} ${link.href}`)";
        assert_eq!(
            browser.run(links),
            json!(["noopener noreferrer https://x/"])
        );
        browser.open(&format!("http://{web}/"));
        browser.wait_until(LIVE);
    }
}

#[test]
fn keyboard_operates_everything() {
    let Some(browser) = Browser::start("keyboard") else {
        return;
    };
    let (chat, web) = Chat::with_page(Limits::default());
    let mut alice = chat.join("alice");
    alice.say_and_hear("hello https://example.org/");
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    assert_eq!(
        browser.run("return document.activeElement.id"),
        json!("name")
    );
    browser.run("document.querySelector('.skip').focus()");
    // In this order the focus goes through the page, and is seen where it is.
    let place = "return document.activeElement.id || document.activeElement.className || document.activeElement.textContent";
    let mut order = Vec::new();
    for _ in 0..12 {
        browser.press(&TAB.to_string());
        let at = browser.run(place).as_str().unwrap_or_default().to_owned();
        let is_seen = browser.run("const style = getComputedStyle(document.activeElement); return style.outlineStyle !== 'none' || document.activeElement.className === 'skip'");
        assert_eq!(is_seen, json!(true), "{at}");
        order.push(at.clone());
        if at == "name" {
            break;
        }
    }
    assert_eq!(
        order,
        [
            "open-users",
            "users",
            "q",
            "log",
            "https://example.org/",
            "name"
        ]
    );
    browser.press("Ada");
    browser.press(&ENTER.to_string());
    browser.wait_until("document.activeElement.id === 'text'");
    browser.press("al");
    browser.press(&TAB.to_string());
    browser.press("hi");
    browser.press(&ENTER.to_string());
    alice.skip_to("Ada", "alice: hi");
    // With nothing to complete, the focus goes on.
    browser.press(&TAB.to_string());
    assert_ne!(
        browser.run("return document.activeElement.id"),
        json!("text")
    );
}

/// Where the rules of axe are, if they are installed.
fn axe() -> Option<PathBuf> {
    let output = Command::new("npm").args(["root", "-g"]).output().ok()?;
    let root = String::from_utf8(output.stdout).ok()?;
    let file = Path::new(root.trim()).join("axe-core/axe.min.js");
    file.is_file().then_some(file)
}

/// Has axe look at the page as it is.
#[track_caller]
fn must_be_accessible(browser: &Browser, rules: &str, state: &str) {
    browser.run(rules);
    browser.run("window.found = null; axe.run(document, { resultTypes: ['violations'] }).then((found) => { window.found = found })");
    browser.wait_until("window.found");
    let found = browser.run("return window.found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`)");
    assert_eq!(found, json!([]), "{state}");
    let checked = browser.run("return window.found.passes.length");
    assert!(checked.as_u64() > Some(15), "{state}: {checked}");
}

#[test]
fn axe_finds_nothing_in_any_state() {
    let Some(browser) = Browser::start("axe") else {
        return;
    };
    let Some(file) = axe() else {
        let reason = "no axe-core is installed with npm: the page was checked by no rules";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}");
        return skip(reason);
    };
    let rules = std::fs::read_to_string(file).expect("the rules");
    let check = |state: &str| {
        for (width, scheme) in [
            (1200, "light"),
            (1200, "dark"),
            (320, "light"),
            (320, "dark"),
        ] {
            browser.resize(width, 720);
            browser.prefer("prefers-color-scheme", scheme);
            must_be_accessible(&browser, &rules, &format!("{state}, {width}, {scheme}"));
        }
    };
    let (chat, web) = Chat::with_page(Limits::default());
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    check("empty");
    let mut alice = chat.join("alice");
    browser.type_into("#name", &format!("alice{ENTER}"));
    browser.wait_for("#error", "taken", true);
    check("refused");
    browser.run("document.querySelector('#name').value = ''");
    browser.type_into("#name", &format!("Ada{ENTER}"));
    browser.wait_until("document.querySelector('#users .me')");
    alice.say_and_skip_to("@Ada, look: https://example.org/");
    alice.send_raw(b"{\"type\":\"private\",\"data\":{\"target\":\"Ada\",\"message\":\"psst\"}}\n");
    for text in hostile() {
        alice.say_and_skip_to(&text).len();
    }
    say(&browser, "/help");
    browser.wait_for("#answer", "explains the commands", true);
    say(&browser, "/me waves");
    browser.wait_until("document.querySelector('.action')");
    check("talking");
    browser.run("document.querySelector('#log').scrollTop = 0");
    alice.say_and_skip_to("below");
    browser.wait_until("!document.querySelector('#newer').hidden");
    check("reading further up");
    browser.click(".own-name");
    check("changing the name");
    browser.open(&format!("http://{web}/?q=look"));
    browser.wait_for("#lines", "look", true);
    check("found");
    browser.open(&format!("http://{web}/?q=nothinglikethis"));
    browser.wait_for("#lines", "No messages found", true);
    check("nothing found");
    browser.open(&format!("http://{web}/m/6"));
    browser.wait_until("document.querySelector('.marked')");
    check("one message");
    // And where nobody answers any more, with something that waits.
    browser.open(&format!("http://{web}/"));
    browser.wait_until("document.querySelector('#users .me')");
    drop(alice);
    drop(chat);
    browser.wait_until("document.querySelector('#status').dataset.state !== 'live'");
    say(&browser, "waits");
    browser.wait_until("!document.querySelector('.unsent').hidden");
    check("without a server");
    // And one that is only read.
    let server = RealServer::start(&["--web-read-only"]);
    server.join("alice").say_and_hear("to whoever reads this");
    browser.open(&format!("http://{}/", server.web.expect("a page")));
    browser.wait_until(LIVE);
    wait_for_message(&browser, "to whoever reads this");
    check("for reading only");
}
