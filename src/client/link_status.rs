//! The status line above the prompt of a terminal.

use crate::client::session::Session;
use std::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkStatus {
    Connecting,
    Up,
    Down {
        /// Time of the next attempt.
        until: Instant,
        /// Why the last attempt failed, if it was one to connect.
        reason: Option<String>,
    },
}

pub(crate) fn status_line(session: &Session, link: &LinkStatus, now: Instant) -> String {
    let mut parts: Vec<String> = session.name.iter().cloned().collect();
    // The longest part comes last, because a narrow terminal cuts the line.
    let mut last = None;
    match link {
        LinkStatus::Connecting => parts.push("connecting".to_owned()),
        LinkStatus::Up => parts.extend(round_trip(session)),
        LinkStatus::Down { until, reason } => {
            let seconds = until.saturating_duration_since(now).as_secs_f64().ceil();
            parts.push(format!("reconnecting in {seconds} s"));
            last.clone_from(reason);
        }
    }
    parts.extend(waiting_lines(session));
    parts.extend(last);
    parts.join(" · ")
}

pub(crate) fn round_trip(session: &Session) -> Option<String> {
    let time = session.heartbeat.round_trip?;
    Some(format!("{:.1} ms", time.as_secs_f64() * 1000.0))
}

/// Returns how many typed lines the server does not have, if there are any.
pub(crate) fn waiting_lines(session: &Session) -> Option<String> {
    match session.queue.len() {
        0 => None,
        1 => Some("1 line waits".to_owned()),
        count => Some(format!("{count} lines wait")),
    }
}
