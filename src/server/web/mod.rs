//! The web page: who is here and what was said, for people and for programs.
//!
//! What lives here: the routes, the files of `web/` compiled into the program, and the accept
//! loop of the page. The server starts [`serve`]. It must never reach past [`BrokerHandle`],
//! never start a runtime of its own (tide's `listen` would), and never read a request's body.

pub mod events;
pub mod exchange;
pub mod head;
pub mod page;

use crate::limits::{LINGER_TIMEOUT, WEB_MAX_CONNECTIONS, WEB_MAX_STREAMS, WEB_RESPONSE_DEADLINE};
use crate::server::accept::Acceptor;
use crate::server::broker::BrokerHandle;
use crate::server::connection::within;
use crate::server::delivery::SharedExecutor;
use crate::server::frames;
use crate::server::listen::Bound;
use crate::server::metrics::Metrics;
use crate::socket;
use async_net::TcpStream;
use event_listener::Event;
use events::EventStream;
use exchange::Exchange;
use futures_lite::{AsyncReadExt, FutureExt};
use head::{HeadReader, Problem};
use page::AssetUrls;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tide::http::headers::HeaderName;
use tide::http::{Body, Mime};
use tide::{Request, Response, StatusCode};

/// What every answer of the page says to the browser.
const SECURITY_HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// How many of something there are, and whether there is still one.
#[derive(Debug, Default)]
pub struct Count {
    current: AtomicUsize,
    fell: Event,
}

/// One of those counted; dropping it takes it off.
#[derive(Debug)]
pub struct Counted(Arc<Count>);

impl Count {
    /// One more, unless there are `most` already.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Counted> {
        let counted = Counted(self.clone());
        let before = self.current.fetch_add(1, Ordering::AcqRel);
        (before < most).then_some(counted)
    }

    /// Waits until there is none. Cancel-safe.
    pub async fn wait_for_none(&self) {
        loop {
            let listener = self.fell.listen();
            if self.current.load(Ordering::Acquire) == 0 {
                return;
            }
            listener.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.current.fetch_sub(1, Ordering::AcqRel);
        self.0.fell.notify(usize::MAX);
    }
}

#[derive(Clone)]
struct State {
    broker: BrokerHandle,
    assets: Arc<[Asset]>,
    urls: Arc<AssetUrls>,
    streams: Arc<Count>,
    counts: Arc<Counts>,
}

/// What `/metrics` tells, and to whom.
#[derive(Debug)]
pub struct Counts {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// When the server started.
    pub started: Instant,
    /// Whether others than this machine may read it.
    pub is_public: bool,
}

/// A file of the page.
struct Asset {
    url: String,
    mime: &'static str,
    content: &'static [u8],
}

impl Asset {
    /// A file whose address changes with its content, so that browsers may keep it for ever.
    fn new(stem: &str, ending: &str, mime: &'static str, content: &'static str) -> Self {
        let hash = fnv1a(content.as_bytes());
        Asset {
            url: format!("/{stem}-{hash:016x}.{ending}"),
            mime,
            content: content.as_bytes(),
        }
    }
}

/// The 64-bit hash of Fowler, Noll and Vo: it tells contents apart, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The page as a whole: every request that it answers.
fn app(broker: BrokerHandle, streams: Arc<Count>, counts: Arc<Counts>) -> tide::Server<State> {
    let assets = [
        Asset::new(
            "style",
            "css",
            "text/css; charset=utf-8",
            include_str!("../../../web/style.css"),
        ),
        Asset::new(
            "app",
            "js",
            "text/javascript; charset=utf-8",
            include_str!("../../../web/app.js"),
        ),
        Asset::new(
            "icon",
            "svg",
            "image/svg+xml",
            include_str!("../../../web/icon.svg"),
        ),
    ];
    let urls = AssetUrls {
        style: assets[0].url.clone(),
        script: assets[1].url.clone(),
        icon: assets[2].url.clone(),
    };
    let paths: Vec<String> = assets.iter().map(|asset| asset.url.clone()).collect();
    let state = State {
        broker,
        assets: Arc::from(assets),
        urls: Arc::new(urls),
        streams,
        counts,
    };
    let mut app = tide::with_state(state);
    app.with(tide::utils::After(finish_response));
    app.at("/").get(get_page);
    app.at("/api/users").get(get_users);
    app.at("/api/messages").get(get_messages);
    app.at(head::STREAM_PATH).get(get_events);
    app.at("/healthz").get(get_health);
    app.at("/metrics").get(get_metrics);
    for path in paths {
        app.at(&path).get(get_asset);
    }
    app
}

