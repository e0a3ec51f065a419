//! Invariants of absence: what must not be in the sources, and that what stands twice agrees.
//!
//! Each check tells all places at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The core, which knows no socket, clock or thread; below `src`, folders with a slash.
const CORE: [&str; 15] = [
    "limits.rs",
    "text.rs",
    "name.rs",
    "name/",
    "framing.rs",
    "protocol/",
    "history.rs",
    "room/",
    "event.rs",
    "record.rs",
    "search.rs",
    "token.rs",
    "pace.rs",
    "render.rs",
    "summary.rs",
];

/// The plain part of the client, which knows no socket, clock or thread either.
const PLAIN_CLIENT: [&str; 15] = [
    "client/asked.rs",
    "client/block.rs",
    "client/commands.rs",
    "client/completion.rs",
    "client/json_input.rs",
    "client/layout.rs",
    "client/link.rs",
    "client/names.rs",
    "client/news.rs",
    "client/presence.rs",
    "client/presenter.rs",
    "client/replay.rs",
    "client/session.rs",
    "client/settings.rs",
    "client/view.rs",
];

/// A file of `src`.
struct Source {
    /// Its path below `src`, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_below(&self, folder_or_file: &str) -> bool {
        self.path == folder_or_file
            || (folder_or_file.ends_with('/') && self.path.starts_with(folder_or_file))
    }

    fn is_core(&self) -> bool {
        CORE.iter().any(|core| self.is_below(core))
    }

    fn is_plain(&self) -> bool {
        self.is_core() || PLAIN_CLIENT.contains(&self.path.as_str())
    }

    /// Whether all of it is compiled for tests only.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Its lines with their numbers, without those of its tests, which stand last.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self
            .text
            .lines()
            .zip(1..)
            .map(|(line, number)| (number, line));
        let is_test = self.is_test();
        lines.take_while(move |(_, line)| !is_test && !line.starts_with("#[cfg(test)]"))
    }

    /// Those of them that are code, without what stands behind `//` and inside of strings.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.lines()
            .map(|(number, line)| (number, code_of(line)))
            .filter(|(_, line)| !line.trim().is_empty())
    }

    /// Places where the code contains one of these words.
    fn places(&self, words: &[&str]) -> Vec<String> {
        self.code()
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
            .map(|(number, line)| format!("src/{}:{number}: {}", self.path, line.trim()))
            .collect()
    }
}

/// A line without its strings and its comment.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => {
                characters.next();
            }
            // A quote as a character is no string.
            '\'' if !in_string && characters.peek() == Some(&'"') => {
                characters.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => code.push(character),
        }
    }
    code
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let source = |file: PathBuf| {
        let path = file.strip_prefix(&folder).expect("below src");
        let path = path
            .iter()
            .map(|part| part.to_string_lossy())
            .collect::<Vec<_>>()
            .join("/");
        Source {
            path,
            text: fs::read_to_string(&file).expect("a readable file"),
        }
    };
    let sources: Vec<Source> = rust_files(&folder).into_iter().map(source).collect();
    assert!(sources.len() > 10, "the sources are not found");
    sources
}

#[track_caller]
fn none(places: Vec<String>, what: &str) {
    assert!(places.is_empty(), "{what}:\n{}", places.join("\n"));
}

