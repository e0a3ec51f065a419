//! Socket options of both programs.

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;

/// Idle time after which TCP probes a silent peer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);
/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes after which the connection is dead.
const KEEPALIVE_RETRIES: u32 = 4;
/// Time after which unacknowledged data ends a connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(100);

/// Sends small lines at once, and detects a vanished peer.
///
/// The connection works without these options, so a failure is only logged.
pub(crate) fn prepare(socket: &SockRef<'_>) {
    if let Err(error) = set_options(socket) {
        tracing::debug!(%error, "cannot set the options of a connection");
    }
}

fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(())
}
