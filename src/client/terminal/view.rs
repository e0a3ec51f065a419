//! What stands on a terminal.
//!
//! What lives here: [`View`], which makes a terminal's text of what happens: rows under hanging
//! indents, days and times, mentions, comings and goings folded into one line, and all of it again
//! when the size changes. The line editor's screen uses it. It must never write anything, never
//! look at a clock, and never let a stranger's text through as anything but text.

use crate::chat::SERVER_SOURCE;
use crate::cli::style::Style;
use crate::client::input::known_names::NameBook;
use crate::client::limits::{MAX_MENTIONS, MENTION_CHARS, VIEW_BYTES, VIEW_ENTRIES};
use crate::client::output::presence::{Change, PresenceGroup};
use crate::client::terminal::text_block::{Block, safe_text};
use crate::client::terminal::wrap::Widths;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::VecDeque;

/// Rows that the prompt takes, and one that stays free.
const PROMPT_ROWS: usize = 3;

/// How things look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Colours.
    pub style: Style,
    /// How the terminal counts columns.
    pub widths: Widths,
    /// Whether the terminal knows hyperlinks.
    pub has_links: bool,
    /// Whether the time of each message is shown where it changes.
    pub shows_times: bool,
    /// Whether a mention rings the terminal's bell.
    pub rings: bool,
    /// In which times and days are told.
    pub zone: TimeZone,
}

/// How something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// To everyone.
    Said,
    /// It was done.
    Done,
    /// To us alone.
    PrivateFrom,
    /// By us to this user alone.
    PrivateTo(String),
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// By whom.
    pub source: String,
    /// The text.
    pub text: String,
    /// When; none in the basic dialect.
    pub time: Option<Timestamp>,
    /// How.
    pub manner: Manner,
    /// Whether it is told again because we asked for that.
    pub is_replay: bool,
}

/// Something that happens on the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewItem {
    /// Somebody says something.
    Said(Line),
    /// Somebody comes or goes.
    Change(Change, Option<Timestamp>),
    /// The server says something.
    Server(String),
    /// The client tells its user something.
    Told(String),
    /// We are called this.
    OwnName(String),
    /// These are here; not shown.
    Present(Vec<String>),
    /// The user wants to know the mentions.
    Mentions,
    /// The user wants an empty screen.
    Clear,
    /// The user typed something, and so has seen what stands on the screen.
    Typed,
}

/// What an entry is.
#[derive(Debug)]
enum What {
    Said { line: Line, is_mention: bool },
    Changes(PresenceGroup),
    Server(String),
    Told(String),
}

impl What {
    fn bytes(&self) -> usize {
        match self {
            What::Said { line, .. } => line.source.len() + line.text.len(),
            What::Changes(_) => 0,
            What::Server(text) | What::Told(text) => text.len(),
        }
    }
}

/// What stands above and beside an entry.
#[derive(Debug, Default)]
struct Heading {
    day: Option<Date>,
    /// Local time of day.
    clock: Option<String>,
}

#[derive(Debug)]
struct Entry {
    what: What,
    heading: Heading,
    /// By which the links of the entry are told from others.
    number: u64,
}

/// A mention of us.
#[derive(Debug)]
struct Mention {
    time: Timestamp,
    line: Line,
}

/// What stands on a terminal.
#[derive(Debug)]
pub struct View {
    look: Look,
    columns: usize,
    rows: usize,
    entries: VecDeque<Entry>,
    bytes: usize,
    number: u64,
    day: Date,
    clock: String,
    /// Rows of the last entry without its day, if another change goes into it.
    foldable: Option<usize>,
    own_name: String,
    names: NameBook,
    mentions: VecDeque<Mention>,
    unseen: usize,
}

impl View {
    /// An empty view of a terminal of this size. Names are noted in the book.
    pub fn new(look: Look, names: NameBook, columns: usize, rows: usize, now: Timestamp) -> Self {
        let day = look.zone.to_datetime(now).date();
        View {
            look,
            columns,
            rows,
            entries: VecDeque::new(),
            bytes: 0,
            number: 0,
            day,
            clock: String::new(),
            foldable: None,
            own_name: String::new(),
            names,
            mentions: VecDeque::new(),
            unseen: 0,
        }
    }

