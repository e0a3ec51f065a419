//! The name that a user asks for, and the attempts to get one that another user has.

use crate::chat::sanitize::quoted;
use crate::chat::username::UsernameKey;
use crate::client::limits::{MAX_NAME_ATTEMPTS, MIN_NAME_INTERVAL};
use crate::protocol::server_line::ServerLine;
use std::net::SocketAddr;
use std::time::Instant;

/// Code of the error for a name that another user has.
pub(super) const NAME_TAKEN: &str = "name-taken";

#[derive(Debug, Default)]
pub(crate) struct Naming {
    /// Name that the client requests without a command: that of `--name`, or the last name of a
    /// user that the server has forgotten.
    wanted: Option<String>,
    /// Name to ask for after the server has forgotten this user.
    chosen: Option<String>,
    /// Last requested name that the server has given.
    pub(crate) accepted: Option<String>,
    /// Why the server rejected the last requested name.
    pub(crate) rejection: Option<String>,
    wait: Option<Wait>,
}

/// The time in which another user has the wanted name.
#[derive(Debug)]
struct Wait {
    attempts: u32,
    /// Earliest time of the next attempt.
    earliest: Instant,
    /// Time of the next attempt, after a sign that the name may be free.
    next: Option<Instant>,
}

impl Wait {
    fn from(now: Instant) -> Option<Self> {
        Some(Wait {
            attempts: 0,
            earliest: now,
            next: None,
        })
    }

    fn attempt_soon(&mut self, now: Instant) {
        self.next.get_or_insert(self.earliest.max(now));
    }
}

/// How to show the rejection of a name.
pub(super) enum RejectionNotice {
    /// As it is.
    Final,
    /// Followed by this sentence.
    Waits(String),
    /// Not at all, because the user knows that the name is taken.
    Known,
}

impl Naming {
    pub(super) fn new(wanted: Option<String>) -> Self {
        Naming {
            wanted,
            ..Naming::default()
        }
    }

    /// Leaves the choice to the user, who asks for a name.
    pub(super) fn user_chooses(&mut self) {
        (self.wanted, self.wait) = (None, None);
    }

    pub(super) fn sent(&mut self, name: String) {
        self.chosen = Some(name);
        self.rejection = None;
    }

    /// Notes the new name of this user.
    pub(super) fn renamed(&mut self, name: &str) {
        // A user without a name of its own takes the address of a new connection.
        if name.parse::<SocketAddr>().is_err() {
            self.accepted = Some(name.to_owned());
            self.chosen.clone_from(&self.accepted);
            self.user_chooses();
        }
    }

    pub(super) fn rejected(
        &mut self,
        sentence: &str,
        is_taken: bool,
        now: Instant,
    ) -> RejectionNotice {
        self.rejection = Some(sentence.to_owned());
        match (self.wanted.clone(), &self.wait) {
            (Some(wanted), None) if is_taken => self.wait_for(wanted, now),
            (Some(wanted), Some(wait)) if is_taken && wait.attempts < MAX_NAME_ATTEMPTS => {
                self.chosen = Some(wanted);
                RejectionNotice::Known
            }
            _ => {
                self.chosen.clone_from(&self.accepted);
                self.user_chooses();
                RejectionNotice::Final
            }
        }
    }

    fn wait_for(&mut self, wanted: String, now: Instant) -> RejectionNotice {
        let sentence = format!(
            "You get the name {} when it is free, unless you choose another with /setname",
            quoted(&wanted)
        );
        self.chosen = Some(wanted.clone());
        self.wanted = Some(wanted);
        self.wait = Wait::from(now);
        RejectionNotice::Waits(sentence)
    }

    /// Compares the name of a welcome with the chosen one; returns the name to ask for, or the
    /// notice that another user has it.
    pub(super) fn welcomed(
        &mut self,
        name: &str,
        is_new_user: bool,
        now: Instant,
    ) -> (Option<String>, Option<RejectionNotice>) {
        let chosen = self.chosen.clone().filter(|chosen| chosen != name);
        match (chosen, &mut self.wait) {
            (None, _) => (None, None),
            (Some(chosen), _) if is_new_user => {
                self.wanted = Some(chosen.clone());
                (Some(chosen), None)
            }
            // The departure of its owner may be among the events that are lost.
            (Some(_), Some(wait)) => {
                wait.attempt_soon(now);
                (None, None)
            }
            (Some(chosen), None) => (None, Some(self.wait_for(chosen, now))),
        }
    }

    /// Notes a line after which the wanted name may be free.
    pub(super) fn note_line(&mut self, line: &ServerLine, now: Instant) {
        let (Some(wanted), Some(wait)) = (&self.wanted, &mut self.wait) else {
            return;
        };
        let is_free = match freed_name(line) {
            Some(name) => {
                let keys = UsernameKey::of_typed(wanted).zip(UsernameKey::of_typed(name));
                keys.is_some_and(|(wanted, free)| wanted.collides_with(&free))
            }
            None => line.basic_sentence().is_some_and(summarises_departures),
        };
        if is_free {
            wait.attempt_soon(now);
        }
    }

    /// Returns the time of the next attempt.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wait.as_ref()?.next
    }

    /// Returns the name to request, if the time for the next attempt has come; counts the attempt.
    pub(super) fn attempt(&mut self, now: Instant) -> Option<String> {
        let wait = self.wait.as_mut()?;
        wait.next.take_if(|next| *next <= now)?;
        wait.attempts += 1;
        wait.earliest = now + MIN_NAME_INTERVAL * (1 << wait.attempts.min(16));
        self.wanted.clone()
    }
}

/// Returns whether a sentence counts departures without names, such as `3 users have entered the
/// chat, 12 have left`.
fn summarises_departures(sentence: &str) -> bool {
    sentence.starts_with(|first: char| first.is_ascii_digit())
        && (sentence.ends_with(" left") || sentence.ends_with(" left the chat"))
}

/// Returns the name that nobody has after this line, in either dialect.
fn freed_name(line: &ServerLine) -> Option<&str> {
    match line {
        ServerLine::Left(user) => Some(&user.name),
        _ => line.renaming().map(|(old, _)| old).or_else(|| {
            let name = line.basic_sentence()?.strip_suffix(" has left the chat")?;
            (name != "1 user").then_some(name)
        }),
    }
}

/// Returns the sentence that rejects a name as taken, in the basic dialect.
pub(super) fn taken_name(line: &ServerLine) -> Option<&str> {
    let sentence = line.basic_sentence()?;
    let is_rejection = sentence.starts_with("The name \"") && sentence.contains("\" is taken");
    is_rejection.then_some(sentence)
}
