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

/// Colours of names among 256: each has a contrast of at least 4 on black and on white.
const NAME_COLOURS_256: [u8; 16] = [
    27, 28, 30, 31, 63, 64, 98, 99, 129, 130, 131, 132, 133, 161, 163, 164,
];
/// Colours of names among 16: red, green, magenta and cyan. Yellow is lost on white, and blue
/// on black.
const NAME_COLOURS_16: [u8; 4] = [31, 32, 35, 36];
/// Of the server among 256: the grey that is equally far from black and white.
const SERVER_COLOUR_256: u8 = 243;
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
            Style::Colours16 if is_server => Some("\u{1b}[1m".to_owned()),
            Style::Colours256 if is_server => Some(format!("\u{1b}[38;5;{SERVER_COLOUR_256}m")),
            Style::Colours16 => Some(format!("\u{1b}[{}m", pick(&NAME_COLOURS_16, source))),
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

    /// Contrast as WCAG 2 has it, on black and on white.
    fn contrasts(colour: u8) -> [f64; 2] {
        let level = |step: u8| match step {
            0 => 0.0,
            _ => f64::from(step) * 40.0 + 55.0,
        };
        let parts = if colour >= 232 {
            [f64::from(colour - 232) * 10.0 + 8.0; 3]
        } else {
            let cube = colour - 16;
            [level(cube / 36), level(cube / 6 % 6), level(cube % 6)]
        };
        let [red, green, blue] = parts.map(|part| ((part / 255.0 + 0.055) / 1.055).powf(2.4));
        let light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        [(light + 0.05) / 0.05, 1.05 / (light + 0.05)]
    }

    #[test]
    fn every_colour_is_readable_on_black_and_on_white() {
        for colour in NAME_COLOURS_256.into_iter().chain([SERVER_COLOUR_256]) {
            let contrasts = contrasts(colour);
            assert!(
                contrasts.iter().all(|&contrast| contrast >= 4.0),
                "{colour}: {contrasts:?}"
            );
        }
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
