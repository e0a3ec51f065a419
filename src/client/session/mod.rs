//! Session of one user with one server, across any number of connections.
//!
//! A state machine without I/O and without a clock. A request that the server has not
//! acknowledged is sent again under the same nonce, so it is neither lost nor executed twice. A
//! server gets a hello only after its first line carried the mark of the extended dialect.
//!
//! A client that reconnects lets only lines of the server decide the dialect, never a time without
//! one: a stalled server may still read what was sent.

mod dialect;
mod heartbeat;
pub(crate) mod history_replay;
pub(crate) mod naming;
mod recovery;
pub mod request;
mod resend_queue;
pub(crate) mod update;

use crate::chat::request::{EventCursor, Nonce};
use crate::client::limits::{
    FIRST_LINE_TIMEOUT, GREETING_TIMEOUT, HELLO_TIMEOUT, MAX_IN_FLIGHT, MAX_LINE_BYTES,
    SILENCE_NOTICE,
};
use crate::client::session::heartbeat::Heartbeat;
use crate::client::session::history_replay::HistoryReplay;
use crate::client::session::naming::{NAME_TAKEN, Naming, RejectionNotice, taken_name};
use crate::client::session::recovery::{HeldLines, PrivateRepeats, Recovery};
use crate::client::session::request::{UserRequest, encode};
use crate::client::session::resend_queue::ResendQueue;
use crate::client::session::update::SessionUpdate;
use crate::protocol::client_line::{self, Introduction};
use crate::protocol::framing::{DecodedLine, LineDecoder};
use crate::protocol::server_line;
use crate::protocol::server_line::{ErrorLine, ServerLine, Welcome};
use std::collections::VecDeque;
use std::time::Instant;

const CLIENT_VERSION: &str = concat!("smolchat-client/", env!("CARGO_PKG_VERSION"));

/// Code of an error that arrives long after the line that caused it was accepted.
const NOT_DELIVERED: &str = "not-delivered";
const NO_GREETING: &str = "The server has not greeted yet; what you type waits until it does";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offline,
    AwaitingFirstLine(Instant),
    Basic,
    AwaitingWelcome(Instant),
    Extended,
}

/// Credentials to resume as the same user.
#[derive(Debug)]
struct Identity {
    token: String,
    /// Newest event that this client has received.
    cursor: EventCursor,
}

/// State of a user's chat with one server.
#[derive(Debug)]
pub struct Session {
    decoder: LineDecoder,
    phase: Phase,
    /// Whether to say hello as soon as possible, or only when a request needs it.
    prefers_extended: bool,
    /// Whether another connection follows a lost one, over which unacknowledged requests are sent
    /// again.
    reconnects: bool,
    /// Whether the first line carried the mark of the extended dialect.
    offers_extended: bool,
    /// Whether any connection to this server had the mark. The server may then have executed
    /// requests that only a nonce keeps from being executed twice.
    knows_extended: bool,
    /// Whether this connection has waited long for its first line.
    has_waited: bool,
    /// Whether the server admitted the latest connection; a rejected client gets a sentence only.
    pub(crate) is_admitted: bool,
    pub(crate) name: Option<String>,
    /// Address that named this connection until it resumed as an earlier user. Its arrival and
    /// departure are not shown.
    temporary_name: Option<String>,
    pub(crate) naming: Naming,
    identity: Option<Identity>,
    recovery: Option<Recovery>,
    repeats: PrivateRepeats,
    replay: HistoryReplay,
    /// Queries that the server has not answered, at most [`MAX_IN_FLIGHT`].
    searches: VecDeque<String>,
    pub(crate) queue: ResendQueue,
    /// Lines without an acknowledgement that are not sent again.
    pub(crate) unconfirmed: usize,
    pub(crate) heartbeat: Heartbeat,
    output: Vec<u8>,
    updates: Vec<SessionUpdate>,
    /// Lines of the latest connection.
    received_lines: u64,
    has_decoded_line: bool,
    /// The server's announcement of the end of the connection.
    pub(crate) bye: Option<server_line::Bye>,
}

