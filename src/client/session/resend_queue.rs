//! Requests that are not sent, or sent and not acknowledged.
//!
//! Sent requests stand before unsent ones. Only requests with a nonce stay after they are sent.

use crate::chat::request::Nonce;
use crate::client::limits::{MAX_IN_FLIGHT, MAX_QUEUED, MAX_QUEUED_BYTES};
use crate::client::session::request::UserRequest;
use std::collections::VecDeque;

#[derive(Debug)]
struct QueuedRequest {
    request: UserRequest,
    nonce: Option<Nonce>,
    /// Whether it was sent over this connection or an earlier one.
    was_sent: bool,
}

#[derive(Debug)]
pub(crate) struct ResendQueue {
    requests: VecDeque<QueuedRequest>,
    bytes: usize,
    /// Number of sent requests.
    in_flight: usize,
    nonce_prefix: String,
    nonces: u64,
}

impl ResendQueue {
    pub(super) fn new(random: u64) -> Self {
        ResendQueue {
            requests: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            nonce_prefix: format!("{random:016x}-"),
            nonces: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.requests.len() < MAX_QUEUED && self.bytes < MAX_QUEUED_BYTES
    }

    /// Appends a request. If the server acknowledges its kind, it gets this nonce or a new one.
    pub(super) fn push(&mut self, request: UserRequest, nonce: Option<Nonce>) {
        let nonce = match request.acknowledged_kind() {
            Some(_) => nonce.or_else(|| {
                self.nonces += 1;
                Nonce::new(&format!("{}{}", self.nonce_prefix, self.nonces))
            }),
            None => None,
        };
        self.bytes += request.text_bytes();
        self.requests.push_back(QueuedRequest {
            request,
            nonce,
            was_sent: false,
        });
    }

    /// Puts a request without a nonce before all others, none of which may be in flight.
    pub(super) fn push_front(&mut self, request: UserRequest) {
        self.bytes += request.text_bytes();
        let nonce = None;
        self.requests.push_front(QueuedRequest {
            request,
            nonce,
            was_sent: false,
        });
    }

    pub(super) fn pop_if(
        &mut self,
        condition: impl Fn(&UserRequest) -> bool,
    ) -> Option<UserRequest> {
        let first = self.requests.front()?;
        match condition(&first.request) {
            true => self.remove(0),
            false => None,
        }
    }

    /// Returns the first unsent request, unless too many are in flight.
    pub(super) fn next_unsent(&self) -> Option<(&UserRequest, Option<&Nonce>)> {
        if self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let next = self.requests.get(self.in_flight)?;
        Some((&next.request, next.nonce.as_ref()))
    }

    /// Marks the first unsent request as sent; returns it if it needs no acknowledgement.
    pub(super) fn mark_sent(&mut self) -> Option<UserRequest> {
        let next = self.requests.get_mut(self.in_flight)?;
        next.was_sent = true;
        if next.nonce.is_none() {
            return self.remove(self.in_flight);
        }
        self.in_flight += 1;
        None
    }

    pub(super) fn acknowledge(&mut self, nonce: &str) {
        let mut nonces = self.requests.iter().map(|queued| queued.nonce.as_ref());
        if let Some(index) = nonces.position(|own| own.is_some_and(|own| own.as_str() == nonce)) {
            self.remove(index);
        }
    }

    /// Removes the oldest sent request of this kind.
    pub(super) fn reject(&mut self, kind: &str) {
        let mut sent = self.requests.range(..self.in_flight);
        let is_of_kind = |queued: &QueuedRequest| queued.request.acknowledged_kind() == Some(kind);
        if let Some(index) = sent.position(is_of_kind) {
            self.remove(index);
        }
    }

    /// Takes a request that was sent over an earlier connection.
    pub(super) fn take_sent_before(&mut self) -> Option<(UserRequest, Option<Nonce>)> {
        let index = self.requests.iter().position(|queued| queued.was_sent)?;
        let nonce = self.requests.get(index)?.nonce.clone();
        Some((self.remove(index)?, nonce))
    }

    /// Returns the number of requests that were never sent.
    pub(crate) fn unsent(&self) -> usize {
        let unsent = self.requests.iter().filter(|queued| !queued.was_sent);
        unsent.count()
    }

    /// Makes every request due again.
    pub(super) fn connection_lost(&mut self) {
        self.in_flight = 0;
    }

    fn remove(&mut self, index: usize) -> Option<UserRequest> {
        let queued = self.requests.remove(index)?;
        self.bytes -= queued.request.text_bytes();
        self.in_flight -= usize::from(index < self.in_flight);
        Some(queued.request)
    }
}
