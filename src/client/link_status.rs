//! The link to the server, as its user sees it.
//!
//! What lives here: [`Link`], and [`status`], the few words above the prompt. The client's loop
//! uses it. It must never look at a clock.

use crate::client::session::Session;
use std::time::Instant;

/// The link, as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// An attempt is being made.
    Connecting,
    /// It is there.
    Up,
    /// The next attempt is still to be made.
    Down {
        /// The time of that attempt.
        until: Instant,
        /// Why the last failed, where that is known.
        reason: Option<String>,
    },
}

/// The state of the link in a few words.
pub fn status(session: &Session, link: &Link, now: Instant) -> String {
    let mut parts: Vec<String> = session.name().map(str::to_owned).into_iter().collect();
    let reason = match link {
        Link::Connecting => {
            parts.push("connecting".to_owned());
            None
        }
        Link::Up => {
            let time = session.round_trip();
            parts.extend(time.map(|time| format!("{:.1} ms", time.as_secs_f64() * 1000.0)));
            None
        }
        Link::Down { until, reason } => {
            let seconds = until.saturating_duration_since(now).as_secs_f64().ceil();
            parts.push(format!("reconnecting in {seconds} s"));
            reason.clone()
        }
    };
    match session.waiting() {
        0 => {}
        1 => parts.push("1 line waits".to_owned()),
        count => parts.push(format!("{count} lines wait")),
    }
    // The longest stands last: a narrow terminal cuts it.
    parts.extend(reason);
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::session::request::UserRequest;
    use std::time::Duration;

    const ENTERED: &str = "{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"al has entered the chat\"}}";
    const WELCOME: &str = "{\"type\":\"welcome\",\"data\":{\"name\":\"al\",\"token\":\"t\",\"epoch\":\"e\",\"last\":1}}";

    #[test]
    fn the_status_tells_name_link_and_what_waits() {
        let now = Instant::now();
        let mut session = Session::new(true, None, 7);
        assert_eq!(status(&session, &Link::Connecting, now), "connecting");
        let line = |session: &mut Session, line: &str, at| {
            session.receive(line.as_bytes(), at, &mut |_, _| {});
        };
        session.connected(now);
        line(&mut session, &format!("{ENTERED} \n"), now);
        assert_eq!(status(&session, &Link::Up, now), "al");
        line(&mut session, &format!("{WELCOME}\n"), now);
        let pong = "{\"type\":\"pong\",\"data\":1}\n";
        line(&mut session, pong, now + Duration::from_micros(12_340));
        assert_eq!(status(&session, &Link::Up, now), "al · 12.3 ms");
        session.disconnected(&mut |_, _| {});
        let down = Link::Down {
            until: now + Duration::from_millis(2500),
            reason: Some("Cannot connect to h:1: refused".to_owned()),
        };
        let say = |session: &mut Session| {
            let (text, action) = ("x".to_owned(), false);
            session.ask(UserRequest::Say { text, action }, None, now, &mut |_, _| {});
        };
        say(&mut session);
        assert_eq!(
            status(&session, &down, now),
            "al · reconnecting in 3 s · 1 line waits · Cannot connect to h:1: refused"
        );
        say(&mut session);
        let later = now + Duration::from_secs(9);
        assert!(status(&session, &down, later).contains("in 0 s · 2 lines wait · "));
    }
}
