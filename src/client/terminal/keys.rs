//! The keys of a terminal that do something else than in a shell.
//!
//! What lives here: [`bind`], and one type for each such key. The line editor uses it. A key must
//! never wait for anything: the editor draws nothing meanwhile.

use crate::chat::sanitize::quoted;
use crate::client::input::completion::{Completion, complete};
use crate::client::terminal::shared::{TerminalState, lock};
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, Helper, KeyCode,
    KeyEvent, Modifiers, Movement, RepeatCount,
};
use std::sync::{Arc, Mutex};

/// Binds the keys that do something else than in a shell.
pub fn bind<Helping: Helper>(
    editor: &mut Editor<Helping, FileHistory>,
    shared: &Arc<TerminalState>,
) {
    let breaks = Arc::new(Mutex::new(0));
    for key in [plain(KeyCode::Enter), KeyEvent::ctrl('J')] {
        let enter = Enter {
            shared: Arc::clone(shared),
            breaks: Arc::clone(&breaks),
            asked: Mutex::default(),
        };
        editor.bind_sequence(key, on_press(move |context| enter.press(context)));
    }
    let newline = Newline(breaks);
    let key = KeyEvent(KeyCode::Enter, Modifiers::ALT);
    editor.bind_sequence(key, on_press(move |_| newline.press()));
    for (letter, end) in [('C', Cmd::Interrupt), ('D', Cmd::EndOfFile)] {
        let leave = Leave(Arc::clone(shared), end);
        let handler = on_press(move |context| leave.press(context));
        editor.bind_sequence(KeyEvent::ctrl(letter), handler);
    }
    let search = Search {
        shared: Arc::clone(shared),
        last: Mutex::default(),
    };
    let handler = on_press(move |context| search.press(context));
    editor.bind_sequence(KeyEvent::ctrl('R'), handler);
    let tab = Tab {
        shared: Arc::clone(shared),
        cycle: Mutex::default(),
    };
    let handler = on_press(move |context| tab.press(context));
    editor.bind_sequence(plain(KeyCode::Tab), handler);
}

fn plain(code: KeyCode) -> KeyEvent {
    KeyEvent(code, Modifiers::NONE)
}

/// What the editor asks when a key is pressed.
struct Press<Action>(Action);

fn on_press<Action>(action: Action) -> EventHandler
where
    Action: Fn(&EventContext<'_>) -> Option<Cmd> + Send + Sync + 'static,
{
    EventHandler::Conditional(Box::new(Press(action)))
}

impl<Action> ConditionalEventHandler for Press<Action>
where
    Action: Fn(&EventContext<'_>) -> Option<Cmd> + Send + Sync,
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

/// Sends the line; if newlines were pasted, only when that was asked.
struct Enter {
    shared: Arc<TerminalState>,
    /// Newlines that were typed.
    breaks: Arc<Mutex<usize>>,
    /// The line about which was asked.
    asked: Mutex<String>,
}

impl Enter {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        let newlines = line.matches('\n').count();
        let mut asked = lock(&self.asked);
        let mut breaks = lock(&self.breaks);
        if newlines > *breaks && *asked != line {
            line.clone_into(&mut asked);
            let question = format!(
                "Enter again sends these {} lines, Ctrl-C drops them",
                newlines + 1
            );
            self.shared.gate.ask(Some(question));
            return Some(Cmd::Repaint);
        }
        asked.clear();
        *breaks = 0;
        self.shared.gate.stop();
        Some(Cmd::AcceptLine)
    }
}

/// Begins another row of the line.
struct Newline(Arc<Mutex<usize>>);

impl Newline {
    fn press(&self) -> Option<Cmd> {
        *lock(&self.0) += 1;
        Some(Cmd::Newline)
    }
}

/// Leaves on an empty line, in this way.
struct Leave(Arc<TerminalState>, Cmd);

impl Leave {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        if context.line().is_empty() {
            self.0.gate.stop();
            return Some(self.1.clone());
        }
        self.0.gate.ask(None);
        match self.1 {
            Cmd::Interrupt => Some(Cmd::Kill(Movement::WholeBuffer)),
            // Deletes a character, where the keys are those of Emacs.
            _ => None,
        }
    }
}

/// Completes what stands before the cursor; again and again the next that may stand there.
struct Tab {
    shared: Arc<TerminalState>,
    cycle: Mutex<Option<Cycle>>,
}

struct Cycle {
    found: Completion,
    shown: usize,
    /// The line and the cursor that it left.
    line: String,
    cursor: usize,
}

impl Tab {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        let (line, cursor) = (context.line(), context.pos());
        let mut cycle = lock(&self.cycle);
        let goes_on = cycle
            .as_ref()
            .is_some_and(|cycle| cycle.line == line && cycle.cursor == cursor);
        let (found, shown) = match cycle.take() {
            Some(last) if goes_on => {
                let next = (last.shown + 1) % last.found.candidates.len();
                (last.found, next)
            }
            _ => match complete(line, cursor, &self.shared.names) {
                Some(found) => (found, 0),
                None => return Some(Cmd::Noop),
            },
        };
        let candidate = found.candidates[shown].clone();
        let completed = format!("{}{candidate}{}", &line[..found.start], &line[cursor..]);
        let cursor = found.start + candidate.len();
        *cycle = Some(Cycle {
            line: completed.clone(),
            cursor,
            found,
            shown,
        });
        Some(self.shared.replace(completed, cursor))
    }
}

/// Searches the lines that were typed for what stands before the cursor; again and again the next
/// older one. The editor's own search would hold back what is to be drawn until it is over.
struct Search {
    shared: Arc<TerminalState>,
    last: Mutex<Option<Found>>,
}

/// What a search has found.
struct Found {
    wanted: String,
    /// Where in the past.
    at: usize,
    line: String,
}

impl Search {
    fn press(&self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        let past = lock(&self.shared.past);
        let mut last = lock(&self.last);
        let (wanted, before) = match last.take() {
            Some(found) if found.line == line => (found.wanted, found.at.min(past.len())),
            _ => (line.to_owned(), past.len()),
        };
        if wanted.is_empty() {
            let advice = "Type a part of an earlier line, then Ctrl-R again and again";
            self.shared.gate.ask(Some(advice.to_owned()));
            return Some(Cmd::Repaint);
        }
        let matches = |at: &usize| past[*at].contains(&wanted) && past[*at] != line;
        match (0..before).rev().find(matches) {
            Some(at) => {
                let line = past[at].clone();
                let position = format!("Lines with {}: Ctrl-R for an older one", quoted(&wanted));
                self.shared.gate.ask(Some(position));
                *last = Some(Found {
                    wanted,
                    at,
                    line: line.clone(),
                });
                let cursor = line.len();
                Some(self.shared.replace(line, cursor))
            }
            None => {
                let sentence = format!("No earlier line with {}", quoted(&wanted));
                self.shared.gate.ask(Some(sentence));
                Some(Cmd::Repaint)
            }
        }
    }
}
