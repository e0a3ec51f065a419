//! The checked configuration of a server.

use crate::limits::DEFAULT_PORT;
use crate::server::host_name::HostName;
use crate::server::limits::{
    DEFAULT_WEB_PORT, Limits, MAX_CLOSING_CONNECTIONS, WEB_MAX_CLOSING_CONNECTIONS,
    WEB_MAX_CONNECTIONS,
};
use crate::server::network::Network;
use crate::storage::StoreOptions;

/// The default of `--host` and `--web-host`.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// A configuration with all values in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address of the chat.
    pub chat_host: String,
    /// Port of the chat; 0 takes any free one.
    pub chat_port: u16,
    /// The web page, if the server serves one.
    pub web: Option<WebConfig>,
    /// The store; `None` keeps the chat in memory.
    pub store: Option<StoreOptions>,
    /// The bounds.
    pub limits: Limits,
    /// Number of threads, at least one.
    pub threads: usize,
}

/// The configuration of the web page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Address of the page.
    pub host: String,
    /// Port of the page; 0 takes any free one.
    pub port: u16,
    /// Whether the operator chose the port; otherwise the next free one does as well.
    pub port_was_chosen: bool,
    /// Whether other machines may read `/metrics`.
    pub metrics_are_public: bool,
    /// Whether browsers may only read.
    pub is_read_only: bool,
    /// Allowed host names besides `localhost`; addresses are always allowed.
    pub names: Vec<HostName>,
    /// Proxies that tell the address of the client.
    pub trusted_proxies: Vec<Network>,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain lines.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            chat_host: LOOPBACK.to_owned(),
            chat_port: DEFAULT_PORT,
            web: Some(WebConfig {
                host: LOOPBACK.to_owned(),
                port: DEFAULT_WEB_PORT,
                port_was_chosen: false,
                metrics_are_public: false,
                is_read_only: false,
                names: Vec::new(),
                trusted_proxies: Vec::new(),
            }),
            store: None,
            limits: Limits::default(),
            threads: 1,
        }
    }
}

impl ServerConfig {
    /// Returns the number of file descriptors that the maximum number of users may need.
    pub fn needed_descriptors(&self) -> u64 {
        let web = WEB_MAX_CONNECTIONS + WEB_MAX_CLOSING_CONNECTIONS;
        (self.limits.max_clients + web + MAX_CLOSING_CONNECTIONS) as u64
    }

    /// Allows the host names of the machine for the web page.
    pub fn allow_machine_name(&mut self, name: &str) {
        if let Some(web) = &mut self.web {
            web.names.extend(HostName::of_machine(name));
        }
    }
}
