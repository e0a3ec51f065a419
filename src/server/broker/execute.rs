//! The publisher: what was decided is done to the clients, the page and the terminal.
//!
//! What lives here: [`Action`], one thing to do, and [`ActionExecutor`], which does them in order and
//! encodes for each client in its own dialect. The broker decides the steps. With a store they
//! are done when what they tell is committed; nothing here looks at the room, which may be ahead
//! by then. It must never wait.

use crate::chat::SERVER_SOURCE;
use crate::chat::message::Message;
use crate::chat::request::EventCursor;
use crate::chat::room::snapshot::Snapshot;
use crate::chat::room::{PrivateCopy, Reply, WelcomeData};
use crate::protocol::extended::{AnnouncedLimits, ByeReason, ResumeOutcome};
use crate::protocol::long_reply::LongReply;
use crate::protocol::sse;
use crate::protocol::{Dialect, basic, extended};
use crate::server::close_reason::CloseReason;
use crate::server::command::{BrowserReply, Subscription};
use crate::server::fanout::ClientKey;
use crate::server::fanout::Fanout;
use crate::server::fanout::outbox::{ReplyBody, StoredRange, StreamStart};
use crate::server::limits::{RETURN_DELAY, RETURN_SPREAD_PER_CLIENT};
use crate::server::logging::transcript::Transcript;
use async_channel::Sender;
use std::sync::Arc;
use std::time::Duration;

/// Lines for everyone, encoded for all who read.
#[derive(Debug, Default)]
pub struct Lines {
    /// For clients of the basic dialect.
    pub basic: Vec<u8>,
    /// For clients of the extended dialect: public events, one a line.
    pub extended: Vec<u8>,
    /// Frames for the live streams of the page.
    pub page: Vec<u8>,
    /// For the server's own terminal.
    pub transcript: Vec<TranscriptLine>,
}

/// A line of the transcript.
#[derive(Debug)]
pub enum TranscriptLine {
    /// Somebody said this.
    Said(Arc<Message>),
    /// The server says this.
    Notice(String),
}

impl Lines {
    /// Whether nothing is said to anyone.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0 && self.transcript.is_empty()
    }

    /// Bytes for clients and the page.
    pub fn bytes(&self) -> usize {
        self.basic.len() + self.extended.len() + self.page.len()
    }
}

/// The last line that a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastLine {
    /// None.
    Nothing,
    /// What the reason has to say.
    Of(CloseReason),
    /// This sentence, since too many lines were refused.
    Refused(String),
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Say this to everyone.
    Lines(Lines),
    /// Begin to read and write this connection; the line tells it of its own arrival, if that is
    /// told to everyone in summary.
    Open(ClientKey, Option<Arc<[u8]>>),
    /// Answer.
    Reply(ClientKey, Reply),
    /// Answer with these bytes, and leave out so many of what everyone gets after them.
    Bytes(ClientKey, Arc<[u8]>, u64),
    /// Tell what another said to this client alone.
    Private(ClientKey, PrivateCopy),
    /// Speak the extended dialect from here on.
    Extend(ClientKey, Box<HelloReply>),
    /// Close after what is owed.
    Close(ClientKey, LastLine),
    /// Close one who is too slow.
    Cut(ClientKey, CloseReason),
    /// The client has said its last; close when what it is owed is written.
    End(ClientKey),
    /// The client may send on; whether it got replies.
    Answered(ClientKey, bool),
    /// Forget a connection whose task has ended.
    Forget(ClientKey),
    /// The server stops.
    CloseAll,
    /// Tell the page how it is.
    Snapshot(Sender<Arc<Snapshot>>, Arc<Snapshot>),
    /// Begin a live stream of the page.
    Subscribe(Sender<Subscription>, Subscription),
    /// Answer a browser.
    Answer(Sender<BrowserReply>, BrowserReply),
}

/// What a client that says hello is told and gets.
#[derive(Debug)]
pub struct HelloReply {
    /// Who it is.
    pub welcome: WelcomeData,
    /// What it has already.
    pub after: Option<EventCursor>,
    /// The oldest event in the store, if there is a store with events.
    pub oldest_stored: Option<u64>,
}

/// Does what was decided.
#[derive(Debug)]
pub struct ActionExecutor {
    /// The connections.
    pub fanout: Fanout,
    /// The server's own terminal.
    pub transcript: Transcript,
    epoch: Arc<str>,
    told_limits: AnnouncedLimits,
}

impl ActionExecutor {
    /// A publisher for these readers.
    pub fn new(
        fanout: Fanout,
        transcript: Transcript,
        epoch: Arc<str>,
        told_limits: AnnouncedLimits,
    ) -> Self {
        ActionExecutor {
            fanout,
            transcript,
            epoch,
            told_limits,
        }
    }

