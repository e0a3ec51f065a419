//! Search queries: parsing and matching.
//!
//! Text is folded into words, about as the Unicode Collation Algorithm does at its primary level:
//! without case, accents and letter forms, but with the vowel signs and the kana voicing that make
//! other words. Adjacent words of a query must be adjacent in the message. Each character of a
//! script without spaces, such as Chinese, and each Korean syllable is a word; so is each sign,
//! such as `#`.

use crate::chat::sanitize::{is_invisible, quoted};
use crate::chat::username::ascii_digit;
use crate::limits::{MAX_QUERY_BYTES, MAX_QUERY_WORDS};
use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, is_combining_mark};

/// A search, of which every condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What the text of a match contains.
    pub phrases: Vec<Phrase>,
    /// Name of the author, folded by [`author_key`].
    pub from: Option<String>,
    /// Earliest time of a match.
    pub after: Option<Timestamp>,
    /// Time before which a match lies.
    pub before: Option<Timestamp>,
}

/// Adjacent words, as [`words`] returns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrase {
    /// The words; never empty.
    pub words: Vec<String>,
    /// Whether the last word may be the beginning of one in the message.
    pub is_prefix: bool,
}

impl Phrase {
    fn is_in(&self, text: &[String]) -> bool {
        let is_here = |found: &[String]| match (found.split_last(), self.words.split_last()) {
            (Some((found, found_rest)), Some((word, rest))) => {
                found_rest == rest && (found == word || self.is_prefix && found.starts_with(word))
            }
            _ => false,
        };
        text.windows(self.words.len()).any(is_here)
    }
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
    /// This part of the query has no letter and no digit.
    NotSearchable(String),
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
            QueryError::NotSearchable(part) => format!(
                "The search cannot find {}, which has no letter or digit; leave it out, or put it \
                 in quotes with the word beside it",
                quoted(part)
            ),
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
    /// Parses a query: beginnings of words, `"phrases"`, `from:NAME`, and days as in `after:2026-01-31` (that
    /// day and later) and `before:2026-01-31` (earlier than that day), in UTC.
    ///
    /// # Errors
    /// The query is not valid.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        let mut query = Query::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, after_key) = split_key(rest);
            let is_quoted = after_key.starts_with('"');
            let (value, after_value) = split_value(after_key)?;
            match key {
                Some(key) => query.add_filter(key, value)?,
                None => query.add_phrase(value, !is_quoted)?,
            }
            rest = after_value.trim_start();
        }
        if query == Query::default() {
            return Err(QueryError::Empty);
        }
        let words: usize = query.phrases.iter().map(|phrase| phrase.words.len()).sum();
        if words > MAX_QUERY_WORDS {
            return Err(QueryError::TooManyWords);
        }
        Ok(query)
    }

    fn add_phrase(&mut self, text: &str, is_prefix: bool) -> Result<(), QueryError> {
        let words = words(text);
        if words
            .iter()
            .flat_map(|word| word.chars())
            .any(char::is_alphanumeric)
        {
            self.phrases.push(Phrase { words, is_prefix });
        } else if !text.trim().is_empty() {
            return Err(QueryError::NotSearchable(text.trim().into()));
        }
        Ok(())
    }

    fn add_filter(&mut self, key: &'static str, value: &str) -> Result<(), QueryError> {
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
            self.phrases.iter().all(|phrase| phrase.is_in(&words))
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

/// Folds what the primary level of the Unicode Collation Algorithm does not distinguish.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Lower, upper, lower: ß becomes ss, and ς becomes σ.
    let fold_case = |character: char| {
        character
            .to_lowercase()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
    };
    let mut plain = String::with_capacity(text.len());
    for character in text.nfkd().filter(|c| is_kept(*c)).flat_map(fold_case) {
        match latin_letters(character) {
            Some(letters) => plain.push_str(letters),
            None => plain.push(ascii_digit(character)),
        }
    }
    // The case may have added marks.
    let plain = plain.nfkd().filter(|c| is_kept(*c));
    plain.map(hiragana).nfc().collect()
}

