//! Carries out actions: encodes them for each connection and gives them to the fan-out.
//!
//! With a store, actions wait for their commit. The room may be ahead of them by then, so nothing
//! here looks at the room.

use crate::chat::SERVER_SOURCE;
use crate::chat::room::{PrivateCopy, Reply};
use crate::protocol::extended::{AnnouncedLimits, ByeReason, ResumeOutcome};
use crate::protocol::long_reply::LongReply;
use crate::protocol::sse;
use crate::protocol::{Dialect, basic, extended};
use crate::server::broker::action::{Action, HelloReply, LastLine, Lines, TranscriptLine};
use crate::server::fanout::ClientKey;
use crate::server::fanout::Fanout;
use crate::server::fanout::outbox::{ReplyBody, StoredRange, StreamStart};
use crate::server::limits::{RETURN_DELAY, RETURN_SPREAD_PER_CLIENT};
use crate::server::logging::transcript::Transcript;
use std::sync::Arc;
use std::time::Duration;

/// Carries out actions.
#[derive(Debug)]
pub(crate) struct ActionExecutor {
    transcript: Transcript,
    epoch: Arc<str>,
    announced_limits: AnnouncedLimits,
}

impl ActionExecutor {
    /// Makes an executor that writes this transcript.
    pub(crate) fn new(
        transcript: Transcript,
        epoch: Arc<str>,
        announced_limits: AnnouncedLimits,
    ) -> Self {
        ActionExecutor {
            transcript,
            epoch,
            announced_limits,
        }
    }

    /// Carries out one action.
    pub(super) fn execute(&mut self, fanout: &mut Fanout, action: Action) {
        match action {
            Action::Lines(mut lines) => self.append_lines(fanout, &mut lines),
            Action::Open(key, join_notice) => {
                fanout.start(key);
                if let Some(line) = join_notice {
                    fanout.reply(key, ReplyBody::Bytes(line), 0);
                }
            }
            Action::Reply(key, reply) => reply_to(fanout, key, reply),
            Action::Bytes(key, bytes, skip) => {
                fanout.reply(key, ReplyBody::Bytes(bytes), skip);
            }
            Action::Private(key, copy) => {
                let line = private_line(&copy, fanout.dialect(key));
                fanout.send_private(key, line);
            }
            Action::SwitchToExtended(key, hello) => self.switch_to_extended(fanout, key, *hello),
            Action::Close(key, last) => {
                let line = last_line(&last, fanout.dialect(key));
                fanout.close(key, line);
            }
            Action::Evict(key, reason) => {
                let line = last_line(&LastLine::ForReason(reason), fanout.dialect(key));
                fanout.evict(key, line);
            }
            Action::FinishWrites(key) => fanout.finish_writes(key),
            Action::Answered(key, has_replies) => fanout.answer(key, has_replies),
            Action::Remove(key) => {
                fanout.remove(key);
            }
            Action::CloseAll => close_all(fanout),
            Action::Snapshot(requester, snapshot) => {
                // A requester may have gone; the same below.
                let _ = requester.try_send(snapshot);
            }
            Action::Subscribe(requester, mut subscription) => {
                subscription.position = fanout.next_offset(Dialect::Browser);
                let _ = requester.try_send(subscription);
            }
            Action::ReplyToBrowser(requester, answer) => {
                let _ = requester.try_send(answer);
            }
        }
    }

    /// Appends lines to the open batch and the transcript, and empties them.
    pub(super) fn append_lines(&mut self, fanout: &mut Fanout, lines: &mut Lines) {
        let batch = fanout.batch();
        batch.basic.extend_from_slice(&lines.basic);
        batch.extended.extend_from_slice(&lines.extended);
        batch.browser.extend_from_slice(&lines.browser);
        for line in lines.transcript.drain(..) {
            match line {
                TranscriptLine::Said(message) => {
                    let text = message.plain_text();
                    self.transcript.line(message.source.as_str(), &text);
                }
                TranscriptLine::Notice(sentence) => self.transcript.line(SERVER_SOURCE, &sentence),
            }
        }
        lines.basic.clear();
        lines.extended.clear();
        lines.browser.clear();
    }

    /// Publishes the open batch. Returns its bytes.
    pub(super) fn publish(&mut self, fanout: &mut Fanout, now: Duration) -> usize {
        let bytes = fanout.batch_bytes();
        fanout.publish(now);
        // After the clients, so that waking the transcript's thread delays no message.
        self.transcript.flush();
        bytes
    }

    /// Returns the number of transcript lines that were skipped.
    pub(super) fn skipped_lines(&self) -> u64 {
        self.transcript.skipped_lines()
    }

    fn switch_to_extended(&self, fanout: &mut Fanout, key: ClientKey, hello: HelloReply) {
        let (start, resumed) = self.stream_start(fanout, &hello);
        let welcome = hello.welcome;
        let mut line = Vec::new();
        extended::encode_welcome(
            &mut line,
            &extended::WelcomeLine {
                name: welcome.name.as_str(),
                token: &welcome.token,
                epoch: &self.epoch,
                last: welcome.last,
                users: welcome.users,
                limits: self.announced_limits,
                resumed,
            },
        );
        fanout.reply(key, ReplyBody::Bytes(line.into()), 0);
        fanout.switch_to_extended(key, start);
    }

