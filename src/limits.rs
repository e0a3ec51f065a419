//! Every bound of smolchat and its default, in one place.
//!
//! What lives here: one documented constant or [`Limits`] field for each bound, with its unit.
//! Everything may use it. It must never be bypassed: a bound that stands as a literal
//! somewhere else is a mistake.

use std::time::Duration;

/// Longest line that is read from a client, in bytes, without its line end (`--max-line`).
pub const DEFAULT_MAX_LINE_BYTES: usize = 64 * 1024;
/// Longest message text, in bytes of decoded UTF-8 as received (`--max-message`).
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 4096;
/// Users who may be here at once (`--max-clients`).
pub const DEFAULT_MAX_CLIENTS: usize = 1000;
/// Messages kept in memory for `history` and the page (`--history`).
pub const DEFAULT_HISTORY_MESSAGES: usize = 200;
/// Lines a second that one connection may send on average (`--rate`).
pub const DEFAULT_RATE_PER_SECOND: u32 = 100;
/// Lines that one connection may send at once after a pause (`--burst`).
pub const DEFAULT_BURST_LINES: u32 = 200;
/// Bytes of the public log that a reader may be behind before it is closed (`--max-lag`).
pub const DEFAULT_MAX_LAG_BYTES: usize = 4 * 1024 * 1024;
/// Users above which arrivals and departures are told in summary (`--announce-limit`).
pub const DEFAULT_ANNOUNCE_LIMIT: usize = 500;

/// Port of the chat (`--port`).
pub const DEFAULT_PORT: u16 = 5555;
/// Port of the web page (`--web-port`).
pub const DEFAULT_WEB_PORT: u16 = 8080;
/// Ports that are tried one after the other when the default web port is taken.
pub const WEB_PORT_ATTEMPTS: u16 = 32;

/// Largest `--max-clients`.
pub const MAX_CLIENTS_RANGE: usize = 1_000_000;
/// Largest `--history`, in messages.
pub const MAX_HISTORY_RANGE: usize = 1_000_000;
/// Largest `--max-message`, in bytes.
pub const MAX_MESSAGE_RANGE: usize = 1024 * 1024;
/// Largest `--max-line`, in bytes.
pub const MAX_LINE_RANGE: usize = 16 * 1024 * 1024;
/// Largest `--rate` and `--burst`, in lines.
pub const MAX_RATE_RANGE: u32 = 10_000_000;
/// Largest `--connect-rate`, in connections a minute.
pub const MAX_CONNECT_RATE_RANGE: u32 = 1_000_000;
/// Largest `--max-lag`, in bytes.
pub const MAX_LAG_RANGE: usize = 1024 * 1024 * 1024;
/// Largest `--keep-messages`.
pub const MAX_KEEP_MESSAGES_RANGE: usize = 1_000_000_000_000;
/// Largest `--keep-days`.
pub const MAX_KEEP_DAYS_RANGE: usize = 100_000;
/// Largest `--threads`.
pub const MAX_THREADS_RANGE: usize = 256;

/// Longest name, in grapheme clusters (what a reader sees as one character).
pub const MAX_NAME_GRAPHEMES: usize = 32;
/// Longest name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 512;
/// Most combining marks on one base character of a name.
pub const MAX_COMBINING_MARKS: usize = 4;

