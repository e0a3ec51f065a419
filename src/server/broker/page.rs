//! What the broker does for browsers.
//!
//! What lives here: requests of users of the page, and the beginning and end of live streams. It is
//! a part of the broker: the same room, the same order, the same steps; only the answer goes to
//! whoever asked by HTTP, when it is committed, and not to a connection of the chat.

use super::{Broker, can_be_done_without_a_store, fresh_token};
use crate::event::EventKind;
use crate::event::LeaveReason;
use crate::limits::WEB_HEARTBEAT_INTERVAL;
use crate::protocol::{Refusal, Request};
use crate::room::page::NotJoined;
use crate::room::{Effect, Ending, Reply, UserId};
use crate::server::frames::{self, HEARTBEAT};
use crate::server::inbox::{
    ClientKey, FromPage, NewStream, PageAnswer, PageRefusal, PageRequest, Submission,
};
use crate::server::outbound::Content;
use crate::server::publisher::{Lines, Step};
use crate::token::Token;
use std::net::IpAddr;
use std::time::Duration;

impl Broker {
    /// Does what a browser asks for; it is answered when that is committed.
    pub(super) fn take_from_page(&mut self, from: FromPage) {
        let FromPage {
            session,
            address,
            asked,
            answer,
        } = from;
        let answered = match self.is_stopping {
            true => PageAnswer::Not(PageRefusal::Stopping),
            false => self.answer_page(session, address, asked),
        };
        self.step(Step::Answer(answer, answered));
    }

    fn answer_page(
        &mut self,
        session: Option<Token>,
        address: IpAddr,
        asked: PageRequest,
    ) -> PageAnswer {
        let user = session
            .as_ref()
            .and_then(|token| self.room.page_user(token, self.now));
        let Some(user) = user else {
            return match asked {
                PageRequest::Join(name) => self.join(session, address, &name),
                // It is not here, and that is what it wants.
                PageRequest::Leave => PageAnswer::Left,
                PageRequest::Do(_) | PageRequest::Refused(_) => {
                    PageAnswer::Not(PageRefusal::NoSession)
                }
            };
        };
        if let PageRequest::Leave = asked {
            self.end_page_user(user, LeaveReason::Quit);
            return PageAnswer::Left;
        }
        if let Err(wait) = self.page.count_request(user, self.uptime) {
            return PageAnswer::Not(PageRefusal::TooFast(wait));
        }
        if let Err(no_entry) = self.room.stay(user, address, self.now) {
            return PageAnswer::Not(PageRefusal::NoEntry(no_entry));
        }
        match asked {
            PageRequest::Join(name) => {
                let done = self.do_for_page(user, Submission::Request(Request::SetName(name)));
                let name = self.room.name(user).cloned();
                match (done, name, session) {
                    (PageAnswer::Done(_), Some(name), Some(token)) => PageAnswer::Joined {
                        name,
                        token,
                        is_new: false,
                    },
                    (other, ..) => other,
                }
            }
            PageRequest::Do(request) => self.do_for_page(user, Submission::Request(request)),
            PageRequest::Refused(refusal) => {
                self.do_for_page(user, Submission::Refused(refusal.into()))
            }
            PageRequest::Leave => PageAnswer::Left,
        }
    }

    fn join(&mut self, session: Option<Token>, address: IpAddr, name: &str) -> PageAnswer {
        if self.is_failing() {
            return PageAnswer::Not(PageRefusal::Refused(Refusal::NotStored));
        }
        if let Err(wait) = self.page.count_join(address, self.uptime) {
            return PageAnswer::Not(PageRefusal::TooFast(wait));
        }
        let mut effects = Vec::new();
        let (who, fresh) = ((session, address), &mut fresh_token);
        let joined = self.room.join(who, name, fresh, self.now, &mut effects);
        self.snapshot = None;
        for effect in effects {
            self.apply_for_none(effect);
        }
        match joined {
            Ok(joined) => PageAnswer::Joined {
                name: joined.name,
                token: joined.token,
                is_new: true,
            },
            Err(NotJoined::Refused(refusal)) => PageAnswer::Not(PageRefusal::Refused(refusal)),
            Err(NotJoined::NoEntry(no_entry)) => PageAnswer::Not(PageRefusal::NoEntry(no_entry)),
        }
    }