    /// Returns where the stream of a client that says hello starts, and the outcome to report.
    fn stream_start(
        &self,
        fanout: &Fanout,
        hello: &HelloReply,
    ) -> (StreamStart, Option<ResumeOutcome>) {
        let live = fanout.next_offset(Dialect::Extended);
        let start = |offset, stored| StreamStart {
            dialect: Dialect::Extended,
            offset,
            lag_baseline: live,
            stored,
        };
        let last = hello.welcome.last;
        let Some(after) = &hello.after else {
            return (start(live, None), None);
        };
        let is_known = *after.epoch == *self.epoch && after.id <= last;
        if is_known {
            let missed = last - after.id;
            let stored = StoredRange {
                after: after.id,
                until: last,
            };
            if let Some(position) = fanout.offset_of_event(after.id + 1) {
                return (
                    start(position, None),
                    Some(ResumeOutcome::Complete { missed }),
                );
            }
            if hello
                .oldest_stored
                .is_some_and(|oldest| oldest <= after.id + 1)
            {
                return (
                    start(live, Some(stored)),
                    Some(ResumeOutcome::Complete { missed }),
                );
            }
            if let Some(oldest) = hello.oldest_stored {
                let stored = StoredRange {
                    after: oldest - 1,
                    ..stored
                };
                let resumed = ResumeOutcome::Incomplete { oldest };
                return (start(live, Some(stored)), Some(resumed));
            }
        }
        let (oldest, position) = fanout.oldest_event();
        (
            start(position, None),
            Some(ResumeOutcome::Incomplete { oldest }),
        )
    }
}

fn reply_to(fanout: &mut Fanout, key: ClientKey, reply: Reply) {
    let body = match (fanout.dialect(key), reply) {
        (Dialect::Browser, reply) => match sse_reply(reply) {
            Some(event) => ReplyBody::Bytes(event),
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
    fanout.reply(key, body, 0);
}

fn last_line(last: &LastLine, dialect: Dialect) -> Option<Arc<[u8]>> {
    match (last, dialect) {
        (LastLine::Nothing, _) => None,
        (LastLine::ForReason(reason), Dialect::Basic) => reason.farewell().map(basic::notice_line),
        (LastLine::ForReason(reason), Dialect::Extended) => {
            let mut lines = Vec::new();
            match reason.bye_reason() {
                Some(bye) => extended::encode_bye(&mut lines, bye, true, 0),
                None => extended::encode_notice(&mut lines, reason.farewell()?),
            }
            Some(lines.into())
        }
        (LastLine::Rejected(sentence), Dialect::Basic) => Some(basic::notice_line(sentence)),
        (LastLine::Rejected(sentence), Dialect::Extended) => {
            let mut lines = Vec::new();
            extended::encode_notice(&mut lines, sentence);
            extended::encode_bye(&mut lines, ByeReason::Refused, false, 0);
            Some(lines.into())
        }
        (LastLine::ForReason(reason), Dialect::Browser) => {
            reason.bye_reason().map(|bye| sse::bye_event(bye.word()))
        }
        // The HTTP response tells the user.
        (LastLine::Rejected(_), Dialect::Browser) => None,
    }
}

/// Closes every connection. Extended clients reconnect by themselves, so each gets a random delay.
fn close_all(fanout: &mut Fanout) {
    let clients = u32::try_from(fanout.connection_count()).unwrap_or(u32::MAX);
    let spread = RETURN_SPREAD_PER_CLIENT.saturating_mul(clients);
    fanout.close_all(|dialect| match dialect {
        // The last line is in the log.
        Dialect::Basic => None,
        Dialect::Extended => {
            let wait = RETURN_DELAY + spread.mul_f64(fastrand::f64());
            let mut line = Vec::new();
            let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            extended::encode_bye(&mut line, ByeReason::Shutdown, true, milliseconds);
            Some(line.into())
        }
        Dialect::Browser => Some(sse::bye_event(ByeReason::Shutdown.word())),
    });
}

/// Returns the sentence of a reply in the basic dialect, if it has one.
fn basic_reply(reply: Reply) -> Option<String> {
    match reply {
        Reply::Notice(sentence) => Some(sentence),
        Reply::Rejected(rejected) => Some(rejected.error.to_string()),
        Reply::Pong(data) => Some(basic::pong(&data)),
        // `reply_to` encodes lists; basic clients get no acknowledgement or welcome.
        Reply::History(_) | Reply::Users(_) | Reply::Ack { .. } | Reply::Welcome(_) => None,
    }
}

/// Returns the SSE event of a reply, unless an HTTP response has it.
fn sse_reply(reply: Reply) -> Option<Arc<[u8]>> {
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
        // `reply_to` and `switch_to_extended` encode these.
        Reply::History(_) | Reply::Users(_) | Reply::Welcome(_) => {}
    }
    line.into()
}

fn private_line(copy: &PrivateCopy, dialect: Dialect) -> Arc<[u8]> {
    if dialect == Dialect::Browser {
        return sse::private_event(copy);
    }
    let message = &copy.message;
    let mut line = Vec::new();
    let (source, target) = (message.source.as_str(), message.target.as_str());
    match dialect {
        Dialect::Basic => basic::encode_private(&mut line, source, &message.text),
        Dialect::Extended | Dialect::Browser => {
            extended::encode_private(&mut line, message.time, source, target, &message.text);
        }
    }
    line.into()
}
