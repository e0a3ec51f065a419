//! Live streams: what a browser gets when it begins to listen.
//!
//! What lives here: [`open`], which turns a connection that asked for `/api/events` into one of the
//! broker's own, in the dialect of the page: from then on its frames come out of the shared log
//! like every client's lines, with the same bounds. What it begins with is made here: how it is
//! now, and, for one that comes back, what it missed. It must never hold up the broker, and never
//! be silent about what cannot be had any more.

use crate::chat::message::Message;
use crate::chat::request::EventCursor;
use crate::protocol::Dialect;
use crate::protocol::extended::ResumeOutcome;
use crate::protocol::sse;
use crate::server::command::{BrokerCommand, NewStream, Subscription};
use crate::server::connection::stream::serve_stream;
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::fanout::outbox::{
    LogPosition, Outbox, QueuedReply, ReplyBody, StoredRange, StreamStart,
};
use crate::server::http::connection_limits::{Full, Permit};
use crate::server::http::problem::{Problem, RETRY_AFTER};
use crate::server::http::request_info::RequestInfo;
use crate::server::http::{HttpState, SECURITY_HEADERS, TOO_MANY_DOCUMENTS};
use crate::server::snapshot::{CachedDocument, Snapshot};
use smol::Async;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

/// A stream for which there is room, and what it begins with.
#[derive(Debug)]
pub struct Opening {
    outbox: Outbox,
    reader: Arc<()>,
    /// While it is held, the stream counts.
    counted: Permit,
}

/// Makes room for a stream and collects what it begins with.
pub async fn open(
    site: &HttpState,
    address: IpAddr,
    caller: &RequestInfo,
) -> Result<Opening, Problem> {
    let counted = enter(site, address)?;
    let subscribed = site.broker.subscribe().await;
    let subscription = subscribed.map_err(|_| Problem::stopping())?;
    let contents = beginning(site, &subscription, caller.last_event.as_ref()).await?;
    let place = LogPosition {
        dialect: Dialect::Page,
        offset: subscription.position,
    };
    let mut outbox = Outbox::new(place);
    for body in contents {
        outbox.add(QueuedReply {
            at: place.offset,
            skip: 0,
            body,
        });
    }
    Ok(Opening {
        outbox,
        reader: subscription.reader,
        counted,
    })
}

/// Whether there would be room for a stream.
pub fn enter(site: &HttpState, address: IpAddr) -> Result<Permit, Problem> {
    if site.gate.is_stopping() {
        return Err(Problem::stopping());
    }
    site.gate.enter_stream(address).map_err(|full| {
        let sentence = match full {
            Full::InAll => "Too many live streams are open; try again later",
            Full::Address => {
                "Too many live streams are open from your address; close one or try again later"
            }
        };
        Problem::new(503, "too-many-streams", sentence).after(RETRY_AFTER)
    })
}

impl Opening {
    /// Streams to its end. Cancel-safe only in that the connection is then closed.
    pub async fn stream(
        self,
        site: &HttpState,
        socket: Async<TcpStream>,
        address: SocketAddr,
        caller: RequestInfo,
    ) {
        let peer = Arc::new(ConnectionHandle::new(socket, address));
        let (sender, key) = async_channel::bounded::<ClientKey>(1);
        let stream = NewStream {
            peer: peer.clone(),
            outbox: self.outbox,
            session: caller.session,
            reader: self.reader,
            key: sender,
        };
        let told = site
            .broker
            .tell(BrokerCommand::Stream(Box::new(stream)))
            .await;
        if told.is_err() {
            return;
        }
        // No key comes if the server stops: the browser comes back by itself.
        if let Ok(key) = key.recv().await {
            let reason = serve_stream(&site.context, key, &peer).await;
            tracing::debug!(%address, %reason, "a live stream of the page ended");
        }
        drop(self.counted);
    }
}

