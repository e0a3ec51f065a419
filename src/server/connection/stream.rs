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
use std::task::Poll;

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
        let readable = poll_fn(|context| {
            handle.register(context.waker());
            if handle.flags().has(Flags::CLOSE.or(Flags::BROKEN)) {
                return Poll::Ready(Ok(false));
            }
            let readable = handle.socket().poll_readable(context);
            readable.map(|ready| ready.map(|()| true))
        });
        match readable.await {
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
