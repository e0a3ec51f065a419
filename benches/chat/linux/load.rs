//! The load: clients that receive, and talkers that also send.
//!
//! The costs of the program under load are read only while no message is in flight. A run
//! fails if a receiver missed a message, got it twice, or got another order.

use super::clients::Clients;
use super::lines::{self, Key, ReceivedLine};
use super::process::{Program, cpu_time, peak_resident_bytes, resident_bytes, waiting_time};
use super::verification::Verification;
use super::{Options, Result, context};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Maximum time without progress.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum wait for data before the load checks its conditions again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Clients that may be connecting at the same time.
const CONNECTING: usize = 128;

/// When the talkers send.
#[derive(Clone, Copy)]
pub(crate) enum Schedule {
    /// Each talker keeps this many messages in flight.
    Window(u64),
    /// The next message is sent when all clients have the last one.
    OneInFlight,
    /// Messages per second of all talkers together, each sent at its due time.
    Rate(f64),
    Silent,
}

#[derive(Clone)]
pub(crate) struct TalkPlan {
    pub(crate) receivers: usize,
    /// How many of the receivers never read after they joined.
    pub(crate) non_readers: usize,
    pub(crate) talkers: usize,
    pub(crate) schedule: Schedule,
    /// Seconds between the last join and the first message.
    pub(crate) settle_seconds: f64,
    pub(crate) warm_up_schedule: Schedule,
    pub(crate) warm_up_seconds: f64,
    /// The warm-up lasts until this many messages were sent.
    pub(crate) warm_up_messages: u64,
    pub(crate) seconds: f64,
}

impl TalkPlan {
    pub(crate) fn new(
        options: &Options,
        receivers: usize,
        schedule: Schedule,
        seconds: f64,
    ) -> Self {
        TalkPlan {
            receivers,
            non_readers: 0,
            talkers: options.talkers,
            schedule,
            // The server summarises joins once a second, except in a small chat.
            settle_seconds: if options.quick { 0.1 } else { 1.3 },
            warm_up_schedule: schedule,
            // The first messages over new connections cost half as much again.
            warm_up_seconds: seconds.min(1.0),
            warm_up_messages: 0,
            seconds,
        }
    }

    /// Returns the number of clients that read.
    fn readers(&self) -> usize {
        self.talkers + self.receivers - self.non_readers
    }

    /// Returns whether a client reads; those that do not are spread evenly.
    fn is_reader(&self, client: usize) -> bool {
        client.checked_sub(self.talkers).is_none_or(|receiver| {
            let before = |receiver: usize| receiver * self.non_readers / self.receivers;
            before(receiver + 1) == before(receiver)
        })
    }
}

#[derive(Default)]
pub(crate) struct TalkReport {
    /// Clients that read, including the talkers.
    pub(crate) readers: usize,
    pub(crate) messages: u64,
    /// Messages times readers.
    pub(crate) deliveries: u64,
    /// User and system time of the program.
    pub(crate) cpu_nanos: f64,
    pub(crate) wall_nanos: f64,
    /// How long program and load waited for a processor.
    waited_nanos: f64,
    /// Median and 99th percentile of the time from a message's due time to its arrival.
    pub(crate) median_nanos: f64,
    pub(crate) p99_nanos: f64,
    /// 99th percentile of the time from a message's due time to its send.
    pub(crate) late_p99_nanos: f64,
    /// Mean number of messages that a client gets in one read.
    pub(crate) messages_per_read: f64,
    /// Resident memory of the program before the first connection, and after the last join.
    pub(crate) resident_before: u64,
    pub(crate) resident_connected: u64,
    pub(crate) resident_peak: u64,
}

impl TalkReport {
    pub(crate) fn cpu_per_delivery(&self) -> f64 {
        self.cpu_nanos / self.deliveries.max(1) as f64
    }

