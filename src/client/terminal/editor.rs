//! The line editor, and the chat that is drawn above the edited line.
//!
//! rustyline edits in a thread of its own: it reads keys, draws its line, and takes the text to
//! draw above from the printer thread. The editor never loses a half-typed line and never leaves
//! the terminal in raw mode.

use crate::chat::sanitize::{for_terminal, is_blank};
use crate::cli::style::RESET;
use crate::client::config_file::KeyBindings;
use crate::client::input::commands;
use crate::client::input::stdin::{BadLine, InputLine};
use crate::client::limits::{INPUT_HISTORY, INPUT_LINES};
use crate::client::output::item::OutputItem;
use crate::client::terminal::background::{self, BackgroundQuery};
use crate::client::terminal::draw_queue::DrawQueue;
use crate::client::terminal::fold;
use crate::client::terminal::job_control::{self, Tty, watch_continuations};
use crate::client::terminal::keys;
use crate::client::terminal::shared::{PROMPT, TerminalState, lock};
use crate::client::terminal::view::{TerminalView, ViewOptions};
use crate::client::terminal::wrap::{Widths, rows_of_input};
use async_channel::{Receiver, Sender};
use jiff::Timestamp;
use rustyline::completion::Completer;
use rustyline::config::{BellStyle, ColorMode, EditMode};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History};
use rustyline::line_buffer::LineBuffer;
use rustyline::validate::Validator;
use rustyline::{
    Changeset, CompletionType, Config, Editor, ExternalPrinter, GraphemeClusterMode, Helper,
};
use signal_hook::consts::SIGINT;
use std::borrow::Cow;
use std::io::{self, Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The prompt for the editor, which only counts its rows and columns; the highlighter draws it.
const PROMPT_ROWS: &str = "\n> ";

const GREETING: &str = "Type a line to send it; /help explains more";

const DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
/// Time between two attempts to end the editor.
const END_INTERVAL: Duration = Duration::from_millis(20);
const END_ATTEMPTS: usize = 50;

type ChatEditor = Editor<LineHelper, FileHistory>;

#[derive(Debug)]
pub(crate) struct EditorOptions {
    pub(crate) view: ViewOptions,
    pub(crate) asks_background: bool,
    pub(crate) keys: KeyBindings,
    pub(crate) history: Option<PathBuf>,
    pub(crate) max_message_bytes: usize,
}

/// Starts a line editor on the terminal of standard input and output; returns its lines, whose
/// channel is closed at the end, and the terminal. Ctrl-C on an empty line and signals call
/// `interrupt`. Fails with `Interrupted` if a signal comes before the client is in the foreground.
pub(crate) fn start(
    options: EditorOptions,
    interrupted: &Receiver<()>,
    interrupt: impl Fn() + Send + 'static,
) -> io::Result<(Receiver<InputLine>, Terminal)> {
    let tty = Tty::open(interrupted)?;
    let (columns, rows) = tty.size();
    let widths = options.view.widths;
    let background = BackgroundQuery::default();
    let now = Timestamp::now();
    let mut view = TerminalView::new(options.view, columns, rows, now);
    let mut greeting = String::new();
    if options.asks_background {
        background.asked();
        greeting.push_str(background::QUESTION);
    }
    view.draw(OutputItem::Notice(GREETING.to_owned()), now, &mut greeting);
    // Keeps the first prompt out of the first row, where a new status could not be drawn in place.
    stdout().write_all(greeting.as_bytes())?;
    let shared = Arc::new(TerminalState {
        tty,
        draw_queue: DrawQueue::default(),
        view: Mutex::new(view),
        background,
        widths,
        edited: Mutex::default(),
        stopped: Mutex::default(),
        folds: Mutex::default(),
        paste: Mutex::default(),
        max_message_bytes: options.max_message_bytes,
        entered: Mutex::default(),
        replacement: Mutex::default(),
    });
    let mut editor = rustyline_editor(&shared, options.keys).map_err(io::Error::other)?;
    let printer = editor.create_external_printer().map_err(io::Error::other)?;
    let (sender, input) = async_channel::bounded(INPUT_LINES);
    let printer_state = Arc::clone(&shared);
    thread::Builder::new()
        .name("printer".to_owned())
        .spawn(move || print_texts(&printer_state.draw_queue, printer))?;
    watch_continuations(&shared)?;
    let terminal = Terminal(Arc::clone(&shared));
    thread::Builder::new()
        .name("editor".to_owned())
        .spawn(move || {
            let mut history = load_history(options.history, &mut editor, &shared);
            edit_lines(&mut editor, history.as_mut(), &shared, &sender, &interrupt);
            shared.draw_queue.set_over();
        })?;
    Ok((input, terminal))
}

fn rustyline_editor(
    shared: &Arc<TerminalState>,
    keys: KeyBindings,
) -> rustyline::Result<ChatEditor> {
    let config = Config::builder()
        .max_history_size(INPUT_HISTORY)?
        .history_ignore_dups(true)?
        .edit_mode(match keys {
            KeyBindings::Emacs => EditMode::Emacs,
            KeyBindings::Vi => EditMode::Vi,
        })
        .bell_style(BellStyle::None)
        .completion_type(CompletionType::List)
        // The highlighter draws the status, even without colours.
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
fn print_texts(queue: &DrawQueue, mut printer: impl ExternalPrinter) {
    while let Some(text) = queue.next_text() {
        if let Err(error) = printer.print(text) {
            queue.add(&format!("The line editor cannot draw: {error}\n"));
            return;
        }
        queue.handed_over();
    }
}

fn edit_lines(
    editor: &mut ChatEditor,
    mut history: Option<&mut SavedHistory>,
    shared: &TerminalState,
    input: &Sender<InputLine>,
    interrupt: &dyn Fn(),
) {
    let queue = &shared.draw_queue;
    let mut number = 0;
    let mut kept = (String::new(), 0);
    while !queue.is_ending() {
        if queue.is_continued() {
            job_control::resume(shared);
            if queue.is_ending() {
                return;
            }
        }
        lock(&shared.edited).clone_from(&kept);
        // The end of a paste before a stop may be lost.
        *lock(&shared.paste) = None;
        queue.arm();
        let line = editor.readline_with_initial(PROMPT_ROWS, kept.0.split_at(kept.1));
        queue.stop_editing();
        let edited = lock(&shared.edited).clone();
        let stopped = lock(&shared.stopped).take();
        kept = (String::new(), 0);
        match line {
            Ok(line) if stopped.is_some() => {
                erase(&line, shared);
                kept = stopped.unwrap_or_default();
                job_control::stop(shared);
            }
            Ok(line) => {
                erase(&line, shared);
                let line = lock(&shared.folds).expand(&line);
                if is_blank(&line) {
                    continue;
                }
                add_to_history(&line, history.as_deref_mut(), editor, shared);
                number += 1;
                let text = Ok(line);
                // Fails when the client leaves.
                let _ = input.send_blocking(InputLine { number, text });
            }
            // The editor was taken from the terminal.
            Err(_) if queue.is_continued() && !queue.is_ending() => kept = edited,
            Err(ReadlineError::Eof) => {
                erase("", shared);
                input.close();
            }
            Err(ReadlineError::Interrupted) => {
                // Ctrl-C interrupts on an empty line only, but a signal may come at any time.
                erase(&edited.0, shared);
                if !queue.is_ending() {
                    interrupt();
                } else if !is_blank(&edited.0) {
                    // Leaves the unsent line on the screen.
                    let draft = lock(&shared.folds).expand(&edited.0);
                    queue.add(&format!("{PROMPT}{draft}\n"));
                }
            }
            Err(error) => {
                number += 1;
                let text = Err(BadLine::Unreadable(error.to_string()));
                let _ = input.send_blocking(InputLine { number, text });
                input.close();
                return;
            }
        }
    }
}

/// Erases the status, the prompt and a line. The cursor stands below them.
fn erase(line: &str, shared: &TerminalState) {
    let (columns, _) = shared.tty.size();
    let rows = 1 + rows_of_input(line, PROMPT.len(), columns, shared.widths);
    let mut output = stdout().lock();
    // The next read reports a lost terminal.
    let _ = write!(output, "\u{1b}[{rows}A\r\u{1b}[J").and_then(|()| output.flush());
}

/// The file of the input history, and the lines for it. Private messages are not among them.
struct SavedHistory {
    path: PathBuf,
    lines: FileHistory,
}

/// Loads the input history; returns the file for new lines, if it can be used.
fn load_history(
    path: Option<PathBuf>,
    editor: &mut ChatEditor,
    shared: &TerminalState,
) -> Option<SavedHistory> {
    let path = path?;
    if path.exists()
        && let Err(error) = editor.load_history(&path)
    {
        report_history_error("read", &path, &error, shared);
        return None;
    }
    lock(&shared.entered).extend(editor.history().iter().cloned());
    let config = Config::builder().max_history_size(INPUT_HISTORY).ok()?;
    let lines = FileHistory::with_config(&config.build());
    Some(SavedHistory { path, lines })
}

fn add_to_history(
    line: &str,
    saved: Option<&mut SavedHistory>,
    editor: &mut ChatEditor,
    shared: &TerminalState,
) {
    if !editor.add_history_entry(line).unwrap_or(false) {
        return;
    }
    let mut entered = lock(&shared.entered);
    if entered.len() >= INPUT_HISTORY {
        entered.remove(0);
    }
    entered.push(line.to_owned());
    drop(entered);
    let Some(saved) = saved.filter(|_| !commands::is_private(line)) else {
        return;
    };
    let path = &saved.path;
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let folder = folder.map_err(ReadlineError::Io);
    let written = folder
        .and_then(|()| saved.lines.add(line))
        .and_then(|_| saved.lines.append(path));
    if let Err(error) = written {
        report_history_error("write", path, &error, shared);
    }
}

fn report_history_error(verb: &str, path: &Path, error: &ReadlineError, shared: &TerminalState) {
    let path = path.to_string_lossy();
    let sentence = format!("Cannot {verb} the input history {path}: {error}");
    shared.draw(vec![OutputItem::Notice(sentence)]);
}

/// The terminal with its line editor.
#[derive(Clone, Debug)]
pub struct Terminal(Arc<TerminalState>);

impl Terminal {
    /// Draws items above the edited line, waiting while much is to be drawn.
    pub(crate) fn draw(&self, items: Vec<OutputItem>) {
        self.0.draw(items);
        self.0.draw_queue.wait_for_room();
    }

    /// Draws the queued text, ends the line editor and restores the terminal.
    pub fn finish(&self) {
        let queue = &self.0.draw_queue;
        self.0.background.wait();
        queue.drain(DRAIN_TIMEOUT);
        queue.end();
        let mut is_over = false;
        for _ in 0..END_ATTEMPTS {
            // The signal ends `readline`, as Ctrl-C does.
            let _ = signal_hook::low_level::raise(SIGINT);
            is_over = queue.wait_over(END_INTERVAL);
            if is_over {
                break;
            }
        }
        self.restore();
        if !self.0.tty.is_foreground() {
            // The screen is that of the shell.
            return;
        }
        let mut output = stdout().lock();
        // A lost terminal leaves no place to report errors.
        if !is_over {
            // The editor waits for the second key of a sequence; the cursor stands in its line.
            let _ = output.write_all(b"\n");
        }
        let _ = output.write_all(queue.take_undrawn().as_bytes());
        let _ = output.flush();
    }

    pub(crate) fn restore(&self) {
        self.0.tty.give_back();
    }

    /// Returns whether [`Terminal::finish`] is raising signals.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.draw_queue.is_ending()
    }
}

// Callbacks of rustyline

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
        is_default: bool,
    ) -> Cow<'b, str> {
        if !is_default {
            // A prompt of the editor itself.
            return Cow::Borrowed(prompt);
        }
        let shared = &self.0;
        // The terminal is in raw mode at the first call, and may have another size at any.
        shared.draw_queue.begin_if_armed();
        shared.draw(Vec::new());
        let status = shared.draw_queue.status();
        let status = for_terminal(&status);
        let row = shared
            .widths
            .truncate(&status, shared.tty.size().0.saturating_sub(1));
        Cow::Owned(match shared.style().dim() {
            Some(opening) => format!("{opening}{row}{RESET}\n{PROMPT}"),
            None => format!("{row}\n{PROMPT}"),
        })
    }

    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        *lock(&self.0.edited) = (line.to_owned(), pos);
        Cow::Owned(match self.0.style().dim() {
            Some(opening) => fold::shown(line, &opening, RESET),
            None => fold::shown(line, "", ""),
        })
    }

    /// Makes every key redraw the line, so that `highlight` knows it.
    fn highlight_char(&self, _line: &str, _pos: usize, _kind: CmdKind) -> bool {
        true
    }
}
