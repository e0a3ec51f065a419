//! The floor: about the least that a TCP relay in user space can cost.
//!
//! Every benchmark runs it beside the server, as a process of its own, and shows the server's
//! figures as ratios to it. One thread, one level-triggered epoll, one shared log with a
//! position for each client; all input that waits is taken in before anything is written, and
//! each client then gets everything new in a single send. It must never parse what it relays,
//! copy it for a client, or wait for anything but epoll: what a chat does beyond that (JSON,
//! names, history, limits) is what the ratio shows.

use super::lines::push_entered;
use super::{OrSay, Result, fail};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use rustix::time::Timespec;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// The argument by which a benchmark executes itself as the floor.
pub(crate) const ROLE: &str = "role-floor";

/// Bytes of the log; a client may be behind by half of it, as in the server.
const LOG_BYTES: usize = 8 * 1024 * 1024;
const MAX_LAG_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes taken from one client at a time; a longer line ends its connection.
const READ_BYTES: usize = 64 * 1024;

const EVENTS_PER_WAIT: usize = 1024;

/// Accepted at once, so that the backlog is never full; let in a few at a time, so that the
/// members wait no longer for their messages than it takes to tell them of these few.
const ACCEPTS_PER_WAIT: usize = BACKLOG as usize;
const WELCOMES_PER_WAIT: usize = 256;

const BACKLOG: i32 = 4096;
const LISTENER: u64 = u64::MAX;

/// Whom an arrival is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Announce {
    /// Only the newcomer; of the server, what its own default makes of it.
    Newcomer,
    /// Everyone.
    Everyone,
}

/// How the floor is to behave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FloorPlan {
    /// Whom an arrival is told to.
    pub(crate) announce: Announce,
}

/// Listens, tells the address on the standard error, and relays until its standard input ends.
pub(crate) fn run(plan: &FloorPlan) -> Result<()> {
    std::thread::spawn(|| {
        // Whatever ends the input ends the floor: nothing of a benchmark stays behind.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let (listener, address) = listen()?;
    let mut relay = Relay::new(listener, plan.announce)?;
    eprintln!("The floor listens for clients on {address}");
    loop {
        relay.turn()?;
    }
}

fn listen() -> Result<(Socket, SocketAddr)> {
    let say = || "the floor cannot listen on 127.0.0.1".to_owned();
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).or_say(say)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true).or_say(say)?;
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .or_say(say)?;
    socket.listen(BACKLOG).or_say(say)?;
    let address = socket.local_addr().or_say(say)?.as_socket();
    match address {
        Some(address) => Ok((socket, address)),
        None => fail("the floor has no address"),
    }
}

struct Relay {
    epoll: OwnedFd,
    listener: Socket,
    announce: Announce,
    members: Vec<Option<Member>>,
    vacant: Vec<usize>,
    /// Accepted and not yet let in, each with its port.
    newcomers: VecDeque<(OwnedFd, u16)>,
    log: BroadcastLog,
    /// Members whose socket took less than there was.
    behind: usize,
    events: Vec<epoll::Event>,
}

struct Member {
    socket: OwnedFd,
    /// Everything in the log before it is sent.
    position: u64,
    behind: bool,
    /// The beginning of a line whose end has not arrived.
    half: Vec<u8>,
}

/// The bytes that somebody may still need; positions count from the beginning of time.
struct BroadcastLog {
    bytes: Vec<u8>,
    filled: usize,
    base: u64,
}

impl BroadcastLog {
    fn end(&self) -> u64 {
        self.base + self.filled as u64
    }

    fn room(&self) -> usize {
        self.bytes.len() - self.filled
    }

    fn since(&self, position: u64) -> &[u8] {
        &self.bytes[(position - self.base) as usize..self.filled]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
    }

    fn forget_before(&mut self, position: u64) {
        let start = (position - self.base) as usize;
        self.bytes.copy_within(start..self.filled, 0);
        self.filled -= start;
        self.base = position;
    }
}

