//! The client's loop: what is typed goes out, what comes in is shown.
//!
//! What lives here: [`run`], which connects as often as it is asked to, and for each connection
//! has one future that reads the socket and one that writes it, side by side on the calling
//! thread, over one session. The program calls it. What it must never do is let the one wait for
//! the other:
//!
//! 1. What is typed is sent at once; where the dialect matters, after a second at the latest,
//!    whether or not the server ever spoke.
//! 2. A server that does not read holds back the input, never the showing.
//! 3. Only the reading ends the chat: what arrived before a close or a reset is shown first,
//!    whoever noticed the end first.
//! 4. Everything typed before the end of the input, or before `/quit`, is handed to the network
//!    before the sending side is shut down.
//! 5. Each loop yields, so that a flood from one side starves neither the other nor a signal.
//!
//! Only what is cancel-safe may lose a race: reads of the socket, receives, timers.

use crate::chat::SERVER_SOURCE;
use crate::chat::request::Nonce;
use crate::chat::sanitize::{clean_message, for_terminal, one_line, quoted};
use crate::client::connect::{ConnectError, connect};
use crate::client::input::commands;
use crate::client::input::commands::Command;
use crate::client::input::json;
use crate::client::input::stdin::{BadLine, InputLine};
use crate::client::limits::{
    ACK_TIMEOUT, DRAIN_TIMEOUT, LEAVE_TIMEOUT, MAX_RETRY_DELAY, MIN_RETRY_DELAY, READ_BUFFER_BYTES,
    WRITE_BATCH_BYTES,
};
use crate::client::link_status::{Link, status};
use crate::client::options::{ClientConfig, Start};
use crate::client::output::formatter::{Output, OutputFormat, Presenter};
use crate::client::output::screen::ScreenHandle;
use crate::client::session::history_replay::Since;
use crate::client::session::request::UserRequest;
use crate::client::session::update::{OnUpdate, SessionUpdate};
use crate::client::session::{Session, TimerOutcome};
use crate::client::terminal::view::ViewItem;
use crate::protocol::server_line::{Bye, ServerLine, encode_quit};
use async_channel::{Receiver, Sender};
use async_net::TcpStream;
use futures_lite::future::{or, pending, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use jiff::Timestamp;
use smol::Timer;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// What is said when the server closes the connection.
pub const DISCONNECTED: &str = "Server disconnected\n";

/// The same for programs.
const JSON_DISCONNECTED: &str = "{\"type\":\"disconnected\",\"data\":{}}\n";

/// What is told when the link broke, and a client comes back.
const BROKEN: &str = "Server disconnected; connecting again";

/// Time between two looks at how long it takes to the next attempt.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

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
pub enum ClientError {
    /// There is no connection.
    Connect(ConnectError),
    /// What is received cannot be written.
    Output(io::Error),
    /// What the command line asks for was refused, for this reason.
    Refused(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Connect(error) => write!(out, "{error}"),
            ClientError::Output(error) => {
                write!(
                    out,
                    "Cannot write to standard output: {error}; check where it goes"
                )
            }
            ClientError::Refused(reason) => write!(out, "{reason}"),
        }
    }
}

impl std::error::Error for ClientError {}

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
pub struct ClientIo {
    /// The lines of the input; closed at its end.
    pub input: Receiver<InputLine>,
    /// How the input is used.
    pub input_kind: InputKind,
    /// Where things are shown.
    pub screen: ScreenHandle,
    /// What it shows.
    pub form: OutputFormat,
    /// Tells of a signal to end.
    pub interrupted: Receiver<()>,
    /// Differs in every run.
    pub random: u64,
}