impl Session {
    /// Returns a session without a connection. `random` makes its nonces unique among runs.
    pub fn new(
        prefers_extended: bool,
        reconnects: bool,
        name: Option<String>,
        random: u64,
    ) -> Self {
        let mut session = Session {
            decoder: LineDecoder::new(MAX_LINE_BYTES),
            phase: Phase::Offline,
            prefers_extended,
            reconnects,
            offers_extended: false,
            knows_extended: false,
            has_waited: false,
            is_admitted: false,
            name: None,
            temporary_name: None,
            naming: Naming::new(name.clone()),
            identity: None,
            recovery: None,
            repeats: PrivateRepeats::default(),
            replay: HistoryReplay::default(),
            searches: VecDeque::new(),
            queue: ResendQueue::new(random),
            unconfirmed: 0,
            heartbeat: Heartbeat::default(),
            output: Vec::new(),
            updates: Vec::new(),
            received_lines: 0,
            has_decoded_line: false,
            bye: None,
        };
        if let Some(name) = name {
            session.queue.push(UserRequest::SetName(name), None);
        }
        session
    }

    /// Returns whether lines came and none of them was a line of the protocol.
    pub(crate) fn received_only_garbage(&self) -> bool {
        self.received_lines > 0 && !self.has_decoded_line
    }

    pub(crate) fn is_extended(&self) -> bool {
        self.phase == Phase::Extended
    }

    /// Takes the bytes to send now; they count as sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes what the last calls have to tell the user.
    pub fn take_updates(&mut self) -> Vec<SessionUpdate> {
        std::mem::take(&mut self.updates)
    }

    // Connections

    /// Starts the session's use of a new connection.
    pub fn connected(&mut self, now: Instant) {
        self.is_admitted = false;
        self.received_lines = 0;
        self.has_decoded_line = false;
        self.decoder = LineDecoder::new(MAX_LINE_BYTES);
        self.phase = Phase::AwaitingFirstLine(now);
        self.offers_extended = false;
        self.has_waited = false;
        self.bye = None;
        self.heartbeat.received_at = Some(now);
        self.flush(now);
    }

    /// Ends the use of a connection; unacknowledged requests are sent again over the next one.
    pub(crate) fn disconnected(&mut self) {
        self.finish_recovery(true);
        self.queue.connection_lost();
        self.searches.clear();
        if let Some(since) = self.replay.interrupt() {
            self.queue.push_front(UserRequest::Since(since));
        }
        self.phase = Phase::Offline;
        self.output.clear();
        self.heartbeat.stop();
    }

    /// Shows the lines that wait for a history replay, because no further connection follows.
    pub(crate) fn abandon_replay(&mut self) {
        self.replay.release(0, &mut self.updates);
    }

