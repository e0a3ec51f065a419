//! One connection: a future that reads the socket and one that writes it, on the same thread.
//!
//! * Neither side waits for the other: a server that does not read holds back the input, but not
//!   the output.
//! * Only the reading side ends the connection, so everything that arrived is shown first.
//! * Everything typed before the end of the input is written before the sending side shuts down.
//! * Each loop yields, so that a flood from one side delays neither the other nor a signal.
//!
//! Only cancel-safe futures may lose a race: socket reads, channel receives, timers.

use crate::client::actions::NextStep;
use crate::client::input::stdin::InputLine;
use crate::client::limits::{ACK_TIMEOUT, DRAIN_TIMEOUT, LEAVE_TIMEOUT, READ_BUFFER_BYTES};
use crate::client::output::item::OutputItem;
use crate::client::session::request::UserRequest;
use crate::client::session::update::SessionUpdate;
use crate::client::setup::InputKind;
use crate::client::state::Chat;
use crate::protocol::client_line::encode_quit;
use async_channel::{Receiver, Sender};
use async_net::TcpStream;
use futures_lite::future::{or, pending, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol::Timer;
use std::io;
use std::net::Shutdown;
use std::time::Instant;

const NOT_A_CHAT: &str = "The server sent no line of the chat protocol; check that \
                          smolchat-server is at this address and port";
const NO_ANSWER: &str = "The server does not answer any more";

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DisconnectReason {
    /// The server closed or reset the connection.
    ServerClosed,
    /// The server does not answer pings.
    TimedOut,
    /// Everything is sent, and no line has arrived for long enough.
    Idle,
    /// The messages of `--count` have arrived.
    CountReached,
    /// The user wants a new connection.
    Reconnect,
    /// The server rejected the name of `--name`.
    Rejected(String),
}

impl DisconnectReason {
    pub(crate) fn is_broken(&self) -> bool {
        matches!(
            self,
            DisconnectReason::ServerClosed
                | DisconnectReason::TimedOut
                | DisconnectReason::Reconnect
        )
    }
}

/// Event of the reading side.
enum ReadEvent {
    Read(io::Result<usize>),
    SenderDone(NextStep),
    Timer,
    Idle,
}

/// Event of the sending side.
enum SendEvent {
    Woken,
    Line(InputLine),
    EndOfInput,
}

impl Chat<'_> {
    /// Chats over one connection until its end.
    pub(crate) async fn use_connection(&self, stream: &TcpStream) -> DisconnectReason {
        self.is_connected.set(true);
        self.state.borrow_mut().session.connected(Instant::now());
        self.wake_sender();
        let (done, sender_done) = async_channel::bounded(1);
        let sending = async {
            self.send(stream.clone(), done).await;
            pending().await
        };
        let end = or(self.receive(stream.clone(), &sender_done), sending).await;
        if matches!(
            end,
            DisconnectReason::CountReached | DisconnectReason::Rejected(_)
        ) {
            self.shut_down_sending(stream.clone()).await;
        }
        if self.state.borrow().session.received_only_garbage() {
            self.io.screen.notify(NOT_A_CHAT).await;
        }
        end
    }

    async fn receive(&self, mut stream: TcpStream, done: &Receiver<NextStep>) -> DisconnectReason {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut sent_at = None;
        let mut last_line = Instant::now();
        loop {
            let reading = async { ReadEvent::Read(stream.read(&mut buffer).await) };
            let timer = async {
                let deadline = self.state.borrow().session.deadline();
                wait_until(deadline).await;
                ReadEvent::Timer
            };
            let leaving = async {
                match (sent_at, self.io.input_kind) {
                    (None, _) => match done.recv().await {
                        Ok(step) => return ReadEvent::SenderDone(step),
                        // The sending side failed; the reading side will notice.
                        Err(_) => return pending().await,
                    },
                    (Some(sent_at), InputKind::Pipe) => {
                        Timer::at(last_line.max(sent_at) + DRAIN_TIMEOUT).await
                    }
                    // A user at a terminal wants to go even if others talk on.
                    (Some(sent_at), InputKind::Terminal) => {
                        Timer::at(sent_at + LEAVE_TIMEOUT).await
                    }
                };
                ReadEvent::Idle
            };
            match or(reading, or(timer, leaving)).await {
                ReadEvent::Read(Ok(count)) if count > 0 => {
                    let (items, end) = self.receive_bytes(&buffer[..count]);
                    if !items.is_empty() {
                        last_line = Instant::now();
                    }
                    self.io.screen.show(items).await;
                    self.wake_sender();
                    self.refresh_status();
                    if let Some(end) = end {
                        return end;
                    }
                    yield_now().await;
                }
                ReadEvent::Read(_) => return DisconnectReason::ServerClosed,
                ReadEvent::SenderDone(NextStep::Reconnect) => return DisconnectReason::Reconnect,
                ReadEvent::SenderDone(_) => sent_at = Some(Instant::now()),
                ReadEvent::Idle => return DisconnectReason::Idle,
                ReadEvent::Timer => {
                    let is_alive = self.state.borrow_mut().session.on_timer(Instant::now());
                    self.show_updates().await;
                    self.wake_sender();
                    if !is_alive {
                        self.io.screen.notify(NO_ANSWER).await;
                        return DisconnectReason::TimedOut;
                    }
                }
            }
        }
    }

    /// Hands bytes to the session; returns what to show, and the end if these bytes cause it.
    fn receive_bytes(&self, bytes: &[u8]) -> (Vec<OutputItem>, Option<DisconnectReason>) {
        let state = &mut *self.state.borrow_mut();
        let now = Instant::now();
        state.session.receive(bytes, now);
        let mut updates = state.session.take_updates();
        let is_welcome = |update: &SessionUpdate| matches!(update, SessionUpdate::Welcome { .. });
        if self.io.has_view && updates.iter().any(is_welcome) {
            // Completion needs the names of the users who are already here.
            state.formatter.expect_hidden_list();
            state.session.request(UserRequest::Users, None, now);
        }
        if let Some(text) = &self.config.say {
            state.note_say_result(text, &updates);
        }
        let name_rejection = match state.awaits_name {
            true => state.session.naming.rejection.clone(),
            false => None,
        };
        if name_rejection.is_some() {
            // The client ends, so it waits for nothing.
            updates.retain(|update| !matches!(update, SessionUpdate::Waiting(_)));
        }
        let own_name = state.session.name.as_deref();
        let mut items = state.formatter.format(updates, own_name);
        if self.config.say.is_some() {
            items.retain(|item| matches!(item, OutputItem::Notice(_)));
        }
        state.awaits_name &= state.session.naming.accepted.is_none();
        let end = match name_rejection {
            Some(reason) => Some(DisconnectReason::Rejected(reason)),
            None => state
                .formatter
                .is_done()
                .then_some(DisconnectReason::CountReached),
        };
        (items, end)
    }

    /// Sends the session's output and the typed lines until the user leaves, then shuts down the
    /// sending side and reports it.
    ///
    /// Ends silently if the connection fails, because the reading side notices that too.
    async fn send(&self, mut stream: TcpStream, done: Sender<NextStep>) {
        let mut is_leaving = false;
        let mut leaves_at = None;
        loop {
            if is_leaving && self.io.input_kind == InputKind::Terminal {
                // A user who leaves a terminal does not wait for the first line of the server.
                self.state.borrow_mut().session.skip_greeting();
            }
            let output = self.state.borrow_mut().session.take_output();
            if !output.is_empty() {
                if stream.write_all(&output).await.is_err() {
                    // Wakes the reading side on systems that do not; received bytes stay readable.
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                yield_now().await;
                continue;
            }
            if is_leaving && self.state.borrow().session.queue.len() == 0 {
                break;
            }
            let step = match self.next_send_event(is_leaving, leaves_at).await {
                SendEvent::Woken => NextStep::Continue,
                SendEvent::Line(line) => self.execute_batch(line).await,
                SendEvent::EndOfInput if is_leaving => break,
                SendEvent::EndOfInput => NextStep::Leave,
            };
            match step {
                NextStep::Continue => {}
                NextStep::Leave => {
                    self.io.input.close();
                    is_leaving = true;
                    let now = Instant::now();
                    leaves_at = match self.io.input_kind {
                        // What this connection does not deliver, the next one does.
                        InputKind::Pipe if self.config.reconnect => None,
                        InputKind::Pipe => Some(now + ACK_TIMEOUT),
                        InputKind::Terminal => Some(now + LEAVE_TIMEOUT),
                    };
                }
                NextStep::Reconnect => {
                    let _ = done.send(NextStep::Reconnect).await;
                    return;
                }
            }
        }
        self.shut_down_sending(stream).await;
        let _ = done.send(NextStep::Leave).await;
    }

    async fn next_send_event(&self, is_leaving: bool, leaves_at: Option<Instant>) -> SendEvent {
        let woken = async {
            // The channel stays open: `self` owns both ends.
            let _ = self.wake.1.recv().await;
            SendEvent::Woken
        };
        let input = async {
            if is_leaving {
                wait_until(leaves_at).await;
                return SendEvent::EndOfInput;
            }
            let line = self.next_line().await;
            line.map_or(SendEvent::EndOfInput, SendEvent::Line)
        };
        or(input, woken).await
    }

    /// Shuts down the sending side. In the extended dialect a quit goes first, without which the
    /// server would reserve the name for a while.
    async fn shut_down_sending(&self, mut stream: TcpStream) {
        if self.state.borrow().session.is_extended() {
            let mut line = Vec::new();
            encode_quit(&mut line);
            let writing = async {
                // The reading side notices a failed connection.
                let _ = stream.write_all(&line).await;
            };
            or(writing, wait_until(Some(Instant::now() + LEAVE_TIMEOUT))).await;
        }
        let _ = stream.shutdown(Shutdown::Write);
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => {
            Timer::at(deadline).await;
        }
        None => pending().await,
    }
}
