//! Web addresses and mentions in a text, by the rules of the page (`web/text.js`);
//! tests/cases/recognition.json has cases for both.

use crate::chat::query::is_word_alone;
use crate::chat::sanitize::is_invisible;
use std::ops::Range;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

const WWW: &str = "www.";
/// Punctuation that ends the sentence around an address.
const SENTENCE_ENDS: [char; 10] = ['.', ',', ':', ';', '!', '?', '\'', '*', '_', '~'];

/// A web address in a text.
#[derive(Debug)]
pub(crate) struct WebAddress {
    pub(crate) range: Range<usize>,
    /// The target in ASCII.
    pub(crate) href: String,
}

/// Returns the web addresses of a text.
pub(crate) fn web_addresses(text: &str) -> Vec<WebAddress> {
    let mut found = Vec::new();
    let mut position = 0;
    while let Some(character) = text[position..].chars().next() {
        let start = position;
        position += character.len_utf8();
        let Some(prefix) = prefix_at(text, start) else {
            continue;
        };
        let rest = &text[start + prefix..];
        let length = rest.find(|c| !is_in_address(c)).unwrap_or(rest.len());
        position = start + prefix + length;
        let address = without_sentence_end(&text[start..position]);
        if length > 0 && has_host(address) {
            found.push(WebAddress {
                range: start..start + address.len(),
                href: href(address),
            });
        }
    }
    found
}

/// Returns the length of the beginning of an address, if one stands at this position.
fn prefix_at(text: &str, start: usize) -> Option<usize> {
    let before = text[..start].chars().next_back();
    if before.is_some_and(|before| before.is_ascii_alphanumeric()) {
        return None;
    }
    let is_in_host = || before.is_some_and(|before| "-.@/:".contains(before));
    let beginning = &text[start..];
    scheme_length(beginning).or_else(|| prefix_length(beginning, WWW).filter(|_| !is_in_host()))
}

fn scheme_length(text: &str) -> Option<usize> {
    prefix_length(text, "http://").or_else(|| prefix_length(text, "https://"))
}

fn prefix_length(text: &str, prefix: &str) -> Option<usize> {
    let beginning = text.get(..prefix.len())?;
    beginning
        .eq_ignore_ascii_case(prefix)
        .then_some(prefix.len())
}

/// Returns whether a character may belong to an address: ASCII without quotes, and letters of
/// scripts with spaces.
fn is_in_address(character: char) -> bool {
    match character {
        '"' | '<' | '>' | '\\' | '`' => false,
        '!'..='~' => true,
        _ => {
            !character.is_ascii()
                && is_in_word(character)
                && !is_word_alone(character)
                && !is_invisible(character)
        }
    }
}

/// Drops the punctuation and the unbalanced brackets that end the sentence around an address.
fn without_sentence_end(address: &str) -> &str {
    // Counted once: an address of thousands of brackets must not occupy the client.
    let brackets = [('(', ')'), ('[', ']'), ('{', '}')];
    let mut surplus = brackets.map(|(open, close)| {
        let (opened, closed) = (
            address.matches(open).count(),
            address.matches(close).count(),
        );
        closed.saturating_sub(opened)
    });
    address.trim_end_matches(
        |last| match brackets.iter().position(|(_, close)| *close == last) {
            Some(kind) if surplus[kind] > 0 => {
                surplus[kind] -= 1;
                true
            }
            _ => SENTENCE_ENDS.contains(&last),
        },
    )
}

/// Returns whether an address has a host in ASCII, after `www.` one of two parts.
fn has_host(address: &str) -> bool {
    let scheme = scheme_length(address);
    let rest = &address[scheme.unwrap_or(0)..];
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let begins = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(address, _)| {
            let is_part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
            !address.is_empty() && address.chars().all(is_part)
        }),
        None => host.starts_with(|first: char| first.is_ascii_alphanumeric()),
    };
    let has_parts = || {
        let parts = host.get(WWW.len()..).and_then(|rest| rest.split_once('.'));
        parts.is_some_and(|(first, _)| !first.is_empty())
    };
    begins && host.is_ascii() && (scheme.is_some() || has_parts())
}

/// Returns the target of an address, with other characters than ASCII in percent encoding.
fn href(address: &str) -> String {
    let scheme = if scheme_length(address).is_none() {
        "https://"
    } else {
        ""
    };
    let mut target = scheme.to_owned();
    for byte in address.bytes() {
        match byte {
            0..=127 => target.push(char::from(byte)),
            _ => target.push_str(&format!("%{byte:02X}")),
        }
    }
    target
}

fn is_in_word(character: char) -> bool {
    character.is_alphanumeric() || is_combining_mark(character)
}

/// Returns whether a text contains a name, in any case, and not inside a word of a script with
/// spaces.
pub(crate) fn mentions(text: &str, name: &str) -> bool {
    let fold = |text: &str| text.nfc().collect::<String>().to_lowercase();
    let (text, name) = (fold(text), fold(name));
    let is_spaced = |c: char| (is_in_word(c) || c == '_') && !is_word_alone(c);
    let joins = |inside: Option<char>, outside: Option<char>| {
        inside.is_some_and(is_spaced) && outside.is_some_and(is_spaced)
    };
    let (first, last) = (name.chars().next(), name.chars().next_back());
    first.is_some()
        && text.match_indices(&name).any(|(at, _)| {
            !joins(first, text[..at].chars().next_back())
                && !joins(last, text[at + name.len()..].chars().next())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const CASES: &str = include_str!("../../../tests/cases/recognition.json");

    #[test]
    fn addresses_are_those_of_the_table() {
        let cases: Value = serde_json::from_str(CASES).unwrap();
        for case in cases["links"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let found = web_addresses(text);
            let shown: Vec<_> = found.iter().map(|link| &text[link.range.clone()]).collect();
            let expected: Vec<String> = serde_json::from_value(case["links"].clone()).unwrap();
            assert_eq!(shown, expected, "{text:?}");
            if let Some(href) = case["href"].as_str() {
                assert_eq!(found[0].href, href, "{text:?}");
            }
        }
    }

    #[test]
    fn mentions_are_those_of_the_table() {
        let cases: Value = serde_json::from_str(CASES).unwrap();
        for case in cases["mentions"].as_array().unwrap() {
            let [text, name] = ["text", "name"].map(|key| case[key].as_str().unwrap());
            let expected = case["rings"].as_bool().unwrap();
            assert_eq!(mentions(text, name), expected, "{text:?} for {name:?}");
        }
    }
}
