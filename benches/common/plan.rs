//! What a load of talk does, and what it finds: plain values that go from process to process.
//!
//! The benchmarks write a [`TalkPlan`] and read a [`TalkReport`]; [`super::load`] is what lies
//! between. It must never do anything.

use super::Target;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// When the talkers talk.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// Both keeps this many of its messages unechoed.
    Window(u64),
    /// One message at a time: the next when everybody has the last one.
    Lockstep,
    /// This many messages a second in all, each at its due time whatever became of the others.
    Rate(f64),
    /// Nobody talks.
    Silence,
}

/// What a load does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TalkPlan {
    /// The program under load.
    pub(crate) target: Target,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process id.
    pub(crate) pid: u32,
    /// Clients that only listen.
    pub(crate) receivers: usize,
    /// How many of them never read once they are in.
    pub(crate) deaf: usize,
    /// Clients that talk, and listen too.
    pub(crate) talkers: usize,
    /// When they talk.
    pub(crate) pace: Pace,
    /// Seconds between the last arrival and the first message.
    pub(crate) settle_seconds: f64,
    /// When they talk before the measurement.
    pub(crate) warm_up_pace: Pace,
    /// Seconds of talk that is verified but not measured.
    pub(crate) warm_up_seconds: f64,
    /// It goes on until so many messages were said.
    pub(crate) warm_up_messages: u64,
    /// Seconds of talk that is measured.
    pub(crate) seconds: f64,
    /// Talk until told to stop instead, with a last message marked as such.
    pub(crate) until_stopped: bool,
}

/// Longer than the server collects arrivals: its summary of the last of them is not measured.
const SETTLE_SECONDS: f64 = 1.3;

/// The first messages over new connections cost half as much again, on either side.
const WARM_UP_SECONDS: f64 = 1.0;

impl TalkPlan {
    /// A plan without deaf receivers, not yet pointed at a program.
    pub(crate) fn new(receivers: usize, talkers: usize, pace: Pace, seconds: f64) -> Self {
        TalkPlan {
            target: Target::Floor,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            pid: 0,
            receivers,
            deaf: 0,
            talkers,
            pace,
            settle_seconds: SETTLE_SECONDS,
            warm_up_pace: pace,
            warm_up_seconds: seconds.min(WARM_UP_SECONDS),
            warm_up_messages: 0,
            seconds,
            until_stopped: false,
        }
    }

    /// Whether this client never reads; such clients are spread evenly among the receivers.
    pub(crate) fn is_deaf(&self, client: usize) -> bool {
        let Some(receiver) = client.checked_sub(self.talkers) else {
            return false;
        };
        let (deaf, all) = (self.deaf, self.receivers);
        (receiver + 1) * deaf / all > receiver * deaf / all
    }
}

/// What a load found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TalkReport {
    /// Clients that read everything, the talkers included.
    pub(crate) readers: usize,
    /// Messages of the measurement.
    pub(crate) messages: u64,
    /// Messages of the measurement times their readers.
    pub(crate) deliveries: u64,
    /// Deliveries that were verified, those before and after the measurement included.
    pub(crate) verified: u64,
    /// User and system time of the program during the measurement.
    pub(crate) cpu_nanos: u64,
    /// Length of the measurement.
    pub(crate) wall_nanos: u64,
    /// How long program and load together were ready to run and waited for a processor.
    pub(crate) waited_nanos: u64,
    /// Median of the time from a message's due time to its arrival.
    pub(crate) median_nanos: u64,
    /// 99th percentile of the same.
    pub(crate) p99_nanos: u64,
    /// 99th percentile of how late the load itself was with a message.
    pub(crate) late_p99_nanos: u64,
    /// Messages that a reader got in one read, on average.
    pub(crate) lines_per_read: f64,
    /// Resident memory of the program before anybody connected.
    pub(crate) resident_before: u64,
    /// The same when everybody was there.
    pub(crate) resident_connected: u64,
    /// The most that it ever had.
    pub(crate) resident_peak: u64,
    /// Connections that the program closed during the run.
    pub(crate) cut_off: usize,
}

impl TalkReport {
    /// CPU time of one message at one reader, in nanoseconds.
    pub(crate) fn cpu_per_delivery(&self) -> f64 {
        self.cpu_nanos as f64 / self.deliveries.max(1) as f64
    }

    /// Which share of the measurement program and load spent waiting for a processor.
    pub(crate) fn waited(&self) -> f64 {
        self.waited_nanos as f64 / self.wall_nanos.max(1) as f64
    }
}
