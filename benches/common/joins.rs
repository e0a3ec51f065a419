//! The load of a join storm: thousands of clients connect as fast as they can.
//!
//! Only the benchmark `storm` uses it, as a process beside one of [`super::load`], whose
//! clients are already there and talk meanwhile. A witness that enters first gets every line;
//! it must never be believed that a newcomer missed nothing unless its lines are the witness's,
//! from its own arrival on.

use super::crowd::Crowd;
use super::ledger::Ledger;
use super::lines::{Line, arrival_id};
use super::process::{cpu_time, full_backlogs};
use super::{Result, fail};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The argument by which a benchmark executes itself as this load.
pub(crate) const ROLE: &str = "role-joins";

/// What the benchmark is told when everybody is in and everybody was told of it.
pub(crate) const SETTLED: &str = "settled";

/// Clients that begin to connect before others are read again.
const CONNECTS_PER_TURN: usize = 16;

/// How long nothing may arrive.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(20);

/// What a storm is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JoinPlan {
    /// Where the program listens.
    pub(crate) address: SocketAddr,
    /// Its process id.
    pub(crate) pid: u32,
    /// How many connect.
    pub(crate) clients: usize,
    /// Whether each arrival is told to everyone.
    pub(crate) everyone_is_told: bool,
    /// How many of those who are already there talk.
    pub(crate) talkers: usize,
}

/// What a storm cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct JoinReport {
    /// From the first connect until each had seen itself enter.
    pub(crate) joined_nanos: u64,
    /// From the first connect until everybody had seen everybody later enter.
    pub(crate) told_nanos: u64,
    /// User and system time of the program in that time.
    pub(crate) cpu_nanos: u64,
    /// Clients that were told something else than their arrival, or closed.
    pub(crate) refused: usize,
    /// Connections that found the backlog full.
    pub(crate) full_backlogs: u64,
    /// Lines that were verified.
    pub(crate) verified: u64,
}

/// Does what the plan says.
pub(crate) fn run(plan: &JoinPlan) -> Result<JoinReport> {
    let mut storm = Storm::new(plan)?;
    storm.connect(1)?;
    storm.until(
        |storm| storm.crowd.joined() == 1,
        "the witness did not join",
    )?;
    let backlogs = full_backlogs()?;
    let cpu = cpu_time(plan.pid)?;
    let begin = Instant::now();
    storm.connect(plan.clients)?;
    storm.until(Storm::everybody_is_in, "not everybody joined")?;
    let joined = begin.elapsed();
    storm.until(
        Storm::everybody_is_told,
        "not everybody was told of the others",
    )?;
    let told = begin.elapsed();
    let cpu = cpu_time(plan.pid)?.saturating_sub(cpu);
    println!("{SETTLED}");
    storm.until(Storm::talk_is_over, "the last messages did not arrive")?;
    Ok(JoinReport {
        joined_nanos: joined.as_nanos() as u64,
        told_nanos: told.as_nanos() as u64,
        cpu_nanos: cpu.as_nanos() as u64,
        refused: storm.crowd.refused(),
        full_backlogs: full_backlogs()? - backlogs,
        verified: storm.verify()?,
    })
}

struct Storm<'a> {
    plan: &'a JoinPlan,
    crowd: Crowd,
    book: Book,
}

/// What arrived.
struct Book {
    ledger: Ledger,
    everyone_is_told: bool,
    lines: u64,
    arrivals: u64,
    last_words: u64,
}

impl Book {
    fn take(&mut self, client: usize, line: Line) {
        self.lines += 1;
        match line {
            Line::Entered(port) => {
                self.arrivals += 1;
                if self.everyone_is_told {
                    self.ledger.note(client, arrival_id(port));
                }
            }
            Line::Said(key) => {
                self.last_words += u64::from(key.is_last());
                self.ledger.note(client, key.id());
            }
            Line::Other => {}
        }
    }
}

impl<'a> Storm<'a> {
    fn new(plan: &'a JoinPlan) -> Result<Self> {
        let book = Book {
            ledger: Ledger::default(),
            everyone_is_told: plan.everyone_is_told,
            lines: 0,
            arrivals: 0,
            last_words: 0,
        };
        Ok(Storm {
            plan,
            crowd: Crowd::new()?,
            book,
        })
    }

    fn connect(&mut self, clients: usize) -> Result<()> {
        for number in 0..clients {
            self.crowd.connect(self.plan.address)?;
            self.book.ledger.add_receiver();
            if number % CONNECTS_PER_TURN == CONNECTS_PER_TURN - 1 {
                self.turn(Instant::now())?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, until: Instant) -> Result<()> {
        let Storm { crowd, book, .. } = self;
        crowd.turn(until, |client, line, _| {
            book.take(client, line);
            Ok(())
        })?;
        Ok(())
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool, else_say: &str) -> Result<()> {
        let mut last = (self.book.lines, Instant::now());
        while !done(self) {
            self.turn(Instant::now() + PAUSE)?;
            if self.book.lines != last.0 {
                last = (self.book.lines, Instant::now());
            } else if last.1.elapsed() > SILENCE_LIMIT {
                let (joined, refused) = (self.crowd.joined(), self.crowd.refused());
                return fail(format!(
                    "{else_say}: {joined} joined, {refused} were refused"
                ));
            }
        }
        Ok(())
    }

    fn everybody_is_in(&self) -> bool {
        self.crowd.joined() + self.crowd.refused() == self.crowd.len()
    }

    /// The first to enter is told of all, the last of itself.
    fn everybody_is_told(&self) -> bool {
        let joined = self.crowd.joined() as u64;
        !self.plan.everyone_is_told || self.book.arrivals >= joined * (joined + 1) / 2
    }

    fn talk_is_over(&self) -> bool {
        self.book.last_words >= (self.plan.talkers * self.crowd.joined()) as u64
    }

    fn verify(&self) -> Result<u64> {
        let members = (0..self.crowd.len()).filter(|client| self.crowd.has_joined(*client));
        let verified = self.book.ledger.verify(members, true)?;
        if self.plan.everyone_is_told {
            self.verify_own_arrivals()?;
        }
        Ok(verified)
    }

    /// Each began with its own arrival, so nobody missed one at the beginning either.
    fn verify_own_arrivals(&self) -> Result<()> {
        let positions = self.book.ledger.positions();
        for client in (0..self.crowd.len()).filter(|client| self.crowd.has_joined(*client)) {
            if !positions.contains_key(&arrival_id(self.crowd.port(client))) {
                return fail(format!("the witness did not see client {client} enter"));
            }
        }
        Ok(())
    }
}
