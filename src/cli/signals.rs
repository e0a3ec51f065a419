//! Signals of the programs.
//!
//! The threads here write nothing themselves, because a write may block forever.

use crate::cli::exit_code::{DONE, INTERRUPTED};
use async_channel::Receiver;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::io;
use std::process::exit;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Time after the deadline in which a healthy server exits by itself.
const EXIT_GRACE: Duration = Duration::from_millis(150);

/// Turns a write beyond the limit of file sizes into an error, as on a full disk. By default it ends
/// the process.
pub fn survive_file_size_limit() {
    // The system refuses no handler of this signal. The flag has no reader.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// Returns a channel that gets a value at the first signal. A second signal ends the process at
/// once; the deadline ends it after a call of `report`.
///
/// # Errors
/// The system cannot create a thread or does not let the signals be caught.
pub fn watch(
    stop_deadline: Duration,
    report: impl FnOnce(&str) + Send + 'static,
) -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = async_channel::bounded(1);
    let (first, deadline) = mpsc::channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, _signal) in signals.forever().enumerate() {
                if count > 0 {
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
