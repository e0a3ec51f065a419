//! Parsing of the command line of both programs.

use crate::chat::sanitize::quoted;
use crate::cli::exit_code::{DONE, WRONG_USE};
use crate::cli::style::{ColourChoice, Style};
use argh::FromArgs;
use std::ffi::OsString;
use std::io::{IsTerminal, Write, stderr, stdout};

/// Exit before the program begins: help, version or invalid arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyExit {
    /// Text to print.
    pub text: String,
    /// Exit code; [`DONE`] if the user requested the text.
    pub status: u8,
}

impl EarlyExit {
    /// Prints a requested text on standard output and an error on standard error; returns the exit
    /// code.
    pub fn print(&self) -> u8 {
        // A closed stream leaves no place to report its failure.
        let _ = match self.status {
            DONE => writeln!(stdout(), "{}", self.text),
            _ => writeln!(stderr(), "{}", self.text),
        };
        self.status
    }
}

/// Parses the command line of this process.
///
/// # Errors
/// The user requests help or the version, or the arguments are invalid.
pub fn parse<Options: FromArgs>(program: &str) -> Result<Options, EarlyExit> {
    parse_from(program, std::env::args_os().skip(1))
}

pub(crate) fn parse_port(value: &str) -> Result<u16, String> {
    value
        .parse()
        .map_err(|_| "use a number from 0 to 65535".to_owned())
}

pub(crate) fn parse_number<Number: std::str::FromStr>(value: &str) -> Result<Number, String> {
    value
        .parse()
        .map_err(|_| "not a number in the range of this option".to_owned())
}

/// Parses arguments; `--option=value` is equal to `--option value`.
pub(crate) fn parse_from<Options: FromArgs>(
    program: &str,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Options, EarlyExit> {
    let invalid = |sentence: &str| EarlyExit {
        text: format!("{program}: {sentence}; {program} --help explains the options"),
        status: WRONG_USE,
    };
    let mut words = Vec::new();
    for argument in arguments {
        let word = argument.into_string().map_err(|argument| {
            invalid(&format!(
                "The argument {} is not valid UTF-8",
                argument.display()
            ))
        })?;
        match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                words.extend([option.to_owned(), value.to_owned()]);
            }
            _ => words.push(match word.as_str() {
                "-h" => "--help".to_owned(),
                "-V" => "--version".to_owned(),
                _ => word,
            }),
        }
    }
    if words.iter().any(|word| word == "--version") {
        let text = format!("{program} {}", env!("CARGO_PKG_VERSION"));
        return Err(EarlyExit { text, status: DONE });
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Options::from_args(&[program], &words).map_err(|exit| match exit.status {
        Ok(()) => EarlyExit {
            text: exit.output.trim_end().to_owned(),
            status: DONE,
        },
        Err(()) => invalid(&sentence(&exit.output)),
    })
}

/// Turns an error of argh, which may have several lines, into one sentence without a full stop.
fn sentence(output: &str) -> String {
    let output = output.trim();
    if let Some(argument) = output.strip_prefix("Unrecognized argument: ") {
        return if argument.starts_with('-') {
            format!("the option {} is unknown", quoted(argument))
        } else {
            format!("unexpected argument {}", quoted(argument))
        };
    }
    if let Some((_, missing)) = output.split_once("not provided:") {
        let missing: Vec<&str> = missing.split_whitespace().collect();
        return format!("missing: {}", missing.join(", "));
    }
    if let Some(option) = output.strip_prefix("No value provided for option '") {
        return format!("{} needs a value", option.trim_end_matches(['.', '\'']));
    }
    bad_value(output).unwrap_or_else(|| output.replace('\n', " "))
}

/// Parses `Error parsing option 'OPTION' with value 'VALUE': REASON`.
fn bad_value(output: &str) -> Option<String> {
    let rest = output
        .strip_prefix("Error parsing option '")
        .or_else(|| output.strip_prefix("Error parsing positional argument '"))?;
    let (option, rest) = rest.split_once("' with value '")?;
    let (value, reason) = rest.rsplit_once("': ")?;
    if reason == "duplicate values provided" {
        return Some(format!("{option} is given more than once"));
    }
    Some(format!("{option} cannot be {}: {reason}", quoted(value)))
}

/// Chooses the style of lines on standard output.
pub fn style_of_stdout(choice: ColourChoice) -> Style {
    Style::choose(choice, stdout().is_terminal(), |name| {
        std::env::var(name).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerOptions;

    fn parse(arguments: &[&str]) -> Result<ServerOptions, EarlyExit> {
        parse_from("smolchat-server", arguments.iter().map(OsString::from))
    }

    #[test]
    fn value_may_follow_an_equals_sign() {
        assert_eq!(parse(&["--port=1"]).unwrap().port, 1);
        assert_eq!(
            parse(&["--log", "a=b"]).unwrap().log.as_deref(),
            Some("a=b")
        );
        assert_eq!(parse(&["--log=a=b"]).unwrap().log.as_deref(), Some("a=b"));
    }

    #[test]
    fn errors_are_one_sentence() {
        for (arguments, expected) in [
            (&["--prot", "1"][..], "the option \"--prot\" is unknown"),
            (&["\u{1b}[2J"], "unexpected argument \"\u{fffd}[2J\""),
            (&["--port"], "--port needs a value"),
            (
                &["--port", "x"],
                "--port cannot be \"x\": use a number from 0 to 65535",
            ),
            (
                &["--port", "70000"],
                "--port cannot be \"70000\": use a number from 0 to 65535",
            ),
            (&["--port=1", "--port=2"], "--port is given more than once"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.status, WRONG_USE);
            let expected =
                format!("smolchat-server: {expected}; smolchat-server --help explains the options");
            assert_eq!(error.text, expected);
        }
        let missing = "Required positional arguments not provided:\n    host\n    port\n";
        assert_eq!(sentence(missing), "missing: host, port");
    }

    #[cfg(unix)]
    #[test]
    fn argument_must_be_utf8() {
        use std::os::unix::ffi::OsStringExt;
        let argument = OsString::from_vec(b"--port\xff".to_vec());
        let parsed = parse_from::<ServerOptions>("smolchat-server", [argument].into_iter());
        assert!(parsed.unwrap_err().text.contains("not valid UTF-8"));
    }
}
