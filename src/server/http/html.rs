//! The web page as HTML: a snapshot of the chat, poured into `web/index.html`.
//!
//! What lives here: the template, the escaping, and the few pieces of markup that the page's script
//! builds in the same shape when it goes on from there (`web/lines.js`; classes and their order are a
//! contract between the two). Called by the web routes, on any thread. It never does I/O, reads no
//! clock, waits for nothing and cannot fail; what users wrote reaches the output escaped or not at
//! all, and is never looked at as a template.

use std::fmt::Write as _;

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::Offset};

use crate::chat::message::Message;
use crate::server::snapshot::{PresentUser, Snapshot};
use std::sync::Arc;

/// As in the page's script.
const USERS_PER_LIST: usize = 100;
const LIST: &str = "<ul role=\"list\">";

/// The page with places for what changes.
pub const TEMPLATE: &str = include_str!("../../../web/index.html");

/// Under which addresses the server offers the files that the page refers to.
#[derive(Debug, Clone)]
pub struct AssetUrls {
    /// The style sheet, `web/style.css`.
    pub style: String,
    /// The script, made of the modules in `web/`.
    pub script: String,
    /// The icon, `web/icon.svg`.
    pub icon: String,
}

/// The whole page, complete and readable without scripts: who is here and what was said lately.
///
/// Times are in UTC; the page's script turns them into local ones.
#[must_use]
pub fn render(snapshot: &Snapshot, assets: &AssetUrls, is_read_only: bool) -> String {
    let view = View {
        kind: match is_read_only {
            true => Kind::ReadOnly,
            false => Kind::Live,
        },
        older: (snapshot.older > 0)
            .then(|| snapshot.messages.first().map(|first| first.id))
            .flatten(),
        ..View::of(snapshot, lines_of(&snapshot.messages, None))
    };
    view.render(assets)
}

/// A part of what was said before.
#[derive(Clone, Copy, Debug)]
pub struct OlderMessages<'a> {
    /// The messages, oldest first.
    pub messages: &'a [Arc<Message>],
    /// What was looked for, if it was found by that.
    pub query: Option<&'a str>,
    /// The event before which there is more.
    pub older: Option<u64>,
    /// The one message that was asked for.
    pub marked: Option<u64>,
}

/// The same page with a part of the past instead of what was said lately; it stays as it is.
#[must_use]
pub fn render_past(snapshot: &Snapshot, assets: &AssetUrls, past: &OlderMessages<'_>) -> String {
    let view = View {
        kind: Kind::OlderMessages,
        query: past.query.unwrap_or_default(),
        older: past.older,
        ..View::of(snapshot, lines_of(past.messages, past.marked))
    };
    view.render(assets)
}

fn lines_of(messages: &[Arc<Message>], marked: Option<u64>) -> impl Iterator<Item = Line<'_>> {
    messages.iter().map(move |message| Line {
        id: message.id,
        time: message.time,
        source: message.source.as_str(),
        text: &message.text,
        is_action: message.action,
        is_marked: marked == Some(message.id),
    })
}

/// A message as the page shows it.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    id: u64,
    time: Timestamp,
    source: &'a str,
    text: &'a str,
    is_action: bool,
    is_marked: bool,
}

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It goes on, and who reads it may talk.
    Live,
    /// It goes on.
    ReadOnly,
    /// It stays as it is.
    OlderMessages,
}

impl Kind {
    /// Its word for the script.
    fn word(self) -> &'static str {
        match self {
            Kind::Live => "live",
            Kind::ReadOnly => "read-only",
            Kind::OlderMessages => "history",
        }
    }
}

/// What of a snapshot the page shows.
struct View<'a, Users, Lines> {
    kind: Kind,
    epoch: &'a str,
    last: u64,
    users: Users,
    user_count: usize,
    lines: Lines,
    notice: Option<&'a str>,
    query: &'a str,
    older: Option<u64>,
}

impl<'a, Lines> View<'a, Names<'a>, Lines> {
    /// A live page of this moment with these lines.
    fn of(snapshot: &'a Snapshot, lines: Lines) -> Self {
        let name: fn(&PresentUser) -> &str = |user| user.name.as_str();
        View {
            kind: Kind::Live,
            epoch: &snapshot.epoch,
            last: snapshot.last,
            users: snapshot.users.iter().map(name),
            user_count: snapshot.users.len(),
            lines,
            notice: snapshot.notice.as_deref(),
            query: "",
            older: None,
        }
    }
}

