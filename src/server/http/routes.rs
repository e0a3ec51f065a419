//! The tide app: the pages for browsers, health and metrics, and what all responses share.

use crate::limits::DEFAULT_PAGE_MESSAGES;
use crate::server::http::api::{self, MessageFilter};
use crate::server::http::document_cache::DocumentKind;
use crate::server::http::endpoint::{HttpState, RouteResult, request_context, route};
use crate::server::http::events;
use crate::server::http::html::{self, PageKind, PageView};
use crate::server::http::problem::Problem;
use crate::server::http::request_head::STREAM_PATH;
use crate::server::http::response::{HTML, TEXT, document, shared_document};
use crate::server::timeout::timeout;
use std::net::IpAddr;
use tide::{Request, Response, StatusCode};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Creates the app, which answers all requests but those for live streams.
pub(super) fn app(state: HttpState) -> tide::Server<HttpState> {
    let assets = state.assets.clone();
    let mut app = tide::with_state(state);
    app.at("/").get(route(get_page));
    app.at("/m/:id").get(route(get_message));
    app.at(STREAM_PATH).get(route(get_events));
    app.at("/healthz").get(route(get_health));
    app.at("/metrics").get(route(get_metrics));
    api::add_routes(&mut app);
    for asset in assets.all() {
        app.at(&asset.url).get(route(get_asset));
    }
    app
}

async fn get_page(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let snapshot = state.snapshot().await?;
    let filter = MessageFilter::from_query(&request)?;
    let accepts_gzip = request_context(&request)?.info.accepts_gzip;
    if filter.is_default() {
        let view = PageView {
            kind: match state.web.is_read_only {
                true => PageKind::ReadOnly,
                false => PageKind::Live,
            },
            messages: &snapshot.messages,
            has_older: snapshot.older > 0,
            max_message_bytes: state.context.limits.max_message_bytes,
            ..PageView::default()
        };
        let make = || html::render(&snapshot, &state.assets, &view).into_bytes();
        let page = state
            .documents
            .shared(&snapshot, DocumentKind::Page, make)?;
        return Ok(shared_document(page, HTML, accepts_gzip).await);
    }
    let address = request_context(&request)?.address;
    let found = api::find(state, address, &filter).await?;
    let view = PageView {
        kind: PageKind::History,
        messages: &found.messages,
        query: filter.query.as_deref(),
        has_older: found.has_more || filter.after.is_some(),
        ..PageView::default()
    };
    let page = html::render(&snapshot, &state.assets, &view).into_bytes();
    let page = state.documents.single(page)?;
    Ok(shared_document(page, HTML, accepts_gzip).await)
}

/// Shows one message among its neighbours.
async fn get_message(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let Ok(id) = api::number("id", request.param("id").unwrap_or_default()) else {
        return Ok(Response::new(StatusCode::NotFound));
    };
    let snapshot = state.snapshot().await?;
    let up_to_id = MessageFilter {
        before: Some(id.saturating_add(1)),
        limit: Some(DEFAULT_PAGE_MESSAGES as u64 / 2),
        ..MessageFilter::default()
    };
    let after_id = MessageFilter {
        before: None,
        after: Some(id),
        ..up_to_id.clone()
    };
    let context = request_context(&request)?;
    let (address, accepts_gzip) = (context.address, context.info.accepts_gzip);
    let mut found = api::find(state, address, &up_to_id).await?;
    let newer = api::find(state, address, &after_id).await?;
    if found.messages.last().is_none_or(|message| message.id != id) {
        return Ok(Response::new(StatusCode::NotFound));
    }
    found.messages.extend(newer.messages);
    let view = PageView {
        kind: PageKind::History,
        messages: &found.messages,
        has_older: found.has_more,
        marked: Some(id),
        ..PageView::default()
    };
    let page = html::render(&snapshot, &state.assets, &view).into_bytes();
    let page = state.documents.single(page)?;
    Ok(shared_document(page, HTML, accepts_gzip).await)
}

