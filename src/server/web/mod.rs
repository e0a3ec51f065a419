//! The web page: who is here and what was said, for people and for programs.
//!
//! What lives here: the routes, the files of `web/` compiled into the program, and the accept
//! loop of the page. The server starts [`serve`]. It must never reach past [`BrokerHandle`],
//! never start a runtime of its own (tide's `listen` would), and never read a request's body.

pub mod events;
pub mod exchange;
pub mod gate;
pub mod head;
pub mod host;
pub mod page;

use crate::limits::{LINGER_MAX_BYTES, LINGER_TIMEOUT, WEB_MAX_DOCUMENT_BYTES, WebLimits};
use crate::server::accept::{Acceptor, Farewell, SpareDescriptor};
use crate::server::broker::{BrokerEnded, BrokerHandle};
use crate::server::connection::within;
use crate::server::delivery::SharedExecutor;
use crate::server::frames;
use crate::server::health::Health;
use crate::server::listen::Bound;
use crate::server::metrics::Metrics;
use crate::server::snapshot::{Budget, Document};
use crate::server::web_closing::WebCloseReason;
use crate::socket;
use async_net::TcpStream;
use events::EventStream;
use exchange::Exchange;
use futures_lite::{AsyncReadExt, FutureExt};
use gate::{Full, Gate};
use head::{Head, HeadReader, NoHead};
use page::AssetUrls;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
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

#[derive(Clone)]
struct State {
    broker: BrokerHandle,
    assets: Arc<[Asset]>,
    urls: Arc<AssetUrls>,
    gate: Arc<Gate>,
    counts: Arc<Counts>,
    budget: Arc<Budget>,
}

/// What `/metrics` and `/healthz` tell, and to whom.
#[derive(Debug)]
pub struct Counts {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether what is said can be kept.
    pub health: Arc<Health>,
    /// When the server started.
    pub started: Instant,
    /// Whether others than this machine may read it.
    pub is_public: bool,
}

/// Whom a request is from.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

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
fn app(broker: BrokerHandle, gate: Arc<Gate>, counts: Arc<Counts>) -> tide::Server<State> {
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
        gate,
        counts,
        budget: Budget::new(WEB_MAX_DOCUMENT_BYTES),
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
    #[cfg(test)]
    app.at(crate::server::tests::PAGE_FAULT)
        .get(crate::server::tests::fail_on_the_page);
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
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if is_error && response.is_empty() == Some(true) {
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
        _ => "The request could not be answered",
    }
}

async fn get_page(request: Request<State>) -> tide::Result {
    let state = request.state();
    let Ok(snapshot) = state.broker.snapshot().await else {
        return Ok(unavailable(STOPPING));
    };
    let page = state
        .budget
        .document(&snapshot.page, || page::render(&snapshot, &state.urls));
    Ok(shared_document(page, "text/html; charset=utf-8"))
}

async fn get_users(request: Request<State>) -> tide::Result {
    let state = request.state();
    let Ok(snapshot) = state.broker.snapshot().await else {
        return Ok(unavailable(STOPPING));
    };
    let users = state.budget.document(&snapshot.users_document, || {
        frames::users_document(&snapshot)
    });
    Ok(shared_document(users, "application/json"))
}

async fn get_messages(request: Request<State>) -> tide::Result {
    let state = request.state();
    let Ok(snapshot) = state.broker.snapshot().await else {
        return Ok(unavailable(STOPPING));
    };
    let messages = state.budget.document(&snapshot.messages_document, || {
        frames::messages_document(&snapshot)
    });
    Ok(shared_document(messages, "application/json"))
}

/// Whether the chat is ready: any answer at all says that the program lives.
async fn get_health(request: Request<State>) -> tide::Result {
    let State {
        broker,
        gate,
        counts,
        ..
    } = request.state();
    if gate.is_stopping() {
        return Ok(unavailable(STOPPING));
    }
    if let Some(sentence) = counts.health.failure() {
        return Ok(unavailable(&sentence));
    }
    Ok(
        match within(gate.limits.health_timeout, broker.snapshot()).await {
            Some(Ok(_)) => document("ok\n".to_owned(), "text/plain; charset=utf-8"),
            Some(Err(BrokerEnded)) => unavailable(STOPPING),
            None => unavailable("The chat does not answer in time; it is overloaded"),
        },
    )
}

/// The media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn get_metrics(request: Request<State>) -> tide::Result {
    let State { broker, counts, .. } = request.state();
    let is_local = request
        .ext::<Peer>()
        .is_some_and(|peer| is_this_machine(peer.0));
    if !counts.is_public && !is_local {
        return Ok(Response::new(StatusCode::Forbidden));
    }
    let uptime = counts.started.elapsed();
    Ok(match counts.metrics.text(broker.waiting(), uptime) {
        Ok(text) => document(text, OPEN_METRICS),
        Err(_) => unavailable("The counts could not be written"),
    })
}

fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

async fn get_events(request: Request<State>) -> tide::Result {
    let State { broker, gate, .. } = request.state();
    if gate.is_stopping() {
        return Ok(unavailable(STOPPING));
    }
    // Whoever makes a request says whom it is from.
    let Some(&Peer(address)) = request.ext::<Peer>() else {
        return Ok(Response::new(StatusCode::InternalServerError));
    };
    let counted = match gate.enter_stream(address) {
        Ok(counted) => counted,
        Err(Full::InAll) => {
            return Ok(unavailable(
                "Too many live streams are open; try again later",
            ));
        }
        Err(Full::Address) => {
            return Ok(unavailable(
                "Too many live streams are open from your address; close one or try again later",
            ));
        }
    };
    if request.method() == tide::http::Method::Head {
        return Ok(document(String::new(), "text/event-stream"));
    }
    let Ok(subscription) = broker.subscribe().await else {
        return Ok(unavailable(STOPPING));
    };
    let budget = &request.state().budget;
    let Some(stream) = EventStream::new(subscription, counted, budget) else {
        return Ok(unavailable(TOO_MANY_DOCUMENTS));
    };
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

/// What is said where the documents of too many moments are on their way to slow readers.
const TOO_MANY_DOCUMENTS: &str = "Too much is on its way to others; try again later";

/// A document that all who ask for it share; none if there was no room for it.
fn shared_document(document: Option<Arc<Document>>, mime: &str) -> Response {
    let Some(document) = document else {
        return unavailable(TOO_MANY_DOCUMENTS);
    };
    let length = document.text().len();
    let reader = futures_lite::io::Cursor::new(Shared(document));
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_reader(reader, Some(length)));
    response.insert_header("content-type", mime);
    response
}