/// The names of those who are here.
type Names<'a> = std::iter::Map<std::slice::Iter<'a, PresentUser>, fn(&PresentUser) -> &str>;

impl<'a, Users, Lines> View<'a, Users, Lines>
where
    Users: Iterator<Item = &'a str>,
    Lines: Iterator<Item = Line<'a>>,
{
    fn render(self, assets: &AssetUrls) -> String {
        let mut users = String::with_capacity(48 * self.user_count);
        write_users(&mut users, self.users);
        let mut lines = String::new();
        let nothing = match self.kind {
            Kind::OlderMessages => "No messages found.",
            Kind::Live | Kind::ReadOnly => {
                "No messages yet. New messages appear here automatically."
            }
        };
        write_lines(&mut lines, self.lines, nothing);
        let older = older_markup(self.older, self.query);
        let back = match self.kind {
            Kind::OlderMessages => "<p class=\"back\"><a href=\"/\">Back to the live chat</a></p>",
            Kind::Live | Kind::ReadOnly => "",
        };
        let notice = notice_markup(self.notice);
        let (user_count, last) = (self.user_count.to_string(), self.last.to_string());

        fill(
            TEMPLATE,
            TEMPLATE.len() + users.len() + lines.len() + 256,
            |token| {
                Some(match token {
                    "users" => Value::Markup(&users),
                    "messages" => Value::Markup(&lines),
                    "notice" => Value::Markup(&notice),
                    "older" => Value::Markup(&older),
                    "back" => Value::Markup(back),
                    "kind" => Value::Text(self.kind.word()),
                    "query" => Value::Text(self.query),
                    "user_count" => Value::Text(&user_count),
                    "last" => Value::Text(&last),
                    "epoch" => Value::Text(self.epoch),
                    "style" => Value::Text(&assets.style),
                    "script" => Value::Text(&assets.script),
                    "icon" => Value::Text(&assets.icon),
                    _ => return None,
                })
            },
        )
    }
}

/// The place for what everyone should know, filled if there is something.
fn notice_markup(notice: Option<&str>) -> String {
    let hidden = if notice.is_none() { " hidden" } else { "" };
    let mut markup = format!("<p id=\"notice\" class=\"notice\" role=\"alert\"{hidden}>");
    escape(&mut markup, notice.unwrap_or_default());
    markup.push_str("</p>");
    markup
}

/// The link to what was said before, if something was.
fn older_markup(older: Option<u64>, query: &str) -> String {
    let Some(id) = older else {
        return String::new();
    };
    let start = "/?";
    let mut address = form_urlencoded::Serializer::for_suffix(start.to_owned(), start.len());
    if !query.is_empty() {
        address.append_pair("q", query);
    }
    address.append_pair("before", &id.to_string());
    let mut markup = String::from("<p class=\"older\"><a rel=\"prev\" href=\"");
    escape(&mut markup, &address.finish());
    markup.push_str("\">Older messages</a></p>");
    markup
}

