//! Processes of a benchmark: starting and ending them, talking to them, and what the operating
//! system says they cost.
//!
//! The benchmarks start programs and workers here; the load reads the costs. It must never
//! leave a process running, nor wait for one without a deadline.

use super::floor::{self, FloorPlan};
use super::{Failure, OrSay, Result, fail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a program may take until it tells its address.
const START_LIMIT: Duration = Duration::from_secs(10);

/// On which processors a process runs.
///
/// Left alone, the scheduler now puts load and program on one processor and now on two, and a
/// delivery costs half as much CPU time on one. Kept apart, runs can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Wherever the scheduler puts it.
    Anywhere,
    /// The last processor, for the load.
    Last,
    /// All processors but the last, for the program under load.
    AllButLast,
}

impl Place {
    /// Starts a process there; it and its threads stay.
    fn spawn(self, command: &mut Command) -> std::io::Result<Child> {
        let all = sched_getaffinity(None)?;
        sched_setaffinity(None, &self.choose(&all))?;
        let child = command.spawn();
        sched_setaffinity(None, &all)?;
        child
    }

    fn choose(self, all: &CpuSet) -> CpuSet {
        let mut numbers: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| all.is_set(*cpu))
            .collect();
        if numbers.len() < 2 {
            return *all;
        }
        match self {
            Place::Anywhere => {}
            Place::Last => numbers = numbers.split_off(numbers.len() - 1),
            Place::AllButLast => numbers.truncate(numbers.len() - 1),
        }
        let mut chosen = CpuSet::new();
        numbers.iter().for_each(|cpu| chosen.set(*cpu));
        chosen
    }
}

/// Lines of a program's standard error that are kept for an explanation.
const KEPT_LINES: usize = 12;

