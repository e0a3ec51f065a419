//! Storm: thousands of clients connect as fast as they can, while some are there and talk.
//!
//! `cargo bench --bench storm -- --help` tells the options. Once every arrival is told to
//! everybody (the server's `--announce-limit` is raised; the floor does the same), once as the
//! server does it by default, in summary (the floor greets the newcomer alone).

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod storm {
    use super::common::floor::Announce;
    use super::common::joins::{self, JoinPlan, JoinReport};
    use super::common::load;
    use super::common::plan::{Pace, TalkPlan, TalkReport};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload};
    use super::common::{Options, Result, Target, interleave};

    const SIDES: [&str; 2] = ["floor", "server"];
    const TARGETS: [Target; 2] = [Target::Floor, Target::Server];

    /// Those who are there before: besides the talkers, a few who only listen.
    const PRESENT: usize = 16;
    const MESSAGES_A_SECOND: f64 = 10.0;

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let clients = options.receivers_or(10_000);
        let mut workloads = vec![
            (
                workload(format!("{clients} joins, everybody told of each")),
                Announce::Everyone,
            ),
            (
                workload(format!("{clients} joins, told in summary")),
                Announce::Newcomer,
            ),
        ];
        interleave(options, SIDES, &mut workloads, |announce, side| {
            let (joins, talk) = run(options, TARGETS[side], *announce, clients)?;
            Ok(sample(&joins, &talk))
        })?;
        let done = workloads
            .into_iter()
            .map(|(workload, _)| workload)
            .collect();
        Ok(Table::new("Clients that connect all at once", SIDES, done))
    }

    fn workload(title: String) -> Workload {
        let metrics = vec![
            Metric::new("until all had joined", Unit::Time, Goal::AtMost(6e9)),
            Metric::new("until all were told", Unit::Time, Goal::Nothing),
            Metric::new("CPU in that time", Unit::Time, Goal::Nothing),
            Metric::new(
                "latency of those there, 99th percentile",
                Unit::Time,
                Goal::AtMost(250e6),
            ),
            Metric::new("refused", Unit::Number, Goal::AtMost(0.0)),
            Metric::new("found the backlog full", Unit::Number, Goal::AtMost(0.0)),
        ];
        Workload::new(title, metrics)
    }

    fn sample(joins: &JoinReport, talk: &TalkReport) -> Sample {
        Sample {
            values: vec![
                joins.joined_nanos as f64,
                joins.told_nanos as f64,
                joins.cpu_nanos as f64,
                talk.p99_nanos as f64,
                joins.refused as f64,
                joins.full_backlogs as f64,
            ],
            verified: joins.verified + talk.verified,
            // Two loads share a processor here, so waiting says nothing.
            waited: 0.0,
            remark: format!(
                "joined in {:.2} s, told in {:.2} s, CPU {:.2} s, p99 {:.1} ms of {} messages, {} refused, {} times a full backlog",
                joins.joined_nanos as f64 / 1e9,
                joins.told_nanos as f64 / 1e9,
                joins.cpu_nanos as f64 / 1e9,
                talk.p99_nanos as f64 / 1e6,
                talk.messages,
                joins.refused,
                joins.full_backlogs
            ),
        }
    }

    /// The talkers' process runs from before the storm until after it.
    fn run(
        options: &Options,
        target: Target,
        announce: Announce,
        clients: usize,
    ) -> Result<(JoinReport, TalkReport)> {
        let program = options.start(target, announce)?;
        let mut plan = TalkPlan::new(PRESENT, options.talkers, Pace::Rate(MESSAGES_A_SECOND), 0.0);
        plan.until_stopped = true;
        let storm_plan = JoinPlan {
            address: program.address(),
            pid: program.pid(),
            clients,
            everyone_is_told: announce == Announce::Everyone,
            talkers: options.talkers,
        };
        let deadline = options.deadline();
        let outcome = options
            .start_load(load::ROLE, &options.addressed(target, &plan, &program))
            .and_then(|mut talk| {
                talk.expect(load::READY, deadline)?;
                let storm = options.start_load(joins::ROLE, &storm_plan)?;
                storm.expect(joins::SETTLED, deadline)?;
                talk.command(load::STOP)?;
                Ok((storm.report(deadline)?, talk.report(deadline)?))
            });
        program.explain(outcome)
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::start("storm", storm::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("storm: this benchmark reads /proc and needs Linux");
}
