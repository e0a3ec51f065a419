//! The chat as a terminal shows it: indented rows, days and times, mentions, and grouped presence
//! changes. Redraws everything for a new width.
//!
//! Free of I/O and clocks. Text of other users is escaped.

use crate::cli::style::Style;
use crate::client::input::commands::command_and_help;
use crate::client::input::known_names::KnownNames;
use crate::client::limits::{MAX_MENTIONS, MENTION_CHARS, VIEW_BYTES, VIEW_ENTRIES};
use crate::client::output::item::{
    MENTION_MARK, MessageKind, OutputItem, OutputMessage, border, date_and_time,
};
use crate::client::output::presence::{PresenceChange, PresenceGroup};
use crate::client::terminal::text_block::{TextBlock, safe_text};
use crate::client::terminal::wrap::Widths;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::VecDeque;

/// Rows of status and prompt.
const PROMPT_ROWS: usize = 2;

const SERVER_LABEL: &str = "[Server]: ";
/// Margin of an entry without a time of its own.
const NO_TIME: &str = "      ";

pub(crate) const CLEAR_SCREEN: &str = "\u{1b}[H\u{1b}[2J";
/// Clears the screen in two steps: many terminals keep a screen that is cleared at once in their
/// scrollback.
const ERASE_SCREEN: &str = "\u{1b}[H\u{1b}[K\u{1b}[B\u{1b}[J\u{1b}[H";

#[derive(Clone, Debug)]
pub(crate) struct ViewOptions {
    pub(crate) style: Style,
    pub(crate) widths: Widths,
    pub(crate) has_links: bool,
    /// Whether the terminal breaks rows anew when its width changes.
    pub(crate) reflows: bool,
    pub(crate) shows_times: bool,
    pub(crate) rings_bell: bool,
    /// Time zone of the shown days and times.
    pub(crate) zone: TimeZone,
}

#[derive(Debug)]
pub(crate) struct TerminalView {
    pub(crate) options: ViewOptions,
    columns: usize,
    rows: usize,
    entries: VecDeque<TextBlock>,
    bytes: usize,
    /// Entries drawn since the screen was last cleared.
    drawn: usize,
    /// Number of messages; distinguishes their hyperlinks.
    last_number: u64,
    day: Date,
    /// Presence changes in the last entry, and its rows, if it takes another change.
    open_group: Option<(PresenceGroup, usize)>,
    own_name: String,
    /// Names for completion.
    pub(crate) names: KnownNames,
    mentions: VecDeque<TextBlock>,
    /// Mentions since the last entered line.
    unseen_mentions: usize,
    link_status: String,
}

impl TerminalView {
    pub(crate) fn new(options: ViewOptions, columns: usize, rows: usize, now: Timestamp) -> Self {
        let day = options.zone.to_datetime(now).date();
        TerminalView {
            options,
            columns,
            rows,
            entries: VecDeque::new(),
            bytes: 0,
            drawn: 0,
            last_number: 0,
            day,
            open_group: None,
            own_name: String::new(),
            names: KnownNames::default(),
            mentions: VecDeque::new(),
            unseen_mentions: 0,
            link_status: String::new(),
        }
    }

    pub(crate) fn draw(&mut self, item: OutputItem, now: Timestamp, out: &mut String) {
        match item {
            OutputItem::Message(message) => self.draw_message(message, now, out),
            OutputItem::Presence(change, time) => {
                self.draw_presence(change, time.unwrap_or(now), out)
            }
            OutputItem::Server(sentence) => {
                let margin = self.margin(now, out);
                self.add(self.dim_block(margin, SERVER_LABEL, &sentence), out);
            }
            OutputItem::Notice(text) => self.add_notice(&text, out),
            OutputItem::Help(text) => {
                for line in text.lines() {
                    self.add(help_block(line, self.options.style), out);
                }
            }
            OutputItem::ReplyBorder(text) => {
                self.add(self.dim_block(String::new(), "", &border(&text)), out);
            }
            OutputItem::Line(line) => {
                out.push_str(&line);
                out.push('\n');
            }
            OutputItem::OwnName(name) => self.own_name = name,
            OutputItem::PresentUsers(names) => {
                names.iter().for_each(|name| self.names.entered(name));
            }
            OutputItem::ListMentions => self.list_mentions(out),
            OutputItem::Clear => self.clear(out),
            OutputItem::Status(status) => self.link_status = status,
            OutputItem::InputEntered => self.unseen_mentions = 0,
        }
    }

