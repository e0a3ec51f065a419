use super::*;
use crate::cli::style::{Background, RESET};

const NOON: &str = "2026-11-24T12:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn view(change: impl FnOnce(&mut ViewOptions)) -> TerminalView {
    let mut options = ViewOptions {
        style: Style::Plain,
        widths: Widths::Clusters,
        has_links: false,
        reflows: false,
        shows_times: false,
        rings_bell: false,
        zone: TimeZone::UTC,
    };
    change(&mut options);
    let mut view = TerminalView::new(options, 40, 10, time(NOON));
    drawn(&mut view, OutputItem::OwnName("me".into()));
    view
}

fn drawn(view: &mut TerminalView, item: OutputItem) -> String {
    let mut out = String::new();
    view.draw(item, time(NOON), &mut out);
    out
}

fn message(source: &str, text: &str) -> OutputMessage {
    OutputMessage {
        source: source.into(),
        text: text.into(),
        time: None,
        kind: MessageKind::Public,
        is_replay: false,
    }
}

fn said(source: &str, text: &str) -> OutputItem {
    OutputItem::Message(message(source, text))
}

fn said_as(source: &str, kind: MessageKind) -> OutputItem {
    OutputItem::Message(OutputMessage {
        kind,
        ..message(source, "hi")
    })
}

fn said_at(at: &str) -> OutputItem {
    OutputItem::Message(OutputMessage {
        time: Some(time(at)),
        ..message("al", "x")
    })
}

fn entered(name: &str) -> OutputItem {
    OutputItem::Presence(PresenceChange::Entered(name.into()), None)
}

#[test]
fn foreign_text_is_escaped_in_every_item() {
    let view = &mut view(|options| options.style = Style::Colours16(Background::Unknown));
    let evil = "\u{1b}[2J\u{1b}]8;;http://x\u{7}\u{9b}31m\r\u{202e}x\u{2067}";
    for item in [
        said(evil, evil),
        OutputItem::Server(evil.into()),
        OutputItem::Notice(evil.into()),
        entered(evil),
        said_as("a", MessageKind::PrivateTo(evil.into())),
    ] {
        let text = drawn(view, item).replace("\u{1b}[0m", "");
        for escape in text.split('\u{1b}').skip(1) {
            let end = escape.trim_start_matches(['[', ';', '0', '1', '3', '4', '5', '6']);
            assert!(end.starts_with('m'), "no colour: {text:?}");
        }
        assert!(!text.contains(['\u{7}', '\u{9b}', '\r', '\u{202e}', '\u{2067}']));
    }
}

#[test]
fn presence_group_is_replaced_until_another_item() {
    let view = &mut view(|_| {});
    drawn(view, entered("al"));
    drawn(view, said("al", "hi"));
    drawn(view, entered("a-name-that-is-long"));
    let second = drawn(view, entered("another-name-that-is-long"));
    let rows = second.lines().count();
    assert!(rows > 1, "{second:?}");
    let third = drawn(view, entered("bo"));
    assert!(
        third.starts_with(&format!("\u{1b}[{rows}A\u{1b}[J")),
        "{third:?}"
    );
    view.resize(80, 10, &mut String::new());
    let fourth = drawn(view, entered("cy"));
    assert!(
        fourth.starts_with("\u{1b}[1A\u{1b}[J[Server]: a-name"),
        "{fourth:?}"
    );
}

#[test]
fn mentions_are_marked_counted_and_listed() {
    let view = &mut view(|options| options.rings_bell = true);
    let replayed = OutputItem::Message(OutputMessage {
        is_replay: true,
        ..message("al", "me")
    });
    for (item, expected) in [
        (said("al", "Me, too"), "\u{7}! al: Me, too\n"),
        (said("al", "some men"), "al: some men\n"),
        (said("me", "me"), "me: me\n"),
        (replayed, "24 Nov 12:00 ! al: me\n"),
        (said_as("al", MessageKind::Action), "* al hi\n"),
        (
            OutputItem::ListMentions,
            "You were mentioned once\n24 Nov 12:00 al: Me, too\n",
        ),
        (
            said_as("al", MessageKind::PrivateFrom),
            "\u{7}! al (private): hi\n",
        ),
    ] {
        assert_eq!(drawn(view, item), expected);
    }
    assert_eq!(view.status(), " · 1 mention");
    for number in 0..MAX_MENTIONS * 2 {
        drawn(view, said("al", &format!("me {number}")));
    }
    let listed = drawn(view, OutputItem::ListMentions);
    assert_eq!(listed.matches("al: me").count(), MAX_MENTIONS);
    assert_eq!(view.status(), "");
    drawn(view, said("al", "me"));
    drawn(view, OutputItem::InputEntered);
    assert_eq!(view.status(), "");
}

#[test]
fn messages_have_times_and_days_are_shown_when_they_change() {
    let times = &mut view(|options| options.shows_times = true);
    for (item, expected) in [
        (said_at("2026-11-24T12:00:00Z"), "12:00 al: x\n"),
        (said_at("2026-11-24T12:00:59Z"), "12:00 al: x\n"),
        (said_at("2026-11-24T12:01:00Z"), "12:01 al: x\n"),
        (OutputItem::Notice("x".into()), "      x\n"),
    ] {
        assert_eq!(drawn(times, item), expected);
    }
    let days = &mut view(|_| {});
    for (item, expected) in [
        (said_at("2026-11-24T09:00:00Z"), "al: x\n"),
        (
            said_at("2026-11-23T09:00:00Z"),
            "── Monday, 23 November 2026 ──\nal: x\n",
        ),
        (said_at("2026-11-23T10:00:00Z"), "al: x\n"),
        (said("al", "x"), "── Tuesday, 24 November 2026 ──\nal: x\n"),
    ] {
        assert_eq!(drawn(days, item), expected);
    }
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let local = &mut view(|options| (options.shows_times, options.zone) = (true, zone));
    let expected = "── Wednesday, 25 November 2026 ──\n01:30 al: x\n";
    assert_eq!(drawn(local, said_at("2026-11-24T23:30:00Z")), expected);
}

