//! Starts live streams, which carry server-sent events.
//!
//! A stream begins with a snapshot of the room or, for a browser that resumes, with the missed
//! messages. Later events come from the shared log, with the limits of every other client.

use crate::chat::message::Message;
use crate::chat::request::EventCursor;
use crate::chat::room::snapshot::Snapshot;
use crate::protocol::Dialect;
use crate::protocol::extended::ResumeOutcome;
use crate::protocol::sse;
use crate::server::command::{BrokerCommand, NewStream, Subscription};
use crate::server::connection::stream::serve_stream;
use crate::server::connection_counter::{LimitReached, Permit};
use crate::server::fanout::ClientKey;
use crate::server::fanout::handle::ConnectionHandle;
use crate::server::fanout::outbox::{
    LogPosition, Outbox, QueuedReply, ReplyBody, StoredRange, StreamStart,
};
use crate::server::http::document_cache::CachedDocument;
use crate::server::http::endpoint::HttpState;
use crate::server::http::problem::{Problem, RETRY_AFTER};
use crate::server::http::request_info::RequestInfo;
use crate::server::http::response::SECURITY_HEADERS;
use smol::Async;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

/// A live stream that has a permit and its first bytes, but not yet its socket.
#[derive(Debug)]
pub(crate) struct StreamStartup {
    outbox: Outbox,
    reader: Arc<()>,
    permit: Permit,
    info: RequestInfo,
}

/// Reserves a place for a stream and collects its first bytes.
///
/// # Errors
/// A limit is reached, or the server stops.
pub(crate) async fn open(
    state: &HttpState,
    address: IpAddr,
    info: &RequestInfo,
) -> Result<StreamStartup, Problem> {
    let permit = acquire_permit(state, address)?;
    let subscribed = state.broker.subscribe().await;
    let subscription = subscribed.map_err(|_| Problem::stopping())?;
    let replies = first_replies(state, &subscription, info.last_event.as_ref()).await?;
    let start = LogPosition {
        dialect: Dialect::Browser,
        offset: subscription.position,
    };
    let mut outbox = Outbox::new(start);
    for body in replies {
        outbox.add(QueuedReply {
            at: start.offset,
            skip: 0,
            body,
        });
    }
    Ok(StreamStartup {
        outbox,
        reader: subscription.reader,
        permit,
        info: info.clone(),
    })
}

/// Reserves a place for a stream.
///
/// # Errors
/// A limit is reached, or the server stops.
pub(crate) fn acquire_permit(state: &HttpState, address: IpAddr) -> Result<Permit, Problem> {
    if state.limits.is_stopping() {
        return Err(Problem::stopping());
    }
    state.limits.streams.acquire(address).map_err(|limit| {
        let detail = match limit {
            LimitReached::Total => "Too many live streams are open; try again later",
            LimitReached::Address => {
                "Too many live streams are open from your address; close one or try again later"
            }
        };
        Problem::new(503, "too-many-streams", detail).after(RETRY_AFTER)
    })
}

impl StreamStartup {
    /// Hands the socket to the broker and waits for the end of the stream. If this future is
    /// dropped, the connection closes.
    pub(crate) async fn run(
        self,
        state: &HttpState,
        socket: Async<TcpStream>,
        address: SocketAddr,
    ) {
        let peer = Arc::new(ConnectionHandle::new(socket, address));
        let (sender, key) = async_channel::bounded::<ClientKey>(1);
        let stream = NewStream {
            peer: peer.clone(),
            outbox: self.outbox,
            session: self.info.session,
            _reader: self.reader,
            key: sender,
        };
        let command = BrokerCommand::Stream(Box::new(stream));
        if state.broker.send(command).await.is_err() {
            return;
        }
        // A broker that stops sends no key. The browser reconnects by itself.
        if let Ok(key) = key.recv().await {
            let reason = serve_stream(&state.context, key, &peer).await;
            tracing::debug!(%address, %reason, "a live stream ended");
        }
        drop(self.permit);
    }
}

/// Returns the head of the response. The stream ends with its connection, so it needs neither a
/// length nor chunks.
fn response_head() -> String {
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

/// The events that a resuming browser has missed.
enum MissedEvents {
    /// Messages from memory.
    Encoded(Arc<CachedDocument>),
    /// Events from the store.
    Stored(StoredRange),
    /// Some events are gone, so the stream begins like a new one.
    Lost,
}

async fn first_replies(
    state: &HttpState,
    subscription: &Subscription,
    last_event: Option<&EventCursor>,
) -> Result<Vec<ReplyBody>, Problem> {
    let snapshot = &subscription.snapshot;
    let mut head = response_head();
    let missed = match last_event {
        None => MissedEvents::Lost,
        Some(cursor) => {
            let (missed, resumed) = missed_since(state, snapshot, cursor).await?;
            head.push_str(&sse::resumed_event(resumed));
            missed
        }
    };
    let is_new = matches!(missed, MissedEvents::Lost);
    let mut replies = vec![ReplyBody::Bytes(head.into_bytes().into())];
    match missed {
        MissedEvents::Lost => {}
        MissedEvents::Encoded(events) => replies.push(ReplyBody::Document(events)),
        MissedEvents::Stored(stored) => replies.push(ReplyBody::Switch(StreamStart {
            dialect: Dialect::Browser,
            offset: subscription.position,
            lag_baseline: subscription.position,
            stored: Some(stored),
        })),
    }
    let cache = &state.documents;
    let documents = cache.of(snapshot);
    let event = match is_new {
        true => cache.document(&documents.snapshot_event, || sse::snapshot_event(snapshot)),
        false => cache.document(&documents.presence_event, || sse::presence_event(snapshot)),
    };
    replies.push(ReplyBody::Document(event?));
    Ok(replies)
}

/// Finds the events after the cursor, up to the snapshot.
async fn missed_since(
    state: &HttpState,
    snapshot: &Snapshot,
    cursor: &EventCursor,
) -> Result<(MissedEvents, ResumeOutcome), Problem> {
    let is_known = cursor.epoch == (&*snapshot.epoch).into() && cursor.id <= snapshot.last;
    if !is_known {
        return Ok(lost(snapshot));
    }
    let archive = &state.context.archive;
    let oldest_stored = archive.oldest_event().await;
    if oldest_stored.is_some_and(|oldest| oldest <= cursor.id + 1) {
        let stored = StoredRange {
            after: cursor.id,
            until: snapshot.last,
        };
        let missed = snapshot.last - cursor.id;
        return Ok((
            MissedEvents::Stored(stored),
            ResumeOutcome::Complete { missed },
        ));
    }
    let messages = match snapshot.older <= cursor.id {
        true => snapshot.messages.clone(),
        false => {
            let messages = archive.recent_messages().await;
            if messages.first().is_none_or(|oldest| oldest.id > cursor.id) {
                return Ok(lost(snapshot));
            }
            messages
        }
    };
    let is_missed = |message: &Arc<Message>| (cursor.id + 1..=snapshot.last).contains(&message.id);
    let missed: Vec<_> = messages.into_iter().filter(is_missed).collect();
    let resumed = ResumeOutcome::Complete {
        missed: missed.len() as u64,
    };
    let make = || sse::message_events(&snapshot.epoch, &missed);
    let events = state.documents.single(make)?;
    Ok((MissedEvents::Encoded(events), resumed))
}

fn lost(snapshot: &Snapshot) -> (MissedEvents, ResumeOutcome) {
    let oldest = snapshot.messages.first();
    let oldest = oldest.map_or(snapshot.last + 1, |message| message.id);
    (MissedEvents::Lost, ResumeOutcome::Incomplete { oldest })
}
