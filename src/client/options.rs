//! The command line of the client.
//!
//! What lives here: [`ClientOptions`], as typed, and [`ClientConfig`], checked. It must never connect
//! or resolve anything.

use crate::chat::sanitize::{is_blank, quoted};
use crate::cli::args::parse_number;
use crate::cli::generate::{GeneratedDoc, parse_document};
use crate::cli::style::ColourChoice;
use crate::client::config_file::{Keys, Settings};
use crate::limits::{DEFAULT_MAX_MESSAGE_BYTES, DEFAULT_PORT, MAX_MESSAGE_RANGE};
use argh::{ArgsInfo, FromArgs};
use std::time::Duration;

/// Where a server is that nobody told us about.
const DEFAULT_HOST: &str = "localhost";

/// smolchat-client: a terminal client for smolchat. Type a line to say it, /help for the
/// commands, Ctrl-D to leave.
#[derive(FromArgs, ArgsInfo, Clone, Debug, Default, PartialEq, Eq)]
#[argh(
    note = "Lines that do not begin with / are messages. Commands: /setname NAME, /users, /history [N], /search WORDS, /msg NAME TEXT, /reply TEXT, /me TEXT, /ignore NAME, /unignore NAME, /mentions, /clear, /info, /reconnect, /help, /quit; //x says /x.",
    note = "In a pipe, what cannot be said is explained on standard error with the number of its line; after the end of the input the client prints until the server closes or nothing has come for 2 seconds.",
    note = "Without HOST and PORT it connects to those of the configuration file, $XDG_CONFIG_HOME/smolchat/client.toml, or to localhost 5555. The file may also set name, color, time, bell, reconnect, keys (\"emacs\" or \"vi\") and max_message.",
    error_code(0, "done, also when the server closed the connection"),
    error_code(
        1,
        "could not connect, find the host, have the name, or say what --say says"
    ),
    error_code(
        2,
        "used wrongly: an unknown option, a bad port, a mistake in the configuration file"
    ),
    error_code(70, "an internal failure"),
    error_code(130, "interrupted by Ctrl-C")
)]
pub struct ClientOptions {
    /// HOST and PORT: name or address of the server, and its port from 1 to 65535 (default: those of the configuration file, or localhost 5555)
    #[argh(positional, arg_name = "host port")]
    pub server: Vec<String>,

    /// longest message that is sent, in bytes of UTF-8: what the server takes, 1 to 1048576 (default 4096)
    #[argh(option, arg_name = "bytes", from_str_fn(parse_number))]
    pub max_message: Option<usize>,
    /// name to have in the chat (default: your address)
    #[argh(option)]
    pub name: Option<String>,
    /// when the link breaks, come back by itself and recover what was missed
    #[argh(switch)]
    pub reconnect: bool,
    /// say this, wait until the server has it, and end
    #[argh(option, arg_name = "text")]
    pub say: Option<String>,
    /// print every event as a line of JSON, and take lines of JSON as input
    #[argh(switch)]
    pub json: bool,
    /// print first what was said after the event of this number, or within this time, for example 90s, 5m, 2h or 1d
    #[argh(option, arg_name = "id or duration", from_str_fn(parse_start))]
    pub since: Option<Start>,
    /// end after this time, for example 90, 90s, 5m or 2h
    #[argh(option, arg_name = "duration", from_str_fn(parse_duration))]
    pub r#for: Option<Duration>,
    /// end when this many messages were printed
    #[argh(option, arg_name = "number", from_str_fn(parse_number))]
    pub count: Option<u64>,
    /// when to use colours, or which: auto, always, never, 16, 256, truecolor (default auto)
    #[argh(option, arg_name = "when", from_str_fn(parse_colours))]
    pub color: Option<ColourChoice>,
    /// show the time where it changes, at a terminal
    #[argh(switch)]
    pub time: bool,
    /// ring the terminal's bell when somebody mentions you or writes to you alone
    #[argh(switch)]
    pub bell: bool,
    /// print this for your system and end: man, bash, zsh or fish (a manual page, or completions of a shell)
    #[argh(option, arg_name = "what", from_str_fn(parse_document))]
    pub generate: Option<GeneratedDoc>,
    /// print the version and end
    #[argh(switch)]
    pub version: bool,
}

