//! The load of a chat: clients that listen, and a few among them that talk.
//!
//! The benchmarks describe it by a [`TalkPlan`] and run it as a process of its own, which gives
//! a [`TalkReport`]. It counts every line at every receiver, and reads the costs of the
//! program under load only while nothing is under way, so that they belong to the messages
//! counted. It must never give figures of a run in which a receiver missed a message, got one
//! twice or got two in another order than the rest.

use super::crowd::Crowd;
use super::ledger::Ledger;
use super::lines::{self, Key, Line};
use super::plan::{Pace, TalkPlan, TalkReport};
use super::process::{cpu_time, open_files, peak_resident_bytes, resident_bytes, waiting_time};
use super::{Result, Target, fail};
use std::time::{Duration, Instant};

/// The argument by which a benchmark executes itself as this load.
pub(crate) const ROLE: &str = "role-load";

/// What the benchmark is told once everybody is there.
pub(crate) const READY: &str = "ready";
/// What the load is told to end [`TalkPlan::until_stopped`].
pub(crate) const STOP: &str = "stop";

/// How long nothing may arrive while something is under way.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// How long a wait without a reason of its own is.
const PAUSE: Duration = Duration::from_millis(50);

/// Does what the plan says.
pub(crate) fn run(plan: &TalkPlan) -> Result<TalkReport> {
    let resident_before = resident_bytes(plan.pid)?;
    let mut load = Load::new(plan)?;
    load.everybody_joins()?;
    load.rest(Duration::from_secs_f64(plan.settle_seconds))?;
    let resident_connected = resident_bytes(plan.pid)?;
    let files = open_files(plan.pid)?;
    if plan.until_stopped {
        load.crowd.watch_commands()?;
        println!("{READY}");
    } else {
        load.talk(
            plan.warm_up_pace,
            plan.warm_up_seconds,
            plan.warm_up_messages,
        )?;
        load.rest(Duration::from_millis(20))?;
    }
    load.book.forget_times();
    let mut report = load.measure()?;
    if matches!(plan.pace, Pace::Silence) {
        // Whoever is still connected has to show it.
        load.talk(Pace::Lockstep, 0.1, 0)?;
    }
    load.rest(Duration::from_millis(20))?;
    report.verified = load.verify()?;
    report.resident_before = resident_before;
    report.resident_connected = resident_connected;
    report.resident_peak = peak_resident_bytes(plan.pid)?;
    report.cut_off = files.saturating_sub(open_files(plan.pid)?);
    Ok(report)
}

struct Load<'a> {
    plan: &'a TalkPlan,
    crowd: Crowd,
    talkers: Vec<Talker>,
    book: Book,
    sent: u64,
    readers: usize,
}

/// What is known of a talker; it is the client with the same number.
#[derive(Default)]
struct Talker {
    sent: u64,
    /// What its socket has not taken yet.
    unsent: Vec<u8>,
}

/// What arrives.
struct Book {
    ledger: Ledger,
    delivered: u64,
    echoed: Vec<u64>,
    /// The next number that receiver 0 is to get from each talker.
    next: Vec<u64>,
    due: Vec<DueTimes>,
    latencies: Vec<u64>,
    lateness: Vec<u64>,
}

/// When the messages of a talker were due, from some number on; empty while nothing is timed.
#[derive(Default)]
struct DueTimes {
    first: u64,
    times: Vec<Instant>,
}

impl Book {
    fn new(clients: usize, talkers: usize) -> Self {
        let mut ledger = Ledger::default();
        (0..clients).for_each(|_| ledger.add_receiver());
        Book {
            ledger,
            delivered: 0,
            echoed: vec![0; talkers],
            next: vec![0; talkers],
            due: (0..talkers).map(|_| DueTimes::default()).collect(),
            latencies: Vec::new(),
            lateness: Vec::new(),
        }
    }

    fn take(&mut self, client: usize, line: Line, now: Instant) -> Result<()> {
        let Line::Said(key) = line else { return Ok(()) };
        self.ledger.note(client, key.id());
        self.delivered += 1;
        if client < self.echoed.len() {
            self.echoed[client] += u64::from(key.talker() == client);
        }
        if client == 0 {
            self.check_number(key)?;
        }
        if !self.due[0].times.is_empty() {
            self.take_time(key, now);
        }
        Ok(())
    }

    /// Receiver 0 gets each talker's messages by number; all others get what it gets.
    fn check_number(&mut self, key: Key) -> Result<()> {
        let Some(next) = self.next.get_mut(key.talker()) else {
            return fail("somebody talks who is not of this load");
        };
        if key.number() != *next {
            return fail(format!(
                "receiver 0 got message {} of talker {} instead of message {next}",
                key.number(),
                key.talker()
            ));
        }
        *next += 1;
        Ok(())
    }

