//! Text with colours and hyperlinks, laid out in rows.

use crate::chat::sanitize::for_terminal;
use crate::cli::style::RESET;
use crate::client::terminal::recognition::web_addresses;
use crate::client::terminal::wrap::{RowEdges, Widths, has_right_to_left, wrap};
use std::ops::Range;

/// Longest hyperlink in bytes; terminals ignore longer ones.
const MAX_LINK_BYTES: usize = 2000;

const TAB: &str = "    ";
const FIRST_STRONG_ISOLATE: char = '\u{2068}';
const POP_ISOLATE: char = '\u{2069}';
const LINK_END: &str = "\u{1b}]8;;\u{1b}\\";

/// Makes a text safe for a terminal; its newlines stay.
pub(crate) fn safe_text(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(for_terminal).collect();
    lines.join("\n").replace('\t', TAB)
}

#[derive(Clone, Debug)]
struct Span {
    range: Range<usize>,
    opening: String,
    closing: &'static str,
}

/// A margin, a label and a text side by side. All must be safe for a terminal.
#[derive(Clone, Debug)]
pub(crate) struct TextBlock {
    /// Stands before the first row, one column per character.
    pub(crate) margin: String,
    text: String,
    /// End of the label, its separator included.
    label_end: usize,
    /// Spans may be nested, but do not overlap otherwise.
    spans: Vec<Span>,
    /// Parts that only the terminal breaks.
    whole: Vec<Range<usize>>,
    /// Columns of the terminal when the block was drawn.
    drawn_columns: usize,
    /// Where the drawn text begins; the rows before that are only in the scrollback.
    pub(crate) drawn_from: usize,
}

