//! Connect, disconnect and stop.

use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::room::{Effect, JoinError, UserId};
use crate::protocol::basic::notice_line;
use crate::protocol::{Dialect, basic};
use crate::server::broker::Broker;
use crate::server::broker::commit_queue::CommitQueue;
use crate::server::broker::execute::{Action, LastLine, TranscriptLine};
use crate::server::close_reason::CloseReason;
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::limits::MAX_CLOSING_CONNECTIONS;
use std::net::SocketAddr;

impl Broker {
    pub(super) fn admit(&mut self, peer: ConnectionHandle) {
        let limits = &self.context.limits;
        let reason = match (self.is_stopping, self.is_failing()) {
            (true, _) => Some(CloseReason::Shutdown),
            (false, true) => Some(CloseReason::NotStored),
            (false, false) => None,
        };
        if let Some(reason) = reason {
            let sentence = reason.farewell().unwrap_or_default();
            return self.reject(peer, reason, sentence);
        }
        let fanout = &self.publisher.fanout;
        let connections = fanout.connection_count() - fanout.stream_count();
        if connections >= limits.max_clients + MAX_CLOSING_CONNECTIONS {
            let full = JoinError::Full(limits.max_clients);
            return self.reject(peer, full.into(), &full.to_string());
        }
        let mut effects = Vec::new();
        let user = match self.enter(peer.address(), &mut effects) {
            Ok(user) => user,
            Err(error) => return self.reject(peer, error.into(), &error.to_string()),
        };
        let key = self.publisher.fanout.connect(peer, user);
        self.connections_by_user.insert(user, vec![key]);
        // The arrival is last; what was told before it is not for the newcomer.
        let arrival = effects.pop();
        for effect in effects {
            self.apply_for_none(effect);
        }
        let early = match &arrival {
            Some(Effect::Public(Event {
                kind:
                    EventKind::Joined {
                        name,
                        is_summarised: true,
                    },
                ..
            })) => {
                let mut line = Vec::new();
                basic::encode_entered(&mut line, name.as_str());
                self.awaiting_summary.push((key, user));
                Some(line.into())
            }
            _ => None,
        };
        self.step(Action::Open(key, early));
        if let Some(arrival) = arrival {
            self.apply_for_none(arrival);
        }
    }

    /// Lets a newcomer into the room. Whoever has its address and port, but a connection that is
    /// gone, ends first: one who is over its rate is not read, and so its end was not noticed.
    pub(super) fn enter(
        &mut self,
        address: SocketAddr,
        effects: &mut Vec<Effect>,
    ) -> Result<UserId, JoinError> {
        match self.room.enter(address, self.now, effects) {
            Err(JoinError::AddressInUse(holder)) => {
                let connections = self.connections_by_user.get(&holder);
                let key = connections.and_then(|keys| keys.first().copied());
                let gone = key.filter(|key| self.publisher.fanout.is_gone(*key));
                let key = gone.ok_or(JoinError::AddressInUse(holder))?;
                self.end(key, CloseReason::Reset, LastLine::Nothing);
                self.room.enter(address, self.now, effects)
            }
            other => other,
        }
    }

    pub(super) fn reject(&self, peer: ConnectionHandle, reason: CloseReason, sentence: &str) {
        let address = peer.address();
        let text = notice_line(sentence);
        self.rejector
            .reject(peer.into_socket(), address, reason, &text);
    }

    /// Ends a user for this reason, after what is owed.
    pub(super) fn end(&mut self, key: ClientKey, reason: CloseReason, last_line: LastLine) {
        self.step(Action::Close(key, last_line));
        self.leave(key, reason);
    }

    /// Parts a connection, which may have to be written on, from its user. Without any other
    /// connection the user is detached or leaves.
    pub(super) fn leave(&mut self, key: ClientKey, reason: CloseReason) {
        let is_stream = self.publisher.fanout.dialect(key) == Dialect::Page;
        let Some((user, address)) = self.publisher.fanout.take_user(key) else {
            return;
        };
        let left = self.connections_by_user.get_mut(&user).map(|connections| {
            connections.retain(|other| *other != key);
            connections.len()
        });
        if !is_stream {
            self.note_end(user, address, reason);
        }
        if left.is_some_and(|left| left > 0) {
            return;
        }
        self.connections_by_user.remove(&user);
        if self.is_stopping {
            // Users who are present at the end are present again after the restart.
            return;
        }
        let reason = match is_stream {
            true => LeaveReason::Closed,
            false => reason.leave_reason(),
        };
        self.disconnect_user(user, reason);
    }

    pub(super) fn disconnect_user(&mut self, user: UserId, reason: LeaveReason) {
        let mut effects = Vec::new();
        self.room.disconnect(user, reason, self.now, &mut effects);
        for effect in effects {
            self.apply_for_none(effect);
        }
    }

    /// Logs and counts the end of a user's connection; called once for each.
    pub(super) fn note_end(&self, user: UserId, address: SocketAddr, reason: CloseReason) {
        self.context.metrics.count_ended(reason);
        let name = self.room.name(user).map_or("", |name| name.as_str());
        match reason {
            CloseReason::Fault => {
                tracing::error!(%address, name, %reason, "a connection's task failed");
            }
            // What is no more than a departure stands in the transcript; a reset is one too,
            // of a client that left with something unread.
            CloseReason::Closed
            | CloseReason::Quit
            | CloseReason::Resumed
            | CloseReason::Reset
            | CloseReason::Shutdown => {
                tracing::debug!(%address, name, %reason, "left");
            }
            _ => tracing::info!(%address, name, %reason, "left"),
        }
    }

    /// Forgets a connection whose task has ended.
    pub(super) fn forget(&mut self, key: ClientKey, reason: CloseReason) {
        self.leave(key, reason);
        self.step(Action::Forget(key));
    }

    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        if self.is_failing() {
            self.give_up_held();
        }
        let sentence = CloseReason::Shutdown.farewell().unwrap_or_default();
        basic::encode_notice(&mut self.lines.basic, sentence);
        self.lines
            .transcript
            .push(TranscriptLine::Notice(sentence.to_owned()));
        for key in self.publisher.fanout.keys() {
            self.leave(key, CloseReason::Shutdown);
        }
        self.step(Action::CloseAll);
    }

    /// What is held will never be committed, so nobody may hear of it; only connections that
    /// have ended are still to be forgotten.
    pub(super) fn give_up_held(&mut self) {
        while let Some(batch) = self.commit_queue.as_mut().and_then(CommitQueue::take_first) {
            for step in batch.steps {
                if let Action::Forget(_) | Action::End(_) | Action::Answered(..) = step {
                    self.publisher.perform(step);
                }
            }
        }
    }
}
