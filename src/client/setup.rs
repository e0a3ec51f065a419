//! Choice of input, output and line editor, by what standard input and output are.

use crate::chat::sanitize::quoted;
use crate::cli::args;
use crate::cli::style::{Background, Style};
use crate::client::config_file;
use crate::client::input::stdin::{self, InputLine};
use crate::client::options::ClientConfig;
use crate::client::output::printer::Printer;
use crate::client::output::screen::ScreenHandle;
use crate::client::shutdown;
use crate::client::terminal::editor::{self, EditorOptions, Terminal};
use crate::client::terminal::view::ViewOptions;
use crate::client::terminal::wrap::Widths;
use async_channel::Receiver;
use jiff::tz::TimeZone;
use std::io::{self, IsTerminal, Write, stderr, stdin, stdout};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputKind {
    Terminal,
    /// A pipe or a file; errors name the number of their line.
    Pipe,
}

/// Input and output of a client.
#[derive(Debug)]
pub struct ClientIo {
    /// Lines of the input; closed at its end.
    pub(crate) input: Receiver<InputLine>,
    pub(crate) input_kind: InputKind,
    pub(crate) screen: ScreenHandle,
    /// Whether the screen is a view above a line editor.
    pub(crate) has_view: bool,
    /// Gets a value at the first signal.
    pub(crate) interrupted: Receiver<()>,
    pub(crate) random: u64,
}

/// Opens input and output. The terminal is some if a line editor works on it.
///
/// # Errors
/// The terminal cannot be used, or the system cannot create a thread. `Interrupted`: a signal
/// came first.
pub fn open_io(config: &ClientConfig) -> io::Result<(ClientIo, Option<Terminal>)> {
    let is_typed = stdin().is_terminal() && config.say.is_none();
    let style = args::style_of_stdout(config.colours);
    let zone = time_zone();
    let (interrupts, interrupted) = shutdown::listen()?;
    let mut terminal = None;
    let (input, screen) = if is_typed && !config.json && supports_editor() {
        let options = editor_options(config, style, zone);
        let interrupt = move || shutdown::interrupt(&interrupts);
        let (input, editor) = editor::start(options, &interrupted, interrupt)?;
        shutdown::guard_terminal(editor.clone());
        terminal = Some(editor.clone());
        let draw = move |items| {
            editor.draw(items);
            Ok(())
        };
        (input, ScreenHandle::start(draw)?)
    } else {
        let input = match config.json {
            // Leaves standard input to other programs.
            false if config.say.is_some() => async_channel::bounded(1).1,
            false => stdin::start(config.max_message_bytes)?,
            // JSON may need six bytes for one byte of a message.
            true => stdin::start(config.max_message_bytes * 6 + 1024)?,
        };
        let zone = stdout().is_terminal().then_some(zone);
        let mut printer = Printer::new(style, zone);
        (
            input,
            ScreenHandle::start(move |items| printer.print(items))?,
        )
    };
    let io = ClientIo {
        input,
        input_kind: match is_typed {
            true => InputKind::Terminal,
            false => InputKind::Pipe,
        },
        screen,
        has_view: terminal.is_some(),
        interrupted,
        random: fastrand::u64(..),
    };
    Ok((io, terminal))
}

/// Returns the zone of `TZ`, or of the system. Reports a zone that does not exist.
fn time_zone() -> TimeZone {
    let name = variable("TZ");
    TimeZone::try_system().unwrap_or_else(|_| {
        if !name.is_empty() {
            let zone = quoted(&name);
            // A closed standard error leaves no place to report its failure.
            let _ = writeln!(
                stderr(),
                "smolchat-client: The time zone {zone} of TZ is unknown; times are in UTC"
            );
        }
        TimeZone::UTC
    })
}

/// Returns whether the output is a terminal that can move its cursor.
fn supports_editor() -> bool {
    let term = variable("TERM");
    stdout().is_terminal() && !matches!(term.as_str(), "" | "dumb" | "cons25" | "emacs")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Returns whether the terminal is known to break rows anew when its width changes.
fn reflows() -> bool {
    let term = variable("TERM");
    let is_set = |name: &&str| !variable(name).is_empty();
    let named = ["TMUX", "VTE_VERSION", "KONSOLE_VERSION", "WT_SESSION"];
    let programs = [
        "iTerm.app",
        "Apple_Terminal",
        "WezTerm",
        "ghostty",
        "vscode",
    ];
    let terms = ["xterm-kitty", "xterm-ghostty", "alacritty", "foot"];
    named.iter().any(is_set)
        || programs.contains(&variable("TERM_PROGRAM").as_str())
        || terms.iter().any(|name| term.starts_with(name))
}

fn editor_options(config: &ClientConfig, style: Style, zone: TimeZone) -> EditorOptions {
    EditorOptions {
        view: ViewOptions {
            style,
            widths: Widths::choose(&variable("TERM_PROGRAM"), &variable("TERM")),
            has_links: supports_hyperlinks::on(supports_hyperlinks::Stream::Stdout),
            reflows: reflows(),
            shows_times: config.shows_times,
            rings_bell: config.rings_bell,
            zone,
        },
        // The console of Linux has no answer.
        asks_background: style.background() == Some(Background::Unknown)
            && variable("TERM") != "linux",
        keys: config.keys,
        max_message_bytes: config.max_message_bytes,
        history: config_file::input_history_path(),
    }
}
