//! The client's run: connect, chat, and reconnect if wanted.

use crate::client::actions::NextStep;
use crate::client::connect::connect;
use crate::client::connection::DisconnectReason;
use crate::client::limits::{LEAVE_TIMEOUT, MAX_RETRY_DELAY, MIN_RETRY_DELAY};
use crate::client::options::ClientConfig;
use crate::client::output::item::OutputItem;
use crate::client::setup::ClientIo;
use crate::client::state::{Chat, LinkStatus};
use crate::protocol::server_line::Bye;
use futures_lite::future::{or, pending};
use smol::Timer;
use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

const DISCONNECTED: &str = "Server disconnected";
const DISCONNECTED_JSON: &str = "{\"type\":\"disconnected\",\"data\":{}}";
const RECONNECTING: &str = "Server disconnected; connecting again";

/// Time between two updates of the countdown to the next attempt.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How a successful run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The user left, the server closed the connection, or the output was closed.
    Done,
    /// A signal arrived.
    Interrupted,
}

/// Runs the client until the server closes the connection, the input has ended and all is sent,
/// or a signal arrives.
///
/// # Errors
/// The client cannot connect or write its output, or the server rejects what the command line
/// asks for; one sentence.
pub async fn run(config: &ClientConfig, io: ClientIo) -> Result<ExitReason, String> {
    let chat = Chat::new(config, &io);
    let is_interrupted = Cell::new(false);
    let interruption = async {
        if io.interrupted.recv().await.is_err() {
            // Without a sender no signal can arrive.
            return pending().await;
        }
        is_interrupted.set(true);
        leave_soon(&chat).await;
        Ok(())
    };
    let time_limit = async {
        let Some(time) = config.time else {
            return pending().await;
        };
        Timer::after(time).await;
        leave_soon(&chat).await;
        Ok(())
    };
    let result = or(interruption, or(time_limit, chat_and_show(&chat))).await;
    match is_interrupted.get() {
        true => Ok(ExitReason::Interrupted),
        false => result.map(|()| ExitReason::Done),
    }
}

/// Closes the input, and gives the last lines in both directions a short time to arrive.
async fn leave_soon(chat: &Chat<'_>) {
    chat.io.input.close();
    if chat.is_connected.get() {
        Timer::after(LEAVE_TIMEOUT).await;
    }
}

/// Chats, and returns after the screen has shown everything or has failed.
async fn chat_and_show(chat: &Chat<'_>) -> Result<(), String> {
    let mut result = Ok(());
    let chatting = async {
        result = chat_with_reconnects(chat).await;
        chat.io.screen.close();
        pending().await
    };
    let showing = async {
        match chat.io.screen.ended().await {
            // The reader of the output has had enough, as with `head`.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!(
                "Cannot write to standard output: {error}; check where it goes"
            )),
            _ => Ok(()),
        }
    };
    or(chatting, showing).await?;
    result
}

async fn chat_with_reconnects(chat: &Chat<'_>) -> Result<(), String> {
    let mut attempts = 0;
    let mut last_error = String::new();
    let mut address = None;
    loop {
        chat.set_link(LinkStatus::Connecting);
        let (end, reason) = match connect(chat.config, &mut address).await {
            Ok(stream) => {
                chat.set_link(LinkStatus::Up);
                let end = chat.use_connection(&stream).await;
                if chat.state.borrow().session.is_admitted {
                    attempts = 0;
                    last_error.clear();
                } else {
                    address = None;
                }
                (end, None)
            }
            Err(error) if !chat.config.reconnect => return Err(error),
            Err(error) => {
                let sentence = format!("{error}; trying again");
                if sentence != last_error {
                    chat.io.screen.notify(sentence.as_str()).await;
                    last_error = sentence;
                }
                (DisconnectReason::ServerClosed, Some(error))
            }
        };
        let bye = end_connection(chat).await;
        if !reconnects(chat, &end, bye.as_ref()) {
            return finish(chat, end).await;
        }
        if chat.is_connected.replace(false) {
            let item = match chat.config.json {
                true => OutputItem::Line(DISCONNECTED_JSON.to_owned()),
                false => OutputItem::Notice(RECONNECTING.to_owned()),
            };
            chat.io.screen.show(vec![item]).await;
        }
        let until = Instant::now() + reconnect_delay(&end, bye, attempts);
        attempts += 1;
        chat.set_link(LinkStatus::Down { until, reason });
        if wait_offline(chat, until).await == NextStep::Leave {
            return finish(chat, DisconnectReason::Idle).await;
        }
    }
}

