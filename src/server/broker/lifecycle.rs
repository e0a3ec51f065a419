//! Connect, disconnect and stop.

use crate::chat::event::{EventKind, LeaveReason};
use crate::chat::room::{Effect, JoinError, UserId};
use crate::protocol::basic::notice_line;
use crate::protocol::foreign::{ForeignProtocol, LONGEST_START};
use crate::protocol::{Dialect, basic};
use crate::server::broker::Broker;
use crate::server::broker::action::Action;
use crate::server::close_reason::CloseReason;
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::limits::MAX_CLOSING_CONNECTIONS;
use std::net::{SocketAddr, TcpStream};

impl Broker {
    pub(super) fn admit(&mut self, peer: ConnectionHandle) {
        if let Some(protocol) = foreign_protocol(peer.stream()) {
            let answer = self.context.answer_foreign(peer.stream(), protocol);
            let address = peer.address();
            let reason = CloseReason::OtherProtocol;
            return self
                .rejector
                .reject(peer.into_socket(), address, reason, &answer);
        }
        let limits = &self.context.limits;
        if self.is_stopping || self.is_failing() {
            let reason = match self.is_stopping {
                true => CloseReason::Shutdown,
                false => CloseReason::NotStored,
            };
            let sentence = reason.farewell().unwrap_or_default();
            return self.reject(peer, reason, sentence);
        }
        let fanout = &self.fanout;
        let connections = fanout.connection_count() - fanout.stream_count();
        if connections >= limits.max_clients + MAX_CLOSING_CONNECTIONS {
            let full = JoinError::Full(limits.max_clients);
            return self.reject(peer, full.into(), &full.to_string());
        }
        let (user, mut effects) = match self.enter_room(peer.address()) {
            Ok(entered) => entered,
            Err(error) => return self.reject(peer, error.into(), &error.to_string()),
        };
        let key = self.fanout.connect(peer, user);
        self.connections.insert((user, key));
        // The join is the last effect. The newcomer does not get the events before it.
        let joined = effects.pop();
        self.apply_effects(effects);
        self.actions.push(Action::Open(key));
        if let Some(Effect::Public(event)) = joined {
            if let EventKind::Joined { name, .. } = &event.kind
                && event.kind.is_summarised()
            {
                let mut line = Vec::new();
                basic::encode_entered(&mut line, name.as_str());
                self.actions.push(Action::Bytes(key, line.into(), 0));
                self.awaiting_summary.push((key, user));
            }
            self.publish(event);
        }
    }

    /// Adds a client to the room. If a stale connection still holds this address and port, closes
    /// it first. (A rate-limited connection is not being read, so its reset can go unnoticed.)
    fn enter_room(&mut self, address: SocketAddr) -> Result<(UserId, Vec<Effect>), JoinError> {
        match self.room.enter(address) {
            Err(JoinError::AddressInUse(holder)) => {
                let key = self.connections_of(holder).first().copied();
                let stale = key.filter(|key| self.fanout.is_gone(*key));
                let key = stale.ok_or(JoinError::AddressInUse(holder))?;
                self.close(key, CloseReason::Reset);
                self.room.enter(address)
            }
            other => other,
        }
    }

    fn reject(&self, peer: ConnectionHandle, reason: CloseReason, sentence: &str) {
        let address = peer.address();
        let text = notice_line(sentence);
        self.rejector
            .reject(peer.into_socket(), address, reason, &text);
    }

    /// Closes a connection after its pending writes and the last line of the reason.
    pub(super) fn close(&mut self, key: ClientKey, reason: CloseReason) {
        self.actions.push(Action::Close(key, reason));
        self.disconnect(key, reason);
    }

    /// Takes the user from a connection, which may still have pending writes. A user without any
    /// other connection is detached or leaves.
    pub(super) fn disconnect(&mut self, key: ClientKey, reason: CloseReason) {
        let is_stream = self.fanout.dialect(key) == Dialect::Browser;
        let Some((user, address)) = self.fanout.take_user(key) else {
            return;
        };
        self.connections.remove(&(user, key));
        if !is_stream {
            self.log_disconnect(user, address, reason);
        }
        if !self.connections_of(user).is_empty() {
            return;
        }
        if self.is_stopping {
            // Present users are present again after the restart.
            return;
        }
        let reason = match is_stream {
            true => LeaveReason::Closed,
            false => reason.leave_reason(),
        };
        self.disconnect_user(user, reason);
    }

    pub(super) fn disconnect_user(&mut self, user: UserId, reason: LeaveReason) {
        let effects = self.room.disconnect(user, reason);
        self.apply_effects(effects);
    }

    /// Logs and counts the end of a connection, once for each connection.
    pub(super) fn log_disconnect(&self, user: UserId, address: SocketAddr, reason: CloseReason) {
        self.context.metrics.count_ended(reason);
        let name = self.room.name(user).map_or("", |name| name.as_str());
        match reason {
            CloseReason::Fault => {
                tracing::error!(%address, name, %reason, "a connection's task failed");
            }
            // The transcript has these departures. A client that leaves with unread input resets
            // its connection, so a reset is one of them.
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

    /// Removes a connection whose task has ended.
    pub(super) fn remove(&mut self, key: ClientKey, reason: CloseReason) {
        self.disconnect(key, reason);
        self.streams_without_mailbox.retain(|other| *other != key);
        self.actions.push(Action::Remove(key));
    }

    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        if self.is_failing() {
            self.drop_uncommitted();
        }
        self.room.note_last_receipts();
        for key in self.fanout.keys() {
            self.disconnect(key, CloseReason::Shutdown);
        }
        self.actions.push(Action::CloseAll);
    }
}

/// Recognises another protocol in the bytes that have arrived. Chat clients wait for nothing.
fn foreign_protocol(socket: &TcpStream) -> Option<ForeignProtocol> {
    let mut start = [0; LONGEST_START];
    // An error or a lack of bytes is seen again when the connection reads.
    let count = socket.peek(&mut start).unwrap_or(0);
    ForeignProtocol::of(&start[..count])
}