    pub(crate) fn status(&self) -> String {
        let status = &self.link_status;
        match self.unseen_mentions {
            0 => status.clone(),
            1 => format!("{status} · 1 mention"),
            count => format!("{status} · {count} mentions"),
        }
    }

    /// Stores the size; appends the text that redraws the newest entries if the width is new.
    pub(crate) fn resize(&mut self, columns: usize, rows: usize, out: &mut String) {
        if rows > self.rows && self.options.reflows {
            // The terminal may show rows of its scrollback again.
            self.drawn = self.entries.len();
            self.entries
                .iter_mut()
                .for_each(|entry| entry.drawn_from = 0);
        }
        if columns == self.columns {
            // Rows break where they did, and the terminal moves them itself.
            self.rows = rows;
        } else {
            self.redraw(columns, rows, out);
        }
    }

    /// Clears the screen and draws the entries that were on it. If they need more rows, the first
    /// ones go to the scrollback, where each entry stands once.
    pub(crate) fn redraw(&mut self, columns: usize, rows: usize, out: &mut String) {
        let (reflowed, seen_rows) = match self.options.reflows {
            true => (Some(columns), rows),
            false => (None, rows.min(self.rows)),
        };
        let mut room = seen_rows.saturating_sub(PROMPT_ROWS);
        let mut count = 0;
        for entry in self.entries.iter_mut().rev().take(self.drawn) {
            if room == 0 {
                break;
            }
            // Of the first entry, a part may be in the scrollback.
            let (used, from) = entry.seen(room, reflowed, self.options.widths);
            entry.drawn_from = from;
            room = room.saturating_sub(used);
            count += 1;
        }
        (self.columns, self.rows, self.drawn) = (columns, rows, count);
        out.push_str(ERASE_SCREEN);
        let mut last_rows = None;
        let first = self.entries.len() - count;
        for entry in self.entries.range_mut(first..) {
            last_rows = Some(entry.draw(columns, self.options.widths, out));
        }
        self.open_group = self
            .open_group
            .take()
            .zip(last_rows)
            .map(|((group, _), rows)| (group, rows));
        if count == 0 {
            // In the first row, a new status could not be drawn in place.
            out.push('\n');
        }
    }

    /// Makes the next presence change begin an entry of its own.
    pub(crate) fn close_group(&mut self) {
        self.open_group = None;
    }

    fn draw_message(&mut self, message: OutputMessage, now: Timestamp, out: &mut String) {
        let is_own = message.source == self.own_name;
        let is_mention = message.is_mention_of(&self.own_name);
        let time = message.time.unwrap_or(now);
        if !message.is_replay && !is_own {
            self.names.spoke(&message.source);
        }
        if is_mention && !message.is_replay {
            self.note_mention(&message, time);
            if self.options.rings_bell {
                out.push('\u{7}');
            }
        }
        let margin = match message.is_replay {
            true => self.date_and_time(time),
            false => self.margin(time, out),
        };
        let entry = self.message_block(margin, &message, is_mention);
        self.add(entry, out);
    }

    /// Draws a change, in the line of the last group if nothing else came since.
    fn draw_presence(&mut self, change: PresenceChange, time: Timestamp, out: &mut String) {
        match &change {
            PresenceChange::Entered(name) => self.names.entered(name),
            PresenceChange::Left(name) => self.names.left(name),
            PresenceChange::Renamed(old, new) => {
                self.names.renamed(old, new);
                if *old == self.own_name {
                    self.own_name.clone_from(new);
                }
            }
        }
        let is_same_day = self.options.zone.to_datetime(time).date() == self.day;
        let open_group = self.open_group.take().filter(|_| is_same_day);
        let Some((mut group, rows)) = open_group else {
            let margin = self.margin(time, out);
            return self.add_group(PresenceGroup::new(change), margin, out);
        };
        let margin = self.entries.pop_back().map(|entry| {
            self.bytes -= entry.bytes();
            self.drawn = self.drawn.saturating_sub(1);
            entry.margin
        });
        group.add(change);
        // Replaces the rows of the group.
        out.push_str(&format!("\u{1b}[{rows}A\u{1b}[J"));
        self.add_group(group, margin.unwrap_or_default(), out);
    }

    fn add_group(&mut self, group: PresenceGroup, margin: String, out: &mut String) {
        let rows = self.add(self.dim_block(margin, SERVER_LABEL, &group.sentence()), out);
        // The cursor can reach only rows on the screen.
        let can_grow = group.has_room() && rows + PROMPT_ROWS + 1 < self.rows;
        self.open_group = can_grow.then_some((group, rows));
    }

