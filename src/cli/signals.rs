//! Signals of the programs.
//!
//! The threads here write nothing themselves, because a write may block forever.

use crate::cli::exit_code::{DONE, INTERRUPTED};
use async_channel::Receiver;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
    SIGXFSZ,
};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io;
use std::process::exit;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Time after the deadline in which a healthy server exits by itself.
const EXIT_GRACE: Duration = Duration::from_millis(150);

/// Signals that end a process by default and mean no fault of it, except SIGHUP.
const ENDING: [i32; 9] = [
    SIGALRM, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
];

/// Returns the signals at which a program ends in order: SIGHUP only if it was not ignored at the
/// start, as under `nohup`.
pub(crate) fn ending() -> impl Iterator<Item = i32> {
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    ENDING.into_iter().chain(hangup)
}

/// Returns whether the process ignores a signal; false where the system does not tell.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Turns a write beyond the limit of file sizes into an error, as on a full disk. By default it ends
/// the process.
pub fn survive_file_size_limit() {
    // The system refuses no handler of this signal. The flag has no reader.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// Returns a channel that gets a value at the first ending signal. After that, SIGINT, SIGQUIT and
/// SIGTERM end the process at once; the deadline ends it after a call of `report`.
///
/// # Errors
/// The system cannot create a thread or does not let the signals be caught.
pub fn watch(
    stop_deadline: Duration,
    report: impl FnOnce(&str) + Send + 'static,
) -> io::Result<Receiver<()>> {
    let mut signals = Signals::new(ending())?;
    let (sender, receiver) = async_channel::bounded(1);
    let (first, deadline) = mpsc::channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                // A hangup comes from the terminal and from its shell, a used-up processor limit
                // every second.
                let is_insisting = matches!(signal, SIGINT | SIGQUIT | SIGTERM);
                if count > 0 && is_insisting {
                    exit(i32::from(INTERRUPTED));
                }
                // Both fail only if the server is ending already.
                let _ = sender.try_send(());
                let _ = first.send(());
            }
        })?;
    thread::Builder::new()
        .name("deadline".to_owned())
        .spawn(move || {
            if deadline.recv().is_ok() {
                // Nothing is sent after the first signal, so this wait lasts its whole time.
                let _ = deadline.recv_timeout(stop_deadline + EXIT_GRACE);
                report("some connections did not end in time; the server closed them");
                exit(i32::from(DONE));
            }
        })?;
    Ok(receiver)
}
