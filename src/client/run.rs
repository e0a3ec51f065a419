//! The client's loop: what is typed goes out, what comes in is shown.
//!
//! What lives here: [`run`]. Sending and receiving never wait for each other, except that a
//! server that reads slowly holds the input back. It must never wait for the server to speak
//! first, and never leave before what was typed has been handed to the network.

use crate::client::commands::{self, Typed};
use crate::client::connect::{ConnectError, connect};
use crate::client::input::{BadLine, InputLine};
use crate::client::options::Config;
use crate::client::screen::Screen;
use crate::client::session::Session;
use crate::limits::{
    CLIENT_DRAIN_TIMEOUT, CLIENT_LEAVE_TIMEOUT, CLIENT_READ_BUFFER_BYTES, CLIENT_WRITE_BYTES,
};
use crate::render::Style;
use async_channel::Receiver;
use async_net::TcpStream;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::Timer;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

/// What is said when the server closes the connection.
pub const DISCONNECTED: &str = "Server disconnected\n";

/// What is told when nothing was understood.
const STRANGE: &str = "Nothing that came from there was a line of a chat; check that \
                       smolchat-server is at this address and port";

/// Why a client ends other than at its user's or its server's wish. Its `Display` is one
/// sentence.
#[derive(Debug)]
pub enum RunError {
    /// There is no connection.
    Connect(ConnectError),
    /// What is received cannot be written.
    Output(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Connect(error) => write!(out, "{error}"),
            RunError::Output(error) => {
                write!(
                    out,
                    "Cannot write to standard output: {error}; check where it goes"
                )
            }
        }
    }
}

impl std::error::Error for RunError {}

/// How the input is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// A person types.
    Terminal,
    /// It comes from a pipe or a file: mistakes are told with the number of their line.
    Pipe,
}

/// Where a client reads and shows.
pub struct Edge<'a> {
    /// The lines of the input; closed at its end.
    pub input: Receiver<InputLine>,
    /// How the input is used.
    pub input_kind: InputKind,
    /// Where things are shown.
    pub screen: &'a RefCell<dyn Screen>,
    /// How they look.
    pub style: Style,
}

impl fmt::Debug for Edge<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Edge")
            .field("input_kind", &self.input_kind)
            .finish_non_exhaustive()
    }
}

/// What happened next.
enum Step {
    Received(usize),
    Closed,
    InputEnded,
    Silence,
}

/// Connects, and chats until the server closes the connection, or the input has ended and
/// what is owed has come.
///
/// # Errors
/// There is no connection, or what is received cannot be written.
pub async fn run(config: &Config, edge: Edge<'_>) -> Result<(), RunError> {
    let stream = connect(config).await.map_err(RunError::Connect)?;
    match chat(&stream, config, edge).await {
        // Whoever read the output has enough: a quiet end.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(RunError::Output),
    }
}

async fn chat(stream: &TcpStream, config: &Config, edge: Edge<'_>) -> io::Result<()> {
    let mut session = Session::new(edge.style);
    let mut buffer = vec![0; CLIENT_READ_BUFFER_BYTES];
    let patience = match edge.input_kind {
        InputKind::Terminal => CLIENT_LEAVE_TIMEOUT,
        InputKind::Pipe => CLIENT_DRAIN_TIMEOUT,
    };
    let mut sending = pin!(send_input(stream, config, &edge));
    let mut input_ended_at = None;
    let mut last_line = Instant::now();
    loop {
        // Only a reading may lose the race: nothing of it is lost with it.
        let reading = read(stream, &mut buffer);
        let step = match input_ended_at {
            Some(ended_at) => {
                // One who leaves a terminal does not stay because others talk on.
                let since = match edge.input_kind {
                    InputKind::Terminal => ended_at,
                    InputKind::Pipe => last_line,
                };
                silence(patience.saturating_sub(since.elapsed()))
                    .or(reading)
                    .await
            }
            // What is typed goes first, however much comes in.
            None => input_end(sending.as_mut()).or(reading).await,
        };
        match step {
            Step::Received(count) => {
                let shown = session.receive(&buffer[..count]);
                if !shown.is_empty() {
                    last_line = Instant::now();
                    edge.screen.borrow_mut().show(&shown)?;
                }
            }
            Step::InputEnded => {
                last_line = Instant::now();
                input_ended_at = Some(last_line);
                // If the connection is gone already, the next reading tells.
                let _ = stream.shutdown(Shutdown::Write);
            }
            Step::Closed | Step::Silence if session.is_strange() => {
                edge.screen.borrow_mut().tell(STRANGE);
                return if input_ended_at.is_some() {
                    Ok(())
                } else {
                    edge.screen.borrow_mut().show(DISCONNECTED)
                };
            }
            Step::Closed if input_ended_at.is_some() => return Ok(()),
            Step::Closed => return edge.screen.borrow_mut().show(DISCONNECTED),
            Step::Silence => return Ok(()),
        }
    }
}

async fn read(stream: &TcpStream, buffer: &mut [u8]) -> Step {
    match stream.clone().read(buffer).await {
        Ok(0) | Err(_) => Step::Closed,
        Ok(count) => Step::Received(count),
    }
}

async fn input_end(sending: Pin<&mut impl Future<Output = ()>>) -> Step {
    sending.await;
    Step::InputEnded
}

async fn silence(time: Duration) -> Step {
    Timer::after(time).await;
    Step::Silence
}

/// Sends what is typed until the input ends or the user wants to leave.
async fn send_input(stream: &TcpStream, config: &Config, edge: &Edge<'_>) {
    let mut stream = stream.clone();
    let mut lines = Vec::new();
    while let Ok(line) = edge.input.recv().await {
        let mut next = Some(line);
        let mut wants_to_leave = false;
        while let Some(line) = next.take() {
            wants_to_leave = take_line(&line, config, edge, &mut lines);
            if !wants_to_leave && lines.len() < CLIENT_WRITE_BYTES {
                next = edge.input.try_recv().ok();
            }
        }
        if stream.write_all(&lines).await.is_err() {
            // The connection is gone; what came before that is still to be read and shown.
            std::future::pending::<()>().await;
        }
        lines.clear();
        if wants_to_leave {
            return;
        }
        // However much is typed, what comes in is read as well.
        smol::future::yield_now().await;
    }
}

/// Does what a line says; true if the user wants to leave.
fn take_line(line: &InputLine, config: &Config, edge: &Edge<'_>, lines: &mut Vec<u8>) -> bool {
    let typed = match &line.text {
        Ok(text) => commands::interpret(text, config.max_message_bytes),
        Err(BadLine::TooLong) => Typed::Refused(commands::too_long(config.max_message_bytes)),
        Err(BadLine::NotUtf8) => {
            Typed::Refused("The line is not valid UTF-8 and was not sent; write UTF-8".to_owned())
        }
    };
    match typed {
        Typed::Send(bytes) => lines.extend_from_slice(&bytes),
        Typed::Nothing => {}
        Typed::Help(text) => edge.screen.borrow_mut().tell(&text),
        Typed::Refused(sentence) => {
            let told = match edge.input_kind {
                InputKind::Terminal => sentence,
                InputKind::Pipe => format!("line {}: {sentence}", line.number),
            };
            edge.screen.borrow_mut().tell(&told);
        }
        Typed::Quit => return true,
    }
    false
}
