//! The metrics of a server and their text in the OpenMetrics format.
//!
//! A metric never contains a name, an address or a message.

use crate::server::close_reason::CloseReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

type Ended = Family<ByReason, Counter>;
type Level = Gauge<u64, AtomicU64>;

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    accepted: Counter,
    refused: Ended,
    ended: Ended,
    users: Level,
    present: Level,
    closing: Level,
    behind: Level,
    waiting: Level,
    lines_in: Counter,
    lines_refused: Counter,
    lines_out: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    batch_inputs: Histogram,
    batch_bytes: Histogram,
    delivery_seconds: Histogram,
    lag_bytes: Histogram,
    lag_most_bytes: Level,
    web_ended: Ended,
    inbox_waiting: Level,
    uptime: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchFigures {
    pub(crate) commands: usize,
    /// Bytes of published lines.
    pub(crate) bytes: usize,
    /// Time from the read of the oldest line to the last write; `None` without a line of a client.
    pub(crate) fanout: Option<Duration>,
}

/// Connections by state after a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionFigures {
    pub(crate) users: usize,
    /// Client connections whose user has left.
    pub(crate) closing: usize,
    /// Connections that a task of their own writes to, since they are behind.
    pub(crate) behind: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new(&Level::default(), &Level::default())
    }
}

impl Metrics {
    /// Creates the metrics; the arguments count the lost lines of the log and the transcript.
    pub(crate) fn new(log_skipped: &Level, transcript_skipped: &Level) -> Self {
        let mut registry = Registry::with_prefix("smolchat");
        let all = &mut registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The program", build);
        let uptime = Gauge::default();
        let help = "Time since the start of the server";
        all.register_with_unit("uptime", help, Unit::Seconds, uptime.clone());
        let help = "Log lines that standard error did not take";
        all.register("log_skipped_lines", help, log_skipped.clone());
        let help = "Transcript lines that standard output did not take";
        all.register("transcript_skipped_lines", help, transcript_skipped.clone());
        let connections: Family<ByState, Level> = add(all, "connections", "Connections by state");
        let in_state = |state| connections.get_or_create_owned(&ByState { state });
        let chat = CloseReason::of_chat();
        // A server that stops rejects the waiting connections, and the bytes of another protocol
        // are there before or after the admission.
        let also = [CloseReason::Shutdown, CloseReason::OtherProtocol];
        let refused = chat
            .clone()
            .filter(|each| each.is_rejection() || also.contains(each));
        let ended = chat.filter(|each| !each.is_rejection());
        let help = "Time from the read of a line to the last direct write of its batch";
        // 16 microseconds to 4 seconds.
        let delivery = Histogram::new(exponential_buckets(0.000_016, 4.0, 10));
        all.register_with_unit("delivery", help, Unit::Seconds, delivery.clone());
        let help = "Lag of slow consumers at each lag check";
        let lag = Histogram::new(exponential_buckets(1024.0, 8.0, 6));
        all.register_with_unit("lag", help, Unit::Bytes, lag.clone());
        let help = "Published bytes of a batch";
        let batch_bytes = Histogram::new(exponential_buckets(64.0, 8.0, 6));
        all.register_with_unit("batch", help, Unit::Bytes, batch_bytes.clone());
        let batch_inputs = Histogram::new(exponential_buckets(1.0, 4.0, 6));
        all.register("batch_inputs", "Commands in a batch", batch_inputs.clone());
        Metrics {
            accepted: add(all, "connections_accepted", "Accepted connections"),
            refused: by_reason(
                add(all, "connections_refused", "Rejected connections by reason"),
                refused,
            ),
            ended: by_reason(
                add(
                    all,
                    "connections_ended",
                    "Ended connections of users by reason",
                ),
                ended,
            ),
            web_ended: by_reason(
                add(all, "web_ended", "Ended HTTP connections by reason"),
                CloseReason::of_http(),
            ),
            users: add(all, "users", "Connected users"),
            present: in_state("present"),
            closing: in_state("closing"),
            behind: in_state("behind"),
            waiting: in_state("waiting"),
            lines_in: add(all, "lines_in", "Lines read from clients"),
            lines_refused: add(all, "lines_refused", "Rejected lines of clients"),
            lines_out: add(all, "lines_out", "Lines written to clients"),
            bytes_in: add(all, "bytes_in", "Bytes read from clients"),
            bytes_out: add(all, "bytes_out", "Bytes written to clients"),
            lag_most_bytes: add(all, "lag_most_bytes", "Largest lag of a slow consumer"),
            inbox_waiting: add(all, "inbox_waiting", "Commands that wait for the broker"),
            batch_inputs,
            batch_bytes,
            delivery_seconds: delivery,
            lag_bytes: lag,
            uptime,
            registry,
        }
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.inc();
    }

