//! Latency: how long a message takes to everybody when the chat is not busy.
//!
//! `cargo bench --bench latency -- --help` tells the options. Messages are sent at their due
//! times whatever became of the ones before, and the time of a delivery counts from the due
//! time, so that nothing hides in a late start.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod latency {
    use super::common::plan::{Pace, TalkPlan};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload};
    use super::common::{Options, Result, Target, interleave};

    const SIDES: [&str; 2] = ["floor", "server"];
    const TARGETS: [Target; 2] = [Target::Floor, Target::Server];

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let mut workloads = workloads(options);
        interleave(options, SIDES, &mut workloads, |plan, side| {
            let report = options.talk(TARGETS[side], plan)?;
            Ok(Sample {
                values: vec![
                    report.cpu_per_delivery(),
                    report.median_nanos as f64,
                    report.p99_nanos as f64,
                ],
                verified: report.verified,
                waited: report.waited(),
                remark: format!(
                    "{:.2} µs each, median {:.2} ms, p99 {:.2} ms, {:.1} messages a read, the load itself late by p99 {:.2} ms",
                    report.cpu_per_delivery() / 1e3,
                    report.median_nanos as f64 / 1e6,
                    report.p99_nanos as f64 / 1e6,
                    report.lines_per_read,
                    report.late_p99_nanos as f64 / 1e6
                ),
            })
        })?;
        let done = workloads
            .into_iter()
            .map(|(workload, _)| workload)
            .collect();
        Ok(Table::new(
            "Messages at due times, 100 bytes each",
            SIDES,
            done,
        ))
    }

    fn workloads(options: &Options) -> Vec<(Workload, TalkPlan)> {
        let seconds = options.seconds_or(3.0);
        let paced = |receivers: usize, rate: f64, goals: [Goal; 3]| {
            let title = format!("{receivers} receivers, {rate} messages a second");
            let plan = TalkPlan::new(receivers, options.talkers, Pace::Rate(rate), seconds);
            (workload(title, goals), plan)
        };
        let times = Goal::Times;
        let receivers = options.receivers_or(1000);
        let mut workloads = vec![
            paced(receivers, 20.0, [times(1.3), times(1.15), times(1.15)]),
            paced(receivers, 200.0, [times(1.15), times(1.15), times(1.15)]),
        ];
        if options.receivers.is_none() && !options.quick {
            workloads.push(paced(
                10_000,
                10.0,
                [Goal::Nothing, Goal::Nothing, times(1.3)],
            ));
        }
        workloads
    }

    fn workload(title: String, [cpu, median, p99]: [Goal; 3]) -> Workload {
        let metrics = vec![
            Metric::new("CPU per delivery", Unit::Time, cpu),
            Metric::new("latency, median", Unit::Time, median),
            Metric::new("latency, 99th percentile", Unit::Time, p99),
        ];
        Workload::new(title, metrics)
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::start("latency", latency::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("latency: this benchmark reads /proc and needs Linux");
}
