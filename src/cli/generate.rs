//! Manual pages and shell completions, generated from the table of options behind `--help`.

use crate::cli::args::EarlyExit;
use crate::cli::exit_code::DONE;
use argh::ArgsInfo;
use argh_complete::Generator;
use argh_complete::bash::Bash;
use argh_complete::fish::Fish;
use argh_complete::zsh::Zsh;
use argh_shared::{CommandInfoWithArgs, FlagInfoKind, Optionality};
use roff::{Roff, bold, italic, roman};

/// Value of `--generate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedDoc {
    /// Manual page.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// Options with a few values, in one program or the other.
const VALUES: [(&str, &str); 4] = [
    ("color", "auto always never 16 256 truecolor"),
    ("generate", "man bash zsh fish"),
    ("db-sync", "normal full"),
    ("log-format", "text json"),
];

pub(crate) fn parse_generated_doc(value: &str) -> Result<GeneratedDoc, String> {
    match value {
        "man" => Ok(GeneratedDoc::Man),
        "bash" => Ok(GeneratedDoc::Bash),
        "zsh" => Ok(GeneratedDoc::Zsh),
        "fish" => Ok(GeneratedDoc::Fish),
        _ => Err("use one of man, bash, zsh and fish".to_owned()),
    }
}

/// Prints a document about the options of a program; returns the exit code.
pub fn print<Options: ArgsInfo>(program: &str, document: GeneratedDoc) -> u8 {
    let table = Options::get_args_info();
    let text = match document {
        GeneratedDoc::Man => manual(program, &table),
        GeneratedDoc::Bash => with_values(document, &Bash::generate(program, &table)),
        GeneratedDoc::Zsh => with_values(document, &Zsh::generate(program, &table)),
        GeneratedDoc::Fish => with_values(document, &Fish::generate(program, &table)),
    };
    EarlyExit { text, status: DONE }.print()
}

/// Adds the values of options to a completion script, which lets every value be completed as a file
/// or as nothing.
fn with_values(shell: GeneratedDoc, script: &str) -> String {
    let mut changed = String::new();
    // Values for the next line.
    let mut pending = None;
    for line in script.lines() {
        let option = VALUES.iter().find(|(name, _)| {
            let word = line.trim_start();
            match shell {
                GeneratedDoc::Man => false,
                GeneratedDoc::Bash => word == format!("--{name})"),
                GeneratedDoc::Zsh => word.starts_with(&format!("'--{name}[")),
                GeneratedDoc::Fish => word.contains(&format!(" -l {name} -r ")),
            }
        });
        let values = option.map(|(_, values)| values);
        let line = match (shell, pending.take(), values) {
            (GeneratedDoc::Bash, Some(values), _) => {
                let words = format!("( $(compgen -W \"{values}\" -- \"${{cur}}\") )");
                line.replace("()", &words)
            }
            (GeneratedDoc::Zsh, _, Some(values)) => {
                line.replace("'': :'", &format!("'':value:({values})'"))
            }
            (GeneratedDoc::Fish, _, Some(values)) => {
                line.replace(" -r ", &format!(" -x -a '{values}' "))
            }
            _ => line.to_owned(),
        };
        pending = values;
        changed.push_str(&line);
        changed.push('\n');
    }
    changed
}

fn manual(program: &str, table: &CommandInfoWithArgs<'_>) -> String {
    let description = table.description.split_whitespace();
    let description = description.collect::<Vec<_>>().join(" ");
    let description = description.trim_start_matches(&format!("{program}: "));
    let (summary, more) = description.split_once(". ").unwrap_or((description, ""));
    let version = format!("smolchat {}", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", [program, "1", "", &version, ""]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!(
        "{program} - {}",
        summary.trim_end_matches('.')
    ))]);
    page.control("SH", ["SYNOPSIS"]);
    let mut synopsis = vec![bold(program), roman(" [options]")];
    for positional in table.positionals {
        let name = italic(positional.name.to_uppercase());
        match positional.optionality {
            Optionality::Required => synopsis.extend([roman(" "), name]),
            _ => synopsis.extend([roman(" ["), name, roman("]")]),
        }
    }
    page.text(synopsis);
    if !more.is_empty() {
        page.control("SH", ["DESCRIPTION"]);
        page.text([roman(more)]);
    }
    if !table.positionals.is_empty() {
        page.control("SH", ["ARGUMENTS"]);
    }
    for positional in table.positionals {
        page.control("TP", []);
        page.text([italic(positional.name.to_uppercase())]);
        page.text([roman(positional.description)]);
    }
    page.control("SH", ["OPTIONS"]);
    for flag in table.flags.iter().filter(|flag| !flag.hidden) {
        page.control("TP", []);
        let mut head = vec![bold(flag.long)];
        if let FlagInfoKind::Option { arg_name } = flag.kind {
            head.extend([roman(" "), italic(arg_name)]);
        }
        page.text(head);
        page.text([roman(flag.description)]);
    }
    page.control("SH", ["EXIT STATUS"]);
    for code in table.error_codes {
        page.control("TP", []);
        page.text([bold(code.code.to_string())]);
        page.text([roman(code.description)]);
    }
    if !table.notes.is_empty() {
        page.control("SH", ["NOTES"]);
    }
    for note in table.notes {
        page.control("PP", []);
        page.text([roman(*note)]);
    }
    page.render()
}
