//! The command line of the client.

use crate::chat::sanitize::{is_blank, quoted};
use crate::cli::args::{parse_number, parse_port};
use crate::cli::generate::{GeneratedDoc, parse_generated_doc};
use crate::cli::style::ColourChoice;
use crate::client::config_file::{FileSettings, KeyBindings};
use crate::client::session::history_replay::Since;
use crate::limits::{DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_PORT, MAX_MESSAGE_RANGE};
use argh::{ArgsInfo, FromArgs};
use jiff::Timestamp;
use std::net::Ipv6Addr;
use std::time::Duration;

const DEFAULT_HOST: &str = "localhost";

/// smolchat-client: a terminal client for smolchat. Type a line to send it, /help for the
/// commands, Ctrl-D to leave.
#[derive(FromArgs, ArgsInfo, Clone, Debug, Default, PartialEq, Eq)]
#[argh(
    note = "Lines that do not begin with / are messages. Commands: /setname NAME, /users, /history [N], /search WORDS, /msg NAME TEXT, /reply TEXT, /me TEXT, /ignore NAME, /unignore NAME, /mentions, /clear, /info, /reconnect, /help, /quit; //x sends /x.",
    note = "In a pipe, errors about the input go to standard error with the number of the line. After the end of the input the client prints until the server closes the connection or no line has come for 2 seconds.",
    note = "Without HOST and PORT the client connects to those of the configuration file, $XDG_CONFIG_HOME/smolchat/client.toml, or to localhost 5555. The file may also set name, color, time, bell, reconnect, keys (\"emacs\" or \"vi\") and max_message.",
    error_code(0, "done, also when the server closed the connection"),
    error_code(
        1,
        "could not connect, find the host, get the name, or send the text of --say"
    ),
    error_code(
        2,
        "used wrongly: an unknown option, a bad port, a mistake in the configuration file"
    ),
    error_code(70, "an internal failure"),
    error_code(130, "interrupted by Ctrl-C")
)]
pub struct ClientOptions {
    /// HOST and PORT, or HOST:PORT: name or address of the server, and its port from 1 to 65535 (default: those of the configuration file, or localhost 5555)
    #[argh(positional, arg_name = "host port")]
    pub server: Vec<String>,

    /// longest message to send, in bytes of UTF-8, from 1 to 1048576; the --max-message of the server (default 4096)
    #[argh(option, arg_name = "bytes", from_str_fn(parse_number))]
    pub(crate) max_message: Option<usize>,
    /// your name in the chat (default: your address)
    #[argh(option)]
    pub(crate) name: Option<String>,
    /// reconnect when the connection breaks, and recover the missed messages
    #[argh(switch)]
    pub(crate) reconnect: bool,
    /// send this message, wait until the server has it, and exit
    #[argh(option, arg_name = "text")]
    pub(crate) say: Option<String>,
    /// print every event as a line of JSON, and read lines of JSON as input
    #[argh(switch)]
    pub(crate) json: bool,
    /// first print the messages after the event of this number, or of the last 90s, 5m, 2h or 1d
    #[argh(option, arg_name = "id or duration", from_str_fn(parse_since))]
    pub(crate) since: Option<Since>,
    /// exit after this time, for example 90, 90s, 5m or 2h
    #[argh(option, arg_name = "duration", from_str_fn(parse_duration))]
    pub(crate) r#for: Option<Duration>,
    /// exit after this many messages
    #[argh(option, arg_name = "number", from_str_fn(parse_number))]
    pub(crate) count: Option<u64>,
    /// colours: auto, always, never, 16, 256 or truecolor (default auto)
    #[argh(option, arg_name = "when")]
    pub(crate) color: Option<ColourChoice>,
    /// show the time of messages, at a terminal
    #[argh(switch)]
    pub(crate) time: bool,
    /// ring the terminal's bell at mentions and private messages
    #[argh(switch)]
    pub(crate) bell: bool,
    /// print a manual page (man) or shell completions (bash, zsh, fish), and exit
    #[argh(option, arg_name = "what", from_str_fn(parse_generated_doc))]
    pub generate: Option<GeneratedDoc>,
    /// print the version and exit
    #[argh(switch)]
    pub(crate) version: bool,
}

/// Checked options, completed by the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// Port, not 0.
    pub port: u16,
    pub(crate) max_message_bytes: usize,
    pub(crate) name: Option<String>,
    pub(crate) reconnect: bool,
    pub(crate) say: Option<String>,
    pub(crate) json: bool,
    pub(crate) since: Option<Since>,
    /// Time limit of the run.
    pub(crate) time: Option<Duration>,
    pub(crate) count: Option<u64>,
    pub(crate) colours: ColourChoice,
    pub(crate) shows_times: bool,
    pub(crate) rings_bell: bool,
    /// Whether the command line has options that only a terminal supports.
    pub needs_terminal: bool,
    pub(crate) keys: KeyBindings,
}

