//! Cost of receivers that never read, for those that do.

use super::comparison::{Sample, Unit, Workload, print, run};
use super::load::{Schedule, TalkPlan};
use super::{Options, Result};

const WINDOW: u64 = 16;

/// Messages that fill the sockets of clients that never read: about 4 MB each in the kernel.
/// The kernel's work to fill them is not measured.
const FILL_MESSAGES: u64 = 26_000;

pub(crate) fn measure(options: &Options) -> Result<()> {
    let receivers = options.receivers_or(1000);
    let plan = |schedule| {
        let mut plan = TalkPlan::new(options, receivers, schedule, options.seconds_or(2.0));
        plan.warm_up_schedule = Schedule::Window(WINDOW);
        plan
    };
    let busy = [
        ("CPU per delivery to a reader", Unit::Time),
        ("time per message", Unit::Time),
        ("maximum growth of memory", Unit::Bytes),
    ];
    let timed = [
        ("latency, median", Unit::Time),
        ("latency, 99th percentile", Unit::Time),
    ];
    let title = "200 messages a second".to_owned();
    let mut workloads = vec![
        Workload::new("busy".to_owned(), plan(Schedule::Window(WINDOW)), &busy),
        Workload::new(title, plan(Schedule::Rate(200.0)), &timed),
    ];
    let names = ["all read", "10 % never"];
    let title = "One receiver in ten never reads";
    run(options, names, &mut workloads, |plan, side| {
        let mut plan = plan.clone();
        if side == 1 {
            plan.non_readers = plan.receivers / 10;
            plan.warm_up_messages = if options.quick { 0 } else { FILL_MESSAGES };
        }
        sample(options, &plan)
    })?;
    print(title, names, &workloads);
    Ok(())
}

fn sample(options: &Options, plan: &TalkPlan) -> Result<Sample> {
    let report = options.talk(&options.target(1), plan)?;
    let growth = report.resident_peak.saturating_sub(report.resident_before);
    let values = match plan.schedule {
        Schedule::Rate(_) => vec![report.median_nanos, report.p99_nanos],
        _ => vec![
            report.cpu_per_delivery(),
            report.wall_nanos / report.messages.max(1) as f64,
            growth as f64,
        ],
    };
    Ok((values, report.waited()))
}
