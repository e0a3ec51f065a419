//! CPU time of the client in a pipe, and its latency at a terminal.
//!
//! The reference parses each line with serde_json and writes it through a buffer. At a
//! terminal it only prints, and the kernel echoes the typed keys.

use super::comparison::{Sample, Unit, Workload, print, run};
use super::load::percentile;
use super::process::{cpu_time, kill, waiting_time};
use super::{Options, Result, context};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

pub(crate) const ROLE: &str = "role-reference";

const TIMEOUT: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 1 << 16;
/// Key that is typed; no message contains it.
const KEY: &str = "Q";
const LAST: &str = "the end";

enum Plan {
    /// Number of lines, and an argument of the client.
    Pipe(usize, Option<&'static str>),
    /// Number of messages and of keys, one after the other.
    Terminal(usize),
}

pub(crate) fn measure(options: &Options) -> Result<()> {
    let (lines, times) = if options.quick {
        (2_000, 5)
    } else {
        (400_000, 100)
    };
    let pipe = |title: &str, argument| {
        let title = format!("{lines} lines in a pipe, {title}");
        Workload::new(title, Plan::Pipe(lines, argument), &[("CPU", Unit::Time)])
    };
    let metrics = [
        "start to prompt",
        "network to screen, median",
        "network to screen, 99th percentile",
        "key to screen, median",
        "key to screen, 99th percentile",
    ];
    let terminal = Workload::new(
        "terminal; keys while 10 000 messages a second arrive".to_owned(),
        Plan::Terminal(times),
        &metrics.map(|name| (name, Unit::Time)),
    );
    let mut workloads = vec![pipe("text", None), pipe("--json", Some("--json")), terminal];
    let names = ["reference", "client"];
    run(options, names, &mut workloads, |plan, side| match plan {
        Plan::Pipe(lines, argument) => measure_pipe(side, *lines, *argument),
        Plan::Terminal(times) => measure_terminal(side, *times),
    })?;
    print("The client and a minimal loop", names, &workloads);
    Ok(())
}

/// Program that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

fn command(side: usize, listener: &TcpListener) -> Result<Command> {
    let mut command = if side == 0 {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ROLE);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_smolchat-client"))
    };
    let port = listener.local_addr()?.port().to_string();
    let missing = std::env::temp_dir().join("smolchat-bench-no-such-folder");
    command
        .args(["127.0.0.1", &port])
        .env("XDG_CONFIG_HOME", &missing)
        .env("XDG_STATE_HOME", &missing)
        .env("TERM", "xterm-256color");
    Ok(command)
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(line("[Server]", "1.2.3.4:5 has entered the chat").as_bytes())?;
    Ok(stream)
}

fn line(source: &str, text: &str) -> String {
    let data = format!("{{\"source\":\"{source}\",\"message\":\"{text}\"}}");
    format!("{{\"type\":\"message\",\"data\":{data}}}\n")
}

fn measure_pipe(side: usize, lines: usize, argument: Option<&str>) -> Result<Sample> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut command = command(side, &listener)?;
    command.args(argument);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = Running(command.spawn()?);
    let output = program.0.stdout.take().ok_or("no output")?;
    let stream = accept(&listener)?;
    let pid = program.0.id();
    let before = cpu_time(pid)?;
    let sender = std::thread::spawn(move || {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &stream);
        for number in 0..lines {
            let text = format!("number {number} of a chat in which people talk and talk");
            out.write_all(line("alexandra", &text).as_bytes())?;
        }
        out.write_all(line("alexandra", LAST).as_bytes())?;
        out.flush()?;
        drop(out);
        // Open until the end of the measurement.
        Ok::<_, io::Error>(stream)
    });
    let mut received = 0;
    for text in BufReader::with_capacity(BUFFER_BYTES, output).lines() {
        let text = text?;
        if text.contains(LAST) {
            break;
        }
        let number = format!("number {received} of");
        received += usize::from(text.contains("alexandra") && text.contains(&number));
    }
    if received != lines {
        return Err(format!("{received} of {lines} lines arrived in order").into());
    }
    let cpu = (cpu_time(pid)? - before).as_nanos() as f64;
    let waited = waiting_time(pid)?.as_nanos() as f64 / cpu.max(1.0);
    sender.join().map_err(|_| "the sender panicked")??;
    Ok((vec![cpu], waited))
}

