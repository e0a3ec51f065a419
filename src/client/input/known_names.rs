//! Names of users for completion, the latest speaker first; a bounded list.

use crate::client::limits::KNOWN_NAMES;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

#[derive(Debug, Default)]
pub(crate) struct KnownNames(Vec<String>);

impl KnownNames {
    /// Moves a name to the front, adding it if necessary.
    pub(crate) fn spoke(&mut self, name: &str) {
        let names = &mut self.0;
        match names.iter().position(|known| known == name) {
            Some(at) => names[..=at].rotate_right(1),
            None => {
                names.insert(0, name.to_owned());
                names.truncate(KNOWN_NAMES);
            }
        }
    }

    pub(crate) fn entered(&mut self, name: &str) {
        let names = &mut self.0;
        if names.len() < KNOWN_NAMES && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    pub(crate) fn left(&mut self, name: &str) {
        self.0.retain(|known| known != name);
    }

    pub(crate) fn renamed(&mut self, old: &str, new: &str) {
        let names = &mut self.0;
        names.retain(|known| known != new);
        match names.iter().position(|known| known == old) {
            Some(at) => names[at] = new.to_owned(),
            None if names.len() < KNOWN_NAMES => names.push(new.to_owned()),
            None => {}
        }
    }

    /// Returns the names with this prefix, in any case, with or without accents.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Vec<String> {
        let folded = fold(prefix);
        let mut names = self.0.clone();
        if folded.is_empty() && !prefix.is_empty() {
            names.clear();
        }
        names.retain(|name| fold(name).starts_with(&folded));
        names
    }
}

fn fold(text: &str) -> String {
    let decomposed = text
        .nfkd()
        .filter(|character| !is_combining_mark(*character));
    decomposed.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_speaker_comes_first() {
        let mut names = KnownNames::default();
        for name in ["Al", "alma", "Bo", "Cy"] {
            names.entered(name);
        }
        assert_eq!(names.with_prefix("AL"), ["Al", "alma"]);
        names.spoke("alma");
        names.spoke("Bo");
        assert_eq!(names.with_prefix(""), ["Bo", "alma", "Al", "Cy"]);
        names.left("Al");
        names.renamed("Bo", "Di");
        names.renamed("unknown", "Cy");
        assert_eq!(names.with_prefix(""), ["Di", "alma", "Cy"]);
    }

    #[test]
    fn prefixes_have_neither_case_nor_accents() {
        let mut names = KnownNames::default();
        for name in ["Émile", "Zoë", "İpek", "Ａｄａ", "Дёма", "한국"] {
            names.entered(name);
        }
        for (prefix, name) in [
            ("em", "Émile"),
            ("ÉM", "Émile"),
            ("e\u{301}m", "Émile"),
            ("zoe", "Zoë"),
            ("ip", "İpek"),
            ("ad", "Ａｄａ"),
            ("дем", "Дёма"),
            ("한", "한국"),
        ] {
            assert_eq!(names.with_prefix(prefix), [name], "{prefix}");
        }
        assert!(names.with_prefix("\u{301}").is_empty());
    }

    #[test]
    fn list_is_bounded() {
        let mut names = KnownNames::default();
        for number in 0..KNOWN_NAMES * 2 {
            names.entered(&format!("e{number}"));
            names.spoke(&format!("s{number}"));
            names.renamed("nobody", &format!("r{number}"));
        }
        let known = names.with_prefix("");
        assert_eq!(known.len(), KNOWN_NAMES);
        assert_eq!(known[0], format!("s{}", KNOWN_NAMES * 2 - 1));
    }
}
