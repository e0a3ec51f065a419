//! Fan-out: what one message at one receiver costs when the chat is busy, and when it is not.
//!
//! `cargo bench --bench fanout -- --help` tells the options. The figure is the CPU time (user
//! and system) of the server process for each delivery, beside that of the floor.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod fanout {
    use super::common::plan::{Pace, TalkPlan};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload, quotients};
    use super::common::{Options, Result, Target, interleave};

    const SIDES: [&str; 2] = ["floor", "server"];
    const TARGETS: [Target; 2] = [Target::Floor, Target::Server];
    const WINDOW: u64 = 16;

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let mut workloads = workloads(options);
        interleave(options, SIDES, &mut workloads, |plan, side| {
            let report = options.talk(TARGETS[side], plan)?;
            let rate = report.deliveries as f64 / (report.wall_nanos as f64 / 1e9);
            Ok(Sample {
                values: vec![report.cpu_per_delivery(), report.lines_per_read],
                verified: report.verified,
                waited: report.waited(),
                remark: format!(
                    "{:.4} µs each, {:.0} a second, {:.1} lines a read",
                    report.cpu_per_delivery() / 1e3,
                    rate,
                    report.lines_per_read
                ),
            })
        })?;
        let mut done: Vec<Workload> = workloads
            .into_iter()
            .map(|(workload, _)| workload)
            .collect();
        let growth = growth(&done);
        done.extend(growth);
        Ok(Table::new(
            "CPU time per delivery, 100-byte messages",
            SIDES,
            done,
        ))
    }

    fn workloads(options: &Options) -> Vec<(Workload, TalkPlan)> {
        let seconds = options.seconds_or(1.5);
        let busy = |receivers: usize, goal: Goal| {
            let title = format!(
                "{receivers} receivers, {} talkers × {WINDOW}",
                options.talkers
            );
            let plan = TalkPlan::new(receivers, options.talkers, Pace::Window(WINDOW), seconds);
            (workload(title, goal), plan)
        };
        let one_by_one = |receivers: usize| {
            let plan = TalkPlan::new(receivers, options.talkers, Pace::Lockstep, seconds);
            (
                workload(
                    format!("{receivers} receivers, one message in flight"),
                    Goal::Times(1.15),
                ),
                plan,
            )
        };
        match (options.receivers, options.quick) {
            (None, false) => vec![
                busy(100, Goal::Times(1.4)),
                busy(1000, Goal::Times(1.7)),
                busy(10_000, Goal::Nothing),
                one_by_one(1000),
            ],
            _ => {
                let receivers = options.receivers_or(100);
                vec![busy(receivers, Goal::Nothing), one_by_one(receivers)]
            }
        }
    }

    fn workload(title: String, goal: Goal) -> Workload {
        let cpu = Metric::new("CPU per delivery", Unit::Time, goal);
        let batch = Metric::new("messages per read", Unit::Number, Goal::Nothing);
        Workload::new(title, vec![cpu, batch])
    }

    /// How much dearer a delivery becomes as the room grows, beside the floor's own growth.
    fn growth(done: &[Workload]) -> Vec<Workload> {
        let busy: Vec<&Workload> = done
            .iter()
            .filter(|workload| workload.title.contains('×'))
            .collect();
        let grown = |pair: &[&Workload]| {
            let [small, large] = [pair[0].metric(0), pair[1].metric(0)];
            let sides = [0, 1].map(|side| quotients(large.side(side), small.side(side)));
            let metric = Metric::derived("CPU per delivery, times", Goal::Times(1.2), sides);
            let title =
                |workload: &Workload| workload.title.split(',').next().unwrap_or("").to_owned();
            Workload::new(
                format!("from {} to {}", title(pair[0]), title(pair[1])),
                vec![metric],
            )
        };
        busy.windows(2).map(grown).collect()
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::start("fanout", fanout::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("fanout: this benchmark reads /proc and needs Linux");
}
