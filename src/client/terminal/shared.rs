//! What the threads of a terminal share.
//!
//! What lives here: [`TerminalState`], plain state behind locks. The line editor, its keys and its screen
//! use it. No lock of it may be held while something is read or written.

use crate::cli::style::Style;
use crate::client::input::known_names::NameBook;
use crate::client::terminal::draw_queue::DrawQueue;
use crate::client::terminal::view::View;
use crate::client::terminal::wrap::Widths;
use rustyline::Cmd;
use std::io::stdout;
use std::sync::{Mutex, MutexGuard};

/// Size of a terminal that does not tell it.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// What the threads share.
#[derive(Debug)]
pub struct TerminalState {
    /// What waits to be drawn.
    pub gate: DrawQueue,
    /// What stands above the line.
    pub view: Mutex<View>,
    /// Names that can be completed.
    pub names: NameBook,
    /// Colours.
    pub style: Style,
    /// Widths of characters.
    pub widths: Widths,
    /// The line as it stands on the screen.
    pub typed: Mutex<String>,
    /// Lines that were typed, the newest last.
    pub past: Mutex<Vec<String>>,
    /// What takes the line's place, and where the cursor is in it.
    pub replacement: Mutex<(String, usize)>,
    /// Whether the terminal is left as it was.
    pub is_finished: Mutex<bool>,
}

impl TerminalState {
    /// What stands above the line, for as long as it is looked at.
    pub fn view(&self) -> MutexGuard<'_, View> {
        // What a panic left of the view is still bounded, and drawn as it is.
        self.view
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }

    /// The command that puts a line in place of the one that is edited.
    ///
    /// The editor's own replacing leaves the cursor behind; a completion with one candidate does
    /// not, and waits for no further key.
    pub fn replace(&self, line: String, cursor: usize) -> Cmd {
        *lock(&self.replacement) = (line, cursor);
        Cmd::Complete
    }

    /// Draws everything again if the terminal has another size.
    pub fn notice_size(&self) {
        let (columns, rows) = size();
        let mut text = String::new();
        let mut view = self.view();
        view.resize(columns, rows, &mut text);
        self.gate.add(&text);
    }
}

/// Columns and rows of the terminal.
pub fn size() -> (usize, usize) {
    terminal_size::terminal_size_of(stdout()).map_or(USUAL_SIZE, |(width, height)| {
        (usize::from(width.0).max(1), usize::from(height.0).max(1))
    })
}

/// Locks a value.
pub fn lock<Value>(value: &Mutex<Value>) -> MutexGuard<'_, Value> {
    // Nobody panics while holding it; and if, a count or a line is whole.
    value.lock().unwrap_or_else(|broken| broken.into_inner())
}