    /// Does one step.
    pub fn perform(&mut self, step: Action) {
        match step {
            Action::Lines(mut lines) => self.say(&mut lines),
            Action::Open(key, early) => {
                self.fanout.start(key);
                if let Some(line) = early {
                    self.fanout.reply(key, ReplyBody::Bytes(line), 0);
                }
            }
            Action::Reply(key, reply) => self.reply(key, reply),
            Action::Bytes(key, bytes, skip) => {
                self.fanout.reply(key, ReplyBody::Bytes(bytes), skip);
            }
            Action::Private(key, copy) => {
                let line = private_line(&copy, self.fanout.dialect(key));
                self.fanout.send_private(key, line);
            }
            Action::Extend(key, greeting) => self.extend(key, *greeting),
            Action::Close(key, last) => {
                let line = self.last_line(&last, self.fanout.dialect(key));
                self.fanout.close(key, line);
            }
            Action::Cut(key, reason) => {
                let line = self.last_line(&LastLine::Of(reason), self.fanout.dialect(key));
                self.fanout.evict(key, line);
            }
            Action::End(key) => self.fanout.finish_writes(key),
            Action::Answered(key, has_replies) => self.fanout.answer(key, has_replies),
            Action::Forget(key) => {
                self.fanout.remove(key);
            }
            Action::CloseAll => self.close_all(),
            Action::Snapshot(asker, snapshot) => {
                // An asker who is gone needs no answer; so below.
                let _ = asker.try_send(snapshot);
            }
            Action::Subscribe(asker, mut subscription) => {
                subscription.position = self.fanout.next_offset(Dialect::Page);
                let _ = asker.try_send(subscription);
            }
            Action::Answer(asker, answer) => {
                let _ = asker.try_send(answer);
            }
        }
    }

    /// Says these lines to everyone, and leaves them empty.
    pub fn say(&mut self, lines: &mut Lines) {
        let batch = self.fanout.batch();
        batch.basic.extend_from_slice(&lines.basic);
        batch.extended.extend_from_slice(&lines.extended);
        batch.page.extend_from_slice(&lines.page);
        for spoken in lines.transcript.drain(..) {
            match spoken {
                TranscriptLine::Said(message) => {
                    let text = message.plain_text();
                    self.transcript.line(message.source.as_str(), &text);
                }
                TranscriptLine::Notice(sentence) => self.transcript.line(SERVER_SOURCE, &sentence),
            }
        }
        lines.basic.clear();
        lines.extended.clear();
        lines.page.clear();
    }

    /// Publishes what was said; gives how many bytes it had for clients.
    pub fn publish(&mut self, now: Duration) -> usize {
        let bytes = self.fanout.batch_bytes();
        self.fanout.publish(now);
        // Its thread is woken when the clients have theirs: nobody's message waits for it.
        self.transcript.flush();
        bytes
    }

    fn reply(&mut self, key: ClientKey, reply: Reply) {
        let content = match (self.fanout.dialect(key), reply) {
            (Dialect::Page, reply) => match page_reply(reply) {
                Some(frame) => ReplyBody::Bytes(frame),
                None => return,
            },
            (_, Reply::Users(users)) => ReplyBody::Long(LongReply::Users(users, 0)),
            (_, Reply::History(messages)) => ReplyBody::Long(LongReply::History(messages, 0)),
            (Dialect::Basic, reply) => match basic_reply(reply) {
                Some(sentence) => ReplyBody::Bytes(basic::notice_line(&sentence)),
                None => return,
            },
            (Dialect::Extended, reply) => ReplyBody::Bytes(extended_reply(reply)),
        };
        self.fanout.reply(key, content, 0);
    }

    fn extend(&mut self, key: ClientKey, greeting: HelloReply) {
        let (start, resumed) = self.start_of(&greeting);
        let welcome = greeting.welcome;
        let mut line = Vec::new();
        extended::encode_welcome(
            &mut line,
            &extended::WelcomeLine {
                name: welcome.name.as_str(),
                token: &welcome.token,
                epoch: &self.epoch,
                last: welcome.last,
                users: welcome.users,
                limits: self.told_limits,
                resumed,
            },
        );
        self.fanout.reply(key, ReplyBody::Bytes(line.into()), 0);
        self.fanout.switch_to_extended(key, start);
    }

    /// Where the stream of one who says hello begins, and what it is told of that.
    fn start_of(&self, greeting: &HelloReply) -> (StreamStart, Option<ResumeOutcome>) {
        let live = self.fanout.next_offset(Dialect::Extended);
        let start = |offset, stored| StreamStart {
            dialect: Dialect::Extended,
            offset,
            lag_baseline: live,
            stored,
        };
        let last = greeting.welcome.last;
        let Some(after) = &greeting.after else {
            return (start(live, None), None);
        };
        let is_known = *after.epoch == *self.epoch && after.id <= last;
        if is_known {
            let missed = last - after.id;
            let stored = StoredRange {
                after: after.id,
                until: last,
            };
            if let Some(position) = self.fanout.offset_of_event(after.id + 1) {
                return (
                    start(position, None),
                    Some(ResumeOutcome::Complete { missed }),
                );
            }
            if greeting
                .oldest_stored
                .is_some_and(|oldest| oldest <= after.id + 1)
            {
                return (
                    start(live, Some(stored)),
                    Some(ResumeOutcome::Complete { missed }),
                );
            }
            if let Some(oldest) = greeting.oldest_stored {
                let stored = StoredRange {
                    after: oldest - 1,
                    ..stored
                };
                let resumed = ResumeOutcome::Incomplete { oldest };
                return (start(live, Some(stored)), Some(resumed));
            }
        }
        let (oldest, position) = self.fanout.oldest_event();
        (
            start(position, None),
            Some(ResumeOutcome::Incomplete { oldest }),
        )
    }

