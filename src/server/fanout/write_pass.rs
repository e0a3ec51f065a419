//! Publishing a batch: one direct write to every client that keeps up.

use crate::protocol::Dialect;
use crate::server::close_reason::CloseReason;
use crate::server::fanout::broadcast_log::PerDialect;
use crate::server::fanout::handle::Flags;
use crate::server::fanout::outbox::{LogPosition, Outbox, Progress, line_ends};
use crate::server::fanout::slow_consumer::SlowConsumer;
use crate::server::fanout::{ClientKey, ConnectedClient, Fanout, Output};
use crate::server::limits::LAG_CHECK_INTERVAL;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Clients whose sockets a write pass looks up together.
const CHUNK_CLIENTS: usize = 32;

impl Fanout {
    /// Publishes the open batch and writes it, and all pending replies, to every client that
    /// keeps up.
    pub(crate) fn publish(&mut self, now: Duration) {
        let start = self.batch_start;
        let batch = PerDialect::from_fn(|dialect| self.publish_dialect(dialect));
        if Dialect::ALL.iter().any(|&each| !batch[each].is_empty()) {
            self.write_pass(&batch, start);
        }
        self.write_to_newcomers(&batch.basic, start.basic);
        for key in std::mem::take(&mut self.pending) {
            self.write_pending(key, now);
        }
        for (key, has_replies) in std::mem::take(&mut self.answered) {
            self.raise_next(key, has_replies);
        }
    }

    fn publish_dialect(&mut self, dialect: Dialect) -> Arc<[u8]> {
        let batch: Arc<[u8]> = Arc::from(self.batch[dialect].as_slice());
        if !batch.is_empty() {
            self.batch_start[dialect] = self.logs[dialect].publish(batch.clone());
            self.batch[dialect].clear();
        }
        batch
    }

    /// Writes the batch of its dialect to each client that keeps up.
    fn write_pass(&mut self, batch: &PerDialect<Arc<[u8]>>, start: PerDialect<u64>) {
        let mut complete = PerDialect::<u64>::default();
        let mut incomplete = Vec::new();
        let mut chunk = Vec::with_capacity(CHUNK_CLIENTS);
        let mut clients = self.clients.iter();
        loop {
            // Look up the sockets of a chunk before the first write. Each socket is elsewhere in
            // memory, and so the processor waits for all of them at once. A write evicts much of
            // its caches, and so a lookup after each write would wait every time.
            let current = clients
                .by_ref()
                .filter_map(|(key, client)| client.if_current(key));
            chunk.extend(current.take(CHUNK_CLIENTS));
            if chunk.is_empty() {
                break;
            }
            for (key, dialect, stream) in chunk.drain(..) {
                let batch = &batch[dialect];
                if batch.is_empty() {
                    continue;
                }
                match write_now(stream, batch) {
                    Ok(count) if count == batch.len() => complete[dialect] += 1,
                    other => incomplete.push((key, dialect, other)),
                }
            }
        }
        for dialect in Dialect::ALL {
            let (batch, times) = (&batch[dialect], complete[dialect]);
            if times > 0 {
                let bytes = times * batch.len() as u64;
                self.metrics.count_written(bytes, times * line_ends(batch));
            }
        }
        for (key, dialect, written) in incomplete {
            if let Ok(count) = written {
                let lines = line_ends(&batch[dialect][..count]);
                self.metrics.count_written(count as u64, lines);
            }
            let offset = written.map(|count| start[dialect] + count as u64);
            self.after_incomplete_write(key, offset);
        }
    }

    /// Writes to each client that joined with this batch the part of the batch after its join.
    fn write_to_newcomers(&mut self, batch: &[u8], start: u64) {
        for key in std::mem::take(&mut self.newcomers) {
            let Some(client) = self.clients.get_mut(key.0) else {
                continue;
            };
            let Output::Newcomer(offset) = client.output else {
                continue;
            };
            client.output = Output::Current;
            // The offset is inside the batch or at its end, and the difference fits a `usize`.
            let rest = &batch[(offset - start) as usize..];
            if rest.is_empty() {
                continue;
            }
            let written = write_now(client.handle.stream(), rest);
            if let Ok(count) = written {
                let lines = line_ends(&rest[..count]);
                self.metrics.count_written(count as u64, lines);
            }
            if !written.as_ref().is_ok_and(|count| *count == rest.len()) {
                let written = written.map(|count| offset + count as u64);
                self.after_incomplete_write(key, written);
            }
        }
    }

    /// Handles a client that took the newest batch only up to this offset.
    fn after_incomplete_write(&mut self, key: ClientKey, written: io::Result<u64>) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let dialect = client.dialect;
        match written {
            Ok(offset) => {
                let outbox = Outbox::new(LogPosition { dialect, offset });
                client.output = Output::Pending(Box::new(outbox));
                self.pending.push(key);
            }
            Err(error) => client.abort(CloseReason::from_io_error(&error)),
        }
    }

    /// Writes to a client with an outbox. A client that does not take everything gets a backlog
    /// task.
    fn write_pending(&mut self, key: ClientKey, now: Duration) {
        let ends = self.batch_start;
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        let Output::Pending(outbox) = &mut client.output else {
            return;
        };
        let progress = outbox.write(&self.logs, ends, &mut client.handle.stream());
        let (bytes, lines) = outbox.take_counts();
        self.metrics.count_written(bytes, lines);
        if outbox.take_answered() {
            client.handle.raise(Flags::NEXT);
        }
        match progress {
            Ok(Progress::CaughtUp) => client.output = Output::Current,
            Ok(Progress::Finished) => {
                client.output = Output::Nobody;
                client.handle.raise(Flags::WRITTEN);
            }
            Ok(Progress::Blocked | Progress::Yield | Progress::NeedsStored(_)) => {
                let slow = SlowConsumer::new(outbox, now);
                let inbox = slow.inbox.clone();
                let behind = Output::Behind(Box::new(slow));
                if let Output::Pending(outbox) = std::mem::replace(&mut client.output, behind) {
                    let handle = client.handle.clone();
                    self.tasks.spawn_backlog_writer(key, handle, inbox, *outbox);
                }
                self.slow_count += 1;
                self.next_lag_check.get_or_insert(now + LAG_CHECK_INTERVAL);
            }
            Ok(Progress::FellOut) => {
                client.abort(CloseReason::Lag);
                client.handle.raise(Flags::CLOSE);
            }
            Err(error) => client.abort(CloseReason::from_io_error(&error)),
        }
    }

    /// Lets a client read on, at once or when its replies are written.
    fn raise_next(&mut self, key: ClientKey, has_replies: bool) {
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        match &mut client.output {
            Output::Behind(slow) if has_replies => slow.inbox.pending().answer_due = true,
            _ => client.handle.raise(Flags::NEXT),
        }
    }
}

impl ConnectedClient {
    /// Returns the key, dialect and stream of a client that gets the whole batch.
    fn if_current(&self, key: usize) -> Option<(ClientKey, Dialect, &TcpStream)> {
        matches!(self.output, Output::Current)
            .then(|| (ClientKey(key), self.dialect, self.handle.stream()))
    }

    /// Stops writing. The task of the connection ends it after it has read what the client sent.
    fn abort(&mut self, reason: CloseReason) {
        self.output = Output::Nobody;
        self.handle.abort(reason);
    }
}

/// Writes once without blocking; a full socket takes zero bytes.
fn write_now(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        return match stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
    }
}
