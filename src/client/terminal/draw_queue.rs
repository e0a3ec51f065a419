//! Queue of text to draw above the edited line, and the status above the prompt.
//!
//! The line editor draws foreign text only while it edits, so text waits here between two lines.
//! The queue is bounded, and its lock is never held during a write.

use crate::client::limits::{DRAW_CHUNK_BYTES, PENDING_DRAW_BYTES};
use crate::client::terminal::shared::lock;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Moves the cursor up and down again; makes the editor redraw its prompt.
const REDRAW_PROMPT: &str = "\u{1b}[A\n";

const NOT_SHOWN: &str = "Earlier messages of the time in the background are not shown\n";

/// Time that the editor waits for a text that the printer is handing over.
const HANDOVER_TIMEOUT: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct DrawState {
    pending: String,
    /// Texts that the editor got and may not have drawn.
    handed_over: Vec<String>,
    status: String,
    is_status_new: bool,
    /// Replaces the status until the line is entered.
    prompt_note: Option<String>,
    /// Whether editing begins when the editor asks for its prompt.
    is_armed: bool,
    is_editing: bool,
    is_handing_over: bool,
    /// Number of further texts that the editor has to take until it has drawn all; none if nobody
    /// waits for that.
    drain: Option<usize>,
    is_ending: bool,
    is_over: bool,
    /// Whether the editor leaves the terminal alone.
    is_parked: bool,
    /// Whether the client was continued after a stop, and the editor has not acted on it.
    is_continued: bool,
}

impl DrawState {
    fn is_drained(&self) -> bool {
        self.drain == Some(0) && !self.is_handing_over
    }
}

#[derive(Debug, Default)]
pub(crate) struct DrawQueue {
    state: Mutex<DrawState>,
    changed: Condvar,
}

