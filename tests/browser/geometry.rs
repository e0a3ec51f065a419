//! What a user sees of the form at each size of the window.

use crate::page::{LIVE, join};
use crate::support::browser::{Browser, ENTER, RELEASE, SHIFT};
use crate::support::{Chat, PATIENCE, RealServer};
use serde_json::{Value, json};
use smolchat::server::limits::Limits;

/// Widths of a phone, a tablet and a desktop.
const WIDTHS: [u32; 3] = [390, 768, 1440];

/// Returns a sentence for each visible control that is too small, cut, or under another one.
const FLAWS: &str = "
const flaws = [];
const controls = [...document.querySelectorAll('header h1, .status, .composer :is(input, textarea, button, label), .search input')]
  .filter((control) => control.checkVisibility());
const box = (control) => control.getBoundingClientRect();
const name = (control) => `${control.tagName} ${control.id || control.className}`;
for (const control of controls) {
  const { left, right, top, bottom, height } = box(control);
  if (left < 0 || top < 0 || right > innerWidth || bottom > innerHeight) flaws.push(`${name(control)} is outside`);
  if (control.closest('.composer') && control.tagName !== 'LABEL' && height < 36) flaws.push(`${name(control)} is ${height} pixels high`);
  const isName = control.matches('.own-name');
  if (!isName && control.scrollWidth > control.clientWidth + 1 && control.clientWidth) flaws.push(`${name(control)} is cut`);
  if (control.tagName !== 'INPUT' && control.clientHeight && control.scrollHeight > control.clientHeight + 1
    && !(control.clientHeight >= 190)) flaws.push(`${name(control)} is cut at the bottom`);
  const middle = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  if (!control.contains(middle)) flaws.push(`${name(control)} is covered by ${middle && name(middle)}`);
}
for (const [at, one] of controls.entries()) {
  for (const other of controls.slice(at + 1)) {
    const [a, b] = [box(one), box(other)];
    const overlaps = Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    if (overlaps) flaws.push(`${name(one)} overlaps ${name(other)}`);
  }
}
if (document.querySelector('.log').getBoundingClientRect().bottom > document.querySelector('.composer').getBoundingClientRect().top + 1) flaws.push('the messages reach into the form');
if (document.scrollingElement.scrollWidth > innerWidth) flaws.push('the page is wider than the window');
return flaws";

#[track_caller]
fn must_be_whole(browser: &Browser, state: &str) {
    for width in WIDTHS {
        browser.resize(width, 800);
        // Observers of sizes run with the next frame.
        browser.run("window.frames = 0; requestAnimationFrame(() => requestAnimationFrame(() => { window.frames = 2 }))");
        browser.wait_until("window.frames === 2");
        assert_eq!(browser.run(FLAWS), json!([]), "{state}, {width}");
    }
}

#[test]
fn new_user_sees_a_whole_form_at_each_width() {
    let Some(browser) = Browser::start("geometry") else {
        return;
    };
    for width in WIDTHS {
        let (_chat, web) = Chat::with_page(Limits::default());
        browser.resize(width, 800);
        join(&browser, web, "Ada");
        assert_eq!(browser.run(FLAWS), json!([]), "joined at {width}");
        must_be_whole(&browser, "joined");
    }
    let mut server = RealServer::start(&[]);
    let web = server.web.expect("a page");
    browser.run("localStorage.clear(); sessionStorage.clear()");
    browser.open(&format!("http://{web}/"));
    browser.wait_until(LIVE);
    must_be_whole(&browser, "new");
    join(&browser, web, "Ada");
    must_be_whole(&browser, "joined");
    browser.click(".own-name");
    must_be_whole(&browser, "changing the name");
    let long = "Augusta Ada King, Countess of L.";
    browser.run("document.querySelector('#name').value = ''");
    browser.type_into("#name", &format!("{}{ENTER}", long.replace(',', "")));
    browser.wait_until("!document.querySelector('.message-form').hidden");
    must_be_whole(&browser, "renamed");
    server.signal("TERM");
    server.wait(PATIENCE);
    browser.wait_until("document.querySelector('#status').dataset.state !== 'live'");
    must_be_whole(&browser, "disconnected");
    let _second = RealServer::start(&["--web-port", &web.port().to_string()]);
    browser.wait_until(LIVE);
    browser.wait_until("document.querySelector('#users .me')");
    must_be_whole(&browser, "rejoined");
}

#[test]
fn a_draft_grows_with_the_window() {
    let Some(browser) = Browser::start("draft") else {
        return;
    };
    let (_chat, web) = Chat::with_page(Limits::default());
    browser.resize(1440, 800);
    join(&browser, web, "Ada");
    let height = |browser: &Browser| -> Value {
        browser.run("return document.querySelector('#text').clientHeight")
    };
    let one_row = height(&browser);
    browser.type_into("#text", &"words that fill a row ".repeat(5));
    assert_eq!(height(&browser), one_row);
    must_be_whole(&browser, "a long draft");
    browser.resize(390, 800);
    browser.wait_until(&format!(
        "document.querySelector('#text').clientHeight > {one_row} + 20"
    ));
    browser.resize(1440, 800);
    browser.wait_until(&format!(
        "document.querySelector('#text').clientHeight === {one_row}"
    ));
    browser.type_into("#text", &format!("{SHIFT}{}{RELEASE}", ENTER).repeat(40));
    must_be_whole(&browser, "a draft of 40 rows");
}
