//! Drafts that are too high for the screen: a mark, such as ` … 38 more lines`, stands for a part.
//!
//! The line editor draws its whole line, so a folded line has the mark in place of that part.

use crate::client::limits::FOLDED_DRAFTS;
use crate::client::terminal::wrap::{Widths, rows_of_input};
use std::collections::VecDeque;
use std::ops::Range;

/// First of the characters of marks, which nobody types: private ones, one column wide each.
///
/// Each mark has a range of its own, so that any character of it tells what is hidden.
const MARK_BASE: u32 = 0x10_F000;
const MARK_RANGE: u32 = 0x80;
/// Offset of the ellipsis; the others have the offsets of ASCII.
const ELLIPSIS: u32 = 0x7f;
/// Place of the cursor in a line while the line is expanded.
const CURSOR: char = '\u{10F800}';
const LAST: u32 = MARK_BASE + MARK_RANGE * FOLDED_DRAFTS as u32;
const _: () = assert!(LAST == CURSOR as u32);

#[derive(Debug)]
struct Fold {
    id: u32,
    mark: String,
    hidden: String,
}

/// The newest folded parts.
#[derive(Debug, Default)]
pub(crate) struct Folds {
    folds: VecDeque<Fold>,
    count: u32,
}

/// Room for a draft behind its prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftRoom {
    pub(crate) prompt: usize,
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) widths: Widths,
}

impl DraftRoom {
    fn rows_of(&self, text: &str) -> usize {
        rows_of_input(text, self.prompt, self.columns, self.widths)
    }

    fn fits(&self, text: &str) -> bool {
        self.rows_of(text) <= self.rows
    }
}

impl Folds {
    /// Returns a line and a cursor for the draft. A draft without enough room is folded from its
    /// first rows to the cursor, or to its end.
    pub(crate) fn fold(&mut self, draft: &str, cursor: usize, room: DraftRoom) -> (String, usize) {
        if room.fits(draft) {
            return (draft.to_owned(), cursor);
        }
        let has_short_end = room.rows_of(&draft[cursor..]) <= room.rows / 2;
        let end = if has_short_end { cursor } else { draft.len() };
        let id = self.count % FOLDED_DRAFTS as u32;
        let folded = |start: usize| {
            let mark = mark(id, &draft[start..end]);
            format!("{}{mark}{}", &draft[..start], &draft[end..])
        };
        let line_ends = draft[..end].match_indices('\n').map(|(at, _)| at);
        let whole_lines = line_ends.take_while(|&at| room.fits(&folded(at))).last();
        let start = whole_lines.unwrap_or_else(|| {
            // One row for the mark, the others for the beginning of the first line.
            let used = room.rows_of(&draft[end..]);
            let columns = room.columns * room.rows.saturating_sub(used);
            let first = draft[..end].lines().next().unwrap_or_default();
            let columns = columns.saturating_sub(room.prompt);
            room.widths.truncate(first, columns).len()
        });
        let line = folded(start);
        let fold = Fold {
            id,
            mark: mark(id, &draft[start..end]),
            hidden: draft[start..end].to_owned(),
        };
        let cursor = start + fold.mark.len();
        self.count = self.count.wrapping_add(1);
        self.folds.push_back(fold);
        if self.folds.len() > FOLDED_DRAFTS {
            self.folds.pop_front();
        }
        (line, cursor)
    }

    /// Returns the draft of a line. What is left of a damaged mark stands for the whole part.
    pub(crate) fn expand(&self, line: &str) -> String {
        without_marks(&self.replace_marks(line))
    }

    /// Returns the parts of the draft before and behind the cursor, which leaves a mark for its
    /// end.
    pub(crate) fn expand_at(&self, line: &str, cursor: usize) -> (String, String) {
        let cursor = mark_at(line, cursor).map_or(cursor, |mark| mark.end);
        let (before, behind) = line.split_at(cursor);
        let line = format!("{before}{CURSOR}{behind}");
        let draft = self.replace_marks(&line);
        let (before, behind) = draft.split_once(CURSOR).unwrap_or((&draft, ""));
        (without_marks(before), without_marks(behind))
    }

    fn replace_marks(&self, line: &str) -> String {
        let mut draft = line.to_owned();
        for fold in &self.folds {
            if draft.contains(&fold.mark) {
                draft = draft.replace(&fold.mark, &fold.hidden);
            } else if let Some(at) = draft.find(|character| mark_id(character) == Some(fold.id)) {
                draft.insert_str(at, &fold.hidden);
            }
        }
        draft
    }
}

fn mark_id(character: char) -> Option<u32> {
    let is_of_mark = (MARK_BASE..LAST).contains(&u32::from(character));
    is_of_mark.then(|| (u32::from(character) - MARK_BASE) / MARK_RANGE)
}

fn is_of_mark(character: char) -> bool {
    mark_id(character).is_some()
}

/// Returns the mark that the cursor stands in or behind.
pub(crate) fn mark_at(line: &str, cursor: usize) -> Option<Range<usize>> {
    let (before, behind) = line.split_at(cursor);
    let id = mark_id(before.chars().next_back()?)?;
    let is_same = |character| mark_id(character) == Some(id);
    let start = before.trim_end_matches(is_same).len();
    let end = line.len() - behind.trim_start_matches(is_same).len();
    Some(start..end)
}

