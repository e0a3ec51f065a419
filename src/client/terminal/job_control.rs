//! The terminal under a shell with job control: given back when the client is stopped, and taken
//! again when the client is in the foreground.
//!
//! Shells differ in the modes that they set around a stop, so the client trusts none of them.
//! While the client is in the background, it neither reads the terminal nor changes its modes.

use crate::client::terminal::shared::{TerminalState, lock};
use async_channel::Receiver;
use rustix::process::{Signal, getpgrp, kill_current_process_group};
use rustix::stdio::{dup2_stdin, dup2_stdout};
use rustix::termios::{
    OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use signal_hook::consts::{SIGCONT, SIGWINCH};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{self, Write, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Columns and rows of a terminal that does not report its size.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Time between two looks whether the client is in the foreground. Shells do not signal it for a
/// job that already runs.
const FOREGROUND_INTERVAL: Duration = Duration::from_millis(100);
/// Time until a stop has taken effect, or until its continuation is noticed.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);
/// Time between two attempts to end a running `readline`.
const DETACH_INTERVAL: Duration = Duration::from_millis(20);
const DETACH_ATTEMPTS: usize = 50;

/// Turns bracketed paste off and shows the cursor.
const RESET_MODES: &str = "\u{1b}[?2004l\u{1b}[?25h";

/// The terminal of standard input and output, with the modes of the shell and of the editor.
#[derive(Debug)]
pub(crate) struct Tty {
    input: OwnedFd,
    output: OwnedFd,
    null: File,
    original: Termios,
    editing: Termios,
}

impl Tty {
    /// Waits until the client is in the foreground, and opens the terminal.
    pub(crate) fn open(interrupted: &Receiver<()>) -> io::Result<Self> {
        while !is_foreground(stdin()) {
            if !interrupted.is_empty() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            thread::sleep(FOREGROUND_INTERVAL);
        }
        let original = tcgetattr(stdin())?;
        // The editor restores the modes that it found between two lines, when keys must not have an
        // effect either.
        let mut editing = original.clone();
        editing.make_raw();
        // A newline still begins a row.
        editing.output_modes = original.output_modes;
        let tty = Tty {
            input: stdin().as_fd().try_clone_to_owned()?,
            output: stdout().as_fd().try_clone_to_owned()?,
            null: File::options().read(true).write(true).open("/dev/null")?,
            original,
            editing,
        };
        tty.set_modes(&tty.editing);
        Ok(tty)
    }

    fn set_modes(&self, modes: &Termios) {
        // The next read reports a lost terminal.
        let _ = tcsetattr(&self.input, OptionalActions::Now, modes);
    }

    /// Takes the terminal for the editor again.
    fn take(&self) {
        self.attach();
        self.set_modes(&self.editing);
    }

    pub(crate) fn is_foreground(&self) -> bool {
        is_foreground(&self.input)
    }

    /// Restores the modes of the shell.
    pub(crate) fn give_back(&self) {
        if self.is_foreground() {
            self.set_modes(&self.original);
            let _ = stdout().write_all(RESET_MODES.as_bytes());
            let _ = stdout().flush();
        }
    }

    fn attach(&self) {
        // Fails only for descriptors that are not open.
        let _ = dup2_stdin(&self.input);
        let _ = dup2_stdout(&self.output);
    }

    /// Makes the editor read the end of its input and draw nothing.
    fn detach(&self) {
        let _ = dup2_stdout(&self.null);
        let _ = dup2_stdin(&self.null);
    }

    /// Returns columns and rows of the terminal.
    pub(crate) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.output) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (usize::from(size.ws_col), usize::from(size.ws_row))
            }
            _ => DEFAULT_SIZE,
        }
    }

    /// Returns the control character that stops programs in this terminal.
    pub(crate) fn stop_key(&self) -> Option<char> {
        let code = self.original.special_codes[SpecialCodeIndex::VSUSP];
        (1..27).contains(&code).then(|| char::from(code + b'@'))
    }
}

/// Returns whether the client may use this terminal. A terminal without job control is free.
fn is_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}

/// Starts the thread that takes the terminal from the editor after a stop that the client has not
/// made itself: modes and rows of the terminal are unknown then.
pub(crate) fn watch_continuations(shared: &Arc<TerminalState>) -> io::Result<()> {
    let mut signals = Signals::new([SIGCONT])?;
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("job control".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                if shared.draw_queue.note_continuation() {
                    detach_editor(&shared);
                }
            }
        })?;
    Ok(())
}

fn detach_editor(shared: &TerminalState) {
    shared.draw_queue.wait_handed_over();
    shared.draw_queue.wait_drawn(DETACH_INTERVAL);
    shared
        .draw_queue
        .detach_if_continued(|| shared.tty.detach());
    for _ in 0..DETACH_ATTEMPTS {
        // Wakes the editor, which then finds the end of its input.
        let _ = signal_hook::low_level::raise(SIGWINCH);
        if shared.draw_queue.wait_parked(DETACH_INTERVAL) {
            return;
        }
    }
}

/// Gives the terminal back, stops the client and all of its job, and takes the terminal again.
pub(crate) fn stop(shared: &TerminalState) {
    let queue = &shared.draw_queue;
    queue.park();
    lock(&shared.view).close_group();
    shared.tty.give_back();
    // Has no effect on a job that no shell can continue.
    let _ = kill_current_process_group(Signal::TSTP);
    // The stop may outlast the first wait.
    let _ = queue.wait_continued(STOP_TIMEOUT) || queue.wait_continued(STOP_TIMEOUT);
    wait_for_foreground(shared);
}

/// Takes a terminal again that has unknown modes and rows, and draws the chat anew. At the end of
/// the client, the screen may be that of the shell.
pub(crate) fn resume(shared: &TerminalState) {
    shared.draw_queue.park();
    wait_for_foreground(shared);
    if shared.draw_queue.is_ending() {
        return;
    }
    let text = shared.redraw();
    let mut output = stdout().lock();
    let _ = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
}

fn wait_for_foreground(shared: &TerminalState) {
    let queue = &shared.draw_queue;
    while !shared.tty.is_foreground() && !queue.is_ending() {
        queue.wait_end(FOREGROUND_INTERVAL);
    }
    match queue.is_ending() {
        true => shared.tty.attach(),
        false => shared.tty.take(),
    }
    queue.unpark();
}
