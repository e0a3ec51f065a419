//! Carries out actions: encodes them for each connection and gives them to the fan-out.
//!
//! With a store, actions wait for their commit. The room may be ahead of them by then, so nothing
//! here looks at the room.

use crate::chat::SERVER_SOURCE;
use crate::chat::event::{Event, EventKind, LeaveReason};
use crate::chat::room::{Reply, WelcomeData};
use crate::protocol::extended::{AnnouncedLimits, ResumeOutcome, WelcomeLine};
use crate::protocol::long_reply::LongReply;
use crate::protocol::{Dialect, basic, extended, sse};
use crate::server::broker::Broker;
use crate::server::broker::action::{Action, ResumePoint};
use crate::server::close_reason::CloseReason;
use crate::server::fanout::ClientKey;
use crate::server::fanout::outbox::{ReplyBody, StoredRange, StreamStart};
use crate::server::limits::{RETURN_DELAY, RETURN_SPREAD_PER_CLIENT};
use std::sync::Arc;

impl Broker {
    pub(super) fn execute(&mut self, action: Action) {
        match action {
            Action::Publish(event) => self.encode_event(&event),
            Action::Summarise(line) => self.fanout.batch().basic.extend_from_slice(&line),
            Action::Open(key) => self.fanout.start(key),
            Action::Reply(key, reply) => self.send_reply(key, reply),
            Action::Bytes(key, bytes, skip) => {
                self.fanout.reply(key, ReplyBody::Bytes(bytes), skip);
            }
            Action::Welcome(key, welcome, resume) => self.send_welcome(key, &welcome, &resume),
            Action::Close(key, reason) => {
                let line = last_line(reason, self.fanout.dialect(key));
                self.fanout.close(key, line);
            }
            Action::FinishWrites(key) => self.fanout.finish_writes(key),
            Action::ResumeReading(key, has_replies) => self.fanout.answer(key, has_replies),
            Action::Remove(key) => self.fanout.remove(key),
            Action::CloseAll => self.close_all(),
            Action::Subscribe(requester, mut subscription) => {
                subscription.position = self.fanout.next_offset(Dialect::Browser);
                // The requester may have gone; the same below.
                let _ = requester.try_send(subscription);
            }
            Action::ReplyToBrowser(requester, answer) => {
                let _ = requester.try_send(answer);
            }
        }
    }

    /// Encodes an event once per dialect into the open batch, and into the transcript.
    fn encode_event(&mut self, event: &Event) {
        let has_streams =
            Arc::strong_count(&self.stream_guard) > 1 || self.fanout.stream_count() > 0;
        let batch = self.fanout.batch();
        if has_streams {
            sse::encode_event(&mut batch.browser, &self.context.epoch, event);
        }
        extended::encode_event(&mut batch.extended, event);
        if let EventKind::Message(message) = &event.kind {
            basic::encode_chat_message(&mut batch.basic, message);
            let (source, text) = (message.source.as_str(), message.plain_text());
            return self.transcript.line(source, &text);
        }
        let sentence = basic::event_notice(&event.kind).unwrap_or_default();
        match &event.kind {
            kind if kind.is_summarised() => {}
            EventKind::Joined { name, .. } => {
                basic::encode_entered(&mut batch.basic, name.as_str());
            }
            _ => basic::encode_notice(&mut batch.basic, &sentence),
        }
        self.transcript.line(SERVER_SOURCE, &sentence);
    }

    pub(super) fn send_reply(&mut self, key: ClientKey, reply: Reply) {
        let is_private = matches!(reply, Reply::Private(_));
        match encode_reply(reply, self.fanout.dialect(key)) {
            Some(ReplyBody::Bytes(line)) if is_private => self.fanout.send_private(key, line),
            Some(body) => self.fanout.reply(key, body, 0),
            None => {}
        }
    }

    fn send_welcome(&mut self, key: ClientKey, welcome: &WelcomeData, resume: &ResumePoint) {
        let (start, resumed) = self.stream_start(welcome.last, resume);
        let limits = &self.context.limits;
        let welcome = WelcomeLine {
            name: welcome.name.as_str(),
            token: &welcome.token,
            epoch: &self.context.epoch,
            last: welcome.last,
            users: welcome.users,
            is_known: welcome.is_known,
            limits: AnnouncedLimits {
                message: limits.max_message_bytes,
                line: limits.max_line_bytes,
            },
            resumed,
        };
        let line = encoded(|line| extended::encode_welcome(line, &welcome));
        self.fanout.reply(key, ReplyBody::Bytes(line), 0);
        self.fanout.switch_to_extended(key, start);
    }

