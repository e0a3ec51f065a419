//! Programs that a test runs.

use super::captured::Captured;
use super::deadline::Deadline;
use super::transcript::Transcript;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

/// Returns the command of the client, which sees no files of the user that runs the tests.
pub fn client_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smolchat-client"));
    let nowhere = concat!(env!("CARGO_TARGET_TMPDIR"), "/nowhere");
    command
        .env("XDG_CONFIG_HOME", nowhere)
        .env("XDG_STATE_HOME", nowhere)
        .env_remove("NO_COLOR");
    command
}

/// Returns the command of a client of the server at this port.
pub fn client_of(port: u16, arguments: &[&str]) -> Command {
    let mut command = client_command();
    command
        .args(["127.0.0.1", &port.to_string()])
        .args(arguments);
    command
}

/// Sends a signal to one process.
pub fn send_signal(process: u32, signal: &str) {
    let kill = format!("kill -{signal} {process}");
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.expect("sh runs").success(), "{kill}");
}

/// Limits the sizes of the files that a process writes, in bytes; `unlimited` lifts the limit.
/// Returns whether this system can do it.
pub fn limit_file_sizes(process: u32, limit: &str) -> bool {
    let (process, limit) = (process.to_string(), format!("--fsize={limit}:unlimited"));
    let status = Command::new("prlimit")
        .args(["--pid", &process, &limit])
        .status();
    status.is_ok_and(|status| status.success())
}

/// Returns a field of `/proc/PID/status` in bytes; none where the system has no such file.
pub fn status_bytes(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Returns the peak memory of a process in bytes; none where the system does not tell.
pub fn peak_bytes(process: u32) -> Option<u64> {
    status_bytes(process, "VmHWM:")
}

/// Result of a program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit status; none after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end without input.
#[track_caller]
pub fn run_to_end(mut command: Command) -> Finished {
    command.stdin(Stdio::null());
    let mut program = Program::spawn(command);
    let code = program.wait();
    Finished {
        code,
        stdout: program.stdout.text(),
        stderr: program.stderr.text(),
    }
}

/// A program in pipes. Killed and reaped when dropped.
pub struct Program {
    child: Child,
    /// Input; none after [`Program::end_input`] or where the command has another input.
    pub stdin: Option<ChildStdin>,
    pub stdout: Captured,
    pub stderr: Captured,
}

impl Program {
    /// Starts the client of the server at this port.
    pub fn client(port: u16, arguments: &[&str]) -> Self {
        let mut command = client_of(port, arguments);
        command.stdin(Stdio::piped());
        Program::spawn(command)
    }

    /// Starts a command and reads its output and errors.
    pub fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        Program::spawn_with_stdout(command)
    }

    /// Starts a command whose standard output the caller has chosen, and reads its errors.
    pub fn spawn_with_stdout(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Program::spawn_as_is(command)
    }

    /// Starts a command and reads its output and errors where they are pipes.
    pub fn spawn_as_is(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        Program {
            stdin: child.stdin.take(),
            stdout: stdout.map_or_else(Captured::default, Captured::read_all),
            stderr: stderr.map_or_else(Captured::default, Captured::read_all),
            child,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to the input.
    #[track_caller]
    pub fn type_line(&mut self, line: &str) {
        self.type_bytes(format!("{line}\n").as_bytes());
    }

    /// Writes bytes to the input.
    #[track_caller]
    pub fn type_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("an open input");
        stdin.write_all(bytes).expect("the program reads");
        Transcript::current().note("input", "→", bytes);
    }

    /// Closes the input.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Returns the exit status if the program has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits for the end and all output, and returns the exit status; none after a signal.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        self.wait_by(Deadline::new()).code()
    }

    #[track_caller]
    pub fn wait_by(&mut self, deadline: Deadline) -> ExitStatus {
        let has_ended = deadline.poll(|| self.try_wait().is_some());
        assert!(has_ended, "the program does not end");
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        self.try_wait().expect("it has ended")
    }

    /// Returns the lines of the output that contain `part`.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let lines = self.stdout.lines();
        lines
            .into_iter()
            .filter(|line| line.contains(part))
            .collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let (out, err) = (self.stdout.text(), self.stderr.text());
            eprintln!("output of the program:\n{out}\nerrors of the program:\n{err}");
        }
    }
}