impl Relay {
    fn new(listener: Socket, announce: Announce) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .or_say(|| "the floor cannot create an epoll instance".to_owned())?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )
        .or_say(|| "the floor cannot watch its listener".to_owned())?;
        Ok(Relay {
            epoll,
            listener,
            announce,
            members: Vec::new(),
            vacant: Vec::new(),
            newcomers: VecDeque::new(),
            log: BroadcastLog {
                bytes: vec![0; LOG_BYTES],
                filled: 0,
                base: 0,
            },
            behind: 0,
            events: Vec::with_capacity(EVENTS_PER_WAIT),
        })
    }

    /// Waits, takes in all input, writes to each member once.
    fn turn(&mut self) -> Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = (!self.newcomers.is_empty()).then_some(&at_once);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout,
        ) {
            Err(Errno::INTR) => {}
            outcome => {
                outcome.or_say(|| "the floor cannot wait for its clients".to_owned())?;
            }
        }
        let before = self.log.end();
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => self.accept()?,
                member => self.attach_stream(member as usize, event.flags),
            }
        }
        self.events = events;
        for _ in 0..WELCOMES_PER_WAIT {
            let Some((socket, port)) = self.newcomers.pop_front() else {
                break;
            };
            self.welcome(socket, port)?;
        }
        if self.log.end() > before {
            self.sweep();
        }
        if self.behind == 0 {
            self.log.base = self.log.end();
            self.log.filled = 0;
        } else if self.log.room() < LOG_BYTES / 4 {
            self.trim();
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPTS_PER_WAIT {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let (socket, address) = match rustix::net::acceptfrom_with(&self.listener, flags) {
                Ok(accepted) => accepted,
                Err(Errno::AGAIN) => break,
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error).or_say(|| "the floor cannot accept".to_owned()),
            };
            let port = address
                .and_then(|address| SocketAddr::try_from(address).ok())
                .map_or(0, |address| address.port());
            self.newcomers.push_back((socket, port));
        }
        Ok(())
    }

    fn welcome(&mut self, socket: OwnedFd, port: u16) -> Result<()> {
        let mut entered = Vec::new();
        push_entered(&mut entered, port);
        let position = self.log.end();
        if self.announce == Announce::Everyone && self.log.room() > READ_BYTES {
            self.log.push(&entered);
        } else {
            // An empty send buffer takes a line; if not, the load will notice.
            let _ = rustix::net::send(&socket, &entered, SendFlags::NOSIGNAL);
        }
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        epoll::add(
            &self.epoll,
            &socket,
            EventData::new_u64(slot as u64),
            EventFlags::IN,
        )
        .or_say(|| "the floor cannot watch a client".to_owned())?;
        self.members[slot] = Some(Member {
            socket,
            position,
            behind: false,
            half: Vec::new(),
        });
        Ok(())
    }

    fn attach_stream(&mut self, slot: usize, flags: EventFlags) {
        let Some(member) = &mut self.members[slot] else {
            return;
        };
        let mut alive = true;
        if flags.contains(EventFlags::OUT) && member.behind {
            alive = catch_up(&self.epoll, slot, member, &self.log, &mut self.behind);
        }
        if alive && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            alive = take_in(member, &mut self.log);
        }
        if !alive {
            self.remove(slot);
        }
    }

    /// One send for each member that is not waiting for its socket.
    fn sweep(&mut self) {
        let end = self.log.end();
        for slot in 0..self.members.len() {
            let Some(member) = &mut self.members[slot] else {
                continue;
            };
            if member.behind || member.position == end {
                continue;
            }
            if !send_new(&self.epoll, slot, member, &self.log, &mut self.behind) {
                self.remove(slot);
            }
        }
    }

    /// Makes room: who is too far behind goes, what nobody needs is forgotten.
    fn trim(&mut self) {
        let end = self.log.end();
        let mut needed = end;
        for slot in 0..self.members.len() {
            let Some(member) = &self.members[slot] else {
                continue;
            };
            if end - member.position > MAX_LAG_BYTES {
                self.remove(slot);
            } else {
                needed = needed.min(member.position);
            }
        }
        self.log.forget_before(needed);
    }

    /// Closing the socket also takes it out of the epoll set.
    fn remove(&mut self, slot: usize) {
        if let Some(member) = self.members[slot].take() {
            self.behind -= usize::from(member.behind);
            self.vacant.push(slot);
        }
    }
}

/// Sends a member what is new; false if its connection is gone.
fn send_new(
    epoll: &OwnedFd,
    slot: usize,
    member: &mut Member,
    log: &BroadcastLog,
    behind: &mut usize,
) -> bool {
    match rustix::net::send(
        &member.socket,
        log.since(member.position),
        SendFlags::NOSIGNAL,
    ) {
        Ok(sent) => member.position += sent as u64,
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(_) => return false,
    }
    if member.position == log.end() || member.behind {
        return true;
    }
    member.behind = true;
    *behind += 1;
    rewatch(
        epoll,
        slot,
        &member.socket,
        EventFlags::IN | EventFlags::OUT,
    )
}

/// Sends a member that was behind what it has missed; false if its connection is gone.
fn catch_up(
    epoll: &OwnedFd,
    slot: usize,
    member: &mut Member,
    log: &BroadcastLog,
    behind: &mut usize,
) -> bool {
    if !send_new(epoll, slot, member, log, behind) {
        return false;
    }
    if member.position < log.end() {
        return true;
    }
    member.behind = false;
    *behind -= 1;
    rewatch(epoll, slot, &member.socket, EventFlags::IN)
}

fn rewatch(epoll: &OwnedFd, slot: usize, socket: impl AsFd, flags: EventFlags) -> bool {
    epoll::modify(epoll, socket, EventData::new_u64(slot as u64), flags).is_ok()
}

/// Receives straight into the log; only whole lines stay there. False at the end of the stream.
fn take_in(member: &mut Member, log: &mut BroadcastLog) -> bool {
    if log.room() < 2 * READ_BYTES {
        return true;
    }
    let kept = member.half.len();
    let start = log.filled;
    log.bytes[start..start + kept].copy_from_slice(&member.half);
    let space = &mut log.bytes[start + kept..start + READ_BYTES];
    let got = match rustix::net::recv(&member.socket, space, RecvFlags::empty()) {
        Ok((0, _)) => return false,
        Ok((got, _)) => got,
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(_) => return false,
    };
    let new = &log.bytes[start..start + kept + got];
    let whole = memchr::memrchr(b'\n', new).map_or(0, |newline| newline + 1);
    member.half.clear();
    member.half.extend_from_slice(&new[whole..]);
    log.filled += whole;
    member.half.len() < READ_BYTES
}
