//! What the network benchmarks share: how one starts, its options, and the interleaved runs.
//!
//! The files `fanout`, `latency`, `idle`, `storm` and `slow` use it; each is a program without
//! a harness. A program executes itself again for the *floor* ([`floor`]) and for the load
//! ([`load`], [`joins`]), so that server, floor and load are separate processes and the
//! operating system tells their costs apart. It must never measure two programs at once, take
//! an unverified run into a table, or leave a process behind.

#![allow(dead_code, reason = "each benchmark uses its part of what is shared")]

mod crowd;
pub(crate) mod floor;
pub(crate) mod joins;
mod ledger;
mod lines;
pub(crate) mod load;
pub(crate) mod plan;
pub(crate) mod process;
pub(crate) mod table;

use argh::FromArgs;
use floor::{Announce, FloorPlan};
use plan::{TalkPlan, TalkReport};
use process::{Place, Program, Worker};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::{Table, Workload};

/// Why a benchmark ended without a result: one sentence.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a step of a benchmark gives.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Ends a benchmark with this sentence.
pub(crate) fn fail<T>(sentence: impl Into<String>) -> Result<T> {
    Err(Failure(sentence.into()))
}

/// Says what could not be done, before what the operating system says about it.
pub(crate) trait OrSay<T> {
    /// `what` reads like "cannot connect to 127.0.0.1:1".
    fn or_say(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> OrSay<T> for std::result::Result<T, E> {
    fn or_say(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {error}", what())))
    }
}

/// Which program is under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// The relay that parses nothing.
    Floor,
    /// The server of this package, as it is installed.
    Server,
}

/// Measure the server against the floor, a relay that parses nothing.
#[derive(FromArgs, Clone, Debug)]
pub(crate) struct Options {
    /// receivers, instead of the numbers of the standard workloads
    #[argh(option)]
    pub(crate) receivers: Option<usize>,
    /// clients that talk
    #[argh(option, default = "4")]
    pub(crate) talkers: usize,
    /// seconds of one measurement
    #[argh(option)]
    pub(crate) seconds: Option<f64>,
    /// runs of each workload; medians are shown
    #[argh(option, default = "5")]
    pub(crate) runs: usize,
    /// threads of the server, instead of its default
    #[argh(option)]
    pub(crate) threads: Option<usize>,
    /// only workloads whose title contains this
    #[argh(option)]
    pub(crate) only: Option<String>,
    /// another server program to measure
    #[argh(option, default = "env!(\"CARGO_BIN_EXE_smolchat-server\").to_owned()")]
    pub(crate) server: String,
    /// a further argument for the server; may be repeated
    #[argh(option)]
    pub(crate) server_arg: Vec<String>,
    /// leave it to the scheduler which processor runs what, instead of the last one for the load
    /// and the others for the program under load
    #[argh(switch)]
    pub(crate) unpinned: bool,
    /// measure the floor against itself: shows how far the figures stray by chance
    #[argh(switch)]
    pub(crate) self_check: bool,
    /// seconds after which no further round of runs begins
    #[argh(option, default = "290")]
    pub(crate) time_limit: u64,
    /// seconds that a single run may take
    #[argh(option, default = "60")]
    pub(crate) run_limit: u64,
    /// whether this is only a try of the benchmark itself; set by cargo's own arguments
    #[argh(switch)]
    pub(crate) quick: bool,
}

impl Options {
    /// The number of receivers: what was asked for, a handful in a quick try, else `standard`.
    pub(crate) fn receivers_or(&self, standard: usize) -> usize {
        let quick = if self.quick {
            standard.min(40)
        } else {
            standard
        };
        self.receivers.unwrap_or(quick)
    }

    /// The length of a measurement: what was asked for, a blink in a quick try, else `standard`.
    pub(crate) fn seconds_or(&self, standard: f64) -> f64 {
        let quick = if self.quick { 0.2 } else { standard };
        self.seconds.unwrap_or(quick)
    }

    /// Starts the program under load, with `announce` telling whom arrivals are told to.
    pub(crate) fn start(&self, target: Target, announce: Announce) -> Result<Program> {
        let place = self.place(Place::AllButLast);
        match self.spoken_by(target) {
            Target::Floor => Program::start_floor(&FloorPlan { announce }, place),
            Target::Server => {
                Program::start_server(&self.server, &self.server_arguments(announce), place)
            }
        }
    }

    /// Starts a load.
    pub(crate) fn start_load(&self, role: &str, plan: &impl Serialize) -> Result<Worker> {
        Worker::start(role, plan, self.place(Place::Last))
    }

    fn place(&self, pinned: Place) -> Place {
        if self.unpinned {
            Place::Anywhere
        } else {
            pinned
        }
    }

    /// Which language the program that stands for `target` speaks.
    pub(crate) fn spoken_by(&self, target: Target) -> Target {
        if self.self_check {
            Target::Floor
        } else {
            target
        }
    }

