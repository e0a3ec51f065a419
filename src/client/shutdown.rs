//! The end of the process by a signal, a key or a panic. The terminal is always restored.

use crate::cli::exit_code::{INTERNAL_FAILURE, INTERRUPTED};
use crate::cli::signals;
use crate::client::terminal::editor::Terminal;
use async_channel::{Receiver, Sender};
use signal_hook::consts::{SIGABRT, SIGINT, SIGSYS, SIGTRAP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::panic;
use std::process::exit;
use std::sync::OnceLock;
use std::thread;

/// Signals that end the process with a core dump.
const DUMPING: [i32; 3] = [SIGABRT, SIGSYS, SIGTRAP];

/// The terminal that a line editor works on.
static TERMINAL: OnceLock<Terminal> = OnceLock::new();

/// Starts to listen for signals; the receiver gets a value at the first one, or at the first
/// [`interrupt`] of the sender.
pub(crate) fn listen() -> io::Result<(Sender<()>, Receiver<()>)> {
    let (sender, receiver) = async_channel::bounded(1);
    let mut signals = Signals::new(signals::ending().chain(DUMPING))?;
    let interrupts = sender.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if DUMPING.contains(&signal) {
                    restore_terminal();
                    // Ends the process; the system refuses none of these signals.
                    let _ = emulate_default_handler(signal);
                }
                let is_from_terminal =
                    signal == SIGINT && TERMINAL.get().is_some_and(Terminal::is_ending);
                if !is_from_terminal {
                    interrupt(&interrupts);
                }
            }
        })?;
    Ok((sender, receiver))
}

/// Ends the chat the first time, and the process the second time.
pub(crate) fn interrupt(interrupts: &Sender<()>) {
    let is_first = interrupts.try_send(()).is_ok();
    interrupts.close();
    if !is_first {
        restore_terminal();
        exit(i32::from(INTERRUPTED));
    }
}

/// Registers the terminal to restore when the process ends early.
pub(crate) fn guard_terminal(terminal: Terminal) {
    // Only `setup` calls this, once.
    let _ = TERMINAL.set(terminal);
}

fn restore_terminal() {
    if let Some(terminal) = TERMINAL.get() {
        terminal.restore();
    }
}

/// Makes a panic of any thread print its message and end the process.
pub fn exit_on_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        restore_terminal();
        print(panic);
        exit(i32::from(INTERNAL_FAILURE));
    }));
}
