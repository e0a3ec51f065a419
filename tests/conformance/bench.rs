//! The conformance tests' view of a server that others may use at the same time.
//!
//! A trial knows the names of its own users. A client skips lines about other users, and compares
//! each line about its own with the expected one. Nothing here depends on the library: any server
//! can be judged.

use crate::support::line_client::SERVER as SERVER_SOURCE;
use crate::support::{LineClient, RealServer, Site, Transcript, skip};
use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub(crate) use crate::client::{Client, Line, Nothing, Pair};
pub(crate) use crate::support::{PATIENCE, request};

/// Source of the lines of the server.
pub(crate) const SERVER: &str = SERVER_SOURCE;

/// Variable that names the server to test as `host:port`. Without it, the tests start their own.
const TARGET: &str = "SMOLCHAT_TARGET";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the server that all tests of this run share while one of them needs it.
fn shared_server() -> Arc<RealServer> {
    static SHARED: Mutex<Weak<RealServer>> = Mutex::new(Weak::new());
    let mut shared = lock(&SHARED);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(RealServer::start(&["--no-web"]));
        *shared = Arc::downgrade(&server);
        server
    })
}

/// Returns the address of the server that `SMOLCHAT_TARGET` names.
fn target() -> Option<SocketAddr> {
    let target = std::env::var(TARGET).ok()?;
    let mut addresses = target.to_socket_addrs().unwrap_or_else(|error| {
        panic!("{TARGET}={target:?} is no address ({error}); write host:port")
    });
    let address = addresses.find(|address| TcpStream::connect(address).is_ok());
    let message = "nobody listens there; start a server first";
    Some(address.unwrap_or_else(|| panic!("{TARGET}={target:?}: {message}")))
}

/// Names of a trial's users, former names included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<HashSet<String>>>);

impl Names {
    pub(crate) fn claim(&self, name: &str) {
        lock(&self.0).insert(name.to_owned());
    }

    pub(crate) fn release(&self, name: &str) {
        lock(&self.0).remove(name);
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        lock(&self.0).contains(name)
    }
}

/// One test at one server.
pub(crate) struct Trial {
    site: Site,
    /// The server; none where the tests have not started it.
    pub(crate) server: Option<Arc<RealServer>>,
    names: Names,
}

impl Trial {
    /// Returns a trial at the shared server, or at the one that `SMOLCHAT_TARGET` names.
    pub(crate) fn new() -> Self {
        match target() {
            Some(address) => Trial::at(address, None),
            None => {
                let server = shared_server();
                Trial::at(server.address, Some(server))
            }
        }
    }

    /// Returns a trial at a server of its own; none where `SMOLCHAT_TARGET` names the server.
    pub(crate) fn own(options: &[&str]) -> Option<Self> {
        if std::env::var_os(TARGET).is_some() {
            skip(&format!(
                "it needs a server of its own, and {TARGET} is set"
            ));
            return None;
        }
        let server = Arc::new(RealServer::start(&[&["--no-web"], options].concat()));
        Some(Trial::at(server.address, Some(server)))
    }

    /// Returns a trial at a server that delays no client, or at the one that `SMOLCHAT_TARGET`
    /// names.
    pub(crate) fn unpaced() -> Self {
        Trial::own(&["--rate", "10000000", "--burst", "10000000"]).unwrap_or_else(Trial::new)
    }

    fn at(address: SocketAddr, server: Option<Arc<RealServer>>) -> Self {
        Trial {
            site: Site {
                address,
                web: None,
                transcript: Transcript::start(),
            },
            server,
            names: Names::default(),
        }
    }

    /// Returns another trial at the same server.
    pub(crate) fn sibling(&self) -> Self {
        Trial::at(self.site.address, self.server.clone())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.site.address
    }

    /// Returns a name that no other test has, and claims it.
    pub(crate) fn name(&self, word: &str) -> String {
        let name = format!("{word}-{}", unique());
        self.claim(&name);
        name
    }

    /// Makes lines about this name part of the trial.
    pub(crate) fn claim(&self, name: &str) {
        self.names.claim(name);
    }

    /// Connects a client without waiting for an answer.
    #[track_caller]
    pub(crate) fn connect_raw(&self, label: &str) -> Client {
        self.client(self.site.connect_raw(label))
    }

    /// Connects a client to another address of the server.
    #[track_caller]
    pub(crate) fn connect_to(&self, address: SocketAddr, label: &str) -> Client {
        let site = Site {
            address,
            ..self.site.clone()
        };
        self.client(site.connect_raw(label))
    }

    /// Connects a client from another local address.
    #[track_caller]
    pub(crate) fn connect_from(&self, source: SocketAddr, label: &str) -> Client {
        self.client(self.site.connect_from(source, label))
    }

    /// Connects a client that has received its own arrival first.
    #[track_caller]
    pub(crate) fn connect(&self, label: &str) -> Client {
        let mut client = self.connect_raw(label);
        client.arrive();
        client
    }

    /// Connects a client with the smallest receive buffer, which has received its own arrival.
    #[track_caller]
    pub(crate) fn connect_narrow(&self, label: &str) -> Client {
        let mut client = self.client(self.site.connect_narrow_raw(label));
        client.arrive();
        client
    }

    fn client(&self, line: LineClient) -> Client {
        // The first name, unless something on the way translates addresses.
        self.names.claim(&line.name);
        Client {
            line,
            names: self.names.clone(),
        }
    }

    /// Connects a client with a name of its own that begins with this word.
    #[track_caller]
    pub(crate) fn join(&self, word: &str) -> Client {
        let mut client = self.connect(word);
        client.rename(&self.name(word));
        client
    }

    /// Connects clients with such names, which have nothing left to receive.
    #[track_caller]
    pub(crate) fn room<const N: usize>(&self, words: [&str; N]) -> [Client; N] {
        let mut clients = words.map(|word| self.join(word));
        if let Some((last, earlier)) = clients.split_last_mut() {
            let everyone = format!("everyone is here {}", unique());
            last.say_and_hear(&everyone);
            for client in earlier {
                client.skip_to(&last.name, &everyone);
            }
        }
        clients
    }

    /// Connects a culprit and a witness.
    #[track_caller]
    pub(crate) fn pair(&self) -> Pair {
        let [culprit, witness] = self.room(["culprit", "witness"]);
        Pair { culprit, witness }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let log = self.server.as_ref().map(|server| server.stderr.text());
        self.site
            .transcript
            .print_on_panic(&log.unwrap_or_default());
    }
}

/// Returns letters and digits that no other call, test or run at this time returns.
pub(crate) fn unique() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // No two hexadecimal digits look alike.
    format!("{:x}.{count:x}", std::process::id())
}
