//! Chat lines for people: `SOURCE: MESSAGE`, in colour or plain. Text of users is escaped.

use crate::chat::SERVER_SOURCE;
use crate::chat::sanitize::for_terminal;

/// Colours of chat lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No colours.
    Plain,
    /// The 16 colours of every terminal.
    Colours16(Background),
    /// 256 colours.
    Colours256(Background),
    /// 24-bit colours.
    TrueColour(Background),
}

/// Background of a terminal, which decides whether a colour is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Black, or dark as in common themes.
    Dark,
    /// White, or light as in common themes.
    Light,
    /// Probably black or white.
    Unknown,
}

impl Background {
    /// Parses the variable `COLORFGBG`, such as `15;0`; the last number is that of the background.
    fn from_variable(value: &str) -> Self {
        match value.rsplit(';').next().map(str::parse) {
            Some(Ok(0..=6 | 8)) => Background::Dark,
            Some(Ok(7 | 9..=15_u8)) => Background::Light,
            _ => Background::Unknown,
        }
    }

    /// Chooses by red, green and blue from 0 to 1.
    pub(crate) fn from_colour(colour: [f64; 3]) -> Self {
        // On this luminance, black and white have the same contrast.
        match luminance(colour) < 0.179 {
            true => Background::Dark,
            false => Background::Light,
        }
    }

    fn palette(self) -> &'static Palette {
        match self {
            Background::Dark => &ON_DARK,
            Background::Light => &ON_LIGHT,
            Background::Unknown => &ON_BOTH,
        }
    }
}

/// Returns the relative luminance by WCAG 2.
fn luminance(colour: [f64; 3]) -> f64 {
    let [red, green, blue] = colour.map(|part| match part {
        part if part <= 0.04045 => part / 12.92,
        part => ((part + 0.055) / 1.055).powf(2.4),
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
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
            "16" => Ok(ColourChoice::Only(Style::Colours16(Background::Unknown))),
            "256" => Ok(ColourChoice::Only(Style::Colours256(Background::Unknown))),
            "truecolor" => Ok(ColourChoice::Only(Style::TrueColour(Background::Unknown))),
            _ => Err("use auto, always, never, 16, 256 or truecolor".to_owned()),
        }
    }
}

/// Colours for a background, each with a contrast of at least 4.5 by WCAG 2.
struct Palette {
    /// Names, among 256 colours.
    names: &'static [u8],
    private: u8,
    server: u8,
    /// Names in the 16 colours: parameters of the escape sequence.
    names_16: &'static [u8],
    private_16: u8,
}

/// The names have 16 hues and shades that are far apart in Oklab, as far as possible also for people
/// with each kind of colour blindness (matrices of Machado, Oliveira and Fernandes, 2009).
const ON_DARK: Palette = Palette {
    names: &[
        37, 44, 47, 51, 76, 107, 111, 150, 157, 175, 208, 213, 214, 219, 220, 226,
    ],
    private: 141,
    server: 248,
    names_16: &[91, 92, 93, 96],
    private_16: 95,
};
const ON_LIGHT: Palette = Palette {
    names: &[
        17, 19, 20, 21, 22, 24, 52, 54, 61, 88, 89, 94, 96, 125, 128, 160,
    ],
    private: 91,
    server: 241,
    names_16: &[31, 34],
    private_16: 35,
};
/// Few colours have this contrast on black and on white. None of the 16 has it in the shades of every
/// terminal, so names are bold, and private messages are underlined.
const ON_BOTH: Palette = Palette {
    names: &[29, 63, 131, 163],
    private: 98,
    server: 243,
    names_16: &[1],
    private_16: 4,
};
/// Parameter of bold text.
const BOLD: u8 = 1;
/// Escape sequence that swaps the colours of text and background.
const INVERSE: &str = "\u{1b}[7m";
/// Escape sequence that ends a colour.
pub const RESET: &str = "\u{1b}[0m";

impl Style {
    /// Chooses a style by the user's choice, whether the output is a terminal, and the variables
    /// `NO_COLOR`, `TERM`, `COLORTERM` and `COLORFGBG`.
    pub(crate) fn choose(
        choice: ColourChoice,
        is_terminal: bool,
        variable: impl Fn(&str) -> String,
    ) -> Self {
        let (term, colorterm) = (variable("TERM"), variable("COLORTERM"));
        let background = Background::from_variable(&variable("COLORFGBG"));
        let is_plain = !is_terminal || !variable("NO_COLOR").is_empty();
        match choice {
            ColourChoice::Only(style) => return style.on(background),
            ColourChoice::Auto if is_plain || matches!(&*term, "" | "dumb") => return Style::Plain,
            ColourChoice::Auto | ColourChoice::Always => {}
        }
        if matches!(&*colorterm, "truecolor" | "24bit") || term.contains("direct") {
            Style::TrueColour(background)
        } else if term.contains("256color") {
            Style::Colours256(background)
        } else {
            Style::Colours16(background)
        }
    }

