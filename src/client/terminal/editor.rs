//! The line editor of a terminal, and the chat that is drawn above it.
//!
//! What lives here: [`start`], which gives what is typed line by line, the [`Screen`] above the
//! line, and [`Terminal`], by which the terminal is left as it was. The program calls it. The
//! editing itself is rustyline's, in a thread of its own: it reads keys and draws its line, and
//! takes what is to be drawn above from a thread that waits until it can. It must never lose a
//! half-typed line, and never leave a terminal in raw mode.

use crate::chat::sanitize::{for_terminal, is_blank};
use crate::cli::style::RESET;
use crate::client::config_file::Keys;
use crate::client::input::known_names::NameBook;
use crate::client::input::stdin::InputLine;
use crate::client::limits::{INPUT_HISTORY, INPUT_LINES};
use crate::client::output::screen::Screen;
use crate::client::terminal::draw_queue::DrawQueue;
use crate::client::terminal::keys;
use crate::client::terminal::shared::{TerminalState, lock, size};
use crate::client::terminal::view::{Look, View, ViewItem};
use crate::client::terminal::wrap::{Widths, rows_of_input};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use rustyline::completion::Completer;
use rustyline::config::{BellStyle, ColorMode, EditMode};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::line_buffer::LineBuffer;
use rustyline::validate::Validator;
use rustyline::{
    Changeset, CompletionType, Config, Editor, ExternalPrinter, GraphemeClusterMode, Helper, Prompt,
};
use signal_hook::consts::SIGINT;
use std::borrow::Cow;
use std::io::{self, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What stands before the typed line, below the status.
const PROMPT: &str = "> ";
/// The same for the editor, which counts its columns: the status itself may have any.
const ROWS_OF_PROMPT: &str = "\n> ";

/// What stands first, so that one who comes anew finds in.
const GREETING: &str = "Type a line to say it; /help explains more";

/// Time for the last text to be drawn, and for the editor to end.
const LAST_DRAWING: Duration = Duration::from_millis(300);
/// Time between two attempts to end the editor.
const ENDING: Duration = Duration::from_millis(20);
const ENDING_ATTEMPTS: usize = 50;

/// Turns bracketed paste off, and the cursor on.
const USUAL_MODES: &str = "\u{1b}[?2004l\u{1b}[?25h";

/// What a line editor is to be like.
#[derive(Debug)]
pub struct EditorOptions {
    /// How things look.
    pub look: Look,
    /// Which keys edit a line.
    pub keys: Keys,
    /// Where the history of inputs is kept.
    pub history: Option<PathBuf>,
}

/// A line editor at work.
#[derive(Debug)]
pub struct Editing {
    /// What is typed; closed at its end.
    pub input: Receiver<InputLine>,
    /// What shows things above it.
    pub screen: TerminalScreen,
    /// By which the terminal is left as it was.
    pub terminal: Terminal,
}

/// Starts a line editor on standard input and output, which are a terminal. An interruption at
/// the keyboard calls the function.
///
/// # Errors
/// The terminal cannot be used, or the system gives no thread.
pub fn start(options: EditorOptions, interrupt: impl Fn() + Send + 'static) -> io::Result<Editing> {
    let original = tcgetattr(stdin())?;
    tcsetattr(stdin(), OptionalActions::Now, &keys_as_they_are(&original))?;
    let (columns, rows) = size();
    let names = NameBook::default();
    let (style, widths) = (options.look.style, options.look.widths);
    let now = Timestamp::now();
    let mut view = View::new(options.look, names.clone(), columns, rows, now);
    let mut greeting = String::new();
    view.draw(ViewItem::Told(GREETING.to_owned()), now, &mut greeting);
    // Before the first prompt, which thereby never stands in the first row: a new status could
    // not be drawn there in place.
    stdout().write_all(greeting.as_bytes())?;
    let shared = Arc::new(TerminalState {
        gate: DrawQueue::default(),
        view: Mutex::new(view),
        names,
        style,
        widths,
        typed: Mutex::default(),
        past: Mutex::default(),
        replacement: Mutex::default(),
        is_finished: Mutex::default(),
    });
    let mut editor = editor(&shared, options.keys).map_err(io::Error::other)?;
    let printer = editor.create_external_printer().map_err(io::Error::other)?;
    let (sender, input) = async_channel::bounded(INPUT_LINES);
    let printing = Arc::clone(&shared);
    thread::Builder::new()
        .name("printer".to_owned())
        .spawn(move || print_all(&printing.gate, printer))?;
    let terminal = Terminal {
        shared: Arc::clone(&shared),
        original,
    };
    let screen = TerminalScreen {
        terminal: terminal.clone(),
        link: String::new(),
    };
    thread::Builder::new()
        .name("editor".to_owned())
        .spawn(move || {
            let history = History::open(options.history, &mut editor, &shared);
            edit_lines(&mut editor, &history, &shared, &sender, &interrupt);
            shared.gate.set_over();
        })?;
    Ok(Editing {
        input,
        screen,
        terminal,
    })
}

/// The state of a terminal that gives keys as they are pressed: also between two lines, when the
/// editor leaves it as it found it, no key may do anything or be shown.
fn keys_as_they_are(original: &Termios) -> Termios {
    let mut state = original.clone();
    let local = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
    state.local_modes.remove(local);
    state
        .input_modes
        .remove(InputModes::ICRNL | InputModes::IXON);
    state.special_codes[SpecialCodeIndex::VMIN] = 1;
    state.special_codes[SpecialCodeIndex::VTIME] = 0;
    state
}

fn editor(
    shared: &Arc<TerminalState>,
    keys: Keys,
) -> rustyline::Result<Editor<LineHelper, FileHistory>> {
    let config = Config::builder()
        .max_history_size(INPUT_HISTORY)?
        .history_ignore_dups(true)?
        .edit_mode(match keys {
            Keys::Emacs => EditMode::Emacs,
            Keys::Vi => EditMode::Vi,
        })
        .bell_style(BellStyle::None)
        .completion_type(CompletionType::List)
        // The status is drawn by the highlighter, whatever its colours.
        .color_mode(ColorMode::Forced)
        .grapheme_cluster_mode(match shared.widths {
            Widths::Clusters => GraphemeClusterMode::Unicode,
            Widths::Characters => GraphemeClusterMode::WcWidth,
        })
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(LineHelper(Arc::clone(shared))));
    keys::bind(&mut editor, shared);
    Ok(editor)
}

