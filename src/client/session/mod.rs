//! The session: what a server's bytes tell, and what is to be sent, over any number of
//! connections.
//!
//! What lives here: [`Session`], a plain state machine for both dialects. The client's loop feeds
//! it bytes and time, and sends what it wants sent. It must never end because of what a server
//! sends, never lose a line of its user that can be said, and never say one twice: what is not
//! acknowledged is said again under the same nonce.
//!
//! Protocol: "How a client finds out": a server is never sent a hello before it said the mark.

pub mod history_replay;
pub mod request;
pub mod update;

use crate::chat::SERVER_SOURCE;
use crate::chat::request::{EventCursor, Nonce};
use crate::client::limits::{
    FIRST_LINE_TIMEOUT, HELLO_TIMEOUT, MAX_IN_FLIGHT, MAX_LINE_BYTES, MAX_QUEUED, MAX_QUEUED_BYTES,
    MAX_RECOVERED, MAX_RECOVERED_BYTES, PING_INTERVAL, PONG_TIMEOUT,
};
use crate::client::session::history_replay::Replays;
use crate::client::session::request::{UserRequest, encode_basic, encode_extended};
use crate::client::session::update::{Missed, OnUpdate, SessionUpdate};
use crate::protocol::framing::{Line, LineDecoder};
use crate::protocol::server_line;
use crate::protocol::server_line::{Introduction, Refused, Said, ServerLine, Welcome};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What this program calls itself.
const CLIENT: &str = concat!("smolchat-client/", env!("CARGO_PKG_VERSION"));

/// The code of an error that comes long after the line that it is about.
const NOT_DELIVERED: &str = "not-delivered";

/// What the loop has to do about a time that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerOutcome {
    /// Nothing, but to send what there is.
    Alive,
    /// Give the connection up: the server does not answer.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no connection.
    Offline,
    /// The server has not said anything yet.
    Opening(Instant),
    /// Both speak the basic dialect.
    Basic,
    /// We have said hello.
    Greeting(Instant),
    /// Both speak the extended dialect.
    Extended,
}

/// A line of the user that is not done.
#[derive(Debug)]
struct Waiting {
    asked: UserRequest,
    /// Where an acknowledgement is wanted.
    nonce: Option<Nonce>,
    is_sent: bool,
}

/// By what we are the same user again.
#[derive(Debug)]
struct Identity {
    token: String,
    place: EventCursor,
}

/// What comes after a break, collected to tell how many messages it is.
#[derive(Debug)]
struct Recovery {
    missed: u64,
    /// How many of them have come.
    seen: u64,
    collected: Vec<(ServerLine, Vec<u8>)>,
    /// Of the lines.
    bytes: usize,
}

/// A user's chat with one server.
#[derive(Debug)]
pub struct Session {
    splitter: LineDecoder,
    phase: Phase,
    /// Whether hello is said as soon as that is allowed, or when something needs it.
    prefers_extended: bool,
    /// Whether the server speaks the extended dialect.
    is_marked: bool,
    /// Whether this connection brought a line.
    has_heard: bool,
    /// Whether this connection was let in.
    is_greeted: bool,
    name: Option<String>,
    /// The address that this connection was until it was somebody again; its coming and going is
    /// no news to us.
    temporary: Option<String>,
    /// The name that the user chose.
    chosen_name: Option<String>,
    has_chosen_name: bool,
    /// Why the chosen name was refused.
    name_refusal: Option<String>,
    identity: Option<Identity>,
    recovery: Option<Recovery>,
    /// What was asked for of the past.
    replays: Replays,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    in_flight: usize,
    nonce_prefix: String,
    nonces: u64,
    output: Vec<u8>,
    pings: u64,
    pinged_at: Option<Instant>,
    next_ping: Option<Instant>,
    heard_at: Option<Instant>,
    round_trip: Option<Duration>,
    lines: u64,
    understood: u64,
    bye: Option<server_line::Bye>,
}

impl Session {
    /// A session that is not connected yet. The random number makes nonces that no other run of
    /// the client makes.
    pub fn new(prefers_extended: bool, name: Option<String>, random: u64) -> Self {
        let mut session = Session {
            splitter: LineDecoder::new(MAX_LINE_BYTES),
            phase: Phase::Offline,
            prefers_extended,
            is_marked: false,
            has_heard: false,
            is_greeted: false,
            name: None,
            temporary: None,
            chosen_name: None,
            has_chosen_name: false,
            name_refusal: None,
            identity: None,
            recovery: None,
            replays: Replays::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: 0,
            nonce_prefix: format!("{random:016x}-"),
            nonces: 0,
            output: Vec::new(),
            pings: 0,
            pinged_at: None,
            next_ping: None,
            heard_at: None,
            round_trip: None,
            lines: 0,
            understood: 0,
            bye: None,
        };
        if let Some(name) = name {
            session.enqueue(UserRequest::SetName(name), None);
        }
        session
    }

