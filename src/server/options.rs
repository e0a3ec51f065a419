//! The command line of the server: its options and their ranges.

use crate::cli::args::{parse_number, parse_port};
use crate::cli::generate::{GeneratedDoc, parse_generated_doc};
use crate::limits::{
    DEFAULT_ANNOUNCE_LIMIT, DEFAULT_HISTORY_MESSAGES, DEFAULT_MAX_CLIENTS,
    DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_PORT, MAX_MESSAGE_RANGE,
};
use crate::server::config::{LOOPBACK, LogFormat, ServerConfig, WebConfig};
use crate::server::host_name::HostName;
use crate::server::limits;
use crate::server::limits::{
    DEFAULT_WEB_PORT, Limits, MAX_CLIENTS_RANGE, MAX_CONNECT_RATE_RANGE, MAX_HISTORY_RANGE,
    MAX_KEEP_DAYS_RANGE, MAX_KEEP_MESSAGES_RANGE, MAX_LAG_RANGE, MAX_LINE_RANGE, MAX_RATE_RANGE,
    MAX_THREADS_RANGE, MIN_LAG_RANGE, WebLimits,
};
use crate::storage::{StoreOptions, SyncMode};
use argh::{ArgsInfo, FromArgs};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes that JSON needs at most for one byte of text: `\u0000`.
const LONGEST_ESCAPE: usize = 6;
/// `{"type":"message","data":""}`.
const MESSAGE_FRAME_BYTES: usize = 28;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// smolchat-server: a small, fast network chat. Clients connect over TCP, browsers open the web
/// page, and this terminal shows the chat live.
#[derive(FromArgs, ArgsInfo, Clone, Debug, PartialEq, Eq)]
#[argh(
    note = "Standard output has the transcript of the chat; standard error has the log.",
    error_code(0, "stopped by SIGINT (Ctrl-C) or SIGTERM"),
    error_code(1, "an address cannot be bound, or the --db file cannot be used"),
    error_code(2, "wrong use: an unknown option, or a value out of range"),
    error_code(70, "internal failure; please report it"),
    error_code(130, "a second signal while stopping")
)]
pub struct ServerOptions {
    /// address of the chat; 0.0.0.0 opens it to the network (default 127.0.0.1)
    #[argh(option, default = "LOOPBACK.to_owned()")]
    pub host: String,

    /// port of the chat; 0 takes any free one (default 5555)
    #[argh(option, default = "DEFAULT_PORT", from_str_fn(parse_port))]
    pub port: u16,

    /// address of the web page, independent of --host (default 127.0.0.1)
    #[argh(option, default = "LOOPBACK.to_owned()")]
    pub web_host: String,

    /// port of the web page; 0 takes any free one (default 8080, or the next free one if that is taken)
    #[argh(option, from_str_fn(parse_port))]
    pub web_port: Option<u16>,

    /// let other machines read /metrics
    #[argh(switch)]
    pub public_metrics: bool,

    /// let browsers read only: they cannot join or send
    #[argh(switch)]
    pub web_read_only: bool,

    /// additional host name of the page, repeatable; addresses, localhost and this machine's own name are always allowed
    #[argh(option, from_str_fn(parse_host_name))]
    pub web_name: Vec<HostName>,

    /// maximum HTTP connections from one address, IPv6 counted by /64, 1 to 1000000 (default: no limit)
    #[argh(option, from_str_fn(parse_number))]
    pub web_connections_per_address: Option<usize>,

    /// maximum live streams of the page to one address, IPv6 counted by /64, 1 to 1000000 (default: no limit)
    #[argh(option, from_str_fn(parse_number))]
    pub web_streams_per_address: Option<usize>,

    /// serve no web page
    #[argh(switch)]
    pub no_web: bool,

    /// maximum connected users, 1 to 1000000 (default 1000)
    #[argh(option, default = "DEFAULT_MAX_CLIENTS", from_str_fn(parse_number))]
    pub max_clients: usize,

    /// maximum connected users from one address, IPv6 counted by /64, 1 to 1000000 (default: no limit)
    #[argh(option, from_str_fn(parse_number))]
    pub max_clients_per_address: Option<usize>,

