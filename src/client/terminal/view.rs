//! The chat as a terminal shows it: indented rows, days and times, mentions, and grouped presence
//! changes. Redraws everything for a new width.
//!
//! Free of I/O and clocks. Text of other users is escaped.

use crate::chat::SERVER_SOURCE;
use crate::cli::style::Style;
use crate::client::input::known_names::KnownNames;
use crate::client::limits::{MAX_MENTIONS, MENTION_CHARS, VIEW_BYTES, VIEW_ENTRIES};
use crate::client::output::item::{MessageKind, ViewItem, ViewMessage};
use crate::client::output::presence::{PresenceChange, PresenceGroup};
use crate::client::terminal::text_block::{TextBlock, safe_text};
use crate::client::terminal::wrap::Widths;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::VecDeque;

/// Rows of status and prompt, and one free row.
const PROMPT_ROWS: usize = 3;

const CLEAR_SCREEN: &str = "\u{1b}[H\u{1b}[2J";

#[derive(Clone, Debug)]
pub(crate) struct ViewOptions {
    pub(crate) style: Style,
    pub(crate) widths: Widths,
    /// Whether the terminal supports hyperlinks.
    pub(crate) has_links: bool,
    pub(crate) shows_times: bool,
    /// Whether a mention rings the bell.
    pub(crate) rings_bell: bool,
    /// Time zone of the shown days and times.
    pub(crate) zone: TimeZone,
}

#[derive(Debug)]
enum EntryContent {
    Message {
        message: ViewMessage,
        is_mention: bool,
    },
    Presence(PresenceGroup),
    Server(String),
    Notice(String),
}

impl EntryContent {
    fn bytes(&self) -> usize {
        match self {
            EntryContent::Message { message, .. } => message.source.len() + message.text.len(),
            EntryContent::Presence(_) => 0,
            EntryContent::Server(text) | EntryContent::Notice(text) => text.len(),
        }
    }
}

/// Day above an entry and time beside it.
#[derive(Debug, Default)]
struct Heading {
    day: Option<Date>,
    clock: Option<String>,
}

#[derive(Debug)]
struct ViewEntry {
    content: EntryContent,
    heading: Heading,
    /// Distinguishes the hyperlinks of entries.
    number: u64,
}

#[derive(Debug)]
struct Mention {
    time: Timestamp,
    message: ViewMessage,
}

#[derive(Debug)]
pub(crate) struct TerminalView {
    options: ViewOptions,
    columns: usize,
    rows: usize,
    entries: VecDeque<ViewEntry>,
    bytes: usize,
    last_number: u64,
    /// Day of the last entry.
    day: Date,
    /// Time of the last entry.
    clock: String,
    /// Rows of the last entry, without its day, if it is a group that takes another change.
    open_group_rows: Option<usize>,
    own_name: String,
    names: KnownNames,
    mentions: VecDeque<Mention>,
    /// Mentions since the last entered line.
    pub(crate) unseen_mentions: usize,
}

impl TerminalView {
    /// Returns an empty view, which keeps `names` up to date.
    pub(crate) fn new(
        options: ViewOptions,
        names: KnownNames,
        columns: usize,
        rows: usize,
        now: Timestamp,
    ) -> Self {
        let day = options.zone.to_datetime(now).date();
        TerminalView {
            options,
            columns,
            rows,
            entries: VecDeque::new(),
            bytes: 0,
            last_number: 0,
            day,
            clock: String::new(),
            open_group_rows: None,
            own_name: String::new(),
            names,
            mentions: VecDeque::new(),
            unseen_mentions: 0,
        }
    }

    /// Appends the text that draws an item.
    pub(crate) fn draw(&mut self, item: ViewItem, now: Timestamp, out: &mut String) {
        match item {
            ViewItem::Message(message) => self.draw_message(message, now, out),
            ViewItem::Presence(change, time) => {
                self.draw_presence(change, time.unwrap_or(now), out)
            }
            ViewItem::Server(sentence) => match PresenceChange::from_sentence(&sentence) {
                Some(change) => self.draw_presence(change, now, out),
                None => self.add(EntryContent::Server(sentence), Some(now), out),
            },
            ViewItem::Notice(text) => self.add(EntryContent::Notice(text), None, out),
            ViewItem::OwnName(name) => self.own_name = name,
            ViewItem::PresentUsers(names) => {
                names.iter().for_each(|name| self.names.entered(name));
            }
            ViewItem::ListMentions => self.list_mentions(out),
            ViewItem::Clear => self.clear(out),
            ViewItem::InputEntered => self.unseen_mentions = 0,
        }
    }

