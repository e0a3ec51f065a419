//! Bounds of the store, with their units.

use std::time::Duration;

/// Batches of the broker that wait for their commit.
pub(crate) const MAX_UNCOMMITTED_BATCHES: usize = 64;
/// Commit reports that wait for the broker.
pub(crate) const STORE_REPORTS: usize = 64;
/// Queries for clients under way, of which one address has at most one.
pub(crate) const MAX_QUERIES_UNDER_WAY: usize = 2;
/// Threads that read the store: one for each query under way, and one for missed events.
pub(crate) const STORE_READERS: usize = MAX_QUERIES_UNDER_WAY + 1;
/// Waiting queries of one address (IPv6: /64), so that they do not hold all connections of the page.
pub(crate) const MAX_WAITING_QUERIES_OF_ADDRESS: usize = 256;
/// Longest time that a query waits for the turn of its address.
pub(crate) const QUERY_TURN_TIMEOUT: Duration = Duration::from_secs(20);
/// Queries that wait for the reader threads.
pub(crate) const STORE_QUERIES: usize = 64;
/// Longest time of one query.
pub(crate) const STORE_QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// SQLite virtual machine steps between two checks of the query timeout.
pub(crate) const STORE_STEPS_PER_CHECK: i32 = 10_000;
/// Bytes of encoded events in one chunk of a replay; one more event may follow.
pub(crate) const REPLAY_CHUNK_BYTES: usize = 32 * 1024;
/// Events in one chunk of a replay.
pub(crate) const REPLAY_CHUNK_EVENTS: usize = 256;
/// Most events that one trimming transaction removes.
pub(crate) const STORE_TRIM_EVENTS: usize = 500;
/// Time of a trimming transaction above which the next one removes less.
pub(crate) const STORE_TRIM_TIME: Duration = Duration::from_millis(50);
/// Time between two searches for events to trim.
pub(crate) const STORE_TRIM_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two checks that the files of an idle store are still there.
pub(crate) const STORE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes of the write-ahead log above which the writer tries to empty it, and to which SQLite cuts
/// it after a checkpoint.
pub(crate) const STORE_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of the write-ahead log above which the writer warns.
pub(crate) const STORE_LOG_WARN_BYTES: u64 = 64 * 1024 * 1024;
/// Time between two looks at the write-ahead log.
pub(crate) const STORE_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two cuts of the write-ahead log after removals.
pub(crate) const STORE_SCRUB_INTERVAL: Duration = Duration::from_secs(20);
