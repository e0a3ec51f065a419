//! Renders the web page from `web/index.html` and a snapshot of the room.
//!
//! The script of the page builds rows of the same shape (`web/lines.js`), so classes and their
//! order must agree. Text of users is escaped and never searched for template tokens.

use crate::chat::message::Message;
use crate::chat::room::snapshot::{PresentUser, Snapshot};
use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;
use std::fmt::Write as _;
use std::sync::Arc;

/// As in the script of the page.
const USERS_PER_LIST: usize = 100;
const LIST: &str = "<ul role=\"list\">";

/// The page with tokens in place of its variable parts.
pub(crate) const TEMPLATE: &str = include_str!("../../../web/index.html");

/// Paths of the files to which the page refers.
#[derive(Debug, Clone)]
pub(crate) struct AssetUrls {
    /// The style sheet, `web/style.css`.
    pub(crate) style: String,
    /// The script, made of the modules in `web/`.
    pub(crate) script: String,
    /// The icon, `web/icon.svg`.
    pub(crate) icon: String,
}

/// Renders the live page, which is complete without scripts. Times are in UTC; the script
/// converts them to local times.
pub(crate) fn render(snapshot: &Snapshot, assets: &AssetUrls, is_read_only: bool) -> String {
    let view = HistoryView {
        messages: &snapshot.messages,
        query: None,
        has_older: snapshot.older > 0,
        marked: None,
    };
    let kind = match is_read_only {
        true => PageKind::ReadOnly,
        false => PageKind::Live,
    };
    fill_page(snapshot, assets, kind, &view)
}

/// Messages to show in place of the newest ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryView<'a> {
    /// The messages, oldest first.
    pub(crate) messages: &'a [Arc<Message>],
    /// The search query that found the messages.
    pub(crate) query: Option<&'a str>,
    /// Whether older messages exist.
    pub(crate) has_older: bool,
    /// Number of the message to highlight.
    pub(crate) marked: Option<u64>,
}

/// Renders a page of history, which does not update.
pub(crate) fn render_history(
    snapshot: &Snapshot,
    assets: &AssetUrls,
    view: &HistoryView<'_>,
) -> String {
    fill_page(snapshot, assets, PageKind::History, view)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PageKind {
    Live,
    ReadOnly,
    History,
}

impl PageKind {
    /// Returns the word for the script.
    fn word(self) -> &'static str {
        match self {
            PageKind::Live => "live",
            PageKind::ReadOnly => "read-only",
            PageKind::History => "history",
        }
    }
}

fn fill_page(
    snapshot: &Snapshot,
    assets: &AssetUrls,
    kind: PageKind,
    view: &HistoryView<'_>,
) -> String {
    let is_history = kind == PageKind::History;
    let mut users = String::with_capacity(48 * snapshot.users.len());
    write_users(&mut users, &snapshot.users);
    let mut rows = String::new();
    write_rows(&mut rows, view.messages, view.marked);
    if view.messages.is_empty() {
        let text = match is_history {
            true => "No messages found.",
            false => "No messages yet. New messages appear here automatically.",
        };
        push(&mut rows, format_args!("<li class=\"empty\">{text}</li>"));
    }
    let older = older_link(view);
    let back = match is_history {
        true => "<p class=\"back\"><a href=\"/\">Back to the live chat</a></p>",
        false => "",
    };
    let notice = notice_markup(snapshot.notice.as_deref());
    let user_count = snapshot.users.len().to_string();
    let last = snapshot.last.to_string();
    let capacity = TEMPLATE.len() + users.len() + rows.len() + 256;
    fill(TEMPLATE, capacity, |token| {
        Some(match token {
            "users" => TokenValue::Markup(&users),
            "messages" => TokenValue::Markup(&rows),
            "notice" => TokenValue::Markup(&notice),
            "older" => TokenValue::Markup(&older),
            "back" => TokenValue::Markup(back),
            "kind" => TokenValue::Text(kind.word()),
            "query" => TokenValue::Text(view.query.unwrap_or_default()),
            "user_count" => TokenValue::Text(&user_count),
            "last" => TokenValue::Text(&last),
            "epoch" => TokenValue::Text(&snapshot.epoch),
            "style" => TokenValue::Text(&assets.style),
            "script" => TokenValue::Text(&assets.script),
            "icon" => TokenValue::Text(&assets.icon),
            _ => return None,
        })
    })
}

