//! Column widths, row breaks and text direction.

use icu_properties::CodePointMapData;
use icu_properties::props::BidiClass;
use icu_segmenter::LineSegmenter;
use icu_segmenter::options::LineBreakOptions;
use std::ops::Range;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a terminal counts the columns of grapheme clusters, such as flags and joined emoji.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Widths {
    /// A cluster has the width of its sign.
    Clusters,
    /// A cluster has the sum of the widths of its characters.
    Characters,
}

impl Widths {
    /// Chooses by the variables `TERM_PROGRAM` and `TERM`.
    pub(crate) fn choose(term_program: &str, term: &str) -> Self {
        match term_program {
            "Apple_Terminal" | "iTerm.app" | "WezTerm" | "ghostty" | "contour" => Widths::Clusters,
            _ if term == "xterm-kitty" || term == "xterm-ghostty" => Widths::Clusters,
            _ => Widths::Characters,
        }
    }

    /// Returns the columns of a text; control characters have none.
    pub(crate) fn of(self, text: &str) -> usize {
        match self {
            Widths::Clusters => text.width(),
            Widths::Characters => text.chars().map(|c| c.width().unwrap_or(0)).sum(),
        }
    }

    /// Returns the longest prefix of whole clusters that fits.
    pub(crate) fn truncate(self, text: &str, columns: usize) -> &str {
        let mut used = 0;
        for (at, cluster) in text.grapheme_indices(true) {
            used += self.of(cluster);
            if used > columns {
                return &text[..at];
            }
        }
        text
    }
}

/// Returns the rows of a text, at least one: the first has `first` columns, the others `rest`.
///
/// Rows break at newlines and between words, and inside a word only if it is longer than a row.
/// White space at the end of a row belongs to no row.
pub(crate) fn wrap(text: &str, first: usize, rest: usize, widths: Widths) -> Vec<Range<usize>> {
    let mut wrapper = Wrapper {
        text,
        first: first.max(1),
        rest: rest.max(1),
        widths,
        rows: Vec::new(),
    };
    let mut start = 0;
    for line in text.split('\n') {
        wrapper.wrap_line(start..start + line.len());
        start += line.len() + 1;
    }
    wrapper.rows
}

struct Wrapper<'a> {
    text: &'a str,
    first: usize,
    rest: usize,
    widths: Widths,
    rows: Vec<Range<usize>>,
}

impl Wrapper<'_> {
    fn columns(&self) -> usize {
        match self.rows.is_empty() {
            true => self.first,
            false => self.rest,
        }
    }

    /// Ends a row, without the white space at its end.
    fn push_row(&mut self, row: Range<usize>) {
        let text = self.text[row.clone()].trim_end();
        self.rows.push(row.start..row.start + text.len());
    }

    fn wrap_line(&mut self, line: Range<usize>) {
        let content = &self.text[line.clone()];
        // Most lines are short and need no segmentation.
        if self.widths.of(content) <= self.columns() {
            return self.push_row(line);
        }
        let segmenter = LineSegmenter::new_for_non_complex_scripts(LineBreakOptions::default());
        let mut row = line.start..line.start;
        let mut used = 0;
        let mut word_start = line.start;
        for end in segmenter.segment_str(content).skip(1) {
            let word_end = line.start + end;
            let word = &self.text[word_start..word_end];
            let bare = self.widths.of(word.trim_end());
            if used > 0 && used + bare > self.columns() {
                self.push_row(row);
                row = word_start..word_start;
                used = 0;
            }
            if bare > self.columns() {
                used = self.break_word(word_start..word_end, &mut row);
            } else {
                used += self.widths.of(word);
            }
            row.end = word_end;
            word_start = word_end;
        }
        self.push_row(row);
    }

    /// Breaks a word between its clusters; returns the columns that it uses in the last row.
    fn break_word(&mut self, word: Range<usize>, row: &mut Range<usize>) -> usize {
        let mut used = 0;
        for (at, cluster) in self.text[word.clone()].grapheme_indices(true) {
            let width = self.widths.of(cluster);
            let is_space = cluster.chars().all(char::is_whitespace);
            if !is_space && used > 0 && used + width > self.columns() {
                self.rows.push(row.start..word.start + at);
                *row = word.start + at..word.start + at;
                used = 0;
            }
            used += width;
        }
        used
    }
}