    fn server_arguments(&self, announce: Announce) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--web-port",
            "0",
            "--rate",
            "10000000",
            "--burst",
            "10000000",
            "--max-clients",
            "20000",
        ]
        .map(String::from)
        .to_vec();
        if announce == Announce::Everyone {
            arguments.extend(["--announce-limit".to_owned(), "20000".to_owned()]);
        }
        if let Some(threads) = self.threads {
            arguments.extend(["--threads".to_owned(), threads.to_string()]);
        }
        arguments.extend(self.server_arg.iter().cloned());
        arguments
    }

    /// Runs the load of a [`TalkPlan`] against a fresh program and gives what it found.
    pub(crate) fn talk(&self, target: Target, plan: &TalkPlan) -> Result<TalkReport> {
        let program = self.start(target, Announce::Newcomer)?;
        let worker = self.start_load(load::ROLE, &self.addressed(target, plan, &program))?;
        let report = worker.report(self.deadline());
        program.explain(report)
    }

    /// `plan`, pointed at a program.
    pub(crate) fn addressed(&self, target: Target, plan: &TalkPlan, program: &Program) -> TalkPlan {
        TalkPlan {
            target: self.spoken_by(target),
            address: program.address(),
            pid: program.pid(),
            // A handful of clients is never told of in summary: there is nothing to wait for.
            settle_seconds: if self.quick { 0.1 } else { plan.settle_seconds },
            ..plan.clone()
        }
    }

    /// When a run that begins now has to be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.run_limit)
    }
}

/// `main` of a benchmark: a role that it was executed again for, or the whole measurement.
pub(crate) fn start(name: &str, measure: fn(&Options) -> Result<Table>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((role, plan)) if role.starts_with("role-") => play(role, plan),
        _ => {
            parse(name, &arguments).and_then(|options| measure(&options).map(|table| table.print()))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn play(role: &str, plan: &[String]) -> Result<()> {
    // Every process here holds thousands of sockets; the soft limit is often 1024.
    rlimit::increase_nofile_limit(u64::MAX)
        .or_say(|| "cannot raise the limit on open files".to_owned())?;
    let plan = plan.first().map_or("{}", String::as_str);
    match role {
        floor::ROLE => floor::run(&read_plan(plan)?),
        load::ROLE => process::tell(&load::run(&read_plan(plan)?)?),
        joins::ROLE => process::tell(&joins::run(&read_plan(plan)?)?),
        _ => fail(format!("there is no role {role}")),
    }
}

fn read_plan<'a, T: Deserialize<'a>>(plan: &'a str) -> Result<T> {
    serde_json::from_str(plan).or_say(|| format!("cannot read the plan {plan}"))
}

/// Reads the options. Cargo passes `--bench` when it benchmarks and leaves it out when it
/// tests; a test is a single run of a small size.
fn parse(name: &str, arguments: &[String]) -> Result<Options> {
    let benchmark = arguments.iter().any(|argument| argument == "--bench");
    let mut rest: Vec<&str> = arguments.iter().map(String::as_str).collect();
    rest.retain(|argument| *argument != "--bench");
    let mut options = match Options::from_args(&[name], &rest) {
        Ok(options) => options,
        Err(exit) if exit.status.is_ok() => {
            println!("{}", exit.output);
            std::process::exit(0);
        }
        Err(exit) => return fail(exit.output.trim().to_owned()),
    };
    if !benchmark && rest.is_empty() {
        options.quick = true;
    }
    if options.quick {
        options.runs = 1;
    }
    if options.runs == 0 || options.talkers == 0 || options.talkers > lines::MAX_TALKERS {
        return fail(format!(
            "--runs and --talkers are at least 1, and --talkers at most {}",
            lines::MAX_TALKERS
        ));
    }
    Ok(options)
}

/// Runs all workloads in turn, both sides of each one after the other, and all that again
/// until there are enough runs or the time is over; a slow drift of the machine then meets
/// both sides alike.
pub(crate) fn interleave<P>(
    options: &Options,
    sides: [&'static str; 2],
    workloads: &mut Vec<(Workload, P)>,
    run: impl Fn(&P, usize) -> Result<table::Sample>,
) -> Result<()> {
    if let Some(only) = &options.only {
        workloads.retain(|(workload, _)| workload.title.contains(only.as_str()));
    }
    let begin = Instant::now();
    for round in 1..=options.runs {
        if begin.elapsed() > Duration::from_secs(options.time_limit) {
            eprintln!(
                "the time limit ends the measurement after {} runs",
                round - 1
            );
            break;
        }
        for (workload, parameters) in workloads.iter_mut() {
            for (side, side_name) in sides.iter().enumerate() {
                let sample = run(parameters, side).map_err(|failure| {
                    Failure(format!(
                        "{}, {side_name}, run {round}: {failure}",
                        workload.title
                    ))
                })?;
                eprintln!("run {round}, {}, {side_name}: {sample}", workload.title);
                workload.take(side, sample);
            }
        }
    }
    Ok(())
}
