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
use prometheus_client::registry::{Registry, Unit};
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

/// The counters, gauges and histograms of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    accepted: Counter,
    refused: Family<ByReason, Counter>,
    ended: Family<ByReason, Counter>,
    users: Gauge,
    present: Gauge,
    closing: Gauge,
    behind: Gauge,
    waiting: Gauge,
    lines_in: Counter,
    lines_refused: Counter,
    lines_out: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    batch_inputs: Histogram,
    batch_bytes: Histogram,
    delivery_seconds: Histogram,
    lag_bytes: Histogram,
    lag_most_bytes: Gauge,
    web_ended: Family<ByReason, Counter>,
    inbox_waiting: Gauge,
    transcript_skipped: Gauge,
    uptime: Gauge<f64, AtomicU64>,
}

/// The figures of one batch of the broker.
#[derive(Clone, Copy, Debug)]
pub struct BatchFigures {
    /// Commands in the batch.
    pub commands: usize,
    /// Bytes of published lines.
    pub bytes: usize,
    /// Time from the read of the oldest line to the last write; `None` without a line of a client.
    pub fanout: Option<Duration>,
}

/// Connections by state after a batch.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFigures {
    /// Connected users.
    pub users: usize,
    /// Client connections whose user has left.
    pub closing: usize,
    /// Connections that a task of their own writes to, since they are behind.
    pub behind: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::with_log(&Gauge::default())
    }
}

