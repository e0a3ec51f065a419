//! The gate between what is drawn and the line that is edited.
//!
//! What lives here: [`DrawQueue`], what the threads of a terminal share: text that waits to be drawn,
//! the status above the prompt, and whether a line is being edited, since only then the line
//! editor can draw around it. The line editor and its screen use it. It must never hold text
//! without bound, and never hold its lock while something is written.

use crate::client::limits::{DRAW_CHUNK_BYTES, PENDING_DRAW_BYTES};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Draws nothing: up one row, and down again.
const NOTHING: &str = "\u{1b}[A\n";

/// Time that the line editor waits for a text that is just being handed to it.
const HAND_OVER: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct State {
    /// What is to be drawn.
    undrawn: String,
    /// What the editor was given and may not have drawn: what is in its queue, and what waits for
    /// a place there.
    handed: Vec<String>,
    status: String,
    /// Whether another status stands on the screen.
    is_status_new: bool,
    /// What stands in place of the status.
    question: Option<String>,
    /// Whether editing begins as soon as the editor asks for its prompt.
    is_armed: bool,
    is_editing: bool,
    is_handing_over: bool,
    drain: Drain,
    is_ending: bool,
    is_over: bool,
}

/// How far the last text is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Drain {
    #[default]
    Unwanted,
    Wanted,
    /// So many texts that draw nothing are still to be taken.
    Behind(usize),
    Done,
}

/// What the threads of a terminal share.
#[derive(Debug, Default)]
pub struct DrawQueue {
    state: Mutex<State>,
    changed: Condvar,
}

impl DrawQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole: whoever panicked left nothing half done.
        self.state
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }

    fn wait_while(&self, time: Duration, condition: impl Fn(&State) -> bool) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), time, |state| condition(state));
        let (_state, result) = waited.unwrap_or_else(|broken| broken.into_inner());
        !result.timed_out()
    }

    // For the screen

    /// Adds text to be drawn; it ends with a newline.
    pub fn add(&self, text: &str) {
        if !text.is_empty() {
            self.state().undrawn.push_str(text);
            self.changed.notify_all();
        }
    }

    /// Waits while more than [`PENDING_DRAW_BYTES`] wait to be drawn.
    pub fn wait_for_room(&self) {
        let is_full = |state: &mut State| {
            state.undrawn.len() > PENDING_DRAW_BYTES && !state.is_over && !state.is_ending
        };
        drop(self.changed.wait_while(self.state(), is_full));
    }

    /// Shows another status.
    pub fn set_status(&self, status: String) {
        let mut state = self.state();
        if state.status != status {
            state.status = status;
            state.is_status_new = true;
            self.changed.notify_all();
        }
    }

    /// Wants all text drawn, as far as somebody edits; gives whether it was within this time.
    pub fn drain(&self, time: Duration) -> bool {
        let mut state = self.state();
        if state.drain == Drain::Unwanted {
            state.drain = Drain::Wanted;
        }
        drop(state);
        self.changed.notify_all();
        self.wait_while(time, |state| state.drain != Drain::Done && !state.is_over)
    }

    /// Ends the editing.
    pub fn end(&self) {
        self.state().is_ending = true;
        self.changed.notify_all();
    }

    /// Waits for the end of the editing; gives whether it came within this time.
    pub fn is_over_within(&self, time: Duration) -> bool {
        self.wait_while(time, |state| !state.is_over)
    }

    /// What was not drawn when the editing was over.
    pub fn take_undrawn(&self) -> String {
        let mut state = self.state();
        let mut text = match state.drain {
            Drain::Done => String::new(),
            _ => state.handed.concat(),
        };
        text.push_str(&std::mem::take(&mut state.undrawn));
        text
    }

    // For the line editor

    /// Whether no further line is to be edited.
    pub fn is_ending(&self) -> bool {
        self.state().is_ending
    }

    /// A line is about to be edited.
    pub fn arm(&self) {
        self.state().is_armed = true;
    }

    /// The editor works, if it has just been about to.
    pub fn begin_if_armed(&self) {
        let mut state = self.state();
        if state.is_armed {
            state.is_armed = false;
            state.is_editing = true;
            self.changed.notify_all();
        }
    }

    /// The editor is about to give its line away: nothing more is drawn around it.
    pub fn stop(&self) {
        let mut state = self.state();
        state.is_editing = false;
        state.is_armed = false;
        state.question = None;
        drop(state);
        // Where it takes longer the text waits in the editor's own queue.
        self.wait_while(HAND_OVER, |state| state.is_handing_over);
    }

    /// No line will be edited any more.
    pub fn set_over(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    /// Asks something in place of the status, or not any more.
    pub fn ask(&self, question: Option<String>) {
        self.state().question = question;
    }

    /// What stands above the prompt, which the editor draws after each text.
    pub fn status(&self) -> String {
        let mut state = self.state();
        state.is_status_new = false;
        state.handed.clear();
        match &state.question {
            Some(question) => question.clone(),
            None => state.status.clone(),
        }
    }

    // For the printer

    /// Waits for the next text that the editor is to draw; none at the end.
    pub fn next_text(&self) -> Option<String> {
        let mut state = self.state();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(text) = next_text(&mut state) {
                state.is_handing_over = true;
                self.changed.notify_all();
                return Some(text);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(|broken| broken.into_inner());
        }
    }

    /// The editor has taken the text, or has it in its queue.
    pub fn handed_over(&self) {
        self.state().is_handing_over = false;
        self.changed.notify_all();
    }
}