// Threads

/// Hands texts to the editor, which draws them above its line.
fn print_all(gate: &DrawQueue, mut printer: impl ExternalPrinter) {
    while let Some(text) = gate.next_text() {
        if let Err(error) = printer.print(text) {
            gate.add(&format!("The line editor cannot draw: {error}\n"));
            return;
        }
        gate.handed_over();
    }
}

/// Edits one line after the other until the end.
fn edit_lines(
    editor: &mut Editor<LineHelper, FileHistory>,
    history: &History,
    shared: &Arc<TerminalState>,
    input: &Sender<InputLine>,
    interrupt: &dyn Fn(),
) {
    let prompt = LinePrompt(Arc::clone(shared));
    let mut number = 0;
    while !shared.gate.is_ending() {
        shared.gate.arm();
        let line = editor.readline(&prompt);
        shared.gate.stop();
        match line {
            Ok(line) => {
                erase(&line, shared.widths);
                if is_blank(&line) {
                    continue;
                }
                history.add(&line, editor, shared);
                number += 1;
                let text = Ok(line);
                // It fails when the client leaves: then nothing more is wanted.
                let _ = input.send_blocking(InputLine { number, text });
            }
            Err(ReadlineError::Eof) => {
                erase("", shared.widths);
                input.close();
            }
            Err(ReadlineError::Interrupted) => {
                // The key interrupts on an empty line only; a signal comes at any time.
                let typed = lock(&shared.typed).clone();
                erase(&typed, shared.widths);
                if !shared.gate.is_ending() {
                    interrupt();
                } else if !is_blank(&typed) {
                    // What was not sent stays to be read.
                    shared.gate.add(&format!("{PROMPT}{typed}\n"));
                }
            }
            Err(error) => {
                let sentence = format!("Cannot read the terminal: {error}\n");
                shared.gate.add(&sentence);
                input.close();
                return;
            }
        }
    }
}

