//! Requests of browsers, and the start of live streams.
//!
//! A request goes through the same room, in the same order, as a line of a client. Its reply goes
//! to the HTTP task after the commit.

use crate::chat::error::RequestError;
use crate::chat::event::{EventKind, LeaveReason};
use crate::chat::request::Request;
use crate::chat::room::{BrowserJoinError, Effect, Ending, Reply, UserId};
use crate::chat::token::Token;
use crate::protocol::sse::{self, HEARTBEAT};
use crate::server::broker::Broker;
use crate::server::broker::action::Action;
use crate::server::broker::requests::{needs_no_store, new_token};
use crate::server::command::{
    BrowserCommand, BrowserError, BrowserReply, BrowserRequest, NewStream,
};
use crate::server::fanout::ClientKey;
use crate::server::fanout::outbox::ReplyBody;
use crate::server::limits::WEB_HEARTBEAT_INTERVAL;
use std::net::IpAddr;

impl Broker {
    /// Handles a request of a browser. The reply waits for the commit.
    pub(super) fn handle_browser_request(&mut self, request: BrowserRequest) {
        let BrowserRequest {
            session,
            address,
            command,
            reply: reply_to,
        } = request;
        let reply = self.browser_reply(session, address, command);
        let reply = reply.unwrap_or_else(BrowserReply::Failed);
        self.actions.push(Action::ReplyToBrowser(reply_to, reply));
    }

    fn browser_reply(
        &mut self,
        session: Option<Token>,
        address: IpAddr,
        command: BrowserCommand,
    ) -> Result<BrowserReply, BrowserError> {
        if self.is_stopping {
            return Err(BrowserError::Stopping);
        }
        let token = session.as_ref();
        let user = token.and_then(|token| self.room.browser_user(token));
        let (user, request) = match (user, command) {
            (Some(user), BrowserCommand::Join(name)) => (user, Ok(Request::SetName(name))),
            (Some(user), BrowserCommand::Request(request)) => (user, Ok(request)),
            (Some(user), BrowserCommand::Rejected(error)) => (user, Err(error)),
            (None, BrowserCommand::Join(name)) => return self.join(session, address, &name),
            (user, BrowserCommand::Leave) => {
                // Without a user, the browser has left already.
                if let Some(user) = user {
                    self.remove_browser_user(user, LeaveReason::Quit);
                }
                return Ok(BrowserReply::Left);
            }
            (None, BrowserCommand::Request(_) | BrowserCommand::Rejected(_)) => {
                return Err(BrowserError::NoSession);
            }
        };
        let limits = &mut self.browser_limits;
        limits
            .count_request(user, self.uptime)
            .map_err(BrowserError::TooFast)?;
        let touched = self.room.touch(user, address);
        self.apply_effects(touched.map_err(BrowserError::Join)?);
        let is_rename = matches!(request, Ok(Request::SetName(_)));
        let event = self.request_of_browser(user, request)?;
        match (self.room.name(user).cloned(), session) {
            (Some(name), Some(token)) if is_rename => Ok(BrowserReply::Joined {
                name,
                token,
                is_new: false,
            }),
            _ => Ok(BrowserReply::Done(event)),
        }
    }

    fn join(
        &mut self,
        session: Option<Token>,
        address: IpAddr,
        name: &str,
    ) -> Result<BrowserReply, BrowserError> {
        if self.is_failing() {
            return Err(BrowserError::Rejected(RequestError::NotStored));
        }
        self.browser_limits
            .count_join(address, self.uptime)
            .map_err(BrowserError::TooFast)?;
        let joined = self.room.join(session, address, name, &mut new_token);
        let joined = joined.map_err(|error| match error {
            BrowserJoinError::Rejected(error) => BrowserError::Rejected(error),
            BrowserJoinError::NoSlot(error) => BrowserError::Join(error),
        })?;
        self.apply_effects(joined.effects);
        Ok(BrowserReply::Joined {
            name: joined.name,
            token: joined.token,
            is_new: true,
        })
    }

