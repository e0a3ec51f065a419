//! The backlog task: writes to a slow consumer until the client has caught up.

use crate::protocol::{Dialect, extended, sse};
use crate::server::close_reason::CloseReason;
use crate::server::command::BrokerCommand;
use crate::server::context::ServerContext;
use crate::server::fanout::ClientKey;
use crate::server::fanout::broadcast_log::BroadcastLogs;
use crate::server::fanout::handle::{ConnectionHandle, Flags};
use crate::server::fanout::outbox::{Outbox, Progress};
use crate::server::fanout::slow_consumer::BacklogInbox;
use crate::storage::sqlite::reader::EventEncoder;
use futures_lite::FutureExt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Writes to a slow consumer until it has caught up, and returns its outbox to the broker.
pub(crate) async fn write_backlog(
    context: Arc<ServerContext>,
    key: ClientKey,
    handle: Arc<ConnectionHandle>,
    inbox: Arc<BacklogInbox>,
    outbox: Outbox,
) {
    let writing = write_until_caught_up(&context, &handle, &inbox, outbox);
    match AssertUnwindSafe(writing).catch_unwind().await {
        Ok(Ok(Some(outbox))) if outbox.is_finished() => handle.raise(Flags::WRITTEN),
        Ok(Ok(Some(outbox))) => {
            let caught_up = BrokerCommand::CaughtUp(key, inbox, Box::new(outbox));
            if let Some(sending) = context.send(caught_up) {
                sending.await;
            }
        }
        // Without `CLOSE`, the reader still reads what the client sent before.
        Ok(Err(error)) => handle.abort(CloseReason::from_io_error(&error)),
        Ok(Ok(None)) => {
            handle.abort(CloseReason::Lag);
            handle.raise(Flags::CLOSE);
        }
        Err(_panic) => {
            handle.abort(CloseReason::Fault);
            handle.raise(Flags::CLOSE);
        }
    }
}

/// Writes until everything is written; returns `None` if neither the log nor the store has the
/// next events.
async fn write_until_caught_up(
    context: &ServerContext,
    handle: &ConnectionHandle,
    inbox: &BacklogInbox,
    mut outbox: Outbox,
) -> io::Result<Option<Outbox>> {
    loop {
        let progress = write_once(&context.logs, handle, inbox, &mut outbox);
        let (bytes, lines) = outbox.take_counts();
        context.metrics.count_written(bytes, lines);
        let progress = progress?;
        inbox.report(&outbox);
        match progress {
            Progress::Blocked => handle.socket().writable().await?,
            Progress::Yield => smol::future::yield_now().await,
            Progress::CaughtUp | Progress::Finished => return Ok(Some(outbox)),
            Progress::FellOut => return Ok(None),
            Progress::NeedsStored(stored) => {
                let encode = event_encoder(context, outbox.position().dialect);
                let archive = &context.archive;
                let address = handle.address().ip();
                let events = archive.events(address, stored.after, stored.until, encode);
                let Some(events) = events.await else {
                    return Ok(None);
                };
                outbox.add_stored(events.bytes, events.last);
            }
        }
    }
}

fn write_once(
    logs: &BroadcastLogs,
    handle: &ConnectionHandle,
    inbox: &BacklogInbox,
    outbox: &mut Outbox,
) -> io::Result<Progress> {
    // The ends first: the broker adds a reply before the log grows beyond its place.
    let ends = logs.ends();
    inbox.collect(logs, outbox);
    let progress = outbox.write(logs, ends, &mut handle.stream());
    if outbox.take_answered() {
        handle.raise(Flags::NEXT);
    }
    progress
}

/// Returns the function that encodes events from the store.
fn event_encoder(context: &ServerContext, dialect: Dialect) -> EventEncoder {
    match dialect {
        Dialect::Browser => {
            let epoch = context.epoch.clone();
            Arc::new(move |bytes, event| sse::encode_event(bytes, &epoch, event))
        }
        Dialect::Basic | Dialect::Extended => Arc::new(extended::encode_event),
    }
}
