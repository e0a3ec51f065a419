//! A reader that is a known number of bytes behind.

use super::{Chat, LineClient, PATIENCE, Site, eventually, unpaced};
use smolchat::server::ServerConfig;
use smolchat::server::limits::{LAG_CHECK_INTERVAL, Limits};
use std::time::{Duration, Instant};

/// A time that does not come in a test.
pub const NEVER: Duration = Duration::from_secs(24 * 3600);

/// How far the reader who is most behind is when its socket takes nothing more: the same at
/// three looks of the server, while nobody says anything.
#[track_caller]
pub fn settled_lag(site: &Site) -> u64 {
    let (mut lag, mut since) = (0, Instant::now());
    eventually(PATIENCE, "nothing more is taken", || {
        let seen = site.metric("smolchat_lag_most_bytes");
        if seen == 0 || seen != std::mem::replace(&mut lag, seen) {
            since = Instant::now();
        }
        since.elapsed() > 3 * LAG_CHECK_INTERVAL
    });
    lag
}

/// A reader who reads only when told to, and a talker who knows to the byte how far behind it is.
pub struct Backlog {
    pub chat: Chat,
    pub slow: LineClient,
    pub talker: LineClient,
    /// Bytes of a line of the talker beside its text.
    pub frame: u64,
    /// How far behind the reader was when its socket took nothing more, and what was said since.
    pub lag: u64,
    /// When the first byte was said that its socket may not have taken.
    pub start: Instant,
}

impl Backlog {
    /// A server with these times, and a reader whose socket is full.
    pub fn start(max_lag_bytes: usize, soft_lag: Duration, write_stall: Duration) -> Self {
        let limits = Limits {
            max_lag_bytes,
            soft_lag_timeout: soft_lag,
            write_stall_timeout: write_stall,
            ..unpaced()
        };
        let chat = Chat::with_config(ServerConfig {
            limits,
            ..Chat::config_with_web()
        });
        let mut slow = chat.connect_narrow("slow");
        slow.rename("slow");
        let mut talker = chat.join("talker");
        talker.say("x");
        let frame = talker.next_line().expect("an echo").len() as u64 - 1;
        let mut backlog = Backlog {
            chat,
            slow,
            talker,
            frame,
            lag: 0,
            start: Instant::now(),
        };
        eventually(PATIENCE, "the socket is full", || {
            backlog.say(4096);
            backlog.metric("smolchat_connections{state=\"behind\"}") == 1
        });
        backlog.lag = settled_lag(&backlog.chat);
        backlog
    }

    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        self.chat.metric(name)
    }

    /// How many users were closed for this reason.
    #[track_caller]
    pub fn closed_for(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "smolchat_connections_ended_total{{reason=\"{reason}\"}}"
        ))
    }

    /// Says one line of so many bytes, and hears it; nothing else was said meanwhile.
    #[track_caller]
    pub fn say(&mut self, bytes: u64) {
        let text = "x".repeat((bytes - self.frame) as usize);
        self.talker.say_and_hear(&text);
        self.lag += bytes;
    }

    /// Talks until the reader is exactly so many bytes behind, and the server has seen that.
    #[track_caller]
    pub fn fill_to(&mut self, lag: u64) {
        // A line has at least one byte of text: what is left after each is enough for another.
        while lag - self.lag > 4096 {
            self.say(4096 - 2 * self.frame);
        }
        self.say(lag - self.lag);
        eventually(PATIENCE, "the server sees the lag", || {
            self.metric("smolchat_lag_most_bytes") == lag
        });
    }

    /// The reader is still here.
    #[track_caller]
    pub fn is_here(&mut self) {
        self.talker.request("users", "");
        self.talker
            .expect_notice("Connected users (2): slow, talker");
    }

    /// The reader is here until so much time has passed.
    #[track_caller]
    pub fn stays_for(&mut self, time: Duration) {
        let start = Instant::now();
        eventually(time + PATIENCE, "time passes", || {
            self.is_here();
            start.elapsed() >= time
        });
    }

    /// The reader is closed for this reason, and when it reads on it gets what it was sent, in
    /// whole lines, and this sentence last.
    #[track_caller]
    pub fn is_closed(&mut self, reason: &str, farewell: &str) {
        self.talker.expect_notice("slow has left the chat");
        let (lines, rest) = self.slow.read_until_broken();
        assert_eq!(rest, b"", "the last line is cut");
        let (last, before) = lines.split_last().expect("a last line");
        assert_eq!(last, &("[Server]".to_owned(), farewell.to_owned()));
        assert!(before.len() > 2, "{before:?}");
        assert!(
            before[2..].iter().all(|line| line.0 == "talker"),
            "{before:?}"
        );
        assert_eq!(self.closed_for(reason), 1);
        self.talker.request("users", "");
        self.talker.expect_notice("Connected users (1): talker");
    }
}