    /// Mentions since the user typed something.
    pub fn unseen(&self) -> usize {
        self.unseen
    }

    /// Appends what draws this.
    pub fn draw(&mut self, item: ViewItem, now: Timestamp, out: &mut String) {
        match item {
            ViewItem::Said(line) => self.said(line, now, out),
            ViewItem::Change(change, time) => self.change(change, time.unwrap_or(now), out),
            ViewItem::Server(sentence) => match Change::of_sentence(&sentence) {
                Some(change) => self.change(change, now, out),
                None => self.add(What::Server(sentence), Some(now), out),
            },
            ViewItem::Told(text) => self.add(What::Told(text), None, out),
            ViewItem::OwnName(name) => self.own_name = name,
            ViewItem::Present(names) => names.iter().for_each(|name| self.names.entered(name)),
            ViewItem::Mentions => self.list_mentions(out),
            ViewItem::Clear => self.clear(out),
            ViewItem::Typed => self.unseen = 0,
        }
    }

    /// Appends what draws everything again, if the size is another.
    pub fn resize(&mut self, columns: usize, rows: usize, out: &mut String) {
        if (columns, rows) == (self.columns, self.rows) {
            return;
        }
        let is_same_width = columns == self.columns;
        (self.columns, self.rows) = (columns, rows);
        if is_same_width {
            // Nothing is broken elsewhere, and the terminal moves what stands.
            return;
        }
        out.push_str("\u{1b}[H\u{1b}[2J");
        let room = rows.saturating_sub(PROMPT_ROWS);
        let mut used = 0;
        let mut drawn = Vec::new();
        for entry in self.entries.iter().rev() {
            let mut text = String::new();
            let rows = self.draw_day(entry, &mut text) + self.draw_entry(entry, &mut text);
            if drawn.is_empty() && self.foldable.is_some() {
                self.foldable = Some(rows - usize::from(entry.heading.day.is_some()));
            }
            used += rows;
            if used > room && !drawn.is_empty() {
                break;
            }
            drawn.push(text);
        }
        drawn.iter().rev().for_each(|text| out.push_str(text));
    }

    // What happens

    fn said(&mut self, line: Line, now: Timestamp, out: &mut String) {
        let is_own = line.source == self.own_name;
        let is_mention =
            !is_own && (line.manner == Manner::PrivateFrom || mentions(&line.text, &self.own_name));
        let time = line.time.unwrap_or(now);
        if !line.is_replay && !is_own {
            self.names.spoke(&line.source);
        }
        if is_mention && !line.is_replay {
            self.note_mention(&line, time);
            if self.look.rings {
                out.push('\u{7}');
            }
        }
        self.add(What::Said { line, is_mention }, Some(time), out);
    }

    fn change(&mut self, change: Change, time: Timestamp, out: &mut String) {
        match &change {
            Change::Entered(name) => self.names.entered(name),
            Change::Left(name) => self.names.left(name),
            Change::Renamed(old, new) => {
                self.names.renamed(old, new);
                if *old == self.own_name {
                    self.own_name.clone_from(new);
                }
            }
        }
        let day = self.look.zone.to_datetime(time).date();
        let is_foldable = day == self.day;
        if let (true, Some(rows), Some(entry)) =
            (is_foldable, self.foldable, self.entries.back_mut())
            && let What::Changes(folding) = &mut entry.what
        {
            folding.add(change);
            let has_room = folding.has_room();
            // What stands there is written anew.
            out.push_str(&format!("\u{1b}[{rows}A\u{1b}[J"));
            let rows = self
                .entries
                .back()
                .map_or(0, |entry| self.draw_entry(entry, out));
            self.foldable = (has_room && rows + PROMPT_ROWS < self.rows).then_some(rows);
            return;
        }
        self.add(What::Changes(PresenceGroup::new(change)), Some(time), out);
    }