/// Erases the status, the prompt and this line, below which the cursor stands.
fn erase(line: &str, widths: Widths) {
    let (columns, _) = size();
    let rows = 1 + rows_of_input(line, PROMPT.len(), columns, widths);
    let mut output = stdout().lock();
    // Where the terminal is gone, its next use tells.
    let _ = write!(output, "\u{1b}[{rows}A\r\u{1b}[J").and_then(|()| output.flush());
}

/// The history of inputs, and where it is kept.
#[derive(Debug)]
struct History(Option<PathBuf>);

impl History {
    fn open(
        path: Option<PathBuf>,
        editor: &mut Editor<LineHelper, FileHistory>,
        shared: &TerminalState,
    ) -> Self {
        let Some(path) = path else {
            return History(None);
        };
        if !path.exists() {
            return History(Some(path));
        }
        match editor.load_history(&path) {
            Ok(()) => {
                lock(&shared.past).extend(editor.history().iter().cloned());
                History(Some(path))
            }
            Err(error) => {
                complain("read", &path, &error, shared);
                History(None)
            }
        }
    }

    fn add(
        &self,
        line: &str,
        editor: &mut Editor<LineHelper, FileHistory>,
        shared: &TerminalState,
    ) {
        let is_new = editor.add_history_entry(line).unwrap_or(false);
        if is_new {
            let mut past = lock(&shared.past);
            if past.len() >= INPUT_HISTORY {
                past.remove(0);
            }
            past.push(line.to_owned());
        }
        let Some(path) = self.0.as_ref().filter(|_| is_new) else {
            return;
        };
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let result = folder
            .map_err(ReadlineError::Io)
            .and_then(|()| editor.append_history(path));
        if let Err(error) = result {
            complain("keep", path, &error, shared);
        }
    }
}

fn complain(verb: &str, path: &Path, error: &ReadlineError, shared: &TerminalState) {
    let path = path.to_string_lossy();
    let sentence = format!("Cannot {verb} the history of inputs in {path}: {error}");
    let mut text = String::new();
    let mut view = shared.view();
    view.draw(ViewItem::Told(sentence), Timestamp::now(), &mut text);
    shared.gate.add(&text);
}

// The screen

/// What stands above the line that is edited.
#[derive(Debug)]
pub struct TerminalScreen {
    terminal: Terminal,
    /// The state of the link.
    link: String,
}

impl TerminalScreen {
    fn shared(&self) -> &TerminalState {
        &self.terminal.shared
    }

    fn refresh_status(&self) {
        let unseen = match self.shared().view().unseen() {
            0 => String::new(),
            1 => " · 1 mention".to_owned(),
            count => format!(" · {count} mentions"),
        };
        self.shared()
            .gate
            .set_status(format!("{}{unseen}", self.link));
    }
}

impl Screen for TerminalScreen {
    fn show(&mut self, lines: &str) -> io::Result<()> {
        self.shared().gate.add(lines);
        Ok(())
    }

    fn tell(&mut self, text: &str) {
        self.draw(vec![ViewItem::Told(text.to_owned())]);
    }

    fn draw(&mut self, items: Vec<ViewItem>) {
        let shared = self.shared();
        shared.notice_size();
        let now = Timestamp::now();
        let mut text = String::new();
        let mut view = shared.view();
        for item in items {
            view.draw(item, now, &mut text);
        }
        // In the order in which the view was changed.
        shared.gate.add(&text);
        drop(view);
        self.refresh_status();
        self.shared().gate.wait_for_room();
    }

