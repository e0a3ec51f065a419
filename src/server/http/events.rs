//! Starts live streams, which carry server-sent events.
//!
//! A stream begins with a snapshot of the room or, for a browser that resumes, with the missed
//! messages. Later events come from the shared log, with the limits of every other client.

use crate::chat::request::EventCursor;
use crate::chat::token::Token;
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
use crate::server::http::document_cache::DocumentKind;
use crate::server::http::endpoint::HttpState;
use crate::server::http::problem::Problem;
use crate::server::http::request_info::RequestInfo;
use crate::server::http::response::SECURITY_HEADERS;
use smol::Async;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

/// A live stream that has a permit and its first bytes, but not yet its socket.
#[derive(Debug)]
pub(super) struct StreamStartup {
    outbox: Outbox,
    reader: Arc<()>,
    permit: Permit,
    session: Option<Token>,
    client: IpAddr,
}

/// Reserves a place for a stream and collects its first bytes.
pub(super) async fn open(
    state: &HttpState,
    client: IpAddr,
    info: &RequestInfo,
) -> Result<StreamStartup, Problem> {
    let permit = acquire_permit(state, client)?;
    let subscribed = state.broker.subscribe().await;
    let subscription = subscribed.map_err(|_| Problem::stopping())?;
    let start = LogPosition {
        dialect: Dialect::Browser,
        offset: subscription.position,
    };
    let mut outbox = Outbox::new(start);
    for body in first_replies(state, &subscription, info.last_event.as_ref()).await? {
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
        session: info.session.clone(),
        client,
    })
}

/// Reserves a place for a stream, unless a limit is reached or the server stops.
pub(super) fn acquire_permit(state: &HttpState, address: IpAddr) -> Result<Permit, Problem> {
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
        Problem::unavailable("too-many-streams", detail)
    })
}

impl StreamStartup {
    /// Hands the socket to the broker and waits for the end of the stream. If this future is
    /// dropped, the connection closes.
    pub(super) async fn run(
        self,
        state: &HttpState,
        socket: Async<TcpStream>,
        address: SocketAddr,
    ) {
        let client = SocketAddr::new(self.client, address.port());
        let peer = Arc::new(ConnectionHandle::new(socket, client));
        let (sender, key) = async_channel::bounded::<ClientKey>(1);
        let stream = NewStream {
            peer: peer.clone(),
            outbox: self.outbox,
            session: self.session,
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
    let security = SECURITY_HEADERS.map(|(name, value)| format!("{name}: {value}\r\n"));
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
         X-Accel-Buffering: no\r\nConnection: close\r\n{}\r\n",
        security.concat()
    )
}

/// Returns the beginning of a stream: the head, the missed events if the browser resumes, and the
/// snapshot.
async fn first_replies(
    state: &HttpState,
    subscription: &Subscription,
    last_event: Option<&EventCursor>,
) -> Result<Vec<ReplyBody>, Problem> {
    let snapshot = &subscription.snapshot;
    let mut head = response_head().into_bytes();
    let mut missed = None;
    if let Some(cursor) = last_event {
        missed = missed_since(state, subscription, cursor).await?;
        let oldest = snapshot.messages.first();
        let oldest = oldest.map_or(snapshot.last + 1, |message| message.id);
        let resumed = match missed {
            Some((missed, _)) => ResumeOutcome::Complete { missed },
            None => ResumeOutcome::Incomplete { oldest },
        };
        head.extend_from_slice(&sse::resumed_event(resumed));
    }
    let (kind, messages) = match missed {
        Some(_) => (DocumentKind::PresenceEvent, &[][..]),
        None => (DocumentKind::SnapshotEvent, &snapshot.messages[..]),
    };
    let make = || sse::snapshot_event(snapshot, messages);
    let event = state.documents.shared(snapshot, kind, make)?;
    let mut replies = vec![ReplyBody::Bytes(head.into())];
    replies.extend(missed.map(|(_, events)| events));
    replies.push(ReplyBody::Document(event));
    Ok(replies)
}

/// Returns the events between the cursor and the snapshot and their number, or `None` if some of
/// them are gone.
async fn missed_since(
    state: &HttpState,
    subscription: &Subscription,
    cursor: &EventCursor,
) -> Result<Option<(u64, ReplyBody)>, Problem> {
    let snapshot = &subscription.snapshot;
    if cursor.epoch != (&*snapshot.epoch).into() || cursor.id > snapshot.last {
        return Ok(None);
    }
    let archive = &state.context.archive;
    let oldest_stored = archive.oldest_event().await;
    if oldest_stored.is_some_and(|oldest| oldest <= cursor.id + 1) {
        let stored = ReplyBody::Switch(StreamStart {
            dialect: Dialect::Browser,
            offset: subscription.position,
            lag_baseline: subscription.position,
            stored: Some(StoredRange {
                after: cursor.id,
                until: snapshot.last,
            }),
        });
        return Ok(Some((snapshot.last - cursor.id, stored)));
    }
    let mut messages = snapshot.messages.clone();
    if snapshot.older > cursor.id {
        messages = archive.recent_messages().await;
        if messages.first().is_none_or(|oldest| oldest.id > cursor.id) {
            return Ok(None);
        }
    }
    let (mut count, mut events) = (0, Vec::new());
    let missed = cursor.id + 1..=snapshot.last;
    for message in messages
        .iter()
        .filter(|message| missed.contains(&message.id))
    {
        sse::encode_message(&mut events, &snapshot.epoch, message);
        count += 1;
    }
    let events = ReplyBody::Document(state.documents.single(events)?);
    Ok(Some((count, events)))
}
