//! Figures: medians, ratios, goals, and the table that is printed.
//!
//! The benchmarks collect their samples here. It must never average away a bad run silently:
//! beside each ratio of medians stands the range of the ratios of the single runs.

use std::fmt;

/// What a figure is, which decides how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds, written as µs, ms or s.
    Time,
    /// Bytes, written as B, KiB or MiB.
    Bytes,
    /// A bare number.
    Number,
}

impl Unit {
    fn write(self, value: f64) -> String {
        let steps: &[(f64, &str)] = match self {
            Unit::Time => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs")],
            Unit::Bytes => &[(1024.0 * 1024.0, " MiB"), (1024.0, " KiB"), (1.0, " B")],
            Unit::Number => &[(1.0, "")],
        };
        let (size, name) = *steps
            .iter()
            .find(|(size, _)| value.abs() >= *size)
            .unwrap_or(&steps[steps.len() - 1]);
        let scaled = value / size;
        let digits = match scaled.abs() {
            whole if whole.fract() == 0.0 && self != Unit::Time => 0,
            small if small < 0.1 => 4,
            small if small < 1.0 => 3,
            small if small < 100.0 => 2,
            _ => 0,
        };
        format!("{scaled:.digits$}{name}")
    }
}

/// What is to be reached, by the second side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At most this many times the first side.
    Times(f64),
    /// At most this much, whatever the first side has.
    AtMost(f64),
    /// Shown only.
    Nothing,
}

/// One figure of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    name: &'static str,
    unit: Unit,
    goal: Goal,
    sides: [Vec<f64>; 2],
}

impl Metric {
    /// A figure without values yet.
    pub(crate) fn new(name: &'static str, unit: Unit, goal: Goal) -> Self {
        Metric {
            name,
            unit,
            goal,
            sides: [Vec::new(), Vec::new()],
        }
    }

    /// A figure that follows from others.
    pub(crate) fn derived(name: &'static str, goal: Goal, sides: [Vec<f64>; 2]) -> Self {
        Metric {
            name,
            unit: Unit::Number,
            goal,
            sides,
        }
    }

    /// The values of one side, run by run.
    pub(crate) fn side(&self, side: usize) -> &[f64] {
        &self.sides[side]
    }

    fn ratio(&self) -> Option<f64> {
        let first = median(&self.sides[0])?;
        (first > 0.0).then_some(median(&self.sides[1])? / first)
    }

    fn ratio_range(&self) -> String {
        let ratios: Vec<f64> = quotients(&self.sides[1], &self.sides[0]);
        let smallest = ratios.iter().copied().reduce(f64::min);
        let largest = ratios.iter().copied().reduce(f64::max);
        match (smallest, largest) {
            (Some(smallest), Some(largest)) if largest.is_finite() => {
                format!("{smallest:.2}–{largest:.2}")
            }
            _ => String::new(),
        }
    }

    fn verdict(&self) -> String {
        let (goal, reached) = match self.goal {
            Goal::Times(goal) => (
                format!("≤ {goal} ×"),
                self.ratio().map(|ratio| ratio <= goal),
            ),
            Goal::AtMost(goal) => (
                format!("≤ {}", self.unit.write(goal)),
                median(&self.sides[1]).map(|value| value <= goal),
            ),
            Goal::Nothing => return String::new(),
        };
        match reached {
            Some(true) => format!("{goal} reached"),
            Some(false) => format!("{goal} MISSED"),
            None => goal,
        }
    }

    fn cells(&self) -> [String; 5] {
        let write =
            |side: &[f64]| median(side).map_or(String::new(), |value| self.unit.write(value));
        [
            write(&self.sides[0]),
            write(&self.sides[1]),
            self.ratio()
                .map_or(String::new(), |ratio| format!("{ratio:.2}")),
            self.ratio_range(),
            self.verdict(),
        ]
    }
}

/// The quotients of two series, run by run.
pub(crate) fn quotients(above: &[f64], below: &[f64]) -> Vec<f64> {
    above
        .iter()
        .zip(below)
        .map(|(above, below)| above / below)
        .collect()
}

/// The middle value, or the mean of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some((sorted[low] + sorted[high]) / 2.0)
}

