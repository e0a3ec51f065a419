//! Bounds of the room that an operator chooses.

use crate::limits::{
    DEFAULT_ANNOUNCE_LIMIT, DEFAULT_HISTORY_MESSAGES, DEFAULT_MAX_CLIENTS, GRACE, MIN_STAY,
    TOKEN_LIFETIME,
};
use std::time::Duration;

/// Bounds of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Maximum connected users.
    pub max_clients: usize,
    /// Maximum connected users from one address; `None` means no limit.
    pub max_clients_per_address: Option<usize>,
    /// Messages kept in memory.
    pub history_messages: usize,
    /// Number of users above which joins and leaves are summarised.
    pub announce_limit: usize,
    /// Time that a detached session keeps its name.
    pub grace: Duration,
    /// Time that a user has to be connected before it gets a grace time.
    pub min_stay: Duration,
    /// Time after its last use for which a token is valid.
    pub token_lifetime: Duration,
}

impl Default for RoomLimits {
    fn default() -> Self {
        RoomLimits {
            max_clients: DEFAULT_MAX_CLIENTS,
            max_clients_per_address: None,
            history_messages: DEFAULT_HISTORY_MESSAGES,
            announce_limit: DEFAULT_ANNOUNCE_LIMIT,
            grace: GRACE,
            min_stay: MIN_STAY,
            token_lifetime: TOKEN_LIFETIME,
        }
    }
}
