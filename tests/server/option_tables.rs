//! The tables of options in the documentation agree with `--help`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns the text of the files that may hold the tables.
fn option_tables() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["README.md", "docs/server.md", "docs/client.md"];
    let texts = files.map(|file| fs::read_to_string(root.join(file)).unwrap_or_default());
    texts.join("\n")
}

/// Returns the options that the `--help` of a program lists.
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

/// Returns the options in the first column of the table whose first row begins with `table`.
fn documented_options(table: &str) -> Vec<String> {
    let tables = option_tables();
    let rows = tables
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
fn documented_options_match_help() {
    for (table, program) in [
        ("| option |", env!("CARGO_BIN_EXE_smolchat-server")),
        (
            "| option of the client |",
            env!("CARGO_BIN_EXE_smolchat-client"),
        ),
    ] {
        let rows = documented_options(table);
        let mut in_table: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), in_table.len(), "duplicate row");
        assert!(rows.len() > 3, "the table {table:?} is not found");
        let mut in_help = options_of_help(program);
        // Every program has these two; they need no row.
        for options in [&mut in_table, &mut in_help] {
            options.retain(|option| option != "--help" && option != "--version");
        }
        assert_eq!(in_table, in_help, "documentation and help of {program}");
    }
}

#[test]
fn documented_defaults_match_help() {
    let output = Command::new(env!("CARGO_BIN_EXE_smolchat-server"))
        .arg("--help")
        .output()
        .expect("it runs");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let tables = option_tables();
    let mut checked = 0;
    for row in tables.lines().filter(|line| line.starts_with("| `--")) {
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
        // Defaults in KiB or MiB are bytes in the help; skip them.
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