    /// Returns where the stream of a client that says hello starts, and the outcome to report.
    /// `last` is the newest event.
    fn stream_start(
        &self,
        last: u64,
        resume: &ResumePoint,
    ) -> (StreamStart, Option<ResumeOutcome>) {
        let live = self.fanout.next_offset(Dialect::Extended);
        let start = |offset, stored| StreamStart {
            dialect: Dialect::Extended,
            offset,
            lag_baseline: live,
            stored,
        };
        let Some(after) = &resume.after else {
            return (start(live, None), None);
        };
        if *after.epoch == *self.context.epoch && after.id <= last {
            let missed = last - after.id;
            let complete = Some(ResumeOutcome::Complete { missed });
            if let Some(offset) = self.fanout.offset_of_event(after.id + 1) {
                return (start(offset, None), complete);
            }
            if let Some(oldest) = resume.oldest_stored {
                let stored = StoredRange {
                    after: after.id.max(oldest - 1),
                    until: last,
                };
                let outcome = match stored.after == after.id {
                    true => complete,
                    false => Some(ResumeOutcome::Incomplete { oldest }),
                };
                return (start(live, Some(stored)), outcome);
            }
        }
        let (oldest, offset) = self.fanout.oldest_event();
        let outcome = ResumeOutcome::Incomplete { oldest };
        (start(offset, None), Some(outcome))
    }

    /// Closes every connection. Extended clients reconnect by themselves, so each gets a random
    /// delay.
    fn close_all(&mut self) {
        let sentence = CloseReason::Shutdown.farewell().unwrap_or_default();
        basic::encode_notice(&mut self.fanout.batch().basic, sentence);
        self.transcript.line(SERVER_SOURCE, sentence);
        let clients = u32::try_from(self.fanout.connection_count()).unwrap_or(u32::MAX);
        let spread = RETURN_SPREAD_PER_CLIENT.saturating_mul(clients);
        self.fanout.close_all(|dialect| match dialect {
            // The last line is in the log.
            Dialect::Basic => None,
            Dialect::Extended => {
                let wait = RETURN_DELAY + spread.mul_f64(fastrand::f64());
                let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                Some(encoded(|line| {
                    extended::encode_bye(line, LeaveReason::Shutdown, true, milliseconds);
                }))
            }
            Dialect::Browser => Some(sse::bye_event(LeaveReason::Shutdown.word())),
        });
    }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Arc<[u8]> {
    let mut line = Vec::new();
    encode(&mut line);
    line.into()
}

/// Encodes a reply; `None` if the dialect has no such line.
fn encode_reply(reply: Reply, dialect: Dialect) -> Option<ReplyBody> {
    use Dialect::{Basic, Browser, Extended};
    let line = match (reply, dialect) {
        (Reply::Users(users), Basic | Extended) => {
            return Some(ReplyBody::Long(LongReply::Users(users, 0)));
        }
        (Reply::History(messages), Basic | Extended) => {
            return Some(ReplyBody::Long(LongReply::History(messages, 0)));
        }
        (Reply::Notice(sentence), Basic) => basic::notice_line(&sentence),
        (Reply::Notice(sentence), Extended) => {
            encoded(|line| extended::encode_notice(line, &sentence))
        }
        (Reply::Notice(sentence), Browser) => sse::error_event("notice", &sentence),
        (Reply::Rejected(rejected), Basic) => basic::notice_line(&rejected.error.to_string()),
        (Reply::Rejected(rejected), Extended) => {
            encoded(|line| extended::encode_error(line, &rejected))
        }
        (Reply::Rejected(rejected), Browser) => {
            sse::error_event(rejected.error.code(), &rejected.error.to_string())
        }
        (Reply::Private(copy), Basic) => {
            let (source, text) = (copy.message.source.as_str(), &copy.message.text);
            encoded(|line| basic::encode_private(line, source, text))
        }
        (Reply::Private(copy), Extended) => {
            let message = &copy.message;
            let (source, target) = (message.source.as_str(), message.target.as_str());
            encoded(|line| {
                extended::encode_private(line, message.time, source, target, &message.text);
            })
        }
        (Reply::Private(copy), Browser) => sse::private_event(&copy),
        (Reply::Pong(data), Basic) => basic::notice_line(&basic::pong(&data)),
        (Reply::Pong(data), Extended) => encoded(|line| extended::encode_pong(line, &data)),
        (Reply::Ack { nonce, id }, Extended) => {
            encoded(|line| extended::encode_ack(line, &nonce, id))
        }
        // `send_welcome` encodes welcomes, and HTTP responses have the other answers to browsers.
        (Reply::Ack { .. }, Basic) | (Reply::Welcome(_), _) | (_, Browser) => return None,
    };
    Some(ReplyBody::Bytes(line))
}

/// Returns the last line of a connection that the server closes, if it has one.
pub(super) fn last_line(reason: CloseReason, dialect: Dialect) -> Option<Arc<[u8]>> {
    if dialect == Dialect::Basic {
        return reason.farewell().map(basic::notice_line);
    }
    let bye = reason.bye_reason()?;
    Some(match dialect {
        Dialect::Browser => sse::bye_event(bye.word()),
        _ => {
            // If both clients with one token reconnected, each would end the connection of the other.
            let reconnect = !matches!(bye, LeaveReason::Refused | LeaveReason::Replaced);
            encoded(|line| extended::encode_bye(line, bye, reconnect, 0))
        }
    })
}
