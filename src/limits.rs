//! Bounds that the chat and the protocol share, with their units.

use std::time::Duration;

/// Port of the chat (`--port`).
pub const DEFAULT_PORT: u16 = 5555;
/// Maximum connected users (`--max-clients`).
pub const DEFAULT_MAX_CLIENTS: usize = 1000;
/// Longest message text, in bytes of decoded UTF-8 as received (`--max-message`).
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 4096;
/// Largest `--max-message`, in bytes.
pub const MAX_MESSAGE_RANGE: usize = 1024 * 1024;
/// Number of users above which joins and leaves are summarised (`--announce-limit`).
pub const DEFAULT_ANNOUNCE_LIMIT: usize = 500;
/// Messages kept in memory for `history` and the web page (`--history`).
pub const DEFAULT_HISTORY_MESSAGES: usize = 200;
/// Bytes of texts and encoded lines in the history, whatever `--history` says.
pub const MAX_HISTORY_BYTES: usize = 16 * 1024 * 1024;

/// Longest name, in grapheme clusters.
pub const MAX_NAME_GRAPHEMES: usize = 32;
/// Longest name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 512;
/// Most combining marks on one base character of a name.
pub const MAX_COMBINING_MARKS: usize = 4;

/// Longest nonce, in bytes.
pub const MAX_NONCE_BYTES: usize = 64;
/// Time that the room remembers a nonce.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(3600);
/// Newest nonces of a session that the room remembers even after their lifetime.
pub const MIN_NONCES_PER_TOKEN: usize = 1000;
/// Most nonces that the room remembers for one session.
pub const MAX_NONCES_PER_TOKEN: usize = 10_000;
/// Nonces of all sessions. Above it, a session that adds one keeps only its newest
/// [`MIN_NONCES_PER_TOKEN`].
pub const MAX_NONCES: usize = 1_000_000;

/// Sessions that the room remembers, as a multiple of `--max-clients`.
pub const SESSIONS_PER_CLIENT: usize = 10;
/// Time that a detached session keeps its name.
pub const GRACE: Duration = Duration::from_secs(30);
/// Time that a user has to be connected before it gets a grace time.
pub const MIN_STAY: Duration = Duration::from_secs(5);
/// Time after its last use for which a token is valid, without a store.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Time after its last use for which a token is valid, with a store.
pub const TOKEN_LIFETIME_WITH_STORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Private messages kept for a detached session, and errors about private messages.
pub const MAX_KEPT_PRIVATE_MESSAGES: usize = 100;
/// Bytes of private messages kept for a detached session.
pub const MAX_KEPT_PRIVATE_BYTES: usize = 256 * 1024;

/// Newest private messages of a browser user, sent again with each new live stream.
pub const MAX_MAILBOX_MESSAGES: usize = 100;
/// Private messages that were sent to a client and whose receipt is not certain yet.
pub const MAX_UNCERTAIN_MESSAGES: usize = 500;
/// Bytes of either.
pub const MAX_MAILBOX_BYTES: usize = 64 * 1024;
/// Time after which a live connection has got what was sent: a dead one ends before.
pub const RECEIPT_TIME: Duration = Duration::from_secs(120);
/// Time before the last line or the close of a client within which it may not have read what was
/// sent.
pub const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Rejected lines in a row that a client may send; one more closes its connection.
pub const MAX_REJECTIONS_IN_A_ROW: u32 = 16;
/// Characters of a client's input that an error sentence quotes.
pub const MAX_QUOTED_CHARS: usize = 32;
/// Longest JSON value in a `ping`, in bytes.
pub const MAX_PING_BYTES: usize = 256;
/// Characters kept of the name and version that a client gives in `hello`.
pub const MAX_CLIENT_NAME_CHARS: usize = 64;
/// Most messages on a page of history or search results.
pub const MAX_PAGE_MESSAGES: usize = 200;
/// Messages on a page if the client gives no number.
pub const DEFAULT_PAGE_MESSAGES: usize = 50;
/// Bytes of the texts on a page, which holds at least one message.
pub const MAX_PAGE_BYTES: usize = 16 * 1024;
/// Longest search query, in bytes.
pub const MAX_QUERY_BYTES: usize = 512;
/// Most words in a search query.
pub const MAX_QUERY_WORDS: usize = 32;
/// Queries of one address (IPv6: /64) that the server answers at a time.
pub const MAX_QUERIES_OF_ADDRESS: usize = 1;
/// Time that clients are asked to wait after the turn of their query did not come in time.
pub const QUERY_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time that clients are asked to wait before they retry while the store fails.
pub const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