fn measure_terminal(side: usize, times: usize) -> Result<Sample> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let (mut master, slave) = pseudo_terminal()?;
    let mut command = command(side, &listener)?;
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?);
    command.stderr(slave);
    let mut screen = Screen::follow(&master)?;
    let start = Instant::now();
    let _program = Running(command.spawn()?);
    let prompt = screen.time_until(start, |text| text.contains("> "))?;
    let mut stream = accept(&listener)?;
    let mut arrivals = Vec::new();
    for number in 0..times {
        std::thread::sleep(Duration::from_millis(5));
        let text = format!("arrival {number};");
        let sent = Instant::now();
        stream.write_all(line("al", &text).as_bytes())?;
        arrivals.push(screen.time_until(sent, |seen| seen.contains(&text))?);
    }
    screen.text.clear();
    let (stop, stopped) = channel::<()>();
    let flood = std::thread::spawn(move || {
        let hundred = line("al", "and so on and on").repeat(100);
        let mut next = Instant::now();
        while stopped.try_recv() == Err(TryRecvError::Empty)
            && stream.write_all(hundred.as_bytes()).is_ok()
        {
            next += Duration::from_millis(10);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
    let mut keys = Vec::new();
    for number in 1..=times {
        std::thread::sleep(Duration::from_millis(20));
        let typed = match side {
            // The kernel echoes at the cursor.
            0 => KEY.to_owned(),
            _ => format!("> {}", KEY.repeat(number)),
        };
        let pressed = Instant::now();
        master.write_all(KEY.as_bytes())?;
        keys.push(screen.time_until(pressed, |seen| seen.contains(&typed))?);
        screen.text.clear();
    }
    drop(stop);
    flood.join().map_err(|_| "the flood panicked")?;
    let mut values = vec![prompt as f64];
    for times in [&mut arrivals, &mut keys] {
        values.extend([percentile(times, 50), percentile(times, 99)]);
    }
    Ok((values, 0.0))
}

fn pseudo_terminal() -> Result<(File, File)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let path = ptsname(&master, Vec::new())?.into_string()?;
    let slave = OpenOptions::new().read(true).write(true).open(path)?;
    let size = Winsize {
        ws_row: 40,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&slave, size)?;
    Ok((File::from(master), slave))
}

/// Bytes written to a terminal, with their times.
struct Screen {
    chunks: Receiver<(Instant, Vec<u8>)>,
    text: String,
}

impl Screen {
    fn follow(master: &File) -> Result<Self> {
        let mut master = master.try_clone()?;
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; BUFFER_BYTES];
            while let Ok(count) = master.read(&mut buffer)
                && sender
                    .send((Instant::now(), buffer[..count].to_vec()))
                    .is_ok()
            {}
        });
        let text = String::new();
        Ok(Screen { chunks, text })
    }

    /// Returns the nanoseconds from `start` until the text was `complete`.
    fn time_until(&mut self, start: Instant, complete: impl Fn(&str) -> bool) -> Result<u64> {
        loop {
            let chunk = self.chunks.recv_timeout(TIMEOUT);
            let (at, bytes) = chunk.map_err(context("the terminal shows no more"))?;
            self.text.push_str(&String::from_utf8_lossy(&bytes));
            if complete(&self.text) {
                return Ok(at.duration_since(start).as_nanos() as u64);
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct ServerLine {
    r#type: String,
    data: MessageData,
}

#[derive(serde::Deserialize)]
struct MessageData {
    source: String,
    message: String,
}

/// Runs the reference: prints what a server sends until it closes the connection.
pub(crate) fn run_reference(arguments: &[String]) -> Result<()> {
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let stream = TcpStream::connect(arguments[..2].join(":"))?;
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
    output.write_all(b"> ")?;
    output.flush()?;
    let mut input = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let ServerLine { r#type, data } = serde_json::from_slice(&line)?;
        if r#type == "message" && is_json {
            output.write_all(&line)?;
        } else if r#type == "message" {
            writeln!(output, "{}: {}", data.source, data.message)?;
        }
        line.clear();
        // Like a program whose reader waits for the output.
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    output.flush()?;
    Ok(())
}