/// Adds what every answer has, and a sentence where one would be empty.
async fn finish_response(mut response: Response) -> tide::Result {
    for (name, value) in SECURITY_HEADERS {
        response.insert_header(HeaderName::from(name), value);
    }
    if response.header("cache-control").is_none() {
        response.insert_header("cache-control", "no-store");
    }
    if response.status().is_client_error() || response.status().is_server_error() {
        let sentence = sentence_of(response.status());
        response.set_body(Body::from_string(format!("{sentence}\n")));
        response.set_content_type(tide::http::mime::PLAIN);
    }
    Ok(response)
}

fn sentence_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NotFound => "There is nothing at this address; the page is at /",
        StatusCode::Forbidden => {
            "Only this machine may read this; --public-metrics lets others read it too"
        }
        StatusCode::MethodNotAllowed => "Only GET and HEAD are understood here",
        StatusCode::ServiceUnavailable => "Too many readers or a stopping server; try again later",
        _ => "The request could not be answered",
    }
}

async fn get_page(request: Request<State>) -> tide::Result {
    let state = request.state();
    let Ok(snapshot) = state.broker.snapshot().await else {
        return Ok(unavailable());
    };
    let page = snapshot
        .page
        .get_or_init(|| page::render(&snapshot, &state.urls).into());
    Ok(shared_document(page, "text/html; charset=utf-8"))
}

async fn get_users(request: Request<State>) -> tide::Result {
    let Ok(snapshot) = request.state().broker.snapshot().await else {
        return Ok(unavailable());
    };
    let users = snapshot
        .users_document
        .get_or_init(|| frames::users_document(&snapshot).into());
    Ok(shared_document(users, "application/json"))
}

async fn get_messages(request: Request<State>) -> tide::Result {
    let Ok(snapshot) = request.state().broker.snapshot().await else {
        return Ok(unavailable());
    };
    let messages = snapshot
        .messages_document
        .get_or_init(|| frames::messages_document(&snapshot).into());
    Ok(shared_document(messages, "application/json"))
}

async fn get_health(request: Request<State>) -> tide::Result {
    match request.state().broker.snapshot().await {
        Ok(_) => Ok(document("ok\n".to_owned(), "text/plain; charset=utf-8")),
        Err(_) => Ok(unavailable()),
    }
}

/// The media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn get_metrics(request: Request<State>) -> tide::Result {
    let State { broker, counts, .. } = request.state();
    let peer = request.peer_addr().and_then(|peer| peer.parse().ok());
    if !counts.is_public && !is_this_machine(peer) {
        return Ok(Response::new(StatusCode::Forbidden));
    }
    let uptime = counts.started.elapsed();
    Ok(match counts.metrics.text(broker.waiting(), uptime) {
        Ok(text) => document(text, OPEN_METRICS),
        Err(_) => unavailable(),
    })
}

fn is_this_machine(peer: Option<SocketAddr>) -> bool {
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

async fn get_events(request: Request<State>) -> tide::Result {
    let state = request.state();
    let Some(counted) = state.streams.enter(WEB_MAX_STREAMS) else {
        return Ok(unavailable());
    };
    if request.method() == tide::http::Method::Head {
        return Ok(document(String::new(), "text/event-stream"));
    }
    let Ok(subscription) = state.broker.subscribe().await else {
        return Ok(unavailable());
    };
    let stream = EventStream::new(subscription, counted);
    let mut response = document(String::new(), "text/event-stream");
    response.set_body(Body::from_reader(stream, None));
    response.insert_header("content-type", "text/event-stream");
    Ok(response)
}

async fn get_asset(request: Request<State>) -> tide::Result {
    let path = request.url().path();
    let Some(asset) = request
        .state()
        .assets
        .iter()
        .find(|asset| asset.url == path)
    else {
        return Ok(Response::new(StatusCode::NotFound));
    };
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(asset.content);
    response.insert_header("content-type", asset.mime);
    response.insert_header("cache-control", "public, max-age=31536000, immutable");
    Ok(response)
}

/// A document that all who ask for it share.
fn shared_document(text: &Arc<str>, mime: &str) -> Response {
    let length = text.len();
    let reader = futures_lite::io::Cursor::new(SharedText(text.clone()));
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_reader(reader, Some(length)));
    response.insert_header("content-type", mime);
    response
}