    fn take_time(&mut self, key: Key, now: Instant) {
        let due = &self.due[key.talker()];
        let index = key.number().checked_sub(due.first);
        if let Some(due) = index.and_then(|index| due.times.get(index as usize)) {
            self.latencies
                .push(nanos(now.saturating_duration_since(*due)));
        }
    }

    fn forget_times(&mut self) {
        for due in &mut self.due {
            due.first += due.times.len() as u64;
            due.times.clear();
        }
        self.latencies.clear();
        self.lateness.clear();
    }
}

impl<'a> Load<'a> {
    fn new(plan: &'a TalkPlan) -> Result<Self> {
        let clients = plan.talkers + plan.receivers;
        Ok(Load {
            plan,
            crowd: Crowd::new()?,
            talkers: (0..plan.talkers).map(|_| Talker::default()).collect(),
            book: Book::new(clients, plan.talkers),
            sent: 0,
            readers: clients - plan.deaf,
        })
    }

    /// Connects one after the other, a few at a time, and gives the talkers their names.
    fn everybody_joins(&mut self) -> Result<()> {
        const AT_A_TIME: usize = 128;
        let clients = self.plan.talkers + self.plan.receivers;
        let mut last = (0, Instant::now());
        while self.crowd.joined() < clients {
            while self.crowd.len() < clients && self.crowd.len() < self.crowd.joined() + AT_A_TIME {
                self.crowd.connect(self.plan.address)?;
            }
            self.turn(Instant::now() + PAUSE)?;
            if self.crowd.refused() > 0 {
                return fail(format!("client {} was refused", self.crowd.len() - 1));
            }
            if self.crowd.joined() > last.0 {
                last = (self.crowd.joined(), Instant::now());
            } else if last.1.elapsed() > SILENCE_LIMIT {
                return fail(format!("only {} of {clients} clients joined", last.0));
            }
        }
        for client in 0..clients {
            if self.plan.is_deaf(client) {
                self.crowd.ignore(client)?;
            }
        }
        for talker in 0..self.talkers.len() {
            if self.plan.target == Target::Server {
                self.talkers[talker].unsent = lines::naming_line(talker);
            }
        }
        self.flush()
    }

    /// Reads what arrives for a while.
    fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(end)?;
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<TalkReport> {
        let (sent, reads) = (self.sent, self.crowd.reads());
        let cpu = cpu_time(self.plan.pid)?;
        let waited = self.waited()?;
        let begin = Instant::now();
        self.talk(self.plan.pace, self.plan.seconds, 0)?;
        let wall = begin.elapsed();
        let cpu = cpu_time(self.plan.pid)?.saturating_sub(cpu);
        let waited = self.waited()?.saturating_sub(waited);
        let messages = self.sent - sent;
        let deliveries = messages * self.readers as u64;
        let reads = self.crowd.reads() - reads;
        let (latencies, lateness) = (&mut self.book.latencies, &mut self.book.lateness);
        Ok(TalkReport {
            readers: self.readers,
            messages,
            deliveries,
            cpu_nanos: nanos(cpu),
            wall_nanos: nanos(wall),
            waited_nanos: nanos(waited),
            median_nanos: percentile(latencies, 50),
            p99_nanos: percentile(latencies, 99),
            late_p99_nanos: percentile(lateness, 99),
            lines_per_read: deliveries as f64 / reads.max(1) as f64,
            ..TalkReport::default()
        })
    }

    fn waited(&self) -> Result<Duration> {
        Ok(waiting_time(self.plan.pid)? + waiting_time(std::process::id())?)
    }

    /// Talks for a while and until so many messages were said in all, then waits until
    /// everybody has everything.
    fn talk(&mut self, pace: Pace, seconds: f64, messages: u64) -> Result<()> {
        let begin = Instant::now();
        let mut end = begin + Duration::from_secs_f64(seconds);
        let mut turns = Turns::new(pace, begin);
        let mut open_end = self.plan.until_stopped;
        let mut last = (self.book.delivered, begin);
        loop {
            let now = Instant::now();
            let talking = open_end || now < end || self.sent < messages;
            let owed = self.sent * self.readers as u64;
            let Some(under_way) = owed.checked_sub(self.book.delivered) else {
                return fail("more deliveries arrived than messages were said");
            };
            if !talking && under_way == 0 {
                return Ok(());
            }
            let wake = if talking {
                self.say_what_is_due(&mut turns, now, under_way)?
            } else {
                None
            };
            self.flush()?;
            let pause = now + PAUSE;
            let until = if now < end && !open_end {
                end.min(pause)
            } else {
                pause
            };
            let commanded = self.turn(wake.map_or(until, |wake| wake.min(until)))?;
            if commanded && open_end {
                read_stop()?;
                open_end = false;
                end = Instant::now();
                self.say_last_words()?;
            }
            if self.book.delivered != last.0 || under_way == 0 {
                last = (self.book.delivered, now);
            } else if now - last.1 > SILENCE_LIMIT {
                return fail(format!("{under_way} deliveries did not arrive"));
            }
        }
    }

