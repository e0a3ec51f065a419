//! Lines of clients: each becomes a request to the room, and its effects become actions.

use crate::chat::error::RequestError;
use crate::chat::request::{EventCursor, Request};
use crate::chat::room::{Effect, Ending, Reply, UserId};
use crate::chat::token::{TOKEN_BYTES, Token};
use crate::server::broker::Broker;
use crate::server::broker::action::{Action, HelloReply, LastLine};
use crate::server::close_reason::CloseReason;
use crate::server::command::ClientLine;
use crate::server::fanout::ClientKey;

/// The newest event that a client has, and the oldest in the store.
type ResumePoint = (Option<EventCursor>, Option<u64>);

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
        for line in lines {
            let Some(user) = self.fanout.user(key) else {
                break;
            };
            has_replies |= self.handle_line(key, user, line);
        }
        if has_ended {
            self.add_action(Action::FinishWrites(key));
            self.disconnect(key, CloseReason::Closed);
        }
        // Not `add_action`: this action needs no position among the lines.
        self.actions.push(Action::Answered(key, has_replies));
    }

    /// Handles one line. Returns whether it has a reply.
    fn handle_line(&mut self, key: ClientKey, user: UserId, line: ClientLine) -> bool {
        if self.is_failing() && !needs_no_store(&line) {
            let rejected = Reply::Rejected(RequestError::NotStored.into());
            self.add_action(Action::Reply(key, rejected));
            return true;
        }
        let mut effects = Vec::new();
        let mut resume_point = ResumePoint::default();
        match line {
            ClientLine::Request(request) => {
                self.request(user, request, &mut effects);
            }
            ClientLine::Hello(mut hello, oldest_stored) => {
                let address = self.fanout.address(key);
                tracing::debug!(?address, client = ?hello.client, "speaks the extended dialect");
                resume_point = (hello.after.take(), oldest_stored);
                self.request(user, Request::Hello(hello), &mut effects);
            }
            ClientLine::Rejected(rejected) => {
                self.room.reject(user, rejected, &mut effects);
            }
            ClientLine::Answer(bytes) => {
                self.room.reset_rejections(user);
                self.add_action(Action::Bytes(key, bytes, 0));
                return true;
            }
        }
        self.apply_for_client(key, effects, resume_point)
    }

    pub(super) fn request(&mut self, user: UserId, request: Request, effects: &mut Vec<Effect>) {
        self.room
            .request(user, request, &mut new_token, self.now, effects);
    }

    /// Applies the effects of a client's line. Returns whether one is a reply.
    fn apply_for_client(
        &mut self,
        key: ClientKey,
        effects: Vec<Effect>,
        resume_point: ResumePoint,
    ) -> bool {
        let mut resume_point = Some(resume_point);
        let mut has_replies = false;
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Welcome(welcome)) => {
                    has_replies = true;
                    // Summaries exist in the basic dialect only.
                    self.awaiting_summary.retain(|(waiting, _)| *waiting != key);
                    let (after, oldest_stored) = resume_point.take().unwrap_or_default();
                    let hello = HelloReply {
                        welcome,
                        after,
                        oldest_stored,
                    };
                    self.add_action(Action::SwitchToExtended(key, Box::new(hello)));
                }
                Effect::Reply(reply) => {
                    has_replies = true;
                    self.add_action(Action::Reply(key, reply));
                }
                Effect::Resumed(user) => self.resume(key, user),
                Effect::Close(Ending::Quit) => {
                    self.close(key, CloseReason::Quit, LastLine::Nothing);
                }
                Effect::Close(Ending::Rejected(sentence)) => {
                    self.close(key, CloseReason::Refused, LastLine::Rejected(sentence));
                }
                other => self.apply_effect(other),
            }
        }
        has_replies
    }

    /// Applies an effect that is no reply to a client's line.
    pub(super) fn apply_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Public(event) => self.publish(event),
            Effect::Tell(user, reply) => {
                self.add_action_for_each(user, |key| Action::Reply(key, reply.clone()));
            }
            Effect::Private(user, copy) => {
                self.add_action_for_each(user, |key| Action::Private(key, copy.clone()));
            }
            // `apply_for_client` handles these.
            Effect::Reply(_) | Effect::Resumed(_) | Effect::Close(_) => {}
        }
    }

    /// Adds an action for each connection of a user.
    fn add_action_for_each(&mut self, user: UserId, action: impl Fn(ClientKey) -> Action) {
        if self.connections_by_user.contains_key(&user) {
            self.flush_lines();
        }
        let connections = self.connections_by_user.get(&user).into_iter().flatten();
        self.actions.extend(connections.copied().map(action));
    }

    /// Gives a connection to an earlier user and closes that user's other connections.
    fn resume(&mut self, key: ClientKey, user: UserId) {
        if let Some(temporary) = self.fanout.user(key) {
            self.connections_by_user.remove(&temporary);
        }
        for replaced in self.connections_by_user.remove(&user).unwrap_or_default() {
            if let Some((_, address)) = self.fanout.take_user(replaced) {
                self.log_disconnect(user, address, CloseReason::Resumed);
                self.add_action(Action::Close(replaced, LastLine::Nothing));
            }
        }
        self.fanout.set_user(key, user);
        self.connections_by_user.insert(user, vec![key]);
    }
}

/// Returns whether a line can be handled while the store fails.
pub(super) fn needs_no_store(line: &ClientLine) -> bool {
    match line {
        // The history in memory may have messages that are not committed.
        ClientLine::Request(request) => {
            matches!(request, Request::Users | Request::Ping(_) | Request::Quit)
        }
        ClientLine::Hello(..) => false,
        ClientLine::Rejected(_) | ClientLine::Answer(_) => true,
    }
}