    /// Returns the time at which [`Session::on_timer`] has to run.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let naming = match self.phase {
            Phase::Basic | Phase::Extended => self.naming.deadline(),
            _ => None,
        };
        let deadlines = self.phase_deadline().into_iter().chain(naming);
        deadlines.min()
    }

    fn phase_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitingFirstLine(since) if self.knows_extended && self.has_waited => {
                Some(since + GREETING_TIMEOUT)
            }
            Phase::AwaitingFirstLine(since) if self.waits_for_greeting() => {
                let time = match self.needs_greeting() {
                    true => SILENCE_NOTICE,
                    false => FIRST_LINE_TIMEOUT,
                };
                (!self.has_waited).then_some(since + time)
            }
            Phase::AwaitingWelcome(since) => Some(since + HELLO_TIMEOUT),
            Phase::Extended => self.heartbeat.deadline(),
            Phase::AwaitingFirstLine(_) | Phase::Basic | Phase::Offline => None,
        }
    }

    /// Pings the server, or ends the wait for its first line, as is due; returns false if the server
    /// does not answer any more.
    pub(crate) fn on_timer(&mut self, now: Instant) -> bool {
        if matches!(self.phase, Phase::Basic | Phase::Extended)
            && let Some(name) = self.naming.attempt(now)
        {
            self.send_basic(UserRequest::SetName(name));
        }
        if self.phase_deadline().is_none_or(|deadline| now < deadline) {
            return true;
        }
        match self.phase {
            Phase::AwaitingFirstLine(_) if !self.has_waited => {
                self.has_waited = true;
                if self.needs_greeting() {
                    let sentence = NO_GREETING.to_owned();
                    self.updates.push(SessionUpdate::Waiting(sentence));
                }
                self.flush(now);
            }
            Phase::Extended if self.heartbeat.pinged_at.is_none() => {
                self.heartbeat.ping(now, &mut self.output);
            }
            _ => return false,
        }
        true
    }

    /// Whether a line that is sent before the greeting could be said twice. A server that has said
    /// something else, and stays connected, is not stalled and greets nobody.
    fn needs_greeting(&self) -> bool {
        let is_silent = self.received_lines == 0;
        self.knows_extended || self.prefers_extended && self.reconnects && is_silent
    }

    fn waits_for_greeting(&self) -> bool {
        self.needs_greeting() || self.prefers_extended && !self.has_waited
    }

    /// Sends what the basic dialect can say to a server whose first line has not come, because the
    /// user leaves. A server that may have got a line before, under a nonce, gets none.
    pub(crate) fn skip_greeting(&mut self) {
        if !self.knows_extended && matches!(self.phase, Phase::AwaitingFirstLine(_)) {
            self.send_before_first_line();
        }
    }

    // Requests

    /// Queues a request and sends it if possible. Without a `nonce`, a request that the server
    /// acknowledges gets one of the session's own.
    pub fn request(&mut self, request: UserRequest, nonce: Option<Nonce>, now: Instant) {
        if let UserRequest::SetName(_) = request {
            self.naming.user_chooses();
        }
        self.replay.holds_events |= matches!(request, UserRequest::Since(_));
        self.queue.push(request, nonce);
        self.flush(now);
    }

    fn flush(&mut self, now: Instant) {
        match self.phase {
            Phase::Extended => self.flush_extended(),
            Phase::Basic => self.flush_basic(now),
            Phase::AwaitingFirstLine(_) if self.waits_for_greeting() => {}
            Phase::AwaitingFirstLine(_) => self.send_before_first_line(),
            Phase::Offline | Phase::AwaitingWelcome(_) => {}
        }
    }

    /// Sends what both dialects understand.
    fn send_before_first_line(&mut self) {
        while let Some(request) = self.queue.pop_if(|first| !first.needs_extended()) {
            self.send_basic(request);
        }
    }

    fn send_basic(&mut self, request: UserRequest) {
        encode(&mut self.output, &request, None);
        self.note_name_request(request);
    }

    fn flush_extended(&mut self) {
        while let Some((request, nonce)) = self.queue.next_unsent() {
            let output = &mut self.output;
            match *request {
                UserRequest::Search(_) if self.searches.len() == MAX_IN_FLIGHT => return,
                UserRequest::History(limit) => self.replay.request(limit, None, output),
                UserRequest::Since(since) => self.replay.request(None, Some(since), output),
                UserRequest::Search(ref query) => {
                    self.searches.push_back(query.clone());
                    encode(output, request, nonce);
                }
                _ => encode(output, request, nonce),
            }
            if let Some(done) = self.queue.mark_sent() {
                self.note_name_request(done);
            }
        }
    }

    fn flush_basic(&mut self, now: Instant) {
        let offers_extended = self.offers_extended;
        let can_send = |first: &UserRequest| !(first.needs_extended() && offers_extended);
        while let Some(request) = self.queue.pop_if(can_send) {
            if request.needs_extended() {
                self.report_unsupported(&request);
            } else {
                self.send_basic(request);
            }
        }
        if self.queue.len() > 0 {
            self.send_hello(now);
        }
    }

    fn report_unsupported(&mut self, request: &UserRequest) {
        let sentence = format!(
            "This server speaks the basic dialect only, which does not know {}; nothing was sent",
            request.description()
        );
        self.updates.push(SessionUpdate::Unsupported(sentence));
        if let UserRequest::Since(_) = request {
            self.replay.release(0, &mut self.updates);
        }
    }

    fn note_name_request(&mut self, request: UserRequest) {
        if let UserRequest::SetName(name) = request {
            self.naming.sent(name);
        }
    }

    fn send_hello(&mut self, now: Instant) {
        let introduction = Introduction {
            client: CLIENT_VERSION,
            token: self.identity.as_ref().map(|known| known.token.as_str()),
            after: self.identity.as_ref().map(|known| &known.cursor),
        };
        client_line::encode_hello(&mut self.output, introduction);
        self.phase = Phase::AwaitingWelcome(now);
    }

    // Lines of the server

    /// Decodes received bytes and applies their lines.
    pub fn receive(&mut self, mut bytes: &[u8], now: Instant) {
        self.heartbeat.received_at = Some(now);
        // The decoder lends its lines, so it leaves `self` for the time of the loop.
        let placeholder = LineDecoder::new(MAX_LINE_BYTES);
        let mut decoder = std::mem::replace(&mut self.decoder, placeholder);
        while let Some(line) = decoder.next_line(&mut bytes) {
            self.received_lines += 1;
            let DecodedLine::Complete(raw) = line else {
                continue;
            };
            let line = server_line::decode(raw);
            let mut is_shown = true;
            if let Phase::AwaitingFirstLine(_) = self.phase {
                is_shown = self.choose_dialect(line.as_ref(), raw, now);
            }
            if let Some(line) = line {
                self.has_decoded_line = true;
                if is_shown {
                    self.receive_line(line, raw, now);
                }
            }
            self.flush(now);
        }
        self.decoder = decoder;
    }

    fn receive_line(&mut self, line: ServerLine, raw: &[u8], now: Instant) {
        match line {
            ServerLine::Pong(number) => return self.heartbeat.receive_pong(number, now),
            ServerLine::Welcome(welcome) => return self.receive_welcome(welcome, now),
            ServerLine::History(page) => {
                let (output, updates) = (&mut self.output, &mut self.updates);
                return self.replay.receive_page(page, raw, output, updates);
            }
            ServerLine::Message(_) if self.is_rejected_hello(&line) => self.give_up_extended(),
            ServerLine::Message(_) if taken_name(&line).is_some() => {
                let sentence = taken_name(&line).unwrap_or_default();
                let notice = self.naming.rejected(sentence, true, now);
                return self.show_rejection(notice, line, raw);
            }
            ServerLine::Error(ref error) if error.kind.as_deref() == Some("set-name") => {
                let is_taken = error.code == NAME_TAKEN;
                let notice = self.naming.rejected(&error.message, is_taken, now);
                return self.show_rejection(notice, line, raw);
            }
            ServerLine::Search(page) => {
                let query = self.searches.pop_front();
                let found = SessionUpdate::Found(page, query, raw.to_owned());
                return self.updates.push(found);
            }
            ServerLine::Message(_)
            | ServerLine::Joined(_)
            | ServerLine::Left(_)
            | ServerLine::Renamed(_) => return self.receive_event(line, raw, now),
            ServerLine::Private(ref private) if self.repeats.note(private) => return,
            ServerLine::Ack(ref ack) => self.queue.acknowledge(&ack.nonce),
            ServerLine::Error(ref error) => self.receive_error(error),
            ServerLine::Bye(ref bye) => self.bye = Some(bye.clone()),
            _ => {}
        }
        self.updates.push(SessionUpdate::Line(line, raw.to_owned()));
    }

    fn show_rejection(&mut self, notice: RejectionNotice, line: ServerLine, raw: &[u8]) {
        if let RejectionNotice::Known = notice {
            return;
        }
        self.updates.push(SessionUpdate::Line(line, raw.to_owned()));
        if let RejectionNotice::Waits(sentence) = notice {
            self.updates.push(SessionUpdate::Waiting(sentence));
        }
    }

    fn receive_welcome(&mut self, welcome: Welcome, now: Instant) {
        let before = self.identity.take();
        let last = match (&before, welcome.resumed) {
            (Some(known), Some(resumed)) if resumed.complete => known.cursor.id,
            (_, Some(resumed)) if !resumed.complete => resumed.oldest.saturating_sub(1),
            _ => welcome.last,
        };
        let is_new_user = before
            .as_ref()
            .is_none_or(|known| known.token != welcome.token);
        let cursor = EventCursor {
            epoch: welcome.epoch.into(),
            id: last,
        };
        self.phase = Phase::Extended;
        self.repeats.resume();
        self.name = Some(welcome.name.clone());
        if welcome.known == Some(false) {
            // The server has forgotten their nonces, too, and would say them twice.
            self.report_unconfirmed();
        }
        match (before, welcome.resumed) {
            (Some(_), Some(resumed)) if resumed.complete => {
                self.recovery = Some(Recovery {
                    missed: resumed.missed,
                    received: 0,
                    held: HeldLines::default(),
                });
                self.finish_recovery(false);
            }
            (Some(known), Some(resumed)) => {
                let is_same_log = known.cursor.epoch == cursor.epoch;
                let after = is_same_log.then_some(known.cursor.id);
                let oldest = resumed.oldest;
                self.updates.push(SessionUpdate::Gap { after, oldest });
            }
            _ => {
                let name = welcome.name;
                self.updates.push(SessionUpdate::Welcome { name });
            }
        }
        self.identity = Some(Identity {
            token: welcome.token,
            cursor,
        });
        let own_name = self.name.clone().unwrap_or_default();
        let (name, notice) = self.naming.welcomed(&own_name, is_new_user, now);
        if let Some(name) = name {
            // An expired token does not give the name back.
            self.queue.push_front(UserRequest::SetName(name));
        }
        if let Some(RejectionNotice::Waits(sentence)) = notice {
            self.updates.push(SessionUpdate::Waiting(sentence));
        }
        self.heartbeat.ping(now, &mut self.output);
    }

    /// Handles a public event of the extended dialect, or any message of the basic one.
    fn receive_event(&mut self, line: ServerLine, raw: &[u8], now: Instant) {
        let id = line.id();
        if let (Some(id), Some(known)) = (id, &mut self.identity) {
            if id <= known.cursor.id {
                return;
            }
            known.cursor.id = id;
            self.repeats.note_event();
        }
        self.naming.note_line(&line, now);
        if let Some((old, new)) = line.renaming()
            && self.name.as_deref() == Some(old)
        {
            self.name = Some(new.to_owned());
            self.naming.renamed(new);
        }
        let is_shown = !self.is_own_temporary_presence(&line);
        match &mut self.recovery {
            Some(recovery) if id.is_some() => {
                recovery.received += 1;
                if is_shown {
                    recovery.held.push(line, raw);
                }
                self.finish_recovery(false);
            }
            _ if !is_shown => {}
            _ if id.is_some() => self.replay.show_or_hold(line, raw, &mut self.updates),
            _ => self.updates.push(SessionUpdate::Line(line, raw.to_owned())),
        }
    }

    fn is_own_temporary_presence(&mut self, line: &ServerLine) -> bool {
        let (ServerLine::Joined(presence) | ServerLine::Left(presence)) = line else {
            return false;
        };
        let is_own = self.temporary_name.as_ref() == Some(&presence.name);
        if is_own && matches!(line, ServerLine::Left(_)) {
            self.temporary_name = None;
        }
        is_own
    }

    /// Shows the missed events if they are complete, or if the connection is lost.
    fn finish_recovery(&mut self, is_lost: bool) {
        let is_over = |recovery: &mut Recovery| is_lost || recovery.is_complete();
        let Some(recovery) = self.recovery.take_if(is_over) else {
            return;
        };
        let missed = SessionUpdate::Recovered(recovery.count());
        self.updates.push(missed);
        for (line, raw) in recovery.held.lines {
            self.replay.show_or_hold(line, &raw, &mut self.updates);
        }
    }

    /// Removes the rejected request. The server answers in order, so an error is about the oldest
    /// request of its kind.
    fn receive_error(&mut self, error: &ErrorLine) {
        let Some(kind) = error.kind.as_deref() else {
            return;
        };
        match kind {
            "history" => self.replay.reject(&mut self.updates),
            "search" => drop(self.searches.pop_front()),
            _ if error.code != NOT_DELIVERED => self.queue.reject(kind),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
