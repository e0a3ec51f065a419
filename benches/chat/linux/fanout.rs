//! CPU time of the server per delivery, in a busy chat and with one message in flight.

use super::comparison::{Metric, Unit, Workload, print, quotients};
use super::load::{Schedule, TalkPlan};
use super::{Options, Result};

const WINDOW: u64 = 16;

pub(crate) fn measure(options: &Options) -> Result<()> {
    let mut workloads = workloads(options);
    options.compare(&mut workloads, |report| {
        vec![report.cpu_per_delivery(), report.messages_per_read]
    })?;
    for large in 1..workloads.len() {
        let (smaller, larger) = workloads.split_at_mut(large);
        let (small, large) = (&smaller[large - 1], &mut larger[0]);
        if matches!(large.plan.schedule, Schedule::Window(_)) {
            let growth = [0, 1].map(|side| {
                quotients(&large.metrics[0].sides[side], &small.metrics[0].sides[side])
            });
            large.metrics.push(Metric {
                name: "times the smaller chat's",
                unit: Unit::Number,
                sides: growth,
            });
        }
    }
    print(
        "CPU time per delivery, 100-byte messages",
        options.side_names(),
        &workloads,
    );
    Ok(())
}

fn workloads(options: &Options) -> Vec<Workload<TalkPlan>> {
    let seconds = options.seconds_or(1.5);
    let workload = |receivers: usize, title: &str, schedule: Schedule| {
        let plan = TalkPlan::new(options, receivers, schedule, seconds);
        let metrics = [
            ("CPU per delivery", Unit::Time),
            ("messages per read", Unit::Number),
        ];
        Workload::new(format!("{receivers} receivers, {title}"), plan, &metrics)
    };
    let busy = |receivers: usize| {
        let title = format!("{} talkers × {WINDOW}", options.talkers);
        workload(receivers, &title, Schedule::Window(WINDOW))
    };
    let one_in_flight =
        |receivers: usize| workload(receivers, "one message in flight", Schedule::OneInFlight);
    if options.receivers.is_none() && !options.quick {
        vec![busy(100), busy(1000), busy(10_000), one_in_flight(1000)]
    } else {
        let receivers = options.receivers_or(100);
        vec![busy(receivers), one_in_flight(receivers)]
    }
}
