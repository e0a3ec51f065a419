//! What the broker does for browsers.
//!
//! What lives here: requests of users of the page, and the beginning and end of live streams. It is
//! a part of the broker: the same room, the same order, the same steps; only the answer goes to
//! whoever asked by HTTP, when it is committed, and not to a connection of the chat.

use super::{Broker, can_be_done_without_a_store, new_token};
use crate::chat::error::RequestError;
use crate::chat::event::EventKind;
use crate::chat::event::LeaveReason;
use crate::chat::request::Request;
use crate::chat::room::browser::NotJoined;
use crate::chat::room::{Effect, Ending, Reply, UserId};
use crate::chat::token::Token;
use crate::protocol::sse;
use crate::protocol::sse::HEARTBEAT;
use crate::server::broker::execute::{Action, Lines};
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
            .and_then(|token| self.room.page_user(token, self.now));
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
        if let Err(wait) = self.page.count_request(user, self.uptime) {
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
        if let Err(wait) = self.page.count_join(address, self.uptime) {
            return BrowserReply::Not(BrowserError::TooFast(wait));
        }
        let mut effects = Vec::new();
        let (who, fresh) = ((session, address), &mut new_token);
        let joined = self.room.join(who, name, fresh, self.now, &mut effects);
        self.snapshot = None;
        for effect in effects {
            self.apply_for_none(effect);
        }
        match joined {
            Ok(joined) => BrowserReply::Joined {
                name: joined.name,
                token: joined.token,
                is_new: true,
            },
            Err(NotJoined::Refused(refusal)) => BrowserReply::Not(BrowserError::Refused(refusal)),
            Err(NotJoined::NoEntry(no_entry)) => BrowserReply::Not(BrowserError::NoEntry(no_entry)),
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
                let kind = refused.kind;
                self.room.refuse(user, refused.error, kind, &mut effects);
            }
            // Only connections of the chat have these.
            ClientLine::Hello(..) | ClientLine::Answer(_) => {}
        }
        let mut answer = BrowserReply::Done(None);
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Ack { id, .. }) => answer = BrowserReply::Done(id),
                Effect::Reply(Reply::Refused { refusal, .. }) => {
                    answer = BrowserReply::Not(BrowserError::Refused(refusal));
                }
                Effect::Close(ending) => {
                    if let Ending::Refused(sentence) = ending {
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

    /// A user of the page leaves for good; its streams go on as anybody's.
    fn end_page_user(&mut self, user: UserId, reason: LeaveReason) {
        for key in self.page.remove(user) {
            self.step(Action::Bytes(key, sse::session_event(None), 0));
        }
        let mut effects = Vec::new();
        self.room.leave(user, reason, self.now, &mut effects);
        self.snapshot = None;
        for effect in effects {
            self.apply_for_none(effect);
        }
    }

    // Live streams

    /// Begins a live stream, from where it subscribed on. Its user, if it has one, is there from now
    /// on. It does not wait for the store: all that it is told is about itself.
    pub(super) fn begin_stream(&mut self, stream: NewStream) {
        if self.is_stopping {
            return;
        }
        let address = stream.peer.address().ip();
        let fanout = &mut self.publisher.fanout;
        let key = fanout.connect_stream(stream.peer, stream.outbox);
        self.heartbeat_at
            .get_or_insert(self.uptime + WEB_HEARTBEAT_INTERVAL);
        let user = stream
            .session
            .and_then(|token| self.room.page_user(&token, self.now));
        let attended = user.map(|user| self.room.attach_stream(user, address, self.now));
        let (user, copies) = match (user, attended) {
            (Some(user), Some(Ok(copies))) => (Some(user), copies),
            (_, Some(Err(no_entry))) => {
                let told = sse::error_event("full", &no_entry.to_string());
                self.reply_to_stream(key, told);
                (None, Vec::new())
            }
            _ => (None, Vec::new()),
        };
        let name = user.and_then(|user| self.room.name(user));
        let frame = sse::session_event(name.map(|name| name.as_str()));
        self.reply_to_stream(key, frame);
        for copy in copies {
            self.reply_to_stream(key, sse::private_event(&copy));
        }
        if let Some(user) = user {
            self.page.begin_stream(user, key);
        }
        // One who has hung up meanwhile sends its end all the same.
        let _ = stream.key.try_send(key);
    }

    fn reply_to_stream(&mut self, key: ClientKey, frame: std::sync::Arc<[u8]>) {
        let fanout = &mut self.publisher.fanout;
        fanout.reply(key, ReplyBody::Bytes(frame), 0);
    }

    /// A connection has ended, which may have been the last stream of a user of the page.
    pub(super) fn end_stream(&mut self, key: ClientKey) {
        let Some(user) = self.page.end_stream(key) else {
            return;
        };
        if self.is_stopping {
            // As with connections: who was here at the end is here again when the server is.
            return;
        }
        let mut effects = Vec::new();
        self.room.detach_stream(user, self.now, &mut effects);
        for effect in effects {
            self.apply_for_none(effect);
        }
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
