//! What ends the program from outside, and what it leaves behind.
//!
//! What lives here: [`Interrupts`], signals and the key that asks for an end, and
//! [`end_at_panics`]. The program and its edges use it. It must never leave a
//! terminal in another state than the program found it in.

use crate::cli::exit_code::{INTERNAL_FAILURE, INTERRUPTED};
use crate::client::terminal::editor::Terminal;
use async_channel::{Receiver, Sender};
use std::io;
use std::panic;
use std::process::exit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

/// What Ctrl-C and SIGTERM do: the first ends the chat, the second the process at once.
#[derive(Debug)]
pub struct Interrupts {
    sender: Sender<()>,
    count: AtomicUsize,
}

impl Interrupts {
    /// Listens for signals; the receiver tells of the first.
    ///
    /// # Errors
    /// The system takes no handler, or gives no thread.
    pub fn listen() -> io::Result<(Arc<Self>, Receiver<()>)> {
        let (sender, receiver) = async_channel::bounded(1);
        let count = AtomicUsize::new(0);
        let interrupts = Arc::new(Interrupts { sender, count });
        listen_for_signals(Arc::clone(&interrupts))?;
        Ok((interrupts, receiver))
    }

    /// From now on the terminal is left as it was, whatever happens.
    pub fn guard(&self, terminal: Terminal) {
        // It is called once.
        let _ = TERMINAL.set(terminal);
    }

    /// Somebody wants an end.
    pub fn note(&self) {
        let is_first = self.count.fetch_add(1, Ordering::Relaxed) == 0;
        if !is_first || self.sender.try_send(()).is_err() {
            if let Some(terminal) = TERMINAL.get() {
                terminal.restore();
            }
            exit(i32::from(INTERRUPTED));
        }
    }
}

/// The terminal that a line editor works on.
static TERMINAL: OnceLock<Terminal> = OnceLock::new();

fn listen_for_signals(interrupts: Arc<Interrupts>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                let is_own = signal == SIGINT && TERMINAL.get().is_some_and(Terminal::is_ending);
                if !is_own {
                    interrupts.note();
                }
            }
        })?;
    Ok(())
}

/// A panic of whichever thread tells what happened and where, and ends the program.
pub fn end_at_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |fault| {
        if let Some(terminal) = TERMINAL.get() {
            terminal.restore();
        }
        tell(fault);
        exit(i32::from(INTERNAL_FAILURE));
    }));
}