/// Removes the characters of marks.
pub(crate) fn without_marks(text: &str) -> String {
    text.replace(is_of_mark, "")
}

/// Returns a line as it is drawn, with its marks between `opening` and `closing`.
pub(crate) fn shown(line: &str, opening: &str, closing: &str) -> String {
    let mut shown = String::new();
    let mut was_mark = false;
    for character in line.chars() {
        let is_mark = is_of_mark(character);
        if is_mark != was_mark {
            shown.push_str(if is_mark { opening } else { closing });
            was_mark = is_mark;
        }
        shown.push(match u32::from(character) % MARK_RANGE {
            _ if !is_mark => character,
            ELLIPSIS => '…',
            // The others are ASCII.
            offset => char::from_u32(offset).unwrap_or(' '),
        });
    }
    if was_mark {
        shown.push_str(closing);
    }
    shown
}

fn mark(id: u32, hidden: &str) -> String {
    let text = match (hidden.matches('\n').count(), hidden.chars().count()) {
        (0, 1) => " 1 more character".to_owned(),
        (0, characters) => format!(" {characters} more characters"),
        (1, _) => " 1 more line".to_owned(),
        (lines, _) => format!(" {lines} more lines"),
    };
    let offsets = [u32::from(b' '), ELLIPSIS]
        .into_iter()
        .chain(text.bytes().map(u32::from));
    offsets
        .filter_map(|offset| char::from_u32(MARK_BASE + id * MARK_RANGE + offset))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(rows: usize) -> DraftRoom {
        DraftRoom {
            prompt: 2,
            columns: 40,
            rows,
            widths: Widths::Clusters,
        }
    }

    fn numbers(count: usize) -> String {
        let lines: Vec<_> = (1..=count).map(|number| format!("line {number}")).collect();
        lines.join("\n")
    }

    #[test]
    fn high_drafts_are_folded_and_expanded() {
        let long = "x".repeat(1000);
        let long_lines = format!("{long}\n{long}");
        for (draft, end, rows, mark) in [
            (numbers(50), "", 12, "line 12 … 38 more lines"),
            (numbers(3), "", 2, "line 2 … 1 more line"),
            (numbers(50), " end", 12, "line 12 … 38 more lines end"),
            (long.clone(), "", 12, "x … 562 more characters"),
            (long_lines, "", 5, "x … 1 more line"),
            ("日本語".repeat(100), "\nend", 4, " more characters\nend"),
            (numbers(50), "", 1, "line 1 … 49 more lines"),
        ] {
            let mut folds = Folds::default();
            let whole = format!("{draft}{end}");
            let (line, cursor) = folds.fold(&whole, draft.len(), room(rows));
            let drawn = shown(&line, "", "");
            assert!(drawn.ends_with(mark), "{drawn:?}");
            assert!(room(rows).fits(&line), "{drawn:?}");
            assert_eq!(&line[cursor..], end);
            assert_eq!(folds.expand(&line), whole);
            assert_eq!(folds.expand_at(&line, cursor), (draft, end.to_owned()));
        }
    }

    #[test]
    fn low_drafts_stay_as_they_are() {
        let mut folds = Folds::default();
        assert_eq!(folds.fold("a\nb", 1, room(2)), ("a\nb".to_owned(), 1));
    }

    #[test]
    fn damaged_mark_stands_for_its_whole_part() {
        let draft = numbers(50);
        let mut folds = Folds::default();
        let (line, cursor) = folds.fold(&draft, draft.len(), room(3));
        let start = numbers(3).len();
        assert_eq!(mark_at(&line, cursor), Some(start..line.len()));
        assert_eq!(mark_at(&line, start), None);
        let inside = cursor - 4;
        assert_eq!(mark_at(&line, inside), Some(start..line.len()));
        let whole = (draft.clone(), String::new());
        assert_eq!(folds.expand_at(&line, inside), whole);
        assert_eq!(folds.expand(&line[..inside]), draft);
        assert_eq!(folds.expand(&line[..start]), numbers(3));
        let (before, behind) = line.split_at(inside);
        let split = format!("{before}x{behind}");
        assert_eq!(folds.expand(&split), format!("{draft}x"));
        let around = (format!("{draft}x"), String::new());
        assert_eq!(folds.expand_at(&split, inside + 1), around);
        assert_eq!(without_marks(&line), numbers(3));
    }

    #[test]
    fn earlier_folds_are_kept_up_to_a_limit() {
        let mut folds = Folds::default();
        let mut lines = Vec::new();
        for number in 0..=FOLDED_DRAFTS {
            let draft = format!("{}{number}", numbers(50));
            lines.push((folds.fold(&draft, draft.len(), room(3)).0, draft));
        }
        for (line, draft) in &lines[1..] {
            assert_eq!(folds.expand(line), *draft);
        }
        assert_eq!(folds.folds.len(), FOLDED_DRAFTS);
    }

    #[test]
    fn marks_are_drawn_in_their_colour() {
        let mut folds = Folds::default();
        let (line, _) = folds.fold("a\nb\nc d", 5, room(2));
        assert_eq!(shown(&line, "<", ">"), "a\nb< … 1 more line> d");
    }
}