/// Returns whether a character distinguishes words: all but invisible characters, the Arabic
/// tatweel, and most marks.
fn is_kept(character: char) -> bool {
    let is_letter_mark = || match canonical_combining_class(character) {
        // Vowel signs and the like; not circles around a letter.
        0 => general_category(character) != GeneralCategory::EnclosingMark,
        // Kana voicing and viramas; vowels of Telugu, Thai, Lao and Tibetan.
        8 | 9 | 84 | 91 | 103 | 118 | 129 | 130 | 132 => true,
        _ => false,
    };
    character.is_ascii()
        || (character != '\u{640}'
            && (!is_combining_mark(character) || is_letter_mark())
            && !is_invisible(character))
}

fn general_category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

/// Returns the letters to which normalization does not lead, but the collation algorithm does.
fn latin_letters(character: char) -> Option<&'static str> {
    Some(match character {
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        _ => return None,
    })
}

/// Returns the hiragana of a katakana letter.
fn hiragana(character: char) -> char {
    match character {
        '\u{30a1}'..='\u{30f6}' | '\u{30fd}' | '\u{30fe}' => {
            char::from_u32(u32::from(character) - 0x60).unwrap_or(character)
        }
        _ => character,
    }
}

/// Signs among punctuation that are words; other punctuation only separates words.
const SIGNS: &str = "#%&@*";

/// Returns the folded words of a text.
pub fn words(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut spaced = String::with_capacity(folded.len());
    for character in folded.chars() {
        let is_letter = character.is_alphanumeric() || is_combining_mark(character);
        if is_letter && !is_word_alone(character) {
            spaced.push(character);
        } else if is_letter || is_sign(character) {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(' ');
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

fn is_sign(character: char) -> bool {
    SIGNS.contains(character) || GeneralCategoryGroup::Symbol.contains(general_category(character))
}

/// Returns whether a character belongs to a script without spaces between words, or to Korean,
/// where particles follow a word without a space.
pub fn is_word_alone(character: char) -> bool {
    matches!(
        character,
        // Thai, Lao, Burmese, Korean letters, Khmer, Tai, Balinese.
        '\u{0e00}'..='\u{0eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1100}'..='\u{11ff}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{1950}'..='\u{19df}'
            | '\u{1a20}'..='\u{1aaf}'
            | '\u{1b00}'..='\u{1b7f}'
            // Chinese signs and numbers, kana, Bopomofo, Chinese, Yi.
            | '\u{3005}'..='\u{303c}'
            | '\u{3040}'..='\u{312f}'
            | '\u{31a0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{a48f}'
            // Korean letters, Javanese, Burmese, Tai, Korean syllables.
            | '\u{a960}'..='\u{a9ff}'
            | '\u{aa60}'..='\u{aadf}'
            | '\u{ac00}'..='\u{d7ff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{ff66}'..='\u{ffdc}'
            // Tangut, old kana, rare Chinese.
            | '\u{16fe0}'..='\u{1b2ff}'
            | '\u{20000}'..='\u{3fffd}'
    )
}

/// Returns an author's name folded for comparison.
pub fn author_key(name: &str) -> String {
    fold(name).trim().to_owned()
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
            ("ﬁne Ⅷ x²", "fine viii x2"),
            ("İstanbul Straße ΣΑΣ", "istanbul strasse σασ"),
            ("学生ですガ", "学 生 で す が"),
            ("한국어를", "한 국 어 를"),
            ("C# C++ 5€", "c # c + + 5 €"),
            ("दिन दान", "दिन दान"),
            ("a\u{ad}b\u{200b}c", "abc"),
            (" … ", ""),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn search_finds_and_misses_what_the_table_says() {
        let cases = include_str!("../../tests/cases/search.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() >= 60);
        let texts = |case: &serde_json::Value, key: &str| -> Vec<String> {
            serde_json::from_value(case[key].clone()).unwrap_or_default()
        };
        let mut wrong = Vec::new();
        for case in &cases {
            let text = case["query"].as_str().unwrap();
            let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let author = case["author"].as_str().unwrap_or("Ada");
            for (key, expected) in [("finds", true), ("misses", false)] {
                for text in texts(case, key) {
                    if query.matches(author, Timestamp::UNIX_EPOCH, &text) != expected {
                        wrong.push(format!("{query:?} {key} {:?}", words(&text)));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
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
            ("hledá", true),
            ("ledat", false),
            ("\"kde hleda\"", false),
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
            (" ?! ", QueryError::NotSearchable("?!".into())),
            ("kde 🎉", QueryError::NotSearchable("🎉".into())),
            ("C++ \" + \"", QueryError::NotSearchable("+".into())),
            ("rock & roll", QueryError::NotSearchable("&".into())),
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
