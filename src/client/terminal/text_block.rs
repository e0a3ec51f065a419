//! Text in colours and with links, in rows.
//!
//! What lives here: [`Block`], one thing to be drawn. The view uses it. It must never let
//! anything through to the terminal that is not made safe: its text is, by whoever makes it.

use crate::chat::sanitize::for_terminal;
use crate::cli::style::RESET;
use crate::client::terminal::wrap::{Widths, has_right_to_left, wrap};
use linkify::{LinkFinder, LinkKind};
use std::ops::Range;

/// Longest address that becomes a hyperlink, in bytes; terminals take no longer ones.
const MAX_LINK_BYTES: usize = 2000;

/// Columns of a tab.
const TAB: &str = "    ";

const FIRST_STRONG_ISOLATE: char = '\u{2068}';
const POP_ISOLATE: char = '\u{2069}';
const LINK_END: &str = "\u{1b}]8;;\u{1b}\\";

/// A stranger's text, made safe for a terminal; its newlines stay.
pub fn safe_text(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(for_terminal).collect();
    lines.join("\n").replace('\t', TAB)
}

/// A part of a text that is drawn in its own way.
#[derive(Debug)]
struct Span {
    part: Range<usize>,
    opening: String,
    closing: &'static str,
}

/// Something to be drawn: a label, and a text behind it.
#[derive(Debug)]
pub struct Block {
    text: String,
    /// Where the label ends, its separator included.
    label_end: usize,
    spans: Vec<Span>,
}

impl Block {
    /// A block without any colour; both parts are safe.
    pub fn new(label: &str, text: &str) -> Self {
        Block {
            text: format!("{label}{text}"),
            label_end: label.len(),
            spans: Vec::new(),
        }
    }

    /// Draws this many bytes of the label in a colour.
    pub fn colour_label(&mut self, bytes: usize, opening: Option<String>) {
        self.colour(0..bytes.min(self.label_end), opening);
    }

    /// Draws all in a colour.
    pub fn colour_all(&mut self, opening: Option<String>) {
        self.colour(0..self.text.len(), opening);
    }

    fn colour(&mut self, part: Range<usize>, opening: Option<String>) {
        if let Some(opening) = opening {
            self.spans.push(Span {
                part,
                opening,
                closing: RESET,
            });
        }
    }

    /// Makes hyperlinks of the addresses of the web in the text; the number tells the terminal
    /// which rows are one link.
    pub fn link_addresses(&mut self, number: u64) {
        let mut finder = LinkFinder::new();
        finder.kinds(&[LinkKind::Url]);
        for link in finder.links(&self.text[self.label_end..]) {
            let address = link.as_str();
            let is_web = address.starts_with("http://") || address.starts_with("https://");
            let is_printable = address.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_web || !is_printable || address.len() > MAX_LINK_BYTES {
                continue;
            }
            let start = self.label_end + link.start();
            self.spans.push(Span {
                part: start..self.label_end + link.end(),
                opening: format!("\u{1b}]8;id={number}-{start};{address}\u{1b}\\"),
                closing: LINK_END,
            });
        }
    }

