//! The client's loop: what is typed goes out, what comes in is shown.
//!
//! What lives here: [`run`], with one future that reads the socket and one that writes it, side
//! by side on the calling thread. The program calls it. What it must never do is let the one
//! wait for the other:
//!
//! 1. What is typed is sent at once, whether or not the server ever spoke.
//! 2. A server that does not read holds back the input, never the showing.
//! 3. Only the reading ends the chat: what arrived before a close or a reset is shown first,
//!    whoever noticed the end first.
//! 4. Everything typed before the end of the input, or before `/quit`, is handed to the network
//!    before the sending side is shut down.
//! 5. Each loop yields, so that a flood from one side starves neither the other nor a signal.
//!
//! Only what is cancel-safe may lose a race: reads of the socket, receives, timers.

use crate::client::commands::{self, Typed};
use crate::client::connect::{ConnectError, connect};
use crate::client::input::{BadLine, InputLine};
use crate::client::options::Config;
use crate::client::screen::ScreenHandle;
use crate::client::session::Session;
use crate::limits::{
    CLIENT_DRAIN_TIMEOUT, CLIENT_LEAVE_TIMEOUT, CLIENT_READ_BUFFER_BYTES, CLIENT_WRITE_BYTES,
};
use crate::render::Style;
use async_channel::{Receiver, Sender};
use async_net::TcpStream;
use futures_lite::future::{or, pending, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol::Timer;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::time::Instant;

/// What is said when the server closes the connection.
pub const DISCONNECTED: &str = "Server disconnected\n";

/// What is told when nothing was understood.
const STRANGE: &str = "Nothing that came from there was a line of a chat; check that \
                       smolchat-server is at this address and port";

/// How a client ends well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user left, the server closed, or nobody reads the output any more.
    Done,
    /// A signal came.
    Interrupted,
}

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
#[derive(Debug)]
pub struct Edge {
    /// The lines of the input; closed at its end.
    pub input: Receiver<InputLine>,
    /// How the input is used.
    pub input_kind: InputKind,
    /// Where things are shown.
    pub screen: ScreenHandle,
    /// How they look.
    pub style: Style,
    /// Tells of a signal to end.
    pub interrupted: Receiver<()>,
}

/// Connects, and chats until the server closes the connection, or the input has ended and
/// what is owed has come, or a signal comes.
///
/// # Errors
/// There is no connection, or what is received cannot be written.
pub async fn run(config: &Config, edge: Edge) -> Result<Ended, RunError> {
    let connected = Cell::new(false);
    let interrupted = Cell::new(false);
    let interruption = async {
        if edge.interrupted.recv().await.is_err() {
            // Nobody will ever interrupt.
            return pending().await;
        }
        interrupted.set(true);
        // What was typed so far is still sent, what arrived is still shown, but not for long.
        edge.input.close();
        if connected.get() {
            Timer::after(CLIENT_LEAVE_TIMEOUT).await;
        }
        Ok(())
    };
    let conversation = async {
        let stream = connect(config).await.map_err(RunError::Connect)?;
        connected.set(true);
        let talk = async {
            chat(&stream, config, &edge).await;
            edge.screen.close();
            pending().await
        };
        // The end of the chat ends the screen, but a screen may fail before.
        let shown = async { edge.screen.ended().await.map_err(RunError::Output) };
        or(talk, shown).await
    };
    let result = or(interruption, conversation).await;
    match result {
        _ if interrupted.get() => Ok(Ended::Interrupted),
        // Whoever read the output has enough: a quiet end.
        Err(RunError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Ended::Done)
        }
        other => other.map(|()| Ended::Done),
    }
}