impl DrawQueue {
    /// Changes the state and wakes all waiting threads.
    fn update(&self, change: impl FnOnce(&mut DrawState)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Waits until the condition is met; returns false after `time`.
    fn wait_until(&self, time: Duration, condition: impl Fn(&DrawState) -> bool) -> bool {
        let state = lock(&self.state);
        let waited = self
            .changed
            .wait_timeout_while(state, time, |state| !condition(state));
        let (_state, result) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        !result.timed_out()
    }

    // For the screen

    /// Appends text, which ends with a newline.
    pub(crate) fn add(&self, text: &str) {
        if !text.is_empty() {
            self.update(|state| state.pending.push_str(text));
        }
    }

    /// Waits while more than [`PENDING_DRAW_BYTES`] are pending.
    pub(crate) fn wait_for_room(&self) {
        let is_full = |state: &mut DrawState| {
            let is_drawing = !state.is_over && !state.is_ending && !state.is_parked;
            state.pending.len() > PENDING_DRAW_BYTES && is_drawing
        };
        drop(self.changed.wait_while(lock(&self.state), is_full));
    }

    /// Drops the text that waits in the background if it is too long; returns whether it did.
    pub(crate) fn drop_in_background(&self) -> bool {
        let mut state = lock(&self.state);
        let drops = state.is_parked && state.pending.len() > PENDING_DRAW_BYTES;
        if drops {
            state.pending = NOT_SHOWN.to_owned();
        }
        drops
    }

    /// Takes the text that waits, because the whole screen is drawn.
    pub(crate) fn take_pending(&self) -> String {
        std::mem::take(&mut lock(&self.state).pending)
    }

    pub(crate) fn set_status(&self, status: String) {
        self.update(|state| {
            state.is_status_new |= state.status != status;
            state.status = status;
        });
    }

    /// Waits until all text is drawn; returns false after `time`.
    pub(crate) fn drain(&self, time: Duration) -> bool {
        // The editor's queue has one slot. When it holds the second text, the editor has taken the
        // first, and has drawn everything before that.
        self.update(|state| state.drain = state.drain.or(Some(2)));
        self.wait_until(time, |state| state.is_drained() || state.is_over)
    }

    /// Makes the editor end instead of editing another line.
    pub(crate) fn end(&self) {
        self.update(|state| state.is_ending = true);
    }

    /// Waits until the editor has ended; returns false after `time`.
    pub(crate) fn wait_over(&self, time: Duration) -> bool {
        self.wait_until(time, |state| state.is_over)
    }

    pub(crate) fn take_undrawn(&self) -> String {
        let mut state = lock(&self.state);
        let mut text = match state.is_drained() {
            true => String::new(),
            false => state.handed_over.concat(),
        };
        text.push_str(&std::mem::take(&mut state.pending));
        text
    }

    // For the line editor

    pub(crate) fn is_ending(&self) -> bool {
        lock(&self.state).is_ending
    }

    /// Prepares for the next line; editing begins with [`DrawQueue::begin_if_armed`].
    pub(crate) fn arm(&self) {
        lock(&self.state).is_armed = true;
    }

    pub(crate) fn begin_if_armed(&self) {
        self.update(|state| {
            state.is_editing |= state.is_armed;
            state.is_armed = false;
        });
    }

    /// Stops drawing around the line, which the editor is about to return.
    pub(crate) fn stop_editing(&self) {
        let mut state = lock(&self.state);
        state.is_editing = false;
        state.is_armed = false;
        state.prompt_note = None;
        drop(state);
        self.wait_handed_over();
    }

    /// Waits for the printer. After the timeout the text waits in the editor's own queue.
    pub(crate) fn wait_handed_over(&self) {
        self.wait_until(HANDOVER_TIMEOUT, |state| !state.is_handing_over);
    }

    pub(crate) fn set_over(&self) {
        self.update(|state| state.is_over = true);
    }

    /// Shows a note in place of the status, or the status again.
    pub(crate) fn show_prompt_note(&self, note: Option<String>) {
        self.update(|state| {
            state.is_status_new |= state.prompt_note != note;
            state.prompt_note = note;
        });
    }

    /// Returns the text above the prompt. The editor draws it after each text, so it has drawn
    /// all texts that were handed over.
    pub(crate) fn status(&self) -> String {
        let mut state = lock(&self.state);
        state.is_status_new = false;
        state.handed_over.clear();
        self.changed.notify_all();
        state.prompt_note.as_ref().unwrap_or(&state.status).clone()
    }

    // For job control

    /// Notes that the client was continued. If the editor uses the terminal, stops the drawing and
    /// returns true.
    pub(crate) fn note_continuation(&self) -> bool {
        let mut state = lock(&self.state);
        state.is_continued = true;
        let is_used = !state.is_parked && !state.is_ending && !state.is_over;
        if is_used {
            // Under the same lock: the next line begins to draw after the editor has parked.
            state.is_editing = false;
            state.is_armed = false;
            state.prompt_note = None;
        }
        drop(state);
        self.changed.notify_all();
        is_used
    }

    /// Calls `detach` if the editor uses the terminal and has not acted on the continuation.
    pub(crate) fn detach_if_continued(&self, detach: impl FnOnce()) {
        let state = lock(&self.state);
        // Under the lock: the editor takes the terminal again only after it has parked.
        if state.is_continued && !state.is_parked {
            detach();
        }
    }

    pub(crate) fn is_continued(&self) -> bool {
        lock(&self.state).is_continued
    }

    /// Begins a time in which the editor leaves the terminal alone.
    pub(crate) fn park(&self) {
        self.update(|state| state.is_parked = true);
    }

    /// Ends that time. The editor has acted on every continuation.
    pub(crate) fn unpark(&self) {
        self.update(|state| {
            state.is_parked = false;
            state.is_continued = false;
        });
    }

    /// Waits until the editor has drawn all texts that it got; returns false after `time`.
    pub(crate) fn wait_drawn(&self, time: Duration) -> bool {
        self.wait_until(time, |state| state.handed_over.is_empty())
    }

    /// Waits until the editor acts on the continuation; returns false after `time`.
    pub(crate) fn wait_parked(&self, time: Duration) -> bool {
        self.wait_until(time, |state| {
            state.is_parked || !state.is_continued || state.is_over
        })
    }

    pub(crate) fn wait_continued(&self, time: Duration) -> bool {
        self.wait_until(time, |state| state.is_continued)
    }

    pub(crate) fn wait_end(&self, time: Duration) -> bool {
        self.wait_until(time, |state| state.is_ending)
    }

    // For the printer

    /// Waits for the next text that the editor has to draw; none at the end.
    pub(crate) fn next_text(&self) -> Option<String> {
        let mut state = lock(&self.state);
        loop {
            if state.is_over {
                return None;
            }
            if let Some(text) = next_text(&mut state) {
                state.is_handing_over = true;
                self.changed.notify_all();
                return Some(text);
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Reports that the editor has the text, drawn or queued.
    pub(crate) fn handed_over(&self) {
        self.update(|state| state.is_handing_over = false);
    }
}

fn next_text(state: &mut DrawState) -> Option<String> {
    if !state.is_editing {
        return None;
    }
    if !state.pending.is_empty() {
        let text = take_chunk(&mut state.pending);
        state.handed_over.push(text.clone());
        return Some(text);
    }
    match state.drain {
        Some(count) if count > 0 => state.drain = Some(count - 1),
        _ if state.is_status_new => {}
        _ => return None,
    }
    state.is_status_new = false;
    Some(REDRAW_PROMPT.to_owned())
}

/// Takes whole rows, at most [`DRAW_CHUNK_BYTES`] unless the first row is longer.
fn take_chunk(text: &mut String) -> String {
    if text.len() <= DRAW_CHUNK_BYTES {
        return std::mem::take(text);
    }
    match memchr::memrchr(b'\n', &text.as_bytes()[..DRAW_CHUNK_BYTES]) {
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
        let queue = DrawQueue::default();
        queue.arm();
        queue.begin_if_armed();
        queue
    }

    fn next(queue: &DrawQueue) -> Option<String> {
        let text = next_text(&mut lock(&queue.state));
        queue.handed_over();
        text
    }

    #[test]
    fn text_waits_until_a_line_is_edited() {
        let queue = DrawQueue::default();
        queue.add("a\n");
        queue.begin_if_armed();
        assert_eq!(next(&queue), None);
        queue.arm();
        queue.begin_if_armed();
        assert_eq!(next(&queue).as_deref(), Some("a\n"));
        assert_eq!(next(&queue), None);
        queue.add("b\n");
        queue.stop_editing();
        // The editor asks for the prompt once more while it returns the line.
        queue.begin_if_armed();
        assert_eq!(next(&queue), None);
        assert_eq!(queue.take_undrawn(), "a\nb\n");
    }

    #[test]
    fn undrawn_text_is_not_lost() {
        let queue = editing();
        queue.add("a\n");
        next(&queue);
        assert_eq!(queue.status(), "");
        queue.add("b\n");
        next(&queue);
        queue.add("c\n");
        assert_eq!(queue.take_undrawn(), "b\nc\n");
    }

    #[test]
    fn text_is_drawn_in_chunks_of_whole_rows() {
        let queue = editing();
        let all = ("x".repeat(99) + "\n").repeat(DRAW_CHUNK_BYTES / 50);
        queue.add(&all);
        let mut drawn = String::new();
        while let Some(text) = next(&queue) {
            assert!(text.len() <= DRAW_CHUNK_BYTES && text.ends_with('\n'));
            drawn.push_str(&text);
        }
        assert_eq!(drawn, all);
        let long = "x".repeat(DRAW_CHUNK_BYTES * 2);
        queue.add(&long);
        assert_eq!(next(&queue), Some(long));
    }

    #[test]
    fn new_status_is_drawn_once() {
        let queue = editing();
        queue.set_status("a".into());
        assert_eq!(next(&queue).as_deref(), Some(REDRAW_PROMPT));
        queue.set_status("a".into());
        assert_eq!(next(&queue), None);
        queue.set_status("b".into());
        assert_eq!(queue.status(), "b");
        assert_eq!(next(&queue), None);
        queue.show_prompt_note(Some("really?".into()));
        assert_eq!(queue.status(), "really?");
        queue.stop_editing();
        assert_eq!(queue.status(), "b");
    }

    #[test]
    fn drain_ends_when_the_editor_has_taken_two_further_texts() {
        let queue = editing();
        queue.add("a\n");
        assert!(!queue.drain(Duration::ZERO));
        let texts: Vec<_> = std::iter::from_fn(|| next(&queue)).collect();
        assert_eq!(texts, ["a\n", REDRAW_PROMPT, REDRAW_PROMPT]);
        assert!(queue.drain(Duration::from_secs(10)));
    }

    #[test]
    fn text_in_the_background_is_bounded_without_a_wait() {
        let queue = DrawQueue::default();
        queue.park();
        queue.add(&"x".repeat(PENDING_DRAW_BYTES + 1));
        queue.wait_for_room();
        assert!(queue.drop_in_background());
        queue.add("newest\n");
        assert!(!queue.drop_in_background());
        queue.unpark();
        assert_eq!(queue.take_undrawn(), format!("{NOT_SHOWN}newest\n"));
    }

    #[test]
    fn terminal_is_detached_only_before_the_editor_acts_on_a_continuation() {
        let queue = editing();
        let is_detached = || {
            let mut is_detached = false;
            queue.detach_if_continued(|| is_detached = true);
            is_detached
        };
        assert!(!is_detached());
        assert!(queue.note_continuation());
        assert!(is_detached());
        assert!(!queue.wait_parked(Duration::ZERO));
        // The editor returns its line meanwhile.
        queue.park();
        assert!(!is_detached());
        queue.unpark();
        assert!(!is_detached());
        assert!(queue.wait_parked(Duration::ZERO));
    }

    #[test]
    fn end_wakes_every_waiting_thread() {
        let queue = DrawQueue::default();
        queue.add(&"x".repeat(PENDING_DRAW_BYTES + 1));
        queue.end();
        queue.wait_for_room();
        queue.set_over();
        assert_eq!(queue.next_text(), None);
        assert!(queue.wait_over(Duration::ZERO));
        assert!(queue.drain(Duration::from_secs(10)));
    }
}
