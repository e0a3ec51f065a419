//! The command line of the client.
//!
//! What lives here: [`ClientOptions`], as typed, and [`Config`], checked. It must never connect
//! or resolve anything.

use crate::arguments::parse_number;
use crate::limits::{DEFAULT_MAX_MESSAGE_BYTES, MAX_MESSAGE_RANGE};
use crate::text::{is_blank, quoted};
use argh::FromArgs;
use std::time::Duration;

/// smolchat-client: a terminal client for smolchat. Type a line to say it, /help for the
/// commands, Ctrl-D to leave.
#[derive(FromArgs, Clone, Debug, PartialEq, Eq)]
#[argh(
    note = "Lines that do not begin with / are messages. Commands: /setname NAME, /users, /history [N], /search WORDS, /msg NAME TEXT, /reply TEXT, /me TEXT, /ignore NAME, /unignore NAME, /info, /reconnect, /help, /quit; //x says /x.",
    note = "In a pipe, what cannot be said is explained on standard error with the number of its line; after the end of the input the client prints until the server closes or nothing has come for 2 seconds.",
    error_code(0, "done, also when the server closed the connection"),
    error_code(
        1,
        "could not connect, find the host, have the name, or say what --say says"
    ),
    error_code(2, "used wrongly: an unknown option, a bad port"),
    error_code(70, "an internal failure"),
    error_code(130, "interrupted by Ctrl-C")
)]
pub struct ClientOptions {
    /// name or address of the server
    #[argh(positional)]
    pub host: String,

    /// port of the server, 1 to 65535
    #[argh(positional)]
    pub port: String,

    /// longest message that is sent, in bytes of UTF-8: what the server takes, 1 to 1048576 (default 4096)
    #[argh(
        option,
        default = "DEFAULT_MAX_MESSAGE_BYTES",
        from_str_fn(parse_number)
    )]
    pub max_message: usize,

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

    /// end after this time, for example 90, 90s, 5m or 2h
    #[argh(option, arg_name = "duration", from_str_fn(parse_duration))]
    pub r#for: Option<Duration>,

    /// end when this many messages were printed
    #[argh(option, arg_name = "number", from_str_fn(parse_number))]
    pub count: Option<u64>,

    /// print the version and end
    #[argh(switch)]
    pub version: bool,
}

/// Where to connect to, and what may be said there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
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
    /// When to end, from the start.
    pub time: Option<Duration>,
    /// Messages after which to end.
    pub count: Option<u64>,
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
    /// Checks every value.
    ///
    /// # Errors
    /// A sentence about the first that is wrong.
    pub fn check(self) -> Result<Config, String> {
        let port = match self.port.parse() {
            Ok(port) if port != 0 => port,
            _ => {
                return Err(format!(
                    "PORT cannot be {}: it is a number from 1 to 65535",
                    quoted(&self.port)
                ));
            }
        };
        if !(1..=MAX_MESSAGE_RANGE).contains(&self.max_message) {
            return Err(format!(
                "--max-message cannot be {}: it is a number from 1 to {MAX_MESSAGE_RANGE}",
                self.max_message
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
        let bare = self
            .host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(&self.host).to_owned();
        Ok(Config {
            host,
            port,
            max_message_bytes: self.max_message,
            name: self.name,
            reconnect: self.reconnect,
            say: self.say,
            json: self.json,
            time: self.r#for,
            count: self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, String> {
        ClientOptions::from_args(&["smolchat-client"], arguments)
            .unwrap()
            .check()
    }

    #[test]
    fn host_and_port_are_checked() {
        let expected = Config {
            host: "::1".into(),
            port: 5555,
            max_message_bytes: 4096,
            name: None,
            reconnect: false,
            say: None,
            json: false,
            time: None,
            count: None,
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
    fn what_does_not_go_together_is_told() {
        for (arguments, part) in [
            (
                &["h", "1", "--say", "x", "--json"][..],
                "do not go together",
            ),
            (&["h", "1", "--say", " "], "not blank"),
            (&["h", "1", "--count", "0"], "from 1"),
        ] {
            let told = parse(arguments).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
