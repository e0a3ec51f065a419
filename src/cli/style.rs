//! Chat lines for people: `SOURCE: MESSAGE`, in colour or plain. Text of users is escaped.

use crate::chat::SERVER_SOURCE;
use crate::chat::sanitize::for_terminal;

/// Colours of chat lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No colours.
    Plain,
    /// The 16 colours of every terminal.
    Colours16,
    /// 256 colours.
    Colours256,
    /// 24-bit colours.
    TrueColour,
}

/// Colours that the user chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourChoice {
    /// The colours of the terminal, or none if the output is no terminal.
    #[default]
    Auto,
    /// The colours of the terminal, whatever the output is.
    Always,
    /// These colours.
    Only(Style),
}

impl std::str::FromStr for ColourChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(ColourChoice::Auto),
            "always" => Ok(ColourChoice::Always),
            "never" => Ok(ColourChoice::Only(Style::Plain)),
            "16" => Ok(ColourChoice::Only(Style::Colours16)),
            "256" => Ok(ColourChoice::Only(Style::Colours256)),
            "truecolor" => Ok(ColourChoice::Only(Style::TrueColour)),
            _ => Err("use auto, always, never, 16, 256 or truecolor".to_owned()),
        }
    }
}

/// Colours of names: each is readable on black and on white (contrast of at least 3), and any two
/// differ for people with each kind of colour blindness. They were chosen with the matrices of
/// Machado, Oliveira and Fernandes (2009): any two are more than 0.09 apart in Oklab.
const NAME_COLOURS_TRUE: [(u8, u8, u8); 8] = [
    (48, 96, 168),
    (48, 168, 120),
    (96, 96, 24),
    (144, 120, 168),
    (168, 0, 240),
    (168, 24, 120),
    (216, 96, 240),
    (240, 96, 24),
];
/// The same among 256 colours.
const NAME_COLOURS_256: [u8; 8] = [25, 58, 93, 105, 126, 131, 139, 202];
/// Cyan and magenta, normal and bold, in the shades of the terminal. Yellow is unreadable on white
/// and blue on black, and many people cannot distinguish red from green.
const NAME_COLOURS_16: [&str; 4] = ["36", "35", "1;36", "1;35"];
/// Colour of the server: the grey halfway between black and white.
const SERVER_COLOUR_256: u8 = 243;
/// Colour of private messages: violet.
const PRIVATE_COLOUR_256: u8 = 98;
/// Escape sequence that swaps the colours of text and background.
const INVERSE: &str = "\u{1b}[7m";
/// Escape sequence that ends a colour.
pub const RESET: &str = "\u{1b}[0m";

impl Style {
    /// Chooses a style by the user's choice, whether the output is a terminal, and the variables
    /// `NO_COLOR`, `TERM` and `COLORTERM`.
    pub(crate) fn choose(
        choice: ColourChoice,
        is_terminal: bool,
        variable: impl Fn(&str) -> String,
    ) -> Self {
        let (term, colorterm) = (variable("TERM"), variable("COLORTERM"));
        let is_plain = !is_terminal || !variable("NO_COLOR").is_empty();
        match choice {
            ColourChoice::Only(style) => return style,
            ColourChoice::Auto if is_plain || matches!(&*term, "" | "dumb") => return Style::Plain,
            ColourChoice::Auto | ColourChoice::Always => {}
        }
        if matches!(&*colorterm, "truecolor" | "24bit") || term.contains("direct") {
            Style::TrueColour
        } else if term.contains("256color") {
            Style::Colours256
        } else {
            Style::Colours16
        }
    }

    /// Returns the escape sequence of the colour of a source.
    pub(crate) fn opening(self, source: &str) -> Option<String> {
        if source == SERVER_SOURCE {
            return self.dim();
        }
        match self {
            Style::Plain => None,
            Style::Colours16 => Some(format!("\u{1b}[{}m", pick(&NAME_COLOURS_16, source))),
            Style::Colours256 => Some(format!(
                "\u{1b}[1;38;5;{}m",
                pick(&NAME_COLOURS_256, source)
            )),
            Style::TrueColour => {
                let (red, green, blue) = pick(&NAME_COLOURS_TRUE, source);
                Some(format!("\u{1b}[1;38;2;{red};{green};{blue}m"))
            }
        }
    }

    /// Returns the escape sequence of a private message.
    pub(crate) fn private(self) -> Option<String> {
        match self {
            Style::Plain => None,
            Style::Colours16 => Some("\u{1b}[35m".to_owned()),
            Style::Colours256 | Style::TrueColour => {
                Some(format!("\u{1b}[38;5;{PRIVATE_COLOUR_256}m"))
            }
        }
    }

