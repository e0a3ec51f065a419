//! Completion of half-typed lines.

use crate::client::input::commands;
use crate::client::input::known_names::KnownNames;

const SEARCH_FILTERS: [&str; 3] = ["from:", "after:", "before:"];

/// Candidates for one place of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Byte at which the completed word begins; it ends at the cursor.
    pub(crate) start: usize,
    /// The candidates, the likeliest first; never empty.
    pub(crate) candidates: Vec<String>,
}

/// Completes the word before the cursor, a byte offset in the line.
pub(crate) fn complete(line: &str, cursor: usize, names: &KnownNames) -> Option<Completion> {
    let typed = line.get(..cursor)?;
    let (start, candidates) = match typed.split_once(char::is_whitespace) {
        None if typed.starts_with('/') => (0, command_names(typed)),
        Some((word, _)) if word.starts_with('/') && !word.starts_with("//") => {
            complete_argument(word, typed, names)
        }
        _ => complete_text(typed, 0, names),
    };
    let is_useful = candidates
        .iter()
        .any(|candidate| *candidate != typed[start..]);
    is_useful.then_some(Completion { start, candidates })
}

fn command_names(typed: &str) -> Vec<String> {
    commands::names_with_prefix(&typed.to_lowercase())
        .map(|name| match commands::takes_argument(name) {
            true => format!("{name} "),
            false => name.to_owned(),
        })
        .collect()
}

fn complete_argument(word: &str, typed: &str, names: &KnownNames) -> (usize, Vec<String>) {
    let rest = &typed[word.len()..];
    let start = word.len() + (rest.len() - rest.trim_start().len());
    let argument = &typed[start..];
    match word {
        "/help" => (start, help_topics(argument)),
        "/ignore" | "/unignore" => (start, names.with_prefix(argument)),
        "/reply" | "/me" => complete_text(typed, start, names),
        "/msg" => match argument.strip_prefix('"') {
            Some(rest) if rest.contains('"') => complete_text(typed, start, names),
            Some(rest) => (start, quoted_names("", rest, names)),
            None if argument.contains(char::is_whitespace) => complete_text(typed, start, names),
            None => (start, quoted_names("", argument, names)),
        },
        "/search" => complete_search(typed, start, names),
        _ => (start, Vec::new()),
    }
}

fn help_topics(argument: &str) -> Vec<String> {
    let bare = argument.trim_start_matches('/');
    let prefix = format!("/{bare}");
    let found = commands::names_with_prefix(&prefix);
    match argument.starts_with('/') {
        true => found.map(str::to_owned).collect(),
        false => found.map(|name| name[1..].to_owned()).collect(),
    }
}

/// Returns known names behind `before`, in quotes if they have spaces, each with a space.
fn quoted_names(before: &str, prefix: &str, names: &KnownNames) -> Vec<String> {
    let found = names.with_prefix(prefix).into_iter();
    found
        .map(|name| match name.contains(char::is_whitespace) {
            true => format!("{before}\"{name}\" "),
            false => format!("{before}{name} "),
        })
        .collect()
}

fn complete_search(typed: &str, start: usize, names: &KnownNames) -> (usize, Vec<String>) {
    let start = last_word(typed, start);
    let word = &typed[start..];
    if let Some(prefix) = word.strip_prefix("from:") {
        return (start, quoted_names("from:", prefix, names));
    }
    let filters = SEARCH_FILTERS.iter();
    let found = filters.filter(|filter| !word.is_empty() && filter.starts_with(word));
    (start, found.map(|filter| (*filter).to_owned()).collect())
}

/// Returns the byte at which the last word begins, at least `from`.
fn last_word(typed: &str, from: usize) -> usize {
    let mut characters = typed[from..].char_indices();
    let last = characters.rfind(|(_, c)| c.is_whitespace());
    last.map_or(from, |(at, space)| from + at + space.len_utf8())
}

/// Completes a name in a text that begins at the byte `text`. A name at the beginning of a message
/// addresses its user and gets a colon.
fn complete_text(typed: &str, text: usize, names: &KnownNames) -> (usize, Vec<String>) {
    let word = last_word(typed, text);
    let mut start = word;
    // A name may stand behind `@`, a bracket or a quote, or begin with such a sign.
    while let Some(first) = typed[start..].chars().next() {
        let found = names.with_prefix(&typed[start..]);
        if !found.is_empty() {
            let ending = match text == 0 && start == 0 {
                true => ": ",
                false => " ",
            };
            let found = found.into_iter();
            return (start, found.map(|name| name + ending).collect());
        }
        if first.is_alphanumeric() {
            break;
        }
        start += first.len_utf8();
    }
    (start, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let mut names = KnownNames::default();
        for name in ["Ann Lee", "bob", "alice"] {
            names.spoke(name);
        }
        match complete(line, line.len(), &names) {
            Some(found) => found
                .candidates
                .iter()
                .map(|candidate| format!("{}{candidate}", &line[..found.start]))
                .collect(),
            None => Vec::new(),
        }
    }

    #[test]
    fn words_are_completed_by_their_place() {
        for (line, expected) in [
            ("/se", &["/setname ", "/search "][..]),
            ("/us", &["/users"]),
            ("/help s", &["/help setname", "/help search"]),
            ("/help /us", &["/help /users"]),
            ("/users", &[]),
            ("/nonsense", &[]),
            ("/users x", &[]),
            // The latest speaker comes first.
            ("a", &["alice: ", "Ann Lee: "]),
            ("hello A", &["hello alice ", "hello Ann Lee "]),
            ("@b", &["@bob "]),
            ("(b", &["(bob "]),
            ("see (“b", &["see (“bob "]),
            ("(", &[]),
            ("/me (b", &["/me (bob "]),
            ("/SE", &["/setname ", "/search "]),
            ("//x b", &["//x bob "]),
            ("hello ", &[]),
            ("", &[]),
            ("zz", &[]),
            ("/msg b", &["/msg bob "]),
            ("/msg \"an", &["/msg \"Ann Lee\" "]),
            ("/msg \"Ann Lee\" b", &["/msg \"Ann Lee\" bob "]),
            ("/msg bob b", &["/msg bob bob "]),
            ("/msg ", &["/msg alice ", "/msg bob ", "/msg \"Ann Lee\" "]),
            ("/ignore ann", &["/ignore Ann Lee"]),
            ("/me b", &["/me bob "]),
            ("/search x f", &["/search x from:"]),
            ("/search from:an", &["/search from:\"Ann Lee\" "]),
        ] {
            assert_eq!(completed(line), expected, "{line}");
        }
    }

    #[test]
    fn only_text_before_the_cursor_is_completed() {
        let mut names = KnownNames::default();
        names.spoke("bob");
        let found = complete("é b x", 4, &names).unwrap();
        assert_eq!(
            (found.start, found.candidates),
            (3, vec!["bob ".to_owned()])
        );
        assert_eq!(complete("é", 1, &names), None);
    }
}