    fn note_mention(&mut self, line: &Line, time: Timestamp) {
        self.unseen += 1;
        if self.mentions.len() == MAX_MENTIONS {
            self.mentions.pop_front();
        }
        let text: String = line.text.chars().take(MENTION_CHARS).collect();
        let line = Line {
            text,
            is_replay: true,
            ..line.clone()
        };
        self.mentions.push_back(Mention { time, line });
    }

    fn list_mentions(&mut self, out: &mut String) {
        self.unseen = 0;
        let told = match self.mentions.len() {
            0 => "Nobody has mentioned you or written to you alone".to_owned(),
            1 => "You were mentioned once".to_owned(),
            count => format!("You were mentioned {count} times; the last stands last"),
        };
        self.add(What::Told(told), None, out);
        let lines: Vec<_> = self
            .mentions
            .iter()
            .map(|mention| {
                let time = self.look.zone.to_datetime(mention.time);
                (
                    time.strftime("%e %b %H:%M").to_string(),
                    mention.line.clone(),
                )
            })
            .collect();
        for (clock, line) in lines {
            let heading = Heading {
                day: None,
                clock: Some(clock),
            };
            self.add_under(
                What::Said {
                    line,
                    is_mention: false,
                },
                heading,
                out,
            );
        }
    }

    fn clear(&mut self, out: &mut String) {
        self.entries.clear();
        self.bytes = 0;
        self.foldable = None;
        self.unseen = 0;
        out.push_str("\u{1b}[H\u{1b}[2J\n");
    }

    // Entries

    fn add(&mut self, what: What, time: Option<Timestamp>, out: &mut String) {
        let heading = time.map_or_else(Heading::default, |time| self.heading(time));
        self.add_under(what, heading, out);
    }

    fn add_under(&mut self, what: What, heading: Heading, out: &mut String) {
        self.number += 1;
        let entry = Entry {
            what,
            heading,
            number: self.number,
        };
        self.draw_day(&entry, out);
        let rows = self.draw_entry(&entry, out);
        let is_foldable = matches!(entry.what, What::Changes(_)) && rows + PROMPT_ROWS < self.rows;
        self.foldable = is_foldable.then_some(rows);
        self.bytes += entry.what.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > VIEW_ENTRIES
            || (self.bytes > VIEW_BYTES && self.entries.len() > 1)
        {
            let oldest = self.entries.pop_front();
            self.bytes -= oldest.map_or(0, |entry| entry.what.bytes());
        }
    }

    /// The day and the time, each where it is another than above.
    fn heading(&mut self, time: Timestamp) -> Heading {
        let local = self.look.zone.to_datetime(time);
        let day = (local.date() != self.day).then_some(local.date());
        if let Some(day) = day {
            self.day = day;
            self.clock.clear();
        }
        let clock = local.strftime("%H:%M").to_string();
        let is_shown = self.look.shows_times && clock != self.clock;
        self.clock.clone_from(&clock);
        Heading {
            day,
            clock: is_shown.then_some(clock),
        }
    }

    fn draw_day(&self, entry: &Entry, out: &mut String) -> usize {
        let Some(day) = entry.heading.day else {
            return 0;
        };
        let text = format!("── {} ──", day.strftime("%A, %-d %B %Y"));
        let mut block = Block::new("", &text);
        block.colour_all(self.look.style.dim());
        block.draw("", self.columns, self.look.widths, out)
    }

    fn draw_entry(&self, entry: &Entry, out: &mut String) -> usize {
        let block = match &entry.what {
            What::Said { line, is_mention } => self.line_block(line, *is_mention, entry.number),
            What::Changes(folding) => self.server_block(&folding.sentence()),
            What::Server(sentence) => self.server_block(sentence),
            What::Told(text) => {
                let mut block = Block::new("", &safe_text(text));
                block.colour_all(self.look.style.dim());
                block
            }
        };
        let margin = match (&entry.heading.clock, self.look.shows_times) {
            (Some(clock), _) => format!("{clock} "),
            (None, true) => " ".repeat("00:00 ".len()),
            (None, false) => String::new(),
        };
        block.draw(&margin, self.columns, self.look.widths, out)
    }

