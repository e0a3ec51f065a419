//! The web page: who is here and what was said, for people and for programs.
//!
//! What lives here: the routes of the page, and its accept loop. The server starts [`serve`]. It
//! must never reach past [`BrokerHandle`] and the past into the room, and never start a runtime of
//! its own (tide's `listen` would).
//!
//! In reading order: `gate` (how many), `host`, `caller` and `head` (who asks for what),
//! `exchange` (the answer), `assets` and [`page`] (for people), `api`, `problem` and `streams` (for
//! programs, the page's own script among them).

pub mod allowed_hosts;
pub mod api;
pub mod assets;
pub mod close_reason;
pub mod connection_limits;
pub mod events;
pub mod h1_stream;
pub mod html;
pub mod problem;
pub mod request_head;
pub mod request_info;

use crate::cli::socket;
use crate::server::broker::{BrokerEnded, BrokerHandle};
use crate::server::config::WebAccess;
use crate::server::context::ServerContext;
use crate::server::context::SharedExecutor;
use crate::server::http::api::{Wanted, problem_response};
use crate::server::http::assets::Assets;
use crate::server::http::close_reason::HttpCloseReason;
use crate::server::http::connection_limits::{ConnectionLimits, Permit};
use crate::server::http::h1_stream::H1Stream;
use crate::server::http::html::OlderMessages;
use crate::server::http::problem::Problem;
use crate::server::http::request_head::{BadRequest, Head, HeadReader};
use crate::server::http::request_info::RequestInfo;
use crate::server::limits::{
    LINGER_MAX_BYTES, LINGER_TIMEOUT, WEB_BODY_OVERHEAD_BYTES, WEB_MAX_DOCUMENT_BYTES, WebLimits,
};
use crate::server::listener::Bound;
use crate::server::listener::accept::{Acceptor, RejectNotice, ReserveDescriptor};
use crate::server::metrics::Metrics;
use crate::server::rate_limit::RateLimiter;
use crate::server::snapshot::{Budget, CachedDocument};
use crate::server::timeout::timeout;
use crate::storage::MessagePage;
use async_net::TcpStream;
use futures_lite::{AsyncReadExt, FutureExt};
use smol::{Async, Timer};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use tide::http::headers::HeaderName;
use tide::http::{Body, Mime};
use tide::{Next, Request, Response, StatusCode};

/// What every answer of the page says to the browser.
const SECURITY_HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// What all requests share.
#[derive(Clone, Debug)]
pub struct HttpState {
    broker: BrokerHandle,
    context: Arc<ServerContext>,
    assets: Arc<Assets>,
    gate: Arc<ConnectionLimits>,
    budget: Arc<Budget>,
    /// Whether `/metrics` is for others than this machine.
    metrics_are_public: bool,
    /// Whether nobody may talk by the page.
    is_read_only: bool,
}

/// Whom a request is from, and what it brings.
#[derive(Clone, Debug)]
pub struct RequestContext {
    address: IpAddr,
    caller: RequestInfo,
    body: Arc<[u8]>,
    /// Why there is no live stream for one who asked for it.
    no_stream: Option<Problem>,
}

/// The page as a whole: every request that it answers, but live streams.
fn app(site: HttpState) -> tide::Server<HttpState> {
    let assets = site.assets.clone();
    let mut app = tide::with_state(site);
    app.with(finish);
    app.at("/").get(get_page);
    app.at("/m/:id").get(get_message);
    app.at(request_head::STREAM_PATH).get(get_events);
    app.at("/healthz").get(get_health);
    app.at("/metrics").get(get_metrics);
    api::add_to(&mut app);
    for path in assets.paths() {
        app.at(path).get(get_asset);
    }
    app
}

