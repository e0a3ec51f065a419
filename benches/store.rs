//! The price of a store: the same talk with the chat in memory and in a file.
//!
//! `cargo bench --bench store -- --help` tells the options. The reference is the same server
//! without `--db`, in runs beside those with it. The file is in the folder for temporary files:
//! `TMPDIR` chooses another disk.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod store {
    use super::common::plan::{Pace, TalkPlan};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload};
    use super::common::{Options, Result, Target, interleave};
    use std::path::PathBuf;

    const SIDES: [&str; 2] = ["memory", "store"];
    const WINDOW: u64 = 16;

    /// A talk, and how sure each commit is.
    struct Plan {
        talk: TalkPlan,
        sync: &'static str,
        /// Whether everybody talks as fast as possible: a latency is that of a queue then.
        is_busy: bool,
    }

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let mut workloads = workloads(options);
        interleave(options, SIDES, &mut workloads, |plan, side| {
            let folder = Folder::new();
            let mut options = options.clone();
            if side == 1 {
                let file = folder.0.join("chat.db").display().to_string();
                let arguments = ["--db", &file, "--db-sync", plan.sync];
                options.server_arg.extend(arguments.map(str::to_owned));
            }
            let report = options.talk(Target::Server, &plan.talk)?;
            let rate = report.deliveries as f64 / (report.wall_nanos as f64 / 1e9);
            let mut values = vec![report.cpu_per_delivery()];
            if !plan.is_busy {
                values.extend([report.median_nanos as f64, report.p99_nanos as f64]);
            }
            Ok(Sample {
                values,
                verified: report.verified,
                waited: report.waited(),
                remark: format!(
                    "{:.3} µs each, {:.0} deliveries a second, median {:.2} ms, p99 {:.2} ms",
                    report.cpu_per_delivery() / 1e3,
                    rate,
                    report.median_nanos as f64 / 1e6,
                    report.p99_nanos as f64 / 1e6
                ),
            })
        })?;
        let done = workloads
            .into_iter()
            .map(|(workload, _)| workload)
            .collect();
        let title = "The same talk in memory and in a store, 100 bytes each";
        Ok(Table::new(title, SIDES, done))
    }

    fn workloads(options: &Options) -> Vec<(Workload, Plan)> {
        let seconds = options.seconds_or(3.0);
        let receivers = options.receivers_or(100);
        let mut workloads = Vec::new();
        for sync in ["normal", "full"] {
            for (words, pace, is_busy) in [
                ("busy", Pace::Window(WINDOW), true),
                ("20 messages a second", Pace::Rate(20.0), false),
            ] {
                let title = format!("{receivers} receivers, {words}, --db-sync {sync}");
                let talk = TalkPlan::new(receivers, options.talkers, pace, seconds);
                let plan = Plan {
                    talk,
                    sync,
                    is_busy,
                };
                workloads.push((workload(title, is_busy), plan));
            }
        }
        workloads
    }

    fn workload(title: String, is_busy: bool) -> Workload {
        let names = [
            "CPU per delivery",
            "latency, median",
            "latency, 99th percentile",
        ];
        let shown = if is_busy { 1 } else { names.len() };
        let metric = |name: &&'static str| Metric::new(name, Unit::Time, Goal::Nothing);
        Workload::new(title, names[..shown].iter().map(metric).collect())
    }

    /// A folder that goes with the run.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("smolchat-bench-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            // Where it cannot be made, the server says so.
            let _ = std::fs::create_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What is left is in the folder for such things.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::start("store", store::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("store: this benchmark reads /proc and needs Linux");
}
