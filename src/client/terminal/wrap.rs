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

/// Where the rows of a text begin and end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowEdges {
    /// Column of the first row.
    pub(crate) first: usize,
    /// Column of the other rows.
    pub(crate) indent: usize,
    /// Columns of the terminal. Terminals differ in what follows a full row, so the last column
    /// stays free.
    pub(crate) columns: usize,
    pub(crate) widths: Widths,
}

impl RowEdges {
    /// Returns the column behind a text that the terminal itself wraps, and its further rows.
    pub(crate) fn behind(self, text: &str, mut column: usize) -> (usize, usize) {
        let mut rows = 0;
        for cluster in text.graphemes(true) {
            let width = self.widths.of(cluster);
            column += width;
            if column > self.columns {
                rows += 1;
                column = width;
            }
        }
        (column, rows)
    }

    fn last_column(self) -> usize {
        // Even a narrow terminal has room for a sign in each row.
        self.columns
            .saturating_sub(1)
            .max(self.first + 1)
            .max(self.indent + 1)
    }
}

/// Returns the rows of a text, at least one.
///
/// Rows break at newlines and between words, and inside a word only if it is longer than a row.
/// The ranges of `whole`, in order, are not broken at all: the terminal wraps them. White space at the end of
/// a row belongs to no row.
pub(crate) fn wrap(text: &str, edges: RowEdges, whole: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut wrapper = Wrapper {
        text,
        edges,
        whole,
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
    edges: RowEdges,
    whole: &'a [Range<usize>],
    rows: Vec<Range<usize>>,
}

impl Wrapper<'_> {
    /// Returns the column where the current row begins.
    fn start(&self) -> usize {
        match self.rows.is_empty() {
            true => self.edges.first,
            false => self.edges.indent,
        }
    }

    fn width(&self, text: &str) -> usize {
        self.edges.widths.of(text)
    }

    /// Returns whether a position is inside a range that must not be broken.
    fn is_in_whole(&self, at: usize) -> bool {
        let next = self.whole.partition_point(|range| range.end <= at);
        self.whole.get(next).is_some_and(|range| range.start < at)
    }

    fn has_whole(&self, word: Range<usize>) -> bool {
        let next = self.whole.partition_point(|range| range.start < word.start);
        self.whole
            .get(next)
            .is_some_and(|range| range.end <= word.end)
    }

    /// Ends a row, without the white space at its end.
    fn push_row(&mut self, row: Range<usize>) {
        let text = self.text[row.clone()].trim_end();
        self.rows.push(row.start..row.start + text.len());
    }

    fn wrap_line(&mut self, line: Range<usize>) {
        let content = &self.text[line.clone()];
        let last = self.edges.last_column();
        // Most lines are short and need no segmentation.
        if self.start() + self.width(content) <= last {
            return self.push_row(line);
        }
        let segmenter = LineSegmenter::new_for_non_complex_scripts(LineBreakOptions::default());
        let mut row = line.start..line.start;
        let mut column = self.start();
        let mut word_start = line.start;
        for end in segmenter.segment_str(content).skip(1) {
            let word_end = line.start + end;
            if self.is_in_whole(word_end) {
                continue;
            }
            let word = &self.text[word_start..word_end];
            let bare = self.width(word.trim_end());
            let fits_a_row = self.edges.indent + bare <= last;
            if fits_a_row && !row.is_empty() && column + bare > last {
                self.push_row(row);
                row = word_start..word_start;
                column = self.start();
            }
            if column + bare <= last {
                column += self.width(word);
            } else if self.has_whole(word_start..word_end) {
                (column, _) = self.edges.behind(word.trim_end(), column);
                column += self.width(word) - bare;
            } else {
                column = self.break_word(word_start..word_end, &mut row, column);
            }
            row.end = word_end;
            word_start = word_end;
        }
        self.push_row(row);
    }

    /// Breaks a word between its clusters; returns the column behind it in the last row.
    fn break_word(
        &mut self,
        word: Range<usize>,
        row: &mut Range<usize>,
        mut column: usize,
    ) -> usize {
        for (at, cluster) in self.text[word.clone()].grapheme_indices(true) {
            let width = self.width(cluster);
            let is_space = cluster.chars().all(char::is_whitespace);
            let is_first = row.start == word.start + at;
            if !is_space && !is_first && column + width > self.edges.last_column() {
                self.push_row(row.start..word.start + at);
                *row = word.start + at..word.start + at;
                column = self.start();
            }
            column += width;
        }
        column
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
        // Rows of `first` and of `rest` columns.
        let columns = first.max(rest) + 1;
        let edges = RowEdges {
            first: columns - 1 - first,
            indent: columns - 1 - rest,
            columns,
            widths: Widths::Clusters,
        };
        let rows = wrap(text, edges, &[]);
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
            ("x abcdefgh y", 4, 4, &["x ab", "cdef", "gh y"]),
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
            let mut after = text.as_str();
            for (number, row) in rows(&text, first, rest).into_iter().enumerate() {
                let at = after.find(row).unwrap_or_default();
                prop_assert!(after[..at].chars().all(char::is_whitespace));
                let columns = if number == 0 { first } else { rest };
                prop_assert!(Widths::Clusters.of(row) <= columns, "{:?}", row);
                after = &after[at + row.len()..];
            }
            prop_assert!(after.chars().all(char::is_whitespace));
        }
    }
}