/// Where to connect to, and what may be said there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// Port; not 0.
    pub port: u16,
    /// Longest message, in bytes.
    pub max_message_bytes: usize,
    /// Name to have.
    pub name: Option<String>,
    /// Whether to come back when the link breaks.
    pub reconnect: bool,
    /// What to say instead of what is typed.
    pub say: Option<String>,
    /// Whether lines are JSON.
    pub json: bool,
    /// What of the past is shown first.
    pub start: Option<Start>,
    /// When to end, from the start.
    pub time: Option<Duration>,
    /// Messages after which to end.
    pub count: Option<u64>,
    /// Colours.
    pub colours: ColourChoice,
    /// Whether the time is shown where it changes.
    pub shows_times: bool,
    /// Whether a mention rings the bell.
    pub rings: bool,
    /// Whether the command line asks for what only a terminal can do.
    pub needs_terminal: bool,
    /// Which keys edit a line.
    pub keys: Keys,
}

/// What of the past is shown first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// What was said after the event of this number.
    After(u64),
    /// What was said within this time.
    Within(Duration),
}

/// Reads where the past begins: a number of an event, or a time with a unit.
///
/// # Errors
/// It is neither.
pub fn parse_start(value: &str) -> Result<Start, String> {
    if let Ok(number) = value.parse() {
        return Ok(Start::After(number));
    }
    match parse_duration(value) {
        Ok(duration) => Ok(Start::Within(duration)),
        Err(_) => Err(
            "it is the number of an event, or a time with s, m, h or d, like 90s, 5m or 2h"
                .to_owned(),
        ),
    }
}

/// Reads what is wanted of colours.
///
/// # Errors
/// It is none of the words.
pub fn parse_colours(value: &str) -> Result<ColourChoice, String> {
    value.parse()
}

/// Reads a time: a number of seconds, or one with `s`, `m`, `h` or `d`.
///
/// # Errors
/// It is none; the sentence says what is one.
pub fn parse_duration(value: &str) -> Result<Duration, String> {
    let (number, factor) = match value.char_indices().last() {
        Some((at, 's')) => (&value[..at], 1),
        Some((at, 'm')) => (&value[..at], 60),
        Some((at, 'h')) => (&value[..at], 60 * 60),
        Some((at, 'd')) => (&value[..at], 24 * 60 * 60),
        _ => (value, 1),
    };
    let seconds = number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err(
            "a time is a number of seconds, or one with s, m, h or d, like 90, 5m or 2h".to_owned(),
        ),
    }
}

impl ClientOptions {
    /// Checks every value; the configuration file says what the command line does not.
    ///
    /// # Errors
    /// A sentence about the first that is wrong.
    pub fn check(self, settings: Settings) -> Result<ClientConfig, String> {
        if let Some(argument) = self.server.get(2) {
            return Err(format!("The argument {} is one too many", quoted(argument)));
        }
        let port = match self.server.get(1) {
            Some(port) => checked_port(port)?,
            // A port belongs to its host.
            None if !self.server.is_empty() => DEFAULT_PORT,
            None => settings.port.unwrap_or(DEFAULT_PORT),
        };
        let host = self.server.into_iter().next().or(settings.host);
        let host = host.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let max_message_bytes = self
            .max_message
            .or(settings.max_message)
            .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES);
        if !(1..=MAX_MESSAGE_RANGE).contains(&max_message_bytes) {
            return Err(format!(
                "--max-message cannot be {max_message_bytes}: it is a number from 1 to {MAX_MESSAGE_RANGE}"
            ));
        }
        if self.count == Some(0) {
            return Err("--count cannot be 0: it is a number from 1".to_owned());
        }
        if let Some(text) = &self.say {
            if self.json {
                return Err(
                    "--say and --json do not go together: say it as a line of JSON".to_owned(),
                );
            }
            if is_blank(text) {
                return Err("--say needs a text that is not blank".to_owned());
            }
        }
        Ok(ClientConfig {
            host: bare_host(&host).to_owned(),
            port,
            max_message_bytes,
            name: self.name.or(settings.name),
            reconnect: self.reconnect || settings.reconnect,
            say: self.say,
            json: self.json,
            start: self.since,
            time: self.r#for,
            count: self.count,
            colours: self.color.or(settings.color).unwrap_or_default(),
            shows_times: self.time || settings.time,
            rings: self.bell || settings.bell,
            needs_terminal: self.time || self.bell,
            keys: settings.keys,
        })
    }
}