/// A program under load. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    address: SocketAddr,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Program {
    /// Starts the floor.
    pub(crate) fn start_floor(plan: &FloorPlan, place: Place) -> Result<Self> {
        let mut command = own_program()?;
        command
            .arg(floor::ROLE)
            .arg(write_plan(plan)?)
            .stdin(Stdio::piped());
        Program::start(command, place)
    }

    /// Starts the server. What it would print of the chat goes to a null device.
    pub(crate) fn start_server(path: &str, arguments: &[String], place: Place) -> Result<Self> {
        let mut command = Command::new(path);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .env("NO_COLOR", "1");
        Program::start(command, place)
    }

    fn start(mut command: Command, place: Place) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = place
            .spawn(&mut command)
            .or_say(|| format!("cannot start {name}"))?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (found, address) = channel();
        if let Some(errors) = child.stderr.take() {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                follow(errors, &said, |line| {
                    if let Some(address) = find_address(line) {
                        // Nobody listens any more once the first address has arrived.
                        let _ = found.send(address);
                    }
                })
            });
        }
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut program = Program {
            child,
            address: unknown,
            said,
        };
        match address.recv_timeout(START_LIMIT) {
            Ok(address) => program.address = address,
            Err(_) => {
                return program.explain(fail(format!(
                    "{name} did not tell where it listens for clients"
                )));
            }
        }
        Ok(program)
    }

    /// Where it listens for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its page listens, if it has said so by now or does in time.
    pub(crate) fn page_address(&self) -> Result<SocketAddr> {
        let end = Instant::now() + START_LIMIT;
        while Instant::now() < end {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let page = said.iter().find_map(|line| {
                let (_, address) = line.split_once("page is at http://")?;
                address.trim_end_matches('/').parse().ok()
            });
            drop(said);
            match page {
                Some(page) => return Ok(page),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        fail("the server did not tell where its page is")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Adds the program's last words to a failure. The program ends here.
    pub(crate) fn explain<T>(mut self, outcome: Result<T>) -> Result<T> {
        end(&mut self.child);
        outcome.map_err(|Failure(sentence)| {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let words = said
                .iter()
                .map(|line| format!("\n  {line}"))
                .collect::<String>();
            Failure(format!("{sentence}; the program's last words were:{words}"))
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A process that makes load. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    commands: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Worker {
    /// Executes this benchmark again in a role.
    pub(crate) fn start(role: &str, plan: &impl Serialize, place: Place) -> Result<Self> {
        let mut command = own_program()?;
        command
            .arg(role)
            .arg(write_plan(plan)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = place
            .spawn(&mut command)
            .or_say(|| format!("cannot start {role}"))?;
        let (sender, lines) = channel();
        if let Some(output) = child.stdout.take() {
            let said = Mutex::new(VecDeque::new());
            std::thread::spawn(move || {
                follow(output, &said, |line| {
                    // The benchmark may have given up already.
                    let _ = sender.send(line.to_owned());
                })
            });
        }
        Ok(Worker {
            commands: child.stdin.take(),
            child,
            lines,
        })
    }

    /// Waits for this line.
    pub(crate) fn expect(&self, word: &str, deadline: Instant) -> Result<()> {
        let line = self.line(deadline)?;
        if line == word {
            Ok(())
        } else {
            fail(format!("expected {word:?} and got {line:?}"))
        }
    }

    /// Sends it a line.
    pub(crate) fn command(&mut self, word: &str) -> Result<()> {
        match &mut self.commands {
            Some(commands) => {
                writeln!(commands, "{word}").or_say(|| format!("cannot tell the load to {word}"))
            }
            None => fail("the load takes no commands"),
        }
    }

    /// Waits for its report, which is its last line.
    pub(crate) fn report<T: DeserializeOwned>(&self, deadline: Instant) -> Result<T> {
        let line = self.line(deadline)?;
        serde_json::from_str(&line).or_say(|| format!("cannot read the report {line}"))
    }

    fn line(&self, deadline: Instant) -> Result<String> {
        match self
            .lines
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => fail("the run took longer than --run-limit allows"),
            Err(RecvTimeoutError::Disconnected) => fail("the load gave up"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Tells the benchmark a worker's result.
pub(crate) fn tell(report: &impl Serialize) -> Result<()> {
    println!("{}", write_plan(report)?);
    Ok(())
}

fn own_program() -> Result<Command> {
    let path = std::env::current_exe().or_say(|| "cannot find this program".to_owned())?;
    Ok(Command::new(path))
}

fn write_plan(plan: &impl Serialize) -> Result<String> {
    serde_json::to_string(plan).or_say(|| "cannot write down a plan".to_owned())
}

fn end(child: &mut Child) {
    // Both fail only when it has already ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads lines until the end, so that the process never blocks on a full pipe.
fn follow(output: impl Read, said: &Mutex<VecDeque<String>>, mut on_line: impl FnMut(&str)) {
    for line in BufReader::new(output)
        .lines()
        .map_while(std::io::Result::ok)
    {
        on_line(&line);
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == KEPT_LINES {
            said.pop_front();
        }
        said.push_back(line);
    }
}

/// The first address of 127.0.0.1 in a line about clients.
fn find_address(line: &str) -> Option<SocketAddr> {
    let start = line
        .contains("clients")
        .then(|| line.find("127.0.0.1:"))??;
    let rest = &line[start..];
    let port = "127.0.0.1:".len();
    let digits = rest[port..].bytes().take_while(u8::is_ascii_digit).count();
    rest[..port + digits].parse().ok()
}

/// User and system time of a process.
///
/// The scheduler's account of each live thread is exact to the nanosecond but forgets threads
/// that ended; the account of the whole process remembers them in ticks of 10 ms. The larger
/// one is never more than a tick wrong.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    Ok(scheduler_account(pid, 0)?.max(cpu_time_in_ticks(pid)?))
}

/// How long the threads of a process were ready to run and did not, all together.
pub(crate) fn waiting_time(pid: u32) -> Result<Duration> {
    scheduler_account(pid, 1)
}

/// A field of the scheduler's account, summed over the threads that are alive.
fn scheduler_account(pid: u32, field: usize) -> Result<Duration> {
    let path = format!("/proc/{pid}/task");
    let tasks = std::fs::read_dir(&path).or_say(|| format!("cannot read {path}"))?;
    let mut nanoseconds = 0;
    for task in tasks.flatten() {
        // A thread may end between the listing and the reading.
        if let Ok(account) = std::fs::read_to_string(task.path().join("schedstat")) {
            let value = account.split_ascii_whitespace().nth(field);
            nanoseconds += value.and_then(|value| value.parse().ok()).unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn cpu_time_in_ticks(pid: u32) -> Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = read_proc(pid, "stat")?;
    // The second field is the program's name in parentheses, which may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u32 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    Ok(TICK * ticks)
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    kibibytes(&read_proc(pid, "smaps_rollup")?, "Rss:")
}

/// The most resident memory that a process ever had, in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> Result<u64> {
    kibibytes(&read_proc(pid, "status")?, "VmHWM:")
}

/// Files and sockets that a process has open.
pub(crate) fn open_files(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(std::fs::read_dir(&path)
        .or_say(|| format!("cannot read {path}"))?
        .count())
}

/// How often a listener's backlog was full, anywhere on this machine, since it started.
pub(crate) fn full_backlogs() -> Result<u64> {
    let path = Path::new("/proc/net/netstat");
    let table =
        std::fs::read_to_string(path).or_say(|| "cannot read /proc/net/netstat".to_owned())?;
    let mut rows = table.lines().filter(|row| row.starts_with("TcpExt:"));
    let (names, values) = (rows.next().unwrap_or(""), rows.next().unwrap_or(""));
    names
        .split(' ')
        .zip(values.split(' '))
        .find(|(name, _)| *name == "ListenOverflows")
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| Failure("there is no ListenOverflows in /proc/net/netstat".to_owned()))
}

fn read_proc(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).or_say(|| format!("cannot read {path}"))
}

fn kibibytes(table: &str, name: &str) -> Result<u64> {
    let row = table.lines().find_map(|row| row.strip_prefix(name));
    match row.and_then(first_number) {
        Some(number) => Ok(number * 1024),
        None => fail(format!("the operating system does not tell {name}")),
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}
