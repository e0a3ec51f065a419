//! Reaching a server by name.
//!
//! What lives here: [`connect`], which tries every address of a host, and the sentences on why
//! it failed. The client's loop uses it. It must never try for ever.

use crate::cli::socket;
use crate::client::limits::CONNECT_TIMEOUT;
use crate::client::options::ClientConfig;
use async_net::TcpStream;
use futures_lite::FutureExt;
use smol::Timer;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why there is no connection. Its `Display` is one sentence with a remedy.
#[derive(Debug)]
pub struct ConnectError {
    host: String,
    port: u16,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    UnknownHost,
    Failed(io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnectError { host, port, reason } = self;
        let host = crate::chat::sanitize::for_terminal(host);
        let address = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        match reason {
            Reason::UnknownHost => {
                write!(
                    out,
                    "Cannot find {host}: no address is known for that name; check the name"
                )
            }
            Reason::Failed(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => write!(
                    out,
                    "Cannot connect to {address}: nobody listens there; check the port, or start smolchat-server --port {port}"
                ),
                io::ErrorKind::TimedOut => write!(
                    out,
                    "Cannot connect to {address}: no answer; check the address and whether a firewall is in between"
                ),
                _ => write!(
                    out,
                    "Cannot connect to {address}: {error}; check the address and the network"
                ),
            },
        }
    }
}

impl std::error::Error for ConnectError {}

/// Connects to the first of the host's addresses that answers.
///
/// # Errors
/// The host has no address, or none of them answers.
pub async fn connect(config: &ClientConfig) -> Result<TcpStream, ConnectError> {
    let failed = |reason| ConnectError {
        host: config.host.clone(),
        port: config.port,
        reason,
    };
    let addresses = async_net::resolve((config.host.as_str(), config.port))
        .await
        .map_err(|_| failed(Reason::UnknownHost))?;
    let mut result = Err(failed(Reason::UnknownHost));
    for address in addresses {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => result = Err(failed(Reason::Failed(error))),
        }
    }
    result
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)
        .or(async {
            Timer::after(CONNECT_TIMEOUT).await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await?;
    socket::prepare(&stream);
    Ok(stream)
}
