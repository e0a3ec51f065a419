//! A slow reader whose lag the test knows to the byte.

use super::{Chat, LineClient, PATIENCE, Site, eventually, unpaced};
use smolchat::server::ServerConfig;
use smolchat::server::limits::{LAG_CHECK_INTERVAL, Limits};
use std::time::{Duration, Instant};

/// A timeout that no test reaches.
pub const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Waits until the sockets of all slow readers are full, and returns the largest lag.
///
/// The lag is the same during three checks of the server. Nobody may talk meanwhile.
#[track_caller]
pub fn settled_lag(site: &Site) -> u64 {
    let (mut lag, mut since) = (0, Instant::now());
    eventually(PATIENCE, "full sockets", || {
        let seen = site.metric("smolchat_lag_most_bytes");
        if seen == 0 || seen != std::mem::replace(&mut lag, seen) {
            since = Instant::now();
        }
        since.elapsed() > 3 * LAG_CHECK_INTERVAL
    });
    lag
}

/// A slow reader, and a talker that counts how far behind it is.
pub struct Backlog {
    pub chat: Chat,
    pub slow: LineClient,
    pub talker: LineClient,
    /// Bytes of a line of the talker without its text.
    pub frame: u64,
    /// Lag of the slow reader in bytes.
    pub lag: u64,
    /// A time before the first byte that the socket did not take.
    pub start: Instant,
}

impl Backlog {
    /// Starts a server with these limits and a reader whose socket is full.
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
        eventually(PATIENCE, "a full socket", || {
            backlog.say(4096);
            backlog.behind() == 1
        });
        backlog.lag = settled_lag(&backlog.chat);
        backlog
    }

    /// Returns the number of connections that are behind.
    #[track_caller]
    pub fn behind(&self) -> u64 {
        self.chat.metric("smolchat_connections{state=\"behind\"}")
    }

    /// Returns the largest lag that the server has seen at its last check.
    #[track_caller]
    pub fn seen_lag(&self) -> u64 {
        self.chat.metric("smolchat_lag_most_bytes")
    }

    /// Says and hears a line of this many bytes; fails if another line comes first.
    #[track_caller]
    pub fn say(&mut self, bytes: u64) {
        let text = "x".repeat((bytes - self.frame) as usize);
        self.talker.say_and_hear(&text);
        self.lag += bytes;
    }

    /// Talks until the reader is exactly this many bytes behind and the server has seen that.
    #[track_caller]
    pub fn fill_to(&mut self, lag: u64) {
        // A line has at least one byte of text, so each line leaves enough for another.
        while lag - self.lag > 4096 {
            self.say(4096 - 2 * self.frame);
        }
        self.say(lag - self.lag);
        eventually(PATIENCE, "the lag of the metrics", || {
            self.seen_lag() == lag
        });
    }

    /// Expects the reader to be present.
    #[track_caller]
    pub fn is_here(&mut self) {
        self.talker.request("users", "");
        self.talker
            .expect_notice("Connected users (2): slow, talker");
    }

    /// Expects the reader to be present until this time has passed.
    #[track_caller]
    pub fn stays_for(&mut self, time: Duration) {
        let start = Instant::now();
        eventually(time + PATIENCE, "the end of the time", || {
            self.is_here();
            start.elapsed() >= time
        });
    }

    /// Expects the eviction for this reason: the reader then gets whole lines, and the farewell
    /// last.
    #[track_caller]
    pub fn is_closed(&mut self, reason: &str, farewell: &str) {
        self.talker.expect_notice("slow has left the chat");
        let (lines, rest) = self.slow.read_until_broken();
        assert_eq!(rest, b"", "the last line is cut");
        let (last, before) = lines.split_last().expect("a last line");
        assert_eq!(last, &("[Server]".to_owned(), farewell.to_owned()));
        // The talker's arrival and rename come first.
        assert!(before.len() > 2, "{before:?}");
        let is_talk = before[2..].iter().all(|line| line.0 == "talker");
        assert!(is_talk, "{before:?}");
        let ended = format!("smolchat_connections_ended_total{{reason=\"{reason}\"}}");
        assert_eq!(self.chat.metric(&ended), 1);
        self.talker.request("users", "");
        self.talker.expect_notice("Connected users (1): talker");
    }
}
