//! Bounds of the server and their defaults, with their units.

use crate::chat::room::limits::RoomLimits;
use crate::limits::{
    DEFAULT_ANNOUNCE_LIMIT, DEFAULT_HISTORY_MESSAGES, DEFAULT_MAX_CLIENTS,
    DEFAULT_MAX_MESSAGE_BYTES, GRACE, MIN_STAY, TOKEN_LIFETIME, TOKEN_LIFETIME_WITH_STORE,
};
use std::ops::RangeInclusive;
use std::time::Duration;

// Options and their ranges

/// Longest line from a client, in bytes, without its line end (`--max-line`).
pub const DEFAULT_MAX_LINE_BYTES: usize = 64 * 1024;
/// Average lines a second from one connection (`--rate`).
pub(crate) const DEFAULT_RATE_PER_SECOND: u32 = 100;
/// Lines at once from one connection after a pause (`--burst`).
pub const DEFAULT_BURST_LINES: u32 = 200;
/// Bytes of public events that a reader may be behind (`--max-lag`).
pub const DEFAULT_MAX_LAG_BYTES: usize = 4 * 1024 * 1024;
/// Port of the web page (`--web-port`).
pub(crate) const DEFAULT_WEB_PORT: u16 = 8080;
/// Ports that the server tries in turn if the default web port is taken.
pub(crate) const WEB_PORT_ATTEMPTS: u16 = 32;
pub(crate) const CLIENTS_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// 0 means no limit.
pub(crate) const PER_ADDRESS_RANGE: RangeInclusive<usize> = 0..=1_000_000;
pub(crate) const ANNOUNCE_LIMIT_RANGE: RangeInclusive<usize> = 0..=1_000_000;
/// In messages.
pub(crate) const HISTORY_RANGE: RangeInclusive<usize> = 0..=1_000_000;
/// In bytes.
pub(crate) const LINE_RANGE: RangeInclusive<usize> = 1..=16 * 1024 * 1024;
/// In lines, of `--rate` and `--burst`.
pub(crate) const RATE_RANGE: RangeInclusive<usize> = 1..=10_000_000;
/// In bytes.
pub(crate) const LAG_RANGE: RangeInclusive<usize> = 4096..=1024 * 1024 * 1024;
pub(crate) const KEEP_MESSAGES_RANGE: RangeInclusive<usize> = 1..=1_000_000_000_000;
pub(crate) const KEEP_DAYS_RANGE: RangeInclusive<usize> = 1..=100_000;
pub(crate) const THREADS_RANGE: RangeInclusive<usize> = 1..=256;

// Limits per address where a listener is open to the network

/// Part of each total that one address may have: enough for a class behind one address.
const SHARE_OF_ADDRESS: usize = 4;
/// Users that one address may have in any case.
const MIN_CLIENTS_PER_ADDRESS: usize = 50;
/// HTTP connections from one address (`--web-connections-per-address`).
pub(crate) const OPEN_WEB_CONNECTIONS: usize = WEB_MAX_CONNECTIONS / SHARE_OF_ADDRESS;
/// Live streams to one address (`--web-streams-per-address`).
pub(crate) const OPEN_WEB_STREAMS: usize = WEB_MAX_STREAMS / SHARE_OF_ADDRESS;

/// Returns the users that one address may have (`--max-clients-per-address`).
pub(crate) fn open_clients_per_address(max_clients: usize) -> usize {
    (max_clients / SHARE_OF_ADDRESS).max(MIN_CLIENTS_PER_ADDRESS)
}

/// Returns the new connections a minute from one address (`--connect-rate`): all its users can
/// come back at once, twice.
pub(crate) fn open_connect_rate(max_clients: usize) -> usize {
    2 * open_clients_per_address(max_clients)
}

// Listening and admission

