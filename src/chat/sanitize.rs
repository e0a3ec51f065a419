//! What strangers write, made safe: control characters, newlines, quoting, terminals.
//!
//! What lives here: pure functions from text to text. Everything may call them. They must
//! never decide who sees what, and never know a socket, a terminal or a user.

use crate::limits::MAX_QUOTED_CHARS;
use std::borrow::Cow;

/// What stands for a newline where a message has only one line.
pub const NEWLINE_SIGN: &str = " ↵ ";

/// Removes the control characters (C0, DEL, C1) of a message; tab and newline stay.
///
/// Protocol: "What is refused", control characters in a message.
pub fn clean_message(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_removed_from_messages) {
        Cow::Owned(
            text.chars()
                .filter(|&c| !is_removed_from_messages(c))
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

fn is_removed_from_messages(character: char) -> bool {
    character.is_control() && character != '\t' && character != '\n'
}

/// Whether nothing but white space (newlines count as such) is in a cleaned message.
pub fn is_blank(cleaned: &str) -> bool {
    cleaned.chars().all(char::is_whitespace)
}

/// Puts a message on one line: every newline becomes [`NEWLINE_SIGN`].
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains('\n') {
        Cow::Owned(text.replace('\n', NEWLINE_SIGN))
    } else {
        Cow::Borrowed(text)
    }
}

/// Makes any text fit to be one line, or a part of it, on a terminal.
///
/// Whatever could end the line (newline, line and paragraph separator) becomes
/// [`NEWLINE_SIGN`], every other control character but the tab becomes U+FFFD, and the
/// characters that embed, override or isolate a writing direction are left out: none of them
/// can move the cursor, colour, forge a line or turn what follows around.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if is_printable_ascii(text) || !text.chars().any(|c| terminal_form(c).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match terminal_form(character) {
            Some(form) => safe.push_str(form),
            None => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// Whether nothing in it can do anything to a terminal; most lines are so, and all bytes are looked
/// at without a branch, which is several times faster than character by character.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes()
        .fold(true, |is_so, byte| is_so & matches!(byte, b' '..=b'~'))
}

/// What is shown instead of a character that a terminal must not get.
fn terminal_form(character: char) -> Option<&'static str> {
    match character {
        '\t' => None,
        '\n' | '\u{2028}' | '\u{2029}' => Some(NEWLINE_SIGN),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(""),
        c if c.is_control() => Some("\u{fffd}"),
        _ => None,
    }
}

/// Makes a line of JSON fit for a terminal without changing what it means: characters that could
/// move the cursor, end the line or turn the writing around become escapes.
///
/// They stand inside of strings only: JSON has no place for them elsewhere.
pub fn json_for_terminal(line: &str) -> Cow<'_, str> {
    let is_escaped = |character: char| character != '\t' && terminal_form(character).is_some();
    if is_printable_ascii(line) || !line.chars().any(is_escaped) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 16);
    for character in line.chars() {
        match is_escaped(character) {
            // All of them have a number of at most four digits.
            true => safe.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// A stranger's word in quotes for a sentence: safe for a terminal and cut to
/// [`MAX_QUOTED_CHARS`] characters, with `…` where something was cut.
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
    fn control_characters_leave_a_message_but_tab_and_newline_stay() {
        assert_eq!(
            clean_message("a\u{1b}[31m\tb\nc\r\u{7f}\u{85}\u{9b}\0"),
            "a[31m\tb\nc"
        );
        assert!(matches!(clean_message("plain ↵ é"), Cow::Borrowed(_)));
    }

    #[test]
    fn white_space_of_any_kind_is_blank() {
        for blank in ["", " ", "\t\n", "\u{a0}\u{3000}\u{2028}"] {
            assert!(is_blank(blank), "{blank:?}");
        }
        assert!(!is_blank(" . "));
        assert!(is_blank(&clean_message("\u{0} \u{85}\r")));
    }

    #[test]
    fn a_newline_is_shown_as_a_sign() {
        assert_eq!(one_line("a\nb\n"), "a ↵ b ↵ ");
        assert!(matches!(one_line("ab"), Cow::Borrowed(_)));
    }

    #[test]
    fn nothing_reaches_a_terminal_as_a_control_sequence_or_a_line() {
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
    fn a_quoted_word_is_short_and_safe() {
        assert_eq!(quoted("kick"), "\"kick\"");
        assert_eq!(quoted("\u{1b}x"), "\"\u{fffd}x\"");
        assert_eq!(quoted(&"é".repeat(33)), format!("\"{}…\"", "é".repeat(32)));
    }
}