pub(crate) fn has_right_to_left(text: &str) -> bool {
    !text.is_ascii()
        && text.chars().any(|character| {
            matches!(
                CodePointMapData::<BidiClass>::new().get(character),
                BidiClass::RightToLeft | BidiClass::ArabicLetter | BidiClass::ArabicNumber
            )
        })
}

/// Returns the rows of an edited line behind a prompt of `prompt` columns. The editor breaks it at
/// the edge and at newlines, and begins another row behind a full one.
pub(crate) fn rows_of_input(text: &str, prompt: usize, columns: usize, widths: Widths) -> usize {
    let mut rows = 1;
    let mut used = prompt;
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            rows += 1;
            used = 0;
        }
        for cluster in line.graphemes(true) {
            let width = match cluster {
                "\t" => 8 - used % 8,
                _ => widths.of(cluster),
            };
            used += width;
            if used > columns {
                rows += 1;
                used = width;
            }
        }
        if used == columns {
            rows += 1;
            used = 0;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &str, first: usize, rest: usize) -> Vec<&str> {
        let rows = wrap(text, first, rest, Widths::Clusters);
        rows.into_iter().map(|row| &text[row]).collect()
    }

    #[test]
    fn rows_break_between_words_and_at_newlines() {
        let family = "👩\u{200d}👩\u{200d}👧";
        let families = family.repeat(2);
        for (text, first, rest, expected) in [
            ("", 5, 5, &[""][..]),
            ("abc", 5, 5, &["abc"]),
            ("one two three", 7, 7, &["one two", "three"]),
            ("one two three", 8, 8, &["one two", "three"]),
            ("one two three", 6, 9, &["one", "two three"]),
            ("well-known word", 6, 6, &["well-", "known", "word"]),
            ("a  b ", 2, 2, &["a", "b"]),
            ("a\nb", 5, 5, &["a", "b"]),
            ("a\n\nb c", 5, 2, &["a", "", "b", "c"]),
            ("abcdefgh", 3, 4, &["abc", "defg", "h"]),
            ("x abcdefgh y", 4, 4, &["x", "abcd", "efgh", "y"]),
            ("abcde f", 4, 4, &["abcd", "e f"]),
            ("日本語日本語", 5, 5, &["日本", "語日", "本語"]),
            ("ab", 0, 0, &["a", "b"]),
            (&family.repeat(3), 4, 4, &[&families, family]),
            (
                "e\u{301}e\u{301}e\u{301}",
                2,
                2,
                &["e\u{301}e\u{301}", "e\u{301}"],
            ),
            ("🇨🇿🇨🇿", 3, 3, &["🇨🇿", "🇨🇿"]),
        ] {
            assert_eq!(rows(text, first, rest), expected);
        }
    }

    #[test]
    fn widths_depend_on_the_terminal() {
        let family = "👩\u{200d}👩\u{200d}👧";
        assert_eq!(Widths::Clusters.of(family), 2);
        assert_eq!(Widths::Characters.of(family), 6);
        assert_eq!(Widths::Clusters.of("日本e\u{301}"), 5);
        assert_eq!(Widths::Clusters.truncate("日本語", 5), "日本");
        assert_eq!(Widths::Characters.truncate("ab", 5), "ab");
        assert_eq!(Widths::choose("WezTerm", "xterm"), Widths::Clusters);
        assert_eq!(Widths::choose("", "xterm-kitty"), Widths::Clusters);
        assert_eq!(Widths::choose("tmux", "screen"), Widths::Characters);
    }

    #[test]
    fn rows_of_an_edited_line_are_counted() {
        for (text, rows) in [
            ("", 1),
            ("1234567", 1),
            ("12345678", 2),
            ("123456789", 2),
            ("a\nb", 2),
            ("1234567日", 2),
        ] {
            assert_eq!(rows_of_input(text, 2, 10, Widths::Clusters), rows, "{text}");
        }
    }

    proptest! {
        #[test]
        fn rows_fit_and_lose_only_white_space(
            text in "[ a-f日é\n-]{0,60}", first in 2..12usize, rest in 2..12usize,
        ) {
            let rows = wrap(&text, first, rest, Widths::Clusters);
            let mut at = 0;
            for (number, row) in rows.iter().enumerate() {
                prop_assert!(text[at..row.start].chars().all(char::is_whitespace));
                let columns = if number == 0 { first } else { rest };
                prop_assert!(Widths::Clusters.of(&text[row.clone()]) <= columns, "{:?}", &text[row.clone()]);
                at = row.end;
            }
            prop_assert!(text[at..].chars().all(char::is_whitespace));
        }
    }
}
