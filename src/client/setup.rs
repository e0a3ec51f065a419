//! Choice of input, output and line editor, by what standard input and output are.

use crate::cli::args;
use crate::cli::style::Style;
use crate::client::config_file;
use crate::client::input::stdin::{self, InputLine};
use crate::client::options::ClientConfig;
use crate::client::output::formatter::OutputFormat;
use crate::client::output::screen::{PlainScreen, Screen, ScreenHandle};
use crate::client::shutdown::{Interrupts, guard_terminal};
use crate::client::terminal::editor::{self, EditorOptions, Terminal};
use crate::client::terminal::view::ViewOptions;
use crate::client::terminal::wrap::Widths;
use async_channel::Receiver;
use jiff::tz::TimeZone;
use std::io::{self, IsTerminal, stdin, stdout};
use std::sync::Arc;

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
    pub(crate) format: OutputFormat,
    /// Gets a value at the first signal.
    pub(crate) interrupted: Receiver<()>,
    /// Random number of this run.
    pub(crate) random: u64,
}

/// Opens input and output. The terminal is some if a line editor works on it.
///
/// # Errors
/// The terminal cannot be used, or the system cannot create a thread.
pub fn open_io(config: &ClientConfig) -> io::Result<(ClientIo, Option<Terminal>)> {
    let is_typed = stdin().is_terminal() && config.say.is_none();
    let style = args::style_of_stdout(config.colours);
    let (interrupts, interrupted) = Interrupts::listen()?;
    let io = |input, screen: Box<dyn Screen>, format| -> io::Result<ClientIo> {
        Ok(ClientIo {
            input,
            input_kind: match is_typed {
                true => InputKind::Terminal,
                false => InputKind::Pipe,
            },
            screen: ScreenHandle::start(screen)?,
            format,
            interrupted,
            random: fastrand::u64(..),
        })
    };
    let plain = Box::new(PlainScreen);
    if config.json {
        // JSON may need six bytes for one byte of a message.
        let input = stdin::start(config.max_message_bytes * 6 + 1024)?;
        return Ok((io(input, plain, OutputFormat::Json)?, None));
    }
    let lines = OutputFormat::Lines(style);
    if config.say.is_some() {
        // Leaves standard input to other programs.
        let no_input = async_channel::bounded(1).1;
        return Ok((io(no_input, plain, lines)?, None));
    }
    if !is_typed || !supports_editor() {
        let input = stdin::start(config.max_message_bytes)?;
        return Ok((io(input, plain, lines)?, None));
    }
    let keys = Arc::clone(&interrupts);
    let editor = editor::start(editor_options(config, style), move || keys.interrupt())?;
    guard_terminal(editor.terminal.clone());
    let io = io(editor.input, Box::new(editor.screen), OutputFormat::Items)?;
    Ok((io, Some(editor.terminal)))
}

/// Returns whether the output is a terminal that can move its cursor.
fn supports_editor() -> bool {
    let term = variable("TERM");
    stdout().is_terminal() && !matches!(term.as_str(), "" | "dumb" | "cons25" | "emacs")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn editor_options(config: &ClientConfig, style: Style) -> EditorOptions {
    EditorOptions {
        view: ViewOptions {
            style,
            widths: Widths::choose(&variable("TERM_PROGRAM"), &variable("TERM")),
            has_links: supports_hyperlinks::on(supports_hyperlinks::Stream::Stdout),
            shows_times: config.shows_times,
            rings_bell: config.rings_bell,
            zone: TimeZone::system(),
        },
        keys: config.keys,
        history: config_file::input_history_path(),
    }
}