/// Reports whether the chat is ready. Any response means that the process is alive.
async fn get_health(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    if state.limits.is_stopping() {
        return Err(Problem::stopping());
    }
    if let Some(failure) = state.context.health.failure() {
        return Err(Problem::unavailable("not-stored", failure));
    }
    let limit = state.limits.configured.health_timeout;
    let answered = timeout(limit, state.snapshot()).await;
    let overloaded = || {
        let detail = "The chat does not answer in time; it is overloaded";
        Problem::unavailable("overloaded", detail)
    };
    answered.ok_or_else(overloaded)??;
    Ok(document("ok\n", TEXT))
}

async fn get_metrics(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let client = request_context(&request)?;
    // A proxy on this machine asks for others.
    let is_local = is_this_machine(client.address) && !client.info.is_forwarded;
    if !state.web.metrics_are_public && !is_local {
        let detail = "Only this machine may read this; --public-metrics lets others read it too";
        return Err(Problem::new(403, "forbidden", detail));
    }
    let (metrics, uptime) = (&state.context.metrics, state.context.now());
    match metrics.text(state.broker.queued_commands(), uptime) {
        Ok(text) => Ok(document(text, OPEN_METRICS)),
        Err(_) => Err(Problem::unavailable(
            "fault",
            "The metrics could not be written",
        )),
    }
}

fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// Returns the headers of a live stream, for HEAD. A stream itself does not reach the app.
async fn get_events(request: Request<HttpState>) -> RouteResult {
    let context = request_context(&request)?;
    let _permit = events::acquire_permit(request.state(), context.address)?;
    Ok(document("", "text/event-stream"))
}

async fn get_asset(request: Request<HttpState>) -> RouteResult {
    let path = request.url().path();
    let mut assets = request.state().assets.all().into_iter();
    let Some(asset) = assets.find(|asset| asset.url == path) else {
        return Ok(Response::new(StatusCode::NotFound));
    };
    let mut response = if request_context(&request)?.info.accepts_gzip {
        let mut response = document(&asset.compressed[..], asset.media_type);
        response.insert_header("content-encoding", "gzip");
        response
    } else {
        document(&asset.content[..], asset.media_type)
    };
    response.insert_header("vary", "accept-encoding");
    response.insert_header("cache-control", "public, max-age=31536000, immutable");
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::ServerConfig;
    use crate::server::context::ServerContext;
    use crate::server::http::connection_limits::ConnectionLimits;
    use crate::server::http::response::finish;
    use crate::server::limits::{Limits, WebLimits};
    use std::sync::Arc;
    use std::time::Duration;
    use tide::http::{self, Method, Url};

    #[test]
    fn health_is_unavailable_while_the_broker_does_not_answer() {
        let limits = WebLimits {
            health_timeout: Duration::from_millis(10),
            ..WebLimits::default()
        };
        let limits = Arc::new(ConnectionLimits::new(limits, Vec::new()));
        let (sender, inbox) = async_channel::bounded(1);
        let context = ServerContext::for_test(Limits::default(), sender);
        let web = ServerConfig::default().web.unwrap();
        let app = app(HttpState::new(context, limits, web));
        let expect = |sentence: &str| {
            let url = Url::parse("http://localhost/healthz").unwrap();
            let request = http::Request::new(Method::Get, url);
            let response = smol::block_on(app.respond(request)).unwrap();
            let mut response = finish(response, "/healthz");
            assert_eq!(response.status(), StatusCode::ServiceUnavailable);
            let text = smol::block_on(response.body_string()).unwrap();
            assert_eq!(text, sentence);
        };
        expect("The chat does not answer in time; it is overloaded\n");
        drop(inbox);
        expect("The server is stopping\n");
    }

    #[test]
    fn only_loopback_addresses_are_this_machine() {
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_this_machine(local.parse().unwrap()), "{local}");
        }
        for other in ["192.0.2.1", "2001:db8::1", "0.0.0.0"] {
            assert!(!is_this_machine(other.parse().unwrap()), "{other}");
        }
    }
}