    /// Stores the size; appends the text that redraws the newest entries if the width is new.
    pub(crate) fn resize(&mut self, columns: usize, rows: usize, out: &mut String) {
        let is_same_width = columns == self.columns;
        (self.columns, self.rows) = (columns, rows);
        if is_same_width {
            // Rows break where they did, and the terminal moves them itself.
            return;
        }
        out.push_str(CLEAR_SCREEN);
        let room = rows.saturating_sub(PROMPT_ROWS);
        let mut used = 0;
        let mut drawn = Vec::new();
        for entry in self.entries.iter().rev() {
            let mut text = String::new();
            let rows = self.draw_day(entry, &mut text) + self.draw_entry(entry, &mut text);
            if drawn.is_empty() && self.open_group_rows.is_some() {
                self.open_group_rows = Some(rows - usize::from(entry.heading.day.is_some()));
            }
            used += rows;
            if used > room && !drawn.is_empty() {
                break;
            }
            drawn.push(text);
        }
        drawn.iter().rev().for_each(|text| out.push_str(text));
    }

    fn draw_message(&mut self, message: ViewMessage, now: Timestamp, out: &mut String) {
        let is_own = message.source == self.own_name;
        let is_mention = !is_own
            && (message.kind == MessageKind::PrivateFrom
                || mentions(&message.text, &self.own_name));
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
        let content = EntryContent::Message {
            message,
            is_mention,
        };
        self.add(content, Some(time), out);
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
        if let (true, Some(rows), Some(mut entry)) =
            (is_same_day, self.open_group_rows, self.entries.pop_back())
        {
            if let EntryContent::Presence(group) = &mut entry.content {
                group.add(change);
                let has_room = group.has_room();
                // Replaces the rows of the group.
                out.push_str(&format!("\u{1b}[{rows}A\u{1b}[J"));
                let rows = self.draw_entry(&entry, out);
                self.open_group_rows = (has_room && self.can_replace(rows)).then_some(rows);
            }
            self.entries.push_back(entry);
            return;
        }
        let content = EntryContent::Presence(PresenceGroup::new(change));
        self.add(content, Some(time), out);
    }

    fn note_mention(&mut self, message: &ViewMessage, time: Timestamp) {
        self.unseen_mentions += 1;
        if self.mentions.len() == MAX_MENTIONS {
            self.mentions.pop_front();
        }
        let message = ViewMessage {
            text: message.text.chars().take(MENTION_CHARS).collect(),
            is_replay: true,
            ..message.clone()
        };
        self.mentions.push_back(Mention { time, message });
    }

    fn list_mentions(&mut self, out: &mut String) {
        self.unseen_mentions = 0;
        let notice = match self.mentions.len() {
            0 => "No mentions and no private messages".to_owned(),
            1 => "You were mentioned once".to_owned(),
            count => format!("You were mentioned {count} times; the latest mention is last"),
        };
        self.add(EntryContent::Notice(notice), None, out);
        let mentions = std::mem::take(&mut self.mentions);
        for mention in &mentions {
            let time = self.options.zone.to_datetime(mention.time);
            let heading = Heading {
                day: None,
                clock: Some(time.strftime("%e %b %H:%M").to_string()),
            };
            let content = EntryContent::Message {
                message: mention.message.clone(),
                is_mention: false,
            };
            self.add_with_heading(content, heading, out);
        }
        self.mentions = mentions;
    }

    fn clear(&mut self, out: &mut String) {
        self.entries.clear();
        self.bytes = 0;
        self.open_group_rows = None;
        self.unseen_mentions = 0;
        out.push_str(CLEAR_SCREEN);
        out.push('\n');
    }

    // Entries

    fn add(&mut self, content: EntryContent, time: Option<Timestamp>, out: &mut String) {
        let heading = time.map_or_else(Heading::default, |time| self.heading(time));
        self.add_with_heading(content, heading, out);
    }