#[test]
fn private_messages_and_mentions_have_colour_as_a_whole() {
    let style = Style::Colours256(Background::Unknown);
    let view = &mut view(|options| options.style = style);
    let private = style.private().unwrap();
    for (kind, label) in [
        (MessageKind::PrivateFrom, "al (private): "),
        (MessageKind::PrivateTo("bo".into()), "(private to bo): "),
    ] {
        let drawn = drawn(view, said_as("al", kind));
        let text = drawn.replace(&private, "").replace(RESET, "");
        assert_eq!(text, format!("{label}hi\n"));
        assert!(
            drawn.ends_with(&format!("{private}hi{RESET}\n")),
            "{drawn:?}"
        );
    }
    let mention = drawn(view, said("al", "me?"));
    assert!(mention.contains("\u{1b}[7mme?"), "{mention:?}");
}

#[test]
fn replies_have_borders_and_dates() {
    let view = &mut view(|options| options.style = Style::Colours256(Background::Unknown));
    let past = |at: &str| {
        OutputItem::Message(OutputMessage {
            is_replay: true,
            time: Some(time(at)),
            ..message("al", "x")
        })
    };
    let dim = Style::Colours256(Background::Unknown).dim().unwrap();
    for (item, expected) in [
        (
            OutputItem::ReplyBorder("last 2 messages".into()),
            "── last 2 messages ──\n",
        ),
        (past("2026-11-23T09:00:00Z"), "23 Nov 09:00 al: x\n"),
        (past("2025-11-24T09:00:00Z"), "24 Nov 2025 09:00 al: x\n"),
        (OutputItem::ReplyBorder("end".into()), "── end ──\n"),
    ] {
        let drawn = drawn(view, item);
        assert!(drawn.contains(&dim), "{drawn:?}");
        let mut plain = drawn.replace(RESET, "").replace(&dim, "");
        if let Some(name) = Style::Colours256(Background::Unknown).opening("al") {
            plain = plain.replace(&name, "");
        }
        assert_eq!(plain, expected);
    }
    // The past changes no day.
    assert_eq!(
        drawn(view, said_at("2026-11-24T12:00:00Z")).lines().count(),
        1
    );
}

#[test]
fn help_hangs_under_the_explanation() {
    let view = &mut view(|_| {});
    for columns in [20, 40, 60, 80] {
        view.resize(columns, 10, &mut String::new());
        let text = "/search WORDS       find messages; filters: from:NAME, after:2026-01-31";
        let drawn = drawn(view, OutputItem::Help(text.into()));
        assert!(drawn.starts_with("/search WORDS"), "{drawn}");
        for row in drawn.lines().skip(1) {
            let indent = 20.min((columns - 1) / 3);
            assert_eq!(row.len() - row.trim_start().len(), indent, "{drawn}");
        }
    }
    let mut coloured = help_block(
        "/users              list",
        Style::Colours16(Background::Dark),
    );
    let mut out = String::new();
    coloured.draw(80, Widths::Clusters, &mut out);
    assert!(out.contains("\u{1b}[0m\u{1b}[1m/users"), "{out:?}");
}

#[test]
fn new_width_redraws_what_was_on_the_screen() {
    // The rows of a terminal that breaks them anew need more room, so fewer are on the screen.
    for (reflows, first) in [(false, 15), (true, 17)] {
        let view = &mut view(|options| options.reflows = reflows);
        for number in 0..20 {
            drawn(view, said("al", &format!("one two {number}")));
        }
        let mut out = String::new();
        view.resize(40, 10, &mut out);
        view.resize(40, 20, &mut out);
        assert_eq!(out, "");
        view.resize(12, 7, &mut out);
        let entry = |number| format!("al: one two\n   {number}\n");
        let entries: String = (first..20).map(entry).collect();
        assert_eq!(out, format!("{ERASE_SCREEN}{entries}"));
        // The others are in the scrollback.
        drawn(view, said("al", "x"));
        out.clear();
        view.resize(40, 7, &mut out);
        assert_eq!(out.matches("al: ").count(), 3);
        assert_eq!(drawn(view, OutputItem::Clear), "\u{1b}[H\u{1b}[2J\n");
        out.clear();
        view.resize(50, 10, &mut out);
        assert_eq!(out, format!("{ERASE_SCREEN}\n"));
    }
}

#[test]
fn a_presence_change_leaves_the_entry_before_it() {
    let view = &mut view(|_| {});
    drawn(view, said("al", "hi"));
    drawn(view, entered("bo"));
    let mut out = String::new();
    view.redraw(40, 10, &mut out);
    assert!(
        out.ends_with("al: hi\n[Server]: bo has entered the chat\n"),
        "{out:?}"
    );
}

#[test]
fn view_is_bounded() {
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
fn known_names_follow_the_chat() {
    let view = &mut view(|_| {});
    drawn(
        view,
        OutputItem::PresentUsers(vec!["al".into(), "bo".into()]),
    );
    drawn(view, said("bo", "x"));
    drawn(view, said("me", "x"));
    assert_eq!(view.names.with_prefix(""), ["bo", "al"]);
    let left = PresenceChange::Left("al".into());
    drawn(view, OutputItem::Presence(left, None));
    assert_eq!(view.names.with_prefix(""), ["bo"]);
    let renamed = PresenceChange::Renamed("me".into(), "bob".into());
    drawn(view, OutputItem::Presence(renamed, None));
    assert_eq!(view.own_name, "bob");
}
