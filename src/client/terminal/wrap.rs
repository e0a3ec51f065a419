//! Where text stands on a terminal: widths, rows, and what is written from right to left.
//!
//! What lives here: pure functions from text to rows. The view and the line editor use them.
//! They must never write anything, and never know what a message is.

use icu_properties::CodePointMapData;
use icu_properties::props::BidiClass;
use icu_segmenter::{LineSegmenter, LineSegmenterBorrowed};
use std::ops::Range;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a terminal counts the columns of what belongs together, such as flags and joined emoji.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widths {
    /// As one.
    Clusters,
    /// Each character for itself.
    Characters,
}

impl Widths {
    /// How this terminal counts, by the variables `TERM_PROGRAM` and `TERM`.
    pub fn choose(term_program: &str, term: &str) -> Self {
        match term_program {
            "Apple_Terminal" | "iTerm.app" | "WezTerm" | "ghostty" | "contour" => Widths::Clusters,
            _ if term == "xterm-kitty" || term == "xterm-ghostty" => Widths::Clusters,
            _ => Widths::Characters,
        }
    }

    /// Columns that this text takes; of control characters none.
    pub fn of(self, text: &str) -> usize {
        match self {
            Widths::Clusters => text.width(),
            Widths::Characters => text.chars().map(|c| c.width().unwrap_or(0)).sum(),
        }
    }