    /// Returns the share of the measurement in which program and load waited for a processor.
    pub(crate) fn waited(&self) -> f64 {
        self.waited_nanos / self.wall_nanos.max(1.0)
    }
}

/// Connects the clients, warms up, measures, and verifies all deliveries.
pub(crate) fn run(plan: &TalkPlan, program: &Program) -> Result<TalkReport> {
    let resident_before = resident_bytes(program.pid())?;
    let mut load = Load::new(plan, program)?;
    load.join()?;
    let resident_connected = resident_bytes(program.pid())?;
    let after = |seconds| Instant::now() + Duration::from_secs_f64(seconds);
    let (end, messages) = (after(plan.warm_up_seconds), plan.warm_up_messages);
    load.talk(plan.warm_up_schedule, |now, sent| {
        now >= end && sent >= messages
    })?;
    load.read_for(Duration::from_millis(20))?;
    load.tally.latencies.clear();
    load.tally.lateness.clear();
    let end = after(plan.seconds);
    let mut report = load.measure(|now, _| now >= end)?;
    if matches!(plan.schedule, Schedule::Silent) {
        // Verifies that all clients are still connected.
        let end = after(0.1);
        load.talk(Schedule::OneInFlight, |now, _| now >= end)?;
    }
    load.read_for(Duration::from_millis(20))?;
    load.verify()?;
    report.resident_before = resident_before;
    report.resident_connected = resident_connected;
    report.resident_peak = peak_resident_bytes(program.pid())?;
    Ok(report)
}

/// Reports to `ready` when all clients have joined, and measures until `stop`. The last
/// message of each talker is marked as such.
pub(crate) fn run_until(
    plan: &TalkPlan,
    program: &Program,
    ready: &Sender<()>,
    stop: &AtomicBool,
) -> Result<TalkReport> {
    let mut load = Load::new(plan, program)?;
    load.join()?;
    ready.send(())?;
    let report = load.measure(|_, _| stop.load(Ordering::Relaxed))?;
    for talker in 0..plan.talkers {
        load.send(talker, Instant::now(), true);
    }
    load.talk(Schedule::Silent, |_, _| true)?;
    load.verify()?;
    Ok(report)
}

pub(crate) struct Load<'a> {
    plan: &'a TalkPlan,
    program: &'a Program,
    pub(crate) clients: Clients,
    pub(crate) tally: Tally,
    sent: u64,
    last_progress: Instant,
}

/// What arrived.
pub(crate) struct Tally {
    pub(crate) verification: Verification,
    /// Verifies join notices too.
    pub(crate) verifies_joins: bool,
    lines: u64,
    pub(crate) join_notices: u64,
    deliveries: u64,
    /// Deliveries of the last messages of talkers.
    pub(crate) last_messages: usize,
    talkers: Vec<Talker>,
    is_timed: bool,
    latencies: Vec<u64>,
    lateness: Vec<u64>,
}

/// State of a talker, which is the client with the same number.
#[derive(Default)]
struct Talker {
    sent: u64,
    /// Bytes that the socket has not taken yet.
    unsent: Vec<u8>,
    echoed: u64,
    /// Number of the next message that receiver 0 must get from this talker.
    expected: u64,
    /// Due times of all its messages.
    due: Vec<Instant>,
}

impl Tally {
    fn take(&mut self, client: usize, line: ReceivedLine, now: Instant) -> Result<()> {
        self.lines += 1;
        match line {
            ReceivedLine::Message(key) => self.take_message(client, key, now)?,
            ReceivedLine::Entered(port) => {
                self.join_notices += 1;
                // A client's own notice is its first line, so receiver 0 must have it too.
                if self.verifies_joins {
                    self.verification.record(client, port.into());
                }
            }
            ReceivedLine::Other => {}
        }
        Ok(())
    }

