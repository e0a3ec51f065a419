//! Limits that all HTTP connections share.

use crate::server::close_reason::CloseReason;
use crate::server::connection_counter::{ConnectionCounter, LimitReached};
use crate::server::host_name::HostName;
use crate::server::http::allowed_hosts::AllowedHosts;
use crate::server::limits::{
    WEB_MAX_CLOSING_CONNECTIONS, WEB_MAX_CONNECTIONS, WEB_MAX_STREAMS, WebLimits,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Limits and counters of the HTTP server.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    /// Limits that the operator chooses.
    pub(super) configured: WebLimits,
    /// Hosts that a request may name.
    pub(super) hosts: AllowedHosts,
    pub(super) connections: Arc<ConnectionCounter>,
    /// Rejected connections whose last response is still being written.
    pub(super) closing: Arc<ConnectionCounter>,
    pub(crate) streams: Arc<ConnectionCounter>,
    is_stopping: AtomicBool,
}

impl ConnectionLimits {
    pub(crate) fn new(limits: WebLimits, names: Vec<HostName>) -> Self {
        ConnectionLimits {
            hosts: AllowedHosts::new(names),
            connections: ConnectionCounter::new(
                WEB_MAX_CONNECTIONS,
                limits.connections_per_address,
            ),
            closing: ConnectionCounter::new(WEB_MAX_CLOSING_CONNECTIONS, None),
            streams: ConnectionCounter::new(WEB_MAX_STREAMS, limits.streams_per_address),
            is_stopping: AtomicBool::new(false),
            configured: limits,
        }
    }

    pub(crate) fn begin_stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

impl From<LimitReached> for CloseReason {
    fn from(limit: LimitReached) -> Self {
        match limit {
            LimitReached::Total => CloseReason::Full,
            LimitReached::Address => CloseReason::AddressFull,
        }
    }
}
