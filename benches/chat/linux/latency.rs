//! CPU time per delivery and latency of messages that are sent at due times.

use super::comparison::{Unit, Workload, print};
use super::load::{Schedule, TalkPlan};
use super::{Options, Result};

const METRICS: [(&str, Unit); 4] = [
    ("CPU per delivery", Unit::Time),
    ("latency, median", Unit::Time),
    ("latency, 99th percentile", Unit::Time),
    ("lateness of the load, 99th percentile", Unit::Time),
];

pub(crate) fn measure(options: &Options) -> Result<()> {
    let seconds = options.seconds_or(3.0);
    let workload = |receivers: usize, rate: f64| {
        let title = format!("{receivers} receivers, {rate} messages a second");
        let plan = TalkPlan::new(options, receivers, Schedule::Rate(rate), seconds);
        Workload::new(title, plan, &METRICS)
    };
    let receivers = options.receivers_or(1000);
    let mut workloads = vec![workload(receivers, 20.0), workload(receivers, 200.0)];
    if options.receivers.is_none() && !options.quick {
        workloads.push(workload(10_000, 10.0));
    }
    options.compare(&mut workloads, |report| {
        vec![
            report.cpu_per_delivery(),
            report.median_nanos,
            report.p99_nanos,
            report.late_p99_nanos,
        ]
    })?;
    print(
        "Messages at due times, 100 bytes each",
        options.side_names(),
        &workloads,
    );
    Ok(())
}