    pub(crate) fn count_refused(&self, reason: CloseReason) {
        count(&self.refused, reason);
    }

    /// Counts an ended HTTP connection, perhaps before its answer is written.
    pub(crate) fn count_web_ended(&self, reason: CloseReason) {
        count(&self.web_ended, reason);
    }

    /// Counts an ended connection of a user, perhaps before its last lines are written.
    pub(crate) fn count_ended(&self, reason: CloseReason) {
        count(&self.ended, reason);
    }

    pub(crate) fn count_read(&self, bytes: usize) {
        self.bytes_in.inc_by(bytes as u64);
    }

    /// Counts processed lines and how many of them were rejected.
    pub(crate) fn count_lines(&self, lines: usize, rejected: usize) {
        self.lines_in.inc_by(lines as u64);
        self.lines_refused.inc_by(rejected as u64);
    }

    /// Counts bytes and line ends written to clients.
    pub(crate) fn count_written(&self, bytes: u64, lines: u64) {
        self.bytes_out.inc_by(bytes);
        self.lines_out.inc_by(lines);
    }

    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.waiting.set(waiting as u64);
    }

    pub(crate) fn observe_batch(&self, batch: BatchFigures) {
        self.batch_inputs.observe(batch.commands as f64);
        if batch.bytes > 0 {
            self.batch_bytes.observe(batch.bytes as f64);
        }
        if let Some(fanout) = batch.fanout {
            self.delivery_seconds.observe(fanout.as_secs_f64());
        }
    }

    pub(crate) fn set_connections(&self, now: ConnectionFigures) {
        self.users.set(now.users as u64);
        self.present.set(now.users as u64);
        self.closing.set(now.closing as u64);
        self.behind.set(now.behind as u64);
    }

    /// Records the lag of every slow consumer.
    pub(crate) fn observe_lags(&self, lags: impl Iterator<Item = u64>) {
        let mut most = 0;
        for lag in lags {
            self.lag_bytes.observe(lag as f64);
            most = most.max(lag);
        }
        self.lag_most_bytes.set(most);
    }

    /// Returns all metrics as OpenMetrics text.
    ///
    /// # Errors
    /// The text cannot be formatted.
    pub(crate) fn text(
        &self,
        inbox_waiting: usize,
        uptime: Duration,
    ) -> Result<String, fmt::Error> {
        self.inbox_waiting.set(inbox_waiting as u64);
        self.uptime.set(uptime.as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn count(ended: &Ended, reason: CloseReason) {
    let reason = reason.word();
    ended.get_or_create(&ByReason { reason }).inc();
}

/// Creates the counter of each reason, so that each is visible before it first happens.
fn by_reason(ended: Ended, reasons: impl Iterator<Item = CloseReason>) -> Ended {
    for reason in reasons.map(CloseReason::word) {
        let _at_zero = ended.get_or_create(&ByReason { reason });
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_all_counts_and_every_reason() {
        let (log_skipped, transcript_skipped) = (Level::default(), Level::default());
        let metrics = Metrics::new(&log_skipped, &transcript_skipped);
        log_skipped.inc_by(3);
        transcript_skipped.inc_by(4);
        metrics.count_accepted();
        metrics.count_ended(CloseReason::Lag);
        metrics.count_written(120, 2);
        metrics.observe_lags([5000, 100].into_iter());
        metrics.observe_batch(BatchFigures {
            commands: 3,
            bytes: 500,
            fanout: Some(Duration::from_millis(2)),
        });
        let text = metrics.text(7, Duration::from_secs(90)).unwrap();
        for line in [
            "smolchat_connections_accepted_total 1",
            "smolchat_connections_ended_total{reason=\"lag\"} 1",
            "smolchat_connections_ended_total{reason=\"dead-peer\"} 0",
            "smolchat_connections_refused_total{reason=\"full\"} 0",
            "smolchat_bytes_out_total 120",
            "smolchat_lines_out_total 2",
            "smolchat_lag_most_bytes 5000",
            "smolchat_inbox_waiting 7",
            "smolchat_log_skipped_lines 3",
            "smolchat_transcript_skipped_lines 4",
            "smolchat_uptime_seconds 90.0",
            "smolchat_delivery_seconds_count 1",
            "smolchat_batch_bytes_sum 500.0",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
