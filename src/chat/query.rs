//! Search queries: parsing and matching.
//!
//! Text is folded into words: NFKD, without marks, in lower case. Adjacent words of a query must be
//! adjacent in the message. Each character of a script without spaces, such as Chinese, is a word.

use crate::limits::{MAX_QUERY_BYTES, MAX_QUERY_WORDS};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A search, of which every condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Phrases of adjacent words, as [`words`] returns them.
    pub phrases: Vec<Vec<String>>,
    /// Name of the author, folded by [`author_key`].
    pub from: Option<String>,
    /// Earliest time of a match.
    pub after: Option<Timestamp>,
    /// Time before which a match lies.
    pub before: Option<Timestamp>,
}

/// The reason why a query is not valid. `Display` is a sentence with a hint.
// The sentences describe the variants.
#[allow(missing_docs)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    Empty,
    UnclosedQuote,
    NotADate(&'static str),
    NothingAfter(&'static str),
    Twice(&'static str),
    TooLong,
    TooManyWords,
}

impl QueryError {
    /// Returns the exceeded limit, if there is one.
    pub fn limit(&self) -> Option<usize> {
        match self {
            QueryError::TooLong => Some(MAX_QUERY_BYTES),
            QueryError::TooManyWords => Some(MAX_QUERY_WORDS),
            _ => None,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&match self {
            QueryError::Empty => "The search is empty; give a word, a \"phrase in quotes\", \
                                  from:NAME, after:2026-01-31 or before:2026-02-28"
                .into(),
            QueryError::UnclosedQuote => {
                "A quotation mark is not closed; add the closing one".into()
            }
            QueryError::NotADate(key) => {
                format!("\"{key}\" needs a date; write it as {key}2026-01-31")
            }
            QueryError::NothingAfter(key) => {
                format!("\"{key}\" needs a value; write it without a space")
            }
            QueryError::Twice(key) => format!("\"{key}\" occurs twice; give it once"),
            QueryError::TooLong => {
                format!("The search is longer than {MAX_QUERY_BYTES} bytes; use fewer words")
            }
            QueryError::TooManyWords => {
                format!("The search has more than {MAX_QUERY_WORDS} words; use fewer")
            }
        })
    }
}

const FROM: &str = "from:";
const AFTER: &str = "after:";
const BEFORE: &str = "before:";

impl Query {
    /// Parses a query: words, `"phrases"`, `from:NAME`, and days as in `after:2026-01-31` (that
    /// day and later) and `before:2026-01-31` (earlier than that day), in UTC.
    ///
    /// # Errors
    /// The query is not valid.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        let mut query = Query::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, after_key) = split_key(rest);
            let (value, after_value) = split_value(after_key)?;
            query.add(key, value)?;
            rest = after_value.trim_start();
        }
        if query == Query::default() {
            return Err(QueryError::Empty);
        }
        let words: usize = query.phrases.iter().map(Vec::len).sum();
        if words > MAX_QUERY_WORDS {
            return Err(QueryError::TooManyWords);
        }
        Ok(query)
    }

    fn add(&mut self, key: Option<&'static str>, value: &str) -> Result<(), QueryError> {
        let Some(key) = key else {
            let phrase = words(value);
            if !phrase.is_empty() {
                self.phrases.push(phrase);
            }
            return Ok(());
        };
        if value.trim().is_empty() {
            return Err(QueryError::NothingAfter(key));
        }
        let is_twice = match key {
            FROM => self.from.replace(author_key(value)).is_some(),
            AFTER => self.after.replace(day(key, value)?).is_some(),
            _ => self.before.replace(day(key, value)?).is_some(),
        };
        match is_twice {
            true => Err(QueryError::Twice(key)),
            false => Ok(()),
        }
    }

    /// Returns whether a message matches.
    pub fn matches(&self, author: &str, time: Timestamp, text: &str) -> bool {
        let contains_phrases = || {
            let words = words(text);
            let contains = |phrase: &Vec<String>| words.windows(phrase.len()).any(|w| w == *phrase);
            self.phrases.iter().all(contains)
        };
        let from = self.from.as_ref();
        self.after.is_none_or(|after| time >= after)
            && self.before.is_none_or(|before| time < before)
            && from.is_none_or(|from| *from == author_key(author))
            && (self.phrases.is_empty() || contains_phrases())
    }
}

/// Splits off the filter key at the beginning, if there is one.
fn split_key(text: &str) -> (Option<&'static str>, &str) {
    let is_key = |key: &&str| {
        text.get(..key.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(key))
    };
    match [FROM, AFTER, BEFORE].into_iter().find(is_key) {
        Some(key) => (Some(key), &text[key.len()..]),
        None => (None, text),
    }
}

