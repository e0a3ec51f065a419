//! The command line of the client.
//!
//! What lives here: [`ClientOptions`], as typed, and [`Config`], checked. It must never connect
//! or resolve anything.

use crate::arguments::parse_number;
use crate::limits::{DEFAULT_MAX_MESSAGE_BYTES, MAX_MESSAGE_RANGE};
use crate::text::quoted;
use argh::FromArgs;

/// smolchat-client: a terminal client for smolchat. Type a line to say it, /help for the
/// commands, Ctrl-D to leave.
#[derive(FromArgs, Clone, Debug, PartialEq, Eq)]
#[argh(
    note = "Lines that do not begin with / are messages. Commands: /setname NAME, /history, /users, /help, /quit; //x says /x.",
    note = "In a pipe, what cannot be said is explained on standard error with the number of its line; after the end of the input the client prints until the server closes or nothing has come for 2 seconds.",
    error_code(0, "done, also when the server closed the connection"),
    error_code(1, "could not connect, or not find the host"),
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
        let bare = self
            .host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(&self.host).to_owned();
        Ok(Config {
            host,
            port,
            max_message_bytes: self.max_message,
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
        };
        assert_eq!(parse(&["::1", "5555"]), Ok(expected.clone()));
        assert_eq!(parse(&["[::1]", "5555"]), Ok(expected));
        for bad in ["0", "65536", "x", "", "-1"] {
            let told = ClientOptions {
                host: "h".into(),
                port: bad.into(),
                max_message: 1,
                version: false,
            };
            assert!(
                told.check()
                    .unwrap_err()
                    .ends_with("a number from 1 to 65535"),
                "{bad}"
            );
        }
        assert!(parse(&["h", "1", "--max-message", "0"]).is_err());
    }
}
