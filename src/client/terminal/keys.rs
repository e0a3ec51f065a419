//! Keys with another function than in a shell.
//!
//! The editor draws nothing while a key is handled, so no handler may wait.

use crate::chat::sanitize::quoted;
use crate::client::input::completion::{Completion, complete};
use crate::client::terminal::shared::{TerminalState, lock};
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, Helper, KeyCode,
    KeyEvent, Modifiers, Movement, RepeatCount,
};
use std::sync::{Arc, Mutex};

pub(crate) fn bind<H: Helper>(editor: &mut Editor<H, FileHistory>, shared: &Arc<TerminalState>) {
    let keys = Arc::new(Mutex::new(Keys {
        shared: Arc::clone(shared),
        typed_newlines: 0,
        confirmed: String::new(),
        candidate: None,
        hit: None,
    }));
    let plain = |code| KeyEvent(code, Modifiers::NONE);
    let stop_key = shared.tty.stop_key().unwrap_or('Z');
    let bindings: [(KeyEvent, KeyAction); 8] = [
        (plain(KeyCode::Enter), Keys::enter),
        (KeyEvent::ctrl('J'), Keys::enter),
        (KeyEvent(KeyCode::Enter, Modifiers::ALT), Keys::newline),
        (KeyEvent::ctrl('C'), Keys::interrupt),
        (KeyEvent::ctrl('D'), Keys::leave),
        (KeyEvent::ctrl('R'), Keys::search_history),
        (KeyEvent::ctrl(stop_key), Keys::stop),
        (plain(KeyCode::Tab), Keys::complete_word),
    ];
    for (key, action) in bindings {
        let handler = KeyHandler(Arc::clone(&keys), action);
        editor.bind_sequence(key, EventHandler::Conditional(Box::new(handler)));
    }
}

type KeyAction = fn(&mut Keys, &EventContext<'_>) -> Option<Cmd>;

struct KeyHandler(Arc<Mutex<Keys>>, KeyAction);

impl ConditionalEventHandler for KeyHandler {
    fn handle(
        &self,
        _event: &Event,
        _count: RepeatCount,
        _positive: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        (self.1)(&mut lock(&self.0), context)
    }
}

/// What the keys do, and what earlier ones leave for later ones.
struct Keys {
    shared: Arc<TerminalState>,
    typed_newlines: usize,
    /// Line whose next Enter needs no further confirmation.
    confirmed: String,
    candidate: Option<ShownCandidate>,
    hit: Option<SearchHit>,
}

struct ShownCandidate {
    completion: Completion,
    index: usize,
    /// The line and the cursor that this candidate produced.
    line: String,
    cursor: usize,
}

struct SearchHit {
    pattern: String,
    /// Index in the entered lines.
    index: usize,
    line: String,
}

impl Keys {
    /// Enters the line; asks for confirmation first if it has pasted newlines.
    fn enter(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        let newlines = line.matches('\n').count();
        if newlines > self.typed_newlines && self.confirmed != line {
            line.clone_into(&mut self.confirmed);
            let lines = newlines + 1;
            let question = format!("Enter again sends these {lines} lines, Ctrl-C drops them");
            self.shared.draw_queue.show_prompt_note(Some(question));
            return Some(Cmd::Repaint);
        }
        self.confirmed.clear();
        self.typed_newlines = 0;
        self.shared.draw_queue.stop_editing();
        Some(Cmd::AcceptLine)
    }

    fn newline(&mut self, _: &EventContext<'_>) -> Option<Cmd> {
        self.typed_newlines += 1;
        Some(Cmd::Newline)
    }

    /// Interrupts the chat on an empty line, and drops the line otherwise.
    fn interrupt(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let interrupt = self.on_empty_line(context, Cmd::Interrupt);
        interrupt.or(Some(Cmd::Kill(Movement::WholeBuffer)))
    }

    /// Stops the client, which keeps the line.
    fn stop(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let edited = (context.line().to_owned(), context.pos());
        *lock(&self.shared.stopped) = Some(edited);
        self.shared.draw_queue.stop_editing();
        // Unlike an interruption, this keeps the keys that follow.
        Some(Cmd::AcceptLine)
    }

    /// Leaves on an empty line. Otherwise the key has its usual function: with Emacs keys Ctrl-D
    /// deletes a character.
    fn leave(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        self.on_empty_line(context, Cmd::EndOfFile)
    }

    fn on_empty_line(&self, context: &EventContext<'_>, command: Cmd) -> Option<Cmd> {
        if context.line().is_empty() {
            self.shared.draw_queue.stop_editing();
            return Some(command);
        }
        self.shared.draw_queue.show_prompt_note(None);
        None
    }

    /// Completes the word before the cursor; pressed again, shows the next candidate.
    fn complete_word(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let (line, cursor) = (context.line(), context.pos());
        let (completion, index) = match self.candidate.take() {
            Some(shown) if shown.line == line && shown.cursor == cursor => {
                let next = (shown.index + 1) % shown.completion.candidates.len();
                (shown.completion, next)
            }
            _ => match complete(line, cursor, &lock(&self.shared.view).names) {
                Some(completion) => (completion, 0),
                None => return Some(Cmd::Noop),
            },
        };
        let candidate = &completion.candidates[index];
        let (before, after) = (&line[..completion.start], &line[cursor..]);
        let completed = format!("{before}{candidate}{after}");
        let cursor = completion.start + candidate.len();
        self.candidate = Some(ShownCandidate {
            line: completed.clone(),
            cursor,
            completion,
            index,
        });
        Some(self.shared.replace_line(completed, cursor))
    }

    /// Searches the entered lines for the edited text; pressed again, shows the next older match.
    ///
    /// The editor's own search would hold the output back until its end.
    fn search_history(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        let entered = lock(&self.shared.entered);
        let (pattern, end) = match self.hit.take() {
            Some(hit) if hit.line == line => (hit.pattern, hit.index.min(entered.len())),
            _ => (line.to_owned(), entered.len()),
        };
        let is_match = |&index: &usize| entered[index].contains(&pattern) && entered[index] != line;
        let shown = quoted(&pattern);
        let (note, command) = if pattern.is_empty() {
            let note = "Type a part of an earlier line, then Ctrl-R again and again";
            (note.to_owned(), Cmd::Repaint)
        } else if let Some(index) = (0..end).rev().find(is_match) {
            let line = entered[index].clone();
            let note = format!("Lines with {shown}: Ctrl-R for an older one");
            let command = self.shared.replace_line(line.clone(), line.len());
            self.hit = Some(SearchHit {
                pattern,
                index,
                line,
            });
            (note, command)
        } else {
            (format!("No earlier line with {shown}"), Cmd::Repaint)
        };
        self.shared.draw_queue.show_prompt_note(Some(note));
        Some(command)
    }
}
