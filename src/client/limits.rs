//! Limits of the client: sizes, timeouts and queue lengths.

use std::time::Duration;

/// Typed lines that wait to be sent.
pub const INPUT_LINES: usize = 1024;
/// Bytes of typed lines that wait to be sent.
pub const INPUT_BYTES: usize = 4 * 1024 * 1024;
/// Longest line read from a server, in bytes; the client skips longer ones.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;
/// Commands that wait for the screen thread; each holds about one read of the socket.
pub const SCREEN_QUEUE: usize = 8;
/// Bytes of one read from the socket.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of typed lines that go into one write.
pub const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// Time to connect to one address.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which a client tries the next address of a host as well.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Time in which a terminal has to tell its background, before the client ends.
pub const BACKGROUND_TIMEOUT: Duration = Duration::from_millis(300);
/// Addresses of a host that a client tries.
pub const MAX_ADDRESSES: usize = 16;
/// Time that a client waits for the server to close after its user leaves a terminal or
/// interrupts it, so that the last lines arrive.
pub const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// Time without a line after which a client whose piped input has ended leaves.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that a client whose input has ended waits for acknowledgements.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before the first attempt to reconnect.
pub const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longest delay between two attempts.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Requests kept until the server acknowledges them or a connection exists.
pub const MAX_QUEUED: usize = 1024;
/// Bytes of the texts of queued requests; the last request may exceed it.
pub const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// Requests sent and not yet acknowledged. Lower than the number of nonces that a server
/// remembers, so that sending them again is always safe.
pub const MAX_IN_FLIGHT: usize = 256;
/// Time without the first line of a server after which a client that does not reconnect sends what
/// both dialects understand.
pub const FIRST_LINE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for a client that reconnects: the user is told that input waits for that line.
pub const SILENCE_NOTICE: Duration = Duration::from_secs(5);
/// Time without the first line of a server that is known to greet, until the connection counts as
/// dead. Long, because a stalled server announces each connection when it goes on.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(60);
/// Time without the answer to a hello until the connection counts as dead.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(18);
/// Attempts to get a name from another user, after signs that it may be free.
pub const MAX_NAME_ATTEMPTS: u32 = 8;
/// Half of the time between the first two of these attempts. Each later time is twice as long.
pub const MIN_NAME_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two pings.
pub const PING_INTERVAL: Duration = Duration::from_secs(8);
/// Time without a byte after a ping until the connection counts as dead; with the ping interval,
/// less than 20 seconds.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages of one history replay.
pub const MAX_HISTORY: usize = 10_000;
/// Bytes of the texts of a replay after which the client asks for no further page.
pub const MAX_HISTORY_BYTES: usize = 8 * 1024 * 1024;
/// Events collected after a reconnect to count the messages among them.
pub const MAX_RECOVERED: usize = 1000;
/// Bytes of the lines of those events; the last line may exceed it.
pub const MAX_RECOVERED_BYTES: usize = 4 * 1024 * 1024;

/// Entries of the terminal view that can be drawn again after a resize.
pub const VIEW_ENTRIES: usize = 500;
/// Bytes of the texts of those entries; the last entry may exceed it.
pub const VIEW_BYTES: usize = 1024 * 1024;
/// Mentions that `/mentions` lists.
pub const MAX_MENTIONS: usize = 100;
/// Characters kept of each mention.
pub const MENTION_CHARS: usize = 500;
/// Presence changes summarised in one line.
pub const GROUPED_CHANGES: usize = 200;
/// Names listed in each part of that line.
pub const GROUPED_NAMES: usize = 8;
/// User names offered for completion.
pub const KNOWN_NAMES: usize = 256;
/// Bytes of text that wait for the line editor to draw them.
pub const PENDING_DRAW_BYTES: usize = 1024 * 1024;
/// Bytes drawn between two keys.
pub const DRAW_CHUNK_BYTES: usize = 64 * 1024;
/// Drafts of which a part is folded, for undo; each has a paste of at most one message.
pub const FOLDED_DRAFTS: usize = 16;
/// Lines kept in the input history.
pub const INPUT_HISTORY: usize = 1000;