/// Connects, and chats until the server closes the connection, or the input has ended and
/// what is owed has come, or a signal comes.
///
/// # Errors
/// There is no connection, what the command line asks for is refused, or what is received cannot
/// be written.
pub async fn run(config: &ClientConfig, edge: ClientIo) -> Result<Ended, ClientError> {
    let chat = Chat::new(config, &edge);
    let interrupted = Cell::new(false);
    let interruption = async {
        if edge.interrupted.recv().await.is_err() {
            // Nobody will ever interrupt.
            return pending().await;
        }
        interrupted.set(true);
        chat.leave_soon().await;
        Ok(())
    };
    let time_is_over = async {
        let Some(time) = config.time else {
            return pending().await;
        };
        Timer::after(time).await;
        chat.leave_soon().await;
        Ok(())
    };
    let conversation = async {
        let talk = async {
            let result = chat.talk().await;
            edge.screen.close();
            result
        };
        let mut said = None;
        // The end of the chat ends the screen, but a screen may fail before.
        let talk = async {
            said = Some(talk.await);
            pending().await
        };
        or(talk, async {
            edge.screen.ended().await.map_err(ClientError::Output)
        })
        .await?;
        said.unwrap_or(Ok(()))
    };
    let result = or(interruption, or(time_is_over, conversation)).await;
    match result {
        _ if interrupted.get() => Ok(Ended::Interrupted),
        // Whoever read the output has enough: a quiet end.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Ended::Done)
        }
        other => other.map(|()| Ended::Done),
    }
}

/// How one connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ChatEnd {
    /// The server closed or reset the connection.
    ServerClosed,
    /// The server does not answer.
    Dead,
    /// All was sent, and nothing has come for long enough.
    Silence,
    /// As many messages as were wanted have come.
    Enough,
    /// The user wants another connection.
    Again,
    /// What the command line asks for was refused.
    Refused(String),
}

/// What happened next.
enum Step {
    Read(io::Result<usize>),
    AllSent,
    Again,
    Pulse,
    Silence,
}

/// What the two futures of a connection share.
#[derive(Debug)]
struct State {
    session: Session,
    presenter: Presenter,
    /// Whether the name of the command line is neither ours nor refused yet.
    wants_name: bool,
    /// What the server said against a line of ours last.
    refusal: Option<String>,
    /// Whether what the command line says was said.
    is_said: bool,
    /// What the screen shows of the link.
    status: String,
    link: Link,
}

/// The chat of one run.
#[derive(Debug)]
struct Chat<'a> {
    config: &'a ClientConfig,
    edge: &'a ClientIo,
    state: RefCell<State>,
    is_connected: Cell<bool>,
    /// Wakes the sending when the session has something to be sent.
    wake: (Sender<()>, Receiver<()>),
}

/// What the sending waits for.
#[derive(Debug)]
enum Next {
    /// To look again.
    Nothing,
    /// A line of the input.
    Line(InputLine),
    /// No further line comes, or is waited for.
    EndOfInput,
}

/// What the user wants beside the chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextStep {
    Nothing,
    Leave,
    Again,
}

impl<'a> Chat<'a> {
    fn new(config: &'a ClientConfig, edge: &'a ClientIo) -> Self {
        let prefers_extended = edge.input_kind == InputKind::Terminal
            || config.reconnect
            || config.json
            || config.say.is_some()
            || config.start.is_some()
            || config.name.is_some();
        let mut session = Session::new(prefers_extended, config.name.clone(), edge.random);
        if let Some(start) = config.start {
            let since = since(start, Timestamp::now());
            session.ask(
                UserRequest::Since(since),
                None,
                Instant::now(),
                &mut |_, _| {},
            );
        }
        if let Some(text) = &config.say {
            let asked = UserRequest::Say {
                text: text.clone(),
                action: false,
            };
            session.ask(asked, None, Instant::now(), &mut |_, _| {});
            edge.input.close();
        }
        Chat {
            config,
            edge,
            state: RefCell::new(State {
                session,
                presenter: Presenter::new(edge.form, config.count.unwrap_or(u64::MAX)),
                wants_name: config.name.is_some() && edge.input_kind == InputKind::Pipe,
                refusal: None,
                is_said: false,
                status: String::new(),
                link: Link::Connecting,
            }),
            is_connected: Cell::new(false),
            wake: async_channel::bounded(1),
        }
    }

