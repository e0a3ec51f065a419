//! State that the threads of a terminal share.
//!
//! No lock is held while something is read or written.

use crate::cli::style::Style;
use crate::client::output::item::OutputItem;
use crate::client::terminal::background::BackgroundQuery;
use crate::client::terminal::draw_queue::DrawQueue;
use crate::client::terminal::fold::{DraftRoom, Folds};
use crate::client::terminal::job_control::Tty;
use crate::client::terminal::keys::Paste;
use crate::client::terminal::view::{CLEAR_SCREEN, TerminalView};
use crate::client::terminal::wrap::Widths;
use jiff::Timestamp;
use rustyline::Cmd;
use std::sync::{Mutex, MutexGuard};

/// Prompt in front of the edited line, below the status.
pub(crate) const PROMPT: &str = "> ";

#[derive(Debug)]
pub(crate) struct TerminalState {
    pub(crate) tty: Tty,
    pub(crate) draw_queue: DrawQueue,
    pub(crate) view: Mutex<TerminalView>,
    pub(crate) background: BackgroundQuery,
    pub(crate) widths: Widths,
    /// The edited line as it stands on the screen, and its cursor.
    pub(crate) edited: Mutex<(String, usize)>,
    /// The edited line and its cursor, if the stop key has been pressed.
    pub(crate) stopped: Mutex<Option<(String, usize)>>,
    pub(crate) folds: Mutex<Folds>,
    pub(crate) paste: Mutex<Option<Paste>>,
    /// Longest message to send.
    pub(crate) max_message_bytes: usize,
    /// Entered lines, the newest last.
    pub(crate) entered: Mutex<Vec<String>>,
    /// Line that replaces the edited one, and its cursor.
    pub(crate) replacement: Mutex<(String, usize)>,
}

impl TerminalState {
    pub(crate) fn style(&self) -> Style {
        lock(&self.view).options.style
    }

    /// Returns the command that replaces the edited line with a draft, folded if it needs more
    /// than half of the screen.
    pub(crate) fn replace_draft(&self, draft: &str, cursor: usize) -> Cmd {
        let (columns, rows) = self.tty.size();
        let room = DraftRoom {
            prompt: PROMPT.len(),
            columns,
            rows: (rows / 2).max(1),
            widths: self.widths,
        };
        let (line, cursor) = lock(&self.folds).fold(draft, cursor, room);
        self.replace_line(line, cursor)
    }

    /// Returns the command that replaces the edited line.
    ///
    /// The editor's own replace command does not move the cursor. A completion with one candidate
    /// does, without waiting for another key.
    pub(crate) fn replace_line(&self, line: String, cursor: usize) -> Cmd {
        *lock(&self.replacement) = (line, cursor);
        Cmd::Complete
    }

    /// Queues the drawing of items, after that of everything if the terminal has another size.
    pub(crate) fn draw(&self, items: Vec<OutputItem>) {
        let (columns, rows) = self.tty.size();
        let now = Timestamp::now();
        let mut text = String::new();
        let mut view = lock(&self.view);
        if self.draw_queue.drop_in_background() {
            view.close_group();
        }
        view.resize(columns, rows, &mut text);
        for item in items {
            view.draw(item, now, &mut text);
        }
        // Still under the lock, so that texts are queued in the order of the view's changes.
        self.draw_queue.add(&text);
        self.draw_queue.set_status(view.status());
    }

    /// Returns the text that clears the screen and draws the newest entries, or all that waits if
    /// that is more.
    pub(crate) fn redraw(&self) -> String {
        let (columns, rows) = self.tty.size();
        let mut text = String::new();
        let mut view = lock(&self.view);
        let pending = self.draw_queue.take_pending();
        view.redraw(columns, rows, &mut text);
        let rows = |text: &str| text.matches('\n').count();
        match rows(&pending) > rows(&text) {
            true => format!("{CLEAR_SCREEN}{pending}"),
            false => text,
        }
    }
}

/// Locks a mutex even if a thread panicked while it held the lock: every value here stays valid
/// after each step of its changes.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
