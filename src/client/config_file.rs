//! The client's files in the user's folders.
//!
//! What lives here: [`Settings`], what the configuration file says, and where it and the history
//! of inputs are, as the XDG base directory specification has it. The program calls it. It must
//! never write anything.

use crate::chat::sanitize::quoted;
use crate::cli::style::ColourChoice;
use serde::{Deserialize, Deserializer};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;

/// Largest configuration file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Which keys edit a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// Those of Emacs, as in most shells.
    #[default]
    Emacs,
    /// Those of vi.
    Vi,
}

/// What the configuration file says; a key that it has not is as if there were no file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name or address of the server.
    pub host: Option<String>,
    /// Its port.
    #[serde(deserialize_with = "port")]
    pub port: Option<u16>,
    /// Name to have.
    pub name: Option<String>,
    /// Colours.
    #[serde(deserialize_with = "colours")]
    pub color: Option<ColourChoice>,
    /// Whether the time is shown where it changes.
    pub time: bool,
    /// Whether a mention rings the bell.
    pub bell: bool,
    /// Whether to come back when the link breaks.
    pub reconnect: bool,
    /// Which keys edit a line.
    #[serde(deserialize_with = "keys")]
    pub keys: Keys,
    /// Longest message that is sent, in bytes.
    pub max_message: Option<usize>,
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(Some(port)),
        _ => Err(serde::de::Error::custom(format!(
            "port cannot be {number}: it is a number from 1 to 65535"
        ))),
    }
}

fn colours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ColourChoice>, D::Error> {
    let word = String::deserialize(deserializer)?;
    let choice = word.parse().map_err(|reason| {
        serde::de::Error::custom(format!("color cannot be {}: {reason}", quoted(&word)))
    })?;
    Ok(Some(choice))
}

fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
    let word = String::deserialize(deserializer)?;
    match word.as_str() {
        "emacs" => Ok(Keys::Emacs),
        "vi" => Ok(Keys::Vi),
        _ => Err(serde::de::Error::custom(format!(
            "keys cannot be {}: it is \"emacs\" or \"vi\"",
            quoted(&word)
        ))),
    }
}

/// What the configuration file of this user says, and whether there is one.
///
/// # Errors
/// It cannot be read, or something in it is wrong; a sentence that says where.
pub fn load() -> Result<(Settings, bool), String> {
    let Some(path) = config_path() else {
        return Ok((Settings::default(), false));
    };
    let shown = path.display();
    match fs::metadata(&path) {
        Ok(file) if file.len() > MAX_FILE_BYTES => {
            return Err(format!(
                "The configuration file {shown} is larger than {MAX_FILE_BYTES} bytes; it cannot be one"
            ));
        }
        _ => {}
    }
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text)
            .map(|settings| (settings, true))
            .map_err(|reason| format!("The configuration file {shown}, {reason}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Settings::default(), false)),
        Err(error) => Err(format!(
            "Cannot read the configuration file {shown}: {error}; make it readable, or remove it"
        )),
    }
}

/// The settings of this text.
///
/// # Errors
/// Something is wrong: its line, and why.
fn parse(text: &str) -> Result<Settings, String> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = 1 + text.as_bytes()[..at]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        let reason = error
            .message()
            .trim()
            .replace('\n', ", ")
            .replace('`', "\"");
        format!("line {line}: {reason}")
    })
}

/// Where the configuration file is; none if nothing tells where the user is at home.
pub fn config_path() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("client.toml"))
}

/// Where the history of inputs is kept.
pub fn input_history_path() -> Option<PathBuf> {
    folder("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("history"))
}

fn folder(variable: &str, usual: &str) -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name);
    base(folder(variable), folder("HOME"), usual).map(|base| base.join("smolchat"))
}

/// The folder of this variable; one that is not absolute counts as unset, as the specification
/// wants.
fn base(variable: Option<OsString>, home: Option<OsString>, usual: &str) -> Option<PathBuf> {
    let chosen = variable
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let at_home = home.map(PathBuf::from).filter(|path| path.is_absolute());
    chosen.or_else(|| at_home.map(|home| home.join(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::style::Style;

    #[test]
    fn every_key_is_read() {
        let settings = parse(
            "host = \"chat.lab\"\nport = 5000\nname = \"al\"\ncolor = \"16\"\ntime = true\n\
             bell = true\nreconnect = true\nkeys = \"vi\"\nmax_message = 100\n",
        );
        let expected = Settings {
            host: Some("chat.lab".into()),
            port: Some(5000),
            name: Some("al".into()),
            color: Some(ColourChoice::Only(Style::Colours16)),
            time: true,
            bell: true,
            reconnect: true,
            keys: Keys::Vi,
            max_message: Some(100),
        };
        assert_eq!(settings, Ok(expected));
        assert_eq!(parse("# nothing\n"), Ok(Settings::default()));
    }

    #[test]
    fn a_mistake_is_one_sentence_with_its_line() {
        for (text, line, part) in [
            ("nmae = \"x\"", 1, "unknown field \"nmae\""),
            ("\nport = 0", 2, "port cannot be 0"),
            ("port = \"5555\"", 1, "invalid type"),
            ("color = \"blue\"", 1, "one of auto"),
            ("time = true\nkeys = \"nano\"", 2, "\"emacs\" or \"vi\""),
            ("host = ", 1, ""),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.starts_with(&format!("line {line}: ")), "{told}");
            assert!(told.contains(part), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }

    #[test]
    fn folders_are_those_of_the_user() {
        let some = |text: &str| Some(OsString::from(text));
        let home = || some("/home/al");
        assert_eq!(base(some("/x"), home(), ".config"), Some("/x".into()));
        for unset in [None, some(""), some("relative")] {
            let expected = Some("/home/al/.config".into());
            assert_eq!(base(unset, home(), ".config"), expected);
        }
        assert_eq!(base(None, None, ".config"), None);
    }
}
