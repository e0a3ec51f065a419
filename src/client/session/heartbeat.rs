//! Pings that measure the round trip and detect a dead connection.

use crate::client::limits::{PING_INTERVAL, PONG_TIMEOUT};
use crate::protocol::client_line::encode_ping;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    pings: u64,
    /// Time of the ping whose answer is still missing.
    pub(super) pinged_at: Option<Instant>,
    next_ping: Option<Instant>,
    pub(super) received_at: Option<Instant>,
    pub(crate) round_trip: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn ping(&mut self, now: Instant, output: &mut Vec<u8>) {
        self.pings += 1;
        encode_ping(output, self.pings);
        self.pinged_at = Some(now);
        self.next_ping = Some(now + PING_INTERVAL);
    }

    pub(super) fn receive_pong(&mut self, number: u64, now: Instant) {
        if let Some(at) = self.pinged_at.filter(|_| number == self.pings) {
            self.round_trip = Some(now.saturating_duration_since(at));
            self.pinged_at = None;
        }
    }

    /// Returns the time of the next ping, or of the end if a ping is unanswered. Any received
    /// byte moves that end.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.pinged_at {
            Some(at) => Some(at.max(self.received_at.unwrap_or(at)) + PONG_TIMEOUT),
            None => self.next_ping,
        }
    }

    pub(super) fn stop(&mut self) {
        self.pinged_at = None;
        self.next_ping = None;
        self.round_trip = None;
    }
}
