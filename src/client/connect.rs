//! Connecting to a server by name.

use crate::chat::sanitize::for_terminal;
use crate::cli::socket;
use crate::client::limits::CONNECT_TIMEOUT;
use crate::client::options::ClientConfig;
use async_net::TcpStream;
use futures_lite::FutureExt;
use smol::Timer;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why the client could not connect. `Display` gives one sentence with a remedy.
#[derive(Debug)]
pub struct ConnectError {
    host: String,
    port: u16,
    /// None if the host has no address.
    cause: Option<io::Error>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (for_terminal(&self.host), self.port);
        let Some(cause) = &self.cause else {
            return write!(
                out,
                "Cannot find {host}: no address is known for that name; check the name"
            );
        };
        match host.contains(':') {
            true => write!(out, "Cannot connect to [{host}]:{port}: ")?,
            false => write!(out, "Cannot connect to {host}:{port}: ")?,
        }
        match cause.kind() {
            io::ErrorKind::ConnectionRefused => write!(
                out,
                "nobody listens there; check the port, or start smolchat-server --port {port}"
            ),
            io::ErrorKind::TimedOut => {
                out.write_str("no answer; check the address and whether a firewall is in between")
            }
            _ => write!(out, "{cause}; check the address and the network"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Connects to the first address of the host that answers.
pub(crate) async fn connect(config: &ClientConfig) -> Result<TcpStream, ConnectError> {
    let error = |cause| ConnectError {
        host: config.host.clone(),
        port: config.port,
        cause,
    };
    let addresses = async_net::resolve((config.host.as_str(), config.port))
        .await
        .map_err(|_| error(None))?;
    let mut cause = None;
    for address in addresses {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => cause = Some(error),
        }
    }
    Err(error(cause))
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let timeout = async {
        Timer::after(CONNECT_TIMEOUT).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    let stream = TcpStream::connect(address).or(timeout).await?;
    socket::prepare(&socket2::SockRef::from(&stream));
    Ok(stream)
}