    /// Takes nothing more from the user; what was typed so far is still sent, and what arrived is
    /// still shown, but not for long.
    async fn leave_soon(&self) {
        self.edge.input.close();
        if self.is_connected.get() {
            Timer::after(LEAVE_TIMEOUT).await;
        }
    }

    // Connections

    /// Connects and chats, again and again where that is wanted.
    async fn talk(&self) -> Result<(), ClientError> {
        let mut attempts = 0;
        let mut told = String::new();
        loop {
            let mut reason = None;
            self.note_link(Link::Connecting);
            let end = match connect(self.config).await {
                Ok(stream) => {
                    self.note_link(Link::Up);
                    let end = self.chat(&stream).await;
                    if self.state.borrow().session.is_greeted() {
                        attempts = 0;
                        told.clear();
                    }
                    end
                }
                Err(error) if !self.config.reconnect => return Err(ClientError::Connect(error)),
                Err(error) => {
                    reason = Some(error.to_string());
                    let sentence = format!("{error}; trying again");
                    if sentence != told {
                        self.edge.screen.tell(sentence.clone()).await;
                        told = sentence;
                    }
                    ChatEnd::ServerClosed
                }
            };
            let bye = self.end_connection().await;
            let has_work = !self.edge.input.is_closed()
                || !self.edge.input.is_empty()
                || self.state.borrow().session.waiting() > 0;
            let may_return = bye.as_ref().is_none_or(|bye| bye.reconnect);
            let is_broken = matches!(end, ChatEnd::ServerClosed | ChatEnd::Dead | ChatEnd::Again);
            let comes_back = is_broken && self.config.reconnect && may_return && has_work;
            if !comes_back {
                self.show_held().await;
            }
            match end {
                ChatEnd::Silence | ChatEnd::Enough => return self.exit_result(),
                ChatEnd::Refused(sentence) => return Err(ClientError::Refused(sentence)),
                ChatEnd::ServerClosed | ChatEnd::Dead | ChatEnd::Again if comes_back => {
                    let asked = bye.map_or(Duration::ZERO, |bye| {
                        Duration::from_millis(bye.retry_after_ms)
                    });
                    let delay = match end {
                        ChatEnd::Again => Duration::ZERO,
                        _ => retry_delay(attempts, fastrand::f64()).max(asked),
                    };
                    if self.is_connected.replace(false) {
                        self.show_break().await;
                    }
                    attempts += 1;
                    let until = Instant::now() + delay;
                    self.note_link(Link::Down { until, reason });
                    if self.wait_offline(until).await == NextStep::Leave {
                        self.show_held().await;
                        return self.exit_result();
                    }
                }
                ChatEnd::ServerClosed | ChatEnd::Dead | ChatEnd::Again => {
                    // A closed channel is an input that has ended, even if not all of it was sent.
                    if !self.edge.input.is_closed() {
                        self.show_end().await;
                        return Ok(());
                    }
                    return self.exit_result();
                }
            }
        }
    }

    /// Shows what waited for more of the past, which will not come.
    async fn show_held(&self) {
        let (shown, ()) = self.act(|session, show| session.abandon_replay(show));
        self.show(shown).await;
    }

    async fn show_break(&self) {
        match self.config.json {
            true => self.edge.screen.show(JSON_DISCONNECTED.to_owned()).await,
            false => self.edge.screen.tell(BROKEN.to_owned()).await,
        }
    }

    async fn show_end(&self) {
        let lost = self.state.borrow().session.waiting();
        if lost > 0 {
            self.edge.screen.tell(may_be_lost(lost)).await;
        }
        let line = match self.config.json {
            true => JSON_DISCONNECTED,
            false => DISCONNECTED,
        };
        self.edge.screen.show(line.to_owned()).await;
    }

    // The state of the link

    fn note_link(&self, link: Link) {
        self.state.borrow_mut().link = link;
        self.refresh_status();
    }

