//! Skeletons: texts without look-alikes (UTS 39, section 4) and case (full case folding).
//!
//! A skeleton is for comparison only and must never be shown.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategoryGroup, Script};
use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;
use unicode_segmentation::UnicodeSegmentation;

use super::UsernameKey;
use super::characters::{category, is_emoji_sequence};

/// Rounds after which a text counts as stable. Today's tables need one, but UTS 39 does not
/// promise it.
const MAX_ROUNDS: usize = 8;

/// Returns the key of a name or of a part of a name.
pub(super) fn key(text: &str) -> UsernameKey {
    UsernameKey {
        folded_first: fold_lookalikes(&fold_case(text)).into(),
        folded_last: fold_case(&fold_lookalikes(text)).into(),
    }
}

/// Returns a name without punctuation and spaces at its end, but with at least one cluster.
pub(super) fn without_trailing_punctuation(name: &str) -> &str {
    let mut end = name.len();
    for (start, cluster) in name.grapheme_indices(true).rev() {
        let first = cluster.chars().next();
        if start == 0 || is_emoji_sequence(cluster) || !first.is_some_and(is_punctuation) {
            break;
        }
        end = start;
    }
    &name[..end]
}

/// Returns whether a character is punctuation, a space, a spacing accent, a tilde, or a letter of
/// no script that looks like one of them, such as ʼ.
fn is_punctuation(character: char) -> bool {
    let is_punctuation = |character: char| {
        let group = GeneralCategoryGroup::Punctuation
            .union(GeneralCategoryGroup::Separator)
            .union(GeneralCategoryGroup::ModifierSymbol);
        character == '~' || group.contains(category(character))
    };
    let has_script = || CodePointMapData::<Script>::new().get(character) != Script::Common;
    is_punctuation(character)
        || (!has_script() && skeleton(character.encode_utf8(&mut [0; 4])).all(is_punctuation))
}

/// Drops default-ignorable characters and maps each look-alike to its prototype.
pub(super) fn fold_lookalikes(text: &str) -> String {
    until_stable(text, |text| skeleton(text).collect())
}

/// Folds case as CaseFolding.txt does (statuses C and F), and dotless ı to i.
pub(super) fn fold_case(text: &str) -> String {
    // Lower, upper, lower: the capital ẞ reaches `ss` only by way of `ß`.
    let fold = |character: char| {
        character
            .to_lowercase()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
    };
    until_stable(text, |text| text.nfd().flat_map(fold).nfd().collect())
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