/// Splits off the quoted phrase, or the text up to a space or a quotation mark.
fn split_value(text: &str) -> Result<(&str, &str), QueryError> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').ok_or(QueryError::UnclosedQuote);
    }
    let is_end = |c: char| c.is_whitespace() || c == '"';
    let end = text.find(is_end).unwrap_or(text.len());
    Ok(text.split_at(end))
}

/// Parses a day and returns its beginning.
fn day(key: &'static str, value: &str) -> Result<Timestamp, QueryError> {
    let date: Option<Date> = value.trim().parse().ok();
    let start = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let start = start.ok_or(QueryError::NotADate(key))?;
    Ok(start.timestamp())
}

fn without_marks(text: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    text.filter(|character| !is_combining_mark(*character))
}

/// Returns the folded words of a text.
pub fn words(text: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(text.len());
    for character in without_marks(text.nfkd()) {
        if !character.is_alphanumeric() {
            spaced.push(' ');
        } else if is_word_alone(character) {
            spaced.extend([' ', character, ' ']);
        } else {
            // Lower case may add a mark, as in İ.
            spaced.extend(without_marks(character.to_lowercase()));
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Returns whether a character belongs to a script without spaces between words.
fn is_word_alone(character: char) -> bool {
    matches!(
        character,
        '\u{3040}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3fffd}'
            | '\u{0e00}'..='\u{0eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
    )
}

/// Returns an author's name folded for comparison.
pub fn author_key(name: &str) -> String {
    let folded: String = without_marks(name.nfkd()).collect();
    folded.to_lowercase().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_split() {
        for (text, expected) in [
            ("Hledat HLEDAT hledat", "hledat hledat hledat"),
            ("příliš žluťoučký kůň", "prilis zlutoucky kun"),
            ("don't e-mail x_y", "don t e mail x y"),
            ("ﬁne Ⅷ ½", "fine viii 1 2"),
            ("İstanbul Straße", "istanbul straße"),
            ("学生です", "学 生 て す"),
            ("한국어", "한국어"),
            (" … ", ""),
        ] {
            let expected: String = without_marks(expected.nfkd()).collect();
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    fn check_folding_is_stable(characters: impl Iterator<Item = char>) {
        for character in characters {
            let once = words(&format!("a{character}b"));
            assert_eq!(words(&once.join(" ")), once, "{character:?}");
        }
    }

    #[test]
    fn folding_of_sampled_characters_is_stable() {
        check_folding_is_stable(('\0'..='\u{24F}').chain(('\u{250}'..=char::MAX).step_by(307)));
    }

    #[test]
    #[ignore = "checks every character of Unicode, which takes seconds"]
    fn folding_of_all_of_unicode_is_stable() {
        check_folding_is_stable('\0'..=char::MAX);
    }

    #[test]
    fn query_matches_its_conditions_only() {
        let time: Timestamp = "2026-05-10T12:00:00Z".parse().unwrap();
        let said = "Kde hledat e-mail? 私は学生です";
        for (query, expected) in [
            ("hledat", true),
            ("HLEDAT kde", true),
            ("hledá", false),
            ("\"kde hledat\"", true),
            ("\"hledat kde\"", false),
            ("e-mail", true),
            ("mail-e", false),
            ("学生", true),
            ("生学", false),
            ("from:\"jurgen o\"", true),
            ("from:Jurgen", false),
            ("FROM:\"JÜRGEN Ö\" hledat", true),
            ("after:2026-05-10", true),
            ("after:2026-05-11", false),
            ("before:2026-05-11", true),
            ("before:2026-05-10", false),
            ("hledat nic", false),
        ] {
            let parsed = Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(parsed.matches("Jürgen Ö", time, said), expected, "{query}");
        }
    }

    #[test]
    fn invalid_queries_are_rejected() {
        let many = "a ".repeat(MAX_QUERY_WORDS + 1);
        for (query, expected) in [
            ("", QueryError::Empty),
            (" ?! ", QueryError::Empty),
            ("\"\"", QueryError::Empty),
            ("\"open", QueryError::UnclosedQuote),
            ("from:", QueryError::NothingAfter(FROM)),
            ("from: alice", QueryError::NothingAfter(FROM)),
            ("before:", QueryError::NothingAfter(BEFORE)),
            ("after:yesterday", QueryError::NotADate(AFTER)),
            ("before:2026-13-01", QueryError::NotADate(BEFORE)),
            ("from:a from:b", QueryError::Twice(FROM)),
            (
                "after:2026-01-01 after:2026-01-02",
                QueryError::Twice(AFTER),
            ),
            (&many, QueryError::TooManyWords),
        ] {
            assert_eq!(Query::parse(query), Err(expected), "{query:?}");
        }
    }
}
