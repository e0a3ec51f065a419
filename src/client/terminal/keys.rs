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
    let typed_newlines = Arc::new(Mutex::new(0));
    for key in [plain(KeyCode::Enter), KeyEvent::ctrl('J')] {
        let enter = EnterKey {
            shared: Arc::clone(shared),
            typed_newlines: Arc::clone(&typed_newlines),
            confirmed: Mutex::default(),
        };
        editor.bind_sequence(key, handler(move |context| enter.press(context)));
    }
    let newline = move |_: &EventContext<'_>| {
        *lock(&typed_newlines) += 1;
        Some(Cmd::Newline)
    };
    let key = KeyEvent(KeyCode::Enter, Modifiers::ALT);
    editor.bind_sequence(key, handler(newline));
    for (letter, command) in [('C', Cmd::Interrupt), ('D', Cmd::EndOfFile)] {
        let leave = LeaveKey(Arc::clone(shared), command);
        let key = KeyEvent::ctrl(letter);
        editor.bind_sequence(key, handler(move |context| leave.press(context)));
    }
    let search = HistorySearch {
        shared: Arc::clone(shared),
        last: Mutex::default(),
    };
    let key = KeyEvent::ctrl('R');
    editor.bind_sequence(key, handler(move |context| search.press(context)));
    let tab = TabKey {
        shared: Arc::clone(shared),
        last: Mutex::default(),
    };
    let key = plain(KeyCode::Tab);
    editor.bind_sequence(key, handler(move |context| tab.press(context)));
}

fn plain(code: KeyCode) -> KeyEvent {
    KeyEvent(code, Modifiers::NONE)
}

struct KeyHandler<F>(F);

fn handler<F>(action: F) -> EventHandler
where
    F: Fn(&EventContext<'_>) -> Option<Cmd> + Send + Sync + 'static,
{
    EventHandler::Conditional(Box::new(KeyHandler(action)))
}

impl<F> ConditionalEventHandler for KeyHandler<F>
where
    F: Fn(&EventContext<'_>) -> Option<Cmd> + Send + Sync,
{
    fn handle(
        &self,
        _event: &Event,
        _count: RepeatCount,
        _positive: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        (self.0)(context)
    }
}

/// Enters the line; asks for confirmation first if it has pasted newlines.
struct EnterKey {
    shared: Arc<TerminalState>,
    typed_newlines: Arc<Mutex<usize>>,
    /// Line whose next Enter needs no further confirmation.
    confirmed: Mutex<String>,
}

impl EnterKey {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        let newlines = line.matches('\n').count();
        let mut confirmed = lock(&self.confirmed);
        let mut typed_newlines = lock(&self.typed_newlines);
        if newlines > *typed_newlines && *confirmed != line {
            line.clone_into(&mut confirmed);
            let question = format!(
                "Enter again sends these {} lines, Ctrl-C drops them",
                newlines + 1
            );
            self.shared.draw_queue.show_prompt_note(Some(question));
            return Some(Cmd::Repaint);
        }
        confirmed.clear();
        *typed_newlines = 0;
        self.shared.draw_queue.stop_editing();
        Some(Cmd::AcceptLine)
    }
}

/// Runs its command on an empty line; Ctrl-C drops the line otherwise.
struct LeaveKey(Arc<TerminalState>, Cmd);

impl LeaveKey {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        if context.line().is_empty() {
            self.0.draw_queue.stop_editing();
            return Some(self.1.clone());
        }
        self.0.draw_queue.show_prompt_note(None);
        match self.1 {
            Cmd::Interrupt => Some(Cmd::Kill(Movement::WholeBuffer)),
            // The default: with Emacs keys Ctrl-D deletes a character.
            _ => None,
        }
    }
}

/// Completes the word before the cursor; pressed again, shows the next candidate.
struct TabKey {
    shared: Arc<TerminalState>,
    last: Mutex<Option<ShownCandidate>>,
}

struct ShownCandidate {
    completion: Completion,
    index: usize,
    /// The line and the cursor that this candidate produced.
    line: String,
    cursor: usize,
}

impl TabKey {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        let (line, cursor) = (context.line(), context.pos());
        let mut last = lock(&self.last);
        let (completion, index) = match last.take() {
            Some(shown) if shown.line == line && shown.cursor == cursor => {
                let next = (shown.index + 1) % shown.completion.candidates.len();
                (shown.completion, next)
            }
            _ => match complete(line, cursor, &self.shared.names) {
                Some(completion) => (completion, 0),
                None => return Some(Cmd::Noop),
            },
        };
        let candidate = &completion.candidates[index];
        let (before, after) = (&line[..completion.start], &line[cursor..]);
        let completed = format!("{before}{candidate}{after}");
        let cursor = completion.start + candidate.len();
        *last = Some(ShownCandidate {
            line: completed.clone(),
            cursor,
            completion,
            index,
        });
        Some(self.shared.replace_line(completed, cursor))
    }
}

/// Searches the entered lines for the edited text; pressed again, shows the next older match.
///
/// The editor's own search would hold the output back until its end.
struct HistorySearch {
    shared: Arc<TerminalState>,
    last: Mutex<Option<SearchHit>>,
}

struct SearchHit {
    pattern: String,
    /// Index in the entered lines.
    index: usize,
    line: String,
}

impl HistorySearch {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        let entered = lock(&self.shared.entered);
        let mut last = lock(&self.last);
        let (pattern, end) = match last.take() {
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
            *last = Some(SearchHit {
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
