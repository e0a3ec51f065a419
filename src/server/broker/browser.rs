//! Requests of browsers, and the start of live streams.
//!
//! A request goes through the same room, in the same order, as a line of a client. Its reply goes
//! to the HTTP task after the commit.

use crate::chat::error::RequestError;
use crate::chat::event::EventKind;
use crate::chat::event::LeaveReason;
use crate::chat::request::Request;
use crate::chat::room::{BrowserJoinError, Effect, Ending, JoinError, Reply, UserId};
use crate::chat::token::Token;
use crate::protocol::sse;
use crate::protocol::sse::HEARTBEAT;
use crate::server::broker::Broker;
use crate::server::broker::action::{Action, Lines};
use crate::server::broker::requests::{needs_no_store, new_token};
use crate::server::command::{
    BrowserCommand, BrowserError, BrowserReply, BrowserRequest, ClientLine, NewStream,
};
use crate::server::fanout::ClientKey;
use crate::server::fanout::outbox::ReplyBody;
use crate::server::limits::WEB_HEARTBEAT_INTERVAL;
use std::net::IpAddr;
use std::sync::Arc;

impl Broker {
    /// Handles a request of a browser. The reply waits for the commit.
    pub(super) fn handle_browser_request(&mut self, request: BrowserRequest) {
        let BrowserRequest {
            session,
            address,
            command,
            reply: reply_to,
        } = request;
        let reply = match self.is_stopping {
            true => BrowserReply::Failed(BrowserError::Stopping),
            false => self.browser_reply(session, address, command),
        };
        self.add_action(Action::ReplyToBrowser(reply_to, reply));
    }