/// Chats to the end; everything to be shown is on its way to the screen then.
async fn chat(stream: &TcpStream, config: &Config, edge: &Edge) {
    let (all_sent, sent) = async_channel::bounded(1);
    let sending = async {
        send_input(stream.clone(), config, edge, all_sent).await;
        // Only the reading ends the chat.
        pending().await
    };
    let end = or(receive(stream.clone(), edge, &sent), sending).await;
    // A closed channel is an input that has ended, even if not all of it was sent.
    if end == ChatEnd::ServerClosed && !edge.input.is_closed() {
        edge.screen.show(DISCONNECTED.to_owned()).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChatEnd {
    /// The server closed or reset the connection.
    ServerClosed,
    /// All was sent, and nothing has come for long enough.
    Silence,
}

/// What happened next.
enum Step {
    Read(io::Result<usize>),
    AllSent,
    Silence,
}

/// Shows what arrives until the server closes, or until all is sent and it is time to go.
async fn receive(mut stream: TcpStream, edge: &Edge, sent: &Receiver<()>) -> ChatEnd {
    let mut session = Session::new(edge.style);
    let mut buffer = vec![0; CLIENT_READ_BUFFER_BYTES];
    let mut sent_at = None;
    let mut last_line = Instant::now();
    let end = loop {
        let reading = async { Step::Read(stream.read(&mut buffer).await) };
        let step = match sent_at {
            None => or(reading, all_sent(sent)).await,
            Some(sent_at) => {
                let deadline = patience_ends(edge.input_kind, sent_at, last_line);
                or(reading, silence(deadline)).await
            }
        };
        match step {
            Step::Read(Ok(count)) if count > 0 => {
                let shown = session.receive(&buffer[..count]);
                if !shown.is_empty() {
                    edge.screen.show(shown).await;
                    last_line = Instant::now();
                }
                yield_now().await;
            }
            Step::Read(_) => break ChatEnd::ServerClosed,
            Step::AllSent => sent_at = Some(Instant::now()),
            Step::Silence => break ChatEnd::Silence,
        }
    };
    if session.is_strange() {
        edge.screen.tell(STRANGE.to_owned()).await;
    }
    end
}

async fn all_sent(sent: &Receiver<()>) -> Step {
    match sent.recv().await {
        Ok(()) => Step::AllSent,
        // The sending failed: the reading will tell.
        Err(_) => pending().await,
    }
}

async fn silence(deadline: Instant) -> Step {
    Timer::at(deadline).await;
    Step::Silence
}

/// When a client that has sent everything leaves: in a pipe each line gives the server more
/// time, at a terminal somebody wants to go.
fn patience_ends(input_kind: InputKind, sent_at: Instant, last_line: Instant) -> Instant {
    match input_kind {
        InputKind::Pipe => last_line.max(sent_at) + CLIENT_DRAIN_TIMEOUT,
        // One who leaves does not stay because others talk on.
        InputKind::Terminal => sent_at + CLIENT_LEAVE_TIMEOUT,
    }
}

/// Sends what is typed until the input ends or the user wants to leave; then shuts down the
/// sending side, and says so.
///
/// On a connection that takes no more it just ends: the reading notices too.
async fn send_input(mut stream: TcpStream, config: &Config, edge: &Edge, all_sent: Sender<()>) {
    let mut requests = Vec::new();
    while let Ok(line) = edge.input.recv().await {
        let typed = take_lines(line, config, edge, &mut requests);
        if stream.write_all(&requests).await.is_err() {
            // Wakes the reading even where the system does not; what arrived stays readable.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        requests.clear();
        match typed {
            Typed::Send(_) | Typed::Nothing => {}
            Typed::Help(text) | Typed::Refused(text) => edge.screen.tell(text).await,
            Typed::Quit => {
                edge.input.close();
                break;
            }
        }
        yield_now().await;
    }
    // If the connection is gone already, the reading tells.
    let _ = stream.shutdown(Shutdown::Write);
    let _ = all_sent.send(()).await;
}

/// Takes this line and those that wait behind it, up to the first that asks for more than to
/// be sent, or until it is enough for one write.
fn take_lines(line: InputLine, config: &Config, edge: &Edge, requests: &mut Vec<u8>) -> Typed {
    let mut next = Some(line);
    while let Some(line) = next.take() {
        match understand(&line, config, edge.input_kind) {
            Typed::Send(bytes) => requests.extend_from_slice(&bytes),
            Typed::Nothing => {}
            other => return other,
        }
        if requests.len() < CLIENT_WRITE_BYTES {
            next = edge.input.try_recv().ok();
        }
    }
    Typed::Nothing
}

fn understand(line: &InputLine, config: &Config, input_kind: InputKind) -> Typed {
    let typed = match &line.text {
        Ok(text) => commands::interpret(text, config.max_message_bytes),
        Err(BadLine::TooLong) => Typed::Refused(commands::too_long(config.max_message_bytes)),
        Err(BadLine::NotUtf8) => {
            Typed::Refused("The line is not valid UTF-8 and was not sent; write UTF-8".to_owned())
        }
        Err(BadLine::Unreadable(reason)) => {
            Typed::Refused(format!("Cannot read standard input: {reason}"))
        }
    };
    match typed {
        Typed::Refused(sentence) if input_kind == InputKind::Pipe => {
            Typed::Refused(format!("line {}: {sentence}", line.number))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn patience_begins_anew_with_each_line_but_not_at_a_terminal() {
        let sent_at = Instant::now();
        let later = sent_at + Duration::from_secs(60);
        for (kind, last_line, expected) in [
            (InputKind::Pipe, sent_at, sent_at + CLIENT_DRAIN_TIMEOUT),
            (InputKind::Pipe, later, later + CLIENT_DRAIN_TIMEOUT),
            (InputKind::Terminal, sent_at, sent_at + CLIENT_LEAVE_TIMEOUT),
            (InputKind::Terminal, later, sent_at + CLIENT_LEAVE_TIMEOUT),
        ] {
            assert_eq!(patience_ends(kind, sent_at, last_line), expected);
        }
    }
}
