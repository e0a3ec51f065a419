//! Slow: whether receivers that never read cost the others anything.
//!
//! `cargo bench --bench slow -- --help` tells the options. The same load runs twice, once with
//! everybody reading and once with one receiver in ten that never does; the figures are those
//! of the others.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod slow {
    use super::common::plan::{Pace, TalkPlan};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload};
    use super::common::{Options, Result, Target, interleave};

    const SIDES: [&str; 2] = ["all read", "10 % never"];

    const WINDOW: u64 = 16;

    /// So many messages fill the sockets of those who never read: about 4 MB each in the
    /// kernel. Filling them is the kernel's work and no part of the question.
    const FILL_MESSAGES: u64 = 26_000;

    /// Twice what one receiver may be behind by default: the log, and as much again for all else.
    const MEMORY_LIMIT_BYTES: f64 = 8.0 * 1024.0 * 1024.0;

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let mut workloads = Vec::new();
        for target in [Target::Floor, Target::Server] {
            workloads.push(busy(options, target));
            workloads.push(paced(options, target));
        }
        interleave(options, SIDES, &mut workloads, |(target, plan), side| {
            let mut plan = plan.clone();
            if side == 1 {
                plan.deaf = plan.receivers / 10;
                plan.warm_up_messages = if options.quick { 0 } else { FILL_MESSAGES };
            }
            sample(options, *target, &plan)
        })?;
        let done = workloads
            .into_iter()
            .map(|(workload, _)| workload)
            .collect();
        Ok(Table::new("One receiver in ten never reads", SIDES, done))
    }

    type Case = (Workload, (Target, TalkPlan));

    fn busy(options: &Options, target: Target) -> Case {
        let goal = goal(target, Goal::Times(1.1));
        let metrics = vec![
            Metric::new("CPU per delivery to a reader", Unit::Time, goal),
            Metric::new("time for each message", Unit::Time, goal),
            Metric::new(
                "memory grown by, at most",
                Unit::Bytes,
                self::goal(target, Goal::AtMost(MEMORY_LIMIT_BYTES)),
            ),
            Metric::new("connections cut off", Unit::Number, Goal::Nothing),
        ];
        let title = format!("{}, as fast as it goes", name(target));
        (
            Workload::new(title, metrics),
            (target, plan(options, Pace::Window(WINDOW))),
        )
    }

    fn paced(options: &Options, target: Target) -> Case {
        let goal = goal(target, Goal::Times(1.1));
        let metrics = vec![
            Metric::new("latency, median", Unit::Time, goal),
            Metric::new("latency, 99th percentile", Unit::Time, goal),
        ];
        let title = format!("{}, 200 messages a second", name(target));
        (
            Workload::new(title, metrics),
            (target, plan(options, Pace::Rate(200.0))),
        )
    }

    fn plan(options: &Options, pace: Pace) -> TalkPlan {
        let receivers = options.receivers_or(1000);
        let mut plan = TalkPlan::new(receivers, options.talkers, pace, options.seconds_or(2.0));
        plan.warm_up_pace = Pace::Window(WINDOW);
        plan
    }

    fn sample(options: &Options, target: Target, plan: &TalkPlan) -> Result<Sample> {
        let report = options.talk(target, plan)?;
        let each = report.wall_nanos as f64 / report.messages.max(1) as f64;
        let growth = report.resident_peak.saturating_sub(report.resident_before);
        let values = match plan.pace {
            Pace::Rate(_) => vec![report.median_nanos as f64, report.p99_nanos as f64],
            _ => vec![
                report.cpu_per_delivery(),
                each,
                growth as f64,
                report.cut_off as f64,
            ],
        };
        Ok(Sample {
            values,
            verified: report.verified,
            waited: report.waited(),
            remark: format!(
                "{:.3} µs each, p99 {:.2} ms, {} cut off",
                report.cpu_per_delivery() / 1e3,
                report.p99_nanos as f64 / 1e6,
                report.cut_off
            ),
        })
    }

    fn goal(target: Target, goal: Goal) -> Goal {
        if target == Target::Server {
            goal
        } else {
            Goal::Nothing
        }
    }

    fn name(target: Target) -> &'static str {
        if target == Target::Server {
            "server"
        } else {
            "floor"
        }
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::start("slow", slow::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("slow: this benchmark reads /proc and needs Linux");
}
