//! What is looked for among messages.
//!
//! What lives here: [`Query`], the words and conditions of a search, how it is read, and whether
//! a message matches. The dialects read queries; the memory and a store answer them by the same
//! rules. It must never know where messages are kept.
//!
//! Words are folded: case, accents and forms of letters make no difference (Unicode NFKD, marks
//! left out, lower case). What stands together without a space in a query stands together in the
//! message: so text is found that is written without spaces, such as Chinese, of which each
//! character is a word.

use crate::limits::MAX_QUERY_WORDS;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// What is looked for: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Words as [`words`] gives them; those of one phrase stand next to each other.
    pub phrases: Vec<Vec<String>>,
    /// The author's name, folded as [`author_key`] does.
    pub from: Option<String>,
    /// Said at this time or later.
    pub after: Option<Timestamp>,
    /// Said before this time.
    pub before: Option<Timestamp>,
}

/// Why a query makes no sense. Its `Display` is a sentence with a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// There is nothing to look for.
    Empty,
    /// A quotation mark is not closed.
    UnclosedQuote,
    /// What stands after `before:` or `after:` is no date.
    NotADate(&'static str),
    /// Nothing stands after `from:`, `before:` or `after:`.
    NothingAfter(&'static str),
    /// A condition stands twice.
    Twice(&'static str),
    /// It is longer than so many bytes.
    TooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// It has more than so many words.
    TooManyWords {
        /// Words allowed.
        limit: usize,
    },
}

impl QueryError {
    /// The limit that was hit, if one was.
    pub fn limit(&self) -> Option<usize> {
        match self {
            QueryError::TooLong { limit } | QueryError::TooManyWords { limit } => Some(*limit),
            _ => None,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::Empty => write!(
                out,
                "There is nothing to look for; give a word, a \"phrase in quotes\", from:NAME, \
                 after:2026-01-31 or before:2026-02-28"
            ),
            QueryError::UnclosedQuote => {
                write!(
                    out,
                    "A quotation mark is not closed; put one at the end too"
                )
            }
            QueryError::NotADate(key) => write!(
                out,
                "What stands after \"{key}\" is no date; write it as in {key}2026-01-31"
            ),
            QueryError::NothingAfter(key) => {
                write!(
                    out,
                    "Nothing stands after \"{key}\"; leave no space between them"
                )
            }
            QueryError::Twice(key) => write!(out, "\"{key}\" stands twice; give it once"),
            QueryError::TooLong { limit } => write!(
                out,
                "The search is longer than the {limit} bytes allowed; look for fewer words"
            ),
            QueryError::TooManyWords { limit } => write!(
                out,
                "The search has more than the {limit} words allowed; look for fewer"
            ),
        }
    }
}

const FROM: &str = "from:";
const AFTER: &str = "after:";
const BEFORE: &str = "before:";

impl Query {
    /// Reads a query: words, `"phrases"`, `from:NAME`, and days as in `after:2026-01-31` (that
    /// day and later) and `before:2026-01-31` (earlier than that day), in UTC.
    ///
    /// # Errors
    /// It makes no sense.
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
            let limit = MAX_QUERY_WORDS;
            return Err(QueryError::TooManyWords { limit });
        }
        Ok(query)
    }

    fn add(&mut self, key: Option<&'static str>, value: &str) -> Result<(), QueryError> {
        let Some(key) = key else {
            let phrase: Vec<String> = words(value);
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

    /// Whether what this author said at this time matches.
    pub fn matches(&self, author: &str, time: Timestamp, text: &str) -> bool {
        self.holds_for(author, time) && self.is_in(text)
    }

    /// Whether the conditions on author and time hold.
    fn holds_for(&self, author: &str, time: Timestamp) -> bool {
        self.after.is_none_or(|after| time >= after)
            && self.before.is_none_or(|before| time < before)
            && self
                .from
                .as_ref()
                .is_none_or(|from| *from == author_key(author))
    }

    /// Whether all phrases are in a text.
    fn is_in(&self, text: &str) -> bool {
        if self.phrases.is_empty() {
            return true;
        }
        let words = words(text);
        let is_here =
            |phrase: &Vec<String>| words.windows(phrase.len()).any(|part| part == *phrase);
        self.phrases.iter().all(is_here)
    }
}

/// The key at the beginning, if there is one, and what stands after it.
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

/// What stands in quotes at the beginning, or up to a space or a quotation mark; and the rest.
fn split_value(text: &str) -> Result<(&str, &str), QueryError> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').ok_or(QueryError::UnclosedQuote);
    }
    let is_end = |c: char| c.is_whitespace() || c == '"';
    let end = text.find(is_end).unwrap_or(text.len());
    Ok(text.split_at(end))
}

/// The beginning of a day.
fn day(key: &'static str, value: &str) -> Result<Timestamp, QueryError> {
    let error = QueryError::NotADate(key);
    let date: Date = value.trim().parse().map_err(|_| error.clone())?;
    let start = date.to_zoned(TimeZone::UTC).map_err(|_| error)?;
    Ok(start.timestamp())
}

/// The words of a text, folded.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for character in text.nfkd().filter(|c| !is_combining_mark(*c)) {
        if !character.is_alphanumeric() {
            take_word(&mut words, &mut word);
        } else if stands_alone(character) {
            take_word(&mut words, &mut word);
            words.push(character.to_string());
        } else {
            // Lowering may add a mark (as in İ).
            let lower = character.to_lowercase().filter(|c| !is_combining_mark(*c));
            word.extend(lower);
        }
    }
    take_word(&mut words, &mut word);
    words
}

fn take_word(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Whether a character is of a script that is written without spaces between words.
fn stands_alone(character: char) -> bool {
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

/// An author's name, folded to be compared: its words, with one space between them.
pub fn author_key(name: &str) -> String {
    let folded: String = name.nfkd().filter(|c| !is_combining_mark(*c)).collect();
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
            let expected: String = expected.nfkd().filter(|c| !is_combining_mark(*c)).collect();
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn what_is_folded_stays_as_it_is_whatever_the_character() {
        let is_folded = |c: &char| std::iter::once(*c).nfkd().eq([*c]) && c.to_lowercase().eq([*c]);
        for character in ('\0'..=char::MAX).filter(|c| !is_folded(c)) {
            let once = words(&format!("a{character}b"));
            assert_eq!(words(&once.join(" ")), once, "{character:?}");
        }
    }

    #[test]
    fn what_is_looked_for_is_found_and_nothing_else() {
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
    fn a_query_that_makes_no_sense_is_told_why() {
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
            (
                many.as_str(),
                QueryError::TooManyWords {
                    limit: MAX_QUERY_WORDS,
                },
            ),
        ] {
            assert_eq!(Query::parse(query), Err(expected), "{query:?}");
        }
    }
}
