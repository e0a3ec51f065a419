//! SIGINT and SIGTERM, as the server's program takes them.
//!
//! What lives here: [`watch`]. The program calls it, before it tells anybody that it runs. It
//! must never touch the chat: it tells the first signal, and ends the process when that takes
//! too long or a second one comes. It must never write anything itself: that could take for ever.

use crate::cli::exit_code::{DONE, INTERRUPTED};
use async_channel::Receiver;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::process::exit;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Time after the deadline that a server in order needs to end by itself.
const LAST_WORDS: Duration = Duration::from_millis(150);

/// A channel that tells of the first SIGINT or SIGTERM; the second ends the process at once,
/// and so does the deadline, whatever the server is busy with, after `tell` has said why.
///
/// # Errors
/// The system gives no thread, or does not let the signals be caught.
pub fn watch(
    stop_deadline: Duration,
    tell: impl FnOnce(&str) + Send + 'static,
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
                // The server listens to this one, or is at its end anyway.
                let _ = sender.try_send(());
                let _ = first.send(());
            }
        })?;
    thread::Builder::new()
        .name("deadline".to_owned())
        .spawn(move || {
            // After the first signal nothing more is sent: the second wait lasts its whole time.
            if deadline.recv().is_ok() {
                let _ = deadline.recv_timeout(stop_deadline + LAST_WORDS);
                tell("some connections did not end in time and were cut off");
                exit(i32::from(DONE));
            }
        })?;
    Ok(receiver)
}
