//! The command line of both programs.
//!
//! What lives here: how arguments become an options struct, and what is said when they do not.
//! The two programs call [`parse`]. It must never check what a value means: that is the
//! options' own matter.

use crate::chat::sanitize::quoted;
use crate::cli::exit_code::{DONE, WRONG_USE};
use crate::cli::style::{ColourChoice, Style};
use argh::FromArgs;
use std::ffi::OsString;
use std::io::{IsTerminal, Write, stderr, stdout};

/// Why a program ends before it begins: help, version or a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyExit {
    /// What is said.
    pub text: String,
    /// The exit status; [`DONE`] if the text is what was asked for.
    pub status: u8,
}

impl EarlyExit {
    /// Says it, on standard output if it was asked for and on standard error if it is a
    /// mistake, and gives the exit status.
    pub fn tell(&self) -> u8 {
        // Where the stream is closed there is nobody to tell.
        let _ = match self.status {
            DONE => writeln!(stdout(), "{}", self.text),
            _ => writeln!(stderr(), "{}", self.text),
        };
        self.status
    }
}

/// The options of this process's command line.
///
/// # Errors
/// Help or the version is asked for, or something is wrong with the arguments.
pub fn parse<Options: FromArgs>(program: &str) -> Result<Options, EarlyExit> {
    parse_from(program, std::env::args_os().skip(1))
}

/// Reads the value of an option that is a port.
///
/// # Errors
/// It is none; the sentence says what is one.
pub fn parse_port(value: &str) -> Result<u16, String> {
    value
        .parse()
        .map_err(|_| "a port is a number from 0 to 65535".to_owned())
}

/// Reads the value of an option that is a number.
///
/// # Errors
/// It is none.
pub fn parse_number<Number: std::str::FromStr>(value: &str) -> Result<Number, String> {
    value
        .parse()
        .map_err(|_| "it is not a number in the range of this option".to_owned())
}

/// The options of these arguments; `--option=value` is understood as `--option value`.
///
/// # Errors
/// Help or the version is asked for, or something is wrong with the arguments.
pub fn parse_from<Options: FromArgs>(
    program: &str,
    arguments: impl Iterator<Item = OsString>,
) -> Result<Options, EarlyExit> {
    let wrong = |sentence: &str| EarlyExit {
        text: format!("{program}: {sentence}; {program} --help explains the options"),
        status: WRONG_USE,
    };
    let mut words = Vec::new();
    for argument in arguments {
        let word = argument.into_string().map_err(|argument| {
            wrong(&format!(
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
        Err(()) => wrong(&sentence(&exit.output)),
    })
}

/// One sentence, without final stop, of what argh says of a mistake in several lines.
fn sentence(output: &str) -> String {
    let output = output.trim();
    if let Some(argument) = output.strip_prefix("Unrecognized argument: ") {
        return if argument.starts_with('-') {
            format!("the option {} is unknown", quoted(argument))
        } else {
            format!("the argument {} is one too many", quoted(argument))
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

/// The sentence on `Error parsing option 'OPTION' with value 'VALUE': REASON`.
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

/// How lines look on standard output, by what the user chose and what the terminal shows.
pub fn style_of_stdout(choice: ColourChoice) -> Style {
    let variable = |name| std::env::var(name).unwrap_or_default();
    Style::choose(
        choice,
        stdout().is_terminal(),
        &variable("NO_COLOR"),
        &variable("TERM"),
        &variable("COLORTERM"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerOptions;

    fn parse(arguments: &[&str]) -> Result<ServerOptions, EarlyExit> {
        parse_from("smolchat-server", arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_value_may_follow_an_equals_sign() {
        assert_eq!(parse(&["--port=1"]).unwrap().port, 1);
        assert_eq!(
            parse(&["--log", "a=b"]).unwrap().log.as_deref(),
            Some("a=b")
        );
        assert_eq!(parse(&["--log=a=b"]).unwrap().log.as_deref(), Some("a=b"));
    }

    #[test]
    fn version_and_help_are_no_mistakes() {
        assert_eq!(parse(&["-V"]), parse(&["--version"]));
        assert_eq!(parse(&["-h"]), parse(&["--help"]));
        let version = parse(&["--version"]).unwrap_err();
        let text = format!("smolchat-server {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(version, EarlyExit { text, status: DONE });
        let help = parse(&["--help"]).unwrap_err();
        assert_eq!(help.status, DONE);
        assert!(help.text.contains("--max-clients"), "{}", help.text);
    }

    #[test]
    fn a_mistake_is_one_line_that_names_it() {
        for arguments in [
            &["--nonsense"][..],
            &["--port", "70000"],
            &["--port"],
            &["extra"],
        ] {
            let told = parse(arguments).unwrap_err();
            assert_eq!(told.status, WRONG_USE);
            assert_eq!(told.text.lines().count(), 1, "{}", told.text);
            assert!(told.text.contains(arguments[0]), "{}", told.text);
        }
    }

    #[test]
    fn a_mistake_is_told_in_our_own_words() {
        let check = |arguments: &[&str], expected: &str| {
            let told = parse(arguments).unwrap_err().text;
            let start = format!("smolchat-server: {expected}; ");
            assert!(told.starts_with(&start), "{told}");
        };
        check(&["--prot", "1"], "the option \"--prot\" is unknown");
        check(
            &["\u{1b}[2J"],
            "the argument \"\u{fffd}[2J\" is one too many",
        );
        check(&["--port"], "--port needs a value");
        check(
            &["--port", "x"],
            "--port cannot be \"x\": a port is a number from 0 to 65535",
        );
        check(&["--port=1", "--port=2"], "--port is given more than once");
        assert_eq!(
            sentence("Required positional arguments not provided:\n    host\n    port\n"),
            "missing: host, port"
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_argument_that_is_no_text_is_told() {
        use std::os::unix::ffi::OsStringExt;
        let argument = OsString::from_vec(b"--port\xff".to_vec());
        let told = parse_from::<ServerOptions>("smolchat-server", [argument].into_iter());
        assert!(told.unwrap_err().text.contains("not valid UTF-8"));
    }
}