fn checked_port(port: &str) -> Result<u16, String> {
    match port.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!(
            "PORT cannot be {}: it is a number from 1 to 65535",
            quoted(port)
        )),
    }
}

/// An IPv6 address may stand in brackets.
fn bare_host(host: &str) -> &str {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<ClientConfig, String> {
        parse_with(arguments, Settings::default())
    }

    fn parse_with(arguments: &[&str], settings: Settings) -> Result<ClientConfig, String> {
        ClientOptions::from_args(&["smolchat-client"], arguments)
            .unwrap()
            .check(settings)
    }

    #[test]
    fn host_and_port_are_checked() {
        let expected = ClientConfig {
            host: "::1".into(),
            port: 5555,
            max_message_bytes: 4096,
            name: None,
            reconnect: false,
            say: None,
            json: false,
            start: None,
            time: None,
            count: None,
            colours: ColourChoice::Auto,
            shows_times: false,
            rings: false,
            needs_terminal: false,
            keys: Keys::Emacs,
        };
        assert_eq!(parse(&["::1", "5555"]), Ok(expected.clone()));
        assert_eq!(parse(&["[::1]", "5555"]), Ok(expected));
        for bad in ["0", "65536", "x", "", "-1"] {
            assert!(
                parse(&["h", "--", bad])
                    .unwrap_err()
                    .ends_with("a number from 1 to 65535"),
                "{bad}"
            );
        }
        assert!(parse(&["h", "1", "--max-message", "0"]).is_err());
    }
    #[test]
    fn a_time_is_a_number_with_a_unit() {
        for (value, seconds) in [
            ("90", 90),
            ("1s", 1),
            ("5m", 300),
            ("2h", 7200),
            ("1d", 86400),
        ] {
            assert_eq!(
                parse_duration(value),
                Ok(Duration::from_secs(seconds)),
                "{value}"
            );
        }
        for bad in ["", "0", "m", "1w", "-1", "1.5h", "99999999d", "é"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_file_says_what_the_command_line_does_not() {
        let settings = || Settings {
            host: Some("[::1]".into()),
            port: Some(6000),
            name: Some("al".into()),
            max_message: Some(10),
            ..Settings::default()
        };
        let place = |arguments: &[&str], settings| {
            let config = parse_with(arguments, settings).unwrap();
            (config.host, config.port)
        };
        assert_eq!(place(&[], Settings::default()), ("localhost".into(), 5555));
        assert_eq!(place(&[], settings()), ("::1".into(), 6000));
        assert_eq!(place(&["h"], settings()), ("h".into(), 5555));
        assert_eq!(place(&["h", "1"], settings()), ("h".into(), 1));
        let config = parse_with(&["--name", "bo", "--max-message", "7"], settings()).unwrap();
        assert_eq!(
            (config.name.as_deref(), config.max_message_bytes),
            (Some("bo"), 7)
        );
        let config = parse_with(&[], settings()).unwrap();
        assert_eq!(
            (config.name.as_deref(), config.max_message_bytes),
            (Some("al"), 10)
        );
    }

    #[test]
    fn the_past_begins_at_an_event_or_a_time() {
        assert_eq!(parse_start("12"), Ok(Start::After(12)));
        assert_eq!(
            parse_start("2m"),
            Ok(Start::Within(Duration::from_secs(120)))
        );
        for bad in ["", "x", "-1", "0s"] {
            assert!(parse_start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        for (arguments, part) in [
            (
                &["h", "1", "--say", "x", "--json"][..],
                "do not go together",
            ),
            (&["h", "1", "--say", " "], "not blank"),
            (&["h", "1", "--count", "0"], "from 1"),
            (&["h", "1", "x"], "\"x\" is one too many"),
        ] {
            let told = parse(arguments).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
