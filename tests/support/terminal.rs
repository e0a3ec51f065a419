//! The client at a pseudo-terminal with a virtual screen.

use super::{Captured, Deadline, Transcript};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcgetpgrp, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The client at a terminal. Killed and reaped when dropped.
pub struct AtTerminal {
    child: Child,
    master: File,
    /// Kept open, so that the terminal outlives the client.
    slave: File,
    before: Termios,
    screen: Arc<Mutex<vt100::Parser>>,
    /// All output of the client.
    pub written: Captured,
    home: PathBuf,
}

/// Options of a client at a terminal.
pub struct Start<'a> {
    pub arguments: &'a [&'a str],
    /// Columns and rows.
    pub size: (u16, u16),
    /// Further variables of its environment.
    pub environment: &'a [(&'a str, &'a str)],
    pub home: Option<PathBuf>,
    /// A shell to start in place of the client, and its arguments.
    pub shell: &'a [&'a str],
}

impl Default for Start<'_> {
    fn default() -> Self {
        Start {
            arguments: &[],
            size: (80, 24),
            environment: &[],
            home: None,
            shell: &[],
        }
    }
}

fn number(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).expect("a size")
}

fn window((columns, rows): (u16, u16)) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Returns an empty home folder.
pub fn new_home() -> PathBuf {
    let name = format!("home-{}-{:x}", std::process::id(), fastrand::u64(..));
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&home).expect("a folder");
    home
}

