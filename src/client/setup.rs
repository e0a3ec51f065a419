//! The edges of a client: which input, which screen and which editor it has, and its signals.
//!
//! What lives here: [`edges`], which decides that by what standard input and output are. The
//! program calls it. It must never connect.

use crate::cli::args;
use crate::cli::style::Style;
use crate::client::config_file;
use crate::client::input::stdin;
use crate::client::options::ClientConfig;
use crate::client::output::formatter::OutputFormat;
use crate::client::output::screen::{PlainScreen, ScreenHandle};
use crate::client::run::{ClientIo, InputKind};
use crate::client::shutdown::Interrupts;
use crate::client::terminal::editor;
use crate::client::terminal::editor::{EditorOptions, Terminal};
use crate::client::terminal::view::Look;
use crate::client::terminal::wrap::Widths;
use jiff::tz::TimeZone;
use std::io::{self, IsTerminal, stdin, stdout};
use std::sync::Arc;

/// Where the client reads and shows; and the terminal, if a line editor works on it.
///
/// # Errors
/// The terminal cannot be used, or the system gives no thread.
pub fn edges(config: &ClientConfig) -> io::Result<(ClientIo, Option<Terminal>)> {
    let input_kind = if stdin().is_terminal() && config.say.is_none() {
        InputKind::Terminal
    } else {
        InputKind::Pipe
    };
    let style = args::style_of_stdout(config.colours);
    let (interrupts, interrupted) = Interrupts::listen()?;
    let plain = |input, form| -> io::Result<ClientIo> {
        Ok(ClientIo {
            interrupted: interrupted.clone(),
            input,
            input_kind,
            screen: ScreenHandle::start(Box::new(PlainScreen))?,
            form,
            random: fastrand::u64(..),
        })
    };
    if config.json {
        // JSON may escape each byte of a message with six.
        let input = stdin::start(config.max_message_bytes * 6 + 1024)?;
        return Ok((plain(input, OutputFormat::Json)?, None));
    }
    if config.say.is_some() {
        // Whatever stands in standard input is for somebody else.
        return Ok((
            plain(async_channel::bounded(1).1, OutputFormat::Lines(style))?,
            None,
        ));
    }
    if input_kind == InputKind::Pipe || !can_be_edited() {
        let input = stdin::start(config.max_message_bytes)?;
        return Ok((plain(input, OutputFormat::Lines(style))?, None));
    }
    let keys = Arc::clone(&interrupts);
    let editing = editor::start(editor_options(config, style), move || keys.note())?;
    interrupts.guard(editing.terminal.clone());
    let edge = ClientIo {
        interrupted,
        input: editing.input,
        input_kind,
        screen: ScreenHandle::start(Box::new(editing.screen))?,
        form: OutputFormat::Items,
        random: fastrand::u64(..),
    };
    Ok((edge, Some(editing.terminal)))
}

/// Whether a line editor can work: both ends are a terminal that knows how to move its cursor.
fn can_be_edited() -> bool {
    let term = variable("TERM");
    stdout().is_terminal() && !matches!(term.as_str(), "" | "dumb" | "cons25" | "emacs")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn editor_options(config: &ClientConfig, style: Style) -> EditorOptions {
    EditorOptions {
        look: Look {
            style,
            widths: Widths::choose(&variable("TERM_PROGRAM"), &variable("TERM")),
            has_links: supports_hyperlinks::on(supports_hyperlinks::Stream::Stdout),
            shows_times: config.shows_times,
            rings: config.rings,
            zone: TimeZone::system(),
        },
        keys: config.keys,
        history: config_file::input_history_path(),
    }
}