    /// Handles a request of a browser that has joined. Returns the number of its message.
    fn request_of_browser(
        &mut self,
        user: UserId,
        request: Result<Request, RequestError>,
    ) -> Result<Option<u64>, BrowserError> {
        let needs_store = request.as_ref().is_ok_and(|each| !needs_no_store(each));
        if needs_store && self.is_failing() {
            return Err(BrowserError::Rejected(RequestError::NotStored));
        }
        let effects = match request {
            Ok(request) => self.room.request(user, request, &mut new_token),
            Err(error) => self.room.reject(user, error.into()),
        };
        let mut reply = Ok(None);
        for effect in effects {
            match effect {
                Effect::Reply(Reply::Ack { id, .. }) => reply = Ok(id),
                Effect::Reply(Reply::Rejected(rejected)) => {
                    reply = Err(BrowserError::Rejected(rejected.error));
                }
                Effect::Close(ending) => {
                    if let Ending::Rejected(sentence) = ending {
                        reply = Err(BrowserError::Ended(sentence));
                    }
                    self.remove_browser_user(user, LeaveReason::Refused);
                }
                Effect::Public(event) => {
                    if let EventKind::Message(message) = &event.kind {
                        reply = Ok(Some(message.id));
                    }
                    self.publish(event);
                }
                other => self.apply_effect(other),
            }
        }
        reply
    }

    /// Removes a browser user. Its live streams go on without a user.
    fn remove_browser_user(&mut self, user: UserId, reason: LeaveReason) {
        self.browser_limits.remove(user);
        for key in self.connections_of(user) {
            self.connections.remove(&(user, key));
            self.fanout.take_user(key);
            let event = sse::session_event(None);
            self.actions.push(Action::Bytes(key, event, 0));
        }
        self.disconnect_user(user, reason);
    }

    // Live streams

    /// Starts a live stream at its subscription and attaches its user, if it has one. The stream
    /// does not wait for the store, but private messages do.
    pub(super) fn start_stream(&mut self, stream: NewStream) {
        if self.is_stopping {
            return;
        }
        self.heartbeat_at
            .get_or_insert(self.uptime + WEB_HEARTBEAT_INTERVAL);
        let token = stream.session.as_ref();
        let user = token.and_then(|token| self.room.browser_user(token));
        let client = stream.peer.address().ip();
        let attached = user.map(|user| self.room.attach_stream(user, client));
        let error = match attached.transpose() {
            Ok(effects) => {
                self.apply_effects(effects.unwrap_or_default());
                None
            }
            Err(error) => Some(error),
        };
        let user = user.filter(|_| error.is_none());
        let fanout = &mut self.fanout;
        let key = fanout.connect_stream(stream.peer, stream.outbox, user);
        if let Some(error) = error {
            let event = sse::error_event("full", &error.to_string());
            fanout.reply(key, ReplyBody::Bytes(event), 0);
        }
        let name = user.and_then(|user| self.room.name(user));
        let event = sse::session_event(name.map(|name| name.as_str()));
        fanout.reply(key, ReplyBody::Bytes(event), 0);
        if let Some(user) = user {
            self.connections.insert((user, key));
            match self.is_failing() {
                true => self.streams_without_mailbox.push(key),
                false => self.send_mailbox(key),
            }
        }
        // If the browser has hung up, the task of the stream reports the end.
        let _ = stream.key.try_send(key);
    }

    pub(super) fn send_mailbox(&mut self, key: ClientKey) {
        let user = self.fanout.user(key);
        let replies = user.map_or_else(Vec::new, |user| self.room.mailbox(user));
        let replies = replies.into_iter();
        self.actions
            .extend(replies.map(|reply| Action::Reply(key, reply)));
    }

    /// Sends a heartbeat to all live streams, so that dead connections are noticed.
    pub(super) fn send_heartbeat_if_due(&mut self) {
        if self.heartbeat_at.is_none_or(|at| at > self.uptime) {
            return;
        }
        let has_streams = self.fanout.stream_count() > 0;
        self.heartbeat_at = has_streams.then_some(self.uptime + WEB_HEARTBEAT_INTERVAL);
        if has_streams {
            let stream_log = &mut self.fanout.batch().browser;
            stream_log.extend_from_slice(HEARTBEAT.as_bytes());
        }
    }
}