    fn set_status(&mut self, status: &str) {
        self.link = status.to_owned();
        self.refresh_status();
    }

    fn finish(&mut self) {
        self.terminal.finish();
    }
}

/// The terminal, to be left as it was.
#[derive(Clone, Debug)]
pub struct Terminal {
    shared: Arc<TerminalState>,
    original: Termios,
}

impl Terminal {
    /// Draws what is to be drawn, ends the line editor, and leaves the terminal as it was. Does
    /// nothing if that was done.
    pub fn finish(&self) {
        // Two threads may want it; none may go on before it is done.
        let mut is_finished = lock(&self.shared.is_finished);
        if std::mem::replace(&mut *is_finished, true) {
            return;
        }
        let gate = &self.shared.gate;
        gate.drain(LAST_DRAWING);
        gate.end();
        let mut is_over = false;
        for _ in 0..ENDING_ATTEMPTS {
            // The editor ends at this signal, as at the key.
            let _ = signal_hook::low_level::raise(SIGINT);
            is_over = gate.is_over_within(ENDING);
            if is_over {
                break;
            }
        }
        self.restore();
        let mut output = stdout().lock();
        // Where the terminal is gone there is nobody to tell.
        if !is_over {
            // The editor waits for the second key of two, behind its line.
            let _ = output.write_all(b"\n");
        }
        let _ = output.write_all(gate.take_undrawn().as_bytes());
        let _ = output.flush();
    }

    /// Leaves the terminal as it was, at once.
    pub fn restore(&self) {
        // Where the terminal is gone nothing is to be restored.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.original);
        let _ = stdout().write_all(USUAL_MODES.as_bytes());
        let _ = stdout().flush();
    }

    /// Whether signals that arrive are its own.
    pub fn is_ending(&self) -> bool {
        self.shared.gate.is_ending()
    }
}

// What the editor asks

#[derive(Debug)]
struct LinePrompt(Arc<TerminalState>);

impl Prompt for LinePrompt {
    fn raw(&self) -> &str {
        // The terminal is in raw mode when the editor asks for the first time.
        self.0.gate.begin_if_armed();
        ROWS_OF_PROMPT
    }
}

struct LineHelper(Arc<TerminalState>);

impl Helper for LineHelper {}
impl Hinter for LineHelper {
    type Hint = String;
}
impl Validator for LineHelper {}
impl Completer for LineHelper {
    type Candidate = String;

    fn complete(
        &self,
        _line: &str,
        _cursor: usize,
        _context: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, vec![lock(&self.0.replacement).0.clone()]))
    }

    fn update(&self, edited: &mut LineBuffer, _start: usize, line: &str, changes: &mut Changeset) {
        edited.update(line, lock(&self.0.replacement).1, changes);
    }
}

impl Highlighter for LineHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        is_ours: bool,
    ) -> Cow<'b, str> {
        if !is_ours {
            // The editor asks something of its own.
            return Cow::Borrowed(prompt);
        }
        let shared = &self.0;
        shared.notice_size();
        let status = shared.gate.status();
        let status = for_terminal(&status);
        let row = shared.widths.cut(&status, size().0.saturating_sub(1));
        Cow::Owned(match shared.style.dim() {
            Some(opening) => format!("{opening}{row}{RESET}\n{PROMPT}"),
            None => format!("{row}\n{PROMPT}"),
        })
    }

    fn highlight<'l>(&self, line: &'l str, _pos: usize) -> Cow<'l, str> {
        line.clone_into(&mut lock(&self.0.typed));
        Cow::Borrowed(line)
    }

    /// Every key draws the line, so that it is known what stands there.
    fn highlight_char(&self, _line: &str, _pos: usize, _kind: CmdKind) -> bool {
        true
    }
}