    /// Shows the state of the link, where there is a place for it and it is another.
    fn refresh_status(&self) {
        if self.edge.form != OutputFormat::Items {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        let status = status(&state.session, &state.link, Instant::now());
        if status != state.status && self.edge.screen.set_status(status.clone()) {
            state.status = status;
        }
    }

    /// Ends the connection for the session; gives what the server said of it.
    async fn end_connection(&self) -> Option<Bye> {
        let (shown, bye) = self.act(|session, show| {
            session.disconnected(show);
            session.take_bye()
        });
        self.state.borrow_mut().presenter.forget_lists();
        self.show(shown).await;
        bye
    }

    /// Whether what the command line says was said.
    fn exit_result(&self) -> Result<(), ClientError> {
        let state = self.state.borrow();
        let lost = state.session.waiting();
        if self.config.say.is_none() && lost > 0 {
            return Err(ClientError::Refused(may_be_lost(lost)));
        }
        if self.config.say.is_none() || state.is_said {
            return Ok(());
        }
        let reason = state.refusal.clone().unwrap_or_else(|| {
            "The server did not acknowledge what --say says; it may or may not have been said"
                .to_owned()
        });
        Err(ClientError::Refused(reason))
    }

    /// Waits for the next attempt, and keeps what is typed meanwhile.
    async fn wait_offline(&self, deadline: Instant) -> NextStep {
        loop {
            self.refresh_status();
            let tick = deadline.min(Instant::now() + STATUS_INTERVAL);
            let timer = async {
                Timer::at(tick).await;
                Next::Nothing
            };
            match or(self.next_line(), timer).await {
                Next::Nothing if tick < deadline => {}
                Next::Nothing => return NextStep::Nothing,
                // Its end is looked after when there is a link again.
                Next::EndOfInput => {
                    Timer::at(deadline).await;
                    return NextStep::Nothing;
                }
                Next::Line(line) => match self.take(line).await {
                    NextStep::Nothing => {}
                    wish => return wish,
                },
            }
        }
    }

    /// Chats over one connection to its end.
    async fn chat(&self, stream: &TcpStream) -> ChatEnd {
        self.is_connected.set(true);
        self.state.borrow_mut().session.connected(Instant::now());
        self.note_output();
        let (all_sent, sent) = async_channel::bounded(1);
        let sending = async {
            self.send(stream.clone(), all_sent).await;
            // Only the reading ends the chat.
            pending().await
        };
        let end = or(self.receive(stream.clone(), &sent), sending).await;
        if matches!(end, ChatEnd::Enough | ChatEnd::Refused(_)) {
            self.say_quit(stream.clone()).await;
        }
        end
    }

    // Receiving

    /// Shows what arrives until the server closes, or until all is sent and it is time to go.
    async fn receive(&self, mut stream: TcpStream, sent: &Receiver<NextStep>) -> ChatEnd {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut sent_at = None;
        let mut last_line = Instant::now();
        let end = loop {
            let reading = async { Step::Read(stream.read(&mut buffer).await) };
            let pulse = async {
                let deadline = self.state.borrow().session.deadline();
                match deadline {
                    Some(deadline) => Timer::at(deadline).await,
                    None => pending().await,
                };
                Step::Pulse
            };
            let leaving = async {
                match sent_at {
                    None => all_sent(sent).await,
                    Some(sent_at) => {
                        silence(patience_ends(self.edge.input_kind, sent_at, last_line)).await
                    }
                }
            };
            match or(reading, or(pulse, leaving)).await {
                Step::Read(Ok(count)) if count > 0 => {
                    let (shown, end) = self.hear(&buffer[..count]);
                    if !shown.lines.is_empty() || !shown.items.is_empty() {
                        last_line = Instant::now();
                    }
                    self.show(shown).await;
                    self.note_output();
                    self.refresh_status();
                    if let Some(end) = end {
                        break end;
                    }
                    yield_now().await;
                }
                Step::Read(_) => break ChatEnd::ServerClosed,
                Step::AllSent => sent_at = Some(Instant::now()),
                Step::Again => break ChatEnd::Again,
                Step::Silence => break ChatEnd::Silence,
                Step::Pulse => {
                    let (shown, pulse) =
                        self.act(|session, show| session.pulse(Instant::now(), show));
                    self.show(shown).await;
                    self.note_output();
                    if pulse == TimerOutcome::Dead {
                        self.edge
                            .screen
                            .tell("The server does not answer any more".to_owned())
                            .await;
                        break ChatEnd::Dead;
                    }
                }
            }
        };
        if self.state.borrow().session.is_strange() {
            self.edge.screen.tell(STRANGE.to_owned()).await;
        }
        end
    }

    /// Takes bytes of the server; gives what is to be shown, and the end where they bring it.
    fn hear(&self, bytes: &[u8]) -> (Output, Option<ChatEnd>) {
        let state = &mut *self.state.borrow_mut();
        let mut shown = Output::default();
        let own_name = state.session.name().map(str::to_owned);
        let is_judged = self.config.say.is_some();
        let mut seen = Vec::new();
        let mut is_welcome = false;
        if self.edge.form != OutputFormat::Items {
            // What is shown of a line is hardly ever longer than the line.
            shown.lines.reserve(bytes.len());
        }
        let State {
            session, presenter, ..
        } = state;
        session.receive(bytes, Instant::now(), &mut |news, raw| {
            presenter.show(&news, raw, own_name.as_deref(), &mut shown);
            is_welcome |= matches!(news, SessionUpdate::Welcome { .. });
            if let SessionUpdate::Heard(heard) = news
                && is_judged
            {
                seen.push(heard);
            }
        });
        if is_welcome && self.edge.form == OutputFormat::Items {
            // Their names can be completed from the beginning.
            presenter.expect_silent_list();
            session.ask(UserRequest::Users, None, Instant::now(), &mut |_, _| {});
        }
        if is_judged {
            shown.lines.clear();
            self.check_say_result(state, seen);
        }
        if state.wants_name {
            if let Some(reason) = state.session.name_refusal() {
                return (shown, Some(ChatEnd::Refused(reason.to_owned())));
            }
            state.wants_name = !state.session.has_chosen_name();
        }
        let end = state.presenter.has_enough().then_some(ChatEnd::Enough);
        (shown, end)
    }

    /// What came of what the command line says: an acknowledgement, in the basic dialect our own
    /// words, or a refusal.
    fn check_say_result(&self, state: &mut State, seen: Vec<ServerLine>) {
        let own_name = state.session.name().map(str::to_owned);
        for heard in seen {
            match heard {
                ServerLine::Ack(_) => state.is_said = true,
                ServerLine::Error(refused) => state.refusal = Some(refused.message),
                ServerLine::Message(said) if said.source == SERVER_SOURCE => {
                    state.refusal = Some(said.message);
                }
                ServerLine::Message(said) if !state.session.is_extended() => {
                    let text = self.config.say.as_deref().unwrap_or_default();
                    let echo = one_line(&clean_message(text)).into_owned();
                    state.is_said |=
                        own_name.as_ref() == Some(&said.source) && echo == said.message;
                }
                _ => {}
            }
        }
    }

    /// Does something with the session; gives what is to be shown of it.
    fn act<T>(&self, act: impl FnOnce(&mut Session, OnUpdate<'_>) -> T) -> (Output, T) {
        let State {
            session, presenter, ..
        } = &mut *self.state.borrow_mut();
        let own_name = session.name().map(str::to_owned);
        let mut shown = Output::default();
        let result = act(session, &mut |news, raw| {
            presenter.show(&news, raw, own_name.as_deref(), &mut shown);
        });
        (shown, result)
    }

    async fn show(&self, shown: Output) {
        if !shown.items.is_empty() {
            self.edge.screen.draw(shown.items).await;
        }
        if !shown.lines.is_empty() {
            self.edge.screen.show(shown.lines).await;
        }
        for sentence in shown.told {
            self.edge.screen.tell(sentence).await;
        }
    }

    /// Wakes the sending.
    fn note_output(&self) {
        // One sign is enough.
        let _ = self.wake.0.try_send(());
    }

    // Sending

    /// Sends what the session wants sent, and what is typed, until the input ends or the user
    /// wants to leave; then shuts down the sending side, and says so.
    ///
    /// On a connection that takes no more it just ends: the reading notices too.
    async fn send(&self, mut stream: TcpStream, all_sent: Sender<NextStep>) {
        let mut leaves_at = None;
        loop {
            let is_leaving = leaves_at.is_some();
            if is_leaving && self.edge.input_kind == InputKind::Terminal {
                // Who leaves a terminal does not wait for a server to introduce itself.
                let (shown, ()) =
                    self.act(|session, show| session.skip_greeting(Instant::now(), show));
                self.show(shown).await;
            }
            let output = self.state.borrow_mut().session.take_output();
            if !output.is_empty() {
                if stream.write_all(&output).await.is_err() {
                    // Wakes the reading even where the system does not; what arrived stays
                    // readable.
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                yield_now().await;
                continue;
            }
            if is_leaving && self.state.borrow().session.waiting() == 0 {
                break;
            }
            let next = match leaves_at {
                Some(deadline) => or(self.woken(), gives_up(deadline)).await,
                None => or(self.next_line(), self.woken()).await,
            };
            let wish = match next {
                Next::Nothing => NextStep::Nothing,
                Next::Line(line) => self.take_waiting(line).await,
                Next::EndOfInput if is_leaving => break,
                Next::EndOfInput => NextStep::Leave,
            };
            match wish {
                NextStep::Nothing => {}
                NextStep::Leave => {
                    self.edge.input.close();
                    leaves_at = Some(self.patience_with_acknowledgements());
                }
                NextStep::Again => {
                    let _ = all_sent.send(NextStep::Again).await;
                    return;
                }
            }
        }
        self.say_quit(stream).await;
        let _ = all_sent.send(NextStep::Leave).await;
    }

    /// Ends the sending side; in the extended dialect with a word, else our name would be kept.
    async fn say_quit(&self, mut stream: TcpStream) {
        let is_extended = self.state.borrow().session.is_extended();
        if is_extended {
            let mut line = Vec::new();
            encode_quit(&mut line);
            let writing = async {
                // If the connection is gone already, the reading tells; so below.
                let _ = stream.write_all(&line).await;
            };
            let giving_up = async {
                Timer::after(LEAVE_TIMEOUT).await;
            };
            or(writing, giving_up).await;
        }
        let _ = stream.shutdown(Shutdown::Write);
    }

    async fn woken(&self) -> Next {
        // The channel is never closed: this owns both ends.
        let _ = self.wake.1.recv().await;
        Next::Nothing
    }

    /// The next line of the input, as soon as there is room for what it asks. Cancel-safe.
    async fn next_line(&self) -> Next {
        if !self.state.borrow().session.has_room() {
            return pending().await;
        }
        let line = self.edge.input.recv().await;
        line.map_or(Next::EndOfInput, Next::Line)
    }

    /// One who leaves waits for acknowledgements, but not for ever.
    fn patience_with_acknowledgements(&self) -> Instant {
        Instant::now()
            + match self.edge.input_kind {
                InputKind::Pipe => ACK_TIMEOUT,
                InputKind::Terminal => LEAVE_TIMEOUT,
            }
    }

    /// Does what this line wants, and what those want that wait behind it, as much as goes into
    /// one write.
    async fn take_waiting(&self, line: InputLine) -> NextStep {
        let mut next = Some(line);
        let mut bytes = 0;
        while let Some(line) = next.take() {
            bytes += line.text.as_ref().map_or(0, String::len);
            match self.take(line).await {
                NextStep::Nothing => {}
                wish => return wish,
            }
            if bytes < WRITE_BATCH_BYTES && self.state.borrow().session.has_room() {
                next = self.edge.input.try_recv().ok();
            }
        }
        NextStep::Nothing
    }

    /// Does what one line of the input wants.
    async fn take(&self, line: InputLine) -> NextStep {
        let wish = self.take_line(line).await;
        self.refresh_status();
        wish
    }

    async fn take_line(&self, line: InputLine) -> NextStep {
        let is_drawn = self.edge.form == OutputFormat::Items;
        if is_drawn {
            self.edge.screen.draw(vec![ViewItem::Typed]).await;
        }
        let typed = self.understand(&line);
        let typed = match typed {
            Command::Reply(text) => {
                let target = self
                    .state
                    .borrow()
                    .presenter
                    .last_private()
                    .map(str::to_owned);
                match target {
                    Some(target) => Command::Ask(UserRequest::Private { target, text }),
                    None => self.refused(
                        &line,
                        "Nobody has written to you alone yet; /msg NAME TEXT writes to somebody",
                    ),
                }
            }
            Command::Reconnect if !self.config.reconnect => self.refused(
                &line,
                "/reconnect needs the option --reconnect, with which nothing is lost meanwhile",
            ),
            Command::Mentions | Command::Clear if !is_drawn => {
                self.refused(&line, "/mentions and /clear work at a terminal only")
            }
            other => other,
        };
        let sentence = match typed {
            Command::Ask(asked) => {
                self.ask(asked, None).await;
                return NextStep::Nothing;
            }
            Command::AskWith(asked, nonce) => {
                self.ask(asked, Some(nonce)).await;
                return NextStep::Nothing;
            }
            Command::Mentions => {
                self.edge.screen.draw(vec![ViewItem::Mentions]).await;
                return NextStep::Nothing;
            }
            Command::Clear => {
                self.edge.screen.draw(vec![ViewItem::Clear]).await;
                return NextStep::Nothing;
            }
            Command::Nothing => return NextStep::Nothing,
            Command::Quit => return NextStep::Leave,
            Command::Reconnect => return NextStep::Again,
            Command::Help(text) | Command::Refused(text) => text,
            Command::Ignore(name, ignored) => self.ignore(&name, ignored),
            Command::Info => self.info(),
            // Done above.
            Command::Reply(_) => return NextStep::Nothing,
        };
        self.edge.screen.tell(sentence).await;
        NextStep::Nothing
    }

    async fn ask(&self, asked: UserRequest, nonce: Option<Nonce>) {
        let (shown, ()) = self.act(|session, show| session.ask(asked, nonce, Instant::now(), show));
        self.show(shown).await;
    }

    fn ignore(&self, name: &str, ignored: bool) -> String {
        let has_changed = self.state.borrow_mut().presenter.ignore(name, ignored);
        let shown = quoted(name);
        match (ignored, has_changed) {
            (true, true) => {
                format!("Nothing more of {shown} is shown; /unignore NAME shows it again")
            }
            (true, false) => format!("{shown} is ignored already"),
            (false, true) => format!("What {shown} says is shown again"),
            (false, false) => format!("{shown} is not ignored"),
        }
    }

    fn info(&self) -> String {
        let state = self.state.borrow();
        let session = &state.session;
        let name = session.name().unwrap_or("(not known yet)");
        let mut text = format!(
            "You are {} at {} port {}",
            for_terminal(name),
            self.config.host,
            self.config.port
        );
        if let Some(time) = session.round_trip() {
            text.push_str(&format!(", {:.1} ms away", time.as_secs_f64() * 1000.0));
        }
        match self.is_connected.get() {
            false => text.push_str("; not connected"),
            true if session.is_extended() => text.push_str("; extended dialect"),
            true => text.push_str("; basic dialect"),
        }
        if session.waiting() > 0 {
            text.push_str(&format!("; {} lines wait", session.waiting()));
        }
        text
    }

    fn understand(&self, line: &InputLine) -> Command {
        let limit = self.config.max_message_bytes;
        let typed = match &line.text {
            Ok(text) if self.config.json => json::interpret(text, limit),
            Ok(text) => commands::interpret(text, limit),
            Err(BadLine::TooLong) => Command::Refused(commands::too_long(limit)),
            Err(BadLine::NotUtf8) => Command::Refused(
                "The line is not valid UTF-8 and was not sent; write UTF-8".to_owned(),
            ),
            Err(BadLine::Unreadable(reason)) => {
                Command::Refused(format!("Cannot read standard input: {reason}"))
            }
        };
        match typed {
            Command::Refused(sentence) => self.refused(line, &sentence),
            other => other,
        }
    }

    /// Why a line was not sent; in a pipe with its number.
    fn refused(&self, line: &InputLine, sentence: &str) -> Command {
        Command::Refused(match self.edge.input_kind {
            InputKind::Pipe => format!("line {}: {sentence}", line.number),
            InputKind::Terminal => sentence.to_owned(),
        })
    }
}

/// Where the past begins, now.
fn since(start: Start, now: Timestamp) -> Since {
    match start {
        Start::After(number) => Since::Event(number),
        // A time that reaches back too far begins with the first one.
        Start::Within(time) => Since::Time(now.checked_sub(time).unwrap_or(Timestamp::MIN)),
    }
}

fn may_be_lost(lines: usize) -> String {
    let what = if lines == 1 {
        "1 line".to_owned()
    } else {
        format!("{lines} lines")
    };
    format!(
        "{what} may not have arrived: the server did not acknowledge; with --reconnect they would be said again"
    )
}

async fn gives_up(deadline: Instant) -> Next {
    Timer::at(deadline).await;
    Next::EndOfInput
}

async fn all_sent(sent: &Receiver<NextStep>) -> Step {
    match sent.recv().await {
        Ok(NextStep::Again) => Step::Again,
        Ok(_) => Step::AllSent,
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
        InputKind::Pipe => last_line.max(sent_at) + DRAIN_TIMEOUT,
        // One who leaves does not stay because others talk on.
        InputKind::Terminal => sent_at + LEAVE_TIMEOUT,
    }
}

/// Time before the next attempt: twice as long each time, and by chance up to a half shorter, so
/// that not all who lost a server come back at once.
fn retry_delay(attempts: u32, chance: f64) -> Duration {
    let delay = MIN_RETRY_DELAY.saturating_mul(1 << attempts.min(16));
    delay.min(MAX_RETRY_DELAY).mul_f64(1.0 - chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_begins_anew_with_each_line_but_not_at_a_terminal() {
        let sent_at = Instant::now();
        let later = sent_at + Duration::from_secs(60);
        for (kind, last_line, expected) in [
            (InputKind::Pipe, sent_at, sent_at + DRAIN_TIMEOUT),
            (InputKind::Pipe, later, later + DRAIN_TIMEOUT),
            (InputKind::Terminal, sent_at, sent_at + LEAVE_TIMEOUT),
            (InputKind::Terminal, later, sent_at + LEAVE_TIMEOUT),
        ] {
            assert_eq!(patience_ends(kind, sent_at, last_line), expected);
        }
    }

    #[test]
    fn the_past_begins_at_an_event_or_so_much_before_now() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(since(Start::After(7), now), Since::Event(7));
        let hour = Duration::from_secs(3600);
        let before = "2026-01-31T11:00:00Z".parse().unwrap();
        assert_eq!(since(Start::Within(hour), now), Since::Time(before));
        let age = Duration::from_secs(u64::from(u32::MAX) * 1000);
        assert_eq!(since(Start::Within(age), now), Since::Time(Timestamp::MIN));
    }

    #[test]
    fn attempts_come_more_slowly_and_not_all_at_once() {
        assert_eq!(retry_delay(0, 0.0), MIN_RETRY_DELAY);
        assert_eq!(retry_delay(1, 0.0), MIN_RETRY_DELAY * 2);
        assert_eq!(retry_delay(1, 1.0), MIN_RETRY_DELAY);
        assert_eq!(retry_delay(u32::MAX, 0.0), MAX_RETRY_DELAY);
    }
}