    fn server_block(&self, sentence: &str) -> Block {
        let mut block = Block::new(&format!("{SERVER_SOURCE}: "), &safe_text(sentence));
        block.colour_all(self.look.style.dim());
        block
    }

    fn line_block(&self, line: &Line, is_mention: bool, number: u64) -> Block {
        let source = safe_text(&line.source).replace('\n', " ");
        let who = match &line.manner {
            Manner::Said => source,
            Manner::Done => format!("* {source}"),
            Manner::PrivateFrom => format!("{source} (private)"),
            Manner::PrivateTo(target) => {
                format!(
                    "{source} → {} (private)",
                    safe_text(target).replace('\n', " ")
                )
            }
        };
        let who = match is_mention && self.look.style == Style::Plain {
            true => format!("▶ {who}"),
            false => who,
        };
        let separator = match line.manner {
            Manner::Done => " ",
            _ => ": ",
        };
        let mut block = Block::new(&format!("{who}{separator}"), &safe_text(&line.text));
        let opening = self.look.style.opening(&line.source);
        let opening = match is_mention {
            true => opening.map(|opening| format!("{opening}\u{1b}[7m")),
            false => opening,
        };
        block.colour_label(who.len(), opening);
        if self.look.has_links {
            block.link_addresses(number);
        }
        block
    }
}

