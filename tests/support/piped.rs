//! The real client in pipes.

use super::{Captured, PATIENCE, Watchdog, eventually};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The client program in pipes. Killed and reaped when dropped.
pub struct Client {
    /// The process.
    pub child: Child,
    /// Its input, until it is closed.
    pub stdin: Option<ChildStdin>,
    /// What it prints.
    pub stdout: Captured,
    /// What it tells.
    pub stderr: Captured,
    _watchdog: Watchdog,
}

/// The client of this server.
pub fn command(port: u16, arguments: &[&str]) -> Command {
    let mut command = super::client_command();
    command
        .args(["127.0.0.1", &port.to_string()])
        .args(arguments)
        .env_remove("NO_COLOR");
    command
}

impl Client {
    /// Starts it.
    pub fn start(port: u16, arguments: &[&str]) -> Self {
        let mut child = command(port, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let stdout = Captured::read_all(child.stdout.take().expect("its output"));
        let stderr = Captured::read_all(child.stderr.take().expect("its errors"));
        Client {
            stdin: child.stdin.take(),
            child,
            stdout,
            stderr,
            _watchdog: Watchdog::start(super::Trace::default()),
        }
    }

    /// Types a line.
    #[track_caller]
    pub fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("an open input");
        writeln!(stdin, "{line}").expect("the client reads");
    }

    /// Waits for the end; its status.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        eventually(PATIENCE, "the client ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        self.stdout.wait_for_end();
        self.stderr.wait_for_end();
        status.and_then(|status| status.code())
    }

    /// Lines of its output that have one of these parts.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        let lines = self.stdout.lines();
        lines
            .into_iter()
            .filter(|line| line.contains(part))
            .collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