/// Parses the number of an event, or an age.
fn parse_since(value: &str) -> Result<Since, String> {
    if let Ok(number) = value.parse() {
        return Ok(Since::Event(number));
    }
    let age = parse_duration(value).map_err(|_| {
        "use the number of an event, or a time with s, m, h or d, like 90s, 5m or 2h".to_owned()
    })?;
    let time = Timestamp::now().checked_sub(age);
    Ok(Since::Time(time.unwrap_or(Timestamp::MIN)))
}

/// Parses a number of seconds, or a number with the unit `s`, `m`, `h` or `d`.
fn parse_duration(value: &str) -> Result<Duration, String> {
    let (number, factor) = match value.char_indices().last() {
        Some((at, 's')) => (&value[..at], 1),
        Some((at, 'm')) => (&value[..at], 60),
        Some((at, 'h')) => (&value[..at], 60 * 60),
        Some((at, 'd')) => (&value[..at], 24 * 60 * 60),
        _ => (value, 1),
    };
    let number: Option<u32> = number.parse().ok();
    match number.and_then(|number| number.checked_mul(factor)) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err("use a number of seconds, or one with s, m, h or d, like 90, 5m or 2h".to_owned()),
    }
}

/// Returns host and port of `HOST`, or of `HOST:PORT` without a separate port. An IPv6 address may
/// stand in brackets, and has to in front of a port.
fn server(word: &str, separate_port: Option<&str>) -> Result<(String, u16), String> {
    let invalid = |remedy: &str| format!("The server cannot be {}: {remedy}", quoted(word));
    let is_ipv6 = |host: &str| {
        // The zone of an address follows a percent sign.
        let address = host.split('%').next().unwrap_or_default();
        address.parse::<Ipv6Addr>().is_ok()
    };
    if word.contains("://") {
        return Err(invalid("use HOST:PORT, without a scheme"));
    }
    let bracketed = word.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, rest) = bracketed.unwrap_or_else(|| match is_ipv6(word) {
        true => (word, ""),
        false => word.split_at(word.find(':').unwrap_or(word.len())),
    });
    let port = rest.strip_prefix(':');
    if port.map_or(!rest.is_empty(), |port| port.contains(':'))
        || (word.starts_with('[') && !is_ipv6(host))
    {
        return Err(invalid(
            "use an IPv6 address alone, or [ADDRESS]:PORT with brackets",
        ));
    }
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/[]@".contains(c)) {
        return Err(invalid("use HOST:PORT, or HOST and PORT"));
    }
    let port = match (port, separate_port) {
        (Some(port), Some(separate)) => {
            let (port, separate) = (quoted(port), quoted(separate));
            let sentence = format!("it has the port {port}, and {separate} follows; use one port");
            return Err(invalid(&sentence));
        }
        (None, None) => DEFAULT_PORT,
        (Some(port), None) | (None, Some(port)) => {
            let number = parse_port(port).ok().filter(|number| *number != 0);
            number.ok_or_else(|| {
                let port = quoted(port);
                format!("PORT cannot be {port}: use a number from 1 to 65535")
            })?
        }
    };
    Ok((host.to_owned(), port))
}

