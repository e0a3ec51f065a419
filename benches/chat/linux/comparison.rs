//! Interleaved runs of two sides, and the table of their medians and ratios.

use super::{Options, Result, context};

/// Share of a run spent waiting for a processor from which the run counts as disturbed.
const DISTURBED: f64 = 0.05;

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Time,
    Bytes,
    Number,
}

impl Unit {
    fn format(self, value: f64) -> String {
        let steps: &[(f64, &str)] = match self {
            Unit::Time => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs")],
            Unit::Bytes => &[(1_048_576.0, " MiB"), (1024.0, " KiB"), (1.0, " B")],
            Unit::Number => &[(1.0, "")],
        };
        let fits = steps.iter().find(|(size, _)| value.abs() >= *size);
        let (size, name) = fits.unwrap_or(&steps[steps.len() - 1]);
        let scaled = value / size;
        let digits = match scaled.abs() {
            0.0 => 0,
            small if small < 0.1 => 4,
            small if small < 1.0 => 3,
            small if small < 100.0 => 2,
            _ => 0,
        };
        format!("{scaled:.digits$}{name}")
    }
}

/// One figure of a workload, with a value for each run of each side.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) sides: [Vec<f64>; 2],
}

impl Metric {
    /// Returns both medians, their ratio, and the range of the ratios of single runs.
    fn cells(&self) -> [String; 4] {
        let medians = [0, 1].map(|side| median(&self.sides[side]));
        let [first, second] = medians.map(|value| self.unit.format(value));
        let mut ratios = quotients(&self.sides[1], &self.sides[0]);
        ratios.sort_by(f64::total_cmp);
        match (ratios.first(), ratios.last()) {
            (Some(low), Some(high)) if low.is_finite() && high.is_finite() => {
                let ratio = medians[1] / medians[0];
                let range = format!("{low:.2}–{high:.2}");
                [first, second, format!("{ratio:.2}"), range]
            }
            _ => [first, second, String::new(), String::new()],
        }
    }
}

/// Returns the quotients of two series, run by run.
pub(crate) fn quotients(above: &[f64], below: &[f64]) -> Vec<f64> {
    let pairs = above.iter().zip(below);
    pairs.map(|(above, below)| above / below).collect()
}

/// Returns the middle value, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count => (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0,
    }
}

/// Figures of one run of one side, in the order of the workload's metrics, and the share of the
/// run in which program and load waited for a processor.
pub(crate) type Sample = (Vec<f64>, f64);

pub(crate) struct Workload<P> {
    title: String,
    pub(crate) plan: P,
    pub(crate) metrics: Vec<Metric>,
}

impl<P> Workload<P> {
    pub(crate) fn new(title: String, plan: P, metrics: &[(&'static str, Unit)]) -> Self {
        let metrics = metrics.iter().map(|(name, unit)| Metric {
            name,
            unit: *unit,
            sides: Default::default(),
        });
        Workload {
            title,
            plan,
            metrics: metrics.collect(),
        }
    }
}

/// Runs all workloads in turn, both sides of each in succession, once per round.
///
/// A slow drift of the machine then affects both sides alike.
pub(crate) fn run<P>(
    options: &Options,
    sides: [&str; 2],
    workloads: &mut Vec<Workload<P>>,
    run_side: impl Fn(&P, usize) -> Result<Sample>,
) -> Result<()> {
    if let Some(only) = &options.only {
        workloads.retain(|workload| workload.title.contains(only));
    }
    for round in 1..=options.runs {
        for workload in &mut *workloads {
            for (side, name) in sides.iter().enumerate() {
                let mut line = format!("run {round}, {}, {name}", workload.title);
                let (values, waited) = run_side(&workload.plan, side).map_err(context(&line))?;
                for (metric, value) in workload.metrics.iter_mut().zip(values) {
                    metric.sides[side].push(value);
                    line += &format!("; {} {}", metric.name, metric.unit.format(value));
                }
                if waited > DISTURBED {
                    let percent = waited * 100.0;
                    line += &format!("; DISTURBED: waited {percent:.0} % of the time");
                }
                eprintln!("{line}");
            }
        }
    }
    Ok(())
}

/// Prints a Markdown table.
pub(crate) fn print<P>(title: &str, [first, second]: [&str; 2], workloads: &[Workload<P>]) {
    let head = ["workload", "figure", first, second, "ratio", "single runs"];
    let mut rows = vec![head.map(str::to_owned), Default::default()];
    for workload in workloads {
        for (number, metric) in workload.metrics.iter().enumerate() {
            let title = if number == 0 { &workload.title } else { "" };
            let [first, second, ratio, range] = metric.cells();
            let (title, name) = (title.to_owned(), metric.name.to_owned());
            rows.push([title, name, first, second, ratio, range]);
        }
    }
    for column in 0..head.len() {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        let width = lengths.max().unwrap_or(0);
        rows[1][column] = "-".repeat(width);
        for row in &mut rows {
            row[column] = format!(" {:<width$} ", row[column]);
        }
    }
    println!("\n{title}; medians of interleaved runs\n");
    for row in rows {
        println!("|{}|", row.join("|"));
    }
}
