//! Manual pages and shell completions, generated from the table of options behind `--help`.

use crate::cli::args::EarlyExit;
use crate::cli::exit_code::DONE;
use argh::ArgsInfo;
use argh_complete::Generator;
use argh_complete::bash::Bash;
use argh_complete::fish::Fish;
use argh_complete::zsh::Zsh;
use argh_shared::{CommandInfoWithArgs, FlagInfoKind, Optionality, PositionalInfo};
use roff::{Inline, Roff, bold, italic, roman};

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
    let text = generate::<Options>(program, document);
    EarlyExit { text, status: DONE }.print()
}

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

    fn lists_every_option<Options: ArgsInfo>(program: &str) {
        let flags = Options::get_args_info().flags;
        assert!(flags.len() > 8);
        for document in [
            GeneratedDoc::Man,
            GeneratedDoc::Bash,
            GeneratedDoc::Zsh,
            GeneratedDoc::Fish,
        ] {
            let text = generate::<Options>(program, document);
            assert!(text.contains(program), "{document:?}");
            for flag in flags {
                let bare = flag.long.trim_start_matches('-');
                let escaped = bare.replace('-', "\\-");
                assert!(
                    text.contains(bare) || text.contains(&escaped),
                    "{document:?} lacks {bare}"
                );
            }
        }
    }

    #[test]
    fn every_document_lists_every_option() {
        lists_every_option::<ClientOptions>("smolchat-client");
        lists_every_option::<ServerOptions>("smolchat-server");
    }

    #[test]
    fn manual_page_has_its_sections() {
        let page = generate::<ClientOptions>("smolchat-client", GeneratedDoc::Man);
        for part in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "ARGUMENTS",
            "OPTIONS",
            "\"EXIT STATUS\"",
        ] {
            assert!(page.contains(&format!(".SH {part}")), "{page}");
        }
        assert!(page.contains("130"), "{page}");
    }
}
