//! The client program: arguments, signals, exit status. Everything else is in the library.
#![forbid(unsafe_code)]

use async_channel::Receiver;
use smolchat::arguments;
use smolchat::client::input;
use smolchat::client::options::{ClientOptions, Config};
use smolchat::client::run::{Edge, Ended, InputKind, run};
use smolchat::client::screen::{PlainScreen, ScreenHandle};
use smolchat::exit_status::{COULD_NOT, DONE, INTERNAL_FAILURE, INTERRUPTED, WRONG_USE};
use std::io::{self, IsTerminal, Write, stderr, stdin};
use std::panic;
use std::process::{ExitCode, exit};
use std::thread;

const PROGRAM: &str = "smolchat-client";

fn main() -> ExitCode {
    end_at_panics();
    let status = run_program();
    // The input's thread may still be blocked in a read; leaving `main` does not wait for it.
    ExitCode::from(status)
}

fn run_program() -> u8 {
    let options: ClientOptions = match arguments::parse(PROGRAM) {
        Ok(options) => options,
        Err(end) => return end.tell(),
    };
    let config = match options.check() {
        Ok(config) => config,
        Err(sentence) => return fail(WRONG_USE, &sentence),
    };
    let edge = match edge(&config) {
        Ok(edge) => edge,
        Err(error) => {
            return fail(
                COULD_NOT,
                &format!("Cannot start a thread: {error}; free some memory"),
            );
        }
    };
    match smol::block_on(run(&config, edge)) {
        Ok(Ended::Done) => DONE,
        Ok(Ended::Interrupted) => {
            if stdin().is_terminal() {
                // The terminal shows `^C`; the prompt belongs on a line of its own.
                let _ = writeln!(stderr());
            }
            INTERRUPTED
        }
        Err(error) => fail(COULD_NOT, &error.to_string()),
    }
}

fn edge(config: &Config) -> io::Result<Edge> {
    let input_kind = if stdin().is_terminal() && config.say.is_none() {
        InputKind::Terminal
    } else {
        InputKind::Pipe
    };
    let input = match config.say {
        // Whatever stands in standard input is for somebody else.
        Some(_) => async_channel::bounded(1).1,
        // JSON may escape each byte of a message with six.
        None if config.json => input::start(config.max_message_bytes * 6 + 1024)?,
        None => input::start(config.max_message_bytes)?,
    };
    Ok(Edge {
        interrupted: interrupts()?,
        input,
        input_kind,
        screen: ScreenHandle::start(Box::new(PlainScreen))?,
        style: arguments::style_of_stdout(smolchat::render::ColourChoice::Auto),
        random: fastrand::u64(..),
    })
}

/// A channel that tells of the first Ctrl-C or SIGTERM; the second ends the process at once.
fn interrupts() -> io::Result<Receiver<()>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let (sender, receiver) = async_channel::bounded(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for (count, _signal) in signals.forever().enumerate() {
                if count > 0 || sender.try_send(()).is_err() {
                    exit(i32::from(INTERRUPTED));
                }
            }
        })?;
    Ok(receiver)
}

/// A panic of whichever thread tells what happened and where, and ends the program.
fn end_at_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |fault| {
        tell(fault);
        exit(i32::from(INTERNAL_FAILURE));
    }));
}

fn fail(status: u8, sentence: &str) -> u8 {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(stderr(), "{PROGRAM}: {sentence}");
    status
}