    /// Does what one who is here asks for.
    fn do_for_page(&mut self, user: UserId, asked: Submission) -> PageAnswer {
        if self.is_failing() && !can_be_done_without_a_store(&asked) {
            return PageAnswer::Not(PageRefusal::Refused(Refusal::NotStored));
        }
        let mut effects = Vec::new();
        match asked {
            Submission::Request(request) => {
                let fresh = &mut fresh_token;
                self.room
                    .request(user, request, fresh, self.now, &mut effects);
            }
            Submission::Refused(refused) => {
                let kind = refused.kind;
                self.room.refuse(user, refused.refusal, kind, &mut effects);
            }
            // Only connections of the chat have these.
            Submission::Hello(..) | Submission::Answer(_) => {}
        }
        let mut answer = PageAnswer::Done(None);
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Ack { id, .. }) => answer = PageAnswer::Done(id),
                Effect::Reply(Reply::Refused { refusal, .. }) => {
                    answer = PageAnswer::Not(PageRefusal::Refused(refusal));
                }
                Effect::Close(ending) => {
                    if let Ending::Refused(sentence) = ending {
                        answer = PageAnswer::Not(PageRefusal::Ended(sentence));
                    }
                    self.end_page_user(user, LeaveReason::Refused);
                }
                Effect::Public(event) => {
                    if let EventKind::Said(message) = &event.kind {
                        answer = PageAnswer::Done(Some(message.id));
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
            self.step(Step::Bytes(key, frames::session_frame(None), 0));
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
        let delivery = &mut self.publisher.delivery;
        let key = delivery.connect_stream(stream.peer, stream.outbound);
        self.beat_at
            .get_or_insert(self.uptime + WEB_HEARTBEAT_INTERVAL);
        let user = stream
            .session
            .and_then(|token| self.room.page_user(&token, self.now));
        let kept = user.map(|user| self.room.attend(user, address, self.now));
        let (user, kept) = match (user, kept) {
            (Some(user), Some(Ok(kept))) => (Some(user), kept),
            (_, Some(Err(no_entry))) => {
                let told = frames::told_frame("full", &no_entry.to_string());
                self.reply_to_stream(key, told);
                (None, Vec::new())
            }
            _ => (None, Vec::new()),
        };
        let name = user.and_then(|user| self.room.name(user));
        let frame = frames::session_frame(name.map(|name| name.as_str()));
        self.reply_to_stream(key, frame);
        for message in kept {
            self.reply_to_stream(key, frames::private_frame(&message));
        }
        if let Some(user) = user {
            self.page.begin_stream(user, key);
        }
        // One who has hung up meanwhile sends its end all the same.
        let _ = stream.key.try_send(key);
    }

    fn reply_to_stream(&mut self, key: ClientKey, frame: std::sync::Arc<[u8]>) {
        let delivery = &mut self.publisher.delivery;
        delivery.reply(key, Content::Bytes(frame), 0);
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
        self.room.withdraw(user, self.now, &mut effects);
        for effect in effects {
            self.apply_for_none(effect);
        }
    }

    /// When the streams are to be shown that the server is there.
    pub(super) fn next_beat(&self) -> Option<Duration> {
        self.beat_at
    }

    /// Shows all streams that the server is there, so that who is gone is noticed.
    pub(super) fn beat_if_due(&mut self) {
        if self.beat_at.is_none_or(|at| at > self.uptime) {
            return;
        }
        let has_streams = self.publisher.delivery.stream_count() > 0;
        self.beat_at = has_streams.then_some(self.uptime + WEB_HEARTBEAT_INTERVAL);
        if has_streams {
            let mut lines = Lines::default();
            lines.page.extend_from_slice(HEARTBEAT.as_bytes());
            self.publisher.say(&mut lines);
        }
    }
}
