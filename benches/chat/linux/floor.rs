//! The floor: a relay that costs about the least that a relay in user space can cost.
//!
//! It has one thread, one level-triggered epoll, and one log with a position for each client.
//! It reads all input before it writes, does not parse, and makes one send for each client.

use super::lines::entered_line;
use super::{Result, context};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use rustix::time::Timespec;
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// First argument of a benchmark that runs as the floor.
pub(crate) const ROLE: &str = "role-floor";
/// Second argument: announces each join to all clients, not only to the new client.
pub(crate) const ANNOUNCE_TO_ALL: &str = "announce-to-all";

const LOG_BYTES: usize = 8 * 1024 * 1024;

/// Bytes read from one client at a time; a longer line ends its connection.
const READ_BYTES: usize = 64 * 1024;

const EVENTS_PER_WAIT: usize = 1024;

/// Connections are all accepted at once, so that the kernel's queue is never full.
const BACKLOG: i32 = 4096;
/// New clients admitted per round, so that connected clients do not wait long for messages.
const ADMISSIONS_PER_ROUND: usize = 256;

const LISTENER: u64 = u64::MAX;

/// Prints the address on standard error and relays until the process is killed.
pub(crate) fn run(announce_to_all: bool) -> Result<()> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    // Accepted sockets inherit this option.
    listener.set_tcp_nodelay(true)?;
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    listener.listen(BACKLOG)?;
    let address = listener.local_addr()?.as_socket().ok_or("no address")?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let token = EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, token, EventFlags::IN)?;
    let mut relay = Relay {
        epoll,
        listener,
        announce_to_all,
        members: Vec::new(),
        new_clients: VecDeque::new(),
        log: Vec::with_capacity(LOG_BYTES),
        log_start: 0,
        behind: 0,
        events: Vec::with_capacity(EVENTS_PER_WAIT),
    };
    eprintln!("floor: clients connect to {address}");
    loop {
        relay.run_round()?;
    }
}

struct Relay {
    epoll: OwnedFd,
    listener: Socket,
    announce_to_all: bool,
    members: Vec<Option<Member>>,
    /// Accepted and not yet admitted, with their ports.
    new_clients: VecDeque<(OwnedFd, u16)>,
    /// Bytes that a member may still need.
    log: Vec<u8>,
    /// Position of the log's first byte, from the start of the program.
    log_start: u64,
    /// Number of members that are behind.
    behind: usize,
    events: Vec<epoll::Event>,
}

struct Member {
    socket: OwnedFd,
    /// End of what was sent.
    position: u64,
    /// The socket did not take everything, so epoll watches for space.
    is_behind: bool,
    partial_line: Vec<u8>,
}

impl Relay {
    fn log_end(&self) -> u64 {
        self.log_start + self.log.len() as u64
    }

    fn free_space(&self) -> usize {
        self.log.capacity() - self.log.len()
    }

    /// Waits, reads all input, and writes once to each member.
    fn run_round(&mut self) -> Result<()> {
        let mut events = std::mem::take(&mut self.events);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = (!self.new_clients.is_empty()).then_some(&now);
        let space = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, space, timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(context("the floor cannot wait")(error)),
        }
        let before = self.log_end();
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => self.accept()?,
                member => self.handle_event(member as usize, event.flags),
            }
        }
        self.events = events;
        for _ in 0..ADMISSIONS_PER_ROUND {
            let Some((socket, port)) = self.new_clients.pop_front() else {
                break;
            };
            self.admit(socket, port)?;
        }
        if self.log_end() > before {
            self.write_to_all();
        }
        if self.behind == 0 {
            self.log_start = self.log_end();
            self.log.clear();
        } else if self.free_space() < LOG_BYTES / 4 {
            let positions = self.members.iter().flatten().map(|member| member.position);
            let oldest = positions.min().unwrap_or(self.log_end());
            self.log.drain(..(oldest - self.log_start) as usize);
            self.log_start = oldest;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..BACKLOG {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let (socket, address) = match rustix::net::acceptfrom_with(&self.listener, flags) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => break,
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(context("the floor cannot accept")(error)),
            };
            let address = address.and_then(|address| SocketAddr::try_from(address).ok());
            let port = address.map_or(0, |address| address.port());
            self.new_clients.push_back((socket, port));
        }
        Ok(())
    }

    fn admit(&mut self, socket: OwnedFd, port: u16) -> Result<()> {
        let entered = entered_line(port);
        let position = self.log_end();
        if self.announce_to_all && self.free_space() > READ_BYTES {
            self.log.extend_from_slice(&entered);
        } else {
            // An empty send buffer takes a line; otherwise the load fails.
            let _ = rustix::net::send(&socket, &entered, SendFlags::NOSIGNAL);
        }
        let token = EventData::new_u64(self.members.len() as u64);
        epoll::add(&self.epoll, &socket, token, EventFlags::IN)?;
        self.members.push(Some(Member {
            socket,
            position,
            is_behind: false,
            partial_line: Vec::new(),
        }));
        Ok(())
    }

    fn handle_event(&mut self, slot: usize, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.write(slot);
        }
        let is_readable = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
        if is_readable && self.free_space() >= 2 * READ_BYTES && !self.read(slot) {
            self.remove(slot);
        }
    }

    /// Receives complete lines into the log; returns false at the end of the stream.
    fn read(&mut self, slot: usize) -> bool {
        let Some(member) = &mut self.members[slot] else {
            return true;
        };
        let start = self.log.len();
        self.log.append(&mut member.partial_line);
        let space = rustix::buffer::spare_capacity(&mut self.log);
        let is_open = match rustix::net::recv(&member.socket, space, RecvFlags::empty()) {
            Ok((received, _)) => received > 0,
            Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
        };
        let complete = memchr::memrchr(b'\n', &self.log[start..]);
        let end = complete.map_or(start, |newline| start + newline + 1);
        member.partial_line.extend_from_slice(&self.log[end..]);
        self.log.truncate(end);
        is_open && member.partial_line.len() < READ_BYTES
    }

    /// Writes to each member that does not wait for its socket.
    fn write_to_all(&mut self) {
        let end = self.log_end();
        for slot in 0..self.members.len() {
            if let Some(member) = &self.members[slot]
                && !member.is_behind
                && member.position < end
            {
                self.write(slot);
            }
        }
    }

    /// Sends a member what it lacks; watches its socket for space while it is behind.
    fn write(&mut self, slot: usize) {
        let end = self.log_end();
        let Some(member) = &mut self.members[slot] else {
            return;
        };
        let unsent = &self.log[(member.position - self.log_start) as usize..];
        let is_alive = match rustix::net::send(&member.socket, unsent, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                member.position += sent as u64;
                true
            }
            Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
        };
        let is_behind = member.position < end;
        if !is_alive {
            self.remove(slot);
        } else if is_behind != member.is_behind {
            member.is_behind = is_behind;
            let token = EventData::new_u64(slot as u64);
            let flags = if is_behind {
                self.behind += 1;
                EventFlags::IN | EventFlags::OUT
            } else {
                self.behind -= 1;
                EventFlags::IN
            };
            // Fails only for a connection that is gone, which the next read detects.
            let _ = epoll::modify(&self.epoll, &member.socket, token, flags);
        }
    }

    /// Closes a member's socket, which also removes it from the epoll set.
    fn remove(&mut self, slot: usize) {
        if let Some(member) = self.members[slot].take() {
            self.behind -= usize::from(member.is_behind);
        }
    }
}
