//! The client program: arguments, signals, exit status. Everything else is in the library.
#![forbid(unsafe_code)]

use smolchat::cli::args;
use smolchat::cli::exit_code::{COULD_NOT, DONE, INTERRUPTED, WRONG_USE};
use smolchat::cli::generate;
use smolchat::client::config_file;
use smolchat::client::options::{ClientConfig, ClientOptions};
use smolchat::client::run::{Ended, run};
use smolchat::client::setup::edges;
use smolchat::client::shutdown;
use std::io::{IsTerminal, Write, stderr, stdin};
use std::process::ExitCode;

const PROGRAM: &str = "smolchat-client";

fn main() -> ExitCode {
    shutdown::end_at_panics();
    let status = run_program();
    // The input's thread may still be blocked in a read; leaving `main` does not wait for it.
    ExitCode::from(status)
}

fn run_program() -> u8 {
    let options: ClientOptions = match args::parse(PROGRAM) {
        Ok(options) => options,
        Err(end) => return end.tell(),
    };
    if let Some(document) = options.generate {
        return generate::print::<ClientOptions>(PROGRAM, document);
    }
    let has_arguments = !options.server.is_empty();
    let loaded = config_file::load();
    let config = loaded.and_then(|(settings, has_file)| {
        let config = options.check(settings)?;
        Ok((config, has_file))
    });
    let (config, has_file) = match config {
        Ok(config) => config,
        Err(sentence) => return fail(WRONG_USE, &sentence),
    };
    if !has_arguments && !has_file {
        tell_first_start(&config);
    }
    let (edge, terminal) = match edges(&config) {
        Ok(edges) => edges,
        Err(error) => {
            return fail(
                COULD_NOT,
                &format!("Cannot start: {error}; free some memory, or try another terminal"),
            );
        }
    };
    let is_edited = terminal.is_some();
    if config.needs_terminal && !is_edited {
        let sentence =
            "--time and --bell need a terminal; in a pipe --json tells the time of every event";
        return fail(WRONG_USE, sentence);
    }
    let ended = smol::block_on(run(&config, edge));
    if let Some(terminal) = terminal {
        terminal.finish();
    }
    match ended {
        Ok(Ended::Done) => DONE,
        Ok(Ended::Interrupted) => {
            if stdin().is_terminal() && !is_edited {
                // The terminal shows `^C`; the prompt belongs on a line of its own.
                let _ = writeln!(stderr());
            }
            INTERRUPTED
        }
        Err(error) => fail(COULD_NOT, &error.to_string()),
    }
}

/// What one who starts the client for the first time has to know.
fn tell_first_start(config: &ClientConfig) {
    let file = config_file::config_path();
    let file = file.map_or_else(String::new, |path| {
        format!(", or write them to {}", path.display())
    });
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(
        stderr(),
        "Connecting to {} port {}; for another server type {PROGRAM} HOST PORT{file}",
        config.host,
        config.port
    );
}

fn fail(status: u8, sentence: &str) -> u8 {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(stderr(), "{PROGRAM}: {sentence}");
    status
}