/// Returns the element for a warning to all users, hidden if there is none.
fn notice_markup(notice: Option<&str>) -> String {
    let hidden = if notice.is_none() { " hidden" } else { "" };
    let mut markup = format!("<p id=\"notice\" class=\"notice\" role=\"alert\"{hidden}>");
    escape(&mut markup, notice.unwrap_or_default());
    markup.push_str("</p>");
    markup
}

fn older_link(view: &HistoryView<'_>) -> String {
    let Some(first) = view.messages.first().filter(|_| view.has_older) else {
        return String::new();
    };
    let start = "/?";
    let mut address = form_urlencoded::Serializer::for_suffix(start.to_owned(), start.len());
    if let Some(query) = view.query.filter(|query| !query.is_empty()) {
        address.append_pair("q", query);
    }
    address.append_pair("before", &first.id.to_string());
    let mut markup = String::from("<p class=\"older\"><a rel=\"prev\" href=\"");
    escape(&mut markup, &address.finish());
    markup.push_str("\">Older messages</a></p>");
    markup
}

enum TokenValue<'a> {
    /// Inserted unchanged.
    Markup(&'a str),
    /// Inserted escaped.
    Text(&'a str),
}

/// Replaces each `{{token}}` in one pass over the template, so that a value is never searched for
/// tokens. A token without a value stays.
fn fill<'a>(
    template: &str,
    capacity: usize,
    value: impl Fn(&str) -> Option<TokenValue<'a>>,
) -> String {
    let mut out = String::with_capacity(capacity);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let found = after
            .split_once("}}")
            .and_then(|(token, tail)| Some((value(token)?, tail)));
        rest = match found {
            Some((TokenValue::Markup(markup), tail)) => {
                out.push_str(markup);
                tail
            }
            Some((TokenValue::Text(text), tail)) => {
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

/// Writes lists of a hundred users each: a browser skips the layout of lists that are out of
/// sight.
fn write_users(out: &mut String, users: &[PresentUser]) {
    for (index, user) in users.iter().enumerate() {
        if index.is_multiple_of(USERS_PER_LIST) {
            out.push_str(if index == 0 { "" } else { "</ul>\n" });
            out.push_str(LIST);
        }
        let name = user.name.as_str();
        push(out, format_args!("<li class=\"hue-{}\"><bdi>", hue(name)));
        escape(out, name);
        out.push_str("</bdi></li>\n");
    }
    if users.is_empty() {
        out.push_str(LIST);
        out.push_str("<li class=\"empty\">No users</li>");
    }
    out.push_str("</ul>");
}

/// Writes one row for each message, and a heading before the first message of each day.
fn write_rows(out: &mut String, messages: &[Arc<Message>], marked: Option<u64>) {
    let mut above: Option<(DateTime, &str)> = None;
    for message in messages {
        let (id, time, author) = (message.id, message.time, message.source.as_str());
        let when = Offset::UTC.to_datetime(time);
        let same_day = above.filter(|(earlier, _)| earlier.date() == when.date());
        if same_day.is_none() {
            write_day(out, when.date());
        }
        let same_author = same_day.filter(|(_, above)| *above == author);
        let grouping = match same_author {
            Some((earlier, _)) if is_same_minute(earlier, when) => " same-author same-minute",
            Some(_) => " same-author",
            None => "",
        };
        above = Some((when, author));
        let action = if message.action { " action" } else { "" };
        let marked = if marked == Some(id) { " marked" } else { "" };
        push(
            out,
            format_args!(
                "<li id=\"m{id}\" class=\"line message hue-{}{action}{grouping}{marked}\"><a class=\"time\" href=\"/m/{id}\"><time datetime=\"{time:.3}\">{:02}:{:02}</time></a> <bdi class=\"author\">",
                hue(author),
                when.hour(),
                when.minute(),
            ),
        );
        escape(out, author);
        out.push_str("</bdi><span class=\"colon\">: </span><span class=\"text\" dir=\"auto\">");
        escape(out, &message.text);
        out.push_str("</span></li>\n");
    }
}

fn is_same_minute(one: DateTime, other: DateTime) -> bool {
    (one.hour(), one.minute()) == (other.hour(), other.minute())
}

fn write_day(out: &mut String, date: Date) {
    let date = date.strftime("%A %-d %B %Y");
    push(
        out,
        format_args!("<li class=\"day\"><h3>{date} (UTC)</h3></li>\n"),
    );
}

/// Returns the colour class of a name: FNV-1a of its UTF-8, modulo 12, as in the script.
fn hue(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash % 12
}

/// Appends text that is safe in an element and in a quoted attribute.
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
            // A raw carriage return would become a newline.
            _ => "&#13;",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests;