    /// Lets those talk whose turn it is; gives the time of the next turn if it is known.
    fn say_what_is_due(
        &mut self,
        turns: &mut Turns,
        now: Instant,
        under_way: u64,
    ) -> Result<Option<Instant>> {
        match turns.pace {
            Pace::Window(window) => {
                for talker in 0..self.talkers.len() {
                    while self.talkers[talker].sent - self.book.echoed[talker] < window {
                        self.say(talker, false);
                    }
                }
                Ok(None)
            }
            Pace::Lockstep => {
                if under_way == 0 {
                    self.say_timed(turns.next_talker(self.talkers.len()), now, now);
                }
                Ok(None)
            }
            Pace::Rate(_) => {
                while turns.due() <= now {
                    let due = turns.due();
                    self.say_timed(turns.next_talker(self.talkers.len()), due, now);
                }
                Ok(Some(turns.due()))
            }
            Pace::Silence => Ok(None),
        }
    }

    fn say(&mut self, talker: usize, last: bool) {
        let state = &mut self.talkers[talker];
        let key = Key::new(talker, state.sent, last);
        lines::push_message(&mut state.unsent, self.plan.target, talker, key);
        state.sent += 1;
        self.sent += 1;
    }

    fn say_timed(&mut self, talker: usize, due: Instant, now: Instant) {
        let times = &mut self.book.due[talker];
        if times.times.is_empty() {
            times.first = self.talkers[talker].sent;
        }
        times.times.push(due);
        self.book.lateness.push(nanos(now - due));
        self.say(talker, false);
    }

    fn say_last_words(&mut self) -> Result<()> {
        for talker in 0..self.talkers.len() {
            self.say(talker, true);
        }
        self.flush()
    }

    /// Gives the sockets what they take.
    fn flush(&mut self) -> Result<()> {
        for (number, talker) in self.talkers.iter_mut().enumerate() {
            if !talker.unsent.is_empty() {
                let sent = self.crowd.send(number, &talker.unsent)?;
                talker.unsent.drain(..sent);
            }
        }
        Ok(())
    }

    /// Reads a few clients; true if a command waits.
    fn turn(&mut self, until: Instant) -> Result<bool> {
        let Load { crowd, book, .. } = self;
        crowd.turn(until, |client, line, now| book.take(client, line, now))
    }

    fn verify(&self) -> Result<u64> {
        let said = self.sent as usize;
        if self.book.ledger.lines() != said {
            return fail(format!(
                "receiver 0 got {} of {said} messages",
                self.book.ledger.lines()
            ));
        }
        let readers = (0..self.crowd.len()).filter(|client| !self.plan.is_deaf(*client));
        self.book.ledger.verify(readers, false)
    }
}

/// Whose turn it is, and when.
struct Turns {
    pace: Pace,
    begin: Instant,
    taken: u64,
}

impl Turns {
    fn new(pace: Pace, begin: Instant) -> Self {
        Turns {
            pace,
            begin,
            taken: 0,
        }
    }

    fn due(&self) -> Instant {
        match self.pace {
            Pace::Rate(rate) => self.begin + Duration::from_secs_f64(self.taken as f64 / rate),
            _ => self.begin,
        }
    }

    fn next_talker(&mut self, talkers: usize) -> usize {
        self.taken += 1;
        ((self.taken - 1) % talkers as u64) as usize
    }
}

fn read_stop() -> Result<()> {
    let mut word = String::new();
    match std::io::stdin().read_line(&mut word) {
        Ok(_) if word.trim() == STOP => Ok(()),
        _ => fail("the benchmark ended before the load did"),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The smallest value that is not exceeded by this share of all; 0 of none.
fn percentile(values: &mut [u64], percent: usize) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let rank = (values.len() * percent)
        .div_ceil(100)
        .clamp(1, values.len());
    *values.select_nth_unstable(rank - 1).1
}
