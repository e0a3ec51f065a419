//! The command line of the server: its options and their ranges.

use crate::cli::args::{parse_number, parse_port};
use crate::cli::generate::{GeneratedDoc, parse_generated_doc};
use crate::limits::{
    DEFAULT_ANNOUNCE_LIMIT, DEFAULT_HISTORY_MESSAGES, DEFAULT_MAX_CLIENTS,
    DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_PORT, MAX_MESSAGE_RANGE,
};
use crate::server::config::{LOOPBACK, LogFormat, ServerConfig, WebConfig};
use crate::server::host_name::HostName;
use crate::server::limits::{
    ANNOUNCE_LIMIT_RANGE, CLIENTS_RANGE, DEFAULT_BURST_LINES, DEFAULT_MAX_LAG_BYTES,
    DEFAULT_MAX_LINE_BYTES, DEFAULT_RATE_PER_SECOND, DEFAULT_WEB_PORT, HISTORY_RANGE,
    KEEP_DAYS_RANGE, KEEP_MESSAGES_RANGE, LAG_RANGE, LINE_RANGE, Limits, OPEN_WEB_CONNECTIONS,
    OPEN_WEB_STREAMS, PER_ADDRESS_RANGE, RATE_RANGE, THREADS_RANGE, WebLimits,
    open_clients_per_address, open_connect_rate,
};
use crate::server::network::Network;
use crate::storage::{StoreOptions, SyncMode};
use argh::{ArgsInfo, FromArgs};
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

    /// address or network of a proxy that tells the client's address, such as 127.0.0.1 or 10.0.0.0/8, repeatable
    #[argh(option)]
    pub trusted_proxy: Vec<Network>,

    /// maximum HTTP connections from one address, IPv6 counted by /64, up to 1000000; 0 is no limit (default: no limit, or 576 if --web-host is not loopback)
    #[argh(option, from_str_fn(parse_number))]
    pub web_connections_per_address: Option<usize>,

    /// maximum live streams of the page to one address, IPv6 counted by /64, up to 1000000; 0 is no limit (default: no limit, or 500 if --web-host is not loopback)
    #[argh(option, from_str_fn(parse_number))]
    pub web_streams_per_address: Option<usize>,

    /// serve no web page
    #[argh(switch)]
    pub no_web: bool,

    /// maximum connected users, 1 to 1000000 (default 1000)
    #[argh(option, default = "DEFAULT_MAX_CLIENTS", from_str_fn(parse_number))]
    pub max_clients: usize,

    /// maximum connected users from one address, IPv6 counted by /64, up to 1000000; 0 is no limit (default: no limit; if --host or --web-host is not loopback, a quarter of --max-clients, at least 50)
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
    #[argh(option, default = "DEFAULT_MAX_LINE_BYTES", from_str_fn(parse_number))]
    pub max_line: usize,

    /// lines a second from one connection; the server reads faster ones more slowly, 1 to 10000000 (default 100)
    #[argh(option, default = "DEFAULT_RATE_PER_SECOND", from_str_fn(parse_number))]
    pub rate: u32,

    /// lines at once from one connection after a pause, 1 to 10000000 (default 200)
    #[argh(option, default = "DEFAULT_BURST_LINES", from_str_fn(parse_number))]
    pub burst: u32,

    /// new connections a minute from one address, IPv6 counted by /64, up to 1000000; 0 is no limit (default: no limit; if --host or --web-host is not loopback, twice the users of one address)
    #[argh(option, from_str_fn(parse_number))]
    pub connect_rate: Option<usize>,

    /// unread bytes after which a slow client is disconnected, 4096 to 1073741824 (default 4194304)
    #[argh(option, default = "DEFAULT_MAX_LAG_BYTES", from_str_fn(parse_number))]
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
    HostName::parse(value).map_err(str::to_owned)
}

/// Returns whether only this machine reaches a listener on this host.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Returns a limit for each address: the value of the option, in which 0 is no limit, or the
/// default of a listener that is open to the network.
fn per_address(value: Option<usize>, is_open: bool, default: usize) -> Option<usize> {
    let limit = value.or_else(|| is_open.then_some(default));
    limit.filter(|limit| *limit > 0)
}