/// What stands for a token.
enum Value<'a> {
    /// Goes in as it is.
    Markup(&'a str),
    /// Is escaped.
    Text(&'a str),
}

/// Replaces each `{{token}}` in one pass over the template: a value is never searched for tokens.
/// A token without a value stays as it stands.
fn fill<'a>(template: &str, capacity: usize, value: impl Fn(&str) -> Option<Value<'a>>) -> String {
    let mut out = String::with_capacity(capacity);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let found = after
            .split_once("}}")
            .and_then(|(token, tail)| Some((value(token)?, tail)));
        rest = match found {
            Some((Value::Markup(markup), tail)) => {
                out.push_str(markup);
                tail
            }
            Some((Value::Text(text), tail)) => {
                escape(&mut out, text);
                tail
            }
            None => {
                out.push_str("{{");
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// Lists of a hundred users each: a browser leaves those out of its layout that are out of sight.
fn write_users<'a>(out: &mut String, names: impl Iterator<Item = &'a str>) {
    let mut count = 0_usize;
    for name in names {
        if count.is_multiple_of(USERS_PER_LIST) {
            out.push_str(if count == 0 { "" } else { "</ul>\n" });
            out.push_str(LIST);
        }
        count += 1;
        push(out, format_args!("<li class=\"hue-{}\"><bdi>", hue(name)));
        escape(out, name);
        out.push_str("</bdi></li>\n");
    }
    if count == 0 {
        out.push_str(LIST);
        out.push_str("<li class=\"empty\">No users</li>");
    }
    out.push_str("</ul>");
}

/// One row for each message; a heading where a day begins. A row whose author is that of the row
/// above is marked `same-author`, and `same-minute` if it is also of the same minute.
fn write_lines<'a>(out: &mut String, lines: impl Iterator<Item = Line<'a>>, nothing: &str) {
    let mut above: Option<(DateTime, &str)> = None;
    for line in lines {
        let Line {
            id,
            time,
            source,
            text,
            ..
        } = line;
        let act = if line.is_action { " action" } else { "" };
        let marked = if line.is_marked { " marked" } else { "" };
        let when = Offset::UTC.to_datetime(time);
        let same_day = above.filter(|(earlier, _)| earlier.date() == when.date());
        if same_day.is_none() {
            write_day(out, when.date());
        }
        let grouping = match same_day {
            Some((earlier, author)) if author == source => {
                if (earlier.hour(), earlier.minute()) == (when.hour(), when.minute()) {
                    " same-author same-minute"
                } else {
                    " same-author"
                }
            }
            _ => "",
        };
        above = Some((when, source));

        push(
            out,
            format_args!(
                "<li id=\"m{id}\" class=\"line message hue-{}{act}{grouping}{marked}\"><a class=\"time\" href=\"/m/{id}\"><time datetime=\"{time:.3}\">{:02}:{:02}</time></a> <bdi class=\"author\">",
                hue(source),
                when.hour(),
                when.minute(),
            ),
        );
        escape(out, source);
        out.push_str("</bdi><span class=\"colon\">: </span><span class=\"text\" dir=\"auto\">");
        escape(out, text);
        out.push_str("</span></li>\n");
    }
    if above.is_none() {
        push(out, format_args!("<li class=\"empty\">{nothing}</li>"));
    }
}

fn write_day(out: &mut String, date: Date) {
    push(
        out,
        format_args!(
            "<li class=\"day\"><h3>{} (UTC)</h3></li>\n",
            date.strftime("%A %-d %B %Y")
        ),
    );
}

/// The colour class of a name: FNV-1a of its UTF-8, modulo 12, as in the page's script.
fn hue(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % 12
}

/// Appends text so that it is itself in an element and in a quoted attribute.
fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'', '\r']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => "&#13;", // else read as a newline
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string fails only where a Display implementation says so; none here does.
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assets() -> AssetUrls {
        AssetUrls {
            style: "/style-1.css".into(),
            script: "/app-2.js".into(),
            icon: "/icon-3.svg".into(),
        }
    }

    fn line<'a>(time: &str, source: &'a str, text: &'a str) -> Line<'a> {
        Line {
            id: 7,
            time: time.parse().unwrap(),
            source,
            text,
            is_action: false,
            is_marked: false,
        }
    }

    fn page(users: &[&str], lines: &[Line<'_>]) -> String {
        View {
            epoch: "e\"1",
            last: 42,
            users: users.iter().copied(),
            user_count: users.len(),
            lines: lines.iter().copied(),
            notice: None,
            kind: Kind::Live,
            query: "",
            older: None,
        }
        .render(&assets())
    }

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        escape(&mut out, text);
        out
    }

    #[test]
    fn what_everyone_should_know_is_shown_and_what_is_done_looks_like_it() {
        let done = Line {
            is_action: true,
            ..line("2026-08-20T09:41:12.345Z", "alice", "waves")
        };
        let view = |notice| View {
            epoch: "e",
            last: 1,
            users: std::iter::empty(),
            user_count: 0,
            lines: [done].into_iter(),
            notice,
            kind: Kind::Live,
            query: "",
            older: None,
        };
        let page = view(Some("no <disk>")).render(&assets());
        assert!(page.contains(" action\"><a "), "{page}");
        assert!(
            page.contains("role=\"alert\">no &lt;disk&gt;</p>"),
            "{page}"
        );
        let page = view(None).render(&assets());
        assert!(page.contains("role=\"alert\" hidden></p>"), "{page}");
    }

    #[test]
    fn every_token_of_the_template_has_a_value() {
        let page = page(&[], &[]);
        assert!(!page.contains("{{"), "{page}");
        assert!(page.contains("href=\"/style-1.css\""));
        assert!(page.contains("src=\"/app-2.js\""));
        assert!(page.contains("href=\"/icon-3.svg\""));
        assert!(page.contains("data-epoch=\"e&quot;1\" data-last=\"42\""));
    }

    #[test]
    fn the_template_obeys_the_content_security_policy() {
        for forbidden in [
            "<style",
            " style=",
            " onclick",
            " onload",
            "javascript:",
            "//",
        ] {
            assert!(!TEMPLATE.contains(forbidden), "{forbidden}");
        }
        assert_eq!(TEMPLATE.matches("<script").count(), 1);
        assert!(TEMPLATE.contains("<script type=\"module\" src=\"{{script}}\"></script>"));
    }

    #[test]
    fn an_empty_chat_says_so() {
        let page = page(&[], &[]);
        assert!(page.contains("class=\"count\">0</span>"));
        assert!(page.contains("<li class=\"empty\">No users</li>"));
        assert!(page.contains("<li class=\"empty\">"));
        assert!(!page.contains("class=\"day\""));
    }

    #[test]
    fn users_are_listed_and_counted() {
        let page = page(&["alice", "127.0.0.1:50112"], &[]);
        assert!(page.contains("class=\"count\">2</span>"));
        assert!(page.contains("<bdi>alice</bdi></li>\n<li class=\"hue-"));
        assert!(page.contains("<bdi>127.0.0.1:50112</bdi>"));
        assert!(!page.contains("No users"));
    }

    #[test]
    fn users_come_in_lists_of_a_hundred() {
        let lists = |count: usize| {
            let page = page(&vec!["alice"; count], &[]);
            let people = page.split_once("<div id=\"users\">").unwrap().1;
            let people = people.split_once("</div>").unwrap().0;
            assert_eq!(
                people.matches("<ul ").count(),
                people.matches("</ul>").count()
            );
            people
                .split_terminator("</ul>")
                .map(|list| list.matches("alice").count())
                .collect::<Vec<_>>()
        };
        assert_eq!(lists(0), [0]);
        assert_eq!(lists(1), [1]);
        assert_eq!(lists(100), [100]);
        assert_eq!(lists(201), [100, 100, 1]);
    }

    #[test]
    fn hostile_names_and_messages_stay_text() {
        let hostile = "</script><img src=x onerror=\"alert('1')\">&amp;";
        let safe =
            "&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;";
        let page = page(
            &[hostile],
            &[line("2026-08-20T09:41:00Z", hostile, hostile)],
        );
        assert_eq!(page.matches(safe).count(), 3);
        assert!(!page.contains("<img src=x"));
        assert_eq!(page.matches("</script>").count(), 1);
    }

    #[test]
    fn tokens_in_what_users_wrote_are_not_expanded() {
        let page = page(
            &["{{messages}}"],
            &[line(
                "2026-08-20T09:41:00Z",
                "{{epoch}}",
                "{{users}} {{ {{last}}",
            )],
        );
        assert!(page.contains("<bdi>{{messages}}</bdi>"));
        assert!(page.contains(">{{epoch}}</bdi>"));
        assert!(page.contains(">{{users}} {{ {{last}}</span>"));
    }

    #[test]
    fn unknown_and_unfinished_tokens_stay() {
        let value = |token: &str| (token == "a").then_some(Value::Text("{{a}}<"));
        assert_eq!(fill("{{a}} {{b}} {{a", 0, value), "{{a}}&lt; {{b}} {{a");
        assert_eq!(fill("", 0, value), "");
    }

    #[test]
    fn escaping_keeps_everything_else() {
        assert_eq!(escaped("a\tb\nc\r\nd"), "a\tb\nc&#13;\nd");
        assert_eq!(escaped("<>&\"'"), "&lt;&gt;&amp;&quot;&#39;");
        assert_eq!(escaped("שלום é 👩‍🚀"), "שלום é 👩‍🚀");
        assert_eq!(escaped(""), "");
    }

    #[test]
    fn a_message_carries_its_time_author_and_text() {
        let page = page(&[], &[line("2026-08-20T09:41:12.3456Z", "alice", "a\nb")]);
        let row = format!(
            "<li id=\"m7\" class=\"line message hue-{}\"><a class=\"time\" href=\"/m/7\"><time datetime=\"2026-08-20T09:41:12.345Z\">09:41</time></a> \
             <bdi class=\"author\">alice</bdi><span class=\"colon\">: </span>\
             <span class=\"text\" dir=\"auto\">a\nb</span></li>\n",
            hue("alice")
        );
        assert!(page.contains(&row), "{page}");
    }

    #[test]
    fn a_page_of_the_past_has_ways_on_and_back() {
        let lines = [Line {
            is_marked: true,
            ..line("2026-08-20T09:41:00Z", "alice", "found")
        }];
        let view = View {
            kind: Kind::OlderMessages,
            epoch: "e",
            last: 9,
            users: std::iter::empty(),
            user_count: 0,
            lines: lines.into_iter(),
            notice: None,
            query: "a \"b\" & c",
            older: Some(7),
        };
        let page = view.render(&assets());
        assert!(page.contains("<body data-kind=\"history\">"), "{page}");
        assert!(page.contains(
            "<p class=\"older\"><a rel=\"prev\" href=\"/?q=a+%22b%22+%26+c&amp;before=7\">"
        ));
        assert!(page.contains("value=\"a &quot;b&quot; &amp; c\""));
        assert!(page.contains("<a href=\"/\">Back to the live chat</a>"));
        assert!(page.contains(" marked\"><a class=\"time\" href=\"/m/7\">"));
        let view = View {
            kind: Kind::OlderMessages,
            epoch: "e",
            last: 9,
            users: std::iter::empty(),
            user_count: 0,
            lines: std::iter::empty(),
            notice: None,
            query: "",
            older: None,
        };
        let page = view.render(&assets());
        assert!(page.contains("<li class=\"empty\">No messages found.</li>"));
        assert!(!page.contains("class=\"older\""));
    }

    #[test]
    fn days_are_separated() {
        let page = page(
            &[],
            &[
                line("2026-08-20T23:59:59.999Z", "alice", "late"),
                line("2026-08-21T00:00:00Z", "alice", "early"),
                line("2026-08-21T00:00:01Z", "alice", "soon"),
            ],
        );
        assert_eq!(page.matches("class=\"day\"").count(), 2);
        assert!(page.contains("<h3>Thursday 20 August 2026 (UTC)</h3>"));
        assert!(page.contains("<h3>Friday 21 August 2026 (UTC)</h3>"));
        // A group does not reach across midnight.
        assert_eq!(page.matches(" same-author").count(), 1);
    }

    #[test]
    fn rows_of_one_author_are_grouped() {
        let classes = |rows: &[Line<'_>]| -> Vec<&'static str> {
            let mut out = String::new();
            write_lines(&mut out, rows.iter().copied(), "");
            out.lines()
                .filter(|row| row.contains("message"))
                .map(|row| {
                    match (
                        row.contains(" same-author same-minute\""),
                        row.contains(" same-author\""),
                    ) {
                        (true, _) => "same",
                        (_, true) => "again",
                        _ => "first",
                    }
                })
                .collect()
        };
        let rows = [
            line("2026-08-20T09:41:00Z", "alice", "1"),
            line("2026-08-20T09:41:59Z", "alice", "2"),
            line("2026-08-20T09:42:00Z", "alice", "3"),
            line("2026-08-20T09:42:01Z", "bob", "4"),
            line("2026-08-20T10:42:01Z", "bob", "5"),
            line("2026-08-20T10:42:02Z", "alice", "6"),
        ];
        assert_eq!(
            classes(&rows),
            ["first", "same", "again", "first", "again", "first"]
        );
    }

    #[test]
    fn colours_are_those_of_the_script() {
        // FNV-1a, 32 bits: its published test values, modulo 12.
        assert_eq!(hue(""), 0x811c_9dc5 % 12);
        assert_eq!(hue("a"), 0xe40c_292c % 12);
        assert_eq!(hue("foobar"), 0xbf9c_f968 % 12);
    }
}