/// Connections that wait in the kernel for `accept`; the system's own limit may be lower.
pub(crate) const LISTEN_BACKLOG: i32 = 4096;
/// Requested size of the kernel's send buffer of a connection, in bytes; Linux doubles it for its
/// own bookkeeping.
///
/// Without it, the kernel holds 4 MiB for a client that does not read. A slow reader would also
/// look stalled, because the kernel reports a socket writable only when a third is free.
pub(crate) const SOCKET_SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Requested size of the kernel's receive buffer of a connection, in bytes; Linux doubles it.
pub(crate) const SOCKET_RECEIVE_BUFFER_BYTES: usize = 128 * 1024;
/// Connections that the accept loop takes before it yields.
pub(crate) const MAX_ACCEPTS_PER_TURN: usize = 1024;
/// First pause after an accept error that the connection did not cause; doubled up to the last.
pub(crate) const ACCEPT_FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(crate) const ACCEPT_LAST_PAUSE: Duration = Duration::from_secs(1);
/// Accepted connections in the admission queue; more wait in the kernel.
pub(crate) const MAX_WAITING_NEWCOMERS: usize = 8192;
/// Waiting connections that the server admits with one batch.
pub(crate) const MAX_NEWCOMERS_PER_BATCH: usize = 128;
/// Addresses with a connect rate of their own (`--connect-rate`); all others share one.
pub(crate) const MAX_RATE_LIMITED_ADDRESSES: usize = 16 * 1024;
/// Connections beside the `--max-clients` users that the server rejects or drains.
pub(crate) const MAX_CLOSING_CONNECTIONS: usize = 256;

// Connections

/// Bytes that one read takes from a socket into the buffer of the thread.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Lines that one connection sends to the broker at a time.
pub const MAX_LINES_PER_TURN: usize = 64;
/// Lines that a search counts as in the rate limit.
pub(crate) const SEARCH_LINES: u64 = 10;
/// Time for the last lines of a connection that the server closes.
pub(crate) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);
/// Time that a closed connection is drained, so that the last lines arrive.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Most bytes that are drained from a closed connection.
pub const LINGER_MAX_BYTES: usize = 1024 * 1024;

// Broker

/// Commands that wait for the broker.
pub(crate) const INBOX_EVENTS: usize = 1024;
/// Commands in one batch.
pub(crate) const MAX_BATCH_EVENTS: usize = 1024;
/// Approximate bytes of encoded lines after which the broker ends a batch.
pub const MAX_BATCH_BYTES: usize = 256 * 1024;
/// Time of a commit above which private messages count as sent at its end.
pub(crate) const LATE_COMMIT: Duration = Duration::from_secs(1);
/// Approximate bytes of batches that wait for their commit; the broker takes no commands above it.
pub(crate) const MAX_UNCOMMITTED_BYTES: usize = 8 * 1024 * 1024;
/// Shortest time between two summaries of joins and leaves.
pub(crate) const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time after which clients are asked to reconnect when the server stops.
pub(crate) const RETURN_DELAY: Duration = Duration::from_millis(250);
/// Growth of that time with each client, so that they do not all reconnect at once.
pub(crate) const RETURN_SPREAD_PER_CLIENT: Duration = Duration::from_millis(1);
/// Time from the signal to the end of the server.
pub const STOP_DEADLINE: Duration = Duration::from_millis(4700);

// Fan-out

/// Bytes of the newest public events kept for clients that resume. The store, if there is one,
/// serves clients that missed more.
pub const RECENT_EVENTS_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a long reply that are encoded at a time.
pub(crate) const REPLY_PIECE_BYTES: usize = 16 * 1024;
pub(crate) const MAX_SLICES_PER_WRITE: usize = 64;
pub(crate) const MAX_BYTES_PER_WRITE: usize = 256 * 1024;
/// Bytes that one connection writes before it yields.
pub(crate) const MAX_BYTES_PER_TURN: usize = 1024 * 1024;
/// Time between two checks of the readers that are behind.
pub const LAG_CHECK_INTERVAL: Duration = Duration::from_millis(250);

// Transcript and log

/// Batches of lines that wait for standard output or standard error; more are skipped and counted.
pub(crate) const TRANSCRIPT_BATCHES: usize = 256;
/// Bytes of lines that wait for standard output or standard error; more are skipped and counted.
pub const TRANSCRIPT_BYTES: usize = 4 * 1024 * 1024;

// Web page

