//! Idle: what a connection costs that says nothing and is told nothing.
//!
//! `cargo bench --bench idle -- --help` tells the options. Memory is the growth of the
//! resident set divided by the connections; the CPU time is that of a stretch in which nobody
//! talks. Afterwards everybody has to get a few messages, to show that all were still there.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod idle {
    use super::common::plan::{Pace, TalkPlan};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload};
    use super::common::{Options, Result, Target, interleave};

    const SIDES: [&str; 2] = ["floor", "server"];
    const TARGETS: [Target; 2] = [Target::Floor, Target::Server];

    /// Long enough for summaries of arrivals, which come once a second, to be over.
    const SETTLE_SECONDS: f64 = 2.5;

    /// Less than what a timer that wakes a few times a second costs.
    const NO_CPU_NANOS: f64 = 1e6;

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let receivers = options.receivers_or(10_000);
        let mut plan = TalkPlan::new(receivers, 1, Pace::Silence, options.seconds_or(5.0));
        plan.settle_seconds = SETTLE_SECONDS;
        plan.warm_up_seconds = 0.0;
        let metrics = vec![
            Metric::new("memory of each", Unit::Bytes, Goal::AtMost(1536.0)),
            Metric::new("memory before", Unit::Bytes, Goal::Nothing),
            Metric::new("CPU in a second", Unit::Time, Goal::AtMost(NO_CPU_NANOS)),
        ];
        let title = format!("{receivers} idle connections");
        let mut workloads = vec![(Workload::new(title, metrics), plan)];
        interleave(options, SIDES, &mut workloads, |plan, side| {
            let report = options.talk(TARGETS[side], plan)?;
            let growth = report
                .resident_connected
                .saturating_sub(report.resident_before);
            let each = growth as f64 / report.readers as f64;
            let cpu = report.cpu_nanos as f64 / (report.wall_nanos as f64 / 1e9);
            Ok(Sample {
                values: vec![each, report.resident_before as f64, cpu],
                verified: report.verified,
                waited: report.waited(),
                remark: format!("{each:.0} bytes each, {:.3} ms of CPU a second", cpu / 1e6),
            })
        })?;
        let done = workloads
            .into_iter()
            .map(|(workload, _)| workload)
            .collect();
        Ok(Table::new("Connections with nothing to say", SIDES, done))
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::start("idle", idle::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("idle: this benchmark reads /proc and needs Linux");
}
