//! The client program: arguments, configuration, exit status.
#![forbid(unsafe_code)]

use smolchat::cli::args;
use smolchat::cli::exit_code::{COULD_NOT, DONE, INTERRUPTED, WRONG_USE};
use smolchat::cli::generate;
use smolchat::cli::signals;
use smolchat::client::config_file;
use smolchat::client::options::{ClientConfig, ClientOptions};
use smolchat::client::run::{ExitReason, run};
use smolchat::client::setup::open_io;
use smolchat::client::shutdown;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdin};
use std::process::ExitCode;

const PROGRAM: &str = "smolchat-client";

fn main() -> ExitCode {
    signals::survive_file_size_limit();
    shutdown::exit_on_panic();
    // Returning from `main` ends the input thread even if it is blocked in a read.
    ExitCode::from(run_program())
}

fn run_program() -> u8 {
    let options: ClientOptions = match args::parse(PROGRAM) {
        Ok(options) => options,
        Err(exit) => return exit.print(),
    };
    if let Some(document) = options.generate {
        return generate::print::<ClientOptions>(PROGRAM, document);
    }
    let has_arguments = !options.server.is_empty();
    let loaded = config_file::load().and_then(|settings| {
        let has_file = settings.is_some();
        let config = options.check(settings.unwrap_or_default())?;
        Ok((config, has_file))
    });
    let (config, has_file) = match loaded {
        Ok(loaded) => loaded,
        Err(sentence) => return fail(WRONG_USE, &sentence),
    };
    if !has_arguments && !has_file {
        print_first_start(&config);
    }
    let (io, terminal) = match open_io(&config) {
        Ok(io) => io,
        Err(error) if error.kind() == ErrorKind::Interrupted => return INTERRUPTED,
        Err(error) => return fail(COULD_NOT, &format!("Cannot start: {error}")),
    };
    let has_editor = terminal.is_some();
    if config.needs_terminal && !has_editor {
        let sentence = "--time and --bell need a terminal; in a pipe use --json, which prints the time of every event";
        return fail(WRONG_USE, sentence);
    }
    let result = smol::block_on(run(&config, io));
    if let Some(terminal) = terminal {
        terminal.finish();
    }
    match result {
        Ok(ExitReason::Done) => DONE,
        Ok(ExitReason::Interrupted) => {
            if stdin().is_terminal() && !has_editor {
                // The terminal shows `^C`; the shell's prompt belongs on the next line.
                let _ = writeln!(stderr());
            }
            INTERRUPTED
        }
        Err(sentence) => fail(COULD_NOT, &sentence),
    }
}

/// Prints which server the client uses without arguments and without a configuration file.
fn print_first_start(config: &ClientConfig) {
    let file = config_file::config_path();
    let file = file.map_or_else(String::new, |path| {
        format!(", or write them to {}", path.display())
    });
    // A closed standard error leaves no place to report its failure.
    let _ = writeln!(
        stderr(),
        "Connecting to {} port {}; for another server type {PROGRAM} HOST PORT{file}",
        config.host,
        config.port
    );
}

fn fail(status: u8, sentence: &str) -> u8 {
    // A closed standard error leaves no place to report its failure.
    let _ = writeln!(stderr(), "{PROGRAM}: {sentence}");
    status
}