#[test]
fn the_helper_sees_code_only() {
    assert_eq!(
        code_of(r#"let a = "smol::x // \" y"; b // c"#),
        "let a = ; b "
    );
    assert_eq!(code_of("/// smol::block_on"), "");
    assert_eq!(code_of(r#"split('"'); smol::x"#), "split('); smol::x");
}

#[test]
fn every_file_says_first_what_lives_there() {
    let silent = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "));
    none(
        silent
            .map(|source| format!("src/{}", source.path))
            .collect(),
        "files without `//!` in their first line",
    );
}

#[test]
fn no_queue_is_without_a_bound() {
    let places = sources()
        .iter()
        .flat_map(|source| source.places(&["unbounded("]))
        .collect();
    none(places, "queues without a bound");
}

#[test]
fn only_the_programs_and_the_client_write_to_the_terminal() {
    let places = sources()
        .iter()
        .filter(|source| {
            !["bin/", "client/", "arguments.rs"]
                .iter()
                .any(|place| source.is_below(place))
        })
        .flat_map(|source| {
            source.places(&["println!", "print!(", "eprintln!", "eprint!(", "dbg!("])
        })
        .collect();
    none(places, "text for a terminal that the library writes");
}

#[test]
fn the_core_knows_no_runtime_and_no_clock() {
    let words = [
        "smol::",
        "async_",
        "futures_lite",
        "event_listener",
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "std::thread",
        "std::io::stdin",
        "TcpStream",
    ];
    let places = sources()
        .iter()
        .filter(|source| source.is_plain())
        .flat_map(|source| source.places(&words))
        .collect();
    none(places, "runtime or clock in the core");
}

#[test]
fn every_core_file_of_the_list_is_there() {
    let sources = sources();
    let listed = CORE.iter().chain(&PLAIN_CLIENT);
    for core in listed.filter(|core| !core.starts_with("name")) {
        assert!(
            sources.iter().any(|source| source.is_below(core)),
            "src/{core} is gone: correct the list"
        );
    }
    assert!(
        sources.iter().any(|source| source.path.starts_with("name")),
        "the names are gone"
    );
}

#[test]
fn server_and_client_do_not_know_each_other_and_the_core_neither() {
    let sources = sources();
    let mut places = Vec::new();
    for source in &sources {
        let forbidden: &[&str] = if source.is_core() {
            &[
                "crate::server",
                "crate::client",
                "super::server",
                "super::client",
            ]
        } else if source.is_below("client/") || source.is_below("client.rs") {
            &["crate::server"]
        } else if source.is_below("server/") || source.is_below("server.rs") {
            &["crate::client"]
        } else {
            &[]
        };
        if !forbidden.is_empty() {
            places.extend(source.places(forbidden));
        }
    }
    // `use crate::{server, client}` would hide from the words above.
    for source in sources
        .iter()
        .filter(|source| !source.path.starts_with("bin/"))
    {
        places.extend(
            source
                .places(&["use crate::{"])
                .into_iter()
                .filter(|place| {
                    place.contains("server") && !source.is_below("server/")
                        || place.contains("client") && !source.is_below("client/")
                }),
        );
    }
    none(places, "imports that cross");
}

#[test]
fn what_could_panic_has_a_comment_that_says_why_it_does_not() {
    let mut places = Vec::new();
    for source in sources() {
        let lines: Vec<(usize, &str)> = source.lines().collect();
        for (index, (number, line)) in lines.iter().enumerate() {
            let code = code_of(line);
            let words = [
                ".unwrap()",
                ".expect(",
                "panic!(",
                "unreachable!(",
                "todo!(",
                "unimplemented!(",
            ];
            if !words.iter().any(|word| code.contains(word)) {
                continue;
            }
            let above = &lines[index.saturating_sub(3)..index];
            let is_explained = above.iter().any(|(_, line)| {
                let line = line.trim_start();
                line.starts_with("//") && !line.starts_with("///") && !line.starts_with("//!")
            });
            if !is_explained {
                places.push(format!("src/{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none(
        places,
        "panics without a reason why they do not happen, in a comment at most three lines above",
    );
}

#[test]
fn the_library_has_no_unsafe_code() {
    for file in ["lib.rs", "bin/smolchat-server.rs", "bin/smolchat-client.rs"] {
        let text = fs::read_to_string(root().join("src").join(file)).expect("a readable file");
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "src/{file} does not forbid unsafe code"
        );
    }
}

#[test]
fn the_programs_are_thin() {
    for source in sources()
        .iter()
        .filter(|source| source.path.starts_with("bin/"))
    {
        let lines = source.text.lines().count();
        assert!(
            lines <= 150,
            "src/{} has {lines} lines: what it does belongs into the library",
            source.path
        );
    }
}

/// The options that a program's `--help` lists.
fn options_of_help(program: &str) -> BTreeSet<String> {
    let output = Command::new(program)
        .arg("--help")
        .output()
        .expect("the program runs");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let first_words = help
        .lines()
        .filter(|line| line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next());
    let options = first_words
        .map(|word| word.trim_end_matches(','))
        .filter(|word| word.starts_with("--"));
    options.map(str::to_owned).collect()
}

/// The options in the README's table whose first row begins so: all that stand as code in the
/// first column.
fn options_of_readme(table: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with(table))
        .take_while(|line| line.starts_with('|'));
    let columns = rows.filter_map(|row| row.split('|').nth(1));
    let words = columns.flat_map(|column| column.split([' ', '`', ',']));
    words
        .filter(|word| word.starts_with("--") && word.contains(char::is_alphabetic))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_readme_has_the_options_of_help() {
    for (table, program) in [
        ("| option |", env!("CARGO_BIN_EXE_smolchat-server")),
        (
            "| option of the client |",
            env!("CARGO_BIN_EXE_smolchat-client"),
        ),
    ] {
        let rows = options_of_readme(table);
        let mut in_table: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), in_table.len(), "an option has two rows");
        assert!(rows.len() > 3, "the table {table:?} is not found");
        let mut in_help = options_of_help(program);
        // What every program has needs no row.
        for options in [&mut in_table, &mut in_help] {
            options.retain(|option| option != "--help" && option != "--version");
        }
        assert_eq!(in_table, in_help, "the README and the help of {program}");
    }
}

#[test]
fn the_readme_has_the_defaults_of_help() {
    let output = Command::new(env!("CARGO_BIN_EXE_smolchat-server"))
        .arg("--help")
        .output()
        .expect("it runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let mut checked = 0;
    for row in readme.lines().filter(|line| line.starts_with("| `--")) {
        // Columns: option, default, meaning.
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let (Some(option), Some(default)) = (columns.get(1), columns.get(2)) else {
            continue;
        };
        let option = option.trim_matches('`').split(' ').next().unwrap_or("");
        let Some(text) = help.split(&format!(" {option} ")).last() else {
            continue;
        };
        let Some((_, told)) = text.split_once("(default") else {
            continue;
        };
        let told = told.split(')').next().unwrap_or("");
        // A default with a unit counts in the unit's number of bytes.
        let number = default
            .trim_matches('`')
            .split_whitespace()
            .next()
            .unwrap_or("");
        if number.parse::<u64>().is_ok() && !default.contains("iB") {
            assert!(
                told.split([' ', ',', ':']).any(|word| word == number),
                "{option}: {number} is not in {told:?}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} defaults were compared");
}