/// Whether a text has this name in it as a word, in any case.
fn mentions(text: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let is_part = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || character == '_')
    };
    text.match_indices(&name).any(|(at, _)| {
        !is_part(text[..at].chars().next_back()) && !is_part(text[at + name.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-11-24T12:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn look(style: Style) -> Look {
        Look {
            style,
            widths: Widths::Clusters,
            has_links: false,
            shows_times: false,
            rings: false,
            zone: TimeZone::UTC,
        }
    }

    fn view(change: impl FnOnce(&mut Look)) -> View {
        let mut look = look(Style::Plain);
        change(&mut look);
        let mut view = View::new(look, NameBook::default(), 40, 10, time(NOON));
        drawn(&mut view, ViewItem::OwnName("me".into()));
        view
    }

    fn drawn(view: &mut View, item: ViewItem) -> String {
        let mut out = String::new();
        view.draw(item, time(NOON), &mut out);
        out
    }

    fn line(source: &str, text: &str) -> Line {
        Line {
            source: source.into(),
            text: text.into(),
            time: None,
            manner: Manner::Said,
            is_replay: false,
        }
    }

    fn said(source: &str, text: &str) -> ViewItem {
        ViewItem::Said(line(source, text))
    }

    fn said_at(at: &str) -> ViewItem {
        ViewItem::Said(Line {
            time: Some(time(at)),
            ..line("al", "x")
        })
    }

    fn entered(name: &str) -> ViewItem {
        ViewItem::Change(Change::Entered(name.into()), None)
    }

    #[test]
    fn each_kind_has_its_shape() {
        let view = &mut view(|_| {});
        assert_eq!(drawn(view, said("al", "hi")), "al: hi\n");
        let manner = |manner| {
            ViewItem::Said(Line {
                manner,
                ..line("al", "hi")
            })
        };
        assert_eq!(drawn(view, manner(Manner::Done)), "* al hi\n");
        assert_eq!(
            drawn(view, manner(Manner::PrivateFrom)),
            "▶ al (private): hi\n"
        );
        let to = ViewItem::Said(Line {
            manner: Manner::PrivateTo("bo".into()),
            ..line("me", "hi")
        });
        assert_eq!(drawn(view, to), "me → bo (private): hi\n");
        assert_eq!(
            drawn(view, ViewItem::Server("No messages yet".into())),
            "[Server]: No messages yet\n"
        );
        assert_eq!(drawn(view, ViewItem::Told("done".into())), "done\n");
    }

    #[test]
    fn what_a_stranger_sends_is_only_text() {
        let view = &mut view(|look| look.style = Style::Colours16);
        let evil = "\u{1b}[2J\u{1b}]8;;http://x\u{7}\u{9b}31m\r\u{202e}x\u{2067}";
        for item in [
            said(evil, evil),
            ViewItem::Server(evil.into()),
            ViewItem::Told(evil.into()),
            entered(evil),
            ViewItem::Said(Line {
                manner: Manner::PrivateTo(evil.into()),
                ..line("a", "b")
            }),
        ] {
            let text = drawn(view, item).replace("\u{1b}[0m", "");
            let escapes: Vec<&str> = text.split('\u{1b}').skip(1).collect();
            let are_colours = escapes.iter().all(|escape| {
                let body = escape.trim_start_matches(['[', ';', '0', '1', '3', '5', '6']);
                body.starts_with('m')
            });
            assert!(are_colours, "{text:?}");
            assert!(!text.contains(['\u{7}', '\u{9b}', '\r', '\u{202e}', '\u{2067}']));
        }
    }

    #[test]
    fn changes_are_folded_while_nobody_speaks() {
        let view = &mut view(|_| {});
        assert_eq!(
            drawn(view, entered("al")),
            "[Server]: al has entered the chat\n"
        );
        assert_eq!(
            drawn(view, ViewItem::Server("bo has entered the chat".into())),
            "\u{1b}[1A\u{1b}[J[Server]: al and bo entered\n"
        );
        drawn(view, said("al", "hi"));
        assert_eq!(
            drawn(view, entered("cy")),
            "[Server]: cy has entered the chat\n"
        );
        drawn(view, ViewItem::Told("x".into()));
        assert_eq!(
            drawn(view, entered("di")),
            "[Server]: di has entered the chat\n"
        );
    }

    #[test]
    fn a_fold_of_several_rows_is_replaced_whole() {
        let view = &mut view(|_| {});
        drawn(view, entered("a-name-that-is-long"));
        let second = drawn(view, entered("another-name-that-is-long"));
        let rows = second.lines().count();
        assert!(rows > 1, "{second:?}");
        let third = drawn(view, entered("bo"));
        assert!(
            third.starts_with(&format!("\u{1b}[{rows}A\u{1b}[J")),
            "{third:?}"
        );
    }

    #[test]
    fn mentions_are_shown_and_listed() {
        let view = &mut view(|look| look.rings = true);
        assert_eq!(drawn(view, said("al", "Me, too")), "\u{7}▶ al: Me, too\n");
        assert_eq!(drawn(view, said("al", "some men")), "al: some men\n");
        assert_eq!(drawn(view, said("me", "me")), "me: me\n");
        let replayed = ViewItem::Said(Line {
            is_replay: true,
            ..line("al", "me")
        });
        assert_eq!(drawn(view, replayed), "▶ al: me\n");
        assert_eq!(view.unseen(), 1);
        assert_eq!(
            drawn(view, ViewItem::Mentions),
            "You were mentioned once\n24 Nov 12:00 al: Me, too\n"
        );
        assert_eq!(view.unseen(), 0);
        for number in 0..MAX_MENTIONS * 2 {
            drawn(view, said("al", &format!("me {number}")));
        }
        let listed = drawn(view, ViewItem::Mentions);
        assert_eq!(listed.matches("al: me").count(), MAX_MENTIONS);
        drawn(view, said("al", "me"));
        drawn(view, ViewItem::Typed);
        assert_eq!(view.unseen(), 0);
    }

    #[test]
    fn nobody_is_mentioned_before_one_has_a_name() {
        assert!(!mentions("hello", ""));
        assert!(mentions("hello Ann Lee!", "ann lee"));
        assert!(!mentions("hello", "hell"));
        assert!(!mentions("a_me", "me"));
        assert!(mentions("some: me", "me"));
    }

    #[test]
    fn times_are_shown_where_they_change() {
        let view = &mut view(|look| look.shows_times = true);
        assert_eq!(
            drawn(view, said_at("2026-11-24T12:00:00Z")),
            "12:00 al: x\n"
        );
        assert_eq!(
            drawn(view, said_at("2026-11-24T12:00:59Z")),
            "      al: x\n"
        );
        assert_eq!(
            drawn(view, said_at("2026-11-24T12:01:00Z")),
            "12:01 al: x\n"
        );
        assert_eq!(drawn(view, ViewItem::Told("x".into())), "      x\n");
    }

    #[test]
    fn times_are_those_of_the_place() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let view = &mut view(|look| (look.shows_times, look.zone) = (true, zone));
        let item = said_at("2026-11-24T23:30:00Z");
        assert_eq!(
            drawn(view, item),
            "── Wednesday, 25 November 2026 ──\n01:30 al: x\n"
        );
    }

    #[test]
    fn days_are_separated() {
        let view = &mut view(|_| {});
        assert_eq!(drawn(view, said_at("2026-11-24T09:00:00Z")), "al: x\n");
        assert_eq!(
            drawn(view, said_at("2026-11-23T09:00:00Z")),
            "── Monday, 23 November 2026 ──\nal: x\n"
        );
        assert_eq!(drawn(view, said_at("2026-11-23T10:00:00Z")), "al: x\n");
        assert_eq!(
            drawn(view, said("al", "x")),
            "── Tuesday, 24 November 2026 ──\nal: x\n"
        );
    }

    #[test]
    fn another_width_draws_what_fits_again() {
        let view = &mut view(|_| {});
        for number in 0..20 {
            drawn(view, said("al", &format!("one two {number}")));
        }
        let mut out = String::new();
        view.resize(40, 10, &mut out);
        view.resize(40, 20, &mut out);
        assert_eq!(out, "");
        view.resize(12, 7, &mut out);
        assert_eq!(
            out,
            "\u{1b}[H\u{1b}[2Jal: one two\n   18\nal: one two\n   19\n"
        );
        assert_eq!(drawn(view, ViewItem::Clear), "\u{1b}[H\u{1b}[2J\n");
        out.clear();
        view.resize(40, 10, &mut out);
        assert_eq!(out, "\u{1b}[H\u{1b}[2J");
    }

    #[test]
    fn a_fold_goes_on_after_a_change_of_size() {
        let view = &mut view(|_| {});
        drawn(view, entered("a-name-that-is-long"));
        drawn(view, entered("another-name-that-is-long"));
        let mut out = String::new();
        view.resize(80, 10, &mut out);
        assert!(drawn(view, entered("cy")).starts_with("\u{1b}[1A\u{1b}[J[Server]: a-name"));
    }

    #[test]
    fn the_view_is_bounded() {
        let view = &mut view(|_| {});
        let text = "x".repeat(VIEW_BYTES / 10);
        for _ in 0..20 {
            drawn(view, said("al", &text));
            assert!(view.bytes <= VIEW_BYTES);
        }
        for _ in 0..VIEW_ENTRIES * 2 {
            drawn(view, said("al", "x"));
        }
        assert_eq!(view.entries.len(), VIEW_ENTRIES);
    }

    #[test]
    fn names_are_noted_for_completion() {
        let names = NameBook::default();
        let mut view = View::new(look(Style::Plain), names.clone(), 40, 10, time(NOON));
        drawn(&mut view, ViewItem::OwnName("me".into()));
        drawn(&mut view, ViewItem::Present(vec!["al".into(), "bo".into()]));
        drawn(&mut view, said("bo", "x"));
        drawn(&mut view, said("me", "x"));
        assert_eq!(names.beginning_with(""), ["bo", "al"]);
        drawn(&mut view, ViewItem::Server("al has left the chat".into()));
        assert_eq!(names.beginning_with(""), ["bo"]);
        drawn(
            &mut view,
            ViewItem::Change(Change::Renamed("me".into(), "bob".into()), None),
        );
        assert_eq!(view.own_name, "bob");
    }
}
