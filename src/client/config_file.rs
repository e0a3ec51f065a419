//! The configuration file, and the paths of the client's files by the XDG base directory
//! specification.

use crate::chat::sanitize::quoted;
use crate::cli::style::ColourChoice;
use serde::{Deserialize, Deserializer};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::PathBuf;

/// Largest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Key bindings of the line editor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyBindings {
    #[default]
    Emacs,
    Vi,
}

/// Contents of the configuration file; missing keys have the values of a missing file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileSettings {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<NonZeroU16>,
    pub(crate) name: Option<String>,
    #[serde(deserialize_with = "colours")]
    pub(crate) color: Option<ColourChoice>,
    pub(crate) time: bool,
    pub(crate) bell: bool,
    pub(crate) reconnect: bool,
    pub(crate) keys: KeyBindings,
    pub(crate) max_message: Option<usize>,
}

fn colours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ColourChoice>, D::Error> {
    let word = String::deserialize(deserializer)?;
    let choice = word.parse().map_err(|reason| {
        serde::de::Error::custom(format!("color cannot be {}: {reason}", quoted(&word)))
    })?;
    Ok(Some(choice))
}

/// Reads the configuration file, if there is one.
///
/// # Errors
/// The file cannot be read or is invalid; a sentence that names the line.
pub fn load() -> Result<Option<FileSettings>, String> {
    let Some(path) = config_path() else {
        return Ok(None);
    };
    let shown = path.display();
    if fs::metadata(&path).is_ok_and(|file| file.len() > MAX_FILE_BYTES) {
        return Err(format!(
            "The configuration file {shown} is larger than {MAX_FILE_BYTES} bytes"
        ));
    }
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text)
            .map(Some)
            .map_err(|reason| format!("The configuration file {shown}, {reason}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!(
            "Cannot read the configuration file {shown}: {error}; make it readable, or remove it"
        )),
    }
}

fn parse(text: &str) -> Result<FileSettings, String> {
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

/// Returns the path of the configuration file, if the user has a home directory.
pub fn config_path() -> Option<PathBuf> {
    directory("XDG_CONFIG_HOME", ".config").map(|directory| directory.join("client.toml"))
}

/// Returns the path of the input history.
pub(crate) fn input_history_path() -> Option<PathBuf> {
    directory("XDG_STATE_HOME", ".local/state").map(|directory| directory.join("history"))
}

fn directory(variable: &str, default: &str) -> Option<PathBuf> {
    let value = |name| std::env::var_os(name);
    let base = base_directory(value(variable), value("HOME"), default);
    base.map(|base| base.join("smolchat"))
}

/// Returns the directory of a variable, or the default below the home directory. The
/// specification ignores paths that are not absolute.
fn base_directory(
    variable: Option<OsString>,
    home: Option<OsString>,
    default: &str,
) -> Option<PathBuf> {
    let absolute = |value: OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    let chosen = variable.and_then(absolute);
    chosen.or_else(|| Some(home.and_then(absolute)?.join(default)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::style::{Background, Style};

    #[test]
    fn all_keys_are_read() {
        let settings = parse(
            "host = \"chat.lab\"\nport = 5000\nname = \"al\"\ncolor = \"16\"\ntime = true\n\
             bell = true\nreconnect = true\nkeys = \"vi\"\nmax_message = 100\n",
        );
        let expected = FileSettings {
            host: Some("chat.lab".into()),
            port: NonZeroU16::new(5000),
            name: Some("al".into()),
            color: Some(ColourChoice::Only(Style::Colours16(Background::Unknown))),
            time: true,
            bell: true,
            reconnect: true,
            keys: KeyBindings::Vi,
            max_message: Some(100),
        };
        assert_eq!(settings, Ok(expected));
        assert_eq!(parse("# nothing\n"), Ok(FileSettings::default()));
    }

    #[test]
    fn error_names_its_line() {
        for (text, line, part) in [
            ("nmae = \"x\"", 1, "unknown field \"nmae\""),
            ("\nport = 0", 2, "nonzero u16"),
            ("color = \"blue\"", 1, "auto, always"),
            ("\nkeys = \"nano\"", 2, "expected \"emacs\" or \"vi\""),
            ("host = ", 1, ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(&format!("line {line}: ")), "{error}");
            assert!(error.contains(part), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn directories_follow_the_xdg_specification() {
        let some = |text: &str| Some(OsString::from(text));
        let home = || some("/home/al");
        assert_eq!(
            base_directory(some("/x"), home(), ".config"),
            Some("/x".into())
        );
        for unset in [None, some(""), some("relative")] {
            let expected = Some("/home/al/.config".into());
            assert_eq!(base_directory(unset, home(), ".config"), expected);
        }
        assert_eq!(base_directory(None, None, ".config"), None);
    }
}
