//! Lines of clients: each becomes a request to the room, and its effects become actions.

use crate::chat::error::RequestError;
use crate::chat::request::{EventCursor, Request};
use crate::chat::room::{Effect, Ending, Reply, UserId};
use crate::chat::token::{TOKEN_BYTES, Token};
use crate::server::broker::Broker;
use crate::server::broker::execute::{Action, HelloReply, LastLine};
use crate::server::close_reason::CloseReason;
use crate::server::command::ClientLine;
use crate::server::fanout::ClientKey;

/// What one who says hello wants to have again.
type Wanted = (Option<EventCursor>, Option<u64>);

/// A token of the system's randomness.
pub(super) fn new_token() -> Token {
    let mut random = [0; TOKEN_BYTES];
    // Without randomness there can be no secret: whoever could go on would be worse off.
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    Token::new(random)
}

impl Broker {
    pub(super) fn take_lines(&mut self, key: ClientKey, lines: Vec<ClientLine>, has_ended: bool) {
        let mut has_replies = false;
        let is_refused = |line: &&ClientLine| matches!(line, ClientLine::Refused(_));
        let refused = lines.iter().filter(is_refused).count();
        self.context.metrics.count_lines(lines.len(), refused);
        for line in lines {
            let Some(user) = self.publisher.fanout.user(key) else {
                break;
            };
            has_replies |= self.take_line(key, user, line);
        }
        if has_ended {
            self.step(Action::End(key));
            self.leave(key, CloseReason::Closed);
        }
        // It has no place among what is said.
        self.steps.push(Action::Answered(key, has_replies));
    }

    /// Does what one line asks; true if there is an answer.
    pub(super) fn take_line(&mut self, key: ClientKey, user: UserId, line: ClientLine) -> bool {
        if self.is_failing() && !can_be_done_without_a_store(&line) {
            let rejected = Reply::Rejected(RequestError::NotStored.into());
            self.step(Action::Reply(key, rejected));
            return true;
        }
        let mut effects = Vec::new();
        let mut wanted = Wanted::default();
        match line {
            ClientLine::Request(request) => {
                let fresh = &mut new_token;
                self.room
                    .request(user, request, fresh, self.now, &mut effects);
            }
            ClientLine::Hello(mut hello, oldest_stored) => {
                let address = self.publisher.fanout.address(key);
                tracing::debug!(?address, client = ?hello.client, "speaks the extended dialect");
                wanted = (hello.after.take(), oldest_stored);
                let (request, fresh) = (Request::Hello(hello), &mut new_token);
                self.room
                    .request(user, request, fresh, self.now, &mut effects);
            }
            ClientLine::Refused(refused) => {
                self.room.reject(user, refused, &mut effects);
            }
            ClientLine::Answer(bytes) => {
                self.room.reset_rejections(user);
                self.step(Action::Bytes(key, bytes, 0));
                return true;
            }
        }
        self.apply(key, effects, wanted)
    }

    /// Does what came of something that this client did; true if it gets an answer.
    pub(super) fn apply(&mut self, key: ClientKey, effects: Vec<Effect>, wanted: Wanted) -> bool {
        let mut wanted = Some(wanted);
        let mut has_replies = false;
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Welcome(welcome)) => {
                    has_replies = true;
                    // The summaries of arrivals are not for it any more.
                    self.awaiting_summary.retain(|(waiting, _)| *waiting != key);
                    let (after, oldest_stored) = wanted.take().unwrap_or_default();
                    let greeting = HelloReply {
                        welcome,
                        after,
                        oldest_stored,
                    };
                    self.step(Action::Extend(key, Box::new(greeting)));
                }
                Effect::Reply(reply) => {
                    has_replies = true;
                    self.step(Action::Reply(key, reply));
                }
                Effect::Resumed(user) => self.resume(key, user),
                Effect::Close(Ending::Quit) => {
                    self.end(key, CloseReason::Quit, LastLine::Nothing);
                }
                Effect::Close(Ending::Rejected(sentence)) => {
                    self.end(key, CloseReason::Refused, LastLine::Refused(sentence));
                }
                other => self.apply_for_none(other),
            }
        }
        has_replies
    }

    /// The same where no client did it.
    pub(super) fn apply_for_none(&mut self, effect: Effect) {
        match effect {
            Effect::Public(event) => self.publish(event),
            Effect::Tell(user, reply) => {
                self.step_for_each(user, |key| Action::Reply(key, reply.clone()));
            }
            Effect::Private(user, copy) => {
                self.step_for_each(user, |key| Action::Private(key, copy.clone()));
            }
            // They answer somebody.
            Effect::Reply(_) | Effect::Resumed(_) | Effect::Close(_) => {}
        }
    }

    /// Adds an action for each connection of a user.
    pub(super) fn step_for_each(&mut self, user: UserId, action: impl Fn(ClientKey) -> Action) {
        let Some(connections) = self.connections_by_user.get(&user) else {
            return;
        };
        if !self.lines.is_empty() {
            self.steps
                .push(Action::Lines(std::mem::take(&mut self.lines)));
        }
        self.steps.extend(connections.iter().copied().map(action));
    }

    /// Gives a connection to an earlier user, whose other connection closes.
    pub(super) fn resume(&mut self, key: ClientKey, user: UserId) {
        if let Some(temporary) = self.publisher.fanout.user(key) {
            self.connections_by_user.remove(&temporary);
        }
        for replaced in self.connections_by_user.remove(&user).unwrap_or_default() {
            if let Some((_, address)) = self.publisher.fanout.take_user(replaced) {
                self.note_end(user, address, CloseReason::Resumed);
                self.step(Action::Close(replaced, LastLine::Nothing));
            }
        }
        self.publisher.fanout.set_user(key, user);
        self.connections_by_user.insert(user, vec![key]);
    }
}

/// Whether nothing of what a line asks for would have to be kept.
pub(super) fn can_be_done_without_a_store(line: &ClientLine) -> bool {
    match line {
        // A history from memory could hold what is not committed.
        ClientLine::Request(request) => {
            matches!(request, Request::Users | Request::Ping(_) | Request::Quit)
        }
        ClientLine::Hello(..) => false,
        ClientLine::Refused(_) | ClientLine::Answer(_) => true,
    }
}