impl TextBlock {
    pub(crate) fn new(margin: String, label: &str, text: &str) -> Self {
        TextBlock {
            margin,
            text: format!("{label}{text}"),
            label_end: label.len(),
            spans: Vec::new(),
            whole: Vec::new(),
            drawn_columns: 0,
            drawn_from: 0,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.margin.len() + self.text.len()
    }

    /// Colours the first `bytes`, at most all.
    pub(crate) fn colour(&mut self, bytes: usize, opening: Option<String>) {
        if let Some(opening) = opening {
            self.spans.push(Span {
                range: 0..bytes.min(self.text.len()),
                opening,
                closing: RESET,
            });
        }
    }

    /// Turns the web addresses in the text into hyperlinks. `number` lets the terminal recognise
    /// the rows of one link.
    pub(crate) fn link_addresses(&mut self, number: u64) {
        for link in web_addresses(&self.text[self.label_end..]) {
            if link.href.len() > MAX_LINK_BYTES {
                continue;
            }
            let start = self.label_end + link.range.start;
            self.spans.push(Span {
                range: start..self.label_end + link.range.end,
                opening: format!("\u{1b}]8;id={number}-{start};{}\u{1b}\\", link.href),
                closing: LINK_END,
            });
        }
    }

    /// Keeps the web addresses in the text whole, so that a terminal without hyperlinks recognises
    /// them. An address longer than a row continues in the first column of the next.
    pub(crate) fn keep_addresses(&mut self) {
        for link in web_addresses(&self.text[self.label_end..]) {
            let Range { start, end } = link.range;
            self.whole
                .push(self.label_end + start..self.label_end + end);
        }
    }

    /// Appends the rows, each with its newline; returns their number on the screen. Rows after the first are
    /// indented to the text.
    pub(crate) fn draw(&mut self, columns: usize, widths: Widths, out: &mut String) -> usize {
        self.drawn_columns = columns;
        let (edges, rows) = self.layout(widths);
        for (number, row) in rows.into_iter().enumerate() {
            match number {
                0 if self.drawn_from == 0 => out.push_str(&self.margin),
                _ => out.extend(std::iter::repeat_n(' ', edges.indent)),
            }
            self.draw_row(row, out);
            out.push('\n');
        }
        self.seen(usize::MAX, None, widths).0
    }

    /// Returns how many of the last `room` rows of a screen the drawn block takes, and where its
    /// text there begins. The terminal may have broken the rows anew for other columns.
    pub(crate) fn seen(
        &self,
        room: usize,
        reflowed: Option<usize>,
        widths: Widths,
    ) -> (usize, usize) {
        let (edges, rows) = self.layout(widths);
        let columns = reflowed.unwrap_or(edges.columns);
        let screen = RowEdges { columns, ..edges };
        let mut used = 0;
        for (number, row) in rows.iter().enumerate().rev() {
            if used >= room {
                let next = rows.get(number + 1);
                return (used, next.map_or(self.text.len(), |row| row.start));
            }
            let start = match number {
                0 => edges.first,
                _ => edges.indent,
            };
            used += 1 + screen.behind(&self.text[row.clone()], start).1;
        }
        (used, self.drawn_from)
    }

    /// Returns the rows of the drawn text.
    fn layout(&self, widths: Widths) -> (RowEdges, Vec<Range<usize>>) {
        let from = self.drawn_from;
        let margin = self.margin.chars().count();
        let label_columns = widths.of(&self.text[..self.label_end]);
        // A long name must not squeeze the text into a few columns.
        let indent = (margin + label_columns).min(self.drawn_columns.saturating_sub(1) / 3);
        let edges = RowEdges {
            first: if from == 0 { margin } else { indent },
            indent,
            columns: self.drawn_columns,
            widths,
        };
        let whole = self.whole.iter().filter(|range| range.start >= from);
        let whole: Vec<_> = whole
            .map(|range| range.start - from..range.end - from)
            .collect();
        let rows = wrap(&self.text[from..], edges, &whole).into_iter();
        let rows = rows.map(|row| row.start + from..row.end + from).collect();
        (edges, rows)
    }

    fn draw_row(&self, row: Range<usize>, out: &mut String) {
        let border = self.label_end.clamp(row.start, row.end);
        for part in [row.start..border, border..row.end] {
            let is_isolated = has_right_to_left(&self.text[part.clone()]);
            if is_isolated {
                out.push(FIRST_STRONG_ISOLATE);
            }
            self.draw_part(part, out);
            if is_isolated {
                out.push(POP_ISOLATE);
            }
        }
    }

    fn draw_part(&self, part: Range<usize>, out: &mut String) {
        let mut borders = vec![part.start, part.end];
        for Span { range, .. } in &self.spans {
            borders.push(range.start.clamp(part.start, part.end));
            borders.push(range.end.clamp(part.start, part.end));
        }
        borders.sort_unstable();
        borders.dedup();
        for border in borders.windows(2) {
            let (start, end) = (border[0], border[1]);
            let contains = |span: &&Span| span.range.start <= start && end <= span.range.end;
            for span in self.spans.iter().filter(contains) {
                out.push_str(&span.opening);
            }
            out.push_str(&self.text[start..end]);
            for span in self.spans.iter().rev().filter(contains) {
                out.push_str(span.closing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(label: &str, text: &str) -> TextBlock {
        TextBlock::new(String::new(), label, text)
    }

    fn drawn(block: &mut TextBlock, columns: usize) -> String {
        let mut out = String::new();
        let rows = block.draw(columns, Widths::Clusters, &mut out);
        assert_eq!(rows, out.lines().count());
        out
    }

    #[test]
    fn rows_are_indented_to_the_text() {
        for (label, text, columns, expected) in [
            ("al: ", "one two three", 13, "al: one two\n    three\n"),
            ("al: ", "a\nb", 40, "al: a\n    b\n"),
            ("abcdefghij: ", "one two", 13, "abcdefghij:\n    one two\n"),
        ] {
            assert_eq!(drawn(&mut labelled(label, text), columns), expected);
        }
        let mut block = TextBlock::new("12:34 ".into(), "al: ", "one two");
        assert_eq!(drawn(&mut block, 16), "12:34 al: one\n     two\n");
    }

    #[test]
    fn colours_begin_and_end_in_each_row() {
        let mut block = labelled("al: ", "one two");
        block.colour(usize::MAX, Some("\u{1b}[1m".into()));
        let expected = "\u{1b}[1mal: \u{1b}[0m\u{1b}[1mone\u{1b}[0m\n   \u{1b}[1mtwo\u{1b}[0m\n";
        assert_eq!(drawn(&mut block, 10), expected);
        let mut block = labelled("al: ", "one");
        block.colour(2, Some("\u{1b}[1m".into()));
        assert_eq!(drawn(&mut block, 20), "\u{1b}[1mal\u{1b}[0m: one\n");
    }

    #[test]
    fn web_addresses_become_links_across_rows() {
        let mut block = labelled("al: ", "see https://b.org/cdefgh.");
        block.link_addresses(7);
        let open = "\u{1b}]8;id=7-8;https://b.org/cdefgh\u{1b}\\";
        let close = LINK_END;
        let expected = format!("al: see {open}https://b.org/cdefgh{close}.\n");
        assert_eq!(drawn(&mut block, 40), expected);
        let expected = format!(
            "al: see\n   {open}https://{close}\n   {open}b.org/{close}\n   {open}cdefgh{close}.\n"
        );
        assert_eq!(drawn(&mut block, 12), expected);
    }

    #[test]
    fn kept_addresses_are_wrapped_by_the_terminal() {
        let long = format!("https://b.org/{}", "x".repeat(50));
        for (text, expected, rows) in [
            // One that fits a row begins there.
            (
                "see https://b.org/c",
                "al: see\n    https://b.org/c\n".to_owned(),
                2,
            ),
            (&long, format!("al: {long}\n"), 4),
            // The text goes on behind the end of the address.
            (
                &format!("({long}) and so on"),
                format!("al: ({long}) and so\n    on\n"),
                5,
            ),
            (&format!("see {long}"), format!("al: see {long}\n"), 4),
        ] {
            let mut block = labelled("al: ", text);
            block.keep_addresses();
            let mut out = String::new();
            assert_eq!(block.draw(20, Widths::Clusters, &mut out), rows, "{out}");
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn long_word_begins_behind_the_name() {
        let word = "www.".to_owned() + &"x".repeat(20);
        let expected = format!("al: www.{}\n    {}\n", "x".repeat(11), "x".repeat(9));
        assert_eq!(drawn(&mut labelled("al: ", &word), 20), expected);
    }

    #[test]
    fn labels_are_no_links() {
        let mut block = labelled("https://b.org: ", "x");
        block.link_addresses(1);
        assert_eq!(drawn(&mut block, 80), "https://b.org: x\n");
    }
}
