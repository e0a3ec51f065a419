//! The client as a job of a shell: stopped, in the background, and in the foreground again.
#![cfg(target_os = "linux")]

use crate::support::terminal::{AtTerminal, Start};
use crate::support::{LineClient, RealServer, send_signal, skip};
use crate::terminal::{CONTROL_D, ENTER};
use std::process::Command;

const CONTROL_Z: &str = "\u{1a}";
const LEFT: &str = "\u{1b}[D";

/// A shell with a client as its only job, and another user.
struct Shell {
    terminal: AtTerminal,
    _server: RealServer,
    bob: LineClient,
    client: String,
    markers: u32,
}

impl Shell {
    fn start(shell: &[&str]) -> Option<Self> {
        let name = shell[0];
        if Command::new(name).args(["-c", ":"]).output().is_err() {
            let is_ci = std::env::var("CI").as_deref() == Ok("true");
            assert!(!is_ci, "there is no {name}");
            skip(&format!("there is no {name}"));
            return None;
        }
        let server = RealServer::start(&[]);
        let bob = server.join("bob");
        let environment = [("PS1", "$ "), ("ENV", "")];
        let terminal = AtTerminal::start(
            server.address.port(),
            Start {
                shell,
                environment: &environment,
                ..Start::default()
            },
        );
        let program = env!("CARGO_BIN_EXE_smolchat-client");
        let client = format!("{program} 127.0.0.1 {} --name me", server.address.port());
        let mut shell = Shell {
            terminal,
            _server: server,
            bob,
            client,
            markers: 0,
        };
        shell.runs("clear");
        Some(shell)
    }

    /// Runs a command of the shell to its end.
    #[track_caller]
    fn runs(&mut self, command: &str) {
        self.markers += 1;
        let marker = self.markers;
        // What is typed differs from what is printed.
        self.terminal
            .types(&format!("{command}; echo mar''ker {marker}\n"));
        let marker = format!("marker {marker}");
        self.terminal.sees(&marker, |terminal| {
            terminal.rows().iter().any(|row| row.ends_with(&marker))
        });
    }

    /// Waits until the client edits this line; returns its process number.
    #[track_caller]
    fn edits(&self, line: &str) -> u32 {
        self.terminal.sees_prompt(format!("> {line}").trim_end());
        self.terminal.sees("raw modes", |terminal| {
            let (group, is_cooked) = terminal.foreground();
            group != terminal.id() && !is_cooked
        });
        self.terminal.sees("one status, one prompt", |terminal| {
            let rows = terminal.rows();
            let is_status = |row: &&String| row.starts_with("me · ") && row.ends_with(" ms");
            rows.iter().filter(is_status).count() == 1
                && rows.iter().filter(|row| row.starts_with("> ")).count() <= 1
        });
        self.terminal.foreground().0
    }

    #[track_caller]
    fn has_the_terminal(&self) {
        self.terminal.sees("the shell", |terminal| {
            terminal.foreground().0 == terminal.id()
        });
    }

    /// Waits until the shell has the terminal, with the modes of before.
    #[track_caller]
    fn is_back(&mut self) {
        self.has_the_terminal();
        self.runs("stty -a");
        let rows = self.terminal.rows().join(" ");
        for mode in [" icanon ", " echo ", " isig ", " icrnl "] {
            assert!(rows.contains(mode), "{mode} expected:\n{rows}");
        }
    }

    #[track_caller]
    fn sees_no_prompt(&self) {
        let rows = self.terminal.rows();
        assert!(
            !rows
                .iter()
                .any(|row| row.starts_with("> ") || row.contains(" ms")),
            "{rows:#?}"
        );
    }

    /// Lets bob say a text, which has arrived everywhere at the end.
    #[track_caller]
    fn bob_says(&mut self, text: &str) {
        self.bob.say(text);
        self.bob.skip_to("bob", text);
    }

    #[track_caller]
    fn sees_once(&self, row: &str) {
        self.terminal.sees(&format!("{row:?} once"), |terminal| {
            let rows = terminal.rows();
            rows.iter().filter(|seen| *seen == row).count() == 1
        });
    }
}

/// Returns the processor time that a process has used, in hundredths of a second.
fn used_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let fields = stat.rsplit(") ").next().expect("fields");
    let fields: Vec<_> = fields.split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    ticks(11) + ticks(12)
}

