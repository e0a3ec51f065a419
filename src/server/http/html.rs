//! Renders the web page from `web/index.html` and a snapshot of the room.
//!
//! The script of the page builds rows of the same shape (`web/lines.js`), so classes and their
//! order must agree. Text of users is escaped and never searched for template tokens.

use crate::chat::message::Message;
use crate::chat::room::snapshot::{PresentUser, Snapshot};
use crate::server::http::assets::Assets;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use std::sync::Arc;

/// As in the script of the page.
const USERS_PER_LIST: usize = 100;
const LIST: &str = "<ul role=\"list\">";

/// The page with tokens such as `{{users}}` in place of its variable parts.
pub(super) const TEMPLATE: &str = include_str!("../../../web/index.html");

/// Messages to show, and how to show them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PageView<'a> {
    pub(super) kind: PageKind,
    /// The messages, oldest first.
    pub(super) messages: &'a [Arc<Message>],
    /// The search query that found the messages.
    pub(super) query: Option<&'a str>,
    /// Whether older messages exist.
    pub(super) has_older: bool,
    /// Number of the message to highlight.
    pub(super) marked: Option<u64>,
    /// Bytes of the longest message that can be sent from the page.
    pub(super) max_message_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PageKind {
    #[default]
    Live,
    ReadOnly,
    /// A page that does not update.
    History,
}

/// Renders a page, which is complete without scripts. Times are in UTC; the script converts them
/// to local times.
pub(super) fn render(snapshot: &Snapshot, assets: &Assets, view: &PageView<'_>) -> String {
    let is_history = view.kind == PageKind::History;
    let mut out = String::with_capacity(2 * TEMPLATE.len());
    let mut parts = TEMPLATE.split("{{");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (token, rest) = part.split_once("}}").unwrap_or((part, ""));
        match token {
            "users" => write_users(&mut out, &snapshot.users),
            "messages" if view.messages.is_empty() => write_empty_list(&mut out, view),
            "messages" => write_rows(&mut out, view.messages, view.marked),
            "notice" => write_notice(&mut out, snapshot.notice.as_deref()),
            "older" => write_older_link(&mut out, view),
            "back" if is_history => {
                out.push_str("<p class=\"back\"><a href=\"/\">Back to the live chat</a></p>");
            }
            "kind" => out.push_str(match view.kind {
                PageKind::Live => "live",
                PageKind::ReadOnly => "read-only",
                PageKind::History => "history",
            }),
            "query" => escape(&mut out, view.query.unwrap_or_default()),
            "user_count" => out.push_str(&snapshot.users.len().to_string()),
            "limit" => out.push_str(&view.max_message_bytes.to_string()),
            "last" => out.push_str(&snapshot.last.to_string()),
            "epoch" => escape(&mut out, &snapshot.epoch),
            "style" => out.push_str(&assets.style.url),
            "script" => out.push_str(&assets.script.url),
            "icon" => out.push_str(&assets.icon.url),
            _ => {}
        }
        out.push_str(rest);
    }
    out
}

/// Writes the row of a page without messages, which repeats what was searched for.
fn write_empty_list(out: &mut String, view: &PageView<'_>) {
    out.push_str("<li class=\"empty\">");
    match view.query.filter(|query| !query.is_empty()) {
        Some(query) => {
            out.push_str("No messages found for “");
            escape(out, query);
            out.push_str("”.");
        }
        None if view.kind == PageKind::History => out.push_str("No messages found."),
        None => out.push_str("No messages yet. New messages appear here automatically."),
    }
    out.push_str("</li>");
}

/// Renders a problem for a reader of the page.
pub(super) fn problem_page(title: &str, detail: &str) -> String {
    let mut sentence = String::new();
    escape(&mut sentence, detail);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title} · smolchat</title><h1>{title}</h1><p>{sentence}.</p>\
         <p><a href=\"/\">To the live chat</a></p></html>\n"
    )
}

/// Writes the element for a warning to all users, hidden if there is none.
fn write_notice(out: &mut String, notice: Option<&str>) {
    let hidden = if notice.is_none() { " hidden" } else { "" };
    out.push_str(&format!(
        "<p id=\"notice\" class=\"notice\" role=\"alert\"{hidden}>"
    ));
    escape(out, notice.unwrap_or_default());
    out.push_str("</p>");
}

fn write_older_link(out: &mut String, view: &PageView<'_>) {
    let Some(first) = view.messages.first().filter(|_| view.has_older) else {
        return;
    };
    let mut fields = form_urlencoded::Serializer::new(String::new());
    if let Some(query) = view.query.filter(|query| !query.is_empty()) {
        fields.append_pair("q", query);
    }
    fields.append_pair("before", &first.id.to_string());
    out.push_str("<p class=\"older\"><a rel=\"prev\" href=\"/?");
    escape(out, &fields.finish());
    out.push_str("\">Older messages</a></p>");
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
        out.push_str(&format!("<li class=\"hue-{}\"><bdi>", hue(name)));
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
    let minute = |time: DateTime| (time.hour(), time.minute());
    let mut above: Option<(DateTime, Option<&str>)> = None;
    for message in messages {
        let (id, time, author) = (message.id, message.time, message.source.as_str());
        let when = Offset::UTC.to_datetime(time);
        let same_day = above.filter(|(earlier, _)| earlier.date() == when.date());
        if same_day.is_none() {
            let date = when.strftime("%A %-d %B %Y");
            out.push_str(&format!("<li class=\"day\"><h3>{date} (UTC)</h3></li>\n"));
        }
        // An action always shows the name of its author.
        let group = Some(author).filter(|_| !message.action);
        let same_author = same_day.filter(|(_, above)| group.is_some() && *above == group);
        let grouping = match same_author {
            Some((earlier, _)) if minute(earlier) == minute(when) => " same-author same-minute",
            Some(_) => " same-author",
            None => "",
        };
        above = Some((when, group));
        let (action, star, colon) = match message.action {
            true => (" action", "<span class=\"colon\">* </span>", " "),
            false => ("", "", ": "),
        };
        let marked = if marked == Some(id) { " marked" } else { "" };
        out.push_str(&format!(
            "<li id=\"m{id}\" class=\"line message hue-{}{action}{grouping}{marked}\">\
             <a class=\"time\" href=\"/m/{id}\" tabindex=\"-1\">\
             <time datetime=\"{time:.3}\">{:02}:{:02}</time> </a>{star}<bdi class=\"author\">",
            hue(author),
            when.hour(),
            when.minute(),
        ));
        escape(out, author);
        out.push_str(&format!(
            "</bdi><span class=\"colon\">{colon}</span><span class=\"text\" dir=\"auto\">"
        ));
        escape(out, &message.text);
        out.push_str("</span></li>\n");
    }
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

#[cfg(test)]
mod tests;
