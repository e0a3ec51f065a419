//! What a system wants to have of a program: a manual page, and completions for its shells.
//!
//! What lives here: [`GeneratedDoc`], and [`print()`], which makes it of the table of options that
//! `--help` is made of. The two programs call it. It must never say anything of an option that
//! its table does not.

use crate::cli::args::EarlyExit;
use crate::cli::exit_code::DONE;
use argh::ArgsInfo;
use argh_complete::Generator;
use argh_complete::bash::Bash;
use argh_complete::fish::Fish;
use argh_complete::zsh::Zsh;
use argh_shared::{CommandInfoWithArgs, FlagInfoKind, Optionality, PositionalInfo};
use roff::{Inline, Roff, bold, italic, roman};

/// What can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedDoc {
    /// A manual page.
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

/// Reads what is to be generated.
///
/// # Errors
/// It is none of the words.
pub fn parse_document(value: &str) -> Result<GeneratedDoc, String> {
    match value {
        "man" => Ok(GeneratedDoc::Man),
        "bash" => Ok(GeneratedDoc::Bash),
        "zsh" => Ok(GeneratedDoc::Zsh),
        "fish" => Ok(GeneratedDoc::Fish),
        _ => Err("it is one of man, bash, zsh and fish".to_owned()),
    }
}

/// Prints the document of the program with these options; gives its exit status.
pub fn print<Options: ArgsInfo>(program: &str, document: GeneratedDoc) -> u8 {
    let text = generate::<Options>(program, document);
    EarlyExit { text, status: DONE }.tell()
}

/// The document of the program with these options.
fn generate<Options: ArgsInfo>(program: &str, document: GeneratedDoc) -> String {
    let table = Options::get_args_info();
    match document {
        GeneratedDoc::Man => manual(program, &table),
        GeneratedDoc::Bash => Bash::generate(program, &table),
        GeneratedDoc::Zsh => Zsh::generate(program, &table),
        GeneratedDoc::Fish => Fish::generate(program, &table),
    }
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
        synopsis.push(roman(" "));
        synopsis.extend(placeholder(positional));
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
    options(&mut page, table);
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

fn placeholder(positional: &PositionalInfo<'_>) -> Vec<Inline> {
    let name = italic(positional.name.to_uppercase());
    match positional.optionality {
        Optionality::Required => vec![name],
        _ => vec![roman("["), name, roman("]")],
    }
}

fn options(page: &mut Roff, table: &CommandInfoWithArgs<'_>) {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::options::ClientOptions;
    use crate::server::ServerOptions;

    fn flags<Options: ArgsInfo>() -> Vec<String> {
        let table = Options::get_args_info();
        table
            .flags
            .iter()
            .map(|flag| flag.long.to_owned())
            .collect()
    }

    fn has_every_option<Options: ArgsInfo>(program: &str) {
        let flags = flags::<Options>();
        assert!(flags.len() > 8, "{flags:?}");
        for document in [
            GeneratedDoc::Man,
            GeneratedDoc::Bash,
            GeneratedDoc::Zsh,
            GeneratedDoc::Fish,
        ] {
            let text = generate::<Options>(program, document);
            assert!(text.contains(program), "{document:?}");
            for flag in &flags {
                let bare = flag.trim_start_matches('-');
                let escaped = bare.replace('-', "\\-");
                let is_there = text.contains(bare) || text.contains(&escaped);
                assert!(is_there, "{document:?} lacks {flag}");
            }
        }
    }

    #[test]
    fn every_document_has_every_option() {
        has_every_option::<ClientOptions>("smolchat-client");
        has_every_option::<ServerOptions>("smolchat-server");
    }

    #[test]
    fn a_manual_page_has_its_parts() {
        let page = generate::<ClientOptions>("smolchat-client", GeneratedDoc::Man);
        for part in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "ARGUMENTS",
            "OPTIONS",
            "EXIT STATUS",
        ] {
            assert!(
                page.contains(&format!(".SH {part}")) || page.contains(&format!(".SH \"{part}\"")),
                "{page}"
            );
        }
        assert!(page.contains("130"), "{page}");
    }

    #[test]
    fn other_words_are_refused() {
        assert!(
            parse_document("pdf")
                .unwrap_err()
                .contains("man, bash, zsh and fish")
        );
    }
}