fn job_control(shell: &[&str]) {
    let Some(mut shell) = Shell::start(shell) else {
        return;
    };
    let client = shell.client.clone();
    shell.terminal.types(&format!("{client}{ENTER}"));
    shell.edits("");
    shell.terminal.types(&format!("half typed{LEFT}{LEFT}"));
    let process = shell.edits("half typed");

    // Stopped by a key: nothing of the prompt stays.
    shell.terminal.types(CONTROL_Z);
    shell.is_back();
    shell.sees_no_prompt();
    shell.bob_says("while stopped");
    shell.runs("clear");
    shell.terminal.types("fg\n");
    assert_eq!(shell.edits("half typed"), process);
    shell.sees_once("bob: while stopped");
    shell.terminal.types("XY");
    shell.edits("half typXYed");

    // Stopped by another process, and continued by the shell.
    send_signal(process, "STOP");
    shell.has_the_terminal();
    shell.bob_says("while stopped again");
    shell.terminal.types("fg\n");
    shell.edits("half typXYed");
    shell.sees_once("bob: while stopped");
    shell.sees_once("bob: while stopped again");

    // In the background after either stop: it runs, and leaves the terminal to the shell.
    for is_signal in [false, true] {
        match is_signal {
            true => send_signal(process, "STOP"),
            false => shell.terminal.types(CONTROL_Z),
        }
        shell.has_the_terminal();
        shell.runs("clear");
        shell.runs("bg");
        let text = format!("in the background {is_signal}");
        let used = used_time(process);
        shell.bob_says(&text);
        shell.runs("sleep 1");
        // dash leaves the modes of a job that could not restore them itself.
        if !is_signal {
            shell.is_back();
        }
        assert!(used_time(process) - used < 50, "the client is busy");
        let row = format!("bob: {text}");
        assert!(!shell.terminal.rows().contains(&row), "drawn too early");
        shell.terminal.types("fg\n");
        assert_eq!(shell.edits("half typXYed"), process);
        shell.sees_once(&row);
    }

    shell.terminal.types(ENTER);
    shell.bob.skip_to("me", "half typXYed");
    shell.edits("");
    shell.terminal.types(CONTROL_D);
    shell.is_back();

    // Started in the background.
    shell.runs("clear");
    shell.terminal.types(&format!("{client} &{ENTER}"));
    shell.runs("sleep 1");
    shell.is_back();
    shell.runs("clear");
    shell.terminal.types("fg\n");
    shell.edits("");
    shell.terminal.types(&format!("hello{ENTER}"));
    shell.bob.skip_to("me", "hello");
    shell.terminal.types(CONTROL_D);
    shell.is_back();
}

#[test]
fn client_is_a_job_of_bash() {
    job_control(&["bash", "--noprofile", "--norc", "-i"]);
}

#[test]
fn client_is_a_job_of_dash() {
    job_control(&["dash", "-i"]);
}

#[test]
fn client_is_a_job_of_zsh() {
    job_control(&["zsh", "-f", "-i", "-o", "no_prompt_sp"]);
}

#[test]
fn client_without_a_shell_goes_on() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let mut terminal = crate::terminal::joined(&server, &[], (60, 10));
    terminal.types("half");
    terminal.sees_prompt("> half");
    terminal.types(CONTROL_Z);
    terminal.types(" a line");
    terminal.sees_prompt("> half a line");
    terminal.signal("STOP");
    bob.say("hi");
    terminal.signal("CONT");
    terminal.sees_chat(&["[Server]: me entered", "bob: hi"]);
    terminal.sees_prompt("> half a line");
    terminal.types(ENTER);
    bob.skip_to("me", "half a line");
}

#[test]
fn signal_ends_a_client_in_the_background() {
    let Some(mut shell) = Shell::start(&["bash", "--noprofile", "--norc", "-i"]) else {
        return;
    };
    let client = shell.client.clone();
    for is_signal in [false, true] {
        shell.terminal.types(&format!("{client}{ENTER}"));
        let process = shell.edits("");
        match is_signal {
            true => send_signal(process, "STOP"),
            false => shell.terminal.types(CONTROL_Z),
        }
        shell.has_the_terminal();
        shell.runs("bg");
        shell.runs("clear");
        shell.bob_says("not on the screen of the shell");
        shell.runs("sleep 1");
        send_signal(process, "TERM");
        shell.runs("wait %1; echo status $?");
        shell.sees_once("status 130");
        let rows = shell.terminal.rows();
        assert!(rows[0].starts_with("marker"), "{rows:#?}");
        shell.sees_no_prompt();
        assert!(!rows.iter().any(|row| row.contains("bob:")), "{rows:#?}");
        shell.is_back();
    }
}

#[test]
fn signal_ends_a_client_that_never_was_in_the_foreground() {
    let Some(mut shell) = Shell::start(&["bash", "--noprofile", "--norc", "-i"]) else {
        return;
    };
    let client = shell.client.clone();
    shell.terminal.types(&format!("{client} &{ENTER}"));
    shell.runs("sleep 1");
    shell.runs("kill %1; wait %1; echo status $?");
    shell.sees_once("status 130");
    shell.is_back();
}

#[test]
fn stop_key_that_is_turned_off_has_no_effect() {
    let Some(mut shell) = Shell::start(&["bash", "--noprofile", "--norc", "-i"]) else {
        return;
    };
    shell.runs("stty susp undef");
    let client = shell.client.clone();
    shell.terminal.types(&format!("{client}{ENTER}"));
    shell.edits("");
    shell.terminal.types(&format!("a{CONTROL_Z}b"));
    shell.edits("ab");
    shell.terminal.types(ENTER);
    shell.bob.skip_to("me", "ab");
    shell.terminal.types(CONTROL_D);
    shell.is_back();
}

#[test]
fn messages_of_the_time_in_the_background_are_all_shown() {
    let Some(mut shell) = Shell::start(&["bash", "--noprofile", "--norc", "-i"]) else {
        return;
    };
    let client = shell.client.clone();
    shell.terminal.types(&format!("{client}{ENTER}"));
    let process = shell.edits("");
    send_signal(process, "STOP");
    shell.has_the_terminal();
    shell.runs("bg");
    (1..=60).for_each(|number| shell.bob_says(&format!("message {number}")));
    shell.terminal.types("fg\n");
    shell.edits("");
    shell.sees_once("bob: message 60");
    let text = shell.terminal.written.text();
    for number in 1..=60 {
        let row = format!(": message {number}\r\n");
        assert!(text.contains(&row), "{row:?}");
    }
    shell.terminal.types(CONTROL_D);
    shell.is_back();
}
