//! Binds listeners before the server runs, so that their addresses are known and errors are early.

pub(crate) mod accept;
pub(crate) mod admission;

use crate::server::config::ServerConfig;
use crate::server::limits::{
    LISTEN_BACKLOG, SOCKET_RECEIVE_BUFFER_BYTES, SOCKET_SEND_BUFFER_BYTES, WEB_PORT_ATTEMPTS,
};
use smol::Async;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// The bound listeners of a server.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) chat: Bound,
    pub(crate) web: Option<Bound>,
}

#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: Async<TcpListener>,
    pub(crate) address: SocketAddr,
}

/// Why a server cannot listen. Its `Display` names the address, the reason and a remedy.
#[derive(Debug)]
pub struct BindError {
    host: String,
    port: u16,
    /// The options for the host and the port.
    options: [&'static str; 2],
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port, source) = (&self.host, self.port, &self.source);
        let [host_option, port_option] = self.options;
        match host.contains(':') && !host.starts_with('[') {
            true => write!(out, "Cannot listen on [{host}]:{port}: ")?,
            false => write!(out, "Cannot listen on {host}:{port}: ")?,
        }
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(
                out,
                "the address is in use; choose another port with {port_option}, or 0 for any free one"
            ),
            io::ErrorKind::PermissionDenied => write!(
                out,
                "ports below 1024 need more rights; choose a higher one with {port_option}"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                out,
                "this machine has no such address; choose one of its own with {host_option}, such as 127.0.0.1 or 0.0.0.0"
            ),
            io::ErrorKind::NotFound => write!(
                out,
                "no address is known for that name; choose another with {host_option}, such as 127.0.0.1 or 0.0.0.0"
            ),
            _ => write!(
                out,
                "{source}; choose another address with {host_option} and {port_option}"
            ),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Listeners {
    /// Binds the addresses of a configuration. The default web port gives way to the next free
    /// one.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub fn bind(config: &ServerConfig) -> Result<Self, BindError> {
        let options = ["--host", "--port"];
        let chat = bind(&config.chat_host, config.chat_port, 0, options)?;
        let web = config.web.as_ref().map(|web| {
            let attempts = match web.port_was_chosen {
                true => 0,
                false => WEB_PORT_ATTEMPTS,
            };
            bind(&web.host, web.port, attempts, ["--web-host", "--web-port"])
        });
        let web = web.transpose()?;
        Ok(Listeners { chat, web })
    }

    /// Returns the address for chat clients.
    pub fn chat_address(&self) -> SocketAddr {
        self.chat.address
    }

    /// Returns the address of the web page, if there is one.
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(|web| web.address)
    }
}

/// Binds a port or, if it is in use, one of the next `attempts` ports.
fn bind(
    host: &str,
    mut port: u16,
    attempts: u16,
    options: [&'static str; 2],
) -> Result<Bound, BindError> {
    let last_port = port.saturating_add(attempts);
    loop {
        match bind_port(host, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port < last_port => port += 1,
            result => {
                return result.map_err(|source| BindError {
                    host: host.to_owned(),
                    port,
                    options,
                    source,
                });
            }
        }
    }
}

/// Binds the first address of the host that can be bound.
fn bind_port(host: &str, port: u16) -> io::Result<Bound> {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
    let mut last_error = io::ErrorKind::NotFound.into();
    for address in addresses {
        match bind_address(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn bind_address(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // On Unix this allows a restart while old connections are in TIME_WAIT. On Windows it would let
    // two servers share a port.
    socket.set_reuse_address(cfg!(unix))?;
    if address.is_ipv6() {
        // The unspecified IPv6 address accepts IPv4 too, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    // Accepted sockets inherit the buffer sizes.
    socket.set_send_buffer_size(SOCKET_SEND_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_RECEIVE_BUFFER_BYTES)?;
    // With the backlog of the standard library (128), a connection storm stalls for seconds.
    socket.listen(LISTEN_BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok(Bound {
        listener: Async::new(listener)?,
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_host_may_have_brackets() {
        match bind_port("[::1]", 0) {
            Ok(bound) => assert!(bound.address.is_ipv6()),
            Err(_) => eprintln!("SKIPPED: this machine has no IPv6 loopback address"),
        }
    }
}
