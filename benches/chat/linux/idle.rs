//! Memory and CPU time of silent connections.

use super::comparison::{Unit, Workload, print};
use super::load::{Schedule, TalkPlan};
use super::{Options, Result};

pub(crate) fn measure(options: &Options) -> Result<()> {
    let receivers = options.receivers_or(10_000);
    let seconds = options.seconds_or(5.0);
    let mut plan = TalkPlan::new(options, receivers, Schedule::Silent, seconds);
    plan.talkers = 1;
    plan.warm_up_seconds = 0.0;
    if !options.quick {
        // Two summaries of joins, which the server sends once a second.
        plan.settle_seconds = 2.5;
    }
    let metrics = [
        ("memory per connection", Unit::Bytes),
        ("CPU per second", Unit::Time),
    ];
    let title = format!("{receivers} idle connections");
    let mut workloads = vec![Workload::new(title, plan, &metrics)];
    options.compare(&mut workloads, |report| {
        let growth = report
            .resident_connected
            .saturating_sub(report.resident_before);
        vec![
            growth as f64 / report.readers as f64,
            report.cpu_nanos / (report.wall_nanos / 1e9),
        ]
    })?;
    print("Silent connections", options.side_names(), &workloads);
    Ok(())
}
