//! Connecting to a server by name.

use crate::chat::sanitize::for_terminal;
use crate::cli::socket;
use crate::client::limits::CONNECT_TIMEOUT;
use crate::client::options::ClientConfig;
use async_net::TcpStream;
use futures_lite::FutureExt;
use smol::Timer;
use std::io;
use std::net::SocketAddr;

/// Connects to the first address of the host that answers; an error is one sentence with a remedy.
pub(crate) async fn connect(config: &ClientConfig) -> Result<TcpStream, String> {
    let (host, port) = (for_terminal(&config.host), config.port);
    let addresses = async_net::resolve((config.host.as_str(), port)).await;
    let mut error = None;
    for address in addresses.unwrap_or_default() {
        match connect_to(address).await {
            Ok(stream) => return Ok(stream),
            Err(cause) => error = Some(cause),
        }
    }
    let Some(error) = error else {
        let sentence = "no address is known for that name; check the name";
        return Err(format!("Cannot find {host}: {sentence}"));
    };
    let cause = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nobody listens there; check the port, or start smolchat-server --port {port}")
        }
        io::ErrorKind::TimedOut => {
            "no answer; check the address and whether a firewall is in between".to_owned()
        }
        _ => format!("{error}; check the address and the network"),
    };
    Err(match host.contains(':') {
        true => format!("Cannot connect to [{host}]:{port}: {cause}"),
        false => format!("Cannot connect to {host}:{port}: {cause}"),
    })
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
