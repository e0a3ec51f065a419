//! Sanitizing of untrusted text: control and invisible characters, newlines, quoting, terminals.

use crate::limits::MAX_QUOTED_CHARS;
use icu_properties::props::{
    DefaultIgnorableCodePoint, GeneralCategory, PrependedConcatenationMark,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use std::borrow::Cow;

/// Replacement of a newline in a message on one line.
pub const NEWLINE_SIGN: &str = " ↵ ";

/// Blank characters that Unicode properties do not mark as such: the Braille blank, the null
/// notehead, the Khitan filler, the Egyptian blanks.
const BLANKS: &str = "\u{2800}\u{1D159}\u{16FE4}\u{13441}\u{13442}";

/// Returns whether a character that is no white space shows nothing: format characters, fillers,
/// selectors, tags and blanks.
pub fn is_invisible(character: char) -> bool {
    let is_format =
        CodePointMapData::<GeneralCategory>::new().get(character) == GeneralCategory::Format;
    // Some signs of Arabic and Syriac count as format characters, but can be seen.
    let is_sign = || CodePointSetData::new::<PrependedConcatenationMark>().contains(character);
    (is_format && !is_sign())
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || BLANKS.contains(character)
}

/// Returns whether a character embeds, overrides or isolates a writing direction.
fn is_direction_change(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Removes the control characters (C0, DEL, C1) of a message except tab and newline, and changes
/// of the writing direction.
pub fn clean_message(text: &str) -> Cow<'_, str> {
    let is_removed = |c: char| (c.is_control() && c != '\t' && c != '\n') || is_direction_change(c);
    match text.contains(is_removed) {
        true => text.replace(is_removed, "").into(),
        false => text.into(),
    }
}

/// Returns whether a cleaned message has only white space and invisible characters.
pub fn is_blank(cleaned: &str) -> bool {
    cleaned
        .chars()
        .all(|c| c.is_whitespace() || is_invisible(c))
}

/// Puts a message on one line: every newline becomes [`NEWLINE_SIGN`].
pub fn one_line(text: &str) -> Cow<'_, str> {
    match text.contains('\n') {
        true => text.replace('\n', NEWLINE_SIGN).into(),
        false => text.into(),
    }
}

/// Makes any text safe to print on one line of a terminal.
///
/// Line ends become [`NEWLINE_SIGN`], other control characters except the tab become U+FFFD, and
/// characters that embed, override or isolate a writing direction are dropped.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if is_printable_ascii(text) || !text.contains(|c| terminal_form(c).is_some()) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match terminal_form(character) {
            Some(form) => safe.push_str(form),
            None => safe.push(character),
        }
    }
    safe.into()
}

/// Returns whether all bytes are printable ASCII.
fn is_printable_ascii(text: &str) -> bool {
    // Most lines are. Without branches this is several times faster than `all`.
    text.bytes()
        .fold(true, |all, byte| all & matches!(byte, b' '..=b'~'))
}

/// Returns the replacement of a character that is unsafe on a terminal.
fn terminal_form(character: char) -> Option<&'static str> {
    match character {
        '\t' => None,
        '\n' | '\u{2028}' | '\u{2029}' => Some(NEWLINE_SIGN),
        c if is_direction_change(c) => Some(""),
        c if c.is_control() => Some("\u{fffd}"),
        _ => None,
    }
}

/// Makes a line of JSON safe for a terminal by escaping the unsafe characters of its strings.
pub fn json_for_terminal(line: &str) -> Cow<'_, str> {
    let is_escaped = |character: char| terminal_form(character).is_some();
    if is_printable_ascii(line) || !line.contains(is_escaped) {
        return line.into();
    }
    let mut safe = String::with_capacity(line.len() + 16);
    for character in line.chars() {
        match is_escaped(character) {
            // All of them are in the BMP.
            true => safe.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => safe.push(character),
        }
    }
    safe.into()
}

/// Returns untrusted text in quotes, safe for a terminal and cut to [`MAX_QUOTED_CHARS`] characters.
pub fn quoted(word: &str) -> String {
    let mut short: String = word.chars().take(MAX_QUOTED_CHARS).collect();
    if word.chars().nth(MAX_QUOTED_CHARS).is_some() {
        short.push('…');
    }
    format!("\"{}\"", for_terminal(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cleaned_and_put_on_one_line() {
        let cleaned = clean_message("a\u{1b}[31m\tb\nc\r\u{7f}\u{85}\u{9b}\0");
        assert_eq!(cleaned, "a[31m\tb\nc");
        assert_eq!(one_line(&cleaned), "a[31m\tb ↵ c");
        let directed =
            "\u{202a}a\u{202b}b\u{202c}\u{202d}\u{202e}\u{2066}c\u{2067}\u{2068}\u{2069}";
        assert_eq!(clean_message(directed), "abc");
        assert_eq!(clean_message("a\u{200f}\u{200d}"), "a\u{200f}\u{200d}");
    }

    #[test]
    fn a_message_needs_a_visible_character() {
        let invisible = "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180b}\u{180e}\u{200b}\u{200c}\u{200d}\
             \u{200e}\u{200f}\u{2060}\u{2064}\u{206a}\u{2800}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{13430}\
             \u{13441}\u{16fe4}\u{1bca0}\u{1d159}\u{1d173}\u{e0001}\u{e0041}\u{e007f}\u{e0100}\
             \t\n\u{a0}\u{1680}\u{2003}\u{2028}\u{3000}";
        assert!(is_blank("") && is_blank(invisible));
        for character in invisible.chars() {
            assert!(is_blank(&format!(" {character}\n")), "{character:?}");
            assert!(!is_blank(&format!("{character}.")), "{character:?}");
        }
        for visible in [
            ".",
            "👍\u{fe0f}",
            "\u{301}",
            "\u{6dd}",
            "\u{601}",
            "\u{fffd}",
        ] {
            assert!(!is_blank(visible), "{visible:?}");
        }
    }

    #[test]
    fn terminal_text_has_no_control_sequence_and_no_line_end() {
        let cases = [
            ("\u{1b}]52;c;aGk=\u{7}", "\u{fffd}]52;c;aGk=\u{fffd}"),
            ("x\r[Server]: forged", "x\u{fffd}[Server]: forged"),
            ("x\n[Server]: forged", "x ↵ [Server]: forged"),
            ("x\u{2028}y\u{2029}z", "x ↵ y ↵ z"),
            ("\u{9b}2J", "\u{fffd}2J"),
            ("\u{202e}txt.exe\u{202c}\u{2066}a\u{2069}", "txt.exea"),
            ("tab\tstays, é 👍🏽 too", "tab\tstays, é 👍🏽 too"),
        ];
        for (raw, safe) in cases {
            assert_eq!(for_terminal(raw), safe, "{raw:?}");
        }
    }

    #[test]
    fn quoted_text_is_short_and_safe() {
        assert_eq!(quoted("kick"), "\"kick\"");
        assert_eq!(quoted("\u{1b}x"), "\"\u{fffd}x\"");
        assert_eq!(quoted(&"é".repeat(33)), format!("\"{}…\"", "é".repeat(32)));
    }
}
