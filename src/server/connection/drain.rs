//! Closing a connection without losing the last lines on their way to the client.

use crate::server::close_reason::CloseReason;
use crate::server::connection::read::{is_temporary, with_read_buffer};
use crate::server::fanout::handle::{ConnectionHandle, Flags};
use crate::server::limits::{FAREWELL_TIMEOUT, LINGER_MAX_BYTES, LINGER_TIMEOUT};
use crate::server::timeout::timeout;
use smol::Async;
use std::io::Read;
use std::net::{Shutdown, TcpStream};

/// Ends a connection that the server closes or that is broken.
pub(crate) async fn close(handle: &ConnectionHandle) -> CloseReason {
    // Boxed, because every connection task has room for its largest future and few close here.
    Box::pin(async {
        let written = handle.wait(Flags::WRITTEN.or(Flags::BROKEN));
        timeout(FAREWELL_TIMEOUT, written).await;
        if !handle.flags().has(Flags::BROKEN) {
            // Also after the timeout: what the kernel has taken may still arrive.
            handle.shut_down(Shutdown::Write);
            timeout(LINGER_TIMEOUT, drain(handle.socket())).await;
        }
        CloseReason::Lost
    })
    .await
}

/// Reads and discards until the client ends its side.
///
/// The kernel resets a connection that is closed with unread input, and the client could lose the
/// last lines.
pub(crate) async fn drain(socket: &Async<TcpStream>) {
    let mut discarded = 0;
    while discarded < LINGER_MAX_BYTES {
        match with_read_buffer(|buffer| socket.get_ref().read(buffer)) {
            Ok(0) => return,
            Ok(count) => {
                discarded += count;
                smol::future::yield_now().await;
            }
            Err(error) if is_temporary(&error) => {
                if socket.readable().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