impl ServerOptions {
    /// Checks every value.
    ///
    /// # Errors
    /// The sentence about the first invalid value.
    pub fn check(self) -> Result<ServerConfig, String> {
        for (option, value, range) in [
            ("--max-clients", Some(self.max_clients), CLIENTS_RANGE),
            (
                "--max-clients-per-address",
                self.max_clients_per_address,
                PER_ADDRESS_RANGE,
            ),
            (
                "--web-connections-per-address",
                self.web_connections_per_address,
                PER_ADDRESS_RANGE,
            ),
            (
                "--web-streams-per-address",
                self.web_streams_per_address,
                PER_ADDRESS_RANGE,
            ),
            ("--history", Some(self.history), HISTORY_RANGE),
            (
                "--max-message",
                Some(self.max_message),
                1..=MAX_MESSAGE_RANGE,
            ),
            ("--max-line", Some(self.max_line), LINE_RANGE),
            ("--rate", Some(self.rate as usize), RATE_RANGE),
            ("--burst", Some(self.burst as usize), RATE_RANGE),
            ("--connect-rate", self.connect_rate, PER_ADDRESS_RANGE),
            ("--max-lag", Some(self.max_lag), LAG_RANGE),
            (
                "--announce-limit",
                Some(self.announce_limit),
                ANNOUNCE_LIMIT_RANGE,
            ),
            ("--threads", Some(self.threads), THREADS_RANGE),
            ("--keep-messages", self.keep_messages, KEEP_MESSAGES_RANGE),
            ("--keep-days", self.keep_days, KEEP_DAYS_RANGE),
        ] {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                let (least, most) = range.into_inner();
                return Err(format!(
                    "{option} {value} is out of range: choose a number from {least} to {most}"
                ));
            }
        }
        let (max_line, max_message) = (self.max_line, self.max_message);
        let needed = max_message * LONGEST_ESCAPE + MESSAGE_FRAME_BYTES;
        if max_line < needed {
            return Err(format!(
                "--max-line {max_line} cannot hold a message of --max-message {max_message} bytes \
                 with JSON escapes: choose at least {needed}"
            ));
        }
        let store = self.store_options()?;
        let web_is_open = !self.no_web && !is_loopback(&self.web_host);
        let is_open = web_is_open || !is_loopback(&self.host);
        let clients_per_address = open_clients_per_address(self.max_clients);
        let connect_rate = open_connect_rate(self.max_clients);
        let connect_rate = per_address(self.connect_rate, is_open, connect_rate);
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
            trusted_proxies: self.trusted_proxy,
        };
        Ok(ServerConfig {
            store,
            chat_host: self.host,
            chat_port: self.port,
            web: (!self.no_web).then_some(web),
            limits: Limits {
                max_clients: self.max_clients,
                max_clients_per_address: per_address(
                    self.max_clients_per_address,
                    is_open,
                    clients_per_address,
                ),
                history_messages: self.history,
                max_message_bytes: self.max_message,
                max_line_bytes: self.max_line,
                rate_per_second: self.rate,
                burst_lines: self.burst,
                connects_per_minute: connect_rate.and_then(|rate| u32::try_from(rate).ok()),
                max_lag_bytes: self.max_lag,
                announce_limit: self.announce_limit,
                web: WebLimits {
                    connections_per_address: per_address(
                        self.web_connections_per_address,
                        web_is_open,
                        OPEN_WEB_CONNECTIONS,
                    ),
                    streams_per_address: per_address(
                        self.web_streams_per_address,
                        web_is_open,
                        OPEN_WEB_STREAMS,
                    ),
                    ..WebLimits::default()
                },
                ..Limits::default()
            },
            threads: self.threads,
        })
    }

    fn store_options(&self) -> Result<Option<StoreOptions>, String> {
        let Some(path) = &self.db else {
            for (option, is_given) in [
                ("--db-sync", self.db_sync.is_some()),
                ("--keep-messages", self.keep_messages.is_some()),
                ("--keep-days", self.keep_days.is_some()),
            ] {
                if is_given {
                    return Err(format!("{option} needs a store: add --db FILE"));
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

#[cfg(test)]
mod tests;
