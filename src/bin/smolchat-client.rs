//! The client program: arguments, signals, exit status. Everything else is in the library.
#![forbid(unsafe_code)]

use smolchat::arguments;
use smolchat::client::input;
use smolchat::client::options::ClientOptions;
use smolchat::client::run::{Edge, InputKind, run};
use smolchat::client::screen::{PlainScreen, Screen};
use smolchat::exit_status::{COULD_NOT, DONE, INTERNAL_FAILURE, INTERRUPTED, WRONG_USE};
use std::cell::RefCell;
use std::io::{self, IsTerminal, Write, stderr, stdin};
use std::process::{ExitCode, exit};
use std::thread;

const PROGRAM: &str = "smolchat-client";

fn main() -> ExitCode {
    // The panic hook has told what happened and where.
    let status = std::panic::catch_unwind(run_program).unwrap_or(INTERNAL_FAILURE);
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
    let input = match end_on_interrupt().and_then(|()| input::start()) {
        Ok(input) => input,
        Err(error) => {
            return fail(
                COULD_NOT,
                &format!("Cannot start a thread: {error}; free some memory"),
            );
        }
    };
    let input_kind = if stdin().is_terminal() {
        InputKind::Terminal
    } else {
        InputKind::Pipe
    };
    let screen: &RefCell<dyn Screen> = &RefCell::new(PlainScreen);
    let edge = Edge {
        input,
        input_kind,
        screen,
        style: arguments::style_of_stdout(),
    };
    match smol::block_on(run(&config, edge)) {
        Ok(()) => DONE,
        Err(error) => fail(COULD_NOT, &error.to_string()),
    }
}

/// Ends the process at Ctrl-C and at SIGTERM, wherever it is: what was typed is on its way and
/// what was received is shown, and an output that stands still must not hold up the end.
fn end_on_interrupt() -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                exit(i32::from(INTERRUPTED));
            }
        })?;
    Ok(())
}

fn fail(status: u8, sentence: &str) -> u8 {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(stderr(), "{PROGRAM}: {sentence}");
    status
}
