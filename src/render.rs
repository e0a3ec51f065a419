//! The line that a person reads: `SOURCE: MESSAGE`, in colour or plain.
//!
//! What lives here: [`chat_line`] and the colours of names. The client's screen and the
//! server's transcript use it. It must never let a stranger's text through as anything but
//! text, and never look at the environment.

use crate::protocol::SERVER_SOURCE;
use crate::text::for_terminal;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without colours.
    Plain,
    /// With the sixteen colours that every terminal has.
    Colours16,
    /// With 256 colours.
    Colours256,
}

/// Colours of names among 256: each has a contrast of at least 3 on black and on white.
const NAME_COLOURS_256: [u8; 14] = [
    31, 64, 67, 95, 96, 99, 125, 130, 133, 136, 161, 166, 29, 203,
];
/// Colours of names among 16: red, green, blue, magenta and cyan.
const NAME_COLOURS_16: [u8; 5] = [31, 32, 34, 35, 36];
const RESET: &str = "\u{1b}[0m";

impl Style {
    /// The style for an output: plain unless it is a terminal, `TERM` says that it shows
    /// colours, and `NO_COLOR` is empty or unset.
    pub fn choose(is_terminal: bool, no_color: &str, term: &str, colorterm: &str) -> Self {
        if !is_terminal || !no_color.is_empty() || matches!(term, "" | "dumb") {
            Style::Plain
        } else if term.contains("256color") || matches!(colorterm, "truecolor" | "24bit") {
            Style::Colours256
        } else {
            Style::Colours16
        }
    }

    /// What switches to the colour of this source; none in the plain style.
    fn opening(self, source: &str) -> Option<String> {
        let is_server = source == SERVER_SOURCE;
        match self {
            Style::Plain => None,
            Style::Colours16 if is_server => Some("\u{1b}[90m".to_owned()),
            Style::Colours256 if is_server => Some("\u{1b}[38;5;244m".to_owned()),
            Style::Colours16 => Some(format!("\u{1b}[1;{}m", pick(&NAME_COLOURS_16, source))),
            Style::Colours256 => Some(format!(
                "\u{1b}[1;38;5;{}m",
                pick(&NAME_COLOURS_256, source)
            )),
        }
    }
}

/// One of the colours, always the same for a name.
fn pick(colours: &[u8], name: &str) -> u8 {
    // The 64-bit hash of Fowler, Noll and Vo.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The remainder is smaller than the number of colours, so the index is valid.
    colours[((hash >> 32) % colours.len() as u64) as usize]
}

/// Appends `SOURCE: MESSAGE` and a newline. Lines of the server are wholly in its colour, of
/// others only the name.
pub fn chat_line(out: &mut String, source: &str, message: &str, style: Style) {
    let opening = style.opening(source);
    let is_server = source == SERVER_SOURCE;
    out.push_str(opening.as_deref().unwrap_or_default());
    out.push_str(&for_terminal(source));
    if opening.is_some() && !is_server {
        out.push_str(RESET);
    }
    out.push_str(": ");
    out.push_str(&for_terminal(message));
    if opening.is_some() && is_server {
        out.push_str(RESET);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: &str, message: &str, style: Style) -> String {
        let mut out = String::new();
        chat_line(&mut out, source, message, style);
        out
    }

    #[test]
    fn plain_lines_are_source_and_message() {
        assert_eq!(line("Kobzol", "hello", Style::Plain), "Kobzol: hello\n");
        assert_eq!(
            line("\u{1b}[31mx", "a\nb\u{7}", Style::Plain),
            "\u{fffd}[31mx: a ↵ b\u{fffd}\n"
        );
    }

    #[test]
    fn colours_begin_and_end_in_the_line() {
        for style in [Style::Colours16, Style::Colours256] {
            for source in ["Kobzol", SERVER_SOURCE] {
                let line = line(source, "hi", style);
                assert!(line.starts_with("\u{1b}["), "{line:?}");
                assert_eq!(line.matches('\u{1b}').count(), 2, "{line:?}");
                assert_eq!(line.matches(RESET).count(), 1, "{line:?}");
            }
        }
    }

    #[test]
    fn a_name_keeps_its_colour_and_names_differ() {
        let colour = |name: &str| pick(&NAME_COLOURS_256, name);
        assert_eq!(colour("Kobzol"), colour("Kobzol"));
        let names = [
            "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
        ];
        let different: std::collections::HashSet<u8> =
            names.iter().map(|name| colour(name)).collect();
        assert!(different.len() > 3, "{different:?}");
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let choose = |terminal, no_color, term| Style::choose(terminal, no_color, term, "");
        assert_eq!(choose(true, "", "xterm-256color"), Style::Colours256);
        assert_eq!(choose(true, "", "xterm"), Style::Colours16);
        assert_eq!(choose(false, "", "xterm"), Style::Plain);
        assert_eq!(choose(true, "1", "xterm"), Style::Plain);
        assert_eq!(choose(true, "", "dumb"), Style::Plain);
        assert_eq!(choose(true, "", ""), Style::Plain);
        assert_eq!(
            Style::choose(true, "", "xterm", "truecolor"),
            Style::Colours256
        );
    }
}
