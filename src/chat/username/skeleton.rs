//! Keys by which names are compared.
//!
//! What lives here: full case folding, and the skeleton of UTS 39, section 4, each repeated until
//! it is stable. Called by `name` and `forgery`.
//! It must never be shown: a key is not a spelling of the name.

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

use super::UsernameKey;

/// Rounds after which a text is taken as stable. One is enough for the tables of today (a test
/// looks at every character), but UTS 39 does not promise it.
const MAX_ROUNDS: usize = 8;

/// The keys of a name or of a part of one.
pub(super) fn of(text: &str) -> UsernameKey {
    UsernameKey {
        folded_first: stable_skeleton(&stable_case(text)).into(),
        folded_last: stable_case(&stable_skeleton(text)).into(),
    }
}

/// The skeleton leaves out what is default-ignorable and maps each look-alike to its prototype.
pub(super) fn stable_skeleton(text: &str) -> String {
    until_stable(text, |text| skeleton(text).collect())
}

pub(super) fn stable_case(text: &str) -> String {
    until_stable(text, |text| text.nfd().flat_map(fold_case).nfd().collect())
}

fn until_stable(text: &str, step: impl Fn(&str) -> String) -> String {
    let mut current = step(text);
    for _ in 1..MAX_ROUNDS {
        let next = step(&current);
        if next == current {
            break;
        }
        current = next;
    }
    current
}

/// Full case folding of one character: what is one under CaseFolding.txt (statuses C and F) is
/// one here; dotless ı and i are one besides.
///
/// Lower, upper and lower again, since the capital ẞ reaches `ss` only by way of `ß`.
fn fold_case(character: char) -> impl Iterator<Item = char> {
    character
        .to_lowercase()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}