/// The figures of one run of one side, in the order of the workload's metrics.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// One value for each metric.
    pub(crate) values: Vec<f64>,
    /// Deliveries that were verified.
    pub(crate) verified: u64,
    /// Share of the run in which program and load waited for a processor.
    pub(crate) waited: f64,
    /// What else is worth saying while the benchmark runs.
    pub(crate) remark: String,
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} deliveries verified", self.verified)?;
        if !self.remark.is_empty() {
            write!(out, ", {}", self.remark)?;
        }
        if self.waited > DISTURBED {
            write!(
                out,
                "; DISTURBED: {:.0} % of the time waited for a processor",
                self.waited * 100.0
            )?;
        }
        Ok(())
    }
}

/// A larger share of waiting than this makes a run suspect: something else used the machine,
/// or the program has more threads than processors.
const DISTURBED: f64 = 0.05;

/// What is measured under one title.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// What it is, in a few words.
    pub(crate) title: String,
    metrics: Vec<Metric>,
    verified: u64,
    runs: usize,
    disturbed: usize,
}

impl Workload {
    /// A workload without samples yet.
    pub(crate) fn new(title: impl Into<String>, metrics: Vec<Metric>) -> Self {
        Workload {
            title: title.into(),
            metrics,
            verified: 0,
            runs: 0,
            disturbed: 0,
        }
    }

    /// One of its figures.
    pub(crate) fn metric(&self, number: usize) -> &Metric {
        &self.metrics[number]
    }

    /// Takes in a run of one side.
    pub(crate) fn take(&mut self, side: usize, sample: Sample) {
        self.runs += 1;
        self.disturbed += usize::from(sample.waited > DISTURBED);
        for (metric, value) in self.metrics.iter_mut().zip(sample.values) {
            metric.sides[side].push(value);
        }
        self.verified += sample.verified;
    }
}

/// What a benchmark prints: Markdown, aligned to be read as it is.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    sides: [&'static str; 2],
    workloads: Vec<Workload>,
}

impl Table {
    /// A table over these workloads.
    pub(crate) fn new(
        title: impl Into<String>,
        sides: [&'static str; 2],
        workloads: Vec<Workload>,
    ) -> Self {
        Table {
            title: title.into(),
            sides,
            workloads,
        }
    }

    /// Prints it to the standard output.
    pub(crate) fn print(&self) {
        let runs = self.workloads.iter().flat_map(|workload| &workload.metrics);
        let runs = runs.map(|metric| metric.sides[1].len()).max().unwrap_or(0);
        println!("\n{}; medians of {runs} interleaved runs\n", self.title);
        let rows = self.rows();
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|column| {
                rows.iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for (number, row) in rows.iter().enumerate() {
            println!("{}", write_row(row, &widths));
            if number == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                println!("{}", write_row(&rule, &widths));
            }
        }
        let disturbed: usize = self
            .workloads
            .iter()
            .map(|workload| workload.disturbed)
            .sum();
        let all: usize = self.workloads.iter().map(|workload| workload.runs).sum();
        if disturbed > 0 {
            println!(
                "\n{disturbed} of {all} runs were disturbed: program and load waited for a processor."
            );
        }
        println!();
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let [first, second] = self.sides;
        let head = [
            "workload",
            "figure",
            first,
            second,
            "ratio",
            "of single runs",
            "goal",
            "verified",
        ];
        let mut rows = vec![head.map(String::from).to_vec()];
        for workload in &self.workloads {
            for (number, metric) in workload.metrics.iter().enumerate() {
                let title = if number == 0 {
                    workload.title.clone()
                } else {
                    String::new()
                };
                let verified = if number == 0 {
                    grouped(workload.verified)
                } else {
                    String::new()
                };
                let mut row = vec![title, metric.name.to_owned()];
                row.extend(metric.cells());
                row.push(verified);
                rows.push(row);
            }
        }
        rows
    }
}

fn write_row(cells: &[String], widths: &[usize]) -> String {
    let cells = cells.iter().zip(widths);
    let padded = cells.map(|(cell, width)| format!(" {cell:<width$} |"));
    format!("|{}", padded.collect::<String>())
}

/// A number with its thousands apart; none at all for 0.
fn grouped(number: u64) -> String {
    if number == 0 {
        return String::new();
    }
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