/// Longest nonce, in bytes.
pub const MAX_NONCE_BYTES: usize = 64;
/// A nonce is remembered for so long, ...
pub const NONCE_LIFETIME: Duration = Duration::from_secs(3600);
/// ... and as long as it is among so many last ones of its token, ...
pub const MIN_NONCES_PER_TOKEN: usize = 1000;
/// ... but at most so many of a token are.
pub const MAX_NONCES_PER_TOKEN: usize = 10_000;
/// Nonces of all tokens together; while there are more, a token that uses a further one keeps its
/// last [`MIN_NONCES_PER_TOKEN`] only.
pub const MAX_NONCES: usize = 1_000_000;
/// Sessions that are kept, as a multiple of `--max-clients`.
pub const SESSIONS_PER_CLIENT: usize = 10;
/// Time for which the name of an extended client is kept whose connection was lost.
pub const GRACE: Duration = Duration::from_secs(30);
/// Time after its last use for which a token is good, without a store.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// The same with a store.
pub const TOKEN_LIFETIME_WITH_STORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Private messages that are kept for a user in its grace time.
pub const MAX_KEPT_PRIVATE_MESSAGES: usize = 100;
/// Bytes of such messages.
pub const MAX_KEPT_PRIVATE_BYTES: usize = 256 * 1024;
/// Private messages that a user of the page gets again with each live stream.
pub const MAX_MAILBOX_MESSAGES: usize = 100;
/// Bytes of such messages.
pub const MAX_MAILBOX_BYTES: usize = 64 * 1024;
/// Longest JSON value that `ping` may have, in bytes.
pub const MAX_PING_BYTES: usize = 256;
/// Characters of the name and version that a client tells of itself which are kept.
pub const MAX_CLIENT_NAME_CHARS: usize = 64;
/// Most messages on a page of history or search.
pub const MAX_PAGE_MESSAGES: usize = 200;
/// Messages on a page when the client does not say how many.
pub const DEFAULT_PAGE_MESSAGES: usize = 50;
/// Bytes of the texts on such a page; at least one message is always on it.
pub const MAX_PAGE_BYTES: usize = 16 * 1024;
/// Longest search, in bytes.
pub const MAX_QUERY_BYTES: usize = 512;
/// Words of a search.
pub const MAX_QUERY_WORDS: usize = 32;
/// Time after which a client may try again what was refused because the store fails.
pub const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Refused lines in a row that a client may send; one more closes its connection.
pub const MAX_REFUSALS_IN_A_ROW: u32 = 16;
/// Characters of a stranger's word that a refusal repeats.
pub const MAX_QUOTED_CHARS: usize = 32;

/// Bytes that the history may hold, texts and encoded lines together, whatever `--history` says.
pub const MAX_HISTORY_BYTES: usize = 16 * 1024 * 1024;

/// Bytes that one read takes from a socket into the thread's own buffer.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Lines that one connection hands to the broker in one turn.
pub const MAX_LINES_PER_TURN: usize = 64;
/// Bytes of the newest public events that are kept for clients who come back; a client that is
/// further behind is served by the store, if there is one.
pub const PAST_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of public events, encoded, that one connection takes from the store at a time; one more
/// event may stand beyond.
pub const PAST_PIECE_BYTES: usize = 32 * 1024;
/// Public events that one connection takes from the store at a time.
pub const PAST_PIECE_EVENTS: usize = 256;
/// Reports of the store that wait for the broker.
pub const STORE_REPORTS: usize = 64;
/// Threads that read the store.
pub const STORE_READERS: usize = 2;
/// Queries that wait for them.
pub const STORE_QUERIES: usize = 64;
/// Time after which a query is given up.
pub const STORE_QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Steps of SQLite's machine after which a query looks at the clock.
pub const STORE_STEPS_PER_CHECK: i32 = 10_000;
/// Events that the store removes in one step when there are too many or they are too old.
pub const STORE_TRIM_EVENTS: usize = 500;
/// Time after which it looks for such events again.
pub const STORE_TRIM_INTERVAL: Duration = Duration::from_secs(10);
/// Batches that the broker has made and that wait for the store; inputs wait while it is full.
pub const MAX_UNCOMMITTED_BATCHES: usize = 64;
/// Bytes of such batches, likewise.
pub const MAX_UNCOMMITTED_BYTES: usize = 8 * 1024 * 1024;
/// Shortest time after which clients are asked to come back when the server stops.
pub const RETURN_DELAY: Duration = Duration::from_millis(250);
/// Time by which it grows with each client, so that they do not all come at once.
pub const RETURN_SPREAD_PER_CLIENT: Duration = Duration::from_millis(1);
/// Inputs that wait for the broker.
pub const INBOX_EVENTS: usize = 1024;
/// Inputs that the broker takes into one batch.
pub const MAX_BATCH_EVENTS: usize = 1024;
/// Bytes of encoded lines after which the broker ends a batch.
pub const MAX_BATCH_BYTES: usize = 256 * 1024;
/// Bytes of a reply that are encoded at a time; a long reply is made piece by piece.
pub const REPLY_PIECE_BYTES: usize = 16 * 1024;
/// Log slices that one vectored write takes.
pub const MAX_SLICES_PER_WRITE: usize = 64;
/// Bytes that one vectored write takes.
pub const MAX_BYTES_PER_WRITE: usize = 256 * 1024;
/// Bytes that one connection may write before others get their turn.
pub const MAX_BYTES_PER_TURN: usize = 1024 * 1024;
/// Connections that are closed for lack of room, or wait for the other side's end, beside
/// the `--max-clients` users.
pub const MAX_CLOSING_CONNECTIONS: usize = 256;

