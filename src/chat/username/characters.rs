//! Characters allowed in a name: single characters, emoji sequences (UTS 51), joiners (RFC 5892,
//! appendices A.1 and A.2) and combining marks.

use std::borrow::Cow;

use icu_properties::props::{BidiControl, GeneralCategory as Category, JoiningType};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_segmentation::UnicodeSegmentation;

use super::{CharacterFault, NameError};
use crate::chat::sanitize::is_invisible;
use crate::limits::MAX_COMBINING_MARKS;

const ZERO_WIDTH_NON_JOINER: char = '\u{200C}';
const ZERO_WIDTH_JOINER: char = '\u{200D}';
const TEXT_SELECTOR: char = '\u{FE0E}';
const EMOJI_SELECTOR: char = '\u{FE0F}';
const KEYCAP: char = '\u{20E3}';
/// The canonical combining class of a virama.
const VIRAMA: u8 = 9;

pub(super) fn category(character: char) -> Category {
    CodePointMapData::<Category>::new().get(character)
}

/// Returns whether a character is drawn onto the one before it and has no width.
pub(super) fn is_nonspacing_mark(character: char) -> bool {
    matches!(
        category(character),
        Category::NonspacingMark | Category::EnclosingMark
    )
}

fn is_decimal_digit(character: char) -> bool {
    category(character) == Category::DecimalNumber
}

/// Maps a decimal digit of any script to ASCII.
///
/// The digits of each script are contiguous, and each run begins with a zero (The Unicode
/// Standard, section 4.6).
pub(in crate::chat) fn ascii_digit(character: char) -> char {
    if character.is_ascii() || !is_decimal_digit(character) {
        return character;
    }
    let code = u32::from(character);
    let digits_before = (0..code)
        .rev()
        .map_while(char::from_u32)
        .take_while(|before| is_decimal_digit(*before))
        .fold(0, |count, _| (count + 1) % 10);
    char::from_digit(digits_before, 10).unwrap_or(character)
}

/// Refuses the first character that is not allowed at its position.
pub(super) fn check(text: &str) -> Result<(), NameError> {
    for (start, cluster) in text.grapheme_indices(true) {
        if is_emoji_sequence(cluster) {
            continue;
        }
        for (offset, character) in cluster.char_indices() {
            if let Some(fault) = fault_at(text, start + offset, character) {
                return Err(NameError::ForbiddenCharacter(character, fault));
            }
        }
    }
    Ok(())
}

/// Returns what is wrong with a character at a byte position outside an emoji.
fn fault_at(text: &str, position: usize, character: char) -> Option<CharacterFault> {
    let (before, after) = (&text[..position], &text[position + character.len_utf8()..]);
    match character {
        ' '..='~' => None,
        ZERO_WIDTH_NON_JOINER if non_joiner_fits(before, after) => None,
        ZERO_WIDTH_JOINER if follows_virama(before) => None,
        ZERO_WIDTH_NON_JOINER | ZERO_WIDTH_JOINER | TEXT_SELECTOR | EMOJI_SELECTOR => {
            Some(CharacterFault::Misplaced)
        }
        // Flag letters and tags.
        '\u{1F1E6}'..='\u{1F1FF}' | '\u{E0020}'..='\u{E007F}' => Some(CharacterFault::Misplaced),
        _ => fault_anywhere(character),
    }
}

/// Returns what is wrong with a character at any position.
fn fault_anywhere(character: char) -> Option<CharacterFault> {
    if CodePointSetData::new::<BidiControl>().contains(character) {
        return Some(CharacterFault::Direction);
    }
    match category(character) {
        Category::Control | Category::LineSeparator | Category::ParagraphSeparator => {
            Some(CharacterFault::Control)
        }
        Category::Format => Some(CharacterFault::Invisible),
        _ if is_invisible(character) => Some(CharacterFault::Invisible),
        Category::Unassigned | Category::PrivateUse | Category::Surrogate => {
            Some(CharacterFault::Meaningless)
        }
        // Object replacement and replacement character.
        _ if matches!(character, '\u{FFFC}' | '\u{FFFD}') => Some(CharacterFault::Meaningless),
        _ => None,
    }
}