/// HTTP connections.
pub const WEB_MAX_CONNECTIONS: usize = 2304;
/// HTTP connections beyond those, which are only rejected.
pub(crate) const WEB_MAX_CLOSING_CONNECTIONS: usize = 64;
/// Live streams.
pub const WEB_MAX_STREAMS: usize = 2000;
/// Bytes of a request body beside its message, each byte of which may be an escape of six.
pub(crate) const WEB_BODY_OVERHEAD_BYTES: usize = 4 * 1024;
pub(crate) const WEB_COOKIE_LIFETIME: Duration = TOKEN_LIFETIME_WITH_STORE;
/// Longest request head, in bytes.
pub const WEB_MAX_HEAD_BYTES: usize = 8 * 1024;
/// Bytes of the newest message texts that the page and its documents show.
pub(crate) const WEB_MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Bytes of all documents that are being sent to browsers.
pub(crate) const WEB_MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;
/// Time between two comment lines of a silent live stream.
pub(crate) const WEB_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Bounds that an operator chooses, and timeouts that tests shorten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum connected users.
    pub max_clients: usize,
    /// Maximum connected users from one address; `None` means no limit.
    pub max_clients_per_address: Option<usize>,
    /// Messages kept in memory.
    pub history_messages: usize,
    /// Longest message, in bytes.
    pub max_message_bytes: usize,
    /// Longest line, in bytes.
    pub max_line_bytes: usize,
    /// Average lines a second from one connection.
    pub rate_per_second: u32,
    /// Lines at once from one connection after a pause.
    pub burst_lines: u32,
    /// New connections a minute from one address; `None` means no limit.
    pub connects_per_minute: Option<u32>,
    /// Bytes that a reader may be behind.
    pub max_lag_bytes: usize,
    /// Number of users above which joins and leaves are summarised.
    pub announce_limit: usize,
    /// Time without a byte after which an unfinished line is rejected.
    pub half_line_timeout: Duration,
    /// Time that a reader may be more than half of `max_lag_bytes` behind.
    pub soft_lag_timeout: Duration,
    /// Time that a reader may take no byte.
    pub write_stall_timeout: Duration,
    /// Time that a detached session keeps its name.
    pub grace: Duration,
    /// Time that a user has to be connected before it gets a grace time.
    pub min_stay: Duration,
    /// Time after its last use for which a token is valid.
    pub token_lifetime: Duration,
    /// Bounds of the web page.
    pub web: WebLimits,
}

impl Limits {
    /// Returns the bounds of the room.
    pub(crate) fn room(&self) -> RoomLimits {
        RoomLimits {
            max_clients: self.max_clients,
            max_clients_per_address: self.max_clients_per_address,
            history_messages: self.history_messages,
            announce_limit: self.announce_limit,
            grace: self.grace,
            min_stay: self.min_stay,
            token_lifetime: self.token_lifetime,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_clients: DEFAULT_MAX_CLIENTS,
            max_clients_per_address: None,
            history_messages: DEFAULT_HISTORY_MESSAGES,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
            rate_per_second: DEFAULT_RATE_PER_SECOND,
            burst_lines: DEFAULT_BURST_LINES,
            connects_per_minute: None,
            max_lag_bytes: DEFAULT_MAX_LAG_BYTES,
            announce_limit: DEFAULT_ANNOUNCE_LIMIT,
            half_line_timeout: Duration::from_secs(60),
            soft_lag_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(30),
            grace: GRACE,
            min_stay: MIN_STAY,
            token_lifetime: TOKEN_LIFETIME,
            web: WebLimits::default(),
        }
    }
}

/// Bounds of the web page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebLimits {
    /// HTTP connections from one address (`--web-connections-per-address`); `None` means no limit.
    pub connections_per_address: Option<usize>,
    /// Live streams to one address (`--web-streams-per-address`); `None` means no limit.
    pub streams_per_address: Option<usize>,
    /// Time for a whole request head.
    pub head_timeout: Duration,
    /// Time that a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Time without progress after which a response is dropped.
    pub write_stall_timeout: Duration,
    /// Time for a whole response that is no stream.
    pub response_deadline: Duration,
    /// Time within which the broker must answer for the server to be ready.
    pub health_timeout: Duration,
}

impl Default for WebLimits {
    fn default() -> Self {
        WebLimits {
            connections_per_address: None,
            streams_per_address: None,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            response_deadline: Duration::from_secs(60),
            health_timeout: Duration::from_secs(5),
        }
    }
}
