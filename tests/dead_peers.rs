//! Peers whose cable was cut: the server finds out by itself.
//!
//! Linux, in two network namespaces of the test's own, joined by a virtual cable. Where the
//! machine gives no namespace, this is skipped and says so; the programs for it must be there.
#![cfg(target_os = "linux")]

mod common;

use common::{Captured, eventually, skip};
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What is promised, from the cut to the departure.
const PROMISED: Duration = Duration::from_secs(120);
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The server's end of the cable; the addresses are of a range for documentation.
const SERVER: &str = "192.0.2.1";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace, which lives as long as the process in it.
struct Namespace(Running);

impl Namespace {
    /// None if the machine gives none.
    fn new() -> Option<Self> {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sleep", "1000"])
            .stderr(Stdio::null());
        let mut holder = Running(command.spawn().ok()?);
        let own = std::fs::read_link("/proc/self/ns/net").ok()?;
        let path = format!("/proc/{}/ns/net", holder.0.id());
        let end = Instant::now() + PATIENCE;
        loop {
            if holder.0.try_wait().ok()?.is_some() || Instant::now() > end {
                return None;
            }
            if std::fs::read_link(&path).is_ok_and(|other| other != own) {
                return Some(Namespace(holder));
            }
            thread::yield_now();
        }
    }

    fn id(&self) -> String {
        self.0.0.id().to_string()
    }

    /// A command that runs inside.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.id(), "--net", program]);
        command.args(arguments);
        command
    }

    fn ip(&self, arguments: &str) -> bool {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        succeeds(&mut self.command("ip", &arguments))
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// Two namespaces and a cable between them; none if the machine does not give that.
fn cable() -> Option<(Namespace, Namespace)> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    let (here_id, there_id) = (here.id(), there.id());
    let link = [
        "link", "add", "near", "netns", &here_id, "type", "veth", "peer", "name", "far", "netns",
        &there_id,
    ];
    let made = succeeds(Command::new("ip").args(link))
        && here.ip("addr add 192.0.2.1/24 dev near")
        && here.ip("link set near up")
        && here.ip("link set lo up")
        && there.ip("addr add 192.0.2.2/24 dev far")
        && there.ip("link set far up");
    made.then_some((here, there))
}

/// A program with its input and what it writes.
struct Program {
    _process: Running,
    input: Option<ChildStdin>,
    output: Captured,
    errors: Captured,
}

impl Program {
    fn start(mut command: Command) -> Self {
        command
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        Program {
            input: child.stdin.take(),
            output: Captured::read_all(child.stdout.take().expect("its output")),
            errors: Captured::read_all(child.stderr.take().expect("its errors")),
            _process: Running(child),
        }
    }

    fn client(namespace: &Namespace, port: &str, name: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_smolchat-client");
        let mut client = Program::start(namespace.command(program, &[SERVER, port]));
        client.type_line(&format!("/setname {name}"));
        client.output.wait_for(&format!("renamed to {name}"));
        client
    }

    fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it was started with an input");
        writeln!(input, "{line}").expect("it reads its input");
    }
}

/// A server with one user at its own end of the cable and one at the other.
fn room(here: &Namespace, there: &Namespace, port: &str) -> [Program; 3] {
    let program = env!("CARGO_BIN_EXE_smolchat-server");
    let arguments = ["--host", SERVER, "--port", port, "--no-web"];
    let server = Program::start(here.command(program, &arguments));
    server.errors.wait_for("clients connect to");
    let witness = Program::client(here, port, "witness");
    let victim = Program::client(there, port, "victim");
    witness.output.wait_for("renamed to victim");
    [server, witness, victim]
}

#[test]
fn a_peer_whose_cable_was_cut_has_left_within_two_minutes() {
    for (program, version) in [
        ("ip", "-V"),
        ("unshare", "--version"),
        ("nsenter", "--version"),
    ] {
        if Command::new(program).arg(version).output().is_err() {
            return skip(&format!("{program} is needed to cut a cable"));
        }
    }
    let Some((here, there)) = cable() else {
        println!("SKIPPED: this machine gives no network namespace to cut a cable in");
        return;
    };
    // In one room nothing is said after the cut, in the other something is under way to the
    // victim.
    let silent = room(&here, &there, "5001");
    let mut talking = room(&here, &there, "5002");
    assert!(there.ip("link set far down"), "the cable is cut");
    let cut = Instant::now();
    talking[1].type_line("is anybody there?");
    for (what, [server, witness, _victim]) in [("silent", &silent), ("talking", &talking)] {
        let left = PROMISED.saturating_sub(cut.elapsed());
        eventually(left, &format!("the departure in the {what} room"), || {
            witness.output.text().contains("victim has left the chat")
        });
        println!("{what}: found after {} s", cut.elapsed().as_secs());
        server.errors.wait_for("reason=dead-peer");
    }
}
