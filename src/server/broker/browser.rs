//! What the broker does for browsers.
//!
//! What lives here: requests of users of the page, and the beginning and end of live streams. It is
//! a part of the broker: the same room, the same order, the same steps; only the answer goes to
//! whoever asked by HTTP, when it is committed, and not to a connection of the chat.

use crate::chat::error::RequestError;
use crate::chat::event::EventKind;
use crate::chat::event::LeaveReason;
use crate::chat::request::Request;
use crate::chat::room::{BrowserJoinError, Effect, Ending, JoinError, Reply, UserId};
use crate::chat::token::Token;
use crate::protocol::sse;
use crate::protocol::sse::HEARTBEAT;
use crate::server::broker::Broker;
use crate::server::broker::execute::{Action, Lines};
use crate::server::broker::requests::{can_be_done_without_a_store, new_token};
use crate::server::command::{
    BrowserCommand, BrowserError, BrowserReply, BrowserRequest, ClientLine, NewStream,
};
use crate::server::fanout::ClientKey;
use crate::server::fanout::outbox::ReplyBody;
use crate::server::limits::WEB_HEARTBEAT_INTERVAL;
use std::net::IpAddr;
use std::time::Duration;

impl Broker {
    /// Does what a browser asks for; it is answered when that is committed.
    pub(super) fn take_from_page(&mut self, from: BrowserRequest) {
        let BrowserRequest {
            session,
            address,
            asked,
            answer,
        } = from;
        let answered = match self.is_stopping {
            true => BrowserReply::Not(BrowserError::Stopping),
            false => self.answer_page(session, address, asked),
        };
        self.step(Action::Answer(answer, answered));
    }

    fn answer_page(
        &mut self,
        session: Option<Token>,
        address: IpAddr,
        asked: BrowserCommand,
    ) -> BrowserReply {
        let user = session
            .as_ref()
            .and_then(|token| self.room.browser_user(token, self.now));
        let Some(user) = user else {
            return match asked {
                BrowserCommand::Join(name) => self.join(session, address, &name),
                // It is not here, and that is what it wants.
                BrowserCommand::Leave => BrowserReply::Left,
                BrowserCommand::Do(_) | BrowserCommand::Refused(_) => {
                    BrowserReply::Not(BrowserError::NoSession)
                }
            };
        };
        if let BrowserCommand::Leave = asked {
            self.end_page_user(user, LeaveReason::Quit);
            return BrowserReply::Left;
        }
        if let Err(wait) = self.browser_limits.count_request(user, self.uptime) {
            return BrowserReply::Not(BrowserError::TooFast(wait));
        }
        if let Err(no_entry) = self.room.touch(user, address, self.now) {
            return BrowserReply::Not(BrowserError::NoEntry(no_entry));
        }
        match asked {
            BrowserCommand::Join(name) => {
                let done = self.do_for_page(user, ClientLine::Request(Request::SetName(name)));
                let name = self.room.name(user).cloned();
                match (done, name, session) {
                    (BrowserReply::Done(_), Some(name), Some(token)) => BrowserReply::Joined {
                        name,
                        token,
                        is_new: false,
                    },
                    (other, ..) => other,
                }
            }
            BrowserCommand::Do(request) => self.do_for_page(user, ClientLine::Request(request)),
            BrowserCommand::Refused(refusal) => {
                self.do_for_page(user, ClientLine::Refused(refusal.into()))
            }
            BrowserCommand::Leave => BrowserReply::Left,
        }
    }

    fn join(&mut self, session: Option<Token>, address: IpAddr, name: &str) -> BrowserReply {
        if self.is_failing() {
            return BrowserReply::Not(BrowserError::Refused(RequestError::NotStored));
        }
        if let Err(wait) = self.browser_limits.count_join(address, self.uptime) {
            return BrowserReply::Not(BrowserError::TooFast(wait));
        }
        let mut effects = Vec::new();
        let (who, fresh) = ((session, address), &mut new_token);
        let joined = self.room.join(who, name, fresh, self.now, &mut effects);
        for effect in effects {
            self.apply_for_none(effect);
        }
        match joined {
            Ok(joined) => BrowserReply::Joined {
                name: joined.name,
                token: joined.token,
                is_new: true,
            },
            Err(BrowserJoinError::Rejected(refusal)) => {
                BrowserReply::Not(BrowserError::Refused(refusal))
            }
            Err(BrowserJoinError::NoSlot(no_entry)) => {
                BrowserReply::Not(BrowserError::NoEntry(no_entry))
            }
        }
    }