impl ClientOptions {
    /// Checks every value; the configuration file completes the command line.
    ///
    /// # Errors
    /// A value is invalid; a sentence about the first one.
    pub fn check(self, settings: FileSettings) -> Result<ClientConfig, String> {
        let (host, port) = match &self.server[..] {
            // The port of the file belongs to the host of the file.
            [] => {
                let host = settings.host.as_deref().unwrap_or(DEFAULT_HOST);
                let port = settings.port.map(|port| port.to_string());
                server(host, port.as_deref())
                    .map_err(|reason| format!("The configuration file: {reason}"))?
            }
            [host] => server(host, None)?,
            [host, port] => server(host, Some(port))?,
            [_, _, argument, ..] => {
                return Err(format!("Unexpected argument {}", quoted(argument)));
            }
        };
        let max_message_bytes = self
            .max_message
            .or(settings.max_message)
            .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES);
        if !(1..=MAX_MESSAGE_RANGE).contains(&max_message_bytes) {
            return Err(format!(
                "--max-message cannot be {max_message_bytes}: use a number from 1 to {MAX_MESSAGE_RANGE}"
            ));
        }
        if self.count == Some(0) {
            return Err("--count cannot be 0: use a number from 1".to_owned());
        }
        if let Some(text) = &self.say {
            if self.json {
                return Err(
                    "--say and --json cannot be combined: send the message as a line of JSON"
                        .to_owned(),
                );
            }
            if is_blank(text) {
                return Err("The text of --say is blank".to_owned());
            }
        }
        Ok(ClientConfig {
            host,
            port,
            max_message_bytes,
            name: self.name.or(settings.name),
            reconnect: self.reconnect || settings.reconnect,
            say: self.say,
            json: self.json,
            since: self.since,
            time: self.r#for,
            count: self.count,
            colours: self.color.or(settings.color).unwrap_or_default(),
            shows_times: self.time || settings.time,
            rings_bell: self.bell || settings.bell,
            needs_terminal: self.time || self.bell,
            keys: settings.keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    fn parse(arguments: &[&str], settings: FileSettings) -> Result<ClientConfig, String> {
        ClientOptions::from_args(&["smolchat-client"], arguments)
            .unwrap()
            .check(settings)
    }

    #[test]
    fn durations_have_units() {
        for (value, seconds) in [
            ("90", 90),
            ("1s", 1),
            ("5m", 300),
            ("2h", 7200),
            ("1d", 86400),
        ] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse_duration(value), Ok(duration), "{value}");
        }
        for bad in ["", "0", "m", "1w", "-1", "1.5h", "99999999d", "é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn command_line_overrides_the_file() {
        let file = FileSettings {
            host: Some("[::1]".into()),
            port: NonZeroU16::new(6000),
            name: Some("al".into()),
            max_message: Some(10),
            ..FileSettings::default()
        };
        let server = |arguments: &[&str], file: &FileSettings| {
            let config = parse(arguments, file.clone()).unwrap();
            (config.host, config.port)
        };
        let no_file = FileSettings::default();
        assert_eq!(server(&[], &no_file), ("localhost".into(), 5555));
        assert_eq!(server(&[], &file), ("::1".into(), 6000));
        assert_eq!(server(&["h"], &file), ("h".into(), 5555));
        let mut one_word = FileSettings {
            host: Some("chat.lab:7000".into()),
            ..FileSettings::default()
        };
        assert_eq!(server(&[], &one_word), ("chat.lab".into(), 7000));
        one_word.port = NonZeroU16::new(7000);
        let error = parse(&[], one_word).unwrap_err();
        assert!(error.starts_with("The configuration file: ") && error.contains("use one port"));
        assert_eq!(server(&["h", "1"], &file), ("h".into(), 1));
        let config = parse(&["--max-message", "7"], file).unwrap();
        assert_eq!(config.name.as_deref(), Some("al"));
        assert_eq!(config.max_message_bytes, 7);
    }

    #[test]
    fn host_and_port_may_be_one_word() {
        for (words, expected) in [
            (&["127.0.0.1:6000"][..], Ok(("127.0.0.1", 6000))),
            (&["127.0.0.1", "6000"], Ok(("127.0.0.1", 6000))),
            (&["chat.lab:1"], Ok(("chat.lab", 1))),
            (&["chat.lab"], Ok(("chat.lab", 5555))),
            (&["::1"], Ok(("::1", 5555))),
            (&["::1", "6000"], Ok(("::1", 6000))),
            (&["[::1]"], Ok(("::1", 5555))),
            (&["[::1]", "6000"], Ok(("::1", 6000))),
            (&["[::1]:6000"], Ok(("::1", 6000))),
            (&["[fe80::1%eth0]:6000"], Ok(("fe80::1%eth0", 6000))),
            (&["fe80::1%eth0"], Ok(("fe80::1%eth0", 5555))),
            (&["h:6000", "6000"], Err("use one port")),
            (&["[::1]:6000", "6001"], Err("use one port")),
            (&["h:"], Err("PORT cannot be \"\"")),
            (&["h:0"], Err("PORT cannot be \"0\"")),
            (&["h:65536"], Err("PORT cannot be \"65536\"")),
            (&["h:x"], Err("PORT cannot be \"x\"")),
            (&["h", "h:1"], Err("PORT cannot be \"h:1\"")),
            (&["[::1]6000"], Err("[ADDRESS]:PORT")),
            (&["[::1"], Err("[ADDRESS]:PORT")),
            (&["[h]:6000"], Err("[ADDRESS]:PORT")),
            (&["::g:6000"], Err("[ADDRESS]:PORT")),
            (&["h:1:2"], Err("[ADDRESS]:PORT")),
            (&[":6000"], Err("use HOST:PORT")),
            (&[""], Err("use HOST:PORT")),
            (&["h 6000"], Err("use HOST:PORT")),
            (&["h/x"], Err("use HOST:PORT")),
            (&["http://h:6000/"], Err("without a scheme")),
        ] {
            let parsed = parse(words, FileSettings::default());
            let parsed = parsed.map(|config| (config.host, config.port));
            match (&parsed, expected) {
                (Ok((host, port)), Ok(expected)) => assert_eq!((&**host, *port), expected),
                (Err(error), Err(part)) => assert!(error.contains(part), "{words:?}: {error}"),
                _ => panic!("{words:?}: {parsed:?}"),
            }
        }
    }

    #[test]
    fn invalid_options_are_explained() {
        for (arguments, part) in [
            (
                &["h", "1", "--say", "x", "--json"][..],
                "cannot be combined",
            ),
            (&["h", "1", "--say", " "], "blank"),
            (&["h", "1", "--count", "0"], "from 1"),
        ] {
            let error = parse(arguments, FileSettings::default()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
