//! Programs under load, and what the kernel says about processes.

use super::{Result, context};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Program under load, which listens at `address`; dropping it kills the process.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) is_floor: bool,
    /// Processors of this thread before the start.
    own_processors: CpuSet,
}

impl Program {
    /// Starts a program on all processors but the last, and moves this thread to the last.
    ///
    /// The scheduler puts load and program on one processor in one run and on two in the next,
    /// and a delivery costs half as much CPU time on one.
    pub(crate) fn start(mut command: Command, is_floor: bool, unpinned: bool) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).env("NO_COLOR", "1");
        let own_processors = sched_getaffinity(None)?;
        let pinned = split_last(&own_processors).filter(|_| !unpinned);
        let (others, last) = pinned.unwrap_or((own_processors, own_processors));
        sched_setaffinity(None, &others)?;
        let child = command.spawn();
        sched_setaffinity(None, &last)?;
        let mut program = Program {
            child: child.map_err(context(format!("cannot start {name}")))?,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            is_floor,
            own_processors,
        };
        let stderr = program.child.stderr.take().ok_or("no standard error")?;
        let mut stderr = BufReader::new(stderr);
        let mut printed = String::new();
        while program.address.port() == 0 {
            if stderr.read_line(&mut printed)? == 0 {
                return Err(format!("{name} printed no address, but:\n{printed}").into());
            }
            if let Some(address) = find_address(&printed) {
                program.address = address;
            }
        }
        // Reads the rest, so that the program never waits for a full pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Ok(program)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        kill(&mut self.child);
        // The next start sets the processors again.
        let _ = sched_setaffinity(None, &self.own_processors);
    }
}

/// Ends a child process, if it has not ended yet.
pub(crate) fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Splits off the last processor; returns `None` if there is only one.
fn split_last(all: &CpuSet) -> Option<(CpuSet, CpuSet)> {
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| all.is_set(*cpu))?;
    let (mut others, mut only) = (*all, CpuSet::new());
    others.unset(last);
    only.set(last);
    (others.count() > 0).then_some((others, only))
}

/// Finds the first address of 127.0.0.1; a server prints that for clients before all others.
fn find_address(line: &str) -> Option<SocketAddr> {
    let text = &line[line.find("127.0.0.1:")?..];
    let is_address = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
    let end = text.find(|c| !is_address(c)).unwrap_or(text.len());
    text[..end].trim_end_matches(':').parse().ok()
}

/// Returns user and system time of a process.
///
/// The scheduler counts nanoseconds, but only of threads that are alive. The ticks of 10 ms
/// include ended threads. The larger value is at most one tick wrong.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = read_proc(&format!("{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may contain spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u32 = times.filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(schedstat(pid, 0)?.max(Duration::from_millis(10) * ticks))
}

/// Returns how long the threads of a process waited for a processor.
pub(crate) fn waiting_time(pid: u32) -> Result<Duration> {
    schedstat(pid, 1)
}

/// Returns a field of `schedstat`, summed over the threads that are alive.
fn schedstat(pid: u32, field: usize) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread can end after it was listed.
        if let Ok(line) = fs::read_to_string(task.path().join("schedstat")) {
            let value = line.split_ascii_whitespace().nth(field);
            nanoseconds += value.and_then(|value| value.parse().ok()).unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Returns the resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    kibibytes(&read_proc(&format!("{pid}/smaps_rollup"))?, "Rss:")
}

/// Returns the peak of a process's resident memory in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> Result<u64> {
    kibibytes(&read_proc(&format!("{pid}/status"))?, "VmHWM:")
}

fn kibibytes(table: &str, name: &str) -> Result<u64> {
    let row = table.lines().find_map(|row| row.strip_prefix(name));
    let number = row.and_then(|row| row.split_ascii_whitespace().next());
    Ok(number.ok_or(name)?.parse::<u64>()? * 1024)
}

/// Returns how often the queue of a listening socket was full since this machine started.
pub(crate) fn listen_overflows() -> Result<u64> {
    let table = read_proc("net/netstat")?;
    let mut rows = table.lines().filter(|row| row.starts_with("TcpExt:"));
    let (names, values) = (rows.next().unwrap_or(""), rows.next().unwrap_or(""));
    let mut pairs = names.split(' ').zip(values.split(' '));
    let pair = pairs.find(|(name, _)| *name == "ListenOverflows");
    Ok(pair
        .ok_or("no ListenOverflows in /proc/net/netstat")?
        .1
        .parse()?)
}

fn read_proc(file: &str) -> Result<String> {
    let path = format!("/proc/{file}");
    fs::read_to_string(&path).map_err(context(format!("cannot read {path}")))
}