    fn add_with_heading(&mut self, content: EntryContent, heading: Heading, out: &mut String) {
        self.last_number += 1;
        let entry = ViewEntry {
            content,
            heading,
            number: self.last_number,
        };
        self.draw_day(&entry, out);
        let rows = self.draw_entry(&entry, out);
        let is_group = matches!(entry.content, EntryContent::Presence(_));
        self.open_group_rows = (is_group && self.can_replace(rows)).then_some(rows);
        self.bytes += entry.content.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > VIEW_ENTRIES
            || (self.bytes > VIEW_BYTES && self.entries.len() > 1)
        {
            let oldest = self.entries.pop_front();
            self.bytes -= oldest.map_or(0, |entry| entry.content.bytes());
        }
    }

    /// Returns whether `rows` rows fit on the screen, where the cursor can reach them.
    fn can_replace(&self, rows: usize) -> bool {
        rows + PROMPT_ROWS < self.rows
    }

    /// Returns day and time, each only if it differs from the last entry's.
    fn heading(&mut self, time: Timestamp) -> Heading {
        let local = self.options.zone.to_datetime(time);
        let day = (local.date() != self.day).then_some(local.date());
        if let Some(day) = day {
            self.day = day;
            self.clock.clear();
        }
        let clock = local.strftime("%H:%M").to_string();
        let is_shown = self.options.shows_times && clock != self.clock;
        self.clock.clone_from(&clock);
        Heading {
            day,
            clock: is_shown.then_some(clock),
        }
    }

    fn draw_day(&self, entry: &ViewEntry, out: &mut String) -> usize {
        let Some(day) = entry.heading.day else {
            return 0;
        };
        let text = format!("── {} ──", day.strftime("%A, %-d %B %Y"));
        self.draw_block(&self.dim_block("", &text), "", out)
    }

    fn draw_entry(&self, entry: &ViewEntry, out: &mut String) -> usize {
        let server_label = format!("{SERVER_SOURCE}: ");
        let block = match &entry.content {
            EntryContent::Message {
                message,
                is_mention,
            } => self.message_block(message, *is_mention, entry.number),
            EntryContent::Presence(group) => self.dim_block(&server_label, &group.sentence()),
            EntryContent::Server(sentence) => self.dim_block(&server_label, sentence),
            EntryContent::Notice(text) => self.dim_block("", text),
        };
        let margin = match (&entry.heading.clock, self.options.shows_times) {
            (Some(clock), _) => format!("{clock} "),
            (None, true) => " ".repeat("00:00 ".len()),
            (None, false) => String::new(),
        };
        self.draw_block(&block, &margin, out)
    }

    fn draw_block(&self, block: &TextBlock, margin: &str, out: &mut String) -> usize {
        block.draw(margin, self.columns, self.options.widths, out)
    }

    fn dim_block(&self, label: &str, text: &str) -> TextBlock {
        let mut block = TextBlock::new(label, &safe_text(text));
        block.colour_all(self.options.style.dim());
        block
    }

    fn message_block(&self, message: &ViewMessage, is_mention: bool, number: u64) -> TextBlock {
        let safe_name = |name| safe_text(name).replace('\n', " ");
        let source = safe_name(&message.source);
        let who = match &message.kind {
            MessageKind::Public => source,
            MessageKind::Action => format!("* {source}"),
            MessageKind::PrivateFrom => format!("{source} (private)"),
            MessageKind::PrivateTo(target) => {
                format!("{source} → {} (private)", safe_name(target))
            }
        };
        let opening = self.options.style.opening(&message.source);
        let (who, opening) = match is_mention {
            true if self.options.style == Style::Plain => (format!("▶ {who}"), opening),
            true => (who, opening.map(|opening| format!("{opening}\u{1b}[7m"))),
            false => (who, opening),
        };
        let separator = match message.kind {
            MessageKind::Action => " ",
            _ => ": ",
        };
        let label = format!("{who}{separator}");
        let mut block = TextBlock::new(&label, &safe_text(&message.text));
        block.colour_label(who.len(), opening);
        if self.options.has_links {
            block.link_addresses(number);
        }
        block
    }
}

/// Returns whether a text contains a name as a word, in any case.
fn mentions(text: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(&name).any(|(at, _)| {
        !is_word(text[..at].chars().next_back()) && !is_word(text[at + name.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests;