/// Connections waiting to be accepted in the kernel; the system's own limit may be lower.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Bytes that the kernel holds for a connection on their way to its peer, as it is asked for; Linux
/// takes twice as much, its own accounts included. Without this, a peer who does not read would
/// hold 4 MiB there, and one who reads slowly would look stalled: the kernel says that there is
/// room only when a third is free.
pub const SOCKET_SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Bytes that the kernel holds for a connection until they are read, likewise.
pub const SOCKET_RECEIVE_BUFFER_BYTES: usize = 128 * 1024;
/// Accepted connections that wait to be let in; more wait in the kernel.
pub const MAX_WAITING_NEWCOMERS: usize = 8192;
/// Newcomers that are let in with one batch: so long do those wait who are here already.
pub const MAX_NEWCOMERS_PER_BATCH: usize = 128;
/// Connections that the accept loop takes before others get their turn.
pub const MAX_ACCEPTS_PER_TURN: usize = 1024;
/// Addresses whose new connections are counted by themselves (`--connect-rate`); all beyond
/// share one count.
pub const MAX_PACED_ADDRESSES: usize = 16 * 1024;
/// First pause after an accept error that is not the connection's own; doubled up to the last.
pub const ACCEPT_FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause after an accept error.
pub const ACCEPT_LAST_PAUSE: Duration = Duration::from_secs(1);

/// A half line that gets no byte for this long is refused.
pub const HALF_LINE_TIMEOUT: Duration = Duration::from_secs(60);
/// A reader who is more than half of `--max-lag` behind for this long is closed.
pub const SOFT_LAG_TIMEOUT: Duration = Duration::from_secs(10);
/// A reader who takes no byte for this long is closed.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often readers who are behind are looked at.
pub const LAG_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Shortest time between two summaries of arrivals and departures.
pub const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);
/// Time for the last lines of a connection that the server closes.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);
/// Time that a closed connection is still read and discarded, so that the farewell arrives.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that are read and discarded at most meanwhile.
pub const LINGER_MAX_BYTES: usize = 1024 * 1024;
/// Time from the signal to the end of the server.
pub const STOP_DEADLINE: Duration = Duration::from_millis(4700);

/// Idle time after which TCP asks a silent peer whether it is still there.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);
/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered questions after which the peer is gone.
pub const KEEPALIVE_RETRIES: u32 = 4;
/// Time after which unacknowledged data ends a connection.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(100);

/// Batches of transcript lines that wait for standard output; more are skipped and counted.
pub const TRANSCRIPT_BATCHES: usize = 256;
/// Bytes of transcript lines that wait for standard output; more are skipped and counted.
pub const TRANSCRIPT_BYTES: usize = 4 * 1024 * 1024;