    /// Does what one who is here asks for.
    fn do_for_page(&mut self, user: UserId, asked: ClientLine) -> BrowserReply {
        if self.is_failing() && !can_be_done_without_a_store(&asked) {
            return BrowserReply::Not(BrowserError::Refused(RequestError::NotStored));
        }
        let mut effects = Vec::new();
        match asked {
            ClientLine::Request(request) => {
                let fresh = &mut new_token;
                self.room
                    .request(user, request, fresh, self.now, &mut effects);
            }
            ClientLine::Refused(refused) => {
                self.room.reject(user, refused, &mut effects);
            }
            // Only connections of the chat have these.
            ClientLine::Hello(..) | ClientLine::Answer(_) => {}
        }
        let mut answer = BrowserReply::Done(None);
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Ack { id, .. }) => answer = BrowserReply::Done(id),
                Effect::Reply(Reply::Rejected(rejected)) => {
                    answer = BrowserReply::Not(BrowserError::Refused(rejected.error));
                }
                Effect::Close(ending) => {
                    if let Ending::Rejected(sentence) = ending {
                        answer = BrowserReply::Not(BrowserError::Ended(sentence));
                    }
                    self.end_page_user(user, LeaveReason::Refused);
                }
                Effect::Public(event) => {
                    if let EventKind::Said(message) = &event.kind {
                        answer = BrowserReply::Done(Some(message.id));
                    }
                    self.apply_for_none(Effect::Public(event));
                }
                other => self.apply_for_none(other),
            }
        }
        answer
    }

    /// Removes a browser user. Its streams go on without a user.
    fn end_page_user(&mut self, user: UserId, reason: LeaveReason) {
        self.browser_limits.remove(user);
        for key in self.connections_by_user.remove(&user).unwrap_or_default() {
            self.publisher.fanout.take_user(key);
            self.step(Action::Bytes(key, sse::session_event(None), 0));
        }
        self.disconnect_user(user, reason);
    }

    // Live streams

    /// Begins a live stream, from where it subscribed on. Its user, if it has one, is there from now
    /// on. It does not wait for the store: all that it is told is about itself.
    pub(super) fn begin_stream(&mut self, stream: NewStream) {
        if self.is_stopping {
            return;
        }
        self.heartbeat_at
            .get_or_insert(self.uptime + WEB_HEARTBEAT_INTERVAL);
        let address = stream.peer.address().ip();
        let token = stream.session.as_ref();
        let user = token.and_then(|token| self.room.browser_user(token, self.now));
        let attached = user.map(|user| {
            let copies = self.room.attach_stream(user, address, self.now)?;
            Ok::<_, JoinError>((user, copies))
        });
        let (attached, error) = match attached {
            Some(Ok(attached)) => (Some(attached), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let (user, copies) = attached.unzip();
        let fanout = &mut self.publisher.fanout;
        let key = fanout.connect_stream(stream.peer, stream.outbox, user);
        if let Some(user) = user {
            self.connections_by_user.entry(user).or_default().push(key);
        }
        if let Some(error) = error {
            self.reply_to_stream(key, sse::error_event("full", &error.to_string()));
        }
        let name = user.and_then(|user| self.room.name(user));
        let frame = sse::session_event(name.map(|name| name.as_str()));
        self.reply_to_stream(key, frame);
        for copy in copies.unwrap_or_default() {
            self.publisher
                .fanout
                .send_private(key, sse::private_event(&copy));
        }
        // The task of a stream that has hung up meanwhile sends its end all the same.
        let _ = stream.key.try_send(key);
    }

    fn reply_to_stream(&mut self, key: ClientKey, frame: std::sync::Arc<[u8]>) {
        let fanout = &mut self.publisher.fanout;
        fanout.reply(key, ReplyBody::Bytes(frame), 0);
    }

    /// When the streams are to be shown that the server is there.
    pub(super) fn next_heartbeat(&self) -> Option<Duration> {
        self.heartbeat_at
    }

    /// Shows all streams that the server is there, so that who is gone is noticed.
    pub(super) fn send_heartbeat_if_due(&mut self) {
        if self.heartbeat_at.is_none_or(|at| at > self.uptime) {
            return;
        }
        let has_streams = self.publisher.fanout.stream_count() > 0;
        self.heartbeat_at = has_streams.then_some(self.uptime + WEB_HEARTBEAT_INTERVAL);
        if has_streams {
            let mut lines = Lines::default();
            lines.page.extend_from_slice(HEARTBEAT.as_bytes());
            self.publisher.say(&mut lines);
        }
    }
}
