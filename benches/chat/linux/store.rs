//! The same load with and without `--db`.
//!
//! The database is in the folder for temporary files; `TMPDIR` chooses another disk. With
//! `--reference PATH`, the sides are that server and the measured one, both with `--db`.

use super::comparison::{Sample, Unit, Workload, print, run};
use super::load::{Schedule, TalkPlan};
use super::{Options, Result};

const WINDOW: u64 = 16;

const METRICS: [(&str, Unit); 3] = [
    ("CPU per delivery", Unit::Time),
    ("latency, median", Unit::Time),
    ("latency, 99th percentile", Unit::Time),
];

struct StorePlan {
    talk: TalkPlan,
    sync: &'static str,
}

pub(crate) fn measure(options: &Options) -> Result<()> {
    let title = "The same load with and without a store, 100 bytes each";
    let names = match options.reference {
        Some(_) => options.side_names(),
        None => ["memory", "store"],
    };
    let mut workloads = workloads(options);
    run(options, names, &mut workloads, |plan, side| {
        sample(options, plan, side)
    })?;
    print(title, names, &workloads);
    Ok(())
}

fn workloads(options: &Options) -> Vec<Workload<StorePlan>> {
    let seconds = options.seconds_or(3.0);
    let receivers = options.receivers_or(100);
    let mut workloads = Vec::new();
    for sync in ["normal", "full"] {
        // While all talkers send as fast as they can, a latency would be that of a queue.
        for (words, schedule, metrics) in [
            ("busy", Schedule::Window(WINDOW), &METRICS[..1]),
            ("20 messages a second", Schedule::Rate(20.0), &METRICS[..]),
        ] {
            let title = format!("{receivers} receivers, {words}, --db-sync {sync}");
            let talk = TalkPlan::new(options, receivers, schedule, seconds);
            workloads.push(Workload::new(title, StorePlan { talk, sync }, metrics));
        }
    }
    workloads
}

fn sample(options: &Options, plan: &StorePlan, side: usize) -> Result<Sample> {
    let has_reference = options.reference.is_some();
    let target = options.target(if has_reference { side } else { 1 });
    let folder = std::env::temp_dir().join(format!("smolchat-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut options = options.clone();
    if side == 1 || has_reference {
        let file = folder.join("chat.db").display().to_string();
        let arguments = ["--db", &file, "--db-sync", plan.sync];
        options.server_arg.extend(arguments.map(str::to_owned));
    }
    let report = options.talk(&target, &plan.talk);
    // What remains is in the folder for temporary files.
    let _ = std::fs::remove_dir_all(&folder);
    let report = report?;
    let latencies = [report.median_nanos, report.p99_nanos];
    let values = [&[report.cpu_per_delivery()][..], &latencies].concat();
    Ok((values, report.waited()))
}