impl AtTerminal {
    /// Starts the client of this server.
    pub fn start(port: u16, start: Start<'_>) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it can be opened");
        let path = ptsname(&master, Vec::new()).expect("its name");
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.to_str().expect("a name"))
            .expect("its other end");
        tcsetwinsize(&slave, window(start.size)).expect("a size");
        let before = tcgetattr(&slave).expect("its state");
        let home = start.home.unwrap_or_else(new_home);
        // The terminal becomes the one that controls the client: changes of its size are signals.
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(start.shell);
        if start.shell.is_empty() {
            command
                .arg(env!("CARGO_BIN_EXE_smolchat-client"))
                .args(["127.0.0.1", &port.to_string()])
                .args(start.arguments);
        }
        for variable in [
            "NO_COLOR",
            "COLORTERM",
            "TERM_PROGRAM",
            "FORCE_HYPERLINK",
            "TMUX",
            "VTE_VERSION",
            "KONSOLE_VERSION",
            "WT_SESSION",
        ] {
            command.env_remove(variable);
        }
        command
            .env("TERM", "xterm-256color")
            .env("TZ", "UTC")
            // So that the client does not ask for the background.
            .env("COLORFGBG", "15;0")
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_STATE_HOME", home.join("state"))
            .envs(start.environment.iter().copied())
            .stdin(slave.try_clone().expect("a handle"))
            .stdout(slave.try_clone().expect("a handle"))
            .stderr(slave.try_clone().expect("a handle"));
        let child = command.spawn().expect("the client starts");
        let (columns, rows) = start.size;
        let parser = vt100::Parser::new(number(rows), number(columns), 1000);
        let screen = Arc::new(Mutex::new(parser));
        let written = Captured::default();
        let master = File::from(master);
        draw_all(
            master.try_clone().expect("a handle"),
            screen.clone(),
            written.clone(),
        );
        AtTerminal {
            child,
            master,
            slave,
            before,
            screen,
            written,
            home,
        }
    }

    pub fn home(&self) -> PathBuf {
        self.home.clone()
    }

    #[track_caller]
    pub fn types(&mut self, keys: &str) {
        Transcript::current().note("keys", "→", keys.as_bytes());
        self.master.write_all(keys.as_bytes()).expect("a terminal");
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.set_size(number(rows), number(columns));
        drop(screen);
        tcsetwinsize(&self.slave, window((columns, rows))).expect("a size");
    }

    /// Returns the rows of the screen without empty rows at its end.
    pub fn rows(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = screen.screen().contents();
        contents
            .trim_end()
            .lines()
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    /// Returns the rows of the scrollback and of the screen.
    pub fn all_rows(&self) -> Vec<String> {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let width = screen.screen().size().1.get();
        screen.screen_mut().set_scrollback(usize::MAX);
        let mut rows = Vec::new();
        for above in (1..=screen.screen().scrollback()).rev() {
            screen.screen_mut().set_scrollback(above);
            rows.extend(screen.screen().rows(0, width).next());
        }
        screen.screen_mut().set_scrollback(0);
        rows.extend(screen.screen().rows(0, width));
        rows
    }

    /// Returns the rows above the status, without the greeting.
    pub fn chat(&self) -> Vec<String> {
        let mut rows = self.rows();
        let prompt = rows
            .iter()
            .rposition(|row| row.starts_with('>'))
            .unwrap_or(rows.len());
        rows.truncate(prompt.saturating_sub(1));
        let is_greeting = |row: &String| row.trim_start().starts_with("Type a line");
        if rows.first().is_some_and(is_greeting) {
            // In a narrow terminal it takes several rows.
            let end = rows.iter().position(|row| row.ends_with("more"));
            rows.drain(..=end.unwrap_or(0));
        }
        rows
    }

    /// Returns the status row.
    pub fn status(&self) -> String {
        let rows = self.rows();
        let prompt = rows
            .iter()
            .rposition(|row| row.starts_with('>'))
            .unwrap_or(0);
        rows.get(prompt.wrapping_sub(1))
            .cloned()
            .unwrap_or_default()
    }

    pub fn with_screen<Seen>(&self, look: impl FnOnce(&vt100::Screen) -> Seen) -> Seen {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        look(screen.screen())
    }

    /// Waits until the screen fits the condition.
    #[track_caller]
    pub fn sees(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let is_there = Deadline::new().poll(|| condition(self));
        assert!(is_there, "{what} expected:\n{}", self.rows().join("\n"));
    }

    /// Waits until a row of the screen is this.
    #[track_caller]
    pub fn sees_row(&self, row: &str) {
        self.sees(&format!("the row {row:?}"), |terminal| {
            terminal.rows().iter().any(|seen| seen == row)
        });
    }

    /// Waits until the last row of the screen is this.
    #[track_caller]
    pub fn sees_prompt(&self, row: &str) {
        self.sees(&format!("the prompt {row:?}"), |terminal| {
            terminal.rows().last().is_some_and(|seen| seen == row)
        });
    }

    /// Waits until the chat is exactly this.
    #[track_caller]
    pub fn sees_chat(&self, rows: &[&str]) {
        self.sees(&format!("{rows:#?}"), |terminal| terminal.chat() == rows);
    }

    /// Returns the process group in the foreground, and whether keys are echoed and edited by the
    /// terminal itself.
    pub fn foreground(&self) -> (u32, bool) {
        let group = tcgetpgrp(&self.master).expect("a process group");
        let modes = tcgetattr(&self.master).expect("its state").local_modes;
        let is_cooked = modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        (group.as_raw_nonzero().get().unsigned_abs(), is_cooked)
    }

    /// Returns the process number of the client.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        super::send_signal(self.id(), signal);
    }

    /// Returns how many typed bytes no program has read.
    pub fn unread_input(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.slave).expect("a terminal")
    }

    /// Waits for the end, checks that the terminal is restored, and returns the status.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        let has_ended = Deadline::new().poll(|| {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        assert!(
            has_ended,
            "the client does not end:\n{}",
            self.rows().join("\n")
        );
        let after = tcgetattr(&self.slave).expect("its state");
        assert_eq!(format!("{after:?}"), format!("{:?}", self.before));
        self.sees("the usual modes", |terminal| {
            terminal.with_screen(|screen| !screen.bracketed_paste() && !screen.hide_cursor())
        });
        status.and_then(|status| status.code())
    }

    /// Returns the peak memory of the client in bytes.
    pub fn peak_bytes(&self) -> Option<u64> {
        super::program::peak_bytes(self.child.id())
    }
}

/// Draws what the client writes, and passes it on.
fn draw_all(
    mut master: File,
    screen: Arc<Mutex<vt100::Parser>>,
    mut copy: impl Write + Send + 'static,
) {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        // The other end is kept open: this ends with the test.
        while let Ok(count) = master.read(&mut buffer) {
            // What the screen shows was written before.
            if copy.write_all(&buffer[..count]).is_err() {
                return;
            }
            let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
            screen.process(&buffer[..count]);
        }
    });
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            Transcript::current().print_on_panic("");
            eprintln!("screen:\n{}", self.rows().join("\n"));
        }
        // Where it cannot be removed it lies in the folder of the tests.
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
