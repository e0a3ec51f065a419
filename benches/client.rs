//! The client: what its output costs in a pipe, and how fast it is at a terminal.
//!
//! `cargo bench --bench client -- --help` tells the options. The reference is a loop of a page of
//! Rust that parses each line with serde_json and writes it buffered, as a process of its own; at
//! a terminal it leaves the typed keys to the system.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod client {
    use super::common::process::{cpu_time, waiting_time};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload};
    use super::common::{Options, OrSay, Result, fail, interleave};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};
    use std::fs::{File, OpenOptions};
    use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    const SIDES: [&str; 2] = ["reference", "client"];
    pub(super) const ROLE: &str = "role-reference";

    /// How long anything may take.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// What a key writes; no message has it.
    const KEY: char = 'Q';
    const LAST: &str = "the end";

    enum Plan {
        /// This many lines into a pipe, as JSON or as text.
        Pipe { lines: usize, is_json: bool },
        /// This many messages, or keys, one after the other.
        Terminal { times: usize },
    }

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let (lines, times) = match options.quick {
            true => (2_000, 5),
            false => (400_000, 100),
        };
        let mut workloads = Vec::new();
        for (form, is_json) in [("text", false), ("--json", true)] {
            let title = format!("{lines} lines in a pipe, {form}");
            let metrics = vec![Metric::new("CPU", Unit::Time, Goal::Times(2.0))];
            workloads.push((Workload::new(title, metrics), Plan::Pipe { lines, is_json }));
        }
        let metric = |name, most| Metric::new(name, Unit::Time, Goal::AtMost(most));
        let metrics = vec![
            metric("from the start to the prompt", 50e6),
            metric("from the network to the screen, median", 10e6),
            metric("from the network to the screen, 99th percentile", 10e6),
            metric("from a key to the screen in a flood, median", 50e6),
            metric(
                "from a key to the screen in a flood, 99th percentile",
                100e6,
            ),
        ];
        let title = "At a terminal; the flood is 10 000 messages a second";
        workloads.push((Workload::new(title, metrics), Plan::Terminal { times }));
        interleave(options, SIDES, &mut workloads, |plan, side| match *plan {
            Plan::Pipe { lines, is_json } => pipe(side, lines, is_json),
            Plan::Terminal { times } => terminal(side, times),
        })?;
        let done = workloads
            .into_iter()
            .map(|(workload, _)| workload)
            .collect();
        Ok(Table::new(
            "The client beside a loop that does the least",
            SIDES,
            done,
        ))
    }

    /// A program that is killed when dropped.
    struct Reader(Child);

    impl Drop for Reader {
        fn drop(&mut self) {
            // It has ended already where the connection is closed.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn program(side: usize, listener: &TcpListener) -> Result<Command> {
        let port = listener
            .local_addr()
            .or_say(|| "no port".to_owned())?
            .port();
        let mut command = match side {
            0 => {
                let own = std::env::current_exe().or_say(|| "no program".to_owned())?;
                let mut command = Command::new(own);
                command.arg(ROLE);
                command
            }
            _ => Command::new(env!("CARGO_BIN_EXE_smolchat-client")),
        };
        let nowhere = std::env::temp_dir().join("smolchat-bench-nowhere");
        command
            .args(["127.0.0.1", &port.to_string()])
            .env("XDG_CONFIG_HOME", &nowhere)
            .env("XDG_STATE_HOME", &nowhere)
            .env("TERM", "xterm-256color");
        Ok(command)
    }

    fn listen() -> Result<TcpListener> {
        TcpListener::bind(("127.0.0.1", 0)).or_say(|| "cannot listen".to_owned())
    }

    fn accept(listener: &TcpListener) -> Result<TcpStream> {
        let (mut stream, _) = listener.accept().or_say(|| "no client came".to_owned())?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .and_then(|()| {
                stream.write_all(line("[Server]", "1.2.3.4:5 has entered the chat").as_bytes())
            })
            .or_say(|| "the client takes nothing".to_owned())?;
        Ok(stream)
    }

    fn line(source: &str, message: &str) -> String {
        format!(
            "{{\"type\":\"message\",\"data\":{{\"source\":\"{source}\",\"message\":\"{message}\"}}}}\n"
        )
    }

    // In a pipe

    fn pipe(side: usize, lines: usize, is_json: bool) -> Result<Sample> {
        let listener = listen()?;
        let mut command = program(side, &listener)?;
        if is_json {
            command.arg("--json");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().or_say(|| "cannot start".to_owned())?;
        let mut reader = Reader(child);
        let output = reader.0.stdout.take();
        let mut stream = accept(&listener)?;
        let before = cpu_time(reader.0.id())?;
        let sending = std::thread::spawn(move || {
            let mut out = BufWriter::with_capacity(1 << 16, &stream);
            for number in 0..lines {
                let text = format!("number {number} of a chat in which people talk and talk");
                out.write_all(line("alexandra", &text).as_bytes())?;
            }
            out.write_all(line("alexandra", LAST).as_bytes())?;
            out.flush()?;
            drop(out);
            // Kept open until it was measured.
            Ok::<_, io::Error>(stream)
        });
        let mut seen = 0;
        let mut text = String::new();
        let mut output = BufReader::with_capacity(
            1 << 16,
            output.ok_or_else(|| super::common::Failure("no output".to_owned()))?,
        );
        loop {
            text.clear();
            let count = output
                .read_line(&mut text)
                .or_say(|| "no line".to_owned())?;
            if count == 0 {
                return fail("the output ended too early");
            }
            if text.contains(LAST) {
                break;
            }
            seen += usize::from(
                text.contains("alexandra") && text.contains(&format!("number {seen} of")),
            );
        }
        if seen != lines {
            return fail(format!(
                "{seen} of {lines} lines came, or not in their order"
            ));
        }
        let cpu = cpu_time(reader.0.id())? - before;
        let waited = waiting_time(reader.0.id())?;
        stream = sending
            .join()
            .map_err(|_| super::common::Failure("the sending failed".to_owned()))?
            .or_say(|| "the client takes nothing".to_owned())?;
        drop(stream);
        Ok(Sample {
            values: vec![cpu.as_nanos() as f64],
            verified: lines as u64,
            waited: waited.as_secs_f64() / cpu.as_secs_f64().max(1e-9),
            remark: format!("{:.0} ms of CPU", cpu.as_secs_f64() * 1e3),
        })
    }

    // At a terminal

    fn terminal(side: usize, times: usize) -> Result<Sample> {
        let listener = listen()?;
        let (master, slave) = pseudo_terminal()?;
        let mut command = program(side, &listener)?;
        let handle = || slave.try_clone().or_say(|| "no handle".to_owned());
        command.stdin(handle()?).stdout(handle()?).stderr(handle()?);
        let mut screen = Screen::follow(&master)?;
        let start = Instant::now();
        let _reader = Reader(command.spawn().or_say(|| "cannot start".to_owned())?);
        let prompt = screen
            .wait(|text| text.contains("> "))?
            .duration_since(start);
        let mut stream = accept(&listener)?;
        let failed = || "the client takes nothing".to_owned();
        let mut arrivals = Vec::new();
        for number in 0..times {
            let text = format!("arrival {number};");
            std::thread::sleep(Duration::from_millis(5));
            let sent = Instant::now();
            stream
                .write_all(line("al", &text).as_bytes())
                .or_say(failed)?;
            arrivals.push(
                screen
                    .wait(|seen| seen.contains(&text))?
                    .duration_since(sent),
            );
        }
        screen.text.clear();
        let mut flood = stream.try_clone().or_say(failed)?;
        let (stop, stopped) = channel::<()>();
        let flooding = std::thread::spawn(move || {
            let hundred = line("al", "and so on and on").repeat(100);
            let start = Instant::now();
            for round in 1.. {
                if flood.write_all(hundred.as_bytes()).is_err() {
                    return;
                }
                let next = start + Duration::from_millis(10 * round);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                if stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                    return;
                }
            }
        });
        let mut keys = Vec::new();
        for number in 1..=times {
            std::thread::sleep(Duration::from_millis(20));
            let pressed = Instant::now();
            let key = KEY.to_string();
            (&master).write_all(key.as_bytes()).or_say(failed)?;
            let typed = format!("> {}", key.repeat(number));
            let at = screen.wait(|seen| match side {
                // The system shows it where the cursor is.
                0 => seen.contains(KEY),
                _ => seen.contains(&typed),
            })?;
            keys.push(at.duration_since(pressed));
            screen.text.clear();
        }
        drop(stop);
        flooding
            .join()
            .map_err(|_| super::common::Failure("the flood failed".to_owned()))?;
        let values: Vec<f64> = [
            prompt,
            percentile(&mut arrivals, 0.5),
            percentile(&mut arrivals, 0.99),
            percentile(&mut keys, 0.5),
            percentile(&mut keys, 0.99),
        ]
        .iter()
        .map(|time| time.as_nanos() as f64)
        .collect();
        let milliseconds: Vec<String> = values
            .iter()
            .map(|time| format!("{:.2}", time / 1e6))
            .collect();
        Ok(Sample {
            values,
            verified: 2 * times as u64,
            waited: 0.0,
            remark: format!("{} ms", milliseconds.join(", ")),
        })
    }

    fn percentile(times: &mut [Duration], part: f64) -> Duration {
        times.sort_unstable();
        times[((times.len() - 1) as f64 * part).round() as usize]
    }

    fn pseudo_terminal() -> Result<(File, File)> {
        let failed = || "cannot make a pseudo-terminal".to_owned();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).or_say(failed)?;
        grantpt(&master).or_say(failed)?;
        unlockpt(&master).or_say(failed)?;
        let path = ptsname(&master, Vec::new()).or_say(failed)?;
        let path = path.to_string_lossy().into_owned();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .or_say(failed)?;
        let size = Winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).or_say(failed)?;
        Ok((File::from(master), slave))
    }

    /// What was written to a terminal, and when it came.
    struct Screen {
        chunks: Receiver<(Instant, Vec<u8>)>,
        text: String,
    }

    impl Screen {
        fn follow(master: &File) -> Result<Self> {
            let mut master = master.try_clone().or_say(|| "no handle".to_owned())?;
            let (sender, chunks) = channel();
            std::thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                // Ends with the terminal, or with the one who looks at it.
                while let Ok(count) = master.read(&mut buffer) {
                    if sender
                        .send((Instant::now(), buffer[..count].to_vec()))
                        .is_err()
                    {
                        return;
                    }
                }
            });
            let text = String::new();
            Ok(Screen { chunks, text })
        }

        /// When the text was so for the first time.
        fn wait(&mut self, is_there: impl Fn(&str) -> bool) -> Result<Instant> {
            loop {
                let (at, bytes) = self
                    .chunks
                    .recv_timeout(PATIENCE)
                    .or_say(|| format!("nothing more was shown after {:?}", self.text))?;
                self.text.push_str(&String::from_utf8_lossy(&bytes));
                if is_there(&self.text) {
                    return Ok(at);
                }
            }
        }
    }

    // The reference

    /// As anybody would write it.
    #[derive(serde::Deserialize)]
    struct Line {
        r#type: String,
        data: Said,
    }

    #[derive(serde::Deserialize)]
    struct Said {
        source: String,
        message: String,
    }

    /// Shows what a server says until it closes.
    pub(super) fn show_lines(arguments: &[String]) -> io::Result<()> {
        let is_json = arguments.iter().any(|argument| argument == "--json");
        let port = arguments.get(1).and_then(|port| port.parse().ok());
        let stream = TcpStream::connect((arguments[0].as_str(), port.unwrap_or(0)))?;
        let mut output = BufWriter::with_capacity(1 << 16, io::stdout());
        output.write_all(b"> ")?;
        output.flush()?;
        let mut input = BufReader::with_capacity(1 << 16, stream);
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line)? > 0 {
            let Line { r#type, data } = serde_json::from_slice(&line)?;
            match is_json {
                _ if r#type != "message" => {}
                true => output.write_all(&line)?,
                false => writeln!(output, "{}: {}", data.source, data.message)?,
            }
            line.clear();
            // As a tool does whose reader waits.
            if input.buffer().is_empty() {
                output.flush()?;
            }
        }
        output.flush()
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|role| role == client::ROLE) {
        return match client::show_lines(&arguments[1..]) {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the reference: {error}");
                std::process::ExitCode::FAILURE
            }
        };
    }
    common::start("client", client::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("client: this benchmark reads /proc and needs Linux");
}