/// Adds what every answer has, and a sentence where one would be empty.
fn finish<'a>(
    request: Request<HttpState>,
    next: Next<'a, HttpState>,
) -> std::pin::Pin<Box<dyn Future<Output = tide::Result> + Send + 'a>> {
    Box::pin(async move {
        let path = request.url().path().to_owned();
        let mut response = next.run(request).await;
        let status = response.status();
        let is_error = status.is_client_error() || status.is_server_error();
        if is_error && response.is_empty() == Some(true) {
            response = empty_error(&path, status);
        }
        for (name, value) in SECURITY_HEADERS {
            response.insert_header(HeaderName::from(name), value);
        }
        if response.header("cache-control").is_none() {
            response.insert_header("cache-control", "no-store");
        }
        Ok(response)
    })
}

/// What is said where a route has nothing to say.
fn empty_error(path: &str, status: StatusCode) -> Response {
    let methods = api::ROUTES.iter().find(|(route, _)| *route == path);
    let methods = methods.map_or("GET, HEAD", |(_, methods)| methods);
    let (code, sentence) = match status {
        StatusCode::NotFound => (
            "not-found",
            "There is nothing at this address; the page is at /".to_owned(),
        ),
        StatusCode::Forbidden => (
            "forbidden",
            "Only this machine may read this; --public-metrics lets others read it too".to_owned(),
        ),
        StatusCode::MethodNotAllowed => (
            "method",
            format!(
                "Only {} are understood here",
                methods.replace(", ", " and ")
            ),
        ),
        _ => ("fault", "The request could not be answered".to_owned()),
    };
    let mut response = match path.starts_with(request_head::API) {
        true => problem_response(&Problem::new(status.into(), code, sentence)),
        false => document(format!("{sentence}\n"), "text/plain; charset=utf-8"),
    };
    response.set_status(status);
    if status == StatusCode::MethodNotAllowed {
        response.insert_header("allow", methods);
    }
    response
}

const HTML: &str = "text/html; charset=utf-8";

async fn get_page(request: Request<HttpState>) -> tide::Result {
    let site = request.state();
    let Ok(snapshot) = site.broker.snapshot().await else {
        return Ok(unavailable(STOPPING));
    };
    let wanted = match Wanted::read(&request) {
        Ok(wanted) => wanted,
        Err(problem) => return Ok(plain(&problem)),
    };
    let urls = site.assets.urls();
    if wanted.is_plain() {
        let page = site.budget.document(&snapshot.page, || {
            html::render(&snapshot, urls, site.is_read_only)
        });
        return Ok(page.map_or_else(no_room, |page| shared_document(page, HTML)));
    }
    let MessagePage { messages, has_more } = match api::find(site, &wanted).await {
        Ok(found) => found,
        Err(problem) => return Ok(plain(&problem)),
    };
    let has_older = has_more || wanted.after.is_some();
    let past = OlderMessages {
        messages: &messages,
        query: wanted.query.as_deref(),
        older: has_older
            .then(|| messages.first().map(|first| first.id))
            .flatten(),
        marked: None,
    };
    let page = site.budget.document(&OnceLock::new(), || {
        html::render_past(&snapshot, urls, &past)
    });
    Ok(page.map_or_else(no_room, |page| shared_document(page, HTML)))
}

/// One message among those that were said around it.
async fn get_message(request: Request<HttpState>) -> tide::Result {
    let site = request.state();
    let id = request
        .param("id")
        .ok()
        .and_then(|id| id.parse::<u64>().ok());
    let Some(id) = id.filter(|id| *id <= i64::MAX as u64) else {
        return Ok(Response::new(StatusCode::NotFound));
    };
    let Ok(snapshot) = site.broker.snapshot().await else {
        return Ok(unavailable(STOPPING));
    };
    let half = Some(api::PAGE_MESSAGES / 2);
    let before = Wanted {
        before: Some(id.saturating_add(1)),
        limit: half,
        ..Wanted::default()
    };
    let after = Wanted {
        after: Some(id),
        limit: half,
        ..Wanted::default()
    };
    let (before, after) = (
        api::find(site, &before).await,
        api::find(site, &after).await,
    );
    let (older, newer) = match (before, after) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(problem), _) | (_, Err(problem)) => return Ok(plain(&problem)),
    };
    let mut messages = older.messages;
    if messages.last().is_none_or(|message| message.id != id) {
        return Ok(Response::new(StatusCode::NotFound));
    }
    messages.extend(newer.messages);
    let past = OlderMessages {
        messages: &messages,
        query: None,
        older: older
            .has_more
            .then(|| messages.first().map(|first| first.id))
            .flatten(),
        marked: Some(id),
    };
    let page = site.budget.document(&OnceLock::new(), || {
        html::render_past(&snapshot, site.assets.urls(), &past)
    });
    Ok(page.map_or_else(no_room, |page| shared_document(page, HTML)))
}

