//! Lines of clients: each becomes a request to the room, and its effects become actions.

use crate::chat::error::RequestError;
use crate::chat::request::Request;
use crate::chat::room::{Effect, Ending, Reply, UserId};
use crate::chat::token::{TOKEN_BYTES, Token};
use crate::server::broker::Broker;
use crate::server::broker::action::{Action, ResumePoint};
use crate::server::close_reason::CloseReason;
use crate::server::command::ClientLine;
use crate::server::fanout::ClientKey;

/// Returns a new random token.
///
/// # Panics
/// The operating system has no random bytes.
pub(super) fn new_token() -> Token {
    let mut random = [0; TOKEN_BYTES];
    // Panic: continuing without a secure random source would hand out guessable tokens.
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    Token::new(random)
}

impl Broker {
    pub(super) fn handle_lines(&mut self, key: ClientKey, lines: Vec<ClientLine>, has_ended: bool) {
        let mut has_replies = false;
        let is_rejected = |line: &&ClientLine| matches!(line, ClientLine::Rejected(_));
        let rejected = lines.iter().filter(is_rejected).count();
        self.context.metrics.count_lines(lines.len(), rejected);
        if let Some(user) = self.fanout.user(key)
            && !self.fanout.is_behind(key)
        {
            self.room.note_sign_of_life(user);
        }
        for line in lines {
            let Some(user) = self.fanout.user(key) else {
                break;
            };
            has_replies |= self.handle_line(key, user, line);
        }
        if has_ended {
            self.actions.push(Action::FinishWrites(key));
            self.disconnect(key, CloseReason::Closed);
        }
        self.actions.push(Action::ResumeReading(key, has_replies));
    }

    /// Handles one line. Returns whether it has a reply.
    fn handle_line(&mut self, key: ClientKey, user: UserId, line: ClientLine) -> bool {
        let needs_store = match &line {
            ClientLine::Request(request) => !needs_no_store(request),
            ClientLine::Hello(..) => true,
            ClientLine::Rejected(_) | ClientLine::Answer(_) | ClientLine::Foreign(_) => false,
        };
        if needs_store && self.is_failing() {
            let rejected = Reply::Rejected(RequestError::NotStored.into());
            self.actions.push(Action::Reply(key, rejected));
            return true;
        }
        let mut resume = ResumePoint::default();
        let effects = match line {
            ClientLine::Request(request) => self.room.request(user, request, &mut new_token),
            ClientLine::Hello(mut hello, oldest_stored) => {
                let address = self.fanout.address(key);
                tracing::debug!(?address, client = ?hello.client, "speaks the extended dialect");
                resume.after = hello.after.clone();
                let epoch = &self.context.epoch;
                hello.after = hello.after.filter(|after| *after.epoch == **epoch);
                resume.oldest_stored = oldest_stored;
                self.room
                    .request(user, Request::Hello(hello), &mut new_token)
            }
            ClientLine::Rejected(rejected) => self.room.reject(user, rejected),
            ClientLine::Answer(bytes) => {
                self.room.reset_rejections(user);
                self.actions.push(Action::Bytes(key, bytes, 0));
                return true;
            }
            ClientLine::Foreign(answer) => {
                self.actions.push(Action::Bytes(key, answer, 0));
                self.close(key, CloseReason::OtherProtocol);
                return true;
            }
        };
        let is_reply = |effect: &Effect| matches!(effect, Effect::Reply(_));
        let has_replies = effects.iter().any(is_reply);
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Welcome(welcome)) => {
                    // Summaries exist in the basic dialect only.
                    self.awaiting_summary.retain(|(waiting, _)| *waiting != key);
                    let resume = std::mem::take(&mut resume);
                    self.actions.push(Action::Welcome(key, welcome, resume));
                }
                Effect::Reply(reply) => self.actions.push(Action::Reply(key, reply)),
                Effect::Resumed(user) => self.resume(key, user),
                Effect::Close(Ending::Quit) => self.close(key, CloseReason::Quit),
                Effect::Close(Ending::Rejected(sentence)) => {
                    self.actions
                        .push(Action::Reply(key, Reply::Notice(sentence)));
                    self.close(key, CloseReason::Refused);
                }
                other => self.apply_effect(other),
            }
        }
        has_replies
    }

    pub(super) fn apply_effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.apply_effect(effect);
        }
    }

    /// Applies an effect that does not concern the requester alone.
    pub(super) fn apply_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Public(event) => self.publish(event),
            Effect::ToUser(user, reply) => {
                for key in self.connections_of(user) {
                    self.actions.push(Action::Reply(key, reply.clone()));
                }
            }
            Effect::Reply(_) | Effect::Resumed(_) | Effect::Close(_) => {}
        }
    }

    /// Gives a connection to an earlier user and closes that user's other connections.
    fn resume(&mut self, key: ClientKey, user: UserId) {
        if let Some(temporary) = self.fanout.user(key) {
            self.connections.remove(&(temporary, key));
        }
        for replaced in self.connections_of(user) {
            self.connections.remove(&(user, replaced));
            if let Some((_, address)) = self.fanout.take_user(replaced) {
                self.log_disconnect(user, address, CloseReason::Resumed);
                self.actions
                    .push(Action::Close(replaced, CloseReason::Resumed));
            }
        }
        self.fanout.set_user(key, user);
        self.connections.insert((user, key));
    }
}

/// Returns whether a request can be answered while the store fails.
pub(super) fn needs_no_store(request: &Request) -> bool {
    // Not the history, since the messages in memory may not be committed.
    matches!(request, Request::Users | Request::Ping(_) | Request::Quit)
}