/// Tells the session that the connection is gone; returns the server's announcement of it.
async fn end_connection(chat: &Chat<'_>) -> Option<Bye> {
    let bye = {
        let state = &mut *chat.state.borrow_mut();
        state.session.disconnected();
        // A new connection does not bring the lists that this one owes.
        state.formatter.forget_lists();
        state.session.bye.take()
    };
    chat.show_updates().await;
    bye
}

fn reconnects(chat: &Chat<'_>, end: &DisconnectReason, bye: Option<&Bye>) -> bool {
    let input = &chat.io.input;
    let has_work =
        !input.is_closed() || !input.is_empty() || chat.state.borrow().session.queue.len() > 0;
    end.is_broken() && chat.config.reconnect && bye.is_none_or(|bye| bye.reconnect) && has_work
}

async fn finish(chat: &Chat<'_>, end: DisconnectReason) -> Result<(), String> {
    chat.state.borrow_mut().session.abandon_replay();
    chat.show_updates().await;
    if let DisconnectReason::Rejected(sentence) = end {
        return Err(sentence);
    }
    if let Some(sentence) = chat.state.borrow_mut().input_failure.take() {
        return Err(sentence);
    }
    // A closed input has ended, even if not all of it was sent.
    if !end.is_broken() || chat.io.input.is_closed() {
        return chat.check_all_sent();
    }
    if let Some(sentence) = chat.undelivered() {
        chat.io.screen.notify(sentence).await;
    }
    let line = match chat.config.json {
        true => DISCONNECTED_JSON,
        false => DISCONNECTED,
    };
    let item = OutputItem::Line(line.to_owned());
    chat.io.screen.show(vec![item]).await;
    Ok(())
}

/// Waits for the next attempt; queues the lines typed in the meantime.
async fn wait_offline(chat: &Chat<'_>, deadline: Instant) -> NextStep {
    loop {
        chat.refresh_status();
        let tick = deadline.min(Instant::now() + STATUS_INTERVAL);
        let timer = async {
            Timer::at(tick).await;
            None
        };
        match or(async { Some(chat.next_line().await) }, timer).await {
            None if tick < deadline => {}
            None => return NextStep::Continue,
            Some(None) => {
                // The next connection handles the end of the input.
                Timer::at(deadline).await;
                return NextStep::Continue;
            }
            Some(Some(line)) => match chat.execute(line).await {
                NextStep::Continue => {}
                step => return step,
            },
        }
    }
}

fn reconnect_delay(end: &DisconnectReason, bye: Option<Bye>, attempts: u32) -> Duration {
    if *end == DisconnectReason::Reconnect {
        return Duration::ZERO;
    }
    let requested = bye.map_or(0, |bye| bye.retry_after_ms);
    retry_delay(attempts, fastrand::f64()).max(Duration::from_millis(requested))
}

/// Returns an exponential delay, shortened by up to a half by `chance` from 0 to 1, so that the
/// clients of a lost server do not reconnect all at once.
fn retry_delay(attempts: u32, chance: f64) -> Duration {
    let delay = MIN_RETRY_DELAY.saturating_mul(1 << attempts.min(16));
    delay.min(MAX_RETRY_DELAY).mul_f64(1.0 - chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_doubles_up_to_a_limit() {
        assert_eq!(retry_delay(0, 0.0), MIN_RETRY_DELAY);
        assert_eq!(retry_delay(1, 0.0), MIN_RETRY_DELAY * 2);
        assert_eq!(retry_delay(1, 1.0), MIN_RETRY_DELAY);
        assert_eq!(retry_delay(u32::MAX, 0.0), MAX_RETRY_DELAY);
    }
}