fn next_text(state: &mut State) -> Option<String> {
    if !state.is_editing {
        return None;
    }
    if !state.undrawn.is_empty() {
        let text = take_part(&mut state.undrawn);
        state.handed.push(text.clone());
        return Some(text);
    }
    match state.drain {
        // The editor's queue has one place: when it has the second, the first was taken, and
        // what was before the first is drawn.
        Drain::Wanted => state.drain = Drain::Behind(1),
        Drain::Behind(0) => {
            state.drain = Drain::Done;
            return None;
        }
        Drain::Behind(count) => state.drain = Drain::Behind(count - 1),
        Drain::Unwanted | Drain::Done if state.is_status_new => {}
        Drain::Unwanted | Drain::Done => return None,
    }
    state.is_status_new = false;
    Some(NOTHING.to_owned())
}

/// The first rows of a text, at most [`DRAW_CHUNK_BYTES`] if that is a row.
fn take_part(text: &mut String) -> String {
    if text.len() <= DRAW_CHUNK_BYTES {
        return std::mem::take(text);
    }
    let newline = memchr::memrchr(b'\n', &text.as_bytes()[..DRAW_CHUNK_BYTES]);
    match newline {
        Some(at) => {
            let rest = text.split_off(at + 1);
            std::mem::replace(text, rest)
        }
        None => std::mem::take(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editing() -> DrawQueue {
        let gate = DrawQueue::default();
        gate.arm();
        gate.begin_if_armed();
        gate
    }

    fn next(gate: &DrawQueue) -> Option<String> {
        let text = next_text(&mut gate.state());
        gate.handed_over();
        text
    }

    #[test]
    fn text_waits_until_a_line_is_edited() {
        let gate = DrawQueue::default();
        gate.add("a\n");
        gate.begin_if_armed();
        assert_eq!(next(&gate), None);
        gate.arm();
        gate.begin_if_armed();
        assert_eq!(next(&gate).as_deref(), Some("a\n"));
        assert_eq!(next(&gate), None);
        gate.add("b\n");
        gate.stop();
        // The prompt is asked for once more while the line is given away.
        gate.begin_if_armed();
        assert_eq!(next(&gate), None);
        assert_eq!(gate.take_undrawn(), "a\nb\n");
    }

    #[test]
    fn what_the_editor_has_not_drawn_is_not_lost() {
        let gate = editing();
        gate.add("a\n");
        next(&gate);
        assert_eq!(gate.status(), "");
        gate.add("b\n");
        next(&gate);
        gate.add("c\n");
        assert_eq!(gate.take_undrawn(), "b\nc\n");
    }

    #[test]
    fn what_comes_at_once_is_drawn_at_once() {
        let gate = editing();
        for _ in 0..1000 {
            gate.add("a\n");
        }
        assert_eq!(next(&gate).map(|text| text.len()), Some(2000));
    }

    #[test]
    fn much_is_drawn_in_whole_rows() {
        let gate = editing();
        let row = "x".repeat(99) + "\n";
        let all = row.repeat(DRAW_CHUNK_BYTES / 50);
        gate.add(&all);
        let mut drawn = String::new();
        while let Some(text) = next(&gate) {
            assert!(text.len() <= DRAW_CHUNK_BYTES && text.ends_with('\n'));
            drawn.push_str(&text);
        }
        assert_eq!(drawn, all);
        let long = "x".repeat(DRAW_CHUNK_BYTES * 2);
        gate.add(&long);
        assert_eq!(next(&gate), Some(long));
    }

    #[test]
    fn another_status_is_drawn_once() {
        let gate = editing();
        gate.set_status("a".into());
        assert_eq!(next(&gate).as_deref(), Some(NOTHING));
        gate.set_status("a".into());
        assert_eq!(next(&gate), None);
        gate.set_status("b".into());
        assert_eq!(gate.status(), "b");
        assert_eq!(next(&gate), None);
        gate.ask(Some("really?".into()));
        assert_eq!(gate.status(), "really?");
        gate.stop();
        assert_eq!(gate.status(), "b");
    }

    #[test]
    fn draining_is_done_when_the_editor_took_what_stands_behind() {
        let gate = editing();
        gate.add("a\n");
        assert!(!gate.drain(Duration::ZERO));
        let texts: Vec<_> = std::iter::from_fn(|| next(&gate)).collect();
        assert_eq!(texts, ["a\n", NOTHING, NOTHING]);
        assert!(gate.drain(Duration::from_secs(10)));
    }

    #[test]
    fn the_end_holds_up_nobody() {
        let gate = DrawQueue::default();
        gate.add(&"x".repeat(PENDING_DRAW_BYTES + 1));
        gate.end();
        gate.wait_for_room();
        gate.set_over();
        assert_eq!(gate.next_text(), None);
        assert!(gate.is_over_within(Duration::ZERO));
        assert!(gate.drain(Duration::from_secs(10)));
    }
}
