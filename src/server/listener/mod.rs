//! Addresses: from a host and a port to a listener, or a sentence on why not.
//!
//! What lives here: [`Listeners`], bound before anything runs, so that whoever starts a server
//! knows its addresses and a mistake is told at once. It must never accept anything.

pub mod accept;
pub mod admission;

use crate::server::config::ServerConfig;
use crate::server::limits::{
    LISTEN_BACKLOG, SOCKET_RECEIVE_BUFFER_BYTES, SOCKET_SEND_BUFFER_BYTES, WEB_PORT_ATTEMPTS,
};
use smol::Async;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// The listeners of a server.
#[derive(Debug)]
pub struct Listeners {
    chat: Bound,
    web: Option<Bound>,
}

/// A listener with the address that it really has.
#[derive(Debug)]
pub struct Bound {
    /// The listener.
    pub listener: async_net::TcpListener,
    /// Its address.
    pub address: SocketAddr,
}

/// Why a server cannot listen. Its `Display` names the address, the reason and a remedy.
#[derive(Debug)]
pub struct BindError {
    host: String,
    port: u16,
    host_option: &'static str,
    port_option: &'static str,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError {
            host,
            port,
            host_option,
            port_option,
            source,
        } = self;
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

impl Listeners {
    /// Binds what the configuration asks for.
    ///
    /// A web port that nobody asked for gives way to the next free one when it is taken.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub fn bind(config: &ServerConfig) -> Result<Self, BindError> {
        let chat = bind(&config.chat_host, config.chat_port, "--host", "--port")?;
        let web = match &config.web {
            None => None,
            Some(web) if web.port_was_chosen => {
                Some(bind(&web.host, web.port, "--web-host", "--web-port")?)
            }
            Some(web) => Some(bind_next_free(&web.host, web.port)?),
        };
        Ok(Listeners { chat, web })
    }

    /// Where clients connect to.
    pub fn chat_address(&self) -> SocketAddr {
        self.chat.address
    }

    /// Where the page is; none if there is no page.
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web.as_ref().map(|web| web.address)
    }

    /// The listeners themselves: of the chat, and of the page.
    pub fn into_parts(self) -> (Bound, Option<Bound>) {
        (self.chat, self.web)
    }
}

fn bind_next_free(host: &str, first: u16) -> Result<Bound, BindError> {
    let mut result = bind(host, first, "--web-host", "--web-port");
    for port in (first..=u16::MAX)
        .skip(1)
        .take(usize::from(WEB_PORT_ATTEMPTS))
    {
        match &result {
            Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => {
                result = bind(host, port, "--web-host", "--web-port");
            }
            _ => break,
        }
    }
    result
}

/// Binds the first of the host's addresses that can be bound.
fn bind(
    host: &str,
    port: u16,
    host_option: &'static str,
    port_option: &'static str,
) -> Result<Bound, BindError> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let failed = |source| BindError {
        host: bare.to_owned(),
        port,
        host_option,
        port_option,
        source,
    };
    let addresses = (bare, port)
        .to_socket_addrs()
        .map_err(|error| failed(io::Error::new(io::ErrorKind::NotFound, error)))?;
    let mut last_error = io::ErrorKind::NotFound.into();
    for address in addresses {
        match bind_address(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last_error = error,
        }
    }
    Err(failed(last_error))
}

fn bind_address(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // On Unix this lets a restarted server have its port while old connections fade away; it
    // does not let two servers share one. On Windows it would, so it stays off there.
    socket.set_reuse_address(cfg!(unix))?;
    if address.is_ipv6() {
        // The unspecified IPv6 address takes IPv4 as well, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    // The standard library's backlog of 128 makes a crowd of connects stall for seconds.
    // Those who are accepted inherit both.
    socket.set_send_buffer_size(SOCKET_SEND_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_RECEIVE_BUFFER_BYTES)?;
    socket.listen(LISTEN_BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok(Bound {
        listener: Async::new(listener)?.into(),
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(result: Result<Bound, BindError>) -> String {
        result.map(|bound| bound.address).unwrap_err().to_string()
    }

    #[test]
    fn a_taken_port_is_told_with_a_remedy() {
        let taken = bind("127.0.0.1", 0, "--host", "--port").unwrap();
        let port = taken.address.port();
        assert_eq!(
            sentence(bind("127.0.0.1", port, "--host", "--port")),
            format!(
                "Cannot listen on 127.0.0.1:{port}: the address is in use; choose another port with --port, or 0 for any free one"
            )
        );
    }

    #[test]
    fn an_address_of_another_machine_is_told_with_a_remedy() {
        let told = sentence(bind("192.0.2.1", 0, "--host", "--port"));
        assert!(
            told.starts_with("Cannot listen on 192.0.2.1:0: this machine has no such address"),
            "{told}"
        );
        let told = sentence(bind("no such host", 1, "--web-host", "--web-port"));
        assert!(
            told.contains("no address is known for that name") && told.contains("--web-host"),
            "{told}"
        );
    }

    #[test]
    fn a_taken_default_port_gives_way_to_the_next() {
        let taken = bind("127.0.0.1", 0, "--host", "--port").unwrap();
        let next = bind_next_free("127.0.0.1", taken.address.port()).unwrap();
        assert_ne!(next.address.port(), taken.address.port());
    }

    #[test]
    fn an_ipv6_host_may_stand_in_brackets() {
        let Ok(bound) = bind("[::1]", 0, "--host", "--port") else {
            eprintln!("SKIPPED: this machine has no IPv6 loopback address");
            return;
        };
        assert!(bound.address.is_ipv6());
    }
}