    fn last_line(&self, last: &LastLine, dialect: Dialect) -> Option<Arc<[u8]>> {
        match (last, dialect) {
            (LastLine::Nothing, _) => None,
            (LastLine::Of(reason), Dialect::Basic) => reason.farewell().map(basic::notice_line),
            (LastLine::Of(reason), Dialect::Extended) => {
                let mut lines = Vec::new();
                match reason.bye_reason() {
                    Some(bye) => extended::encode_bye(&mut lines, bye, true, 0),
                    None => extended::encode_notice(&mut lines, reason.farewell()?),
                }
                Some(lines.into())
            }
            (LastLine::Refused(sentence), Dialect::Basic) => Some(basic::notice_line(sentence)),
            (LastLine::Refused(sentence), Dialect::Extended) => {
                let mut lines = Vec::new();
                extended::encode_notice(&mut lines, sentence);
                extended::encode_bye(&mut lines, ByeReason::Refused, false, 0);
                Some(lines.into())
            }
            (LastLine::Of(reason), Dialect::Page) => {
                reason.bye_reason().map(|bye| sse::bye_event(bye.word()))
            }
            // Its user is told, not a stream.
            (LastLine::Refused(_), Dialect::Page) => None,
        }
    }

    /// Closes every connection; those who can come back by themselves are asked not to do so all
    /// at once.
    fn close_all(&mut self) {
        let clients = u32::try_from(self.fanout.connection_count()).unwrap_or(u32::MAX);
        let spread = RETURN_SPREAD_PER_CLIENT.saturating_mul(clients);
        self.fanout.close_all(|dialect| match dialect {
            // They have heard it in the log.
            Dialect::Basic => None,
            Dialect::Extended => {
                let wait = RETURN_DELAY + spread.mul_f64(fastrand::f64());
                let mut line = Vec::new();
                let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                extended::encode_bye(&mut line, ByeReason::Shutdown, true, milliseconds);
                Some(line.into())
            }
            Dialect::Page => Some(sse::bye_event(ByeReason::Shutdown.word())),
        });
    }
}

/// What a client of the basic dialect is told; none where it has nothing to be told.
fn basic_reply(reply: Reply) -> Option<String> {
    match reply {
        Reply::Notice(sentence) => Some(sentence),
        Reply::Rejected(rejected) => Some(rejected.error.to_string()),
        Reply::Pong(data) => Some(basic::pong(&data)),
        // These have forms of their own, or are never for basic clients.
        Reply::History(_) | Reply::Users(_) | Reply::Ack { .. } | Reply::Welcome(_) => None,
    }
}

/// What a live stream of a user of the page is told; none where a document tells it.
fn page_reply(reply: Reply) -> Option<Arc<[u8]>> {
    match reply {
        Reply::Notice(sentence) => Some(sse::error_event("notice", &sentence)),
        Reply::Rejected(rejected) => {
            let error = rejected.error;
            Some(sse::error_event(error.code(), &error.to_string()))
        }
        Reply::History(_)
        | Reply::Users(_)
        | Reply::Ack { .. }
        | Reply::Pong(_)
        | Reply::Welcome(_) => None,
    }
}

fn extended_reply(reply: Reply) -> Arc<[u8]> {
    let mut line = Vec::new();
    match reply {
        Reply::Notice(sentence) => extended::encode_notice(&mut line, &sentence),
        Reply::Rejected(rejected) => extended::encode_error(&mut line, &rejected),
        Reply::Pong(data) => extended::encode_pong(&mut line, &data),
        Reply::Ack { nonce, id } => extended::encode_ack(&mut line, &nonce, id),
        // These have forms of their own.
        Reply::History(_) | Reply::Users(_) | Reply::Welcome(_) => {}
    }
    line.into()
}

fn private_line(copy: &PrivateCopy, dialect: Dialect) -> Arc<[u8]> {
    if dialect == Dialect::Page {
        return sse::private_event(copy);
    }
    let message = &copy.message;
    let mut line = Vec::new();
    let (source, target) = (message.source.as_str(), message.target.as_str());
    match dialect {
        Dialect::Basic => basic::encode_private(&mut line, source, &message.text),
        Dialect::Extended | Dialect::Page => {
            extended::encode_private(&mut line, message.time, source, target, &message.text);
        }
    }
    line.into()
}
