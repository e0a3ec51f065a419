//! Binds listeners before the server runs, so that their addresses are known and errors are early.

pub mod accept;
pub mod admission;

use crate::server::limits::{
    LISTEN_BACKLOG, SOCKET_RECEIVE_BUFFER_BYTES, SOCKET_SEND_BUFFER_BYTES, WEB_PORT_ATTEMPTS,
};
use smol::Async;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// An address to bind, with the options that set it.
#[derive(Clone, Debug)]
pub struct ListenSpec {
    /// Host name or address.
    pub host: String,
    /// Port; 0 for any free one.
    pub port: u16,
    /// Whether a port in use gives way to the next free one.
    pub may_change_port: bool,
    /// Option for the host.
    pub host_option: &'static str,
    /// Option for the port.
    pub port_option: &'static str,
}

/// A bound listener.
#[derive(Debug)]
pub struct Bound {
    /// The listener.
    pub listener: Async<TcpListener>,
    /// The bound address.
    pub address: SocketAddr,
}

/// Why a server cannot listen. Its `Display` names the address, the reason and a remedy.
#[derive(Debug)]
pub struct BindError {
    spec: ListenSpec,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { spec, source } = self;
        let ListenSpec {
            host,
            port,
            host_option,
            port_option,
            ..
        } = spec;
        let brackets = host.contains(':') && !host.starts_with('[');
        let address = if brackets {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        write!(out, "Cannot listen on {address}: ")?;
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

/// Binds an address.
///
/// # Errors
/// The address cannot be bound.
pub fn bind(spec: &ListenSpec) -> Result<Bound, BindError> {
    let attempts = if spec.may_change_port {
        WEB_PORT_ATTEMPTS
    } else {
        0
    };
    let last_port = spec.port.saturating_add(attempts);
    let mut port = spec.port;
    loop {
        match bind_port(&spec.host, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port < last_port => port += 1,
            result => {
                return result.map_err(|source| BindError {
                    spec: ListenSpec {
                        port,
                        ..spec.clone()
                    },
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

    fn spec(host: &str, port: u16) -> ListenSpec {
        ListenSpec {
            host: host.to_owned(),
            port,
            may_change_port: false,
            host_option: "--host",
            port_option: "--port",
        }
    }

    fn sentence(spec: ListenSpec) -> String {
        bind(&spec).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_address_the_reason_and_a_remedy() {
        let taken = bind(&spec("127.0.0.1", 0)).unwrap();
        let port = taken.address.port();
        assert_eq!(
            sentence(spec("127.0.0.1", port)),
            format!(
                "Cannot listen on 127.0.0.1:{port}: the address is in use; choose another port with --port, or 0 for any free one"
            )
        );
        let foreign = sentence(spec("192.0.2.1", 0));
        let start = "Cannot listen on 192.0.2.1:0: this machine has no such address";
        assert!(foreign.starts_with(start), "{foreign}");
        let unknown = sentence(spec("no such host", 1));
        let reason = "no address is known for that name; choose another with --host";
        assert!(unknown.contains(reason), "{unknown}");
    }

    #[test]
    fn port_in_use_gives_way_to_the_next_if_allowed() {
        let taken = bind(&spec("127.0.0.1", 0)).unwrap();
        let next = ListenSpec {
            may_change_port: true,
            ..spec("127.0.0.1", taken.address.port())
        };
        let next = bind(&next).unwrap();
        assert_ne!(next.address.port(), taken.address.port());
    }

    #[test]
    fn ipv6_host_may_have_brackets() {
        let Ok(bound) = bind(&spec("[::1]", 0)) else {
            eprintln!("SKIPPED: this machine has no IPv6 loopback address");
            return;
        };
        assert!(bound.address.is_ipv6());
    }
}
