//! Thousands of clients connect as fast as they can while a few connected clients talk.

use super::comparison::{Sample, Unit, Workload, print, run};
use super::load::{self, Load, Schedule, TalkPlan, TalkReport};
use super::process::{Program, cpu_time, listen_overflows};
use super::{Options, Result, Target};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

/// Receivers that are connected before the storm, besides the talkers.
const CONNECTED: usize = 16;
const MESSAGES_PER_SECOND: f64 = 10.0;

/// Clients that start to connect before the others are read again.
const CONNECTS_PER_POLL: usize = 16;

const METRICS: [(&str, Unit); 5] = [
    ("until all had joined", Unit::Time),
    ("until the last join notice arrived", Unit::Time),
    ("CPU in that time", Unit::Time),
    ("latency of connected clients, 99th percentile", Unit::Time),
    ("overflows of the kernel's queue", Unit::Number),
];

pub(crate) fn measure(options: &Options) -> Result<()> {
    let clients = options.receivers_or(10_000);
    let workload = |title, announce_to_all| {
        let title = format!("{clients} joins, {title}");
        Workload::new(title, announce_to_all, &METRICS)
    };
    let mut workloads = vec![
        workload("each announced to all", true),
        workload("summarised", false),
    ];
    let names = options.side_names();
    run(options, names, &mut workloads, |announce_to_all, side| {
        sample(options, &options.target(side), *announce_to_all, clients)
    })?;
    print("Clients that connect at once", names, &workloads);
    Ok(())
}

fn sample(
    options: &Options,
    target: &Target,
    announce_to_all: bool,
    clients: usize,
) -> Result<Sample> {
    let program = options.start(target, announce_to_all)?;
    let plan = TalkPlan::new(options, CONNECTED, Schedule::Rate(MESSAGES_PER_SECOND), 0.0);
    let stop = AtomicBool::new(false);
    let (ready, connected) = channel();
    let storm_plan = TalkPlan {
        receivers: clients + 1,
        talkers: 0,
        ..plan.clone()
    };
    let outcome: Result<_> = std::thread::scope(|scope| {
        // A thread of their own, so that their latency does not include the storm's reads.
        let talk = scope.spawn(|| {
            let ready = ready;
            load::run_until(&plan, &program, &ready, &stop)
        });
        let storm = match connected.recv() {
            Ok(()) => storm(&storm_plan, &program, announce_to_all, &stop, plan.talkers),
            Err(_) => Err("the connected clients failed".into()),
        };
        stop.store(true, Ordering::Relaxed);
        let talk: Result<TalkReport> = talk.join().map_err(|_| "the load panicked")?;
        Ok((talk?, storm?))
    });
    let (talk, mut values) = outcome?;
    values.insert(3, talk.p99_nanos);
    // Two loads share a processor, so the time that they wait says nothing.
    Ok((values, 0.0))
}

/// Returns all figures but the latency. Sets `stop` when the last join notice has arrived.
///
/// The first client joins before the others, and gets every line.
fn storm(
    plan: &TalkPlan,
    program: &Program,
    announce_to_all: bool,
    stop: &AtomicBool,
    talkers: usize,
) -> Result<Vec<f64>> {
    let mut load = Load::new(plan, program)?;
    load.tally.verifies_joins = announce_to_all;
    load.clients.connect(program.address)?;
    load.wait("the first client did not join", |load| {
        load.clients.joined == 1
    })?;
    let overflows = listen_overflows()?;
    let cpu = cpu_time(program.pid())?;
    let begin = Instant::now();
    for number in 1..plan.receivers {
        load.clients.connect(program.address)?;
        if number % CONNECTS_PER_POLL == 0 {
            load.poll(Instant::now())?;
        }
    }
    load.wait("not all clients joined", |load| {
        load.clients.joined == plan.receivers
    })?;
    let joined_after = begin.elapsed();
    load.wait("not all join notices arrived", |load| {
        // The first client gets the notices of all, the last only its own.
        let joined = plan.receivers as u64;
        !announce_to_all || load.tally.join_notices >= joined * (joined + 1) / 2
    })?;
    let told_after = begin.elapsed();
    let cpu = cpu_time(program.pid())?.saturating_sub(cpu);
    stop.store(true, Ordering::Relaxed);
    load.wait("the last messages did not arrive", |load| {
        load.tally.last_messages >= talkers * plan.receivers
    })?;
    load.tally.verification.check(0..plan.receivers, true)?;
    Ok(vec![
        joined_after.as_nanos() as f64,
        told_after.as_nanos() as f64,
        cpu.as_nanos() as f64,
        (listen_overflows()? - overflows) as f64,
    ])
}