    /// messages kept in memory for /history and the page, 0 to 1000000, at most 16 MiB (default 200)
    #[argh(
        option,
        default = "DEFAULT_HISTORY_MESSAGES",
        from_str_fn(parse_number)
    )]
    pub history: usize,

    /// longest message, in bytes of UTF-8, 1 to 1048576 (default 4096)
    #[argh(
        option,
        default = "DEFAULT_MAX_MESSAGE_BYTES",
        from_str_fn(parse_number)
    )]
    pub max_message: usize,

    /// longest line, in bytes, up to 16777216; must hold the longest message with JSON escapes (default 65536)
    #[argh(
        option,
        default = "limits::DEFAULT_MAX_LINE_BYTES",
        from_str_fn(parse_number)
    )]
    pub max_line: usize,

    /// lines a second from one connection; the server reads faster ones more slowly, 1 to 10000000 (default 100)
    #[argh(
        option,
        default = "limits::DEFAULT_RATE_PER_SECOND",
        from_str_fn(parse_number)
    )]
    pub rate: u32,

    /// lines at once from one connection after a pause, 1 to 10000000 (default 200)
    #[argh(
        option,
        default = "limits::DEFAULT_BURST_LINES",
        from_str_fn(parse_number)
    )]
    pub burst: u32,

    /// new connections a minute from one address, IPv6 counted by /64, 1 to 1000000 (default: no limit)
    #[argh(option, from_str_fn(parse_number))]
    pub connect_rate: Option<u32>,

    /// unread bytes after which a slow client is disconnected, 4096 to 1073741824 (default 4194304)
    #[argh(
        option,
        default = "limits::DEFAULT_MAX_LAG_BYTES",
        from_str_fn(parse_number)
    )]
    pub max_lag: usize,

    /// number of users above which joins and departures are summarised once a second, 0 to 1000000 (default 500)
    #[argh(option, default = "DEFAULT_ANNOUNCE_LIMIT", from_str_fn(parse_number))]
    pub announce_limit: usize,

    /// SQLite file that keeps the chat (default: none, history ends with the server)
    #[argh(option)]
    pub db: Option<PathBuf>,

    /// durability: normal survives a crash of the server, full also a power failure (default normal)
    #[argh(option, from_str_fn(parse_sync))]
    pub db_sync: Option<SyncMode>,

    /// messages that --db keeps, 1 to 1000000000000 (default: all)
    #[argh(option, from_str_fn(parse_number))]
    pub keep_messages: Option<usize>,

    /// days for which --db keeps events, 1 to 100000 (default: for ever)
    #[argh(option, from_str_fn(parse_number))]
    pub keep_days: Option<usize>,

    /// worker threads, 1 to 256 (default 1)
    #[argh(option, default = "1", from_str_fn(parse_number))]
    pub threads: usize,

    /// log level: off, error, warn, info, debug or trace, or a filter in the syntax of RUST_LOG (default: RUST_LOG, or info)
    #[argh(option)]
    pub log: Option<String>,

    /// format of the log: text, or json with one object per line (default text)
    #[argh(option, default = "LogFormat::Text", from_str_fn(parse_log_format))]
    pub log_format: LogFormat,

    /// print a manual page (man) or shell completions (bash, zsh, fish), then exit
    #[argh(option, arg_name = "what", from_str_fn(parse_generated_doc))]
    pub generate: Option<GeneratedDoc>,

    /// print the version, then exit
    #[argh(switch)]
    pub version: bool,
}

fn parse_log_format(value: &str) -> Result<LogFormat, String> {
    match value {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("the formats are text and json".to_owned()),
    }
}

fn parse_sync(value: &str) -> Result<SyncMode, String> {
    match value {
        "normal" => Ok(SyncMode::Normal),
        "full" => Ok(SyncMode::Full),
        _ => Err("the modes are normal and full".to_owned()),
    }
}

fn parse_host_name(value: &str) -> Result<HostName, String> {
    HostName::parse(value).map_err(|error| error.to_string())
}

/// An invalid value of an option. Its `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// The value is out of range.
    OutOfRange {
        /// The option.
        option: &'static str,
        /// The value.
        value: u64,
        /// The smallest allowed value.
        least: u64,
        /// The largest allowed value.
        most: u64,
    },
    /// The option needs a store.
    NeedsStore(&'static str),
    /// The longest line cannot hold the longest message.
    LineTooShort {
        /// The longest line.
        max_line: usize,
        /// The longest message.
        max_message: usize,
        /// The shortest sufficient line.
        needed: usize,
    },
}

impl fmt::Display for OptionError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionError::OutOfRange {
                option,
                value,
                least,
                most,
            } => write!(
                out,
                "{option} {value} is out of range: choose a number from {least} to {most}"
            ),
            OptionError::NeedsStore(option) => {
                write!(out, "{option} needs a store: add --db FILE")
            }
            OptionError::LineTooShort {
                max_line,
                max_message,
                needed,
            } => write!(
                out,
                "--max-line {max_line} cannot hold a message of --max-message {max_message} bytes with JSON escapes: choose at least {needed}"
            ),
        }
    }
}