    /// Appends the rows, each with its newline; gives their number. The margin, which takes as
    /// many columns as it has characters, stands before the first row; further ones hang under
    /// the text.
    pub fn draw(&self, margin: &str, columns: usize, widths: Widths, out: &mut String) -> usize {
        // The last column stays free: terminals differ in what follows a full row.
        let columns = columns.saturating_sub(1).max(1);
        let margin_columns = margin.chars().count();
        let label_columns = widths.of(&self.text[..self.label_end]);
        // A long name must not make the text a narrow strip.
        let indent = (margin_columns + label_columns).min(columns / 3);
        let first = columns.saturating_sub(margin_columns);
        let rows = wrap(&self.text, first, columns - indent, widths);
        for (number, row) in rows.iter().enumerate() {
            match number {
                0 => out.push_str(margin),
                _ => out.extend(std::iter::repeat_n(' ', indent)),
            }
            self.draw_row(row.clone(), out);
            out.push('\n');
        }
        rows.len()
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

    /// Spans may lie in one another, but do not cross.
    fn draw_part(&self, part: Range<usize>, out: &mut String) {
        let mut edges: Vec<usize> = vec![part.start, part.end];
        for span in &self.spans {
            edges.push(span.part.start.clamp(part.start, part.end));
            edges.push(span.part.end.clamp(part.start, part.end));
        }
        edges.sort_unstable();
        edges.dedup();
        for edge in edges.windows(2) {
            let (start, end) = (edge[0], edge[1]);
            let within = |span: &&Span| span.part.start <= start && end <= span.part.end;
            for span in self.spans.iter().filter(within) {
                out.push_str(&span.opening);
            }
            out.push_str(&self.text[start..end]);
            for span in self.spans.iter().rev().filter(within) {
                out.push_str(span.closing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(block: &Block, columns: usize) -> (String, usize) {
        let mut out = String::new();
        let rows = block.draw("", columns, Widths::Clusters, &mut out);
        (out, rows)
    }

    #[test]
    fn rows_hang_under_the_text() {
        let block = Block::new("al: ", "one two three");
        assert_eq!(drawn(&block, 13), ("al: one two\n    three\n".into(), 2));
        let block = Block::new("al: ", "a\nb");
        assert_eq!(drawn(&block, 40), ("al: a\n    b\n".into(), 2));
    }

    #[test]
    fn a_long_name_leaves_room_for_the_text() {
        let block = Block::new("abcdefghij: ", "one two");
        assert_eq!(drawn(&block, 13), ("abcdefghij:\n    one two\n".into(), 2));
    }

    #[test]
    fn a_margin_stands_before_the_first_row() {
        let mut out = String::new();
        let block = Block::new("al: ", "one two three");
        assert_eq!(block.draw("12:34 ", 40, Widths::Clusters, &mut out), 1);
        assert_eq!(out, "12:34 al: one two three\n");
    }

    #[test]
    fn colours_begin_and_end_in_each_row() {
        let mut block = Block::new("al: ", "one two");
        block.colour_all(Some("\u{1b}[1m".into()));
        let expected = "\u{1b}[1mal: \u{1b}[0m\u{1b}[1mone\u{1b}[0m\n   \u{1b}[1mtwo\u{1b}[0m\n";
        assert_eq!(drawn(&block, 10).0, expected);
        let mut block = Block::new("al: ", "one");
        block.colour_label(2, Some("\u{1b}[1m".into()));
        assert_eq!(drawn(&block, 20).0, "\u{1b}[1mal\u{1b}[0m: one\n");
    }

    #[test]
    fn addresses_become_links_that_go_over_rows() {
        let mut block = Block::new("al: ", "see https://b.org/cdefgh.");
        block.link_addresses(7);
        let open = "\u{1b}]8;id=7-8;https://b.org/cdefgh\u{1b}\\";
        let close = LINK_END;
        assert_eq!(
            drawn(&block, 40).0,
            format!("al: see {open}https://b.org/cdefgh{close}.\n")
        );
        let expected = format!(
            "al: see\n   {open}https://{close}\n   {open}b.org/{close}\n   {open}cdefgh{close}.\n"
        );
        assert_eq!(drawn(&block, 12).0, expected);
    }

    #[test]
    fn addresses_in_a_local_network_are_links_too() {
        for address in ["http://localhost:8080/", "http://10.0.0.1", "http://lab/x"] {
            let mut block = Block::new("", address);
            block.link_addresses(1);
            assert!(drawn(&block, 80).0.contains(LINK_END), "{address}");
        }
    }

    #[test]
    fn what_is_no_address_of_the_web_is_no_link() {
        for text in [
            "javascript:alert(1)",
            "file:///etc/passwd",
            "https://exämple.org",
            "ssh://host",
        ] {
            let mut block = Block::new("", text);
            block.link_addresses(1);
            assert_eq!(drawn(&block, 80).0, format!("{text}\n"));
        }
        let mut block = Block::new("https://b.org: ", "x");
        block.link_addresses(1);
        assert_eq!(drawn(&block, 80).0, "https://b.org: x\n");
    }

    #[test]
    fn text_from_right_to_left_is_isolated() {
        let block = Block::new("שם: ", "abc");
        assert_eq!(drawn(&block, 80).0, "\u{2068}שם: \u{2069}abc\n");
        let block = Block::new("al: ", "שלום!");
        assert_eq!(drawn(&block, 80).0, "al: \u{2068}שלום!\u{2069}\n");
    }

    #[test]
    fn nothing_dangerous_stays_in_a_text() {
        assert_eq!(
            safe_text("a\u{1b}]52;c;x\u{7}\tb\n\u{202e}c"),
            "a\u{fffd}]52;c;x\u{fffd}    b\nc"
        );
    }
}