/// A problem for people.
fn plain(problem: &Problem) -> Response {
    let text = format!("{}\n", problem.detail);
    let mut response = document(text, "text/plain; charset=utf-8");
    let status = StatusCode::try_from(problem.status);
    response.set_status(status.unwrap_or(StatusCode::InternalServerError));
    if let Some(seconds) = problem.retry_after_seconds() {
        response.insert_header("retry-after", seconds.to_string());
    }
    response
}

fn no_room() -> Response {
    unavailable(TOO_MANY_DOCUMENTS)
}

fn overloaded() -> Problem {
    Problem::new(503, "overloaded", TOO_MANY_DOCUMENTS).after(problem::RETRY_AFTER)
}

/// Whether the chat is ready: any answer at all says that the program lives.
async fn get_health(request: Request<HttpState>) -> tide::Result {
    let HttpState {
        broker,
        gate,
        context,
        ..
    } = request.state();
    if gate.is_stopping() {
        return Ok(unavailable(STOPPING));
    }
    if let Some(sentence) = context.health.failure() {
        return Ok(unavailable(&sentence));
    }
    Ok(
        match timeout(gate.limits.health_timeout, broker.snapshot()).await {
            Some(Ok(_)) => document("ok\n".to_owned(), "text/plain; charset=utf-8"),
            Some(Err(BrokerEnded)) => unavailable(STOPPING),
            None => unavailable("The chat does not answer in time; it is overloaded"),
        },
    )
}

/// The media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn get_metrics(request: Request<HttpState>) -> tide::Result {
    let site = request.state();
    let is_local = request
        .ext::<RequestContext>()
        .is_some_and(|ask| is_this_machine(ask.address));
    if !site.metrics_are_public && !is_local {
        return Ok(Response::new(StatusCode::Forbidden));
    }
    let (metrics, uptime) = (&site.context.metrics, site.context.now());
    Ok(match metrics.text(site.broker.waiting(), uptime) {
        Ok(text) => document(text, OPEN_METRICS),
        Err(_) => unavailable("The counts could not be written"),
    })
}

fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// What a live stream would begin with, for one who asks for its head alone: the streams
/// themselves are not this app's.
async fn get_events(request: Request<HttpState>) -> tide::Result {
    // Whoever makes a request says whom it is from.
    let Some(ask) = request.ext::<RequestContext>() else {
        return Ok(Response::new(StatusCode::InternalServerError));
    };
    if let Some(problem) = &ask.no_stream {
        return Ok(problem_response(problem));
    }
    Ok(match events::enter(request.state(), ask.address) {
        Ok(_) => document(String::new(), "text/event-stream"),
        Err(problem) => problem_response(&problem),
    })
}

async fn get_asset(request: Request<HttpState>) -> tide::Result {
    let path = request.url().path();
    let Some(asset) = request.state().assets.find(path) else {
        return Ok(Response::new(StatusCode::NotFound));
    };
    let accepts_gzip = request
        .ext::<RequestContext>()
        .is_some_and(|ask| ask.caller.accepts_gzip);
    let mut response = Response::new(StatusCode::Ok);
    if accepts_gzip {
        response.set_body(&asset.compressed[..]);
        response.insert_header("content-encoding", "gzip");
    } else {
        response.set_body(&asset.content[..]);
    }
    response.insert_header("vary", "accept-encoding");
    response.insert_header("content-type", asset.mime);
    response.insert_header("cache-control", "public, max-age=31536000, immutable");
    Ok(response)
}

