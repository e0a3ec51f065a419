//! Many clients in one thread: connecting, reading, splitting what they get into lines.
//!
//! The load ([`super::load`], [`super::joins`]) uses it. It must stay cheap, since it shares
//! the machine with the program that is measured: one edge-triggered epoll, large reads, no
//! allocation a line, no JSON.

use super::lines::{Line, recognise};
use super::{OrSay, Result, fail};
use rustix::event::epoll;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes that one read may give.
const READ_BYTES: usize = 256 * 1024;

/// Clients that are read before the clock is looked at again.
const CLIENTS_PER_WAIT: usize = 64;

const TIMER: u64 = u64::MAX;
const COMMANDS: u64 = u64::MAX - 1;

/// Clients of one load, numbered in the order in which they connected.
pub(crate) struct Crowd {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    joined: usize,
    refused: usize,
    reads: u64,
}

struct Client {
    /// None if the server refused it or closed it before it was announced.
    stream: Option<TcpStream>,
    port: u16,
    joined: bool,
    /// The beginning of a line whose end has not arrived.
    half: Vec<u8>,
}

impl Crowd {
    /// No clients yet.
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .or_say(|| "cannot create an epoll instance".to_owned())?;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)
            .or_say(|| "cannot create a timer".to_owned())?;
        watch(&epoll, &timer, TIMER)?;
        Ok(Crowd {
            epoll,
            timer,
            events: Vec::with_capacity(CLIENTS_PER_WAIT),
            buffer: vec![0; READ_BYTES],
            clients: Vec::new(),
            joined: 0,
            refused: 0,
            reads: 0,
        })
    }

    /// Also wakes for commands on the standard input.
    pub(crate) fn watch_commands(&self) -> Result<()> {
        watch(&self.epoll, std::io::stdin(), COMMANDS)
    }

    /// Begins to connect one more client and gives its number; does not wait for anything.
    pub(crate) fn connect(&mut self, address: SocketAddr) -> Result<usize> {
        let say = || format!("cannot connect to {address}");
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            None,
        )
        .or_say(say)?;
        socket.set_tcp_nodelay(true).or_say(say)?;
        match socket.connect(&address.into()) {
            Err(error)
                if error.kind() != ErrorKind::WouldBlock
                    && error.raw_os_error() != Some(IN_PROGRESS) =>
            {
                return Err(error).or_say(say);
            }
            _ => {}
        }
        let stream = TcpStream::from(socket);
        let port = stream.local_addr().or_say(say)?.port();
        let number = self.clients.len();
        watch(&self.epoll, &stream, number as u64)?;
        self.clients.push(Client {
            stream: Some(stream),
            port,
            joined: false,
            half: Vec::new(),
        });
        Ok(number)
    }

    /// Stops reading a client for good; it stays connected.
    pub(crate) fn ignore(&self, client: usize) -> Result<()> {
        match &self.clients[client].stream {
            Some(stream) => epoll::delete(&self.epoll, stream)
                .or_say(|| format!("cannot stop watching client {client}")),
            None => Ok(()),
        }
    }

    /// How many clients were begun.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// How many saw themselves enter.
    pub(crate) fn joined(&self) -> usize {
        self.joined
    }

    /// How many were told something else, or closed, instead.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// How many reads gave something.
    pub(crate) fn reads(&self) -> u64 {
        self.reads
    }

    /// Port of a client, which is in its name.
    pub(crate) fn port(&self, client: usize) -> u16 {
        self.clients[client].port
    }

    /// Whether a client saw itself enter.
    pub(crate) fn has_joined(&self, client: usize) -> bool {
        self.clients[client].joined
    }

    /// Sends as much of `bytes` as the socket takes and gives how much that was.
    pub(crate) fn send(&mut self, client: usize, bytes: &[u8]) -> Result<usize> {
        let Some(stream) = &mut self.clients[client].stream else {
            return fail(format!("client {client} cannot talk: it was refused"));
        };
        match stream.write(bytes) {
            Ok(sent) => Ok(sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).or_say(|| format!("client {client} cannot send")),
        }
    }

    /// Waits until somebody has something to read or `until`, reads a few clients once each,
    /// and gives every whole line to `on_line` with the client's number and the time of the
    /// read. True if a command, or its end, waits on the standard input.
    pub(crate) fn turn(
        &mut self,
        until: Instant,
        mut on_line: impl FnMut(usize, Line, Instant) -> Result<()>,
    ) -> Result<bool> {
        let mut events = std::mem::take(&mut self.events);
        self.wait(&mut events, until)?;
        let mut commanded = false;
        for event in events.drain(..) {
            match event.data.u64() {
                TIMER => {}
                COMMANDS => commanded = true,
                client => while self.read(client as usize, &mut on_line)? {},
            }
        }
        self.events = events;
        Ok(commanded)
    }

    /// An epoll wait whose end is exact: its own timeout knows only milliseconds.
    fn wait(&self, events: &mut Vec<epoll::Event>, until: Instant) -> Result<()> {
        events.clear();
        let left = until.saturating_duration_since(Instant::now());
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timeout = if left.is_zero() {
            Some(&zero)
        } else {
            self.arm(left)?;
            None
        };
        loop {
            let space = rustix::buffer::spare_capacity(events);
            match epoll::wait(&self.epoll, space, timeout) {
                Err(rustix::io::Errno::INTR) => {}
                outcome => {
                    outcome.or_say(|| "cannot wait for the clients".to_owned())?;
                    return Ok(());
                }
            }
        }
    }

    /// Sets the timer, which also forgets that it rang before.
    fn arm(&self, left: Duration) -> Result<()> {
        let value = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: never,
            it_value: value,
        };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)
            .or_say(|| "cannot set a timer".to_owned())?;
        Ok(())
    }

    /// Reads a client once; true if it may have more to read.
    fn read(
        &mut self,
        number: usize,
        on_line: &mut impl FnMut(usize, Line, Instant) -> Result<()>,
    ) -> Result<bool> {
        let client = &mut self.clients[number];
        let Some(stream) = &mut client.stream else {
            return Ok(false);
        };
        let kept = client.half.len();
        self.buffer[..kept].copy_from_slice(&client.half);
        let got = match stream.read(&mut self.buffer[kept..]) {
            Ok(0) => return self.ended(number, "closed"),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return self.ended(number, &error.to_string()),
        };
        let now = Instant::now();
        self.reads += 1;
        let mut rest = &self.buffer[..kept + got];
        while let Some(length) = memchr::memchr(b'\n', rest) {
            let line = recognise(&rest[..length]);
            rest = &rest[length + 1..];
            if !client.joined {
                if line != Line::Entered(client.port) {
                    return self.ended(number, "its first line was not its own arrival");
                }
                client.joined = true;
                self.joined += 1;
            }
            on_line(number, line, now)?;
        }
        client.half.clear();
        client.half.extend_from_slice(rest);
        // A read that could have given more has emptied the socket; the next byte is a new edge.
        Ok(kept + got == READ_BYTES)
    }

    /// A client whose stream ended: refused if it had not joined, else the run failed.
    fn ended(&mut self, number: usize, how: &str) -> Result<bool> {
        let client = &mut self.clients[number];
        if client.joined {
            return fail(format!("client {number} lost its connection: {how}"));
        }
        client.stream = None;
        self.refused += 1;
        Ok(false)
    }
}

/// `EINPROGRESS`, for which the standard library has no stable name.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

fn watch(epoll: &OwnedFd, source: impl AsFd, token: u64) -> Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(epoll, source, epoll::EventData::new_u64(token), flags)
        .or_say(|| "cannot watch a socket".to_owned())
}