    fn take_message(&mut self, client: usize, key: Key, now: Instant) -> Result<()> {
        self.verification.record(client, key.id());
        self.deliveries += 1;
        self.last_messages += usize::from(key.is_last());
        let Some(talker) = self.talkers.get_mut(key.talker()) else {
            return Ok(());
        };
        if client == key.talker() {
            talker.echoed += 1;
        }
        if client == 0 {
            let (number, expected) = (key.number(), talker.expected);
            if number != expected {
                let error = format!("receiver 0 got message {number} instead of {expected}");
                return Err(error.into());
            }
            talker.expected += 1;
        }
        if self.is_timed
            && let Some(due) = talker.due.get(key.number() as usize)
        {
            self.latencies.push(nanos_since(now, *due));
        }
        Ok(())
    }
}

impl<'a> Load<'a> {
    /// Returns a load whose clients are not connected yet.
    pub(crate) fn new(plan: &'a TalkPlan, program: &'a Program) -> Result<Self> {
        Ok(Load {
            plan,
            program,
            clients: Clients::new()?,
            tally: Tally {
                verification: Verification::new(plan.talkers + plan.receivers),
                verifies_joins: false,
                lines: 0,
                join_notices: 0,
                deliveries: 0,
                last_messages: 0,
                talkers: (0..plan.talkers).map(|_| Talker::default()).collect(),
                is_timed: false,
                latencies: Vec::new(),
                lateness: Vec::new(),
            },
            sent: 0,
            last_progress: Instant::now(),
        })
    }

    /// Connects all clients, names the talkers, and waits as long as the plan says.
    fn join(&mut self) -> Result<()> {
        let count = self.plan.talkers + self.plan.receivers;
        for number in 0..count {
            self.clients.connect(self.program.address)?;
            self.wait("a client did not join", |load| {
                number < load.clients.joined + CONNECTING
            })?;
        }
        self.wait("a client did not join", |load| load.clients.joined == count)?;
        for client in (0..count).filter(|client| !self.plan.is_reader(*client)) {
            self.clients.stop_reading(client)?;
        }
        if !self.program.is_floor {
            for (number, talker) in self.tally.talkers.iter_mut().enumerate() {
                talker.unsent = lines::set_name_line(number);
            }
        }
        self.flush()?;
        self.read_for(Duration::from_secs_f64(self.plan.settle_seconds))
    }

    /// Reads until `is_done`.
    pub(crate) fn wait(&mut self, failure: &str, is_done: impl Fn(&Self) -> bool) -> Result<()> {
        self.last_progress = Instant::now();
        while !is_done(self) {
            let outcome = self.poll(Instant::now() + POLL_INTERVAL);
            outcome.map_err(context(failure))?;
        }
        Ok(())
    }

