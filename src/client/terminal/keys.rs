//! Keys with another function than in a shell.
//!
//! The editor draws nothing while a key is handled, so no handler may wait.

use crate::chat::sanitize::quoted;
use crate::client::input::commands::is_too_long;
use crate::client::input::completion::{Completion, complete};
use crate::client::output::item::OutputItem;
use crate::client::terminal::background::AnswerKey;
use crate::client::terminal::fold::{mark_at, without_marks};
use crate::client::terminal::shared::{TerminalState, lock};
use rustyline::history::FileHistory;
use rustyline::{
    Cmd, ConditionalEventHandler, Editor, Event, EventContext, EventHandler, Helper, InputMode,
    KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
};
use std::sync::{Arc, Mutex};

pub(crate) fn bind<H: Helper>(editor: &mut Editor<H, FileHistory>, shared: &Arc<TerminalState>) {
    let keys = Arc::new(Mutex::new(Keys {
        shared: Arc::clone(shared),
        typed_newlines: 0,
        confirmed: String::new(),
        candidate: None,
        hit: None,
        walk: None,
    }));
    let plain = |code| KeyEvent(code, Modifiers::NONE);
    let (stop_key, stop): (char, KeyAction) = match shared.tty.stop_key() {
        Some(key) => (key, Keys::stop),
        None => ('Z', Keys::no_effect),
    };
    let bindings: [(Event, KeyAction); 17] = [
        (plain(KeyCode::Enter).into(), Keys::enter),
        (KeyEvent::ctrl('J').into(), Keys::enter),
        (
            KeyEvent(KeyCode::Enter, Modifiers::ALT).into(),
            Keys::newline,
        ),
        (KeyEvent::ctrl('C').into(), Keys::interrupt),
        (KeyEvent::ctrl('D').into(), Keys::leave),
        (KeyEvent::ctrl('R').into(), Keys::search_history),
        (plain(KeyCode::Up).into(), Keys::up),
        (plain(KeyCode::Down).into(), Keys::down),
        (KeyEvent::ctrl('P').into(), Keys::older),
        (KeyEvent::ctrl('N').into(), Keys::newer),
        // The editor would stop without giving the terminal back.
        (KeyEvent::ctrl('Z').into(), Keys::no_effect),
        (KeyEvent::ctrl(stop_key).into(), stop),
        (plain(KeyCode::Tab).into(), Keys::complete_word),
        (plain(KeyCode::Backspace).into(), Keys::erase_mark),
        (KeyEvent::ctrl('H').into(), Keys::erase_mark),
        (
            plain(KeyCode::BracketedPasteStart).into(),
            Keys::begin_paste,
        ),
        (Event::Any, Keys::other_key),
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
        event: &Event,
        _count: RepeatCount,
        _positive: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let mut keys = lock(&self.0);
        if let Some(key) = event.get(0) {
            let shared = &keys.shared;
            match shared.background.take(*key) {
                AnswerKey::None => {}
                AnswerKey::Part | AnswerKey::Last(None) => return Some(Cmd::Noop),
                AnswerKey::Last(Some(background)) => {
                    let style = shared.style().on(background);
                    lock(&shared.view).options.style = style;
                    return Some(Cmd::Repaint);
                }
            }
        }
        let paste = lock(&keys.shared.paste).take();
        if let Some(paste) = paste {
            return Some(keys.continue_paste(paste, event, context));
        }
        // A note lasts until the next key.
        keys.shared.draw_queue.show_prompt_note(None);
        let typed = keys.type_behind_mark(event, context);
        typed.or_else(|| (self.1)(&mut keys, context))
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
    walk: Option<HistoryWalk>,
}

/// An unfinished paste.
#[derive(Debug, Default)]
pub(crate) struct Paste {
    /// At most one byte longer than any message that can be sent.
    text: String,
    bytes: usize,
    ends_with_return: bool,
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

/// A walk through the entered lines.
struct HistoryWalk {
    /// Index in the entered lines; their number for the draft.
    index: usize,
    /// The draft of the beginning.
    draft: String,
    /// The line that this entry produced.
    line: String,
}

impl Keys {
    /// Enters the line; asks for confirmation first if it has pasted newlines.
    fn enter(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        let newlines = lock(&self.shared.folds).expand(line).matches('\n').count();
        if newlines > self.typed_newlines && self.confirmed != line {
            line.clone_into(&mut self.confirmed);
            let columns = self.shared.tty.size().0.saturating_sub(1);
            let question = question(newlines + 1, columns);
            self.shared.draw_queue.show_prompt_note(Some(question));
            return Some(Cmd::Repaint);
        }
        self.confirmed.clear();
        self.typed_newlines = 0;
        self.shared.draw_queue.stop_editing();
        Some(Cmd::AcceptLine)
    }

    fn newline(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        self.typed_newlines += 1;
        Some(self.insert("\n", context))
    }

    /// Inserts a text into the draft, which is folded if it gets too high.
    fn insert(&self, text: &str, context: &EventContext<'_>) -> Cmd {
        let (before, behind) = lock(&self.shared.folds).expand_at(context.line(), context.pos());
        let draft = format!("{before}{text}{behind}");
        self.shared.replace_draft(&draft, before.len() + text.len())
    }

    /// Ends the confirmation of a paste; the key has its usual function.
    fn other_key(&mut self, _: &EventContext<'_>) -> Option<Cmd> {
        self.confirmed.clear();
        None
    }

    /// Inserts a character that is typed inside a mark behind the mark.
    fn type_behind_mark(&mut self, event: &Event, context: &EventContext<'_>) -> Option<Cmd> {
        let Some(&KeyEvent(KeyCode::Char(character), Modifiers::NONE)) = event.get(0) else {
            return None;
        };
        let mark = mark_at(context.line(), context.pos())?;
        let is_inside = mark.end > context.pos() && context.input_mode() == InputMode::Insert;
        is_inside.then(|| {
            self.confirmed.clear();
            let (before, behind) = context.line().split_at(mark.end);
            let line = format!("{before}{character}{behind}");
            self.shared
                .replace_line(line, mark.end + character.len_utf8())
        })
    }

    /// Erases the mark at the cursor with all that it stands for.
    fn erase_mark(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        self.confirmed.clear();
        let mark = mark_at(context.line(), context.pos())?;
        let mut line = context.line().to_owned();
        line.replace_range(mark.clone(), "");
        Some(self.shared.replace_line(line, mark.start))
    }

    fn begin_paste(&mut self, _: &EventContext<'_>) -> Option<Cmd> {
        self.confirmed.clear();
        *lock(&self.shared.paste) = Some(Paste::default());
        Some(Cmd::Noop)
    }

    /// Collects a key of a paste. At its end, inserts the text or says that it is too long.
    fn continue_paste(
        &mut self,
        mut paste: Paste,
        event: &Event,
        context: &EventContext<'_>,
    ) -> Cmd {
        let limit = self.shared.max_message_bytes;
        let key = event.get(0).map(|key| (key.0, key.1));
        let was_return = std::mem::take(&mut paste.ends_with_return);
        let character = match key {
            Some((KeyCode::BracketedPasteEnd, _)) => {
                return self.end_paste(&paste, context);
            }
            // Drops a paste whose end does not come.
            Some((KeyCode::Char('C'), Modifiers::CTRL)) => return Cmd::Noop,
            Some((KeyCode::Enter, _)) => {
                paste.ends_with_return = true;
                Some('\n')
            }
            Some((KeyCode::Char('J'), Modifiers::CTRL)) => (!was_return).then_some('\n'),
            Some((KeyCode::Tab, _)) => Some('\t'),
            Some((KeyCode::Char(character), Modifiers::NONE)) => Some(character),
            _ => None,
        };
        if let Some(character) = character {
            paste.bytes += character.len_utf8();
            if paste.text.len() <= limit {
                paste.text.push(character);
            }
        }
        *lock(&self.shared.paste) = Some(paste);
        Cmd::Noop
    }

    fn end_paste(&self, paste: &Paste, context: &EventContext<'_>) -> Cmd {
        let limit = self.shared.max_message_bytes;
        let text = without_marks(&paste.text);
        let draft = lock(&self.shared.folds).expand(context.line());
        if text.len() > limit || is_too_long(&format!("{draft}{text}"), limit) {
            let sentence = format!(
                "The paste of {} bytes was not inserted: a message has at most {limit} bytes",
                paste.bytes
            );
            self.shared.draw(vec![OutputItem::Notice(sentence)]);
            return Cmd::Noop;
        }
        self.insert(&text, context)
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

    fn no_effect(&mut self, _: &EventContext<'_>) -> Option<Cmd> {
        Some(Cmd::Noop)
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
        if completion.candidates.len() > 1 {
            // The shown candidate comes first, and the next one behind it.
            let (before, from) = completion.candidates.split_at(index);
            let names: Vec<&str> = from.iter().chain(before).map(|name| name.trim()).collect();
            self.shared
                .draw_queue
                .show_prompt_note(Some(names.join(" · ")));
        }
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

    /// Shows the previous entered line, unless the cursor can go up in this one.
    fn up(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let before = &context.line()[..context.pos()];
        (!before.contains('\n')).then(|| self.walk(true, context))
    }

    fn down(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        let behind = &context.line()[context.pos()..];
        (!behind.contains('\n')).then(|| self.walk(false, context))
    }

    fn older(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        Some(self.walk(true, context))
    }

    fn newer(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        Some(self.walk(false, context))
    }

    fn walk(&mut self, is_back: bool, context: &EventContext<'_>) -> Cmd {
        self.confirmed.clear();
        let line = context.line();
        let entered = lock(&self.shared.entered);
        let walk = self.walk.take().filter(|walk| walk.line == line);
        let mut walk = walk.unwrap_or_else(|| HistoryWalk {
            index: entered.len(),
            draft: lock(&self.shared.folds).expand(line),
            line: String::new(),
        });
        let next = match is_back {
            true => walk.index.checked_sub(1),
            false => Some(walk.index + 1).filter(|index| *index <= entered.len()),
        };
        let Some(next) = next else {
            walk.line = line.to_owned();
            self.walk = Some(walk);
            return Cmd::Noop;
        };
        walk.index = next;
        let draft = entered.get(next).unwrap_or(&walk.draft);
        let command = self.shared.replace_draft(draft, draft.len());
        walk.line = lock(&self.shared.replacement).0.clone();
        self.walk = Some(walk);
        command
    }

    /// Searches the entered lines for the edited text; pressed again, shows the next older match.
    ///
    /// The editor's own search would hold the output back until its end.
    fn search_history(&mut self, context: &EventContext<'_>) -> Option<Cmd> {
        self.confirmed.clear();
        let line = context.line();
        let entered = lock(&self.shared.entered);
        let (pattern, end) = match self.hit.take() {
            Some(hit) if hit.line == line => (hit.pattern, hit.index.min(entered.len())),
            _ => (line.to_owned(), entered.len()),
        };
        let draft = lock(&self.shared.folds).expand(line);
        let is_match =
            |&index: &usize| entered[index].contains(&pattern) && entered[index] != draft;
        let shown = quoted(&pattern);
        let (note, command) = if pattern.is_empty() {
            let note = "Type a part of an earlier line, then Ctrl-R again and again";
            (note.to_owned(), Cmd::Repaint)
        } else if let Some(index) = (0..end).rev().find(is_match) {
            let note = format!("Lines with {shown}: Ctrl-R for an older one");
            let entry = &entered[index];
            let command = self.shared.replace_draft(entry, entry.len());
            let line = lock(&self.shared.replacement).0.clone();
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

/// Returns the longest form of the question before pasted lines are sent that fits.
fn question(lines: usize, columns: usize) -> String {
    let forms = [
        format!("Enter again sends these {lines} lines, Ctrl-C drops them"),
        format!("Enter again sends {lines} lines, Ctrl-C drops them"),
        format!("Enter: send {lines} lines, Ctrl-C: drop"),
        format!("Enter: send {lines}, ^C: drop"),
    ];
    let fitting = forms.iter().find(|form| form.chars().count() <= columns);
    fitting.unwrap_or(&forms[3]).clone()
}