/// Text as the bytes that a reader wants.
struct SharedText(Arc<str>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn document(text: String, mime: &str) -> Response {
    let mut response = Response::new(StatusCode::Ok);
    let mut body = Body::from_string(text);
    if let Ok(mime) = mime.parse::<Mime>() {
        body.set_mime(mime);
    }
    response.set_body(body);
    response.insert_header("content-type", mime);
    response
}

fn unavailable() -> Response {
    let mut response = Response::new(StatusCode::ServiceUnavailable);
    response.insert_header("retry-after", "5");
    response
}

/// Serves the page on this listener until it is dropped.
pub async fn serve(
    bound: Bound,
    broker: BrokerHandle,
    executor: SharedExecutor,
    streams: Arc<Count>,
    counts: Arc<Counts>,
) {
    let turned_away = counts.metrics.web_refused();
    let app = app(broker, streams, counts);
    let connections = Arc::new(Count::default());
    let farewell = Problem::TooManyConnections.text().into_bytes();
    let mut acceptor = Acceptor::new(bound.listener, farewell, turned_away);
    loop {
        let (stream, address) = acceptor.next().await;
        socket::prepare(&stream);
        let counted = connections.enter(WEB_MAX_CONNECTIONS);
        let serving = serve_connection(stream, address, app.clone(), counted);
        // It ends by itself: every wait in it has a bound, and its number has one too.
        executor.spawn(serving).detach();
    }
}

async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    app: tide::Server<State>,
    counted: Option<Counted>,
) {
    let problem = match &counted {
        Some(_) => serve_requests(&stream, address, app).await,
        None => Some(Problem::TooManyConnections),
    };
    if let Some(problem) = problem {
        tracing::debug!(%address, ?problem, "a request was refused");
        within(LINGER_TIMEOUT, head::tell(&stream, problem)).await;
    }
    if stream.shutdown(Shutdown::Write).is_ok() && counted.is_some() {
        within(LINGER_TIMEOUT, read_to_the_end(stream)).await;
    }
}

/// Answers one request after the other; gives what is wrong with the last one, if anything is.
async fn serve_requests(
    stream: &TcpStream,
    address: SocketAddr,
    app: tide::Server<State>,
) -> Option<Problem> {
    let mut reader = HeadReader::new(stream.clone());
    loop {
        let head = match reader.next_head().await {
            Ok(head) => head,
            Err(Problem::Ended) => return None,
            Err(problem) => return Some(problem),
        };
        let keep_alive = head.keep_alive;
        let deadline = if head.is_stream {
            None
        } else {
            Some(WEB_RESPONSE_DEADLINE)
        };
        let exchange = Exchange::new(stream.clone(), head.bytes);
        let mut server = async_h1::server::Server::new(exchange.clone(), |request| {
            let app = app.clone();
            let mut request: tide::http::Request = request;
            request.set_peer_addr(Some(address));
            async move { app.respond(request).await }
        });
        let answered = async { Some(server.accept_one().await) }
            .or(async {
                exchange.wait_for_stall(deadline).await;
                None
            })
            .await;
        // Whoever asks without pause lets others have their turn.
        smol::future::yield_now().await;
        match answered {
            Some(Ok(async_h1::server::ConnectionStatus::KeepAlive)) if keep_alive => {}
            Some(Err(_)) if !exchange.has_written() => return Some(Problem::Malformed),
            _ => return None,
        }
    }
}

/// Reads and throws away: closing with unread input could take the answer from the reader.
async fn read_to_the_end(mut stream: TcpStream) {
    let mut buffer = [0; 512];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_whoever_comes_over_loopback() {
        for (peer, expected) in [
            ("127.0.0.1:5", true),
            ("127.9.9.9:5", true),
            ("[::1]:5", true),
            ("[::ffff:127.0.0.1]:5", true),
            ("192.0.2.1:5", false),
            ("[2001:db8::1]:5", false),
            ("0.0.0.0:5", false),
        ] {
            assert_eq!(is_this_machine(peer.parse().ok()), expected, "{peer}");
        }
        assert!(!is_this_machine(None));
    }
}
