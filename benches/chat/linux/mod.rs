//! Options of the benchmarks, and the start of the programs under load.

mod client;
mod clients;
mod comparison;
mod fanout;
mod floor;
mod idle;
mod latency;
mod lines;
mod load;
mod process;
mod slow;
mod store;
mod storm;
mod verification;

use argh::FromArgs;
use comparison::Workload;
use load::{TalkPlan, TalkReport};
use process::Program;
use std::fmt::Display;
use std::process::Command;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Returns a function that puts `action` before an error.
pub(crate) fn context<E: Display>(action: impl Display) -> impl FnOnce(E) -> Error {
    move |error| format!("{action}: {error}").into()
}

/// Program under load.
#[derive(PartialEq)]
pub(crate) enum Target {
    Floor,
    /// Server binary at this path.
    Server(String),
}

type Measure = fn(&Options) -> Result<()>;

/// The benchmarks, in the order of docs/performance.md.
const BENCHMARKS: [(&str, Measure); 7] = [
    ("fanout", fanout::measure),
    ("latency", latency::measure),
    ("idle", idle::measure),
    ("storm", storm::measure),
    ("store", store::measure),
    ("slow", slow::measure),
    ("client", client::measure),
];

/// Measures the server against a reference, by default the floor: a relay that does not parse.
#[derive(FromArgs, Clone)]
pub(crate) struct Options {
    /// fanout, latency, idle, storm, store, slow or client; all of them without a name
    #[argh(positional)]
    benchmarks: Vec<String>,
    /// number of receivers, instead of the standard workloads
    #[argh(option)]
    pub(crate) receivers: Option<usize>,
    /// number of talkers, 4
    #[argh(option, default = "4")]
    pub(crate) talkers: usize,
    /// length of a measurement in seconds
    #[argh(option)]
    pub(crate) seconds: Option<f64>,
    /// number of runs, of which the median is shown, 5
    #[argh(option, default = "5")]
    pub(crate) runs: usize,
    /// threads of the server
    #[argh(option)]
    pub(crate) threads: Option<usize>,
    /// only workloads whose title contains this
    #[argh(option)]
    pub(crate) only: Option<String>,
    /// another server binary as the reference
    #[argh(option)]
    pub(crate) reference: Option<String>,
    /// further argument of the server; may be repeated
    #[argh(option)]
    pub(crate) server_arg: Vec<String>,
    /// let the scheduler choose the processors
    #[argh(switch)]
    pub(crate) unpinned: bool,
    /// one short run with few clients, as under cargo test
    #[argh(switch)]
    pub(crate) quick: bool,
    /// added by cargo bench
    #[argh(switch, hidden_help)]
    bench: bool,
}

impl Options {
    pub(crate) fn receivers_or(&self, standard: usize) -> usize {
        let few = standard.min(40);
        self.receivers
            .unwrap_or(if self.quick { few } else { standard })
    }

    pub(crate) fn seconds_or(&self, standard: f64) -> f64 {
        self.seconds
            .unwrap_or(if self.quick { 0.2 } else { standard })
    }

    pub(crate) fn side_names(&self) -> [&'static str; 2] {
        [
            self.reference.as_ref().map_or("floor", |_| "reference"),
            "server",
        ]
    }

    /// Returns the reference (side 0) or the server to measure: `SMOLCHAT_SERVER`, or the one
    /// that Cargo built.
    pub(crate) fn target(&self, side: usize) -> Target {
        match (side, &self.reference) {
            (0, Some(path)) => Target::Server(path.clone()),
            (0, None) => Target::Floor,
            _ => Target::Server(
                std::env::var("SMOLCHAT_SERVER")
                    .unwrap_or_else(|_| env!("CARGO_BIN_EXE_smolchat-server").to_owned()),
            ),
        }
    }

    /// Starts a program under load; every join is announced to all clients on request.
    pub(crate) fn start(&self, target: &Target, announce_to_all: bool) -> Result<Program> {
        let command = match target {
            Target::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(floor::ROLE);
                command.args(announce_to_all.then_some(floor::ANNOUNCE_TO_ALL));
                command
            }
            Target::Server(path) => {
                let mut command = Command::new(path);
                command.args(["--host", "127.0.0.1", "--port", "0", "--web-port", "0"]);
                command.args(["--rate", "10000000", "--burst", "10000000"]);
                command.args(["--max-clients", "20000"]);
                if announce_to_all {
                    command.args(["--announce-limit", "20000"]);
                }
                if let Some(threads) = self.threads {
                    command.args(["--threads", &threads.to_string()]);
                }
                command.args(&self.server_arg);
                command
            }
        };
        Program::start(command, *target == Target::Floor, self.unpinned)
    }

    /// Runs a load against a new program.
    pub(crate) fn talk(&self, target: &Target, plan: &TalkPlan) -> Result<TalkReport> {
        load::run(plan, &self.start(target, false)?)
    }

    /// Runs each workload against the reference and the server.
    pub(crate) fn compare(
        &self,
        workloads: &mut Vec<Workload<TalkPlan>>,
        figures: impl Fn(&TalkReport) -> Vec<f64>,
    ) -> Result<()> {
        comparison::run(self, self.side_names(), workloads, |plan, side| {
            let report = self.talk(&self.target(side), plan)?;
            Ok((figures(&report), report.waited()))
        })
    }
}

/// Runs benchmarks, or a program under load if the arguments say so; exits with status 1 after a
/// failure.
pub(crate) fn run() {
    if let Err(error) = try_run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn try_run() -> Result<()> {
    // A process holds thousands of sockets; the soft limit is often 1024.
    rlimit::increase_nofile_limit(u64::MAX).map_err(context("cannot raise the fd limit"))?;
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(floor::ROLE) => return floor::run(arguments.len() > 2),
        Some(client::ROLE) => return client::run_reference(&arguments[2..]),
        _ => {}
    }
    let mut options: Options = argh::from_env();
    options.quick |= !options.bench;
    if options.quick {
        options.runs = 1;
    }
    if options.runs == 0 || !(1..=lines::MAX_TALKERS).contains(&options.talkers) {
        let most = lines::MAX_TALKERS;
        return Err(format!("--runs must be at least 1, --talkers 1 to {most}").into());
    }
    let is_known = |name: &String| BENCHMARKS.iter().any(|(known, _)| known == name);
    if let Some(name) = options.benchmarks.iter().find(|name| !is_known(name)) {
        return Err(format!("there is no benchmark {name}; --help lists them").into());
    }
    for (name, measure) in BENCHMARKS {
        if options.benchmarks.is_empty() || options.benchmarks.iter().any(|each| each == name) {
            measure(&options).map_err(context(name))?;
        }
    }
    Ok(())
}