/// Returns whether a grapheme cluster is one whole emoji of UTS 51 that is recommended for general
/// interchange, also without its presentation selectors or with a redundant one.
pub(super) fn is_emoji_sequence(cluster: &str) -> bool {
    // An ASCII character begins an emoji only as a keycap, but the crate's table also has `1` with
    // a bare selector.
    if cluster.starts_with(|first: char| first.is_ascii()) && !cluster.ends_with(KEYCAP) {
        return false;
    }
    if emojis::get(cluster).is_some() {
        return true;
    }
    cluster.strip_suffix(EMOJI_SELECTOR).is_some_and(|base| {
        let mut characters = base.chars();
        characters.next().is_some() && characters.next().is_none() && emojis::get(base).is_some()
    })
}

/// Implements RFC 5892, appendix A.2, and the first half of A.1.
fn follows_virama(before: &str) -> bool {
    before
        .chars()
        .next_back()
        .is_some_and(|character| canonical_combining_class(character) == VIRAMA)
}

/// Implements RFC 5892, appendix A.1: after a virama, or where it breaks a cursive connection.
fn non_joiner_fits(before: &str, after: &str) -> bool {
    follows_virama(before)
        || (matches!(
            visible_joining_type(before.chars().rev()),
            Some(JoiningType::LeftJoining | JoiningType::DualJoining)
        ) && matches!(
            visible_joining_type(after.chars()),
            Some(JoiningType::RightJoining | JoiningType::DualJoining)
        ))
}

/// Returns the joining type of the first character that is not transparent to joining.
fn visible_joining_type(characters: impl Iterator<Item = char>) -> Option<JoiningType> {
    let joining_types = CodePointMapData::<JoiningType>::new();
    characters
        .map(|character| joining_types.get(character))
        .find(|joining_type| *joining_type != JoiningType::Transparent)
}

/// Drops the selector of each emoji that normalization turns into letters (™️ becomes `TM`), where
/// it would remain as an invisible character. The text must have passed [`check`].
pub(super) fn without_orphaned_selectors(text: &str) -> Cow<'_, str> {
    if !text.contains(EMOJI_SELECTOR) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut previous = None;
    for character in text.chars() {
        let orphaned = character == EMOJI_SELECTOR && previous.is_some_and(is_normalized_away);
        if !orphaned {
            kept.push(character);
        }
        previous = Some(character);
    }
    Cow::Owned(kept)
}

fn is_normalized_away(character: char) -> bool {
    std::iter::once(character).nfkc().ne([character])
}

/// Refuses a mark at the beginning, which would be drawn onto the text before the name, and too
/// many marks on one base.
///
/// Marks are counted in the decomposed text, and joiners do not restart the count. Marks with a
/// width (vowel signs of Indic and Burmese) have their own count.
pub(super) fn check_marks(prepared: &str) -> Result<(), NameError> {
    if let Some(character) = prepared.chars().next().filter(|c| is_nonspacing_mark(*c)) {
        return Err(NameError::ForbiddenCharacter(
            character,
            CharacterFault::Loose,
        ));
    }
    let (mut nonspacing, mut spacing) = (0, 0);
    for character in prepared.nfd() {
        match category(character) {
            Category::Format => {}
            Category::NonspacingMark | Category::EnclosingMark => nonspacing += 1,
            Category::SpacingMark => spacing += 1,
            _ => (nonspacing, spacing) = (0, 0),
        }
        if nonspacing.max(spacing) > MAX_COMBINING_MARKS {
            return Err(NameError::TooManyMarks);
        }
    }
    Ok(())
}