    // What the loop may know

    /// Whether lines came and none of them was understood: something else than a chat speaks.
    pub fn is_strange(&self) -> bool {
        self.lines > 0 && self.understood == 0
    }

    /// Our name, as far as it is known.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the server has ever given us a name that we asked for.
    pub fn has_chosen_name(&self) -> bool {
        self.has_chosen_name
    }

    /// Why the name that was asked for is not ours, if it was refused last.
    pub fn name_refusal(&self) -> Option<&str> {
        self.name_refusal.as_deref()
    }

    /// How long the last ping took.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Lines of the user that are not done.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a further line may be asked for.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MAX_QUEUED && self.waiting_bytes < MAX_QUEUED_BYTES
    }

    /// Whether both speak the extended dialect.
    pub fn is_extended(&self) -> bool {
        self.phase == Phase::Extended
    }

    /// Whether this connection, or the one that is gone, was let into the chat; one that is turned
    /// away at the door gets a sentence only.
    pub fn is_greeted(&self) -> bool {
        self.is_greeted
    }

    /// What the server said of the end of the connection.
    pub fn take_bye(&mut self) -> Option<server_line::Bye> {
        self.bye.take()
    }

    /// What is to be sent now; it counts as sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    // Connections

    /// There is a connection.
    pub fn connected(&mut self, now: Instant) {
        self.is_greeted = false;
        self.has_heard = false;
        self.splitter = LineDecoder::new(MAX_LINE_BYTES);
        self.phase = Phase::Opening(now);
        self.is_marked = false;
        self.bye = None;
        self.heard_at = Some(now);
        if !self.prefers_extended && self.identity.is_none() {
            self.flush_opening();
        }
    }

    /// The connection is gone. What was sent and not acknowledged is sent again over the next.
    pub fn disconnected(&mut self, show: OnUpdate<'_>) {
        self.finish_recovery(show);
        if let Some(since) = self.replays.interrupt() {
            self.waiting.push_front(Waiting {
                asked: UserRequest::Since(since),
                nonce: None,
                is_sent: false,
            });
        }
        self.phase = Phase::Offline;
        self.output.clear();
        self.pinged_at = None;
        self.next_ping = None;
        self.round_trip = None;
        self.in_flight = 0;
        for waiting in &mut self.waiting {
            waiting.is_sent = false;
        }
    }

    /// There will be no further connection: shows what waited for a past that does not come.
    pub fn abandon_replay(&mut self, show: OnUpdate<'_>) {
        self.replays.release(0, show);
    }

    /// When something is to be done though nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let dead = self
            .pinged_at
            .map(|at| at.max(self.heard_at.unwrap_or(at)) + PONG_TIMEOUT);
        match self.phase {
            Phase::Opening(since) => Some(since + FIRST_LINE_TIMEOUT),
            Phase::Greeting(since) => Some(since + HELLO_TIMEOUT),
            Phase::Extended => dead.or(self.next_ping),
            Phase::Basic | Phase::Offline => None,
        }
    }

    /// Does what the time demands.
    pub fn pulse(&mut self, now: Instant, show: OnUpdate<'_>) -> TimerOutcome {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return TimerOutcome::Alive;
        }
        match self.phase {
            Phase::Opening(_) | Phase::Greeting(_) => {
                self.is_marked = false;
                self.phase = Phase::Basic;
                self.flush(now, show);
            }
            Phase::Extended if self.pinged_at.is_some() => return TimerOutcome::Dead,
            Phase::Extended => self.ping(now),
            Phase::Basic | Phase::Offline => {}
        }
        TimerOutcome::Alive
    }

    /// There is no time to wait for the dialect: what waits is sent as any server takes it.
    pub fn skip_greeting(&mut self, now: Instant, show: OnUpdate<'_>) {
        if let Phase::Opening(_) = self.phase {
            self.phase = Phase::Basic;
            self.flush(now, show);
        }
    }

    fn ping(&mut self, now: Instant) {
        self.pings += 1;
        server_line::encode_ping(&mut self.output, self.pings);
        self.pinged_at = Some(now);
        self.next_ping = Some(now + PING_INTERVAL);
    }

    // What the user wants

    /// Asks for something, now or as soon as there is a link; under this nonce, or one of our own
    /// where an acknowledgement is wanted.
    pub fn ask(
        &mut self,
        asked: UserRequest,
        nonce: Option<Nonce>,
        now: Instant,
        show: OnUpdate<'_>,
    ) {
        let nonce = asked
            .acknowledged_kind()
            .and_then(|_| nonce.or_else(|| self.fresh_nonce()));
        self.enqueue(asked, nonce);
        self.flush(now, show);
    }

    fn fresh_nonce(&mut self) -> Option<Nonce> {
        self.nonces += 1;
        Nonce::new(&format!("{}{}", self.nonce_prefix, self.nonces))
    }

    fn enqueue(&mut self, asked: UserRequest, nonce: Option<Nonce>) {
        if matches!(asked, UserRequest::Since(_)) {
            self.replays.expect_past();
        }
        self.waiting_bytes += asked.text_bytes();
        self.waiting.push_back(Waiting {
            asked,
            nonce,
            is_sent: false,
        });
    }

    fn forget(&mut self, index: usize) -> Option<Waiting> {
        let waiting = self.waiting.remove(index)?;
        self.waiting_bytes -= waiting.asked.text_bytes();
        self.in_flight -= usize::from(waiting.is_sent);
        Some(waiting)
    }

    /// Encodes what waits and may be sent.
    fn flush(&mut self, now: Instant, show: OnUpdate<'_>) {
        match self.phase {
            Phase::Extended => self.flush_extended(),
            Phase::Basic => self.flush_basic(now, show),
            Phase::Opening(_) if !self.prefers_extended && self.identity.is_none() => {
                self.flush_opening();
            }
            Phase::Offline | Phase::Opening(_) | Phase::Greeting(_) => {}
        }
    }

    /// What both dialects know need not wait for the server's first line.
    fn flush_opening(&mut self) {
        while self
            .waiting
            .front()
            .is_some_and(|first| !first.asked.needs_extended())
        {
            let Some(first) = self.forget(0) else { return };
            encode_basic(&mut self.output, &first.asked);
            self.note_name(first.asked);
        }
    }

    fn flush_extended(&mut self) {
        // What is sent stands before what is not.
        let mut index = self.in_flight;
        while index < self.waiting.len() && self.in_flight < MAX_IN_FLIGHT {
            let waiting = &mut self.waiting[index];
            match waiting.asked {
                UserRequest::History(limit) => self.replays.ask_for_newest(limit, &mut self.output),
                UserRequest::Since(since) => self.replays.ask_since(since, &mut self.output),
                _ => encode_extended(&mut self.output, &waiting.asked, waiting.nonce.as_ref()),
            }
            if waiting.nonce.is_some() {
                waiting.is_sent = true;
                self.in_flight += 1;
                index += 1;
            } else if let Some(done) = self.forget(index) {
                self.note_name(done.asked);
            }
        }
    }

    fn flush_basic(&mut self, now: Instant, show: OnUpdate<'_>) {
        while let Some(first) = self.waiting.front() {
            if first.asked.needs_extended() && self.is_marked {
                return self.greet(now);
            }
            let Some(first) = self.forget(0) else { return };
            if first.asked.needs_extended() {
                let sentence = format!(
                    "This server speaks the basic dialect only, which does not know {}; nothing was sent",
                    first.asked.description()
                );
                show(SessionUpdate::Impossible(sentence), &[]);
                if let UserRequest::Since(_) = first.asked {
                    self.replays.release(0, show);
                }
            } else {
                encode_basic(&mut self.output, &first.asked);
                self.note_name(first.asked);
            }
        }
    }

    fn note_name(&mut self, asked: UserRequest) {
        if let UserRequest::SetName(name) = asked {
            self.chosen_name = Some(name);
            self.name_refusal = None;
        }
    }

    fn greet(&mut self, now: Instant) {
        let introduction = Introduction {
            client: CLIENT,
            token: self.identity.as_ref().map(|known| known.token.as_str()),
            after: self.identity.as_ref().map(|known| &known.place),
        };
        server_line::encode_hello(&mut self.output, introduction);
        self.phase = Phase::Greeting(now);
    }

    // What the server says

    /// Takes bytes of the server and tells what is to be shown of them.
    pub fn receive(&mut self, mut bytes: &[u8], now: Instant, show: OnUpdate<'_>) {
        self.heard_at = Some(now);
        // The splitter is taken out for as long as it lends lines.
        let placeholder = LineDecoder::new(MAX_LINE_BYTES);
        let mut splitter = std::mem::replace(&mut self.splitter, placeholder);
        while let Some(line) = splitter.next_line(&mut bytes) {
            self.lines += 1;
            let is_first = !std::mem::replace(&mut self.has_heard, true);
            let Line::Complete(line) = line else { continue };
            if is_first {
                self.learn_dialect(line, now, show);
            }
            if let Some(heard) = server_line::decode(line) {
                self.understood += 1;
                self.hear(heard, line, is_first, now, show);
            }
        }
        self.splitter = splitter;
    }

    fn hear(
        &mut self,
        heard: ServerLine,
        line: &[u8],
        is_first: bool,
        now: Instant,
        show: OnUpdate<'_>,
    ) {
        match heard {
            // The address of a connection that is about to be somebody is no news.
            ServerLine::Message(_) if is_first && self.is_marked && self.identity.is_some() => {}
            ServerLine::Welcome(welcome) => self.begin(welcome, now, show),
            ServerLine::Ack(ack) => {
                let is_it = |waiting: &Waiting| {
                    let nonce = waiting.nonce.as_ref();
                    nonce.is_some_and(|nonce| nonce.as_str() == ack.nonce)
                };
                if let Some(index) = self.waiting.iter().position(is_it) {
                    self.forget(index);
                    self.flush(now, show);
                }
                show(SessionUpdate::Heard(ServerLine::Ack(ack)), line);
            }
            ServerLine::Pong(number) => {
                if let Some(at) = self.pinged_at.filter(|_| number == self.pings) {
                    self.round_trip = Some(now.saturating_duration_since(at));
                    self.pinged_at = None;
                }
            }
            ServerLine::Error(refused) => {
                self.note_refusal(&refused, now, show);
                show(SessionUpdate::Heard(ServerLine::Error(refused)), line);
            }
            ServerLine::History(page) => self.replays.hear(page, line, &mut self.output, show),
            ServerLine::Bye(bye) => {
                self.bye = Some(bye.clone());
                show(SessionUpdate::Heard(ServerLine::Bye(bye)), line);
            }
            ServerLine::Message(_)
            | ServerLine::Joined(_)
            | ServerLine::Left(_)
            | ServerLine::Renamed(_) => {
                self.hear_event(heard, line, show);
            }
            other => show(SessionUpdate::Heard(other), line),
        }
    }

    /// The first line of a connection tells the dialect, also if it comes late.
    fn learn_dialect(&mut self, line: &[u8], now: Instant, show: OnUpdate<'_>) {
        let entered = server_line::decode(line).and_then(name_that_entered);
        self.is_marked = entered.is_some() && line.ends_with(b" ");
        self.is_greeted = entered.is_some();
        let comes_back = self.identity.is_some();
        match comes_back && self.is_marked {
            true => self.temporary = entered,
            false => self.name = entered.or(self.name.take()),
        }
        if self.is_marked && (self.prefers_extended || comes_back) {
            self.greet(now);
        } else {
            self.phase = Phase::Basic;
        }
        self.flush(now, show);
    }

    fn begin(&mut self, welcome: Welcome, now: Instant, show: OnUpdate<'_>) {
        let before = self.identity.take();
        let is_same_past = before
            .as_ref()
            .is_some_and(|known| *known.place.epoch == *welcome.epoch);
        let last = match (&before, welcome.resumed) {
            (Some(known), Some(resumed)) if resumed.complete => known.place.id,
            (_, Some(resumed)) if !resumed.complete => resumed.oldest.saturating_sub(1),
            _ => welcome.last,
        };
        let is_another = before
            .as_ref()
            .is_none_or(|known| known.token != welcome.token);
        self.identity = Some(Identity {
            token: welcome.token,
            place: EventCursor {
                epoch: welcome.epoch.into(),
                id: last,
            },
        });
        self.phase = Phase::Extended;
        self.name = Some(welcome.name.clone());
        match (before, welcome.resumed) {
            (Some(_), Some(resumed)) if resumed.complete => {
                self.recovery = Some(Recovery {
                    missed: resumed.missed,
                    seen: 0,
                    collected: Vec::new(),
                    bytes: 0,
                });
                self.finish_recovery_if_whole(show);
            }
            (Some(known), Some(resumed)) => {
                let after = is_same_past.then_some(known.place.id);
                let oldest = resumed.oldest;
                show(SessionUpdate::Gap { after, oldest }, &[]);
            }
            _ => show(SessionUpdate::Welcome { name: welcome.name }, &[]),
        }
        if let Some(chosen) = self.chosen_name.clone().filter(|chosen| {
            // A token that is not known any more does not give the name back.
            is_another && Some(chosen) != self.name.as_ref()
        }) {
            self.waiting_bytes += chosen.len();
            self.waiting.push_front(Waiting {
                asked: UserRequest::SetName(chosen),
                nonce: None,
                is_sent: false,
            });
        }
        self.ping(now);
        self.flush(now, show);
    }

    /// Something public, or a line of the basic dialect.
    fn hear_event(&mut self, heard: ServerLine, line: &[u8], show: OnUpdate<'_>) {
        let id = match &heard {
            ServerLine::Message(said) => said.id,
            ServerLine::Joined(presence) | ServerLine::Left(presence) => Some(presence.id),
            ServerLine::Renamed(renamed) => Some(renamed.id),
            _ => None,
        };
        if let (Some(id), Some(known)) = (id, &mut self.identity) {
            if id <= known.place.id {
                return;
            }
            known.place.id = id;
        }
        if let Some((old, new)) = renaming(&heard)
            && self.name.as_deref() == Some(old)
        {
            self.name = Some(new.to_owned());
            self.has_chosen_name = true;
        }
        let is_news = !self.is_our_temporary(&heard);
        match &mut self.recovery {
            Some(recovery) if id.is_some() => {
                recovery.seen += 1;
                if is_news {
                    recovery.bytes += line.len();
                    recovery.collected.push((heard, line.to_owned()));
                }
                self.finish_recovery_if_whole(show);
            }
            // What has a number stands behind a past that has not come yet.
            _ if is_news && id.is_some() && self.replays.holds() => self.replays.hold(heard, line),
            _ if is_news => show(SessionUpdate::Heard(heard), line),
            _ => {}
        }
    }

    /// Whether this is the coming or going of the user that our connection was at first.
    fn is_our_temporary(&mut self, heard: &ServerLine) -> bool {
        let (ServerLine::Joined(presence) | ServerLine::Left(presence)) = heard else {
            return false;
        };
        let is_it = self.temporary.as_ref() == Some(&presence.name);
        if is_it && matches!(heard, ServerLine::Left(_)) {
            self.temporary = None;
        }
        is_it
    }

    fn finish_recovery_if_whole(&mut self, show: OnUpdate<'_>) {
        let is_whole = self.recovery.as_ref().is_some_and(|recovery| {
            recovery.seen >= recovery.missed
                || recovery.collected.len() >= MAX_RECOVERED
                || recovery.bytes >= MAX_RECOVERED_BYTES
        });
        if is_whole {
            self.finish_recovery(show);
        }
    }

    /// Shows what was collected.
    fn finish_recovery(&mut self, show: OnUpdate<'_>) {
        let Some(recovery) = self.recovery.take() else {
            return;
        };
        let is_message = |(heard, _): &&(ServerLine, _)| matches!(heard, ServerLine::Message(_));
        let is_all = recovery.seen >= recovery.missed;
        let missed = match is_all {
            true => Missed::Messages(recovery.collected.iter().filter(is_message).count()),
            false => Missed::Events(recovery.missed),
        };
        show(SessionUpdate::Recovered(missed), &[]);
        for (heard, line) in recovery.collected {
            match self.replays.holds() {
                true => self.replays.hold(heard, &line),
                false => show(SessionUpdate::Heard(heard), &line),
            }
        }
    }

    /// The server answers in the order in which it was asked, so a refusal is of the oldest line
    /// of its kind.
    fn note_refusal(&mut self, refused: &Refused, now: Instant, show: OnUpdate<'_>) {
        let kind = refused.kind.as_deref();
        if kind == Some("set-name") {
            self.name_refusal = Some(refused.message.clone());
            self.chosen_name = None;
        }
        if kind == Some("history") {
            self.replays.refuse(show);
        }
        if refused.code == NOT_DELIVERED {
            return;
        }
        let is_it = |waiting: &Waiting| {
            waiting.is_sent
                && waiting
                    .asked
                    .acknowledged_kind()
                    .is_some_and(|own| kind == Some(own))
        };
        if let Some(index) = self.waiting.iter().position(is_it) {
            self.forget(index);
            self.flush(now, show);
        }
    }
}

/// Who has entered by this, in the basic dialect.
fn name_that_entered(heard: ServerLine) -> Option<String> {
    match heard {
        ServerLine::Message(said) if said.source == SERVER_SOURCE && said.id.is_none() => {
            let name = said.message.strip_suffix(" has entered the chat")?;
            Some(name.to_owned())
        }
        _ => None,
    }
}

/// Who is called otherwise by this, in either dialect.
fn renaming(heard: &ServerLine) -> Option<(&str, &str)> {
    match heard {
        ServerLine::Renamed(renamed) => Some((&renamed.name, &renamed.new_name)),
        ServerLine::Message(Said {
            id: None,
            source,
            message,
            ..
        }) if source == SERVER_SOURCE => message.split_once(" renamed to "),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
