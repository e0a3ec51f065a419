//! The tide app: the pages for browsers, health and metrics, and what all responses share.

use crate::limits::DEFAULT_PAGE_MESSAGES;
use crate::server::http::endpoint::{
    HttpState, RequestContext, RouteResult, request_context, route,
};
use crate::server::http::html::{self, HistoryView};
use crate::server::http::problem::STOPPING;
use crate::server::http::request_head::STREAM_PATH;
use crate::server::http::response::{HTML, document, sentence, shared_document, unavailable};
use crate::server::http::{api, events, response};
use crate::server::timeout::timeout;
use std::net::IpAddr;
use tide::{Request, Response, StatusCode, http};

/// Media type of the metrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Creates the app, which answers all requests but those for live streams.
pub(crate) fn app(state: HttpState) -> tide::Server<HttpState> {
    let assets = state.assets.clone();
    let mut app = tide::with_state(state);
    app.at("/").get(route(get_page, false));
    app.at("/m/:id").get(route(get_message, false));
    app.at(STREAM_PATH).get(route(get_events, true));
    app.at("/healthz").get(route(get_health, false));
    app.at("/metrics").get(route(get_metrics, false));
    api::add_routes(&mut app);
    for path in assets.paths() {
        app.at(path).get(route(get_asset, false));
    }
    app
}

/// Completes the response to a request for this path.
pub(crate) fn finish(response: Response, path: &str) -> http::Response {
    let route = api::ROUTES.iter().find(|(route, _)| *route == path);
    response::finish(response, path, route.map_or("GET, HEAD", |route| route.1))
}

async fn get_page(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let snapshot = state.snapshot().await?;
    let filter = api::MessageFilter::from_query(&request)?;
    let urls = state.assets.urls();
    if filter.is_default() {
        let documents = state.documents.of(&snapshot);
        let page = state.documents.document(&documents.page, || {
            html::render(&snapshot, urls, state.web.is_read_only)
        })?;
        return Ok(shared_document(page, HTML));
    }
    let found = api::find(state, &filter).await?;
    let view = HistoryView {
        messages: &found.messages,
        query: filter.query.as_deref(),
        has_older: found.has_more || filter.after.is_some(),
        marked: None,
    };
    let make = || html::render_history(&snapshot, urls, &view);
    Ok(shared_document(state.documents.single(make)?, HTML))
}

/// Shows one message among its neighbours.
async fn get_message(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let id = request.param("id").ok();
    let id = id.and_then(|id| id.parse::<u64>().ok());
    let Some(id) = id.filter(|id| *id <= i64::MAX as u64) else {
        return Ok(Response::new(StatusCode::NotFound));
    };
    let snapshot = state.snapshot().await?;
    let limit = Some(DEFAULT_PAGE_MESSAGES as u64 / 2);
    let up_to_id = api::MessageFilter {
        before: Some(id.saturating_add(1)),
        limit,
        ..api::MessageFilter::default()
    };
    let after_id = api::MessageFilter {
        after: Some(id),
        limit,
        ..api::MessageFilter::default()
    };
    let mut found = api::find(state, &up_to_id).await?;
    let newer = api::find(state, &after_id).await?;
    if found.messages.last().is_none_or(|message| message.id != id) {
        return Ok(Response::new(StatusCode::NotFound));
    }
    found.messages.extend(newer.messages);
    let view = HistoryView {
        messages: &found.messages,
        query: None,
        has_older: found.has_more,
        marked: Some(id),
    };
    let make = || html::render_history(&snapshot, state.assets.urls(), &view);
    Ok(shared_document(state.documents.single(make)?, HTML))
}

/// Reports whether the chat is ready. Any response means that the process is alive.
async fn get_health(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    if state.limits.is_stopping() {
        return Ok(unavailable(STOPPING));
    }
    if let Some(failure) = state.context.health.failure() {
        return Ok(unavailable(&failure));
    }
    let limit = state.limits.limits.health_timeout;
    Ok(match timeout(limit, state.snapshot()).await {
        Some(Ok(_)) => sentence(StatusCode::Ok, "ok"),
        Some(Err(problem)) => unavailable(&problem.detail),
        None => unavailable("The chat does not answer in time; it is overloaded"),
    })
}

async fn get_metrics(request: Request<HttpState>) -> RouteResult {
    let state = request.state();
    let is_local = request
        .ext::<RequestContext>()
        .is_some_and(|context| is_this_machine(context.address));
    if !state.web.metrics_are_public && !is_local {
        return Ok(Response::new(StatusCode::Forbidden));
    }
    let (metrics, uptime) = (&state.context.metrics, state.context.now());
    Ok(match metrics.text(state.broker.waiting(), uptime) {
        Ok(text) => document(text, OPEN_METRICS),
        Err(_) => unavailable("The metrics could not be written"),
    })
}

fn is_this_machine(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

/// Returns the headers of a live stream, for HEAD. A stream itself does not reach the app.
async fn get_events(request: Request<HttpState>) -> RouteResult {
    let context = request_context(&request)?;
    let _permit = events::acquire_permit(request.state(), context.address)?;
    Ok(document(String::new(), "text/event-stream"))
}

async fn get_asset(request: Request<HttpState>) -> RouteResult {
    let path = request.url().path();
    let Some(asset) = request.state().assets.find(path) else {
        return Ok(Response::new(StatusCode::NotFound));
    };
    let accepts_gzip = request
        .ext::<RequestContext>()
        .is_some_and(|context| context.info.accepts_gzip);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::ServerConfig;
    use crate::server::context::ServerContext;
    use crate::server::http::connection_limits::ConnectionLimits;
    use crate::server::limits::{Limits, WebLimits};
    use std::sync::Arc;
    use std::time::Duration;
    use tide::http::{Method, Url};

    /// Asks for `/healthz` while the broker never answers.
    fn health(inbox_is_open: bool, is_stopping: bool) -> (StatusCode, String) {
        let limits = WebLimits {
            health_timeout: Duration::from_millis(10),
            ..WebLimits::default()
        };
        let limits = Arc::new(ConnectionLimits::new(limits, Vec::new()));
        if is_stopping {
            limits.begin_stop();
        }
        let (sender, inbox) = async_channel::bounded(1);
        let _inbox = inbox_is_open.then_some(inbox);
        let context = ServerContext::for_test(Limits::default(), sender);
        let web = ServerConfig::default().web.unwrap();
        let app = app(HttpState::new(context, limits, web));
        let url = Url::parse("http://localhost/healthz").unwrap();
        smol::block_on(async {
            let request = http::Request::new(Method::Get, url);
            let mut response: http::Response = app.respond(request).await.unwrap();
            (response.status(), response.body_string().await.unwrap())
        })
    }

    #[test]
    fn health_is_unavailable_while_the_broker_cannot_answer() {
        let unavailable =
            |sentence: &str| (StatusCode::ServiceUnavailable, format!("{sentence}\n"));
        let overloaded = unavailable("The chat does not answer in time; it is overloaded");
        assert_eq!(health(true, false), overloaded);
        assert_eq!(health(false, false), unavailable(STOPPING));
        assert_eq!(health(true, true), unavailable(STOPPING));
    }

    #[test]
    fn only_loopback_addresses_are_this_machine() {
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