    /// The longest beginning of the text, cut between what belongs together, that fits.
    pub fn cut(self, text: &str, columns: usize) -> &str {
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

/// Where each row of a text begins and ends, if the first has so many columns and each other so
/// many: cut between words where that is possible, and at each newline. White space at the end of
/// a row belongs to none.
///
/// There is at least one row.
pub fn wrap(text: &str, first: usize, rest: usize, widths: Widths) -> Vec<Range<usize>> {
    let mut rows = Vec::new();
    let mut start = 0;
    for line in text.split('\n') {
        wrap_line(
            text,
            start..start + line.len(),
            first,
            rest,
            widths,
            &mut rows,
        );
        start += line.len() + 1;
    }
    rows
}

fn segmenter() -> LineSegmenterBorrowed<'static> {
    LineSegmenter::new_for_non_complex_scripts(icu_segmenter::options::LineBreakOptions::default())
}

fn wrap_line(
    text: &str,
    line: Range<usize>,
    first: usize,
    rest: usize,
    widths: Widths,
    rows: &mut Vec<Range<usize>>,
) {
    let columns_of = |rows: &Vec<Range<usize>>| match rows.is_empty() {
        true => first.max(1),
        false => rest.max(1),
    };
    let content = &text[line.clone()];
    // Most lines are short, and need no rules.
    if widths.of(content) <= columns_of(rows) {
        rows.push(line.start..line.start + content.trim_end().len());
        return;
    }
    let mut row = line.start..line.start;
    let mut used = 0;
    let mut from = 0;
    for to in segmenter().segment_str(content).skip(1) {
        let word = &content[from..to];
        let bare = widths.of(word.trim_end());
        if used > 0 && used + bare > columns_of(rows) {
            rows.push(trimmed(text, row.clone()));
            row = line.start + from..line.start + from;
            used = 0;
        }
        if bare > columns_of(rows) {
            used = break_word(
                text,
                line.start + from..line.start + to,
                &mut row,
                widths,
                rows,
                &columns_of,
            );
        } else {
            used += widths.of(word);
        }
        row.end = line.start + to;
        from = to;
    }
    rows.push(trimmed(text, row));
}

/// Breaks a word that is longer than a row between its clusters; gives the columns of what is
/// left of it in the row that is begun.
fn break_word(
    text: &str,
    word: Range<usize>,
    row: &mut Range<usize>,
    widths: Widths,
    rows: &mut Vec<Range<usize>>,
    columns_of: &dyn Fn(&Vec<Range<usize>>) -> usize,
) -> usize {
    let mut used = 0;
    for (at, cluster) in text[word.clone()].grapheme_indices(true) {
        let width = widths.of(cluster);
        let is_space = cluster.chars().all(char::is_whitespace);
        if !is_space && used > 0 && used + width > columns_of(rows) {
            rows.push(row.start..word.start + at);
            *row = word.start + at..word.start + at;
            used = 0;
        }
        used += width;
    }
    used
}

fn trimmed(text: &str, row: Range<usize>) -> Range<usize> {
    row.start..row.start + text[row.clone()].trim_end().len()
}

/// Whether some of the text is written from right to left.
pub fn has_right_to_left(text: &str) -> bool {
    !text.is_ascii()
        && text.chars().any(|character| {
            matches!(
                CodePointMapData::<BidiClass>::new().get(character),
                BidiClass::RightToLeft | BidiClass::ArabicLetter | BidiClass::ArabicNumber
            )
        })
}

/// Rows that a typed line takes behind its prompt, where it is broken at the edge of the terminal
/// and at its newlines, and a row that is full is followed by another.
pub fn rows_of_input(text: &str, prompt: usize, columns: usize, widths: Widths) -> usize {
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
    fn rows_end_between_words() {
        assert_eq!(rows("", 5, 5), [""]);
        assert_eq!(rows("abc", 5, 5), ["abc"]);
        assert_eq!(rows("one two three", 7, 7), ["one two", "three"]);
        assert_eq!(rows("one two three", 8, 8), ["one two", "three"]);
        assert_eq!(rows("one two three", 6, 9), ["one", "two three"]);
        assert_eq!(rows("well-known word", 6, 6), ["well-", "known", "word"]);
        assert_eq!(rows("a  b ", 2, 2), ["a", "b"]);
    }

    #[test]
    fn newlines_begin_rows() {
        assert_eq!(rows("a\nb", 5, 5), ["a", "b"]);
        assert_eq!(rows("a\n\nb c", 5, 2), ["a", "", "b", "c"]);
    }

    #[test]
    fn a_word_that_is_too_long_is_broken() {
        assert_eq!(rows("abcdefgh", 3, 4), ["abc", "defg", "h"]);
        assert_eq!(rows("x abcdefgh y", 4, 4), ["x", "abcd", "efgh", "y"]);
        assert_eq!(rows("abcde f", 4, 4), ["abcd", "e f"]);
        assert_eq!(rows("日本語日本語", 5, 5), ["日本", "語日", "本語"]);
        assert_eq!(rows("ab", 0, 0), ["a", "b"]);
    }

    #[test]
    fn what_belongs_together_stays_together() {
        let family = "👩\u{200d}👩\u{200d}👧";
        assert_eq!(rows(&family.repeat(3), 4, 4), [&family.repeat(2), family]);
        let accented = "e\u{301}";
        assert_eq!(
            rows(&accented.repeat(3), 2, 2),
            [&accented.repeat(2), accented]
        );
        assert_eq!(rows("🇨🇿🇨🇿", 3, 3), ["🇨🇿", "🇨🇿"]);
    }

    #[test]
    fn widths_are_those_of_the_terminal() {
        let family = "👩\u{200d}👩\u{200d}👧";
        assert_eq!(Widths::Clusters.of(family), 2);
        assert_eq!(Widths::Characters.of(family), 6);
        assert_eq!(Widths::Clusters.of("日本e\u{301}"), 5);
        assert_eq!(Widths::Clusters.cut("日本語", 5), "日本");
        assert_eq!(Widths::Characters.cut("ab", 5), "ab");
        assert_eq!(Widths::choose("WezTerm", "xterm"), Widths::Clusters);
        assert_eq!(Widths::choose("", "xterm-kitty"), Widths::Clusters);
        assert_eq!(Widths::choose("tmux", "screen"), Widths::Characters);
    }

    #[test]
    fn right_to_left_is_noticed() {
        assert!(has_right_to_left("abc שלום"));
        assert!(has_right_to_left("مرحبا"));
        assert!(!has_right_to_left("abc 日本 é"));
    }

    #[test]
    fn a_typed_line_takes_rows() {
        let rows = |text| rows_of_input(text, 2, 10, Widths::Clusters);
        assert_eq!(rows(""), 1);
        assert_eq!(rows("1234567"), 1);
        assert_eq!(rows("12345678"), 2);
        assert_eq!(rows("123456789"), 2);
        assert_eq!(rows("a\nb"), 2);
        assert_eq!(rows("1234567日"), 2);
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost_and_every_row_fits(
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
