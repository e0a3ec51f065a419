//! Any requested name: an accepted name has every property that `smolchat::chat::username` promises.

#![no_main]

use libfuzzer_sys::fuzz_target;
use smolchat::chat::sanitize;
use smolchat::chat::username::Username;
use smolchat::limits::{MAX_NAME_BYTES, MAX_NAME_GRAPHEMES};
use std::net::SocketAddr;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

fuzz_target!(|requested: &str| {
    let own = SocketAddr::from(([127, 0, 0, 1], 57354));
    let name = match Username::parse(requested, own) {
        Ok(name) => name,
        Err(error) => {
            let sentence = error.to_string();
            assert!(sentence.is_ascii() && !sentence.contains(char::is_control));
            return;
        }
    };
    let text = name.as_str();
    assert_eq!(sanitize::for_terminal(text), text, "not safe on a terminal");
    assert!(!text.is_empty() && text.len() <= MAX_NAME_BYTES);
    assert!(text.graphemes(true).count() <= MAX_NAME_GRAPHEMES);
    assert!(text.trim() == text && !text.contains("  "));
    let forms: [String; 5] = [
        text.to_owned(),
        text.nfc().collect(),
        text.nfd().collect(),
        text.nfkc().collect(),
        text.nfkd().collect(),
    ];
    for form in forms {
        assert_eq!(Username::parse(&form, own).as_ref(), Ok(&name), "{form:?}");
    }
    let keys = name.key();
    assert!(!keys.folded_first.is_empty() && !keys.folded_last.is_empty());
    if name == Username::from_address(own) {
        return;
    }
    assert!(!text.contains(": ") && !text.ends_with([':', '>']));
    for reading in [text, &keys.folded_first, &keys.folded_last] {
        let reading = reading.to_lowercase();
        let digits = reading.replace('o', "0").replace('l', "1").replace(' ', "");
        assert!(
            digits.parse::<SocketAddr>().is_err(),
            "{name} is an address"
        );
        assert_ne!(reading.replace(' ', ""), "[server]");
        assert!(!reading.ends_with("(private)"), "{name}");
        assert!(!reading.contains("has left the chat"), "{name}");
    }
    let elsewhere = SocketAddr::from(([10, 0, 0, 1], 80));
    assert_eq!(
        Username::parse(requested, elsewhere),
        Ok(name),
        "the result depends on the address"
    );
});