/// HTTP connections of the page at once.
pub const WEB_MAX_CONNECTIONS: usize = 2304;
/// HTTP connections beyond those that are only told that there are too many, and closed.
pub const WEB_MAX_CLOSING_CONNECTIONS: usize = 64;
/// Live streams of the page at once.
pub const WEB_MAX_STREAMS: usize = 2000;
/// Bytes that the body of a request may have beside its message, whose every byte may be written
/// as an escape of six.
pub const WEB_BODY_OVERHEAD_BYTES: usize = 4 * 1024;
/// Time for which a browser keeps the secret of its session.
pub const WEB_COOKIE_LIFETIME: Duration = TOKEN_LIFETIME_WITH_STORE;
/// Bytes of a request head that are read before it is refused.
pub const WEB_MAX_HEAD_BYTES: usize = 8 * 1024;
/// Time for a whole request head, from its first byte.
pub const WEB_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a connection may wait for its next request.
pub const WEB_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without progress after which a response is dropped.
pub const WEB_WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a whole response that is no stream.
pub const WEB_RESPONSE_DEADLINE: Duration = Duration::from_secs(60);
/// Time in which the chat must answer to be called ready.
pub const WEB_HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of message texts that the page and its documents show; of at most [`MAX_PAGE_MESSAGES`],
/// the newest that fit.
pub const WEB_MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Bytes of the documents of all moments that are on their way to readers of the page.
pub const WEB_MAX_DOCUMENT_BYTES: usize = 64 * 1024 * 1024;
/// Time between two comment lines of a silent live stream.
pub const WEB_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// The bounds that an operator chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Users who may be here at once.
    pub max_clients: usize,
    /// Users from one address; none means no limit.
    pub max_clients_per_address: Option<usize>,
    /// Messages kept in memory.
    pub history_messages: usize,
    /// Longest message, in bytes.
    pub max_message_bytes: usize,
    /// Longest line, in bytes.
    pub max_line_bytes: usize,
    /// Lines a second of one connection.
    pub rate_per_second: u32,
    /// Lines at once of one connection.
    pub burst_lines: u32,
    /// New connections a minute from one address; none means no limit.
    pub connects_per_minute: Option<u32>,
    /// Bytes that a reader may be behind.
    pub max_lag_bytes: usize,
    /// Users above which arrivals and departures are told in summary.
    pub announce_limit: usize,
    /// Time without a byte after which a half line is refused.
    pub half_line_timeout: Duration,
    /// Time that a reader may be more than half of the lag behind.
    pub soft_lag_timeout: Duration,
    /// Time that a reader may take no byte.
    pub write_stall_timeout: Duration,
    /// Time for which the name of an extended client is kept whose connection was lost.
    pub grace: Duration,
    /// Time after its last use for which a token is good.
    pub token_lifetime: Duration,
    /// The bounds of the page.
    pub web: WebLimits,
}

/// The bounds of the page: what an operator chooses, and times that tests shorten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebLimits {
    /// HTTP connections from one address (`--web-connections-per-address`); none means no limit.
    pub connections_per_address: Option<usize>,
    /// Live streams from one address (`--web-streams-per-address`); none means no limit.
    pub streams_per_address: Option<usize>,
    /// Time for a whole request head.
    pub head_timeout: Duration,
    /// Time that a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Time without progress after which a response is dropped.
    pub write_stall_timeout: Duration,
    /// Time for a whole response that is no stream.
    pub response_deadline: Duration,
    /// Time in which the chat must answer to be called ready.
    pub health_timeout: Duration,
}

impl Default for WebLimits {
    fn default() -> Self {
        WebLimits {
            connections_per_address: None,
            streams_per_address: None,
            head_timeout: WEB_HEAD_TIMEOUT,
            idle_timeout: WEB_IDLE_TIMEOUT,
            write_stall_timeout: WEB_WRITE_STALL_TIMEOUT,
            response_deadline: WEB_RESPONSE_DEADLINE,
            health_timeout: WEB_HEALTH_TIMEOUT,
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
            half_line_timeout: HALF_LINE_TIMEOUT,
            soft_lag_timeout: SOFT_LAG_TIMEOUT,
            write_stall_timeout: WRITE_STALL_TIMEOUT,
            grace: GRACE,
            token_lifetime: TOKEN_LIFETIME,
            web: WebLimits::default(),
        }
    }
}