impl std::error::Error for OptionError {}

impl ServerOptions {
    /// Checks every value.
    ///
    /// # Errors
    /// The first invalid value.
    pub fn check(self) -> Result<ServerConfig, OptionError> {
        let (clients, rates) = (MAX_CLIENTS_RANGE, MAX_RATE_RANGE as usize);
        for (option, value, least, most) in [
            ("--max-clients", self.max_clients, 1, clients),
            (
                "--max-clients-per-address",
                self.max_clients_per_address.unwrap_or(1),
                1,
                clients,
            ),
            (
                "--web-connections-per-address",
                self.web_connections_per_address.unwrap_or(1),
                1,
                clients,
            ),
            (
                "--web-streams-per-address",
                self.web_streams_per_address.unwrap_or(1),
                1,
                clients,
            ),
            ("--history", self.history, 0, MAX_HISTORY_RANGE),
            ("--max-message", self.max_message, 1, MAX_MESSAGE_RANGE),
            ("--max-line", self.max_line, 1, MAX_LINE_RANGE),
            ("--rate", self.rate as usize, 1, rates),
            ("--burst", self.burst as usize, 1, rates),
            (
                "--connect-rate",
                self.connect_rate.unwrap_or(1) as usize,
                1,
                MAX_CONNECT_RATE_RANGE as usize,
            ),
            ("--max-lag", self.max_lag, MIN_LAG_RANGE, MAX_LAG_RANGE),
            ("--announce-limit", self.announce_limit, 0, clients),
            ("--threads", self.threads, 1, MAX_THREADS_RANGE),
            (
                "--keep-messages",
                self.keep_messages.unwrap_or(1),
                1,
                MAX_KEEP_MESSAGES_RANGE,
            ),
            (
                "--keep-days",
                self.keep_days.unwrap_or(1),
                1,
                MAX_KEEP_DAYS_RANGE,
            ),
        ] {
            check_range(option, value, least, most)?;
        }
        check_line(self.max_line, self.max_message)?;
        let store = self.store_options()?;
        let mut names = self.web_name;
        // A host name given as --web-host is implicitly allowed.
        if self.web_host.parse::<IpAddr>().is_err() {
            names.extend(HostName::parse(&self.web_host).ok());
        }
        let web = WebConfig {
            host: self.web_host,
            port: self.web_port.unwrap_or(DEFAULT_WEB_PORT),
            port_was_chosen: self.web_port.is_some(),
            metrics_are_public: self.public_metrics,
            is_read_only: self.web_read_only,
            names,
        };
        Ok(ServerConfig {
            store,
            chat_host: self.host,
            chat_port: self.port,
            web: (!self.no_web).then_some(web),
            limits: Limits {
                max_clients: self.max_clients,
                max_clients_per_address: self.max_clients_per_address,
                history_messages: self.history,
                max_message_bytes: self.max_message,
                max_line_bytes: self.max_line,
                rate_per_second: self.rate,
                burst_lines: self.burst,
                connects_per_minute: self.connect_rate,
                max_lag_bytes: self.max_lag,
                announce_limit: self.announce_limit,
                web: WebLimits {
                    connections_per_address: self.web_connections_per_address,
                    streams_per_address: self.web_streams_per_address,
                    ..WebLimits::default()
                },
                ..Limits::default()
            },
            threads: self.threads,
        })
    }

    fn store_options(&self) -> Result<Option<StoreOptions>, OptionError> {
        let Some(path) = &self.db else {
            for (option, is_given) in [
                ("--db-sync", self.db_sync.is_some()),
                ("--keep-messages", self.keep_messages.is_some()),
                ("--keep-days", self.keep_days.is_some()),
            ] {
                if is_given {
                    return Err(OptionError::NeedsStore(option));
                }
            }
            return Ok(None);
        };
        Ok(Some(StoreOptions {
            path: path.clone(),
            sync: self.db_sync.unwrap_or_default(),
            keep_messages: self.keep_messages.map(|messages| messages as u64),
            keep_for: self.keep_days.map(|days| DAY * days as u32),
        }))
    }
}

fn check_range(
    option: &'static str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<(), OptionError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(OptionError::OutOfRange {
        option,
        value: value as u64,
        least: least as u64,
        most: most as u64,
    })
}

fn check_line(max_line: usize, max_message: usize) -> Result<(), OptionError> {
    let needed = max_message * LONGEST_ESCAPE + MESSAGE_FRAME_BYTES;
    if max_line < needed {
        return Err(OptionError::LineTooShort {
            max_line,
            max_message,
            needed,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
