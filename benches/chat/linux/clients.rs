//! Many clients in one thread: connects, sends, and reads lines.
//!
//! The load shares the machine with the program under load, so it must be cheap: one
//! edge-triggered epoll, large reads, no allocation per line.

use super::lines::{ReceivedLine, recognise};
use super::{Error, Result, context};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Maximum bytes of one read.
const READ_BYTES: usize = 256 * 1024;

/// Clients that are read before the load checks the clock.
const EVENTS_PER_WAIT: usize = 64;

const TIMER: u64 = u64::MAX;

/// Clients of one load, numbered in the order in which they connected.
pub(crate) struct Clients {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    /// Clients that received their own join notice.
    pub(crate) joined: usize,
    /// Reads that returned data.
    pub(crate) reads: u64,
}

struct Client {
    stream: TcpStream,
    port: u16,
    has_joined: bool,
    /// Start of a line whose end has not arrived.
    partial_line: Vec<u8>,
}

impl Clients {
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        watch(&epoll, &timer, TIMER)?;
        Ok(Clients {
            epoll,
            timer,
            events: Vec::with_capacity(EVENTS_PER_WAIT),
            buffer: vec![0; READ_BYTES],
            clients: Vec::new(),
            joined: 0,
            reads: 0,
        })
    }

    /// Starts to connect one more client, without waiting.
    pub(crate) fn connect(&mut self, address: SocketAddr) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        if let Err(error) = socket.connect(&address.into())
            && error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error())
        {
            return Err(context(format!("cannot connect to {address}"))(error));
        }
        let stream = TcpStream::from(socket);
        watch(&self.epoll, &stream, self.clients.len() as u64)?;
        self.clients.push(Client {
            port: stream.local_addr()?.port(),
            stream,
            has_joined: false,
            partial_line: Vec::new(),
        });
        Ok(())
    }

    /// Stops reading a client, which stays connected.
    pub(crate) fn stop_reading(&self, client: usize) -> Result<()> {
        Ok(epoll::delete(&self.epoll, &self.clients[client].stream)?)
    }

    /// Sends as much as the socket takes, and returns the number of bytes.
    pub(crate) fn send(&mut self, client: usize, bytes: &[u8]) -> Result<usize> {
        match self.clients[client].stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            outcome => Ok(outcome?),
        }
    }

    /// Waits for data, at most until `until`, and passes each line to `on_line` with its
    /// client and the time of the read.
    pub(crate) fn poll(
        &mut self,
        until: Instant,
        mut on_line: impl FnMut(usize, ReceivedLine, Instant) -> Result<()>,
    ) -> Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.wait(&mut events, until)?;
        for event in events.drain(..).filter(|event| event.data.u64() != TIMER) {
            let client = event.data.u64() as usize;
            let name_client = |error: Error| context(format!("client {client}"))(error);
            while self.read(client, &mut on_line).map_err(name_client)? {}
        }
        self.events = events;
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, until: Instant) -> Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        let zero = timespec(Duration::ZERO);
        if !left.is_zero() {
            // A timer, because the timeout of epoll_wait has a resolution of 1 ms.
            let spec = Itimerspec {
                it_interval: zero,
                it_value: timespec(left),
            };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec)?;
        }
        let timeout = left.is_zero().then_some(&zero);
        loop {
            let space = rustix::buffer::spare_capacity(events);
            match epoll::wait(&self.epoll, space, timeout) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Reads a client once, and returns whether more data may be available.
    fn read(
        &mut self,
        number: usize,
        on_line: &mut impl FnMut(usize, ReceivedLine, Instant) -> Result<()>,
    ) -> Result<bool> {
        let client = &mut self.clients[number];
        let kept = client.partial_line.len();
        self.buffer[..kept].copy_from_slice(&client.partial_line);
        let received = match client.stream.read(&mut self.buffer[kept..]) {
            Ok(0) => return Err("the connection was closed".into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            outcome => outcome?,
        };
        let now = Instant::now();
        self.reads += 1;
        let mut rest = &self.buffer[..kept + received];
        while let Some(length) = memchr::memchr(b'\n', rest) {
            let line = recognise(&rest[..length]);
            rest = &rest[length + 1..];
            if !client.has_joined {
                if line != ReceivedLine::Entered(client.port) {
                    return Err("the client was rejected".into());
                }
                client.has_joined = true;
                self.joined += 1;
            }
            on_line(number, line, now)?;
        }
        client.partial_line.clear();
        client.partial_line.extend_from_slice(rest);
        // A read that did not fill the buffer emptied the socket, so new data is a new edge.
        Ok(kept + received == READ_BYTES)
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

fn watch(epoll: &OwnedFd, source: impl AsFd, token: u64) -> Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(epoll, source, epoll::EventData::new_u64(token), flags)?;
    Ok(())
}
