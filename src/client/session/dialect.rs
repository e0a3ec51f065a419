//! The choice between the dialects, by lines of the server.

use crate::chat::request::VERSION;
use crate::client::session::update::SessionUpdate;
use crate::client::session::{Phase, Session};
use crate::protocol::server_line::ServerLine;
use std::time::Instant;

impl Session {
    /// Chooses the dialect by the first line of a connection, however late it comes; returns
    /// whether to show that line.
    pub(super) fn choose_dialect(
        &mut self,
        line: Option<&ServerLine>,
        raw: &[u8],
        now: Instant,
    ) -> bool {
        let Some(entered) = line.and_then(ServerLine::entered_name).map(str::to_owned) else {
            // A server that speaks the extended dialect says nothing else first, except that it
            // closes the connection, with a sentence that any server may use.
            let is_rejection = line.is_some_and(|line| line.basic_sentence().is_some());
            if !self.knows_extended && !is_rejection {
                self.phase = Phase::Basic;
            } else if !self.knows_extended && self.received_lines == 1 {
                self.phase = Phase::AwaitingFirstLine(now);
                self.has_waited = false;
            }
            return true;
        };
        self.is_admitted = true;
        self.offers_extended = raw.ends_with(b" ");
        self.knows_extended |= self.offers_extended;
        let resumes = self.offers_extended && self.identity.is_some();
        match resumes {
            // The user knows this connection under another name in a moment.
            true => self.temporary_name = Some(entered),
            false => self.name = Some(entered),
        }
        match self.offers_extended {
            false => self.give_up_extended(),
            true if self.prefers_extended || resumes => self.send_hello(now),
            true => self.phase = Phase::Basic,
        }
        !resumes
    }

    pub(super) fn is_rejected_hello(&self, line: &ServerLine) -> bool {
        // A later server tells in the same words which version it speaks.
        let reason = format!("Version {VERSION} of the extended dialect is unknown");
        matches!(self.phase, Phase::AwaitingWelcome(_))
            && line
                .basic_sentence()
                .is_some_and(|sentence| sentence.starts_with(&reason))
    }

    /// Goes on in the basic dialect, because the server has said that it speaks no other.
    pub(super) fn give_up_extended(&mut self) {
        // Such a server knows no nonces.
        self.report_unconfirmed();
        self.offers_extended = false;
        self.knows_extended = false;
        self.phase = Phase::Basic;
    }

    /// Reports the requests that may have been executed, and forgets them.
    pub(super) fn report_unconfirmed(&mut self) {
        while let Some((request, nonce)) = self.queue.take_sent_before() {
            self.unconfirmed += 1;
            let update = SessionUpdate::Unconfirmed { request, nonce };
            self.updates.push(update);
        }
    }
}