    fn note_mention(&mut self, message: &OutputMessage, time: Timestamp) {
        self.unseen_mentions += 1;
        if self.mentions.len() == MAX_MENTIONS {
            self.mentions.pop_front();
        }
        let message = OutputMessage {
            text: message.text.chars().take(MENTION_CHARS).collect(),
            ..message.clone()
        };
        let margin = self.date_and_time(time);
        let entry = self.message_block(margin, &message, false);
        self.mentions.push_back(entry);
    }

    fn list_mentions(&mut self, out: &mut String) {
        self.unseen_mentions = 0;
        let notice = match self.mentions.len() {
            0 => "No mentions and no private messages".to_owned(),
            1 => "You were mentioned once".to_owned(),
            count => format!("You were mentioned {count} times; the latest mention is last"),
        };
        self.add_notice(&notice, out);
        for mention in self.mentions.clone() {
            self.add(mention, out);
        }
    }

    fn clear(&mut self, out: &mut String) {
        self.entries.clear();
        self.bytes = 0;
        self.drawn = 0;
        self.open_group = None;
        self.unseen_mentions = 0;
        out.push_str(CLEAR_SCREEN);
        out.push('\n');
    }

    // Entries

    fn add_notice(&mut self, text: &str, out: &mut String) {
        let margin = match self.options.shows_times {
            true => NO_TIME.to_owned(),
            false => String::new(),
        };
        self.add(self.dim_block(margin, "", text), out);
    }

    /// Draws and stores an entry; returns its rows.
    fn add(&mut self, mut entry: TextBlock, out: &mut String) -> usize {
        let rows = entry.draw(self.columns, self.options.widths, out);
        self.open_group = None;
        self.drawn += 1;
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > VIEW_ENTRIES
            || (self.bytes > VIEW_BYTES && self.entries.len() > 1)
        {
            let oldest = self.entries.pop_front();
            self.bytes -= oldest.map_or(0, |entry| entry.bytes());
        }
        rows
    }

    /// Returns the margin of an entry of this time. A new day gets an entry of its own first.
    fn margin(&mut self, time: Timestamp, out: &mut String) -> String {
        let local = self.options.zone.to_datetime(time);
        if local.date() != self.day {
            self.day = local.date();
            let text = self.day.strftime("%A, %-d %B %Y").to_string();
            self.add(self.dim_block(String::new(), "", &border(&text)), out);
        }
        if !self.options.shows_times {
            return String::new();
        }
        local.strftime("%H:%M ").to_string()
    }

    /// Returns the margin of a message of the past.
    fn date_and_time(&self, time: Timestamp) -> String {
        date_and_time(self.options.zone.to_datetime(time), self.day)
    }

    fn dim_block(&self, margin: String, label: &str, text: &str) -> TextBlock {
        let mut block = TextBlock::new(margin, label, &safe_text(text));
        block.colour(usize::MAX, self.options.style.dim());
        if !self.options.has_links {
            block.keep_addresses();
        }
        block
    }

    fn message_block(
        &mut self,
        margin: String,
        message: &OutputMessage,
        is_mention: bool,
    ) -> TextBlock {
        let style = self.options.style;
        let is_private = message.kind.is_private();
        let mut who = safe_text(&message.label()).replace('\n', " ");
        let separator = match message.kind {
            MessageKind::Action => {
                who.insert_str(0, "* ");
                " "
            }
            _ => ": ",
        };
        if is_mention && style == Style::Plain {
            who.insert_str(0, MENTION_MARK);
        }
        let label = format!("{who}{separator}");
        let mut block = TextBlock::new(margin, &label, &safe_text(&message.text));
        // The colour of the whole line comes first, and that of the name stands inside it.
        let whole = match (is_private, is_mention) {
            (true, _) => style.private(),
            (false, true) => style.inverse(),
            (false, false) if message.is_replay => style.past(),
            (false, false) => None,
        };
        block.colour(usize::MAX, whole);
        if !is_private {
            block.colour(who.len(), style.opening(&message.source));
        }
        if self.options.has_links {
            self.last_number += 1;
            block.link_addresses(self.last_number);
        } else {
            block.keep_addresses();
        }
        block
    }
}

/// Returns a line of the help, whose rows hang under the explanation.
pub(crate) fn help_block(line: &str, style: Style) -> TextBlock {
    let (command, explanation) = command_and_help(line);
    let mut block = TextBlock::new(String::new(), command, explanation);
    block.colour(usize::MAX, style.dim());
    block.colour(command.trim_end().len(), style.bold());
    block
}

#[cfg(test)]
mod tests;
