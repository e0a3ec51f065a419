//! The connection of a live stream of the web page: the server writes and the browser only listens.

use crate::server::close_reason::CloseReason;
use crate::server::connection::drain::close;
use crate::server::connection::read::{is_temporary, with_read_buffer};
use crate::server::connection::report_end;
use crate::server::context::ServerContext;
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::{ConnectionHandle, Flags};
use crate::server::limits::LINGER_MAX_BYTES;
use futures_lite::FutureExt;
use std::future::poll_fn;
use std::io::Read;
use std::panic::AssertUnwindSafe;

/// Waits for the end of a live stream, and reports it to the broker.
pub(crate) async fn serve_stream(
    context: &ServerContext,
    key: ClientKey,
    handle: &ConnectionHandle,
) -> CloseReason {
    let outcome = AssertUnwindSafe(watch(handle)).catch_unwind().await;
    report_end(context, key, handle, outcome).await
}

/// Waits until the browser closes the stream, or the server does.
async fn watch(handle: &ConnectionHandle) -> CloseReason {
    let mut discarded = 0;
    loop {
        let flags = Flags::CLOSE.or(Flags::BROKEN);
        match poll_fn(|context| handle.poll_readable(flags, context)).await {
            Ok(true) => {}
            Ok(false) if handle.flags().has(Flags::CLOSE) => return close(handle).await,
            Ok(false) => return CloseReason::Lost,
            Err(error) => return CloseReason::from_io_error(&error),
        }
        match with_read_buffer(|buffer| handle.stream().read(buffer)) {
            Ok(0) => return CloseReason::Closed,
            Ok(count) => {
                discarded += count;
                if discarded > LINGER_MAX_BYTES {
                    return CloseReason::Lost;
                }
            }
            Err(error) if is_temporary(&error) => {}
            Err(error) => return CloseReason::from_io_error(&error),
        }
        smol::future::yield_now().await;
    }
}