    /// Returns the same number of colours for another background.
    pub(crate) fn on(self, background: Background) -> Self {
        match self {
            Style::Plain => Style::Plain,
            Style::Colours16(_) => Style::Colours16(background),
            Style::Colours256(_) => Style::Colours256(background),
            Style::TrueColour(_) => Style::TrueColour(background),
        }
    }

    pub(crate) fn background(self) -> Option<Background> {
        match self {
            Style::Plain => None,
            Style::Colours16(background)
            | Style::Colours256(background)
            | Style::TrueColour(background) => Some(background),
        }
    }

    /// Returns the escape sequence of the colour that `indexed` chooses among 256, or `simple` among
    /// 16, after these attributes.
    fn sequence(
        self,
        attributes: &str,
        indexed: impl Fn(&Palette) -> u8,
        simple: impl Fn(&Palette) -> u8,
    ) -> Option<String> {
        let palette = self.background()?.palette();
        Some(match self {
            Style::Colours16(_) | Style::Plain => format!("\u{1b}[{}m", simple(palette)),
            Style::Colours256(_) => format!("\u{1b}[{attributes}38;5;{}m", indexed(palette)),
            Style::TrueColour(_) => {
                let [red, green, blue] = rgb(indexed(palette));
                format!("\u{1b}[{attributes}38;2;{red};{green};{blue}m")
            }
        })
    }

    /// Returns the escape sequence of the colour of a source.
    pub(crate) fn opening(self, source: &str) -> Option<String> {
        if source == SERVER_SOURCE {
            return self.dim();
        }
        let name = |palette: &Palette| pick(palette.names, source);
        self.sequence("1;", name, |palette| pick(palette.names_16, source))
    }

    /// Returns the escape sequence of text that no user wrote.
    pub(crate) fn dim(self) -> Option<String> {
        self.sequence("", |palette| palette.server, |_| BOLD)
    }

    /// Returns the escape sequence of a message of the past. None of the 16 colours is both dimmed
    /// and readable everywhere.
    pub(crate) fn past(self) -> Option<String> {
        self.dim().filter(|_| !matches!(self, Style::Colours16(_)))
    }

    /// Returns the escape sequence of a private message.
    pub(crate) fn private(self) -> Option<String> {
        self.sequence("", |palette| palette.private, |palette| palette.private_16)
    }

    /// Returns the escape sequence of text that stands out from dimmed text.
    pub(crate) fn bold(self) -> Option<String> {
        (self != Style::Plain).then(|| format!("{RESET}\u{1b}[{BOLD}m"))
    }

    /// Returns the escape sequence of a line that wants attention.
    pub(crate) fn inverse(self) -> Option<String> {
        (self != Style::Plain).then(|| INVERSE.to_owned())
    }
}