/// The head of the answer. It ends with the connection: so it needs no length, nor chunks.
fn head() -> String {
    let mut head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                    X-Accel-Buffering: no\r\nConnection: close\r\n"
            .to_owned();
    for (name, value) in SECURITY_HEADERS {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// What one gets who comes back.
enum Missed {
    /// These frames, then how it is now.
    Frames(Arc<CachedDocument>),
    /// What the store has, then how it is now.
    Stored(StoredRange),
    /// Nothing: how it is now, with what is kept.
    Lost,
}

async fn beginning(
    site: &HttpState,
    subscription: &Subscription,
    last_event: Option<&EventCursor>,
) -> Result<Vec<ReplyBody>, Problem> {
    let snapshot = &subscription.snapshot;
    let budget = &site.budget;
    let mut opening = head();
    let missed = match last_event {
        None => None,
        Some(place) => {
            let (missed, resumed) = missed_since(site, snapshot, place).await?;
            opening.push_str(&sse::resumed_frame(resumed));
            Some(missed)
        }
    };
    let mut contents = vec![ReplyBody::Bytes(opening.into_bytes().into())];
    let whole = matches!(missed, None | Some(Missed::Lost));
    match missed {
        None | Some(Missed::Lost) => {}
        Some(Missed::Frames(frames)) => contents.push(ReplyBody::Document(frames)),
        Some(Missed::Stored(stored)) => contents.push(ReplyBody::Switch(StreamStart {
            dialect: Dialect::Page,
            offset: subscription.position,
            lag_baseline: subscription.position,
            stored: Some(stored),
        })),
    }
    let frame = match whole {
        true => budget.document(&snapshot.frame, || sse::snapshot_frame(snapshot)),
        false => budget.document(&snapshot.present_frame, || sse::present_frame(snapshot)),
    };
    contents.push(ReplyBody::Document(frame.ok_or_else(overloaded)?));
    Ok(contents)
}

fn overloaded() -> Problem {
    Problem::new(503, "overloaded", TOO_MANY_DOCUMENTS).after(RETRY_AFTER)
}

/// What was missed since this event, and what is told of that.
async fn missed_since(
    site: &HttpState,
    snapshot: &Snapshot,
    place: &EventCursor,
) -> Result<(Missed, ResumeOutcome), Problem> {
    let is_known = place.epoch == (&*snapshot.epoch).into() && place.id <= snapshot.last;
    if !is_known {
        return Ok(lost(snapshot));
    }
    let archive = &site.context.archive;
    let oldest_stored = archive.oldest_event().await;
    if oldest_stored.is_some_and(|oldest| oldest <= place.id + 1) {
        let stored = StoredRange {
            after: place.id,
            until: snapshot.last,
        };
        let missed = snapshot.last - place.id;
        return Ok((Missed::Stored(stored), ResumeOutcome::Complete { missed }));
    }
    let is_missed = |message: &&Arc<Message>| message.id > place.id && message.id <= snapshot.last;
    let missed: Vec<_> = match snapshot.older <= place.id {
        true => snapshot
            .messages
            .iter()
            .filter(is_missed)
            .cloned()
            .collect(),
        false => {
            let kept = archive.recent_messages().await;
            if kept.first().is_none_or(|oldest| oldest.id > place.id) {
                return Ok(lost(snapshot));
            }
            kept.iter().filter(is_missed).cloned().collect()
        }
    };
    let resumed = ResumeOutcome::Complete {
        missed: missed.len() as u64,
    };
    let make = || sse::message_frames(&snapshot.epoch, &missed);
    let frames = site.budget.document(&OnceLock::new(), make);
    Ok((Missed::Frames(frames.ok_or_else(overloaded)?), resumed))
}

fn lost(snapshot: &Snapshot) -> (Missed, ResumeOutcome) {
    let oldest = snapshot.messages.first();
    let oldest = oldest.map_or(snapshot.last + 1, |message| message.id);
    (Missed::Lost, ResumeOutcome::Incomplete { oldest })
}