/// What is said where the documents of too many moments are on their way to slow readers.
const TOO_MANY_DOCUMENTS: &str = "Too much is on its way to others; try again later";

/// A document that all who ask for it share.
fn shared_document(document: Arc<CachedDocument>, mime: &str) -> Response {
    let length = document.text().len();
    let reader = futures_lite::io::Cursor::new(Shared(document));
    let mut response = Response::new(StatusCode::Ok);
    response.set_body(Body::from_reader(reader, Some(length)));
    response.insert_header("content-type", mime);
    response
}

/// A document as the bytes that a reader wants.
struct Shared(Arc<CachedDocument>);

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
    response.insert_header("retry-after", problem::RETRY_AFTER.as_secs().to_string());
    response
}

/// Serves the page on this listener until it is dropped.
pub async fn serve(
    bound: Bound,
    spare: ReserveDescriptor,
    context: Arc<ServerContext>,
    executor: SharedExecutor,
    gate: Arc<ConnectionLimits>,
    purpose: WebAccess,
) {
    let metrics = context.metrics.clone();
    let farewell = RejectNotice {
        text: request_head::last_answer(BadRequest::of(HttpCloseReason::NoDescriptor)).into_bytes(),
        counters: vec![metrics.web_ended_by(HttpCloseReason::NoDescriptor)],
    };
    let mut acceptor = Acceptor::new(bound.listener, spare, farewell);
    let site = HttpState {
        broker: BrokerHandle::new(context.inbox.clone()),
        context,
        assets: Arc::new(Assets::prepare()),
        gate: gate.clone(),
        budget: Budget::new(WEB_MAX_DOCUMENT_BYTES),
        metrics_are_public: purpose.metrics_are_public,
        is_read_only: purpose.is_read_only,
    };
    let app = app(site.clone());
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
                let (site, app) = (site.clone(), app.clone());
                let serving = serve_connection(site, app, stream, ends, counted);
                executor.spawn(serving).detach();
            }
            Err(full) => {
                let end = BadRequest::of(full.into());
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

/// Serves one connection to its end.
async fn serve_connection(
    site: HttpState,
    app: tide::Server<HttpState>,
    stream: TcpStream,
    ends: Ends,
    counted: Permit,
) {
    let serving = Box::pin(serve_requests(&site, &app, &stream, ends.address));
    // A fault in what one request asks for is no fault of the others.
    let end = AssertUnwindSafe(serving).catch_unwind().await;
    match end.unwrap_or(Err(BadRequest::of(HttpCloseReason::Fault))) {
        Err(end) => ends.end_connection(stream, end).await,
        Ok((opening, caller)) => {
            drop(app);
            let address = ends.address;
            let socket: Arc<Async<std::net::TcpStream>> = stream.into();
            // Nobody else reads or writes any more; if somebody did, the browser would come back.
            if let Ok(socket) = Arc::try_unwrap(socket) {
                opening.stream(&site, socket, address, caller).await;
            }
            ends.note(HttpCloseReason::Closed);
        }
    }
    drop(counted);
}

/// Where the end of a connection is noted, once.
struct Ends {
    address: SocketAddr,
    metrics: Arc<Metrics>,
}

impl Ends {
    fn note(&self, reason: HttpCloseReason) {
        let address = self.address;
        self.metrics.count_web_ended(reason);
        match reason {
            HttpCloseReason::Fault => {
                tracing::error!(%address, %reason, "a connection of the page failed");
            }
            // Their number is up to strangers.
            _ => tracing::debug!(%address, %reason, "a connection of the page ended"),
        }
    }

    /// Tells why, if there is something to tell, and closes so that it arrives.
    async fn end_connection(&self, stream: TcpStream, end: BadRequest) {
        self.note(end.reason);
        timeout(LINGER_TIMEOUT, request_head::tell(&stream, end)).await;
        if stream.shutdown(Shutdown::Write).is_ok() {
            timeout(LINGER_TIMEOUT, read_to_the_end(stream)).await;
        }
    }
}

/// Answers one request after the other, as fast as a client of the chat may send lines; gives the
/// live stream that is to follow.
///
/// # Errors
/// Why nothing follows.
async fn serve_requests(
    site: &HttpState,
    app: &tide::Server<HttpState>,
    stream: &TcpStream,
    address: SocketAddr,
) -> Result<(events::Opening, RequestInfo), BadRequest> {
    let limits = &site.context.limits;
    let max_body_bytes = limits.max_message_bytes * ESCAPED_BYTES + WEB_BODY_OVERHEAD_BYTES;
    let mut reader = HeadReader::new(stream.clone(), site.gate.clone(), max_body_bytes);
    let (rate, mut pacer) = (site.context.quota(), RateLimiter::default());
    loop {
        let head = reader.next_head().await?;
        let end = |reason| BadRequest {
            reason,
            is_head: request_head::is_of_head(&head.bytes),
            is_api: request_head::is_of_api(&head.bytes),
        };
        let wait = pacer.wait(rate, site.context.now());
        if !wait.is_zero() {
            Timer::after(wait).await;
        }
        pacer.spend(rate, site.context.now(), 1);
        let body = reader.body(head.body_bytes).await.map_err(end)?;
        let mut no_stream = None;
        if head.is_stream {
            match events::open(site, address.ip(), &head.caller).await {
                Ok(opening) => return Ok((opening, head.caller)),
                // The answer is like that of any other route.
                Err(problem) => no_stream = Some(problem),
            }
        }
        let ask = RequestContext {
            address: address.ip(),
            caller: head.caller.clone(),
            body: body.into(),
            no_stream,
        };
        let answered = answer(site, app, stream, &head, ask).await;
        // Whoever asks without pause lets others have their turn.
        smol::future::yield_now().await;
        answered.map_err(end)?;
    }
}

/// Bytes of the longest escape of one byte in JSON.
const ESCAPED_BYTES: usize = 6;

/// Answers one request.
///
/// # Errors
/// No other can follow.
async fn answer(
    site: &HttpState,
    app: &tide::Server<HttpState>,
    stream: &TcpStream,
    head: &Head,
    ask: RequestContext,
) -> Result<(), HttpCloseReason> {
    let limits: &WebLimits = &site.gate.limits;
    let exchange = H1Stream::new(stream.clone(), head.bytes.clone());
    let mut server =
        async_h1::server::Server::new(exchange.clone(), |mut request: tide::http::Request| {
            request.ext_mut().insert(ask.clone());
            let app = app.clone();
            async move { app.respond(request).await }
        });
    let answered = async { Ok(server.accept_one().await) }
        .or(async {
            let deadline = Some(limits.response_deadline);
            Err(exchange
                .wait_for_stall(limits.write_stall_timeout, deadline)
                .await)
        })
        .await;
    match answered? {
        Ok(async_h1::server::ConnectionStatus::KeepAlive) if head.keep_alive => Ok(()),
        Ok(_) => Err(HttpCloseReason::Closed),
        Err(_) if exchange.has_written() => Err(HttpCloseReason::Reset),
        Err(_) => Err(HttpCloseReason::Malformed),
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
    use crate::server::limits::{Limits, WebLimits};
    use std::time::Duration;
    use tide::http::{Method, Url};

    /// The status and the sentence of `/healthz`, asked of a broker that never answers.
    fn health(inbox_is_open: bool, is_stopping: bool) -> (StatusCode, String) {
        let limits = WebLimits {
            health_timeout: Duration::from_millis(10),
            ..WebLimits::default()
        };
        let gate = Arc::new(ConnectionLimits::new(limits, Vec::new()));
        if is_stopping {
            gate.begin_stop();
        }
        let (sender, inbox) = async_channel::bounded(1);
        let _inbox = inbox_is_open.then_some(inbox);
        let site = HttpState {
            broker: BrokerHandle::new(sender.clone()),
            context: ServerContext::for_test(Limits::default(), sender),
            assets: Arc::new(Assets::prepare()),
            gate,
            budget: Budget::new(WEB_MAX_DOCUMENT_BYTES),
            metrics_are_public: false,
            is_read_only: false,
        };
        let app = app(site);
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