    /// Returns the escape sequence of a line that wants attention.
    pub(crate) fn inverse(self) -> Option<String> {
        (self != Style::Plain).then(|| INVERSE.to_owned())
    }

    /// Returns the escape sequence of text that no user wrote.
    pub(crate) fn dim(self) -> Option<String> {
        match self {
            Style::Plain => None,
            Style::Colours16 => Some("\u{1b}[1m".to_owned()),
            Style::Colours256 | Style::TrueColour => {
                Some(format!("\u{1b}[38;5;{SERVER_COLOUR_256}m"))
            }
        }
    }
}

/// Picks the colour of a name, which never changes.
fn pick<Colour: Copy>(colours: &[Colour], name: &str) -> Colour {
    // 64-bit FNV-1a.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    colours[((hash >> 32) % colours.len() as u64) as usize]
}

/// Appends `SOURCE: MESSAGE` and a newline. The colour covers the whole line of the server, and the
/// name of a user.
pub fn chat_line(out: &mut String, source: &str, message: &str, style: Style) {
    let is_whole = source == SERVER_SOURCE;
    coloured_line(out, source, message, style.opening(source), is_whole);
}

/// Appends `LABEL: MESSAGE` and a newline. The colour covers the label, or the whole line.
pub(crate) fn coloured_line(
    out: &mut String,
    label: &str,
    message: &str,
    opening: Option<String>,
    is_whole: bool,
) {
    let closing = opening.as_ref().map_or("", |_| RESET);
    let (in_label, in_message) = match is_whole {
        true => ("", closing),
        false => (closing, ""),
    };
    let opening = opening.unwrap_or_default();
    let (label, message) = (for_terminal(label), for_terminal(message));
    for part in [&*opening, &*label, in_label, ": ", &*message, in_message] {
        out.push_str(part);
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
    fn plain_line_is_source_and_message() {
        assert_eq!(line("Kobzol", "hello", Style::Plain), "Kobzol: hello\n");
        assert_eq!(
            line("\u{1b}[31mx", "a\nb\u{7}", Style::Plain),
            "\u{fffd}[31mx: a ↵ b\u{fffd}\n"
        );
    }

    #[test]
    fn colour_begins_and_ends_in_the_line() {
        for style in [Style::Colours16, Style::Colours256, Style::TrueColour] {
            for source in ["Kobzol", SERVER_SOURCE] {
                let line = line(source, "hi", style);
                assert!(line.starts_with("\u{1b}["), "{line:?}");
                assert_eq!(line.matches('\u{1b}').count(), 2, "{line:?}");
                assert_eq!(line.matches(RESET).count(), 1, "{line:?}");
            }
        }
    }

    /// Returns the contrast by WCAG 2 on black and on white.
    fn contrasts(colour: [u8; 3]) -> [f64; 2] {
        let [red, green, blue] = colour.map(|part| match f64::from(part) / 255.0 {
            part if part <= 0.04045 => part / 12.92,
            part => ((part + 0.055) / 1.055).powf(2.4),
        });
        let light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        [(light + 0.05) / 0.05, 1.05 / (light + 0.05)]
    }

    #[test]
    fn colours_are_readable_on_black_and_on_white() {
        for (red, green, blue) in NAME_COLOURS_TRUE {
            let contrasts = contrasts([red, green, blue]);
            assert!(
                contrasts.iter().all(|&contrast| contrast >= 3.0),
                "{red} {green} {blue}: {contrasts:?}"
            );
        }
    }

    #[test]
    fn style_follows_choice_and_environment() {
        for (choice, is_terminal, no_color, term, colorterm, expected) in [
            ("auto", true, "", "xterm-256color", "", Style::Colours256),
            ("auto", true, "", "xterm", "", Style::Colours16),
            ("auto", true, "", "xterm", "truecolor", Style::TrueColour),
            ("auto", false, "", "xterm", "", Style::Plain),
            ("auto", true, "1", "xterm", "", Style::Plain),
            ("auto", true, "", "dumb", "", Style::Plain),
            ("auto", true, "", "", "", Style::Plain),
            (
                "always",
                false,
                "1",
                "xterm-256color",
                "",
                Style::Colours256,
            ),
            ("never", true, "", "xterm", "", Style::Plain),
            ("16", false, "1", "xterm-256color", "", Style::Colours16),
            ("256", false, "1", "xterm", "", Style::Colours256),
            ("truecolor", false, "1", "xterm", "", Style::TrueColour),
        ] {
            let choice = choice.parse().unwrap();
            let style = Style::choose(choice, is_terminal, |name| match name {
                "TERM" => term.to_owned(),
                "COLORTERM" => colorterm.to_owned(),
                _ => no_color.to_owned(),
            });
            assert_eq!(style, expected, "{choice:?} {term}");
        }
        assert!("blue".parse::<ColourChoice>().is_err());
    }
}