    fn read_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.last_progress = end;
        while Instant::now() < end {
            self.poll(end)?;
        }
        Ok(())
    }

    fn measure(&mut self, is_over: impl Fn(Instant, u64) -> bool) -> Result<TalkReport> {
        let (pid, own) = (self.program.pid(), std::process::id());
        let waiting = || waiting_time(pid).and_then(|time| Ok(time + waiting_time(own)?));
        let (sent, reads) = (self.sent, self.clients.reads);
        let (cpu, waited) = (cpu_time(pid)?, waiting()?);
        let begin = Instant::now();
        self.talk(self.plan.schedule, is_over)?;
        let wall = begin.elapsed();
        let cpu = cpu_time(pid)?.saturating_sub(cpu);
        let waited = waiting()?.saturating_sub(waited);
        let messages = self.sent - sent;
        let deliveries = messages * self.plan.readers() as u64;
        let reads = self.clients.reads - reads;
        Ok(TalkReport {
            readers: self.plan.readers(),
            messages,
            deliveries,
            cpu_nanos: cpu.as_nanos() as f64,
            wall_nanos: wall.as_nanos() as f64,
            waited_nanos: waited.as_nanos() as f64,
            median_nanos: percentile(&mut self.tally.latencies, 50),
            p99_nanos: percentile(&mut self.tally.latencies, 99),
            late_p99_nanos: percentile(&mut self.tally.lateness, 99),
            messages_per_read: deliveries as f64 / reads.max(1) as f64,
            ..TalkReport::default()
        })
    }

    /// Sends messages until `is_over` (of the time and the number of messages sent), then waits
    /// until no message is in flight.
    fn talk(&mut self, schedule: Schedule, is_over: impl Fn(Instant, u64) -> bool) -> Result<()> {
        // With several messages in flight, a latency is that of a queue.
        self.tally.is_timed = !matches!(schedule, Schedule::Window(_));
        let begin = Instant::now();
        let mut turns = 0;
        loop {
            let now = Instant::now();
            let owed = self.sent * self.plan.readers() as u64;
            let Some(in_flight) = owed.checked_sub(self.tally.deliveries) else {
                return Err("more deliveries arrived than messages were sent".into());
            };
            if in_flight == 0 {
                self.last_progress = now;
            }
            let mut wake = now + POLL_INTERVAL;
            if is_over(now, self.sent) {
                if in_flight == 0 {
                    return Ok(());
                }
            } else if let Schedule::Window(window) = schedule {
                for talker in 0..self.plan.talkers {
                    let state = &self.tally.talkers[talker];
                    for _ in state.sent - state.echoed..window {
                        self.send(talker, now, false);
                    }
                }
            } else if let Schedule::Rate(rate) = schedule {
                let due = |turns| begin + Duration::from_secs_f64(turns as f64 / rate);
                while due(turns) <= now {
                    self.tally.lateness.push(nanos_since(now, due(turns)));
                    self.send(turns as usize % self.plan.talkers, due(turns), false);
                    turns += 1;
                }
                wake = wake.min(due(turns));
            } else if matches!(schedule, Schedule::OneInFlight) && in_flight == 0 {
                self.send(turns as usize % self.plan.talkers, now, false);
                turns += 1;
            }
            self.flush()?;
            self.poll(wake)?;
        }
    }

    fn send(&mut self, talker: usize, due: Instant, is_last: bool) {
        let state = &mut self.tally.talkers[talker];
        let key = Key::new(talker, state.sent, is_last);
        lines::push_message(&mut state.unsent, self.program.is_floor, key);
        state.due.push(due);
        state.sent += 1;
        self.sent += 1;
    }

    /// Writes to the sockets of the talkers what they take.
    fn flush(&mut self) -> Result<()> {
        for (number, talker) in self.tally.talkers.iter_mut().enumerate() {
            if !talker.unsent.is_empty() {
                let sent = self.clients.send(number, &talker.unsent)?;
                talker.unsent.drain(..sent);
            }
        }
        Ok(())
    }

    /// Reads until `until` at most; fails if nothing has arrived for too long.
    pub(crate) fn poll(&mut self, until: Instant) -> Result<()> {
        let Load { clients, tally, .. } = self;
        let lines = tally.lines;
        clients.poll(until, |client, line, now| tally.take(client, line, now))?;
        let now = Instant::now();
        if tally.lines > lines {
            self.last_progress = now;
        } else if now.saturating_duration_since(self.last_progress) > STALL_TIMEOUT {
            return Err("no line arrives".into());
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let clients = 0..self.plan.talkers + self.plan.receivers;
        let readers = clients.filter(|client| self.plan.is_reader(*client));
        self.tally.verification.check(readers, false)
    }
}

fn nanos_since(now: Instant, due: Instant) -> u64 {
    now.saturating_duration_since(due).as_nanos() as u64
}

/// Returns the smallest value that this share of all values does not exceed; 0 for no values.
pub(crate) fn percentile(values: &mut [u64], percent: usize) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let rank = (values.len() * percent).div_ceil(100).max(1);
    *values.select_nth_unstable(rank - 1).1 as f64
}
