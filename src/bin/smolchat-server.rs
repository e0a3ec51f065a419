//! The server program: arguments, signals, logging and the exit status.
#![forbid(unsafe_code)]

use smolchat::cli::args::EarlyExit;
use smolchat::cli::exit_code::{COULD_NOT, DONE, INTERNAL_FAILURE, WRONG_USE};
use smolchat::cli::style::ColourChoice;
use smolchat::cli::{args, generate, signals};
use smolchat::server;
use smolchat::server::limits::STOP_DEADLINE;
use smolchat::server::logging::stderr::StderrLogger;
use smolchat::server::{
    Listeners, LogFormat, ServerConfig, ServerError, ServerOptions, TranscriptOutput,
};
use std::io::{IsTerminal, stderr, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tracing::Level;
use tracing_subscriber::EnvFilter;

const PROGRAM: &str = "smolchat-server";

fn main() -> ExitCode {
    signals::survive_file_size_limit();
    let options: ServerOptions = match args::parse(PROGRAM) {
        Ok(options) => options,
        Err(stop) => return ExitCode::from(stop.print()),
    };
    if let Some(document) = options.generate {
        return ExitCode::from(generate::print::<ServerOptions>(PROGRAM, document));
    }
    let log = match StderrLogger::start(PROGRAM, options.log_format, Box::new(stderr())) {
        Ok(log) => log,
        Err(error) => {
            let text = format!("{PROGRAM}: {}", ServerError::NoThread(error));
            let status = INTERNAL_FAILURE;
            return ExitCode::from(EarlyExit { text, status }.print());
        }
    };
    log.set_panic_hook();
    // The panic hook writes the message and the place.
    let status = match catch_unwind(AssertUnwindSafe(|| run(options, &log))) {
        Ok(Ok(())) => DONE,
        Ok(Err((status, sentence))) => {
            log.print(Level::ERROR, &sentence);
            status
        }
        Err(_panic) => INTERNAL_FAILURE,
    };
    log.finish(status);
    ExitCode::from(status)
}

/// Runs the server. The error has the exit status and a sentence.
fn run(options: ServerOptions, log: &StderrLogger) -> Result<(), (u8, String)> {
    let failed = |error: ServerError| (error.exit_status(), error.to_string());
    let variable = || std::env::var("RUST_LOG").ok();
    let filter = options.log.clone().or_else(variable);
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or("info"));
    let filter = filter.map_err(|error| {
        let sentence = format!("--log or RUST_LOG is no filter: {error}");
        (WRONG_USE, sentence)
    })?;
    let log_format = options.log_format;
    let mut config = options.check().map_err(|sentence| (WRONG_USE, sentence))?;
    config.allow_machine_name(&gethostname::gethostname().to_string_lossy());
    // Before the first line: an operator who reads it may send a signal at once.
    let at_deadline = log.clone();
    let stop = signals::watch(STOP_DEADLINE, move |sentence| {
        at_deadline.print(Level::WARN, sentence);
        at_deadline.finish(DONE);
    });
    let stop = stop.map_err(|error| failed(ServerError::NoThread(error)))?;
    let listeners = Listeners::bind(&config);
    let listeners = listeners.map_err(|error| (COULD_NOT, error.to_string()))?;
    start_log(filter, log_format, log);
    let store = server::open_store(&config).map_err(failed)?;
    print_start(&listeners, &config, log);
    raise_descriptor_limit(&config);
    let style = args::style_of_stdout(ColourChoice::Auto);
    let transcript: TranscriptOutput = (Box::new(stdout()), style);
    let stopped = async move {
        // A message and a closed channel both mean to stop.
        let _ = stop.recv().await;
    };
    let (opened, skipped) = ((listeners, store), log.skipped_lines());
    server::run(opened, &config, transcript, &skipped, stopped).map_err(failed)
}

fn start_log(filter: EnvFilter, format: LogFormat, log: &StderrLogger) {
    let log = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || log.clone());
    let has_color = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match format {
        LogFormat::Text => subscriber.with_ansi(has_color).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}

/// Prints the addresses, whatever the log level.
fn print_start(listeners: &Listeners, config: &ServerConfig, log: &StderrLogger) {
    let print = |sentence: &str| log.print(Level::INFO, sentence);
    let chat = listeners.chat_address();
    let reached_at = match chat.ip().is_unspecified() {
        true => "ADDRESS-OF-THIS-MACHINE".to_owned(),
        false => chat.ip().to_string(),
    };
    let port = chat.port();
    print(&format!(
        "clients connect to {chat}: smolchat-client {reached_at} {port}"
    ));
    let web = listeners.web_address();
    if let Some(web) = web {
        print(&format!("the web page is at http://{web}/"));
    }
    match chat.ip().is_loopback() {
        true => {
            print("only this machine can connect; --host 0.0.0.0 opens the chat to the network")
        }
        false => print("everyone who reaches this address can read and talk"),
    }
    if web.is_some_and(|web| !web.ip().is_loopback()) {
        print(server::open_page_warning(config));
    }
    if let Some(limits) = server::address_limits(config) {
        print(&limits);
    }
}

/// Raises the limit of open files, and warns if it is too low for the configuration.
fn raise_descriptor_limit(config: &ServerConfig) {
    let needed = config.needed_descriptors();
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < needed => tracing::warn!(
            "this process may open {limit} files, too few for --max-clients {}: raise the limit (ulimit -n {needed}) or lower --max-clients",
            config.limits.max_clients
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
