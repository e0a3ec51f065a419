//! The background of the terminal, which the terminal reports among the keys.

use crate::cli::style::Background;
use crate::client::limits::BACKGROUND_TIMEOUT;
use crate::client::terminal::shared::lock;
use rustyline::{KeyCode, KeyEvent, Modifiers};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// Asks for the colour of the background (OSC 11).
pub(crate) const QUESTION: &str = "\u{1b}]11;?\u{7}";

/// Longest part of an answer between its first and its last key.
const MAX_ANSWER: usize = 40;

/// What a key is to the question.
#[derive(Debug, PartialEq)]
pub(crate) enum AnswerKey {
    /// A key of the user.
    None,
    Part,
    /// The last key of the answer, and the background if the answer is valid.
    Last(Option<Background>),
}

#[derive(Debug, Default)]
struct QueryState {
    asked_at: Option<Instant>,
    /// The answer as far as it has come.
    answer: Option<String>,
}

/// A question to the terminal that has no answer yet, if there is one.
#[derive(Debug, Default)]
pub(crate) struct BackgroundQuery {
    state: Mutex<QueryState>,
    answered: Condvar,
}

impl BackgroundQuery {
    pub(crate) fn asked(&self) {
        lock(&self.state).asked_at = Some(Instant::now());
    }

    /// Takes a key. Those of the answer must not get into the edited line.
    pub(crate) fn take(&self, key: KeyEvent) -> AnswerKey {
        let state = &mut *lock(&self.state);
        if state.asked_at.is_none() {
            return AnswerKey::None;
        }
        let KeyEvent(KeyCode::Char(character), modifiers) = key else {
            state.answer = None;
            return AnswerKey::None;
        };
        match (&mut state.answer, character, modifiers) {
            (answer, ']', Modifiers::ALT) => *answer = Some(String::new()),
            (Some(answer), 'G', Modifiers::CTRL) | (Some(answer), '\\', Modifiers::ALT) => {
                let background = parse(answer);
                *state = QueryState::default();
                self.answered.notify_all();
                return AnswerKey::Last(background);
            }
            (Some(answer), _, Modifiers::NONE)
                if character.is_ascii_graphic() && answer.len() < MAX_ANSWER =>
            {
                answer.push(character);
                let start = "11;rgb";
                if !answer.starts_with(start) && !start.starts_with(&**answer) {
                    state.answer = None;
                    return AnswerKey::None;
                }
            }
            _ => {
                state.answer = None;
                return AnswerKey::None;
            }
        }
        AnswerKey::Part
    }

    /// Waits for the answer until [`BACKGROUND_TIMEOUT`] has passed since the question. A later
    /// answer would go to the next program.
    pub(crate) fn wait(&self) {
        let state = lock(&self.state);
        let Some(asked_at) = state.asked_at else {
            return;
        };
        let time = BACKGROUND_TIMEOUT.saturating_sub(asked_at.elapsed());
        let is_waiting = |state: &mut QueryState| state.asked_at.is_some();
        drop(self.answered.wait_timeout_while(state, time, is_waiting));
    }
}

/// Parses `11;rgb:RRRR/GGGG/BBBB`, with one to four digits for each colour.
fn parse(answer: &str) -> Option<Background> {
    let (_, colours) = answer.split_once(':')?;
    let mut parts = colours.split('/').map(|digits| {
        let value = u16::from_str_radix(digits, 16).ok()?;
        let max = 16_f64.powi(i32::try_from(digits.len()).ok()?) - 1.0;
        Some(f64::from(value) / max)
    });
    let mut next = || parts.next().flatten();
    Some(Background::from_colour([next()?, next()?, next()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the editor gets as the keys of this input.
    fn keys(input: &str) -> Vec<KeyEvent> {
        let mut keys = Vec::new();
        let mut characters = input.chars();
        while let Some(character) = characters.next() {
            keys.push(match character {
                '\u{1b}' => KeyEvent::alt(characters.next().unwrap()),
                _ => KeyEvent::new(character, Modifiers::NONE),
            });
        }
        keys
    }

    #[test]
    fn answer_is_taken_out_of_the_keys() {
        let dark = Some(Background::Dark);
        let light = Some(Background::Light);
        for (input, typed, answer) in [
            ("ab", "ab", None),
            ("a\u{1b}]11;rgb:1e1e/1e1e/1e1e\u{7}b", "ab", Some(dark)),
            ("\u{1b}]11;rgb:ffff/ffff/ffff\u{1b}\\b", "b", Some(light)),
            ("\u{1b}]11;rgba:ff/ff/e0/ff\u{7}", "", Some(light)),
            ("\u{1b}]11;rgb:f/0/0\u{7}", "", Some(light)),
            ("\u{1b}]11;rgb:x\u{7}b", "b", Some(None)),
            // Only the first answer is one.
            ("\u{1b}]11;rgb:0/0/0\u{7}11;r", "11;r", Some(dark)),
            // A user may press the first key.
            ("\u{1b}]hello", "hello", None),
        ] {
            let query = BackgroundQuery::default();
            query.asked();
            let mut rest = String::new();
            let mut last = None;
            for key in keys(input) {
                match (query.take(key), key) {
                    (AnswerKey::None, KeyEvent(KeyCode::Char(character), _)) => {
                        rest.push(character);
                    }
                    (AnswerKey::Last(background), _) => last = Some(background),
                    _ => {}
                }
            }
            assert_eq!((rest.as_str(), last), (typed, answer), "{input:?}");
        }
    }

    #[test]
    fn nothing_is_taken_without_a_question() {
        let query = BackgroundQuery::default();
        for key in keys("\u{1b}]11;rgb:0/0/0\u{7}") {
            assert_eq!(query.take(key), AnswerKey::None);
        }
        query.wait();
    }
}