    fn browser_reply(
        &mut self,
        session: Option<Token>,
        address: IpAddr,
        command: BrowserCommand,
    ) -> BrowserReply {
        let user = session
            .as_ref()
            .and_then(|token| self.room.browser_user(token, self.now));
        let Some(user) = user else {
            return match command {
                BrowserCommand::Join(name) => self.join(session, address, &name),
                // The browser has no user any more, which is what it requests.
                BrowserCommand::Leave => BrowserReply::Left,
                BrowserCommand::Request(_) | BrowserCommand::Rejected(_) => {
                    BrowserReply::Failed(BrowserError::NoSession)
                }
            };
        };
        if let BrowserCommand::Leave = command {
            self.remove_browser_user(user, LeaveReason::Quit);
            return BrowserReply::Left;
        }
        if let Err(wait) = self.browser_limits.count_request(user, self.uptime) {
            return BrowserReply::Failed(BrowserError::TooFast(wait));
        }
        if let Err(error) = self.room.touch(user, address, self.now) {
            return BrowserReply::Failed(BrowserError::Join(error));
        }
        match command {
            BrowserCommand::Join(name) => {
                let done =
                    self.handle_browser_line(user, ClientLine::Request(Request::SetName(name)));
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
            BrowserCommand::Request(request) => {
                self.handle_browser_line(user, ClientLine::Request(request))
            }
            BrowserCommand::Rejected(rejection) => {
                self.handle_browser_line(user, ClientLine::Rejected(rejection.into()))
            }
            BrowserCommand::Leave => BrowserReply::Left,
        }
    }

    fn join(&mut self, session: Option<Token>, address: IpAddr, name: &str) -> BrowserReply {
        if self.is_failing() {
            return BrowserReply::Failed(BrowserError::Rejected(RequestError::NotStored));
        }
        if let Err(wait) = self.browser_limits.count_join(address, self.uptime) {
            return BrowserReply::Failed(BrowserError::TooFast(wait));
        }
        let mut effects = Vec::new();
        let (source, token_source) = ((session, address), &mut new_token);
        let joined = self
            .room
            .join(source, name, token_source, self.now, &mut effects);
        for effect in effects {
            self.apply_effect(effect);
        }
        match joined {
            Ok(joined) => BrowserReply::Joined {
                name: joined.name,
                token: joined.token,
                is_new: true,
            },
            Err(BrowserJoinError::Rejected(rejection)) => {
                BrowserReply::Failed(BrowserError::Rejected(rejection))
            }
            Err(BrowserJoinError::NoSlot(error)) => BrowserReply::Failed(BrowserError::Join(error)),
        }
    }

    /// Handles a request of a browser that has joined.
    fn handle_browser_line(&mut self, user: UserId, line: ClientLine) -> BrowserReply {
        if self.is_failing() && !needs_no_store(&line) {
            return BrowserReply::Failed(BrowserError::Rejected(RequestError::NotStored));
        }
        let mut effects = Vec::new();
        match line {
            ClientLine::Request(request) => self.request(user, request, &mut effects),
            ClientLine::Rejected(rejected) => {
                self.room.reject(user, rejected, &mut effects);
            }
            // Browsers never send these.
            ClientLine::Hello(..) | ClientLine::Answer(_) => {}
        }
        let mut reply = BrowserReply::Done(None);
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Ack { id, .. }) => reply = BrowserReply::Done(id),
                Effect::Reply(Reply::Rejected(rejected)) => {
                    reply = BrowserReply::Failed(BrowserError::Rejected(rejected.error));
                }
                Effect::Close(ending) => {
                    if let Ending::Rejected(sentence) = ending {
                        reply = BrowserReply::Failed(BrowserError::Ended(sentence));
                    }
                    self.remove_browser_user(user, LeaveReason::Refused);
                }
                Effect::Public(event) => {
                    if let EventKind::Said(message) = &event.kind {
                        reply = BrowserReply::Done(Some(message.id));
                    }
                    self.apply_effect(Effect::Public(event));
                }
                other => self.apply_effect(other),
            }
        }
        reply
    }

    /// Removes a browser user. Its live streams go on without a user.
    fn remove_browser_user(&mut self, user: UserId, reason: LeaveReason) {
        self.browser_limits.remove(user);
        for key in self.connections_by_user.remove(&user).unwrap_or_default() {
            self.fanout.take_user(key);
            self.add_action(Action::Bytes(key, sse::session_event(None), 0));
        }
        self.disconnect_user(user, reason);
    }

    // Live streams

    /// Starts a live stream at its subscription and attaches its user, if it has one. The stream does
    /// not wait for the store, since its first events concern this browser only.
    pub(super) fn start_stream(&mut self, stream: NewStream) {
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
        let fanout = &mut self.fanout;
        let key = fanout.connect_stream(stream.peer, stream.outbox, user);
        if let Some(user) = user {
            self.connections_by_user.entry(user).or_default().push(key);
        }
        if let Some(error) = error {
            self.reply_to_stream(key, sse::error_event("full", &error.to_string()));
        }
        let name = user.and_then(|user| self.room.name(user));
        let event = sse::session_event(name.map(|name| name.as_str()));
        self.reply_to_stream(key, event);
        for copy in copies.unwrap_or_default() {
            self.fanout.send_private(key, sse::private_event(&copy));
        }
        // If the browser has hung up, the task of the stream reports the end.
        let _ = stream.key.try_send(key);
    }

    fn reply_to_stream(&mut self, key: ClientKey, event: Arc<[u8]>) {
        self.fanout.reply(key, ReplyBody::Bytes(event), 0);
    }

    /// Sends a heartbeat to all live streams, so that dead connections are noticed.
    pub(super) fn send_heartbeat_if_due(&mut self) {
        if self.heartbeat_at.is_none_or(|at| at > self.uptime) {
            return;
        }
        let has_streams = self.fanout.stream_count() > 0;
        self.heartbeat_at = has_streams.then_some(self.uptime + WEB_HEARTBEAT_INTERVAL);
        if has_streams {
            let mut lines = Lines::default();
            lines.browser.extend_from_slice(HEARTBEAT.as_bytes());
            self.action_executor
                .append_lines(&mut self.fanout, &mut lines);
        }
    }
}