impl Metrics {
    /// Creates the metrics; `log_skipped` counts the lost lines of the log.
    pub fn with_log(log_skipped: &Gauge) -> Self {
        let mut registry = Registry::with_prefix("smolchat");
        let all = &mut registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The program", build);
        let uptime = Gauge::default();
        let help = "Time since the start of the server";
        all.register_with_unit("uptime", help, Unit::Seconds, uptime.clone());
        let connections = Family::<ByState, Gauge>::default();
        all.register("connections", "Connections by state", connections.clone());
        let in_state = |state| connections.get_or_create_owned(&ByState { state });
        let help = "Rejected connections by reason";
        let reasons = CloseReason::of_chat();
        let at_the_door = reasons.clone().filter(|reason| {
            // A server that stops rejects the waiting connections.
            reason.is_rejection() || *reason == CloseReason::Shutdown
        });
        let words = at_the_door.map(CloseReason::word);
        let refused = by_reason(all, "connections_refused", help, words);
        let help = "Ended connections of users by reason";
        let inside = reasons.filter(|reason| !reason.is_rejection());
        let ended = by_reason(
            all,
            "connections_ended",
            help,
            inside.map(CloseReason::word),
        );
        let help = "Ended HTTP connections by reason";
        let words = CloseReason::of_http().map(CloseReason::word);
        let web_ended = by_reason(all, "web_ended", help, words);
        let help = "Time from the read of a line to the last direct write of its batch";
        // 16 microseconds to 4 seconds.
        let fanout = Histogram::new(exponential_buckets(0.000_016, 4.0, 10));
        all.register_with_unit("delivery", help, Unit::Seconds, fanout.clone());
        let help = "Lag of slow consumers at each lag check";
        let lag = Histogram::new(exponential_buckets(1024.0, 8.0, 6));
        all.register_with_unit("lag", help, Unit::Bytes, lag.clone());
        let batch_bytes = Histogram::new(exponential_buckets(64.0, 8.0, 6));
        let help = "Published bytes of a batch";
        all.register_with_unit("batch", help, Unit::Bytes, batch_bytes.clone());
        let batch_inputs = Histogram::new(exponential_buckets(1.0, 4.0, 6));
        all.register("batch_inputs", "Commands in a batch", batch_inputs.clone());
        let help = "Log lines that standard error did not take";
        all.register("log_skipped_lines", help, log_skipped.clone());
        Metrics {
            accepted: counter(all, "connections_accepted", "Accepted connections"),
            users: gauge(all, "users", "Connected users"),
            present: in_state("present"),
            closing: in_state("closing"),
            behind: in_state("behind"),
            waiting: in_state("waiting"),
            lines_in: counter(all, "lines_in", "Lines read from clients"),
            lines_refused: counter(all, "lines_refused", "Rejected lines of clients"),
            lines_out: counter(all, "lines_out", "Lines written to clients"),
            bytes_in: counter(all, "bytes_in", "Bytes read from clients"),
            bytes_out: counter(all, "bytes_out", "Bytes written to clients"),
            lag_most_bytes: gauge(all, "lag_most_bytes", "Largest lag of a slow consumer"),
            web_ended,
            inbox_waiting: gauge(all, "inbox_waiting", "Commands that wait for the broker"),
            transcript_skipped: gauge(
                all,
                "transcript_skipped_lines",
                "Transcript lines that standard output did not take",
            ),
            refused,
            ended,
            batch_inputs,
            batch_bytes,
            delivery_seconds: fanout,
            lag_bytes: lag,
            uptime,
            registry,
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Registers a counter with every reason, so that each is visible before it first happens.
fn by_reason(
    registry: &mut Registry,
    name: &str,
    help: &str,
    words: impl Iterator<Item = &'static str>,
) -> Family<ByReason, Counter> {
    let family = Family::<ByReason, Counter>::default();
    for reason in words {
        let _at_zero = family.get_or_create(&ByReason { reason });
    }
    registry.register(name, help, family.clone());
    family
}

impl Metrics {
    /// Counts an accepted connection.
    pub fn count_accepted(&self) {
        self.accepted.inc();
    }

    /// Counts a rejected connection.
    pub fn count_refused(&self, reason: CloseReason) {
        self.refused_by(reason).inc();
    }

    /// Returns the counter of connections rejected for this reason.
    pub fn refused_by(&self, reason: CloseReason) -> Counter {
        let reason = reason.word();
        self.refused.get_or_create_owned(&ByReason { reason })
    }

    /// Returns the counter of accepted connections.
    pub fn accepted(&self) -> Counter {
        self.accepted.clone()
    }

    /// Counts an ended HTTP connection, perhaps before its answer is written.
    pub fn count_web_ended(&self, reason: CloseReason) {
        self.web_ended_by(reason).inc();
    }

    /// Returns the counter of HTTP connections that ended for this reason.
    pub fn web_ended_by(&self, reason: CloseReason) -> Counter {
        let reason = reason.word();
        self.web_ended.get_or_create_owned(&ByReason { reason })
    }

    /// Counts an ended connection of a user, perhaps before its last lines are written.
    pub fn count_ended(&self, reason: CloseReason) {
        let reason = reason.word();
        self.ended.get_or_create(&ByReason { reason }).inc();
    }

    /// Counts bytes read from a client.
    pub fn count_read(&self, bytes: usize) {
        self.bytes_in.inc_by(bytes as u64);
    }

    /// Counts processed lines and how many of them were rejected.
    pub fn count_lines(&self, lines: usize, refused: usize) {
        self.lines_in.inc_by(lines as u64);
        self.lines_refused.inc_by(refused as u64);
    }

    /// Counts bytes and line ends written to clients.
    pub fn count_written(&self, bytes: u64, lines: u64) {
        self.bytes_out.inc_by(bytes);
        self.lines_out.inc_by(lines);
    }

    /// Sets the length of the admission queue.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.set(signed(waiting));
    }

    /// Sets the number of transcript lines skipped so far.
    pub fn set_transcript_skipped(&self, lines: u64) {
        self.transcript_skipped
            .set(i64::try_from(lines).unwrap_or(i64::MAX));
    }

    /// Records a delivered batch.
    pub fn observe_batch(&self, batch: BatchFigures) {
        self.batch_inputs.observe(batch.commands as f64);
        if batch.bytes > 0 {
            self.batch_bytes.observe(batch.bytes as f64);
        }
        if let Some(fanout) = batch.fanout {
            self.delivery_seconds.observe(fanout.as_secs_f64());
        }
    }

    /// Sets the numbers of connections.
    pub fn set_connections(&self, now: ConnectionFigures) {
        self.users.set(signed(now.users));
        self.present.set(signed(now.users));
        self.closing.set(signed(now.closing));
        self.behind.set(signed(now.behind));
    }

    /// Records the lag of every slow consumer.
    pub fn observe_lags(&self, lags: impl Iterator<Item = u64>) {
        let mut most = 0;
        for lag in lags {
            self.lag_bytes.observe(lag as f64);
            most = most.max(lag);
        }
        self.lag_most_bytes
            .set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// Returns all metrics as OpenMetrics text.
    ///
    /// # Errors
    /// The text cannot be formatted.
    pub fn text(&self, inbox_waiting: usize, uptime: Duration) -> Result<String, fmt::Error> {
        self.inbox_waiting.set(signed(inbox_waiting));
        self.uptime.set(uptime.as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_all_counts_and_every_reason() {
        let log_skipped = Gauge::default();
        let metrics = Metrics::with_log(&log_skipped);
        log_skipped.inc_by(3);
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
            "smolchat_uptime_seconds 90.0",
            "smolchat_delivery_seconds_count 1",
            "smolchat_batch_bytes_sum 500.0",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