/// A document as the bytes that a reader wants.
struct Shared(Arc<Document>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.text().as_bytes()
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

/// What is said while there is no chat to ask.
const STOPPING: &str = "The server is stopping";

fn unavailable(sentence: &str) -> Response {
    let mut response = document(format!("{sentence}\n"), "text/plain; charset=utf-8");
    response.set_status(StatusCode::ServiceUnavailable);
    response.insert_header("retry-after", head::RETRY_AFTER_SECONDS);
    response
}

/// Serves the page on this listener until it is dropped.
pub async fn serve(
    bound: Bound,
    spare: SpareDescriptor,
    broker: BrokerHandle,
    executor: SharedExecutor,
    gate: Arc<Gate>,
    counts: Arc<Counts>,
) {
    let metrics = counts.metrics.clone();
    let farewell = Farewell {
        text: head::last_answer(WebCloseReason::NoDescriptor, false).into_bytes(),
        counters: vec![metrics.web_ended_by(WebCloseReason::NoDescriptor)],
    };
    let mut acceptor = Acceptor::new(bound.listener, spare, farewell);
    let app = app(broker, gate.clone(), counts);
    loop {
        let (stream, address) = acceptor.next().await;
        socket::prepare(&stream);
        let ends = Ends {
            address,
            metrics: metrics.clone(),
        };
        // They end by themselves: every wait in them has a bound, and their number has one too.
        match gate.enter_connection(address.ip()) {
            Ok(counted) => {
                let (app, gate) = (app.clone(), gate.clone());
                let serving = async move {
                    let serving = serve_requests(&stream, address, app, gate);
                    // A fault in what one request asks for is no fault of the others.
                    let end = AssertUnwindSafe(serving).catch_unwind().await;
                    let end = end.unwrap_or(NoHead {
                        reason: WebCloseReason::Fault,
                        is_head: false,
                    });
                    ends.end_connection(stream, end).await;
                    drop(counted);
                };
                executor.spawn(serving).detach();
            }
            Err(full) => {
                let end = NoHead {
                    reason: full.into(),
                    is_head: false,
                };
                // One more than can be told of it is just closed.
                let Ok(counted) = gate.enter_closing(address.ip()) else {
                    ends.note(end.reason);
                    continue;
                };
                let telling = async move {
                    ends.end_connection(stream, end).await;
                    drop(counted);
                };
                executor.spawn(telling).detach();
            }
        }
    }
}

/// Where the end of a connection is noted, once.
struct Ends {
    address: SocketAddr,
    metrics: Arc<Metrics>,
}

impl Ends {
    fn note(&self, reason: WebCloseReason) {
        let address = self.address;
        self.metrics.count_web_ended(reason);
        match reason {
            WebCloseReason::Fault => {
                tracing::error!(%address, %reason, "a connection of the page failed");
            }
            // Their number is up to strangers.
            _ => tracing::debug!(%address, %reason, "a connection of the page ended"),
        }
    }

    /// Tells why, if there is something to tell, and closes so that it arrives.
    async fn end_connection(&self, stream: TcpStream, end: NoHead) {
        self.note(end.reason);
        let telling = head::tell(&stream, end.reason, end.is_head);
        within(LINGER_TIMEOUT, telling).await;
        if stream.shutdown(Shutdown::Write).is_ok() {
            within(LINGER_TIMEOUT, read_to_the_end(stream)).await;
        }
    }
}

/// Answers one request after the other; gives why no other follows.
async fn serve_requests(
    stream: &TcpStream,
    address: SocketAddr,
    app: tide::Server<State>,
    gate: Arc<Gate>,
) -> NoHead {
    let mut reader = HeadReader::new(stream.clone(), gate.clone());
    loop {
        let head = match reader.next_head().await {
            Ok(head) => head,
            Err(end) => return end,
        };
        let is_head = head::is_of_head(&head.bytes);
        let end = answer(stream, address, &app, &gate.limits, head).await;
        // Whoever asks without pause lets others have their turn.
        smol::future::yield_now().await;
        if let Err(reason) = end {
            return NoHead { reason, is_head };
        }
    }
}

/// Answers one request.
///
/// # Errors
/// No other can follow.
async fn answer(
    stream: &TcpStream,
    address: SocketAddr,
    app: &tide::Server<State>,
    limits: &WebLimits,
    head: Head,
) -> Result<(), WebCloseReason> {
    let deadline = (!head.is_stream).then_some(limits.response_deadline);
    let exchange = Exchange::new(stream.clone(), head.bytes);
    let mut server =
        async_h1::server::Server::new(exchange.clone(), |mut request: tide::http::Request| {
            request.ext_mut().insert(Peer(address.ip()));
            let app = app.clone();
            async move { app.respond(request).await }
        });
    let answered = async { Ok(server.accept_one().await) }
        .or(async {
            Err(exchange
                .wait_for_stall(limits.write_stall_timeout, deadline)
                .await)
        })
        .await;
    match answered? {
        Ok(async_h1::server::ConnectionStatus::KeepAlive) if head.keep_alive => Ok(()),
        Ok(_) => Err(WebCloseReason::Closed),
        Err(_) if exchange.has_written() => Err(WebCloseReason::Reset),
        Err(_) => Err(WebCloseReason::Malformed),
    }
}

/// Reads and throws away, for a while: closing with unread input could take the answer from the
/// reader.
async fn read_to_the_end(mut stream: TcpStream) {
    let mut buffer = [0; 512];
    let mut discarded = 0;
    while discarded < LINGER_MAX_BYTES {
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => {
                discarded += count;
                // One who sends without pause leaves no other way to be noticed by the clock.
                smol::future::yield_now().await;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WebLimits;
    use std::time::Duration;
    use tide::http::{Method, Url};

    /// The status and the sentence of `/healthz`, asked of a broker that never answers.
    fn health(inbox_is_open: bool, is_stopping: bool) -> (StatusCode, String) {
        let limits = WebLimits {
            health_timeout: Duration::from_millis(10),
            ..WebLimits::default()
        };
        let gate = Arc::new(Gate::new(limits, Vec::new()));
        if is_stopping {
            gate.begin_stop();
        }
        let (sender, inbox) = async_channel::bounded(1);
        let _inbox = inbox_is_open.then_some(inbox);
        let counts = Arc::new(Counts {
            metrics: Arc::default(),
            health: Arc::default(),
            started: Instant::now(),
            is_public: false,
        });
        let app = app(BrokerHandle::new(sender), gate, counts);
        let address = Url::parse("http://localhost/healthz").unwrap();
        smol::block_on(async {
            let request = tide::http::Request::new(Method::Get, address);
            let mut response: tide::http::Response = app.respond(request).await.unwrap();
            (response.status(), response.body_string().await.unwrap())
        })
    }

    #[test]
    fn a_chat_that_cannot_answer_is_not_ready() {
        let unavailable =
            |sentence: &str| (StatusCode::ServiceUnavailable, format!("{sentence}\n"));
        let overloaded = unavailable("The chat does not answer in time; it is overloaded");
        assert_eq!(health(true, false), overloaded);
        assert_eq!(health(false, false), unavailable("The server is stopping"));
        assert_eq!(health(true, true), unavailable("The server is stopping"));
    }

    #[test]
    fn this_machine_is_whoever_comes_over_loopback() {
        for (peer, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(is_this_machine(peer.parse().unwrap()), expected, "{peer}");
        }
    }
}
