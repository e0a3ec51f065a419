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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::session::request::UserRequest;
    use std::time::Duration;

    const ENTERED: &str = "{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"al has entered the chat\"}} \n";
    const WELCOME: &str = "{\"type\":\"welcome\",\"data\":{\"name\":\"al\",\"token\":\"t\",\"epoch\":\"e\",\"last\":1}}\n";

    #[test]
    fn status_shows_name_link_and_queue() {
        let now = Instant::now();
        let mut session = Session::new(true, None, 7);
        assert_eq!(
            status_line(&session, &LinkStatus::Connecting, now),
            "connecting"
        );
        session.connected(now);
        session.receive(ENTERED.as_bytes(), now);
        assert_eq!(status_line(&session, &LinkStatus::Up, now), "al");
        session.receive(WELCOME.as_bytes(), now);
        let later = now + Duration::from_micros(12_340);
        session.receive(b"{\"type\":\"pong\",\"data\":1}\n", later);
        assert_eq!(status_line(&session, &LinkStatus::Up, now), "al · 12.3 ms");
        session.disconnected();
        let down = LinkStatus::Down {
            until: now + Duration::from_millis(2500),
            reason: Some("Cannot connect to h:1: refused".to_owned()),
        };
        let say = |session: &mut Session| {
            let (text, action) = ("x".to_owned(), false);
            session.request(UserRequest::Say { text, action }, None, now);
        };
        say(&mut session);
        assert_eq!(
            status_line(&session, &down, now),
            "al · reconnecting in 3 s · 1 line waits · Cannot connect to h:1: refused"
        );
        say(&mut session);
        let status = status_line(&session, &down, now + Duration::from_secs(9));
        assert!(status.contains("in 0 s · 2 lines wait · "), "{status}");
    }
}
