//! The page recognises addresses and mentions as the terminal client does.

use crate::support::browser::Browser;
use serde_json::{Value, json};

#[test]
fn addresses_and_mentions_are_those_of_the_table() {
    let Some(browser) = Browser::start("recognition") else {
        return;
    };
    let functions = include_str!("../../web/text.js").replace("export ", "");
    let cases = include_str!("../cases/recognition.json");
    let script = format!(
        "{functions}
        const {{ links, mentions }} = {cases};
        return {{
          links: links.map(({{ text }}) => webAddresses(text).map(({{ start, end, href }}) => [text.slice(start, end), new URL(href).href])),
          mentions: mentions.map(({{ text, name }}) => mentionsName(text, name)),
        }};"
    );
    let found = browser.run(&script);
    let cases: Value = serde_json::from_str(cases).expect("a table");
    let all = |value: &Value| value.as_array().expect("an array").clone();
    let (links, mentions) = (all(&found["links"]), all(&found["mentions"]));
    for (case, found) in all(&cases["links"]).iter().zip(links) {
        let shown: Vec<Value> = all(&found).iter().map(|link| link[0].clone()).collect();
        assert_eq!(json!(shown), case["links"], "{}", case["text"]);
        if case["href"].is_string() {
            assert_eq!(found[0][1], case["href"]);
        }
    }
    for (case, found) in all(&cases["mentions"]).iter().zip(mentions) {
        assert_eq!(found, case["rings"], "{case}");
    }
}