/// Returns red, green and blue of one of the colours from 16 to 255.
fn rgb(colour: u8) -> [u8; 3] {
    match colour {
        232.. => [8 + 10 * (colour - 232); 3],
        _ => {
            let level = |digit| if digit == 0 { 0 } else { 55 + 40 * digit };
            let cube = colour.saturating_sub(16);
            [cube / 36, cube / 6 % 6, cube % 6].map(level)
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
        for style in ["16", "256", "truecolor"] {
            let ColourChoice::Only(style) = style.parse().unwrap() else {
                panic!("no style");
            };
            for source in ["Kobzol", SERVER_SOURCE] {
                let line = line(source, "hi", style);
                assert!(line.starts_with("\u{1b}["), "{line:?}");
                assert_eq!(line.matches('\u{1b}').count(), 2, "{line:?}");
                assert_eq!(line.matches(RESET).count(), 1, "{line:?}");
            }
        }
    }

    /// Backgrounds of common terminals and themes: black, VS Code, Solarized, Dracula, Nord,
    /// Gruvbox, Ubuntu, One Dark; white, Solarized, grey, One Light, Catppuccin, Gruvbox.
    const DARK: [u32; 8] = [
        0, 0x1e1e1e, 0x002b36, 0x282a36, 0x2e3440, 0x282828, 0x300a24, 0x282c34,
    ];
    const LIGHT: [u32; 6] = [0xffffff, 0xfdf6e3, 0xeeeeee, 0xfafafa, 0xeff1f5, 0xfbf1c7];
    /// The used ones of the 16 colours, as xterm and as VGA show them.
    const SHADES: [(u8, [u32; 2]); 8] = [
        (31, [0xcd0000, 0xaa0000]),
        (34, [0x0000ee, 0x0000aa]),
        (35, [0xcd00cd, 0xaa00aa]),
        (91, [0xff0000, 0xff5555]),
        (92, [0x00ff00, 0x55ff55]),
        (93, [0xffff00, 0xffff55]),
        (95, [0xff00ff, 0xff55ff]),
        (96, [0x00ffff, 0x55ffff]),
    ];

    fn parts(colour: u32) -> [u8; 3] {
        let [_, red, green, blue] = colour.to_be_bytes();
        [red, green, blue]
    }

    /// Returns the contrast by WCAG 2.
    fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
        let light = |colour: [u8; 3]| luminance(colour.map(|part| f64::from(part) / 255.0)) + 0.05;
        let (one, other) = (light(one), light(other));
        one.max(other) / one.min(other)
    }

    #[test]
    fn every_colour_is_readable_on_its_backgrounds() {
        for (palette, backgrounds, shades_on) in [
            (&ON_DARK, &DARK[..], &DARK[..1]),
            (&ON_LIGHT, &LIGHT, &LIGHT[..1]),
            (&ON_BOTH, &[0, 0xffffff], &[0, 0xffffff]),
        ] {
            let indexed = palette
                .names
                .iter()
                .chain([&palette.private, &palette.server]);
            for (colour, background) in
                indexed.flat_map(|c| backgrounds.iter().map(move |b| (c, b)))
            {
                let contrast = contrast(rgb(*colour), parts(*background));
                assert!(contrast >= 4.5, "{colour} on {background:06x}: {contrast}");
            }
            for code in palette.names_16.iter().chain([&palette.private_16]) {
                let shades = SHADES.iter().find(|(shaded, _)| shaded == code);
                // Text without a colour is readable wherever the terminal is.
                let is_plain = matches!(code, 1 | 4);
                assert_eq!(shades.is_none(), is_plain, "{code}");
                for shade in shades.map_or([].as_slice(), |(_, shades)| shades) {
                    for background in shades_on {
                        let contrast = contrast(parts(*shade), parts(*background));
                        assert!(contrast >= 4.5, "{code} on {background:06x}: {contrast}");
                    }
                }
            }
        }
        for background in DARK {
            let colour = parts(background).map(|part| f64::from(part) / 255.0);
            assert_eq!(Background::from_colour(colour), Background::Dark);
        }
        for background in LIGHT {
            let colour = parts(background).map(|part| f64::from(part) / 255.0);
            assert_eq!(Background::from_colour(colour), Background::Light);
        }
    }

    #[test]
    fn style_follows_choice_and_environment() {
        for (choice, is_terminal, no_color, term, colorterm, expected) in [
            (
                "auto",
                true,
                "",
                "xterm-256color",
                "",
                Style::Colours256(Background::Unknown),
            ),
            (
                "auto",
                true,
                "",
                "xterm",
                "",
                Style::Colours16(Background::Unknown),
            ),
            (
                "auto",
                true,
                "",
                "xterm",
                "truecolor",
                Style::TrueColour(Background::Unknown),
            ),
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
                Style::Colours256(Background::Unknown),
            ),
            ("never", true, "", "xterm", "", Style::Plain),
            (
                "16",
                false,
                "1",
                "xterm-256color",
                "",
                Style::Colours16(Background::Unknown),
            ),
            (
                "256",
                false,
                "1",
                "xterm",
                "",
                Style::Colours256(Background::Unknown),
            ),
            (
                "truecolor",
                false,
                "1",
                "xterm",
                "",
                Style::TrueColour(Background::Unknown),
            ),
        ] {
            let choice = choice.parse().unwrap();
            let style = Style::choose(choice, is_terminal, |name| match name {
                "TERM" => term.to_owned(),
                "COLORTERM" => colorterm.to_owned(),
                "COLORFGBG" => String::new(),
                _ => no_color.to_owned(),
            });
            assert_eq!(style, expected, "{choice:?} {term}");
        }
        assert!("blue".parse::<ColourChoice>().is_err());
    }

    #[test]
    fn background_follows_its_variable() {
        for (value, background) in [
            ("15;0", Background::Dark),
            ("15;default;8", Background::Dark),
            ("0;15", Background::Light),
            ("0;7", Background::Light),
            ("15;default", Background::Unknown),
            ("0;99", Background::Unknown),
            ("", Background::Unknown),
        ] {
            let style = Style::choose(ColourChoice::Always, true, |name| match name {
                "COLORFGBG" => value.to_owned(),
                _ => String::new(),
            });
            assert_eq!(style, Style::Colours16(background), "{value}");
        }
    }
}
