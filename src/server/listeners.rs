//! The listeners of a server.

use crate::server::config::ServerConfig;
use crate::server::listener::{self, BindError, Bound, ListenSpec};
use std::net::SocketAddr;

/// The bound listeners of a server.
#[derive(Debug)]
pub struct Listeners {
    chat: Bound,
    web: Option<Bound>,
}

impl Listeners {
    /// Binds the addresses of a configuration. The default web port gives way to the next free
    /// one.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub fn bind(config: &ServerConfig) -> Result<Self, BindError> {
        let chat = ListenSpec {
            host: config.chat_host.clone(),
            port: config.chat_port,
            may_change_port: false,
            host_option: "--host",
            port_option: "--port",
        };
        let web = config.web.as_ref().map(|web| ListenSpec {
            host: web.host.clone(),
            port: web.port,
            may_change_port: !web.port_was_chosen,
            host_option: "--web-host",
            port_option: "--web-port",
        });
        let chat = listener::bind(&chat)?;
        let web = web.as_ref().map(listener::bind).transpose()?;
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

    /// Returns the listeners of the chat and of the web page.
    pub fn into_parts(self) -> (Bound, Option<Bound>) {
        (self.chat, self.web)
    }
}
