//! What the Tab key makes of a half-typed line.
//!
//! What lives here: [`complete`], a pure function of the line, the table of commands and the names.
//! The line editor uses it. It must never know a key.

use crate::client::input::commands;
use crate::client::input::commands::Completes;
use crate::client::input::known_names::NameBook;

/// Words that narrow a search down.
const SEARCH_FILTERS: [&str; 3] = ["from:", "after:", "before:"];

/// What may stand in a place of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Where it begins, in bytes; it ends at the cursor.
    pub start: usize,
    /// What may stand there; the likeliest first, never none.
    pub candidates: Vec<String>,
}

/// What may stand before the cursor, which is at this byte of the line.
pub fn complete(line: &str, cursor: usize, names: &NameBook) -> Option<Completion> {
    let typed = line.get(..cursor)?;
    let (start, candidates) = match typed.split_once(char::is_whitespace) {
        None if typed.starts_with('/') => (0, of_command(typed)),
        Some((word, _)) if word.starts_with('/') && !word.starts_with("//") => {
            behind_command(word, typed, names)
        }
        _ => in_text(typed, 0, names),
    };
    let is_useful = candidates
        .iter()
        .any(|candidate| *candidate != typed[start..]);
    is_useful.then_some(Completion { start, candidates })
}

fn of_command(typed: &str) -> Vec<String> {
    let found = commands::beginning_with(typed).into_iter();
    found
        .map(|name| match commands::takes_argument(name) {
            true => format!("{name} "),
            false => name.to_owned(),
        })
        .collect()
}

fn behind_command(word: &str, typed: &str, names: &NameBook) -> (usize, Vec<String>) {
    let behind = &typed[word.len()..];
    let start = word.len() + (behind.len() - behind.trim_start().len());
    let argument = &typed[start..];
    match commands::completes(word) {
        Completes::Nothing => (start, Vec::new()),
        Completes::Command => (start, help_topics(argument)),
        Completes::Name => (start, names.beginning_with(argument)),
        Completes::Text => in_text(typed, start, names),
        Completes::NameAndText => match argument.strip_prefix('"') {
            Some(rest) if rest.contains('"') => in_text(typed, start, names),
            Some(rest) => (start, targets(rest, names)),
            None if argument.contains(char::is_whitespace) => in_text(typed, start, names),
            None => (start, targets(argument, names)),
        },
        Completes::Search => search(typed, start, names),
    }
}

fn help_topics(argument: &str) -> Vec<String> {
    let bare = argument.trim_start_matches('/');
    let found = commands::beginning_with(&format!("/{bare}")).into_iter();
    match argument.starts_with('/') {
        true => found.map(str::to_owned).collect(),
        false => found.map(|name| name[1..].to_owned()).collect(),
    }
}

/// Names to which something is said, with a space behind them.
fn targets(beginning: &str, names: &NameBook) -> Vec<String> {
    let found = names.beginning_with(beginning).into_iter();
    found
        .map(|name| match name.contains(char::is_whitespace) {
            true => format!("\"{name}\" "),
            false => format!("{name} "),
        })
        .collect()
}

fn search(typed: &str, start: usize, names: &NameBook) -> (usize, Vec<String>) {
    let start = last_word(typed, start);
    let word = &typed[start..];
    if let Some(beginning) = word.strip_prefix("from:") {
        let found = names.beginning_with(beginning).into_iter();
        let quoted = |name: String| match name.contains(char::is_whitespace) {
            true => format!("from:\"{name}\" "),
            false => format!("from:{name} "),
        };
        return (start, found.map(quoted).collect());
    }
    let filters = SEARCH_FILTERS.iter();
    let found = filters.filter(|filter| !word.is_empty() && filter.starts_with(word));
    (start, found.map(|filter| (*filter).to_owned()).collect())
}

fn last_word(typed: &str, from: usize) -> usize {
    let space = typed[from..].rfind(char::is_whitespace);
    space.map_or(from, |at| {
        let at = from + at;
        at + typed[at..].chars().next().map_or(0, char::len_utf8)
    })
}

/// A name in a text, which begins at this byte; at its beginning whoever is spoken to.
fn in_text(typed: &str, text: usize, names: &NameBook) -> (usize, Vec<String>) {
    let word = last_word(typed, text);
    let start = word + usize::from(typed[word..].starts_with('@'));
    if typed[start..].is_empty() {
        return (start, Vec::new());
    }
    let ending = match text == 0 && word == 0 && start == word {
        true => ": ",
        false => " ",
    };
    let found = names.beginning_with(&typed[start..]).into_iter();
    (start, found.map(|name| name + ending).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let names = NameBook::default();
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
    fn commands_are_completed() {
        assert_eq!(completed("/se"), ["/setname ", "/search "]);
        assert_eq!(completed("/us"), ["/users"]);
        assert_eq!(completed("/help s"), ["/help setname", "/help search"]);
        assert_eq!(completed("/help /us"), ["/help /users"]);
        assert!(completed("/users").is_empty());
        assert!(completed("/nonsense").is_empty());
        assert!(completed("/users x").is_empty());
    }

    #[test]
    fn names_are_completed_by_who_spoke_last() {
        assert_eq!(completed("a"), ["alice: ", "Ann Lee: "]);
        assert_eq!(completed("hello A"), ["hello alice ", "hello Ann Lee "]);
        assert_eq!(completed("@b"), ["@bob "]);
        assert_eq!(completed("//x b"), ["//x bob "]);
        assert!(completed("hello ").is_empty());
        assert!(completed("").is_empty());
        assert!(completed("zz").is_empty());
    }

    #[test]
    fn what_a_command_takes_is_completed() {
        assert_eq!(completed("/msg b"), ["/msg bob "]);
        assert_eq!(completed("/msg an"), ["/msg \"Ann Lee\" "]);
        assert_eq!(completed("/msg \"an"), ["/msg \"Ann Lee\" "]);
        assert_eq!(completed("/msg \"Ann Lee\" b"), ["/msg \"Ann Lee\" bob "]);
        assert_eq!(
            completed("/msg bob a"),
            ["/msg bob alice ", "/msg bob Ann Lee "]
        );
        assert_eq!(
            completed("/msg "),
            ["/msg alice ", "/msg bob ", "/msg \"Ann Lee\" "]
        );
        assert_eq!(completed("/ignore ann"), ["/ignore Ann Lee"]);
        assert_eq!(completed("/me b"), ["/me bob "]);
        assert_eq!(completed("/search x f"), ["/search x from:"]);
        assert_eq!(completed("/search from:an"), ["/search from:\"Ann Lee\" "]);
    }

    #[test]
    fn only_what_stands_before_the_cursor_counts() {
        let names = NameBook::default();
        names.spoke("bob");
        let found = complete("é b x", 4, &names).unwrap();
        assert_eq!(
            (found.start, found.candidates),
            (3, vec!["bob ".to_owned()])
        );
        assert_eq!(complete("é", 1, &names), None);
    }
}
